package talk

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/parley-tcp/parley/internal/dialogue"
)

// unescaped is a request as it is meant, where it may have been typed with escapes.
func (c *Conversation) unescaped(typed []byte) ([]byte, error) {
	if !c.Escapes {
		return typed, nil
	}
	return unescape(typed)
}

// unescape has \r, \n, \t, \\ and \xNN be the bytes that they stand for. Its error names what is none.
func unescape(typed []byte) ([]byte, error) {
	at := bytes.IndexByte(typed, '\\')
	if at < 0 {
		return typed, nil
	}
	meant := append(make([]byte, 0, len(typed)), typed[:at]...)
	for rest := typed[at:]; len(rest) > 0; {
		if rest[0] != '\\' {
			meant, rest = append(meant, rest[0]), rest[1:]
			continue
		}
		b, n, err := dialogue.Unescape(string(rest[:min(len(rest), longestEscape)]))
		if err != nil {
			return nil, &escapeError{len(typed) - len(rest) + 1, err}
		}
		meant, rest = append(meant, b), rest[n:]
	}
	return meant, nil
}

// longestEscape is how many bytes there are to look at: those of \xNN, and of a \ before any character.
const longestEscape = 1 + utf8.UTFMax

// An escapeError says what is no escape, and at which byte, from 1.
type escapeError struct {
	at  int
	err error
}

func (e *escapeError) Error() string { return fmt.Sprintf("byte %d: %v", e.at, e.err) }
