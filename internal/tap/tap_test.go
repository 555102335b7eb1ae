package tap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A record is an observer that keeps what it is told, a line an event.
type record struct {
	mu      sync.Mutex
	lines   []string
	dialled chan struct{} // receives once the server of a session is connected, or is not
	closed  chan struct{} // receives once a session
}

func newRecord() *record {
	return &record{dialled: make(chan struct{}, 1000), closed: make(chan struct{}, 1000)}
}

func (r *record) Observe(e *parley.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("%d %v", e.Session.Number(), e.Kind)
	switch e.Kind {
	case parley.Received, parley.Replied, parley.Unasked, parley.Unfinished:
		line += fmt.Sprintf(" %d %q", e.Seq, e.Body)
		if e.Cut > 0 {
			line += fmt.Sprintf(" and %d more", e.Cut)
		}
		if e.Secret {
			line += " (secret)"
		}
	case parley.Stray:
		line += fmt.Sprintf(" %q of %d: %v", e.Body, e.Stray, e.Err)
	case parley.FramingLost:
		line += fmt.Sprintf(": %v", e.Err)
	case parley.Closed:
		line += fmt.Sprintf(" %d %v", e.Seq, e.Reason)
		if e.Stray > 0 {
			line += fmt.Sprintf(", %d stray", e.Stray)
		}
	case parley.Refused:
		line += fmt.Sprintf(" %v", e.Reason)
	}
	r.lines = append(r.lines, line)
	if e.Kind == parley.Closed {
		r.closed <- struct{}{}
	}
}

// awaitClosed waits for the end of n sessions.
func (r *record) awaitClosed(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-r.closed:
		case <-time.After(patience):
			t.Fatalf("a session has not ended; told:\n%s", r)
		}
	}
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

func (r *record) check(t *testing.T, want ...string) {
	t.Helper()
	if got := r.String(); got != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// random is n bytes, the same for the same seed.
func random(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// bytewise reads one byte at a time.
type bytewise struct{ io.Reader }

func (b bytewise) Read(p []byte) (int, error) { return b.Reader.Read(p[:1]) }

// send writes what r has, as r hands it out, and half-closes.
func send(conn end, r io.Reader) error {
	// Hidden behind an interface, so that Copy writes what one read returned.
	_, err := io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{r})
	return errors.Join(err, conn.CloseWrite())
}

func hashOf(t *testing.T, r io.Reader) [32]byte {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Errorf("read: %v", err)
	}
	return [32]byte(h.Sum(nil))
}

// Both directions at once arrive to the byte, whatever they are taken for.
func TestBytesPassUntouched(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		for _, c := range []struct {
			name     string
			up, down int64
			split    bool
		}{
			{"1-byte splits", 4000, 4000, true},
			{"nothing up", 0, 256 << 10, false},
			{"nothing down", 256 << 10, 0, false},
			{"1 MiB", 1 << 20, 1<<20 - 1, false},
			{"11 MiB", 11 << 20, 11 << 20, false}, // curl's 100 MiB are in cmd/parley
		} {
			for _, name := range names {
				framing, err := dialect.Parse(name)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case name != "line" && (c.up > 10<<20 || !tr.isPlain()):
					continue
				case c.up > 10<<20 && !tr.isPlain() && tr != overTLS:
					continue
				case c.split && !tr.isPlain():
					c.up, c.down = 1000, 1000 // records
				}
				t.Run(c.name+" as "+name, func(t *testing.T) {
					body := func(seed byte, n int64) io.Reader {
						if c.split {
							return bytewise{random(seed, n)}
						}
						return random(seed, n)
					}
					received := make(chan [32]byte, 1)
					upstream := tr.startServer(t, func(conn end) {
						var sending sync.WaitGroup
						sending.Go(func() {
							if err := send(conn, body(2, c.down)); err != nil {
								t.Errorf("the server sends: %v", err)
							}
						})
						received <- hashOf(t, conn)
						sending.Wait()
					})
					told := newRecord()
					closed := parley.ObserverFunc(func(e *parley.Event) {
						if e.Kind == parley.Closed { // a record of noise helps nobody
							told.Observe(&parley.Event{Kind: e.Kind, Session: e.Session, Reason: e.Reason})
							if e.In != uint64(c.up) || e.Out != uint64(c.down) {
								t.Errorf("told of %d bytes in and %d out, want %d and %d", e.In, e.Out, c.up, c.down)
							}
						}
					})
					client := tr.dial(t, tr.start(t, &Tap{Framing: framing.Requests, Replies: framing.Replies, Observer: closed}, upstream))
					var sending sync.WaitGroup
					sending.Go(func() {
						if err := send(client, body(1, c.up)); err != nil {
							t.Errorf("the client sends: %v", err)
						}
					})
					if got, want := hashOf(t, client), hashOf(t, random(2, c.down)); got != want {
						t.Errorf("the client received other bytes than the server sent")
					}
					sending.Wait()
					if got, want := <-received, hashOf(t, random(1, c.up)); got != want {
						t.Errorf("the server received other bytes than the client sent")
					}
					told.awaitClosed(t, 1)
				})
			}
		}
	})
}

