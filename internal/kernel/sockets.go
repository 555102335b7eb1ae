//go:build !simulate

package kernel

import "net"

// Sockets of the system.
type (
	TCPConn     = net.TCPConn
	TCPListener = net.TCPListener
)
