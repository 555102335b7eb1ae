//go:build !linux

package parley

// backlogOf cannot be asked for on this system: what it has taken counts as the peer's.
func backlogOf(uintptr) (unsent, untaken int) { return 0, 0 }

// isReset: on this system a write tells.
func isReset(uintptr) bool { return false }

// setUserTimeout: this system has its own idea of when a peer is gone.
func setUserTimeout(uintptr, int) error { return nil }
