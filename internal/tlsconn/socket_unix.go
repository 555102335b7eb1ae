//go:build unix

package tlsconn

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/parley-tcp/parley/internal/kernel"
)

// A socket reads and writes a connection of the system as its own methods do, but the calls, which
// cannot block, do not tell the scheduler. One goroutine may read while another writes.
type socket struct {
	conn            net.Conn
	raw             syscall.RawConn
	reading         transfer
	writing         transfer
	readIt, writeIt func(fd uintptr) bool // made once: a method value allocates
}

// A transfer is a call of Read or Write that is under way.
type transfer struct {
	p   []byte
	n   int
	err error
}

// transport is conn itself unless it is a socket.
func transport(conn net.Conn) io.ReadWriter {
	raw := kernel.Socket(conn)
	if raw == nil {
		return conn
	}
	s := &socket{conn: conn, raw: raw}
	s.readIt, s.writeIt = s.tryRead, s.tryWrite
	return s
}

func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.reading = transfer{p: p}
	return s.done(&s.reading, "read", s.raw.Read(s.readIt))
}

func (s *socket) tryRead(fd uintptr) bool {
	t := &s.reading
	switch n, err := kernel.Read(int(fd), t.p); {
	case err == syscall.EAGAIN:
		return false
	case err == syscall.EINTR:
		return s.tryRead(fd)
	case err != nil:
		t.err = err
	case n == 0:
		t.err = io.EOF
	default:
		t.n = n
	}
	return true
}

func (s *socket) Write(p []byte) (int, error) {
	s.writing = transfer{p: p}
	return s.done(&s.writing, "write", s.raw.Write(s.writeIt))
}

func (s *socket) tryWrite(fd uintptr) bool {
	t := &s.writing
	for t.n < len(t.p) {
		switch n, err := kernel.Write(int(fd), t.p[t.n:]); {
		case err == syscall.EAGAIN:
			return false
		case err == syscall.EINTR:
		case err != nil:
			t.err = err
			return true
		default:
			t.n += n
		}
	}
	return true
}

// done is what a transfer has come to; waited is the error of the wait for it.
func (s *socket) done(t *transfer, call string, waited error) (int, error) {
	n, err := t.n, t.err
	*t = transfer{}
	var op *net.OpError
	switch {
	case waited != nil && errors.As(waited, &op):
		op.Op = call // it is "raw-read" else
		return n, op
	case waited != nil:
		return n, waited
	case err == nil, err == io.EOF:
		return n, err
	}
	return n, &net.OpError{Op: call, Net: s.conn.LocalAddr().Network(), Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(),
		Err: os.NewSyscallError(call, err)}
}
