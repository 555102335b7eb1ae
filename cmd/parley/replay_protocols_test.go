package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// recorded has a tap keep what a talk with the server at an address says.
func recorded(t *testing.T, upstream, framing string, talk func(addr string)) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "journal")
	tap := startTap(t, upstream, "--framing", framing, "--journal", file)
	talk(tap.addr)
	if code := tap.stop(t, os.Interrupt); code != 0 {
		t.Fatalf("the tap exits %d: %s", code, tap.stderr)
	}
	return file
}

// replayed plays a recording without a word on its framing.
func replayed(t *testing.T, file, addr string, args ...string) (out string, code int) {
	t.Helper()
	cmd := program(t, append([]string{"replay", file, addr}, args...)...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func checkSummary(t *testing.T, out string, code int, want string) {
	t.Helper()
	if code != 0 || out != "parley: "+want+"\n" {
		t.Errorf("replay exits %d and says\n%.2000swant\nparley: %s", code, out, want)
	}
}

// What redis-cli said to redis is said again, byte for byte, and answered as it was: commands of a
// transaction, of both forms, a push that came unasked, and what is no command at all.
func TestReplayToRedis(t *testing.T) {
	socket := startRedis(t)
	addr := "unix:" + socket
	file := recorded(t, addr, "redis", func(addr string) {
		_, tapPort, _ := net.SplitHostPort(addr)
		cli := func(input string, args ...string) string {
			cmd := peer(t, "redis-cli", append([]string{"-p", tapPort}, args...)...)
			return run(t, cmd, input)
		}
		cli("", "SET", "foo", "bar")
		// redis-cli would ask for a description of all commands first, which comes in any order.
		if got := converse(t, addr, "SET n 1\r\nMULTI\r\nINCR n\r\n"+respCommand("LRANGE", "l", "0", "-1")+"EXEC\r\nFOO\r\nGET foo\r\n"); !strings.Contains(got, "bar") {
			t.Errorf("redis answers %q", got)
		}
		sub := connect(t, addr)
		defer sub.Close()
		pushed := bufio.NewReader(sub)
		fmt.Fprint(sub, respCommand("SUBSCRIBE", "ch"))
		await := func(text string) {
			for line := ""; !strings.Contains(line, text); {
				var err error
				if line, err = pushed.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
		}
		await(":1")
		cli("", "PUBLISH", "ch", "one")
		await("one")
		fmt.Fprint(sub, respCommand("PING"))
		await("pong")
		sub.CloseWrite()
		io.Copy(io.Discard, sub)
		if got := converse(t, addr, respCommand("AUTH", "someone", "pass-word")+"PING\r\n\r\n*1\r\n$4\r\nPING\r\n*zz\r\nmore"); !strings.HasSuffix(got, "invalid multibulk length\r\n") {
			t.Errorf("redis answers %q", got)
		}
	})
	for want, args := range map[string][]string{
		"AUTH (secret)": {}, "AUTH someone pass-word": {"--show-secrets"}, "AUTH (secret)  ": {"--table"},
		`"text":"AUTH someone pass-word","secret":true`: {"--json"}, ",AUTH someone pass-word,": {"--csv"},
	} {
		out := run(t, program(t, append([]string{"log", file}, args...)...), "")
		if !strings.Contains(out, want) || strings.Contains(want, "(secret)") == strings.Contains(out, "pass-word") {
			t.Errorf("log %q tells of credentials\n%.2000s", args, out)
		}
	}
	if out := run(t, program(t, "log", file, "--sessions"), ""); strings.Count(out, "  redis      "+addr+" ") != 5 {
		t.Errorf("the list of sessions does not say how they were recorded:\n%s", out)
	}
	run(t, peer(t, "redis-cli", "-s", socket, "FLUSHALL"), "")
	out, code := replayed(t, file, addr)
	if code != 0 || !strings.HasSuffix(out, " 0 differences\n") || !strings.Contains(out, "5 sessions, ") {
		t.Errorf("replay exits %d and says\n%.2000s", code, out)
	}
	run(t, peer(t, "redis-cli", "-s", socket, "SET", "n", "oops"), "")
	run(t, peer(t, "redis-cli", "-s", socket, "RPUSH", "l", "x"), "")
	if out, code := replayed(t, file, addr); code != exitMismatch || !strings.Contains(out, `- session 2 reply`) {
		t.Errorf("to another state replay exits %d and says\n%.2000s", code, out)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"replay", file, addr, "--framing", "line"}, "was recorded with --framing redis; leave --framing out\n"},
		{[]string{"replay", file, addr, "--crlf"}, "was recorded with --framing redis; leave --crlf out\n"},
		{[]string{"log", file, "--framing", "line"}, "was recorded with --framing redis; leave --framing out\n"},
	} {
		cmd := program(t, c.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != exitUsage || string(out) != "parley: "+file+" "+c.want {
			t.Errorf("%q exits %d: %s", c.args[2:], code, out)
		}
	}
	for _, args := range [][]string{{"--framing", "redis"}, {}} {
		cmd := program(t, append([]string{"log", file}, args...)...)
		cmd.Env = append(cmd.Env, "PARLEY_FRAMING=line") // is about other files
		if len(args) > 0 {
			cmd.Env = cmd.Env[:len(cmd.Env)-1]
		}
		if out := run(t, cmd, ""); !strings.Contains(out, "]: SET foo bar\n") || !strings.Contains(out, "]: OK\n") {
			t.Errorf("log %q says\n%.1000s", args, out)
		}
	}
}

// An HTTP server's replies have the time of day in them, which is not compared if that is said.
// What was asked for goes out as it was, the name of the host included.
func TestReplayToHTTP(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte(strings.Repeat("hello\n", 20000)), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	addr := "127.0.0.1:" + port
	start(t, peer(t, "python3", "-m", "http.server", port, "--bind", "127.0.0.1", "-d", dir))
	awaitListening(t, "tcp", addr)
	file := recorded(t, addr, "http", func(addr string) {
		for _, args := range [][]string{{"/a.txt"}, {"/none"}, {"/a.txt", "-I"}, {"/a.txt", "-d", "x=1"}} {
			run(t, peer(t, "curl", append([]string{"-s", "-o", filepath.Join(t.TempDir(), "out"), "http://" + addr + args[0]}, args[1:]...)...), "")
		}
	})
	out, code := replayed(t, file, addr, "--ignore", "Date: [^\r\n]*")
	checkSummary(t, out, code, "4 sessions, 4 requests, 4 replies compared, 0 differences")
	out, code = replayed(t, file, addr, "--ignore", "(?i)date|[0-9]")
	if code != 0 {
		t.Errorf("with digits ignored replay exits %d: %s", code, out)
	}

	hosts := make(chan string, 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts <- r.Host })}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	if _, code := replayed(t, file, l.Addr().String()); code != exitMismatch {
		t.Errorf("another server's replies are no difference: %d", code)
	}
	for range 4 {
		if host := <-hosts; host == l.Addr().String() || !strings.HasPrefix(host, "127.0.0.1:") {
			t.Errorf("it was asked for %q, want what was recorded", host)
		}
	}
}

