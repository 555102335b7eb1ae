package probe

import (
	"cmp"
	"context"
	"maps"
	"math/bits"
	"sync"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// A Target is a service that a Prober asks again and again.
type Target struct {
	Name  string // by which it is known, once in a Prober
	Check Check  // its Probe, which has one verdict a run, and what that is in words
	Close func() // closes what the Probe has open, once it runs no more; nil for nothing
}

func (t *Target) close() {
	if t.Close != nil {
		t.Close()
	}
}

// A Prober probes its targets, each once an interval. The beginnings are spread over the interval, a
// target's are whole intervals apart, however long a probe takes, and no two probes of a target run at
// the same time. A beginning that comes while the one before still runs, or waits for its turn, is
// skipped.
type Prober struct {
	Every  time.Duration // the interval; more than 0
	AtOnce int           // how many probes run at the same time, 256 if zero

	// Told is told what each probe has found, and what the state of the target was before; one at a
	// time for a target. It must not block. May be nil.
	Told func(t *Target, f *Finding, was State)

	turns chan struct{} // a place in it is for a probe that runs
	begun time.Time     // where the first interval begins

	mu   sync.Mutex
	all  []*watched // in the order of their targets
	ever uint64     // how many there have been
}

// A State is what a Prober has found out about a target.
type State struct {
	Name    string
	Probes  uint64               // that have ended with a verdict
	Failed  map[dial.Kind]uint64 // of them, by why
	Skipped uint64               // beginnings that were
	Held    time.Time            // when the last that held had ended; zero if none has

	// The last probe: zero before the first.
	Up       bool           // it held
	Took     time.Duration  // from its beginning to the verdict
	Steps    []Step         // of it that took time, in order
	Dialogue []DialogueStep // that were played, the last one perhaps in vain
	Expires  time.Time      // when the first of the certificates that the server sent does; zero without
	TLS      string         // its version, such as TLS 1.3; "" without
}

// A DialogueStep is one of a script, and how long it took.
type DialogueStep struct {
	Line int // of the file, from 1
	Took time.Duration
	Held bool
}

// Run probes until ctx ends. From then on no probe begins, and those that run are cut short, without
// a verdict. When other targets come those that keep their name keep their place in the interval and
// their counts, and a probe that runs ends as it began; the others end at once. Run closes each target.
func (p *Prober) Run(ctx context.Context, targets []*Target, others <-chan []*Target) {
	var running sync.WaitGroup
	defer running.Wait()
	p.begun = time.Now()
	p.turns = make(chan struct{}, cmp.Or(p.AtOnce, 256))
	for now := p.begun; ; now = time.Now() {
		for _, w := range p.take(ctx, now, targets) {
			running.Go(func() { p.watch(w) })
		}
		select {
		case targets = <-others:
		case <-ctx.Done():
			return
		}
	}
}

// A watched is a target, or several of one name one after the other.
type watched struct {
	first time.Time // when its first probe is due
	ctx   context.Context
	end   context.CancelFunc

	mu     sync.Mutex
	target *Target // for the next probe
	asks   bool    // one runs
	state  State
}

// take makes the targets those that are probed from now on, and returns which of them are new.
func (p *Prober) take(ctx context.Context, now time.Time, targets []*Target) (fresh []*watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := make(map[string]*watched, len(p.all))
	for _, w := range p.all {
		before[w.state.Name] = w
	}
	p.all = make([]*watched, 0, len(targets))
	for _, t := range targets {
		w := before[t.Name]
		if w != nil {
			delete(before, t.Name)
			w.replace(t)
		} else {
			first, _ := beginning(p.begun.Add(place(p.ever, p.Every)), now, p.Every)
			w = &watched{target: t, first: first, state: State{Name: t.Name}}
			w.ctx, w.end = context.WithCancel(ctx)
			p.ever++
			fresh = append(fresh, w)
		}
		p.all = append(p.all, w)
	}
	for _, gone := range before {
		gone.end()
	}
	return fresh
}

// place is where in the interval the nth target is probed: in the middle of one of the largest gaps
// that those before it have left.
func place(n uint64, every time.Duration) time.Duration {
	place, _ := bits.Mul64(bits.Reverse64(n), uint64(every)) // a binary fraction, of which n is mirrored
	return time.Duration(place)
}

func (w *watched) replace(t *Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asks {
		w.target.close()
	}
	w.target = t
}

// watch probes until the target is wanted no more.
func (p *Prober) watch(w *watched) {
	defer w.end()
	defer func() { w.target.close() }()
	for due := w.first; sleep(w.ctx, time.Until(due)); {
		select {
		case p.turns <- struct{}{}:
		case <-w.ctx.Done():
			return
		}
		w.probe(p.Told)
		<-p.turns
		var skipped uint64
		due, skipped = beginning(due.Add(p.Every), time.Now(), p.Every)
		w.skip(skipped)
	}
}

// beginning is the first of those from due on, whole intervals apart, that now is not behind, and how
// many it is behind.
func beginning(due, now time.Time, every time.Duration) (next time.Time, over uint64) {
	late := now.Sub(due)
	if late <= 0 {
		return due, 0
	}
	n := (late + every - 1) / every
	return due.Add(n * every), uint64(n)
}

func (w *watched) skip(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Skipped += n
}

// probe probes once.
func (w *watched) probe(told func(*Target, *Finding, State)) {
	w.mu.Lock()
	t := w.target
	w.asks = true
	w.mu.Unlock()
	begin := time.Now()
	found := t.Check.Probe.Run(w.ctx)
	took := time.Since(begin)
	var was State

	w.mu.Lock()
	w.asks = false
	if w.target != t {
		t.close()
	}
	if len(found) > 0 {
		was = w.state
		w.state.add(&found[0], took)
	}
	w.mu.Unlock()
	if len(found) > 0 && told != nil {
		told(t, &found[0], was)
	}
}

// add notes what a probe has found.
func (s *State) add(f *Finding, took time.Duration) {
	s.Probes++
	s.Up, s.Took = f.Kind == "", took
	s.Steps = stepsOf(f)
	if s.Up {
		s.Held = time.Now()
	} else {
		s.Failed = maps.Clone(s.Failed) // whoever has the State reads the one before
		if s.Failed == nil {
			s.Failed = make(map[dial.Kind]uint64)
		}
		s.Failed[f.Kind]++
	}
	s.Dialogue = make([]DialogueStep, len(f.Played))
	for i, played := range f.Played {
		s.Dialogue[i] = DialogueStep{played.Line, played.Took, played.Err == nil}
	}
	s.Expires, s.TLS = time.Time{}, ""
	if f.Secured != nil {
		s.TLS = f.Secured.Version
		if first := f.Secured.firstToExpire(); first != nil {
			s.Expires = first.NotAfter
		}
	}
}

// States are those of all targets, in their order.
func (p *Prober) States() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	states := make([]State, len(p.all))
	for i, w := range p.all {
		w.mu.Lock()
		states[i] = w.state
		w.mu.Unlock()
	}
	return states
}
