package tap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

const (
	readSize     = 32 << 10    // of one read; two buffers a session
	restTime     = time.Second // for what a peer said before its connection broke to reach the other
	maxRestPause = 50 * time.Millisecond
)

// A session is one client's connection and its connection to the server.
type session struct {
	tap               *Tap
	public            *parley.Session // as the observer and the gate know it
	client, server    peer
	requests, replies direction
	ctx               context.Context // ends when the session is cut, and at its end
	cancel            context.CancelFunc
	end               atomic.Pointer[ending] // nil until it is decided
	ending            chan struct{}          // closed when it is

	inspecting chan struct{} // taken by the direction whose bytes are told and recorded
	mu         sync.Mutex    // one event at a time; guards what follows

	closed       bool  // Closed was told: nothing is from now on
	open         int   // directions that no end of file has come of
	cutShort     error // why the first end of one is no orderly one; nil if it is
	event        parley.Event
	now          time.Time // of the read that is inspected
	seq, replied uint64    // the last request, and the last that has a reply
	inFlight     []arrival // requests without a reply
	unpaired     bool      // no request waits for a reply
	written      uint64    // the last request whose reply's last byte was passed on
	in, out      uint64    // bytes of the client, of the server
	stray        uint64    // of those, bytes of no message

	unanswered      []parley.Exchange // requests that are to be recorded with their replies
	unansweredBytes int
	batch           []parley.Exchange // what the gate is to be asked about
	held            <-chan struct{}   // by the gate, once the session is over

	unfinishedSince time.Time   // since when a request waits for its rest
	unfinishedTimer *time.Timer // tells Unfinished; nil while none does
	unfinishedTold  bool
}

// A direction passes on what one peer says to the other.
type direction struct {
	from, to *peer
	scanner  scanner
	activity activity
	done     chan struct{} // closed when nothing more of from is to be had
	stopped  bool          // to takes nothing any more
	cutShort bool          // from has ended, and TLS has not said that it would

	// The tick's alone.
	unsent   int           // to to, when the tick last looked
	progress time.Duration // when that had changed
}

// An ending is why a session ends.
type ending struct {
	reason parley.CloseReason
	err    error
	last   *direction // the second of the two that have ended; nil if one has not
	peer   *peer      // whose connection broke, or who takes nothing; nil if it is neither's doing
}

func newSession(t *Tap, client net.Conn) *session {
	s := &session{tap: t, ending: make(chan struct{}), inspecting: make(chan struct{}, 1), open: 2}
	s.client.name, s.server.name = "client", "server"
	s.client.open(client)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	requests, replies := parley.OpenFraming(t.Framing, t.Replies)
	s.requests = direction{
		from: &s.client, to: &s.server, done: make(chan struct{}),
		scanner: scanner{framing: requests, max: t.maxMessage(t.framing()), tell: s.tellRequest},
	}
	s.replies = direction{
		from: &s.server, to: &s.client, done: make(chan struct{}),
		scanner: scanner{framing: replies, max: t.maxMessage(cmp.Or(t.Replies, t.framing())), tell: s.tellReply},
	}
	for _, d := range []*direction{&s.requests, &s.replies} {
		d.scanner.noter, _ = d.scanner.framing.(parley.Noter)
		d.scanner.loose = func(raw parley.Raw) { s.tellStray(d, raw) }
		d.scanner.broken = func(at uint64, why error) { s.tellFramingLost(d, at, why) }
	}
	s.unpaired = t.Replies == parley.NoReplies
	return s
}

// run passes both directions on until the session is over.
func (s *session) run() {
	defer s.cancel()
	s.tellOpened()
	if s.connect() {
		s.passBoth()
	}
	s.close()
	s.awaitRecords()
}