// Each direction ends by itself: whoever half-closes still gets all the other says.
func TestHalfCloseIsPassedOnInBothOrders(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		t.Run("client first", func(t *testing.T) {
			upstream := tr.startServer(t, func(conn end) {
				all, _ := io.ReadAll(conn)
				fmt.Fprintf(conn, "%d bytes\n", len(all))
			})
			told := newRecord()
			client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
			io.WriteString(client, "a\nb")
			client.CloseWrite()
			if got, err := io.ReadAll(client); string(got) != "3 bytes\n" || err != nil {
				t.Errorf("got %q, %v, want the count and the end of file", got, err)
			}
			told.awaitClosed(t, 1)
			told.check(t, "1 opened", `1 received 1 "a"`, `1 received 2 "b"`, `1 replied 1 "3 bytes"`, "1 closed 2 eof")
		})
		t.Run("server first", func(t *testing.T) {
			rest := make(chan string, 1)
			upstream := tr.startServer(t, func(conn end) {
				io.WriteString(conn, "go on")
				conn.CloseWrite()
				all, _ := io.ReadAll(conn)
				rest <- string(all)
			})
			told := newRecord()
			client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
			if got, err := io.ReadAll(client); string(got) != "go on" || err != nil {
				t.Errorf("got %q, %v, want the greeting and the end of file", got, err)
			}
			io.WriteString(client, "thanks")
			client.CloseWrite()
			if got := <-rest; got != "thanks" {
				t.Errorf("the server got %q behind its end of file, want thanks", got)
			}
			told.awaitClosed(t, 1)
			told.check(t, "1 opened", `1 message 0 "go on"`, `1 received 1 "thanks"`, "1 closed 1 eof")
		})
	})
}

// A reset of one side is a reset for the other, behind the bytes that came before it.
func TestResetIsPassedOn(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		t.Run("by the client", func(t *testing.T) {
			seen := make(chan error, 1)
			upstream := tr.startServer(t, func(conn end) {
				line := make([]byte, 2)
				io.ReadFull(conn, line)
				io.WriteString(conn, "A\nrest")
				_, err := conn.Read(line)
				seen <- err
			})
			told := newRecord()
			client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
			io.WriteString(client, "a\n")
			io.ReadFull(client, make([]byte, len("A\nrest")))
			breakOff(client)
			if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server read %v, want a reset", err)
			}
			told.awaitClosed(t, 1)
			told.check(t, "1 opened", `1 received 1 "a"`, `1 replied 1 "A"`, `1 message 0 "rest"`, "1 closed 1 reset")
		})
		t.Run("by the server", func(t *testing.T) {
			upstream := tr.startServer(t, func(conn end) {
				conn.Read(make([]byte, 2))
				breakOff(conn)
			})
			told := newRecord()
			client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
			io.WriteString(client, "a\n")
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client read %v, want a reset", err)
			}
			told.awaitClosed(t, 1)
			told.check(t, "1 opened", `1 received 1 "a"`, "1 closed 1 upstream_reset")
		})
	})
}

// A server that answers too early and closes with a request unread has its answer
// delivered, then the reset.
func TestLastWordsBeforeAResetArrive(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		upstream := tr.startServer(t, func(conn end) {
			conn.Read(make([]byte, 1000))
			io.WriteString(conn, "413 too large\n")
			// Closed with bytes unread, this end sends a reset.
		})
		told := newRecord()
		client := tr.dial(t, tr.start(t, &Tap{Observer: told}, upstream))
		broke := make(chan error, 1)
		go func() {
			_, err := io.Copy(client, random(1, 1<<30))
			broke <- err
		}()
		got, err := io.ReadAll(client)
		if string(got) != "413 too large\n" {
			t.Errorf("got %q, %v, want the answer", got, err)
		}
		if err := <-broke; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("the client wrote to its end: %v, want a reset", err)
		}
		told.awaitClosed(t, 1)
		if got := told.String(); !strings.HasSuffix(got, "upstream_reset") || !strings.Contains(got, "413 too large") {
			t.Errorf("told %.300q", got[max(0, len(got)-300):])
		}
	})
}

