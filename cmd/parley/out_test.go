package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pair makes a certificate for localhost and 127.0.0.1, and its key, as openssl does. Whoever a
// service changes to can read both.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	for d := range 2 {
		if err := os.Chmod(filepath.Join(dir, strings.Repeat("../", d)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	run(t, peer(t, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
		"-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost,DNS:db.test,IP:127.0.0.1"), "")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// parleys runs parley to its end, with variables of its environment.
func parleys(t *testing.T, env []string, args ...string) (out string, code int) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

func checkOutput(t *testing.T, args []string, out string, code int, want string, wantCode int) {
	t.Helper()
	if code != wantCode || !strings.Contains(out, want) {
		t.Errorf("%q exits %d and says\n%.2000s\nwant %d and %q", args, code, out, wantCode, want)
	}
}

// Servers of other makes that echo over TLS: each command speaks with them, and trusts them only
// by the name and the CA.
func TestTLSServersOfOthers(t *testing.T) {
	cert, key := pair(t)
	for _, c := range []struct {
		name string
		cmd  func(port string) *exec.Cmd
		echo string // of hello
	}{
		{"openssl", func(port string) *exec.Cmd {
			return peer(t, "openssl", "s_server", "-accept", port, "-cert", cert, "-key", key, "-quiet", "-rev")
		}, "olleh"},
		{"socat", func(port string) *exec.Cmd {
			return peer(t, "socat", "OPENSSL-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork,verify=0,cert="+cert+",key="+key, "PIPE")
		}, "hello"},
		{"ncat", func(port string) *exec.Cmd {
			return peer(t, "ncat", "-l", "127.0.0.1", port, "-k", "--ssl", "--ssl-cert", cert, "--ssl-key", key, "--exec", "/bin/cat")
		}, "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := freePort(t)
			start(t, c.cmd(port))
			awaitListening(t, "tcp", "127.0.0.1:"+port)
			tries := []try{
				{"client -q --tls --ca CA localhost:PORT hello", c.echo + "\n", 0},
				{"check --tls --ca CA 127.0.0.1:PORT hello --expect-text " + c.echo, " answered: ", 0},
				{"bench --tls --ca CA -c 1 -n 20 -q -e any localhost:PORT", "20", 0},
			}
			if c.name == "openssl" {
				tries = append(tries, whomToTrust...)
			}
			for _, try := range tries {
				args := strings.Fields(strings.NewReplacer("CA", cert, "PORT", port).Replace(try.args))
				out, code := parleys(t, nil, args...)
				checkOutput(t, args, out, code, strings.ReplaceAll(try.want, "PORT", port), try.code)
			}
		})
	}
}

// A try is a command line, what its output has, and its exit code.
type try struct {
	args string
	want string
	code int
}

var whomToTrust = []try{
	{"client -q --tls localhost:PORT hello", "cannot connect to localhost:PORT: its certificate is signed by nobody we trust", 1},
	{"client -q --tls --ca CA --server-name other.test localhost:PORT hello", "not for other.test", 1},
	{"client -q --tls --ca CA --server-name db.test localhost:PORT hello", "olleh\n", 0},
	{"client -q --tls --insecure --server-name other.test localhost:PORT hello", "olleh\n", 0},
}

// A recording of a mail server in plain is replayed over STARTTLS, each command speaks behind it,
// and none awaits another greeting.
func TestSTARTTLSWithExim(t *testing.T) {
	t.Parallel() // it waits most of the time
	cert, key := pair(t)
	file := recorded(t, startExim(t), "smtp", func(addr string) {
		run(t, program(t, "client", "-f", "smtp", addr), "EHLO me\nMAIL FROM:<a@b>\nQUIT\n")
	})
	addr := startEximWith(t, "tls_advertise_hosts =", "tls_advertise_hosts = *\ntls_certificate = "+cert+"\ntls_privatekey = "+key)
	talk := filepath.Join(t.TempDir(), "talk")
	must(0, os.WriteFile(talk, []byte("framing smtp\n< ~ ^220\n> EHLO me\n< ~ STARTTLS\n> STARTTLS\n< ~ ^220\n\ntls\n> EHLO me\n< !~ STARTTLS\n> QUIT\n< ~ ^221\n< eof\n"), 0o600))
	for _, try := range []try{
		{"client -q --starttls smtp --ca CA -f smtp ADDR QUIT", "221 mx.test closing connection\r\n", 0},
		{"client -q --starttls smtp --ca CA -C ADDR QUIT", "221 mx.test closing connection\n", 0},
		{"check --starttls smtp --ca CA -f smtp ADDR NOOP --expect-status 250", "answered", 0},
		{"check --starttls smtp --ca CA ADDR", "reachable", 0},
		{"bench --starttls smtp --ca CA -f smtp -m QUIT --connect-each -c 2 -n 4 -q ADDR", "replies                       4", 0},
		{"replay FILE ADDR --starttls smtp --ca CA", "1 session, 3 requests, 3 replies compared, 0 differences", 0},
		{"client -q --script TALK --ca CA ADDR", "221 mx.test closing connection\r\n", 0},
		{"client -q --script TALK ADDR", "step 6 (TALK:8): tls: its certificate is signed by nobody we trust", 1},
		{"check --starttls smtp ADDR", "its certificate is signed by nobody we trust", 1},
		{"check --starttls imap --ca CA ADDR", `STARTTLS: the server's greeting is none that STARTTLS can follow: "220 mx.test`, 1},
		{"check --starttls nntp --ca CA ADDR", `STARTTLS: the server's greeting is none that STARTTLS can follow: "220 mx.test`, 1},
		{"check --starttls ftp --ca CA ADDR", `STARTTLS: the server does not offer it: it says "50`, 1},
	} {
		names := strings.NewReplacer("CA", cert, "ADDR", addr, "FILE", file, "TALK", talk)
		args := strings.Fields(names.Replace(try.args))
		out, code := parleys(t, nil, args...)
		checkOutput(t, args, out, code, names.Replace(try.want), try.code)
	}
	plain := startExim(t)
	args := []string{"check", "--starttls", "smtp", "--ca", cert, plain}
	out, code := parleys(t, nil, args...)
	checkOutput(t, args, out, code, "cannot connect to "+plain+": STARTTLS: the server does not offer it (connect ", 1)
}

// vsftpd speaks TLS behind AUTH TLS.
func TestSTARTTLSWithVsftpd(t *testing.T) {
	cert, key := pair(t)
	addr := startVsftpd(t, "ssl_enable=YES\nallow_anon_ssl=YES\nrsa_cert_file="+cert+"\nrsa_private_key_file="+key+"\n")
	args := []string{"client", "-q", "--starttls", "ftp", "--ca", cert, "-f", "smtp", addr, "NOOP"}
	out, code := parleys(t, nil, args...)
	checkOutput(t, args, out, code, "530 Please login with USER and PASS.\r\n", 0)
}

// answer is that of a server to hello, but for the number before it.
const answer = " - hello ...\n"

// Both kinds of proxy, with a password and without, to one that answers and to nobody.
func TestProxiesOfOthers(t *testing.T) {
	addr, nobody := startServer(t).addr, "127.0.0.1:"+freePort(t)
	for _, c := range []struct {
		name, url string // with USER where the user and the password are to be
		open      func(port string) *exec.Cmd
		closed    func(port string) *exec.Cmd // with me:secret
		refused   string                      // to nobody
		denied    string                      // without a user, and then with a wrong one
		denied2   string
	}{
		{"microsocks", "socks5://USER127.0.0.1:PORT",
			func(port string) *exec.Cmd { return peer(t, "microsocks", "-i", "127.0.0.1", "-p", port) },
			func(port string) *exec.Cmd {
				return peer(t, "microsocks", "-i", "127.0.0.1", "-p", port, "-u", "me", "-P", "secret")
			},
			"cannot connect: connection refused", "refuses us: it wants a user and a password", "refuses us: it does not take that user and password"},
		{"ncat", "http://USER127.0.0.1:PORT",
			func(port string) *exec.Cmd {
				return peer(t, "ncat", "-l", "127.0.0.1", port, "-k", "--proxy-type", "http")
			},
			func(port string) *exec.Cmd {
				return peer(t, "ncat", "-l", "127.0.0.1", port, "-k", "--proxy-type", "http", "--proxy-auth", "me:secret")
			},
			`cannot connect: "504 Gateway Timeout"`, "refuses us: it wants a user and a password", "refuses us: it does not take that user and password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			open, closed := freePort(t), freePort(t)
			start(t, c.open(open))
			start(t, c.closed(closed))
			awaitListening(t, "tcp", "127.0.0.1:"+open)
			awaitListening(t, "tcp", "127.0.0.1:"+closed)
			for _, try := range []struct {
				user, port, target string
				want               string
				code               int
			}{
				{"", open, addr, answer, 0},
				{"me:secret@", closed, addr, answer, 0},
				{"", open, nobody, "the proxy 127.0.0.1:" + open + " " + c.refused, 1},
				{"", closed, addr, "the proxy 127.0.0.1:" + closed + " " + c.denied, 1},
				{"me:wrongsecret@", closed, addr, "the proxy 127.0.0.1:" + closed + " " + c.denied2, 1},
			} {
				url := strings.NewReplacer("USER", try.user, "PORT", try.port).Replace(c.url)
				args := []string{"client", "-q", "--via", url, try.target, "hello"}
				out, code := parleys(t, nil, args...)
				checkOutput(t, args, out, code, try.want, try.code)
				if strings.Contains(out, "secret") {
					t.Errorf("the password is shown: %s", out)
				}
			}
		})
	}
}

