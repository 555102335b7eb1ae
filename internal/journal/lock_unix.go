//go:build unix && !solaris && !aix

package journal

import (
	"os"
	"syscall"
)

// tryLock locks a file for as long as it is open, or returns errLocked.
func tryLock(f *os.File) error {
	return flock(f, syscall.LOCK_EX)
}

// tryReadLock is errLocked while a server writes the file.
func tryReadLock(f *os.File) error { return flock(f, syscall.LOCK_SH) }

func flock(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return errLocked
	}
	return err
}