// A client that goes away in the middle of a transfer takes the server's connection
// with it.
func TestClientGoneMidTransfer(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		broke := make(chan error, 1)
		upstream := tr.startServer(t, func(conn end) {
			_, err := io.Copy(conn, rand.NewChaCha8([32]byte{}))
			broke <- err
		})
		told := newRecord()
		closed := parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Closed {
				told.Observe(e)
			}
		})
		client := tr.dial(t, tr.start(t, &Tap{Observer: closed}, upstream))
		io.CopyN(io.Discard, client, 1<<20)
		client.Close()
		if err := <-broke; err == nil {
			t.Error("the server could go on")
		}
		told.awaitClosed(t, 1)
		told.check(t, "1 closed 0 reset")
	})
}

// Where there is no server the client is reset, and the reason is told.
func TestUnreachableServer(t *testing.T) {
	overEngines(t, func(t *testing.T, tr transport) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		told := newRecord()
		client, err := net.Dial("tcp", tr.start(t, &Tap{Observer: told}, l.Addr().String()))
		if err == nil {
			defer client.Close()
			_, err = client.Read(make([]byte, 1))
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client met %v, want a reset", err)
		}
		told.awaitClosed(t, 1)
		told.check(t, "1 opened", "1 closed 0 unreachable")
	})
}

// What is said is paired by order; what answers nothing is told as unasked.
func TestMessagesArePairedByOrder(t *testing.T) {
	overEngines(t, func(t *testing.T, tr transport) {
		step := make(chan struct{})
		upstream := tr.startServer(t, func(conn end) {
			io.WriteString(conn, "hello\n")
			io.ReadFull(conn, make([]byte, len("a\nb\n")))
			io.WriteString(conn, "A\nB\nand more\n")
			<-step
		})
		told := newRecord()
		client := dial(t, tr.start(t, &Tap{Observer: told}, upstream))
		io.ReadFull(client, make([]byte, len("hello\n")))
		io.WriteString(client, "a\nb\n")
		io.ReadFull(client, make([]byte, len("A\nB\nand more\n")))
		io.WriteString(client, "c\n")
		client.CloseWrite()
		close(step)
		io.Copy(io.Discard, client)
		told.awaitClosed(t, 1)
		got := slices.DeleteFunc(strings.Split(told.String(), "\n"), func(s string) bool {
			return s == `1 received 3 "c"` || strings.HasPrefix(s, "1 closed") // may meet the server's end
		})
		want := []string{"1 opened", `1 message 0 "hello"`, `1 received 1 "a"`, `1 received 2 "b"`, `1 replied 1 "A"`, `1 replied 2 "B"`, `1 message 0 "and more"`}
		if !slices.Equal(got, want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestManyConnectionsAtOnce(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		upstream := tr.startServer(t, func(conn end) { io.Copy(conn, conn) })
		told := newRecord()
		addr := tr.start(t, &Tap{Observer: told}, upstream)
		clients, requests := 200, 20
		if !tr.isPlain() {
			clients = 20
		}
		var all sync.WaitGroup
		for i := range clients {
			client := tr.dial(t, addr)
			all.Go(func() {
				defer client.Close()
				c := parley.NewClient(client, nil)
				for j := range requests {
					want := fmt.Sprintf("%d-%d", i, j)
					if got, err := c.Do(context.Background(), []byte(want)); string(got) != want || err != nil {
						t.Errorf("got %q, %v, want %q", got, err, want)
						return
					}
				}
			})
		}
		all.Wait()
		told.awaitClosed(t, clients)
		if n := strings.Count(told.String(), " replied "); n != clients*requests {
			t.Errorf("told of %d replies, want %d", n, clients*requests)
		}
		if n := strings.Count(told.String(), " eof"); n != clients {
			t.Errorf("told of %d orderly ends, want %d", n, clients)
		}
	})
}

// The limit is exact: one more is reset, and there is room again once somebody leaves.
func TestMaxSessions(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		upstream := tr.startServer(t, func(conn end) { io.Copy(conn, conn) })
		told := newRecord()
		tap := &Tap{Observer: told, MaxSessions: 2}
		addr := tr.start(t, tap, upstream)
		talk := func(c net.Conn) error {
			if _, err := io.WriteString(c, "x\n"); err != nil {
				return err
			}
			_, err := io.ReadFull(c, make([]byte, 2))
			return err
		}
		first, second := tr.dial(t, addr), tr.dial(t, addr)
		for _, c := range []net.Conn{first, second} {
			if err := talk(c); err != nil {
				t.Errorf("within the limit: %v", err)
			}
		}
		raw, err := net.Dial("tcp", addr)
		if err == nil {
			defer raw.Close()
			var third end
			if third, err = tr.asClient(raw); err == nil {
				err = talk(third)
			}
		}
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("over the limit: %v, want a reset", err)
		}
		first.Close()
		told.awaitClosed(t, 1)
		for deadline := time.Now().Add(patience); tap.Open() == 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
		if err := talk(tr.dial(t, addr)); err != nil {
			t.Errorf("with room again: %v", err)
		}
		if n := strings.Count(told.String(), "0 refused full"); n != 1 {
			t.Errorf("told of %d refused, want 1:\n%s", n, told)
		}
	})
}

