//go:build unix

package parley_test

import (
	"errors"
	"net"
	"syscall"
)

// tightly is more than the buffers of both ends of a tight transport take.
const tightly = 512 << 10

// limitBuffers has each connection that comes of a listener hold about so much each way.
func limitBuffers(l *net.TCPListener, bytes int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var sending, receiving error
	err = raw.Control(func(fd uintptr) {
		sending = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, bytes)
		receiving = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
	})
	return errors.Join(err, sending, receiving)
}
