//go:build !simulate

package kernel

import (
	"io/fs"
	"os"
)

// Stat is stat(2).
func Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// OpenFile is open(2).
func OpenFile(name string, flag int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, mode)
}

// Sync is fsync(2).
func Sync(f *os.File) error { return f.Sync() }
