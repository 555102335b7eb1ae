//go:build !386

package load

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/parley-tcp/parley/internal/epoll"
)

// A lockstep is a socket on which a request is written, its reply read, and so on. What
// is written goes out at the next Read, which then waits at once: a read that comes too
// early would be a system call in vain for each request, and calls that cannot block
// need not be told to the scheduler. Both together are a fifth of what a request costs.
type lockstep struct {
	net.Conn
	raw    syscall.RawConn
	step   func(fd uintptr) (done bool)
	unsent []byte
	short  bool // the socket had no room for all of it
	more   bool // bytes may be there that nobody is told of again: at first, and if a read filled its buffer
	buf    []byte
	n      int
	err    error
}

// inLockstep returns conn itself if it is no socket.
func inLockstep(conn net.Conn) net.Conn {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return conn
	}
	c := &lockstep{Conn: conn, raw: raw, more: true}
	c.step = c.exchange
	return c
}

// Write keeps p for the next Read.
func (c *lockstep) Write(p []byte) (int, error) {
	c.unsent = append(c.unsent, p...)
	return len(p), nil
}

func (c *lockstep) Read(p []byte) (int, error) {
	c.buf, c.n, c.err, c.short = p, 0, nil, false
	if err := c.raw.Read(c.step); err != nil {
		return 0, err
	}
	if c.short {
		_, err := c.Conn.Write(c.unsent)
		c.unsent = c.unsent[:0]
		if err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		c.more = n == len(p)
		return n, err
	}
	if c.err == nil && c.n == 0 {
		return 0, io.EOF
	}
	return c.n, c.err
}

// exchange is called when Read begins, which has the runtime watch the socket from then
// on, and again when something has come.
func (c *lockstep) exchange(fd uintptr) (done bool) {
	if len(c.unsent) > 0 {
		n, err := epoll.Write(int(fd), c.unsent)
		if err != nil && err != syscall.EAGAIN {
			c.err = os.NewSyscallError("send", err)
			return true
		}
		c.short = n < len(c.unsent)
		c.unsent = append(c.unsent[:0], c.unsent[n:]...)
		if c.short || !c.more {
			return c.short
		}
	}
	n, err := epoll.Read(int(fd), c.buf)
	c.more = n == len(c.buf)
	switch err {
	case nil:
		c.n = n
	case syscall.EAGAIN:
		return false
	default:
		c.err = os.NewSyscallError("recv", err)
	}
	return true
}
