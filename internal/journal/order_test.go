package journal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A request that nobody answers is recorded at once, before earlier ones that wait for their
// replies. It is told in its place, and is no sign of a clock that was set back.
func TestRequestsAreToldInTheirOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	request := func(seq uint64, ms int, place uint64, reply []byte) parley.Exchange {
		return parley.Exchange{Seq: seq, Received: at(ms), Took: time.Microsecond, Request: []byte("x"), Reply: reply,
			RawRequest: parley.Raw{Bytes: []byte("x\n"), At: place}}
	}
	w.Pass(s, []parley.Exchange{request(2, 2, 2, nil), request(3, 2, 4, nil), request(1, 1, 0, []byte("y")), request(4, 2, 6, []byte("y"))})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(9), Seq: 4, Replied: 4})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := briefs(t, r, Filter{}), "+1 1.1? 1.1! 1.2? 1.3? 1.4? 1.4! -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// What is told of a session begins with its opening and has its replies in their order, also where the clock was set back
// by less than a reply took, or before something that has no request.
func TestOrderOfAClockThatIsSetBack(t *testing.T) {
	for _, c := range []struct {
		name      string
		exchanges []Exchange
		want      string
	}{
		{"by less than a reply takes", []Exchange{
			said(1, 1, 1, at(1), 8*time.Millisecond, []byte("a"), []byte("A")),
			said(2, 1, 2, at(3), 4*time.Millisecond, []byte("b"), []byte("B")), // at 5, by the clock of a
		}, "+1 1.1? 1.2? 1.1! 1.2! -1"},
		{"before what nobody asked for", []Exchange{
			said(1, 1, 0, at(-5000), 0, nil, []byte("hello")),
			said(2, 1, 1, at(-4000), time.Millisecond, []byte("a"), []byte("A")),
			said(3, 1, 0, at(-9000), 0, nil, []byte("bye")),
		}, "+1 1.0! 1.1? 1.1! 1.0! -1"},
	} {
		w := newWritten(t, filepath.Join(t.TempDir(), "j"))
		w.session(Session{ID: 1, Number: 1, Opened: at(0), Closed: at(-8000), Reason: "eof", Requests: 2, RepliedUpTo: 2})
		for _, x := range c.exchanges {
			w.exchange(x)
		}
		if got := briefs(t, w.open(), Filter{}); got != c.want {
			t.Errorf("%s: told %s, want %s", c.name, got, c.want)
		}
	}
}

func TestAFaultIsNotToldBeforeItsSession(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: at(-5000), Fault: "stall"})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(-4000), Reason: parley.Fault})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := briefs(t, r, Filter{}), "+1 fault -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A whole journal is told as if it were put in order at once, however few of its exchanges are: as long as what is recorded
// later than what came behind it is not so by more than that.
func TestAWholeJournalIsToldInSlices(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		w := newWritten(t, filepath.Join(t.TempDir(), "j"))
		sessions := 1 + r.IntN(20)
		step := []int{0, 0, -3_600_000, 3_600_000}[r.IntN(4)] // of the clock, in the middle
		total := r.IntN(300)
		latest := make([]int, sessions+1)
		seqs := make([]uint64, sessions+1)
		now := 1
		for id := 1; id <= total; id++ {
			now += r.IntN(3)
			if id == total/2 {
				now += step
			}
			session := 1 + r.IntN(sessions)
			seqs[session]++
			latest[session] = id
			took := r.IntN(5)
			w.exchange(said(int64(id), int64(session), seqs[session], at(now-took), time.Duration(took)*time.Millisecond, []byte("a"), []byte("b")))
		}
		for id := 1; id <= sessions; id++ {
			s := Session{ID: int64(id), Number: uint64(id), Opened: at(id % 3)}
			if r.IntN(4) > 0 {
				s.Closed, s.Reason, s.Requests, s.RepliedUpTo = at(now+r.IntN(9)), "eof", seqs[id], seqs[id]
			}
			w.session(s)
			if !s.Closed.IsZero() {
				w.exec("UPDATE sessions SET last = ? WHERE id = ?", latest[id], id)
			}
		}
		reader := w.open()
		at := newPosition()
		moments, err := reader.moments(t.Context(), &Filter{}, at)
		if err != nil {
			t.Fatal(err)
		}
		atOnce := make([]string, len(moments))
		for i, m := range moments {
			atOnce[i] = fmt.Sprint(m)
		}
		for _, reader.slice = range []int{max(1, total), 20, 50, total + 1} {
			var inSlices []string
			place := newPosition()
			telling, err := reader.newTelling(t.Context(), &Filter{}, place)
			for more := true; more && err == nil; {
				var some []moment
				some, more, err = telling.read(t.Context())
				for _, m := range some {
					inSlices = append(inSlices, fmt.Sprint(m))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if step == 0 && !slices.Equal(inSlices, atOnce) {
				t.Fatalf("in slices of %d:\n%v, and at once\n%v", reader.slice, inSlices, atOnce)
			}
			if slices.Sort(inSlices); !slices.Equal(inSlices, slices.Sorted(slices.Values(atOnce))) {
				t.Fatalf("in slices of %d, with the clock set by %d, others: %v, and at once %v", reader.slice, step, inSlices, atOnce)
			}
			if !reflect.DeepEqual(place, at) {
				t.Errorf("behind slices of %d it is at %+v, want %+v", reader.slice, place, at)
			}
		}
		for _, reader.slice = range []int{1, 2, 7} {
			isInOrder(t, collect(t, reader.Events(t.Context(), Filter{})))
		}
	}
}

// isInOrder looks whether each session is told from its opening to its end, its requests and its replies in their order.
func isInOrder(t *testing.T, events []Event) {
	t.Helper()
	type place struct {
		requests, replies uint64
		over              bool
	}
	places := make(map[int64]*place)
	for _, e := range events {
		p := places[e.Session.ID]
		isLate := p == nil && e.Kind != parley.Opened || p != nil && p.over
		if p == nil {
			p = new(place)
			places[e.Session.ID] = p
		}
		switch e.Kind {
		case parley.Received:
			isLate, p.requests = isLate || e.Exchange.Seq != p.requests+1, e.Exchange.Seq
		case parley.Replied:
			isLate, p.replies = isLate || e.Exchange.Seq != p.replies+1 || e.Exchange.Seq > p.requests, e.Exchange.Seq
		case parley.Closed:
			p.over = true
		}
		if isLate {
			t.Fatalf("out of its order: %s", brief(e))
		}
	}
}
