//go:build !linux || 386

package tap

import "time"

// loops are there on Linux only: elsewhere all sessions have goroutines.
type loops struct{}

func (*loops) acquire(*Tap) error { return nil }

func (*loops) release() {}

func (*loops) take(*session) bool { return false }

func (*loops) tick(time.Duration) {}
