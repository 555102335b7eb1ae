package listen

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// listenUnix listens at a path, in place of the socket of a server that is dead. socket is what
// it has made there.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (l net.Listener, socket fs.FileInfo, err error) {
	if strings.HasPrefix(path, "@") {
		if l, err = config().Listen(ctx, "unix", path); errors.Is(err, syscall.EADDRINUSE) {
			err = ErrAlive
		}
		return l, nil, err
	}
	unlock, err := lock(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if err := clear(ctx, path); err != nil {
		return nil, nil, err
	}
	if l, err = bind(ctx, path, mode); err != nil {
		return nil, nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by then it may be another's
	if socket, err = os.Lstat(path); err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, socket, nil
}

// aliveTimeout is how long a server may take to be connected to: the system does that for it,
// or says at once that it is too busy.
const aliveTimeout = 5 * time.Second

// clear removes the socket of a server that is dead, and nothing else. The path is locked.
func clear(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return ErrForeign
	}
	dialer := net.Dialer{Timeout: aliveTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		conn.Close()
		return ErrAlive
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, syscall.EAGAIN): // so many wait to be accepted
		return ErrAlive
	case errors.Is(err, syscall.EPROTOTYPE):
		return errors.New("a socket of another kind is there; choose another name")
	}
	return err
}

// removeUnix removes a socket from the file system whose listener is closed, unless something else
// has its name by now. That may even have the same inode, which is free once nobody listens any
// more: a socket that answers is another's.
func removeUnix(path string, socket fs.FileInfo) error {
	unlock, err := lock(context.Background(), path)
	if err != nil {
		return err
	}
	defer unlock()
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, socket) {
		return nil
	}
	if err := clear(context.Background(), path); err != ErrAlive {
		return err
	}
	return nil
}
