package tap

import (
	"encoding/binary"
	"math"

	"github.com/parley-tcp/parley"
)

// A scanner finds the messages in a copy of one direction's bytes. It holds the bytes of
// one unfinished message, max of them at most and what one read brings.
type scanner struct {
	framing parley.Framing
	max     int
	tell    func(body []byte, cut uint64) // a message; cut is how much longer it was

	buf     []byte // of a message that is not whole yet
	scanned int    // bytes of buf that hold no end

	long bool   // inside a message over max
	head []byte // its first max bytes
	size uint64 // how much of it there was so far
	left uint64 // how much is still to come, where the message began with its length
}

// feed tells the messages that p completes; with eof nothing comes behind p.
func (s *scanner) feed(p []byte, eof bool) {
	if len(s.buf) > 0 {
		s.buf = append(s.buf, p...)
		p = s.buf
	}
	rest := s.scan(p, eof)
	if len(rest) == 0 {
		s.buf = nil
		return
	}
	s.buf = append(s.buf[:0], rest...)
}

// begun reports whether there is a message whose end has not come.
func (s *scanner) begun() bool { return s.long || len(s.buf) > 0 }

// unfinished is what there is of that message, and how many bytes are left out.
func (s *scanner) unfinished() (body []byte, cut uint64) {
	if s.long {
		return s.head, s.size + uint64(len(s.buf)) - uint64(len(s.head))
	}
	return s.buf, 0
}

// scan returns the bytes whose message is not whole yet.
func (s *scanner) scan(p []byte, eof bool) (rest []byte) {
	for len(p) > 0 {
		if s.long {
			n := s.continueLong(p, eof)
			p = p[n:]
			if s.long {
				return p
			}
			continue
		}
		n, body, err := s.framing.Next(p, s.scanned, s.max, eof)
		switch {
		case err != nil:
			p = p[s.startLong(p):]
		case n == 0:
			s.scanned = len(p)
			return p
		default:
			s.tell(body, 0)
			p = p[n:]
		}
		s.scanned = 0
	}
	return nil
}

// startLong begins a message over max, and returns how many bytes stand before it.
func (s *scanner) startLong(p []byte) int {
	s.long, s.head, s.size, s.left = true, nil, 0, 0
	if s.framing != parley.LengthPrefixed {
		return 0
	}
	s.left = uint64(binary.BigEndian.Uint32(p))
	return 4
}

// continueLong counts the bytes of a long message, tells it if its end is there, and returns how
// many bytes it has done with.
func (s *scanner) continueLong(p []byte, eof bool) int {
	if s.framing == parley.LengthPrefixed {
		n := int(min(s.left, uint64(len(p))))
		s.left -= uint64(n)
		s.count(p[:n])
		if s.left == 0 {
			s.tellLong()
		}
		return n
	}
	n, body, err := s.framing.Next(p, 0, math.MaxInt, eof)
	if err == nil && n > 0 {
		s.count(body)
		s.tellLong()
		return n
	}
	// What the last byte is may turn on the next one, as with CR and LF.
	s.count(p[:len(p)-1])
	return len(p) - 1
}

func (s *scanner) count(p []byte) {
	s.size += uint64(len(p))
	s.head = append(s.head, p[:min(len(p), s.max-len(s.head))]...)
}

func (s *scanner) tellLong() {
	s.tell(s.head, s.size-uint64(len(s.head)))
	s.long, s.head = false, nil
}
