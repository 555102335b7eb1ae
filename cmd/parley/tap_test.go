package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley/internal/journal"
)

// startTap starts a `parley tap` before a server.
func startTap(t *testing.T, upstream string, args ...string) *server {
	t.Helper()
	return startTapTo(t, nil, upstream, args...)
}

// startTapTo is startTap with its standard output going elsewhere.
func startTapTo(t *testing.T, stdout *os.File, upstream string, args ...string) *server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "addr")
	cmd := program(t, append([]string{"tap", "127.0.0.1:0", upstream, "--addr-file", file}, args...)...)
	if stdout != nil {
		cmd.Stdout = stdout
	}
	s := &server{process: start(t, cmd)}
	s.addr = awaitAddr(t, file)
	_, s.port, _ = net.SplitHostPort(s.addr)
	return s
}

// randomBytes are n bytes, the same for the same seed.
func randomBytes(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

func hashOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Errorf("read: %v", err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestTapBetweenRedisAndItsClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis")
	start(t, peer(t, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir()))
	eventually(t, "redis listens", func() bool { _, err := os.Stat(socket); return err == nil })
	tap := startTap(t, "unix:"+socket)

	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, must(io.ReadAll(randomBytes(1, 1<<20))), 0o666); err != nil {
		t.Fatal(err)
	}
	stored, err := os.Open(value)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	set := peer(t, "redis-cli", "-h", "127.0.0.1", "-p", tap.port, "-x", "SET", "key")
	set.Stdin = stored
	if out, err := set.Output(); string(out) != "OK\n" || err != nil {
		t.Fatalf("SET: %q, %v", out, err)
	}
	got := run(t, peer(t, "redis-cli", "-h", "127.0.0.1", "-p", tap.port, "GET", "key"), "")
	if want := hashOf(t, randomBytes(1, 1<<20)); hashOf(t, strings.NewReader(strings.TrimSuffix(got, "\n"))) != want {
		t.Errorf("GET gave %d other bytes than were SET", len(got))
	}
	eventually(t, "both are over", func() bool { return strings.Count(tap.stdout.String(), "Tap: Connection closed!\n") == 2 })
	if got := run(t, peer(t, "redis-cli", "-h", "127.0.0.1", "-p", tap.port, "PING"), ""); got != "PONG\n" {
		t.Errorf("PING: %q", got)
	}
	tap.stdout.await(t, "Tap: client [2]: *1\nTap: client [2]: $4\nTap: client [4]: PING\nTap: server [5]: +PONG\nTap: Connection closed!\n")
	if code := tap.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// keptIn is what a journal has: each exchange with its bytes, - where there are none.
func keptIn(t *testing.T, file string) (exchanges []journal.Exchange, lines []string) {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	spell := func(body []byte) string {
		if body == nil {
			return "-"
		}
		return fmt.Sprintf("%q", body)
	}
	for x, err := range r.Exchanges(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		exchanges = append(exchanges, x)
		lines = append(lines, fmt.Sprintf("%d.%d %s %s", x.Session, x.Seq, spell(x.Request), spell(x.Reply)))
	}
	return exchanges, lines
}

// What redis and its client say is in the journal exactly, paired by order. A page shows it.
func TestTapKeepsWhatRedisAndItsClientSay(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "redis")
	start(t, peer(t, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", t.TempDir()))
	eventually(t, "redis listens", func() bool { _, err := os.Stat(socket); return err == nil })
	for _, args := range [][]string{nil, {"--journal-sync"}} {
		file := filepath.Join(t.TempDir(), "journal")
		tap := startTap(t, "unix:"+socket, append(args, "--framing", "chunk", "--journal", file, "--web", "0")...)
		page := pageOf(t, tap.process)
		for _, words := range [][]string{{"PING"}, {"SET", "key", "a\r\n\x01"}, {"GET", "key"}} {
			run(t, peer(t, "redis-cli", append([]string{"-h", "127.0.0.1", "-p", tap.port}, words...)...), "")
		}
		eventually(t, "the page shows it", func() bool {
			return storyAt(t, page, 1).String() == "eof, 1 requests: 1 > *1\r\n$4\r\nPING\r\n < +PONG\r\n"
		})
		if code := tap.stop(t, syscall.SIGINT); code != 0 {
			t.Errorf("exit code %d, want 0; %s", code, tap.stderr)
		}
		_, got := keptIn(t, file)
		want := []string{
			`1.1 "*1\r\n$4\r\nPING\r\n" "+PONG\r\n"`,
			`2.1 "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\na\r\n\x01\r\n" "+OK\r\n"`,
			`3.1 "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n" "$4\r\na\r\n\x01\r\n"`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("the journal has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Bodies of 100 MiB, there and back.
func TestTapBetweenCurlAndAWebServer(t *testing.T) {
	const size = 16 << 20 // more than all sockets on the way hold
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPut {
			io.WriteString(w, hashOf(t, req.Body))
			return
		}
		io.Copy(w, randomBytes(1, size))
	}))
	defer web.Close()
	want := hashOf(t, randomBytes(1, size))
	tap := startTap(t, web.Listener.Addr().String(), "-q") // framed as lines all the same

	get := peer(t, "curl", "-sS", "http://"+tap.addr+"/")
	body, err := get.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := get.Start(); err != nil {
		t.Fatal(err)
	}
	if got := hashOf(t, body); got != want {
		t.Errorf("curl got a body of hash %s, want %s", got, want)
	}
	if err := get.Wait(); err != nil {
		t.Errorf("curl: %v", err)
	}
	put := peer(t, "curl", "-sS", "-T", "-", "http://"+tap.addr+"/")
	put.Stdin = randomBytes(1, size)
	if got, err := put.Output(); string(got) != want || err != nil {
		t.Errorf("the web server got a body of hash %s, %v, want %s", got, err, want)
	}
	if code := tap.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, tap.stderr)
	}
}

// The binary protocol of memcached: 24 bytes of header, then a body of the length it says.
func TestTapBeforeMemcached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "memcached")
	cache := peer(t, "memcached", "-s", socket, "-U", "0", "-t", "1")
	if os.Getuid() == 0 {
		cache.Args = append(cache.Args, "-u", "root")
	}
	start(t, cache)
	eventually(t, "memcached listens", func() bool { _, err := os.Stat(socket); return err == nil })
	for _, framing := range []string{"line", "chunk", "length"} {
		t.Run(framing, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "journal")
			tap := startTap(t, "unix:"+socket, "--framing", framing, "--journal", file, "--max-message", "1MiB")
			conn := connect(t, tap.addr)
			in := bufio.NewReader(conn)
			const set, get = 0x01, 0x00
			value := must(io.ReadAll(randomBytes(2, 500<<10)))
			// The request is written a byte at a time to its 2,000th.
			request := memcachedPacket(set, "key", make([]byte, 8), value)
			for _, b := range request[:2000] {
				conn.Write([]byte{b})
			}
			conn.Write(request[2000:])
			if status, _ := readMemcached(t, in); status != 0 {
				t.Fatalf("SET gave status %d", status)
			}
			conn.Write(memcachedPacket(get, "key", nil, nil))
			status, body := readMemcached(t, in)
			if status != 0 || !bytes.Equal(body[4:], value) { // behind 4 bytes of flags
				t.Errorf("GET gave status %d and %d bytes, not the value that was SET", status, len(body))
			}
			conn.Close()
			if code := tap.stop(t, syscall.SIGINT); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if want := fmt.Sprintf("%d bytes in, %d bytes out\n", len(request)+24+3, 24+24+len(body)); !strings.HasSuffix(tap.stderr.String(), want) {
				t.Errorf("the summary is %q, want it to end in %q", tap.stderr, want)
			}
			if framing != "chunk" {
				return
			}
			exchanges, _ := keptIn(t, file)
			var said, answered []byte
			for _, x := range exchanges {
				said, answered = append(said, x.Request...), append(answered, x.Reply...)
			}
			if !bytes.Equal(said, slices.Concat(request, memcachedPacket(get, "key", nil, nil))) {
				t.Errorf("the journal has %d bytes of the client, not those that it sent", len(said))
			}
			if !bytes.HasSuffix(answered, body) || len(answered) != 24+24+len(body) {
				t.Errorf("the journal has %d bytes of the server, not those that it sent", len(answered))
			}
		})
	}
}

