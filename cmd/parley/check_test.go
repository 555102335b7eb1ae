package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

// A series as it is printed, in made-up time: a reply that takes longer each time, one
// that is another, one that does not come, and a host that has gone.
func TestReportOfASeries(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  checkOptions
		want string
	}{
		{"in words", checkOptions{}, `10.0.0.1:7 answered: lookup 1.50 ms, connect 3.00 ms, reply 1.00 ms: pong 1
10.0.0.1:7 answered: lookup 1.50 ms, connect 3.00 ms, reply 2.00 ms: pong 2
10.0.0.1:7 answered, but not with a match of ` + "`^pong`" + `: lookup 1.50 ms, connect 3.00 ms, reply 3.00 ms: p\x00ng\n3
no reply from many:7 (10.0.0.1:7) within 2s; --timeout waits longer (lookup 1.50 ms, connect 3.00 ms)
cannot connect to many:7 (10.0.0.1:7): connection refused; is a server listening there?
many:7: 2 of 5 held, 1 mismatch, 1 refused, 1 reply timeout; 40.0 % lost
connect: min 3.00 ms, median 3.00 ms, p99 3.00 ms, max 3.00 ms
reply: min 1.00 ms, median 2.00 ms, p99 3.00 ms, max 3.00 ms
`},
		{"in JSON", checkOptions{json: true}, `{"event":"check","time":"2000-01-01T00:00:00Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":1000000,"bytes":6,"payload":"pong 1","held":true}
{"event":"check","time":"2000-01-01T00:00:01Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":2000000,"bytes":6,"payload":"pong 2","held":true}
{"event":"check","time":"2000-01-01T00:00:02Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"reply_ns":3000000,"bytes":6,"payload_base64":"cABuZwoz","held":false,"kind":"mismatch","error":"many:7 (10.0.0.1:7) answered, but not with a match of ` + "`^pong`" + `"}
{"event":"check","time":"2000-01-01T00:00:03Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"held":false,"kind":"reply_timeout","error":"no reply from many:7 (10.0.0.1:7) within 2s; --timeout waits longer"}
{"event":"check","time":"2000-01-01T00:00:05.0045Z","target":"many:7","address":"10.0.0.1:7","lookup_ns":1500000,"connect_ns":3000000,"held":false,"kind":"refused","error":"cannot connect to many:7 (10.0.0.1:7): connection refused; is a server listening there?"}
{"event":"summary","time":"2000-01-01T00:00:05.009Z","target":"many:7","checks":5,"held":2,"lost":2,"mismatch":1,"refused":1,"reply_timeout":1,"connect_min_ns":3000000,"connect_median_ns":3000000,"connect_p99_ns":3000000,"connect_max_ns":3000000,"reply_min_ns":1000000,"reply_median_ns":2000000,"reply_p99_ns":3000000,"reply_max_ns":3000000}
`},
		{"quiet", checkOptions{quiet: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c.opt.count, c.opt.interval = 5, time.Second
				check := fading(t, &c.opt, &out)
				if err := check.run(t.Context()); exitCode(err) != exitNetwork {
					t.Errorf("%v, want exit code 1", err)
				}
				if out.String() != c.want {
					t.Errorf("got\n%swant\n%s", &out, c.want)
				}
			})
		})
	}
}

