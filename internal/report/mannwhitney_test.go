package report

import (
	"math"
	"math/bits"
	"slices"
	"testing"
)

func TestMannWhitneyIsAsPublished(t *testing.T) {
	males, females := []float64{19, 22, 16, 29, 24}, []float64{20, 11, 17, 12}
	many := func(from, step float64) (values []float64) {
		for i := range 60 {
			values = append(values, from+step*float64(i))
		}
		return values
	}
	for _, c := range []struct {
		source string
		a, b   []float64
		u, p   float64
	}{
		{"the example of scipy.stats.mannwhitneyu", males, females, 17, 1.0 / 9},
		{"the same the other way round", females, males, 3, 1.0 / 9},
		// The tables of Mann and Whitney (1947) are one-sided: P(U <= 2) is 0.016 for 5 and 5.
		{"their table, 5 and 5", []float64{1, 2, 3, 4, 7}, []float64{5, 6, 8, 9, 10}, 2, 2 * 4.0 / 252},
		{"their table, 4 and 3", []float64{1, 2, 3, 4}, []float64{5, 6, 7}, 0, 2 * 1.0 / 35},
		// By hand: of the 20 choices of three of the ranks 1 3 3 3 5 6, 1+3+3 comes in three ways and is the least.
		{"ties, by hand", []float64{1, 2, 2}, []float64{2, 3, 4}, 1, 2 * 3.0 / 20},
		{"all of them tied", []float64{7, 7, 7}, []float64{7, 7, 7, 7}, 6, 1},
		{"infinite ones", []float64{1, 2, 3, 4}, []float64{math.Inf(1), math.Inf(1), 5, 6}, 0, 2 * 1.0 / 70},
		// By hand: z = (1800-0.5)/sqrt(60*60*121/12), of which next to nothing is left.
		{"many that are apart", many(0, 1), many(100, 1), 0, math.Erfc(1799.5 / math.Sqrt(36300) / math.Sqrt2)},
		{"many that are the same", many(0, 1), many(0, 1), 1800, 1},
		{"many that are all tied", many(1, 0), many(1, 0), 1800, 1},
	} {
		if got := newMannWhitney(c.a, c.b); got.U != c.u || math.Abs(got.P-c.p) > 1e-12 {
			t.Errorf("%s: U = %v, p = %v; want %v, %v", c.source, got.U, got.P, c.u, c.p)
		}
	}
}

// The normal distribution is for larger samples; its formula is the same for small ones.
func TestNormalDistributionIsCorrectedAsScipyDoes(t *testing.T) {
	for _, c := range []struct {
		source     string
		u, n, m    float64
		tied, want float64
	}{
		{"the example of scipy.stats.mannwhitneyu", 17, 5, 4, 0, 0.11134688653314041},
		{"ties: wilcox.test(c(1,2,2), c(2,3,4), exact=FALSE)", 1, 3, 3, 24, 0.1641597},
		{"wilcox.test(c(1,2,3), c(4,5,6), exact=FALSE)", 0, 3, 3, 0, 0.0808556},
	} {
		if got := normalP(c.u, c.n, c.m, c.tied); math.Abs(got-c.want) > 1e-7 {
			t.Errorf("%s: p = %v, want %v", c.source, got, c.want)
		}
	}
}

// Counting by sums gives what trying every choice gives, and the normal distribution is near where it takes over.
func TestExactMannWhitneyIsThatOfAllChoices(t *testing.T) {
	seed := uint32(1)
	next := func(below uint32) float64 {
		seed = seed*1664525 + 1013904223
		return float64(seed >> 16 % below)
	}
	for range 50 {
		var a, b []float64
		for range 1 + int(next(6)) {
			a = append(a, next(8))
		}
		for range 1 + int(next(6)) {
			b = append(b, next(8))
		}
		got := newMannWhitney(a, b)
		values := slices.Concat(a, b)
		var below, above, all float64
		for choice := range 1 << len(values) {
			if bits.OnesCount(uint(choice)) != len(a) {
				continue
			}
			u := 0.0
			for i, v := range values {
				for j, w := range values {
					switch {
					case choice>>i&1 == 0 || choice>>j&1 == 1:
					case v > w:
						u++
					case v == w:
						u += 0.5
					}
				}
			}
			all++
			if u <= got.U {
				below++
			}
			if u >= got.U {
				above++
			}
		}
		if want := min(1, 2*min(below, above)/all); math.Abs(got.P-want) > 1e-9 {
			t.Fatalf("%v and %v: U = %v, p = %v, want %v", a, b, got.U, got.P, want)
		}
	}
	var a, b []float64
	for i := range exactUpTo / 2 {
		a, b = append(a, float64(i)), append(b, float64(i)+6.5)
	}
	exact := newMannWhitney(a, b)
	if normal := normalP(exact.U, 50, 50, 0); math.Abs(exact.P-normal) > 0.001 || exact.P > 0.05 {
		t.Errorf("50 and 50: exact %v, normal %v", exact.P, normal)
	}
}

func TestLeastP(t *testing.T) {
	for _, c := range []struct {
		n, m int
		want float64
	}{{0, 5, 1}, {1, 1, 1}, {3, 3, 0.1}, {4, 4, 2.0 / 70}, {1, 39, 0.05}, {5, 3, 2.0 / 56}, {1000, 1000, 0}} {
		if got := leastP(c.n, c.m); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("leastP(%d, %d) = %v, want %v", c.n, c.m, got, c.want)
		}
	}
}
