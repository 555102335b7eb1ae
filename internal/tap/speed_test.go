package tap

import (
	"bytes"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// What looking at the messages costs: a read of one request and one of its reply, or of many
// at once.
func BenchmarkInspect(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"1 in flight", 1}, {"16 in flight", 16}, {"bulk", 256}} {
		b.Run(c.name, func(b *testing.B) {
			s := newSession(&Tap{Observer: parley.ObserverFunc(func(*parley.Event) {})}, nil)
			s.public = parley.NewSession(1, nil, nil, time.Now())
			messages := bytes.Repeat([]byte("session 1 message 1, of sixty bytes or so, as many are .....\n"), c.n)
			b.ReportAllocs()
			b.SetBytes(int64(2 * len(messages)))
			for b.Loop() {
				s.inspect(&s.requests, messages, false)
				s.inspect(&s.replies, messages, false)
			}
		})
	}
}
