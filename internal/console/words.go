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
	Style   Style
	hex     bool       // messages are dumped below their lines
	columns func() int // of the terminal that dumps are to fit, now; nil if it is none
}

// appendMessage appends a message's length, in brackets of which the first is there, and what
// it is.
func (m *messages) appendMessage(dst []byte, e *parley.Event) []byte {
	dst = append(strconv.AppendUint(dst, lengthOf(e), 10), "]: "...)
	dst = m.Style.begin(dst, messageTint(e.Kind))
	if m.words == nil && !e.Secret {
		dst = appendShown(dst, e.Body, uint64(len(e.Body))+e.Cut)
	} else {
		dst = m.appendText(dst, e, e.Secret && !m.secrets)
	}
	return m.Style.end(dst)
}

// appendDump appends a message below its line, if messages are to be dumped: as it was on the wire where
// that is known, behind > if a client sent it and < if it was sent one. Credentials are not dumped where
// they are not shown.
func (m *messages) appendDump(dst []byte, e *parley.Event) []byte {
	if !m.hex {
		return dst
	}
	prefix, columns := "< ", 0
	switch e.Kind {
	case parley.Received:
		prefix = "> "
	case parley.Replied, parley.Unasked:
	case parley.Refused:
		if len(e.Body) == 0 {
			return dst
		}
	default:
		return dst
	}
	if e.Secret && !m.secrets {
		return append(append(dst, prefix...), "(secret)\n"...)
	}
	if m.columns != nil {
		columns = m.columns()
	}
	if e.Raw.Bytes != nil {
		return appendDumpOf(dst, prefix, e.Raw.Bytes, uint64(len(e.Raw.Bytes))+e.Raw.Cut, columns)
	}
	return appendDumpOf(dst, prefix, e.Body, uint64(len(e.Body))+e.Cut, columns)
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
