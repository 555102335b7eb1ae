package journal

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// What a proxy sees: no request, no reply, empty ones, and messages of which only the
// beginning is kept. Whoever reads it finds what was written.
func TestWhatAProxySeesIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, time.Now())
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	var written []parley.Exchange
	for i := range 3 * rowsAtOnce { // those inserted together and those alone
		x := parley.Exchange{Seq: uint64(i), Received: s.Opened(), Request: []byte("a"), Reply: []byte("b")}
		switch i {
		case 3:
			x.Request = nil
		case 5:
			x.Reply = nil
		case 7:
			x.Request, x.Reply = []byte{}, []byte{}
		case rowsAtOnce:
			x.RequestCut = 1 << 40
		case rowsAtOnce + 3, 3*rowsAtOnce - 1:
			x.ReplyCut = uint64(i)
		}
		written = append(written, x)
	}
	if !w.Pass(s, written) {
		t.Error("the session is held")
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, read, err := r.Session(t.Context(), 1, 0)
	if err != nil || len(read) != len(written) {
		t.Fatalf("%d exchanges, %v; want %d", len(read), err, len(written))
	}
	for i, x := range read {
		got := fmt.Sprintf("%d %#v+%d %#v+%d", x.Seq, x.Request, x.RequestCut, x.Reply, x.ReplyCut)
		y := written[i]
		if want := fmt.Sprintf("%d %#v+%d %#v+%d", y.Seq, y.Request, y.RequestCut, y.Reply, y.ReplyCut); got != want {
			t.Errorf("exchange %s, want %s", got, want)
		}
	}
}

// What is known of a message that was cut goes with it.
func TestCutsAreDeletedWithTheirExchanges(t *testing.T) {
	for name, keep := range map[string]Keep{"age": {Age: 1}, "size": {Bytes: 1}} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "j")
			f, err := openFile(file, Options{Keep: keep})
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			b := &batch{bytes: []byte(strings.Repeat("x", 20))}
			for range 10 {
				b.exchanges = append(b.exchanges, record{session: 1, received: 1, request: 1, reply: 1, requestCut: 1})
			}
			if err := f.write(b); err != nil {
				t.Fatal(err)
			}
			for more := true; more; {
				if more, err = f.prune(); err != nil {
					t.Fatal(err)
				}
			}
			var exchanges, cuts int64
			if err := queryRow(f.conn, "SELECT (SELECT count(*) FROM exchanges), (SELECT count(*) FROM cuts)", &exchanges, &cuts); err != nil || exchanges != 1 || cuts != 1 {
				t.Errorf("%d exchanges and %d cuts are left, %v; want one of each", exchanges, cuts, err)
			}
		})
	}
}
