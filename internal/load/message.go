package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parley-tcp/parley"
)

// Messages are the requests of a run, sent in turn. In each, {n} stands for the request's
// number and {conn} for its connection's, both from 1; {{n}} and {{conn}} stand for
// themselves. Any other brace is a brace: a message may well be JSON. Nil has no message.
type Messages struct {
	list     [][]piece
	numbered bool
}

// A piece is literal bytes with a number behind it, if there is one.
type piece struct {
	literal []byte
	number  number
	width   int // if not 0, exactly so many digits: zeros before it, or its last ones
}

type number uint8

const (
	none number = iota
	ofRequest
	ofConnection
)

// tokens are what stands for something else in a message, the longer ones first.
var tokens = []struct {
	text    string
	literal string
	number  number
}{
	{"{{n}}", "{n}", none},
	{"{{conn}}", "{conn}", none},
	{"{n}", "", ofRequest},
	{"{conn}", "", ofConnection},
}

// ParseMessages reads the texts of the requests, of which there is at least one.
func ParseMessages(texts ...[]byte) *Messages {
	m := new(Messages)
	for _, text := range texts {
		m.list = append(m.list, m.parse(text))
	}
	return m
}

func (m *Messages) parse(text []byte) []piece {
	var pieces []piece
	var literal []byte
	for len(text) > 0 {
		t, ok := tokenAt(text)
		if !ok {
			literal, text = append(literal, text[0]), text[1:]
			continue
		}
		literal, text = append(literal, tokens[t].literal...), text[len(tokens[t].text):]
		if n := tokens[t].number; n != none {
			pieces = append(pieces, piece{literal: literal, number: n})
			literal, m.numbered = nil, true
		}
	}
	return append(pieces, piece{literal: literal})
}

// tokenAt is the token that text begins with.
func tokenAt(text []byte) (index int, ok bool) {
	for i, t := range tokens {
		if bytes.HasPrefix(text, []byte(t.text)) {
			return i, true
		}
	}
	return 0, false
}

// ReadMessages reads the texts of the requests, one a line, or as many lines as the framing finds
// in one.
func ReadMessages(r io.Reader, framing parley.Framing) (*Messages, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return nil, errors.New("there is no request in it")
	}
	lines := bytes.Split(text, []byte("\n"))
	var texts [][]byte
	for i := range lines {
		line := bytes.TrimSuffix(lines[i], []byte("\r"))
		if last := len(texts) - 1; last >= 0 && errors.Is(fits(framing, texts[last]), parley.ErrUnfinished) {
			texts[last] = append(append(slices.Clip(texts[last]), '\n'), line...)
		} else {
			texts = append(texts, line)
		}
	}
	return ParseMessages(texts...), nil
}

// Fit is an error for the first message that is empty, that the framing cannot carry, or to which
// there would be no reply.
func (m *Messages) Fit(framing parley.Framing) error {
	for i := range m.list {
		request := m.Append(nil, uint64(i+1), 1)
		err := errors.New("it is empty")
		if len(request) > 0 {
			err = fits(framing, request)
		}
		if err != nil {
			return fmt.Errorf("request %d cannot be sent: %w", i+1, err)
		}
	}
	return nil
}

// fits says whether a framing can carry a request, as the first of a connection.
func fits(framing parley.Framing, request []byte) error {
	requests, _ := parley.OpenFraming(framing, nil)
	_, err := requests.End(append(requests.Begin(nil), request...), 0)
	if noter, ok := requests.(parley.Noter); err == nil && ok && noter.Note().Alone {
		return errors.New("there is no reply to it, and replies are what is measured")
	}
	return err
}

// sizedDigits is how many digits of its number a message of a given size begins with.
const sizedDigits = 16

// SizedMessages is one message of size bytes, 1 at least: its number in 16 digits, or as
// many as there is room for, then letters.
func SizedMessages(size int) *Messages {
	filler := make([]byte, max(0, size-sizedDigits))
	for i := range filler {
		filler[i] = 'a' + byte(i%26)
	}
	first := piece{number: ofRequest, width: min(size, sizedDigits)}
	return &Messages{list: [][]piece{{first, {literal: filler}}}, numbered: true}
}

// Numbered reports whether the requests can be told apart.
func (m *Messages) Numbered() bool { return m != nil && m.numbered }

// write writes the texts so that those of other messages are others.
func (m *Messages) write(w io.Writer) {
	for _, pieces := range m.list {
		for _, p := range pieces {
			fmt.Fprintf(w, "%d %q %d,", p.number, p.literal, p.width)
		}
		fmt.Fprintln(w)
	}
}

// Longest is how many bytes the longest has, at most.
func (m *Messages) Longest() int {
	longest := 0
	if m == nil {
		return 0
	}
	for _, pieces := range m.list {
		size := 0
		for _, p := range pieces {
			size += len(p.literal)
			switch {
			case p.width > 0:
				size += p.width
			case p.number != none:
				size += len("18446744073709551615")
			}
		}
		longest = max(longest, size)
	}
	return longest
}

// Append appends the n-th request of the run, on the conn-th connection.
func (m *Messages) Append(dst []byte, n, conn uint64) []byte {
	if m == nil {
		return dst
	}
	for _, p := range m.list[(n-1)%uint64(len(m.list))] {
		dst = append(dst, p.literal...)
		switch {
		case p.number == ofConnection:
			dst = strconv.AppendUint(dst, conn, 10)
		case p.number == ofRequest && p.width > 0:
			dst = appendDigits(dst, n, p.width)
		case p.number == ofRequest:
			dst = strconv.AppendUint(dst, n, 10)
		}
	}
	return dst
}

// appendDigits appends the last digits of n.
func appendDigits(dst []byte, n uint64, count int) []byte {
	dst = append(dst, "0000000000000000"[:count]...)
	for i := len(dst) - 1; n > 0 && i >= len(dst)-count; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	return dst
}
