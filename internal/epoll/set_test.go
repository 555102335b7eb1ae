//go:build linux && !386

package epoll

import (
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newSet(t *testing.T) *Set {
	t.Helper()
	s, err := NewSet()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Free)
	return s
}

// pair is two connected non-blocking sockets.
func pair(t *testing.T) (a, b int) {
	t.Helper()
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p[0], p[1]
}

// wait returns the events of one Wait by number, those of nobody left out.
func wait(t *testing.T, s *Set, timeout time.Duration) map[uint32]uint32 {
	t.Helper()
	n, err := s.Wait(timeout)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[uint32]uint32)
	for i := range n {
		if id, events := s.Event(i); events != 0 {
			got[id] = events
		}
	}
	return got
}

func TestReadinessIsALevel(t *testing.T) {
	s := newSet(t)
	ours, theirs := pair(t)
	defer CloseFD(theirs)
	id, err := s.Add(ours, In)
	if err != nil {
		t.Fatal(err)
	}
	if got := wait(t, s, 0); len(got) != 0 {
		t.Errorf("with nothing there: %v", got)
	}
	syscall.Write(theirs, []byte("ab"))
	for range 2 {
		if got := wait(t, s, -1); got[id] != In {
			t.Errorf("with two bytes there: %v", got)
		}
	}
	buf := make([]byte, 10)
	if n, err := Read(ours, buf); n != 2 || err != nil {
		t.Errorf("Read = %d, %v", n, err)
	}
	if _, err := Read(ours, buf); err != syscall.EAGAIN {
		t.Errorf("Read of nothing = %v, want EAGAIN", err)
	}
	if err := s.Change(id, Out); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, s, -1); got[id] != Out {
		t.Errorf("with room to write: %v", got)
	}
	if n, err := Write(ours, []byte("c")); n != 1 || err != nil {
		t.Errorf("Write = %d, %v", n, err)
	}
	s.Change(id, In)
	CloseWrite(theirs)
	if got := wait(t, s, -1); got[id]&In == 0 {
		t.Errorf("at the end of file: %v", got)
	}
	if n, err := Read(ours, buf); n != 0 || err != nil {
		t.Errorf("Read at the end of file = %d, %v", n, err)
	}
	s.Close(id)
}

// A number and a descriptor that are given away again get no event of their former
// owner.
func TestReusedNumberGetsNoStaleEvent(t *testing.T) {
	s := newSet(t)
	ours, theirs := pair(t)
	id, err := s.Add(ours, In)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Write(theirs, []byte("a"))
	n, err := s.Wait(-1)
	if n != 1 || err != nil {
		t.Fatalf("Wait = %d, %v", n, err)
	}
	s.Close(id) // between Wait and its events
	CloseFD(theirs)
	again, theirs2 := pair(t)
	defer CloseFD(theirs2)
	id2, err := s.Add(again, In)
	if err != nil || id2 != id || again != ours {
		t.Fatalf("the new one is number %d and descriptor %d, %v; want %d and %d again", id2, again, err, id, ours)
	}
	if id, events := s.Event(0); events != 0 {
		t.Errorf("number %d got the events %x of its former owner", id, events)
	}
	s.Close(id2)
}

// A descriptor that is closed under the set is an error of the next call, not a crash.
func TestDescriptorClosedUnderTheSet(t *testing.T) {
	s := newSet(t)
	ours, theirs := pair(t)
	defer CloseFD(theirs)
	id, err := s.Add(ours, In)
	if err != nil {
		t.Fatal(err)
	}
	CloseFD(ours)
	if err := s.Change(id, Out); err == nil {
		t.Error("Change of a closed descriptor is no error")
	}
	if _, err := Read(ours, make([]byte, 1)); err != syscall.EBADF {
		t.Errorf("Read = %v, want EBADF", err)
	}
	if _, err := s.Add(ours, In); err == nil {
		t.Error("Add of a closed descriptor is no error")
	}
}

func TestRingEndsAWait(t *testing.T) {
	s := newSet(t)
	for range 3 {
		waited := make(chan error, 1)
		go func() {
			_, err := s.Wait(-1)
			waited <- err
		}()
		s.wake()
		s.wake()
		if err := <-waited; err != nil {
			t.Errorf("Wait = %v", err)
		}
		if !s.wasWoken() || s.wasWoken() {
			t.Error("wasWoken is not true once")
		}
	}
	if got := wait(t, s, 0); len(got) != 0 || s.wasWoken() {
		t.Errorf("afterwards: %v", got)
	}
}

// Each of many senders has what it sent read once and in order, also while the reader sleeps, and also what is
// sent while a mailbox is read.
func TestMailbox(t *testing.T) {
	const senders, each = 4, 1000
	s := newSet(t)
	m := NewMailbox[[2]int](s)
	m.Read(func(got [2]int) { t.Errorf("an empty mailbox holds %v", got) })
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				m.Send([2]int{sender, i})
			}
		})
	}
	var next [senders]int
	answered, left := false, senders*each+1
	for left > 0 {
		if _, err := s.Wait(-1); err != nil {
			t.Fatal(err)
		}
		m.Read(func(got [2]int) {
			if left--; got == [2]int{-1, -1} {
				answered = true
				return
			}
			if got[1] != next[got[0]] {
				t.Fatalf("sender %d: %d where %d comes next", got[0], got[1], next[got[0]])
			}
			if next[got[0]]++; got == [2]int{0, 0} {
				m.Send([2]int{-1, -1})
			}
		})
	}
	sending.Wait()
	if !answered {
		t.Error("what was sent while it was read is lost")
	}
}

