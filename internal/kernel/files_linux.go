//go:build !simulate

package kernel

import (
	"os"
	"syscall"
)

// Allocate is fallocate(2).
func Allocate(f *os.File, mode uint32, from, length int64) error {
	return syscall.Fallocate(int(f.Fd()), mode, from, length)
}
