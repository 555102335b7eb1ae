package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/guard"
	"github.com/parley-tcp/parley/internal/journal"
)

// serve has the page on a port of this host for the time of a test.
func serve(t *testing.T, p *Page) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return l.Addr().String()
}

// connect opens a connection that gives up in time.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// A body is never waited for, whatever its request says of it, nor on which route.
func TestRequestBodiesAreRefused(t *testing.T) {
	addr := serve(t, New(Options{}))
	for _, path := range []string{"/", "/state", "/nowhere"} {
		for _, has := range []string{"Content-Length: 10", "Content-Length: 10000000", "Transfer-Encoding: chunked", "Content-Length: 5\r\nExpect: 100-continue"} {
			for _, method := range []string{"GET", "POST"} {
				conn := connect(t, addr)
				fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", method, path, addr, has)
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Errorf("%s %s with %s: %v", method, path, has, err)
					continue
				}
				if answer.StatusCode != http.StatusRequestEntityTooLarge || !answer.Close {
					t.Errorf("%s %s with %s = %s, closed %v", method, path, has, answer.Status, answer.Close)
				}
				answer.Body.Close()
				conn.Close()
			}
		}
	}
}

// What comes too slowly, or not at all, is hung up on: before the first request, inside one,
// and after one.
func TestSilentBrowsersAreHungUpOn(t *testing.T) {
	for name, begins := range map[string]string{
		"nothing": "", "half a request": "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", "a request": "GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"half a form": "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken=",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, end := servePipes(New(Options{Token: "of some length"}))
				ours := l.dial()
				start := time.Now()
				if begins != "" {
					io.WriteString(ours, begins)
				}
				if _, err := io.Copy(io.Discard, ours); err != nil {
					t.Errorf("the connection ends with %v", err)
				}
				if after := time.Since(start); after < min(guard.ReadWithin, guard.IdleWithin) || after > max(guard.ReadWithin, guard.IdleWithin) {
					t.Errorf("it was hung up on after %v", after)
				}
				if err := end(); err != nil {
					t.Errorf("Serve = %v", err)
				}
			})
		})
	}
}

// servePipes has the page on connections in memory until end is called.
func servePipes(p *Page) (l *pipeListener, end func() error) {
	l = &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	return l, func() error { stop(); return <-served }
}

// A pipeListener hands out connections in memory, for which time can be fake.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// However many connections come that ask for nothing, so many are held: those before are hung up on, and others are
// answered at once.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, end := servePipes(New(Options{}))
		start := time.Now()
		var held []net.Conn
		for range maxConnections {
			held = append(held, l.dial())
		}
		for range 3 {
			l.dial()
			if n, err := held[0].Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("one too many reads %d bytes, %v", n, err)
			}
			held = held[1:]
		}
		conn := l.dial()
		io.WriteString(conn, "GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK\r\n") {
			t.Errorf("after them a browser reads %q, %v", answer, err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("all this took %v, want no time", waited)
		}
		if err := end(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// Many more browsers than connections are served while none of them holds on to its own.
func TestIdleBrowsersGiveWay(t *testing.T) {
	addr := serve(t, New(Options{}))
	for n := range 3 * maxConnections {
		conn := connect(t, addr)
		fmt.Fprintf(conn, "GET /state HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("browser %d: %v", n+1, err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		if answer.Close { // wait until its place is free
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}
}

// While no connection can be accepted it is said, a line a second at most, and the page ends
// when it is to.
func TestComplaintsOfTheHTTPServerAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		p := New(Options{Warn: func(line string) { told = append(told, line) }})
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		l := noDescriptors{pipeListener{closed: make(chan struct{})}}
		if err := p.Serve(ctx, &l); err != nil {
			t.Errorf("Serve = %v", err)
		}
		if len(told) < 2 || len(told) > 4 || !strings.Contains(told[0], "too many open files") || !strings.Contains(told[1], " more before)") {
			t.Errorf("in three seconds it is told %q", told)
		}
		for _, line := range told {
			if strings.Contains(line, "\n") {
				t.Errorf("%q is not one line", line)
			}
		}
	})
}

// noDescriptors is a listener of a process that can open nothing.
type noDescriptors struct{ pipeListener }

func (l *noDescriptors) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
}

// Serve returns though a browser holds on to its connection, another has not asked for
// anything yet, and what a third asked for takes its time.
func TestServeEnds(t *testing.T) {
	h := slowHistory{asked: make(chan struct{}), answer: make(chan struct{})}
	defer close(h.answer)
	p := New(Options{History: h})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	addr := l.Addr().String()
	connect(t, addr)
	idle := connect(t, addr)
	fmt.Fprintf(idle, "GET /nowhere HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
	if _, err := idle.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(connect(t, addr), "GET /earlier HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
	<-h.asked
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}

	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New(Options{}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve of a closed listener = %v", err)
	}
}

// A slowHistory is a journal on a disk that does not answer.
type slowHistory struct {
	lateHistory
	asked, answer chan struct{}
}

func (h slowHistory) Earlier(context.Context, int) ([]journal.Session, error) {
	close(h.asked)
	<-h.answer
	return nil, nil
}
