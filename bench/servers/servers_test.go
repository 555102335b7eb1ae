package servers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley/bench/selfsigned"
)

// A server and how to come by it. In its commands DIR is where programs go.
type server struct {
	name  string
	needs []string // a command that fails where its tools are missing
	build []string
	run   []string
	echo  bool              // sends every byte back and looks at no line
	tls   bool              // has the conversation over TLS
	skips map[string]string // the conversations that it cannot have, and why
}

var servers = []server{
	{name: "c-epoll", needs: []string{"gcc", "--version"}, build: gcc("c-epoll")},
	{name: "c-io_uring", needs: []string{"gcc", "-E", "-include", "liburing.h", "-o", "/dev/null", "-x", "c", "/dev/null"}, build: gcc("c-io_uring", "-luring")},
	{name: "c-epoll-tls", needs: []string{"gcc", "-E", "-include", "openssl/ssl.h", "-o", "/dev/null", "-x", "c", "/dev/null"},
		build: []string{"gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-DTLS", "-o", "DIR/c-epoll-tls", "c-epoll/server.c", "-lssl", "-lcrypto"}, tls: true},
	{name: "net", build: goBuild("net")},
	{name: "gnet", build: goBuild("gnet"), skips: map[string]string{
		halfClosesLate: "at the end of file gnet sends what there is room for and closes",
	}},
	{name: "nbio", build: goBuild("nbio"), skips: map[string]string{
		halfClosesLate: "at EPOLLRDHUP nbio closes, whatever is unread and unsent",
	}},
	{name: "netpoll", build: goBuild("netpoll"), skips: map[string]string{
		halfCloses:     "netpoll takes a half-closed connection for closed and may refuse the reply",
		halfClosesLate: "netpoll takes a half-closed connection for closed",
	}},
	{name: "fortio", build: goBuild("fortio"), echo: true},
	{name: "node", needs: []string{"node", "--version"}, run: []string{"node", "node/server.js"}},
}

func gcc(name string, libraries ...string) []string {
	return append([]string{"gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", "DIR/" + name, name + "/server.c"}, libraries...)
}

func goBuild(name string) []string {
	return []string{"go", "build", "-buildvcs=false", "-o", "DIR/" + name, "./" + name}
}

// The conversations that some servers cannot have.
const (
	halfCloses     = "a peer half-closes"
	halfClosesLate = "a peer half-closes and reads late"
)

const patience = 20 * time.Second // for what should take milliseconds

func TestSameConversation(t *testing.T) {
	dir := t.TempDir()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.make(t, dir)
			s.takenPort(t)
			for _, c := range conversations {
				if s.echo && c.lines {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					if why := s.skips[c.name]; why != "" {
						t.Skip(why)
					}
					c.hold(t, s, s.start(t))
				})
			}
		})
	}
}

