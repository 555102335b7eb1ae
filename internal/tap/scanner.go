package tap

import (
	"errors"
	"slices"

	"github.com/parley-tcp/parley"
)

// A scanner finds the messages in a copy of one direction's bytes. It holds the bytes of
// one unfinished message, max of them at most and what one read brings.
type scanner struct {
	framing parley.Framing
	max     int // bytes of a message's body
	hearer  hearer

	at      uint64  // bytes of the direction before buf
	buf     []byte  // of a message that is not whole yet
	room    *[]byte // if that is given: what is fed next is its end, behind as much as buf has
	scanned int     // bytes of buf that hold no end
	long    *longMessage
	lost    bool // the framing: each read is a message
}

// A hearer is told what a scanner finds.
type hearer interface {
	tell(m message)
	loose(raw parley.Raw)        // bytes of no message
	broken(at uint64, why error) // what begins there is told as it comes
}

// A message is one that a scanner has found. Its bytes are to be copied by who keeps them.
type message struct {
	body []byte
	cut  uint64 // how much longer the body was
	raw  parley.Raw
	note parley.Note
}

// headroom is how much of a message a framing may hold back that is over the limit: what a
// message's framing takes up, and what a Skipper wants to see at once.
const headroom = 4 << 10

var (
	errNoSkipper = errors.New("a message over the limit, of which this framing cannot find the end")
	errHeldBack  = errors.New("a message over the limit, of which no end can be looked for")
	errNoBytes   = errors.New("the framing leaves out no bytes")
)

// feed tells the messages that p completes; with eof nothing comes behind p.
func (s *scanner) feed(p []byte, eof bool) {
	buffered := len(s.buf) > 0
	switch {
	case buffered && s.room != nil: // a long read is not copied for the little that it begins behind
		copy(*s.room, s.buf)
		p = *s.room
	case buffered:
		s.buf = append(s.buf, p...)
		p = s.buf
	}
	rest := s.scan(p, eof)
	s.at += uint64(len(p) - len(rest))
	switch {
	case len(rest) == 0:
		s.buf = nil
	case !buffered || s.room != nil || len(rest) < len(p): // else all of it is where it belongs
		s.buf = append(s.buf[:0], rest...)
	}
}

// miss leaves out n bytes that follow what was fed and that nobody has. In which message the next
// one is cannot be known: what comes from there on is told as it comes. What there was of a message
// is its caller's to take before.
func (s *scanner) miss(n uint64, why error) {
	s.at += uint64(len(s.buf)) + n
	s.buf, s.long, s.scanned = nil, nil, 0
	if !s.lost {
		s.lose(s.at, why)
	}
}

// begun reports whether there is a message whose end has not come.
func (s *scanner) begun() bool { return s.long != nil || len(s.buf) > 0 }

// unfinished is what there is of that message, and how many bytes are left out.
func (s *scanner) unfinished() (body []byte, cut uint64) {
	if s.long != nil {
		raw := s.unfinishedRaw()
		return raw.Bytes[raw.Body:], raw.Cut
	}
	return s.buf, 0
}

// unfinishedRaw is the same with its framing.
func (s *scanner) unfinishedRaw() parley.Raw {
	if s.long == nil {
		return parley.Raw{Bytes: s.buf, At: s.at}
	}
	raw := s.long.raw
	if raw.Cut > 0 {
		raw.Cut += uint64(len(s.buf))
	} else { // which may be all that there is of it
		raw.Bytes = slices.Concat(raw.Bytes, s.buf)
	}
	return raw
}

