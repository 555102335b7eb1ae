package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// playing is a check of a service in memory with a dialogue.
func playing(t *testing.T, text string, serve func(c *parleytest.Conn)) (*Check, *bytes.Buffer) {
	t.Helper()
	d, err := dialogue.Parse("a.talk", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := d.Framing
	if name == "" {
		name = "line"
	}
	framing, err := dialect.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	connect := service(serve)
	if serve == nil {
		connect = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
	}
	return &Check{Target: "x:7", Out: out, Notes: out, Probe: Probe{
		Timeout: 2 * time.Second, Script: &Script{Dialogue: d, Framing: framing},
		Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: connect},
	}}, out
}

// counting serves lines with their number, each after as many milliseconds.
func counting(c *parleytest.Conn) {
	lines := bufio.NewScanner(c)
	for n := 1; lines.Scan(); n++ {
		time.Sleep(time.Duration(n) * ms)
		fmt.Fprintf(c, "%d %s\n", n, lines.Text())
	}
}

// What a check says of a dialogue: each step's time, and which one failed.
func TestVerdictsOnDialogues(t *testing.T) {
	long := strings.Repeat("a", 100)
	for _, c := range []struct {
		name, text string
		serve      func(c *parleytest.Conn)
		kind       dial.Kind
		want       string
	}{
		{"holds", "> a\n< = 1 a\nwait 5ms\n> b\n< ~ ^2 b\neof\n< eof\n", counting, "",
			"10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 1.00 ms, 3: 5.00 ms, 5: 2.00 ms, 6: 0.00 ms, 7: 0.00 ms\n"},
		{"hears something else", "> a\n# two\n< ~ ^2\n> b\n", counting, dial.Mismatch,
			"x:7 (10.0.0.1:7): step 2 (a.talk:3): want ~ ^2, got 1 a (connect 3.00 ms, 2: 1.00 ms)\n"},
		{"hears something else that is long", "> " + long + "\n< = 1 " + long[1:] + "\n", counting, dial.Mismatch,
			"x:7 (10.0.0.1:7): step 2 (a.talk:2): want = and 101 bytes, got 102, of which line 1 differs at its byte 102 (connect 3.00 ms, 2: 1.00 ms)\n" +
				"  @@ line 1 @@\n  -…" + long[:40] + "\n  +…" + long[:40] + "a\n"},
		{"hears something that steers a terminal", "< = a\n", func(c *parleytest.Conn) { io.WriteString(c, "\x1b[2J\u202e\n"); silent(c) }, dial.Mismatch,
			"x:7 (10.0.0.1:7): step 1 (a.talk:1): want = a, got \\x1b[2J\\xe2\\x80\\xae (connect 3.00 ms, 1: 0.00 ms)\n"},
		{"hears nothing", "< *\n", silent, dial.ReplyTimeout,
			"x:7 (10.0.0.1:7): step 1 (a.talk:1): want *, but nothing came within 2s (connect 3.00 ms, 1: 2000.00 ms)\n"},
		{"hears nothing in time", "> a\nwithin 30ms < *\n", silent, dial.ReplyTimeout,
			"x:7 (10.0.0.1:7): step 2 (a.talk:2): want *, but nothing came within 30ms (connect 3.00 ms, 2: 30.00 ms)\n"},
		{"is hung up on", "> a\n< *\n", func(c *parleytest.Conn) { hearLine(c) }, dial.Closed,
			"x:7 (10.0.0.1:7): step 2 (a.talk:2): want *, but the server closed (connect 3.00 ms, 2: 0.00 ms)\n"},
		{"cannot be said", "> a\\nb\n< *\n", silent, Unplayable,
			"x:7 (10.0.0.1:7): step 1 (a.talk:1): > a\\nb: line cannot carry this: "},
		{"reaches nobody", "> a\n", nil, dial.Refused,
			"a.talk: cannot connect to x:7 (10.0.0.1:7): connection refused; is a server listening there?\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				check, out := playing(t, c.text, c.serve)
				summary, err := check.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if held := summary.Held == 1; held != (c.kind == "") || !held && summary.Failed[c.kind] != 1 {
					t.Errorf("%+v; want %q", summary, c.kind)
				}
				if !strings.HasPrefix(out.String(), c.want) {
					t.Errorf("got\n%swant\n%s", out, c.want)
				}
			})
		})
	}
}

