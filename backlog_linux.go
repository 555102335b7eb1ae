//go:build !simulate

package parley

import (
	"cmp"
	"syscall"
	"unsafe"
)

// What package syscall does not name; see tcp(7).
const (
	siocoutqnsd    = 0x894b // SIOCOUTQNSD
	tcpUserTimeout = 0x12   // TCP_USER_TIMEOUT
	tcpClose       = 7      // TCP_CLOSE, in tcp_states.h
)

// backlogOf is how much of what was written to a TCP socket its system holds: bytes that are
// not sent, since the peer has no room for them, and bytes that the peer's system has not
// acknowledged, sent or not. Of any other socket it is 0: what a Unix one has taken is the
// peer's.
func backlogOf(fd uintptr) (unsent, untaken int) {
	if unsent = ioctlInt(fd, siocoutqnsd); unsent < 0 {
		return 0, 0
	}
	return unsent, max(0, ioctlInt(fd, syscall.TIOCOUTQ)) // SIOCOUTQ by another name
}

// brokenBy is why the connection of a TCP socket is no more, 0 while it is: mostly the peer has
// reset it. Behind the peer's end of file no read tells of that.
func brokenBy(fd uintptr) syscall.Errno {
	n, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	info := int32(n)
	state := *(*uint8)(unsafe.Pointer(&info)) // tcpi_state comes first
	if err != nil || state != tcpClose {
		return 0
	}
	why, _ := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	return cmp.Or(syscall.Errno(why), syscall.ECONNRESET) // somebody may have been told before
}

// ioctlInt is the number that an ioctl gives, -1 if it fails.
func ioctlInt(fd, request uintptr) int {
	var n int32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return -1
	}
	return int(n)
}

// setUserTimeout has the system give a TCP connection up whose peer has left bytes
// unacknowledged for so long, or is to inherit that from its listener; one of MPTCP has none.
func setUserTimeout(fd uintptr, milliseconds int) error {
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, milliseconds)
}
