package parley

import "time"

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

// An Exchange is a request and the reply that was made to it, without their framing.
// The batch and its bytes are valid until Pass returns.
type Exchange struct {
	Seq      uint64        // the request's number in its session, from 1
	Received time.Time     // when the read that completed the request returned
	Took     time.Duration // from then until the gate was asked
	Request  []byte
	Reply    []byte
}

// What Session.gate says of the batch that the gate was last asked about.
const (
	passed   = iota // nothing holds the session
	asked           // the gate may still call Release
	released        // it has
)

// Release has a session go on that a Gate holds. It may be called from any goroutine,
// also before Pass has returned. On a session that is not held, or is over, it does
// nothing.
func (s *Session) Release() {
	if !s.gate.CompareAndSwap(asked, released) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.party != nil {
		s.party.release()
	}
}

func (s *Session) released() bool { return s.gate.Load() != asked }

// ask asks the gate about the replies that it was not asked about before, and reports
// whether it holds them. The requests' bytes are in the input still.
func (c *conversation) ask(out *outbox, now time.Time) (held bool) {
	if len(out.batch) == 0 {
		return false
	}
	for i := range out.batch {
		out.batch[i].Took = now.Sub(out.batch[i].Received)
	}
	c.session.gate.Store(asked)
	if c.gate.Pass(c.session, out.batch) {
		c.session.gate.Store(passed)
	}
	clear(out.batch) // it refers to buffers that are lent
	out.batch = out.batch[:0]
	return !c.session.released()
}
