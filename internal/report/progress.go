package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley/internal/load"
)

// A Progress tells how a run is going: on a terminal in one line that is painted again and
// again, elsewhere in a line a second. The zero value says nothing.
type Progress struct {
	Out   io.Writer  // nil to say nothing
	Width func() int // of the terminal that Out is, in columns; nil if it is none

	began   time.Time
	painted bool
}

const clearLine = "\r\x1b[K"

// Begin marks the beginning of a run.
func (p *Progress) Begin() { p.began = time.Now() }

// Show tells of a second.
func (p *Progress) Show(s load.Second) {
	switch {
	case p.Out == nil:
	case p.Width == nil:
		fmt.Fprintln(p.Out, Line(s))
	default:
		fmt.Fprint(p.Out, clearLine, liveLine(s, p.began, time.Now(), p.Width()))
		p.painted = true
	}
}

// Say tells something in a line of its own, escaped.
func (p *Progress) Say(line string) {
	p.End()
	if p.Out != nil {
		fmt.Fprintln(p.Out, escaped(line))
	}
}

// End takes the painted line off.
func (p *Progress) End() {
	if p.painted {
		fmt.Fprint(p.Out, clearLine)
		p.painted = false
	}
}

// Line tells of a second in a line, such as
//
//	4s: 12,345 replies/s, p50 81.2 µs, p99 1.32 ms, 0 errors
func Line(s load.Second) string {
	line := strings.Join(figures(s), ", ")
	if s.At <= 0 {
		return line
	}
	return s.At.Round(100*time.Millisecond).String() + ": " + line
}

// figures are those of a second, the errors last.
func figures(s load.Second) []string {
	errors := plural(s.Bad, "error")
	if s.At <= 0 {
		return []string{"warm-up", errors} // its replies are not counted
	}
	unit := " replies/s"
	switch {
	case s.Taken:
		unit = " requests/s taken"
	case s.Played:
		unit = " dialogues/s"
	}
	return []string{grouped(perSecond(s.Replies, s.Length)) + unit, "p50 " + Short(s.P50), "p99 " + Short(s.P99), errors}
}

const progressWidth = 20

// liveLine is Line behind a progress bar and the time that is left, if the run has an end. Where
// width columns have no room for all, what is needed least is left out, and never the errors.
func liveLine(s load.Second, began, now time.Time, width int) string {
	if width <= 0 {
		width = math.MaxInt
	}
	all := figures(s)
	told, errors := all[:len(all)-1], all[len(all)-1]
	bar, left := "", s.At.Round(100*time.Millisecond).String()
	if s.Done > 0 {
		full := int(s.Done * progressWidth)
		bar = fmt.Sprintf("[%s%s] ", strings.Repeat("#", full), strings.Repeat("-", progressWidth-full))
		rest := min(float64(now.Sub(began))*(1-s.Done)/s.Done, float64(math.MaxInt64/2))
		left = time.Duration(rest).Round(time.Second).String() + " left"
	}
	for _, shown := range [][]string{
		slices.Concat([]string{bar + left}, told, []string{errors}),
		slices.Concat([]string{left}, told, []string{errors}),
		{left, told[0], told[len(told)-1], errors}, // without p50
		{told[0], told[len(told)-1], errors},
		{told[len(told)-1], errors},
	} {
		// Of a warm-up one figure is the first and the last.
		if line := strings.Join(slices.Compact(shown), ", "); utf8.RuneCountInString(line) < width {
			return line
		}
	}
	return fewest(s.Bad, width)
}

// fewest is how many errors there were in at most so many columns, of which a terminal has a few.
func fewest(n uint64, width int) string {
	number := strconv.FormatUint(n, 10)
	for _, text := range []string{plural(n, "error"), number + " err", number} {
		if len(text) <= width {
			return text
		}
	}
	for _, unit := range "kMGTPE" {
		if n < 1000 {
			break
		}
		n /= 1000
		if number = strconv.FormatUint(n, 10) + string(unit); len(number) <= width {
			break
		}
	}
	return number
}
