//go:build !386

package load

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/epoll"
	"github.com/parley-tcp/parley/internal/kernel"
)

// A socket is a connection that a poller serves. It is not waited for: with nothing to
// read Read returns errNotYet, and Write keeps what there is no room for.
type socket struct {
	net.Conn // closed; it knows the addresses
	poller   *poller
	worker   *worker
	fd       int
	id       uint32      // in the poller's set
	overdue  atomic.Bool // its deadline has passed
	unsent   []byte      // while there is any the set tells of room
	over     chan error  // has the outcome
}

// errNotYet is a *net.OpError so that a client returns it as it is.
var errNotYet error = &net.OpError{Op: "read", Net: "tcp", Err: syscall.EAGAIN}

// takeOver takes a worker's connection out of the hands of package net and its poller: a
// socket's events would wake both.
func (p *poller) takeOver(w *worker) *socket {
	raw := kernel.Socket(w.conn)
	if raw == nil {
		return nil
	}
	s := &socket{Conn: w.conn, poller: p, worker: w, over: make(chan error, 1)}
	var errno syscall.Errno
	err := raw.Control(func(fd uintptr) {
		var own uintptr
		own, _, errno = syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		s.fd = int(own)
	})
	if err != nil || errno != 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.Close()
	s.overdue.Store(w.waiting.Err() != nil) // an interrupt may have come before
	w.conn, w.wire.Conn = s, s              // the client stays: it may have memory of the connection
	return s
}

// ready is called when there is something to read, or room for what is unsent.
func (s *socket) ready(events uint32) {
	if len(s.unsent) > 0 && events&^epoll.In != 0 {
		if err := s.flush(); err != nil {
			s.proceed(err)
			return
		}
	}
	if events&^epoll.Out != 0 {
		s.proceed(s.worker.receiveAndSend())
	}
}

// proceed goes on waiting, unless it is over.
func (s *socket) proceed(err error) {
	if err == nil || err == errNotYet {
		return
	}
	p := s.poller
	p.set.Leave(s.fd)
	p.set.Forget(s.id)
	p.wheel.Disarm(s.id)
	*p.sockets.At(s.id) = nil
	s.over <- s.worker.unlessHalfClosed(err)
}

func (s *socket) Read(p []byte) (int, error) {
	if s.overdue.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := epoll.Read(s.fd, p)
	switch {
	case err == syscall.EAGAIN:
		return 0, errNotYet
	case err != nil:
		return 0, os.NewSyscallError("recv", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socket) Write(p []byte) (n int, err error) {
	if len(s.unsent) == 0 {
		if n, err = epoll.Write(s.fd, p); n == len(p) {
			return n, nil
		}
		if err != nil && err != syscall.EAGAIN {
			return 0, os.NewSyscallError("send", err)
		}
		if err = s.poller.set.Change(s.id, epoll.In|epoll.Out); err != nil {
			return n, err
		}
	}
	s.unsent = append(s.unsent, p[n:]...)
	return len(p), nil
}

// flush goes on with what is unsent.
func (s *socket) flush() error {
	n, err := epoll.Write(s.fd, s.unsent)
	if err != nil && err != syscall.EAGAIN {
		return os.NewSyscallError("send", err)
	}
	if err = nil; n == len(s.unsent) {
		err = s.poller.set.Change(s.id, epoll.In)
	}
	s.unsent = append(s.unsent[:0], s.unsent[n:]...)
	return err
}

// SetDeadline is for any goroutine: with a time in the past it interrupts, with none it
// takes that back.
func (s *socket) SetDeadline(t time.Time) error {
	s.overdue.Store(!t.IsZero())
	if !t.IsZero() {
		s.poller.mailbox.Send(s.lookIfOverdue)
	}
	return nil
}

// lookIfOverdue has an interrupt seen, unless it was taken back or the poller has not begun with the socket or
// is done with it.
func (s *socket) lookIfOverdue() {
	if p := s.poller; s.overdue.Load() && s.id < p.sockets.Len() && *p.sockets.At(s.id) == s {
		s.ready(epoll.In)
	}
}

// SetReadDeadline is for the poller's own goroutine.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.poller.wheel.Arm(s.id, t)
	return nil
}

func (s *socket) CloseWrite() error { return epoll.CloseWrite(s.fd) }

func (s *socket) Close() error {
	epoll.CloseFD(s.fd)
	return nil
}
