package parley_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	"unix": func(t *testing.T, srv *parley.Server) func() conn {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		parleytest.Serve(t, srv, l)
		return dialer(t, "unix", path)
	},
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

// overEach runs a test over every transport. A second engine joins here.
func overEach(t *testing.T, test func(t *testing.T, serve func(*parley.Server) (dial func() conn))) {
	for name, transport := range transports {
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
}

func (w *witness) Observe(e *parley.Event) {
	s := seen{kind: e.Kind, seq: e.Seq, body: string(e.Body), reason: e.Reason, err: e.Err}
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

func TestRequestLimit(t *testing.T) {
	const max = 100
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for _, framing := range []parley.Framing{parley.Lines, parley.Delimited(0), parley.LengthPrefixed} {
			w := new(witness)
			dial := serve(&parley.Server{Handler: echo, Framing: framing, MaxRequest: max, Observer: w})
			for i, n := range []int{max - 1, max, max + 1} {
				request := frame(t, framing, strings.Repeat("x", n))
				want := request
				if n > max {
					want = frame(t, framing, "Error: request longer than 100 bytes")
				}
				if got := say(t, dial(), request+strings.Repeat("y", 1<<17)); !strings.HasPrefix(got, want) {
					t.Errorf("%T, %d bytes: got %.40q, want %.40q", framing, n, got, want)
				} else if n > max && got != want {
					t.Errorf("%T: more than the error came: %.80q", framing, got)
				}
				if end := w.closed(t, i+1); n > max && end.reason != parley.TooLong {
					t.Errorf("%T: closed for %v, want too_long", framing, end.reason)
				}
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

// A chunk is at most the limit, by the size of the read.
func TestChunkOfTheLimit(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		dial := serve(&parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			return fmt.Appendf(dst, "%d.", len(req.Body)), nil
		}), Framing: parley.Chunks, MaxRequest: 5000})
		for n, want := range map[int]string{4999: "4999.", 5000: "5000.", 5001: "5000.1."} {
			if got := say(t, dial(), strings.Repeat("x", n)); got != want {
				t.Errorf("%d bytes: got %s, want %s", n, got, want)
			}
		}
	})
}

func TestRefusalOverTheSessionLimit(t *testing.T) {
	noLeaks(t)
	w := new(witness)
	addr := parleytest.Start(t, &parley.Server{Handler: echo, MaxSessions: 10, Observer: w})
	dial := dialer(t, "tcp", addr)
	var held []conn
	for range 50 {
		c := dial()
		c.SetDeadline(time.Now().Add(patience))
		held = append(held, c)
	}
	for i, c := range held[:10] {
		if got := exchange(t, c, "x"); got != "x\n" {
			t.Errorf("session %d of 10 got %q", i+1, got)
		}
	}
	for i, c := range held[10:] {
		got, err := io.ReadAll(c)
		if string(got) != "Error: server is full (10 sessions)\n" || err != nil {
			t.Errorf("refused peer %d got %q, %v; want the text and the end of file", i+11, got, err)
		}
	}
	if n := w.count(parley.Refused); n != 40 {
		t.Errorf("%d refusals were observed, want 40", n)
	}
	// A place that is free again is given to the next, and numbers go on.
	held[0].Close()
	w.closed(t, 1)
	if got := exchange(t, dial(), "y"); got != "y\n" {
		t.Errorf("after one left, the next got %q", got)
	}
	if all := w.all(); all[len(all)-1].number != 11 {
		t.Errorf("the session after 10 is numbered %d, want 11: refusals take no number", all[len(all)-1].number)
	}
}

func exchange(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	fmt.Fprintln(c, request)
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return reply
}

func TestSessionLimitPerAddress(t *testing.T) {
	noLeaks(t)
	srv := &parley.Server{Handler: echo, MaxSessionsPerIP: 2}
	addr := parleytest.Start(t, srv)
	from := func(ip string) conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c.(conn)
	}
	for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
		for range 2 {
			if got := exchange(t, from(ip), "x"); got != "x\n" {
				t.Errorf("a session within the limit got %q", got)
			}
		}
		if got, err := io.ReadAll(from(ip)); string(got) != "Error: too many sessions from your address (2)\n" || err != nil {
			t.Errorf("the third from %s got %q, %v", ip, got, err)
		}
	}
	// Peers without an IP address are not counted.
	for range 5 {
		if got := exchange(t, parleytest.Pipe(t, srv), "x"); got != "x\n" {
			t.Errorf("a peer without an address got %q", got)
		}
	}
}

