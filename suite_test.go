package parley_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
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

var echo = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(dst, req.Body...), nil
})

// A conn is what the suite needs of a client's end.
type conn interface {
	net.Conn
	CloseWrite() error
}

// transports are what the suite runs over: each serves srv until the test ends and
// returns a way to connect to it.
var transports = map[string]func(t *testing.T, srv *parley.Server) (dial func() conn){
	"memory": func(t *testing.T, srv *parley.Server) func() conn {
		return func() conn { return parleytest.Pipe(t, srv) }
	},
	"tcp": func(t *testing.T, srv *parley.Server) func() conn {
		return dialer(t, "tcp", parleytest.Start(t, srv))
	},
	"tcp, loops": func(t *testing.T, srv *parley.Server) func() conn {
		srv.Engine = parley.Loops
		return dialer(t, "tcp", parleytest.Start(t, srv))
	},
	"unix, loops": func(t *testing.T, srv *parley.Server) func() conn {
		srv.Engine = parley.Loops
		return serveUnix(t, srv)
	},
	"unix": serveUnix,
	"tls":  serveTLS,
}

// engines are those of this system.
var engines = func() []parley.Engine {
	if !hasLoops {
		return []parley.Engine{parley.Goroutines}
	}
	return []parley.Engine{parley.Goroutines, parley.Loops}
}()

const hasLoops = runtime.GOOS == "linux" && runtime.GOARCH != "386"

func serveUnix(t *testing.T, srv *parley.Server) func() conn {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, srv, l)
	return dialer(t, "unix", path)
}

func serveTLS(t *testing.T, srv *parley.Server) func() conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, srv, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}}))
	dial := dialer(t, "tcp", l.Addr().String())
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
	return func() conn {
		c, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(conn)
	}
}

// overEach runs a test over every transport and engine.
func overEach(t *testing.T, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	overSome(t, slices.Sorted(maps.Keys(transports)), test)
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
}

func (w *witness) count(kind parley.EventKind) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.kind == kind {
			n++
		}
	}
	return n
}

func (w *witness) all() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// closed waits for the end of the n-th session that ended.
func (w *witness) closed(t *testing.T, n int) seen {
	t.Helper()
	var last seen
	eventually(t, fmt.Sprintf("%d sessions have ended", n), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		k := 0
		for _, e := range w.events {
			if e.kind == parley.Closed {
				if k++; k == n {
					last = e
				}
			}
		}
		return k >= n
	})
	return last
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
	const requests = 10000
	var text bytes.Buffer
	for i := range requests {
		fmt.Fprintf(&text, "%d ü\r\n", i)
	}
	want := strings.ReplaceAll(text.String(), "\r", "")
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		dial := serve(&parley.Server{Handler: echo, Observer: w})
		for _, piece := range []int{text.Len(), 1, 7} {
			c := dial()
			go func() {
				for rest := text.Bytes(); len(rest) > 0; rest = rest[min(piece, len(rest)):] {
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
		if n := w.count(parley.Received); n != 3*requests {
			t.Errorf("%d requests were observed, want %d", n, 3*requests)
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
