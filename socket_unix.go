//go:build unix

package parley

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/parley-tcp/parley/internal/kernel"
)

// newConnIO waits for readiness on sockets, and inside Read on anything else.
func newConnIO(conn net.Conn, in *readBuffer, set *settings) connIO {
	raw := kernel.Socket(conn)
	if raw == nil {
		return newStreamIO(conn, in, set)
	}
	in.size, in.pool = set.readSize, set.readBuffers
	l := &socketIO{raw: raw, in: in}
	l.readable, l.writable = l.tryRead, l.tryWrite
	return l
}

// socketIO is that of a socket: it takes a buffer of the pool only to read what is
// there, and sees each piece that the kernel takes.
type socketIO struct {
	raw syscall.RawConn
	in  *readBuffer

	readable, writable func(fd uintptr) bool // made once: a method value allocates

	p    []byte // to write
	wait bool   // for something to read, or for room
	none bool   // was there to read at first
	n    int    // what the last call of the kernel gave
	err  error
}

func (l *socketIO) read(wait bool) (int, error) {
	l.wait, l.n, l.err, l.none = wait, 0, nil, false
	if err := l.raw.Read(l.readable); err != nil {
		return 0, err
	}
	return l.n, l.err
}

func (l *socketIO) resumable() bool { return true }

func (l *socketIO) tryRead(fd uintptr) bool {
	l.err = nil
	n, err := again(func() (int, error) { return kernel.Read(int(fd), l.in.space()) })
	switch {
	case err == syscall.EAGAIN:
		l.in.drop(0)
		l.none = true
		l.err = os.ErrDeadlineExceeded
		return !l.wait
	case err != nil:
		l.err = os.NewSyscallError("read", err)
	case n == 0:
		l.err = io.EOF
	}
	l.n = max(n, 0)
	l.in.w += l.n
	return true
}

func (l *socketIO) waited() bool { return l.none }

func (l *socketIO) write(p []byte, wait bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	l.p, l.wait, l.n, l.err = p, wait, 0, nil
	err := l.raw.Write(l.writable)
	l.p = nil
	if err != nil {
		return 0, err
	}
	return l.n, l.err
}

func (l *socketIO) tryWrite(fd uintptr) bool {
	n, err := again(func() (int, error) { return kernel.Write(int(fd), l.p) })
	if err == syscall.EAGAIN {
		return !l.wait
	}
	if err != nil {
		l.err = os.NewSyscallError("write", err)
	}
	l.n = max(n, 0)
	return true
}

// again makes a system call until no signal interrupts it.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func maxOpenFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30))
}

// lookNow returns a function that reads what is there and does not wait.
func (c *Client) lookNow() func() (int, error) {
	socket, ok := c.conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	var n int
	var readErr error
	try := func(fd uintptr) bool {
		n, readErr = again(func() (int, error) { return kernel.Read(int(fd), c.in[c.w:]) })
		switch {
		case readErr == syscall.EAGAIN:
			readErr = nil
		case readErr == nil && n == 0:
			readErr = io.EOF
		}
		n = max(n, 0)
		return true
	}
	return func() (int, error) {
		if err := raw.Read(try); err != nil {
			return 0, err
		}
		return n, readErr
	}
}