// Shutdown lets nobody in, and waits for the open sessions to end.
func TestShutdownWaits(t *testing.T) {
	overEach(t, func(t *testing.T, tr transport) {
		upstream := tr.startServer(t, func(conn end) { io.Copy(conn, conn) })
		told := newRecord()
		tap := &Tap{Observer: told}
		addr := tr.start(t, tap, upstream)
		client := tr.dial(t, addr)
		io.WriteString(client, "a\n")
		io.ReadFull(client, make([]byte, 2))
		down := make(chan error, 1)
		go func() { down <- tap.Shutdown(context.Background()) }()
		for { // until the listener is closed
			c, err := net.Dial("tcp", addr)
			if err != nil {
				break
			}
			c.Close()
		}
		io.WriteString(client, "b\n")
		if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
			t.Errorf("during the drain: %v", err)
		}
		client.CloseWrite()
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if !strings.Contains(told.String(), "1 closed 2 eof") {
			t.Errorf("told\n%s", told)
		}
	})
}

// A Shutdown that runs out of time cuts who is left, also one whose server is only dialled.
func TestShutdownCuts(t *testing.T) {
	told := newRecord()
	dialling := make(chan struct{})
	tap := &Tap{Observer: told}
	tap.Dial = func(ctx context.Context, _ *parley.Session) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, tap, l)
	client := dial(t, l.Addr().String())
	<-dialling
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var drain *parley.DrainError
	if err := tap.Shutdown(ctx); !errors.As(err, &drain) || len(drain.Cut) != 1 || drain.Cut[0].Number() != 1 {
		t.Errorf("Shutdown = %v, want session 1 cut", err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %v, want a reset", err)
	}
	told.check(t, "1 opened", "1 closed 0 drain_cut")
	if err := tap.Serve(l); err != parley.ErrServerClosed {
		t.Errorf("Serve after Shutdown = %v, want ErrServerClosed", err)
	}
}

// startInMemory starts a tap and returns the ends of one session: the client's and the
// server's.
func startInMemory(t *testing.T, tap *Tap) (client, server *parleytest.Conn) {
	upstream, server := parleytest.ConnPair()
	tap.Dial = func(context.Context, *parley.Session) (net.Conn, error) { return upstream, nil }
	l := &pipe{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	serve(t, tap, l)
	client, accepted := parleytest.ConnPair()
	l.conns <- accepted
	return client, server
}

// A pipe is a listener of connections in memory.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipe) Addr() net.Addr { return parleytest.Addr("pipe") }

// A message of the client that waits for its newline is told of after two seconds, once.
func TestUnfinishedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		client, server := startInMemory(t, &Tap{Observer: told})
		io.WriteString(client, "a\nbc")
		time.Sleep(unfinishedAfter - 1)
		synctest.Wait()
		told.check(t, "1 opened", `1 received 1 "a"`)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		told.check(t, "1 opened", `1 received 1 "a"`, `1 unfinished 2 "bc"`)
		io.WriteString(client, "\nd")
		time.Sleep(time.Hour)
		client.Close()
		server.Close()
		synctest.Wait()
		told.check(t, "1 opened", `1 received 1 "a"`, `1 unfinished 2 "bc"`, `1 received 2 "bc"`, `1 received 3 "d"`, "1 closed 3 eof")
	})
}

