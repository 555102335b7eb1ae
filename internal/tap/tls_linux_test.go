package tap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// A client that says by TLS that it has ended, and closes with something of TLS unread, has not
// broken off: all that it said arrives, and its end.
func TestAnAnnouncedEndIsNoReset(t *testing.T) {
	tr := transport{client: true}
	got := make(chan string, 1)
	upstream := tr.startServer(t, func(conn end) {
		all, err := io.ReadAll(conn)
		got <- fmt.Sprintf("%s %v", all, err)
	})
	observer, closed := closings()
	resume := make(chan struct{})
	reach := tr.dialer(new(net.Dialer), upstream)
	tap := &Tap{Observer: observer, Dial: func(ctx context.Context, client *parley.Session) (net.Conn, error) {
		select {
		case <-resume:
		case <-ctx.Done():
		}
		return reach(ctx, client)
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	withTickets := serverConfig.Clone() // which TLS 1.3 sends behind the handshake
	withTickets.SessionTicketsDisabled = false
	serve(t, tap, parley.NewTLSListener(l, withTickets))
	client := tlsconn.Client(dial(t, l.Addr().String()), &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)})
	io.WriteString(client, "a\n")
	client.CloseWrite()
	awaitReadable(t, client) // the tickets
	below(client).Close()
	awaitGone(t, tap, "client")
	close(resume)
	if got := <-got; got != "a\n <nil>" {
		t.Errorf("the server got %q", got)
	}
	if e := awaitClosing(t, closed); e.Reason != parley.EndOfFile {
		t.Errorf("ended for %v (%v), want eof", e.Reason, e.Err)
	}
}

// Whoever leaves with nothing unread but TLS's own goodbye has read its replies.
func TestALeaveWithTheGoodbyeUnread(t *testing.T) {
	isRead := make(chan struct{})
	upstream := overTLS.startServer(t, func(conn end) {
		conn.Read(make([]byte, 2))
		io.WriteString(conn, "A\n")
		<-isRead
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	})
	observer, closed := closings()
	client := overTLS.dial(t, overTLS.start(t, &Tap{Observer: observer}, upstream))
	io.WriteString(client, "a\n")
	io.ReadFull(client, make([]byte, 2))
	close(isRead)
	awaitReadable(t, client)
	below(client).Close()
	e := awaitClosing(t, closed)
	var hint interface{ Hint() string }
	if e.Reason != parley.Reset || errors.As(e.Err, &hint) {
		t.Errorf("ended for %v (%v), want a reset without a hint", e.Reason, e.Err)
	}
}

// Nor has it if the server takes its time: what it said is waited for with, as is its end.
func TestAnAnnouncedEndHasTime(t *testing.T) {
	observer, closed := closings()
	tap := &Tap{Observer: observer}
	client, server := overTLS.startSmall(t, tap, "client")
	said := numberedLines(10_000)
	if _, err := client.Write(said); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	leave(t, client, server)
	awaitGone(t, tap, "client")
	awaitWriting(t, tap)
	tap.mu.Lock()
	for s := range tap.sessions {
		s.checkTimeouts(time.Minute)
	}
	tap.mu.Unlock()
	got, err := io.ReadAll(server)
	if string(got) != string(said) || err != nil {
		t.Errorf("the server got %d bytes, %v, want %d and the end", len(got), err, len(said))
	}
	server.CloseWrite()
	if e := awaitClosing(t, closed); e.Reason != parley.EndOfFile {
		t.Errorf("ended for %v (%v), want eof", e.Reason, e.Err)
	}
}

