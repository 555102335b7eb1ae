package tap

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

const readSize = 32 << 10 // of one read; two buffers a session

// A session is one client's connection and its connection to the server.
type session struct {
	tap               *Tap
	public            *parley.Session // as the observer and the gate know it
	address           netip.Prefix    // what the client counts for
	client, server    peer
	program           atomic.Pointer[Program] // which the server is; nil if it is none
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
	waiting      uint64    // how many they are
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

func newSession(t *Tap, client net.Conn) *session {
	s := &session{tap: t, ending: make(chan struct{}), inspecting: make(chan struct{}, 1), open: 2}
	s.client.name, s.server.name = "client", cmp.Or(t.ServerName, "server")
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
	s.public.Join(s.client.conn)
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
	s.public.Join(server)
	s.server.open(server)
	setUserTimeout(s.server.socket, s.tap.writeTimeout())
	if program, is := s.server.socket.(Program); is {
		s.program.Store(&program)
		if s.tap.stopped() {
			s.stopRequests()
		}
	}
	return true
}

// passBoth passes both directions on until the session has ended, one way or the other.
func (s *session) passBoth() {
	var passing sync.WaitGroup
	passing.Go(func() { s.pass(&s.requests) })
	passing.Go(func() { s.pass(&s.replies) })
	if program := s.program.Load(); program != nil {
		passing.Go(func() { s.awaitProgram(*program) })
	}
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

// awaitProgram ends the session when the program has, and all that it said is passed on.
func (s *session) awaitProgram(program Program) {
	for _, over := range []<-chan struct{}{s.replies.done, program.Ended()} {
		select {
		case <-over:
		case <-s.ending:
			return
		}
	}
	reason := parley.HangUp
	if s.tap.stopped() {
		reason = parley.Draining
	}
	s.endWith(&ending{reason: reason, order: true})
}

// stopRequests has no more read of the client of a program, at a Shutdown.
func (s *session) stopRequests() {
	if s.program.Load() != nil {
		s.client.conn.SetReadDeadline(longAgo)
	}
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
	isStopped := d == &s.requests && errors.Is(err, os.ErrDeadlineExceeded) && s.tap.stopped()
	switch {
	case isStopped && s.program.Load() != nil && s.end.Load() == nil:
		s.passEnd(d)
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
