package journal

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// many writes a journal of n exchanges of 64 sessions, as a loaded server does.
func many(b testing.TB, file string, n int) {
	b.Helper()
	w, err := Create(file, Options{About: About{Framing: "line", Role: "server", Node: "web-1"}})
	if err != nil {
		b.Fatal(err)
	}
	sessions := make([]*parley.Session, 64)
	for i := range sessions {
		sessions[i] = parley.NewSession(uint64(i+1), address(1, i+1), address(2, 7000), time.Now())
		w.Observe(&parley.Event{Kind: parley.Opened, Session: sessions[i], Time: time.Now()})
	}
	for i := range n {
		request, reply := fmt.Sprintf("order %d of some customer", i), fmt.Sprintf("Request #%d - order of some customer ...", i)
		x := parley.Exchange{Seq: uint64(i/64 + 1), Received: time.Now(), Took: time.Microsecond, Request: []byte(request), Reply: []byte(reply)}
		x.RawRequest = parley.Raw{Bytes: []byte(request + "\n"), At: uint64(i)}
		x.RawReply = parley.Raw{Bytes: []byte(reply + "\n"), At: uint64(i)}
		w.Pass(sessions[i%64], []parley.Exchange{x})
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFollow is what an exchange costs to be read and encoded.
func BenchmarkFollow(b *testing.B) {
	const n = 100_000
	file := filepath.Join(b.TempDir(), "j")
	many(b, file, n)
	f := follow(b, file)
	var buf []byte
	bytes := 0
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		bytes = 0
		for from := (Position{}); ; {
			block, err := f.Next(b.Context(), from, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if block == nil {
				break
			}
			if buf, err = block.Append(buf[:0]); err != nil {
				b.Fatal(err)
			}
			bytes += len(buf)
			from = block.To
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/n, "cpu-ns/exchange")
	b.ReportMetric(float64(bytes)/n, "bytes/exchange")
}

// BenchmarkCollect is what an exchange costs to be parsed and recorded among others.
func BenchmarkCollect(b *testing.B) {
	const n = 100_000
	file := filepath.Join(b.TempDir(), "j")
	many(b, file, n)
	var encoded [][]byte
	for _, block := range blocks(b, follow(b, file), Position{}, 1<<20) {
		p, err := block.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		encoded = append(encoded, p)
	}
	b.ReportAllocs()
	i := 0
	before := cpuTime(b)
	for b.Loop() {
		i++
		c := collectInto(b, filepath.Join(b.TempDir(), fmt.Sprint(i)))
		for _, p := range encoded {
			block, err := ParseBlock(p)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Add(block, 1); err != nil {
				b.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/n, "cpu-ns/exchange")
}

// cpuTime is what the process has used of processors: on a machine that does other things too it says
// more than the time that passed.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
