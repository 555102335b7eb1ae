package journal

import (
	"path/filepath"
	"testing"

	"github.com/parley-tcp/parley"
)

// BenchmarkRead is what it costs to count a journal's exchanges and to tell all of it, for each exchange.
// `make profile` takes default.pgo from it too.
func BenchmarkRead(b *testing.B) {
	const sessions, of, atOnce = 20, 5_000, 10
	file := filepath.Join(b.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for n := range sessions {
		s := parley.NewSession(uint64(n+1), nil, nil, at(0))
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
		place := uint64(0)
		for seq := 1; seq <= of; seq += atOnce {
			var together []parley.Exchange
			for i := range atOnce {
				request, reply := []byte("session 1 msg 16\n"), []byte("Request #1 - session 1 msg 16 ...\n")
				together = append(together, parley.Exchange{Seq: uint64(seq + i), Received: at(seq), Took: 40_000, Request: request[:16], Reply: reply[:33],
					RawRequest: parley.Raw{Bytes: request, At: place}, RawReply: parley.Raw{Bytes: reply, At: 2 * place}})
				place += uint64(len(request))
			}
			w.Pass(s, together)
		}
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for b.Loop() {
		for _, err := range r.Exchanges(b.Context(), Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
		for _, err := range r.Events(b.Context(), Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sessions*of), "ns/exchange")
}