// What a peer is owed survives every kind of close, also with more of its bytes
// behind: the text, then the end of file, never a reset.
func TestOwedRepliesSurviveEveryClose(t *testing.T) {
	noLeaks(t)
	const runs = 1000
	more := strings.Repeat("more\n", 40000) // more than one read takes
	hangUp := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "bye" {
			return append(dst, "bye"...), parley.ErrHangUp
		}
		return append(dst, req.Body...), nil
	})
	for _, c := range []struct {
		name, in, want string
		max            int
	}{
		{"blank line", "a\n\n" + more, "a\n", 0},
		{"too long", "a\n" + strings.Repeat("x", 200) + more, "a\nError: request longer than 100 bytes\n", 0},
		{"hang-up", "a\nbye\n" + more, "a\nbye\n", 0},
		{"refusal", "a\n" + more, "Error: server is full (1 sessions)\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := parleytest.Start(t, &parley.Server{Handler: hangUp, MaxRequest: 100, MaxSessions: c.max})
			dial := dialer(t, "tcp", addr)
			if c.max == 1 {
				exchange(t, dial(), "the one session")
			}
			for run := range runs {
				conn := dial()
				conn.SetDeadline(time.Now().Add(patience))
				var writer sync.WaitGroup
				writer.Go(func() { io.WriteString(conn, c.in) })
				got, err := io.ReadAll(conn)
				conn.Close()
				writer.Wait()
				if string(got) != c.want || err != nil {
					t.Fatalf("run %d: got %q, %v; want %q and the end of file", run+1, got, err, c.want)
				}
			}
		})
	}
}

// A drain with load: every request that was read is answered, and its peer gets it.
func TestDrainUnderLoad(t *testing.T) {
	noLeaks(t)
	for run := range 100 {
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		var peers sync.WaitGroup
		got := make([]int, 8) // replies by peer
		for i := range got {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(patience))
			peers.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for n := 0; ; n += 3 {
					if _, err := fmt.Fprintf(c, "%d\n%d\n%d\n", n, n+1, n+2); err != nil {
						// Hung up on: what was sent before is still to be read.
						n += 3
					}
					for k := range 3 {
						line, err := in.ReadString('\n')
						if err != nil {
							// One that was not yet accepted is reset by the kernel.
							if err != io.EOF && got[i] > 0 {
								t.Errorf("run %d: read: %v", run, err)
							}
							return
						}
						if line != fmt.Sprintln(n+k) {
							t.Errorf("run %d: reply %q, want %d", run, line, n+k)
						}
						got[i]++
					}
				}
			})
		}
		eventually(t, "there is load", func() bool { return w.count(parley.Replied) > 20+10*run%100 })
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("run %d: Shutdown = %v", run, err)
		}
		cancel()
		if err := <-served; err != parley.ErrServerClosed {
			t.Errorf("run %d: Serve = %v", run, err)
		}
		peers.Wait()
		sum := 0
		for _, n := range got {
			sum += n
		}
		if received, replied := w.count(parley.Received), w.count(parley.Replied); received != replied || sum != replied {
			t.Fatalf("run %d: %d requests received, %d replied, %d replies read by the peers", run, received, replied, sum)
		}
	}
}

// A thousand connections of a thousand numbered requests, split at random: reply n
// belongs to request n, none missing, doubled or crossed.
func TestRepliesBelongToTheirRequests(t *testing.T) {
	noLeaks(t)
	const conns, requests, atOnce = 1000, 1000, 100
	addr := parleytest.Start(t, &parley.Server{Handler: echo})
	var slots = make(chan struct{}, atOnce)
	var peers sync.WaitGroup
	for id := range conns {
		slots <- struct{}{}
		peers.Go(func() {
			defer func() { <-slots }()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(2 * patience))
			var sent, want []byte
			for n := range requests {
				want = fmt.Appendf(want, "%d/%d\n", id, n)
			}
			sent = bytes.Clone(want)
			random := rand.New(rand.NewPCG(uint64(id), 1))
			var writer sync.WaitGroup
			defer writer.Wait()
			writer.Go(func() {
				for len(sent) > 0 {
					n := min(len(sent), 1+random.IntN(2000))
					if _, err := c.Write(sent[:n]); err != nil {
						return
					}
					sent = sent[n:]
				}
				c.(*net.TCPConn).CloseWrite()
			})
			got, err := io.ReadAll(c)
			if !bytes.Equal(got, want) || err != nil {
				t.Errorf("connection %d: %d bytes, %v; want the %d of its own replies in order", id, len(got), err, len(want))
			}
		})
	}
	peers.Wait()
}

