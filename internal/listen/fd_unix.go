//go:build unix

package listen

import (
	"errors"
	"net"
	"os"

	sys "golang.org/x/sys/unix"
)

var (
	errNotPassed    = errors.New("no descriptor of that number was passed to this process")
	errNoSocket     = errors.New("it is no socket")
	errNotListening = errors.New("it is a socket that does not listen")
	errNoStream     = errors.New("it is neither a TCP socket nor a Unix one of streams")
)

// inherited is the listener that was passed to the process as a descriptor.
func inherited(fd int) (net.Listener, error) {
	// Go's own are all closed on exec, and so cannot have been passed.
	flags, err := sys.FcntlInt(uintptr(fd), sys.F_GETFD, 0)
	if err != nil || flags&sys.FD_CLOEXEC != 0 {
		return nil, errNotPassed
	}
	copied, err := sys.FcntlInt(uintptr(fd), sys.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(copied), "")
	defer f.Close()
	l, err := listenerOf(f)
	if err == nil && fd > 2 { // the numbers of the standard streams are not for files
		sys.Close(fd)
	}
	return l, err
}

// listenerOf is the listener that a descriptor is, with one of its own.
func listenerOf(f *os.File) (net.Listener, error) {
	listens, err := sys.GetsockoptInt(int(f.Fd()), sys.SOL_SOCKET, sys.SO_ACCEPTCONN)
	switch {
	case err == sys.ENOTSOCK:
		return nil, errNoSocket
	case err != nil:
		return nil, err
	case listens == 0:
		return nil, errNotListening
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	if network := l.Addr().Network(); network != "tcp" && network != "unix" {
		l.Close()
		return nil, errNoStream
	}
	return l, nil
}

// isReadable says whether there is something to read, or to accept, at once.
func isReadable(fd uintptr) bool {
	n, err := sys.Poll([]sys.PollFd{{Fd: int32(fd), Events: sys.POLLIN}}, 0)
	return err == nil && n > 0
}
