package report

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// A Judgement is of a run beside one from before. It is judged by one figure: see judgedBy.
type Judgement struct {
	Verdict  Verdict
	MaxRatio float64
	File     string // of the earlier run
	Differs  []string

	then    *Baseline
	changes []change
	judged  change
	seconds [2]int // then and now
	test    mannWhitney
}

// A Verdict says whether a later run is worse.
type Verdict string

// The verdicts.
const (
	Worse     Verdict = "worse"
	NotWorse  Verdict = "not_worse"
	ByChance  Verdict = "may_be_chance"   // worse by more than is allowed, but chance is not ruled out
	TooShort  Verdict = "too_few_seconds" // for any difference to rule out chance: nothing was judged
	threshold         = 0.05              // of p: how likely chance may be and be ruled out
)

// A change is one figure of both runs, and how many times worse it is now.
type change struct {
	key, name string // in JSON, and for people
	then, now float64
	ratio     float64
	show      func(float64) string
}

// Judge says whether a run is worse than an earlier one, of a file: worse by more than maxRatio,
// and its seconds so different that chance is ruled out.
func Judge(then, now *Baseline, file string, maxRatio float64) *Judgement {
	us := func(v float64) string { return Short(time.Duration(v * float64(time.Microsecond))) }
	a, b := then.times(), now.times()
	rate := newNouns(now.Result.Script != "").plural() + "/s"
	if now.Result.Write != nil {
		rate = "taken/s"
	}
	j := &Judgement{MaxRatio: maxRatio, File: file, Differs: then.Differences(now.Setup), then: then, changes: []change{
		{"rate", rate, then.Result.Rate, now.Result.Rate, timesMore(then.Result.Rate, now.Result.Rate), grouped},
		{"p50", "p50", a.P50, b.P50, timesMore(b.P50, a.P50), us},
		{"p99", "p99", a.P99, b.P99, timesMore(b.P99, a.P99), us},
	}}
	j.judged = j.changes[0]
	if judgedBy(now.Plan.Rate) == "p99" {
		j.judged = j.changes[2]
	}
	before, after := then.sample(j.judged.key), now.sample(j.judged.key)
	j.seconds = [2]int{len(before), len(after)}
	if leastP(len(before), len(after)) >= threshold {
		j.Verdict = TooShort
		return j
	}
	j.test = newMannWhitney(after, before)
	worse := j.test.U - float64(len(before)*len(after))/2 // by how much the seconds are, if more than 0
	if j.judged.key == "rate" {
		worse = -worse // what is greater is better
	}
	switch {
	case j.judged.ratio <= maxRatio:
		j.Verdict = NotWorse
	case worse > 0 && j.test.P < threshold:
		j.Verdict = Worse
	default:
		j.Verdict = ByChance
	}
	return j
}

// timesMore is how many times b a is.
func timesMore(a, b float64) float64 {
	if a == b {
		return 1
	}
	return a / b
}

// sentences tell the verdict and what it rests on.
func (j *Judgement) sentences() (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	by := fmt.Sprintf("%s is worse by %s, and %v is allowed", j.judged.name, factor(j.judged.ratio, " times"), j.MaxRatio)
	if j.judged.ratio < 1 {
		by = fmt.Sprintf("%s is better by %s", j.judged.name, factor(1/j.judged.ratio, " times"))
	}
	switch j.Verdict {
	case Worse:
		say("Worse: %s.", by)
	case ByChance:
		say("Not judged worse: %s, but the seconds of the two runs do not rule out chance. A longer run may.", by)
	case NotWorse:
		say("Not worse: %s.", by)
	case TooShort:
		say("Not judged: %s then and %d now are too few for any difference to rule out chance; --duration measures longer, and 4 of both are enough.", plural(uint64(j.seconds[0]), "second"), j.seconds[1])
		return all
	}
	say("Mann-Whitney U test of the %s of each second, %d then and %d now: U = %v of %d, p = %s (two-sided; chance is ruled out below %v).",
		j.judged.name, j.seconds[0], j.seconds[1], j.test.U, j.seconds[0]*j.seconds[1], probability(j.test.P), threshold)
	return all
}

// probability is a p-value with two digits.
func probability(p float64) string {
	if p < 1e-6 {
		return "less than 1e-06"
	}
	return fmt.Sprintf("%.2g", p)
}

// writeText writes the figures of both runs and the verdict.
func (j *Judgement) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "against %s: %s, saved %s\n\n", escaped(j.File), escaped(j.then.Result.Target), j.then.Saved.UTC().Format("2006-01-02 15:04 MST"))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tthen\tnow\tnow is worse by\t")
	for _, c := range j.changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", c.name, c.show(c.then), c.show(c.now), factor(c.ratio, " times"))
	}
	t.Flush()
	b.WriteString("\n")
	for _, difference := range j.Differs {
		fmt.Fprintf(b, "different: %s\n", difference)
	}
	b.WriteString(strings.Join(j.sentences(), "\n") + "\n")
}

// againstJSON is a Judgement as --json prints it.
type againstJSON struct {
	File        string                         `json:"file"`
	Target      string                         `json:"target"`
	Saved       time.Time                      `json:"saved"`
	Differs     []string                       `json:"differs,omitempty"`
	Verdict     Verdict                        `json:"verdict"`
	Judged      string                         `json:"judged"` // rate or p99
	MaxRatio    float64                        `json:"max_ratio"`
	Ratios      map[string]map[string]*float64 `json:"ratios"`
	Test        string                         `json:"test"`
	U           *float64                       `json:"u"` // of the seconds now; null if there were too few
	P           *float64                       `json:"p"`
	SecondsThen int                            `json:"seconds_then"`
	SecondsNow  int                            `json:"seconds_now"`
}

func newAgainstJSON(j *Judgement) *againstJSON {
	if j == nil {
		return nil
	}
	number := func(v float64) *float64 {
		if math.IsInf(v, 0) {
			return nil
		}
		v = rounded(v)
		return &v
	}
	a := &againstJSON{j.File, j.then.Result.Target, j.then.Saved, j.Differs, j.Verdict, j.judged.key, j.MaxRatio,
		map[string]map[string]*float64{}, "mann-whitney-u", nil, nil, j.seconds[0], j.seconds[1]}
	for _, c := range j.changes {
		unit := "_us"
		if c.key == "rate" {
			unit = "_per_s"
		}
		a.Ratios[c.key] = map[string]*float64{"then" + unit: number(c.then), "now" + unit: number(c.now), "ratio": number(c.ratio)}
	}
	if j.Verdict != TooShort {
		a.U, a.P = &j.test.U, &j.test.P
	}
	return a
}
