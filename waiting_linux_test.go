//go:build !386

package parley_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// However long a loop waits for a peer that does nothing, or is half gone, it works at its
// ticks only.
func TestWaitingCostsALoopNothing(t *testing.T) {
	noLeaks(t)
	procs := runtime.GOMAXPROCS(1) // one loop
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	const replies = 6 << 20 // more than buffers take
	for _, c := range []struct {
		name string
		text string
		then func(t *testing.T, srv *parley.Server, c *net.TCPConn)
		want parley.CloseReason
	}{
		{"taking, silent", "long\n\n", func(*testing.T, *parley.Server, *net.TCPConn) {}, parley.WriteTimeout},
		{"taking, more has come", "long\n\n", func(_ *testing.T, _ *parley.Server, c *net.TCPConn) { io.WriteString(c, "more\n") }, parley.WriteTimeout},
		{"taking, half-closed, in a drain", "long\n\n", func(t *testing.T, srv *parley.Server, c *net.TCPConn) {
			drain(t, srv)
			c.CloseWrite()
		}, parley.WriteTimeout},
		{"lingering, more has come", "a\n\n", func(_ *testing.T, _ *parley.Server, c *net.TCPConn) { io.WriteString(c, "more\n") }, parley.Blank},
		{"waiting to write", "longer\nmore\n", func(_ *testing.T, _ *parley.Server, c *net.TCPConn) { io.WriteString(c, "more\n") }, parley.WriteTimeout},
		{"waiting to write, half-closed", "longer\nmore\n", func(_ *testing.T, _ *parley.Server, c *net.TCPConn) { c.CloseWrite() }, parley.WriteTimeout},
		{"waiting to write, half-closed, in a drain", "longer\nmore\n", func(t *testing.T, srv *parley.Server, c *net.TCPConn) {
			drain(t, srv)
			c.CloseWrite()
		}, parley.WriteTimeout},
		{"waiting to write the last, half-closed", "longer\n\n", func(_ *testing.T, _ *parley.Server, c *net.TCPConn) { c.CloseWrite() }, parley.WriteTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			rounds := &counter{witness: new(witness)}
			srv := &parley.Server{Engine: parley.Loops, Observer: rounds, WriteTimeout: time.Second, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				switch string(req.Body) {
				case "long":
					return append(dst, make([]byte, 1<<20)...), nil // which the system takes
				case "longer":
					return append(dst, make([]byte, replies)...), nil
				}
				return append(dst, req.Body...), nil
			})}
			peer := slowPeer(t, parleytest.Start(t, srv))
			io.WriteString(peer, c.text)
			eventually(t, "it is received", func() bool { return rounds.count(parley.Received) > 0 })
			c.then(t, srv, peer)
			before := rounds.flushed.Load()
			if end := rounds.closed(t, 1); end.reason != c.want {
				t.Errorf("closed for %v, %v; want %v", end.reason, end.err, c.want)
			}
			eventually(t, "it is closed", func() bool { return srv.Lingering() == 0 })
			if n := rounds.flushed.Load() - before; n > 200 {
				t.Errorf("%d rounds in seconds with nothing to do", n/2)
			}
		})
	}
}

// While its peer is only waited for to take the rest, a session holds nothing.
func TestNothingIsHeldOfWhoOnlyHasToTake(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		srv := &parley.Server{Engine: engine, Observer: w, Handler: thick, WriteTimeout: -1}
		peer := slowPeer(t, parleytest.Start(t, srv))
		io.WriteString(peer, numbered(1500)+"\n"+numbered(1500))
		eventually(t, "all is written", func() bool { return w.count(parley.Replied) == 1500 })
		eventually(t, "nothing is held", func() bool { return srv.Held() == 0 })
		if n := w.count(parley.Closed); n != 0 {
			t.Errorf("%d sessions have ended, want none", n)
		}
	})
}