func TestDialoguesInJSON(t *testing.T) {
	for _, c := range []struct {
		text  string
		serve func(c *parleytest.Conn)
		want  string
	}{
		{"> a\n< ~ 1\n> \\x01\n< = 2\n> b\n", counting, `{"event":"check","time":"2000-01-01T00:00:00Z","target":"x:7","address":"10.0.0.1:7","connect_ns":3000000,"script":"a.talk","steps":[` +
			`{"line":1,"kind":"send","took_ns":0,"bytes":1,"payload":"a","held":true},` +
			`{"line":2,"kind":"expect","took_ns":1000000,"want":"~ 1","bytes":3,"payload":"1 a","held":true},` +
			`{"line":3,"kind":"send","took_ns":0,"bytes":1,"payload_base64":"AQ==","held":true},` +
			`{"line":4,"kind":"expect","took_ns":2000000,"want":"= 2","bytes":3,"payload_base64":"MiAB","held":false}` +
			`],"held":false,"kind":"mismatch","error":"x:7 (10.0.0.1:7): step 4 (a.talk:4): want = 2, got 2 \\x01"}` + "\n"},
		{"> a\n< *\nwait 1ms\neof\n< eof\n", counting, `{"event":"check","time":"2000-01-01T00:00:00Z","target":"x:7","address":"10.0.0.1:7","connect_ns":3000000,"script":"a.talk","dialogue_ns":2000000,"steps":[` +
			`{"line":1,"kind":"send","took_ns":0,"bytes":1,"payload":"a","held":true},` +
			`{"line":2,"kind":"expect","took_ns":1000000,"want":"*","bytes":3,"payload":"1 a","held":true},` +
			`{"line":3,"kind":"wait","took_ns":1000000,"held":true},` +
			`{"line":4,"kind":"eof","took_ns":0,"held":true},` +
			`{"line":5,"kind":"expect_eof","took_ns":0,"want":"eof","held":true}],"held":true}` + "\n"},
		{"framing smtp\n> AUTH PLAIN AG0Acw==\n< ~ ^235\n", func(c *parleytest.Conn) { hearLine(c); io.WriteString(c, "235 ok\r\n"); silent(c) },
			`{"event":"check","time":"2000-01-01T00:00:00Z","target":"x:7","address":"10.0.0.1:7","connect_ns":3000000,"script":"a.talk","steps":[` +
				`{"line":2,"kind":"send","took_ns":0,"bytes":21,"payload_base64":"QVVUSCBQTEFJTiBBRzBBY3c9PQ0K","text":"AUTH PLAIN AG0Acw==","secret":true,"held":true},` +
				`{"line":3,"kind":"expect","took_ns":0,"want":"~ ^235","bytes":8,"payload_base64":"MjM1IG9rDQo=","text":"235 ok","held":true}],"held":true}` + "\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			check, out := playing(t, c.text, c.serve)
			check.JSON = true
			if _, err := check.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got\n%swant\n%s", out, c.want)
			}
		})
	}
}

// A series of a dialogue counts its plays, and sums up how long those took that held.
func TestASeriesOfADialogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, out := playing(t, "> {n} {conn}\n< !~ 3 3\n", counting)
		check.Count, check.Interval = 3, time.Second
		if summary, err := check.Run(t.Context()); err != nil || summary.Held != 2 || summary.Lost() != 0 {
			t.Errorf("%+v, %v; want 2 of 3 held", summary, err)
		}
		const want = `10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 1.00 ms
10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 1.00 ms
x:7 (10.0.0.1:7): step 2 (a.talk:2): want !~ 3 3, got 1 3 3 (connect 3.00 ms, 2: 1.00 ms)
x:7 a.talk: 2 of 3 held, 1 mismatch; 0.0 % lost
connect: min 3.00 ms, median 3.00 ms, p99 3.00 ms, max 3.00 ms
dialogue: min 1.00 ms, median 1.00 ms, p99 1.00 ms, max 1.00 ms
`
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out, want)
		}
	})
}

