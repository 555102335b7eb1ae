package console

import (
	"strings"

	"github.com/clipperhouse/displaywidth"
)

// fit cuts a text to so many columns of a terminal.
func fit(text string, width int) string {
	return displaywidth.TruncateString(text, width, "…")
}

// styled measures what may have a Style's sequences in it, which take no room.
var styled = displaywidth.Options{ControlSequences: true}

// fitStyled is fit for a text with a Style.
func fitStyled(text string, width int) string { return styled.TruncateString(text, width, "…") }

// Wrap breaks lines at blanks, and within words that are too long, so that none is longer than width columns
// of a terminal, and begins those that go on with indent. Lines that fit stay as they are; with a width of 0
// all do. Text may have a Style, which a break does not end.
func Wrap(text string, width int, indent string) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		ending := ""
		if strings.HasSuffix(line, "\n") {
			line, ending = line[:len(line)-1], "\n"
		}
		b.WriteString(strings.Join(wrapLine(line, width, indent), "\n") + ending)
	}
	return b.String()
}

// wrapLine is Wrap of a line, in pieces.
func wrapLine(line string, width int, indent string) (pieces []string) {
	if displaywidth.String(indent) > width/2 {
		indent = ""
	}
	before, style := "", "" // of the piece that is next
	for styled.String(line) > width-displaywidth.String(before) {
		end, rest := breakAt(line, width-displaywidth.String(before))
		piece := before + style + line[:end]
		if style = lastStyle(style, line[:end]); style != "" {
			piece += string(Coloured().end(nil))
		}
		pieces = append(pieces, piece)
		line, before = line[rest:], indent
	}
	return append(pieces, before+style+line)
}

// breakAt says where the part of a line ends that fits into width columns, one character at least, and where
// what is left begins.
func breakAt(line string, width int) (end, rest int) {
	at, used, blank := 0, 0, 0
	for g := styled.StringGraphemes(line); g.Next(); at += len(g.Value()) {
		isBlank := g.Value() == " "
		switch used += g.Width(); {
		case used <= width || at == 0:
		case isBlank:
			return at, at + 1
		case blank > 0:
			return blank, blank + 1
		default:
			return at, at
		}
		if isBlank {
			blank = at
		}
	}
	return len(line), len(line)
}

// lastStyle is the sequence in which a text ends that begins in one; "" is plain.
func lastStyle(style, text string) string {
	reset := string(Coloured().end(nil))
	if i := strings.LastIndexByte(text, '\x1b'); i >= 0 {
		style = text[i : i+strings.IndexByte(text[i:], 'm')+1]
	}
	if style == reset {
		return ""
	}
	return style
}