// A peer that resets is noticed, told as a reset, and its reply never told as replied.
func TestResetAtEachPoint(t *testing.T) {
	noLeaks(t)
	w := new(witness)
	working := make(chan struct{})
	release := make(chan struct{})
	ended := make(chan error, 1)
	srv := &parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "slow" {
			working <- struct{}{}
			<-release
			ctx := req.Session.Context()
			go func() { <-ctx.Done(); ended <- context.Cause(ctx) }()
		}
		return append(dst, req.Body...), nil
	})}
	dial := dialer(t, "tcp", parleytest.Start(t, srv))
	reset := func(c conn) {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	for i, text := range []string{"", "unfinished", "a\nunfinished"} {
		c := dial()
		io.WriteString(c, text)
		if strings.Contains(text, "\n") {
			c.Read(make([]byte, 2))
		}
		eventually(t, "it is open", func() bool { return w.count(parley.Opened) == i+1 })
		reset(c)
		if end := w.closed(t, i+1); end.reason != parley.Reset || !errors.Is(end.err, syscall.ECONNRESET) {
			t.Errorf("after %q: closed for %v, %v; want reset", text, end.reason, end.err)
		}
	}
	replied := w.count(parley.Replied)
	c := dial()
	io.WriteString(c, "slow\n")
	<-working
	reset(c)
	release <- struct{}{}
	if end := w.closed(t, 4); end.reason != parley.Reset {
		t.Errorf("in the middle of a handler: closed for %v, want reset", end.reason)
	}
	if cause := <-ended; !errors.Is(cause, syscall.ECONNRESET) && !errors.Is(cause, syscall.EPIPE) {
		t.Errorf("the session's context ended for %v, want a reset", cause)
	}
	if n := w.count(parley.Replied); n != replied {
		t.Errorf("a reply to nobody was told as replied")
	}
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

// A peer that pipelines and never reads is not read any more; the others notice
// nothing, and memory is bounded.
func TestPeerThatNeverReads(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w}
		dial := serve(srv)
		c := dial()
		line := []byte(strings.Repeat("x", 50000) + "\n")
		blocked := 0
		c.SetWriteDeadline(time.Now().Add(time.Second))
		for ; ; blocked++ {
			if _, err := c.Write(line); err != nil {
				break
			}
			if blocked > 5000 {
				t.Fatal("250 MB were taken from a peer that reads nothing")
			}
		}
		if got := say(t, dial(), "still here\n"); got != "still here\n" {
			t.Errorf("another peer got %q", got)
		}
		// What was taken is answered once the peer reads after all.
		c.SetDeadline(time.Now().Add(patience))
		in := bufio.NewReader(c)
		for i := range min(blocked, 10) {
			if got, err := in.ReadString('\n'); got != string(line) {
				t.Fatalf("reply %d is %d bytes, %v; want %d", i, len(got), err, len(line))
			}
		}
		c.Close()
		w.closed(t, 2)
	})
}

func TestPanicsEndOnlyTheirSession(t *testing.T) {
	noLeaks(t)
	w := new(witness)
	srv := &parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "panic" {
			panic("oops")
		}
		return append(dst, req.Body...), nil
	})}
	dial := dialer(t, "tcp", parleytest.Start(t, srv))
	other := dial()
	const panics = 1000
	for range panics {
		if got := say(t, dial(), "a\npanic\nb\n"); got != "a\n" {
			t.Fatalf("got %q, want the reply before the panic", got)
		}
	}
	if got := exchange(t, other, "alive"); got != "alive\n" {
		t.Errorf("another session got %q", got)
	}
	end := w.closed(t, panics)
	var p *parley.PanicError
	if end.reason != parley.HandlerError || !errors.As(end.err, &p) {
		t.Errorf("closed for %v, %v; want handler_error with a PanicError", end.reason, end.err)
	}
}

