package systemd

import (
	"fmt"
	"sync/atomic"

	"github.com/parley-tcp/parley"
)

// A Pulse is the observer that knows whether a server lets its peers in, and how many there are.
type Pulse struct {
	// Waiting says whether a peer waits for a listener to accept it; one a listener.
	Waiting []func() bool

	opened, closed, let atomic.Int64 // let counts what came of accepting, whatever that was

	waited bool // when Alive last looked
	before int64
}

// Wants beginnings and ends, and what else may come of accepting.
func (p *Pulse) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Closed, parley.Refused, parley.HandshakeFailed, parley.AcceptFailed:
		return true
	}
	return false
}

// Observe counts.
func (p *Pulse) Observe(e *parley.Event) {
	switch e.Kind {
	case parley.Opened:
		p.opened.Add(1)
	case parley.Closed:
		p.closed.Add(1)
		return
	}
	p.let.Add(1)
}

// Status is such as "2 sessions open, 17 served".
func (p *Pulse) Status() string {
	closed := p.closed.Load() // first, so that there are never fewer than none
	opened := p.opened.Load()
	return fmt.Sprintf("%d sessions open, %d served", opened-closed, opened)
}

// Alive is false if somebody waited to be accepted when it was asked before, somebody does now,
// and nobody was meanwhile: nothing accepts any more. One goroutine at a time may ask.
func (p *Pulse) Alive() bool {
	let, waits := p.let.Load(), p.waits()
	isStuck := p.waited && waits && let == p.before
	p.waited, p.before = waits, let
	return !isStuck
}

func (p *Pulse) waits() bool {
	for _, waits := range p.Waiting {
		if waits() {
			return true
		}
	}
	return false
}
