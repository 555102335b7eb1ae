package parley_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A porter is a gate that keeps what it is asked about, and holds for as long as it is
// told to.
type porter struct {
	pass func(s *parley.Session, batch []parley.Exchange) bool // never holds if nil

	mu   sync.Mutex
	seen []exchanged
	held []*parley.Session
	wire map[*parley.Session]*wire
}

type exchanged struct {
	session        *parley.Session
	seq            uint64
	request, reply string
}

func (p *porter) Pass(s *parley.Session, batch []parley.Exchange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range batch {
		p.keepRaw(s, &e)
		if e.Request == nil && e.Reply == nil { // bytes of no message
			continue
		}
		p.seen = append(p.seen, exchanged{s, e.Seq, orNone(e.Request), orNone(e.Reply)})
		if e.Took < 0 || e.Received.Before(s.Opened()) {
			panic(fmt.Sprintf("received %v, took %v", e.Received, e.Took))
		}
	}
	if p.pass == nil || p.pass(s, batch) {
		return true
	}
	p.held = append(p.held, s)
	return false
}

// keepRaw puts the bytes of each direction together again. None is missing before another.
func (p *porter) keepRaw(s *parley.Session, e *parley.Exchange) {
	if p.wire == nil {
		p.wire = make(map[*parley.Session]*wire)
	}
	w := p.wire[s]
	if w == nil {
		w = new(wire)
		p.wire[s] = w
	}
	w.read.add("request", e.Request, e.RawRequest)
	w.written.add("reply", e.Reply, e.RawReply)
}

// A wire is what went over a connection, as a gate was told of it.
type wire struct{ read, written wireDirection }

type wireDirection struct{ bytes.Buffer }

func (d *wireDirection) add(what string, body []byte, raw parley.Raw) {
	if raw.Bytes == nil && body == nil {
		return
	}
	if raw.At != uint64(d.Len()) || raw.Cut != 0 {
		panic(fmt.Sprintf("the %s %q stands at byte %d of %d", what, raw.Bytes, raw.At, d.Len()))
	}
	if len(raw.Bytes) < raw.Body+len(body) || !bytes.Equal(raw.Bytes[raw.Body:][:len(body)], body) {
		panic(fmt.Sprintf("the %s %q is not at byte %d of %q", what, body, raw.Body, raw.Bytes))
	}
	d.Write(raw.Bytes)
}

// orNone tells a message that is not there from an empty one.
func orNone(message []byte) string {
	if message == nil {
		return "none"
	}
	return string(message)
}

// holds is a porter that holds everything.
func holds() *porter {
	return &porter{pass: func(*parley.Session, []parley.Exchange) bool { return false }}
}

// awaitHeld waits until the gate has held n times, and returns whom.
func (p *porter) awaitHeld(t *testing.T, n int) []*parley.Session {
	t.Helper()
	var held []*parley.Session
	eventually(t, fmt.Sprintf("the gate has held %d times", n), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		held = append(held[:0], p.held...)
		return len(held) >= n
	})
	return held
}

func (p *porter) exchanges() []exchanged {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]exchanged(nil), p.seen...)
}

// The gate is asked once about each reply to a request, in order, with the bytes as they
// were, and in its place about an error text, which answers none.
func TestGateIsAskedOnceAboutEachExchange(t *testing.T) {
	requests := atLength(1000, 5000)
	var text, want strings.Builder
	for i := range requests {
		fmt.Fprintf(&text, "%d \x00ü%s\r\n", i, strings.Repeat("x", i%500))
		fmt.Fprintf(&want, "%d \x00Ü%s\n", i, strings.Repeat("X", i%500))
	}
	upper := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.ToUpper(req.Body)...), nil
	})
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate := new(porter)
		dial := serve(&parley.Server{Handler: upper, Gate: gate, MaxRequest: 1000})
		tooLong := strings.Repeat("x", 1001)
		got := say(t, dial(), text.String()+tooLong)
		if want := want.String() + "Error: request longer than 1000 bytes\n"; got != want {
			t.Errorf("%d bytes came back, want %d", len(got), len(want))
		}
		seen := gate.exchanges()
		if len(seen) != requests+1 {
			t.Fatalf("asked about %d exchanges, want %d and the error text", len(seen), requests)
		}
		if text := seen[requests]; text.seq != 0 || text.request != "none" || text.reply != "Error: request longer than 1000 bytes" {
			t.Errorf("about the error text it was asked as %d: %q, %q", text.seq, text.request, text.reply)
		}
		for i, e := range seen[:requests] {
			request := fmt.Sprintf("%d \x00ü%s", i, strings.Repeat("x", i%500))
			if e.seq != uint64(i+1) || e.request != request || e.reply != strings.ToUpper(request) {
				t.Fatalf("exchange %d is %d: %q, %q", i+1, e.seq, e.request, e.reply)
			}
		}
	})
}