func TestSeveralListenersShareTheNumbers(t *testing.T) {
	noLeaks(t)
	seed, _ := parley.ParseTemplate("{conn}", nil)
	srv := &parley.Server{Handler: seed}
	a, b := dialer(t, "tcp", parleytest.Start(t, srv)), dialer(t, "tcp", parleytest.Start(t, srv))
	for i, dial := range []func() conn{a, b, a} {
		if got, want := exchange(t, dial(), "x"), fmt.Sprintln(i+1); got != want {
			t.Errorf("got number %q, want %q", got, want)
		}
	}
}

func TestManyShortConnectionsAndAtOnceTheSamePort(t *testing.T) {
	noLeaks(t)
	srv := &parley.Server{Handler: echo}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	dial := dialer(t, "tcp", l.Addr().String())
	for range 3000 {
		if got := say(t, dial(), "x\n"); got != "x\n" {
			t.Fatalf("got %q", got)
		}
	}
	srv.Close()
	<-served
	again, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("the same port at once: %v", err)
	}
	again.Close()
}

func TestLengthIsNotBelievedBeforeItsBytesCome(t *testing.T) {
	noLeaks(t)
	w := new(witness)
	dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Handler: echo, Framing: parley.LengthPrefixed, Observer: w}))
	got := say(t, dial(), string(binary.BigEndian.AppendUint32(nil, 1<<32-1)))
	if want := frame(t, parley.LengthPrefixed, "Error: request longer than 1048576 bytes"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if end := w.closed(t, 1); end.reason != parley.TooLong {
		t.Errorf("closed for %v, want too_long", end.reason)
	}
}

// An idle session on a socket holds no buffer: what it takes up is far below one.
func TestIdleSessionsHoldNoBuffer(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			noLeaks(t)
			srv := &parley.Server{Handler: echo}
			dial := transports[network](t, srv)
			const sessions = 500
			heap := func() int {
				var m runtime.MemStats
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&m)
				return int(m.HeapAlloc)
			}
			before := heap()
			var conns []conn
			for range sessions {
				c := dial()
				io.WriteString(c, "x\n")
				if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
			if each := (heap() - before) / sessions; each > 4<<10 {
				t.Errorf("%d bytes of heap an idle session and its client, want well below 4 KiB", each)
			}
			for _, c := range conns {
				c.Close()
			}
		})
	}
}

// A peer that begins a long request pays for what it takes up.
func TestMemoryGrowsWithWhatCame(t *testing.T) {
	noLeaks(t)
	dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Handler: echo, Framing: parley.LengthPrefixed, MaxRequest: 1 << 30}))
	before := new(runtime.MemStats)
	runtime.ReadMemStats(before)
	c := dial()
	c.Write(binary.BigEndian.AppendUint32(nil, 1<<30))
	c.Write([]byte("x"))
	c.CloseWrite()
	if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
		t.Errorf("got %d bytes, %v; want the end of file", len(got), err)
	}
	after := new(runtime.MemStats)
	runtime.ReadMemStats(after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes were allocated for 5 that came", grown)
	}
}

// The clocks on real sockets, one short time each: that they are wired up at all. When
// exactly is shown with fake time.
func TestClocksOnSockets(t *testing.T) {
	const short = 50 * time.Millisecond
	for _, c := range []struct {
		name string
		srv  *parley.Server
		say  string
		want parley.CloseReason
	}{
		{"first byte", &parley.Server{FirstByteTimeout: short}, "", parley.FirstByteTimeout},
		{"idle", &parley.Server{IdleTimeout: short}, "a\n", parley.IdleTimeout},
		{"request", &parley.Server{RequestTimeout: short}, "a\nb", parley.RequestTimeout},
		{"write", &parley.Server{WriteTimeout: short, Handler: large}, strings.Repeat("a\n", 20), parley.WriteTimeout},
	} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(c.name+" "+network, func(t *testing.T) {
				noLeaks(t)
				w := new(witness)
				srv := &parley.Server{Handler: c.srv.Handler, Observer: w, FirstByteTimeout: c.srv.FirstByteTimeout,
					IdleTimeout: c.srv.IdleTimeout, RequestTimeout: c.srv.RequestTimeout, WriteTimeout: c.srv.WriteTimeout}
				if srv.Handler == nil {
					srv.Handler = echo
				}
				conn := transports[network](t, srv)()
				io.WriteString(conn, c.say)
				if end := w.closed(t, 1); end.reason != c.want {
					t.Errorf("closed for %v, want %v", end.reason, c.want)
				}
			})
		}
	}
}

