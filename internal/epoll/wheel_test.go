package epoll

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const tick = 100 * time.Millisecond

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func after(d time.Duration) time.Time { return start.Add(d) }

// fired advances the wheel and returns who was fired; none is armed again.
func fired(w *Wheel, now time.Duration) (ids []uint32) {
	w.Advance(after(now), func(id uint32) time.Time {
		ids = append(ids, id)
		return Never
	})
	return ids
}

func TestNeverEarlyAndAtMostATickLate(t *testing.T) {
	for _, deadline := range []time.Duration{1, tick - 1, tick, tick + 1, buckets*tick - 1, buckets * tick,
		buckets*tick + 1, 5 * time.Minute, 24 * time.Hour} {
		w := NewWheel(start, tick)
		w.Arm(3, after(deadline))
		due := (deadline + tick - 1) / tick * tick
		if next := w.Next().Sub(start); next > due {
			t.Errorf("%v: Next is in %v, want at most %v", deadline, next, due)
		}
		for now := time.Duration(0); now < due; now += tick {
			if ids := fired(w, now); len(ids) > 0 {
				t.Fatalf("%v: fired at %v", deadline, now)
			}
		}
		if ids := fired(w, deadline-1); len(ids) > 0 {
			t.Errorf("%v: fired early", deadline)
		}
		if ids := fired(w, due); len(ids) != 1 || ids[0] != 3 {
			t.Errorf("%v: at %v fired %v, want 3", deadline, due, ids)
		}
		if w.Next() != Never {
			t.Errorf("%v: an empty wheel has something at %v", deadline, w.Next())
		}
	}
}

// An armed entry moves only to an earlier time; who has moved into the future says so
// when it is asked.
func TestLazyReArming(t *testing.T) {
	w := NewWheel(start, tick)
	w.Arm(0, after(time.Second))
	w.Arm(0, after(time.Minute))
	asked := 0
	w.Advance(after(time.Second), func(uint32) time.Time { asked++; return after(time.Minute) })
	if asked != 1 {
		t.Errorf("asked %d times at the first deadline, want once", asked)
	}
	w.Arm(0, after(30*time.Second))
	if ids := fired(w, 30*time.Second); len(ids) != 1 {
		t.Errorf("an earlier deadline fired %v, want one", ids)
	}
	if ids := fired(w, time.Hour); len(ids) != 0 {
		t.Errorf("the later one was still there: %v", ids)
	}
	w.Arm(0, after(0)) // has passed
	if ids := fired(w, time.Hour+tick); len(ids) != 1 {
		t.Errorf("a deadline in the past fired %v, want one at the next tick", ids)
	}
	w.Disarm(0)
	w.Disarm(99)
}

// Many entries, armed, moved and disarmed at random, over sleeps short and long, against
// a plain table.
func TestAgainstATable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	w := NewWheel(start, tick)
	due := make(map[uint32]time.Duration) // deadline by number
	now := time.Duration(0)
	for range 20000 {
		id := uint32(random.IntN(300))
		switch random.IntN(4) {
		case 0:
			w.Disarm(id)
			delete(due, id)
		case 1:
			step := time.Duration(random.Int64N(int64(3 * tick)))
			if random.IntN(50) == 0 {
				step = time.Duration(random.Int64N(int64(3 * buckets * tick)))
			}
			now += step
			want := 0
			for _, at := range due {
				if (at+tick-1)/tick <= now/tick {
					want++
				}
			}
			for _, id := range fired(w, now) {
				if at, armed := due[id]; !armed || at > now {
					t.Fatalf("at %v fired %d, which was due at %v, armed %v", now, id, at, armed)
				}
				delete(due, id)
				want--
			}
			if want != 0 {
				t.Fatalf("at %v %d that were due did not fire", now, want)
			}
		default:
			at := now + time.Duration(random.Int64N(int64(2*buckets*tick)))
			w.Arm(id, after(at))
			if old, armed := due[id]; !armed || (at+tick-1)/tick < (old+tick-1)/tick {
				due[id] = max(at, now/tick*tick+1)
			}
		}
	}
	if w.armed != len(due) {
		t.Errorf("%d are armed, want %d", w.armed, len(due))
	}
}

func BenchmarkWheel(b *testing.B) {
	w := NewWheel(start, tick)
	now := time.Duration(0)
	for id := range uint32(10000) {
		w.Arm(id, after(time.Duration(id)*time.Millisecond*30))
	}
	for b.Loop() {
		now += tick
		w.Advance(after(now), func(uint32) time.Time { return after(now + 5*time.Minute) })
	}
}

// A deadline as far away as a time can say does not come early, and keeps no other from
// coming.
func TestDeadlinesCenturiesAway(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, tick := range []time.Duration{1, time.Millisecond, tick} {
		for _, deadline := range []time.Time{after(longest), after(longest - 1), after(longest - tick), after(longest).Add(longest)} {
			w := NewWheel(start, tick)
			w.Arm(0, deadline)
			if next := w.Next().Sub(start); next < longest-2*tick {
				t.Errorf("ticks of %v: Next is in %v, want centuries", tick, next)
			}
			w.Arm(1, after(2*tick))
			if ids := fired(w, 100*tick); len(ids) != 1 || ids[0] != 1 {
				t.Errorf("ticks of %v: fired %v, want 1 alone", tick, ids)
			}
			if ids := fired(w, time.Hour); tick > 1 && len(ids) > 0 {
				t.Errorf("ticks of %v: fired %v after an hour", tick, ids)
			}
		}
	}
}