// fading checks a service that gets worse, in made-up time.
func fading(t *testing.T, opt *checkOptions, out io.Writer) *check {
	pong, err := load.ExpectRegexp("^pong")
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
	return &check{opt: opt, target: "many:7", out: out, notes: out, probe: load.Probe{
		Framing: parley.LengthPrefixed, Timeout: 2 * time.Second, Request: []byte("ping"), Expect: pong,
		Dialer: load.Dialer{Network: "tcp", Host: "many", Port: "7",
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
	}}
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	return err.(*exitError).code
}

// A series that an interrupt cut short sums up what it had; any other check just ends.
func TestInterruptedCheck(t *testing.T) {
	s := startServer(t)
	silent := listenSilently(t)
	for _, c := range []struct {
		name   string
		args   []string
		await  string // on either output, before the signal
		code   int
		stdout string // at the end of it
	}{
		{"series that held", []string{"-c", "1000", "-i", "1h", s.addr, "hello"}, "hello", 0, " 1 of 1 held; 0.0 % lost"},
		{"series that did not", []string{"-c", "1000", "-i", "1h", s.addr, "hello", "-e", "x"}, "hello", 3, " 0 of 1 held, 1 mismatch; 0.0 % lost"},
		{"series with all lost", []string{"-c", "1000", "-i", "1h", "-w", "10ms", silent, "hello"}, "no reply", 1, " 0 of 1 held, 1 reply timeout; 100.0 % lost"},
		{"waiting", []string{"--wait", "1h", "127.0.0.1:1"}, "waiting", 130, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, program(t, append([]string{"check"}, c.args...)...))
			eventually(t, "it has begun", func() bool { return strings.Contains(p.stdout.String()+p.stderr.String(), c.await) })
			if code := p.stop(t, os.Interrupt); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(p.stdout.String(), c.stdout) || c.stdout == "" && p.stdout.String() != "" {
				t.Errorf("stdout %q, want %q in it", p.stdout, c.stdout)
			}
		})
	}
}

// listenSilently is a port that accepts and says nothing.
func listenSilently(t *testing.T) string {
	t.Helper()
	return listenTo(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
}

// listenTo serves each connection as told, until the test ends.
func listenTo(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			serve(c.(*net.TCPConn))
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
	})
	return l.Addr().String()
}

// checked runs a check and returns its verdict, the times left out, and its exit code.
func checked(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	p := start(t, cmd)
	code := p.exit(t)
	if p.stderr.String() != "" {
		t.Errorf("%s: stderr %q, want nothing", cmd, p.stderr)
	}
	return withoutTimes(p.stdout.String()), code
}

var aTime = regexp.MustCompile(`(lookup|connect|banner|reply) [0-9.]+ ms`)

func withoutTimes(text string) string { return aTime.ReplaceAllString(text, "$1 TIME") }

// Every way in which a peer can disappoint is told apart, in words and by the exit code.
func TestCheckTellsFailuresApart(t *testing.T) {
	read := func(c *net.TCPConn) { c.Read(make([]byte, 100)) }
	for _, c := range []struct {
		name, addr string
		args       []string
		code       int
		want       string
	}{
		{"says nothing", listenSilently(t), []string{"hello", "-w", "100ms"}, 1,
			"no reply from ADDR within 100ms; --timeout waits longer (connect TIME)"},
		{"says nothing first", listenSilently(t), []string{"--banner", "-w", "100ms"}, 1,
			"no reply from ADDR within 100ms; --timeout waits longer (connect TIME)"},
		{"closes", listenTo(t, read), []string{"hello"}, 1,
			"ADDR closed the connection before it replied (connect TIME)"},
		{"closes inside a reply", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "one\ntwo\n") }), []string{"hello", "-n", "3"}, 1,
			"ADDR closed the connection inside its reply (connect TIME)"},
		{"resets", listenTo(t, func(c *net.TCPConn) { read(c); c.SetLinger(0) }), []string{"hello"}, 1,
			"the connection to ADDR broke: connection reset by peer (connect TIME)"},
		{"accepts and closes, which is enough for a connection", listenTo(t, func(*net.TCPConn) {}), nil, 0,
			"ADDR is reachable: connect TIME"},
		{"answers with a stranger's bytes", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "\x1b[2J\u202e\xff\n") }), []string{"hello"}, 0,
			`ADDR answered: connect TIME, reply TIME: \x1b[2J\xe2\x80\xae\xff`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, code := checked(t, program(t, append([]string{"check", c.addr}, c.args...)...))
			if want := strings.ReplaceAll(c.want, "ADDR", c.addr) + "\n"; got != want || code != c.code {
				t.Errorf("got %q and %d, want %q and %d", got, code, want, c.code)
			}
		})
	}
}

