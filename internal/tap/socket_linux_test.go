package tap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-tcp/parley"
)

func setBuffer(fd uintptr, size int) {
	syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size)
	syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, size)
}

// unread is how many bytes have arrived at a connection that nobody has read.
func unread(conn net.Conn) (n int) {
	control(conn, func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.TIOCINQ) })
	return n
}

// awaitReadable waits until something has arrived at a connection, and leaves it there.
func awaitReadable(t *testing.T, conn end) {
	t.Helper()
	raw, err := below(conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peeked = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return peeked != syscall.EAGAIN
	})
	if err != nil || peeked != nil {
		t.Fatal(err, peeked)
	}
}

// small has a socket hold little, so that who does not read is noticed soon.
func small(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		setBuffer(fd, 32<<10)
	})
}

// large has a socket hold all that a peer says in these tests, whether or not it is read.
func large(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		setBuffer(fd, 512<<10)
	})
}

// startSmall starts a tap all of whose sockets hold little but the one that it receives
// from `from` by, and returns the two ends of a session: from's and the other's.
func (tr transport) startSmall(t *testing.T, tap *Tap, from string) (peer, other end) {
	t.Helper()
	roomy, little := net.ListenConfig{Control: large}, net.ListenConfig{Control: small}
	tapListens, serverListens, dialer := roomy, little, net.Dialer{Control: small}
	if from == "server" {
		tapListens, serverListens, dialer = little, roomy, net.Dialer{Control: large}
	}
	server, err := serverListens.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := tapListens.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap.Dial = tr.dialer(&dialer, server.Addr().String())
	tr.serve(t, tap, l)
	clientDials := net.Dialer{}
	if from == "server" {
		clientDials.Control = small
	}
	dialled, err := clientDials.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	dialled.SetDeadline(time.Now().Add(patience))
	client, err := tr.asClient(dialled)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	accepted.SetDeadline(time.Now().Add(patience))
	upstream, err := tr.asServer(accepted)
	if err != nil {
		t.Fatal(err)
	}
	for s := theSession(tap); driverOf(s) == nil; time.Sleep(time.Millisecond) {
	}
	if from == "server" {
		return upstream, client
	}
	return client, upstream
}

// numberedLines are lines of 16 bytes.
func numberedLines(n int) []byte {
	var all []byte
	for i := range n {
		all = fmt.Appendf(all, "line %010d\n", i)
	}
	return all
}

// sayAndReset has a peer say more than the other has room for, and leave.
func sayAndReset(t *testing.T, peer, other end, said []byte) {
	t.Helper()
	if _, err := peer.Write(said); err != nil {
		t.Fatal(err)
	}
	leave(t, peer, other)
}

// leave has a peer close once all that it has said is at the tap, with a reply unread, which
// resets the connection.
func leave(t *testing.T, peer, other end) {
	t.Helper()
	io.WriteString(other, "never read\n")
	for deadline := time.Now().Add(patience); unsent(below(peer)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was said does not arrive")
		}
	}
	awaitReadable(t, peer)
	below(peer).Close()
}

// What had arrived of a peer that then resets is told and recorded, though the other takes
// nothing; the other is reset after a second.
func TestAllThatAPeerSaidBeforeItsResetIsTold(t *testing.T) {
	overBoth(t, func(t *testing.T, tr transport) {
		for from, reason := range map[string]parley.CloseReason{"client": parley.Reset, "server": parley.UpstreamReset} {
			t.Run(from, func(t *testing.T) {
				const lines = 10_000
				closed := make(chan parley.Event, 1)
				told := 0
				kind := parley.Received
				gate := new(porter)
				tap := &Tap{WriteTimeout: time.Hour, Gate: gate, Observer: parley.ObserverFunc(func(e *parley.Event) {
					switch e.Kind {
					case kind:
						told++
					case parley.Closed:
						closed <- *e
					}
				})}
				if from == "server" {
					kind = parley.Unasked
				}
				peer, other := tr.startSmall(t, tap, from)
				sayAndReset(t, peer, other, numberedLines(lines))
				if tr == overTLS { // it may have announced its end
					awaitGone(t, tap, from)
					runOut(t, tap, from)
				}
				end := awaitClosing(t, closed)
				if end.Reason != reason {
					t.Errorf("ended for %v (%v), want %v", end.Reason, end.Err, reason)
				}
				extra := 0
				if from == "server" {
					extra = 1 // the first answers the client's
				}
				if told != lines-extra {
					t.Errorf("told of %d messages, want %d", told, lines-extra)
				}
				recorded := gate.up
				if from == "server" {
					recorded = gate.down
				}
				if got, want := len(recorded), lines*15; from == "client" && got != want || from == "server" && got != want {
					t.Errorf("recorded %d bytes, want %d", got, want)
				}
				wantHint := map[string]string{"client": "the peer closed without reading its replies", "server": "the server closed without reading its requests"}[from]
				var hint interface{ Hint() string }
				if !errors.As(end.Err, &hint) || hint.Hint() != wantHint {
					t.Errorf("the error is %v, want one that says %q", end.Err, wantHint)
				}
				if _, err := io.Copy(io.Discard, other); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the other read %v, want a reset", err)
				}
			})
		}
	})
}

