package tap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// handshakes has the events of connections that became no session sent.
func handshakes() (parley.Observer, <-chan parley.Event) {
	failed := make(chan parley.Event, 100)
	return parley.ObserverFunc(func(e *parley.Event) {
		switch e.Kind {
		case parley.HandshakeFailed, parley.Refused:
			failed <- *e
		case parley.Opened:
			failed <- *e // which nobody has asked for
		}
	}), failed
}

func awaitEvent(t *testing.T, events <-chan parley.Event) parley.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(patience):
		t.Fatal("nothing is told")
		panic("")
	}
}

// A client with which TLS is not agreed on becomes no session, takes no number, and is told of
// once, as what it was.
func TestHandshakesThatFail(t *testing.T) {
	for _, c := range []struct {
		name   string
		client func(conn *net.TCPConn)
		reason parley.CloseReason
		says   string // what the client reads
	}{
		{"an end of file before a byte", func(conn *net.TCPConn) { conn.CloseWrite() }, parley.NoRequest, ""},
		{"a reset before a byte", func(conn *net.TCPConn) { breakOff(conn) }, parley.NoRequest, ""},
		{"plain bytes", func(conn *net.TCPConn) { io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); conn.CloseWrite() }, parley.Handshake,
			"Error: this port speaks TLS, and what came is not TLS\n"},
		{"an end inside the hello", func(conn *net.TCPConn) { io.WriteString(conn, "\x16\x03\x01"); conn.CloseWrite() }, parley.Handshake, ""},
		{"nothing in time", func(*net.TCPConn) {}, parley.HandshakeTimeout, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			observer, failed := handshakes()
			tap := &Tap{Observer: observer}
			if c.reason == parley.HandshakeTimeout {
				tap.HandshakeTimeout = 20 * time.Millisecond
			}
			client := dial(t, overTLS.start(t, tap, "127.0.0.1:1"))
			c.client(client)
			e := awaitEvent(t, failed)
			if e.Kind != parley.HandshakeFailed || e.Reason != c.reason || e.Session.Number() != 0 || e.Err == nil {
				t.Errorf("told %v for %v (%v) of session %d, want a handshake that failed for %v", e.Kind, e.Reason, e.Err, e.Session.Number(), c.reason)
			}
			if c.says != "" {
				if got, err := io.ReadAll(client); string(got) != c.says || err != nil {
					t.Errorf("the client reads %q, %v, want %q", got, err, c.says)
				}
			}
			if tap.Open() != 0 {
				t.Errorf("%d sessions, want none", tap.Open())
			}
			if len(failed) > 0 {
				t.Errorf("and told of %v", (<-failed).Kind)
			}
		})
	}
}

// There are never more handshakes than there may be sessions, and those that wait hold up
// neither Accept nor a stop, which tells nobody of them.
func TestHandshakesAreBounded(t *testing.T) {
	const limit = 3
	observer, failed := handshakes()
	tap := &Tap{Observer: observer, MaxSessions: limit, HandshakeTimeout: -1}
	addr := overTLS.start(t, tap, "127.0.0.1:1")
	for n := range limit {
		dial(t, addr)
		for deadline := time.Now().Add(patience); tap.shaking.Pending() <= n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d handshakes, want %d", tap.shaking.Pending(), n+1)
			}
		}
	}
	over := dial(t, addr)
	if e := awaitEvent(t, failed); e.Kind != parley.HandshakeFailed || e.Reason != parley.Full {
		t.Errorf("told %v for %v, want a handshake that failed for full", e.Kind, e.Reason)
	}
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("one over the limit is spoken to")
	}
	if err := tap.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown = %v, want nobody cut", err)
	}
	for deadline := time.Now().Add(patience); tap.shaking.Pending() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a handshake outlives the stop")
		}
	}
	if len(failed) > 0 {
		t.Errorf("told of %v at the stop", (<-failed).Reason)
	}
}

// Whoever is not let in is reset and told of as denied.
func TestAllow(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		observer, events := handshakes()
		var asked netip.Addr
		tap := &Tap{Observer: observer, Allow: func(ip netip.Addr) bool { asked = ip; return false }}
		client, err := net.Dial("tcp", tr.start(t, tap, "127.0.0.1:1"))
		if err == nil {
			defer client.Close()
			tr.asClient(client)
			_, err = io.Copy(io.Discard, client)
		}
		if e := awaitEvent(t, events); e.Kind != parley.Refused || e.Reason != parley.Denied || e.Session.Number() != 0 {
			t.Errorf("told %v for %v, want refused for denied", e.Kind, e.Reason)
		}
		if asked != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("asked about %v", asked)
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client met %v, want a reset", err)
		}
	})
}

// A session knows of its client's TLS, and who dials knows the client.
func TestTheClientIsKnown(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		told := newRecord()
		dial := tr.dialer(new(net.Dialer), tr.startServer(t, func(conn end) { io.Copy(conn, conn) }))
		clients := make(chan *parley.Session, 1)
		client := tr.dial(t, tr.listen(t, &Tap{Observer: told, Dial: func(ctx context.Context, client *parley.Session) (net.Conn, error) {
			clients <- client
			return dial(ctx, client)
		}}))
		known := <-clients
		if known.Number() != 1 || known.RemoteAddr().String() != client.LocalAddr().String() || (known.TLS() != nil) != tr.client {
			t.Errorf("dialled for session %d with %v, TLS %q", known.Number(), known.RemoteAddr(), known.TLSVersion())
		}
		client.Close()
		told.awaitClosed(t, 1)
	})
}

