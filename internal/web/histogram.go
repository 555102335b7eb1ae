package web

import (
	"math/bits"
	"time"
)

// A histogram counts times in nanoseconds: 16 buckets for each doubling, so that a time
// read from it is at most a sixteenth too long. Times of 18 minutes and more count as that.
type histogram [buckets]uint32

const (
	fine    = 4 // bits of a time that its bucket tells
	octaves = 40 - fine
	buckets = (octaves + 1) << fine
)

func bucketOf(d time.Duration) int {
	n := uint64(max(0, d))
	shift := max(0, bits.Len64(n)-fine-1)
	return min(shift<<fine+int(n>>shift), buckets-1)
}

// upper is the longest time of a bucket.
func upper(bucket int) time.Duration {
	shift := max(0, bucket>>fine-1)
	return time.Duration(bucket-shift<<fine+1)<<shift - 1
}

// quantiles returns, of all times, the longest one of the shortest 50 %, of the shortest
// 99 % and of all; nothing if there are none.
func (h *histogram) quantiles() (half, most, longest time.Duration) {
	var all, seen uint64
	for _, n := range h {
		all += uint64(n)
	}
	for bucket, n := range h {
		if n == 0 {
			continue
		}
		before := seen
		seen += uint64(n)
		longest = upper(bucket)
		if before < (all+1)/2 {
			half = longest
		}
		if before < all-all/100 {
			most = longest
		}
	}
	return half, most, longest
}