// runOut has the tap's session time out once it waits for the other to take what a peer says.
func runOut(t *testing.T, tap *Tap, from string) {
	t.Helper()
	for now := 1000 * time.Hour; ; now += 1000 * time.Hour {
		tap.mu.Lock()
		over := true
		for s := range tap.sessions {
			d := &s.requests
			if from == "server" {
				d = &s.replies
			}
			s.checkWrite(d, now)
			over = s.end.Load() != nil
		}
		tap.mu.Unlock()
		if over {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitGone waits until a peer of the tap's one session has gone.
func awaitGone(t *testing.T, tap *Tap, by string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		tap.mu.Lock()
		gone := false
		for s := range tap.sessions {
			p := &s.client
			if by == "server" {
				s.replies.activity.get() // which is set behind its connection
				p = &s.server
			}
			gone = p.isGone()
		}
		tap.mu.Unlock()
		if gone {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no reset arrives")
		}
	}
}

// What a peer said before its reset reaches the other to the byte, if it reads within a
// second, and then the other sees a reset.
func TestAllThatAPeerSaidBeforeItsResetIsPassedOn(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		for _, from := range []string{"client", "server"} {
			t.Run(from, func(t *testing.T) {
				observer, closed := closings()
				peer, other := tr.startSmall(t, &Tap{Observer: observer}, from)
				said := numberedLines(10_000)
				sayAndReset(t, peer, other, said)
				got := make([]byte, 0, len(said)+1)
				var err error
				for err == nil {
					var n int
					n, err = other.Read(got[len(got):cap(got)])
					got = got[:len(got)+n]
				}
				if !slices.Equal(got, said) {
					t.Errorf("the other got %d bytes, want the %d that were said", len(got), len(said))
				}
				if !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the other read %v at the end, want a reset", err)
				}
				awaitClosing(t, closed)
			})
		}
	})
}

// A peer that resets has not ended in good order, though a write has met the reset first: it
// takes the error away, and an end of file is what is left to read.
func TestResetIsNoEndOfFileThoughAWriteMetItFirst(t *testing.T) {
	accepted := make(chan end)
	done := make(chan struct{})
	client := dial(t, plain.startServer(t, func(conn end) { accepted <- conn; <-done }))
	defer close(done)
	conn := <-accepted
	tap := new(Tap)
	s := newSession(tap, conn)
	tap.init()
	tap.addSession(s)
	defer s.leave()
	upstream, server := connPair()
	s.server.open(upstream)

	io.WriteString(client, "a\n")
	client.SetLinger(0)
	client.Close()
	for err := error(nil); err == nil; {
		_, err = conn.Write([]byte("x"))
	}
	newPair(s).pass(&s.requests)
	if end := s.end.Load(); end == nil || end.reason != parley.Reset {
		t.Errorf("ended for %+v, want a reset", end)
	}
	atServer := make([]byte, 10)
	if n, _ := server.Read(atServer); string(atServer[:n]) != "a\n" {
		t.Errorf("%q was passed on, want what was said before", atServer[:n])
	}
}

