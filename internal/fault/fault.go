// Package fault has things go wrong on purpose, between a server or a tap and its peers: to see
// what becomes of programs that meet them. It is a layer over connections that finds the messages
// in what passes, by the framing, so that a fault is of a message, as no proxy of bytes can have
// it; what can be no message of the framing passes untouched.
//
// What befalls a message depends on the seed, the session's number, the direction and how many
// messages went before it there, and on nothing else: the same seed and traffic have the same
// faults, however the sessions are scheduled.
//
// Several faults of one message apply in this order. The message waits for its delay, from when it
// was written or read, and then for a stall to end. One that is dropped has no other fault, and
// does not wait. Of the others the bytes are replaced (garbage), or all behind some of them left
// out (cut); what is left goes out in pieces (split) at a pace (rate). Behind it the connection
// ends, if it is cut or was the last one (close-after, reset-after, which count dropped ones too).
package fault

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Plan is what is to go wrong. Parse makes one.
type Plan struct {
	Requests, Replies Side
	Refuse            Often         // connections that are reset before they are a session
	Stall, StallEvery time.Duration // both directions stand still for Stall, StallEvery after the session's beginning and each time that has passed again; never if zero
	Seed              uint64        // of all that is left to chance
}

// A Side is what befalls the messages of one direction; nothing if zero.
type Side struct {
	Delay, Jitter time.Duration // each waits for Delay, less or more by up to Jitter
	Drop          Often         // which are not passed on
	Cut           Often         // of which only a part is, before the connection is closed
	Garbage       Often         // some of whose bytes are replaced
	Split         int           // bytes of each write; all at once if zero
	Rate          int           // bytes a second; no limit if zero
	CloseAfter    uint64        // how many, the connection is closed in good order; never if zero
	ResetAfter    uint64        // the same, and it is reset
}

// Often says which of many: never if zero.
type Often struct {
	Each    uint64  // each so-manieth
	Percent float64 // so many of 100 by chance, if Each is zero
}

func (o Often) String() string {
	if o.Each > 0 {
		return strconv.FormatUint(o.Each, 10)
	}
	return strconv.FormatFloat(o.Percent, 'f', -1, 64) + "%"
}

// A direction is one of the two.
type direction uint64

const (
	requests direction = iota
	replies
)

func (d direction) String() string { return [...]string{"request", "reply"}[d] }

func (d direction) plural() string { return [...]string{"requests", "replies"}[d] }

// side is that of a direction.
func (p *Plan) side(d direction) *Side {
	if d == requests {
		return &p.Requests
	}
	return &p.Replies
}

// LongestHold is for how long a message may be held back, at most, before the first byte of it
// goes out.
func (p *Plan) LongestHold() time.Duration {
	longest := func(s *Side) time.Duration { return s.Delay + s.Jitter }
	return max(p.Stall, longest(&p.Requests), longest(&p.Replies))
}

// String is the plan as Parse takes it, its seed included.
func (p *Plan) String() string {
	var items []string
	add := func(format string, args ...any) { items = append(items, fmt.Sprintf(format, args...)) }
	for _, d := range []direction{requests, replies} {
		s := p.side(d)
		if s.Delay > 0 {
			add("%v.delay=%s", d, s.delay())
		}
		for _, o := range []struct {
			name  string
			often Often
		}{{"drop", s.Drop}, {"cut", s.Cut}, {"garbage", s.Garbage}} {
			if o.often != (Often{}) {
				add("%v.%s=%v", d, o.name, o.often)
			}
		}
		if s.Split > 0 {
			add("%v.split=%d", d, s.Split)
		}
		if s.Rate > 0 {
			add("%v.rate=%s", d, rateText(s.Rate))
		}
		if s.CloseAfter > 0 {
			add("%v.close-after=%d", d, s.CloseAfter)
		}
		if s.ResetAfter > 0 {
			add("%v.reset-after=%d", d, s.ResetAfter)
		}
	}
	if p.Refuse != (Often{}) {
		add("refuse=%v", p.Refuse)
	}
	if p.Stall > 0 {
		add("stall=%v/%v", p.Stall, p.StallEvery)
	}
	add("seed=%d", p.Seed)
	return strings.Join(items, ",")
}

func (s *Side) delay() string {
	if s.Jitter == 0 {
		return s.Delay.String()
	}
	return s.Delay.String() + "~" + s.Jitter.String()
}

// units are those of a rate, the largest first.
var units = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func rateText(rate int) string {
	for _, u := range units {
		if rate%u.bytes == 0 {
			return strconv.Itoa(rate/u.bytes) + u.name + "/s"
		}
	}
	return ""
}

// A kind of fault that is left to chance.
type kind uint64

const (
	delay kind = iota
	drop
	cut
	garbage
	refuse
)

// draw is a number out of 64 bits, always the same for the same message, or connection, and fault.
func (p *Plan) draw(session uint64, d direction, message uint64, of kind) uint64 {
	h := p.Seed
	for _, v := range [...]uint64{session, uint64(d), message, uint64(of)} {
		h = mix(h + v)
	}
	return h
}

// mix is a step of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, 2014).
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// among is a draw as one of n, from 0.
func among(draw, n uint64) uint64 { return draw % n }

// hits says whether a number is one of those, by its draw.
func (o Often) hits(number, draw uint64) bool {
	if o.Each > 0 {
		return number%o.Each == 0
	}
	return float64(draw>>11)/(1<<53)*100 < o.Percent
}

// A fate is what befalls one message.
type fate struct {
	delay               time.Duration
	drop, cut, garbage  bool
	closes, resets      bool   // behind it
	toGarble, toCutFrom uint64 // draws of what and where
}

// fate is that of a message, by its number in its direction, from 1.
func (p *Plan) fate(session uint64, d direction, message uint64) (f fate) {
	s := p.side(d)
	f.drop = s.Drop.hits(message, p.draw(session, d, message, drop))
	f.closes = message == s.CloseAfter
	f.resets = message == s.ResetAfter
	if f.drop {
		return f
	}
	f.delay = s.Delay
	if s.Jitter > 0 {
		f.delay += time.Duration(among(p.draw(session, d, message, delay), uint64(2*s.Jitter)+1)) - s.Jitter
	}
	f.toCutFrom, f.toGarble = p.draw(session, d, message, cut), p.draw(session, d, message, garbage)
	f.cut, f.garbage = s.Cut.hits(message, f.toCutFrom), s.Garbage.hits(message, f.toGarble)
	return f
}

// refuses says whether a connection is refused, by its number in the order of acceptance, from 1.
func (p *Plan) refuses(connection uint64) bool {
	return p.Refuse.hits(connection, p.draw(connection, 0, 0, refuse))
}

// shown is a delay as an event names it.
func shown(d time.Duration) time.Duration {
	return cmp.Or(d.Round(100*time.Microsecond), d)
}