func TestHeldSessionSendsNothingAndOthersGoOn(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate := &porter{pass: func(s *parley.Session, _ []parley.Exchange) bool { return s.Number() != 1 }}
		w := new(witness)
		dial := serve(&parley.Server{Handler: echo, Gate: gate, Observer: w, MaxRequest: 100})
		c := dial()
		io.WriteString(c, "a\nb\n"+strings.Repeat("x", 1001))
		held := gate.awaitHeld(t, 1)[0]
		other := dial()
		for range 100 {
			if got := exchange(t, other, "x"); got != "x\n" {
				t.Fatalf("another session got %q", got)
			}
		}
		for _, e := range w.all() {
			if e.number == 1 && (e.kind == parley.Replied || e.kind == parley.Closed) {
				t.Errorf("%v was told of a held session", e.kind)
			}
		}
		held.Release()
		if got, want := readToEnd(t, c), "a\nb\nError: request longer than 100 bytes\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Whatever a gate does, each reply is there once and in its place: some batches pass, some
// are released before Pass returns, some later by another goroutine.
func TestOrderUnderAGate(t *testing.T) {
	const sessions, requests = 10, 1000
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		var later sync.WaitGroup
		var asked atomic.Int64
		gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
			switch asked.Add(1) % 3 {
			case 0:
				return true
			case 1:
				s.Release()
			default:
				later.Go(s.Release)
			}
			return false
		})
		dial := serve(&parley.Server{Handler: echo, Gate: gate})
		var text strings.Builder
		for i := range requests {
			fmt.Fprintln(&text, i)
		}
		var clients sync.WaitGroup
		for n := range sessions {
			c := dial()
			clients.Go(func() {
				go func() {
					rest := text.String()
					for piece := 1 + n*13; len(rest) > 0; piece = 1 + piece*7%997 {
						k := min(piece, len(rest))
						io.WriteString(c, rest[:k])
						rest = rest[k:]
					}
					c.CloseWrite()
				}()
				if got, err := io.ReadAll(c); string(got) != text.String() || err != nil {
					t.Errorf("%d bytes came back, %v; want %d", len(got), err, text.Len())
				}
				c.Close()
			})
		}
		clients.Wait()
		later.Wait()
	})
}

type gateFunc func(s *parley.Session, batch []parley.Exchange) bool

func (f gateFunc) Pass(s *parley.Session, batch []parley.Exchange) bool { return f(s, batch) }

// A Release that nothing waits for is not kept for the next hold.
func TestReleaseWithoutAHoldDoesNothing(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate := &porter{pass: func(s *parley.Session, batch []parley.Exchange) bool {
			return string(batch[0].Request) != "hold"
		}}
		w := new(witness)
		dial := serve(&parley.Server{Gate: gate, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			req.Session.Release()
			return append(dst, req.Body...), nil
		})})
		c, other := dial(), dial()
		exchange(t, c, "x")
		io.WriteString(c, "hold\n")
		s := gate.awaitHeld(t, 1)[0]
		exchange(t, other, "x")
		if n := w.count(parley.Replied); n > 2 {
			t.Errorf("%d replies are written, want the held one to wait", n)
		}
		s.Release()
		s.Release()
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); string(buf) != "hold\n" || err != nil {
			t.Errorf("after Release came %q, %v", buf, err)
		}
	})
}

