package parley_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

var (
	serverTLS = &tls.Config{Certificates: []tls.Certificate{certificate()}}
	clientTLS = &tls.Config{InsecureSkipVerify: true}
)

// Whoever does not shake hands is hung up on after 5 s, or what else is set: all of them at once,
// however many there are. They are no sessions and take no number.
func TestHandshakesThatNeverBegin(t *testing.T) {
	for set, want := range map[time.Duration]time.Duration{0: 5 * time.Second, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := new(witness)
			srv := &parley.Server{Handler: echo, Observer: w, HandshakeTimeout: set, MaxSessions: 1000}
			var served sync.WaitGroup
			var peers []net.Conn
			for range 1000 {
				near, far := parleytest.ConnPair()
				peers = append(peers, near)
				served.Go(func() { srv.ServeConn(tlsconn.Server(far, serverTLS)) })
			}
			time.Sleep(want - 1)
			synctest.Wait()
			if all := w.all(); len(all) > 0 {
				t.Fatalf("told too early: %+v", all[0])
			}
			time.Sleep(time.Nanosecond)
			served.Wait()
			if n := w.count(parley.HandshakeFailed); n != 1000 {
				t.Errorf("%d handshakes were told of, want 1000", n)
			}
			if e := w.all()[0]; e.reason != parley.HandshakeTimeout || e.number != 0 || !errors.Is(e.err, context.DeadlineExceeded) {
				t.Errorf("told %+v", e)
			}
			for _, c := range peers {
				c.Close()
			}
			near, far := parleytest.ConnPair()
			served.Go(func() { srv.ServeConn(tlsconn.Server(far, serverTLS)) })
			if got := say(t, tls.Client(near, clientTLS), "x\n"); got != "x\n" {
				t.Errorf("got %q", got)
			}
			served.Wait()
			if end := w.closed(t, 1); end.number != 1 {
				t.Errorf("the first session has number %d", end.number)
			}
		})
	}
}

// There are never more handshakes than there may be sessions; those past that are hung up on at
// once, and told of as such.
func TestHandshakesAreAsManyAsSessionsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w, MaxSessions: most}
		var served sync.WaitGroup
		connect := func() net.Conn {
			near, far := parleytest.ConnPair()
			served.Go(func() { srv.ServeConn(tlsconn.Server(far, serverTLS)) })
			synctest.Wait()
			return near
		}
		var pending []net.Conn
		for range most {
			pending = append(pending, connect())
		}
		if all := w.all(); len(all) > 0 {
			t.Fatalf("with as many as may be: %+v", all[0])
		}
		connect().Close()
		if all := w.all(); len(all) != 1 || all[0].kind != parley.HandshakeFailed || all[0].reason != parley.Full {
			t.Fatalf("one more: %+v", all)
		}
		pending[0].Close()
		synctest.Wait()
		if all := w.all(); len(all) != 2 || all[1].reason != parley.NoRequest {
			t.Fatalf("one that goes without a word: %+v", all)
		}
		if got := say(t, tls.Client(connect(), clientTLS), "x\n"); got != "x\n" {
			t.Errorf("with room again: got %q", got)
		}
		for _, c := range pending {
			c.Close()
		}
		served.Wait()
	})
}

// One address has no more handshakes than it may have sessions: it cannot keep all others out by
// beginning many and finishing none. A proxy's are not counted as one client's.
func TestHandshakesOfOneAddress(t *testing.T) {
	for name, isProxied := range map[string]bool{"direct": false, "behind a proxy": true} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			w := new(witness)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			listener := parley.NewTLSListener(l, serverTLS)
			if isProxied {
				listener = forwardingListener{listener}
			}
			parleytest.Serve(t, &parley.Server{Handler: echo, Observer: w, MaxSessionsPerIP: 2}, listener)
			dial := dialer(t, "tcp", l.Addr().String())
			var pending []net.Conn
			for range 3 {
				pending = append(pending, dial())
			}
			hungUpOn := 1
			if isProxied {
				hungUpOn = 0
				if got := say(t, tls.Client(dial(), clientTLS), "x\n"); got != "x\n" { // who came behind them
					t.Errorf("one more: got %q", got)
				}
			} else {
				eventually(t, "one is hung up on", func() bool { return w.count(parley.HandshakeFailed) == 1 })
			}
			for _, c := range pending {
				c.Close()
			}
			eventually(t, "they are over", func() bool { return w.count(parley.HandshakeFailed) == 3 })
			for _, e := range w.all() {
				if e.kind == parley.HandshakeFailed && e.reason == parley.PerIP {
					hungUpOn--
				}
			}
			if hungUpOn != 0 {
				t.Errorf("told %+v", w.all())
			}
			if got := say(t, tls.Client(dial(), clientTLS), "x\n"); got != "x\n" {
				t.Errorf("with room again: got %q", got)
			}
		})
	}
}

