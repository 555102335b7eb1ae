//go:build !386 && !simulate && !race

package kernel

import (
	"syscall"
	"unsafe"
)

// Read is recv(2), of a non-blocking socket: read(2) passes through the layers for files first.
func Read(fd int, p []byte) (int, error) {
	return orError(Transfer(syscall.SYS_RECVFROM, fd, unsafe.SliceData(p), len(p), 0))
}

// Write is send(2), to a non-blocking socket.
func Write(fd int, p []byte) (int, error) {
	return orError(Transfer(syscall.SYS_SENDTO, fd, unsafe.SliceData(p), len(p), syscall.MSG_NOSIGNAL))
}

func orError(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
