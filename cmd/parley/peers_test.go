package main

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Real programs at the other end of the wire.

const threeReplies = "Request #1 - a ...\nRequest #1 - b ...\nRequest #1 - c ...\n"

func TestLinesFromRealClients(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"nc.openbsd", []string{"-N", "127.0.0.1", "PORT"}},
		{"ncat", []string{"127.0.0.1", "PORT"}},
		{"socat", []string{"-t", "10", "-", "TCP:127.0.0.1:PORT"}},
		{"python3", []string{"testdata/peers/client.py", "lines", "PORT"}},
		{"node", []string{"testdata/peers/client.js", "lines", "PORT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t)
			for i, arg := range c.args {
				c.args[i] = strings.ReplaceAll(arg, "PORT", s.port)
			}
			if got := run(t, peer(t, c.name, c.args...), "a\nb\nc"); got != threeReplies {
				t.Errorf("%s got %q, want %q", c.name, got, threeReplies)
			}
			s.stdout.await(t, "Server: incoming data [1]: c\nServer: Connection closed!\n")
		})
	}
}

func TestTelnetTalksInCRLF(t *testing.T) {
	s := startServer(t, "--crlf")
	cmd := peer(t, "telnet", "127.0.0.1", s.port)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	fmt.Fprintln(in, "hello") // telnet makes CRLF of it
	p.stdout.await(t, "Request #1 - hello ...")
	fmt.Fprintln(in)
	p.exit(t)
	s.stdout.await(t, "Server: incoming data [5]: hello\nServer: Connection closed!\n")
}

// Clients that send no newline are served under chunk, in lockstep.
func TestChunksFromRealClients(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"python3", "testdata/peers/client.py"},
		{"node", "testdata/peers/client.js"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, "--framing", "chunk")
			want := strings.ReplaceAll(threeReplies, "\n", "|")
			if got := run(t, peer(t, c.name, c.script, "chunks", s.port), "a\nb\nc"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			s.stdout.await(t, "Server: incoming data [1]: c\nServer: Connection closed!\n")
		})
	}
}

func TestOurClientTalksToRealServers(t *testing.T) {
	for _, name := range []string{"python3", "node"} {
		for _, framing := range []string{"line", "chunk"} {
			t.Run(name+" "+framing, func(t *testing.T) {
				script := map[string]string{"python3": "testdata/peers/server.py", "node": "testdata/peers/server.js"}[name]
				p := start(t, peer(t, name, script, framing))
				port := awaitPort(t, p)
				got := run(t, program(t, "client", "--framing", framing, "127.0.0.1:"+port), "a\nb\n")
				want := "Client: Connected to 127.0.0.1:" + port + `
Enter data: a
Client: sending [1] a ...
Client: server response: You said a
Enter data: b
Client: sending [1] b ...
Client: server response: You said b
Enter data: 
Client: Connection closed
`
				if got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			})
		}
	}
}

func awaitPort(t *testing.T, p *process) string {
	t.Helper()
	p.stdout.await(t, "\n")
	port := strings.TrimSpace(p.stdout.String())
	if !regexp.MustCompile(`^\d+$`).MatchString(port) {
		t.Fatalf("the peer printed %q, not its port; %s", port, p.stderr)
	}
	return port
}

// printf 'a\nb\nc' | nc -N: three replies every time, the last line without newline.
func TestSoakHalfCloseGetsEveryReply(t *testing.T) {
	s := startServer(t, "-q", "--reply", "{message}")
	runs := 150 * soakRuns(t)
	for i := range runs {
		if got := run(t, peer(t, "nc.openbsd", "-N", "127.0.0.1", s.port), "a\nb\nc"); got != "a\nb\nc\n" {
			t.Fatalf("run %d of %d got %q, want three replies", i+1, runs, got)
		}
	}
}

// The client of a server that misbehaves says so in one line and does not hang.
func TestClientSurvivesBadServers(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(conn *net.TCPConn)
		want  string
	}{
		{"silent", func(conn *net.TCPConn) { io.Copy(io.Discard, conn) },
			"no reply from ADDR within 300ms; --timeout waits longer"},
		{"closes before it replies", func(conn *net.TCPConn) { conn.Read(make([]byte, 9)) },
			"ADDR closed the connection before it replied"},
		{"closes at once", func(conn *net.TCPConn) {}, ""},
		{"resets", func(conn *net.TCPConn) { conn.Read(make([]byte, 9)); conn.SetLinger(0) },
			"the connection to ADDR broke: connection reset by peer"},
		{"drips its reply", func(conn *net.TCPConn) {
			for range 1000 {
				if _, err := io.WriteString(conn, "x"); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}, "the reply from ADDR is not whole after 300ms: N bytes came and no line's end: x; --framing chunk needs none, --timeout waits longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				c.serve(conn.(*net.TCPConn))
			}()
			p := start(t, program(t, "client", "--timeout", "300ms", l.Addr().String(), "hello"))
			code := p.exit(t)
			<-served
			stderr := regexp.MustCompile(`: \d+ bytes came and no line's end: x+`).ReplaceAllString(p.stderr.String(), ": N bytes came and no line's end: x")
			if code != 1 || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d and stderr %q, want 1 and one line", code, stderr)
			}
			want := "parley: " + strings.ReplaceAll(c.want, "ADDR", l.Addr().String()) + "\n"
			if c.want != "" && stderr != want {
				t.Errorf("stderr %q, want %q", stderr, want)
			}
			if !strings.Contains(p.stdout.String(), "Client: Connection closed (") {
				t.Errorf("stdout does not say why it ended:\n%s", p.stdout)
			}
		})
	}
}

// A reply of several lines, as redis gives to GET.
func TestReplyOfSeveralLines(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for range 2 {
			conn.Read(make([]byte, 100))
			io.WriteString(conn, "$3\r\nab")
			io.WriteString(conn, "c\r\n")
		}
	}()
	got := run(t, program(t, "client", "-q", "--crlf", "--lines", "2", l.Addr().String()), "GET a\nGET b\n")
	<-served
	if want := "$3\r\nabc\n$3\r\nabc\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the server says unasked, and its going away, are seen at once at the prompt.
func TestClientShowsWhatTheServerSaysUnasked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := program(t, "client", "--timeout", "1s", l.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p := start(t, cmd)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "welcome\n")
	p.stdout.await(t, "Enter data: \nClient: server message: welcome\nEnter data: ")
	conn.Close()
	if code := p.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if want := "parley: " + l.Addr().String() + " closed the connection\n"; p.stderr.String() != want {
		t.Errorf("stderr %q, want %q", p.stderr, want)
	}
}