type forwardingListener struct{ net.Listener }

func (l forwardingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return forwardingConn{conn.(*tlsconn.Conn)}, nil
}

// A forwardingConn is one that a proxy has handed on.
type forwardingConn struct{ *tlsconn.Conn }

func (forwardingConn) Forwarded() *parley.Forwarded { return nil }

// Who comes over the limit of sessions is told so, over TLS.
func TestRefusalOverTLS(t *testing.T) {
	dial := transports["tls"](t, &parley.Server{Handler: echo, MaxSessions: 1})
	first := dial()
	exchange(t, first, "x")
	if got := say(t, dial(), ""); got != "Error: server is full (1 sessions)\n" {
		t.Errorf("refused with %q", got)
	}
	first.Close()
}

// Handshakes that go on when the server stops are cut, and told to nobody.
func TestStopWithHandshakes(t *testing.T) {
	for name, stop := range map[string]func(*parley.Server) error{
		"Shutdown": func(srv *parley.Server) error { return srv.Shutdown(context.Background()) },
		"Close":    (*parley.Server).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := new(witness)
				srv := &parley.Server{Handler: echo, Observer: w}
				near, far := parleytest.ConnPair()
				defer near.Close()
				served := make(chan error)
				go func() { served <- srv.ServeConn(tlsconn.Server(far, serverTLS)) }()
				synctest.Wait()
				begin := time.Now()
				if err := stop(srv); err != nil {
					t.Errorf("stopped with %v", err)
				}
				if err := <-served; err != parley.ErrServerClosed || time.Since(begin) > 0 {
					t.Errorf("served with %v after %v", err, time.Since(begin))
				}
				if all := w.all(); len(all) > 0 {
					t.Errorf("told %+v", all)
				}
			})
		})
	}
}

// A peer that does not speak TLS gets a line that says so, however little it has sent, and no
// reset that would eat it. That holds for a listener of crypto/tls as well, once five bytes are
// there.
func TestPlainBytesWhereTLSIsSpoken(t *testing.T) {
	for _, c := range []struct {
		name   string
		listen func(net.Listener, *tls.Config) net.Listener
		sent   []string
	}{
		{"parley", parley.NewTLSListener, []string{"x", "\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 100000), strings.Repeat("é", 50000), strings.Repeat("\x16 ", 50000)}},
		{"crypto/tls", tls.NewListener, []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			w := new(witness)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			parleytest.Serve(t, &parley.Server{Handler: echo, Observer: w}, c.listen(l, serverTLS))
			dial := dialer(t, "tcp", l.Addr().String())
			for i, text := range c.sent {
				peer := dial()
				peer.SetDeadline(time.Now().Add(patience))
				io.WriteString(peer, text)
				got := readToEnd(t, peer)
				if got != accept.PlainText {
					t.Errorf("to %.20q it says %q", text, got)
				}
				peer.Close()
				eventually(t, "it is told", func() bool { return w.count(parley.HandshakeFailed) == i+1 })
				var plain tls.RecordHeaderError
				if e := w.all()[i]; e.reason != parley.Handshake || !errors.As(e.err, &plain) {
					t.Errorf("told %+v", e)
				}
			}
		})
	}
}

// A peer that never sent a byte is a probe, whichever way it ends; one that did has failed.
func TestPeersThatEndInsteadOfAHandshake(t *testing.T) {
	for _, c := range []struct {
		name   string
		leave  func(*net.TCPConn)
		reason parley.CloseReason
	}{
		{"end of file", func(c *net.TCPConn) { c.Close() }, parley.NoRequest},
		{"reset", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, parley.NoRequest},
		{"end of file inside", func(c *net.TCPConn) { io.WriteString(c, "\x16\x03\x01"); c.Close() }, parley.Handshake},
		{"end of file behind a whole hello", func(c *net.TCPConn) { c.Write(clientHello(t)); c.Close() }, parley.Handshake},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := new(witness)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			parleytest.Serve(t, &parley.Server{Handler: echo, Observer: w}, parley.NewTLSListener(l, serverTLS))
			c.leave(dialer(t, "tcp", l.Addr().String())().(*net.TCPConn))
			eventually(t, "it is told", func() bool { return w.count(parley.HandshakeFailed) == 1 })
			if e := w.all()[0]; e.reason != c.reason || e.err == nil {
				t.Errorf("told %+v, want %v", e, c.reason)
			}
		})
	}
}

