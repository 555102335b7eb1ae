package load

import (
	"fmt"
	"strings"
	"time"
)

// Line tells of a second in a line, such as
//
//	4s: 12,345 replies/s, p50 81.2 µs, p99 1.32 ms, 0 errors
func (s Second) Line() string {
	if s.At <= 0 {
		return s.figures()
	}
	return s.At.Round(100*time.Millisecond).String() + ": " + s.figures()
}

func (s Second) figures() string {
	if s.At <= 0 {
		return "warm-up, " + plural(s.Bad, "error") // its replies are not counted
	}
	return fmt.Sprintf("%s replies/s, p50 %s, p99 %s, %s", grouped(perSecond(s.Replies, s.Length)), Short(s.P50), Short(s.P99), plural(s.Bad, "error"))
}

const progressWidth = 20

// Bar is Line behind a progress bar, if the run has an end, cut to width characters.
func (s Second) Bar(began, now time.Time, width int) string {
	line := s.Line()
	if s.Done > 0 {
		full := int(s.Done * progressWidth)
		left := time.Duration(float64(now.Sub(began)) * (1 - s.Done) / s.Done)
		line = fmt.Sprintf("[%s%s] %s left, %s", strings.Repeat("#", full), strings.Repeat("-", progressWidth-full),
			left.Round(time.Second), s.figures())
	}
	if text := []rune(line); len(text) >= width && width > 0 {
		line = string(text[:width-1])
	}
	return line
}
