package metrics

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// classic are the upper bounds of the classic buckets.
var classic = []time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// The native buckets are those of schema 3: eight for each doubling, each 9 % wider than the one
// before. Below the first of them is the zero bucket, and what takes longer than the last is in that.
const (
	schema          = 3
	perDoubling     = 1 << schema
	firstNative     = -20 * perDoubling // the index of the bucket that begins at zeroThreshold, less one
	lastNative      = 16 * perDoubling  // that ends at 18 hours
	zeroThreshold   = 1.0 / (1 << 20)   // seconds, nearly a microsecond
	linear          = 4                 // bits of a time by which its cell is looked up
	longestOctave   = 64 - linear       // of times in nanoseconds
	cellsOfAllTimes = longestOctave << linear
)

// A cell is a span of times that lies in one native and one classic bucket.
type cell struct {
	to      time.Duration // the longest time in it
	native  int           // index of its native bucket; firstNative is the zero bucket
	classic int           // index of its classic bucket; len(classic) is what takes longer than all of them
}

// cells are all spans, in order; firstCell is by the upper bits of a time the first that it may be in.
var cells, firstCell = makeCells()

func makeCells() (cells []cell, first [cellsOfAllTimes]uint16) {
	ends := slices.Clone(classic)
	for i := firstNative; i < lastNative; i++ {
		ends = append(ends, endOfNative(i))
	}
	slices.Sort(ends)
	ends = append(slices.Compact(ends), math.MaxInt64)
	native := firstNative
	for _, to := range ends {
		for native < lastNative && endOfNative(native) < to {
			native++
		}
		within, _ := slices.BinarySearch(classic, to)
		cells = append(cells, cell{to, native, within})
	}
	for i := range first {
		shortest := time.Duration(i)
		if octave := i >> linear; octave > 0 {
			shortest = time.Duration(uint64(i&(1<<linear-1)|1<<linear) << (octave - 1))
		}
		at, _ := slices.BinarySearchFunc(cells, shortest, func(c cell, d time.Duration) int { return int(min(max(c.to-d, -1), 1)) })
		first[i] = uint16(at)
	}
	return cells, first
}

// endOfNative is the longest time in whole nanoseconds of a native bucket.
func endOfNative(index int) time.Duration {
	return time.Duration(math.Floor(math.Exp2(float64(index)/perDoubling) * 1e9))
}

// cellOf is the index of the cell that a time is in.
func cellOf(d time.Duration) int {
	n := uint64(max(0, d))
	octave := max(0, bits.Len64(n)-linear)
	at := n
	if octave > 0 {
		at = uint64(octave)<<linear | n>>(octave-1)&(1<<linear-1)
	}
	i := int(firstCell[at])
	for d > cells[i].to {
		i++
	}
	return i
}

// durations are how long requests took. Who adds to them may do so while others do, or read them.
type durations struct {
	cells []atomic.Uint64
	sum   atomic.Int64 // ns
}

func newDurations() *durations { return &durations{cells: make([]atomic.Uint64, len(cells))} }

func (d *durations) add(took time.Duration, n uint64) {
	d.cells[cellOf(took)].Add(n)
	d.sum.Add(int64(took) * int64(n))
}

// A durationsMetric is what several durations have together, with classic and native buckets.
type durationsMetric struct {
	desc  *prometheus.Desc
	since time.Time
	of    []*durations
}

// count is how many there are.
func (m *durationsMetric) count() (n uint64) {
	for _, d := range m.of {
		for i := range d.cells {
			n += d.cells[i].Load()
		}
	}
	return n
}

func (m *durationsMetric) Desc() *prometheus.Desc { return m.desc }

func (m *durationsMetric) Write(out *dto.Metric) error {
	perCell := make([]uint64, len(cells))
	sum := time.Duration(0)
	for _, d := range m.of {
		for i := range d.cells {
			perCell[i] += d.cells[i].Load()
		}
		sum += time.Duration(d.sum.Load())
	}
	h := &dto.Histogram{SampleSum: new(sum.Seconds()), Schema: new(int32(schema)), ZeroThreshold: new(zeroThreshold), CreatedTimestamp: timestamppb.New(m.since)}
	total, zero, at := uint64(0), uint64(0), 0
	native := make([]int64, lastNative-firstNative+1)
	for i, n := range perCell {
		for ; at < cells[i].classic; at++ {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(classic[at].Seconds()), CumulativeCount: new(total)})
		}
		total += n
		if cells[i].native == firstNative {
			zero += n
		} else {
			native[cells[i].native-firstNative] += int64(n)
		}
	}
	h.SampleCount, h.ZeroCount = new(total), new(zero)
	h.PositiveSpan, h.PositiveDelta = spansOf(native)
	if total == 0 {
		h.PositiveSpan = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}} // which says that it is a native one
	}
	out.Histogram = h
	return nil
}

// spansOf are the buckets that have something, as Prometheus writes them: runs of neighbours, each bucket
// by how much more it has than the one before.
func spansOf(native []int64) (spans []*dto.BucketSpan, deltas []int64) {
	before, next := int64(0), 0 // the bucket behind the last run, from index 0 of the schema on
	for i, n := range native {
		index := i + firstNative
		switch {
		case n == 0:
			continue
		case len(spans) > 0 && index == next:
			*spans[len(spans)-1].Length++
		default:
			spans = append(spans, &dto.BucketSpan{Offset: new(int32(index - next)), Length: new(uint32(1))})
		}
		deltas = append(deltas, n-before)
		before, next = n, index+1
	}
	return spans, deltas
}