// connect dials the server. A client must see that there is none, and not take it for
// one that has nothing to say: it is reset.
func (s *session) connect() bool {
	if s.ctx.Err() != nil {
		return false
	}
	setUserTimeout(s.client.socket, s.tap.writeTimeout())
	server, err := s.tap.Dial(s.ctx, s.public)
	if err != nil {
		s.endWith(&ending{reason: parley.Unreachable, err: err})
		return false
	}
	s.server.open(server)
	setUserTimeout(s.server.socket, s.tap.writeTimeout())
	return true
}

// passBoth passes both directions on until the session has ended, one way or the other.
func (s *session) passBoth() {
	var passing sync.WaitGroup
	passing.Go(func() { s.pass(&s.requests) })
	passing.Go(func() { s.pass(&s.replies) })
	<-s.ending
	end := s.end.Load()
	if end.peer != nil {
		s.passRest(end)
	}
	if end.last == nil {
		s.client.conn.SetDeadline(longAgo)
		s.server.conn.SetDeadline(longAgo)
	}
	passing.Wait()
}

// longAgo is a deadline that ends all waiting.
var longAgo = time.Unix(1, 0)

// pass passes one direction on. Its bytes are looked at before they are passed on, so
// that a request is told of before its reply can be. When nobody takes them any more, they
// are still read and told of, until there are no more or the session ends.
func (s *session) pass(d *direction) {
	defer close(d.done)
	defer s.note(d, ended)
	buf := make([]byte, readSize)
	for {
		s.note(d, reading)
		n, err := d.from.conn.Read(buf)
		s.note(d, working)
		if n > 0 {
			s.inspect(d, buf[:n], false)
			s.write(d, buf[:n])
		}
		if err != nil {
			s.stopReading(d, err)
			return
		}
	}
}

// stopReading ends a direction of which nothing more is to be had. What TLS has announced is an
// end whatever becomes of the connection: many close it with bytes unread that TLS has sent.
func (s *session) stopReading(d *direction, err error) {
	d.cutShort = errors.Is(err, parley.ErrTruncated) || d.from.complains(err)
	isEnd := err == io.EOF || d.cutShort
	isAnnounced := d.from.secure && !d.cutShort
	switch {
	case isEnd && !isAnnounced && d.from.isReset():
		s.breakBy(d.from, syscall.ECONNRESET)
	case isEnd:
		s.endDirection(d)
	default:
		s.breakBy(d.from, err)
	}
}

// note tells the tick what a direction is doing from now on.
func (s *session) note(d *direction, doing int64) { d.activity.set(doing, s.tap.clock.Load()) }

func (s *session) write(d *direction, p []byte) {
	if d.stopped {
		return
	}
	s.note(d, writing)
	d.to.sent.Store(true)
	if _, err := d.to.conn.Write(p); err != nil {
		d.stopped = true
		s.breakBy(d.to, err)
		return
	}
	s.notePassed(d)
}

// endDirection passes an end of file on. The second one ends the session, which is told
// before anybody can see it.
func (s *session) endDirection(d *direction) {
	s.inspect(d, nil, true)
	s.notePassed(d)
	switch end := s.countEnd(d); {
	case end != nil:
		s.endWith(end)
	case s.end.Load() == nil:
		if err := s.passEnd(d); err != nil && d.to.secure {
			s.breakBy(d.to, err)
		}
	}
}

// countEnd counts an end of file, and says how the session ends if it is the last.
func (s *session) countEnd(d *direction) *ending {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutShort = cmp.Or(s.cutShort, d.truncation())
	if s.open--; s.open > 0 {
		return nil
	}
	end := &ending{reason: parley.EndOfFile, last: d}
	switch {
	case s.in == 0 && s.out == 0:
		end.reason = parley.NoRequest
	case s.cutShort != nil:
		end.reason, end.err = parley.Truncated, s.cutShort
	case s.requests.scanner.begun():
		end.reason = parley.Truncated
	}
	return end
}

// truncation is that of a direction that has ended, nil if TLS has announced its end.
func (d *direction) truncation() error {
	if !d.cutShort {
		return nil
	}
	return truncatedError{d.from.name}
}

