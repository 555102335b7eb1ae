package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A proxied is a server behind proxies, with one address in plain and one in TLS, and what the
// configurations of docs/proxies.md name.
type proxied struct {
	*process
	plain, secure string
	dir           string
	alice         tls.Certificate // of a client that the proxies know
	site          *x509.CertPool  // who vouches for the proxies
}

func startProxied(t *testing.T, args ...string) *proxied {
	t.Helper()
	p := &proxied{dir: t.TempDir()}
	file, pair := filepath.Join(p.dir, "addr"), filepath.Join(p.dir, "parley.pem")
	writePair(t, pair, "parley.example")
	p.alice, _ = writePair(t, filepath.Join(p.dir, "clients.pem"), "alice")
	_, p.site = writePair(t, filepath.Join(p.dir, "site.pem"), "site.example")
	p.process = start(t, program(t, append([]string{"server", "proxy:127.0.0.1:0", "--listen", "proxy+tls:127.0.0.1:0",
		"--proxy-trust", "127.0.0.1", "--tls-cert", pair, "--tls-key", pair, "--addr-file", file, "--json"}, args...)...))
	addrs := strings.Fields(awaitAddr(t, file))
	p.plain, p.secure = addrs[0], addrs[1]
	return p
}

// writePair writes a certificate that vouches for itself, and its key.
func writePair(t *testing.T, file, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(der)))
	return must(tls.X509KeyPair(text, text)), pool
}