// What is waited for with --wait is the whole dialogue.
func TestADialogueIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plays := 0
		check, out := playing(t, "> a\n< = 1 a\n", func(c *parleytest.Conn) {
			if plays++; plays > 2 {
				counting(c)
			}
			hearLine(c)
		})
		check.Wait = time.Minute
		if summary, err := check.Run(t.Context()); err != nil || summary.Held != 1 {
			t.Errorf("%+v, %v; want it held", summary, err)
		}
		const want = `parley: waiting: x:7 (10.0.0.1:7): step 2 (a.talk:2): want = 1 a, but the server closed
10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 1.00 ms
`
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out, want)
		}
	})
}

// One that cannot be played is not waited for.
func TestAnUnplayableDialogueIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check, out := playing(t, "> a\\nb\n", silent)
		check.Wait = time.Minute
		begin := time.Now()
		summary, err := check.Run(t.Context())
		if err != nil || summary.Failed[Unplayable] != 1 || strings.Contains(out.String(), "waiting") || time.Since(begin) > time.Second {
			t.Errorf("%+v, %v after %v; it says\n%s", summary, err, time.Since(begin), out)
		}
	})
}

// A dialogue that goes over to TLS shows the certificate, and has it judged.
func TestADialogueGoesOverToTLS(t *testing.T) {
	ca := newCA(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, time.Date(2000, 1, 10, 0, 0, 0, 0, time.UTC), "x")}}
	serve := func(c *parleytest.Conn) {
		hearLine(c)
		io.WriteString(c, "go\n")
		s := tlsconn.Server(c, server)
		if s.HandshakeContext(context.Background()) == nil {
			echo(s)
			s.Close()
		}
	}
	const certificate = "  TLS 1.3, CIPHER\n  certificate for x; issued by CN=Root; 8 days left (2000-01-10)\n"
	for _, c := range []struct {
		name    string
		trusted *signer
		expires time.Duration
		kind    dial.Kind
		want    string
	}{
		{"trusted", ca, 0, "", "10.0.0.1:7 a.talk held: connect 3.00 ms, 2: 0.00 ms, 3: 0.00 ms, 5: 0.00 ms\n" + certificate + "  verified for x\n"},
		{"a stranger's", newCA(t), 0, dial.TLSFailed, "x:7 (10.0.0.1:7): step 3 (a.talk:3): tls: its certificate is signed by nobody we trust, but by another CN=Root with the same name; --ca FILE names who" +
			" (connect 3.00 ms, 2: 0.00 ms, 3: 0.00 ms)\n" + certificate + "  not verified\n"},
		{"soon to expire", ca, 14 * 24 * time.Hour, Expiring, "10.0.0.1:7 has a certificate that expires in 8 days (2000-01-10), want 14: connect 3.00 ms, 2: 0.00 ms, 3: 0.00 ms, 5: 0.00 ms\n" + certificate + "  verified for x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				check, out := playing(t, "> tls?\n< = go\ntls\n> a\n< = a\n", serve)
				check.Probe.Script.TLS, check.Probe.Expires = &tls.Config{RootCAs: c.trusted.pool()}, c.expires
				summary, err := check.Run(t.Context())
				if err != nil || (summary.Held == 1) != (c.kind == "") || c.kind != "" && summary.Failed[c.kind] != 1 {
					t.Errorf("%+v, %v; want %q", summary, err, c.kind)
				}
				if got := aCipher.ReplaceAllString(out.String(), "CIPHER"); got != c.want {
					t.Errorf("got\n%swant\n%s", got, c.want)
				}
			})
		})
	}
}
