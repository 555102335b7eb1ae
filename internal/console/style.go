package console

import (
	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// A Style says how what is shown to a person is told apart by colours. Its zero value uses none, and then
// the bytes are those of a pipe. All escape sequences that parley writes for colour are made here; they are
// colours of the terminal's own sixteen by number, so that they suit its background.
type Style struct{ coloured bool }

// Coloured is the style of a terminal that can show colours.
func Coloured() Style { return Style{true} }

// A tint is the parameters of an SGR sequence; "" is that of the text around it.
type tint string

const (
	plain      tint = "0"
	bold       tint = "0;1"
	dim        tint = "0;2"
	red        tint = "0;31"
	green      tint = "0;32"
	yellow     tint = "0;33"
	cyan       tint = "0;36"
	magenta    tint = "0;35"
	brightBlue tint = "0;94" // plain blue is too dark for many a black background
)

// What each kind of thing looks like.
const (
	timeTint     = dim
	requestTint  = bold
	replyTint    = plain
	abnormalTint = red
	faultTint    = yellow
)

// sessionTints are those of sessions, in turn. Red and yellow say that something is wrong.
var sessionTints = [...]tint{cyan, magenta, green, brightBlue}

// sessionTint is that of a session, by its number. What is of none has none.
func sessionTint(number uint64) tint {
	if number == 0 {
		return plain
	}
	return sessionTints[(number-1)%uint64(len(sessionTints))]
}

// messageTint is that of what a message says.
func messageTint(kind parley.EventKind) tint {
	if kind == parley.Received {
		return requestTint
	}
	return replyTint
}

// endTint is that of the reason why a session ended, or was not begun.
func endTint(reason string) tint {
	switch {
	case IsOrderly(reason):
		return plain
	case reason == parley.Fault.String():
		return faultTint
	}
	return abnormalTint
}

// IsOrderly reports whether nothing is wrong where a session ended for a reason of docs/events.md.
func IsOrderly(reason string) bool {
	switch reason {
	case "eof", "blank", "no_request", "first_byte_timeout", "hang_up", "shutdown", journal.ReasonOpen:
		return true
	}
	return false
}

// Wrong is a text that says that something is wrong.
func (s Style) Wrong(text string) string { return s.in(abnormalTint, text) }

// begin has what is appended from here on stand in a tint.
func (s Style) begin(dst []byte, t tint) []byte {
	if !s.coloured {
		return dst
	}
	return append(append(append(dst, "\x1b["...), t...), 'm')
}

// end ends that of begin.
func (s Style) end(dst []byte) []byte { return s.begin(dst, plain) }

// in is a text in a tint.
func (s Style) in(t tint, text string) string {
	if !s.coloured || t == plain || text == "" {
		return text
	}
	return string(s.end(append(s.begin(nil, t), text...)))
}
