package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// The name in a certificate is that of the host, unless another is given; an address has neither
// brackets nor a zone.
func TestNameThatIsVerified(t *testing.T) {
	for _, c := range []struct{ host, serverName, named string }{
		{"db.test", "", "db.test"},
		{"10.0.0.1", "", "10.0.0.1"},
		{"::ffff:10.0.0.1", "", "10.0.0.1"},
		{"fe80::1%eth0", "", "fe80::1"},
		{"10.0.0.1", "db.test", "db.test"},
	} {
		for _, named := range []string{c.named, "other.test"} {
			cert, roots := certificate(t, named)
			d := Dialer{Network: "tcp", Host: c.host, Port: "7", LookupAddrs: names(0, "10.0.0.1"), TLS: &tls.Config{RootCAs: roots, ServerName: c.serverName},
				Connect: played(t, func(server *parleytest.Conn) {
					tlsconn.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(context.Background())
					hangUp(server)
				})}
			conn, _, err := d.Dial(t.Context())
			if (err == nil) != (named == c.named) || (conn == nil) != (err != nil) {
				t.Errorf("%q, ServerName %q, certificate of %q: %v", c.host, c.serverName, named, err)
			}
			if err != nil && KindOf(err) != TLSFailed {
				t.Errorf("%v is of kind %s", err, KindOf(err))
			}
			if d.TLS.ServerName != c.serverName {
				t.Errorf("the configuration was changed: %q", d.TLS.ServerName)
			}
		}
	}
}

// Why there is no TLS is said in words, and that it was TLS.
func TestHandshakeFailures(t *testing.T) {
	cert, _ := certificate(t, "db.test")
	for _, c := range []struct {
		name string
		play func(server *parleytest.Conn)
		want string
	}{
		{"closed", func(server *parleytest.Conn) { server.Read(make([]byte, 1<<12)) }, "the server closed the connection during the TLS handshake"},
		{"reset", func(server *parleytest.Conn) { server.Read(make([]byte, 1)); server.Reset() }, "the server closed the connection during the TLS handshake"},
		{"plain", func(server *parleytest.Conn) { say(server, "220 ready\r\n"); hangUp(server) }, "the server does not speak TLS on this port"},
		{"unknown", func(server *parleytest.Conn) {
			tlsconn.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(context.Background())
			hangUp(server)
		}, "its certificate is signed by nobody we trust: it is self-signed; --ca FILE names who"},
	} {
		d := Dialer{Network: "tcp", Host: "db.test", Port: "7", LookupAddrs: names(0, "10.0.0.1"), TLS: &tls.Config{RootCAs: x509.NewCertPool()}, Connect: played(t, c.play)}
		conn, steps, err := d.Dial(t.Context())
		if got, want := WhyNotConnected("x", time.Second, err), "cannot connect to x: "+c.want; got != want || KindOf(err) != TLSFailed || conn != nil || steps.Address != "10.0.0.1:7" {
			t.Errorf("%s: %q (%s), %+v, want %q", c.name, got, KindOf(err), steps, want)
		}
	}
}

// A proxy is trusted as the system has it; a hint at flags that are about the server would mislead.
func TestHandshakeFailuresOfProxies(t *testing.T) {
	certified, _ := certificate(t, "db.test")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"unknown", &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{certified.Leaf}, Err: x509.UnknownAuthorityError{Cert: certified.Leaf}},
			"its certificate is signed by nobody we trust: it is self-signed; the system has to trust a proxy (SSL_CERT_FILE): --ca is about the server"},
		{"another name", &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{certified.Leaf}, Err: x509.HostnameError{Certificate: certified.Leaf, Host: "proxy.test"}},
			"the certificate is for db.test, not for proxy.test"},
		{"plain", tls.RecordHeaderError{Conn: nil, Msg: "x"}, "what the server sent breaks the rules of TLS: x"},
	} {
		err := &stepError{ProxyFailed, "the proxy proxy.test:443 cannot be reached", c.err}
		if got, want := WhyNotConnected("x", time.Second, err), "cannot connect to x: the proxy proxy.test:443 cannot be reached: "+c.want; got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}

// The handshake is within the Dialer's timeout, of which the connection has taken its part. It can be cancelled.
func TestHandshakeEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := played(t, func(server *parleytest.Conn) { hangUp(server) })
		d := Dialer{Network: "tcp", Host: "10.0.0.1", Port: "7", Timeout: 5 * time.Second, TLS: &tls.Config{},
			Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
				time.Sleep(time.Second)
				return silent(ctx, network, address)
			}}
		_, steps, err := d.Dial(t.Context())
		if want := (Steps{Address: "10.0.0.1:7", Connect: time.Second, TLS: 4 * time.Second}); steps != want {
			t.Errorf("%+v, want %+v", steps, want)
		}
		if got, want := WhyNotConnected("x", 5*time.Second, err), "cannot connect to x: the TLS handshake was not done within 5s"; got != want || KindOf(err) != TLSFailed {
			t.Errorf("%q (%s), want %q", got, KindOf(err), want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		begin := time.Now()
		if _, _, err := d.DialAddress(ctx, "10.0.0.1:7"); time.Since(begin) != 2*time.Second || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after 2s, it took %v: %v", time.Since(begin), err)
		}
	})
}

// With TLS 1.3 a server says what is wrong with our certificate only behind the handshake, in place of
// a reply.
func TestRefusalBehindTheHandshake(t *testing.T) {
	cert, roots := certificate(t, "db.test")
	d := Dialer{Network: "tcp", Host: "db.test", Port: "7", LookupAddrs: names(0, "10.0.0.1"), TLS: &tls.Config{RootCAs: roots},
		Connect: played(t, func(server *parleytest.Conn) {
			tlsconn.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}).HandshakeContext(context.Background())
			hangUp(server)
		})}
	conn, _, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	if got, want := Reason(err), "the server wants a client certificate; --cert and --key name one"; got != want || KindOf(err) != TLSFailed {
		t.Errorf("%q (%s), want %q", got, KindOf(err), want)
	}
}

// What ends a connection is told as ever where it is not TLS's own.
func TestKindsOverTLS(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{tlsconn.ErrTruncated, Closed},
		{io.EOF, Closed},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, Reset},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(48)}, TLSFailed},
		{&net.OpError{Op: "local error", Err: tls.AlertError(20)}, TLSFailed},
		{&stepError{TLSFailed, tlsHandshake, context.DeadlineExceeded}, TLSFailed},
		{context.DeadlineExceeded, ReplyTimeout},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%v is of kind %q, want %q", c.err, got, c.want)
		}
	}
}
