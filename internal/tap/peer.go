package tap

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
)

// A peer is one of the two programs that the tap stands between.
type peer struct {
	*link                  // nil before there is one, and where a loop has its socket
	fd         int32       // of its socket, if a loop has that
	sent       atomic.Bool // bytes of the other were sent to it
	halfClosed atomic.Bool // the other's end of file was
}

// A link is the connection of a peer.
type link struct {
	conn   net.Conn    // what the peer says is read of it
	socket net.Conn    // what the system has of it, below TLS and the like
	secure bool        // conn speaks TLS
	cutOff atomic.Bool // the other's end of file was sent to it, which TLS had not announced
}

func (p *peer) open(conn net.Conn) {
	_, secure := conn.(interface{ ConnectionState() tls.ConnectionState })
	p.link = &link{conn: conn, socket: socketOf(conn), secure: secure}
}

// isSecure reports whether the peer speaks TLS, which one whose socket a loop has does not.
func (p *peer) isSecure() bool { return p.link != nil && p.secure }

// isReset reports whether the peer's connection was reset, where that can be seen.
func (p *peer) isReset() bool { return p.isGone() && !p.halfClosed.Load() }

// complains reports whether an error is what TLS of the peer has to say of an end that it was not
// told of, as that of OpenSSL 3 does before it ends in its turn.
func (p *peer) complains(err error) bool {
	var alert *net.OpError
	return p.cutOff.Load() && errors.As(err, &alert) && alert.Op == "remote error"
}

// socketOf is the connection of the system that lies below one, or that it is.
func socketOf(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// reset closes a connection so that its peer sees a reset, where its kind can. TLS gets no
// chance to announce an end.
func reset(conn net.Conn) {
	socket := socketOf(conn)
	if tcp, ok := socket.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
	socket.Close()
}
