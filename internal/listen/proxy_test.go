package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/parleytest"
)

const (
	line4 = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
	// patience is how long is waited for what has to come.
	patience = 30 * time.Second
)

// A memory is a connection in memory, with addresses as those of TCP.
type memory struct {
	*parleytest.Conn
	remote, local net.Addr
}

func (m *memory) RemoteAddr() net.Addr { return m.remote }
func (m *memory) LocalAddr() net.Addr  { return m.local }

// one is a listener with one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (l *one) Accept() (net.Conn, error) { return l.conn, nil }

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func mustTrust(t *testing.T, items ...string) *Trust {
	t.Helper()
	trust, err := NewTrust(items)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// accepted is a connection that was accepted from 10.0.0.5, and the other end of it.
func accepted(t *testing.T, p *Proxies) (conn accept.Handshaker, peer *parleytest.Conn) {
	t.Helper()
	peer, server := parleytest.ConnPair()
	l := p.Listen(&one{conn: &memory{server, tcpAddr("10.0.0.5:1234"), tcpAddr("10.0.0.1:6969")}})
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { got.Close(); peer.Close() })
	return got.(accept.Handshaker), peer
}

func send(t *testing.T, peer io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(peer, text); err != nil {
		t.Fatal(err)
	}
}

func TestAcceptWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.0/8")})
		if got := conn.RemoteAddr().String(); got != "10.0.0.5:1234" {
			t.Errorf("before the header RemoteAddr is %s", got)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("before the header something can be read")
		}
		time.AfterFunc(time.Second, func() { io.WriteString(peer, line4[:20]) })
		time.AfterFunc(2*time.Second, func() { io.WriteString(peer, line4[20:]+"hello") })
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != "203.0.113.7:4711" {
			t.Errorf("RemoteAddr is %s", got)
		}
		if got := conn.LocalAddr().String(); got != "198.51.100.1:443" {
			t.Errorf("LocalAddr is %s", got)
		}
		forwarded := conn.(interface{ Forwarded() *parley.Forwarded }).Forwarded()
		if forwarded == nil || forwarded.Proxy.String() != "10.0.0.5:1234" {
			t.Errorf("forwarded is %+v", forwarded)
		}
		if _, isTLS := conn.(interface{ ConnectionState() tls.ConnectionState }); isTLS {
			t.Error("a plain connection says that it has a state of TLS")
		}
		buf := make([]byte, 10)
		if n, err := conn.Read(buf); string(buf[:n]) != "hello" || err != nil {
			t.Errorf("behind the header: %q, %v", buf[:n], err)
		}
		time.AfterFunc(time.Hour, func() { io.WriteString(peer, "again") }) // no deadline is left behind
		if n, err := conn.Read(buf); string(buf[:n]) != "again" || err != nil {
			t.Errorf("an hour later: %q, %v", buf[:n], err)
		}
	})
}

// What is not a client's has the socket's own addresses, and nobody has forwarded it.
func TestConnectionsOfTheProxysOwn(t *testing.T) {
	for _, header := range []string{"PROXY UNKNOWN\r\n", string(v2(local, 0)), string(v2(local, tcp4, rest4...)), string(v2(proxy, 0))} {
		conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
		send(t, peer, header)
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Errorf("%q: %v", header, err)
		}
		if got := conn.RemoteAddr().String() + " " + conn.LocalAddr().String(); got != "10.0.0.5:1234 10.0.0.1:6969" {
			t.Errorf("%q: the addresses are %s", header, got)
		}
		if forwarded := conn.(*proxyConn).Forwarded(); forwarded != nil {
			t.Errorf("%q: forwarded is %+v", header, forwarded)
		}
	}
}

func TestAHeaderIsNotWaitedForForever(t *testing.T) {
	for _, row := range []struct {
		sent   string
		begins time.Duration // the handshake, after the connection
		why    string
	}{
		{"", 0, "no PROXY header within 3s of the connection"},
		{"", 2 * time.Second, "no PROXY header within 3s of the connection"},
		{line4[:7], 0, "only 7 bytes of the PROXY header within 3s of the connection"},
		{string(v2(proxy, tcp4, rest4...)[:20]), 0, "only 20 bytes of the PROXY header within 3s of the connection"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
			send(t, peer, row.sent)
			time.Sleep(row.begins)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := conn.HandshakeContext(ctx)
			if err == nil || err.Error() != row.why || parley.HandshakeReason(err) != parley.HandshakeTimeout {
				t.Errorf("%q: the error is %v, want %s", row.sent, err, row.why)
			}
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("%q: over after %v, want 3s", row.sent, took)
			}
		})
	}
}

func TestAStopEndsTheWaitForAHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := conn.HandshakeContext(ctx); err != context.Canceled || time.Since(start) != time.Second {
			t.Errorf("the error is %v after %v", err, time.Since(start))
		}
	})
}

// A drip that keeps coming is late as well.
func TestADripOfAHeaderIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range line4 {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(peer, line4[i:i+1]); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		err := conn.HandshakeContext(t.Context())
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		conn.Close()
		<-done
	})
}

func TestAnEndInTheHeader(t *testing.T) {
	const inside = "the connection ended inside the PROXY header, after 7 bytes"
	for _, row := range []struct {
		sent string
		end  func(peer *parleytest.Conn)
		why  string
	}{
		{"", func(peer *parleytest.Conn) { peer.CloseWrite() }, "EOF"},
		{"", func(peer *parleytest.Conn) { peer.Reset() }, "EOF"},
		{line4[:7], func(peer *parleytest.Conn) { peer.CloseWrite() }, inside},
	} {
		conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
		send(t, peer, row.sent)
		row.end(peer)
		if err := conn.HandshakeContext(t.Context()); err == nil || err.Error() != row.why || (err == io.EOF) != (row.sent == "") {
			t.Errorf("%q: the error is %v, want %s", row.sent, err, row.why)
		}
	}
}

// From elsewhere not even a byte is read, and whatever it says is not believed.
func TestHeadersFromElsewhereAreNotRead(t *testing.T) {
	conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.6", "unix")})
	send(t, peer, line4)
	peer.CloseWrite()
	const why = "PROXY header expected from a trusted proxy only; 10.0.0.5 is none (--proxy-trust)"
	if err := conn.HandshakeContext(t.Context()); err == nil || err.Error() != why {
		t.Errorf("the error is %v, want %s", err, why)
	}
	if got := conn.RemoteAddr().String(); got != "10.0.0.5:1234" {
		t.Errorf("RemoteAddr is %s", got)
	}
	buf := make([]byte, len(line4))
	if n, _ := io.ReadFull(conn.(*proxyConn).Conn, buf); n != len(line4) {
		t.Errorf("%d bytes have been read", len(line4)-n)
	}
	if n, err := conn.Write(buf); n != 0 || err == nil {
		t.Error("it can be written to")
	}
}

func TestTheClientIsAskedAboutAndNotTheProxy(t *testing.T) {
	filter, err := NewFilter(nil, []string{"203.0.113.0/24", "10.0.0.5"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		header string
		want   error
	}{
		{line4, parley.ErrDenied},
		{"PROXY TCP4 198.51.100.7 198.51.100.1 4711 443\r\n", nil},
		{"PROXY TCP6 ::ffff:203.0.113.9 ::1 4711 443\r\n", parley.ErrDenied},
		{"PROXY UNKNOWN\r\n", parley.ErrDenied}, // the proxy itself
		{string(v2(proxy, unix, unixRest("/run/client", "")...)), nil},
	} {
		for _, config := range []*tls.Config{nil, {}} { // with TLS it is asked before
			conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5"), Allow: filter.Allows, TLS: config})
			send(t, peer, row.header)
			peer.CloseWrite()
			err := conn.HandshakeContext(t.Context())
			if config != nil && err == io.EOF {
				err = nil
			}
			if err != row.want {
				t.Errorf("%q: %v, want %v", row.header, err, row.want)
			}
		}
	}
}

// A half-close passes through, to what can be half-closed.
func TestHalfCloseBehindTheHeader(t *testing.T) {
	conn, peer := accepted(t, &Proxies{Trust: mustTrust(t, "10.0.0.5")})
	send(t, peer, line4)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*proxyConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the peer reads %v, want an end of file", err)
	}
	send(t, peer, "more")
	buf := make([]byte, 10)
	if n, err := conn.Read(buf); string(buf[:n]) != "more" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := (&proxyConn{Conn: a}).CloseWrite(); err != errors.ErrUnsupported {
		t.Errorf("what cannot be half-closed: %v", err)
	}
}
