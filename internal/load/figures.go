package load

import (
	"math"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
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

// Times is a distribution of times, kept to three digits.
type Times struct{ histogram *hdrhistogram.Histogram }

// Histogram holds the times in ns.
func (t Times) Histogram() *hdrhistogram.Histogram { return t.histogram }

// Count is how many there are.
func (t Times) Count() int64 { return t.histogram.TotalCount() }

// Mean is 0 if there are none, as are the others.
func (t Times) Mean() time.Duration { return time.Duration(t.histogram.Mean()) }

// StdDev is the standard deviation.
func (t Times) StdDev() time.Duration { return time.Duration(t.histogram.StdDev()) }

// Min is the shortest.
func (t Times) Min() time.Duration { return time.Duration(t.histogram.Min()) }

// Max is the longest.
func (t Times) Max() time.Duration { return time.Duration(t.histogram.Max()) }

// Quantile is the time that percent of all are not longer than.
func (t Times) Quantile(percent float64) time.Duration {
	return time.Duration(t.histogram.ValueAtQuantile(percent))
}

// perSecond is a rate, to a whole number.
func perSecond(n uint64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return math.Round(float64(n) / in.Seconds())
}
