package journal

import (
	"path/filepath"
	"testing"

	"github.com/parley-tcp/parley"
)

// BenchmarkBatch is what a full batch of small exchanges costs the goroutine that writes.
func BenchmarkBatch(b *testing.B) {
	f, err := openFile(filepath.Join(b.TempDir(), "j"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer f.close()
	w := &Writer{wake: make(chan struct{}, 1)}
	raw := func(message string) parley.Raw { return parley.Raw{Bytes: []byte(message), At: 1 << 16} }
	one := []parley.Exchange{{Seq: 1, Request: []byte("session 1 msg 16"), Reply: []byte("Request #1 - session 1 msg 16 ..."),
		RawRequest: raw("session 1 msg 16\n"), RawReply: raw("Request #1 - session 1 msg 16 ...\n")}}
	for range batchRows {
		w.Pass(new(parley.Session), one)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if err := f.write(w.queue[0]); err != nil {
			b.Fatal(err)
		}
		if f.checkpointDue() {
			if err := f.checkpoint(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*batchRows), "cpu-ns/exchange")
}
