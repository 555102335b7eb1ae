package parley_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/leaks"
	"github.com/parley-tcp/parley/parleytest"
)

func TestEngineForAListener(t *testing.T) {
	needLoops(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for _, c := range []struct {
		l     net.Listener
		loops bool
	}{{tcp, true}, {unix, true}, {tls.NewListener(tcp, new(tls.Config)), false}, {struct{ *net.TCPListener }{tcp.(*net.TCPListener)}, false}} {
		want, wantErr := parley.Loops, error(nil)
		if !c.loops {
			want, wantErr = parley.Goroutines, parley.ErrNoLoops
		}
		if got, err := parley.LoopsIfPossible.For(c.l); got != want || err != nil {
			t.Errorf("LoopsIfPossible.For(%T) = %v, %v; want %v", c.l, got, err, want)
		}
		if _, err := parley.Loops.For(c.l); err != wantErr {
			t.Errorf("Loops.For(%T) = %v, want %v", c.l, err, wantErr)
		}
		if got, err := parley.Goroutines.For(c.l); got != parley.Goroutines || err != nil {
			t.Errorf("Goroutines.For(%T) = %v, %v", c.l, got, err)
		}
	}
	srv := &parley.Server{Handler: echo, Engine: parley.Loops}
	if err := srv.Serve(tls.NewListener(tcp, new(tls.Config))); err != parley.ErrNoLoops {
		t.Errorf("Serve of what loops cannot serve = %v, want ErrNoLoops", err)
	}
	if _, err := tcp.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it left the listener open: Accept = %v", err)
	}
}

// ServeConn takes any connection whatever the engine is.
func TestServeConnBesideLoops(t *testing.T) {
	needLoops(t)
	noLeaks(t)
	srv := &parley.Server{Handler: echo, Engine: parley.Loops}
	dial := dialer(t, "tcp", parleytest.Start(t, srv))
	for _, c := range []conn{dial(), parleytest.Pipe(t, srv)} {
		if got := exchange(t, c, "x"); got != "x\n" {
			t.Errorf("got %q", got)
		}
	}
}

func TestListenerClosedByItsOwner(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- (&parley.Server{Handler: echo, Engine: engine}).Serve(l) }()
		if got := say(t, dialer(t, "tcp", l.Addr().String())(), "x\n"); got != "x\n" {
			t.Errorf("got %q", got)
		}
		l.Close()
		select {
		case err := <-served:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("Serve = %v, want net.ErrClosed", err)
			}
		case <-time.After(patience):
			t.Error("Serve does not notice")
		}
	})
}

// The address that a peer dialled is told, be it the listener's own or one of many.
func TestLocalAddrIsWhatThePeerDialled(t *testing.T) {
	where := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, req.Session.LocalAddr().String()...), nil
	})
	all := []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		all = append(all, "[::1]")
	}
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		for listen, dial := range map[string][]string{
			"127.0.0.1:0": {"127.0.0.1"},
			":0":          all,
			"0.0.0.0:0":   {"127.0.0.3", "127.0.0.4"},
		} {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				t.Fatal(err)
			}
			parleytest.Serve(t, &parley.Server{Handler: where, Engine: engine}, l)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			for _, host := range dial {
				if got, want := exchange(t, dialer(t, "tcp", host+":"+port)(), "x"), host+":"+port+"\n"; got != want {
					t.Errorf("listening at %s: a peer dialled %q and is said to have dialled %q", listen, want, got)
				}
			}
		}
	})
}

// Loops are shared by the listeners of a server: GOMAXPROCS of them at most.
func TestAtMostOneLoopACPU(t *testing.T) {
	needLoops(t)
	noLeaks(t)
	srv := &parley.Server{Handler: echo, Engine: parley.Loops}
	for range 3 {
		exchange(t, dialer(t, "tcp", parleytest.Start(t, srv))(), "x")
	}
	n := 0
	for _, stack := range leaks.Goroutines() {
		n += strings.Count(stack, ".(*loop).run(")
	}
	if want := runtime.GOMAXPROCS(0); n != want {
		t.Errorf("%d loops for three listeners, want %d", n, want)
	}
}

// A publisher is an observer as the console's are: each fork keeps its events to itself
// until it is flushed.
type publisher struct {
	mu        sync.Mutex
	published map[string]bool
}

func (p *publisher) Observe(*parley.Event) {}

func (p *publisher) Fork() parley.Observer { return &publisherFork{public: p} }

func (p *publisher) has(event string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published[event]
}

type publisherFork struct {
	public *publisher
	held   []string
}

func (f *publisherFork) Observe(e *parley.Event) {
	f.held = append(f.held, fmt.Sprint(e.Kind, e.Session.Number(), e.Seq))
}

func (f *publisherFork) Flush() {
	f.public.mu.Lock()
	defer f.public.mu.Unlock()
	for _, event := range f.held {
		f.public.published[event] = true
	}
	f.held = f.held[:0]
}

// What a peer has seen is published: its request when the reply comes, its end when the
// end of file does.
func TestWhatAPeerHasSeenIsPublished(t *testing.T) {
	needLoops(t)
	noLeaks(t)
	p := &publisher{published: make(map[string]bool)}
	srv := &parley.Server{Handler: echo, Engine: parley.Loops, Observer: parley.Observers(p, new(witness))}
	dial := dialer(t, "tcp", parleytest.Start(t, srv))
	for n := 1; n <= 200; n++ {
		c := dial()
		for seq := 1; seq <= 5; seq++ {
			exchange(t, c, "x")
			if event := fmt.Sprint(parley.Received, n, seq); !p.has(event) {
				t.Fatalf("the reply was there before %s was published", event)
			}
		}
		c.CloseWrite()
		io.ReadAll(c)
		if event := fmt.Sprint(parley.Closed, n, 5); !p.has(event) {
			t.Fatalf("the end of file was there before %s was published", event)
		}
		c.Close()
	}
	eventually(t, "the last replies are published too", func() bool { return p.has(fmt.Sprint(parley.Replied, 200, 5)) })
}

// A peer that resets after its loop has seen bytes of it, and before it reads them.
func TestResetBetweenReadinessAndRead(t *testing.T) {
	needLoops(t)
	noLeaks(t)
	w := new(witness)
	var conns []conn
	held, release := make(chan struct{}), make(chan struct{})
	srv := &parley.Server{Engine: parley.Loops, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		switch string(req.Body) {
		case "hold":
			held <- struct{}{}
			<-release
		case "reset the others":
			for _, c := range conns[1:] {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}
		return append(dst, req.Body...), nil
	})}
	dial := dialer(t, "tcp", parleytest.Start(t, srv))
	for range 1 + 4*runtime.GOMAXPROCS(0) {
		c := dial()
		exchange(t, c, "hello")
		conns = append(conns, c)
	}
	io.WriteString(conns[0], "hold\n")
	<-held
	io.WriteString(conns[0], "reset the others\n")
	for _, c := range conns[1:] {
		io.WriteString(c, "for nothing\n")
	}
	release <- struct{}{}
	for i := range conns[1:] {
		if end := w.closed(t, i+1); end.reason != parley.Reset {
			t.Errorf("one that was reset is closed for %v, %v", end.reason, end.err)
		}
	}
	if got := exchange(t, conns[0], "still here"); got != "hold\n" {
		t.Errorf("the first one got %q", got)
	}
}

func needLoops(t *testing.T) {
	t.Helper()
	if !hasLoops {
		t.Skip("there are no loops on this system")
	}
}
