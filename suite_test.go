package parley_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// atLength is how often a test does something: often enough to find what is broken, and as often as is promised
// in `make soak`.
func atLength(enough, promised int) int {
	if os.Getenv("PARLEY_SOAK") != "" {
		return promised
	}
	return enough
}

var echo = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(dst, req.Body...), nil
})

// A conn is what the suite needs of a client's end.
type conn interface {
	net.Conn
	CloseWrite() error
}

// A transport serves srv until the test ends and returns a way to connect to it.
type transport func(t *testing.T, srv *parley.Server) (dial func() conn)

// transports are what the suite runs over; tight are the same with small buffers, which a
// fraction of a megabyte fills that nobody reads.
var (
	transports = transportsThat(net.Listen, net.Dial)
	tight      = transportsThat(listenTight, dialTight)
)

func transportsThat(listen func(network, addr string) (net.Listener, error), dial func(network, addr string) (net.Conn, error)) map[string]transport {
	of := func(network string, engine parley.Engine) transport {
		return func(t *testing.T, srv *parley.Server) func() conn {
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = filepath.Join(t.TempDir(), "s")
			}
			l, err := listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			if engine == parley.Loops {
				srv.Engine = engine
			}
			parleytest.Serve(t, srv, l)
			return dialerWith(t, dial, network, l.Addr().String())
		}
	}
	return map[string]transport{
		"memory": func(t *testing.T, srv *parley.Server) func() conn {
			return func() conn { return parleytest.Pipe(t, srv) }
		},
		"tcp":         of("tcp", parley.Goroutines),
		"tcp, loops":  of("tcp", parley.Loops),
		"unix":        of("unix", parley.Goroutines),
		"unix, loops": of("unix", parley.Loops),
		"tls": func(t *testing.T, srv *parley.Server) func() conn {
			l, err := listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return serveTLS(t, srv, l, dialerWith(t, dial, "tcp", l.Addr().String()))
		},
	}
}

func listenTight(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if tcp, ok := l.(*net.TCPListener); ok {
		err = limitBuffers(tcp, 64<<10) // and so those of the connections
	}
	return l, err
}

func dialTight(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	if tcp, ok := c.(*net.TCPConn); ok {
		err = errors.Join(tcp.SetReadBuffer(64<<10), tcp.SetWriteBuffer(64<<10))
	}
	return c, err
}

// engines are those of this system.
var engines = func() []parley.Engine {
	if !hasLoops {
		return []parley.Engine{parley.Goroutines}
	}
	return []parley.Engine{parley.Goroutines, parley.Loops}
}()

// socketOf names the transport by TCP with an engine.
var socketOf = map[parley.Engine]string{parley.Goroutines: "tcp", parley.Loops: "tcp, loops"}

const hasLoops = runtime.GOOS == "linux" && runtime.GOARCH != "386"

func serveTLS(t *testing.T, srv *parley.Server, l net.Listener, dial func() conn) func() conn {
	parleytest.Serve(t, srv, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}}))
	return func() conn {
		c := tls.Client(dial(), &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}) // so that a write is a record, and a read
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func dialer(t *testing.T, network, addr string) func() conn {
	return dialerWith(t, net.Dial, network, addr)
}

func dialerWith(t *testing.T, dial func(network, addr string) (net.Conn, error), network, addr string) func() conn {
	return func() conn {
		c, err := dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(conn)
	}
}

// overEach runs a test over every transport and engine.
func overEach(t *testing.T, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	over(t, transports, slices.Sorted(maps.Keys(transports)), test)
}

// overEachTight is overEach for replies that are more than buffers take.
func overEachTight(t *testing.T, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	over(t, tight, slices.Sorted(maps.Keys(tight)), test)
}

// overEngines runs a test with each engine.
func overEngines(t *testing.T, test func(t *testing.T, engine parley.Engine)) {
	for _, engine := range engines {
		t.Run(engine.String(), func(t *testing.T) { test(t, engine) })
	}
}

// overGoroutines is overEach for tests whose handlers block for long.
func overGoroutines(t *testing.T, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	overSome(t, []string{"memory", "tcp", "unix"}, test)
}

func overSome(t *testing.T, names []string, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	over(t, transports, names, test)
}

func over(t *testing.T, transports map[string]transport, names []string, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	for _, name := range names {
		if strings.HasSuffix(name, "loops") && !hasLoops {
			continue
		}
		transport := transports[name]
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			test(t, func(srv *parley.Server) func() conn {
				dial := transport(t, srv)
				return func() conn {
					c := dial()
					c.SetDeadline(time.Now().Add(patience))
					return c
				}
			})
		})
	}
}