var conversations = []struct {
	name  string
	lines bool // only for those that look at lines
	hold  func(t *testing.T, s server, addr string)
}{
	{name: "connections are numbered in the order of acceptance", hold: func(t *testing.T, s server, addr string) {
		first := s.dial(t, addr)
		exchange(t, first, "one\n", s.replies(1, "one\n"))
		second := s.dial(t, addr)
		exchange(t, second, "two\n", s.replies(2, "two\n"))
		exchange(t, first, "three\n", s.replies(1, "three\n"))
	}},
	{name: "a line comes in three pieces", hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		for _, piece := range []string{"a line", " in ", "pieces\n"} {
			io.WriteString(c, piece)
			time.Sleep(10 * time.Millisecond) // or they would mostly arrive as one, which is right too
		}
		expect(t, c, s.replies(1, "a line in pieces\n"))
	}},
	{name: "a hundred lines come at once", hold: func(t *testing.T, s server, addr string) {
		var lines strings.Builder
		for i := range 100 {
			fmt.Fprintf(&lines, "line %d\n", i)
		}
		exchange(t, s.dial(t, addr), lines.String(), s.replies(1, lines.String()))
	}},
	{name: "one CR is dropped", lines: true, hold: func(t *testing.T, s server, addr string) {
		exchange(t, s.dial(t, addr), "a\r\nb\rc\nd\r\r\n\r\n\n",
			"Request #1 - a ...\nRequest #1 - b\rc ...\nRequest #1 - d\r ...\nRequest #1 -  ...\nRequest #1 -  ...\n")
	}},
	{name: "a CR and its LF come apart", lines: true, hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		io.WriteString(c, "apart\r")
		time.Sleep(10 * time.Millisecond)
		exchange(t, c, "\n", "Request #1 - apart ...\n")
	}},
	{name: "every byte comes back", hold: func(t *testing.T, s server, addr string) {
		var line []byte
		for b := range 256 {
			if b != '\n' && b != '\r' {
				line = append(line, byte(b))
			}
		}
		exchange(t, s.dial(t, addr), string(line)+"\n", s.replies(1, string(line)+"\n"))
	}},
	{name: "long lines", hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		for _, size := range []int{60_000, 64 << 10} {
			line := strings.Repeat("x", size) + "\n"
			go io.WriteString(c, line) // an echo server may stop reading before all is written
			expect(t, c, s.replies(1, line))
		}
	}},
	{name: "a line that is too long", lines: true, hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		go io.WriteString(c, strings.Repeat("x", 200_000)+"\n")
		if got, err := io.ReadAll(c); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes and %v, want none and a closed connection", len(got), err)
		}
	}},
	{name: "lines come in pieces of any size", hold: func(t *testing.T, s server, addr string) {
		lines := randomLines(2000, 3000)
		c := s.dial(t, addr)
		go func() {
			for rest := lines; len(rest) > 0; {
				n := min(1+rand.IntN(6000), len(rest))
				io.WriteString(c, rest[:n])
				rest = rest[n:]
			}
		}()
		expect(t, c, s.replies(1, lines))
	}},
	{name: "a peer reads late", hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		lines := manyLines()
		go io.WriteString(c, lines)
		time.Sleep(300 * time.Millisecond) // by now all is read, or the server waits for us
		expect(t, c, s.replies(1, lines))
	}},
	{name: halfCloses, hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		io.WriteString(c, "owed\n")
		c.CloseWrite()
		expectLast(t, c, s.replies(1, "owed\n"))
	}},
	{name: "an unfinished line is not answered", lines: true, hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		exchange(t, c, "owed\nunfinished", s.replies(1, "owed\n"))
		c.CloseWrite()
		expectLast(t, c, "")
	}},
	{name: halfClosesLate, hold: func(t *testing.T, s server, addr string) {
		c := s.dial(t, addr)
		lines := manyLines()
		go func() {
			io.WriteString(c, lines)
			c.CloseWrite()
		}()
		time.Sleep(300 * time.Millisecond)
		expectLast(t, c, s.replies(1, lines))
	}},
}

func TestNodeTellsEvents(t *testing.T) {
	node := server{name: "node", needs: []string{"node", "--version"}, run: []string{"node", "node/server.js"}}
	node.make(t, t.TempDir())
	port := freePort(t)
	cmd := exec.Command("node", "node/server.js", port, "--log")
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	c := node.dial(t, "127.0.0.1:"+port)
	exchange(t, c, "session 1 msg 1\nZürich\n", "Request #1 - session 1 msg 1 ...\nRequest #1 - Zürich ...\n")
	c.CloseWrite()
	expectLast(t, c, "")
	want := fmt.Sprintf("Server: started on port %s\nServer: connection from %v\n", port, c.LocalAddr()) +
		"Server: incoming data [15]: session 1 msg 1\nServer: incoming data [7]: Zürich\nServer: Connection closed!\n"
	got := make([]byte, len(want))
	if n, err := io.ReadFull(said, got); err != nil || string(got) != want {
		t.Errorf("it said (%v)\n%s\nwant\n%s", err, got[:n], want)
	}
}

