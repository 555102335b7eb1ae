package parley_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// Every clock, exactly, with fake time over connections in memory.

// An ending is how a session ended and when, since its opening.
type ending struct {
	reason parley.CloseReason
	after  time.Duration
}

// inBubble has a conversation in fake time with srv and returns how it ended.
func inBubble(t *testing.T, srv *parley.Server, client func(c *parleytest.Conn)) (end ending) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if srv.Handler == nil {
			srv.Handler = echo
		}
		srv.Observer = parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Closed {
				end = ending{e.Reason, e.Took}
			}
		})
		c := parleytest.Pipe(t, srv)
		client(c)
		synctest.Wait()
	})
	return end
}

// readToEnd reads until the end of file and returns what came.
func readToEnd(t *testing.T, c net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v, want the end of file", err)
	}
	return string(got)
}

func TestClocksOfAServer(t *testing.T) {
	for _, c := range []struct {
		name   string
		srv    *parley.Server
		client func(t *testing.T, c *parleytest.Conn)
		want   ending
	}{
		{"nothing ever comes", &parley.Server{}, func(t *testing.T, c *parleytest.Conn) { readToEnd(t, c) },
			ending{parley.FirstByteTimeout, 5 * time.Minute}},
		{"first byte", &parley.Server{FirstByteTimeout: 10 * time.Second}, func(t *testing.T, c *parleytest.Conn) { readToEnd(t, c) },
			ending{parley.FirstByteTimeout, 10 * time.Second}},
		{"idle, kept alive at the last moment", &parley.Server{}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(5*time.Minute - 1)
			io.WriteString(c, "a\n")
			if got := readToEnd(t, c); got != "a\n" {
				t.Errorf("got %q: a clock must not be told in a text", got)
			}
		}, ending{parley.IdleTimeout, 10*time.Minute - 1}},
		{"a drip of a byte per 4s", &parley.Server{}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(time.Second)
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					break
				}
				time.Sleep(4 * time.Second)
			}
		}, ending{parley.RequestTimeout, 31 * time.Second}},
		{"idle off", &parley.Server{IdleTimeout: -1}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(1000 * time.Hour)
			io.WriteString(c, "a\n\n")
			readToEnd(t, c)
		}, ending{parley.Blank, 1000 * time.Hour}},
		{"a clock that ran, then all are off", &parley.Server{FirstByteTimeout: 10 * time.Second, IdleTimeout: -1, RequestTimeout: -1}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(5 * time.Second)
			io.WriteString(c, "a\nb")
			time.Sleep(time.Hour)
			io.WriteString(c, "\n\n")
			if got := readToEnd(t, c); got != "a\nb\n" {
				t.Errorf("got %q, want both replies", got)
			}
		}, ending{parley.Blank, time.Hour + 5*time.Second}},
		{"never reads", &parley.Server{Handler: large}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(time.Second)
			io.WriteString(c, "a\n")
			time.Sleep(time.Hour)
		}, ending{parley.WriteTimeout, 11 * time.Second}},
		{"reads a little now and then", &parley.Server{Handler: large}, func(t *testing.T, c *parleytest.Conn) {
			time.Sleep(time.Second)
			io.WriteString(c, "a\n")
			buf := make([]byte, 4<<10)
			for {
				time.Sleep(9 * time.Second)
				if _, err := io.ReadFull(c, buf); err != nil {
					return
				}
			}
		}, ending{parley.WriteTimeout, 61 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			end := inBubble(t, c.srv, func(conn *parleytest.Conn) { c.client(t, conn) })
			if end != c.want {
				t.Errorf("closed for %v after %v, want %v after %v", end.reason, end.after, c.want.reason, c.want.after)
			}
		})
	}
}

// large is more of a reply than a connection in memory holds.
var large = parley.HandlerFunc(func(dst []byte, _ *parley.Request) ([]byte, error) {
	return append(dst, make([]byte, 1<<20)...), nil
})

// While a handler works, no clock that waits for the peer runs.
func TestClocksStandStillWhileAHandlerWorks(t *testing.T) {
	slow := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		time.Sleep(time.Hour)
		return append(dst, req.Body...), nil
	})
	end := inBubble(t, &parley.Server{Handler: slow}, func(c *parleytest.Conn) {
		io.WriteString(c, "a\nbegun")
		if got := readToEnd(t, c); got != "a\n" {
			t.Errorf("got %q, want the one reply", got)
		}
	})
	if want := (ending{parley.RequestTimeout, time.Hour + 30*time.Second}); end != want {
		t.Errorf("closed for %v after %v, want %v after %v", end.reason, end.after, want.reason, want.after)
	}
}

// Replies are flushed together, but none waits for more than a millisecond behind a
// slow handler.
func TestRepliesDoNotWaitBehindASlowHandler(t *testing.T) {
	handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "slow" {
			time.Sleep(time.Minute)
		}
		return append(dst, req.Body...), nil
	})
	inBubble(t, &parley.Server{Handler: handler}, func(c *parleytest.Conn) {
		start := time.Now()
		io.WriteString(c, "a\nb\nslow\nc\nslow\n")
		buf := make([]byte, 100)
		for _, want := range []struct {
			text string
			at   time.Duration
		}{{"a\nb\n", time.Millisecond}, {"slow\nc\n", time.Minute + time.Millisecond}, {"slow\n", 2 * time.Minute}} {
			n, err := c.Read(buf)
			if got := string(buf[:n]); got != want.text || time.Since(start) != want.at || err != nil {
				t.Errorf("after %v got %q, %v; want %q after %v", time.Since(start), got, err, want.text, want.at)
			}
		}
	})
}

func TestUnfinishedIsToldOnceAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var told []string
		srv := &parley.Server{Handler: echo, Observer: parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Unfinished {
				told = append(told, fmt.Sprintf("%v %s", time.Since(start), e.Body))
			}
		})}
		c := parleytest.Pipe(t, srv)
		time.Sleep(time.Second)
		io.WriteString(c, "no new")
		time.Sleep(10 * time.Second)
		io.WriteString(c, "line\nagain")
		time.Sleep(10 * time.Second)
		c.CloseWrite()
		readToEnd(t, c)
		if got := strings.Join(told, ", "); got != "3s no new" {
			t.Errorf("told %q, want once after 3s", got)
		}
	})
}

// The server's close waits for the peer's end of file for a second at most.
func TestLingersForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo}
		client, server := parleytest.ConnPair()
		start := time.Now()
		served := make(chan error)
		go func() { served <- srv.ServeConn(server) }()
		io.WriteString(client, "\n")
		if _, err := client.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != 0 {
			t.Errorf("after %v Read = %v, want the end of file at once", time.Since(start), err)
		}
		if err := <-served; err != nil || time.Since(start) != time.Second {
			t.Errorf("ServeConn = %v after %v, want nil after 1s", err, time.Since(start))
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write = %v, want EPIPE", err)
		}
	})
}

// It discards 1 MiB at most.
func TestLingersForAMebibyte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo}
		client, server := parleytest.ConnPair()
		start := time.Now()
		served := make(chan error)
		go func() { served <- srv.ServeConn(server) }()
		io.WriteString(client, "\n")
		sent := 0
		for {
			n, err := client.Write(make([]byte, 1000))
			sent += n
			if err != nil {
				break
			}
		}
		if err := <-served; err != nil || time.Since(start) != 0 {
			t.Errorf("ServeConn = %v after %v, want nil at once", err, time.Since(start))
		}
		if sent < 1<<20 || sent > 1<<20+128<<10 {
			t.Errorf("%d bytes were taken, want 1 MiB and what buffers hold", sent)
		}
	})
}

// A badListener fails as often as it is told to, then waits.
type badListener struct {
	errs   []error
	calls  []time.Time
	closed chan struct{}
}

func (l *badListener) Accept() (net.Conn, error) {
	l.calls = append(l.calls, time.Now())
	if len(l.errs) == 0 {
		<-l.closed
		return nil, net.ErrClosed
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func (l *badListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *badListener) Addr() net.Addr { return parleytest.Addr("bad") }

func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &badListener{closed: make(chan struct{})}
		for range 10 {
			l.errs = append(l.errs, &net.OpError{Op: "accept", Err: syscall.EMFILE})
		}
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		var pauses []string
		for i := 1; i < len(l.calls); i++ {
			pauses = append(pauses, l.calls[i].Sub(l.calls[i-1]).String())
		}
		if got, want := strings.Join(pauses, " "), "5ms 10ms 20ms 40ms 80ms 160ms 320ms 640ms 1s 1s"; got != want {
			t.Errorf("pauses of %s, want %s", got, want)
		}
		if n := w.count(parley.AcceptFailed); n != 10 {
			t.Errorf("%d failures were told, want 10", n)
		}
		srv.Close()
		if err := <-served; err != parley.ErrServerClosed {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
}

func TestShutdownInterruptsTheWaitForAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &badListener{closed: make(chan struct{})}
		for range 100 {
			l.errs = append(l.errs, syscall.ENFILE)
		}
		srv := &parley.Server{Handler: echo}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		time.Sleep(10500 * time.Millisecond)
		start := time.Now()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if err := <-served; err != parley.ErrServerClosed || time.Since(start) != 0 {
			t.Errorf("Serve = %v after %v, want ErrServerClosed at once", err, time.Since(start))
		}
	})
}

// What is wrong with one connection, or for a moment, does not end Serve, also if nobody has
// heard of it; what is wrong with the listener does.
func TestOnlyALostListenerEndsServe(t *testing.T) {
	accepting := func(err error) error { return &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)} }
	passing := []error{errors.New("broken, but for good?")}
	for _, errno := range []syscall.Errno{syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.EHOSTUNREACH,
		syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENFILE} {
		passing = append(passing, accepting(errno))
	}
	synctest.Test(t, func(t *testing.T) {
		l := &badListener{closed: make(chan struct{}), errs: slices.Clone(passing)}
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(l.calls) != len(passing)+1 || w.count(parley.AcceptFailed) != len(passing) {
			t.Errorf("accepted %d times and told of %d errors, want one more than the %d errors", len(l.calls), w.count(parley.AcceptFailed), len(passing))
		}
		srv.Close()
		if err := <-served; err != parley.ErrServerClosed {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
	for _, final := range []error{net.ErrClosed, accepting(syscall.EBADF), accepting(syscall.EINVAL), accepting(syscall.ENOTSOCK)} {
		l, w := &badListener{closed: make(chan struct{}), errs: []error{final}}, new(witness)
		if err := (&parley.Server{Handler: echo, Observer: w}).Serve(l); err != final {
			t.Errorf("Serve = %v, want %v", err, final)
		}
		if told := w.count(parley.ListenerLost); (told == 1) == (final == net.ErrClosed) || w.count(parley.AcceptFailed) > 0 {
			t.Errorf("after %v it is told %d times that the listener is lost", final, told)
		}
	}
}

// A drain answers what was read and closes the idle at once; what does not end in
// time it cuts and names.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		srv := &parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			if string(req.Body) == "stuck" {
				<-req.Session.Context().Done()
				return dst, nil
			}
			time.Sleep(time.Second)
			return append(dst, req.Body...), nil
		})}
		idle, busy, stuck := parleytest.Pipe(t, srv), parleytest.Pipe(t, srv), parleytest.Pipe(t, srv)
		synctest.Wait()
		io.WriteString(busy, "a\nb\nbegun")
		io.WriteString(stuck, "stuck\n")
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		drained := make(chan error)
		go func() { drained <- srv.Shutdown(ctx) }()

		if got := readToEnd(t, idle); got != "" || time.Since(start) != 0 {
			t.Errorf("the idle one got %q after %v, want the end of file at once", got, time.Since(start))
		}
		idle.Close()
		if got := readToEnd(t, busy); got != "a\nb\n" || time.Since(start) != 2*time.Second {
			t.Errorf("the busy one got %q after %v, want both replies after 2s", got, time.Since(start))
		}
		busy.Close()
		err := <-drained
		var drain *parley.DrainError
		if !errors.As(err, &drain) || !errors.Is(err, context.DeadlineExceeded) || len(drain.Cut) != 1 || drain.Cut[0].RemoteAddr().String() != "client" {
			t.Errorf("Shutdown = %v, want a DrainError with the one that is stuck", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Shutdown took %v, want 10s", took)
		}
		if got, err := io.ReadAll(stuck); len(got) != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the stuck one got %q, %v", got, err)
		}
		reasons := make(map[parley.CloseReason]int)
		for _, e := range w.all() {
			if e.kind == parley.Closed {
				reasons[e.reason]++
			}
		}
		if reasons[parley.Draining] != 2 || reasons[parley.DrainCut] != 1 {
			t.Errorf("closed for %v, want two for shutdown and one for drain_cut", reasons)
		}
		if err := srv.ServeConn(must(parleytest.ConnPair())); err != parley.ErrServerClosed {
			t.Errorf("ServeConn after Shutdown = %v, want ErrServerClosed", err)
		}
	})
}

