package load

import (
	"context"
	"net"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/parleytest"
)

// plainConn is one that no poller takes.
type plainConn struct{ *net.TCPConn }

// BenchmarkGoroutines is a closed loop where each connection has a goroutine: of requests and
// replies, and of a dialogue that is the same.
func BenchmarkGoroutines(b *testing.B) {
	addr := parleytest.Start(b, &parley.Server{
		Engine:  parley.LoopsIfPossible,
		Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }),
	})
	contains, _ := expect.Parse("contains")
	line, _ := dialect.Parse("line")
	script, err := dialogue.Parse("f", []byte("> message {n}\n< = message {n}\n"))
	if err != nil {
		b.Fatal(err)
	}
	for name, plan := range map[string]Plan{
		"requests": {Messages: ParseMessages([]byte("message {n}")), Expect: contains},
		"dialogue": {Script: &Script{Dialogue: script, Framing: line}},
	} {
		b.Run(name, func(b *testing.B) {
			plan.Connections, plan.Requests = 16, uint64(b.N)
			plan.Dial = func(ctx context.Context) (net.Conn, dial.Steps, error) {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err != nil {
					return nil, dial.Steps{}, err
				}
				return plainConn{conn.(*net.TCPConn)}, dial.Steps{}, nil
			}
			before := usageNow()
			r, err := plan.Run(b.Context())
			if err != nil || r.Replies != uint64(b.N) {
				b.Fatalf("%+v, %v", r, err)
			}
			b.ReportMetric(float64(usageNow().cpu-before.cpu)/float64(b.N), "cpu-ns/op")
			b.ReportAllocs()
		})
	}
}
