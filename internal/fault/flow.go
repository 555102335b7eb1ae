package fault

import (
	"bytes"
	"fmt"
	"time"
)

// A flow is one direction of a session: it makes of the bytes that come what is to be done.
type flow struct {
	link    *link
	of      direction
	scanner scanner
	number  uint64 // of the message that passes, or the last one
	now     *fate  // of the message that passes; nil between two
}

// A step is what becomes of some bytes: they wait, they pass, they are left out, or the connection
// ends in their place.
type step struct {
	at      time.Time // not before
	p       []byte    // passes
	taken   int       // how many bytes it stands for
	split   int       // bytes of each write; 0 is all
	rate    int       // bytes a second; 0 is as many as there are
	faults  []string  // that begin with it
	message message   // that they befall
	end     *Ended
}

// A message is one as a Faulted event has it.
type message struct {
	seq    uint64
	body   []byte
	secret bool
}

// feed takes bytes that came at a time. They are the flow's own from now on.
func (f *flow) feed(p []byte, came time.Time) (steps []step) {
	for _, part := range f.scanner.feed(p) {
		if part.isNone {
			if f.now != nil { // what had seemed to begin a message was none
				f.number--
			}
			f.now = nil
			steps = append(steps, step{p: part.p, taken: len(part.p)})
			continue
		}
		begins := f.now == nil
		if begins {
			f.number++
			fate := f.link.plan.fate(f.link.session.Number(), f.of, f.number)
			f.now = &fate
		}
		m := f.message(&part)
		s := f.step(&part, begins, came)
		s.message = m
		steps = append(steps, s)
		switch {
		case s.end != nil:
			return steps
		case !part.ends:
			continue
		}
		f.link.ended(f.of, !part.note.Alone, f.now.drop)
		if end := f.endBehind(); end != nil {
			return append(steps, step{faults: []string{end.fault}, message: m, end: end})
		}
		f.now = nil
	}
	return steps
}

// message is the one that a part is of, as far as it is there.
func (f *flow) message(p *part) message {
	m := message{body: p.p, secret: p.note.Secret}
	if p.ends && p.whole != nil {
		m.body = bytes.Clone(p.body)
	}
	if !(p.ends && p.note.Alone) || f.of == requests {
		m.seq = f.link.seq(f.of, f.now.drop)
	}
	return m
}

// step is what becomes of a part of a message, but for the end behind it.
func (f *flow) step(p *part, begins bool, came time.Time) (s step) {
	side := f.link.plan.side(f.of)
	s = step{p: p.p, taken: len(p.p), split: side.Split, rate: side.Rate}
	add := func(format string, args ...any) {
		s.faults = append(s.faults, f.of.String()+"."+fmt.Sprintf(format, args...))
	}
	if f.now.drop {
		s.p = nil
		if begins {
			add("drop")
		}
		return s
	}
	if f.now.delay > 0 {
		s.at = came.Add(f.now.delay)
		if begins {
			add("delay=%v", shown(f.now.delay))
		}
	}
	if f.now.garbage && p.ends {
		if n := f.garble(p); n > 0 {
			add("garbage=%d", n)
		}
	}
	if f.now.cut && begins {
		left := 0
		if len(s.p) > 1 {
			left = 1 + int(among(f.now.toCutFrom>>8, uint64(len(s.p)-1)))
		}
		add("cut=%d", left)
		s.p, s.taken = s.p[:left], left
		s.end = &Ended{fmt.Sprintf("%v %d cut after %s on purpose", f.of, f.number, bytesOf(left)), s.faults[len(s.faults)-1], false}
	}
	if begins && side.Split > 0 {
		add("split=%d", side.Split)
	}
	if begins && side.Rate > 0 {
		add("rate=%s", rateText(side.Rate))
	}
	return s
}

// garble replaces some bytes of the body of a message that ends with a part, as far as they are in
// it: by ones that are no text, and no part of a framing that is one of text.
func (f *flow) garble(p *part) (n int) {
	body := p.p
	if p.whole != nil {
		head := min(cap(p.whole)-cap(p.body), len(p.whole)-len(p.body))
		tail := len(p.whole) - head - len(p.body)
		from := max(0, len(p.p)-len(p.whole)+head)
		body = p.p[min(from, len(p.p)):max(from, len(p.p)-tail)]
	}
	const oneOf = 8 // is replaced
	draw := f.now.toGarble
	for i := range body {
		draw = mix(draw)
		if draw%oneOf == 0 || n == 0 && i == len(body)-1 {
			was := body[i]
			if body[i] = 0x80 | byte(draw>>56); body[i] == was {
				body[i] ^= 1
			}
			n++
		}
	}
	return n
}

// endBehind is the end of the connection if it comes behind the message that has ended.
func (f *flow) endBehind() *Ended {
	side := f.link.plan.side(f.of)
	count := fmt.Sprintf("%d %s", f.number, f.of.plural())
	if f.number == 1 {
		count = "1 " + f.of.String()
	}
	switch {
	case f.now.closes:
		return &Ended{"closed after " + count + " on purpose", fmt.Sprintf("%v.close-after=%d", f.of, side.CloseAfter), false}
	case f.now.resets:
		return &Ended{"reset after " + count + " on purpose", fmt.Sprintf("%v.reset-after=%d", f.of, side.ResetAfter), true}
	}
	return nil
}

func bytesOf(n int) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
