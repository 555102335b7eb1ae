package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// startTLSTap starts a tap that opens TLS: towards its clients, towards the server at upstream, or both.
func startTLSTap(t *testing.T, cert, key, upstream string, in, out bool, args ...string) *server {
	t.Helper()
	if in {
		args = append(args, "--tls-cert", cert, "--tls-key", key)
	}
	if out {
		args = append(args, "--upstream-tls", "--ca", cert)
	}
	return startTap(t, upstream, args...)
}

// startRedisTLS starts a redis that speaks TLS at one port and plain at the other.
func startRedisTLS(t *testing.T, cert, key string) (secured, plain string) {
	t.Helper()
	port, tlsPort := freePort(t), freePort(t)
	start(t, peer(t, "redis-server", "--port", port, "--tls-port", tlsPort, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no"))
	awaitListening(t, "tcp", "127.0.0.1:"+tlsPort)
	return "localhost:" + tlsPort, "localhost:" + port
}

// Between redis and its client TLS is opened on either side, or both: what is said is shown and kept in
// plain, in the words of the protocol, and is replayed over TLS.
func TestTapOpensTLSOfRedis(t *testing.T) {
	cert, key := pair(t)
	secured, plain := startRedisTLS(t, cert, key)
	for _, c := range []struct {
		name    string
		in, out bool
	}{{"to the client", true, false}, {"to the server", false, true}, {"on both sides", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			upstream, file := plain, filepath.Join(t.TempDir(), "journal")
			if c.out {
				upstream = secured
			}
			tap := startTLSTap(t, cert, key, upstream, c.in, c.out, "-f", "redis", "--journal", file)
			args := []string{"-h", "localhost", "-p", tap.port}
			if c.in {
				args = append(args, "--tls", "--cacert", cert)
			}
			const end = "Tap: Connection closed! (end of file without TLS's close_notify)\n" // each time
			for _, said := range [][3]string{
				{"SET key value", "OK\n", "Tap: client [33]: SET key value\nTap: server [5]: OK\n" + end},
				{"ECHO hello", "hello\n", "Tap: client [25]: ECHO hello\nTap: server [11]: hello\n" + end},
			} {
				command, want, told := said[0], said[1], said[2]
				if got := run(t, peer(t, "redis-cli", append(args, strings.Fields(command)...)...), ""); got != want {
					t.Errorf("redis-cli says %q to %s, want %q", got, command, want)
				}
				tap.stdout.await(t, told) // its end is told before another begins
			}
			if code := tap.stop(t, os.Interrupt); code != 0 {
				t.Errorf("the tap exits %d: %s", code, tap.stderr)
			}
			_, got := keptIn(t, file)
			for _, want := range []string{
				`"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n" "+OK\r\n"`,
				`"*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n" "$5\r\nhello\r\n"`,
			} {
				if !slices.Contains(got, "1.1 "+want) && !slices.Contains(got, "2.1 "+want) {
					t.Errorf("the journal has\n%s\nand not %s", strings.Join(got, "\n"), want)
				}
			}
			out, code := replayed(t, file, secured, "--tls", "--ca", cert, "--speed", "max")
			checkSummary(t, out, code, "2 sessions, 2 requests, 2 replies compared, 0 differences")
		})
	}
}

// webServersTLS are servers of https of other makes, which print their port. Each ends its TLS in its own way.
var webServersTLS = map[string][]string{
	"node": {"node", "-e", `
		const fs = require('fs')
		const s = require('https').createServer({cert: fs.readFileSync('CERT'), key: fs.readFileSync('KEY')}, (req, res) => {
			let n = 0
			req.on('data', d => n += d.length).on('end', () => res.end(req.method + ' ' + n + '\n'))
		})
		s.listen(0, '127.0.0.1', () => console.log(s.address().port))`},
	"python": {"python3", "-u", "-c", `
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        n = len(self.rfile.read(int(self.headers.get('Content-Length', 0))))
        self.send_response(200); self.end_headers()
        self.wfile.write(b'%s %d\n' % (self.command.encode(), n))
    do_PUT = do_GET
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('CERT', 'KEY')
s.socket = c.wrap_socket(s.socket, server_side=True)
print(s.server_port); s.serve_forever()`},
}

func startWebTLS(t *testing.T, name, cert, key string) (addr string) {
	t.Helper()
	args := slices.Clone(webServersTLS[name])
	for i := range args {
		args[i] = strings.NewReplacer("CERT", cert, "KEY", key).Replace(args[i])
	}
	_, port, _ := net.SplitHostPort(startService(t, args[0], args[1:]...))
	return "localhost:" + port
}

// curl speaks https through a tap to servers of other makes: bodies of both directions arrive whole,
// and none of their ways to end TLS is taken for a reset.
func TestTapOpensHTTPS(t *testing.T) {
	cert, key := pair(t)
	for name := range webServersTLS {
		t.Run(name, func(t *testing.T) {
			tap := startTLSTap(t, cert, key, startWebTLS(t, name, cert, key), true, true, "-f", "http", "--json")
			url := "https://localhost:" + tap.port + "/"
			if got := run(t, peer(t, "curl", "-sS", "--cacert", cert, url), ""); got != "GET 0\n" {
				t.Errorf("curl got %q", got)
			}
			body := filepath.Join(t.TempDir(), "body")
			if err := os.WriteFile(body, bytes.Repeat([]byte("x"), 5<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := run(t, peer(t, "curl", "-sS", "--cacert", cert, "-H", "Expect:", "-T", body, url), ""); got != fmt.Sprintf("PUT %d\n", 5<<20) {
				t.Errorf("curl put and got %q", got)
			}
			if code := tap.stop(t, os.Interrupt); code != 0 {
				t.Errorf("the tap exits %d: %s", code, tap.stderr)
			}
			if n := strings.Count(tap.stdout.String(), `"tls_version":"TLS 1.3"`); n == 0 {
				t.Errorf("the events do not say that it is TLS:\n%.2000s", tap.stdout)
			}
			if got := tap.stdout.String(); strings.Contains(got, `_reset"`) || strings.Contains(got, `"reset"`) || strings.Contains(got, "io_error") || strings.Count(got, `"event":"closed"`) != 2 {
				t.Errorf("the tap tells\n%.4000s", got)
			}
		})
	}
}

// Both ends of openssl through a tap. The client that trusts nobody is told of with its reason, a
// server that cannot be trusted is unreachable with its own, and one that wants a certificate too.
func TestTapBetweenOpenSSLs(t *testing.T) {
	cert, key := pair(t)
	serve := func(t *testing.T, args ...string) string {
		port := freePort(t)
		start(t, peer(t, "openssl", append([]string{"s_server", "-accept", port, "-cert", cert, "-key", key, "-quiet", "-rev"}, args...)...))
		awaitListening(t, "tcp", "127.0.0.1:"+port)
		return "localhost:" + port
	}
	talk := func(tap *server, args ...string) string {
		cmd := peer(t, "openssl", append([]string{"s_client", "-connect", "localhost:" + tap.port, "-quiet", "-verify_return_error", "-no_ign_eof"}, args...)...)
		cmd.Stdin = strings.NewReader("hello\n")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	t.Run("hello", func(t *testing.T) {
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			tap := startTLSTap(t, cert, key, serve(t, version), true, true)
			cmd := peer(t, "openssl", "s_client", "-connect", "localhost:"+tap.port, "-quiet", version, "-CAfile", cert)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			client := start(t, cmd)
			fmt.Fprintln(in, "hello")
			client.stdout.await(t, "olleh\n")
			in.Close()
			client.Process.Kill()
			tap.stdout.await(t, "Tap: client [5]: hello\nTap: server [5]: olleh\nTap: Connection closed!")
		}
	})
	t.Run("a client that trusts nobody", func(t *testing.T) {
		tap := startTLSTap(t, cert, key, serve(t), true, true)
		talk(tap)
		tap.stderr.await(t, " failed: client does not trust our certificate\n")
	})
	t.Run("a server that is not to be trusted", func(t *testing.T) {
		other, _ := pair(t)
		tap := startTap(t, serve(t), "--upstream-tls", "--ca", other)
		fmt.Fprintln(connect(t, tap.addr), "hello")
		tap.stderr.await(t, ": its certificate is signed by nobody we trust")
	})
	t.Run("a server that wants a certificate", func(t *testing.T) {
		upstream := serve(t, "-Verify", "1", "-CAfile", cert)
		tap := startTLSTap(t, cert, key, upstream, false, true)
		fmt.Fprintln(connect(t, tap.addr), "hello")
		tap.stdout.await(t, "the server wants a client certificate; --cert and --key name one")
		tap = startTLSTap(t, cert, key, upstream, false, true, "--cert", cert, "--key", key)
		if got := converse(t, tap.addr, "hello\n"); got != "olleh\n" {
			t.Errorf("with one: %q", got)
		}
	})
}

// Behind STARTTLS a plain tap passes what it cannot read on as it comes, and says from where.
func TestTapPassesSTARTTLSOn(t *testing.T) {
	cert, key := pair(t)
	addr := startEximWith(t, "tls_advertise_hosts =", "tls_advertise_hosts = *\ntls_certificate = "+cert+"\ntls_privatekey = "+key)
	tap := startTap(t, addr, "-f", "smtp")
	args := []string{"client", "-q", "--starttls", "smtp", "--ca", cert, "-f", "smtp", "localhost:" + tap.port, "QUIT"}
	out, code := parleys(t, nil, args...)
	checkOutput(t, args, out, code, "221 mx.test closing connection\r\n", 0)
	tap.stdout.await(t, "Tap: Connection closed!")
	_, behind, asked := strings.Cut(tap.stdout.String(), "Tap: client [10]: STARTTLS\nTap: server [18]: 220 TLS go ahead\n")
	if !asked || !strings.HasPrefix(behind, "Tap: client [") {
		t.Errorf("the tap shows\n%.3000s", tap.stdout)
	}
	for line := range strings.Lines(behind) {
		if !strings.Contains(line, "]: TLS (") && line != "Tap: Connection closed!\n" {
			t.Errorf("behind STARTTLS it shows %q", line)
		}
	}
}

// tshark reads what a tap passes with the keys that it has logged: on both sides, and the same as the
// tap's own recording. The encrypted bytes are recorded by taps in plain before and behind it.
func TestTsharkDecryptsWithTheKeyLog(t *testing.T) {
	cert, key := pair(t)
	secured, _ := startRedisTLS(t, cert, key)
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	behind := startTap(t, secured, "-q", "-f", "chunk", "--journal", filepath.Join(dir, "behind"))
	tap := startTLSTap(t, cert, key, "localhost:"+behind.port, true, true, "-q", "-f", "redis", "--keylog", keys)
	before := startTap(t, tap.addr, "-q", "-f", "chunk", "--journal", filepath.Join(dir, "before"))
	if got := run(t, peer(t, "redis-cli", "-h", "localhost", "-p", before.port, "--tls", "--cacert", cert, "ECHO", "a-secret"), ""); got != "a-secret\n" {
		t.Errorf("redis-cli says %q", got)
	}
	for _, s := range []*server{before, tap, behind} {
		if code := s.stop(t, os.Interrupt); code != 0 {
			t.Errorf("a tap exits %d: %s", code, s.stderr)
		}
	}
	if info, err := os.Stat(keys); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key log is %v, %v", info, err)
	}
	want := []string{"$8\r\na-secret\r\n", "*2\r\n$4\r\nECHO\r\n$8\r\na-secret\r\n"}
	var reading sync.WaitGroup
	for _, side := range []string{"before", "behind"} {
		reading.Go(func() {
			file := filepath.Join(dir, side)
			capture := file + ".pcap"
			exported := run(t, program(t, "log", file, "--export", "pcap"), "")
			if strings.Contains(exported, "a-secret") {
				t.Errorf("%s the tap the bytes are plain", side)
			}
			if err := os.WriteFile(capture, []byte(exported), 0o600); err != nil {
				t.Error(err)
				return
			}
			if got := decrypted(t, capture, keys); !slices.Equal(got, want) {
				t.Errorf("%s the tap tshark reads %.1000q, want %q", side, got, want)
			}
		})
	}
	reading.Wait()
}

// decrypted is what tshark finds in the one stream of a capture with the keys of its TLS: what either
// side said, sorted.
func decrypted(t *testing.T, capture, keys string) []string {
	t.Helper()
	found := followAs(t, "tls", capture, 1, "-o", "tls.keylog_file:"+keys)[0]
	sides := []string{found.requests.String(), found.replies.String()}
	slices.Sort(sides)
	return sides
}

// The commands of the manual do what it shows, at other ports.
func TestTheManualsTapOfTLS(t *testing.T) {
	_, section, _ := strings.Cut(string(must(os.ReadFile("../../docs/tapping.md"))), "<!-- run by TestTheManualsTapOfTLS -->\n")
	block, _, _ := strings.Cut(section, "\n\n")
	cert, key := pair(t)
	secured, _ := startRedisTLS(t, cert, key)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "redis.pem"), must(os.ReadFile(cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	block = strings.NewReplacer("localhost:6379", secured, "6380", port, "~", dir, "    ", "").Replace(block)
	var commands, prints []string
	for line := range strings.Lines(block) {
		switch text, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ "); {
		case isCommand:
			commands = append(commands, text)
		case !strings.HasPrefix(text, "#"):
			prints = append(prints, text)
		}
	}
	if len(commands) != 3 {
		t.Fatalf("the manual has %d commands: %q", len(commands), commands)
	}
	parley := func(line string) *exec.Cmd {
		cmd := program(t, strings.Fields(strings.TrimSuffix(line, "&"))[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "XDG_STATE_HOME=")
		return cmd
	}
	tap := start(t, parley(commands[0]))
	tap.stdout.await(t, "Tap: started on ")
	words := strings.Fields(commands[1])
	said := run(t, peer(t, words[0], words[1:]...), "")
	tap.stdout.await(t, "Tap: Connection closed!")
	if code := tap.stop(t, os.Interrupt); code != 0 {
		t.Errorf("the tap exits %d: %s", code, tap.stderr)
	}
	replayed, err := parley(commands[2]).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", commands[2], err)
	}
	printed := somePort.ReplaceAllString(tap.stdout.String()+said+string(replayed), ":PORT")
	for _, want := range prints {
		if want = somePort.ReplaceAllString(want, ":PORT"); !strings.Contains(printed, want+"\n") {
			t.Errorf("the manual shows %q; printed was\n%s", want, printed)
		}
	}
}

var somePort = regexp.MustCompile(`:[0-9]{4,5}\b`)

// A server behind a tap is told by the PROXY protocol who the client is, also before TLS.
func TestTapNamesItsClients(t *testing.T) {
	cert, key := pair(t)
	for _, args := range [][]string{nil, {"--tls-cert", cert, "--tls-key", key}} {
		for _, version := range []string{"v1", "v2"} {
			s := startServer(t, append([]string{"--json", "--proxy-protocol", "--proxy-trust", "127.0.0.0/8"}, args...)...)
			_, port, _ := net.SplitHostPort(s.addr)
			tap := startTLSTap(t, cert, key, "localhost:"+port, false, args != nil, "--send-proxy", version)
			conn := connect(t, tap.addr)
			fmt.Fprintln(conn, "hello")
			s.stdout.await(t, fmt.Sprintf(`"remote":"%s","local":"%s"`, conn.LocalAddr(), tap.addr))
			s.stdout.await(t, `"proxy":"127.0.0.1:`)
			conn.Close()
		}
	}
}

// A tap behind a proxy knows the client that the header names, and names it in its turn.
func TestTapBehindAProxy(t *testing.T) {
	s := startServer(t, "--json", "--proxy-protocol", "--proxy-trust", "127.0.0.1")
	second := startTap(t, s.addr, "-v", "--proxy-protocol", "--proxy-trust", "127.0.0.1", "--send-proxy", "v1")
	first := startTap(t, second.addr, "--send-proxy", "v2")
	conn := connect(t, first.addr)
	fmt.Fprintln(conn, "hello")
	s.stdout.await(t, fmt.Sprintf(`"remote":"%s","local":"%s"`, conn.LocalAddr(), first.addr))
	second.stdout.await(t, fmt.Sprintf("Tap: connection from %s to ", conn.LocalAddr()))
	conn.CloseWrite() // passed on below the header
	if got := string(must(io.ReadAll(conn))); got != "Request #1 - hello ...\n" {
		t.Errorf("the client got %q", got)
	}
	second.stdout.await(t, "Tap: Connection closed!\n")
}
