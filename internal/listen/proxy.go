package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// headerTime is how long a proxy may take to send its header, from the connection on.
const headerTime = 3 * time.Second

// longAgo is a deadline that wakes whoever reads.
var longAgo = time.Unix(1, 0)

// Proxies is how connections are taken that proxies hand on, each with a PROXY header, of version
// 1 or 2, before its own bytes.
type Proxies struct {
	Trust *Trust                // whose header is believed; nobody else is served; required
	TLS   *tls.Config           // what is spoken behind the header; plain if nil
	Allow func(netip.Addr) bool // asked with the client's IP, before TLS; everybody is let in if nil

	Reason func(error) string // says a failure of TLS in words, "" if it is none; may be nil
}

// Listen has the connections of l begin with a PROXY header. Each is a Handshaker of
// internal/accept; Accept waits for nothing else. Once its handshake is done a connection has the
// addresses that the header named, and its Forwarded says what else did.
func (p *Proxies) Listen(l net.Listener) net.Listener { return &proxyListener{l, p} }

type proxyListener struct {
	net.Listener
	proxies *Proxies
}

func (l *proxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	plain := &proxyConn{Conn: conn, proxies: l.proxies, accepted: time.Now()}
	if l.proxies.TLS == nil {
		return plain, nil
	}
	return &proxyTLSConn{tlsconn.Server(plain, l.proxies.TLS), plain}, nil
}

// A proxyConn is a connection that begins with a PROXY header. The handshake reads that and not a
// byte behind it. From then on the socket is read and written as it is; before, nothing is: who
// forgets the handshake is not to take the header for data, or a stranger for a client.
type proxyConn struct {
	net.Conn
	proxies  *Proxies
	accepted time.Time
	shaken   atomic.Bool            // the handshake is done
	client   atomic.Pointer[client] // nil before the handshake, and if the connection is the proxy's own
}

// A client is whom the proxy speaks for.
type client struct {
	remote, local net.Addr
	forwarded     parley.Forwarded
}

var errNoHandshake = errors.New("the PROXY header has not been read")

func (c *proxyConn) Read(p []byte) (int, error) {
	if !c.shaken.Load() {
		return 0, errNoHandshake
	}
	return c.Conn.Read(p)
}

func (c *proxyConn) Write(p []byte) (int, error) {
	if !c.shaken.Load() {
		return 0, errNoHandshake
	}
	return c.Conn.Write(p)
}

// NetConn is the socket.
func (c *proxyConn) NetConn() net.Conn { return c.Conn }

// RemoteAddr is the client's address, the socket's peer's before the handshake.
func (c *proxyConn) RemoteAddr() net.Addr {
	if client := c.client.Load(); client != nil {
		return client.remote
	}
	return c.Conn.RemoteAddr()
}

// LocalAddr is the address that the client dialled, the socket's own before the handshake.
func (c *proxyConn) LocalAddr() net.Addr {
	if client := c.client.Load(); client != nil {
		return client.local
	}
	return c.Conn.LocalAddr()
}

// Forwarded is what the header said; nil if it said that the connection is the proxy's own, such
// as a health check, or of nobody that it knows.
func (c *proxyConn) Forwarded() *parley.Forwarded {
	if client := c.client.Load(); client != nil {
		return &client.forwarded
	}
	return nil
}

// CloseWrite half-closes the socket.
func (c *proxyConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// HandshakeContext reads the header. The error is io.EOF if the peer ended and had not sent a
// byte, and wraps parley.ErrDenied if the client may not connect.
func (c *proxyConn) HandshakeContext(ctx context.Context) error {
	peer := c.Conn.RemoteAddr()
	if !c.proxies.Trust.trusts(peer) {
		return untrusted(peer)
	}
	h, err := c.await(ctx)
	if err != nil {
		return err
	}
	parsed, err := parseHeader(h)
	if err != nil {
		return err
	}
	if !parsed.isLocal {
		parsed.forwarded.Proxy = peer
		c.client.Store(&client{parsed.from, parsed.to, parsed.forwarded})
	}
	if ip, ok := ipOf(c.RemoteAddr()); ok && c.proxies.Allow != nil && !c.proxies.Allow(ip) {
		return parley.ErrDenied
	}
	c.shaken.Store(true)
	return nil
}

func untrusted(peer net.Addr) error {
	if ip, ok := ipOf(peer); ok {
		return fmt.Errorf("PROXY header expected from a trusted proxy only; %v is none (--proxy-trust)", ip)
	}
	return errors.New("PROXY header expected from a trusted proxy only; the peer of a Unix socket is none (--proxy-trust unix)")
}

// await waits for the header, but not for longer than it may take.
func (c *proxyConn) await(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithDeadline(ctx, c.accepted.Add(headerTime))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Conn.SetReadDeadline(longAgo) })
	h, err := readHeader(c.Conn)
	switch {
	case !stop() && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, lateError(len(h))
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case hasEnded(err) && len(h) == 0:
		return nil, io.EOF
	case hasEnded(err):
		return nil, fmt.Errorf("the connection ended inside the PROXY header, after %d bytes", len(h))
	}
	return h, err
}

// hasEnded reports whether the peer has, one way or the other.
func hasEnded(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// A lateError is that of a header of which only so many bytes came in time.
type lateError int

func (e lateError) Error() string {
	if e == 0 {
		return fmt.Sprintf("no PROXY header within %v of the connection", headerTime)
	}
	return fmt.Sprintf("only %d bytes of the PROXY header within %v of the connection", int(e), headerTime)
}

// Unwrap has it known for a timeout.
func (lateError) Unwrap() error { return context.DeadlineExceeded }

// A proxyTLSConn speaks TLS behind the PROXY header.
type proxyTLSConn struct {
	*tlsconn.Conn
	plain *proxyConn
}

// Forwarded is what the header said, as that of a proxyConn.
func (c *proxyTLSConn) Forwarded() *parley.Forwarded { return c.plain.Forwarded() }

// HandshakeContext reads the header, then shakes hands by TLS.
func (c *proxyTLSConn) HandshakeContext(ctx context.Context) error {
	if err := c.plain.HandshakeContext(ctx); err != nil {
		return err
	}
	return inWords(c.Conn.HandshakeContext(ctx), c.plain.proxies.Reason)
}
