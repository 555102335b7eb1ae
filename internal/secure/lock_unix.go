//go:build unix && !solaris && !aix

package secure

import (
	"io/fs"
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

// ownerOf is whose a file is, and whether that is who we are.
func ownerOf(info fs.FileInfo) (uid uint32, isOurs bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, true
	}
	return stat.Uid, int64(stat.Uid) == int64(os.Geteuid())
}
