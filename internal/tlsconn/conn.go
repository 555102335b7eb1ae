// Package tlsconn is TLS over a connection, as crypto/tls has it, but for two things: an end of
// file without TLS's own end is told from an orderly one, and a peer that does not speak TLS is
// known by its first byte.
package tlsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// ErrTruncated is the end of a connection whose peer has not said by a close_notify that it is
// the end (RFC 8446, section 6.1): what came may be cut short, by anybody on the way. It is an
// io.ErrUnexpectedEOF.
var ErrTruncated = fmt.Errorf("the TLS connection ended without close_notify: %w", io.ErrUnexpectedEOF)

// A Conn is one end of a TLS connection.
type Conn struct {
	*tls.Conn
	raw *rawConn
}

// Client is the client's end over conn; config must have a ServerName, or not verify.
func Client(conn net.Conn, config *tls.Config) *Conn {
	raw := &rawConn{Conn: conn, transport: transport(conn)}
	return &Conn{tls.Client(raw, config), raw}
}

// Server is the server's end over conn; config must have a certificate.
func Server(conn net.Conn, config *tls.Config) *Conn {
	raw := &rawConn{Conn: conn, transport: transport(conn), server: true}
	return &Conn{tls.Server(raw, config), raw}
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.raw.Conn }

// HandshakeContext is that of crypto/tls. The error is io.EOF itself if the peer ended, one way
// or the other, and had not sent a byte. It is a tls.RecordHeaderError with its Conn set if
// what a client sent first is not TLS: its own words can be answered there.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	err := c.Conn.HandshakeContext(ctx)
	var plain tls.RecordHeaderError
	hasEnded := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	switch {
	case hasEnded && !c.raw.heard.Load():
		return io.EOF
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.As(err, &plain) && plain.Conn != nil: // found by the first byte or by crypto/tls
		plain.Conn = c.raw.Conn
		return plain
	}
	return c.raw.alert.explain(err)
}

// Read reads what the peer has written. The end is io.EOF if the peer has said that it is, and
// ErrTruncated if not.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.raw.ended.Load() && (err == io.EOF || err == io.ErrUnexpectedEOF) {
		err = ErrTruncated
	}
	return n, err
}

// CloseWrite says that nothing more will come: by a close_notify, and by the end of file of the
// connection below where that can half-close, since some peers wait for that one.
func (c *Conn) CloseWrite() error {
	if err := c.Conn.CloseWrite(); err != nil {
		return err
	}
	if half, ok := c.raw.Conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// A rawConn is the connection below TLS. TLS reads no further than the close_notify: whoever
// sees the end of file has not had one.
type rawConn struct {
	net.Conn
	transport io.ReadWriter // the same, read and written faster
	server    bool
	alert     plainAlert  // of a client
	heard     atomic.Bool // a byte has come
	ended     atomic.Bool // the end of file has been read
}

func (r *rawConn) Write(p []byte) (int, error) { return r.transport.Write(p) }

func (r *rawConn) Read(p []byte) (int, error) {
	n, err := r.transport.Read(p)
	if n > 0 && err == io.EOF { // which TLS may have announced in these bytes; it comes again
		err = nil
	}
	if n > 0 && !r.heard.Swap(true) && r.server && !beginsTLS(p[0]) {
		return n, tls.RecordHeaderError{Msg: "tls: what came first is not TLS", Conn: r.Conn}
	}
	if r.server {
		r.alert.saw(p[:n])
	}
	if err == io.EOF {
		r.ended.Store(true)
	}
	return n, err
}

// beginsTLS reports whether a client that speaks TLS may begin with such a byte: that of a
// handshake or an alert, or the length of an SSLv2 hello, which TLS refuses in its own way.
func beginsTLS(first byte) bool { return first == 0x15 || first == 0x16 || first >= 0x80 }