// make builds the program and sets how to run it. It skips the test where the tools
// are missing, but not in CI.
func (s *server) make(t *testing.T, dir string) {
	// What go test knows to have been read makes a result out of date when it changes.
	os.ReadDir(s.name)
	os.ReadDir("line")
	os.ReadDir("../load")
	if s.needs != nil {
		if out, err := exec.Command(s.needs[0], s.needs[1:]...).CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing: %v\n%s", strings.Join(s.needs, " "), err, out)
			}
			t.Skipf("%s is missing: %v\n%s", strings.Join(s.needs, " "), err, out)
		}
	}
	if s.build == nil {
		return
	}
	s.run = []string{filepath.Join(dir, s.name)}
	if s.tls {
		certificate, key, err := selfsigned.Write(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.run = append(s.run, certificate, key)
	}
	argv := strings.Split(strings.ReplaceAll(strings.Join(s.build, "\n"), "DIR", dir), "\n")
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// takenPort has the server say that its port is taken. What it says instead, where the
// kernel or a sandbox keeps io_uring from it, skips the test.
func (s *server) takenPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.run[0], append(s.run[1:], port)...).CombinedOutput()
	said := strings.TrimSpace(string(out))
	if strings.Contains(said, "not available here") {
		t.Skip(said)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(strings.ToLower(said), "in use") {
		t.Errorf("with a port that is taken it ended with %v and said %q", err, said)
	}
}

// start runs the server for one conversation, at the end of which it must not have said
// anything and must obey SIGTERM.
func (s *server) start(t *testing.T) (addr string) {
	port := freePort(t)
	cmd := exec.Command(s.run[0], append(s.run[1:], port)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		cmd.Wait()
		if !kill.Stop() {
			t.Error("still ran after a SIGTERM")
		}
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); said.Len() > 0 || status.Signal() != syscall.SIGTERM {
			t.Errorf("it ended with %v and said %q", cmd.ProcessState, said.String())
		}
	})
	return "127.0.0.1:" + port
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A halfCloser can end what it says and go on reading, over TLS too.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// dial connects as soon as the server listens: another connection to find that out
// would take a number.
func (s *server) dial(t *testing.T, addr string) halfCloser {
	t.Helper()
	giveUp := time.Now().Add(patience)
	for {
		c, err := net.Dial("tcp4", addr)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(giveUp)
			if s.tls {
				return tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			return c.(*net.TCPConn)
		}
		if time.Now().After(giveUp) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// replies is what the server has to send back for whole lines.
func (s *server) replies(number int, lines string) string {
	if s.echo {
		return lines
	}
	var all strings.Builder
	for line := range strings.Lines(lines) {
		fmt.Fprintf(&all, "Request #%d - %s ...\n", number, strings.TrimSuffix(line, "\n"))
	}
	return all.String()
}

func exchange(t *testing.T, c net.Conn, send, want string) {
	t.Helper()
	io.WriteString(c, send)
	expect(t, c, want)
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	compare(t, string(got[:n]), want, err)
}

func expectLast(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got, err := io.ReadAll(c)
	compare(t, string(got), want, err)
}

func compare(t *testing.T, got, want string, err error) {
	t.Helper()
	if err == nil && got == want {
		return
	}
	same := 0
	for same < min(len(got), len(want)) && got[same] == want[same] {
		same++
	}
	t.Fatalf("got %d bytes (%v), want %d; after %d they go on with %.40q, want %.40q",
		len(got), err, len(want), same, got[same:], want[same:])
}

func manyLines() string {
	return strings.Repeat(strings.Repeat("x", 1<<10)+"\n", 5000)
}

func randomLines(count, longest int) string {
	var lines strings.Builder
	for i := range count {
		fmt.Fprintf(&lines, "%d %s\n", i, strings.Repeat("r", rand.IntN(longest)))
	}
	return lines.String()
}
