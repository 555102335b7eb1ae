package kernel

import (
	"net"
	"syscall"
)

// Socket is what a connection of the system is read and written by without its methods, and nil of any other. Only
// the types themselves will do: something that embeds one may read and write differently.
func Socket(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if err != nil {
		return nil
	}
	return raw
}
