package tap

import (
	"cmp"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

// A session is one client's connection and its connection to the server: what of them is told,
// recorded and decided, by whatever they are passed on.
type session struct {
	tap               *Tap
	public            *parley.Session // as the observer and the gate know it
	serving           *sync.WaitGroup // of the Serve that has accepted it
	client, server    peer
	program           atomic.Pointer[Program] // which the server is; nil if it is none
	requests, replies direction
	end               atomic.Pointer[ending] // nil until it is decided

	deciding  sync.Mutex // guards what follows
	*lifetime            // ends when the session is cut, and at its end; nil once a loop has it
	driver    driver     // what passes the session on; nil before
	isCut     bool

	looped   bool // a loop passes it on; Tap.mu guards it
	unpaired bool // no request waits for a reply

	mu sync.Mutex // one event at a time; guards what follows

	closed         bool // Closed was told: nothing is from now on
	unfinishedTold bool
	isHeld         bool       // by the gate, of a loop
	open           int8       // directions that no end of file has come of
	cutShort       *direction // whose end was the first that is no orderly one; nil if none was
	*teller
	now          time.Time  // of the read that is inspected
	seq, replied uint64     // the last request, and the last that has a reply
	inFlight     []arrival  // requests without a reply
	oneInFlight  [1]arrival // memory for the first, which is mostly the only one
	waiting      uint64     // how many they are
	written      uint64     // the last request whose reply's last byte was passed on
	in, out      uint64     // bytes of the client, of the server
	stray        uint64     // of those, bytes of no message

	*records // nil if there is no gate

	unfinishedSince time.Time // since when a request waits for its rest; zero while none does
}

// A lifetime is what a session needs that no loop passes on.
type lifetime struct {
	ctx             context.Context
	cancel          context.CancelFunc
	unfinishedTimer *time.Timer // tells Unfinished; session.mu guards it
}

// A teller tells an observer, one event at a time.
type teller struct {
	observer parley.Observer
	event    parley.Event // memory for one
}

func (t *teller) tell(e *parley.Event) {
	if t.observer != nil {
		t.observer.Observe(e)
	}
}

// Records are what of a session a gate is asked about.
type records struct {
	unanswered      []parley.Exchange // requests that are to be recorded with their replies
	unansweredBytes int
	batch           []parley.Exchange // what the gate is to be asked about
	held            <-chan struct{}   // by the gate, once the session is over
	released        func()            // of a loop: called when the gate holds it no more
}

// A direction passes on what one peer says to the other.
type direction struct {
	from, to *peer
	scanner  scanner
	activity activity
	done     chan struct{} // closed when nothing more of from is to be had; a loop has none
	stopped  bool          // to takes nothing any more
	cutShort bool          // from has ended, and TLS has not said that it would

	// The tick's alone.
	unsent   int32         // to to, when the tick last looked
	progress time.Duration // when that had changed
}

// A driver passes a session on: a pair of goroutines, or a loop.
type driver interface {
	wake() // the end is decided, or the session is cut; any goroutine may call it
}

func newSession(t *Tap, client net.Conn) *session {
	s := &session{tap: t, teller: &teller{observer: t.Observer}, lifetime: new(lifetime), open: 2}
	s.client.open(client)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	requests, replies := parley.OpenFraming(t.Framing, t.Replies)
	s.requests = direction{
		from: &s.client, to: &s.server,
		scanner: scanner{framing: requests, max: t.maxMessage(t.framing()), hearer: requestHearer{s}},
	}
	s.replies = direction{
		from: &s.server, to: &s.client,
		scanner: scanner{framing: replies, max: t.maxMessage(cmp.Or(t.Replies, t.framing())), hearer: replyHearer{s}},
	}
	if t.Gate != nil {
		s.records = new(records)
	}
	s.unpaired = t.Replies == parley.NoReplies
	s.inFlight = s.oneInFlight[:0]
	return s
}

// run connects the server and passes both directions on until the session is over, or has a loop
// do so.
func (s *session) run() {
	s.public.Join(s.client.conn)
	s.tellOpened()
	if s.connect() {
		if s.tap.loops.take(s) {
			return
		}
		newPair(s).passBoth()
	}
	s.close()
	s.awaitRecords()
	s.leave()
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

// stopRequests has no more read of the client of a program, at a Shutdown.
func (s *session) stopRequests() {
	if s.program.Load() != nil {
		s.client.conn.SetReadDeadline(longAgo)
	}
}

// longAgo is a deadline that ends all waiting.
var longAgo = time.Unix(1, 0)

// drivenBy says what passes the session on from now on.
func (s *session) drivenBy(d driver) {
	s.deciding.Lock()
	s.driver = d
	s.deciding.Unlock()
	if s.end.Load() != nil {
		d.wake()
	}
}

// endWith decides why the session ends, unless that is decided, and reports whether it did.
func (s *session) endWith(e *ending) bool {
	if !s.end.CompareAndSwap(nil, e) {
		return false
	}
	s.wakeDriver()
	return true
}

// cut ends the session at once, and reports whether it had not ended by itself.
func (s *session) cut(reason parley.CloseReason) bool {
	first := s.end.CompareAndSwap(nil, &ending{reason: reason})
	s.deciding.Lock()
	s.isCut = true
	if s.lifetime != nil {
		s.cancel()
	}
	s.deciding.Unlock()
	s.wakeDriver()
	return first
}

// wasCut reports whether the session was cut.
func (s *session) wasCut() bool {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	return s.isCut
}

func (s *session) wakeDriver() {
	s.deciding.Lock()
	d := s.driver
	s.deciding.Unlock()
	if d != nil {
		d.wake()
	}
}

// endContext ends the context of the session, which takes up much where nobody waits for it.
func (s *session) endContext() {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if s.lifetime != nil {
		s.cancel()
		s.lifetime = nil
	}
}

// leave makes room for another session: nothing of this one is left.
func (s *session) leave() {
	s.endContext()
	s.tap.removeSession(s)
}

// note tells the tick what a direction is doing from now on.
func (s *session) note(d *direction, doing int64) { d.activity.set(doing, s.tap.clock.Load()) }

func (s *session) opposite(d *direction) *direction {
	if d == &s.requests {
		return &s.replies
	}
	return &s.requests
}

// nameOf is what a peer is called.
func (s *session) nameOf(p *peer) string {
	if p == &s.client {
		return "client"
	}
	return cmp.Or(s.tap.ServerName, "server")
}
