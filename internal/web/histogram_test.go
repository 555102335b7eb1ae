package web

import (
	"math"
	"testing"
	"time"
)

func TestBucketIsHardlyWiderThanItsTimes(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 15, 16, 31, 32, 33, 63, 64, 1000, 12_345, time.Millisecond, 3 * time.Second, time.Minute, 18 * time.Minute} {
		if got := upper(bucketOf(d)); got < d || got > d+d/16 {
			t.Errorf("%v is told as %v, which is not within a sixteenth above it", d, got)
		}
	}
	for bucket := 1; bucket < buckets; bucket++ {
		if got := bucketOf(upper(bucket-1) + 1); got != bucket {
			t.Fatalf("bucketOf(%v) = %d, want %d", upper(bucket-1)+1, got, bucket)
		}
	}
	for _, d := range []time.Duration{-1, math.MinInt64} {
		if got := bucketOf(d); got != 0 {
			t.Errorf("bucketOf(%d) = %d, want 0", d, got)
		}
	}
	for _, d := range []time.Duration{1 << 40, math.MaxInt64} {
		if got := bucketOf(d); got != buckets-1 {
			t.Errorf("bucketOf(%d) = %d, want the last, %d", d, got, buckets-1)
		}
	}
}

func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		name                string
		times               []time.Duration
		half, most, longest time.Duration
	}{
		{"none", nil, 0, 0, 0},
		{"one", []time.Duration{7}, 7, 7, 7},
		{"two", []time.Duration{3, 9}, 3, 9, 9},
		{"three", []time.Duration{3, 9, 20}, 9, 20, 20},
		{"99 and 1", append(repeat(5, 99), 30), 5, 5, 30},
		{"98 and 2", append(repeat(5, 98), 30, 30), 5, 30, 30},
	} {
		var h histogram
		for _, d := range c.times {
			h[bucketOf(d)]++
		}
		if half, most, longest := h.cells().quantiles(); half != c.half || most != c.most || longest != c.longest {
			t.Errorf("%s: quantiles = %d, %d, %d; want %d, %d, %d", c.name, half, most, longest, c.half, c.most, c.longest)
		}
	}
}

func repeat(d time.Duration, n int) (times []time.Duration) {
	for range n {
		times = append(times, d)
	}
	return times
}
