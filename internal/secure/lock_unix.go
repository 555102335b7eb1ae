//go:build unix && !solaris && !aix

package secure

import (
	"os"
	"syscall"
)

// lock waits until nobody else has the file locked, and locks it for as long as it is open.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}
