package listen

import (
	"context"
	"io"
	"net"

	"github.com/parley-tcp/parley"
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
	return &secured{tlsconn.Server(conn, l.opt.TLS), l.opt}, nil
}

// A secured connection is one of TLS whose handshake fails in words.
type secured struct {
	*tlsconn.Conn
	opt *Options
}

// HandshakeContext shakes hands with those who may connect: TLS costs more than to refuse.
func (c *secured) HandshakeContext(ctx context.Context) error {
	if ip, ok := ipOf(c.RemoteAddr()); ok && c.opt.Allow != nil && !c.opt.Allow(ip) {
		return parley.ErrDenied
	}
	return inWords(c.Conn.HandshakeContext(ctx), c.opt.Reason)
}

// inWords is an error as reason says it, if that is not nil and knows it.
func inWords(err error, reason func(error) string) error {
	if err == nil || err == io.EOF || reason == nil { // io.EOF is itself
		return err
	}
	if text := reason(err); text != "" {
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
