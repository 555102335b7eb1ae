package web

import (
	"cmp"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
)

// A recorder notes the events of one event loop's round, with no lock; Flush puts them into
// the page's state at once. Requests and replies cost it a few additions each; only those
// that are kept are copied.
type recorder struct {
	page *Page

	opened, ended []parley.Event // ended: closed, refused, or without a handshake
	counts        []sessionCounts
	latencies     []uint16    // buckets of the histogram
	complete      []*exchange // of those that are kept
	leftOut       uint64
	faults        []parley.Event
	sinceKept     uint64 // requests since the last that was kept

	pending  map[*parley.Session][]*exchange // kept requests that wait for their reply, in order
	nPending int                             // how many, of all sessions
}

// sessionCounts are what a round brought to one session.
type sessionCounts struct {
	session           *parley.Session
	requests, replies uint64
	in, out           uint64
	last              time.Time
}

// Observe notes an event.
func (r *recorder) Observe(e *parley.Event) {
	switch e.Kind {
	case parley.Received:
		c := r.countsOf(e)
		c.requests++
		c.in += lengthOf(e)
		r.keepRequest(e)
	case parley.Replied:
		c := r.countsOf(e)
		c.replies++
		c.out += lengthOf(e)
		r.latencies = append(r.latencies, uint16(bucketOf(e.Took)))
		if r.nPending > 0 {
			r.keepReply(e)
		}
	case parley.Unasked:
		r.countsOf(e).out += lengthOf(e)
		r.keepMessage(&exchange{Session: e.Session.Number()}, e)
	case parley.Faulted:
		own := *e
		own.Body = nil
		r.faults = append(r.faults, own)
		if e.Seq == 0 && e.Body != nil && strings.HasPrefix(e.Fault, "request.") {
			r.keepDropped(e)
		}
		r.markRequest(e)
	case parley.Opened:
		r.opened = append(r.opened, *e)
	case parley.HandshakeFailed:
		r.ended = append(r.ended, *e)
	case parley.Closed:
		r.ended = append(r.ended, *e)
		if list := r.pending[e.Session]; len(list) > 0 {
			list[0].fault(e.Fault) // that ended it in the middle of the reply
		}
		r.keepUnanswered(e.Session)
	case parley.Refused:
		r.ended = append(r.ended, *e)
		r.keepMessage(&exchange{Refused: &refusal{string(e.Session.AppendRemote(nil)), e.Reason.String()}}, e)
	}
}

// lengthOf is how long a message was, without its framing.
func lengthOf(e *parley.Event) uint64 { return uint64(cmp.Or(e.Whole, len(e.Body))) + e.Cut }

// countsOf finds the session's. Its events of a round mostly come in a row; a session that
// gets two entries is none the worse for it.
func (r *recorder) countsOf(e *parley.Event) *sessionCounts {
	if n := len(r.counts); n == 0 || r.counts[n-1].session != e.Session {
		r.counts = append(r.counts, sessionCounts{session: e.Session})
	}
	c := &r.counts[len(r.counts)-1]
	c.last = e.Time
	return c
}

// keepRequest keeps a request until it is answered, if it is its turn and the budget allows.
func (r *recorder) keepRequest(e *parley.Event) {
	r.sinceKept++
	if r.sinceKept < r.page.sampleEvery.Load() || r.nPending >= maxPending || !r.page.spend() {
		r.leftOut++
		return
	}
	r.sinceKept = 0
	if r.pending == nil {
		r.pending = make(map[*parley.Session][]*exchange)
	}
	r.pending[e.Session] = append(r.pending[e.Session], &exchange{
		Session: e.Session.Number(), Seq: e.Seq, At: e.Time.UnixMicro(), Fault: e.Fault,
		Request: r.page.said.request(e.Body, e.Cut, e.Secret, maxMessage).concealed(e.Whole),
	})
	r.nPending++
}

// spend takes one exchange off the budget, if it has one left. It looks first: once the
// budget is used up nobody need write to what all event loops share.
func (p *Page) spend() bool { return p.budget.Load() > 0 && p.budget.Add(-1) >= 0 }

// keepMessage keeps what the server said that is no reply, if the budget allows.
func (r *recorder) keepMessage(x *exchange, e *parley.Event) {
	if r.page.spend() {
		said := r.page.said
		if x.Refused != nil { // a text, and no message yet
			said.words = nil
		}
		x.At, x.Reply, x.Fault = e.Time.UnixMicro(), said.reply(e.Body, e.Cut, e.Secret, maxMessage).concealed(e.Whole), e.Fault
		r.complete = append(r.complete, x)
	}
}

// keepDropped keeps a request that the server never sees, if the budget allows.
func (r *recorder) keepDropped(e *parley.Event) {
	if r.page.spend() {
		r.complete = append(r.complete, &exchange{
			Session: e.Session.Number(), At: e.Time.UnixMicro(), Fault: e.Fault,
			Request: r.page.said.request(e.Body, e.Cut, e.Secret, maxMessage).concealed(e.Whole),
		})
	}
}

// keepReply completes the exchange of a request that was kept.
func (r *recorder) keepReply(e *parley.Event) {
	list := r.pending[e.Session]
	if len(list) == 0 || list[0].Seq != e.Seq {
		return
	}
	x := list[0]
	x.Took, x.Reply = e.Took, r.page.said.reply(e.Body, e.Cut, e.Secret, maxMessage).concealed(e.Whole)
	x.fault(e.Fault)
	r.complete = append(r.complete, x)
	r.nPending--
	if len(list) > 1 {
		r.pending[e.Session] = list[1:]
	} else {
		delete(r.pending, e.Session)
	}
}

// markRequest has a request that was kept say what befalls it behind that, as on a tap.
func (r *recorder) markRequest(e *parley.Event) {
	for _, x := range r.pending[e.Session] {
		if x.Seq == e.Seq && strings.HasPrefix(e.Fault, "request.") {
			x.fault(e.Fault)
		}
	}
}

// keepUnanswered keeps the requests of a session that ended without a reply to them.
func (r *recorder) keepUnanswered(s *parley.Session) {
	if list := r.pending[s]; len(list) > 0 {
		r.complete = append(r.complete, list...)
		r.nPending -= len(list)
		delete(r.pending, s)
	}
}

// Flush puts what came together into the page's state.
func (r *recorder) Flush() {
	if len(r.counts)+len(r.opened)+len(r.ended)+len(r.faults) == 0 {
		return
	}
	r.page.mu.Lock()
	defer r.page.mu.Unlock()
	r.apply()
}

// apply is Flush with the page's lock held.
func (r *recorder) apply() {
	s := &r.page.state
	for i := range r.opened {
		s.opened(&r.opened[i])
	}
	for i := range r.counts {
		s.add(&r.counts[i])
	}
	for _, bucket := range r.latencies {
		s.latencies[bucket]++
	}
	s.totals.LeftOut += r.leftOut
	for _, x := range r.complete {
		s.keep(x)
	}
	for i := range r.faults {
		s.faulted(&r.faults[i])
	}
	for i := range r.ended {
		s.ended(&r.ended[i])
	}
	r.opened, r.ended, r.faults = emptied(r.opened), emptied(r.ended), emptied(r.faults)
	r.counts, r.complete = emptied(r.counts), emptied(r.complete)
	r.latencies, r.leftOut = r.latencies[:0], 0
}

// emptied lets go of what the list points to, and of a list that one round has blown up.
func emptied[T any](list []T) []T {
	if cap(list) > 4096 {
		return nil
	}
	clear(list)
	return list[:0]
}
