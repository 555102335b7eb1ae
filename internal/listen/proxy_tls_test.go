package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/accept"
)

// certificate is one for localhost that vouches for itself, and who believes it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// joined writes a header with the first bytes that go out behind it.
type joined struct {
	net.Conn
	header []byte
}

func (j *joined) Write(p []byte) (int, error) {
	n, err := j.Conn.Write(append(j.header, p...))
	n -= len(j.header)
	j.header = nil
	return max(n, 0), err
}

func TestTLSBehindTheHeader(t *testing.T) {
	cert, roots := certificate(t)
	proxies := &Proxies{Trust: mustTrust(t, "127.0.0.1", "unix"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			at := "127.0.0.1:0"
			if network == "unix" {
				at = filepath.Join(t.TempDir(), "socket")
			}
			l, err := net.Listen(network, at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			socket, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			socket.SetDeadline(time.Now().Add(patience))
			client := tls.Client(&joined{socket, v2(proxy, tcp6, rest6...)}, &tls.Config{RootCAs: roots, ServerName: "localhost"})
			answer := make(chan error, 1)
			go func() {
				_, err := client.Write([]byte("hello"))
				answer <- err
			}()
			conn, err := proxies.Listen(l).Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.(accept.Handshaker).HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 10)
			if n, err := conn.Read(buf); string(buf[:n]) != "hello" || err != nil {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			if err := <-answer; err != nil {
				t.Error(err)
			}
			ends := []string{conn.RemoteAddr().String(), conn.LocalAddr().String()}
			if !slices.Equal(ends, both6) {
				t.Errorf("the addresses are %q, want %q", ends, both6)
			}
			secure, isTLS := conn.(interface{ ConnectionState() tls.ConnectionState })
			if !isTLS || secure.ConnectionState().ServerName != "localhost" {
				t.Error("it has not the state of its TLS")
			}
			if forwarded := conn.(*proxyTLSConn).Forwarded(); forwarded == nil || forwarded.Proxy.Network() != network {
				t.Errorf("forwarded is %+v", forwarded)
			}
			below := conn
			for {
				over, ok := below.(interface{ NetConn() net.Conn })
				if !ok {
					break
				}
				below = over.NetConn()
			}
			if below.LocalAddr().String() != l.Addr().String() {
				t.Errorf("the socket below is a %T at %v", below, below.LocalAddr())
			}
		})
	}
}

// What follows is said in TLS's own words, and to the peer.
func TestPlainBytesBehindTheHeader(t *testing.T) {
	conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5"), TLS: &tls.Config{}})
	send(t, peer, line4+"hello\n")
	peer.CloseWrite()
	handshakes := &accept.Handshakes{Limit: 1, Timeout: 5 * time.Second, Context: t.Context()}
	if err := handshakes.Shake(conn, netip.Prefix{}); !errors.As(err, new(tls.RecordHeaderError)) {
		t.Errorf("the error is %v", err)
	}
	if got, _ := io.ReadAll(peer); string(got) != accept.PlainText {
		t.Errorf("the peer is told %q", got)
	}
}

// Whoever ends behind the header, as a health check does, has said nothing.
func TestNothingBehindTheHeaderIsAProbe(t *testing.T) {
	conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5"), TLS: &tls.Config{}, Reason: func(error) string { return "in words" }})
	send(t, peer, "PROXY UNKNOWN\r\n")
	peer.CloseWrite()
	if err := conn.HandshakeContext(t.Context()); err != io.EOF {
		t.Errorf("the error is %v, want %v", err, io.EOF)
	}
}
