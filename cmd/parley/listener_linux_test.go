package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that has lost its listener for good says so, ends with those who are still there,
// idle or not, and exits with 2.
func TestServerWithoutItsListenerEnds(t *testing.T) {
	for _, engine := range []string{"goroutines", "loops"} {
		s := startServer(t, "--echo", "-q", "--engine", engine, "--idle-timeout", "1h")
		conn := connect(t, s.addr)
		fmt.Fprintln(conn, "a")
		io.ReadFull(conn, make([]byte, 2))
		shutListener(t, s.Process.Pid)
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("%s: a connection that was open: %q, %v; want its end", engine, rest, err)
		}
		if code := s.exit(t); code != 2 {
			t.Errorf("%s: exit code %d, want 2", engine, code)
		}
		want := "parley: nobody can connect any more, the listener is lost: accept4: invalid argument\nparley: 1 session, 0 probes, 1 request, 2 bytes in, 2 bytes out\n"
		if got := s.stderr.String(); got != want {
			t.Errorf("%s: stderr %q, want %q", engine, got, want)
		}
	}
}

// Of several listeners one that is lost ends all, and is named.
func TestServerWithoutOneOfItsListenersEnds(t *testing.T) {
	s := startServer(t, "--echo", "-q", "--listen", "127.0.0.1:0")
	one, other, _ := strings.Cut(s.addr, "\n")
	conn := connect(t, other)
	fmt.Fprintln(conn, "a")
	io.ReadFull(conn, make([]byte, 2))
	lost := shutListener(t, s.Process.Pid)
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
		t.Errorf("a connection that was open: %q, %v; want its end", rest, err)
	}
	if code := s.exit(t); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	want := "parley: the listener at " + lost + " is lost, and the others end with it: accept4: invalid argument\n"
	if got := s.stderr.String(); !strings.Contains(got, want) || lost != one && lost != other {
		t.Errorf("stderr %q, want %q in it", got, want)
	}
}

// A tap that has lost its listener for good says so, lets its connections end, and ends
// with 2.
func TestTapWithoutItsListenerEnds(t *testing.T) {
	s := startServer(t, "-q", "--echo")
	tap := startTap(t, s.addr)
	conn := connect(t, tap.addr)
	fmt.Fprintln(conn, "a")
	io.ReadFull(conn, make([]byte, 2))
	shutListener(t, tap.Process.Pid)
	tap.stderr.await(t, "parley: nobody can connect any more, the listener is lost: accept4: invalid argument\n")
	fmt.Fprintln(conn, "b")
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		t.Errorf("a connection that was open: %v", err)
	}
	conn.Close()
	if code := tap.exit(t); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	want := "parley: 1 session, 0 probes, 2 requests, 4 bytes in, 4 bytes out\n"
	if got := tap.stderr.String(); !strings.HasSuffix(got, want) {
		t.Errorf("stderr %q, want it to end in %q", got, want)
	}
}

// shutListener shuts the socket that a process of ours listens on down, by a copy of its
// descriptor: accept fails from then on. It returns where that was.
func shutListener(t *testing.T, pid int) (addr string) {
	t.Helper()
	const pidfdOpen, pidfdGetfd = 434, 438
	process, _, errno := syscall.Syscall(pidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		skipOutsideCI(t, "pidfd_open: "+errno.Error())
	}
	defer syscall.Close(int(process))
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		number, _ := strconv.Atoi(entry.Name())
		fd, _, errno := syscall.Syscall(pidfdGetfd, process, uintptr(number), 0)
		if errno == syscall.EPERM || errno == syscall.ENOSYS {
			skipOutsideCI(t, "pidfd_getfd: "+errno.Error())
		}
		if errno != 0 {
			continue
		}
		listens, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		if err == nil && listens == 1 {
			at, _ := syscall.Getsockname(int(fd))
			if inet, ok := at.(*syscall.SockaddrInet4); ok {
				addr = netip.AddrPortFrom(netip.AddrFrom4(inet.Addr), uint16(inet.Port)).String()
			}
			err = syscall.Shutdown(int(fd), syscall.SHUT_RDWR)
		}
		syscall.Close(int(fd))
		if listens == 1 {
			if err != nil {
				t.Fatal(err)
			}
			return addr
		}
	}
	t.Fatal("the process listens on nothing")
	return ""
}

// A tap that was stopped for longer than its clocks last goes on as if nothing had been: what
// has arrived meanwhile is passed on.
func TestTapThatWasStoppedCutsNobody(t *testing.T) {
	s := startServer(t, "-q", "--echo")
	tap := startTap(t, s.addr, "--idle-timeout", "2s", "--write-timeout", "2s", "--half-close-timeout", "2s")
	conns := make([]net.Conn, 20)
	for i := range conns {
		conns[i] = connect(t, tap.addr)
		fmt.Fprintln(conns[i], "a")
		io.ReadFull(conns[i], make([]byte, 2))
	}
	tap.Process.Signal(syscall.SIGSTOP)
	for _, conn := range conns {
		fmt.Fprintln(conn, "b")
	}
	time.Sleep(2500 * time.Millisecond) // longer than its clocks last
	tap.Process.Signal(syscall.SIGCONT)
	for i, conn := range conns {
		if reply, err := bufio.NewReader(conn).ReadString('\n'); reply != "b\n" {
			t.Errorf("connection %d got %q, %v, want its reply", i, reply, err)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	if code := tap.stop(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, tap.stderr)
	}
}
