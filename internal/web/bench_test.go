package web

import (
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// What a page costs an event loop for 1,024 requests: 16 of each of 64 sessions in a round.
func BenchmarkRound(b *testing.B) {
	const sessions, ahead = 64, 16
	p := New(Options{})
	p.budget.Store(0)
	r := p.Fork().(*recorder)
	var all [sessions]*parley.Session
	for i := range all {
		all[i] = new(parley.Session)
		r.Observe(event(parley.Opened, all[i], 0))
	}
	e := event(parley.Received, nil, 1)
	b.ReportAllocs()
	for b.Loop() {
		for _, kind := range []parley.EventKind{parley.Received, parley.Replied} {
			for i := range sessions {
				e.Kind, e.Session = kind, all[i]
				for range ahead {
					e.Took = 50 * time.Microsecond
					r.Observe(e)
				}
			}
			r.Flush()
		}
	}
}
