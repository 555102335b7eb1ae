package parley_test

import (
	"bufio"
	"bytes"
	"context"
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
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// What a peer is owed survives every kind of close, also with more of its bytes
// behind: the text, then the end of file, never a reset.
func TestOwedRepliesSurviveEveryClose(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		runs := atLength(100, 1000)
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
				addr := parleytest.Start(t, &parley.Server{Engine: engine, Handler: hangUp, MaxRequest: 100, MaxSessions: c.max})
				dial, text := dialer(t, "tcp", addr), []byte(c.in)
				if c.max == 1 {
					exchange(t, dial(), "the one session")
				}
				for run := range runs {
					conn := dial()
					conn.SetDeadline(time.Now().Add(patience))
					var writer sync.WaitGroup
					writer.Go(func() { conn.Write(text) })
					got, err := io.ReadAll(conn)
					conn.Close()
					writer.Wait()
					if string(got) != c.want || err != nil {
						t.Fatalf("run %d: got %q, %v; want %q and the end of file", run+1, got, err, c.want)
					}
				}
			})
		}
	})
}

// A drain with load: every request that was read is answered, and its peer gets it.
func TestDrainUnderLoad(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		for run := range atLength(20, 100) {
			w := new(witness)
			srv := &parley.Server{Engine: engine, Handler: echo, Observer: w}
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
	})
}

// Many connections of many numbered requests each, split at random: reply n
// belongs to request n, none missing, doubled or crossed.
func TestRepliesBelongToTheirRequests(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		conns, requests := atLength(100, 1000), atLength(500, 1000)
		const atOnce = 50
		addr := parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo})
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
	})
}

// A session that has sent more than one write buffer holds the replies to is not read on before
// they are written: nothing is lost, and what waits does not pile up.
func TestSessionThatIsOwedMoreIsNotReadOn(t *testing.T) {
	const requests = 300
	var sent, want bytes.Buffer
	for n := range requests {
		line := fmt.Sprintf("%d%s\n", n, strings.Repeat("x", 1000))
		sent.WriteString(line)
		want.WriteString(strings.Repeat(strings.TrimSuffix(line, "\n"), 5) + "\n")
	}
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.Repeat(req.Body, 5)...), nil
	})
	var later sync.WaitGroup
	for name, gate := range map[string]parley.Gate{
		"no gate": nil,
		"a gate that holds": gateFunc(func(s *parley.Session, _ []parley.Exchange) bool {
			later.Go(s.Release)
			return false
		}),
	} {
		t.Run(name, func(t *testing.T) {
			overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
				dial := serve(&parley.Server{Handler: handler, Gate: gate, MaxUnsent: 16 << 10})
				if got := say(t, dial(), sent.String()); got != want.String() {
					t.Errorf("%d bytes came back, want %d", len(got), want.Len())
				}
				later.Wait()
			})
		})
	}
}

// A peer that resets is noticed, told as a reset, and its reply never told as replied.
func TestResetAtEachPoint(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		working := make(chan struct{})
		release := make(chan struct{})
		ended := make(chan error, 1)
		srv := &parley.Server{Engine: engine, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
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
			want := parley.Reset
			if text == "" {
				want = parley.NoRequest // a probe, however it ends
			}
			c := dial()
			io.WriteString(c, text)
			if strings.Contains(text, "\n") {
				c.Read(make([]byte, 2))
			}
			eventually(t, "it is open", func() bool { return w.count(parley.Opened) == i+1 })
			reset(c)
			if end := w.closed(t, i+1); end.reason != want || !errors.Is(end.err, syscall.ECONNRESET) {
				t.Errorf("after %q: closed for %v, %v; want %v by a reset", text, end.reason, end.err, want)
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
	})
}

// An error text is told where it is said: behind the replies that were owed, before the end,
// and once it is written.
func TestErrorTextIsTold(t *testing.T) {
	const text = "Error: request longer than 100 bytes"
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		for name, framing := range map[string]parley.Framing{"lines": parley.Lines, "length": parley.LengthPrefixed} {
			w, gate := new(witness), new(porter)
			c := serve(&parley.Server{Handler: echo, Framing: framing, Gate: gate, Observer: w, MaxRequest: 100})()
			got := say(t, c, frame(t, framing, "a")+frame(t, framing, strings.Repeat("x", 101)))
			if want := frame(t, framing, "a") + frame(t, framing, text); got != want {
				t.Errorf("%s: the peer got %q, want %q", name, got, want)
			}
			w.closed(t, 1)
			var told []string
			for _, e := range w.all() {
				told = append(told, fmt.Sprintf("%v %d %s", e.kind, e.seq, e.body))
			}
			want := []string{"opened 0 ", "received 1 a", "replied 1 a", "message 0 " + text, "closed 1 "}
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %q, want %q", name, told, want)
			}
			if kept := gate.exchanges(); len(kept) != 2 || kept[1].seq != 0 || kept[1].request != "none" || kept[1].reply != text {
				t.Errorf("%s: the gate was asked about %v, want the exchange and the text", name, kept)
			}
		}
	})
}

// One that the framing cannot carry is not said, and not told.
func TestErrorTextThatTheFramingCannotCarry(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w, gate := new(witness), new(porter)
		c := serve(&parley.Server{Handler: echo, Framing: parley.Delimited('e'), Gate: gate, Observer: w, MaxRequest: 3})()
		if got := say(t, c, "aexxxxx"); got != "ae" {
			t.Errorf("the peer got %q", got)
		}
		w.closed(t, 1)
		if n := w.count(parley.Unasked); n != 0 || len(gate.exchanges()) != 1 {
			t.Errorf("%d texts were told, and the gate was asked about %v", n, gate.exchanges())
		}
	})
}

// A refusal is told with what the peer is sent.
func TestRefusalIsToldWithItsText(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, MaxSessions: 1, Observer: w}))
		exchange(t, dial(), "the one session")
		got := say(t, dial(), "")
		for _, e := range w.all() {
			if e.kind == parley.Refused && e.body+"\n" != got {
				t.Errorf("the refusal was told with %q, and the peer got %q", e.body, got)
			}
		}
		if n := w.count(parley.Refused); n != 1 {
			t.Errorf("%d refusals were told", n)
		}
	})
}

func TestPanicsEndOnlyTheirSession(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		srv := &parley.Server{Engine: engine, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			if string(req.Body) == "panic" {
				panic("oops")
			}
			return append(dst, req.Body...), nil
		})}
		dial := dialer(t, "tcp", parleytest.Start(t, srv))
		other := dial()
		panics := atLength(100, 1000)
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
	})
}

func TestManyShortConnectionsAndAtOnceTheSamePort(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		srv := &parley.Server{Engine: engine, Handler: echo}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		dial := dialer(t, "tcp", l.Addr().String())
		for range atLength(300, 3000) {
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
	})
}

// A handler that is stuck holds up its own session only.
func TestStuckHandlerHoldsUpNobodyElse(t *testing.T) {
	overGoroutines(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
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
