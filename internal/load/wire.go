package load

import (
	"encoding/binary"
	"errors"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// errDamaged reports bytes that no MarshalBinary of this package wrote.
var errDamaged = errors.New("damaged")

// MarshalBinary writes the times exactly: to how many digits they are kept, then of each bucket that is
// not empty how many empty ones are before it, and its count.
func (t Times) MarshalBinary() ([]byte, error) {
	if t.Histogram == nil {
		return []byte{0}, nil
	}
	of := t.Histogram.Export()
	b := []byte{byte(of.SignificantFigures)}
	empty, left := uint64(0), t.Count()
	for _, count := range of.Counts {
		if left == 0 {
			break // what is behind is empty
		}
		if count == 0 {
			empty++
			continue
		}
		left -= count
		b = binary.AppendUvarint(b, empty)
		b = binary.AppendUvarint(b, uint64(count))
		empty = 0
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary has written.
func (t *Times) UnmarshalBinary(b []byte) error {
	t.Histogram = nil
	switch {
	case len(b) == 0:
		return errDamaged
	case len(b) == 1 && b[0] == 0:
		return nil
	case b[0] == stepDigits:
		t.Histogram = newStepHistogram()
	case b[0] == timeDigits:
		t.Histogram = newHistogram()
	default:
		return errDamaged
	}
	of := t.Histogram.Export()
	total, at := uint64(0), uint64(0)
	for b = b[1:]; len(b) > 0; at++ {
		empty, n := binary.Uvarint(b)
		count, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || count == 0 || empty >= uint64(len(of.Counts))-at || count > mostCount-total {
			return errDamaged
		}
		at += empty
		of.Counts[at] = int64(count)
		total += count
		b = b[n+m:]
		if at+1 == uint64(len(of.Counts)) && len(b) > 0 {
			return errDamaged
		}
	}
	t.Histogram = hdrhistogram.Import(of)
	return nil
}

// mostCount is how many times one histogram may have, so that those of many can be added.
const mostCount = 1 << 53

// MarshalBinary writes the messages so that UnmarshalBinary reads the same.
func (m *Messages) MarshalBinary() ([]byte, error) {
	if len(m.list) == 1 && m.list[0][0].width > 0 {
		return binary.AppendUvarint([]byte{sized}, uint64(m.list[0][0].width+len(m.list[0][1].literal))), nil
	}
	b := []byte{texts}
	for _, pieces := range m.list {
		var text []byte
		for _, p := range pieces {
			text = appendEscaped(text, p.literal)
			for _, t := range tokens {
				if p.number != none && t.number == p.number {
					text = append(text, t.text...)
				}
			}
		}
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b, nil
}

// How messages are written.
const (
	sized = 's' // by their size
	texts = 't' // a length before each text
)

// appendEscaped appends literal bytes as ParseMessages reads them.
func appendEscaped(dst, literal []byte) []byte {
	for len(literal) > 0 {
		n := 1
		if t, ok := tokenAt(literal); ok {
			dst, n = append(append(append(dst, '{'), tokens[t].text...), '}'), len(tokens[t].text)
		} else {
			dst = append(dst, literal[0])
		}
		literal = literal[n:]
	}
	return dst
}

// UnmarshalBinary reads what MarshalBinary has written.
func (m *Messages) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		return errDamaged
	}
	var list [][]byte
	for kind := b[0]; ; {
		length, n := binary.Uvarint(b[1:])
		switch {
		case n <= 0:
			return errDamaged
		case kind == sized && n == len(b)-1 && length >= 1 && length <= maxSized:
			*m = *SizedMessages(int(length))
			return nil
		case kind != texts || length > uint64(len(b)-1-n):
			return errDamaged
		}
		list = append(list, b[1+n:1+n+int(length)])
		if b = b[n+int(length):]; len(b) == 1 {
			break
		}
	}
	*m = *ParseMessages(list...)
	return nil
}

// maxSized is how large a message of a given size may be, in bytes.
const maxSized = 1 << 30
