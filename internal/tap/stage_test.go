package tap

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A stage is one session of a tap, whose two ends a test plays.
type stage struct {
	client, server end
	inMemory       bool
	rest           func() // waits until what was said is told, and passed on unless it is held back
}

// onStages runs a test in memory, in a bubble whose time is what passes there, with the tap's goroutines; and over
// sockets with a loop.
func onStages(t *testing.T, test func(t *testing.T, open func(*Tap) *stage)) {
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			test(t, func(tap *Tap) *stage {
				client, server := startInMemory(t, tap)
				return &stage{client, server, true, synctest.Wait}
			})
		})
	})
	if !hasLoops {
		return
	}
	t.Run("loops", func(t *testing.T) {
		test(t, func(tap *Tap) *stage {
			client, server := startLooped(t, tap)
			s := theSession(tap)
			return &stage{client, server, false, func() {
				for _, e := range []end{client, server} {
					for deadline := time.Now().Add(patience); unsent(below(e)) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					}
				}
				for range 3 { // a round to see it, one to pass it on, and one to be behind that
					inDriver(s, func() {})
				}
			}}
		})
	})
}

// startLooped starts a tap with loops and returns the ends of one session: the client's and the server's.
func startLooped(t *testing.T, tap *Tap) (client, server end) {
	t.Helper()
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	tap.Dial = func(ctx context.Context, _ *parley.Session) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
	}
	client = byLoops.dial(t, byLoops.listen(t, tap))
	accepted, err := upstream.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	accepted.SetDeadline(time.Now().Add(patience))
	for s := theSession(tap); driverOf(s) == nil; time.Sleep(time.Millisecond) {
	}
	return client, accepted.(end)
}

// say has one end say something, and waits until it is told.
func (st *stage) say(conn io.Writer, text string) {
	io.WriteString(conn, text)
	st.rest()
}

// reset has one end reset its connection.
func (st *stage) reset(e end) {
	if inMemory, ok := e.(*parleytest.Conn); ok {
		inMemory.Reset()
	} else {
		breakOff(e)
	}
	st.rest()
}

// awaitOpen waits until a tap has n sessions, and checks that it has no fewer before.
func (st *stage) awaitOpen(t *testing.T, tap *Tap, n int) {
	t.Helper()
	st.rest()
	for deadline := time.Now().Add(patience); !st.inMemory && tap.Open() > n && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := tap.Open(); got != n {
		t.Errorf("%d sessions, want %d", got, n)
	}
}

// An inbox is what has arrived at one end of a connection.
type inbox struct {
	st   *stage
	conn net.Conn
	mu   sync.Mutex
	text string
}

// inboxOf reads until the end of file, which it notes.
func (st *stage) inboxOf(conn net.Conn) *inbox {
	in := &inbox{st: st, conn: conn}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			in.mu.Lock()
			in.text += string(buf[:n])
			if err != nil {
				in.text += fmt.Sprintf("(%v)", err)
			}
			in.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return in
}

func (in *inbox) read() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.text
}

func (in *inbox) check(t *testing.T, want string) {
	t.Helper()
	in.st.rest()
	// Over sockets what has arrived may still be unread.
	for deadline := time.Now().Add(patience); !in.st.inMemory && (in.read() != want || unread(in.conn) > 0) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := in.read(); got != want {
		t.Errorf("%q has arrived, want %q", got, want)
	}
}
