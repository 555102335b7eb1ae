//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// serveOnce accepts one connection, has it served and closes it. served ends then.
func serveOnce(t *testing.T, serve func(conn *net.TCPConn)) (addr string, served chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	served = make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(conn.(*net.TCPConn))
	}()
	return l.Addr().String(), served
}

// One request is done with its reply, also if the server takes no notice of the
// half-close, or takes it ill.
func TestOneShotIsDoneWithItsReply(t *testing.T) {
	for name, then := range map[string]func(conn *net.TCPConn, gone <-chan struct{}){
		"ignores the half-close": func(_ *net.TCPConn, gone <-chan struct{}) { <-gone },
		"resets at it":           func(conn *net.TCPConn, _ <-chan struct{}) { io.Copy(io.Discard, conn); conn.SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			addr, served := serveOnce(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 9))
				io.WriteString(conn, "ok\n")
				then(conn, gone)
			})
			p := start(t, program(t, "client", "-q", "--timeout", "1h", addr, "hello"))
			code := p.exit(t)
			close(gone)
			<-served
			if code != 0 || p.stdout.String() != "ok\n" || p.stderr.String() != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 0 and just the reply", code, p.stdout, p.stderr)
			}
		})
	}
}

// What came of a reply is shown, with what it lacks and what would make it whole.
func TestReplyThatIsNotWholeIsShown(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, c := range []struct {
		flags string
		said  string
		want  string
	}{
		{"", "Test\r", "5 bytes came and no line's end; --framing delim:0d would end it, --timeout waits longer"},
		{"--crlf", "Test\r", "5 bytes came and no line's end; --framing delim:0d would end it, --timeout waits longer"},
		{"--framing delim:0a", "PONG\x00", "5 bytes came and no delimiter 0x0a; --framing delim:00 would end it, --timeout waits longer"},
		{"--framing length", "\x00\x00\x00", "3 of the 4 bytes of its length came; --framing chunk needs none, --timeout waits longer"},
		{"--framing length", "\x00\x00\x00\x05abc", "3 of its 5 bytes came; --framing chunk needs none, --timeout waits longer"},
		{"--lines 3", "one\ntwo\nth", "2 of its 3 lines came; --lines says how many a reply has, --timeout waits longer"},
		{"--lines 3", "one", "3 bytes came and no line's end; --framing chunk needs none, --timeout waits longer"},
		{"--lines 9223372036854775807", "one\n", "1 of its 9223372036854775807 lines came; --lines says how many a reply has, --timeout waits longer"},
		{"--until ^end", "one\ntwo\n", "none of its lines matches `^end`, which would end it; --timeout waits longer"},
		{"--until ^end", "one", "3 bytes came and no line's end; --framing chunk needs none, --timeout waits longer"},
	} {
		formats := []string{""}
		if c.flags == "" || c.flags == "--lines 3" {
			formats = []string{"", "--json", "-q"}
		}
		for _, format := range formats {
			addr, served := serveOnce(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 9))
				io.WriteString(conn, c.said)
				io.Copy(io.Discard, conn)
			})
			p := start(t, program(t, append(strings.Fields("client --timeout 500ms "+format+" "+c.flags), addr, "hello")...))
			code := p.exit(t)
			<-served
			lacks, advice, _ := strings.Cut(c.want, "; ")
			want := "parley: the reply from " + addr + " is not whole after 500ms: " + lacks + ": " + strings.Trim(strconv.Quote(c.said), `"`) + "; " + advice + "\n"
			if code != 1 || p.stderr.String() != want {
				t.Errorf("%s %s: exit code %d, stderr %q; want 1 and %q", format, c.flags, code, p.stderr, want)
			}
			shown := p.stdout.String()
			switch format {
			case "--json":
				if got := payloads(t, shown, "unfinished"); len(got) != 1 || string(got[0]) != c.said {
					t.Errorf("%s: the event has %q, want %q", c.flags, got, c.said)
				}
				lacks, _, _ := strings.Cut(strings.TrimSuffix(c.want, "--timeout waits longer"), ";")
				if !strings.Contains(shown, `,"error":"`+lacks) || !strings.Contains(shown, `"reason":"reply_timeout"`) {
					t.Errorf("%s: the events do not say %q and reply_timeout:\n%s", c.flags, lacks, shown)
				}
			case "-q":
				if shown != c.said+"\n" {
					t.Errorf("-q %s: stdout %q, want %q", c.flags, shown, c.said)
				}
			default:
				escaped := strings.NewReplacer("\r", `\r`, "\n", `\n`, "\x00", `\x00`, "\x05", `\x05`).Replace(c.said)
				if end := "Client: unfinished response: " + escaped + "\nClient: Connection closed (no whole reply within 500ms)\n"; !strings.HasSuffix(shown, end) {
					t.Errorf("%s: shown was\n%swant it to end with\n%s", c.flags, shown, end)
				}
			}
		}
	}
}

