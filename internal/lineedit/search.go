//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// A search looks backwards through the history for a line that has what is typed.
type search struct {
	wanted []byte
	at     int  // of the line that has it, in the history; behind its end if there is none yet
	failed bool // no other line has it
}

func (e *Editor) beginSearch() {
	if !e.hide {
		e.search = &search{at: len(e.history.lines)}
	}
}

// row is what the row shows: what is searched for, and the line that has it.
func (s *search) row(e *Editor) (label string, text []byte, cursor int) {
	label = "search"
	if s.failed {
		label = "no line has"
	}
	label += " '" + string(e.opt.Show(nil, s.wanted)) + "': "
	if s.at < len(e.history.lines) {
		text = e.history.lines[s.at]
		cursor = max(bytes.Index(text, s.wanted), 0)
	}
	return label, text, cursor
}

// look looks for the newest line at from or before that has what is wanted, and is not the one that is shown.
func (s *search) look(lines [][]byte, from int) {
	s.failed = false
	if len(s.wanted) == 0 {
		return
	}
	for at := min(from, len(lines)-1); at >= 0; at-- {
		isShown := from < s.at && s.at < len(lines) && bytes.Equal(lines[at], lines[s.at])
		if bytes.Contains(lines[at], s.wanted) && !isShown {
			s.at = at
			return
		}
	}
	s.failed = true
}

// pressInSearch does what a key says while something is searched for. It reports whether that was all.
func (e *Editor) pressInSearch(k key, text byte) (done bool) {
	s, lines := e.search, e.history.lines
	switch k {
	case keyText:
		s.wanted = append(s.wanted, text)
		if utf8.Valid(s.wanted) || text < utf8.RuneSelf {
			s.look(lines, s.at)
		}
	case keySearch:
		s.look(lines, s.at-1)
	case keyBackspace:
		if len(s.wanted) > 0 {
			_, n := utf8.DecodeLastRune(s.wanted)
			s.wanted = slices.Clip(s.wanted[:len(s.wanted)-n])
			s.at = len(lines)
			s.look(lines, s.at)
		}
	case keyEscape, keyAbort:
		e.endSearch(false)
	case keyNone:
	default:
		e.endSearch(true)
		return false
	}
	return true
}

// endSearch takes the line that was found, or goes back to the one that was typed.
func (e *Editor) endSearch(take bool) {
	s := e.search
	e.search = nil
	if !take || s == nil || s.at >= len(e.history.lines) {
		return
	}
	cursor := max(bytes.Index(e.history.lines[s.at], s.wanted), 0)
	e.recall(s.at)
	e.line.cursor = cursor
}