// A reply of no bytes is written by nobody, but its session waits all the same.
func TestGateHoldsAnEmptyReply(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate := holds()
		dial := serve(&parley.Server{Framing: parley.Chunks, Gate: gate, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			return append(dst, bytes.TrimPrefix(req.Body, []byte("nothing"))...), nil
		})})
		c := dial()
		io.WriteString(c, "nothing")
		s := gate.awaitHeld(t, 1)[0]
		io.WriteString(c, "something")
		if got := gate.exchanges(); len(got) != 1 {
			t.Errorf("a held session was read: %v", got)
		}
		s.Release()
		gate.awaitHeld(t, 2)
		s.Release()
		buf := make([]byte, 9)
		if _, err := io.ReadFull(c, buf); string(buf) != "something" || err != nil {
			t.Errorf("got %q, %v", buf, err)
		}
	})
}

func TestHangUpWithAHeldReply(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate, w := holds(), new(witness)
		dial := serve(&parley.Server{Gate: gate, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, _ *parley.Request) ([]byte, error) {
			return append(dst, "bye"...), parley.ErrHangUp
		})})
		c := dial()
		io.WriteString(c, "x\nnot answered\n")
		s := gate.awaitHeld(t, 1)[0]
		if n := w.count(parley.Closed); n != 0 {
			t.Error("closed while held")
		}
		s.Release()
		if got := readToEnd(t, c); got != "bye\n" {
			t.Errorf("got %q, want the reply, then the end of file", got)
		}
	})
}

// While a session is held no clock runs.
func TestClocksStandStillWhileHeld(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       ending
	}{
		{"idle", "a\n", ending{parley.IdleTimeout, time.Hour + 5*time.Minute}},
		{"a begun request", "a\nbegun", ending{parley.RequestTimeout, time.Hour + 30*time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
				if batch[0].Reply == nil {
					return true // it is over
				}
				time.AfterFunc(time.Hour, s.Release)
				return false
			})
			end := inBubble(t, &parley.Server{Gate: gate}, func(conn *parleytest.Conn) {
				start := time.Now()
				io.WriteString(conn, c.text)
				buf := make([]byte, 10)
				n, _ := conn.Read(buf)
				if string(buf[:n]) != "a\n" || time.Since(start) != time.Hour {
					t.Errorf("got %q after %v, want the reply after an hour", buf[:n], time.Since(start))
				}
				readToEnd(t, conn)
			})
			if end != c.want {
				t.Errorf("closed for %v after %v, want %v after %v", end.reason, end.after, c.want.reason, c.want.after)
			}
		})
	}
}

// So do they where there is nothing to be written.
func TestClocksStandStillWhileARequestWithoutReplyIsHeld(t *testing.T) {
	gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
		time.AfterFunc(time.Minute, s.Release)
		return false
	})
	end := inBubble(t, &parley.Server{Replies: parley.NoReplies, Gate: gate}, func(conn *parleytest.Conn) {
		io.WriteString(conn, "a\n")
		readToEnd(t, conn)
	})
	if want := (ending{parley.IdleTimeout, 6 * time.Minute}); end != want {
		t.Errorf("closed for %v after %v, want %v after %v", end.reason, end.after, want.reason, want.after)
	}
}

// The replies before a slow handler's are flushed in a millisecond, if the gate lets them.
func TestGateIsAskedBehindASlowHandler(t *testing.T) {
	gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
		if batch[0].Seq == 1 {
			time.AfterFunc(time.Second, s.Release)
			return false
		}
		return true
	})
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "slow" {
			time.Sleep(time.Minute)
		}
		return append(dst, req.Body...), nil
	})
	inBubble(t, &parley.Server{Handler: handler, Gate: gate}, func(c *parleytest.Conn) {
		start := time.Now()
		io.WriteString(c, "a\nb\nslow\nc\n")
		buf := make([]byte, 100)
		for _, want := range []struct {
			text string
			at   time.Duration
		}{{"a\nb\n", time.Second + time.Millisecond}, {"slow\nc\n", time.Minute}} {
			n, err := c.Read(buf)
			if got := string(buf[:n]); got != want.text || time.Since(start) != want.at || err != nil {
				t.Errorf("after %v got %q, %v; want %q after %v", time.Since(start), got, err, want.text, want.at)
			}
		}
	})
}