// clientHello is the first that a client of TLS says.
func clientHello(t *testing.T) []byte {
	near, far := parleytest.ConnPair()
	var shaken sync.WaitGroup
	defer shaken.Wait()
	defer near.Close()
	shaken.Go(func() { tls.Client(far, clientTLS).Handshake(); far.Close() })
	buf := make([]byte, 16<<10)
	n, err := near.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// The end of file without TLS's own is no end in good order: what is whole is answered, what is
// not is dropped, though a line that an end of file ends counts as whole otherwise.
func TestEndWithoutCloseNotifyIsTruncated(t *testing.T) {
	for _, c := range []struct {
		framing      parley.Framing
		sent, want   string
		seq          uint64
		truncated    bool
		orderlySeq   uint64
		orderlyReply string
	}{
		{parley.Lines, "a\nunfinished", "a\n", 1, true, 2, "a\nunfinished\n"},
		{parley.Lines, "a\n", "a\n", 1, true, 1, "a\n"},
		{parley.UntilClose, "all of it", "", 0, true, 1, "all of it"},
		{parley.LengthPrefixed, "\x00\x00\x00\x01a", "\x00\x00\x00\x01a", 1, true, 1, "\x00\x00\x00\x01a"},
	} {
		for name, end := range map[string]func(*tls.Conn){
			"close_notify": func(c *tls.Conn) { c.CloseWrite() },
			"truncated":    func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() },
		} {
			w := new(witness)
			srv := &parley.Server{Handler: echo, Observer: w, Framing: c.framing}
			peer := transports["tls"](t, srv)().(*tls.Conn)
			peer.SetDeadline(time.Now().Add(patience))
			io.WriteString(peer, c.sent)
			end(peer)
			got := readToEnd(t, peer)
			closed := w.closed(t, 1)
			want, seq := c.want, c.seq
			if name == "close_notify" {
				want, seq = c.orderlyReply, c.orderlySeq
			}
			if got != want || closed.seq != seq {
				t.Errorf("%s, %q: got %q and %d requests, want %q and %d", name, c.sent, got, closed.seq, want, seq)
			}
			if truncated := closed.reason == parley.Truncated && errors.Is(closed.err, parley.ErrTruncated); truncated != (name == "truncated") {
				t.Errorf("%s, %q: closed for %v, %v", name, c.sent, closed.reason, closed.err)
			}
		}
	}
}

