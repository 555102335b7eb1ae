package dialogue

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Holds says whether a message is as it has to be. What the named groups of ~ match goes into v if it
// is; nothing is kept of it if v is nil.
func (j *Judge) Holds(message []byte, v Values) bool {
	switch j.Kind {
	case Exact:
		return bytes.Equal(message, j.Text.Append(nil, v))
	case Matches:
		re := j.compiled(v)
		if re == nil {
			return false
		}
		found := re.FindSubmatchIndex(message)
		if found == nil || v == nil {
			return found != nil
		}
		for i, name := range re.SubexpNames() {
			switch {
			case name == "":
			case found[2*i] < 0: // it has no part in the match
				v[name] = nil
			default:
				v[name] = bytes.Clone(message[found[2*i]:found[2*i+1]])
			}
		}
		return true
	case Differs:
		re := j.compiled(v)
		return re != nil && !re.Match(message)
	}
	return true
}

// maxInPattern is the longest value of a name that a regular expression may have, in bytes: what is
// compiled of it takes up hundreds of times as many, and a peer says how many they are.
const maxInPattern = 4 << 10

// compiled is the pattern with the values of its names, which are quoted; nil if it is too large then,
// and holds for nothing.
func (j *Judge) compiled(v Values) *regexp.Regexp {
	if j.re != nil {
		return j.re
	}
	pieces := piecesOf(j.Pattern)
	if slices.ContainsFunc(pieces, func(p patternPiece) bool { return len(v[p.name]) > maxInPattern }) {
		return nil
	}
	re, err := regexp.Compile(fill(pieces, v))
	if err != nil { // such as one that repeats a long value too often
		return nil
	}
	return re
}

// AppendTo appends the judge as it is written, such as ~ ^250.
func (j *Judge) AppendTo(dst []byte) []byte {
	switch j.Kind {
	case Exact:
		return appendBehind(dst, "=", j.Text.String())
	case Matches:
		return appendBehind(dst, "~", j.Pattern)
	case Differs:
		return appendBehind(dst, "!~", j.Pattern)
	}
	return append(dst, '*')
}

// String is the judge as it is written, such as ~ ^250.
func (j *Judge) String() string { return string(j.AppendTo(nil)) }

// want is what the judge wants with these values.
func (j *Judge) want(v Values) string {
	filled := Judge{Kind: j.Kind, Text: NewText(j.Text.Append(nil, v)), Pattern: j.Pattern}
	if j.re == nil && j.Pattern != "" {
		filled.Pattern = j.filled(v)
	}
	return filled.String()
}

// appendBehind appends a text behind a word and a space, or the word alone.
func appendBehind(dst []byte, word, text string) []byte {
	dst = append(dst, word...)
	if text == "" {
		return dst
	}
	return append(append(dst, ' '), text...)
}

// compile reads the pattern. An error is a *textError.
func (j *Judge) compile() error {
	if j.Pattern == "" {
		return &textError{0, errors.New("the regular expression is empty; < * holds for anything")}
	}
	pieces := piecesOf(j.Pattern)
	named := slices.ContainsFunc(pieces, func(p patternPiece) bool { return p.name != "" })
	re, err := regexp.Compile(fill(pieces, nil))
	if err != nil {
		var wrong *syntax.Error
		if errors.As(err, &wrong) {
			err = fmt.Errorf("regular expression: %s: %#q", wrong.Code, wrong.Expr)
		}
		return &textError{0, err}
	}
	if !named {
		j.re = re
	}
	for _, group := range re.SubexpNames() {
		if group == "n" || group == "conn" {
			return &textError{max(0, strings.Index(j.Pattern, "<"+group+">")),
				fmt.Errorf("a group cannot be named %s, which is a number of the play; give it another name", group)}
		}
	}
	return nil
}

// groups are the names that the judge catches.
func (j *Judge) groups() []string {
	if j.Kind != Matches {
		return nil
	}
	names := j.compiled(nil).SubexpNames()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
}

// filled is the pattern with the values of its names, quoted.
func (j *Judge) filled(v Values) string { return fill(piecesOf(j.Pattern), v) }

// A patternPiece is a part of a regular expression with a name behind it, if there is one, at a byte
// of the pattern.
type patternPiece struct {
	re, name string
	at       int
}

// piecesOf finds the names in a pattern. The braces of \pL, \x and of a repetition are none.
func piecesOf(pattern string) []patternPiece {
	var pieces []patternPiece
	var re strings.Builder
	for i := 0; i < len(pattern); {
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			n := 2
			if strings.IndexByte("pPx", pattern[i+1]) >= 0 && i+2 < len(pattern) && pattern[i+2] == '{' {
				n = 3
			}
			re.WriteString(pattern[i : i+n])
			i += n
		case c == '{':
			name, n, isName := bracesAt(pattern[i:])
			switch {
			case isName:
				pieces = append(pieces, patternPiece{re.String(), name, i})
				re.Reset()
			case n > 1:
				re.WriteString(`\{` + name + `\}`)
			default:
				re.WriteByte('{')
			}
			i += n
		default:
			re.WriteByte(c)
			i++
		}
	}
	return append(pieces, patternPiece{re: re.String()})
}

func fill(pieces []patternPiece, v Values) string {
	var filled []byte
	for _, p := range pieces {
		filled = append(filled, p.re...)
		if p.name != "" {
			filled = append(append(append(filled, "(?:"...), Quote(v[p.name])...), ')')
		}
	}
	return string(filled)
}

// Quote is a regular expression of the bytes, as it can be written on a line. Where they are no UTF-8,
// which a regular expression cannot have, any byte matches.
func Quote(literal []byte) string {
	var quoted strings.Builder
	for len(literal) > 0 {
		r, size := utf8.DecodeRune(literal)
		last := size == len(literal)
		switch {
		case r == utf8.RuneError && size == 1:
			quoted.WriteString("(?s:.)")
		case r == '\r':
			quoted.WriteString(`\r`)
		case r == '\n':
			quoted.WriteString(`\n`)
		case r == '\t':
			quoted.WriteString(`\t`)
		case !unicode.IsPrint(r) || r == ' ' && last:
			fmt.Fprintf(&quoted, `\x{%x}`, r)
		default:
			quoted.WriteString(regexp.QuoteMeta(string(literal[:size])))
		}
		literal = literal[size:]
	}
	return quoted.String()
}
