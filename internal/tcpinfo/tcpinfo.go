// Package tcpinfo asks the system what it has measured of a TCP connection.
package tcpinfo

import (
	"net"
	"syscall"
	"time"
)

// An Info is what the system knows of a connection.
type Info struct {
	RoundTrip   time.Duration // smoothed, of segments and their acknowledgements
	Variance    time.Duration // mean deviation of the round trip
	Retransmits uint64        // segments that were sent again, since the connection began
}

// Of asks about a connection, or that of the system below one such as TLS. ok is false for what is no
// TCP connection, and on systems other than Linux.
func Of(conn net.Conn) (info Info, ok bool) {
	for {
		over, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		conn = over.NetConn()
	}
	if _, is := conn.RemoteAddr().(*net.TCPAddr); !is {
		return Info{}, false
	}
	socket, is := conn.(syscall.Conn)
	if !is {
		return Info{}, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Info{}, false
	}
	return of(raw)
}