func memcachedPacket(opcode byte, key string, extras, value []byte) []byte {
	p := make([]byte, 24)
	p[0], p[1], p[4] = 0x80, opcode, byte(len(extras))
	binary.BigEndian.PutUint16(p[2:], uint16(len(key)))
	binary.BigEndian.PutUint32(p[8:], uint32(len(extras)+len(key)+len(value)))
	return append(append(append(p, extras...), key...), value...)
}

func readMemcached(t *testing.T, r io.Reader) (status uint16, body []byte) {
	t.Helper()
	header := make([]byte, 24)
	if _, err := io.ReadFull(r, header); err != nil {
		t.Fatal(err)
	}
	body = make([]byte, binary.BigEndian.Uint32(header[8:]))
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint16(header[6:]), body
}

// A standard output that nobody reads never delays a byte.
func TestBlockedStdoutDelaysNoByte(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := startServer(t, "-q", "--echo")
	tap := startTapTo(t, w, s.addr)
	w.Close()
	line := strings.Repeat("x", 4000) + "\n"
	text := strings.Repeat(line, 3000) // 24 MB of narrative for a queue of 16 MiB
	conn := connect(t, tap.addr)
	go func() {
		io.WriteString(conn, text)
		conn.CloseWrite()
	}()
	if got, want := hashOf(t, conn), hashOf(t, strings.NewReader(text)); got != want {
		t.Error("the echo is not what was sent")
	}
	if code := tap.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, tap.stderr)
	}
}

