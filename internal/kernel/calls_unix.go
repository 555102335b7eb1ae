//go:build unix && !simulate

package kernel

import "syscall"

// Read is read(2).
func Read(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

// Write is write(2).
func Write(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