// What an end of file finishes waits for nothing.
func TestLastMessageWithoutNewlineIsNotUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		client, server := startInMemory(t, &Tap{Observer: told})
		io.WriteString(client, "a")
		client.CloseWrite()
		time.Sleep(time.Hour)
		server.Close()
		synctest.Wait()
		told.check(t, "1 opened", `1 received 1 "a"`, "1 closed 1 eof")
	})
}

// A cut that comes before the session has begun is told behind its beginning.
func TestCutAtTheVeryBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		tap := &Tap{Observer: told}
		tap.init()
		client, _ := parleytest.ConnPair()
		s := newSession(tap, client)
		tap.addSession(s)
		tap.Close()
		s.run()
		told.check(t, "1 opened", "1 closed 0 closed")
	})
}

// A client that is gone is not waited for by a server that reads nothing: what it had
// said has a second to get there.
func TestClientGoneBeforeAServerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := newRecord()
		client, server := startInMemory(t, &Tap{Observer: parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Closed {
				told.Observe(e)
			}
		})})
		defer server.Close()
		go io.WriteString(client, strings.Repeat("x", 1<<20)) // more than there is room for
		synctest.Wait()
		client.Reset()
		io.WriteString(server, "x\n") // which cannot be passed on
		time.Sleep(restTime - 1)
		synctest.Wait()
		told.check(t, "")
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		told.check(t, "1 closed 1 reset")
	})
}

// Took is since the request that a reply answers, though many wait.
func TestTookIsSinceTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		s := newSession(&Tap{Observer: parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Replied {
				took = append(took, e.Took)
			}
		})}, nil)
		s.public = parley.NewSession(1, nil, nil, time.Now())
		for range maxArrivals + 1 {
			s.inspect(&s.requests, []byte("a\n"), false)
			time.Sleep(time.Nanosecond)
		}
		if len(s.inFlight) != maxArrivals {
			t.Errorf("%d groups wait, want %d at most", len(s.inFlight), maxArrivals)
		}
		for range maxArrivals + 1 {
			s.inspect(&s.replies, []byte("A\n"), false)
		}
		want := slices.Repeat([]time.Duration{maxArrivals + 1}, maxArrivals)
		for i := range want {
			want[i] -= time.Duration(i)
		}
		want = append(want, want[maxArrivals-1]) // past the limit it counts with the last
		if !slices.Equal(took, want) {
			t.Errorf("took %v", took[len(took)-3:])
		}
	})
}

// scan feeds all in pieces of n bytes and returns the messages, with each byte that is of none,
// up to where the framing is lost.
func scan(framing parley.Framing, max, n int, all []byte) (found []string) {
	var heard, inRoom finder
	s, r := scanner{framing: framing, max: max, hearer: &heard}, scanner{framing: framing, max: max, hearer: &inRoom}
	var room []byte
	for piece := range slices.Chunk(all, n) {
		s.feed(bytes.Clone(piece), false)
		if begun := len(r.buf); begun > 0 {
			room = append(make([]byte, begun), piece...)
			r.room = &room
		}
		r.feed(bytes.Clone(piece), false)
		clear(room) // it is another's
		r.room = nil
	}
	s.feed(nil, true)
	r.feed(nil, true)
	if !slices.Equal(inRoom, heard) {
		return append(inRoom, "which differs from what is found without room")
	}
	return heard
}

// A finder is what a scanner has found, up to where the framing is lost.
type finder []string

func (f *finder) tell(m message) {
	if !m.note.Alone { // of a message that breaks off, or behind it
		*f = append(*f, fmt.Sprintf("%s+%d", m.body, m.cut))
	}
}

func (f *finder) loose(raw parley.Raw) {
	for i, b := range raw.Bytes {
		*f = append(*f, fmt.Sprintf("stray %q at %d", b, raw.At+uint64(i)))
	}
}

func (f *finder) broken(_ uint64, why error) { *f = append(*f, why.Error()) }

