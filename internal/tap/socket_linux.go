package tap

import (
	"encoding/binary"
	"math"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unsent is how many of the bytes that were written to a peer its kernel has not
// acknowledged, or on a Unix socket its program has not read. It is 0 where that cannot be seen,
// and once the connection is gone.
func (p *peer) unsent() (n int) {
	if p.link == nil {
		return unsentOf(int(p.fd))
	}
	return unsent(p.socket)
}

func unsent(conn net.Conn) (n int) {
	control(conn, func(fd int) { n = unsentOf(fd) })
	return n
}

func unsentOf(fd int) int {
	if isClosed(fd) {
		return 0
	}
	var queued int32
	syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&queued)))
	return int(queued)
}

// isGone reports whether a peer's TCP connection is closed in both directions. Of one that was not
// shut down on this side, it says that a reset has come: a write that fails of one takes
// its error away, and to read is then to see an end of file.
func (p *peer) isGone() (gone bool) {
	if p.link == nil {
		return isClosed(int(p.fd))
	}
	control(p.socket, func(fd int) { gone = isClosed(fd) })
	return gone
}

func isClosed(fd int) bool {
	const tcpClose = 7                                                            // of the states in linux/tcp_states.h
	head, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_INFO) // its first four bytes
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(head))
	return err == nil && b[0] == tcpClose
}

// setUserTimeout has the kernel give up a TCP connection whose peer acknowledges or takes
// nothing for that long, tcp(7). Else it would take about a quarter of an hour.
func setUserTimeout(conn net.Conn, timeout time.Duration) {
	const tcpUserTimeout = 18
	if timeout <= 0 {
		return
	}
	ms := min(max(timeout.Milliseconds(), 1), math.MaxInt32)
	control(conn, func(fd int) { syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, tcpUserTimeout, int(ms)) })
}

// awaitRoom waits until a socket takes more of what is written, or is broken. Its error is that of
// the write deadline.
func awaitRoom(conn net.Conn) error {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Write(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		return n != 0
	})
}

func control(conn net.Conn, f func(fd int)) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
