package simkernel

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A Listener stands for a *net.TCPListener, as a Conn does for a *net.TCPConn: they wait for readiness as
// the runtime has its own wait.
type Listener struct {
	fd int
	l  *listening
}

// Listen has the kernel listen.
func (k *Kernel) Listen() *Listener {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listener = &listening{k: k, waiting: make(chan struct{}, 1)}
	return &Listener{k.open(k.listener), k.listener}
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: listenPort} }

// Close closes it.
func (l *Listener) Close() error {
	k := l.l.k
	k.mu.Lock()
	if l.l.closed {
		k.mu.Unlock()
		return net.ErrClosed
	}
	l.l.closed = true
	wake(l.l.waiting)
	k.mu.Unlock()
	Close(l.fd)
	return nil
}

func (l *Listener) closed() bool {
	l.l.k.mu.Lock()
	defer l.l.k.mu.Unlock()
	return l.l.closed
}

// Accept waits for a connection. As package net does, it passes over one that is gone already.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		if l.closed() {
			return nil, l.failed(net.ErrClosed)
		}
		var sa syscall.RawSockaddrAny
		var size uint32
		fd, errno := Accept(l.fd, &sa, &size)
		switch errno {
		case 0:
			return newConn(fd), nil
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EAGAIN:
			l.await()
		default:
			return nil, l.failed(os.NewSyscallError("accept4", errno))
		}
	}
}

func (l *Listener) failed(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
}

func (l *Listener) await() {
	k := l.l.k
	k.mu.Lock()
	defer k.mu.Unlock()
	for !l.l.closed && (k.frozen || len(l.l.backlog) == 0) {
		k.mu.Unlock()
		<-l.l.waiting
		k.mu.Lock()
	}
}

// SyscallConn is l's descriptor.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return rawListener{l}, nil }

type rawListener struct{ *Listener }

func (l rawListener) Control(f func(fd uintptr)) error {
	if l.closed() {
		return net.ErrClosed
	}
	f(uintptr(l.fd))
	return nil
}

func (rawListener) Read(func(uintptr) bool) error  { return syscall.EINVAL }
func (rawListener) Write(func(uintptr) bool) error { return syscall.EINVAL }

// A Conn is a connection as package net has it.
type Conn struct {
	k           *Kernel
	fd          int
	s           *Socket
	users       int // calls under way: the last of them closes the descriptor
	closed      bool
	read, write half
}

// A half is one direction of a Conn.
type half struct {
	event    uint32
	deadline time.Time
	waiting  chan struct{}
}

func newConn(fd int) *Conn {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &Conn{k: k, fd: fd, s: k.files[fd].(*Socket)}
	c.read = half{event: syscall.EPOLLIN, waiting: make(chan struct{}, 1)}
	c.write = half{event: syscall.EPOLLOUT, waiting: make(chan struct{}, 1)}
	c.s.conn = c
	k.conns = append(k.conns, c)
	return c
}

// Call is a connection that the process has made to the peer.
func (p *Peer) Call() *Conn {
	p.s.k.mu.Lock()
	fd := p.s.k.open(p.s)
	p.s.k.mu.Unlock()
	return newConn(fd)
}

func (c *Conn) wakeAll() {
	wake(c.read.waiting)
	wake(c.write.waiting)
}

// use has f called with the descriptor until it reports that it is done, waiting in between.
func (c *Conn) use(h *half, f func(fd uintptr) bool) error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.users++
	defer c.leave()
	if c.isLate(h) {
		return os.ErrDeadlineExceeded
	}
	for !c.call(f) {
		for {
			if c.closed {
				return net.ErrClosed
			}
			if !c.k.frozen && c.isLate(h) {
				return os.ErrDeadlineExceeded
			}
			if !c.k.frozen && c.s.events()&(h.event|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 {
				break
			}
			until := h.deadline
			if c.isLate(h) {
				until = time.Time{} // the process is stopped
			}
			c.k.await(h.waiting, until)
		}
	}
	return nil
}

func (c *Conn) call(f func(fd uintptr) bool) bool {
	c.k.mu.Unlock()
	defer c.k.mu.Lock()
	return f(uintptr(c.fd))
}

func (c *Conn) isLate(h *half) bool { return !h.deadline.IsZero() && !Now().Before(h.deadline) }

func (c *Conn) leave() {
	if c.users--; c.users == 0 && c.closed {
		c.closeDescriptor()
	}
}

func (c *Conn) closeDescriptor() {
	c.k.mu.Unlock()
	Close(c.fd)
	c.k.mu.Lock()
}

// Close closes the connection, and ends the calls under way.
func (c *Conn) Close() error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	c.wakeAll()
	if c.users == 0 {
		c.closeDescriptor()
	}
	return nil
}

// Read reads what there is.
func (c *Conn) Read(p []byte) (n int, err error) {
	if wait := c.use(&c.read, func(fd uintptr) bool { n, err = transfer(Recv, int(fd), p, "read"); return err != syscall.EAGAIN }); wait != nil {
		return 0, wait
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write writes all of it.
func (c *Conn) Write(p []byte) (written int, err error) {
	for written < len(p) {
		n := 0
		if wait := c.use(&c.write, func(fd uintptr) bool {
			n, err = transfer(Send, int(fd), p[written:], "write")
			return err != syscall.EAGAIN
		}); wait != nil {
			return written, wait
		}
		if err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

func transfer(call func(int, []byte) (int, syscall.Errno), fd int, p []byte, name string) (int, error) {
	for {
		n, errno := call(fd, p)
		switch errno {
		case 0:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, errno
		}
		return 0, os.NewSyscallError(name, errno)
	}
}

// CloseWrite sends an end of file.
func (c *Conn) CloseWrite() error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.k.mu.Unlock()
	defer c.k.mu.Lock()
	if errno := CloseWrite(c.fd); errno != 0 {
		return os.NewSyscallError("shutdown", errno)
	}
	return nil
}

// SetLinger has Close reset the connection if it is 0; nothing else is made up.
func (c *Conn) SetLinger(seconds int) error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	c.s.aborts = seconds == 0
	return nil
}

// LocalAddr is the listener's.
func (c *Conn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: listenPort} }

// RemoteAddr is the peer's.
func (c *Conn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: c.s.peer.Port}
}

// SetDeadline sets those of reads and writes.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(t, &c.read, &c.write) }

// SetReadDeadline sets that of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, &c.read) }

// SetWriteDeadline sets that of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.write) }

func (c *Conn) setDeadline(t time.Time, halves ...*half) error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	for _, h := range halves {
		h.deadline = t
		wake(h.waiting)
	}
	return nil
}

// SyscallConn is c's descriptor.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ *Conn }

func (c rawConn) Control(f func(fd uintptr)) error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.users++
	defer c.leave()
	c.k.mu.Unlock()
	defer c.k.mu.Lock()
	f(uintptr(c.fd))
	return nil
}

func (c rawConn) Read(f func(fd uintptr) bool) error  { return c.use(&c.read, f) }
func (c rawConn) Write(f func(fd uintptr) bool) error { return c.use(&c.write, f) }
