package lineedit

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// A line is what is being typed: any bytes, with a cursor that stands between two of its characters.
// A character is what a reader takes for one, be it several runes; a byte that is no UTF-8 is one too.
type line struct {
	text   []byte
	cursor int    // in bytes, from 0
	killed []byte // what yank brings back
}

func (l *line) set(text []byte) {
	l.text = slices.Clone(text)
	l.cursor = len(l.text)
}

func (l *line) insert(text ...byte) {
	if l.cursor == len(l.text) { // the usual case, and a long paste would shift its own end again and again
		l.text = append(l.text, text...)
	} else {
		l.text = slices.Insert(l.text, l.cursor, text...)
	}
	l.cursor += len(text)
}

// before is where the character in front of the cursor begins.
func (l *line) before() int {
	begin, characters := 0, displaywidth.BytesGraphemes(l.text[:l.cursor])
	for at := 0; characters.Next(); {
		begin = at
		at += len(characters.Value())
	}
	return begin
}

// after is where the character at the cursor ends.
func (l *line) after() int {
	characters := displaywidth.BytesGraphemes(l.text[l.cursor:])
	if !characters.Next() {
		return l.cursor
	}
	return l.cursor + len(characters.Value())
}

// wordBefore is where the word in front of the cursor begins, as inWord has it.
func (l *line) wordBefore(inWord func(r rune) bool) int {
	at, seen := l.cursor, false
	for at > 0 {
		r, n := utf8.DecodeLastRune(l.text[:at])
		if seen && !inWord(r) {
			break
		}
		seen = seen || inWord(r)
		at -= n
	}
	return at
}

// wordAfter is where the word behind the cursor ends.
func (l *line) wordAfter() int {
	at, seen := l.cursor, false
	for at < len(l.text) {
		r, n := utf8.DecodeRune(l.text[at:])
		if seen && !isWord(r) {
			break
		}
		seen = seen || isWord(r)
		at += n
	}
	return at
}

// isWord says what Alt-B and Alt-F take for a part of a word; Mn keeps an accent with its letter.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r)
}

// isNoBlank says that for Ctrl-W.
func isNoBlank(r rune) bool { return r != ' ' && r != '\t' }

// remove takes away what stands between two places, of which one is the cursor.
func (l *line) remove(from, to int) {
	l.text = slices.Delete(l.text, from, to)
	l.cursor = from
}

func (l *line) kill(from, to int) {
	if from < to {
		l.killed = slices.Clone(l.text[from:to])
		l.remove(from, to)
	}
}

// transpose swaps the characters on both sides of the cursor, at the end the last two.
func (l *line) transpose() {
	if l.cursor == len(l.text) {
		l.cursor = l.before()
	}
	from, to := l.before(), l.after()
	if from == l.cursor || to == l.cursor {
		l.cursor = to
		return
	}
	swapped := slices.Concat(l.text[l.cursor:to], l.text[from:l.cursor])
	copy(l.text[from:], swapped)
	l.cursor = to
}