// An end of file that TLS has not announced is passed on as one, ends nothing else, and has the
// session end as truncated.
func TestTruncationIsPassedOn(t *testing.T) {
	for _, by := range []string{"client", "server"} {
		overEach(t, func(t *testing.T, tr transport) {
			isSecure, otherIs := tr.client, tr.upstream
			if by == "server" {
				isSecure, otherIs = otherIs, isSecure
			}
			if !isSecure {
				return
			}
			t.Run("by the "+by, func(t *testing.T) {
				servers := make(chan end)
				done := make(chan struct{})
				defer close(done)
				upstream := tr.startServer(t, func(conn end) { servers <- conn; <-done })
				observer, closed := closings()
				client := tr.dial(t, tr.start(t, &Tap{Observer: observer}, upstream))
				peer, other := client, <-servers
				if by == "server" {
					peer, other = other, peer
				}
				io.WriteString(peer, "cut sho")
				below(peer).CloseWrite()
				got, err := io.ReadAll(other)
				if string(got) != "cut sho" {
					t.Errorf("the other got %q", got)
				}
				if isTruncated := errors.Is(err, tlsconn.ErrTruncated); isTruncated != otherIs || !isTruncated && err != nil {
					t.Errorf("the other read %v at the end", err)
				}
				// The other direction goes on, and ends in good order.
				io.WriteString(other, "go on")
				other.CloseWrite()
				if got, err := io.ReadAll(peer); string(got) != "go on" || err != nil {
					t.Errorf("behind its end the peer got %q, %v", got, err)
				}
				e := awaitClosing(t, closed)
				if e.Reason != parley.Truncated || !errors.Is(e.Err, parley.ErrTruncated) || !strings.Contains(e.Err.Error(), by) {
					t.Errorf("ended for %v (%v), want truncated by the %s", e.Reason, e.Err, by)
				}
				if e.In+e.Out != uint64(len("cut sho")+len("go on")) {
					t.Errorf("%d bytes in, %d out", e.In, e.Out)
				}
			})
		})
	}
}

// The last end is as true as the first: TLS announces none that it was not told of.
func TestTruncationAtTheVeryEnd(t *testing.T) {
	for _, isAnnounced := range []bool{true, false} {
		t.Run(fmt.Sprintf("announced: %v", isAnnounced), func(t *testing.T) {
			upstream := overTLS.startServer(t, func(conn end) {
				io.Copy(io.Discard, conn)
				io.WriteString(conn, "A")
				if isAnnounced {
					conn.CloseWrite()
				}
				below(conn).Close()
			})
			observer, closed := closings()
			client := overTLS.dial(t, overTLS.start(t, &Tap{Observer: observer}, upstream))
			io.WriteString(client, "a")
			client.CloseWrite()
			got, err := io.ReadAll(client)
			reason := parley.EndOfFile
			var want error
			if !isAnnounced {
				reason, want = parley.Truncated, tlsconn.ErrTruncated
			}
			if string(got) != "A" || !errors.Is(err, want) {
				t.Errorf("the client got %q, %v, want %v", got, err, want)
			}
			if e := awaitClosing(t, closed); e.Reason != reason {
				t.Errorf("ended for %v (%v), want %v", e.Reason, e.Err, reason)
			}
		})
	}
}

// A server that does not agree on TLS is one that cannot be reached: its client is reset.
func TestAServerWhoseHandshakeFails(t *testing.T) {
	for name, serve := range map[string]func(conn end){
		"plain":  func(conn end) { io.WriteString(conn, "220 mx ready\r\n"); io.Copy(io.Discard, conn) },
		"closes": func(conn end) {},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := plain.startServer(t, serve)
			observer, closed := closings()
			client := overTLS.dial(t, overTLS.start(t, &Tap{Observer: observer}, upstream))
			if e := awaitClosing(t, closed); e.Reason != parley.Unreachable || e.Err == nil {
				t.Errorf("ended for %v (%v), want unreachable", e.Reason, e.Err)
			}
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client read %v, want a reset", err)
			}
		})
	}
}

// Bytes and the end of file that one read of TLS gives together are both passed on.
func TestBytesAndTheirEndInOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		upstream, server := connPair()
		tap := &Tap{Observer: told, Dial: func(context.Context, *parley.Session) (net.Conn, error) { return lastRead{upstream}, nil }}
		l := &pipe{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		serve(t, tap, l)
		client, accepted := connPair()
		l.conns <- accepted
		say(client, server, "a\n")
		io.WriteString(server, "A\n")
		if got, err := io.ReadAll(client); string(got) != "A\n" || err != nil {
			t.Errorf("the client got %q, %v", got, err)
		}
		client.Close()
		synctest.Wait()
		told.check(t, "1 opened", `1 received 1 "a"`, `1 replied 1 "A"`, "1 closed 1 eof")
	})
}

// A lastRead has its end of file with the first bytes.
type lastRead struct{ net.Conn }

func (c lastRead) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		err = io.EOF
	}
	return n, err
}