// A reply waits a millisecond at most behind the handlers that come after it, however many
// they are and however often that happens in one read.
func TestFlushedBehindSlowHandlers(t *testing.T) {
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		took, err := time.ParseDuration(string(req.Body))
		time.Sleep(took)
		return append(dst, req.Body...), err
	})
	inBubble(t, &parley.Server{Handler: handler}, func(c *parleytest.Conn) {
		start := time.Now()
		io.WriteString(c, "0s\n1m\n0s\n1h\n400us\n400us\n400us\n400us\n0s\n")
		buf := make([]byte, 100)
		const both = time.Hour + time.Minute
		for _, want := range []struct {
			text string
			at   time.Duration
		}{
			{"0s\n", time.Millisecond},
			{"1m\n0s\n", time.Minute + time.Millisecond},
			{"1h\n400us\n400us\n", both + time.Millisecond},
			{"400us\n400us\n0s\n", both + 1600*time.Microsecond},
		} {
			n, err := c.Read(buf)
			if got := string(buf[:n]); got != want.text || time.Since(start) != want.at || err != nil {
				t.Errorf("after %v got %q, %v; want %q after %v", time.Since(start), got, err, want.text, want.at)
			}
		}
	})
}

// A peer that takes nothing holds up the flush behind a slow handler, and nothing else: it goes on when the peer does.
func TestFlushBehindASlowHandlerWaitsForThePeer(t *testing.T) {
	large := strings.Repeat("x", 200<<10)
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "slow" {
			time.Sleep(time.Second)
			return append(dst, "slow"...), nil
		}
		return append(dst, large...), nil
	})
	inBubble(t, &parley.Server{Handler: handler, WriteTimeout: time.Hour}, func(c *parleytest.Conn) {
		start := time.Now()
		io.WriteString(c, "large\nslow\nlarge\n")
		c.CloseWrite()
		time.Sleep(time.Minute)
		got, err := io.ReadAll(c)
		if want := large + "\nslow\n" + large + "\n"; string(got) != want || time.Since(start) != time.Minute || err != nil {
			t.Errorf("after %v got %d bytes, %v; want %d after a minute", time.Since(start), len(got), err, len(want))
		}
	})
}

// On one loop a session is held, sent more, and reset, for longer than another is idle:
// its clocks do not run, and the loop does not spin.
func TestHeldSessionCostsALoopNothing(t *testing.T) {
	needLoops(t)
	noLeaks(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one loop
	for _, c := range []struct {
		name string
		then func(c *net.TCPConn)
		want string // once it is released
	}{
		{"more comes", func(c *net.TCPConn) { io.WriteString(c, "more\n") }, "x\nmore\n"},
		{"end of file", func(c *net.TCPConn) { io.WriteString(c, "last"); c.CloseWrite() }, "x\nlast\n"},
		{"reset", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, ""},
		{"more comes, then a reset", func(c *net.TCPConn) { io.WriteString(c, "more\n"); c.SetLinger(0); c.Close() }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate := holds()
			rounds := &counter{witness: new(witness)}
			dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Handler: echo, Engine: parley.Loops, Gate: gate, Observer: rounds, IdleTimeout: 300 * time.Millisecond}))
			held := dial()
			io.WriteString(held, "x\n")
			s := gate.awaitHeld(t, 1)[0]
			c.then(held.(*net.TCPConn))
			before := rounds.flushed.Load()
			if got := readToEnd(t, dial()); got != "" {
				t.Errorf("the idle one got %q", got)
			}
			if first := rounds.closed(t, 1); first.number != 2 {
				t.Errorf("session %d ended first, for %v; want the idle one", first.number, first.reason)
			}
			if n := rounds.flushed.Load() - before; n > 500 {
				t.Errorf("%d rounds in 300 ms with nothing to do", n/2)
			}
			s.Release()
			if c.want != "" {
				gate.awaitHeld(t, 2)
				s.Release()
				buf := make([]byte, len(c.want))
				if _, err := io.ReadFull(held, buf); string(buf) != c.want || err != nil {
					t.Errorf("after its release came %q, %v; want %q", buf, err, c.want)
				}
			}
			held.Close()
			rounds.closed(t, 2)
		})
	}
}

