package web

import (
	"slices"
	"time"
)

// The charts reach back to the start: the last minutes by the second, the last hour by ten seconds,
// all of it by the minute, or by more once that is too many. A slot is 72 bytes and its times, of
// which there are a hundred or so cells of 8 bytes in a busy one and buckets at the very most: with
// every cell in every slot the three are 6.7 MB, and less than one is usual.
const (
	fineSlots, fineWidth     = 300, 1
	middleSlots, middleWidth = 360, 10
	coarseSlots, coarseWidth = 720, 60 // then 120, 240 …

	fineSpan   = fineSlots * fineWidth // seconds
	middleSpan = middleSlots * middleWidth
)

// A slot is what came in some seconds.
type slot struct {
	at, last int64 // when it begins and the last second that is in it; s since 1970
	seconds  int   // how many are in it
	requests uint64
	replies  uint64
	open     int // the most sessions that there were at the end of a second
	times    cells
}

// merged is a slot and the one after it in one, as exact as the two.
func (a slot) merged(b slot) slot {
	return slot{a.at, b.last, a.seconds + b.seconds, a.requests + b.requests, a.replies + b.replies, max(a.open, b.open), a.times.merged(b.times)}
}

// A ring keeps the last slots of one width.
type ring struct {
	width   int64 // seconds that a slot is for
	most    int   // slots
	whole   bool  // it keeps all: once it is full its slots become twice as wide
	slots   []slot
	dropped bool // slots that were before
}

// add puts a second behind the others.
func (r *ring) add(second slot) {
	second.at -= second.at % r.width
	n := len(r.slots)
	switch {
	case n > 0 && r.slots[n-1].at == second.at:
		r.slots[n-1] = r.slots[n-1].merged(second)
	case n < r.most:
		r.slots = append(r.slots, second)
	case r.whole:
		r.widen()
		r.add(second)
	default:
		r.dropped = true
		r.slots = append(r.slots[:0], r.slots[1:]...)
		r.slots = append(r.slots, second)
	}
}

// widen makes slots twice as wide. There are fewer then unless each was alone in its time, and
// after some rounds there are.
func (r *ring) widen() {
	r.width *= 2
	all := r.slots
	r.slots = r.slots[:0]
	for _, s := range all {
		s.at -= s.at % r.width
		if n := len(r.slots); n > 0 && r.slots[n-1].at == s.at {
			r.slots[n-1] = r.slots[n-1].merged(s)
		} else {
			r.slots = append(r.slots, s)
		}
	}
	clear(all[len(r.slots):])
}

// after returns the slots in which something was added after a second.
func (r *ring) after(second int64) []slot {
	i := len(r.slots)
	for i > 0 && r.slots[i-1].last > second {
		i--
	}
	return slices.Clone(r.slots[i:])
}

// A timeline is what the charts show: the same seconds in slots of three widths.
type timeline struct {
	fine, middle, coarse ring
	last                 int64 // second that was added; 0 if none was
	recent               recent
}

func newTimeline() timeline {
	return timeline{
		fine:   ring{width: fineWidth, most: fineSlots},
		middle: ring{width: middleWidth, most: middleSlots},
		coarse: ring{width: coarseWidth, most: coarseSlots, whole: true},
	}
}

// add puts a second behind the others; a clock that was set back does not make it an earlier one.
func (t *timeline) add(second slot) {
	second.at = max(second.at, t.last+1)
	second.last, t.last = second.at, second.at
	second.seconds = max(1, second.seconds)
	for _, r := range []*ring{&t.fine, &t.middle, &t.coarse} {
		r.add(second)
	}
	t.recent.add(t.fine.slots)
}

// reaching returns the ring of the narrowest slots that has the last span seconds, or all that
// there is of them; of all there is if span is 0.
func (t *timeline) reaching(span int64) *ring {
	switch {
	case !t.fine.dropped || span > 0 && span <= fineSpan:
		return &t.fine
	case !t.middle.dropped || span > 0 && span <= middleSpan:
		return &t.middle
	}
	return &t.coarse
}

const recentSeconds = 10

// Recent figures are of the last seconds.
type recent struct {
	At       int64         `json:"at"`       // the last second; s since 1970
	Seconds  int           `json:"seconds"`  // how many there are
	Requests uint64        `json:"requests"` // in them
	Replies  uint64        `json:"replies"`
	Answered int64         `json:"answered"` // the last second with a reply; 0 if there was none
	P50      time.Duration `json:"p50"`      // ns, of the replies in the seconds up to that one
	P99      time.Duration `json:"p99"`
}

func (f *recent) add(slots []slot) {
	slots = slots[max(0, len(slots)-recentSeconds):]
	sum := slots[0]
	for _, s := range slots[1:] {
		sum = sum.merged(s)
	}
	f.At, f.Seconds, f.Requests, f.Replies = sum.last, sum.seconds, sum.requests, sum.replies
	if f.Replies == 0 {
		return
	}
	f.P50, f.P99, _ = sum.times.quantiles()
	if slots[len(slots)-1].replies > 0 {
		f.Answered = f.At
	}
}

// A point of the charts is a slot as it is told.
type point struct {
	At       int64         `json:"at"`      // s since 1970, when it begins
	Seconds  int           `json:"seconds"` // that it has; fewer than it is for where it has not ended yet
	Requests uint64        `json:"requests"`
	Replies  uint64        `json:"replies"`
	Open     int           `json:"open"` // the most sessions that were open at the end of a second
	P50      time.Duration `json:"p50"`  // ns; 0 if there was no reply, like the other two
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	Times    []uint64      `json:"times,omitempty"` // of a coarser histogram: row, how many replies, row, how many …
}

// rowBits tell how coarse: of the buckets for each doubling there are two rows.
const rowBits = 3

func pointsOf(slots []slot) []point {
	points := make([]point, len(slots))
	for i, s := range slots {
		points[i] = point{At: s.at, Seconds: s.seconds, Requests: s.requests, Replies: s.replies, Open: s.open, Times: s.times.rows()}
		points[i].P50, points[i].P99, points[i].Max = s.times.quantiles()
	}
	return points
}