// A connection below may hand out its end of file together with the last bytes, as an io.Reader
// may. If TLS's own end is among those, it is one in good order.
func TestEndOfFileThatComesWithTheLastBytes(t *testing.T) {
	near, far := parleytest.ConnPair()
	defer far.Close()
	below := &eagerConn{far, far}
	client := tlsconn.Client(below, clientTLS)
	var peer sync.WaitGroup
	peer.Go(func() {
		server := tlsconn.Server(near, serverTLS)
		io.WriteString(server, "x")
		server.Close()
	})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	peer.Wait()
	below.Reader = iotest.DataErrReader(far)
	if got, err := io.ReadAll(client); string(got) != "x" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// An eagerConn is read through another reader.
type eagerConn struct {
	net.Conn
	io.Reader
}

func (c *eagerConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// The client knows it too.
func TestClientToldOfATruncatedReply(t *testing.T) {
	for name, end := range map[string]func(*tls.Conn){
		"close_notify": func(c *tls.Conn) { c.Close() },
		"truncated":    func(c *tls.Conn) { c.NetConn().Close() },
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
		if err != nil {
			t.Fatal(err)
		}
		var served sync.WaitGroup
		served.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "a\n")
			end(c.(*tls.Conn))
		})
		dialer := parley.Dialer{TLS: clientTLS}
		client, err := dialer.Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if reply, err := client.Receive(t.Context()); string(reply) != "a" || err != nil {
			t.Errorf("%s: got %q, %v", name, reply, err)
		}
		if _, err := client.Receive(t.Context()); errors.Is(err, parley.ErrTruncated) != (name == "truncated") || errors.Is(err, io.ErrUnexpectedEOF) != (name == "truncated") {
			t.Errorf("%s: the end is %v", name, err)
		}
		client.Close()
		served.Wait()
		l.Close()
	}
}

// A splitConn reads a byte at a time, or is written so.
type splitConn struct{ net.Conn }

func (c splitConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(1, len(p))]) }

// Wherever a record is split, the conversation is the same.
func TestRecordsSplitAtEveryByte(t *testing.T) {
	config := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12} // whose records have all the same length
	var record []byte
	synctest.Test(t, func(t *testing.T) { record = records(t, config, -1) })
	for at := range len(record) + 1 {
		synctest.Test(t, func(t *testing.T) { records(t, config, at) })
	}
}

// records has a conversation of a record over TLS, of which the first so many bytes come in a
// read of their own, and returns the record as it was sent; with -1 each byte does.
func records(t *testing.T, config *tls.Config, at int) (sent []byte) {
	srv := &parley.Server{Handler: echo}
	near, far := parleytest.ConnPair()
	var served sync.WaitGroup
	server := net.Conn(far)
	if at < 0 {
		server = splitConn{far}
	}
	served.Go(func() { srv.ServeConn(tlsconn.Server(server, serverTLS)) })
	through := &cutConn{Conn: near, at: at}
	client := tls.Client(through, config)
	if err := client.Handshake(); err != nil {
		t.Error(err)
	}
	through.cutting = true
	io.WriteString(client, "a\nbc\n")
	sent = through.sent
	through.cutting = false
	if got := say(t, client, ""); got != "a\nbc\n" {
		t.Errorf("split at %d: got %q", at, got)
	}
	served.Wait()
	return sent
}

// A cutConn writes in two pieces, and lets the first be read before the second.
type cutConn struct {
	net.Conn
	at      int
	cutting bool
	sent    []byte
}

func (c *cutConn) Write(p []byte) (int, error) {
	if !c.cutting {
		return c.Conn.Write(p)
	}
	c.sent = append(c.sent, p...)
	at := min(max(c.at, 0), len(p))
	if _, err := c.Conn.Write(p[:at]); err != nil {
		return 0, err
	}
	synctest.Wait()
	_, err := c.Conn.Write(p[at:])
	return len(p), err
}

