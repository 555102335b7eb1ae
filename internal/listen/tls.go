package listen

import (
	"context"
	"net"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// A tlsListener has TLS spoken on its connections.
type tlsListener struct {
	net.Listener
	opt *Options
}

func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.opt.secure(conn), nil
}

// secure has TLS spoken on a connection.
func (opt *Options) secure(conn net.Conn) *secured {
	return &secured{tlsconn.Server(conn, opt.TLS), opt.Reason}
}

// A secured connection is one of TLS whose handshake fails in words.
type secured struct {
	*tlsconn.Conn
	reason func(error) string
}

func (c *secured) HandshakeContext(ctx context.Context) error {
	err := c.Conn.HandshakeContext(ctx)
	if err == nil || c.reason == nil {
		return err
	}
	if text := c.reason(err); text != "" {
		return &worded{text, err}
	}
	return err
}

// A worded error says another in words.
type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }
