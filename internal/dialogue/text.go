package dialogue

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// ParseText reads a text as it is written behind > or =. An error is a *textError.
func ParseText(s string) (Text, error) {
	var t Text
	var literal []byte
	for i := 0; i < len(s); {
		switch s[i] {
		case '\\':
			b, n, err := Unescape(s[i:])
			if err != nil {
				return Text{}, &textError{i, err}
			}
			literal = append(literal, b)
			i += n
		case '{':
			name, n, isName := bracesAt(s[i:])
			if isName {
				t.pieces = append(t.pieces, piece{literal, name})
				literal = nil
			} else if n > 1 { // {{name}}
				literal = append(literal, s[i+1:i+n-1]...)
			} else {
				literal = append(literal, '{')
			}
			i += n
		default:
			literal = append(literal, s[i])
			i++
		}
	}
	if len(literal) > 0 {
		t.pieces = append(t.pieces, piece{literal: literal})
	}
	return t, nil
}

// A textError is what is wrong at a byte of a text.
type textError struct {
	at  int
	err error
}

func (e *textError) Error() string { return e.err.Error() }
func (e *textError) Unwrap() error { return e.err }

// Unescape reads the escape that s begins with, of n bytes: \r, \n, \t, \\ or \xNN. Its error names what is none.
func Unescape(s string) (b byte, n int, err error) {
	if len(s) == 1 {
		return 0, 0, errors.New(`a \ at the end is no escape; \\ stands for one`)
	}
	switch s[1] {
	case '\\':
		return '\\', 2, nil
	case 'r':
		return '\r', 2, nil
	case 'n':
		return '\n', 2, nil
	case 't':
		return '\t', 2, nil
	case 'x':
		high, low := -1, -1
		if len(s) >= 4 {
			high, low = hexDigit(s[2]), hexDigit(s[3])
		}
		if high < 0 || low < 0 {
			return 0, 0, fmt.Errorf(`%s is no escape; \x wants two hexadecimal digits, as in \x0d`, s[:min(4, len(s))])
		}
		return byte(high<<4 | low), 4, nil
	}
	_, size := utf8.DecodeRuneInString(s[1:])
	return 0, 0, fmt.Errorf(`%s is no escape; there are \r \n \t \xNN and \\`, s[:1+size])
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// bracesAt reads the {name} or {{name}} that s begins with, which is n bytes long. What is neither is
// a brace alone.
func bracesAt(s string) (name string, n int, isName bool) {
	if name = nameIn(s); name != "" {
		return name, len(name) + 2, true
	}
	if name = nameIn(s[1:]); name != "" && len(s) > len(name)+3 && s[len(name)+3] == '}' {
		return name, len(name) + 4, false
	}
	return "", 1, false
}

// nameIn is the name of the {name} that s begins with, "" if it begins with none.
func nameIn[T string | []byte](s T) string {
	if len(s) < 3 || s[0] != '{' || !isLetter(s[1]) {
		return ""
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '}':
			return string(s[1:i])
		case !isLetter(c) && !(c >= '0' && c <= '9') && c != '_':
			return ""
		}
	}
	return ""
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// NewText makes a text of bytes in which no brace is a name.
func NewText(literal []byte) Text {
	if len(literal) == 0 {
		return Text{}
	}
	return Text{[]piece{{literal: bytes.Clone(literal)}}}
}

// Append appends the text with the values of its names. A name without a value stays in its braces.
func (t *Text) Append(dst []byte, v Values) []byte {
	for _, p := range t.pieces {
		dst = append(dst, p.literal...)
		if p.name == "" {
			continue
		}
		if value, known := v[p.name]; known {
			dst = append(dst, value...)
		} else {
			dst = append(append(append(dst, '{'), p.name...), '}')
		}
	}
	return dst
}

// Names are those that the text uses, each once, in order.
func (t *Text) Names() []string {
	var names []string
	for _, p := range t.pieces {
		if p.name != "" && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// String is the text as it is written in a file.
func (t *Text) String() string { return string(t.appendWritten(nil)) }

func (t *Text) appendWritten(dst []byte) []byte {
	for i, p := range t.pieces {
		literal := p.literal
		// {{n}} would be read as the name in braces, and not as the name between two braces.
		between := p.name != "" && bytes.HasSuffix(literal, []byte("{")) &&
			i+1 < len(t.pieces) && bytes.HasPrefix(t.pieces[i+1].literal, []byte("}"))
		if between {
			literal = literal[:len(literal)-1]
		}
		dst = appendLiteral(dst, literal, i == len(t.pieces)-1 && p.name == "")
		if between {
			dst = append(dst, `\x7b`...)
		}
		if p.name != "" {
			dst = append(append(append(dst, '{'), p.name...), '}')
		}
	}
	return dst
}

// appendLiteral escapes bytes: what is not printable, a backslash, what would be a name, and blanks
// at the end, where nobody would see them and many an editor takes them away.
func appendLiteral(dst, literal []byte, atEnd bool) []byte {
	visible := len(literal)
	if atEnd {
		visible = len(bytes.TrimRight(literal, " "))
	}
	for i := 0; i < len(literal); {
		if name := nameIn(literal[i:]); name != "" {
			dst = append(append(append(dst, "{{"...), name...), "}}"...)
			i += len(name) + 2
			continue
		}
		r, size := utf8.DecodeRune(literal[i:])
		switch {
		case i >= visible:
			dst = append(dst, `\x20`...)
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			for _, b := range literal[i : i+size] {
				dst = fmt.Appendf(dst, `\x%02x`, b)
			}
		default:
			dst = append(dst, literal[i:i+size]...)
		}
		i += size
	}
	return dst
}