// connectTo starts an HTTP proxy that connects whoever asks to the same target, and notes for whom
// it was asked.
func connectTo(t *testing.T, target string, config *tls.Config) (addr string, asked func() []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var mu sync.Mutex
	var names []string
	var running sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		mu.Lock()
		names = append(names, request.Host)
		mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		running.Go(func() { io.Copy(server, in); server.(*net.TCPConn).CloseWrite() })
		io.Copy(conn, server)
	}
	running.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(names)
	}
}

// ALL_PROXY is for all but loopback and NO_PROXY, and --via for those too.
func TestProxyOfTheEnvironment(t *testing.T) {
	addr := startServer(t).addr
	proxy, asked := connectTo(t, addr, nil)
	_, port, _ := net.SplitHostPort(addr)
	for _, c := range []struct {
		env, target, via string
		asked            string // the proxy was, if it was
		want             string
		code             int
	}{
		{"ALL_PROXY=http://PROXYADDR", "db.test:7000", "", "db.test:7000", answer, 0},
		{"all_proxy=PROXYADDR", "db.test:7000", "", "db.test:7000", answer, 0},
		{"ALL_PROXY=http://me:secret@PROXYADDR NO_PROXY=other.test", "10.0.0.1:7000", "", "10.0.0.1:7000", answer, 0},
		{"ALL_PROXY=http://PROXYADDR", "localhost:" + port, "", "", answer, 0},
		{"ALL_PROXY=http://PROXYADDR", "127.0.0.1:" + port, "", "", answer, 0},
		{"ALL_PROXY=foo://me:secret@PROXYADDR", "127.0.0.1:" + port, "", "", answer, 0},
		{"ALL_PROXY=http://PROXYADDR", "127.0.0.1:" + port, "http://PROXYADDR", "127.0.0.1:" + port, answer, 0},
		{"PARLEY_VIA=http://PROXYADDR", "127.0.0.1:" + port, "", "127.0.0.1:" + port, answer, 0},
		{"ALL_PROXY=http://PROXYADDR no_proxy=.invalid", "nobody.invalid:7000", "", "", "cannot connect to nobody.invalid:7000: ", 1},
		{"ALL_PROXY=foo://me:secret@PROXYADDR", "db.test:7000", "", "", "ALL_PROXY: a proxy's URL begins with socks5://, http:// or https://; NO_PROXY=db.test goes without it", 2},
		{"PARLEY_VIA=http://me:secret@:1", "db.test:7000", "", "", "--via: the URL has no host", 2},
		{"ALL_PROXY=http://PROXYADDR", "unix:/nowhere/at/all", "", "", "cannot connect to unix:/nowhere/at/all: no such file", 1},
		{"ALL_PROXY=http://PROXYADDR", "unix:/nowhere/at/all", "http://PROXYADDR", "", "--via: no proxy leads to unix:/nowhere/at/all", 2},
	} {
		before := len(asked())
		args := []string{"client", "-q", c.target, "hello"}
		if c.via != "" {
			args = append([]string{"client", "--via", strings.ReplaceAll(c.via, "PROXYADDR", proxy)}, args[1:]...)
		}
		out, code := parleys(t, strings.Fields(strings.ReplaceAll(c.env, "PROXYADDR", proxy)), args...)
		checkOutput(t, append(args, c.env), out, code, c.want, c.code)
		if got := strings.Join(asked()[before:], " "); got != c.asked {
			t.Errorf("%s, %q: the proxy was asked for %q, want %q", c.env, args, got, c.asked)
		}
		if strings.Contains(out, "secret") {
			t.Errorf("the password is shown: %s", out)
		}
	}
}