// A counter counts the flushes of a loop: two a round.
type counter struct {
	*witness
	flushed atomic.Int64
}

func (c *counter) Flush() { c.flushed.Add(1) }

// Shutdown waits for what the gate holds, and cuts it when its time is up. A Release that
// comes too late is harmless.
func TestDrainWithHeldSessions(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate := holds()
		srv := &parley.Server{Handler: echo, Gate: gate}
		dial := serve(srv)
		kept, idle, freed := dial(), dial(), dial()
		io.WriteString(kept, "a\n")
		gate.awaitHeld(t, 1)
		io.WriteString(freed, "b\n")
		held := gate.awaitHeld(t, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- srv.Shutdown(ctx) }()
		if got := readToEnd(t, idle); got != "" {
			t.Errorf("the idle one got %q", got)
		}
		idle.Close()
		held[1].Release()
		if got := readToEnd(t, freed); got != "b\n" {
			t.Errorf("the released one got %q, want its reply", got)
		}
		freed.Close()
		select {
		case err := <-drained:
			t.Fatalf("Shutdown = %v, while a session is held", err)
		default:
		}
		cancel()
		var drain *parley.DrainError
		if err := <-drained; !errors.As(err, &drain) || len(drain.Cut) != 1 || drain.Cut[0] != held[0] {
			t.Errorf("Shutdown = %v, want the held one to be cut", err)
		}
		if got, _ := io.ReadAll(kept); len(got) != 0 {
			t.Errorf("the one that was cut got %q", got)
		}
		held[0].Release()
	})
}

func TestCloseWhileHeld(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		gate, w := holds(), new(witness)
		srv := &parley.Server{Handler: echo, Gate: gate, Observer: w}
		c := serve(srv)()
		io.WriteString(c, "a\n")
		s := gate.awaitHeld(t, 1)[0]
		srv.Close()
		if got, _ := io.ReadAll(c); len(got) != 0 {
			t.Errorf("got %q after Close", got)
		}
		if end := w.closed(t, 1); end.reason != parley.ServerClosed {
			t.Errorf("closed for %v, want closed", end.reason)
		}
		s.Release()
	})
}

// The event Closed says which replies got out whole: those of a peer that reads some of
// them, and none that a gate held to the end.
func TestClosedSaysHowFarRepliesGot(t *testing.T) {
	overEachTight(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		ends := make(chan parley.Event, 2)
		gate := &porter{pass: func(_ *parley.Session, batch []parley.Exchange) bool { return string(batch[0].Request) != "hold" }}
		srv := &parley.Server{Gate: gate, Observer: endings(ends), Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			if string(req.Body) == "large" {
				return append(dst, make([]byte, tightly)...), nil
			}
			return append(dst, req.Body...), nil
		})}
		dial := serve(srv)
		held := dial()
		for i := range 3 {
			exchange(t, held, fmt.Sprint(i))
		}
		slow := dial() // the second session, now that the first is there
		io.WriteString(held, "hold\n")
		io.WriteString(slow, "a\nb\nlarge\n")
		gate.awaitHeld(t, 1)
		if _, err := io.ReadFull(slow, make([]byte, 10)); err != nil {
			t.Error(err)
		}
		srv.Close()
		for range 2 {
			want := parley.Event{Seq: 4, Replied: 3}
			e := <-ends
			if e.Session.Number() == 2 {
				want = parley.Event{Seq: 3, Replied: 2}
			}
			if e.Seq != want.Seq || e.Replied != want.Replied {
				t.Errorf("session %d: of %d requests %d are replied, want %d of %d", e.Session.Number(), e.Seq, e.Replied, want.Replied, want.Seq)
			}
		}
	})
}

