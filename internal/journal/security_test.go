package journal

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A securedConn is a connection whose client is called by a name, and may have come by a proxy.
type securedConn struct {
	net.Conn
	name      string
	forwarded *parley.Forwarded
}

func (c *securedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99}
}
func (c *securedConn) LocalAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
}
func (c *securedConn) ConnectionState() tls.ConnectionState {
	if c.name == "" {
		return tls.ConnectionState{}
	}
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: c.name}}}}
}
func (c *securedConn) Forwarded() *parley.Forwarded { return c.forwarded }

// What is known of a session's TLS and of the proxy before it is kept from its opening on, to the
// byte, whatever a client calls itself; of who is denied that, and of handshakes nothing.
func TestSecurityIsKept(t *testing.T) {
	proxy := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}
	cases := []struct {
		conn                   *securedConn
		version, name, through string
	}{
		{new(securedConn), "", "", ""},
		{&securedConn{name: "alice"}, "TLS 1.3", "alice", ""},
		{&securedConn{name: "\x1b[2J\x00\xff'\n"}, "TLS 1.3", "\x1b[2J\x00\xff'\n", ""},
		{&securedConn{name: strings.Repeat("x", 64<<10)}, "TLS 1.3", strings.Repeat("x", 64<<10), ""},
		{&securedConn{forwarded: &parley.Forwarded{Proxy: proxy}}, "", "", "10.0.0.1:80"},
		{&securedConn{forwarded: &parley.Forwarded{Proxy: proxy, TLSVersion: "TLSv1.2\x00", TLSName: "bob"}}, "TLSv1.2\x00", "bob", "10.0.0.1:80"},
	}
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{Role: "server", Listener: "tls:127.0.0.1:443"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i, c := range cases {
		open, over := parley.SessionOf(uint64(2*i+1), c.conn, now), parley.SessionOf(uint64(2*i+2), c.conn, now)
		w.Observe(&parley.Event{Kind: parley.Opened, Session: open, Time: now})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: over, Time: now, Reason: parley.EndOfFile})
		none := parley.SessionOf(0, c.conn, now)
		w.Observe(&parley.Event{Kind: parley.Refused, Session: none, Time: now, Reason: parley.Denied})
		w.Observe(&parley.Event{Kind: parley.HandshakeFailed, Session: none, Time: now, Reason: parley.Handshake})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sessions := collect(t, r.Sessions(t.Context(), Filter{}))
	if len(sessions) != 2*len(cases) {
		t.Fatalf("%d sessions are there, want %d", len(sessions), 2*len(cases))
	}
	for i, s := range sessions {
		c := cases[i/2]
		if s.TLSVersion != c.version || s.TLSName != c.name || s.Proxied != c.through || s.Remote != "192.0.2.7:99" || s.Listener != "tls:127.0.0.1:443" {
			t.Errorf("read %.200q, want %.200q", []string{s.TLSVersion, s.TLSName, s.Proxied, s.Remote, s.Listener}, []string{c.version, c.name, c.through})
		}
	}
	denied := collect(t, r.Events(t.Context(), Filter{Reason: "denied"}))
	if len(denied) != len(cases) || denied[0].Kind != parley.Refused || denied[0].Text != nil || denied[0].Session.Remote != "192.0.2.7:99" {
		t.Errorf("who was denied is told as %+v", denied)
	}
	if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 || v.Unsummed > 0 || v.Sessions != int64(2*len(cases)) || v.Refused != int64(len(cases)) {
		t.Errorf("verified %+v, %v", v, err)
	}
}

// What peers call themselves takes up room in a batch, so that a flood of long names is bounded as
// a flood of messages is.
func TestLongNamesFillABatch(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	s := parley.SessionOf(1, &securedConn{name: strings.Repeat("x", 64<<10)}, time.Now())
	for range 100 {
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s})
	}
	for i, b := range w.queue {
		if n := len(b.opened) + len(b.closed); n > batchBytes/(64<<10)+1 {
			t.Errorf("batch %d has %d names of 64 KiB", i, n)
		}
	}
	if len(w.queue) < 10 {
		t.Errorf("all is in %d batches", len(w.queue))
	}
}
