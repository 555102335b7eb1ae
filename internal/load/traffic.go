package load

import (
	"errors"
	"net"
	"sync/atomic"
)

// A countingConn counts the bytes of a connection.
type countingConn struct {
	net.Conn
	in, out atomic.Uint64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(uint64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(uint64(n))
	return n, err
}

// CloseWrite half-closes.
func (c *countingConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// traffic is what has gone over the wire.
type traffic struct{ in, out uint64 }

func (r *run) bytes() (t traffic) {
	for _, w := range r.workers {
		t.in += w.wire.in.Load()
		t.out += w.wire.out.Load()
	}
	return t
}
