//go:build unix && (!linux || 386 || race) && !simulate

package kernel

import "syscall"

// These tell the race detector that what was done before a write is seen by whoever reads behind it.

// Read is read(2), of a non-blocking socket.
func Read(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

// Write is write(2), to a non-blocking socket.
func Write(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
