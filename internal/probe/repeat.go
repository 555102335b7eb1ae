package probe

import (
	"context"
	"time"
)

// Pauses between the tries of retry: the first, doubled up to the last.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Second
)

// retry tries until it holds, ctx ends, or patience has run out: the last try begins
// then. Each is told how much patience is left.
func retry(ctx context.Context, patience time.Duration, try func(left time.Duration) (holds bool)) {
	deadline := time.Now().Add(patience)
	for pause, left := firstPause, patience; !try(left); pause = min(2*pause, lastPause) {
		rest := time.Until(deadline)
		if rest <= 0 || !sleep(ctx, min(pause, rest)) {
			return
		}
		left = time.Until(deadline)
	}
}

// repeat runs a round count times, until ctx ends. Each begins interval after the one
// before, or at once if that one took longer.
func repeat(ctx context.Context, count int, interval time.Duration, round func()) {
	for i := range count {
		begin := time.Now()
		round()
		if i+1 == count || !sleep(ctx, interval-time.Since(begin)) {
			return
		}
	}
}

// sleep says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
