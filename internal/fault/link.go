package fault

import (
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
)

// A link is what the connections of one session share: a server has one, a tap two.
type link struct {
	*Layer
	plan     *Plan
	session  *parley.Session
	began    time.Time
	requests flow
	replies  flow

	telling sync.Mutex // one event at a time; guards what follows
	over    bool       // Closed was told: nothing is from now on
	stalled int64      // the last stall that was told
	done    [2][]deed  // what befell requests and replies that are not told yet

	mu      sync.Mutex // guards what follows
	asked   uint64     // requests so far
	waiting []run      // that have no reply
	lostSeq bool       // it is not known which requests have none
}

// A run is of requests that follow each other.
type run struct{ first, count uint64 }

// maxRuns bounds what is known of requests without a reply.
const maxRuns = 1024

// A deed is a fault that befell a message.
type deed struct {
	seq   uint64
	fault string
}

func newLink(l *Layer, s *parley.Session) *link {
	k := &link{Layer: l, plan: l.Plan, session: s, began: time.Now()}
	asked, answered := parley.OpenFraming(l.Framing, l.Replies)
	k.requests = flow{link: k, of: requests, scanner: scanner{framing: asked, max: l.most(l.framing())}}
	k.replies = flow{link: k, of: replies, scanner: scanner{framing: answered, max: l.most(l.repliesFraming())}}
	return k
}

// seq is the number of a message that passes: of a request its own, of a reply that of the
// request that it answers; 0 if it is not known or, of a request that a server never sees, if
// there is none.
func (k *link) seq(of direction, dropped bool) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case of == requests && dropped && !k.Tap:
		return 0
	case of == requests:
		return k.asked + 1
	case k.lostSeq || len(k.waiting) == 0:
		return 0
	}
	return k.waiting[0].first
}

// ended notes that a message has ended; paired says that it is a request which has a reply, or a
// reply that has a request.
func (k *link) ended(of direction, paired, dropped bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if of == requests {
		if dropped && !k.Tap {
			return
		}
		if k.asked++; paired {
			k.await(k.asked)
		}
		return
	}
	if !paired || len(k.waiting) == 0 {
		return
	}
	first := &k.waiting[0]
	first.first++
	if first.count--; first.count == 0 {
		k.waiting = k.waiting[1:]
	}
}

func (k *link) await(seq uint64) {
	if n := len(k.waiting); n > 0 && k.waiting[n-1].first+k.waiting[n-1].count == seq {
		k.waiting[n-1].count++
		return
	}
	if len(k.waiting) >= maxRuns {
		k.lostSeq = true
		return
	}
	k.waiting = append(k.waiting, run{seq, 1})
}

// tell tells of faults as they begin.
func (k *link) tell(of direction, faults []string, m message) {
	k.telling.Lock()
	defer k.telling.Unlock()
	for _, fault := range faults {
		k.tellOne(fault, m)
		if m.seq > 0 && !k.Tap && k.told.wants([...]parley.EventKind{parley.Received, parley.Replied}[of]) {
			k.done[of] = append(k.done[of], deed{m.seq, fault})
		}
	}
}

func (k *link) tellOne(fault string, m message) {
	if k.over || !k.told.wants(parley.Faulted) {
		return
	}
	k.told.inner.Observe(&parley.Event{
		Kind: parley.Faulted, Time: time.Now(), Session: k.session, Seq: m.seq, Body: m.body, Secret: m.secret, Fault: fault,
	})
}

// stall is until when the session stands still, the zero time if it does not. What it holds up for
// the first time is told.
func (k *link) stall(now time.Time) (until time.Time) {
	if k.plan.Stall == 0 {
		return time.Time{}
	}
	n := int64(now.Sub(k.began) / k.plan.StallEvery)
	until = k.began.Add(time.Duration(n)*k.plan.StallEvery + k.plan.Stall)
	if n == 0 || !now.Before(until) {
		return time.Time{}
	}
	k.telling.Lock()
	defer k.telling.Unlock()
	if k.stalled != n {
		k.stalled = n
		k.tellOne("stall="+k.plan.Stall.String(), message{})
	}
	return until
}

// observe passes an event on, with what befell its message.
func (k *link) observe(e *parley.Event) {
	k.telling.Lock()
	defer k.telling.Unlock()
	own := *e
	switch e.Kind {
	case parley.Received:
		own.Fault = k.undo(requests, e.Seq)
	case parley.Replied:
		own.Fault = k.undo(replies, e.Seq)
	case parley.Closed:
		k.over = true
		k.links.Delete(k.session)
		if ended := endOf(e.Err); ended != nil {
			own.Fault = ended.fault
		}
	}
	if k.told.wants(e.Kind) {
		k.told.inner.Observe(&own)
	}
}

// undo names what befell a message, and forgets it and all before it.
func (k *link) undo(of direction, seq uint64) string {
	var faults []string
	done := k.done[of]
	for len(done) > 0 && done[0].seq <= seq {
		if done[0].seq == seq {
			faults = append(faults, done[0].fault)
		}
		done = done[1:]
	}
	k.done[of] = done
	return strings.Join(faults, ", ")
}
