package probe

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/parleytest"
)

// A series as it is printed, in made-up time: a reply that takes longer each time, one
// that is another, one that does not come, and a host that has gone.
func TestReportOfASeries(t *testing.T) {
	for _, c := range []struct {
		name  string
		check Check
		want  string
	}{
		{"in words", Check{}, `10.0.0.1:7 answered: lookup 1.50 ms, connect 3.00 ms, reply 1.00 ms: pong 1
10.0.0.1:7 answered: lookup 1.50 ms, connect 3.00 ms, reply 2.00 ms: pong 2
10.0.0.1:7 answered, but not with a match of ` + "`^pong`" + `: lookup 1.50 ms, connect 3.00 ms, reply 3.00 ms: p\x00ng\n3
no reply from many:7 (10.0.0.1:7) within 2s; --timeout waits longer (lookup 1.50 ms, connect 3.00 ms)
cannot connect to many:7 (10.0.0.1:7): connection refused; is a server listening there?
many:7: 2 of 5 held, 1 mismatch, 1 refused, 1 reply timeout; 40.0 % lost
connect: min 3.00 ms, median 3.00 ms, p99 3.00 ms, max 3.00 ms
reply: min 1.00 ms, median 2.00 ms, p99 3.00 ms, max 3.00 ms
`},
		{"in JSON", Check{JSON: true}, `{"event":"check","time":"2000-01-01T00:00:00Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":1000000,"bytes":6,"payload":"pong 1","held":true}
{"event":"check","time":"2000-01-01T00:00:01Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":2000000,"bytes":6,"payload":"pong 2","held":true}
{"event":"check","time":"2000-01-01T00:00:02Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":3000000,"bytes":6,"payload_base64":"cABuZwoz","held":false,"kind":"mismatch","error":"many:7 (10.0.0.1:7) answered, but not with a match of ` + "`^pong`" + `"}
{"event":"check","time":"2000-01-01T00:00:03Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"held":false,"kind":"reply_timeout","error":"no reply from many:7 (10.0.0.1:7) within 2s; --timeout waits longer"}
{"event":"check","time":"2000-01-01T00:00:05.0045Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"held":false,"kind":"refused","error":"cannot connect to many:7 (10.0.0.1:7): connection refused; is a server listening there?"}
{"event":"summary","time":"2000-01-01T00:00:05.009Z","target":"many:7","checks":5,"held":2,"lost":2,"mismatch":1,"refused":1,"reply_timeout":1,"connect_min_ns":3000000,"connect_median_ns":3000000,"connect_p99_ns":3000000,"connect_max_ns":3000000,"reply_min_ns":1000000,"reply_median_ns":2000000,"reply_p99_ns":3000000,"reply_max_ns":3000000}
`},
		{"quiet", Check{Quiet: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c.check.Count, c.check.Interval, c.check.Out = 5, time.Second, &out
				c.check.Target, c.check.Probe = "many:7", fading(t)
				if summary, err := c.check.Run(t.Context()); err != nil || summary.Held != 2 || summary.Lost() != 2 {
					t.Errorf("%+v, %v; want 2 held, 2 lost", summary, err)
				}
				if out.String() != c.want {
					t.Errorf("got\n%swant\n%s", &out, c.want)
				}
			})
		})
	}
}

// fading probes a service that gets worse, in made-up time.
func fading(t *testing.T) Probe {
	pong, err := expect.Regexp("^pong")
	if err != nil {
		t.Fatal(err)
	}
	replies := []string{"pong 1", "pong 2", "p\x00ng\n3", ""}
	var n atomic.Int32 // requests so far
	serve := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		i := n.Add(1)
		time.Sleep(time.Duration(i) * time.Millisecond)
		if replies[i-1] == "" {
			time.Sleep(time.Hour)
		}
		return append(dst, replies[i-1]...), nil
	})
	srv := &parley.Server{Handler: serve, Framing: parley.LengthPrefixed}
	return Probe{
		Framing: parley.LengthPrefixed, Timeout: 2 * time.Second, Request: []byte("ping"), Expect: pong,
		Dialer: dial.Dialer{Network: "tcp", Host: "many", Port: "7",
			LookupAddrs: func(context.Context, string, string) ([]netip.Addr, error) {
				time.Sleep(1500 * time.Microsecond)
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			},
			Connect: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(3 * time.Millisecond)
				if int(n.Load()) == len(replies) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
				}
				return parleytest.Pipe(t, srv), nil
			},
		},
	}
}

