package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A signer is a CA, or what it has signed, as files.
type signer struct {
	cert             *x509.Certificate
	private          *ecdsa.PrivateKey
	chain            []byte // PEM, its own first
	crtFile, keyFile string
}

// sign makes a certificate for 127.0.0.1 and the names that is valid until then; without a signer it
// is that of a CA, as it is without names.
func (s *signer) sign(t *testing.T, name string, until time.Time, names ...string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: until, BasicConstraintsValid: true, IsCA: names == nil}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if s == nil {
		s = &signer{cert: template, private: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &key.PublicKey, s.private)
	if err != nil {
		t.Fatal(err)
	}
	made := &signer{private: key, chain: append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), s.chain...)}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	made.crtFile, made.keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{made.crtFile: made.chain, made.keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// sServer starts openssl s_server, which answers each line with its reverse.
func sServer(t *testing.T, of *signer, args ...string) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	p := start(t, peer(t, "openssl", append([]string{"s_server", "-accept", addr, "-cert", of.crtFile, "-cert_chain", of.crtFile, "-key", of.keyFile, "-rev"}, args...)...))
	p.stdout.await(t, "ACCEPT")
	return addr
}

var (
	aDate   = regexp.MustCompile(`20\d\d-\d\d-\d\d( \d\d:\d\d UTC)?`)
	aCipher = regexp.MustCompile(`TLS_[A-Z0-9_]+`)
)

// withoutDates leaves out of a verdict what is of today and of this machine.
func withoutDates(text string) string {
	return aCipher.ReplaceAllString(aDate.ReplaceAllString(text, "DATE"), "CIPHER")
}