func TestAcceptTellsTheAddresses(t *testing.T) {
	for _, c := range []struct{ network, at string }{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}} {
		l, err := net.Listen(c.network, c.at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		host := "127.0.0.1"
		if c.network == "tcp6" {
			host = "::1"
		}
		peer, err := net.Dial("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		fd, remote, local := acceptOne(t, l.(*net.TCPListener))
		if remote.IP.String() != peer.LocalAddr().String() || local.IP.String() != peer.RemoteAddr().String() {
			t.Errorf("%s: from %v to %v, want %v to %v", c.network, remote, local, peer.LocalAddr(), peer.RemoteAddr())
		}
		CloseFD(fd)
	}
	for _, name := range []string{"", "@abstract", t.TempDir() + "/peer"} {
		path := t.TempDir() + "/s"
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var from *net.UnixAddr
		want := "@"
		if name != "" {
			from, want = &net.UnixAddr{Name: name, Net: "unix"}, name
		}
		peer, err := net.DialUnix("unix", from, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		fd, remote, local := acceptOne(t, l)
		if remote.Path != want || remote.IP.IsValid() || local.Path != path {
			t.Errorf("from %q to %v, want %q, %q", remote.Path, local, want, path)
		}
		CloseFD(fd)
	}
}

func acceptOne(t *testing.T, l syscall.Conn) (fd int, remote, local Address) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(listener uintptr) {
		s := newSet(t)
		if _, err = s.Add(int(listener), In); err != nil {
			return
		}
		if _, err = s.Wait(-1); err != nil {
			return
		}
		fd, remote, err = Accept(int(listener))
		local = Local(fd)
		if err == nil {
			_, _, again := Accept(int(listener))
			if again != syscall.EAGAIN {
				t.Errorf("Accept with nobody there = %v, want EAGAIN", again)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fd, remote, local
}

// What is set on the listener is inherited, also by the connections of an MPTCP one,
// which is what net.Listen makes.
func TestConnectionsInheritTheOptions(t *testing.T) {
	for _, mptcp := range []bool{false, true} {
		config := net.ListenConfig{KeepAlive: -1}
		config.SetMultipathTCP(mptcp)
		l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { SetOptions(int(fd)) })
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		fd, _, _ := acceptOne(t, l.(*net.TCPListener))
		for _, o := range []struct {
			name              string
			level, opt, value int
		}{
			{"TCP_NODELAY", syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
			{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
			{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15},
			{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},
		} {
			if got, err := syscall.GetsockoptInt(fd, o.level, o.opt); got != o.value {
				t.Errorf("mptcp %v: %s = %d, %v; want %d", mptcp, o.name, got, err, o.value)
			}
		}
		CloseFD(fd)
	}
}

func TestWaitIsNotCutShort(t *testing.T) {
	s := newSet(t)
	begun := time.Now()
	if _, err := s.Wait(1500 * time.Microsecond); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(begun); waited < 1500*time.Microsecond {
		t.Errorf("waited %v, want at least 1.5ms", waited)
	}
}

func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // the runtime's poller opens descriptors of its own, once
	}
	before, _ := os.ReadDir("/proc/self/fd")
	code := m.Run()
	if now, _ := os.ReadDir("/proc/self/fd"); code == 0 && len(now) > len(before) {
		println("FAIL: descriptors were left open:", len(now), "of", len(before))
		code = 1
	}
	os.Exit(code)
}

// The runtime waits for the file of a set without a thread, and hears of sockets and wake-ups.
func TestFileIsReadableWhileSocketsAreReady(t *testing.T) {
	s := newSet(t)
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := pair(t)
	defer CloseFD(theirs)
	id, err := s.Add(ours, In)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(id)
	n := 0
	poll := func(uintptr) bool {
		if n, err = s.Wait(0); err != nil {
			t.Error(err)
		}
		return n > 0
	}
	f.SetReadDeadline(time.Now().Add(time.Millisecond))
	if err := raw.Read(poll); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with nothing there: %v, want the deadline", err)
	}
	f.SetReadDeadline(time.Now().Add(30 * time.Second))
	var writing sync.WaitGroup
	writing.Go(func() { syscall.Write(theirs, []byte("a")) })
	if err := raw.Read(poll); err != nil || n != 1 {
		t.Errorf("%d are ready, %v", n, err)
	}
	if got, events := s.Event(0); got != id || events != In {
		t.Errorf("event %d, %#x", got, events)
	}
	writing.Wait()
	Read(ours, make([]byte, 1))
	writing.Go(s.wake)
	if err := raw.Read(poll); err != nil || !s.wasWoken() {
		t.Errorf("after a wake-up: %v", err)
	}
	writing.Wait()
}

func TestTransparentListeners(t *testing.T) {
	for _, on := range []int{0, 1} {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, syscall.IP_TRANSPARENT, on) })
			return err
		}}
		config.SetMultipathTCP(false) // of which not every kernel says it
		l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if errors.Is(err, os.ErrPermission) {
			continue // the option is root's
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if got := Transparent(int(fd)); got != (on != 0) {
				t.Errorf("with the option %d: %v", on, got)
			}
		})
		l.Close()
	}
}

func TestMillisecondsOfAWait(t *testing.T) {
	for timeout, want := range map[time.Duration]int{
		-1: -1, math.MinInt64: -1, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		maxWait - 1: 1 << 30, maxWait: 1 << 30, maxWait + 1: 1 << 30, math.MaxInt64 - 1: 1 << 30, math.MaxInt64: 1 << 30,
	} {
		if got := milliseconds(timeout); got != want {
			t.Errorf("%d ns are %d ms, want %d", timeout, got, want)
		}
	}
}