// A server that speaks first, and in several lines.
func TestCheckOfAMailServer(t *testing.T) {
	addr := listenTo(t, func(c *net.TCPConn) {
		io.WriteString(c, "220-mail.example\r\n220 ready\r\n")
		if line, _ := bufio.NewReader(c).ReadString('\n'); line == "EHLO me\r\n" {
			io.WriteString(c, "250-mail.example\r\n250-PIPELINING\r\n250 HELP\r\n")
		}
	})
	last := []string{"--crlf", "--until", `^\d{3} `, addr}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--banner", "-e", "^220"}, 0, ` answered: connect TIME, banner TIME: 220-mail.example\r\n220 ready`},
		{[]string{"--banner", "EHLO", "me", "-e", "(?m)^250 HELP$"}, 0,
			` answered: connect TIME, banner TIME, reply TIME: 250-mail.example\r\n250-PIPELINING\r\n250 HELP`},
		// What comes first is taken for the reply: nothing else can be known.
		{[]string{"EHLO", "me", "-e", "^250"}, 3, " answered, but not with a match of `^250`: connect TIME, reply TIME: 220-mail.example\\r\\n220 ready"},
	} {
		got, code := checked(t, program(t, append(append([]string{"check"}, last...), c.args...)...))
		if want := addr + c.want + "\n"; got != want || code != c.code {
			t.Errorf("%q: got %q and %d, want %q and %d", c.args, got, code, want, c.code)
		}
	}
}

func TestCheckOfRedis(t *testing.T) {
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	start(t, peer(t, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir()))
	p := start(t, program(t, "check", "-q", "--wait", "30s", "--crlf", addr, "PING", "--expect-text", "+PONG"))
	if code := p.exit(t); code != 0 {
		t.Fatalf("redis is not up: %d, %s", code, p.stderr)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"PING"}, 0, " answered: connect TIME, reply TIME: +PONG"},
		{[]string{"SET a abc", "--expect-text", "+OK"}, 0, " answered: connect TIME, reply TIME: +OK"},
		{[]string{"GET a", "--lines", "2", "--expect", "abc$"}, 0, ` answered: connect TIME, reply TIME: $3\r\nabc`},
		{[]string{"GET a", "--until", "^[^$]", "--expect", "abc$"}, 0, ` answered: connect TIME, reply TIME: $3\r\nabc`},
		{[]string{"NOPE", "--expect", `^\+`}, 3, " answered, but not with a match of `^\\+`: connect TIME, reply TIME: -ERR unknown command 'NOPE', with args beginning with: "},
	} {
		got, code := checked(t, program(t, append([]string{"check", "--crlf", addr}, c.args...)...))
		if want := addr + c.want + "\n"; got != want || code != c.code {
			t.Errorf("%q: got %q and %d, want %q and %d", c.args, got, code, want, c.code)
		}
	}
	got := run(t, program(t, "client", "-q", "--crlf", "--until", "^[^$]", addr), "GET a\nPING\n")
	if want := "$3\r\nabc\n+PONG\n"; got != want {
		t.Errorf("the client got %q, want %q", got, want)
	}
}

func TestCheckOfNetcat(t *testing.T) {
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	nc := peer(t, "nc.openbsd", "-l", host, port)
	nc.Stdin = strings.NewReader("hello from nc\n")
	start(t, nc)
	p := start(t, program(t, "check", "--wait", "30s", "--banner", addr, "--expect-text", "hello from nc"))
	code := p.exit(t)
	got, want := withoutTimes(p.stdout.String()), addr+" answered: connect TIME, banner TIME: hello from nc\n"
	if got != want || code != 0 {
		t.Errorf("got %q and %d, want %q and 0", got, code, want)
	}
}

// freeAddr is an address that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
