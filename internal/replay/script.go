package replay

import (
	"cmp"
	"slices"
	"time"
)

// A step is what the client sent, or a message of the server to expect.
type step struct {
	at    time.Time // in the recording
	due   time.Time // of a rate: when it is to be sent
	sent  bool      // the client did
	seq   uint64    // 0 of bytes that are no request, and of what came unasked
	bytes []byte
	cut   uint64

	before uint64 // how many bytes of its side there were before it; 0 if that is not known

	// Of what was sent:
	raw      bool // bytes are as they were on the wire
	last     bool // nothing was sent any more
	answered bool // a request that was
}

func (s *step) length() uint64 { return uint64(len(s.bytes)) + s.cut }

// script is the session in the order of the recording, both sides as they met.
func (p *play) script() (steps []step) {
	sent, said := p.sides()
	waiting := make(map[uint64]bool) // requests
	for _, s := range sent {
		waiting[s.seq] = s.seq > 0
	}
	for len(sent) > 0 || len(said) > 0 {
		if isNext(sent, said, waiting) || p.isEarly(sent, said) {
			delete(waiting, sent[0].seq)
			steps, sent = append(steps, sent[0]), sent[1:]
		} else {
			steps, said = append(steps, said[0]), said[1:]
		}
	}
	if p.Greeted {
		steps = behindGreeting(steps)
	}
	return steps
}

// behindGreeting leaves out what the server said first.
func behindGreeting(steps []step) []step {
	for len(steps) > 0 && !steps[0].sent && steps[0].seq == 0 {
		steps = steps[1:]
	}
	return steps
}

// isEarly reports whether the server's next step came while the client's was still being sent.
func (p *play) isEarly(sent, said []step) bool {
	early := p.framing().Early
	return early != nil && len(sent) > 0 && len(said) > 0 && said[0].seq == 0 && early(said[0].bytes)
}

// isNext reports whether the client's next step was before the server's. No reply was before its
// request.
func isNext(sent, said []step, waiting map[uint64]bool) bool {
	switch {
	case len(sent) == 0 || len(said) == 0:
		return len(said) == 0
	case waiting[said[0].seq]:
		return true
	case sent[0].at.Equal(said[0].at):
		return said[0].seq == 0
	}
	return sent[0].at.Before(said[0].at)
}

// sides are the steps of the client and of the server, each in their order.
func (p *play) sides() (sent, said []step) {
	// Where a request is earlier than the one before it, the clock was set back: what comes
	// is put behind what was.
	var ahead time.Duration
	request, last := p.session.Opened, p.session.Opened
	for _, x := range p.session.Exchanges {
		received := x.Received.Add(ahead)
		if x.Request != nil {
			if received.Before(request) {
				ahead += last.Sub(received)
				received = last
			}
			request = received
		}
		switch {
		case x.Raw != nil:
			sent = append(sent, step{at: received, sent: true, seq: x.Seq, bytes: x.Raw, cut: x.RequestCut, raw: true, before: x.Before, answered: x.Reply != nil})
		case x.Request != nil:
			sent = append(sent, step{at: received, sent: true, seq: x.Seq, bytes: x.Request, cut: x.RequestCut, answered: x.Reply != nil})
		}
		replied := received.Add(x.Took)
		if x.Reply != nil {
			said = append(said, step{at: replied, seq: x.Seq, bytes: x.Reply, cut: x.ReplyCut, before: x.SaidBefore})
		}
		if replied.After(last) {
			last = replied
		}
	}
	// A request is recorded with its reply, what is none at once; and times are only nearly those
	// of bytes that came together.
	inOrder := func(a, b step) int { return cmp.Or(cmp.Compare(a.before, b.before), a.at.Compare(b.at)) }
	slices.SortStableFunc(sent, inOrder)
	slices.SortStableFunc(said, inOrder)
	if n := len(sent); n > 0 {
		sent[n-1].last = true
	}
	return sent, said
}
