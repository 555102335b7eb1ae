package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/web"
)

// A namedConn is one whose client shows a certificate of a name, and that a proxy may have handed
// on.
type namedConn struct {
	net.Conn
	name string
	by   *parley.Forwarded
}

func (c *namedConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99} }
func (c *namedConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }
func (c *namedConn) ConnectionState() tls.ConnectionState {
	return tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: c.name}}}}
}
func (c *namedConn) Forwarded() *parley.Forwarded { return c.by }

// A session shows its TLS, what the client calls itself, and the proxy, live and from the journal;
// whatever the name is it stays text. What became no session is counted.
func testWhoConnects(t *testing.T, browser context.Context) {
	const evil = "<img src=x onerror=alert(1)></script>&amp;\u202e\x1b[2J"
	const shown = `<img src=x onerror=alert(1)></script>&amp;\xe2\x80\xae\x1b[2J`
	file := filepath.Join(t.TempDir(), "j")
	kept, err := journal.Create(file, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	page := web.New(web.Options{Server: "192.0.2.1:443", History: web.NewHistory(file, kept)})
	proxy := &parley.Forwarded{Proxy: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}}
	now := time.Now()
	tell := func(e parley.Event) {
		e.Time = now
		kept.Observe(&e)
		page.Observe(&e)
	}
	of := func(number uint64, name string, by *parley.Forwarded) *parley.Session {
		return parley.SessionOf(number, &namedConn{nil, name, by}, now)
	}
	alice, named := of(1, "alice", nil), of(2, evil, proxy)
	for _, s := range []*parley.Session{alice, named, of(3, strings.Repeat("W", 64<<10), nil)} {
		tell(parley.Event{Kind: parley.Opened, Session: s})
	}
	tell(parley.Event{Kind: parley.Closed, Session: alice, Reason: parley.Truncated, Err: parley.ErrTruncated})
	tell(parley.Event{Kind: parley.Refused, Session: of(0, evil, proxy), Reason: parley.Denied})
	for _, reason := range []parley.CloseReason{parley.Handshake, parley.HandshakeTimeout, parley.NoRequest} {
		tell(parley.Event{Kind: parley.HandshakeFailed, Session: of(0, evil, nil), Reason: reason})
	}
	if err := kept.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(page)
	defer srv.Close()

	b := openTab(t, browser, 1280, 800, srv.URL+"/")
	b.until(`document.querySelectorAll('#sessions > li').length === 3`)
	got := b.texts("#sessions .mono")
	slices.Sort(got)
	want := []string{"192.0.2.7:99 (TLS 1.3, " + strings.Repeat("W", 63) + "…)", "192.0.2.7:99 (TLS 1.3, alice)", "192.0.2.7:99 (TLS 1.3, by proxy 10.0.0.1:80, " + shown + ")"}
	if !slices.Equal(got, want) {
		t.Errorf("the sessions are %q, want %q", got, want)
	}
	if got := b.text("#now-refused"); got != "1 refused, 2 handshakes failed, 1 probe" {
		t.Errorf("what became no session is %q", got)
	}
	if eval[bool](b, `document.querySelector('#now-refused').scrollWidth > document.querySelector('#now-refused').clientWidth`) {
		t.Error("what became no session has no room")
	}
	for _, at := range []string{"session/2", "journal/2"} {
		eval[any](b, `location.hash = '`+at+`'`)
		b.until(`document.querySelector('#session-facts').textContent.includes('By proxy')`)
		facts := b.texts("#session-facts div")
		for _, fact := range []string{"TLSTLS 1.3", "Client’s name" + shown, "By proxy10.0.0.1:80", "Client192.0.2.7:99"} {
			if !slices.Contains(facts, fact) {
				t.Errorf("%s: the facts are %q, without %q", at, facts, fact)
			}
		}
		eval[any](b, `location.hash = ''`)
		b.until(`!document.querySelector('#session-facts').textContent.includes('By proxy') || document.querySelector('#session').hidden`)
	}
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#session-state').textContent === 'closed (truncated): the client closed inside a request, or without TLS’s close_notify'`)
	if n := eval[int](b, `document.querySelectorAll('img, script:not([src])').length`); n > 0 {
		t.Errorf("%d elements were made of a name", n)
	}
	b.fine(srv.URL + "/")
}
