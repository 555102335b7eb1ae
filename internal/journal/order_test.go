package journal

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A request that nobody answers is recorded at once, before earlier ones that wait for their
// replies. It is told in its place, and is no sign of a clock that was set back.
func TestRequestsAreToldInTheirOrder(t *testing.T) {
	r := ofASession(t, func(w *Writer, s *parley.Session) {
		request := func(seq uint64, ms int, place uint64, reply []byte) parley.Exchange {
			return parley.Exchange{Seq: seq, Received: at(ms), Took: time.Microsecond, Request: []byte("x"), Reply: reply,
				RawRequest: parley.Raw{Bytes: []byte("x\n"), At: place}}
		}
		w.Pass(s, []parley.Exchange{request(2, 2, 2, nil), request(3, 2, 4, nil), request(1, 1, 0, []byte("y")), request(4, 2, 6, []byte("y"))})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(9), Seq: 4, Replied: 4})
	})
	if got, want := briefs(t, r, Filter{}), "+1 1.1? 1.1! 1.2? 1.3? 1.4? 1.4! -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// ofASession is a journal of a session that was opened at the start, and of what is told of it.
func ofASession(t *testing.T, tell func(w *Writer, s *parley.Session)) *Reader {
	t.Helper()
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	tell(w, s)
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
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
	r := ofASession(t, func(w *Writer, s *parley.Session) {
		w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: at(-5000), Fault: "stall"})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(-4000), Reason: parley.Fault})
	})
	if got, want := briefs(t, r, Filter{}), "+1 fault -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A fault that is later than what is told with it moves nothing: neither where the opening of its session is not told, nor where
// both came since it was looked last.
func TestAFaultMovesNoExchange(t *testing.T) {
	fault := func(w *written, when time.Time) {
		f := Fault{ID: 1, Session: 1, At: when, Fault: "stall"}
		w.exec("INSERT INTO faults (id, session, at_ns, seq, fault, sum) VALUES (?,?,?,?,?,?)", f.ID, f.Session, when.UnixNano(), 0, f.Fault, w.sums.fault(&f))
	}
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	for session := range int64(2) {
		w.session(Session{ID: session + 1, Number: uint64(session + 1), Opened: at(0)})
	}
	w.exchange(said(1, 1, 1, at(20), time.Millisecond, []byte("a"), []byte("A")))
	w.exchange(said(2, 2, 1, at(30), time.Millisecond, []byte("a"), []byte("A")))
	w.exchange(said(3, 1, 2, at(40), time.Millisecond, []byte("a"), []byte("A")))
	w.exchange(said(4, 2, 2, at(110), time.Millisecond, []byte("a"), []byte("A")))
	fault(w, at(100))
	if got, want := briefs(t, w.open(), Filter{Since: at(10)}), "1.1? 1.1! 2.1? 2.1! 1.2? 1.2! fault 2.2? 2.2!"; got != want {
		t.Errorf("of a part told %s, want %s", got, want)
	}
	w = newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	r, position := w.open(), newPosition()
	tell := func() string {
		var words []string
		r.tell(t.Context(), &Filter{}, position, func(e Event, _ error) bool { words = append(words, brief(e)); return true })
		return strings.Join(words, " ")
	}
	tell()
	w.exchange(said(1, 1, 1, at(20), time.Millisecond, []byte("a"), []byte("A")))
	fault(w, at(100))
	if got, want := tell(), "1.1? 1.1! fault"; got != want {
		t.Errorf("of what is new told %s, want %s", got, want)
	}
}

// Messages that nobody asked for come in the order of recording, to which the clock was set back.
func TestOrderOfMessages(t *testing.T) {
	for _, first := range []Exchange{said(1, 1, 0, at(3000), 0, nil, []byte("A")), said(1, 1, 1, at(1000), time.Millisecond, []byte("a"), []byte("A"))} {
		w := newWritten(t, filepath.Join(t.TempDir(), "j"))
		w.session(Session{ID: 1, Number: 1, Opened: at(0)})
		w.exchange(first)
		for i, ms := range []int{2000, 900, 1100} {
			w.exchange(said(int64(2+i), 1, 0, at(ms), 0, nil, []byte{'1' + byte(i)}))
		}
		told := ""
		for _, e := range collect(t, w.open().Events(t.Context(), Filter{})) {
			if e.Kind == parley.Replied {
				told += string(e.Exchange.Reply)
			}
		}
		if told != "A123" {
			t.Errorf("told %s, want A123", told)
		}
	}
}
