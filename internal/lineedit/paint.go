//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

const (
	eraseRow   = "\r\x1b[K"
	eraseBelow = "\r\x1b[J"
)

// above writes whole lines above the one that is typed, which then is painted again. change, if not nil, is
// what changes with it.
func (e *Editor) above(lines []byte, change func()) error {
	var out []byte
	if e.painted {
		out = append(out, eraseRow...)
		e.painted = false
	}
	out = append(out, lines...)
	if change != nil {
		change()
	}
	_, err := e.opt.Out.Write(e.appendRow(out))
	return err
}

// paint paints the line that is typed.
func (e *Editor) paint() {
	if row := e.appendRow(nil); len(row) > 0 {
		e.opt.Out.Write(row)
	}
}

// repaint does it on a terminal of another width, where what was painted may have become several rows.
func (e *Editor) repaint() {
	if e.painted {
		e.opt.Out.WriteString(eraseBelow)
		e.paint()
	}
}

// appendRow appends what paints the row: a piece of the line around the cursor that fits. Nothing stands in the
// last column, so that no terminal wraps it. What stands before the cursor is painted last, and so the cursor
// is right wherever a terminal takes a character for wider than we do.
func (e *Editor) appendRow(dst []byte) []byte {
	if e.released || e.background || e.stopped {
		return dst
	}
	room := max(e.tty.columns()-1, 1)
	label, text, cursor := e.prompt, e.line.text, e.line.cursor
	if e.search != nil {
		label, text, cursor = e.search.row(e)
	}
	if e.hide && e.search == nil {
		text, cursor = nil, 0
	}
	label = lastColumns(label, room-min(leastText, room))
	before, after := window(text, cursor, room-displaywidth.String(label), e.opt.Show)
	if label == "" && before == "" && after == "" && !e.painted {
		return dst
	}
	e.painted = label != "" || before != "" || after != ""
	dst = append(append(append(append(dst, '\r'), label...), before...), after...)
	dst = append(dst, "\x1b[K"...)
	if after != "" {
		dst = append(append(append(dst, '\r'), label...), before...)
	}
	return dst
}

// leastText is how many columns there are for the text, whatever stands before it.
const leastText = 7

// farthest is how far in front of the cursor, in bytes, is looked for what is shown: a paste of megabytes is
// painted again and again.
const farthest = 4 << 10

// window is the piece of a text around the cursor that is shown in so many columns, in two parts.
func window(text []byte, cursor, room int, show func(dst, p []byte) []byte) (before, after string) {
	type piece struct {
		shown string
		width int
	}
	pieces := func(p []byte, most int) (all []piece, width int) {
		for characters := displaywidth.BytesGraphemes(p); width <= most && characters.Next(); {
			shown := string(show(nil, characters.Value()))
			all = append(all, piece{shown, displaywidth.String(shown)})
			width += all[len(all)-1].width
		}
		return all, width
	}
	behind, behindWidth := pieces(text[cursor:], room)
	from := max(0, cursor-farthest)
	for from > 0 && !utf8.RuneStart(text[from]) {
		from--
	}
	front, frontWidth := pieces(text[from:cursor], farthest*len(`\x00`)*2)
	most := min(frontWidth, max(room*3/4, room-behindWidth))
	var shown []string
	used := 0
	for i := len(front) - 1; i >= 0 && used+front[i].width <= most; i-- {
		shown = append(shown, front[i].shown)
		used += front[i].width
	}
	slices.Reverse(shown)
	before = strings.Join(shown, "")
	var tail strings.Builder
	for _, p := range behind {
		if used+p.width > room {
			break
		}
		tail.WriteString(p.shown)
		used += p.width
	}
	return before, tail.String()
}

// lastColumns is the end of a text that fits.
func lastColumns(text string, most int) string {
	for len(text) > 0 && displaywidth.String(text) > most {
		characters := displaywidth.StringGraphemes(text)
		characters.Next()
		text = text[len(characters.Value()):]
	}
	return text
}

// appendBeside appends a line with end at the right edge.
func appendBeside(dst []byte, text, end string, columns int) []byte {
	dst = append(dst, text...)
	const gap = 2
	wide := styled.String(end)
	if column := lastColumn(text, columns); column+gap+wide <= columns {
		dst = append(dst, bytes.Repeat([]byte(" "), columns-wide-column)...)
	} else {
		dst = append(dst, '\n')
		dst = append(dst, bytes.Repeat([]byte(" "), max(columns-wide, 0))...)
	}
	return append(append(dst, end...), '\n')
}

// styled measures text that may have sequences for its colours.
var styled = displaywidth.Options{ControlSequences: true}

// lastColumn is where a text ends that a terminal wraps: how much of its last row it takes.
func lastColumn(text string, columns int) int {
	column := 0
	for characters := styled.StringGraphemes(text); characters.Next(); {
		width := characters.Width()
		if column+width > columns {
			column = 0
		}
		column += width
	}
	return column
}
