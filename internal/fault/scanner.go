package fault

import (
	"bytes"
	"errors"

	"github.com/parley-tcp/parley"
)

// headroom is how much of a message a framing may hold back that is over the limit.
const headroom = 4 << 10

// A scanner finds the messages in one direction's bytes, which pass meanwhile: a copy of an
// unfinished message is kept, of max bytes at most and what one read brings.
type scanner struct {
	framing parley.Framing
	max     int // bytes of a message's body

	buf     []byte // has passed, and its message is not whole yet
	scanned int    // bytes of buf that hold no end
	skip    func(p []byte, eof bool) (n, head, tail int, done bool, err error)
	lost    bool // the framing: what comes is of no message
}

// A part is some of what passes: of one message, or of none.
type part struct {
	p      []byte
	isNone bool   // of no message
	ends   bool   // its message, behind p
	whole  []byte // the message, if it ends and is not too long to be held
	body   []byte // of whole
	note   parley.Note
}

// feed takes p apart. It keeps nothing of p, and parts of a message that began before do not
// say so.
func (s *scanner) feed(p []byte) (parts []part) {
	passed := len(s.buf)
	data := p
	if passed > 0 {
		data = append(s.buf, p...)
	}
	at, told := 0, passed // how far data is scanned, and how much of it is in a part
	add := func(n int, of part) {
		at += n
		of.p = data[told:max(told, at)]
		told = max(told, at)
		if len(of.p) > 0 || of.ends {
			parts = append(parts, of)
		}
	}
	for at < len(data) {
		rest := data[at:]
		if s.lost {
			add(len(rest), part{isNone: true})
			break
		}
		if s.skip != nil {
			n, _, _, done, err := s.skip(rest, false)
			switch {
			case err != nil || !done && len(rest)-n-headroom > s.max:
				s.lost = true
			case done:
				s.skip = nil
				add(n, part{ends: true, note: s.note()})
			default:
				add(n, part{})
			}
			if !s.lost && !done {
				break
			}
			continue
		}
		n, body, err := s.framing.Next(rest, s.scanned, s.max, false)
		if err == nil && n == 0 {
			if s.scanned = len(rest); len(rest)-headroom <= s.max {
				break
			}
			err = parley.ErrTooLong
		}
		s.scanned = 0
		switch skipper, skips := s.framing.(parley.Skipper); {
		case err == nil:
			add(n, part{ends: true, whole: rest[:n], body: body, note: s.note()})
		case err == parley.ErrStray && n > 0:
			add(n, part{isNone: true})
		case errors.Is(err, parley.ErrTooLong) && skips:
			s.skip = skipper.Skip()
		default:
			s.lost = true
		}
	}
	held := data[at:]
	if told < len(data) { // of a message that is not whole
		parts = append(parts, part{p: data[told:]})
	}
	s.buf = bytes.Clone(held)
	return parts
}

func (s *scanner) note() parley.Note {
	if noter, ok := s.framing.(parley.Noter); ok {
		return noter.Note()
	}
	return parley.Note{}
}
