package report

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// A Comparison is two services under the same load in turn, round about: what a ratio
// compares was measured close together.
type Comparison struct {
	Targets [2]string
	Plans   [2]load.Plan
	Rounds  [][2]*load.Result
}

// Run measures so many rounds. Each begins with the other service, so that neither
// always comes first. It stops before its time if ctx ends; told, if not nil, is told of
// each run before it begins.
func (c *Comparison) Run(ctx context.Context, rounds int, told func(round, target int)) error {
	for round := range rounds {
		var pair [2]*load.Result
		for i := range pair {
			target := (i + round) % 2
			if told != nil {
				told(round, target)
			}
			result, err := c.Plans[target].Run(ctx)
			if ctx.Err() != nil {
				return nil // the last pair is not whole
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.Targets[target], err)
			}
			pair[target] = result
		}
		c.Rounds = append(c.Rounds, pair)
	}
	return nil
}

// A Ratio is how many times worse the second service did, over the rounds.
type Ratio struct {
	Key, Name        string  // in JSON, and for people
	First, Second    float64 // the medians of both, as they are shown
	Median, Min, Max float64
	show             func(float64) string
}

// Ratios are those of the replies a second and of the times that a user sees.
func (c *Comparison) Ratios() []Ratio {
	if len(c.Rounds) == 0 {
		return nil
	}
	duration := func(v float64) string { return Short(time.Duration(v)) }
	quantile := func(percent float64) func(*load.Result) float64 {
		return func(r *load.Result) float64 { return float64(r.Response.Quantile(percent)) }
	}
	return []Ratio{
		c.ratio("rate", nounsOf(&c.Plans[0]).plural()+"/s", grouped, func(r *load.Result) float64 { return r.Rate }, func(a, b float64) float64 { return a / b }),
		c.ratio("p50", "p50", duration, quantile(50), func(a, b float64) float64 { return b / a }),
		c.ratio("p99", "p99", duration, quantile(99), func(a, b float64) float64 { return b / a }),
	}
}

func (c *Comparison) ratio(key, name string, show func(float64) string, of func(*load.Result) float64, worse func(a, b float64) float64) Ratio {
	var first, second, ratios []float64
	for _, pair := range c.Rounds {
		a, b := of(pair[0]), of(pair[1])
		times := worse(a, b)
		switch { // no replies took no time, which is not quick
		case pair[1].Replies == 0:
			times = math.Inf(1)
		case pair[0].Replies == 0:
			times = 0
		}
		first, second, ratios = append(first, a), append(second, b), append(ratios, times)
	}
	return Ratio{key, name, median(first), median(second), median(ratios), slices.Min(ratios), slices.Max(ratios), show}
}

// judgedBy is the figure that a run is judged by beside another: the replies a second in a closed
// loop, which takes what it can get, and p99 in an open one, where these are given.
func judgedBy(rate float64) string {
	if rate > 0 {
		return "p99"
	}
	return "rate"
}

// Verdict is the ratio that is judged.
func (c *Comparison) Verdict() (Ratio, bool) {
	for _, r := range c.Ratios() {
		if r.Key == judgedBy(c.Plans[0].Rate) {
			return r, true
		}
	}
	return Ratio{}, false
}

// Counted reports whether there was a reply of both to compare in any round.
func (c *Comparison) Counted() bool {
	return slices.ContainsFunc(c.Rounds, func(pair [2]*load.Result) bool { return pair[0].Replies > 0 && pair[1].Replies > 0 })
}

// Failed reports whether either gave replies that were not as they should be.
func (c *Comparison) Failed() bool {
	return slices.ContainsFunc(c.Rounds, func(pair [2]*load.Result) bool { return pair[0].Failed() || pair[1].Failed() })
}

// WriteText writes the ratios for a person.
func (c *Comparison) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A is %s, B is %s; %s in turn\n\n", escaped(c.Targets[0]), escaped(c.Targets[1]), plural(uint64(len(c.Rounds)), "round"))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "median\tA\tB\tB is worse by\tleast\tmost\t")
	for _, r := range c.Ratios() {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Name, r.show(r.First), r.show(r.Second),
			factor(r.Median, " times"), factor(r.Min, ""), factor(r.Max, ""))
	}
	t.Flush()
	for i, target := range c.Targets {
		if bad := c.bad(i); bad > 0 {
			fmt.Fprintf(&b, "\n%s: mismatched, missing, late or extra replies: %s\n", escaped(target), grouped(float64(bad)))
			b.WriteString(strings.Join(Examples(&c.Plans[i], c.firstBad(i)), "\n") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// factor writes a ratio, if there is one: not if the second service gave no replies.
func factor(v float64, unit string) string {
	if math.IsInf(v, 1) {
		return "-"
	}
	return fmt.Sprintf("%.2f%s", v, unit)
}

// WriteJSON writes the ratios as one JSON object on a line. The ratio of a service that gave no
// replies is null.
func (c *Comparison) WriteJSON(w io.Writer) error {
	number := func(v float64) *float64 {
		if math.IsInf(v, 1) {
			return nil
		}
		v = rounded(v)
		return &v
	}
	ratios := make(map[string]map[string]*float64)
	for _, r := range c.Ratios() {
		unit, of := "_per_s", 1.0
		if r.Key != "rate" {
			unit, of = "_us", float64(time.Microsecond)
		}
		ratios[r.Key] = map[string]*float64{
			"a" + unit: number(r.First / of), "b" + unit: number(r.Second / of),
			"ratio": number(r.Median), "ratio_min": number(r.Min), "ratio_max": number(r.Max),
		}
	}
	return json.NewEncoder(w).Encode(struct {
		A        string                          `json:"a"`
		B        string                          `json:"b"`
		Rounds   int                             `json:"rounds"`
		Bad      [2]uint64                       `json:"bad"`      // mismatched, missing, late and extra replies of each
		Examples [2]map[load.Outcome]exampleJSON `json:"examples"` // the first of each kind, of the first round that had any
		Ratios   map[string]map[string]*float64  `json:"ratios"`
	}{c.Targets[0], c.Targets[1], len(c.Rounds), [2]uint64{c.bad(0), c.bad(1)},
		[2]map[load.Outcome]exampleJSON{newExamplesJSON(c.firstBad(0)), newExamplesJSON(c.firstBad(1))}, ratios})
}

// firstBad is of the first round in which replies were not as they should be; nothing if there
// is none.
func (c *Comparison) firstBad(target int) *load.Result {
	for _, pair := range c.Rounds {
		if pair[target].Failed() {
			return pair[target]
		}
	}
	return new(load.Result)
}

func (c *Comparison) bad(target int) (n uint64) {
	for _, pair := range c.Rounds {
		r := pair[target]
		n += r.Mismatched + r.Missing + r.Late + r.Extra
	}
	return n
}

// median of at least one value.
func median(values []float64) float64 {
	sorted := slices.SortedFunc(slices.Values(values), cmp.Compare[float64])
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
