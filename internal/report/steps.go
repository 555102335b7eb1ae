package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/load"
)

// nouns are what a run counts, as it is called: requests and their replies, or dialogues.
type nouns struct {
	begun, done string // one of what is sent or played, and of what comes of it
}

func nounsOf(p *load.Plan) nouns { return newNouns(p.Script != nil) }

func newNouns(dialogues bool) nouns {
	if dialogues {
		return nouns{"dialogue", "dialogue"}
	}
	return nouns{"request", "reply"}
}

// plural is what is done.
func (n nouns) plural() string {
	if n.done == "reply" {
		return "replies"
	}
	return n.done + "s"
}

// dialogueFailures are the ways in which dialogues came to another end.
func dialogueFailures(res *load.Result) []failure {
	return []failure{
		{"mismatched", res.Mismatched, "dialogues in which something else came"},
		{"missing", res.Missing, "dialogues that broke off, or waited in vain"},
		{"unsent", res.Unsent, "dialogues that were due and could not be begun"},
	}
}

// A stepRow is one step of a dialogue.
type stepRow struct {
	step  int // from 1, pauses counted too
	line  int // of its file
	what  string
	times load.Times
}

// stepRows are the steps that were timed. What is sent has no credentials.
func (r *Report) stepRows() (rows []stepRow) {
	if len(r.Steps) == 0 {
		return nil
	}
	shown := r.Plan.Script.Dialogue.Shown(r.Plan.Script.Framing)
	for _, s := range r.Steps {
		rows = append(rows, stepRow{s.Index + 1, s.Step.Line, shown[s.Index], s.Times})
	}
	return rows
}

const (
	usualWidth = 100 // columns, where there is no terminal
	leastWhat  = 8
)

// writeSteps writes the table of steps, in which what a step does has the room that is left.
func (r *Report) writeSteps(b *strings.Builder, width int) {
	if width == math.MaxInt {
		width = usualWidth
	}
	table := [][]string{{"step", "line", "", "count", "p50", "p90", "p95", "p99", "max"}}
	const what = 2
	rows := r.stepRows()
	for _, s := range rows {
		table = append(table, append([]string{strconv.Itoa(s.step), strconv.Itoa(s.line), ""}, s.figures()...))
	}
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	left, most := width, len("what")
	for i, w := range widths {
		if i != what {
			left -= w + 2
		}
	}
	for _, s := range rows {
		most = max(most, len([]rune(escaped(s.what))))
	}
	widths[what] = min(most, max(left-2, leastWhat))
	for n, row := range table {
		row[what] = "what"
		if n > 0 {
			row[what] = string(console.AppendBrief(nil, []byte(rows[n-1].what), widths[what]))
		}
		for i, cell := range row {
			if i == what {
				fmt.Fprintf(b, "  %-*s", widths[i], cell)
			} else {
				fmt.Fprintf(b, "  %*s", widths[i], cell)
			}
		}
		b.WriteString("\n")
	}
}

// figures are how many plays did the step as expected, and how long that took.
func (s stepRow) figures() []string {
	if s.times.Count() == 0 {
		return []string{"0", "-", "-", "-", "-", "-"}
	}
	return []string{grouped(float64(s.times.Count())), Short(s.times.Quantile(50)), Short(s.times.Quantile(90)), Short(s.times.Quantile(95)), Short(s.times.Quantile(99)), Short(s.times.Max())}
}

// stepJSON is a step as --json prints it.
type stepJSON struct {
	Step  int        `json:"step"`
	Line  int        `json:"line"`
	What  string     `json:"what"`
	Count int64      `json:"count"`
	Times *timesJSON `json:"times"` // null if no play got so far
}

func (r *Report) stepsJSON() (steps []stepJSON) {
	for _, s := range r.stepRows() {
		steps = append(steps, stepJSON{s.step, s.line, s.what, s.times.Count(), newTimesJSON(s.times)})
	}
	return steps
}

// Noun is what the run counts: requests or dialogues.
func (r *Report) Noun() string { return nounsOf(&r.Plan).begun }
