//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// A standard output that nobody reads never delays a reply. What had to be skipped is
// said in its place, and the sum is right.
func TestBlockedStdoutDelaysNoReply(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := startServerTo(t, w, "--echo")
	w.Close()
	conn := connect(t, s.addr)
	const requests = 1200
	line := strings.Repeat("\x01", 4000) // each byte is shown as four: 19 MB of narrative for a queue of 16 MiB
	in := bufio.NewReader(conn)
	for i := range requests {
		fmt.Fprintf(conn, "%d %s\n", i, line)
		got, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, strconv.Itoa(i)+" ") {
			t.Fatalf("reply %d = %.20q, %v", i, got, err)
		}
	}
	// Once it is read again the rest flows, to the end of the conversation.
	conn.Close()
	var told strings.Builder
	r.SetReadDeadline(time.Now().Add(patience))
	for out := bufio.NewReader(r); !strings.HasSuffix(told.String(), "Server: Connection closed!\n"); {
		part, err := out.ReadString('\n')
		told.WriteString(part)
		if err != nil {
			t.Fatalf("%v after %d bytes", err, told.Len())
		}
	}
	if code := s.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	text := told.String()
	shown := strings.Count(text, "Server: incoming data [")
	skipped := 0
	isSkip := regexp.MustCompile(`^Server: (\d+) lines? skipped\n$`)
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, " skipped\n") {
			continue // which is much to match
		}
		if m := isSkip.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			skipped += n
		}
	}
	total := strings.Count(text, "\n") - strings.Count(text, " skipped\n") + skipped
	if skipped == 0 || total != requests+3 { // and its start, the connection and its end
		t.Errorf("%d requests shown and %d lines skipped: %d lines in all, want %d", shown, skipped, total, requests+3)
	}
	if want := fmt.Sprintf(" bytes out, %d lines of output skipped\n", skipped); !strings.HasSuffix(s.stderr.String(), want) {
		t.Errorf("stderr %q, want it to end with %q", s.stderr, want)
	}
}

// A full disk is told of, costs no reply, and what it did not take is in the sum.
func TestFullDiskKeepsServing(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer full.Close()
	s := startServerTo(t, full)
	s.stderr.await(t, "parley: standard output takes no more (no space left on device); its lines wait, and are skipped past 16 MiB\n")
	if got := converse(t, s.addr, "a\n"); got != "Request #1 - a ...\n" {
		t.Errorf("got %q, want a reply", got)
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if want := " 1 request, 2 bytes in, 19 bytes out, 4 lines of output skipped\n"; !strings.HasSuffix(s.stderr.String(), want) {
		t.Errorf("stderr %q, want it to end with %q", s.stderr, want)
	}
}

// A reader that goes away (parley server | head -1) does not take the server with it.
func TestClosedStdoutKeepsServing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := startServerTo(t, w)
	w.Close()
	r.Close()
	for range 3 {
		if got := converse(t, s.addr, "a\n"); !strings.HasSuffix(got, " - a ...\n") {
			t.Errorf("got %q, want a reply", got)
		}
	}
	s.stderr.await(t, "standard output is gone (broken pipe); it goes on without")
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A stopped terminal at the end of both streams does not keep the server from ending.
func TestBlockedOutputsDoNotDelayTheEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fillPipe(t, w)
	file := filepath.Join(t.TempDir(), "addr")
	cmd := program(t, "server", "127.0.0.1:0", "-v", "--addr-file", file)
	cmd.Stdout, cmd.Stderr = w, w
	p := start(t, cmd)
	w.Close()
	addr := awaitAddr(t, file)
	if got := converse(t, addr, "a\n"); got != "Request #1 - a ...\n" {
		t.Errorf("got %q, want a reply", got)
	}
	if code := p.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func fillPipe(t *testing.T, w *os.File) {
	t.Helper()
	w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := w.Write(make([]byte, 1<<20)); !os.IsTimeout(err) {
		t.Fatalf("Write = %v, want a timeout once the pipe is full", err)
	}
}

// Nothing that a peer sends reaches an output unescaped, and JSON has it exactly.
func TestStrangersBytesAreEscaped(t *testing.T) {
	var all []byte
	for b := range 256 {
		if b != '\n' {
			all = append(all, byte(b))
		}
	}
	for r := range rune(unicode.MaxRune) {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\n' {
			all = utf8.AppendRune(all, r)
		}
	}
	all = append(all, "\xff\xfe\xc0\x80\xed\xa0\x80\r.\r\r."...)
	requests := [][]byte{all, []byte("\x1b]0;owned\x07"), []byte("\u202etxt.exe"), []byte("\r2026-01-01 INFO admin ok"), []byte("\u009b2J")}
	input := append(bytes.Join(requests, []byte("\n")), '\n')

	for _, flag := range []string{"-v", "--json"} {
		s := startServer(t, "--echo", flag)
		if got := converse(t, s.addr, string(input)); got != string(input) {
			t.Errorf("%s: the echo is not what was sent", flag)
		}
		clientFlags := map[string][]string{"-v": nil, "--json": {"--json"}}[flag]
		client := program(t, append(append([]string{"client"}, clientFlags...), s.addr)...)
		shown := run(t, client, string(input))
		s.stop(t, syscall.SIGINT)
		for name, text := range map[string]string{"stdout": s.stdout.String(), "stderr": s.stderr.String(), "client": shown} {
			checkHarmless(t, flag+" "+name, text)
		}
		if flag == "--json" {
			if got := payloads(t, s.stdout.String(), "received"); !bytes.Equal(bytes.Join(got[:len(requests)], nil), bytes.Join(requests, nil)) {
				t.Errorf("the server's JSON does not give the requests back exactly")
			}
			if got := payloads(t, shown, "replied"); !bytes.Equal(bytes.Join(got, nil), bytes.Join(requests, nil)) {
				t.Errorf("the client's JSON does not give the replies back exactly")
			}
		}
	}
}