// Whoever is ended for a clock is waited for like others while it takes what it is owed.
func TestIdlePeerThatIsSlowToTake(t *testing.T) {
	const requests = 1500
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		srv := &parley.Server{Engine: engine, Handler: thick, FirstByteTimeout: time.Minute, IdleTimeout: 200 * time.Millisecond, WriteTimeout: 400 * time.Millisecond}
		ends := finals(srv, new(witness))
		peer := slowPeer(t, parleytest.Start(t, srv))
		io.WriteString(peer, numbered(requests))
		if end := <-ends; end.Reason != parley.WriteTimeout || end.Seq != requests || end.Replied == requests {
			t.Errorf("closed for %v with %d of %d replied; want write_timeout, and fewer", end.Reason, end.Replied, end.Seq)
		}
	})
}

// Of a peer that has gone nothing is heard out behind what was discarded: it would begin in the
// middle of a request.
func TestNothingIsHeardBehindWhatWasDiscarded(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one loop, which one handler keeps busy
		w := new(witness)
		busy := make(chan struct{})
		srv := &parley.Server{Engine: engine, Observer: w, MaxUnsent: 1, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			switch string(req.Body) {
			case "1":
				return append(dst, make([]byte, 12<<20)...), nil // more than buffers take
			case "busy":
				busy <- struct{}{}
				<-busy
			}
			return append(dst, req.Body...), nil
		})}
		addr := parleytest.Start(t, srv)
		other := dialer(t, "tcp", addr)()
		peer := slowPeer(t, addr)
		text := numbered(200000)
		half := 150001
		io.WriteString(peer, text[:half])
		eventually(t, "it waits to write", func() bool { return w.count(parley.Received) == 1 && srv.Held() > 1<<20 })
		io.WriteString(other, "busy\n")
		<-busy
		drain(t, srv)
		peer.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		io.WriteString(peer, text[half:])
		peer.SetLinger(0)
		peer.Close()
		busy <- struct{}{}
		w.closed(t, 2)
		n := 0
		for _, e := range w.all() {
			if e.kind == parley.Received && e.body != "busy" {
				if n++; e.body != strconv.Itoa(n) {
					t.Fatalf("request %d is told as %q", n, e.body)
				}
			}
		}
	})
}

// However a drain, its cut, and the ends for Memory cross each other, each session ends once,
// nothing of it is held or left behind, and Shutdown comes back.
func TestDrainWhileSessionsAreEndedForMemory(t *testing.T) {
	listen := func(t *testing.T) net.Listener {
		l, err := listenTight("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	many := numbered(600) // whose replies are more than buffers take
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	for name, open := range map[string]func(t *testing.T) (parley.Engine, net.Listener){
		"goroutines": func(t *testing.T) (parley.Engine, net.Listener) { return parley.Goroutines, listen(t) },
		"loops":      func(t *testing.T) (parley.Engine, net.Listener) { return parley.Loops, listen(t) },
		"TLS": func(t *testing.T) (parley.Engine, net.Listener) {
			return parley.Goroutines, tls.NewListener(listen(t), config)
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			for round := range 3 {
				engine, l := open(t)
				w := new(witness)
				srv := &parley.Server{Engine: engine, Observer: w, Handler: thick, MaxHeld: 1 << 20, MaxRequest: 200 << 10, WriteTimeout: 300 * time.Millisecond}
				served := make(chan error, 1)
				go func() { served <- srv.Serve(l) }()
				var clients sync.WaitGroup
				const peers = 20
				for n := range peers {
					c := net.Conn(slowPeer(t, l.Addr().String()))
					if name == "TLS" {
						c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					}
					clients.Go(func() {
						defer c.Close()
						text := many
						switch n % 4 {
						case 0:
							text += "\n" + text
						case 1:
							text = strings.Repeat("x", 150<<10) // no whole request
						case 2:
							text += text + text
						}
						io.WriteString(c, text)
						io.CopyN(io.Discard, c, int64(n)<<14)
						io.WriteString(c, text)
					})
				}
				eventually(t, "all are served", func() bool { return w.count(parley.Opened) == peers })
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(round)*150*time.Millisecond)
				srv.Shutdown(ctx)
				cancel()
				if err := <-served; err != parley.ErrServerClosed {
					t.Errorf("Serve = %v", err)
				}
				clients.Wait()
				if n := w.count(parley.Closed); n != peers {
					t.Errorf("%d of %d sessions have ended", n, peers)
				}
				if held := srv.Held(); held != 0 {
					t.Errorf("%d bytes are held in the end", held)
				}
			}
		})
	}
}
