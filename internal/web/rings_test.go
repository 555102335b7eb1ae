package web

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// secondsOf are n seconds from a time on with all that was in them, made up, and their exact sum.
func secondsOf(n int, at int64) (seconds []slot, sum slot) {
	random := rand.New(rand.NewPCG(1, 2))
	var all histogram
	for i := range n {
		var h histogram
		replies := random.Uint64N(50)
		for range replies {
			bucket := bucketOf(time.Duration(random.Uint64N(1 << random.UintN(45))))
			h[bucket]++
			all[bucket]++
		}
		s := slot{at: at + int64(i), requests: replies + random.Uint64N(3), replies: replies, open: random.IntN(9), times: h.cells()}
		seconds = append(seconds, s)
		sum = slot{seconds: i + 1, requests: sum.requests + s.requests, replies: sum.replies + s.replies, open: max(sum.open, s.open)}
	}
	sum.times = all.cells()
	return seconds, sum
}

func sumOf(slots []slot) (sum slot) {
	for _, s := range slots {
		sum = sum.merged(s)
	}
	sum.at, sum.last = 0, 0
	return sum
}

// However coarse the slots are, they have all that was in the seconds, to the last reply and the
// bucket of its time.
func TestSlotsAreAsExactAsTheirSeconds(t *testing.T) {
	const begin = 1_700_000_007 // in the middle of ten seconds and of a minute
	for _, n := range []int{1, 2, fineSlots - 1, fineSlots, fineSlots + 1, middleSpan - 8, middleSpan - 7, middleSpan - 6, middleSpan + 5, 3 * middleSpan} {
		seconds, sum := secondsOf(n, begin)
		line := newTimeline()
		for _, s := range seconds {
			line.add(s)
		}
		for name, r := range map[string]*ring{"fine": &line.fine, "middle": &line.middle, "coarse": &line.coarse} {
			want := sum
			if r.dropped {
				_, want = secondsOf(0, 0)
				for _, s := range seconds[int(r.slots[0].at-begin):] {
					s.seconds = 1
					want = want.merged(s)
				}
				want.at, want.last = 0, 0
			}
			if got := sumOf(r.slots); !reflect.DeepEqual(got, want) {
				t.Errorf("%d seconds: the %s slots have %d seconds, %d requests, %d replies; want %d, %d, %d, or their times differ",
					n, name, got.seconds, got.requests, got.replies, want.seconds, want.requests, want.replies)
			}
			if last := r.slots[len(r.slots)-1].last; last != begin+int64(n)-1 {
				t.Errorf("%d seconds: the %s slots end at %d, want %d", n, name, last, begin+int64(n)-1)
			}
		}
		if line.coarse.dropped || line.coarse.slots[0].at > begin {
			t.Errorf("%d seconds: the coarse slots do not begin at the start", n)
		}
	}
}

// A second that nothing was in takes no memory for times, and the rings do not grow.
func TestRingsAreBounded(t *testing.T) {
	line, added := newTimeline(), 0
	for _, c := range []struct{ seconds, fine, middle, coarse, width int }{
		{fineSlots - 1, fineSlots - 1, 30, 5, coarseWidth},
		{fineSlots, fineSlots, 30, 5, coarseWidth},
		{fineSlots + 1, fineSlots, 31, 6, coarseWidth},
		{middleSpan, fineSlots, middleSlots, 60, coarseWidth},
		{middleSpan + 1, fineSlots, middleSlots, 61, coarseWidth},
		{coarseSlots*coarseWidth - 1, fineSlots, middleSlots, coarseSlots, coarseWidth},
		{coarseSlots * coarseWidth, fineSlots, middleSlots, coarseSlots, coarseWidth},
		{coarseSlots*coarseWidth + 1, fineSlots, middleSlots, coarseSlots/2 + 1, 2 * coarseWidth},
		{4*coarseSlots*coarseWidth + 1, fineSlots, middleSlots, coarseSlots/2 + 1, 8 * coarseWidth},
	} {
		for ; added < c.seconds; added++ {
			line.add(slot{at: 1<<20*coarseWidth + int64(added), open: 1})
		}
		if f, m, o, w := len(line.fine.slots), len(line.middle.slots), len(line.coarse.slots), int(line.coarse.width); f != c.fine || m != c.middle || o != c.coarse || w != c.width {
			t.Errorf("after %d seconds there are %d, %d and %d slots, these of %d s; want %d, %d, %d of %d s", c.seconds, f, m, o, w, c.fine, c.middle, c.coarse, c.width)
		}
		if s := sumOf(line.coarse.slots); s.seconds != c.seconds || s.times != nil || s.open != 1 {
			t.Errorf("after %d seconds the slots have %d, times %v", c.seconds, s.seconds, s.times)
		}
	}
	var full histogram
	for i := range full {
		full[i] = 1
	}
	const slots, bytes = fineSlots + middleSlots + coarseSlots, 6_700_000
	if most := slots * (int(reflect.TypeFor[slot]().Size()) + len(full.cells())*int(reflect.TypeFor[cell]().Size())); most > bytes {
		t.Errorf("%d slots take %d bytes, more than is said", slots, most)
	}
}

