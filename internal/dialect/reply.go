package dialect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/parley-tcp/parley"
)

// Lines is a framing of lines in which a message read is n of them.
func Lines(line parley.Framing, n int) parley.Framing { return severalLines{line, n} }

// Until is a framing of lines in which a message read goes on until a line for which last holds.
func Until(line parley.Framing, last func(line []byte) bool) parley.Framing {
	return linesUntil{line, last}
}

type severalLines struct {
	parley.Framing
	n int
}

func (s severalLines) Next(buf []byte, _, max int, eof bool) (n int, body []byte, err error) {
	for range s.n {
		k, line, err := s.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		n += k
	}
	if len(body) > max {
		return 0, nil, parley.ErrTooLong
	}
	return n, body, nil
}

type linesUntil struct {
	parley.Framing
	last func(line []byte) bool
}

func (l linesUntil) Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error) {
	for n = bytes.LastIndexByte(buf[:scanned], '\n') + 1; ; { // the lines before have been looked at
		k, line, err := l.Framing.Next(buf[n:], 0, max, eof)
		if err != nil || k == 0 {
			return 0, nil, err
		}
		body = buf[:n+len(line)]
		if len(body) > max {
			return 0, nil, parley.ErrTooLong
		}
		if n += k; l.last(line) {
			return n, body, nil
		}
	}
}

// Lacks says what a reply of which only this came, framing included, lacks to be whole, and
// what may help; advice may be "".
func (f Framing) Lacks(came []byte) (lacks, advice string) {
	_, name, two := strings.Cut(f.Name, "/")
	if !two {
		name = f.Name
	}
	end, delimited := strings.CutPrefix(name, "delim:")
	switch {
	case name == "length" && len(came) < 4:
		return fmt.Sprintf("%d of the 4 bytes of its length came", len(came)), "--framing line is for servers that send none"
	case name == "length":
		return fmt.Sprintf("%d of its %d bytes came", len(came)-4, binary.BigEndian.Uint32(came)), "--framing line is for servers that send no length"
	case delimited:
		return "no byte 0x" + end + " ends it", "--framing chunk needs none"
	}
	return "no newline ends it", "--framing chunk needs none"
}
