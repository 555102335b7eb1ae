package parley_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// BenchmarkIdleSession reports what an idle session on a socket takes up: heap and
// goroutine stack, its client's end of the connection included.
func BenchmarkIdleSession(b *testing.B) {
	addr := parleytest.Start(b, &parley.Server{Handler: echo})
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sessions = 2000
	for b.Loop() {
		before := used()
		var conns []net.Conn
		for range sessions {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			io.WriteString(c, "x\n")
			io.ReadFull(c, make([]byte, 2))
			conns = append(conns, c)
		}
		b.ReportMetric(float64(used()-before)/sessions, "B/session")
		for _, c := range conns {
			c.Close()
		}
	}
}

func BenchmarkTCP1(b *testing.B) { benchmarkTCP(b, 1) }

func BenchmarkTCP16(b *testing.B) { benchmarkTCP(b, 16) }

func benchmarkTCP(b *testing.B, pipelined int) {
	c, err := net.Dial("tcp", parleytest.Start(b, &parley.Server{Handler: echo}))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := bytes.Repeat([]byte("session 1 msg 1\n"), pipelined)
	buf := make([]byte, len(text))
	b.ReportAllocs()
	for b.Loop() {
		c.Write(text)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pipelined), "ns/request")
}
