//go:build unix && !solaris && !aix

package journal

import (
	"os"
	"syscall"
)

// tryLock locks a file for as long as it is open, or returns errLocked.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return errLocked
	}
	return err
}
