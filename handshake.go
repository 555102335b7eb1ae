package parley

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"

	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/kernel"
)

// shakeHands has a connection agree on what it has to before there can be a session on it. The
// observer is told of one that does not, unless the server stops meanwhile; it is closed.
func (s *Server) shakeHands(conn accept.Handshaker) error {
	begun := kernel.Now()
	err := s.shaking.Shake(conn, cameFrom(conn))
	switch reason := HandshakeReason(err); reason {
	case 0:
		return nil
	case ServerClosed:
		return ErrServerClosed
	case Denied:
		s.tell(&Event{Kind: Refused, Time: begun, Session: SessionOf(0, conn, begun), Reason: reason, Err: err})
	default:
		s.tell(&Event{Kind: HandshakeFailed, Time: kernel.Now(), Session: SessionOf(0, conn, begun), Reason: reason, Err: err, Took: kernel.Since(begun)})
	}
	return err
}

// cameFrom is the address that a connection counts for before its handshake. One of a proxy is
// not its client's, which is not known yet.
func cameFrom(conn net.Conn) netip.Prefix {
	if _, isProxied := conn.(interface{ Forwarded() *Forwarded }); isProxied {
		return netip.Prefix{}
	}
	return prefixOf(endpointOf(conn.RemoteAddr()).ip.Addr())
}

// HandshakeReason says in one of the reasons of HandshakeFailed, or as Denied, why a handshake
// came to nothing; ServerClosed if it was the server that stopped, and 0 if it did not fail. It
// is for who tells an Observer of it, such as a proxy.
func HandshakeReason(err error) CloseReason {
	switch {
	case err == nil:
		return 0
	case err == io.EOF:
		return NoRequest
	case errors.Is(err, ErrDenied):
		return Denied
	case errors.Is(err, accept.ErrBusy):
		return Full
	case errors.Is(err, accept.ErrBusyFrom):
		return PerIP
	case errors.Is(err, context.DeadlineExceeded):
		return HandshakeTimeout
	case errors.Is(err, context.Canceled):
		return ServerClosed
	}
	return Handshake
}