// scan returns the bytes whose message is not whole yet.
func (s *scanner) scan(p []byte, eof bool) (rest []byte) {
	whole := len(p)
	for len(p) > 0 || eof && s.long != nil {
		at := s.at + uint64(whole-len(p))
		switch {
		case s.lost:
			s.tellWhole(p, p, at, parley.Note{Alone: true})
			return nil
		case s.long != nil:
			n, more := s.skip(p, eof)
			p = p[n:]
			if more {
				return p
			}
			continue
		}
		n, body, err := s.framing.Next(p, s.scanned, s.max, eof)
		if err == nil && n == 0 {
			if s.scanned = len(p); len(p)-headroom <= s.max {
				return p
			}
			err = parley.ErrTooLong
		}
		s.scanned = 0
		switch {
		case err == parley.ErrStray && n > 0:
			s.hearer.loose(parley.Raw{Bytes: p[:n], At: at})
			p = p[n:]
		case err == parley.ErrStray:
			s.lose(at, errNoBytes)
		case errors.Is(err, parley.ErrTooLong):
			s.startLong(at)
		case err != nil:
			s.lose(at, err)
		default:
			s.tellWhole(p[:n], body, at, s.note())
			p = p[n:]
		}
	}
	return p
}

// note is what the framing knows of the message that it has found last.
func (s *scanner) note() parley.Note {
	if noter, notes := s.framing.(parley.Noter); notes {
		return noter.Note()
	}
	return parley.Note{}
}

// tellWhole tells a message that is held as a whole, and no more than the limit of it.
func (s *scanner) tellWhole(raw, body []byte, at uint64, note parley.Note) {
	m := message{body: body, raw: parley.Raw{Bytes: raw, At: at}, note: note}
	m.raw.Body = min(cap(raw)-cap(body), len(raw)-len(body)) // body is a part of raw
	if over := len(body) - s.max; over > 0 {
		m.body, m.cut = body[:s.max], uint64(over)
		kept := m.raw.Body + s.max
		m.raw.Bytes, m.raw.Cut = raw[:kept], uint64(len(raw)-kept)
	}
	s.hearer.tell(m)
}

// lose has what comes from at on told as it comes: it can be no message of the framing.
func (s *scanner) lose(at uint64, why error) {
	s.lost = true
	s.hearer.broken(at, why)
}

// A longMessage is one over the limit, whose end is not there yet.
type longMessage struct {
	skip func(p []byte, eof bool) (n, head, tail int, done bool, err error)
	raw  parley.Raw // its beginning; Cut is of what there was so far
	body uint64     // how much of that there was so far
}

func (s *scanner) startLong(at uint64) {
	skipper, ok := s.framing.(parley.Skipper)
	if !ok {
		s.lose(at, errNoSkipper)
		return
	}
	s.long = &longMessage{skip: skipper.Skip(), raw: parley.Raw{At: at}}
}

// skip looks for the end of a long message, and tells it if it is there. It returns how many
// bytes it has done with, and whether it needs more.
func (s *scanner) skip(p []byte, eof bool) (n int, more bool) {
	n, head, tail, done, err := s.long.skip(p, eof)
	s.long.add(p[:n], head, tail, s.max)
	switch {
	case err != nil:
	case done && s.long.size() > 0:
		s.tellLong(s.note())
		return n, false
	case !done && len(p)-n-headroom <= s.max:
		return n, true
	default:
		err = errHeldBack
	}
	at := s.long.raw.At + s.long.size()
	if s.long.size() > 0 {
		s.tellLong(parley.Note{Alone: true})
	}
	s.long = nil
	s.lose(at, err)
	return n, false
}

// size is how much of the message there was so far, with its framing.
func (l *longMessage) size() uint64 { return uint64(len(l.raw.Bytes)) + l.raw.Cut }

// add notes bytes of a message, of which the first head and the last tail are framing, and
// keeps them up to a body of max.
func (l *longMessage) add(p []byte, head, tail, max int) {
	body := len(p) - head - tail
	keep := 0
	if l.raw.Cut == 0 {
		keep = head + min(body, max-int(l.body))
		l.raw.Bytes = append(l.raw.Bytes, p[:keep]...)
		if l.body == 0 {
			l.raw.Body += head
		}
	}
	l.body += uint64(body)
	l.raw.Cut += uint64(len(p) - keep)
}

func (s *scanner) tellLong(note parley.Note) {
	l := s.long
	s.long = nil
	kept := min(l.body, uint64(s.max))
	s.hearer.tell(message{
		body: l.raw.Bytes[l.raw.Body : l.raw.Body+int(kept)],
		cut:  l.body - kept,
		raw:  l.raw,
		note: note,
	})
}
