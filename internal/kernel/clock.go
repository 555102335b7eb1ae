//go:build !simulate

package kernel

import "time"

// Now is clock_gettime(2) of both clocks, the wall's and the monotonic one.
func Now() time.Time { return time.Now() }

// Since is how long ago a time is that Now gave.
func Since(t time.Time) time.Duration { return time.Since(t) }
