package answer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// handshakeTimeout is how long TLS may take to begin.
const handshakeTimeout = 5 * time.Second

var errLateHandshake = fmt.Errorf("TLS did not begin within %v", handshakeTimeout)

// Listener is a listener whose connections go over to TLS where the dialogue says so. It wants the
// engine Goroutines.
func (d *Dialogue) Listener(inner net.Listener, config *tls.Config) net.Listener {
	return &listener{inner, config, d.framing.Requests == parley.Chunks}
}

type listener struct {
	net.Listener
	config *tls.Config
	chunks bool
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, listener: l}, nil
}

// A conn is a connection in plain that goes over to TLS. Until then it is read byte by byte, so that
// what a client, or whoever is on the way, has sent in plain behind its wish for TLS is not taken for
// what came over TLS (CVE-2011-0411): it is told apart by being there before the handshake, which
// fails for it.
type conn struct {
	net.Conn
	listener *listener

	going  atomic.Bool                  // over to TLS, with the next read
	secure atomic.Pointer[tlsconn.Conn] // nil before that

	mu             sync.Mutex
	shaking        bool
	failed         error     // why the handshake did
	readBy, writBy time.Time // the deadlines that are to hold
}

// Join has a session know its connection.
func (c *conn) Join(s *parley.Session) { s.Data = &playing{conn: c} }

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) goOver() {
	if c != nil {
		c.going.Store(true)
	}
}

// isGoingOver reports whether what is read was sent in plain, and should not have been.
func (c *conn) isGoingOver() bool { return c != nil && c.going.Load() }

func (c *conn) Read(p []byte) (int, error) {
	if c.going.Load() {
		if err := c.shakeHands(); err != nil {
			return 0, err
		}
	}
	switch secure := c.secure.Load(); {
	case secure != nil:
		return secure.Read(p)
	case len(p) > 1 && !c.listener.chunks:
		p = p[:1]
	}
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	if secure := c.secure.Load(); secure != nil {
		return secure.Write(p)
	}
	return c.Conn.Write(p)
}

// shakeHands goes over to TLS. Deadlines that are set meanwhile hold behind it: one that cuts a
// handshake off would end the connection.
func (c *conn) shakeHands() error {
	c.mu.Lock()
	if c.failed != nil {
		defer c.mu.Unlock()
		return c.failed
	}
	c.shaking = true
	c.Conn.SetDeadline(time.Now().Add(handshakeTimeout))
	c.mu.Unlock()
	secure := tlsconn.Server(c.Conn, c.listener.config)
	err := secure.Handshake()
	if errors.Is(err, os.ErrDeadlineExceeded) { // not one of those that are set from outside, behind which it would go on
		err = errLateHandshake
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shaking, c.failed = false, err
	c.Conn.SetReadDeadline(c.readBy)
	c.Conn.SetWriteDeadline(c.writBy)
	if err != nil {
		return err
	}
	c.secure.Store(secure)
	c.going.Store(false)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readBy = t; c.shaking {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writBy = t; c.shaking {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) CloseWrite() error {
	if secure := c.secure.Load(); secure != nil {
		return secure.CloseWrite()
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	if secure := c.secure.Load(); secure != nil {
		return secure.Close()
	}
	return c.Conn.Close()
}