// Nor does what was typed on the command line.
func TestClientArgumentsAreEscaped(t *testing.T) {
	const nasty = "\x1b[2J\u009b\u202e\x7f\xff"
	for _, args := range [][]string{
		{"client", "host" + nasty + ":6969", "x"},
		{"client", "host" + nasty, "x"},
		{"client", "unix:/nowhere" + nasty, "x"},
		{"client", "127.0.0.1:" + nasty, "x"},
		{"client", "127.0.0.1:1", "--" + nasty},
		{"client", "127.0.0.1:1", "--framing", nasty},
		{"client", "127.0.0.1:1", "--until", "(" + nasty},
		{nasty},
	} {
		p := start(t, program(t, args...))
		code := p.exit(t)
		if code == 0 || strings.Count(p.stderr.String(), "\n") != 1 {
			t.Errorf("%q: exit code %d and stderr %q, want an error in one line", args, code, p.stderr)
		}
		checkHarmless(t, fmt.Sprintf("the error of %q", args), p.stderr.String())
	}
	// The target and the request are shown as they go.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), nasty))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, program(t, "client", "unix:"+l.Addr().String(), nasty))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Read(make([]byte, 100))
	conn.Close()
	if code := p.exit(t); code != 1 || !strings.Contains(p.stdout.String(), `sending [`) {
		t.Errorf("exit code %d, stdout %q; want 1 and the request", code, p.stdout)
	}
	checkHarmless(t, "stdout", p.stdout.String())
	checkHarmless(t, "stderr", p.stderr.String())
}

func checkHarmless(t *testing.T, name, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && !unicode.IsGraphic(r) || r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)) {
			t.Errorf("%s has %U at byte %d", name, r, i)
			return
		}
	}
}

