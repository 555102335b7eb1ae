//go:build !386

package parley

import (
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func TestUserTimeout(t *testing.T) {
	for _, c := range []struct {
		write time.Duration
		want  int
	}{
		{0, 60000}, // the default
		{10 * time.Second, 60000},
		{time.Millisecond, 6},
		{time.Nanosecond, 1},
		{-1, 0},
		{600000 * time.Hour, math.MaxInt32 / 6 * 6},
		{math.MaxInt64, math.MaxInt32 / 6 * 6},
	} {
		srv := &Server{Handler: echo, WriteTimeout: c.write}
		srv.init()
		if got := srv.settings.userTimeout(); got != c.want {
			t.Errorf("with a write timeout of %v it is %d ms, want %d", c.write, got, c.want)
		}
	}
}

// Each connection has it, on both engines, be it inherited from the listener or, where that
// has none, set.
func TestConnectionsHaveTheUserTimeout(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		for _, engine := range []Engine{Goroutines, Loops} {
			for write, want := range map[time.Duration]int{2 * time.Second: 12000, -1: 0} {
				var listen net.ListenConfig
				listen.SetMultipathTCP(multipath)
				l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				fds := make(chan int, 1)
				srv := &Server{Engine: engine, WriteTimeout: write, Handler: HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
					fds <- socketOf(t, req.Session)
					return append(dst, req.Body...), nil
				})}
				served := make(chan error, 1)
				go func() { served <- srv.Serve(l) }()
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(c, "x\n")
				io.ReadFull(c, make([]byte, 2))
				if got, err := syscall.GetsockoptInt(<-fds, syscall.IPPROTO_TCP, tcpUserTimeout); got != want || err != nil {
					t.Errorf("%v, multipath %v, a write timeout of %v: it is %d ms, %v; want %d", engine, multipath, write, got, err, want)
				}
				c.Close()
				srv.Close()
				<-served
			}
		}
	}
}

// socketOf is the descriptor of this process that is connected to a session's peer.
func socketOf(t *testing.T, s *Session) int {
	remote := s.RemoteAddr().(*net.TCPAddr)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	for fd := range 3 + 2*len(entries) {
		if peer, err := syscall.Getpeername(fd); err == nil {
			if in, ok := peer.(*syscall.SockaddrInet4); ok && in.Port == remote.Port {
				return fd
			}
		}
	}
	t.Errorf("no descriptor is connected to %v", remote)
	return -1
}

// A peer that vanishes with a reply unacknowledged is given up, though no clock of its session
// runs: a network of its own is taken down under it.
func TestVanishedPeerIsGivenUp(t *testing.T) {
	for _, engine := range []Engine{Goroutines, Loops} {
		t.Run(engine.String(), func(t *testing.T) {
			unshared := make(chan error)
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // and never unlock it: the thread ends with its network
				err := syscall.Unshare(syscall.CLONE_NEWNET)
				unshared <- err
				if err == nil {
					vanish(t, engine)
				}
			}()
			err := <-unshared
			<-done
			if err != nil && os.Getenv("CI") != "" {
				t.Fatalf("a network of its own: %v", err)
			} else if err != nil {
				t.Skipf("it takes root to make a network of its own: %v", err)
			}
		})
	}
}

func vanish(t *testing.T, engine Engine) {
	setLoopback(t, true)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	ends := make(chan Event, 1)
	asked, answer := make(chan struct{}), make(chan struct{})
	srv := &Server{Engine: engine, IdleTimeout: -1, WriteTimeout: 200 * time.Millisecond,
		Handler: HandlerFunc(func(dst []byte, req *Request) ([]byte, error) {
			asked <- struct{}{}
			<-answer
			return append(dst, req.Body...), nil
		}),
		Observer: ObserverFunc(func(e *Event) {
			if e.Kind == Closed {
				ends <- *e
			}
		})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	io.WriteString(c, "x\n")
	<-asked
	setLoopback(t, false)
	answer <- struct{}{}
	select {
	case end := <-ends:
		if end.Reason != WriteTimeout {
			t.Errorf("closed for %v, %v; want write_timeout", end.Reason, end.Err)
		}
	case <-time.After(30 * time.Second):
		t.Error("after 30 s the session is still held")
	}
	srv.Close()
	<-served
}

// setLoopback has the loopback interface of this thread's network up or down.
func setLoopback(t *testing.T, up bool) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer syscall.Close(fd)
	var request struct { // struct ifreq of netdevice(7)
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	if up {
		request.flags = syscall.IFF_UP
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		t.Errorf("loopback up %v: %v", up, errno)
	}
}
