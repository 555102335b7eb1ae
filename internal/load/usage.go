package load

import (
	"runtime"
	"time"
)

// usage is what this process had used at some time.
type usage struct {
	at  time.Time
	cpu time.Duration
}

func usageNow() usage { return usage{time.Now(), processTime()} }

// share is the part of its cores that the process has used since before.
func (u usage) share(before usage) float64 {
	all := u.at.Sub(before.at) * time.Duration(runtime.GOMAXPROCS(0))
	if all <= 0 {
		return 0
	}
	return float64(u.cpu-before.cpu) / float64(all)
}
