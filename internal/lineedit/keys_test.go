//go:build linux || darwin

package lineedit

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// keysOf decodes bytes that come in one piece.
func keysOf(d *decoder, p []byte) (keys []key, text []byte) {
	for _, b := range p {
		d.feed(b, func(k key, c byte) {
			keys = append(keys, k)
			if k == keyText {
				text = append(text, c)
			}
		})
	}
	return keys, text
}

func TestWhatATerminalAnswersIsNoText(t *testing.T) {
	for _, answer := range []string{
		"\x1b[?2026;2$y", "\x1b[24;80R", "\x1b[?1;2c", "\x1b[>1;4000;0c", "\x1b[?1u", "\x1b[O", "\x1b[I",
		"\x1b]11;rgb:ffff/ffff/ffff\x07", "\x1b]11;rgb:ffff/ffff/ffff\x1b\\", "\x1bP>|xterm(390)\x1b\\", "\x1bP1+r524742=382f382f38\x1b\\", "\x1b_Gi=31;OK\x1b\\",
		"\x1b[<0;10;10M", "\x1b[97;5u", "\x1bOj",
	} {
		keys, text := keysOf(new(decoder), []byte("a"+answer+"b"))
		keys = slices.DeleteFunc(keys, func(k key) bool { return k == keyNone })
		if string(text) != "ab" || len(keys) != 2 {
			t.Errorf("%q: the text is %q, the keys %v", answer, text, keys)
		}
	}
}

// An escape is a key once nothing follows; a sequence that is cut off by another is dropped.
func TestEscapeAlone(t *testing.T) {
	var d decoder
	keysOf(&d, []byte("\x1b"))
	if !d.isEscape() {
		t.Fatal("an escape is not taken for one")
	}
	var got []key
	press := func(k key, _ byte) { got = append(got, k) }
	d.endEscape(press)
	for _, b := range []byte("\x1b\x1b[A\x1b[12\x1b[B") {
		d.feed(b, press)
	}
	if want := []key{keyEscape, keyEscape, keyUp, keyDown}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

// What is pasted is text to the byte, but for the ends of its lines.
func FuzzPaste(f *testing.F) {
	f.Add([]byte("a\tb\x03\x1b[A\r\nc\n\rd"))
	f.Add([]byte("\x1b[20\x1b[201\x1b\x1b[201"))
	f.Fuzz(func(t *testing.T, pasted []byte) {
		// An end within would end it, and so would the beginning of one at its end.
		pasted = bytes.ReplaceAll(pasted, []byte(pasteEnd), nil)
		for n := range len(pasteEnd) {
			if bytes.HasSuffix(append(slices.Clone(pasted), pasteEnd[:n]...), []byte(pasteEnd)) {
				return
			}
		}
		if bytes.Contains(pasted, []byte(pasteEnd)) {
			return
		}
		var d decoder
		var got []byte
		for _, b := range slices.Concat([]byte("\x1b[200~"), pasted, []byte(pasteEnd)) {
			d.feed(b, func(k key, c byte) {
				switch k {
				case keyText:
					got = append(got, c)
				case keyEnter:
					got = append(got, '\n')
				}
			})
		}
		want := strings.ReplaceAll(strings.ReplaceAll(string(pasted), "\r\n", "\n"), "\r", "\n")
		if string(got) != want || d.pasting || d.state != ground {
			t.Errorf("%q became %q, want %q", pasted, got, want)
		}
	})
}

// Whatever is typed, a line keeps its cursor between two characters, and nothing panics.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("a日e\u0301\x02\x7f\x14\x19\x1b[3~\xff\xe2\x82\x01\x06"))
	f.Fuzz(func(t *testing.T, typed []byte) {
		if len(typed) > 1<<10 {
			return
		}
		e := &Editor{history: &history{lines: [][]byte{[]byte("one 日本"), []byte("two")}}, opt: Options{Show: func(dst, p []byte) []byte { return append(dst, p...) }}}
		e.at = len(e.history.lines)
		for _, b := range typed {
			e.keys.feed(b, func(k key, c byte) {
				switch k {
				case keyInterrupt, keyQuit, keySuspend, keyClear, keyComplete, keyEnter, keyEndOfInput: // they need a terminal
				default:
					e.press(k, c)
				}
			})
			if l := &e.line; l.cursor < 0 || l.cursor > len(l.text) {
				t.Fatalf("%q: the cursor is at %d of %d", typed, l.cursor, len(l.text))
			}
			label, text, cursor := "", e.line.text, e.line.cursor
			if e.search != nil {
				label, text, cursor = e.search.row(e)
			}
			for _, room := range []int{1, 7, 30} {
				before, after := window(text, cursor, room, e.opt.Show)
				if len(before)+len(after) > len(text) {
					t.Fatalf("%q, %s: %q and %q are more than %q", typed, label, before, after, text)
				}
			}
		}
	})
}
