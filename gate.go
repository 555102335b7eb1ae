package parley

import (
	"sync/atomic"
	"time"
)

// A Gate is asked before replies are written, and may hold them back: until they are
// recorded, say. Pass is called once for each batch of replies that a session has made
// and not yet begun to write, by whatever drives that session; several sessions ask at
// the same time. A session's greeting and error text are asked about too, as replies to no
// request, and so are the requests of a peer that has gone before they were answered, with no
// reply; a refusal is not.
//
// If Pass returns true the batch is written. If it returns false the session is held:
// it is neither read nor written and its clocks stand still, while all others go on,
// until its Release is called. A gate that holds must see to that, once for each batch that
// it holds: a session that is never released ends with the server only, or by a drain that
// cuts. A Server asks about the next batch only when the last one is released; a proxy may
// ask about another before.
//
// With the engine Loops, Pass must not block. An exchange's session may end before its
// reply is written, held or not: the event Closed says how far it came.
type Gate interface {
	Pass(s *Session, batch []Exchange) bool
}

// An Exchange is a request and the reply that was made to it. Request is nil, and Seq 0, of a
// server's greeting and error text, of a message that a proxy saw come unasked, and of bytes that
// belong to no message: of those there is RawRequest or RawReply alone. Reply is nil if nobody has
// answered, and nobody will. Of a proxy Request is also nil if it was passed alone before its
// reply. The batch and its bytes are valid until Pass returns.
type Exchange struct {
	Seq        uint64        // the request's number in its session, from 1
	Received   time.Time     // when the read that completed the request returned
	Took       time.Duration // from then until the gate was asked; 0 if there is no reply
	Request    []byte        // without its framing
	Reply      []byte        // the same
	RawRequest Raw
	RawReply   Raw
	Secret     bool // the request carries credentials, see Note

	// What a proxy sees may be less than that. A Server leaves none of these out.
	RequestCut uint64 // how many bytes Request leaves out at its end
	ReplyCut   uint64 // the same of Reply

	// If parts of a message were replaced to conceal them: how many bytes it had before, 0 if
	// nothing was. Its Raw is what is left with its framing.
	RequestWhole int
	ReplyWhole   int
}

// Raw is a message as it was on the wire, or will be, with its framing.
type Raw struct {
	Bytes []byte
	Body  int    // where in Bytes the message without its framing begins
	At    uint64 // how many bytes of its direction there were before
	Cut   uint64 // how many bytes are left out at its end
}

// A hold is what a session has to do with a gate.
type hold struct {
	batches atomic.Int32 // that the gate was asked about and may still call Release for
	conn    releaser     // what drives the session, until its connection is closed; Session.mu guards it
}

// A releaser looks whether the gate still holds its session.
type releaser interface{ release() }

// Release lets a batch go that a Gate holds; with the last of them the session goes on. It may be
// called from any goroutine, also before Pass has returned. On a session that is not held,
// or is over, it does nothing.
func (s *Session) Release() {
	if s.hold == nil || s.released() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold.drop() && s.hold.conn != nil {
		s.hold.conn.release()
	}
}

// drop takes a batch off, if there is one, and reports whether it was the last.
func (h *hold) drop() bool {
	for {
		n := h.batches.Load()
		if n == 0 {
			return false
		}
		if h.batches.CompareAndSwap(n, n-1) {
			return n == 1
		}
	}
}

// Ask asks a gate about a batch for who drives a session that no Server has, such as a
// proxy. It returns nil if the gate does not hold the batch, and otherwise a channel that is
// closed once it has released it, and whatever else it holds of the session by then. Another
// batch may be asked about meanwhile. One goroutine may call it at a time.
func (s *Session) Ask(gate Gate, batch []Exchange) (held <-chan struct{}) {
	released := s.askAnother()
	if gate.Pass(s, batch) {
		s.Release()
		return nil
	}
	return released
}

// AskThen is Ask for who has no goroutine to wait in. It reports whether the gate holds the session, by this batch
// or another. Once it holds it no more, IsHeld says so and released is called: by any goroutine, and maybe before
// AskThen has returned.
func (s *Session) AskThen(gate Gate, batch []Exchange, released func()) (held bool) {
	if s.hold == nil {
		s.hold = new(hold)
	}
	s.mu.Lock()
	s.hold.batches.Add(1)
	s.hold.conn = callback(released)
	s.mu.Unlock()
	if gate.Pass(s, batch) {
		s.hold.drop() // nobody need be called: it is returned
	}
	return s.IsHeld()
}

// IsHeld reports whether a gate holds the session.
func (s *Session) IsHeld() bool { return s.hold != nil && !s.released() }

// A callback is called when its session is released.
type callback func()

func (c callback) release() { c() }

func (s *Session) askAnother() (released waiter) {
	if s.hold == nil {
		s.hold = new(hold)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold.batches.Add(1) == 1 {
		s.hold.conn = make(waiter)
	}
	return s.hold.conn.(waiter)
}

// A waiter is closed when its session is released.
type waiter chan struct{}

func (w waiter) release() { close(w) }

func (s *Session) released() bool { return s.hold.batches.Load() == 0 }