// A drain waits for what is open, says so, and cuts at its end; a second signal at once.
func TestTapDrains(t *testing.T) {
	s := startServer(t, "-q", "--echo")
	for _, c := range []struct {
		name     string
		args     []string
		reminded bool // of what is waited for
		during   func(tap *server, conn net.Conn)
		code     int
		stderr   string
	}{
		{"in good time", nil, true, func(_ *server, conn net.Conn) { conn.Close() }, 0,
			"parley: 1 session, 0 probes, 1 request, 2 bytes in, 2 bytes out\n"},
		{"too late", []string{"--drain-timeout", "50ms"}, false, func(*server, net.Conn) {}, 1,
			"parley: cut session 1 with CLIENT: not done within 50ms\nparley: 1 session, 0 probes, 1 request, 2 bytes in, 2 bytes out, 1 cut\n"},
		{"second signal", nil, true, func(tap *server, _ net.Conn) { tap.Process.Signal(syscall.SIGTERM) }, 1,
			"parley: stopped at once by a second signal\nparley: 1 session, 0 probes, 1 request, 2 bytes in, 2 bytes out\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tap := startTap(t, s.addr, c.args...)
			conn := connect(t, tap.addr)
			fmt.Fprintln(conn, "a")
			io.ReadFull(conn, make([]byte, 2))
			if err := tap.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if c.reminded {
				tap.stderr.await(t, "for open connections to end (1); signal again to stop at once\n")
			}
			c.during(tap, conn)
			if code := tap.exit(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			rest := tap.stderr.String()
			if c.reminded {
				_, rest, _ = strings.Cut(rest, "to stop at once\n")
			}
			if want := strings.ReplaceAll(c.stderr, "CLIENT", conn.LocalAddr().String()); rest != want {
				t.Errorf("stderr %q, want %q", rest, want)
			}
		})
	}
}