func TestLongMessagesAreCutAndTheirSizesExact(t *testing.T) {
	const max = 8
	for _, c := range []struct {
		name    string
		framing parley.Framing
		wrap    func(body string) string
	}{
		{"line", parley.Lines, func(body string) string { return body + "\r\n" }},
		{"delim", parley.Delimited(';'), func(body string) string { return body + ";" }},
		{"length", parley.LengthPrefixed, func(body string) string {
			return "\x00\x00" + string([]byte{byte(len(body) >> 8), byte(len(body))}) + body
		}},
		{"length that counts itself", parley.Length{Bytes: 2, Little: true, Inclusive: true}, func(body string) string {
			return string([]byte{byte(len(body) + 2), byte((len(body) + 2) >> 8)}) + body
		}},
		{"blank line", parley.Delimited('\r', '\n', '\r', '\n'), func(body string) string { return body + "\r\n\r\n" }},
		{"frame", parley.Framed([]byte{0x0b}, []byte{0x1c, '\r'}), func(body string) string { return "\x0b" + body + "\x1c\r" }},
		{"octets", parley.OctetCounted, func(body string) string { return fmt.Sprintf("%d %s", len(body), body) }},
		{"netstring", parley.Netstring, func(body string) string { return fmt.Sprintf("%d:%s,", len(body), body) }},
	} {
		for _, size := range []int{0, max - 1, max, max + 1, 2 * max, 1000} {
			if size == 0 && c.framing == parley.OctetCounted {
				continue // there is no such message
			}
			for n := 1; n < 40; n++ {
				long := strings.Repeat("x", size)
				got := scan(c.framing, max, n, []byte(c.wrap("a")+c.wrap(long)+c.wrap("b")))
				want := []string{"a+0", fmt.Sprintf("%.*s+%d", max, long, len(long)-min(len(long), max)), "b+0"}
				if !slices.Equal(got, want) {
					t.Fatalf("%s of %d bytes in pieces of %d: %q, want %q", c.name, size, n, got, want)
				}
			}
		}
	}
	// The end of the file ends the message.
	for n := 1; n < 40; n++ {
		if got := scan(parley.UntilClose, max, n, []byte("0123456789")); !slices.Equal(got, []string{"01234567+2"}) {
			t.Errorf("in pieces of %d: got %q", n, got)
		}
	}
	// What may be an ending and is none.
	if got := scan(parley.Lines, 4, 1, []byte("abcdef\rgh\r\r\ni\r")); !slices.Equal(got, []string{"abcd+6", "i\r+0"}) {
		t.Errorf("got %q", got)
	}
}

// However the bytes are split, the messages are those of the whole.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("a\r\nbb\n\nlonger than eight\r\rx\nrest\r"), uint8(3), uint8(0))
	f.Add([]byte("\x00\x00\x00\x02ab\x00\x00\x00\x0aabcdefghij\x00"), uint8(1), uint8(1))
	f.Add([]byte("a;b;;ccccccccccc;"), uint8(2), uint8(2))
	f.Add([]byte("x<ab<>yz<abcdefghijkl>>"), uint8(2), uint8(3))
	f.Add([]byte("3 abc12 abcdefghijkl0"), uint8(2), uint8(4))
	f.Add([]byte("3:abc,12:abcdefghijkl,1:a;"), uint8(2), uint8(5))
	f.Add([]byte("a--b---ccccccccccc-d--"), uint8(2), uint8(6))
	f.Fuzz(func(t *testing.T, all []byte, n, which uint8) {
		framings := []parley.Framing{parley.Lines, parley.LengthPrefixed, parley.Delimited(';'),
			parley.Framed([]byte("<"), []byte(">")), parley.OctetCounted, parley.Netstring, parley.Delimited('-', '-'), parley.UntilClose}
		framing := framings[int(which)%len(framings)]
		whole := scan(framing, 8, max(1, len(all)), all)
		if got := scan(framing, 8, max(1, int(n)), all); !slices.Equal(got, whole) {
			t.Errorf("in pieces of %d: %q, want %q", n, got, whole)
		}
	})
}

// The time does not go back where one direction has looked at the clock before the other, and is told of
// behind it.
func TestTimeDoesNotGoBack(t *testing.T) {
	var times []time.Time
	s := newSession(&Tap{Observer: parley.ObserverFunc(func(e *parley.Event) { times = append(times, e.Time) })}, nil)
	begin := time.Now()
	s.public = parley.NewSession(1, nil, nil, begin)
	s.tellMessages(&s.requests, []byte("a\n"), false, begin.Add(2))
	s.tellMessages(&s.replies, []byte("A\n"), false, begin.Add(1))
	s.tellClosed(&ending{reason: parley.EndOfFile}, begin)
	if want := slices.Repeat([]time.Time{begin.Add(2)}, 3); !slices.Equal(times, want) {
		t.Errorf("told at %v, want %v", times, want)
	}
}