// configuration writes one of docs/proxies.md into a file, with the addresses of this test. The
// ports 7001 to 7004 are at the addresses that it returns. More is to be replaced in it.
func (p *proxied) configuration(t *testing.T, name string, more ...*strings.Replacer) (file string, at map[string]string) {
	t.Helper()
	page := string(must(os.ReadFile("../../docs/proxies.md")))
	_, text, found := strings.Cut(page, "```"+name+"\n")
	text, _, closed := strings.Cut(text, "```")
	if !found || !closed {
		t.Fatalf("docs/proxies.md has no %s", name)
	}
	at = make(map[string]string)
	text = regexp.MustCompile(`(bind :|listen )(700[1-4])`).ReplaceAllStringFunc(text, func(s string) string {
		port := s[len(s)-4:]
		at[port] = "127.0.0.1:" + freePort(t)
		return strings.TrimSuffix(strings.TrimSuffix(s, port), ":") + at[port]
	})
	text = strings.NewReplacer("10.0.0.9:6969", p.plain, "10.0.0.9:7443", p.secure, "/etc/haproxy", p.dir, "/etc/nginx", p.dir).Replace(text)
	for _, r := range more {
		text = r.Replace(text)
	}
	file = filepath.Join(p.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, at
}

func startHaproxy(t *testing.T, file string) *process {
	t.Helper()
	return start(t, peer(t, "/usr/sbin/haproxy", "-db", "-f", file))
}

func startNginx(t *testing.T, file string) *process {
	t.Helper()
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so" // where it is none of the program's own
	settings := "daemon off; master_process off; pid " + file + ".pid; error_log stderr;"
	if _, err := os.Stat(module); err == nil {
		settings = "load_module " + module + "; " + settings
	}
	return start(t, peer(t, "/usr/sbin/nginx", "-e", "stderr", "-p", filepath.Dir(file), "-c", file, "-g", settings))
}

// says has a client say something to a proxy that has just been started, and returns its address.
func says(t *testing.T, at string, config *tls.Config, text string) (from string) {
	t.Helper()
	var conn net.Conn
	eventually(t, at+" is listened at", func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", at)
		return err == nil
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	from = conn.LocalAddr().String()
	if config != nil {
		conn = tls.Client(conn, config)
	}
	fmt.Fprintf(conn, "%s\n", text)
	if reply, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasSuffix(reply, text+" ...\n") {
		t.Errorf("the reply to %q is %q, %v", text, reply, err)
	}
	return from
}

// A told is an event, as far as it is looked at.
type told struct {
	Event, Reason, Error, Payload, Remote, Local, Proxy string
	TLSVersion                                          string `json:"tls_version"`
	TLSName                                             string `json:"tls_name"`
	ServerName                                          string `json:"server_name"`
}

func events(t *testing.T, text string) (all []told) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e told
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// opened is the event of the opening of the session from an address.
func (p *proxied) opened(t *testing.T, from string) (found told) {
	t.Helper()
	eventually(t, "a session from "+from+" is opened", func() bool {
		for _, e := range events(t, wholeLines(p.stdout.String())) {
			if e.Event == "opened" && e.Remote == from {
				found = e
			}
		}
		return found.Event != ""
	})
	return found
}

func TestBehindHaproxy(t *testing.T) {
	p := startProxied(t)
	file, at := p.configuration(t, "haproxy")
	haproxy := startHaproxy(t, file)
	site := &tls.Config{RootCAs: p.site, ServerName: "site.example"}
	known := site.Clone()
	known.Certificates = []tls.Certificate{p.alice}
	for _, c := range []struct {
		port   string
		config *tls.Config
		want   told
	}{
		{"7001", nil, told{}},
		{"7002", nil, told{}},
		{"7003", site, told{TLSVersion: "TLSv1.3", ServerName: "site.example"}},
		{"7003", known, told{TLSVersion: "TLSv1.3", ServerName: "site.example", TLSName: "alice"}},
		{"7004", nil, told{TLSVersion: "TLS 1.3", ServerName: "parley.example"}},
	} {
		p.checkClient(t, at[c.port], c.config, c.want)
	}
	if t.Failed() {
		t.Logf("haproxy says %s\nthe server %s", haproxy.stderr, p.stderr)
	}
}

func TestBehindNginx(t *testing.T) {
	p := startProxied(t)
	file, at := p.configuration(t, "nginx")
	nginx := startNginx(t, file)
	p.checkClient(t, at["7001"], nil, told{})
	p.checkClient(t, at["7002"], &tls.Config{RootCAs: p.site, ServerName: "site.example"}, told{})
	p.checkClient(t, at["7003"], nil, told{TLSVersion: "TLS 1.3", ServerName: "parley.example"})
	if t.Failed() {
		t.Logf("nginx says %s\nthe server %s", nginx.stderr, p.stderr)
	}
}

// checkClient has a client come through the proxy, and compares what the server knows of it.
func (p *proxied) checkClient(t *testing.T, at string, config *tls.Config, want told) {
	t.Helper()
	got := p.opened(t, says(t, at, config, "hello"))
	if got.Local != at {
		t.Errorf("it dialled %s, and the server says %s", at, got.Local)
	}
	if host, _, _ := net.SplitHostPort(got.Proxy); host != "127.0.0.1" || got.Proxy == got.Remote {
		t.Errorf("the proxy of %s is %q", got.Remote, got.Proxy)
	}
	if got.TLSVersion != want.TLSVersion || got.TLSName != want.TLSName || got.ServerName != want.ServerName {
		t.Errorf("at %s the server knows %+v, want %+v", at, got, want)
	}
}

// What this program sends it takes: a client is its own proxy then.
func TestOurOwnHeaders(t *testing.T) {
	p := startProxied(t)
	withTLS := []string{"--tls", "--ca", filepath.Join(p.dir, "parley.pem"), "--server-name", "parley.example"}
	for _, version := range []string{"v1", "v2"} {
		for at, flags := range map[string][]string{p.plain: nil, p.secure: withTLS} {
			run(t, program(t, append([]string{"client", "-q", "--send-proxy", version, at, "hello"}, flags...)...), "")
		}
	}
	eventually(t, "four sessions are as they were sent", func() bool {
		opened := 0
		for _, e := range events(t, wholeLines(p.stdout.String())) {
			if e.Event == "opened" && e.Proxy == e.Remote && (e.Local == p.plain || e.Local == p.secure) {
				opened++
			}
		}
		return opened == 4
	})
}

// Between a proxy and its server a tap takes the header, and one of its own says the same.
func TestATapHandsTheClientOn(t *testing.T) {
	p := startProxied(t)
	file := filepath.Join(p.dir, "tap")
	tap := start(t, program(t, "tap", "proxy:127.0.0.1:0", p.plain, "--proxy-trust", "127.0.0.1", "--send-proxy", "v2", "--json", "--addr-file", file))
	conn := connect(t, awaitAddr(t, file))
	fmt.Fprint(conn, "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello\n")
	if reply, err := bufio.NewReader(conn).ReadString('\n'); reply != "Request #1 - hello ...\n" {
		t.Errorf("the reply is %q, %v", reply, err)
	}
	p.opened(t, "203.0.113.7:4711")
	tap.stdout.await(t, `"proxy":"`+conn.LocalAddr().String()+`"`)

	stranger := connect(t, awaitAddr(t, file))
	fmt.Fprint(stranger, "hello\n")
	if got, _ := io.ReadAll(stranger); len(got) > 0 {
		t.Errorf("what begins with no header is answered %q", got)
	}
	tap.stderr.await(t, `no PROXY header came, but "hello\n"`)
}

// Health checks of each kind find the server up, and are no noise.
func TestHealthChecksOfHaproxy(t *testing.T) {
	p := startProxied(t, "--reply", "{message}")
	// An interval is also how long a check may take, and on a busy machine that may be long.
	file, _ := p.configuration(t, "haproxy-checks", strings.NewReplacer("inter 2s", "inter 200ms fall 100"))
	haproxy := startHaproxy(t, file)
	connect(t, p.plain).Close()  // as others check
	connect(t, p.secure).Close() // they may have nothing of TLS either
	const each = 3
	eventually(t, "there were checks of each kind", func() bool {
		bare, probes, pings := 0, map[string]int{}, 0
		for _, e := range events(t, wholeLines(p.stdout.String())) {
			switch {
			case e.Event == "handshake_failed" && e.Reason == "no_request":
				bare++
			case e.Reason == "no_request" && (e.Local == p.plain || e.Local == p.secure):
				probes[e.Local]++
			case e.Event == "replied" && e.Payload == "ping":
				pings++
			}
		}
		return bare == 2 && probes[p.plain] > 2*each && probes[p.secure] > each && pings > each // two kinds go to the one
	})
	if haproxy.stop(t, syscall.SIGTERM); strings.Contains(haproxy.stderr.String(), "DOWN") {
		t.Errorf("haproxy says %s", haproxy.stderr)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(p.stderr.String(), " probes, ") || strings.Contains(p.stderr.String(), "handshake") {
		t.Errorf("the exit code is %d; the server says %s", code, p.stderr)
	}
}

func wholeLines(text string) string { return text[:strings.LastIndex(text, "\n")+1] }

// What is no header, or comes from elsewhere, is closed at once and told once with why.
func TestHeadersThatAreNotTaken(t *testing.T) {
	for _, c := range []struct {
		trust, sent, why string
	}{
		{"127.0.0.1", "hello\n", `no PROXY header came, but "hello\n"; the proxy must be told to send one`},
		{"10.0.0.0/8", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nhello\n", "PROXY header expected from a trusted proxy only; 127.0.0.1 is none (--proxy-trust)"},
		{"127.0.0.1", "PROXY TCP4 10.0.0.1 10.0.0.2 1\r\nhello\n", "the PROXY header is malformed: can't read address family or protocol"},
	} {
		s := startServer(t, "--proxy-protocol", "--proxy-trust", c.trust, "--json")
		conn := connect(t, s.addr)
		if _, err := io.WriteString(conn, c.sent); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(conn); len(got) > 0 {
			t.Errorf("%q is answered %q", c.sent, got)
		}
		s.stdout.await(t, `"event":"handshake_failed"`)
		got := events(t, s.stdout.String())[1:] // behind that of the start
		if len(got) != 1 || got[0].Error != c.why || got[0].Remote != conn.LocalAddr().String() {
			t.Errorf("of %q it is told %+v, want %s", c.sent, got, c.why)
		}
	}
}

// A header where none is expected is data, and earns one hint.
func TestHeadersThatNobodyExpects(t *testing.T) {
	const line = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443"
	s := startServer(t)
	for range 2 {
		conn := connect(t, s.addr)
		fmt.Fprintf(conn, "%s\r\nhello\n\n", line)
		if got, _ := io.ReadAll(conn); !strings.Contains(string(got), " - "+line+" ...\n") {
			t.Errorf("the replies are %q", got)
		}
		conn.Close()
	}
	conn := connect(t, s.addr)
	fmt.Fprint(conn, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\x12\x67\x01\xbbhello\n")
	io.ReadAll(conn)
	conn.Close()
	s.stop(t, syscall.SIGTERM)
	const hint = "this is a PROXY header, which names the client; --proxy-protocol takes it, and here it is data"
	for session, want := range map[string]int{"session 1 ": 1, "session 2 ": 0, "session 3 ": 1} {
		if got := strings.Count(s.stderr.String(), "parley: "+session); got != want {
			t.Errorf("%q is hinted at %d times, want %d", session, got, want)
		}
	}
	const empty = "it began with an empty request, which ended it, and 34 bytes came; --keep-blank answers such, and --proxy-protocol takes a PROXY header, which may begin so"
	if strings.Count(s.stderr.String(), hint) != 1 || strings.Count(s.stderr.String(), empty) != 1 {
		t.Errorf("the hints are %s", s.stderr)
	}
}

// Limits of an IP count the client's, and so does who may connect.
func TestTheClientsAddressCounts(t *testing.T) {
	deny := filepath.Join(t.TempDir(), "deny")
	if err := os.WriteFile(deny, []byte("203.0.113.9 # not him\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "--proxy-protocol", "--proxy-trust", "127.0.0.1", "--max-sessions-per-ip", "1", "--deny", "@"+deny)
	ask := func(header string) (*net.TCPConn, string) {
		conn := connect(t, s.addr)
		fmt.Fprintf(conn, "%shello\n", header)
		reply, _ := bufio.NewReader(conn).ReadString('\n')
		return conn, strings.TrimSpace(reply)
	}
	from := func(ip string) string { return "PROXY TCP4 " + ip + " 198.51.100.1 4711 443\r\n" }
	const perIP = "Error: too many sessions from your address (1)"
	for _, c := range []struct{ header, want string }{
		{from("203.0.113.7"), "Request #1 - hello ..."},
		{from("203.0.113.8"), "Request #2 - hello ..."},
		{from("203.0.113.7"), perIP},
		{"PROXY UNKNOWN\r\n", "Request #3 - hello ..."}, // the proxy itself
		{"PROXY UNKNOWN\r\n", perIP},
		{from("203.0.113.9"), ""},
	} {
		conn, got := ask(c.header)
		defer conn.Close()
		if got != c.want {
			t.Errorf("after %q the reply is %q, want %q", c.header, got, c.want)
		}
	}
	if err := os.WriteFile(deny, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	s.stderr.await(t, "reloaded")
	conn, got := ask(from("203.0.113.9"))
	defer conn.Close()
	if got != "Request #4 - hello ..." {
		t.Errorf("when it is not denied any more the reply is %q", got)
	}
	if err := os.WriteFile(deny, []byte("203.0.113\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGHUP)
	s.stderr.await(t, deny+`:1: "203.0.113": this is no address and no prefix`)
}