// A server that speaks first is waited for as it was, in whatever framing the tap saw it; so it is
// with --banner where the recording has no greeting.
func TestReplayToServerThatSpeaksFirst(t *testing.T) {
	// It hangs up on who does not wait for its greeting (RFC 5321, section 3.1), which takes a while.
	const strict = `
import socket, threading
def serve(c):
    c.settimeout(0.3)
    try:
        c.recv(1)
        c.sendall(b"554 you speak too soon\r\n")
        c.close()
        return
    except socket.timeout:
        c.settimeout(30)
    f = c.makefile("rwb", 0)
    f.write(b"220 mx ESMTP\r\n")
    data = False
    for line in f:
        if data:
            if line != b".\r\n":
                continue
            data = False
            f.write(b"250 taken\r\n")
        elif line[:4] == b"EHLO":
            f.write(b"250-mx\r\n250 PIPELINING\r\n")
        elif line[:4] == b"DATA":
            data = True
            f.write(b"354 go on\r\n")
        elif line[:4] == b"QUIT":
            f.write(b"221 bye\r\n")
            break
        else:
            f.write(b"250 ok\r\n")
    c.close()
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
`
	p := start(t, peer(t, "python3", "-c", strict))
	t.Cleanup(func() { p.stop(t, os.Kill) })
	addr := "127.0.0.1:" + awaitPort(t, p)
	mail := func(addr string) {
		conn := connect(t, addr)
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, say := range []string{"", "EHLO a\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "DATA\r\n", "hello\r\n..\r\n.\r\n", "QUIT\r\n"} {
			io.WriteString(conn, say)
			for line := "250-"; len(line) > 3 && line[3] == '-'; {
				var err error
				if line, err = answers.ReadString('\n'); err != nil {
					t.Fatalf("behind %q: %v", say, err)
				}
			}
		}
		io.Copy(io.Discard, conn)
	}
	out, code := replayed(t, recorded(t, addr, "smtp", mail), addr)
	checkSummary(t, out, code, "1 session, 6 requests, 7 replies compared (1 unasked), 0 differences")
	out, code = replayed(t, recorded(t, addr, "line", mail), addr)
	if code != 0 || !strings.HasSuffix(out, " 0 differences\n") {
		t.Errorf("in lines replay exits %d and says\n%s", code, out)
	}

	imported := filepath.Join(t.TempDir(), "events")
	events := `{"event":"received","time":"2026-01-02T03:04:05Z","side":"server","session":1,"seq":1,"payload":"NOOP"}
{"event":"replied","time":"2026-01-02T03:04:06Z","side":"server","session":1,"seq":1,"payload":"250 ok"}
`
	if err := os.WriteFile(imported, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := replayed(t, imported, addr); code != exitMismatch || !strings.Contains(out, "+ session 1 reply 1: 554 you speak too soon\n") {
		t.Errorf("without --banner replay exits %d: %s", code, out)
	}
	out, code = replayed(t, imported, addr, "--banner")
	checkSummary(t, out, code, "1 session, 1 request, 1 reply compared, 0 differences")
}
