package report

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// An SLO is a promise: that so many percent of all responses take no longer than Limit,
// and that every reply is as expected.
type SLO struct {
	Percent float64
	Limit   time.Duration
}

// ParseSLO reads such as p99=5ms, p99.9=20ms or max=1s.
func ParseSLO(text string) (SLO, error) {
	name, limit, ok := strings.Cut(text, "=")
	percent, isPercentile := strings.CutPrefix(name, "p")
	if name == "max" {
		percent, isPercentile = "100", true
	}
	p, err := strconv.ParseFloat(percent, 64)
	d, errLimit := time.ParseDuration(limit)
	if !ok || !isPercentile || err != nil || errLimit != nil || !(p > 0 && p <= 100) || d <= 0 {
		return SLO{}, fmt.Errorf("%q is no promise; write such as p99=5ms, p99.9=20ms or max=1s", text)
	}
	return SLO{p, d}, nil
}

func (s SLO) String() string {
	if s.Percent == 100 {
		return "max=" + s.Limit.String()
	}
	return fmt.Sprintf("p%v=%v", s.Percent, s.Limit)
}

// Held reports whether a result kept the promise. Requests that could not be sent broke it.
func (s SLO) Held(r *load.Result) bool {
	return r.Replies > 0 && !r.Failed() && r.Unsent == 0 && len(r.Errors) == 0 && r.Response.Quantile(s.Percent) <= s.Limit
}

// A Step is one run of a search.
type Step struct {
	Rate float64 // 0 for the closed loop that it begins with
	Held bool
	*load.Result
}

// Found is the end of a search. That it was repeated not once is only when it was interrupted.
type Found struct {
	Rate        float64 `json:"rate_per_s"`   // the highest that held; 0 if none did
	Held        int     `json:"held"`         // in how many of the runs that repeated it
	Tried       int     `json:"tried"`        // these
	Broken      float64 `json:"broken_per_s"` // the lowest rate that did not hold; 0 if all did
	Interrupted bool    `json:"interrupted"`
}

const (
	searchPrecision = 0.05 // of a rate: the gap at which a search ends
	searchRepeats   = 3    // of the rate that was found
	searchFloor     = 1.0  // requests a second: below there is nothing to find
)

// Search looks for the highest rate at which the promise is kept. It begins with what a
// closed loop reaches, halves the gap between what holds and what does not until that
// is 5 %, and repeats what it has found three times: if it does not hold in most of
// them, it goes on below. told is told of every step. When ctx ends the step that was under
// way is left out, and what has held so far is found.
func (s SLO) Search(ctx context.Context, plan load.Plan, told func(Step)) (found Found, err error) {
	try := func(rate float64) (step Step, err error) {
		plan.Rate = rate
		result, err := plan.Run(ctx)
		if err = cmp.Or(context.Cause(ctx), err); err != nil {
			return Step{}, err
		}
		step = Step{rate, rate > 0 && s.Held(result), result}
		told(step)
		return step, nil
	}
	defer func() {
		if ctx.Err() != nil {
			found.Interrupted, err = true, nil
		}
	}()
	first, err := try(0)
	if err != nil {
		return found, err
	}
	low, high := 0.0, first.Result.Rate*(1+searchPrecision)
	for high > searchFloor {
		if high-low > searchPrecision*high {
			step, err := try((low + high) / 2)
			switch {
			case err != nil:
				return found, err
			case step.Held:
				low, found.Rate = step.Rate, step.Rate
			default:
				high, found.Broken = step.Rate, step.Rate
			}
			continue
		}
		for found.Tried = 0; found.Tried < searchRepeats; found.Tried++ {
			step, err := try(low)
			if err != nil {
				return found, err
			}
			if step.Held {
				found.Held++
			}
		}
		if 2*found.Held > found.Tried {
			found.Rate = low
			return found, nil
		}
		found = Found{Broken: low}
		low, high = low/2, low
	}
	return Found{Broken: found.Broken}, nil
}

// Describe tells of a step in a line.
func (s SLO) Describe(step Step) string {
	if step.Rate == 0 {
		return fmt.Sprintf("closed loop: %s replies/s, the most there is to find", grouped(step.Result.Rate))
	}
	verdict := "held"
	if !step.Held {
		verdict = "broken"
	}
	text := fmt.Sprintf("%s/s: %s, %s is %s", grouped(step.Rate), verdict, s.name(), Short(step.Response.Quantile(s.Percent)))
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{step.Unsent, "unsent"}, {step.Missing, "missing"}, {step.Late, "late"}, {step.Mismatched, "mismatched"}, {step.Extra, "extra"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %s %s", grouped(float64(c.n)), c.what)
		}
	}
	return text
}

// name is such as p99.
func (s SLO) name() string {
	name, _, _ := strings.Cut(s.String(), "=")
	return name
}

// Verdict tells what a search has found in a line.
func (f Found) Verdict(s SLO) string {
	switch {
	case f.Rate == 0 && f.Interrupted:
		return fmt.Sprintf("interrupted before a rate was found that keeps %v", s)
	case f.Rate == 0 && f.Broken == 0:
		return fmt.Sprintf("no rate keeps %v: the closed loop got hardly a reply a second", s)
	case f.Rate == 0:
		return fmt.Sprintf("no rate keeps %v; it was broken at %s/s", s, grouped(f.Broken))
	case f.Tried == 0:
		return fmt.Sprintf("interrupted: %s requests/s kept %v once, which is not repeated", grouped(f.Rate), s)
	}
	text := fmt.Sprintf("%s requests/s keep %v: they did in %d of %d more runs", grouped(f.Rate), s, f.Held, f.Tried)
	if f.Broken > 0 {
		text += fmt.Sprintf(", and %s/s did not", grouped(f.Broken))
	}
	return text
}
