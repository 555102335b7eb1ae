package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parley-tcp/parley"
)

// inTable are the exchanges of a session as the table has them.
func inTable(t *testing.T, r *Reader, session int64) []int64 {
	t.Helper()
	rows, err := r.db.Query("SELECT id FROM exchanges WHERE session = ? ORDER BY id DESC", session)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids, err := nextIDs(rows, math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// wantLinked fails unless the exchanges of a session are found without a look at all of them.
func wantLinked(t *testing.T, r *Reader, session int64) {
	t.Helper()
	want := inTable(t, r, session)
	for _, limit := range []int{0, 1, len(want), len(want) + 1} {
		var got []int64
		var rest int64
		if err := r.snapshot(t.Context(), func(ctx context.Context, tx *sql.Tx) (err error) {
			got, rest, err = r.linked(ctx, tx, session, limit)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		some := want
		if limit > 0 && len(want) > limit {
			some = want[:limit]
		}
		if !slices.Equal(got, some) || rest != 0 {
			t.Fatalf("session %d, limit %d: %d exchanges %.10v are linked, and up to %d anything may be; want %d %.10v", session, limit, len(got), got, rest, len(some), some)
		}
	}
}

// batchOf has an exchange of each of these sessions.
func batchOf(sessions ...int64) *batch {
	b := new(batch)
	for _, id := range sessions {
		b.exchanges = append(b.exchanges, record{session: id, seq: 1, request: 1, requestTail: 1, reply: -1, replyAt: -1})
		b.bytes = append(b.bytes, '\n')
	}
	return b
}

func open(t *testing.T, f *file) *Reader {
	t.Helper()
	r, err := Open(f.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// Sessions come, talk across each other and end, or do not, as when a server crashes; another
// one goes on; the oldest is deleted. Always the exchanges of each are found by its links.
func TestExchangesOfASessionAreLinked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	random := rand.New(rand.NewPCG(1, 2))
	for run := range 3 {
		f, err := openFile(file, Options{About: About{Framing: fmt.Sprint(run)}})
		if err != nil {
			t.Fatal(err)
		}
		r := open(t, f)
		var ids []int64
		for n := range 40 {
			ids = append(ids, f.base+1+int64(n))
		}
		first := &batch{}
		for _, id := range ids {
			first.opened = append(first.opened, Session{ID: id, Number: uint64(id - f.base), Opened: at(0)})
		}
		if err := f.write(first); err != nil {
			t.Fatal(err)
		}
		for round := range 15 { // latest is written in each run
			var talk []int64
			for range noteEvery / 8 {
				talk = append(talk, ids[int(float64(len(ids))*random.Float64()*random.Float64())]) // some more than others
			}
			b := batchOf(talk...)
			if round%5 == 4 {
				closed := ids[len(ids)-1]
				ids = ids[:len(ids)-1]
				b.closed = []Session{{ID: closed, Number: uint64(closed - f.base), Opened: at(0), Closed: at(1), Reason: "eof"}}
			}
			if err := f.write(b); err != nil {
				t.Fatal(err)
			}
		}
		if run == 2 {
			if err := f.exec("DELETE FROM exchanges WHERE id < ?", f.exchange/2); err != nil {
				t.Fatal(err)
			}
		}
		for id := int64(1); id <= f.base+40; id += 11 {
			wantLinked(t, r, id)
		}
		if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 {
			t.Errorf("Verify = %+v, %v", v, err)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A batch that is written again is linked to what is there.
func TestFailedBatchIsNotLinkedTo(t *testing.T) {
	f, err := openFile(filepath.Join(t.TempDir(), "j"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.write(batchOf(1, 2, 1)); err != nil {
		t.Fatal(err)
	}
	commit := f.commit
	f.commit = func() error { return errors.New("not this time") }
	b := batchOf(1, 3, 1, 2)
	if err := f.write(b); err == nil {
		t.Fatal("nothing failed")
	}
	f.commit = commit
	if err := f.write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.noteLatest(f.exchange); err != nil { // so that links are what is left
		t.Fatal(err)
	}
	r := open(t, f)
	for id := range int64(3) {
		wantLinked(t, r, id+1)
	}
}

// Where a link leads to nothing, or elsewhere, the rest is looked for among all exchanges, as
// it is where nobody knows the last one.
func TestBrokenLinksLoseNothing(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want []int64
	}{
		"an exchange deleted":       {"DELETE FROM exchanges WHERE id = 5", []int64{7, 3, 1}},
		"an exchange of another":    {"UPDATE exchanges SET session = 2, parts = 0, sum = NULL WHERE id = 5", []int64{7, 3, 1}},
		"no record of the session":  {"DELETE FROM sessions", []int64{7, 5, 3, 1}},
		"a wrong last exchange":     {"UPDATE sessions SET last = 2", []int64{7, 5, 3, 1}},
		"links of the open damaged": {"UPDATE latest SET sum = sum + 1; DELETE FROM sessions", []int64{7, 5, 3, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "j")
			for range 2 { // the sessions are of the first
				f, err := openFile(file, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if f.base == 0 {
					b := batchOf(1, 2, 1, 2, 1, 2, 1)
					b.opened = []Session{{ID: 1, Number: 1, Opened: at(0)}}
					b.closed = []Session{{ID: 1, Number: 1, Opened: at(0), Closed: at(9), Reason: "eof"}}
					if err := f.write(b); err != nil {
						t.Fatal(err)
					}
				} else if err := f.exec(c.sql); err != nil {
					t.Fatal(err)
				}
				if err := f.close(); err != nil {
					t.Fatal(err)
				}
			}
			r, err := Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got []int64
			for _, x := range collect(t, r.Exchanges(t.Context(), Filter{Session: 1})) {
				got = append(got, x.ID)
			}
			slices.Reverse(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("exchanges %v are found, want %v", got, c.want)
			}
		})
	}
}

// Bytes that are of no message are no exchange for who does not ask for them.
func TestLooseBytesAreNoMessages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	loose := func(ms int, place uint64, text string) parley.Exchange {
		return parley.Exchange{Received: at(ms), RawRequest: parley.Raw{Bytes: []byte(text), At: place}}
	}
	w.Pass(s, []parley.Exchange{
		loose(1, 0, "stray one"),
		{Seq: 1, Received: at(2), Request: []byte("one"), RawRequest: parley.Raw{Bytes: []byte("<one>"), Body: 1, At: 9}, Secret: true,
			Reply: []byte("two"), RawReply: parley.Raw{Bytes: []byte("two\n"), At: 7}},
		loose(3, 14, "rest"),
		{Received: at(4), RawReply: parley.Raw{Bytes: []byte("!"), At: 11}},
	})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(5), Seq: 1, Replied: 1, Stray: 13})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, want := briefs(t, r, Filter{}), "+1 1.1? 1.1! -1"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
	if got, want := briefs(t, r, Filter{Limit: 1, Session: 1}), "+1 1.1? 1.1! -1"; got != want {
		t.Errorf("of the newest message %s are told, want %s", got, want)
	}
	if got, want := briefs(t, r, Filter{Loose: true}), "+1 stray 1.1? 1.1! stray stray -1"; got != want {
		t.Errorf("with what is loose %s are told, want %s", got, want)
	}
	for _, text := range []string{"stray", "<one>"} { // neither is a part of a message
		if got := briefs(t, r, Filter{Loose: true, Text: []byte(text)}); got != "" {
			t.Errorf("%s is found in %s", text, got)
		}
	}
	session, all, err := r.Session(t.Context(), 1, 0)
	if err != nil || session.Stray != 13 || len(all) != 1 || string(all[0].Request) != "one" || !all[0].Secret {
		t.Errorf("session %+v with %+v, %v", session, all, err)
	}
	if v, err := r.Verify(t.Context()); v != (Verdict{Sessions: 1, Exchanges: 1}) || err != nil {
		t.Errorf("Verify = %+v, %v; want one exchange", v, err)
	}
	if err := r.Index(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := briefs(t, r, Filter{Text: []byte("two")}); got != "+1 1.1? 1.1! -1" {
		t.Errorf("by the index %s is found", got)
	}
}
