//go:build !linux

package parley

import "syscall"

// backlogOf cannot be asked for on this system: what it has taken counts as the peer's.
func backlogOf(uintptr) (unsent, untaken int) { return 0, 0 }

// brokenBy: on this system a write tells.
func brokenBy(uintptr) syscall.Errno { return 0 }

// setUserTimeout: this system has its own idea of when a peer is gone.
func setUserTimeout(uintptr, int) error { return nil }
