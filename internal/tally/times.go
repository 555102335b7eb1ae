package tally

import (
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// exactTimes is how many times are kept as they are; more become a histogram, whose percentiles
// are up to 1 % too high.
const exactTimes = 4096

// Times are how long replies took.
type Times struct {
	Max, Total time.Duration

	exact  []int64
	sorted bool
	many   *hdrhistogram.Histogram // of all, once there are more than exactTimes
}

func (t *Times) add(took time.Duration) {
	t.Max = max(t.Max, took)
	t.Total += took
	if t.many == nil {
		if len(t.exact) < exactTimes {
			t.exact, t.sorted = append(t.exact, int64(took)), false
			return
		}
		const digits = 2
		t.many = hdrhistogram.New(1, math.MaxInt64/2, digits)
		for _, one := range t.exact {
			t.many.RecordValue(max(1, one))
		}
		t.exact = nil
	}
	t.many.RecordValue(max(1, int64(took)))
}

// Count is how many there are.
func (t *Times) Count() int64 {
	if t.many != nil {
		return t.many.TotalCount()
	}
	return int64(len(t.exact))
}

// Percentile is the time in which so many of a hundred replies were made; 0 if there are none.
func (t *Times) Percentile(percent float64) time.Duration {
	if t.many != nil {
		return min(t.Max, time.Duration(t.many.ValueAtPercentile(percent)))
	}
	if len(t.exact) == 0 {
		return 0
	}
	if !t.sorted {
		slices.Sort(t.exact)
		t.sorted = true
	}
	rank := int(math.Ceil(percent / 100 * float64(len(t.exact))))
	return time.Duration(t.exact[max(rank, 1)-1])
}
