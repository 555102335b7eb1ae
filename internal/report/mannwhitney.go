package report

import (
	"cmp"
	"math"
	"slices"
)

// A mannWhitney is the outcome of a Mann-Whitney U test of two samples: whether the values of one
// tend to be greater than those of the other, whatever their distribution.
type mannWhitney struct {
	U float64 // of the first sample: in how many pairs its value is the greater one, a tie counting half
	P float64 // two-sided: how likely samples of the same distribution are to differ as much or more
}

// exactUpTo is how many values both samples may have together for their p-value to be exact.
const exactUpTo = 100

// newMannWhitney tests two samples, of at least one value each; infinite ones may be among them.
//
// Equal values share the mean of their ranks. The p-value is that of all ways to divide these very
// ranks among the samples, counted one and all: the table of H. B. Mann and D. R. Whitney, "On a
// test of whether one of two random variables is stochastically larger than the other" (Annals of
// Mathematical Statistics 18, 1947) where there are no ties, and with them as by B. Streitberg and
// J. Röhmel, "Exact distributions for permutation and rank tests" (Statistical Software Newsletter
// 12, 1986). For larger samples it is that of the normal distribution, corrected for continuity and
// for ties (E. L. Lehmann, "Nonparametrics", 1975, 1.4), as scipy's method="asymptotic".
func newMannWhitney(a, b []float64) mannWhitney {
	ranks, ties := doubledRanks(a, b)
	sum := 0
	for _, r := range ranks[:len(a)] {
		sum += r
	}
	n, m := float64(len(a)), float64(len(b))
	test := mannWhitney{U: float64(sum)/2 - n*(n+1)/2}
	if len(ranks) <= exactUpTo {
		test.P = exactP(ranks, len(a), sum)
	} else {
		test.P = normalP(test.U, n, m, ties)
	}
	return test
}

// doubledRanks are the ranks of the values of both samples, those of the first one first. They are
// doubled, since ties share halves. ties is the sum of t³-t over all groups of t equal values.
func doubledRanks(a, b []float64) (ranks []int, ties float64) {
	values := slices.Concat(a, b)
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(values[i], values[j]) })
	ranks = make([]int, len(values))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = from + 1 + to // twice the mean of from+1 … to
		}
		t := float64(to - from)
		ties += t*t*t - t
		from = to
	}
	return ranks, ties
}

// exactP counts in how many of all choices of n ranks their sum is as far to one side or further,
// and doubles the share of the smaller side.
func exactP(ranks []int, n, sum int) float64 {
	most := 0
	for _, r := range ranks {
		most += r
	}
	ways := make([][]float64, n+1) // by how many ranks were chosen, and their sum
	for k := range ways {
		ways[k] = make([]float64, most+1)
	}
	ways[0][0] = 1
	for i, r := range ranks {
		for k := min(i+1, n); k > 0; k-- {
			for s := r; s <= most; s++ {
				ways[k][s] += ways[k-1][s-r]
			}
		}
	}
	var below, above, all float64
	for s, w := range ways[n] {
		all += w
		if s <= sum {
			below += w
		}
		if s >= sum {
			above += w
		}
	}
	return min(1, 2*min(below, above)/all)
}

func normalP(u, n, m, ties float64) float64 {
	all := n + m
	variance := n * m / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 { // all values are the same
		return 1
	}
	z := max(0, math.Abs(u-n*m/2)-0.5) / math.Sqrt(variance)
	return math.Erfc(z / math.Sqrt2)
}

// leastP is the smallest p-value that samples of these sizes can have.
func leastP(n, m int) float64 {
	p := 2.0
	for i := range min(n, m) {
		p *= float64(i+1) / float64(n+m-i)
	}
	return min(1, p)
}