// What came of a reply that is not whole is in the verdict, to the byte.
func TestAnUnfinishedReplyIsShown(t *testing.T) {
	for _, c := range []struct {
		json bool
		want string
	}{
		{false, `the reply from x:7 (10.0.0.1:7) is not whole after 1s: 5 bytes came and no line's end: PONG\x00; --framing delim:00 would end it, --timeout waits longer (connect 3.00 ms)` + "\n"},
		{true, `{"event":"check","time":"2000-01-01T00:00:00Z","target":"x:7","address":"10.0.0.1:7","connect_ns":3000000,"bytes":5,"payload_base64":"UE9ORwA=","whole":false,"held":false,"kind":"reply_timeout","error":"the reply from x:7 (10.0.0.1:7) is not whole after 1s: 5 bytes came and no line's end: PONG\u0000; --framing delim:00 would end it, --timeout waits longer"}` + "\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			check := Check{Target: "x:7", Out: &out, JSON: c.json, Probe: Probe{
				Timeout: time.Second, Request: []byte("PING"),
				ReplyLacks: func([]byte) (string, string) {
					return "5 bytes came and no line's end", "--framing delim:00 would end it"
				},
				Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: service(func(c *parleytest.Conn) {
					io.WriteString(c, "PONG\x00")
					silent(c)
				})},
			}}
			if _, err := check.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got\n%swant\n%s", &out, c.want)
			}
		})
	}
}

// Nothing that an argument or a peer says steers a terminal.
func TestVerdictsAreEscaped(t *testing.T) {
	const evil = "\x1b[2J\u202e\n"
	for _, c := range []struct {
		name string
		err  error // of connecting
		json bool
	}{{"answered", nil, false}, {"not connected", syscall.ECONNREFUSED, false}, {"in JSON", nil, true}} {
		synctest.Test(t, func(t *testing.T) {
			var out, notes bytes.Buffer
			check := Check{Target: evil, Count: 1, Out: &out, Notes: &notes, JSON: c.json, Probe: Probe{
				Timeout: time.Second, Request: []byte("a"), Expect: expect.Text(evil),
				Dialer: dial.Dialer{Network: "tcp", Host: evil, Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
					if c.err != nil {
						return nil, &net.OpError{Op: "dial", Net: network, Err: c.err}
					}
					return service(func(c *parleytest.Conn) { hearLine(c); io.WriteString(c, "\x1b[2J\u202e\n") })(ctx, network, address)
				}},
			}}
			if _, err := check.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(out.String(), "\x1b\u202e") {
				t.Errorf("%s: %q", c.name, &out)
			}
		})
	}
}

// Who writes the longest time means never.
func TestTheLargestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		check := Check{Target: "x:7", Wait: math.MaxInt64, Out: io.Discard, Notes: io.Discard, Probe: Probe{
			Timeout: math.MaxInt64, Request: []byte("a"),
			Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", Timeout: math.MaxInt64, LookupAddrs: names(0, "10.0.0.1"),
				Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
					if time.Since(begin) < time.Hour {
						return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
					}
					return service(func(c *parleytest.Conn) { hearLine(c); time.Sleep(time.Hour); io.WriteString(c, "b\n") })(ctx, network, address)
				}},
		}}
		summary, err := check.Run(t.Context())
		if took := time.Since(begin).Round(time.Minute); err != nil || summary.Held != 1 || took != 2*time.Hour {
			t.Errorf("%+v, %v after %v; want it held after 2h", summary, err, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		check := Check{Count: math.MaxInt, Interval: math.MaxInt64, Out: io.Discard, Probe: Probe{
			Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: service(silent)},
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*365*24*time.Hour)
		defer cancel()
		if summary, err := check.Run(ctx); err != nil || summary.Probes != 1 {
			t.Errorf("%d probes in a hundred years, %v; want one", summary.Probes, err)
		}
	})
}