// A client that never ends holds up nothing for longer than the clocks say: neither while the
// server takes nothing, nor when the server has ended. Both are reset.
func TestAClientThatNeverEnds(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		t.Run("the server takes nothing", func(t *testing.T) {
			observer, closed := closings()
			client, server := tr.startSmall(t, &Tap{Observer: observer, WriteTimeout: 50 * time.Millisecond}, "client")
			go client.Write(make([]byte, 4<<20))
			if e := awaitClosing(t, closed); e.Reason != parley.WriteTimeout {
				t.Errorf("ended for %v (%v), want write_timeout", e.Reason, e.Err)
			}
			if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server read %v, want a reset", err)
			}
		})
		t.Run("the server has ended", func(t *testing.T) {
			observer, closed := closings()
			upstream := tr.startServer(t, func(conn end) { conn.CloseWrite(); io.Copy(io.Discard, conn) })
			client := tr.dial(t, tr.start(t, &Tap{Observer: observer, HalfCloseTimeout: 50 * time.Millisecond}, upstream))
			if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("the client read %d bytes, %v, want the end of file", n, err)
			}
			if e := awaitClosing(t, closed); e.Reason != parley.IdleTimeout {
				t.Errorf("ended for %v (%v), want idle_timeout", e.Reason, e.Err)
			}
		})
	})
}

// A stop does not wait for TLS to say goodbye to a peer that takes nothing.
func TestCloseDoesNotWaitForTLS(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		observer, closed := closings()
		tap := &Tap{Observer: observer, WriteTimeout: -1}
		client, server := tr.startSmall(t, tap, "client")
		go client.Write(make([]byte, 4<<20))
		awaitWriting(t, tap)
		tap.Close()
		if n := tap.Open(); n != 0 {
			t.Errorf("%d sessions are left after Close", n)
		}
		if e := awaitClosing(t, closed); e.Reason != parley.ServerClosed {
			t.Errorf("ended for %v (%v), want closed", e.Reason, e.Err)
		}
		if _, err := io.Copy(io.Discard, server); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server read %v, want a reset", err)
		}
	})
}

// waitsForServer reports whether the server is to take bytes that it has no room for.
func (s *session) waitsForServer() bool {
	doing, _ := s.requests.activity.get()
	return doing == writing && s.server.unsent() > 0
}

// awaitWriting waits until the tap's one session waits for its server to take bytes.
func awaitWriting(t *testing.T, tap *Tap) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		waits := false
		if s := theSession(tap); s != nil {
			inDriver(s, func() { waits = s.waitsForServer() })
		}
		if waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the tap has room for all")
		}
	}
}

// What ends TLS in good order has to have room too: it is waited for, for as long as a write.
func TestTheEndOfTLSWaitsForRoom(t *testing.T) {
	observer, closed := closings()
	tap := &Tap{Observer: observer}
	server, client := overTLS.startSmall(t, tap, "server")
	client.CloseWrite()
	said := make(chan struct{})
	go func() { // until the client has to read
		defer close(said)
		server.Write(make([]byte, 4<<20))
		server.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, client)
	if n != 4<<20 || err != nil {
		t.Errorf("the client got %d bytes, %v, want all and the end that was announced", n, err)
	}
	<-said
	if e := awaitClosing(t, closed); e.Reason != parley.EndOfFile {
		t.Errorf("ended for %v (%v), want eof", e.Reason, e.Err)
	}
}

// Room is waited for until there is some, or the write deadline passes.
func TestAwaitRoom(t *testing.T) {
	peers := make(chan end)
	done := make(chan struct{})
	defer close(done)
	conn := dial(t, plain.startServer(t, func(conn end) { peers <- conn; <-done }))
	peer := <-peers
	if err := awaitRoom(conn); err != nil {
		t.Errorf("with room: %v", err)
	}
	for err := error(nil); !errors.Is(err, os.ErrDeadlineExceeded); err = awaitRoom(conn) { // the peer's system makes more room for a while
		conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := conn.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("there is room for 64 MiB: %v", err)
		}
		conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	}
	conn.SetWriteDeadline(time.Time{})
	go io.Copy(io.Discard, peer)
	if err := awaitRoom(conn); err != nil {
		t.Errorf("once the peer reads: %v", err)
	}
	breakOff(peer)
	if err := awaitRoom(conn); err != nil {
		t.Errorf("once the peer has gone: %v", err)
	}
}
