//go:build unix && !solaris && !aix

package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	lockTimeout = 5 * time.Second // for others to start or stop at the same path, which takes no time
	lockPause   = 5 * time.Millisecond
)

// lock keeps other servers from starting and stopping at a path until unlock is called, by a
// file beside it that is there only so long.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	path += ".lock"
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, ErrStarting)
	defer cancel()
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, explainLock(path, err)
		}
		held, err := tryLock(f, path)
		if held {
			return func() { release(f, path) }, nil
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// explainLock names the lock file, if that is what is in the way, and no directory.
func explainLock(path string, err error) error {
	if _, there := os.Lstat(path); there != nil {
		return err
	}
	return fmt.Errorf("%s is to be its lock file, and cannot: %v", path, errors.Unwrap(err))
}

// tryLock locks a file, and says whether it still has its name: the one who held it before may
// have removed it.
func tryLock(f *os.File, path string) (held bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK || err == syscall.EINTR {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ours, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, named), nil
}

// release removes the file while it is still locked, unless it is somebody's own.
func release(f *os.File, path string) {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		os.Remove(path)
	}
	f.Close()
}

// bind listens at a path, with a socket that never was more open than mode.
func bind(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if mode != 0 {
		defer syscall.Umask(syscall.Umask(0o777 &^ int(mode)))
	}
	return config().Listen(ctx, "unix", path)
}
