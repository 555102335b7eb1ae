package dialect

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
)

// errorText begins a reply that says what is wrong: a protocol has its own form for it.
const errorText = "Error: "

const (
	maxText     = 1 << 10 // bytes of a message in words: once there are more, the rest is left out
	maxTextWord = 256     // the same of one of its parts
)

// appendShown appends text, or its beginning, of which there are or were so many bytes in all:
// hello…(65536 bytes). It is escaped, and quoted if that is wanted.
func appendShown(dst, text []byte, whole uint64, quoted bool) []byte {
	shown := beginning(text, maxTextWord)
	if quoted {
		dst = append(appendEscaped(append(dst, '"'), shown, true, false), '"')
	} else {
		dst = appendEscaped(dst, shown, false, false)
	}
	if uint64(len(shown)) == whole {
		return dst
	}
	dst = strconv.AppendUint(append(dst, "…("...), whole, 10)
	return append(dst, " bytes)"...)
}

// appendBriefly appends text, or as much of it as is to be shown, escaped.
func appendBriefly(dst, text []byte, most int, cut bool) []byte {
	shown := beginning(text, most)
	dst = appendEscaped(dst, shown, false, false)
	if cut || len(shown) < len(text) {
		dst = append(dst, "…"...)
	}
	return dst
}

// beginning is at most so many bytes of text, and no half of a character.
func beginning(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// appendEscaped appends p with what is not printable as \n or \xNN. Inside of quotes quotes
// and backslashes are escaped as well.
func appendEscaped(dst, p []byte, quoted, ascii bool) []byte {
	for len(p) > 0 {
		if n := plainASCII(p); n > 0 {
			dst, p = append(dst, p[:n]...), p[n:]
			continue
		}
		r, n := utf8.DecodeRune(p)
		switch i := strings.IndexByte("\n\r\t\a\b", p[0]); {
		case i >= 0:
			dst = append(dst, '\\', "nrtab"[i])
		case quoted && (r == '"' || r == '\\'):
			dst = append(dst, '\\', byte(r))
		case n == 1 && ' ' <= r && r <= '~' || n > 1 && !ascii && unicode.IsGraphic(r):
			dst = append(dst, p[:n]...)
		default:
			for _, b := range p[:n] {
				dst = append(dst, '\\', 'x', "0123456789abcdef"[b>>4], "0123456789abcdef"[b&15])
			}
		}
		p = p[n:]
	}
	return dst
}

// plainASCII is how many bytes p begins with that are shown as they are and mean nothing anywhere: letters, digits and
// most signs.
func plainASCII(p []byte) int {
	for i, b := range p {
		if !isPlain[b] {
			return i
		}
	}
	return len(p)
}

var isPlain = func() (plain [256]bool) {
	for b := byte('!'); b <= '~'; b++ {
		plain[b] = b != '"' && b != '\'' && b != '\\'
	}
	return plain
}()

// makeOneLine puts spaces for what would end the line.
func makeOneLine(text []byte) {
	for i, b := range text {
		if b == '\r' || b == '\n' {
			text[i] = ' '
		}
	}
}

// Conceal says in words what a request is that was typed with credentials, without them. It is
// taken for the first of its connection; ok is false if it has none.
func (f Framing) Conceal(typed []byte) (words string, ok bool) {
	if f.Words == nil {
		return "", false
	}
	requests, _ := parley.OpenFraming(f.Requests, f.Replies)
	wire, err := requests.End(append(requests.Begin(nil), typed...), 0)
	if noter, is := requests.(parley.Noter); err != nil || !is || !noter.Note().Secret {
		return "", false
	}
	return string(f.Words.AppendRequest(nil, Message{Body: wire, Secret: true})), true
}