// A clock that jumps leaves no two slots of one time, and none before another.
func TestTimeGoesForward(t *testing.T) {
	line := newTimeline()
	for _, at := range []int64{100, 101, 101, 50, 100, 104, 200} {
		line.add(slot{at: at, requests: 1})
	}
	var got []int64
	for _, s := range line.fine.slots {
		got = append(got, s.at)
	}
	if want := []int64{100, 101, 102, 103, 104, 105, 200}; !reflect.DeepEqual(got, want) {
		t.Errorf("the seconds are %v, want %v", got, want)
	}
	if n := sumOf(line.coarse.slots).requests; n != 7 {
		t.Errorf("%d requests are in the coarse slots, want 7", n)
	}
}

// Slots that are each alone in their time are put together until there is room again.
func TestFarApartSlotsFindRoom(t *testing.T) {
	r := ring{width: 60, most: 4, whole: true}
	for n := range int64(9) {
		r.add(slot{at: n * 1000, last: n * 1000, seconds: 1, requests: 1})
	}
	if len(r.slots) > r.most || sumOf(r.slots).requests != 9 || r.dropped {
		t.Errorf("%d slots of %d s with %d requests, want 4 at most with 9", len(r.slots), r.width, sumOf(r.slots).requests)
	}
}

func TestTheNarrowestSlotsThatReachAreTold(t *testing.T) {
	for _, c := range []struct {
		seconds int
		span    int64
		want    int64
	}{
		{10, 60, 1}, {10, 3600, 1}, {10, 0, 1}, {fineSlots, 0, 1}, {fineSlots + 1, 0, 10}, {fineSlots + 1, fineSpan, 1}, {fineSlots + 1, fineSpan + 1, 10},
		{middleSpan + 10, middleSpan, 10}, {middleSpan + 11, middleSpan + 1, 60}, {middleSpan + 11, 0, 60}, {middleSpan + 11, 1, 1},
	} {
		line := newTimeline()
		for at := range c.seconds {
			line.add(slot{at: int64(600 + at)})
		}
		if got := line.reaching(c.span).width; got != c.want {
			t.Errorf("after %d seconds the last %d are told by %d s, want %d", c.seconds, c.span, got, c.want)
		}
	}
}

// A browser that asks for another span is told its points anew, and then what is added; a point
// that has grown comes again.
func TestABrowserIsToldTheSpanItAsksFor(t *testing.T) {
	p := New(Options{})
	at := time.Unix(6000, 0)
	pass := func(seconds int) {
		for range seconds {
			p.tick(at, true)
			at = at.Add(time.Second)
		}
	}
	next := ""
	askFor := func(span, want string) {
		t.Helper()
		s := decode[snapshot](t, ask(p, "GET", "/state?after="+next+"&span="+span, nil).Body.String())
		next = s.Cursor
		got := fmt.Sprintf("%d of %d s, replot %v", len(s.Points), s.Every, s.Replot)
		if n := len(s.Points); n > 0 {
			got += fmt.Sprintf(", from %d, the last has %d s", s.Points[0].At, s.Points[n-1].Seconds)
		}
		if got != want {
			t.Errorf("span %s: %s, want %s", span, got, want)
		}
	}
	pass(5)
	askFor("0", "5 of 1 s, replot true, from 6000, the last has 1 s")
	askFor("0", "0 of 1 s, replot false")
	pass(300)
	askFor("0", "31 of 10 s, replot true, from 6000, the last has 5 s")
	pass(1)
	askFor("0", "1 of 10 s, replot false, from 6300, the last has 6 s")
	askFor("0", "0 of 10 s, replot false")
	pass(9)
	askFor("3600", "2 of 10 s, replot false, from 6300, the last has 5 s")
	askFor("60", "300 of 1 s, replot true, from 6015, the last has 1 s")
	pass(1)
	askFor("", "1 of 1 s, replot false, from 6315, the last has 1 s")
	for _, bad := range []string{"x", "-1", "1.5", "99999999999999999999"} {
		if w := ask(p, "GET", "/state?span="+bad, nil); w.Code != 400 || !strings.Contains(w.Body.String(), "use seconds") {
			t.Errorf("span %s = %d %q", bad, w.Code, w.Body)
		}
	}
}