func payloads(t *testing.T, lines, event string) (list [][]byte) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var e struct {
			Event  string
			Bytes  int
			Text   string `json:"payload"`
			Base64 string `json:"payload_base64"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if e.Event != event {
			continue
		}
		body := []byte(e.Text)
		if e.Base64 != "" {
			body, _ = base64.StdEncoding.DecodeString(e.Base64)
		}
		if len(body) != e.Bytes {
			t.Errorf("%d bytes of payload, but bytes says %d", len(body), e.Bytes)
		}
		list = append(list, body)
	}
	return list
}

// Out of descriptors: a log line a second at most, no spinning, and it recovers alone.
func TestOutOfDescriptorsIsSurvived(t *testing.T) {
	file := filepath.Join(t.TempDir(), "addr")
	parley, err := exec.LookPath("parley")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, command(t, "sh", "-c", `ulimit -n 40; exec "$0" server 127.0.0.1:0 -q --max-sessions 1000 --addr-file "$1"`, parley, file))
	addr := awaitAddr(t, file)
	begin := time.Now()
	var held []net.Conn
	for range 100 { // more than it has descriptors; the rest waits in the backlog
		held = append(held, connect(t, addr))
	}
	p.stderr.await(t, "parley: cannot accept, and will try again: ")
	for _, conn := range held {
		conn.Close()
	}
	if got := converse(t, addr, "a\n"); !strings.HasSuffix(got, " - a ...\n") {
		t.Errorf("got %q, want a reply once there are descriptors again", got)
	}
	seconds := int(time.Since(begin).Seconds()) + 1
	p.stop(t, syscall.SIGINT)
	if n := strings.Count(p.stderr.String(), "cannot accept"); n > seconds {
		t.Errorf("%d lines about it in %d s:\n%s", n, seconds, p.stderr)
	}
}

// A drain under load: whatever the server has read it answers, and it exits with 0.
func TestDrainUnderLoadAnswersWhatWasRead(t *testing.T) {
	for round := range 4 {
		s := startServer(t, "--json")
		var clients sync.WaitGroup
		for range 20 {
			conn := connect(t, s.addr)
			clients.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for i := 0; ; i++ {
					if _, err := fmt.Fprintf(conn, "%d\n%d\n", i, i); err != nil {
						return
					}
					for range 2 {
						if _, err := in.ReadString('\n'); err != nil {
							return
						}
					}
				}
			})
		}
		eventually(t, "all are served, and there is load", func() bool {
			text := s.stdout.String()
			return strings.Count(text, `"opened"`) == 20 && strings.Count(text, `"replied"`) > 50*(round+1)
		})
		if code := s.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d, want 0; %s", code, s.stderr)
		}
		clients.Wait()
		received, replied := len(payloads(t, s.stdout.String(), "received")), len(payloads(t, s.stdout.String(), "replied"))
		if received != replied {
			t.Errorf("round %d: %d requests received, %d replied", round, received, replied)
		}
		if opened, closed := strings.Count(s.stdout.String(), `"opened"`), strings.Count(s.stdout.String(), `"closed"`); opened != 20 || closed != 20 {
			t.Errorf("round %d: %d sessions opened and %d closed, want 20 of each", round, opened, closed)
		}
	}
}

// stuffed is a connection whose peer owes it replies that it does not read.
func stuffed(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn := connect(t, addr)
	conn.SetReadBuffer(4 << 10)
	conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	line := []byte(strings.Repeat("x", 60000) + "\n")
	for {
		if _, err := conn.Write(line); err != nil {
			if !os.IsTimeout(err) {
				t.Fatal(err)
			}
			return conn
		}
	}
}

func TestDrainThatHasToCutSaysWhomAndExitsWith1(t *testing.T) {
	s := startServer(t, "-q", "--drain-timeout", "300ms")
	conn := stuffed(t, s.addr)
	if code := s.stop(t, syscall.SIGINT); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	want := fmt.Sprintf("parley: cut session 1 with %v: not done within 300ms\n", conn.LocalAddr())
	if got := s.stderr.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ", 1 cut\n") {
		t.Errorf("stderr %q, want it to begin with %q and end with the sum", got, want)
	}
}

// A refusal tells the peer and the operator, and the others never notice.
func TestRefusalsTellPeerAndOperator(t *testing.T) {
	s := startServer(t, "--max-sessions", "2")
	first, second := connect(t, s.addr), connect(t, s.addr)
	for _, conn := range []net.Conn{first, second} {
		fmt.Fprintln(conn, "a")
		bufio.NewReader(conn).ReadString('\n')
	}
	for range 40 {
		conn := connect(t, s.addr)
		if got, err := io.ReadAll(conn); string(got) != "Error: server is full (2 sessions)\n" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		conn.Close()
	}
	fmt.Fprintln(first, "b")
	if got, _ := bufio.NewReader(first).ReadString('\n'); got != "Request #1 - b ...\n" {
		t.Errorf("a session that was there got %q", got)
	}
	s.stderr.await(t, "server is full (2 sessions); --max-sessions allows more")
	first.Close()
	second.Close()
	s.stop(t, syscall.SIGINT)
	if !strings.Contains(s.stderr.String(), ", 40 refused\n") {
		t.Errorf("the sum does not say 40 refused: %s", s.stderr)
	}
	if n := strings.Count(s.stderr.String(), "refused 127.0.0.1"); n > 5 {
		t.Errorf("%d lines about 40 refusals:\n%s", n, s.stderr)
	}
}

// Bytes without a newline earn a hint that names the peer and what helps.
func TestMissingNewlineEarnsAHint(t *testing.T) {
	s := startServer(t)
	conn := connect(t, s.addr)
	io.WriteString(conn, "no newline")
	s.stderr.await(t, fmt.Sprintf("parley: %v sent 10 bytes and no newline yet; for peers that send none there is --framing chunk\n", conn.LocalAddr()))
}
