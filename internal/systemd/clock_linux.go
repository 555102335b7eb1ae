package systemd

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the clock by which the manager tells a reload from the one before.
func monotonic() time.Duration {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano())
}