// The way to a proxy can be TLS, and behind it that to the target too. A page that a bench writes has
// no password.
func TestProxyOverTLS(t *testing.T) {
	cert, key := pair(t)
	config := &tls.Config{Certificates: []tls.Certificate{must(tls.LoadX509KeyPair(cert, key))}}
	trusting := []string{"SSL_CERT_FILE=" + cert, "SSL_CERT_DIR=" + t.TempDir()}
	echo := startServer(t).addr
	proxy, _ := connectTo(t, echo, config)
	port := freePort(t)
	start(t, peer(t, "socat", "OPENSSL-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork,verify=0,cert="+cert+",key="+key, "PIPE"))
	awaitListening(t, "tcp", "127.0.0.1:"+port)
	secured, _ := connectTo(t, "127.0.0.1:"+port, config)
	page := filepath.Join(t.TempDir(), "page.html")
	for _, c := range []struct {
		args []string
		want string
		code int
		env  []string
	}{
		{[]string{"client", "-q", "--via", "https://" + proxy, "db.test:7000", "hello"}, answer, 0, trusting},
		{[]string{"client", "-q", "--tls", "--via", "https://" + secured, "db.test:7000", "hello"}, "hello\n", 0, trusting},
		{[]string{"client", "-q", "--via", "https://" + proxy, "db.test:7000", "hello"},
			"the proxy " + proxy + " cannot be reached: its certificate is signed by nobody we trust", 1, nil},
		{[]string{"bench", "-q", "-c", "1", "-n", "5", "--html", page, "--via", "https://me:secret@" + proxy, "db.test:7000"}, "5", 0, trusting},
	} {
		out, code := parleys(t, c.env, c.args...)
		checkOutput(t, c.args, out, code, c.want, c.code)
	}
	if text := string(must(os.ReadFile(page))); strings.Contains(text, "secret") || !strings.Contains(text, "https://"+proxy) {
		t.Errorf("the page has the password, or not the proxy")
	}
}