// A peer that takes bytes, though slowly, is not one that takes nothing, even while a single
// write to it lasts.
func TestASlowPeerIsNotCut(t *testing.T) {
	overBoth(t, func(t *testing.T, tr transport) {
		observer, closed := closings()
		tap := &Tap{Observer: observer, WriteTimeout: time.Hour}
		client, server := tr.startSmall(t, tap, "client")
		var saying sync.WaitGroup
		saying.Go(func() { client.Write(make([]byte, 16<<20)) }) // more than there is room for
		defer saying.Wait()
		defer client.Close()
		tap.mu.Lock() // keeps the tick from looking
		var s *session
		for s = range tap.sessions {
		}
		await := func(what string, so func() bool) {
			for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					tap.mu.Unlock()
					t.Fatal(what)
				}
			}
		}
		await("the tap has room for all", func() (waits bool) {
			inDriver(s, func() { waits = s.waitsForServer() })
			return waits
		})
		now := time.Duration(0)
		for range 5 {
			now += 50 * time.Minute
			inDriver(s, func() { s.checkTimeouts(now) })
			if s.end.Load() != nil {
				break
			}
			await("nothing moves", func() (moves bool) {
				server.Read(make([]byte, 1000))
				inDriver(s, func() { moves = int32(s.server.unsent()) != s.requests.unsent })
				return moves
			})
		}
		if end := s.end.Load(); end != nil {
			t.Errorf("a peer that takes bytes was cut: %v", end.err)
		}
		await("a peer that takes nothing is not cut", func() bool {
			now += time.Hour
			inDriver(s, func() { s.checkTimeouts(now) })
			return s.end.Load() != nil
		})
		tap.mu.Unlock()
		if end := awaitClosing(t, closed); end.Reason != parley.WriteTimeout {
			t.Errorf("ended for %v (%v), want write_timeout", end.Reason, end.Err)
		}
	})
}

// cutOff has the host of a peer drop all that is sent to it, as a broken network does, until
// heal is called.
func cutOff(t *testing.T, peer end) (heal func()) {
	t.Helper()
	raw, err := below(peer).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	}
}

// A peer that vanishes is noticed, though the kernel would go on for a quarter of an hour.
func TestAVanishedPeerIsNoticed(t *testing.T) {
	overBoth(t, func(t *testing.T, tr transport) {
		for by, want := range map[string]string{"client": "the client has vanished", "server": "the server has vanished"} {
			t.Run(by, func(t *testing.T) {
				observer, closed := closings()
				peer, other := tr.startSmall(t, &Tap{Observer: observer, WriteTimeout: 500 * time.Millisecond}, by)
				say(peer, other, "a\n")
				cutOff(t, peer)
				io.WriteString(other, "A\n")
				end := awaitClosing(t, closed)
				if end.Reason != parley.WriteTimeout || !errors.Is(end.Err, syscall.ETIMEDOUT) || !strings.HasPrefix(end.Err.Error(), want) {
					t.Errorf("ended for %v (%v), want %s", end.Reason, end.Err, want)
				}
				if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the other read %v, want a reset", err)
				}
			})
		}
	})
}

// A network that breaks and heals in time delays bytes and loses none.
func TestABrokenNetworkThatHealsLosesNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, tr transport) {
		observer, closed := closings()
		tap := &Tap{Observer: observer}
		client, server := tr.startSmall(t, tap, "client")
		say(client, server, "a\n")
		heal := cutOff(t, client)
		reply := string(numberedLines(2000))
		var replying sync.WaitGroup
		replying.Go(func() {
			io.WriteString(server, reply)
			server.CloseWrite()
		})
		awaitUnsent(t, tap)
		heal()
		got, err := io.ReadAll(client)
		if string(got) != reply || err != nil {
			t.Errorf("got %d bytes, %v, want %d", len(got), err, len(reply))
		}
		replying.Wait()
		client.Close()
		server.Close()
		if end := awaitClosing(t, closed); end.Reason != parley.EndOfFile {
			t.Errorf("ended for %v (%v)", end.Reason, end.Err)
		}
	})
}

// awaitUnsent waits until the tap's one session has something on its way to the client.
func awaitUnsent(t *testing.T, tap *Tap) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := 0
		if s := theSession(tap); s != nil {
			inDriver(s, func() { n = s.client.unsent() })
		}
		if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is on its way to the client")
		}
	}
}
