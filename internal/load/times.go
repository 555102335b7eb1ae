package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Times is a distribution of times, kept to three digits. The zero value has none.
type Times struct {
	Histogram *hdrhistogram.Histogram // of ns
}

// Count is how many there are.
func (t Times) Count() int64 {
	if t.Histogram == nil {
		return 0
	}
	return t.Histogram.TotalCount()
}

// Mean is 0 if there are none, as are the others.
func (t Times) Mean() time.Duration { return time.Duration(t.Histogram.Mean()) }

// StdDev is the standard deviation.
func (t Times) StdDev() time.Duration { return time.Duration(t.Histogram.StdDev()) }

// Min is the shortest.
func (t Times) Min() time.Duration { return t.Quantile(0) }

// Max is the longest. The histogram's own Max visits each count one by one.
func (t Times) Max() time.Duration { return t.Quantile(100) }

// Quantile is the time that percent of all are not longer than.
func (t Times) Quantile(percent float64) time.Duration {
	return time.Duration(t.Histogram.ValueAtQuantile(percent))
}
