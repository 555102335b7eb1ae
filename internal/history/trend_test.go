package history

import (
	"math"
	"testing"
)

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		name     string
		sample   func(i int) float64
		from, to float64 // where the growth over 1,000 samples lies
	}{
		{"always the same", func(int) float64 { return 70 }, 0, 0},
		{"it rises", func(i int) float64 { return 70 + float64(i)/10 }, 99.9 - 1e-6, 99.9 + 1e-6},
		{"it falls", func(i int) float64 { return 70 - float64(i)/10 }, -99.9 - 1e-6, -99.9 + 1e-6},
		{"it comes and goes", func(i int) float64 { return 70 + 50*math.Sin(float64(i)) }, -2, 2},
		{"it comes and goes, and rises", func(i int) float64 { return 70 + 50*math.Sin(float64(i)) + float64(i)/10 }, 98, 102},
		{"a peak", func(i int) float64 {
			if i == 900 {
				return 170
			}
			return 70
		}, 0, 1},
	} {
		var samples []float64
		for i := range 1000 {
			samples = append(samples, c.sample(i))
		}
		if got := Growth(samples); got < c.from || got > c.to {
			t.Errorf("%s: it grows by %v, want %v to %v", c.name, got, c.from, c.to)
		}
	}
	if got := Growth([]float64{7}); got != 0 {
		t.Errorf("one sample grows by %v", got)
	}
}
