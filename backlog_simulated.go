//go:build linux && simulate

package parley

import (
	"syscall"

	"github.com/parley-tcp/parley/internal/kernel"
)

func backlogOf(fd uintptr) (unsent, untaken int) { return kernel.Backlog(int(fd)) }

func brokenBy(fd uintptr) syscall.Errno { return kernel.BrokenBy(int(fd)) }

func setUserTimeout(fd uintptr, milliseconds int) error {
	return kernel.SetUserTimeout(int(fd), milliseconds)
}
