package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

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

var aTime = regexp.MustCompile(`(lookup|connect|STARTTLS|TLS|banner|reply|open|after) [0-9.]+ ms`)

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
			"no greeting from ADDR within 100ms; --timeout waits longer (connect TIME)"},
		{"closes", listenTo(t, read), []string{"hello"}, 1,
			"ADDR closed the connection before it replied (connect TIME)"},
		{"closes inside a reply", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "one\ntwo\n") }), []string{"hello", "-n", "3"}, 1,
			`ADDR closed the connection inside its reply: 2 of its 3 lines came: one\ntwo\n; --lines says how many a reply has (connect TIME)`},
		{"sends no newline", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "Test\r"); io.Copy(io.Discard, c) }), []string{"hello", "-w", "100ms"}, 1,
			`the reply from ADDR is not whole after 100ms: 5 bytes came and no line's end: Test\r; --framing delim:0d would end it, --timeout waits longer (connect TIME)`},
		{"never sends the last line", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "250-a\n250-b\n"); io.Copy(io.Discard, c) }), []string{"hello", "--until", "^250 ", "-w", "100ms"}, 1,
			"the reply from ADDR is not whole after 100ms: none of its lines matches `^250 `, which would end it: 250-a\\n250-b\\n; --timeout waits longer (connect TIME)"},
		{"greets in a line", listenTo(t, func(c *net.TCPConn) { io.WriteString(c, "hi\n"); read(c); io.WriteString(c, "250-a\n250 b\n") }), []string{"hello", "--banner", "--until", "^250 "}, 0,
			`ADDR answered: connect TIME, banner TIME, reply TIME: 250-a\n250 b`},
		{"resets", listenTo(t, func(c *net.TCPConn) { read(c); c.SetLinger(0) }), []string{"hello"}, 1,
			"the connection to ADDR broke: connection reset by peer (connect TIME)"},
		{"speaks another protocol", listenTo(t, func(c *net.TCPConn) { read(c); io.WriteString(c, "hi\r\n"); io.Copy(io.Discard, c) }), []string{"PING", "-f", "redis"}, 1,
			`ADDR sent what is no reply: byte 0x68 where a value should begin: 4 bytes came, which is no whole redis reply: hi\r\n; is --framing right? (connect TIME)`},
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
		{[]string{"--banner", "-e", "^220"}, 0, ` answered: connect TIME, banner TIME: 220-mail.example`},
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