// A server that sends no newline is understood with what the error says.
func TestServerWithoutNewlinesIsUnderstood(t *testing.T) {
	s := startServer(t, "--framing", "chunk")
	p := start(t, program(t, "client", "-q", "--timeout", "500ms", s.addr, "a"))
	code := p.exit(t)
	if code != 1 || p.stdout.String() != "Request #1 - a ...\n" || !strings.Contains(p.stderr.String(), "; --framing chunk needs none") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 1, what it said and --framing chunk", code, p.stdout, p.stderr)
	}
	if got := run(t, program(t, "client", "-q", "--framing", "chunk", s.addr, "a"), ""); got != "Request #2 - a ...\n" {
		t.Errorf("with it: %q", got)
	}
}

// Bytes behind a reply that --lines or --until ended are messages; an orderly close is one.
func TestWhatComesBehindTheReplyIsShown(t *testing.T) {
	for _, flags := range []string{"--lines 2", "--until ^two"} {
		for _, words := range []string{"hello", ""} {
			addr, served := serveOnce(t, func(conn *net.TCPConn) {
				conn.Read(make([]byte, 9))
				io.WriteString(conn, "one\ntwo\nthree\nfo")
				io.Copy(io.Discard, conn)
			})
			cmd := program(t, append(strings.Fields("client "+flags+" "+addr), strings.Fields(words)...)...)
			if words == "" {
				cmd.Stdin = strings.NewReader("hello\n")
			}
			p := start(t, cmd)
			code := p.exit(t)
			<-served
			want := "Client: server message: three\nClient: server message: fo\nClient: Connection closed\n"
			if flags == "--lines 2" {
				want = `Client: server message: three\nfo` + "\nClient: Connection closed\n"
			}
			if code != 0 || p.stderr.String() != "" || !strings.HasSuffix(p.stdout.String(), want) {
				t.Errorf("%s %s: exit code %d, stderr %q and shown\n%swant 0, nothing and at its end\n%s", flags, words, code, p.stderr, p.stdout, want)
			}
		}
	}
}

// What a full server says before the request is no reply, and -q shows it all the same.
func TestQuietClientShowsARefusal(t *testing.T) {
	s := startServer(t, "--max-sessions", "1")
	fmt.Fprintln(connect(t, s.addr), "a")
	s.stdout.await(t, "incoming data")
	for _, flag := range []string{"-q", "--raw"} {
		cmd := program(t, "client", flag, s.addr)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, cmd)
		p.stderr.await(t, "parley: server message: Error: server is full (1 sessions)\n")
		io.WriteString(in, "hello\n")
		code := p.exit(t)
		// The line may be there before the server's end of file, and then it is asked all the same.
		_, end, _ := strings.Cut(p.stderr.String(), "\n")
		unsent := "parley: " + s.addr + " closed the connection; line 1 of the input was not sent\n"
		unanswered := "parley: " + s.addr + " closed the connection before it replied\n"
		if code != 1 || p.stdout.String() != "" || end != unsent && end != unanswered {
			t.Errorf("%s: exit code %d, stdout %q, at the end %q; want 1, nothing, and %q or %q", flag, code, p.stdout, end, unsent, unanswered)
		}
	}
}

// parley client ... | head -1 ends quietly, however much there is to be asked.
func TestReaderOfTheClientMayLeave(t *testing.T) {
	s := startServer(t, "-q")
	for _, flag := range []string{"-f=line", "-q", "--json"} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := program(t, "client", flag, s.addr)
		cmd.Stdin, cmd.Stdout = endless("hello\n"), w
		p := start(t, cmd)
		w.Close()
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
		r.Close()
		if code := p.exit(t); code != 0 || p.stderr.String() != "" {
			t.Errorf("%s: exit code %d, stderr %q; want 0 and nothing", flag, code, p.stderr)
		}
	}
}

// Nor does it go on for a server that speaks unasked.
func TestReaderOfMessagesMayLeave(t *testing.T) {
	addr, served := serveOnce(t, func(conn *net.TCPConn) { io.Copy(conn, endless("news\n")) })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "client", addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd.Stdout = w
	p := start(t, cmd)
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Error(err)
	}
	r.Close()
	if code := p.exit(t); code != 0 || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", code, p.stderr)
	}
	<-served
}

// endless is read again and again.
type endless string

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }
