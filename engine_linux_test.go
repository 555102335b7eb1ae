//go:build !386

package parley

import (
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A descriptor that somebody closes under a loop ends its session with an error; the
// others of that loop go on.
func TestDescriptorClosedUnderALoop(t *testing.T) {
	var srv *Server
	reasons := make(chan CloseReason, 10)
	srv = &Server{
		Engine: Loops,
		Observer: ObserverFunc(func(e *Event) {
			if e.Kind == Closed {
				reasons <- e.Reason
			}
		}),
		Handler: HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
			if string(req.Body) == "close" {
				for _, l := range srv.loops.all {
					for id := range l.conns.Len() {
						if loopConn := *l.conns.At(id); loopConn != nil && loopConn.session == req.Session {
							syscall.Close(int(loopConn.fd))
						}
					}
				}
			}
			return append(dst, req.Body...), nil
		}),
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one loop, whose tables its handlers may read
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(30 * time.Second))
		return c
	}
	other, victim := dial(), dial()
	defer other.Close()
	defer victim.Close()
	say := func(c net.Conn, text string) string {
		io.WriteString(c, text)
		reply := make([]byte, len(text))
		n, _ := io.ReadFull(c, reply)
		return string(reply[:n])
	}
	say(other, "a\n")
	say(victim, "b\n")
	if got := say(victim, "close\n"); got != "" {
		t.Errorf("over a closed descriptor came %q", got)
	}
	if reason := <-reasons; reason != IOError {
		t.Errorf("closed for %v, want io_error", reason)
	}
	if got := say(other, "still here\n"); got != "still here\n" {
		t.Errorf("another session of the loop got %q", got)
	}
	srv.Close()
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve = %v", err)
	}
}

// A loop that reads its clock much later than it meant to did not run: clocks begin anew. One
// that has slept for as long as it meant to did.
func TestLoopThatDidNotRun(t *testing.T) {
	srv := &Server{Engine: Loops, Handler: echo}
	srv.init()
	l, err := newLoop(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.set.Free()
	for _, c := range []struct {
		asleep, late time.Duration
		anew         bool
	}{
		{0, maxLate / 2, false},
		{0, 2 * maxLate, true},
		{time.Hour, maxLate / 2, false},
		{time.Hour, 2 * maxLate, true},
		{forEver, 1000 * time.Hour, false},
	} {
		l.last = time.Now().Add(-c.asleep - c.late)
		if c.asleep == forEver {
			l.last = time.Now().Add(-c.late)
		}
		l.asleep = c.asleep
		session := &Session{opened: time.Now().Add(-2000 * time.Hour)}
		talking := &loopConn{conversation: conversation{settings: &l.settings, session: session}}
		lingering := &loopConn{conversation: talking.conversation, lingering: true}
		l.conns.Grow(1)
		*l.conns.At(0), *l.conns.At(1) = talking, lingering
		now := l.clock()
		if anew := talking.clock == talking.since(now); anew != c.anew {
			t.Errorf("asleep for %v and %v late: the clocks begin anew: %v", c.asleep, c.late, anew)
		}
		if anew := lingering.armed == lingering.since(now)+lingerTime; anew != c.anew {
			t.Errorf("asleep for %v and %v late: who lingers has its second anew: %v", c.asleep, c.late, anew)
		}
	}
}

// What a loop keeps of an idle session is small.
func TestSizeOfALoopConn(t *testing.T) {
	srv := &Server{Engine: Loops, Handler: echo, MaxSessions: 5000}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const sessions = 2000
	var fds []int
	connect := func(n int) {
		for range n {
			// A bare descriptor: the client's end costs no heap.
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
			at := l.Addr().(*net.TCPAddr)
			if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			syscall.Write(fd, []byte("x\n"))
			if n, err := syscall.Read(fd, make([]byte, 2)); n != 2 {
				t.Fatal(n, err)
			}
		}
	}
	connect(10)
	before := heap()
	connect(sessions)
	if each := (heap() - before) / sessions; each > 600 {
		t.Errorf("%d bytes of heap an idle session, want at most 600", each)
	}
	for _, fd := range fds {
		syscall.Close(fd)
	}
	srv.Close()
	<-served
}

// An error of accept4 that passes costs nobody who waits at the listener: of them the loop
// was told once, and is told no more. Neither does one of the loop that is to watch it.
func TestLoopsAcceptOnAfterAnError(t *testing.T) {
	for name, fail := range map[string]func(a *loopAcceptor, once error){
		"of accept4": func(a *loopAcceptor, once error) {
			a.some = func(listener uintptr) {
				if a.err, once = once, nil; a.err == nil {
					a.acceptSome(listener)
				}
			}
		},
		"of the watcher": func(a *loopAcceptor, once error) { a.watched = true; a.wakeUp(once) },
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 10)
			srv := &Server{Engine: Loops, Handler: echo, Observer: ObserverFunc(func(e *Event) {
				if e.Kind == AcceptFailed {
					failed <- e.Err
				}
			})}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv.init()
			entrance, err := srv.newAcceptor(l)
			if err != nil {
				t.Fatal(err)
			}
			a := entrance.(*loopAcceptor)
			a.look.Reset(time.Hour) // it would find them too, if late
			once := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EPROTO)}
			fail(a, once)
			served := make(chan error, 1)
			go func() { served <- srv.acceptFrom(a) }()
			for range 3 {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				io.WriteString(c, "x\n")
				if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
					t.Errorf("a peer behind the error: %v", err)
				}
			}
			if err := <-failed; err != once {
				t.Errorf("told of %v, want %v", err, once)
			}
			srv.Close()
			if err := <-served; err != ErrServerClosed {
				t.Errorf("Serve = %v, want ErrServerClosed", err)
			}
		})
	}
}

// A hangUpWatch is an observer that looks at each flush, the moment at which events are
// published, whether a peer can see the end of a session already that is published only now.
type hangUpWatch struct {
	peer   syscall.RawConn
	closed bool // Closed was told, and is not published
	early  atomic.Bool
	done   chan struct{} // receives when Closed is published
}

func (w *hangUpWatch) Observe(e *Event) { w.closed = w.closed || e.Kind == Closed }

func (w *hangUpWatch) Flush() {
	if !w.closed {
		return
	}
	w.closed = false
	w.peer.Read(func(fd uintptr) bool {
		for buf := make([]byte, 100); ; {
			n, err := syscall.Read(int(fd), buf)
			if n <= 0 {
				w.early.Store(err != syscall.EAGAIN)
				return true
			}
		}
	})
	w.done <- struct{}{}
}

// However a session ends, that is published before its peer can see the end of file.
func TestEndIsPublishedBeforeTheHangUp(t *testing.T) {
	handler := HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
		switch string(req.Body) {
		case "bye":
			return append(dst, "bye"...), ErrHangUp
		case "fail":
			return dst, io.ErrUnexpectedEOF
		}
		return append(dst, req.Body...), nil
	})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one loop, so one that flushes
	for _, text := range []string{"\n", "a\n\n", "bye\n", "a\nbye\n", "a\nfail\n", "fail\n", "a\n" + strings.Repeat("x", 200)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		w := &hangUpWatch{peer: raw, done: make(chan struct{}, 1)}
		io.WriteString(c, text)
		srv := &Server{Engine: Loops, Handler: handler, Observer: w, MaxRequest: 100}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		<-w.done
		if w.early.Load() {
			t.Errorf("after %.10q the peer sees the end of file before it is published", text)
		}
		c.Close()
		srv.Close()
		<-served
	}
}