// say writes text, half-closes and returns all that comes back.
func say(t *testing.T, c conn, text string) string {
	t.Helper()
	var wrote sync.WaitGroup
	wrote.Go(func() {
		io.WriteString(c, text)
		c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	c.Close()
	wrote.Wait()
	return string(got)
}

// A witness is an observer that keeps what matters of each event.
type witness struct {
	mu     sync.Mutex
	events []seen
	counts map[parley.EventKind]int
	ends   []seen
}

type seen struct {
	kind   parley.EventKind
	number uint64
	seq    uint64
	body   string
	reason parley.CloseReason
	err    error
	secret bool
}

func (w *witness) Observe(e *parley.Event) {
	s := seen{kind: e.Kind, seq: e.Seq, body: string(e.Body), reason: e.Reason, err: e.Err, secret: e.Secret}
	if e.Session != nil {
		s.number = e.Session.Number()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, s)
	if w.counts == nil {
		w.counts = make(map[parley.EventKind]int)
	}
	w.counts[s.kind]++
	if s.kind == parley.Closed {
		w.ends = append(w.ends, s)
	}
}

func (w *witness) count(kind parley.EventKind) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[kind]
}

func (w *witness) all() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// closed waits for the end of the n-th session that ended.
func (w *witness) closed(t *testing.T, n int) seen {
	t.Helper()
	eventually(t, fmt.Sprintf("%d sessions have ended", n), func() bool { return w.count(parley.Closed) >= n })
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[n-1]
}

func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

func TestSeedReplies(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		seed, err := parley.ParseTemplate(parley.DefaultReply, nil)
		if err != nil {
			t.Fatal(err)
		}
		dial := serve(&parley.Server{Handler: seed})
		for _, n := range []string{"1", "2"} {
			got := say(t, dial(), "session "+n+" msg 1\nsession "+n+" msg 2\n\nnot answered\n")
			want := "Request #N - session N msg 1 ...\nRequest #N - session N msg 2 ...\n"
			if want = strings.ReplaceAll(want, "N", n); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestSplitsDoNotMatter(t *testing.T) {
	numbers := func(requests int) []byte {
		var text []byte
		for i := range requests {
			text = fmt.Appendf(text, "%d ü\r\n", i)
		}
		return text
	}
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		dial := serve(&parley.Server{Handler: echo, Observer: w})
		observed := 0
		for _, s := range []struct{ piece, requests int }{{1 << 20, 10000}, {1, 1000}, {7, 1000}} {
			c, piece, text := dial(), s.piece, numbers(s.requests)
			want := strings.ReplaceAll(string(text), "\r", "")
			observed += s.requests
			go func() {
				for rest := text; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
					c.Write(rest[:min(piece, len(rest))])
				}
				c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if string(got) != want || err != nil {
				t.Errorf("in pieces of %d: %d bytes back, %v; want %d", piece, len(got), err, len(want))
			}
			c.Close()
		}
		if n := w.count(parley.Received); n != observed {
			t.Errorf("%d requests were observed, want %d", n, observed)
		}
	})
}

func TestEveryFramingOverTheWire(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for _, c := range []struct {
			framing  parley.Framing
			in, want string
			reason   parley.CloseReason
		}{
			{parley.Lines, "a\r\nb\nc", "a\nb\nc\n", parley.EndOfFile},
			{parley.LinesCRLF, "a\nb\r\n", "a\r\nb\r\n", parley.EndOfFile},
			{parley.Delimited(0), "a\x00\n\x00b", "a\x00\n\x00b\x00", parley.EndOfFile},
			{parley.LengthPrefixed, "\x00\x00\x00\x01a\x00\x00\x00\x02b", "\x00\x00\x00\x01a", parley.Truncated},
			{parley.Chunks, "a\r\n", "a", parley.EndOfFile},
			{parley.Lines, "a\n\x00\xff\n\n", "a\n\x00\xff\n", parley.Blank},
		} {
			w := new(witness)
			dial := serve(&parley.Server{Handler: echo, Framing: c.framing, Observer: w})
			if got := say(t, dial(), c.in); got != c.want {
				t.Errorf("%T: %q came back as %q, want %q", c.framing, c.in, got, c.want)
			}
			if end := w.closed(t, 1); end.reason != c.reason {
				t.Errorf("%T: closed for %v, want %v", c.framing, end.reason, c.reason)
			}
		}
	})
}

func frame(t *testing.T, framing parley.Framing, body string) string {
	t.Helper()
	whole, err := framing.End(append(framing.Begin(nil), body...), 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(whole)
}

// exchange has one request answered.
func exchange(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	fmt.Fprintln(c, request)
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return reply
}

// A half-close ends nothing: the handler works on and its reply is sent.
func TestHalfCloseEndsNothing(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		closed := make(chan struct{})
		dial := serve(&parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			<-closed
			return append(dst, req.Body...), req.Session.Context().Err()
		})})
		c := dial()
		io.WriteString(c, "a\nb")
		c.CloseWrite()
		close(closed)
		if got, err := io.ReadAll(c); string(got) != "a\nb\n" || err != nil {
			t.Errorf("got %q, %v; want both replies", got, err)
		}
	})
}

func TestSeveralListenersShareTheNumbers(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		seed, _ := parley.ParseTemplate("{conn}", nil)
		srv := &parley.Server{Engine: engine, Handler: seed}
		a, b := dialer(t, "tcp", parleytest.Start(t, srv)), dialer(t, "tcp", parleytest.Start(t, srv))
		for i, dial := range []func() conn{a, b, a} {
			if got, want := exchange(t, dial(), "x"), fmt.Sprintln(i+1); got != want {
				t.Errorf("got number %q, want %q", got, want)
			}
		}
	})
}