// A handler that is stuck holds up its own session only.
func TestStuckHandlerHoldsUpNobodyElse(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		release := make(chan struct{})
		dial := serve(&parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			if string(req.Body) == "stuck" {
				<-release
			}
			return append(dst, req.Body...), nil
		})})
		stuck := dial()
		io.WriteString(stuck, "stuck\n")
		for range 20 {
			if got := say(t, dial(), "a\n"); got != "a\n" {
				t.Errorf("another got %q", got)
			}
		}
		close(release)
		if got := exchange(t, stuck, ""); got != "stuck\n" {
			t.Errorf("the stuck one got %q in the end", got)
		}
	})
}

func TestWhatServeConnReturns(t *testing.T) {
	noLeaks(t)
	srv := &parley.Server{Handler: echo, MaxSessions: 1}
	held := parleytest.Pipe(t, srv)
	exchange(t, held, "a")
	client, server := parleytest.ConnPair()
	refused := make(chan error)
	go func() { refused <- srv.ServeConn(server) }()
	if got, err := io.ReadAll(client); string(got) != "Error: server is full (1 sessions)\n" || err != nil {
		t.Errorf("the refused one got %q, %v", got, err)
	}
	client.Close()
	if err := <-refused; !errors.Is(err, parley.ErrRefused) {
		t.Errorf("ServeConn over the limit = %v, want ErrRefused", err)
	}
	if err := new(parley.Server).ServeConn(server); err == nil || !strings.Contains(err.Error(), "Handler is nil") {
		t.Errorf("ServeConn without a handler = %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv.Close()
	if err := srv.Serve(l); err != parley.ErrServerClosed {
		t.Errorf("Serve after Close = %v, want ErrServerClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve left its listener open: Accept = %v", err)
	}
}

// Of those who are refused at most 64 are waited for; the others are told too.
func TestFloodOfRefusals(t *testing.T) {
	noLeaks(t)
	w := new(witness)
	dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Handler: echo, MaxSessions: 1, Observer: w}))
	exchange(t, dial(), "the one session")
	var refused []conn
	for range 200 {
		refused = append(refused, dial())
	}
	for i, c := range refused {
		c.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(c); string(got) != "Error: server is full (1 sessions)\n" || err != nil {
			t.Errorf("peer %d of 200 got %q, %v", i+1, got, err)
		}
	}
	eventually(t, "all refusals were told", func() bool { return w.count(parley.Refused) == 200 })
}

// BenchmarkIdleSession reports what an idle session on a socket takes up: heap and
// goroutine stack, its client's end of the connection included.
func BenchmarkIdleSession(b *testing.B) {
	addr := parleytest.Start(b, &parley.Server{Handler: echo})
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	const sessions = 2000
	for b.Loop() {
		before := used()
		var conns []net.Conn
		for range sessions {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			io.WriteString(c, "x\n")
			io.ReadFull(c, make([]byte, 2))
			conns = append(conns, c)
		}
		b.ReportMetric(float64(used()-before)/sessions, "B/session")
		for _, c := range conns {
			c.Close()
		}
	}
}

func BenchmarkTCP1(b *testing.B)  { benchmarkTCP(b, 1) }
func BenchmarkTCP16(b *testing.B) { benchmarkTCP(b, 16) }

func benchmarkTCP(b *testing.B, pipelined int) {
	c, err := net.Dial("tcp", parleytest.Start(b, &parley.Server{Handler: echo}))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	text := bytes.Repeat([]byte("session 1 msg 1\n"), pipelined)
	buf := make([]byte, len(text))
	b.ReportAllocs()
	for b.Loop() {
		c.Write(text)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pipelined), "ns/request")
}
