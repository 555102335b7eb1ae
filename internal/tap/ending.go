package tap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	restTime     = time.Second // for what a peer said before its connection broke to reach the other
	maxRestPause = 50 * time.Millisecond
)

// An ending is why a session ends.
type ending struct {
	reason parley.CloseReason
	err    error
	last   *direction // the second of the two that have ended; nil if one has not
	order  bool       // both are to see it closed in good order, though neither has ended
	peer   *peer      // whose connection broke, or who takes nothing; nil if it is neither's doing
}

// countEnd counts an end of file, and says how the session ends if it is the last.
func (s *session) countEnd(d *direction) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.cutShort && s.cutShort == nil {
		s.cutShort = d
	}
	if s.open--; s.open > 0 {
		return nil
	}
	end := &ending{reason: parley.EndOfFile, last: d}
	switch {
	case s.in == 0 && s.out == 0:
		end.reason = parley.NoRequest
	case s.cutShort != nil:
		end.reason, end.err = parley.Truncated, truncatedError{s.nameOf(s.cutShort.from)}
	case s.requests.scanner.begun():
		end.reason = parley.Truncated
	}
	return end
}

// A truncatedError is a parley.ErrTruncated that says whose.
type truncatedError struct{ peer string }

func (e truncatedError) Error() string {
	return "the " + e.peer + " ended without TLS saying so (close_notify): what it said may be cut short"
}

func (e truncatedError) Unwrap() error { return parley.ErrTruncated }

// isGone reports whether the peer whose connection broke can say no more than what has arrived.
func (e *ending) isGone() bool { return isResetError(e.err) || errors.Is(e.err, syscall.ETIMEDOUT) }

// rest is the direction of the peer whose connection broke: what it had said is still to be passed on.
func (s *session) rest(end *ending) *direction {
	if end.peer == &s.server {
		return &s.replies
	}
	return &s.requests
}

// breakBy ends the session because of an error of one of its connections.
func (s *session) breakBy(p *peer, err error) {
	var fault interface{ OnPurpose() (inOrder bool) }
	if errors.As(err, &fault) {
		s.endWith(&ending{reason: parley.Fault, err: err, order: fault.OnPurpose()})
		return
	}
	e := &ending{reason: parley.IOError, err: err, peer: p}
	switch {
	case errors.Is(err, syscall.ETIMEDOUT):
		e.reason, e.err = parley.WriteTimeout, fmt.Errorf("the %s has vanished, nothing is acknowledged: %w", s.nameOf(p), err)
	case isResetError(err):
		e.reason = s.reasonOfReset(p)
		if p.sent.Load() && !(p.isSecure() && p.halfClosed.Load()) { // a close_notify is not read by all
			e.err = unreadError{s.nameOf(p), err}
		}
	}
	s.endWith(e)
}

func (s *session) reasonOfReset(by *peer) parley.CloseReason {
	switch {
	case by == &s.server:
		return parley.UpstreamReset
	case !by.sent.Load() && !s.server.sent.Load():
		return parley.NoRequest // it looked whether somebody is there
	}
	return parley.Reset
}

// isResetError is for errors of reading, writing, and half-closing.
func isResetError(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ENOTCONN)
}

// An unreadError is a reset by a peer that was sent something. A program that has read all
// and closes its connection, or dies, ends it in good order: unless it was made to reset,
// something was left unread.
type unreadError struct {
	peer string
	err  error
}

func (e unreadError) Error() string { return e.Hint() + ": " + e.err.Error() }
func (e unreadError) Unwrap() error { return e.err }

// Is has that of a client known for what a parley.Server says of one.
func (e unreadError) Is(target error) bool {
	return target == parley.ErrRepliesUnread && e.peer == "client"
}

// Hint says what has happened in words for a person.
func (e unreadError) Hint() string {
	if e.peer == "server" {
		return "the server closed without reading its requests"
	}
	return "the peer closed without reading its replies"
}

// close tells that the session is over, before the peers can see it: in good order if both
// have ended, or it is to look so on purpose, and otherwise by a reset of both, since an end of
// file would be a lie.
func (s *session) close() {
	end := s.end.Load()
	s.tellClosed(end, kernel.Now())
	if end.last != nil {
		s.closeBehind(s.opposite(end.last))
		s.closeBehind(end.last)
		return
	}
	var closing sync.WaitGroup
	for _, p := range []*peer{&s.client, &s.server} {
		switch {
		case p.link == nil:
		case end.order:
			closing.Go(func() { s.linger(p.conn) })
		default:
			reset(p.conn)
		}
	}
	closing.Wait()
}

// linger closes a connection so that its peer sees the end behind all that it was sent: what the
// peer sends meanwhile, and nobody reads, would make a reset of it. It does so for closeTime, and longer while the
// peer takes what it was sent.
func (s *session) linger(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.SetDeadline(longAgo) })()
	conn.SetDeadline(kernel.Now().Add(closeTime))
	if closeWrite(conn) != nil {
		return
	}
	socket, timeout := socketOf(conn), s.tap.writeTimeout()
	left, taken := unsent(socket), kernel.Now()
	for s.ctx.Err() == nil {
		if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		now, n := kernel.Now(), unsent(socket)
		if n < left {
			taken = now
		}
		if left = n; n == 0 || timeout > 0 && now.Sub(taken) >= timeout {
			return
		}
		conn.SetReadDeadline(now.Add(closeTime))
	}
}

// closeBehind closes the connection that a direction goes to, when both have ended.
func (s *session) closeBehind(d *direction) {
	conn := d.to.conn
	switch {
	case d.cutShort:
		conn = d.to.socket // else TLS would announce the end
	case d.to.secure && !d.to.halfClosed.Load():
		if !s.hasRoom(d.to) {
			conn = d.to.socket
		}
	}
	conn.Close()
}

// hasRoom waits until a peer has room for TLS to say that this is the end. It is false if there
// will be none in time, or the session is cut.
func (s *session) hasRoom(p *peer) bool {
	if timeout := s.tap.writeTimeout(); timeout > 0 {
		p.socket.SetWriteDeadline(kernel.Now().Add(timeout))
	}
	defer context.AfterFunc(s.ctx, func() { p.socket.SetWriteDeadline(longAgo) })()
	return awaitRoom(p.socket) == nil
}
