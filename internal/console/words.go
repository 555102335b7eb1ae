package console

import (
	"strconv"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// messages says how the messages of a server's or a tap's sessions are shown.
type messages struct {
	words   dialect.Words // nil if a message is its words
	secrets bool          // credentials are shown too
}

// appendMessage appends a message's length, in brackets of which the first is there, and what
// it is.
func (m *messages) appendMessage(dst []byte, e *parley.Event) []byte {
	if m.words == nil && !e.Secret {
		return appendMessage(dst, e)
	}
	dst = append(strconv.AppendUint(dst, lengthOf(e), 10), "]: "...)
	return m.appendText(dst, e, e.Secret && !m.secrets)
}

// appendText appends what a message is, in words if there are any, escaped and cut. Of words
// that are cut the number of bytes is the message's.
func (m *messages) appendText(dst []byte, e *parley.Event, secret bool) []byte {
	from, whole := len(dst), uint64(len(e.Body))+e.Cut
	if m.words != nil {
		shown := dialect.Message{Body: e.Body, Cut: e.Cut, Secret: secret}
		if e.Kind == parley.Received {
			dst = m.words.AppendRequest(dst, shown)
		} else {
			dst = m.words.AppendReply(dst, shown)
		}
	}
	switch words := dst[from:]; {
	case len(words) == 0 && secret:
		return append(dst, "(secret)"...)
	case len(words) == 0:
		return appendShown(dst, e.Body, whole)
	case len(words) <= maxShown:
		return escapeFrom(dst, from)
	default:
		return appendShown(dst[:from], []byte(string(words)), whole)
	}
}

// appendTextField appends the field of JSON that has the words beside the exact bytes, which
// hide nothing either.
func (m *messages) appendTextField(dst []byte, e *parley.Event) []byte {
	if m.words == nil {
		return dst
	}
	const name = `,"text":`
	from := len(dst) + len(name)
	return quoteFrom(m.appendText(append(dst, name...), e, false), from)
}
