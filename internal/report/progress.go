package report

import (
	"fmt"
	"io"
	"math"
	"slices"
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
	return []string{grouped(perSecond(s.Replies, s.Length)) + " replies/s", "p50 " + Short(s.P50), "p99 " + Short(s.P99), errors}
}

const progressWidth = 20

// liveLine is Line behind a progress bar, if the run has an end. Where width columns have no room
// for all it leaves out the bar, then the first of the figures that are not errors.
func liveLine(s load.Second, began, now time.Time, width int) string {
	if width <= 0 {
		width = math.MaxInt
	}
	parts := figures(s)
	bar := ""
	if s.Done > 0 {
		full := int(s.Done * progressWidth)
		bar = fmt.Sprintf("[%s%s] ", strings.Repeat("#", full), strings.Repeat("-", progressWidth-full))
		left := min(float64(now.Sub(began))*(1-s.Done)/s.Done, float64(math.MaxInt64/2))
		parts = slices.Insert(parts, 0, time.Duration(left).Round(time.Second).String()+" left")
	} else if s.At > 0 {
		parts[0] = s.At.Round(100*time.Millisecond).String() + ": " + parts[0]
	}
	line := bar + strings.Join(parts, ", ")
	for utf8.RuneCountInString(line) >= width && (bar != "" || len(parts) > 1) {
		if bar != "" {
			bar = ""
		} else {
			parts = parts[1:]
		}
		line = bar + strings.Join(parts, ", ")
	}
	return line
}
