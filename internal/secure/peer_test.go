package secure

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A signer is a CA of a test.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
	file string
}

func newSigner(t testing.TB, name string, change ...func(*x509.Certificate)) *signer {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, c := range change {
		c(template)
	}
	key := newKey(t)
	cert, err := create(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key, write(t, "ca.pem", certPEM(cert))}
}

// pair is a certificate for localhost and 127.0.0.1, of servers and clients, with the changes.
func (s *signer) pair(t testing.TB, change ...func(*x509.Certificate)) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "a leaf"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, c := range change {
		c(template)
	}
	key := newKey(t)
	cert, err := create(template, s.cert, key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", certPEM(cert)), write(t, "key.pem", keyText)
}

func expired(c *x509.Certificate) {
	c.NotAfter = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	c.NotBefore = time.Time{}
}
func notYet(c *x509.Certificate) {
	c.NotBefore = time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	c.NotAfter = c.NotBefore.Add(day)
}
func forNobody(c *x509.Certificate)  { c.DNSNames, c.IPAddresses = nil, nil }
func forServers(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func forClients(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = names, nil }
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, name string, text []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func open(t testing.TB, options ServerOptions) *Identity {
	t.Helper()
	id, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Close() })
	return id
}

func openClient(t testing.TB, options ClientOptions) *tls.Config {
	t.Helper()
	c, err := options.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if c.Config.ServerName == "" {
		c.Config.ServerName = "localhost"
	}
	return c.Config
}

// An upperServer sends each line back in capitals, up to an empty one.
type upperServer struct {
	addr, port string
	ends       chan error // receives how each connection ended: nil in order
}

func serve(t testing.TB, config *tls.Config) *upperServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &upperServer{addr: l.Addr().String(), ends: make(chan error, 1000)}
	_, s.port, _ = net.SplitHostPort(s.addr)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				defer conn.Close()
				s.ends <- upper(ctx, tlsconn.Server(conn, config))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		serving.Wait()
	})
	return s
}

func upper(ctx context.Context, conn *tlsconn.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF || err == nil && strings.TrimSpace(line) == "" {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, strings.ToUpper(line)); err != nil {
			return err
		}
	}
}

// why is how the next connection ended.
func (s *upperServer) why(t testing.TB) error {
	t.Helper()
	select {
	case err := <-s.ends:
		return err
	case <-time.After(patience):
		t.Fatal("no connection has ended")
		return nil
	}
}

// converse sends a line and reads the reply, which is when a client learns under TLS 1.3 that it
// is refused.
func converse(addr string, config *tls.Config) (tls.ConnectionState, error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	conn := tlsconn.Client(raw, config)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	io.WriteString(conn, "hello\n") // if that fails, what was read says why
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && reply != "HELLO\n" {
		err = io.ErrUnexpectedEOF
	}
	return conn.ConnectionState(), err
}