// What openssl serves, with certificates of each kind, is told and judged.
func TestCheckOfOpenSSL(t *testing.T) {
	later := time.Now().AddDate(0, 0, 90).Add(time.Hour)
	ca := (*signer)(nil).sign(t, "Test CA", later)
	between := ca.sign(t, "Between", time.Now().AddDate(0, 0, 9).Add(time.Hour))
	good := sServer(t, ca.sign(t, "good", later, "127.0.0.1", "good.example"))
	expired := sServer(t, ca.sign(t, "expired", time.Now().AddDate(0, 0, -3), "127.0.0.1"))
	old := sServer(t, ca.sign(t, "old", later, "127.0.0.1"), "-tls1_2")
	shortly := sServer(t, between.sign(t, "shortly", later, "127.0.0.1"))
	mutual := sServer(t, ca.sign(t, "mutual", later, "127.0.0.1"), "-Verify", "1", "-verify_return_error", "-CAfile", ca.crtFile)
	client := ca.sign(t, "me", later, "me")
	const modern = "  TLS 1.3, CIPHER\n"
	forGood := modern + "  certificate for good.example, 127.0.0.1; issued by CN=Test CA; 90 days left (DATE)\n"
	for name, c := range map[string]struct {
		addr string
		args []string
		code int
		want string
	}{
		"connects": {good, []string{"--ca", ca.crtFile}, 0, "ADDR is reachable: connect TIME, TLS TIME\n" + forGood + "  verified for 127.0.0.1\n"},
		"by name and answered": {good, []string{"--ca", ca.crtFile, "--server-name", "good.example", "abc", "-e", "^cba$"}, 0,
			"ADDR answered: connect TIME, TLS TIME, reply TIME: cba\n" + forGood + "  verified for good.example\n"},
		"answered otherwise": {good, []string{"--ca", ca.crtFile, "--expires", "91d", "abc", "-e", "^abc$"}, 3,
			"ADDR answered, but not with a match of `^abc$`: connect TIME, TLS TIME, reply TIME: cba\n" + forGood + "  verified for 127.0.0.1\n"},
		"another name": {good, []string{"--ca", ca.crtFile, "--server-name", "x.example"}, 1,
			"cannot connect to ADDR: the certificate is for good.example, 127.0.0.1, not for x.example; --server-name NAME says whom to expect (connect TIME, TLS TIME)\n" + forGood + "  not verified\n"},
		"good for longer": {good, []string{"--ca", ca.crtFile, "--expires", "90d"}, 0, "ADDR is reachable: connect TIME, TLS TIME\n" + forGood + "  verified for 127.0.0.1\n"},
		"not good for so long": {good, []string{"--ca", ca.crtFile, "--expires", "2184h", "abc"}, 3,
			"ADDR has a certificate that expires in 90 days (DATE), want 91: connect TIME, TLS TIME, reply TIME: cba\n" + forGood + "  verified for 127.0.0.1\n"},
		"expired": {expired, []string{"--ca", ca.crtFile}, 1, "cannot connect to ADDR: its certificate expired on DATE (connect TIME, TLS TIME)\n" +
			modern + "  certificate for 127.0.0.1; issued by CN=Test CA; expired (DATE)\n  not verified\n"},
		"TLS 1.2": {old, []string{"--ca", ca.crtFile}, 0, "ADDR is reachable: connect TIME, TLS TIME\n" +
			"  TLS 1.2, CIPHER\n  certificate for 127.0.0.1; issued by CN=Test CA; 90 days left (DATE)\n  verified for 127.0.0.1\n"},
		"a signer expires": {shortly, []string{"--ca", ca.crtFile, "--expires", "14d"}, 3,
			"ADDR has a certificate signed by CN=Between, whose own expires in 9 days (DATE), want 14: connect TIME, TLS TIME\n" +
				modern + "  certificate for 127.0.0.1; issued by CN=Between; 90 days left (DATE)\n  verified for 127.0.0.1\n"},
		"wants ours": {mutual, []string{"--ca", ca.crtFile, "--stays", "30s"}, 1,
			"ADDR ended the connection after TIME, before the 30s of --stays: the server wants a client certificate; --cert and --key name one (connect TIME, TLS TIME, open TIME)\n" +
				modern + "  certificate for 127.0.0.1; issued by CN=Test CA; 90 days left (DATE)\n  verified for 127.0.0.1\n"},
		"has ours": {mutual, []string{"--ca", ca.crtFile, "--cert", client.crtFile, "--key", client.keyFile, "abc"}, 0,
			"ADDR answered: connect TIME, TLS TIME, reply TIME: cba\n" +
				modern + "  certificate for 127.0.0.1; issued by CN=Test CA; 90 days left (DATE)\n  verified for 127.0.0.1\n"},
		"quiet": {good, []string{"--ca", ca.crtFile, "-q", "--expires", "91d"}, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, code := checked(t, program(t, append([]string{"check", "--tls", c.addr}, c.args...)...))
			got = strings.ReplaceAll(withoutDates(got), c.addr, "ADDR")
			if got != c.want || code != c.code {
				t.Errorf("got %d and\n%swant %d and\n%s", code, got, c.code, c.want)
			}
		})
	}
}

// A server of this package over TLS is checked in a series: the certificate once.
func TestCheckOfOurOwnTLS(t *testing.T) {
	ca := (*signer)(nil).sign(t, "Test CA", time.Now().AddDate(1, 0, 0))
	of := ca.sign(t, "own", time.Now().AddDate(0, 0, 90).Add(time.Hour), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(of.crtFile, of.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })
	parleytest.Serve(t, &parley.Server{Handler: echo}, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"parley"}}))
	addr := l.Addr().String()
	got, code := checked(t, program(t, "check", "--tls", "--ca", ca.crtFile, "--alpn", "x,parley", "-c", "2", "-i", "1ms", "--stays", "1ms", addr, "abc"))
	got, _, _ = strings.Cut(withoutDates(got), "connect: min")
	want := addr + " answered: connect TIME, TLS TIME, reply TIME, open TIME: abc\n" +
		"  TLS 1.3, CIPHER, ALPN parley\n  certificate for 127.0.0.1; issued by CN=Test CA; 90 days left (DATE)\n  verified for 127.0.0.1\n" +
		addr + " answered: connect TIME, TLS TIME, reply TIME, open TIME: abc\n" +
		addr + ": 2 of 2 held; 0.0 % lost\n"
	if got != want || code != 0 {
		t.Errorf("got %d and\n%swant\n%s", code, got, want)
	}
}