// Figures are of the last ten seconds; the times of the last replies stay, with when they were.
func TestRecentFiguresAreOfTenSeconds(t *testing.T) {
	line := newTimeline()
	add := func(at int64, requests uint64, took time.Duration) recent {
		s := slot{at: at, requests: requests, replies: requests}
		if requests > 0 {
			var h histogram
			h[bucketOf(took)] = uint32(requests)
			s.times = h.cells()
		}
		line.add(s)
		return line.recent
	}
	if got, want := add(100, 3, 10), (recent{At: 100, Seconds: 1, Requests: 3, Replies: 3, Answered: 100, P50: 10, P99: 10}); got != want {
		t.Errorf("after a second they are %+v, want %+v", got, want)
	}
	var got recent
	for at := int64(101); at <= 109; at++ {
		got = add(at, 1, 20)
	}
	if want := (recent{At: 109, Seconds: 10, Requests: 12, Replies: 12, Answered: 109, P50: 20, P99: 20}); got != want {
		t.Errorf("after ten they are %+v, want %+v", got, want)
	}
	if got = add(110, 0, 0); got.Requests != 9 || got.Seconds != 10 || got.Answered != 109 {
		t.Errorf("after eleven they are %+v", got)
	}
	for at := int64(111); at < 400; at++ {
		got = add(at, 0, 0)
	}
	if want := (recent{At: 399, Seconds: 10, Answered: 109, P50: 20, P99: 20}); got != want {
		t.Errorf("long after they are %+v, want %+v", got, want)
	}
}

// What a browser is sent does not grow with the load: a point has so many rows at most.
func TestAPointIsOfBoundedSize(t *testing.T) {
	var full histogram
	for i := range full {
		full[i] = 1 << 31
	}
	line := newTimeline()
	line.add(slot{at: 1_700_000_000, requests: 1 << 62, replies: 1 << 62, open: 1 << 30, times: full.cells()})
	p := pointsOf(line.fine.slots)[0]
	if rows := len(p.Times) / 2; rows != buckets>>rowBits {
		t.Errorf("a point has %d rows, want %d", rows, buckets>>rowBits)
	}
	var n uint64
	for i := 1; i < len(p.Times); i += 2 {
		n += p.Times[i]
	}
	if n != buckets<<31 {
		t.Errorf("its rows have %d replies, want %d", n, uint64(buckets)<<31)
	}
	if text, err := json.Marshal(p); err != nil || len(text) > 1500 {
		t.Errorf("it is %d bytes, %v", len(text), err)
	}
}

// Seconds that end late are told as so many, so that a rate is no higher than it was; a machine that slept, and a clock that
// was set, make no more than one.
func TestSecondsThatEndLate(t *testing.T) {
	p := New(Options{})
	at := time.Unix(1_700_000_000, 990_000_000)
	p.tick(at, true)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{time.Second, 1}, {1010 * time.Millisecond, 1}, {3 * time.Second, 3}, {time.Second, 1}, {time.Hour, 1}, {-time.Hour, 1}} {
		at = at.Add(c.after)
		p.state.totals.Requests += 300
		p.tick(at, true)
		points := p.snapshot(cursor{}, fineSpan).Points
		if got := points[len(points)-1]; got.Seconds != c.want || got.Requests != 300 {
			t.Errorf("after %v: %d requests in %d seconds, want 300 in %d", c.after, got.Requests, got.Seconds, c.want)
		}
	}
}