func (c *cutConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// A handler, an observer, and who is told of the session's end know who the client is.
func TestSessionKnowsOfTLS(t *testing.T) {
	for _, c := range []struct {
		name string
		of   x509.Certificate
		want string
	}{
		{"a common name", x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, DNSNames: []string{"a.example"}}, "alice"},
		{"a DNS name", x509.Certificate{DNSNames: []string{"a.example", "b.example"}}, "a.example"},
		{"an address of mail", x509.Certificate{EmailAddresses: []string{"a@example"}}, "a@example"},
		{"a URI", x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "example", Path: "/a"}}}, "spiffe://example/a"},
		{"an IP address", x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, "10.0.0.1"},
		{"no name", x509.Certificate{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := make(chan string, 1)
			srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				s := req.Session
				name <- s.TLSName()
				return fmt.Appendf(dst, "%s %s %s %v", s.TLSVersion(), s.ServerName(), s.TLS().NegotiatedProtocol, s.Forwarded() == nil), nil
			})}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			parleytest.Serve(t, srv, tls.NewListener(l, &tls.Config{Certificates: serverTLS.Certificates, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"line"}}))
			client, err := (&parley.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, ServerName: "asked.example",
				Certificates: []tls.Certificate{certificateOf(t, c.of)}, NextProtos: []string{"line"}}}).Dial(t.Context(), l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if reply, err := client.Do(t.Context(), []byte("x")); string(reply) != "TLS 1.3 asked.example line true" || err != nil {
				t.Errorf("got %q, %v", reply, err)
			}
			if got := <-name; got != c.want {
				t.Errorf("the client is called %q, want %q", got, c.want)
			}
		})
	}
	s := parley.NewSession(1, nil, nil, time.Now())
	if s.TLS() != nil || s.TLSVersion() != "" || s.TLSName() != "" || s.ServerName() != "" {
		t.Error("a plain session knows of TLS")
	}
}

// A reply pattern may have the client's name in it, whatever that is: one that the framing cannot
// carry ends the session, and nothing of it reaches anybody.
func TestNameInReplies(t *testing.T) {
	for _, c := range []struct {
		framing    parley.Framing
		name, want string
		reason     parley.CloseReason
	}{
		{parley.Lines, "alice", "alice says x\n", parley.EndOfFile},
		{parley.Lines, "\x1b[2J\r", "\x1b[2J\r says x\n", parley.EndOfFile},
		{parley.Lines, "a\nforged", "", parley.HandlerError},
		{parley.Delimited(0), "a\x00forged", "", parley.HandlerError},
		{parley.Netstring, "a\n,", "10:a\n, says x,", parley.EndOfFile},
	} {
		handler, err := parley.ParseTemplate("{tls_name} says {message}", c.framing)
		if err != nil {
			t.Fatal(err)
		}
		w := new(witness)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		parleytest.Serve(t, &parley.Server{Handler: handler, Framing: c.framing, Observer: w},
			parley.NewTLSListener(l, &tls.Config{Certificates: serverTLS.Certificates, ClientAuth: tls.RequireAnyClientCert}))
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true,
			Certificates: []tls.Certificate{certificateOf(t, x509.Certificate{Subject: pkix.Name{CommonName: c.name}})}})
		if err != nil {
			t.Fatal(err)
		}
		request, err := c.framing.End(append(c.framing.Begin(nil), "x"...), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := say(t, conn, string(request)); got != c.want {
			t.Errorf("%q: got %q, want %q", c.name, got, c.want)
		}
		if end := w.closed(t, 1); end.reason != c.reason {
			t.Errorf("%q: closed for %v, want %v", c.name, end.reason, c.reason)
		}
	}
}

// certificateOf is one that is signed by itself.
func certificateOf(t *testing.T, template x509.Certificate) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A Dialer's TLS verifies the host of the address, and says so if that fails.
func TestDialerVerifies(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own := certificateOf(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	parleytest.Serve(t, &parley.Server{Handler: echo}, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{own}}))
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	client, err := (&parley.Dialer{TLS: &tls.Config{RootCAs: roots}}).Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if reply, err := client.Do(t.Context(), []byte("x")); string(reply) != "x" || err != nil {
		t.Errorf("got %q, %v", reply, err)
	}
	var wrongName x509.HostnameError
	if _, err := (&parley.Dialer{TLS: &tls.Config{RootCAs: roots, ServerName: "other.example"}}).Dial(t.Context(), l.Addr().String()); !errors.As(err, &wrongName) {
		t.Errorf("by another name: %v", err)
	}
}

// A shakenConn is one on which a proxy's words come first.
type shakenConn struct {
	net.Conn
	err       error
	remote    net.Addr
	forwarded *parley.Forwarded
}

