package replay

import (
	"iter"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/parley-tcp/parley/internal/load"
)

// Paced is what was measured of a replay at a rate. Of a request that was lost with its connection
// there is no time.
type Paced struct {
	Response load.Times    // from when a request was due to its reply, whatever kept it from being sent
	Service  load.Times    // from when it was sent
	Unsent   int           // requests that were not sent, since their session had ended early
	Took     time.Duration // from when the first was due to the last reply

	last time.Time
}

func newPaced() *Paced {
	const longest, digits = 24 * time.Hour, 3
	return &Paced{
		Response: load.Times{Histogram: hdrhistogram.New(1, int64(longest), digits)},
		Service:  load.Times{Histogram: hdrhistogram.New(1, int64(longest), digits)},
	}
}

func (p *Paced) add(due, sent, replied time.Time) {
	if replied.After(p.last) {
		p.last = replied
	}
	for _, one := range []struct {
		of   load.Times
		from time.Time
	}{{p.Response, due}, {p.Service, sent}} {
		one.of.Histogram.RecordValue(max(1, min(int64(replied.Sub(one.from)), one.of.Histogram.HighestTrackableValue())))
	}
}

// A turn is when something of a session is due: its beginning, or a request of it.
type turn struct {
	at    time.Time // in the recording
	play  *play
	step  int // of the play's steps; -1 if the session has no request
	order int // of the turns of one session
}

// allPaced is all with a rate: the requests of all sessions are due one after the other in the order
// of the recording, and each session begins when its first one is.
func (r *run) allPaced(sessions iter.Seq2[Session, error]) {
	var turns []turn
	requests := 0
	for session, err := range sessions {
		if err != nil {
			r.cancel(err)
			return
		}
		p := &play{run: r, session: session}
		p.steps = p.script()
		own := p.turns()
		requests += len(own)
		if len(own) == 0 {
			own = []turn{{at: session.Opened, play: p, step: -1}}
		}
		turns = append(turns, own...)
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return a.at.Compare(b.at) })
	begin, due := time.Now(), 0
	r.sum.Paced = newPaced()
	for i := range turns {
		t := &turns[i]
		t.at = begin.Add(time.Duration(float64(due) / r.Rate * float64(time.Second)))
		if t.step >= 0 {
			t.play.steps[t.step].due = t.at
			due++
		}
	}
	for _, t := range turns {
		if t.order > 0 {
			continue
		}
		if !r.sleepUntil(t.at) {
			break
		}
		r.playing.Go(t.play.play)
	}
	r.playing.Wait()
	r.sum.Paced.Took = max(0, r.sum.Paced.last.Sub(begin))
	r.sum.Paced.Unsent = requests - r.sum.Requests
}

// turns are those of the requests of a session, none before the one before it.
func (p *play) turns() (all []turn) {
	last := p.session.Opened
	for i, s := range p.steps {
		if s.sent && s.seq > 0 {
			if s.at.After(last) {
				last = s.at
			}
			all = append(all, turn{last, p, i, len(all)})
		}
	}
	return all
}

// A sending is a request whose reply has not come.
type sending struct{ due, sent time.Time }

// replied measures the reply to a request.
func (p *play) replied(seq uint64, at time.Time) {
	s, was := p.sendings[seq]
	if !was || p.Rate == 0 {
		return
	}
	delete(p.sendings, seq)
	p.count(func(sum *Summary) { sum.Paced.add(s.due, s.sent, at) })
}

// due is when what the client sends is due: with a rate at its turn, and bytes that are no request at once.
func (p *play) due(s step) time.Time {
	if p.Rate > 0 {
		return s.due
	}
	return p.begun.Add(p.scaled(s.at.Sub(p.session.Opened)))
}

// PerSecond is how many requests a second there were from the first to the last reply; 0 if there
// were not two.
func (s *Summary) PerSecond() float64 {
	if s.Requests < 2 || s.Paced.Took == 0 {
		return 0
	}
	return float64(s.Requests-1) / s.Paced.Took.Seconds()
}