// A proxy that accepts for a server that is away is found by --stays alone.
func TestCheckOfAProxyBeforeNobody(t *testing.T) {
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	start(t, peer(t, "socat", "TCP-LISTEN:"+port+",bind="+host+",fork,reuseaddr", "TCP:"+freeAddr(t)))
	if code := start(t, program(t, "check", "-q", "--wait", "30s", addr)).exit(t); code != 0 {
		t.Fatal("socat is not up")
	}
	if got, code := checked(t, program(t, "check", addr)); got != addr+" is reachable: connect TIME\n" || code != 0 {
		t.Errorf("without --stays: %q and %d", got, code)
	}
	got, code := checked(t, program(t, "check", "--stays", "30s", addr))
	if want := addr + " closed the connection after TIME, before the 30s of --stays (connect TIME, open TIME)\n"; got != want || code != 1 {
		t.Errorf("got %q and %d, want %q and 1", got, code, want)
	}
	silent := listenTo(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	if got, code := checked(t, program(t, "check", "--stays", "10ms", silent)); got != silent+" is reachable: connect TIME, open TIME\n" || code != 0 {
		t.Errorf("one that stays: %q and %d", got, code)
	}
}

// Handshakes are counted, and with --tls-resume on the sessions that openssl let us resume.
func TestBenchOfOpenSSL(t *testing.T) {
	ca := (*signer)(nil).sign(t, "Test CA", time.Now().AddDate(1, 0, 0))
	addr := sServer(t, ca.sign(t, "own", time.Now().AddDate(1, 0, 0), "127.0.0.1"))
	for resume, want := range map[string]string{
		"off": "each with a full TLS handshake",
		"on":  "19 of them resumed a TLS session", // all but the first
	} {
		p := start(t, program(t, "bench", "-q", "--tls", "--ca", ca.crtFile, "--tls-resume", resume, "--connect-each", "-n", "20", "-c", "1", "-m", "{n}", "-e", "any", addr))
		code := p.exit(t)
		if text := strings.Join(strings.Fields(p.stdout.String()), " "); code != 0 || !strings.Contains(text, "connections 20 "+want+" bytes") || !strings.Contains(text, " handshake ") {
			t.Errorf("%s: %d, want %q\n%s%s", resume, code, want, p.stdout, p.stderr)
		}
	}
}

// Behind STARTTLS nobody greets again: checks and loads go on with their own words.
func TestConversationsBehindSTARTTLS(t *testing.T) {
	ca := (*signer)(nil).sign(t, "Test CA", time.Now().AddDate(1, 0, 0))
	of := ca.sign(t, "mail", time.Now().AddDate(1, 0, 0), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(of.crtFile, of.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	addr := listenTo(t, func(c *net.TCPConn) {
		io.WriteString(c, "220 mail.example\r\n")
		in := bufio.NewReader(c)
		for _, answer := range []string{"250-mail.example\r\n250 STARTTLS\r\n", "220 go ahead\r\n"} {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			io.WriteString(c, answer)
		}
		over := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
		defer over.Close()
		for lines := bufio.NewScanner(over); lines.Scan(); {
			io.WriteString(over, "250 "+lines.Text()+"\r\n")
		}
	})
	way := []string{addr, "--starttls", "smtp", "--ca", ca.crtFile, "-f", "smtp"}
	got, code := checked(t, program(t, append(append([]string{"check"}, way...), "--expect-status", "250", "NOOP")...))
	if want := addr + " answered: connect TIME, STARTTLS TIME, TLS TIME, reply TIME: 250 NOOP\n"; !strings.HasPrefix(got, want) || code != 0 {
		t.Errorf("got %d and %swant %s", code, got, want)
	}
	for _, each := range [][]string{nil, {"--connect-each"}} {
		p := start(t, program(t, append(append([]string{"bench", "-q", "--json", "-n", "20", "-c", "1", "-m", "NOOP {n}", "-e", "contains"}, each...), way...)...))
		if code := p.exit(t); code != 0 || !strings.Contains(p.stdout.String(), `"replies":20,`) || strings.Contains(p.stdout.String(), `"greeting":`) {
			t.Errorf("%v: %d\n%s%s", each, code, p.stdout, p.stderr)
		}
	}
}
