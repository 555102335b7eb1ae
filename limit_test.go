package parley_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

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
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		addr := parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, MaxSessions: 10, Observer: w})
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
	})
}

// A framing that cannot carry the text of a refusal carries none: the peer sees the end
// of file.
func TestRefusalWithoutAText(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, Framing: parley.Delimited('e'), MaxSessions: 1}))
		first := dial()
		first.SetDeadline(time.Now().Add(patience))
		io.WriteString(first, "one")
		if got, err := bufio.NewReader(first).ReadString('e'); got != "one" || err != nil {
			t.Errorf("the session got %q, %v", got, err)
		}
		second := dial()
		second.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(second); len(got) != 0 || err != nil {
			t.Errorf("the refused peer got %q, %v; want the end of file", got, err)
		}
	})
}

func TestSessionLimitPerAddress(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		srv := &parley.Server{Engine: engine, Handler: echo, MaxSessionsPerIP: 2}
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
		// Who leaves makes room for the next, again and again.
		for range 5 {
			eventually(t, "there is room again", func() bool {
				c := from("127.0.0.3")
				defer c.Close()
				io.WriteString(c, "x\n")
				got, err := bufio.NewReader(c).ReadString('\n')
				return err == nil && got == "x\n"
			})
		}
		// Peers without an IP address are not counted.
		for range 5 {
			if got := exchange(t, parleytest.Pipe(t, srv), "x"); got != "x\n" {
				t.Errorf("a peer without an address got %q", got)
			}
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

func TestLengthIsNotBelievedBeforeItsBytesCome(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, Framing: parley.LengthPrefixed, Observer: w}))
		got := say(t, dial(), string(binary.BigEndian.AppendUint32(nil, 1<<32-1)))
		if want := frame(t, parley.LengthPrefixed, "Error: request longer than 1048576 bytes"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if end := w.closed(t, 1); end.reason != parley.TooLong {
			t.Errorf("closed for %v, want too_long", end.reason)
		}
	})
}

// An idle session on a socket holds no buffer: what it takes up is far below one.
func TestIdleSessionsHoldNoBuffer(t *testing.T) {
	for _, network := range socketTransports() {
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
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		dial := dialer(t, "tcp", parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, Framing: parley.LengthPrefixed, MaxRequest: 1 << 30}))
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
	})
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
		for _, network := range socketTransports() {
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
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		srv := &parley.Server{Engine: engine, Handler: echo, MaxSessions: 1, Observer: w}
		dial := dialer(t, "tcp", parleytest.Start(t, srv))
		exchange(t, dial(), "the one session")
		var refused []conn
		for range 200 {
			refused = append(refused, dial())
		}
		eventually(t, "all refusals were told", func() bool { return w.count(parley.Refused) == 200 })
		if n := srv.Lingering(); n > 64 {
			t.Errorf("%d refused peers are waited for at once, want at most 64", n)
		}
		for i, c := range refused {
			c.SetDeadline(time.Now().Add(patience))
			if got, err := io.ReadAll(c); string(got) != "Error: server is full (1 sessions)\n" || err != nil {
				t.Errorf("peer %d of 200 got %q, %v", i+1, got, err)
			}
		}
	})
}

// In made-up time it is exactly 64, and others again once those have gone.
func TestRefusedPeersThatAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo, MaxSessions: 1}
		parleytest.Pipe(t, srv)
		for range 3 {
			synctest.Wait()
			var flood sync.WaitGroup
			for range 200 {
				client, server := parleytest.ConnPair()
				flood.Go(func() { srv.ServeConn(server) })
				flood.Go(func() { io.Copy(io.Discard, client) })
			}
			synctest.Wait()
			if n := srv.Lingering(); n != 64 {
				t.Errorf("%d refused peers are waited for at once, want 64", n)
			}
			flood.Wait()
		}
	})
}

func socketTransports() []string {
	if !hasLoops {
		return []string{"tcp", "unix"}
	}
	return []string{"tcp", "unix", "tcp, loops", "unix, loops"}
}
