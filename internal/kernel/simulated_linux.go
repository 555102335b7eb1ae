//go:build simulate

package kernel

import (
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/parley-tcp/parley/internal/simkernel"
)

// Sockets of the kernel that is made up.
type (
	TCPConn     = simkernel.Conn
	TCPListener = simkernel.Listener
)

// As in calls_linux.go and calls_unix.go, and what else asks a system about a socket.

func Processors() int { return simkernel.Processors() }

func Read(fd int, p []byte) (int, error) { return orError(simkernel.Recv(fd, p)) }

func Write(fd int, p []byte) (int, error) { return orError(simkernel.Send(fd, p)) }

func orError(n int, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return n, nil
}

func Transfer(call uintptr, fd int, p *byte, size int, _ uintptr) (uintptr, syscall.Errno) {
	transfer := simkernel.Send
	if call == syscall.SYS_RECVFROM {
		transfer = simkernel.Recv
	}
	n, errno := transfer(fd, unsafe.Slice(p, size))
	return uintptr(n), errno
}

func Accept(fd int, sa *syscall.RawSockaddrAny, size *uint32) (int, syscall.Errno) {
	return simkernel.Accept(fd, sa, size)
}

func LocalName(fd int, sa *syscall.RawSockaddrAny, size *uint32) { simkernel.LocalName(fd, sa, size) }

func Option(int, int, int) (int, error) { return 0, nil }

func SetOption(int, int, int, int) error { return nil }

func CloseWrite(fd int) syscall.Errno { return simkernel.CloseWrite(fd) }

func Close(fd int) { simkernel.Close(fd) }

func NewEpoll() (int, error) { return orError(simkernel.NewEpoll()) }

func Control(epoll, op, fd int, event *syscall.EpollEvent) syscall.Errno {
	return simkernel.Control(epoll, op, fd, event)
}

func Wait(epoll int, events []syscall.EpollEvent, milliseconds int) (int, syscall.Errno) {
	return simkernel.Wait(epoll, events, milliseconds)
}

func Now() time.Time { return simkernel.Now() }

func Since(t time.Time) time.Duration { return simkernel.Since(t) }

func NewEvent() (int, syscall.Errno) { return simkernel.NewEvent() }

func Signal(event int) { simkernel.Signal(event) }

// SetUserTimeout has a connection be given up whose peer has left bytes unacknowledged for so long.
func SetUserTimeout(fd, milliseconds int) error {
	simkernel.SetUserTimeout(fd, time.Duration(milliseconds)*time.Millisecond)
	return nil
}

// Backlog is how many bytes that were written are not sent, and not acknowledged.
func Backlog(fd int) (unsent, untaken int) { return simkernel.Backlog(fd) }

// BrokenBy is why a connection is no more, 0 while it is.
func BrokenBy(fd int) syscall.Errno { return simkernel.BrokenBy(fd) }

func Stat(name string) (fs.FileInfo, error) { return simkernel.Stat(name) }

func OpenFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	return simkernel.OpenFile(name, flag, mode)
}

func Sync(f *os.File) error { return simkernel.Sync(f) }

func Allocate(f *os.File, mode uint32, from, length int64) error {
	return simkernel.Allocate(f, mode, from, length)
}
