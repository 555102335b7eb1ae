//go:build !linux

package load

import "time"

func preciseSleep() (sleep func(time.Duration), done func()) { return time.Sleep, func() {} }
