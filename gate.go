package parley

import (
	"slices"
	"sync/atomic"
	"time"
)

// A Gate is asked before replies are written, and may hold them back: until they are
// recorded, say. Pass is called once for each batch of replies that a session has made
// and not yet begun to write, by whatever drives that session; several sessions ask at
// the same time. Error texts and refusals answer no request, and are not asked about.
//
// If Pass returns true the batch is written. If it returns false the session is held:
// it is neither read nor written and its clocks stand still, while all others go on,
// until its Release is called. A gate that holds must see to that: a session that is
// never released ends with the server only, or by a drain that cuts.
//
// With the engine Loops, Pass must not block. An exchange's session may end before its
// reply is written, held or not: the event Closed says how far it came.
type Gate interface {
	Pass(s *Session, batch []Exchange) bool
}

// An Exchange is a request and the reply that was made to it, without their framing. Of a
// proxy Request is nil if nobody had asked, or if the request was passed alone before it,
// and Reply if nobody had answered; a Seq of 0 is that of a message that came unasked.
// The batch and its bytes are valid until Pass returns.
type Exchange struct {
	Seq      uint64        // the request's number in its session, from 1
	Received time.Time     // when the read that completed the request returned
	Took     time.Duration // from then until the gate was asked
	Request  []byte
	Reply    []byte

	// What a proxy sees may be less than that. A Server leaves none of these out.
	RequestCut uint64 // how many bytes Request leaves out at its end
	ReplyCut   uint64 // the same of Reply
}

// A hold is what a session has to do with a gate.
type hold struct {
	state atomic.Uint32 // passed, asked or released
	party releaser      // what drives the session, until its connection is closed; Session.mu guards it

	waiting []chan struct{} // one for each batch that Ask has asked about and the gate still holds; Session.mu guards it
}

// A releaser looks whether the gate still holds its session.
type releaser interface{ release() }

// What a hold says of the batch that the gate was last asked about.
const (
	passed   = iota // nothing holds the session
	asked           // the gate may still call Release
	released        // it has
)

// Release has a session go on that a Gate holds. It may be called from any goroutine,
// also before Pass has returned. On a session that is not held, or is over, it does
// nothing.
func (s *Session) Release() {
	if s.hold == nil {
		return
	}
	ofServer := s.hold.state.CompareAndSwap(asked, released)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ofServer && s.hold.party != nil:
		s.hold.party.release()
	case len(s.hold.waiting) > 0:
		close(s.hold.waiting[0])
		s.hold.waiting = s.hold.waiting[1:]
	}
}

// Ask asks a gate about a batch for who drives a session that no Server has, such as a
// proxy. It returns nil if the gate does not hold the session, and otherwise a channel that
// is closed once the gate has released this batch and those before it. A session that is
// held is to be asked about again only to have the last exchanges recorded when it is over:
// each batch that is held takes a Release of its own.
func (s *Session) Ask(gate Gate, batch []Exchange) (held <-chan struct{}) {
	w := make(chan struct{})
	if s.hold == nil {
		s.hold = new(hold)
	}
	s.mu.Lock()
	s.hold.waiting = append(s.hold.waiting, w)
	s.mu.Unlock()
	if !gate.Pass(s, batch) {
		return w
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold.waiting = slices.DeleteFunc(s.hold.waiting, func(other chan struct{}) bool { return other == w })
	return nil
}

func (s *Session) released() bool { return s.hold.state.Load() != asked }

// ask asks the gate about the replies that it was not asked about before, and reports
// whether it holds them. The requests' bytes are in the input still.
func (c *conversation) ask(out *outbox, now time.Time) (held bool) {
	if len(out.batch) == 0 {
		return false
	}
	for i := range out.batch {
		out.batch[i].Took = now.Sub(out.batch[i].Received)
	}
	c.session.hold.state.Store(asked)
	if c.gate.Pass(c.session, out.batch) {
		c.session.hold.state.Store(passed)
	}
	clear(out.batch) // it refers to buffers that are lent
	out.batch = out.batch[:0]
	return !c.session.released()
}
