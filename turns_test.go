package parley_test

import (
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// Whoever has sent much has a bounded turn: a request of another session that comes meanwhile
// is answered before its next one, or the one after that where the scheduler decides.
func TestWhoPipelinesTakesTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one loop, and one goroutine at a time
	const turn = 1024                               // replies
	for transport, allowed := range map[string]int{"memory": 2 * turn, "tcp, loops": turn, "unix, loops": turn} {
		overSome(t, []string{transport}, func(t *testing.T, serve func(*parley.Server) func() conn) {
			w := new(witness)
			ready := make(chan conn, 1)
			dial := serve(&parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				if string(req.Body) == "a" && req.Seq == 1 {
					io.WriteString(<-ready, "b\n")
				}
				return append(dst, req.Body...), nil
			})})
			pipelining := dial()
			other := dial()
			exchange(t, other, "hello")
			ready <- other
			const requests = 30000
			text := strings.Repeat("a\n", requests) // what a connection holds
			io.WriteString(pipelining, text)
			got := make([]byte, len(text))
			if n, err := io.ReadFull(pipelining, got); string(got) != text {
				t.Fatalf("%d bytes came back, %v; want %d", n, err, len(text))
			}
			before := 0
			for _, e := range w.all() {
				if e.kind == parley.Received && e.body == "b" {
					break
				}
				if e.kind == parley.Received && e.body == "a" {
					before++
				}
			}
			if before > allowed {
				t.Errorf("%d requests of one session are received while another waits, want at most %d", before, allowed)
			}
		})
	}
}
