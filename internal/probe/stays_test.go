package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// A connection holds if it is open for so long, to the nanosecond: since it was made, and with a
// message since its reply.
func TestAConnectionThatIsToStay(t *testing.T) {
	const stays = 500 * ms
	ca := newCA(t)
	overTLS := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, ages, "x")}}
	closeAfter := func(d time.Duration) func(*parleytest.Conn) { return func(*parleytest.Conn) { time.Sleep(d) } }
	for _, c := range []struct {
		name    string
		request string
		banner  bool
		connect func(context.Context, string, string) (net.Conn, error)
		want    string
	}{
		{"closes too early", "", false, service(closeAfter(stays - 1)), "x:7 (10.0.0.1:7) closed the connection after 500.00 ms, before the 500ms of --stays (connect 3.00 ms, open 500.00 ms)"},
		{"closes at once", "", false, service(func(*parleytest.Conn) {}), "x:7 (10.0.0.1:7) closed the connection after 0.00 ms, before the 500ms of --stays (connect 3.00 ms)"},
		{"closes behind", "", false, service(closeAfter(stays + 1)), "10.0.0.1:7 is reachable: connect 3.00 ms, open 500.00 ms"},
		{"stays", "", false, service(silent), "10.0.0.1:7 is reachable: connect 3.00 ms, open 500.00 ms"},
		{"talks, and stays", "", false, service(func(c *parleytest.Conn) {
			for range 10 {
				time.Sleep(100 * ms)
				c.Write(make([]byte, 5000))
			}
		}), "10.0.0.1:7 is reachable: connect 3.00 ms, open 500.00 ms"},
		{"talks, and closes", "", false, service(func(c *parleytest.Conn) { io.WriteString(c, "503 no server\n") }),
			"x:7 (10.0.0.1:7) closed the connection after 0.00 ms, before the 500ms of --stays (connect 3.00 ms)"},
		{"resets", "", false, service(func(c *parleytest.Conn) { time.Sleep(ms); c.Reset() }),
			"x:7 (10.0.0.1:7) reset the connection after 1.00 ms, before the 500ms of --stays (connect 3.00 ms, open 1.00 ms)"},
		{"is answered, and closes", "a", false, service(func(c *parleytest.Conn) {
			time.Sleep(stays)
			io.WriteString(c, "b\n")
			time.Sleep(stays - 1)
		}), "x:7 (10.0.0.1:7) closed the connection 500.00 ms after its reply, before the 500ms of --stays (connect 3.00 ms, reply 500.00 ms, open 500.00 ms)"},
		{"is answered, and stays", "a", false, service(func(c *parleytest.Conn) {
			time.Sleep(stays)
			io.WriteString(c, "b\n")
			time.Sleep(stays + 1)
		}), "10.0.0.1:7 answered: connect 3.00 ms, reply 500.00 ms, open 500.00 ms: b"},
		{"greets, and stays", "", true, service(func(c *parleytest.Conn) {
			time.Sleep(100 * ms)
			io.WriteString(c, "hi\n")
			time.Sleep(stays - 100*ms + 1)
		}), "10.0.0.1:7 answered: connect 3.00 ms, banner 100.00 ms, open 500.00 ms: hi"},
		{"greets late, and closes", "", true, service(func(c *parleytest.Conn) {
			time.Sleep(stays + 100*ms)
			io.WriteString(c, "hi\n")
		}), "10.0.0.1:7 answered: connect 3.00 ms, banner 600.00 ms, open 600.00 ms: hi"},
		{"ends TLS", "", false, secured(overTLS, func(c *tlsconn.Conn) { time.Sleep(ms); c.Close() }),
			"x:7 (10.0.0.1:7) closed the connection after 1.00 ms, before the 500ms of --stays (connect 3.00 ms, TLS 2.00 ms, open 1.00 ms)"},
		{"cuts TLS", "", false, secured(overTLS, func(c *tlsconn.Conn) { time.Sleep(ms); c.NetConn().Close() }),
			"x:7 (10.0.0.1:7) closed the connection after 1.00 ms, before the 500ms of --stays (connect 3.00 ms, TLS 2.00 ms, open 1.00 ms)"},
		{"stays in TLS", "", false, secured(overTLS, func(c *tlsconn.Conn) { io.WriteString(c, "hi\n"); time.Sleep(stays + 1) }),
			"10.0.0.1:7 is reachable: connect 3.00 ms, TLS 2.00 ms, open 500.00 ms"},
		{"wants a certificate of ours", "", false, secured(&tls.Config{Certificates: overTLS.Certificates, ClientAuth: tls.RequireAnyClientCert}, nil),
			"x:7 (10.0.0.1:7) ended the connection after 0.00 ms, before the 500ms of --stays: the server wants a client certificate; --cert and --key name one (connect 3.00 ms, TLS 2.00 ms)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				check := Check{Target: "x:7", Out: &out, Probe: Probe{Timeout: time.Second, Stays: stays, Banner: c.banner,
					Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: c.connect}}}
				if c.request != "" {
					check.Probe.Request = []byte(c.request)
				}
				if strings.Contains(c.want, "TLS") {
					check.Probe.Dialer.TLS = &tls.Config{RootCAs: ca.pool()}
				}
				summary, err := check.Run(t.Context())
				time.Sleep(time.Second) // for the server to be done, in made-up time
				if err != nil {
					t.Fatal(err)
				}
				if got, _, _ := strings.Cut(out.String(), "\n"); got != c.want {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
				kind := dial.Closed
				if strings.Contains(c.want, "certificate") {
					kind = dial.TLSFailed
				}
				if failed := strings.Contains(c.want, "before the"); failed != (summary.Failed[kind] == 1) {
					t.Errorf("%+v, want one %s: %v", summary, kind, failed)
				}
			})
		})
	}
}

// Whoever waits waits until the connection stays, and an interrupt finds nothing.
func TestWaitForAConnectionThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		connect := service(func(c *parleytest.Conn) {
			if time.Since(begin) > 3*time.Second {
				silent(c)
			}
		})
		var out, notes bytes.Buffer
		check := Check{Target: "x:7", Wait: time.Minute, Out: &out, Notes: &notes, Probe: Probe{Timeout: time.Second, Stays: 500 * ms,
			Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: connect}}}
		if summary, err := check.Run(t.Context()); err != nil || summary.Held != 1 || strings.Count(notes.String(), "\n") != 1 {
			t.Errorf("%+v, %v\n%s%s", summary, err, &notes, &out)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 103*ms)
		defer cancel()
		interrupted := time.Now()
		if found := check.Probe.Run(ctx); len(found) != 0 || time.Since(interrupted) != 103*ms {
			t.Errorf("an interrupt found %+v after %v", found, time.Since(interrupted))
		}
	})
}
