//go:build !386

package tap

import (
	"io"
	"runtime"
	"slices"
	"testing"
)

// A session that is silent takes up little with a loop: no goroutine, no buffer, and no connection of package net.
func TestASilentSessionTakesUpLittle(t *testing.T) {
	const sessions, most = 300, 1536
	upstream := plain.startServer(t, func(conn end) { // with no pipe of package net's, which come and go
		buf := make([]byte, 2)
		io.ReadFull(conn, buf)
		conn.Write(buf)
		conn.Read(buf)
	})
	tap := new(Tap)
	through := byLoops.start(t, tap, upstream)
	// inUse is what so many clients of addr, and what is behind them, take up, and how many goroutines they have.
	inUse := func(addr string) (bytes, goroutines int) {
		exchange := func() end {
			client := dial(t, addr)
			io.WriteString(client, "a\n")
			io.ReadFull(client, make([]byte, 2))
			return client
		}
		exchange()
		before, running := used(), runtime.NumGoroutine()
		for range sessions {
			exchange()
		}
		return (used() - before) / sessions, (runtime.NumGoroutine() - running) / sessions
	}
	var took []int
	for range 3 { // what other tests have left may go away meanwhile
		ends, of := inUse(upstream)
		bytes, goroutines := inUse(through)
		if took = append(took, bytes-ends); goroutines > of {
			t.Errorf("a silent session has %d goroutines", goroutines-of)
		}
	}
	slices.Sort(took)
	bytes := took[1]
	if bytes > most {
		t.Errorf("a silent session takes up %d bytes, want %d at most; %d", bytes, most, took)
	}
	t.Logf("a silent session takes up %d bytes", bytes)
}

// used is how much memory is in use once all else is collected.
func used() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
