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

// cells are a histogram that is kept: the buckets that have something, in order. They do not
// change, and may be read by several at once.
type cells []cell

// A cell is a bucket, in its upper bits, and how many times are in it.
type cell uint64

const countBits = 48

func newCell(bucket int, n uint64) cell { return cell(uint64(bucket)<<countBits | n) }
func (c cell) bucket() int              { return int(c >> countBits) }
func (c cell) n() uint64                { return uint64(c) & (1<<countBits - 1) }

// cells returns those of the histogram; nil if it is empty.
func (h *histogram) cells() (c cells) {
	for bucket, n := range h {
		if n > 0 {
			c = append(c, newCell(bucket, uint64(n)))
		}
	}
	return c
}

// merged has the times of both.
func (c cells) merged(with cells) cells {
	if len(c) == 0 || len(with) == 0 {
		return append(c[:len(c):len(c)], with...)
	}
	both := make(cells, 0, len(c)+len(with))
	for len(c) > 0 && len(with) > 0 {
		switch a, b := c[0], with[0]; {
		case a.bucket() < b.bucket():
			both, c = append(both, a), c[1:]
		case a.bucket() > b.bucket():
			both, with = append(both, b), with[1:]
		default:
			both, c, with = append(both, a+cell(b.n())), c[1:], with[1:]
		}
	}
	return append(append(both, c...), with...)
}

// quantiles returns, of all times, the longest one of the shortest 50 %, of the shortest
// 99 % and of all; nothing if there are none.
func (c cells) quantiles() (half, most, longest time.Duration) {
	var all, seen uint64
	for _, cell := range c {
		all += cell.n()
	}
	for _, cell := range c {
		before := seen
		seen += cell.n()
		longest = upper(cell.bucket())
		if before < (all+1)/2 {
			half = longest
		}
		if before < all-all/100 {
			most = longest
		}
	}
	return half, most, longest
}

// rows tell a coarser histogram: row and how many, again and again.
func (c cells) rows() (told []uint64) {
	for _, cell := range c {
		row := uint64(cell.bucket() >> rowBits)
		if n := len(told); n > 0 && told[n-2] == row {
			told[n-1] += cell.n()
		} else {
			told = append(told, row, cell.n())
		}
	}
	return told
}
