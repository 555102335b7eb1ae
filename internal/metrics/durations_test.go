package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Every time is counted in the buckets, classic and native, in which Prometheus' own histogram counts it.
func TestDurationsAreCountedAsPrometheusDoes(t *testing.T) {
	bounds := make([]float64, len(classic))
	for i, b := range classic {
		bounds[i] = b.Seconds()
	}
	own := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "own", Buckets: bounds, NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: zeroThreshold,
	})
	ours := newDurations()
	add := func(d time.Duration) {
		own.Observe(d.Seconds())
		ours.add(d, 1)
	}
	for d := range time.Duration(5000) {
		add(d)
	}
	for _, c := range cells[:len(cells)-1] {
		add(c.to)
		add(c.to + 1)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		add(time.Duration(math.Exp(random.Float64() * math.Log(float64(18*time.Hour)))))
	}

	var want, got dto.Metric
	if err := own.Write(&want); err != nil {
		t.Fatal(err)
	}
	m := &durationsMetric{of: []*durations{ours}}
	if err := m.Write(&got); err != nil {
		t.Fatal(err)
	}
	a, b := got.Histogram, want.Histogram
	if a.GetSampleCount() != b.GetSampleCount() || a.GetSampleCount() != m.count() || a.GetZeroCount() != b.GetZeroCount() || a.GetSchema() != b.GetSchema() || a.GetZeroThreshold() != b.GetZeroThreshold() {
		t.Errorf("count %d, zero %d, schema %d; want count %d, zero %d, schema %d", a.GetSampleCount(), a.GetZeroCount(), a.GetSchema(), b.GetSampleCount(), b.GetZeroCount(), b.GetSchema())
	}
	if ratio := a.GetSampleSum() / b.GetSampleSum(); math.Abs(ratio-1) > 1e-9 {
		t.Errorf("the sum is %v, want %v", a.GetSampleSum(), b.GetSampleSum())
	}
	for i, bucket := range b.GetBucket() {
		if o := a.GetBucket()[i]; o.GetUpperBound() != bucket.GetUpperBound() || o.GetCumulativeCount() != bucket.GetCumulativeCount() {
			t.Errorf("bucket %v has %d, want %v with %d", o.GetUpperBound(), o.GetCumulativeCount(), bucket.GetUpperBound(), bucket.GetCumulativeCount())
		}
	}
	gotNative, wantNative := nativeOf(a), nativeOf(b)
	for index, n := range wantNative {
		if gotNative[index] != n {
			t.Errorf("native bucket %d has %d, want %d", index, gotNative[index], n)
		}
	}
	if len(gotNative) != len(wantNative) {
		t.Errorf("%d native buckets have something, want %d", len(gotNative), len(wantNative))
	}
}

// nativeOf is how many are in each native bucket.
func nativeOf(h *dto.Histogram) map[int]int64 {
	buckets := map[int]int64{}
	index, at, n := 0, 0, int64(0)
	for _, s := range h.PositiveSpan {
		index += int(s.GetOffset())
		for range s.GetLength() {
			n += h.PositiveDelta[at]
			if n != 0 {
				buckets[index] = n
			}
			at++
			index++
		}
	}
	return buckets
}

// Times that nobody can have waited for are counted too.
func TestImpossibleDurationsAreCounted(t *testing.T) {
	d := newDurations()
	for _, took := range []time.Duration{-1, math.MinInt64, math.MaxInt64, 0} {
		d.cells[cellOf(took)].Add(1)
	}
	if first, last := d.cells[0].Load(), d.cells[len(cells)-1].Load(); first != 3 || last != 1 {
		t.Errorf("the first cell has %d and the last %d, want 3 and 1", first, last)
	}
}

func BenchmarkReply(b *testing.B) {
	d := newDurations()
	took := 12345 * time.Nanosecond
	for b.Loop() {
		took = (took*31 + 7) & (1<<20 - 1)
		d.add(took, 1)
	}
}
