package report

import (
	"fmt"
	"io"
	"strings"
	"time"

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
		fmt.Fprint(p.Out, clearLine, Bar(s, p.began, time.Now(), p.Width()))
		p.painted = true
	}
}

// Say tells something in a line of its own.
func (p *Progress) Say(line string) {
	p.End()
	if p.Out != nil {
		fmt.Fprintln(p.Out, line)
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
	if s.At <= 0 {
		return figures(s)
	}
	return s.At.Round(100*time.Millisecond).String() + ": " + figures(s)
}

func figures(s load.Second) string {
	if s.At <= 0 {
		return "warm-up, " + plural(s.Bad, "error") // its replies are not counted
	}
	return fmt.Sprintf("%s replies/s, p50 %s, p99 %s, %s", grouped(perSecond(s.Replies, s.Length)), Short(s.P50), Short(s.P99), plural(s.Bad, "error"))
}

const progressWidth = 20

// Bar is Line behind a progress bar, if the run has an end, cut to width characters.
func Bar(s load.Second, began, now time.Time, width int) string {
	line := Line(s)
	if s.Done > 0 {
		full := int(s.Done * progressWidth)
		left := time.Duration(float64(now.Sub(began)) * (1 - s.Done) / s.Done)
		line = fmt.Sprintf("[%s%s] %s left, %s", strings.Repeat("#", full), strings.Repeat("-", progressWidth-full),
			left.Round(time.Second), figures(s))
	}
	if text := []rune(line); len(text) >= width && width > 0 {
		line = string(text[:width-1])
	}
	return line
}