// endings observe nothing but the ends of sessions.
type endings chan parley.Event

func (c endings) Wants(kind parley.EventKind) bool { return kind == parley.Closed }

func (c endings) Observe(e *parley.Event) { c <- *e }

// In made-up time too, a held session ends with its server.
func TestCloseWhileHeldInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo, Gate: holds()}
		c := parleytest.Pipe(t, srv)
		io.WriteString(c, "a\n")
		time.Sleep(1000 * time.Hour)
		srv.Close()
		if got, _ := io.ReadAll(c); len(got) != 0 {
			t.Errorf("got %q after Close", got)
		}
	})
}

// Nil would be no message, which is not what an empty one is.
func TestEmptyMessagesAreNotNil(t *testing.T) {
	asked := make(chan parley.Exchange, 1)
	srv := &parley.Server{
		Handler:   parley.HandlerFunc(func([]byte, *parley.Request) ([]byte, error) { return nil, nil }),
		Framing:   parley.Chunks,
		KeepBlank: true,
		Gate:      gateFunc(func(_ *parley.Session, batch []parley.Exchange) bool { asked <- batch[0]; return true }),
	}
	conn, err := net.Dial("tcp", parleytest.Start(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "\n")
	if x := <-asked; x.Request == nil || x.Reply == nil || len(x.Request)+len(x.Reply) > 0 {
		t.Errorf("the gate was asked about %#v", x)
	}
}

// Who drives a session without a Server is told of the release, whenever it comes, and only
// when every batch that it asked about is released.
func TestProxyAsksAGate(t *testing.T) {
	batch := make([]parley.Exchange, 1)
	ask := func(s *parley.Session, pass func() bool) <-chan struct{} {
		return s.Ask(gateFunc(func(*parley.Session, []parley.Exchange) bool { return pass() }), batch)
	}
	passes, holds := func() bool { return true }, func() bool { return false }
	released := func(held <-chan struct{}) bool {
		select {
		case <-held:
			return true
		default:
			return false
		}
	}
	s := parley.NewSession(1, nil, nil, time.Now())
	if ask(s, passes) != nil {
		t.Error("a gate that lets it pass holds it")
	}
	s.Release() // of nothing
	one := ask(s, holds)
	if released(one) {
		t.Error("released before it was")
	}
	two := ask(s, holds)
	s.Release()
	if released(one) || released(two) {
		t.Error("the first release let both batches go")
	}
	if ask(s, passes) != nil || released(one) {
		t.Error("a batch that passes lets another go")
	}
	s.Release()
	s.Release() // once too often
	if !released(one) || !released(two) {
		t.Error("both batches are released, and not both are told")
	}
	if !released(ask(s, func() bool { s.Release(); return false })) {
		t.Error("a release before Pass has returned was lost")
	}
	// The one before is released while the gate looks at the next, which passes.
	last := ask(s, holds)
	if ask(s, func() bool { s.Release(); return true }) != nil || !released(last) {
		t.Error("a release while the gate was asked was lost")
	}
}

// However releases and questions cross, the last batch's release is told, and none before.
func TestReleasesCrossQuestions(t *testing.T) {
	const batches = 1000
	s := parley.NewSession(1, nil, nil, time.Now())
	var releasing sync.WaitGroup
	var released atomic.Int32
	gate := gateFunc(func(s *parley.Session, _ []parley.Exchange) bool {
		releasing.Go(func() { released.Add(1); s.Release() })
		return false
	})
	for n := range int32(batches) {
		held := s.Ask(gate, make([]parley.Exchange, 1))
		if n%3 == 2 {
			if <-held; released.Load() != n+1 {
				t.Fatalf("told after %d releases of %d batches", released.Load(), n+1)
			}
		}
	}
	releasing.Wait()
}
