package simkernel

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// ahead is by how many seconds the wall clock is ahead of that of package time.
var ahead atomic.Int64

// SetClock sets the wall clock so far ahead, or behind, in whole seconds. The monotonic clock goes on.
func (k *Kernel) SetClock(by time.Duration) { ahead.Store(int64(by / time.Second)) }

// A reading is what a time.Time with a monotonic clock consists of: a bit that says so, 33 bits of seconds since 1885 and
// 30 of nanoseconds; and the monotonic clock's nanoseconds. See the comment of type Time in package time.
type reading struct {
	wall      uint64
	monotonic int64
}

var (
	beginOfReadings = time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	beginOfTime     = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // in a bubble of testing/synctest
)

// Now has two clocks where time.Now has one, in a bubble of testing/synctest: the wall clock, which steps, and a monotonic one.
func Now() time.Time {
	now := time.Now()
	both := now.Local()
	r := (*reading)(unsafe.Pointer(&both))
	r.wall = 1<<63 | uint64(now.Unix()+ahead.Load()-beginOfReadings)<<30 | uint64(now.Nanosecond())
	r.monotonic = int64(now.Sub(beginOfTime))
	return both
}

// Since is how long ago a time is that Now gave, by the monotonic clock.
func Since(t time.Time) time.Duration { return Now().Sub(t) }