func must(_, server *parleytest.Conn) net.Conn { return server }

func TestCloseEndsEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		cause := make(chan error, 1)
		srv := &parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			ctx := req.Session.Context()
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return append(dst, req.Body...), nil
		})}
		c := parleytest.Pipe(t, srv)
		io.WriteString(c, "a\n")
		synctest.Wait()
		srv.Close()
		if got, err := io.ReadAll(c); len(got) != 0 {
			t.Errorf("got %q, %v; want nothing after Close", got, err)
		}
		if err := <-cause; err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("the session's context ended for %v", err)
		}
		synctest.Wait()
		if all := w.all(); all[len(all)-1].kind != parley.Closed || all[len(all)-1].reason != parley.ServerClosed {
			t.Errorf("the events are %v, want closed for closed at their end", all)
		}
	})
}

// A stuckConn cannot be closed before it is freed, as a TLS one whose peer has no room for
// the goodbye.
type stuckConn struct {
	*parleytest.Conn
	closing chan struct{} // receives when Close is called
	freed   chan struct{}
}

func (c *stuckConn) Close() error {
	select {
	case c.closing <- struct{}{}:
	default: // again
	}
	<-c.freed
	return c.Conn.Close()
}

// A stuckTLS is one that closing the connection below frees.
type stuckTLS struct{ *stuckConn }

func (c stuckTLS) NetConn() net.Conn { return freeing(c) }

type freeing struct{ *stuckConn }

func (c freeing) Close() error { close(c.freed); return nil }

// Connections whose close takes long are closed side by side, and without holding the
// server up.
func TestCloseThatTakesLongHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo}
		var served, closed sync.WaitGroup
		closing, freed := make(chan struct{}, 3), make(chan struct{})
		for range cap(closing) {
			_, server := parleytest.ConnPair()
			served.Go(func() { srv.ServeConn(&stuckConn{server, closing, freed}) })
		}
		synctest.Wait()
		closed.Go(func() { srv.Close() })
		for range cap(closing) {
			<-closing
		}
		if err := srv.ServeConn(must(parleytest.ConnPair())); err != parley.ErrServerClosed {
			t.Errorf("ServeConn = %v, want ErrServerClosed", err)
		}
		close(freed)
		closed.Wait()
		served.Wait()
	})
}

func TestCloseWaitsASecondForAGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo}
		var served sync.WaitGroup
		for range 3 {
			_, server := parleytest.ConnPair()
			served.Go(func() { srv.ServeConn(stuckTLS{&stuckConn{server, make(chan struct{}), make(chan struct{})}}) })
		}
		synctest.Wait()
		start := time.Now()
		srv.Close()
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v, want 1s", took)
		}
		served.Wait()
	})
}
