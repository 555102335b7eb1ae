//go:build !386

package parley

import (
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
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

// Each connection has it, on both engines, whatever the listener is, also one that came before
// it was served.
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
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan error, 1)
				go func() { served <- srv.Serve(l) }()
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

// socketOf is the descriptor of this process between a session's two addresses.
func socketOf(t *testing.T, s *Session) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	port := func(sa syscall.Sockaddr, _ error) int {
		in, _ := sa.(*syscall.SockaddrInet4)
		if in == nil {
			return -1
		}
		return in.Port
	}
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		if port(syscall.Getpeername(fd)) == s.RemoteAddr().(*net.TCPAddr).Port && port(syscall.Getsockname(fd)) == s.LocalAddr().(*net.TCPAddr).Port {
			return fd
		}
	}
	t.Errorf("no descriptor is between %v and %v", s.RemoteAddr(), s.LocalAddr())
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
