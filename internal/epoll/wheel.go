package epoll

import (
	"math"
	"time"
)

// Never is the deadline of what has none, and the time at which nothing is due.
var Never = time.Time{}

// buckets is how many ticks one turn of a Wheel takes: 51 s with a tick of 100 ms.
const buckets = 512

// A Wheel keeps a deadline for each of many small numbers, at constant cost a tick
// however many there are: a hashed timing wheel (Varghese and Lauck, "Hashed and
// Hierarchical Timing Wheels", 1987, scheme 6). A deadline fires at the first tick
// that is not before it: never early, at most a tick late.
type Wheel struct {
	tick    time.Duration
	start   time.Time
	done    int64           // ticks that have been fired
	wake    int64           // no entry fires before this tick; never if there is none
	armed   int             // how many entries are
	first   [buckets]uint32 // each bucket's list of entries: the first one's number + 1, or 0
	entries Table[entry]
}

type entry struct {
	at         int64 // the tick at which it fires, 0 if it is not armed
	next, prev uint32
}

const never = math.MaxInt64

// NewWheel starts a wheel at the given time.
func NewWheel(start time.Time, tick time.Duration) *Wheel {
	return &Wheel{tick: tick, start: start, wake: never}
}

// Arm has id fire at the deadline, or earlier if it is armed for earlier: whoever
// moves a deadline into the future need not call, and is asked when the old one fires.
func (w *Wheel) Arm(id uint32, deadline time.Time) {
	w.entries.Grow(id)
	at := max(w.ticksUntil(deadline), w.done+1)
	if e := w.entries.At(id); e.at != 0 {
		if e.at <= at {
			return
		}
		w.unlink(id)
	}
	w.link(id, at)
	w.wake = min(w.wake, at)
}

// ticksUntil is rounded up, but for a deadline centuries away, whose ticks must not be more
// than a time can say.
func (w *Wheel) ticksUntil(deadline time.Time) int64 {
	wait := deadline.Sub(w.start)
	ticks := int64(wait / w.tick)
	if wait%w.tick > 0 && wait < math.MaxInt64-w.tick {
		ticks++
	}
	return ticks
}

// Disarm forgets the deadline of id, if it has one.
func (w *Wheel) Disarm(id uint32) {
	if id < w.entries.Len() && w.entries.At(id).at != 0 {
		w.unlink(id)
	}
}

// Next is when Advance has something to do: Never if nothing is armed.
func (w *Wheel) Next() time.Time {
	if w.armed == 0 {
		return Never
	}
	return w.start.Add(time.Duration(w.wake) * w.tick)
}

// Advance fires what is due at now. fire returns the deadline of id as it is by then,
// which may have moved into the future, or Never. It must not call Disarm for another.
func (w *Wheel) Advance(now time.Time, fire func(id uint32) time.Time) {
	last := int64(now.Sub(w.start) / w.tick)
	if last < w.wake {
		return
	}
	// After a long sleep one turn visits every bucket.
	from := max(w.wake, last-buckets+1)
	w.done = last
	for t := from; t <= last; t++ {
		w.turn(t, fire)
	}
	w.wake = w.earliest()
}

// turn fires the entries in the bucket of tick t that are due, and leaves those of
// later turns.
func (w *Wheel) turn(t int64, fire func(id uint32) time.Time) {
	bucket := &w.first[t%buckets]
	list := *bucket
	*bucket = 0
	for list != 0 {
		id := list - 1
		e := w.entries.At(id)
		list = e.next
		at := e.at
		e.at = 0
		w.armed--
		if at > w.done {
			w.link(id, at)
		} else if deadline := fire(id); deadline != Never {
			w.Arm(id, deadline)
		}
	}
}

// earliest is the next tick whose bucket is not empty.
func (w *Wheel) earliest() int64 {
	if w.armed == 0 {
		return never
	}
	t := w.done + 1
	for w.first[t%buckets] == 0 {
		t++
	}
	return t
}

func (w *Wheel) link(id uint32, at int64) {
	bucket := &w.first[at%buckets]
	if *bucket != 0 {
		w.entries.At(*bucket - 1).prev = id + 1
	}
	*w.entries.At(id) = entry{at: at, next: *bucket}
	*bucket = id + 1
	w.armed++
}

func (w *Wheel) unlink(id uint32) {
	e := w.entries.At(id)
	if e.next != 0 {
		w.entries.At(e.next - 1).prev = e.prev
	}
	if e.prev != 0 {
		w.entries.At(e.prev - 1).next = e.next
	} else {
		w.first[e.at%buckets] = e.next
	}
	e.at = 0
	w.armed--
}
