package journal

import (
	"path/filepath"
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