// haproxy takes the header as it takes that of another haproxy, in plain and before TLS, and says whom
// it names.
func TestSendProxyToHAProxy(t *testing.T) {
	cert, key := pair(t)
	dir := t.TempDir()
	both := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(both, append(must(os.ReadFile(cert)), must(os.ReadFile(key))...), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, secured := freePort(t), freePort(t)
	config := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`
defaults
  mode http
  timeout client 30s
  timeout server 30s
  timeout connect 30s
frontend f
  bind 127.0.0.1:%s accept-proxy
  bind 127.0.0.1:%s accept-proxy ssl crt %s
  http-request return status 200 content-type text/plain lf-string "from %%[src]:%%[src_port] for %%[dst]:%%[dst_port]"
`, plain, secured, both)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, peer(t, "/usr/sbin/haproxy", "-db", "-f", config))
	awaitListening(t, "tcp", "127.0.0.1:"+plain)
	for _, version := range []string{"v1", "v2"} {
		for _, way := range [][]string{{"127.0.0.1:" + plain}, {"127.0.0.1:" + secured, "--tls", "--ca", cert}} {
			args := append([]string{"client", "--json", "-f", "http", "--send-proxy", version}, append(way, "GET /")...)
			out, code := parleys(t, nil, args...)
			var reply struct {
				Local   string
				Payload []byte `json:"payload_base64"`
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, `"replied"`) {
					if err := json.Unmarshal([]byte(line), &reply); err != nil {
						t.Fatal(err)
					}
				}
			}
			if want := "from " + reply.Local + " for " + way[0]; code != 0 || !strings.HasSuffix(string(reply.Payload), want) {
				t.Errorf("%q exits %d; haproxy says %q, want %q; %s", args, code, reply.Payload, want, out)
			}
		}
	}
	args := []string{"check", "-f", "http", "127.0.0.1:" + plain, "GET /"}
	out, code := parleys(t, nil, args...)
	checkOutput(t, args, out, code, "connection reset by peer", 1)
}