// A truncatedError is a parley.ErrTruncated that says whose.
type truncatedError struct{ peer string }

func (e truncatedError) Error() string {
	return "the " + e.peer + " ended without TLS saying so (close_notify): what it said may be cut short"
}

func (e truncatedError) Unwrap() error { return parley.ErrTruncated }

// passEnd passes the end of a direction on as it came. What TLS has not announced it is not to
// announce to the other either.
func (s *session) passEnd(d *direction) error {
	d.to.halfClosed.Store(true)
	if d.cutShort {
		d.to.cutOff.Store(true)
		return closeWrite(d.to.socket)
	}
	if d.to.secure {
		s.note(d, writing)
		if err := awaitRoom(d.to.socket); err != nil {
			return err
		}
	}
	return closeWrite(d.to.conn)
}

// breakBy ends the session because of an error of one of its connections.
func (s *session) breakBy(p *peer, err error) {
	e := &ending{reason: parley.IOError, err: err, peer: p}
	switch {
	case errors.Is(err, syscall.ETIMEDOUT):
		e.reason, e.err = parley.WriteTimeout, fmt.Errorf("the %s has vanished, nothing is acknowledged: %w", p.name, err)
	case isResetError(err):
		e.reason = s.reasonOfReset(p)
		if p.sent.Load() && !(p.secure && p.halfClosed.Load()) { // a close_notify is not read by all
			e.err = unreadError{p.name, err}
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

func isResetError(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
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

// endWith decides why the session ends, unless that is decided, and reports whether it did.
func (s *session) endWith(e *ending) bool {
	if !s.end.CompareAndSwap(nil, e) {
		return false
	}
	close(s.ending)
	return true
}

// cut ends the session at once, and reports whether it had not ended by itself.
func (s *session) cut(reason parley.CloseReason) bool {
	first := s.endWith(&ending{reason: reason})
	s.cancel()
	return first
}

// passRest waits until all that the peer whose connection broke had said is told, and, for as
// long as a second, until the other has taken it. While the gate holds the session the
// second stands still.
func (s *session) passRest(end *ending) {
	d, to := &s.requests, &s.server
	if end.peer == to {
		d, to = &s.replies, &s.client
	}
	end.peer.conn.SetWriteDeadline(longAgo) // it is sent nothing any more
	done := d.done
	pause := time.Millisecond
	for waited := time.Duration(0); waited < restTime && (done != nil || unsent(to.socket) > 0); {
		pause = min(pause, restTime-waited)
		select {
		case <-done:
			done = nil
			continue
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
		if doing, _ := d.activity.get(); doing != working {
			waited += pause
		}
		pause = min(2*pause, maxRestPause)
	}
	to.conn.SetWriteDeadline(longAgo)
	if !isResetError(end.err) && !errors.Is(end.err, syscall.ETIMEDOUT) {
		end.peer.conn.SetReadDeadline(longAgo) // it may be alive, and have more to say
	}
	select {
	case <-d.done:
	case <-s.ctx.Done():
	}
}

// close tells that the session is over, before the peers can see it: in good order if both
// have ended, and otherwise by a reset of both, since an end of file would be a lie.
func (s *session) close() {
	end := s.end.Load()
	s.tellClosed(end)
	if end.last != nil {
		s.closeBehind(s.opposite(end.last))
		s.closeBehind(end.last)
		return
	}
	for _, p := range []*peer{&s.client, &s.server} {
		if p.conn != nil {
			reset(p.conn)
		}
	}
}

func (s *session) opposite(d *direction) *direction {
	if d == &s.requests {
		return &s.replies
	}
	return &s.requests
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
		p.socket.SetWriteDeadline(time.Now().Add(timeout))
	}
	defer context.AfterFunc(s.ctx, func() { p.socket.SetWriteDeadline(longAgo) })()
	return awaitRoom(p.socket) == nil
}
