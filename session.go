package parley

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// A Session is one conversation with one peer. It is never reused. Its methods may be called
// from any goroutine, also after its end.
type Session struct {
	// Data is the handler's own, such as what the peer has said so far; the package does not look
	// at it. A session's requests are answered one after the other, so its Handler, also as a
	// Speaker, needs no lock for it. Whoever uses it from another goroutine, such as one that the
	// handler has started, or from another session, does.
	Data any

	number uint64
	opened time.Time
	remote endpoint
	local  unique.Handle[endpoint] // shared by those who came to the same one; zero if there is none
	place  uint32                  // in the server's connSet; Server.mu guards it

	security *security // nil of a plain connection that no proxy forwarded

	hold *hold        // nil where there is no gate
	held atomic.Int64 // bytes that count for Server.MaxHeld; or evicted

	mu       sync.Mutex
	life     *lifetime // nil until its context is asked for, or it ends
	progress Progress
}

// Progress is how far a session has come.
type Progress struct {
	Requests uint64 // received
	Waiting  uint64 // of them, those that wait for their reply to be made and written
	In, Out  uint64 // bytes read from the peer, and written to it
}

// Progress is how far the session has come: as of the last time that it waited for its peer, or with the
// engine Goroutines for its handler.
func (s *Session) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Advance says how far the session has come, for who drives one that no Server has, such as a proxy.
func (s *Session) Advance(p Progress) {
	s.mu.Lock()
	s.progress = p
	s.mu.Unlock()
}

// A lifetime is the context of a session, or why it has ended.
type lifetime struct {
	ctx    context.Context // nil if nobody asked for it
	cancel context.CancelCauseFunc
	ended  error // nil while it lasts
}

// NewSession makes the session of a conversation that no Server has, for who tells an
// Observer of it, such as a proxy. number counts from 1; remote is the peer's address and
// local the one that it dialled, nil where there is none. Its Context never ends.
func NewSession(number uint64, remote, local net.Addr, opened time.Time) *Session {
	return &Session{number: number, opened: opened, remote: *endpointOf(remote), local: unique.Make(*endpointOf(local))}
}

// SessionOf is NewSession for a connection, of which it takes the addresses, and what TLS and a
// proxy say of the peer. Its handshake must be done.
func SessionOf(number uint64, conn net.Conn, opened time.Time) *Session {
	s := NewSession(number, conn.RemoteAddr(), conn.LocalAddr(), opened)
	s.security = securityOf(conn)
	return s
}

// Join tells a connection that has a method Join(*Session), such as one that takes part in what
// is said, which session is on it: before anything is read or written. Who drives sessions that no
// Server has, such as a proxy, calls it; a Server does so itself, under the engine Goroutines.
func (s *Session) Join(conn net.Conn) {
	if joins, ok := conn.(interface{ Join(*Session) }); ok {
		joins.Join(s)
	}
}

// Number counts the sessions of a server from 1, in the order of acceptance. It is
// 0 for a refused connection.
func (s *Session) Number() uint64 { return s.number }

// Opened is when the connection was accepted.
func (s *Session) Opened() time.Time { return s.opened }

// RemoteAddr is the peer's address; an IPv4 one is never mapped into IPv6.
func (s *Session) RemoteAddr() net.Addr { return s.remote.addr() }

// LocalAddr is the address that the peer dialled, as this host sees it.
func (s *Session) LocalAddr() net.Addr {
	local := s.dialled()
	return local.addr()
}

// AppendRemote appends the peer's address as text, without allocating.
func (s *Session) AppendRemote(dst []byte) []byte { return s.remote.appendTo(dst) }

// AppendLocal appends this host's address as text, without allocating.
func (s *Session) AppendLocal(dst []byte) []byte {
	local := s.dialled()
	return local.appendTo(dst)
}

// dialled is the local endpoint, an empty one if there is none.
func (s *Session) dialled() (local endpoint) {
	if s.local != (unique.Handle[endpoint]{}) {
		local = s.local.Value()
	}
	return local
}

// Context ends when the session does: by Close, by a drain that cut, or when an
// error is seen on the socket, which happens at the next read or write. The peer's
// end of file alone does not end it, since that is a half-close: the peer may well
// wait for its replies. context.Cause gives the reason.
func (s *Session) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		s.life = new(lifetime)
	}
	return s.life.context()
}

// close is called when its connection is closed: what drove it may be gone from now on.
func (s *Session) close() {
	if s.hold == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold.conn = nil
}

// end ends the session's context for the given cause. Only the first call counts.
func (s *Session) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		s.life = new(lifetime)
	}
	s.life.end(cause)
}

func (l *lifetime) context() context.Context {
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancelCause(context.Background())
		if l.ended != nil {
			l.cancel(l.ended)
		}
	}
	return l.ctx
}

func (l *lifetime) end(cause error) {
	if l.ended != nil {
		return
	}
	l.ended = cause
	if l.cancel != nil {
		l.cancel(cause)
	}
}

// An endpoint is one end's address: a net.Addr is built of it only when somebody
// asks.
type endpoint struct {
	ip    netip.AddrPort           // of a TCP peer, IPv4 unmapped
	other unique.Handle[otherAddr] // any other; zero if there is none
}

type otherAddr struct {
	unix net.UnixAddr
	addr *net.Addr // of another kind
}

func endpointOf(a net.Addr) *endpoint {
	switch a := a.(type) {
	case nil:
		return new(endpoint)
	case *net.TCPAddr:
		ap := a.AddrPort()
		return &endpoint{ip: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}
	case *net.UnixAddr:
		return &endpoint{other: unique.Make(otherAddr{unix: *a})}
	}
	return &endpoint{other: unique.Make(otherAddr{addr: &a})}
}

func (e *endpoint) addr() net.Addr {
	switch {
	case e.ip.IsValid():
		return net.TCPAddrFromAddrPort(e.ip)
	case e.isNone():
		return nil
	}
	other := e.other.Value()
	if other.addr != nil {
		return *other.addr
	}
	return &other.unix
}

func (e *endpoint) isNone() bool { return *e == endpoint{} }

// appendTo appends host:port, or unix:PATH; the peer of a Unix socket mostly has
// no path of its own and is called unix.
func (e *endpoint) appendTo(dst []byte) []byte {
	switch {
	case e.ip.IsValid():
		return e.ip.AppendTo(dst)
	case e.isNone():
		return append(dst, "unknown"...)
	}
	other := e.other.Value()
	switch {
	case other.addr != nil:
		return append(dst, (*other.addr).String()...)
	case other.unix.Name == "" || other.unix.Name == "@":
		return append(dst, "unix"...)
	}
	return append(append(dst, "unix:"...), other.unix.Name...)
}
