// Package cmdline splits what somebody has typed into words as a shell does that is asked for nothing else:
// blanks separate, quotes and backslashes hold together. There are no variables, patterns, pipes or
// redirections.
package cmdline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Word of a line, without its quotes.
type Word struct {
	Text   string
	Column int // of its first character or quote in the line, in characters from 1
}

// An Error is of a text that ends inside a quote, or behind a lone backslash, or that has what is for a shell.
type Error struct {
	Column int // of the quote, the backslash or what is for a shell, in characters from 1
	text   string
}

func (e *Error) Error() string { return e.text }

// Split returns the words of a line, up to a # that begins one: that is a comment. What a shell would take for
// more than a character stands for itself. The error is an *Error.
func Split(line string) ([]Word, error) { return split(line, false) }

// Command returns the words of a command, which may go over several lines. What is for a shell, such as | or
// $HOME outside of quotes that take its meaning, is an error: nothing else is done than was meant. Patterns and
// ~ stand for themselves. The error is an *Error.
func Command(text string) ([]string, error) {
	all, err := split(text, true)
	if err != nil {
		return nil, err
	}
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = w.Text
	}
	return words, nil
}

// split reads a line or a command. Inside of single quotes nothing has a meaning; inside of double ones a
// backslash takes it from one of them, another backslash, $ and `, and outside of quotes from any character. In a
// command it joins lines.
func split(text string, command bool) ([]Word, error) {
	var words []Word
	var word strings.Builder
	begin, quote := -1, -1 // where the word and the quote began; -1 outside of one
	end := func() {
		if begin >= 0 {
			words = append(words, Word{word.String(), columnOf(text, begin)})
			word.Reset()
			begin = -1
		}
	}
	for i := 0; i < len(text); i++ {
		b := text[i]
		behind := text[i+1:]
		isBlank := b == ' ' || b == '\t' || b == '\n' || b == '\r'
		switch {
		case quote >= 0 && b == text[quote]:
			quote = -1
		case quote >= 0 && text[quote] == '\'':
			word.WriteByte(b)
		case command && b == '\\' && strings.HasPrefix(behind, "\n"):
			i++
		case b == '\\' && (quote < 0 || behind != "" && strings.IndexByte("\"\\$`", behind[0]) >= 0):
			if behind == "" || behind[0] == '\n' {
				return nil, &Error{columnOf(text, i), `nothing stands behind the backslash; write \\ for one`}
			}
			if begin < 0 {
				begin = i
			}
			i++
			word.WriteByte(text[i])
		case command && isExpanded(text[i:]) && quote >= 0:
			return nil, &Error{columnOf(text, i), fmt.Sprintf(`%c is for a shell, and there is none: give --sh, or put a \ before it`, b)}
		case quote >= 0:
			word.WriteByte(b)
		case command && (isExpanded(text[i:]) || strings.IndexByte("|&;<>()", b) >= 0):
			return nil, &Error{columnOf(text, i), fmt.Sprintf("%c is for a shell, and there is none: give --sh, or quote it", b)}
		case isBlank:
			end()
		case !command && begin < 0 && b == '#':
			return words, nil
		default:
			if begin < 0 {
				begin = i
			}
			if b == '\'' || b == '"' {
				quote = i
			} else {
				word.WriteByte(b)
			}
		}
	}
	if quote >= 0 {
		return nil, &Error{columnOf(text, quote), fmt.Sprintf(`the quote %c is not closed; \%[1]c is one that quotes nothing`, text[quote])}
	}
	end()
	return words, nil
}

// isExpanded reports whether a shell would put something else in the place of what the text begins with, in double
// quotes too.
func isExpanded(text string) bool {
	if text[0] == '`' {
		return true
	}
	rest := text[1:]
	for strings.HasPrefix(rest, "\\\n") { // lines are joined before
		rest = rest[2:]
	}
	if text[0] != '$' || rest == "" {
		return false
	}
	c := rest[0]
	isName := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
	return isName || strings.IndexByte("{(@*#?$!-", c) >= 0
}

// columnOf is the number of the character at an offset of the line.
func columnOf(line string, offset int) int { return utf8.RuneCountInString(line[:offset]) + 1 }
