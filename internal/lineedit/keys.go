package lineedit

import "strings"

// A key is one that edits, or text to be inserted.
type key int

const (
	keyNone key = iota
	keyText     // of the byte that was fed
	keyEnter
	keyLeft
	keyRight
	keyWordLeft
	keyWordRight
	keyHome
	keyEnd
	keyUp
	keyDown
	keyBackspace
	keyDelete
	keyKillEnd
	keyKillStart
	keyKillWord      // in front of the cursor, to a blank
	keyKillWordLeft  // in front of the cursor, letters and digits
	keyKillWordRight // behind it
	keyYank
	keyTranspose
	keyClear
	keySearch
	keyComplete
	keyQuote // the next byte stands for itself
	keyEndOfInput
	keyInterrupt
	keyQuit
	keySuspend
	keyAbort  // Ctrl-G
	keyEscape // Esc alone
)

// controls are the keys that come as one byte, by it; '\n' is what Ctrl-J and a terminal give that was not
// yet ours.
var controls = map[byte]key{
	'\r': keyEnter, '\n': keyEnter, '\t': keyComplete, 0x7f: keyBackspace,
	ctrl('A'): keyHome, ctrl('B'): keyLeft, ctrl('C'): keyInterrupt, ctrl('D'): keyEndOfInput, ctrl('E'): keyEnd,
	ctrl('F'): keyRight, ctrl('G'): keyAbort, ctrl('H'): keyBackspace, ctrl('K'): keyKillEnd, ctrl('L'): keyClear,
	ctrl('N'): keyDown, ctrl('P'): keyUp, ctrl('R'): keySearch, ctrl('T'): keyTranspose, ctrl('U'): keyKillStart,
	ctrl('V'): keyQuote, ctrl('W'): keyKillWord, ctrl('Y'): keyYank, ctrl('Z'): keySuspend, ctrl('\\'): keyQuit,
}

func ctrl(letter byte) byte { return letter & 0x1f }

// alts are those behind an escape.
var alts = map[byte]key{
	'b': keyWordLeft, 'B': keyWordLeft, 'f': keyWordRight, 'F': keyWordRight, 'd': keyKillWordRight, 'D': keyKillWordRight,
	0x7f: keyKillWordLeft, ctrl('H'): keyKillWordLeft,
}

// sequences are those that come as a control sequence, without its parameters but the first of one that ends
// in "~".
var sequences = map[string]key{
	"A": keyUp, "B": keyDown, "C": keyRight, "D": keyLeft, "H": keyHome, "F": keyEnd,
	"1~": keyHome, "7~": keyHome, "4~": keyEnd, "8~": keyEnd, "3~": keyDelete,
}

// pasteEnd is what a terminal sends behind what is pasted; "\x1b[200~" comes before.
const pasteEnd = "\x1b[201~"

// A decoder makes keys of the bytes that a terminal sends, one at a time. What it does not know, also what a
// terminal answers to whoever asked it before, is no key and no text.
type decoder struct {
	state    int
	sequence []byte // of a control sequence, behind its "\x1b["
	quoted   bool   // the next byte stands for itself
	pasting  bool
	matched  int  // how much of pasteEnd may have come
	afterCR  bool // of what is pasted: a newline behind it belongs to it
}

const (
	ground   = iota
	escaped  // behind an escape, which may also be the key
	control  // in a control sequence
	single   // behind an escape and O
	inString // in a string, which ends with BEL or ST
	ending   // behind an escape in one
)

// longestSequence is what a control sequence may have, in bytes, before it is taken for none.
const longestSequence = 64

// feed gives a byte to the decoder, which calls press for each key, with the byte for keyText.
func (d *decoder) feed(b byte, press func(k key, text byte)) {
	switch {
	case d.pasting:
		d.paste(b, press)
		return
	case d.quoted:
		d.quoted = false
		press(keyText, b)
		return
	}
	switch d.state {
	case escaped:
		d.behindEscape(b, press)
	case control:
		d.inSequence(b, press)
	case single:
		d.state = ground
		press(sequences[string(b)], 0)
	case inString:
		if b == 0x07 {
			d.state = ground
		} else if b == 0x1b {
			d.state = ending
		}
	case ending:
		d.state = ground
	default:
		d.plain(b, press)
	}
}

func (d *decoder) plain(b byte, press func(k key, text byte)) {
	switch k, isKey := controls[b]; {
	case b == 0x1b:
		d.state = escaped
	case k == keyQuote:
		d.quoted = true
	case isKey:
		press(k, 0)
	default:
		press(keyText, b)
	}
}

func (d *decoder) behindEscape(b byte, press func(k key, text byte)) {
	d.state = ground
	switch {
	case b == '[':
		d.state, d.sequence = control, d.sequence[:0]
	case b == 'O':
		d.state = single
	case strings.IndexByte("]P_^X", b) >= 0:
		d.state = inString
	case b == 0x1b:
		d.state = escaped
		press(keyEscape, 0)
	case b >= 0x80: // a letter that is more than one byte
		press(keyText, b)
	default:
		press(alts[b], 0)
	}
}

func (d *decoder) inSequence(b byte, press func(k key, text byte)) {
	switch {
	case b == 0x1b: // the sequence was cut off
		d.state = escaped
		return
	case b < 0x40 && len(d.sequence) < longestSequence:
		d.sequence = append(d.sequence, b)
		return
	}
	d.state = ground
	first, modifier, _ := strings.Cut(string(d.sequence), ";")
	name := string(b)
	if b == '~' {
		name = first + name
	}
	switch k := sequences[name]; {
	case name == "200~":
		d.pasting, d.matched, d.afterCR = true, 0, false
	case modifier != "" && k == keyLeft:
		press(keyWordLeft, 0)
	case modifier != "" && k == keyRight:
		press(keyWordRight, 0)
	default:
		press(k, 0)
	}
}

// paste takes all for text, but what ends a line.
func (d *decoder) paste(b byte, press func(k key, text byte)) {
	if b == pasteEnd[d.matched] {
		if d.matched++; d.matched == len(pasteEnd) {
			d.pasting = false
		}
		return
	}
	matched := d.matched
	d.matched = 0
	if matched > 0 {
		d.afterCR = false
		for _, held := range []byte(pasteEnd[:matched]) {
			press(keyText, held)
		}
		d.paste(b, press)
		return
	}
	switch afterCR := d.afterCR; {
	case b == '\r', b == '\n' && !afterCR:
		d.afterCR = b == '\r'
		press(keyEnter, 0)
	case b == '\n':
		d.afterCR = false
	default:
		d.afterCR = false
		press(keyText, b)
	}
}

// isEscape says whether nothing but an escape has come: it is the key if nothing follows soon.
func (d *decoder) isEscape() bool { return d.state == escaped && !d.pasting }

// endEscape takes it for the key.
func (d *decoder) endEscape(press func(k key, text byte)) {
	d.state = ground
	press(keyEscape, 0)
}
