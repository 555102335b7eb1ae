//go:build unix

package load

import (
	"syscall"
	"time"
)

// processTime is the CPU time that this process has used, user and system.
func processTime() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