func (c *shakenConn) HandshakeContext(context.Context) error { return c.err }
func (c *shakenConn) RemoteAddr() net.Addr                   { return c.remote }
func (c *shakenConn) Forwarded() *parley.Forwarded           { return c.forwarded }

// What a proxy says of a connection is the session's.
func TestForwardedSession(t *testing.T) {
	near, far := parleytest.ConnPair()
	opened := make(chan *parley.Session, 1)
	srv := &parley.Server{Handler: echo, MaxSessionsPerIP: 1, Observer: parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Opened {
			opened <- e.Session
		}
	})}
	client := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99}
	by := &parley.Forwarded{Proxy: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, TLSVersion: "TLSv1.3", TLSName: "alice", ServerName: "a.example"}
	var served sync.WaitGroup
	served.Go(func() { srv.ServeConn(&shakenConn{far, nil, client, by}) })
	exchange(t, near, "x")
	_, second := parleytest.ConnPair()
	if err := srv.ServeConn(&shakenConn{second, nil, client, by}); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("a second one from the same client: %v", err)
	}
	near.Close()
	served.Wait()
	session := <-opened
	if session.RemoteAddr().String() != client.String() || session.Forwarded() != by || session.TLS() != nil {
		t.Errorf("the session is from %v, %v", session.RemoteAddr(), session.Forwarded())
	}
	if got := session.TLSVersion() + " " + session.TLSName() + " " + session.ServerName(); got != "TLSv1.3 alice a.example" {
		t.Errorf("its TLS is %q", got)
	}
}

// Who may not connect is hung up on without a word and told of as denied, whether the server or
// the handshake finds it out; a peer without an IP is not asked about.
func TestDeniedConnections(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		w := new(witness)
		var allowed atomic.Bool
		srv := &parley.Server{Handler: echo, Observer: w, Engine: engine, Allow: func(ip netip.Addr) bool {
			return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) && allowed.Load()
		}}
		dial := dialer(t, "tcp", parleytest.Start(t, srv))
		if got, err := io.ReadAll(dial()); len(got) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("who is denied gets %q, %v", got, err)
		}
		eventually(t, "it is told", func() bool { return w.count(parley.Refused) == 1 })
		if e := w.all()[0]; e.reason != parley.Denied || e.body != "" || e.number != 0 {
			t.Errorf("told %+v", e)
		}
		allowed.Store(true)
		if got := say(t, dial(), "x\n"); got != "x\n" {
			t.Errorf("who is allowed gets %q", got)
		}
	})
	w := new(witness)
	_, far := parleytest.ConnPair()
	srv := &parley.Server{Handler: echo, Observer: w}
	if err := srv.ServeConn(&shakenConn{Conn: far, err: fmt.Errorf("%w: 192.0.2.7", parley.ErrDenied)}); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("by the handshake: %v", err)
	}
	if all := w.all(); len(all) != 1 || all[0].kind != parley.Refused || all[0].reason != parley.Denied {
		t.Errorf("told %+v", all)
	}
	unix := transports["unix"](t, &parley.Server{Handler: echo, Allow: func(netip.Addr) bool { return false }})
	if got := say(t, unix(), "x\n"); got != "x\n" {
		t.Errorf("over a Unix socket: %q", got)
	}
}

// A listener of TLS and one in plain may have the same server, each with its engine.
func TestPlainAndTLSOfOneServer(t *testing.T) {
	engine := engines[len(engines)-1]
	srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return fmt.Appendf(dst, "%d %s", req.Session.Number(), req.Session.TLSVersion()), nil
	}), Engine: parley.LoopsIfPossible}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := srv.Engine.For(plain); got != engine || err != nil {
		t.Errorf("the plain one is driven by %v, %v", got, err)
	}
	parleytest.Serve(t, srv, plain)
	over := transports["tls"](t, srv)
	if got := say(t, dialer(t, "tcp", plain.Addr().String())(), "x\n"); got != "1 \n" {
		t.Errorf("in plain: %q", got)
	}
	if got := say(t, over(), "x\n"); got != "2 TLS 1.3\n" {
		t.Errorf("over TLS: %q", got)
	}
}
