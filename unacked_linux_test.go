package parley_test

import (
	"syscall"
	"testing"
	"unsafe"
)

// unacknowledged is how many written bytes the peer's kernel has not acknowledged.
func unacknowledged(t *testing.T, fd uintptr) int {
	t.Helper()
	var n int32
	const siocoutq = 0x5411 // TIOCOUTQ, tcp(7)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, siocoutq, uintptr(unsafe.Pointer(&n))); errno != 0 {
		t.Fatal(errno)
	}
	return int(n)
}
