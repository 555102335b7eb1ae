package journal

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A whole journal is told as if it were put in order at once, however few of its exchanges are: as long as what is recorded
// later than what came behind it is not so by more than that.
func TestAWholeJournalIsToldInSlices(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		w := newWritten(t, filepath.Join(t.TempDir(), "j"))
		sessions := 1 + r.IntN(20)
		step := []int{0, 0, -3_600_000, 3_600_000}[r.IntN(4)] // of the clock, in the middle
		total := int64(r.IntN(300))
		latest := make([]int64, sessions+1)
		seqs := make([]uint64, sessions+1)
		now := 1
		for id := int64(1); id <= total; id++ {
			now += r.IntN(3)
			if id == total/2 {
				now += step
			}
			session := 1 + r.IntN(sessions)
			seqs[session]++
			latest[session] = id
			took := r.IntN(5)
			w.exchange(said(id, int64(session), seqs[session], at(now-took), time.Duration(took)*time.Millisecond, []byte("a"), []byte("b")))
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
		for _, reader.slice = range []int64{max(1, total), 20, 50, total + 1} {
			var inSlices []string
			place := newPosition()
			telling, err := reader.newTelling(t.Context(), &Filter{}, place)
			for err == nil && !telling.read {
				var some []moment
				some, err = telling.some(t.Context())
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
		for _, reader.slice = range []int64{1, 2, 7} {
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

// What was recorded before it is known which exchange is a session's last is put in order at once.
func TestSessionsThatDoNotSayTheirLast(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0), Closed: at(-3_600_000 + 9), Reason: "eof", Requests: 2, RepliedUpTo: 2})
	w.exchange(said(1, 1, 1, at(1), time.Millisecond, []byte("a"), []byte("A")))
	w.exchange(said(2, 1, 2, at(-3_600_000+6), time.Millisecond, []byte("b"), []byte("B")))
	r := w.open()
	r.slice = 1
	if got, want := briefs(t, r, Filter{}), "+1 1.1? 1.1! 1.2? 1.2! -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A request that nobody answers is recorded before an earlier one, and a slice ends between them.
func TestRequestsOfTwoSlices(t *testing.T) {
	r := ofASession(t, func(w *Writer, s *parley.Session) {
		request := func(seq uint64, ms int, place uint64, reply []byte) parley.Exchange {
			return parley.Exchange{Seq: seq, Received: at(ms), Took: 10 * time.Millisecond, Request: []byte("x"), Reply: reply,
				RawRequest: parley.Raw{Bytes: []byte("x\n"), At: place}}
		}
		w.Pass(s, []parley.Exchange{request(2, 5, 2, nil), request(1, 1, 0, []byte("y")), request(3, 20, 4, []byte("y")), request(4, 40, 6, []byte("y"))})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(90), Seq: 4, Replied: 4})
	})
	for _, r.slice = range []int64{0, 1, 2, 3} {
		if got, want := briefs(t, r, Filter{}), "+1 1.1? 1.2? 1.1! 1.3? 1.3! 1.4? 1.4! -1"; got != want {
			t.Errorf("in slices of %d told %s, want %s", r.slice, got, want)
		}
	}
}

// Numbers as large as can be end a telling, and leave nothing out.
func TestLargestNumbersInSlices(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0), Closed: at(9), Reason: "eof", Requests: 2, RepliedUpTo: 2})
	w.exec("UPDATE sessions SET last = ?, sum = NULL", int64(math.MaxInt64))
	w.exchange(said(5, 1, 1, at(1), time.Millisecond, []byte("a"), []byte("A")))
	w.exchange(said(math.MaxInt64, 1, 2, at(3), time.Millisecond, []byte("a"), []byte("A")))
	for _, slice := range []int64{1, 2, 1 << 30} {
		r := w.open()
		r.slice = slice
		var told []string
		for e, err := range r.Events(t.Context(), Filter{}) {
			if told = append(told, brief(e)); err != nil || len(told) > 6 {
				t.Fatalf("in slices of %d told %s, %v", slice, told, err)
			}
		}
		if got, want := strings.Join(told, " "), "+1 1.1? 1.1! 1.2? 1.2! -1"; got != want {
			t.Errorf("in slices of %d told %s, want %s", slice, got, want)
		}
	}
}

// After a clock that is set back what follows is in order again: of what is later by then nothing is held for ever.
func TestWhatIsHeldIsNotOfTheFuture(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	const slice = 11
	id := int64(0)
	add := func(ms int) {
		id++
		w.exchange(said(id, id, 1, at(ms), 0, []byte("a"), []byte("A")))
	}
	for i := range 20 * slice {
		add(1_000_000 + i)
	}
	first := id
	for i := range 50 { // each second one was recorded behind a later one
		add(i ^ 1)
	}
	r := w.open()
	r.slice = slice
	var told []int64
	for _, e := range collect(t, r.Events(t.Context(), Filter{})) {
		if e.Kind == parley.Received && e.Exchange.ID > first {
			told = append(told, e.Time.UnixMilli()-at(0).UnixMilli())
		}
	}
	if len(told) != 50 || !slices.IsSorted(told) {
		t.Errorf("told %v", told)
	}
}

// An exchange with a wrong number at the end of a slice does not take those with it that have numbers up to that.
func TestAFlippedNumberEndsNoSlice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w := newWritten(t, file)
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	const n = 50
	for id := int64(1); id <= n; id++ {
		w.exchange(said(id, 1, uint64(id), at(int(id)), 0, []byte("a"), []byte("b")))
	}
	w.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	w.db.Close()
	root := rootsOf(t, file)["exchanges"]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := b[(root-1)*pageBytes : root*pageBytes]
	cell := page[binary.BigEndian.Uint16(page[8+2*4:]):] // the fifth
	if page[0] != 13 || cell[1] != 5 {
		t.Fatalf("a page of kind %d, whose fifth row has the number %d", page[0], cell[1])
	}
	cell[1] ^= 32
	for _, name := range []string{file + "-wal", file + "-shm"} {
		os.Remove(name)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, slice := range []int64{0, 4, 5, 6, 7} {
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		r.slice = slice
		told := make(map[int64]bool)
		for _, e := range collect(t, r.Events(t.Context(), Filter{})) {
			if e.Exchange != nil {
				told[e.Exchange.ID] = true
			}
		}
		if len(told) < n-8 {
			t.Errorf("in slices of %d %d exchanges are told, of %d", slice, len(told), n)
		}
		r.Close()
	}
}

// If it cannot be asked how a journal was recorded nothing is told.
func TestAJournalThatCannotBeAskedHowItWasRecorded(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	r := w.open()
	w.exec("DROP TABLE sources")
	told := 0
	for _, err := range r.Events(t.Context(), Filter{}) {
		if told++; err == nil {
			t.Error("an event is told")
		}
	}
	if told != 1 {
		t.Errorf("told %d times, want an error", told)
	}
}
