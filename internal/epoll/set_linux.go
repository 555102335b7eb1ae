//go:build !386

package epoll

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/kernel"
)

// Events to wait for, and those that come unasked. See epoll_ctl(2).
const (
	In     = syscall.EPOLLIN
	Out    = syscall.EPOLLOUT
	Err    = syscall.EPOLLERR
	HangUp = syscall.EPOLLHUP
	Edge   = 1 << 31 // EPOLLET, which package syscall has as a negative number
)

// batch is how many sockets one Wait reports at most.
const batch = 256

// A Set is a set of sockets of which one goroutine waits for the ready ones,
// level-triggered. Only Leave may be called by others; they reach the one that waits by a Mailbox.
type Set struct {
	fd       int
	eventfd  int // a wake ends a Wait through it
	woken    atomic.Bool
	sleeping atomic.Bool // in Wait, or about to wait elsewhere: a wake has to signal the eventfd
	slots    Table[slot]
	used     uint32 // of the slots, those in free included
	free     []uint32
	events   [batch]syscall.EpollEvent
}

// A slot is a socket's place in a Set. Its number is given away again, so each
// event carries the generation too, and one that was meant for the socket before is
// known as stale.
type slot struct {
	fd         int32 // -1 if it is free
	generation int32
}

const wakeSlot = -1

// maxWait is how long a Wait waits at most: the kernel takes the milliseconds as an int.
const maxWait = (1 << 30) * time.Millisecond

// NewSet makes an empty set.
func NewSet() (*Set, error) {
	fd, err := kernel.NewEpoll()
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	eventfd, errno := kernel.NewEvent()
	if errno != 0 {
		kernel.Close(fd)
		return nil, os.NewSyscallError("eventfd2", errno)
	}
	s := &Set{fd: fd, eventfd: eventfd}
	// Edge-triggered, so that nobody has to read it.
	event := syscall.EpollEvent{Events: In | Edge, Fd: wakeSlot}
	if err := s.control(syscall.EPOLL_CTL_ADD, s.eventfd, &event); err != nil {
		s.Free()
		return nil, err
	}
	return s, nil
}

// Free ends the set. Sockets that are still in it stay open.
func (s *Set) Free() {
	kernel.Close(s.fd)
	kernel.Close(s.eventfd)
}

// wake ends the Wait that is under way, or else the next one. Any goroutine may
// call it.
func (s *Set) wake() {
	if !s.woken.Swap(true) && s.sleeping.Load() {
		kernel.Signal(s.eventfd)
	}
}

// wasWoken reports whether there was a wake since it was last asked.
func (s *Set) wasWoken() bool { return s.woken.Load() && s.woken.Swap(false) }

// Add puts a socket into the set and gives it a number.
func (s *Set) Add(fd int, events uint32) (id uint32, err error) {
	if n := len(s.free); n > 0 {
		id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		id = s.used
		s.used++
		s.slots.Grow(id)
	}
	s.slots.At(id).fd = int32(fd)
	if err := s.change(syscall.EPOLL_CTL_ADD, id, events); err != nil {
		s.release(id)
		return 0, err
	}
	return id, nil
}

// Change replaces the events that a socket is waited for.
func (s *Set) Change(id uint32, events uint32) error {
	return s.change(syscall.EPOLL_CTL_MOD, id, events)
}

// Close closes a socket, which takes it out of the set, and frees its number.
func (s *Set) Close(id uint32) {
	CloseFD(int(s.slots.At(id).fd))
	s.release(id)
}

// Leave takes a socket out of the set by its descriptor; its number stays taken until
// Forget. Any goroutine may call it.
func (s *Set) Leave(fd int) {
	s.control(syscall.EPOLL_CTL_DEL, fd, new(syscall.EpollEvent)) // it may have left already
}

// Forget frees the number of a socket that has left the set, or was closed by others.
func (s *Set) Forget(id uint32) { s.release(id) }

func (s *Set) release(id uint32) {
	at := s.slots.At(id)
	*at = slot{fd: -1, generation: at.generation + 1}
	s.free = append(s.free, id)
}

func (s *Set) change(op int, id uint32, events uint32) error {
	at := s.slots.At(id)
	event := syscall.EpollEvent{Events: events, Fd: int32(id), Pad: at.generation}
	return s.control(op, int(at.fd), &event)
}

func (s *Set) control(op, fd int, event *syscall.EpollEvent) error {
	if errno := kernel.Control(s.fd, op, fd, event); errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// File is another descriptor of the set, one that the runtime's own poller waits for: it
// is readable while sockets are ready. Whoever calls Wait with no timeout and waits for
// the file in between blocks no thread.
func (s *Set) File() (*os.File, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(s.fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	syscall.SetNonblock(int(fd), true) // by which package os knows that it may be waited for
	f := os.NewFile(fd, "epoll")
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Wait waits until a socket is ready, or for as long as given, for ever if that is
// negative, and returns how many events there are. The scheduler knows that this
// call may block.
func (s *Set) Wait(timeout time.Duration) (int, error) {
	ms := milliseconds(timeout)
	s.sleeping.Store(true)
	if s.woken.Load() {
		kernel.Signal(s.eventfd) // a wake may have seen nobody waiting
	}
	n, errno := kernel.Wait(s.fd, s.events[:], ms)
	if ms != 0 || errno == 0 && n > 0 { // else it may go on to wait for the file
		s.sleeping.Store(false)
	}
	switch errno {
	case 0:
		return n, nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError("epoll_wait", errno)
}

// milliseconds is a Wait's timeout as the kernel takes it, rounded up: a wait that is too
// short would only be repeated. -1 is for ever.
func milliseconds(timeout time.Duration) int {
	if timeout < 0 {
		return -1
	}
	return int((min(timeout, maxWait) + time.Millisecond - 1) / time.Millisecond)
}

// Event is the i-th event of the last Wait: the socket's number and what it is ready
// for. That is 0 for what a Mailbox was sent, and for a socket which is no longer in the set.
func (s *Set) Event(i int) (id uint32, events uint32) {
	e := &s.events[i]
	if e.Fd == wakeSlot {
		return 0, 0
	}
	id = uint32(e.Fd)
	if s.slots.At(id).generation != e.Pad {
		return id, 0
	}
	return id, e.Events
}
