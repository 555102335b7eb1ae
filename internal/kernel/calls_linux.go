//go:build !386 && !simulate

package kernel

import (
	"runtime"
	"syscall"
	"unsafe"
)

// Processors is how many there are to run loops on.
func Processors() int { return runtime.GOMAXPROCS(0) }

// Those that cannot block do not tell the scheduler.

// Transfer is recvfrom(2) or sendto(2) of a connected socket.
func Transfer(call uintptr, fd int, p *byte, size int, flags uintptr) (uintptr, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(p)), uintptr(size), flags, 0, 0)
	return n, errno
}

// Accept is accept4(2), for a non-blocking socket.
func Accept(fd int, sa *syscall.RawSockaddrAny, size *uint32) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(sa)),
		uintptr(unsafe.Pointer(size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

// LocalName is getsockname(2).
func LocalName(fd int, sa *syscall.RawSockaddrAny, size *uint32) {
	syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(sa)), uintptr(unsafe.Pointer(size)))
}

// Option is getsockopt(2) of a number.
func Option(fd, level, name int) (int, error) { return syscall.GetsockoptInt(fd, level, name) }

// SetOption is setsockopt(2) of a number.
func SetOption(fd, level, name, value int) error {
	return syscall.SetsockoptInt(fd, level, name, value)
}

// CloseWrite is shutdown(2) of the writing half.
func CloseWrite(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
	return errno
}

// Close is close(2).
func Close(fd int) { syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

// NewEpoll is epoll_create1(2).
func NewEpoll() (int, error) { return syscall.EpollCreate1(syscall.EPOLL_CLOEXEC) }

// Control is epoll_ctl(2).
func Control(epoll, op, fd int, event *syscall.EpollEvent) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	return errno
}

// Wait is epoll_wait(2). The scheduler knows that it may block.
func Wait(epoll int, events []syscall.EpollEvent, milliseconds int) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(milliseconds), 0, 0)
	return int(n), errno
}

// NewEvent is eventfd(2).
func NewEvent() (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	return int(fd), errno
}

// Signal adds one to an event.
func Signal(event int) {
	one := uint64(1)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(event), uintptr(unsafe.Pointer(&one)), 8)
}
