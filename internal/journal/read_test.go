package journal

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A written is a journal file as a server would leave it, made by hand: with what version 2 of
// the file has, as one that was brought up to date.
type written struct {
	t    testing.TB
	file string
	db   *sql.DB

	sums  checksummer
	ended int64
}

// newWritten makes a journal with a server's settings.
func newWritten(t testing.TB, file string) *written {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(file, "_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)", lockPatience))
	if err != nil {
		t.Fatal(err)
	}
	w := &written{t: t, file: file, db: db}
	t.Cleanup(func() { db.Close() })
	w.exec(schemaOf(schemaVersion) + ";" + unlinked + ";" + newIdentity() + ";" + viewsOf(schemaVersion, "VIEW"))
	w.exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", fileID, schemaVersion))
	return w
}

func (w *written) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(query, args...); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
}

func (w *written) session(s Session) {
	w.t.Helper()
	var closed, reason, ended any
	if !s.Closed.IsZero() {
		w.ended++
		closed, reason, ended = s.Closed.UnixNano(), s.Reason, w.ended
	}
	end, _ := ended.(int64)
	w.exec("INSERT OR REPLACE INTO sessions (id, number, remote, local, opened_ns, closed_ns, reason, requests, replied_upto, bytes_in, bytes_out, ended, sum) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", s.ID, int64(s.Number), s.Remote, s.Local,
		s.Opened.UnixNano(), closed, reason, int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut),
		ended, w.sums.session(&s, end, 0, 0))
}

func (w *written) exchange(x Exchange) {
	w.t.Helper()
	r := record{session: x.Session, seq: x.Seq, received: x.Received.UnixNano(), took: x.Took}
	w.exec("INSERT INTO exchanges (id, session, seq, received_ns, took_ns, request, reply, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", x.ID, x.Session, x.Seq, x.Received.UnixNano(), int64(x.Took), x.Request, x.Reply,
		w.sums.exchange(x.ID, &r, x.Request, x.Reply))
}

func (w *written) open() *Reader {
	w.t.Helper()
	r, err := Open(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Close() })
	return r
}

// at is a moment of the story, in milliseconds.
func at(ms int) time.Time {
	return time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

// said is an exchange as an older parley kept it, without its framing.
func said(id, session int64, seq uint64, received time.Time, took time.Duration, request, reply []byte) Exchange {
	return Exchange{ID: id, Session: session, Seq: seq, Received: received, Took: took, Request: request, Reply: reply}
}

// story is three sessions: one that ended in good order, one that nobody saw end, and a
// probe. Session 2's first exchange was recorded before an earlier one of session 1.
func story(t testing.TB) *written {
	w := newWritten(t, filepath.Join(t.TempDir(), "a journal?#%"))
	w.session(Session{ID: 1, Number: 1, Remote: "127.0.0.1:49662", Local: "127.0.0.1:6969", Opened: at(0), Closed: at(50),
		Reason: "eof", Requests: 3, RepliedUpTo: 2, BytesIn: 48, BytesOut: 66})
	w.session(Session{ID: 2, Number: 2, Remote: "[2001:db8::1]:5000", Local: "[2001:db8::2]:6969", Opened: at(5)})
	w.session(Session{ID: 3, Number: 1, Remote: "unix", Local: "unix:/run/parley", Opened: at(100), Closed: at(101), Reason: "no_request"})
	w.exchange(said(1, 1, 1, at(10), time.Millisecond, []byte("one"), []byte("Reply one")))
	w.exchange(said(2, 2, 1, at(30), 5*time.Millisecond, []byte("\x00\xff\nbytes"), []byte{}))
	w.exchange(said(3, 1, 2, at(20), 2*time.Millisecond, []byte("two"), []byte("Reply two")))
	w.exchange(said(4, 1, 3, at(40), 3*time.Millisecond, []byte("three"), []byte("Reply three")))
	return w
}

// collect returns what an iterator yields, and fails on an error.
func collect[T any](t testing.TB, all iter.Seq2[T, error]) (list []T) {
	t.Helper()
	for one, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	return list
}

// brief is an event in a word: +1 opened, 1.2? received, 1.2! replied, -1 closed.
func brief(e Event) string {
	switch e.Kind {
	case parley.Opened:
		return fmt.Sprintf("+%d", e.Session.ID)
	case parley.Received:
		return fmt.Sprintf("%d.%d?", e.Session.ID, e.Exchange.Seq)
	case parley.Replied:
		return fmt.Sprintf("%d.%d!", e.Session.ID, e.Exchange.Seq)
	case parley.Closed:
		return fmt.Sprintf("-%d", e.Session.ID)
	case parley.Refused:
		return "refused " + e.Session.Reason
	}
	return e.Kind.String()
}

func briefs(t testing.TB, r *Reader, f Filter) string {
	t.Helper()
	var words []string
	for _, e := range collect(t, r.Events(t.Context(), f)) {
		words = append(words, brief(e))
	}
	return strings.Join(words, " ")
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	w := story(t)
	r := w.open()
	want := Session{ID: 1, Number: 1, Remote: "127.0.0.1:49662", Local: "127.0.0.1:6969", Opened: at(0), Closed: at(50),
		Reason: "eof", Requests: 3, RepliedUpTo: 2, BytesIn: 48, BytesOut: 66}
	got, exchanges, err := r.Session(t.Context(), 1, 0)
	if err != nil || got != want {
		t.Errorf("session 1 is %+v, %v; want %+v", got, err, want)
	}
	if len(exchanges) != 3 || !reflect.DeepEqual(exchanges[1], said(3, 1, 2, at(20), 2*time.Millisecond, []byte("two"), []byte("Reply two"))) {
		t.Errorf("its exchanges are %+v", exchanges)
	}
	if _, exchanges, _ = r.Session(t.Context(), 2, 0); len(exchanges) != 1 || string(exchanges[0].Request) != "\x00\xff\nbytes" || exchanges[0].Reply == nil || len(exchanges[0].Reply) > 0 {
		t.Errorf("session 2's exchanges are %+v, want one with an empty reply", exchanges)
	}
	if _, exchanges, _ = r.Session(t.Context(), 1, 2); len(exchanges) != 2 || exchanges[0].Seq != 2 || exchanges[1].Seq != 3 {
		t.Errorf("session 1's last two exchanges are %+v", exchanges)
	}
	if _, _, err := r.Session(t.Context(), 9, 0); err != fs.ErrNotExist {
		t.Errorf("session 9: %v, want fs.ErrNotExist", err)
	}
}

// A tap may see a request that nobody answers, and a message that nobody asked for.
func TestWhatDidNotHappenIsNotTold(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	w.exchange(said(1, 1, 1, at(1), 0, []byte("asked"), nil))
	w.exchange(said(2, 1, 2, at(2), 0, nil, []byte("unasked")))
	w.exchange(said(3, 1, 3, at(3), 0, []byte{}, []byte{}))
	if got, want := briefs(t, w.open(), Filter{}), "+1 1.1? 1.2! 1.3? 1.3!"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestFilters(t *testing.T) {
	r := story(t).open()
	everything := "+1 +2 1.1? 1.1! 1.2? 1.2! 2.1? 2.1! 1.3? 1.3! -1 +3 -3"
	for _, c := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, everything},
		{Filter{Session: 1}, "+1 1.1? 1.1! 1.2? 1.2! 1.3? 1.3! -1"},
		{Filter{Number: 1}, "+1 1.1? 1.1! 1.2? 1.2! 1.3? 1.3! -1 +3 -3"},
		{Filter{Number: 7}, ""},
		{Filter{Address: "127.0.0."}, "+1 1.1? 1.1! 1.2? 1.2! 1.3? 1.3! -1"},
		{Filter{Address: "2001:db8::1"}, "+2 2.1? 2.1!"},
		{Filter{Address: "[2001:db8::1]:5000"}, "+2 2.1? 2.1!"},
		{Filter{Address: "unix"}, "+3 -3"},
		{Filter{Address: "%"}, ""},
		{Filter{Reason: "no_request"}, "+3 -3"},
		{Filter{Reason: ReasonOpen}, "+2 2.1? 2.1!"},
		{Filter{Since: at(40)}, "1.3? 1.3! -1 +3 -3"},
		{Filter{Until: at(20)}, "+1 +2 1.1? 1.1!"},
		{Filter{Since: at(11), Until: at(31)}, "1.2? 1.2! 2.1? 2.1!"},
		{Filter{Slower: 3 * time.Millisecond}, "+1 +2 2.1? 2.1! 1.3? 1.3! -1"},
		{Filter{Text: []byte("two")}, "+1 1.2? 1.2! -1"},
		{Filter{Text: []byte("Two")}, ""},
		{Filter{Text: []byte("Reply t"), Slower: 3 * time.Millisecond}, "+1 1.3? 1.3! -1"},
		{Filter{Text: []byte("\xff\n")}, "+2 2.1? 2.1!"},
		{Filter{Regexp: regexp.MustCompile(`^t..$`)}, "+1 1.2? 1.2! -1"},
		{Filter{Regexp: regexp.MustCompile(`(?i)REPLY`), Limit: 2}, "+1 1.2? 1.2! 1.3? 1.3! -1"},
		{Filter{Regexp: regexp.MustCompile(`^$`)}, "+2 2.1? 2.1!"},
		{Filter{Limit: 1}, "+1 1.3? 1.3! -1"},
		{Filter{Limit: 4}, "+1 +2 1.1? 1.1! 1.2? 1.2! 2.1? 2.1! 1.3? 1.3! -1"},
		{Filter{Limit: 5, Number: 2}, "+2 2.1? 2.1!"},
	} {
		if got := briefs(t, r, c.f); got != c.want {
			t.Errorf("%+v: told %q, want %q", c.f, got, c.want)
		}
	}
}

func TestSessionsAreSelected(t *testing.T) {
	r := story(t).open()
	for _, c := range []struct {
		f    Filter
		want []int64
	}{
		{Filter{}, []int64{1, 2, 3}},
		{Filter{Limit: 2}, []int64{2, 3}},
		{Filter{Limit: 1, Text: []byte("Reply")}, []int64{1}},
		{Filter{Since: at(51)}, []int64{2, 3}}, // one that is open may still talk
		{Filter{Since: at(50), Until: at(100)}, []int64{1, 2}},
		{Filter{Until: at(5)}, []int64{1}},
		{Filter{Slower: 5 * time.Millisecond}, []int64{2}},
	} {
		var got []int64
		for _, s := range collect(t, r.Sessions(t.Context(), c.f)) {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: sessions %v, want %v", c.f, got, c.want)
		}
	}
}

// Exchanges come in the order of recording, page after page.
func TestExchangesOfManyPages(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	const n = 3*pageSize + 1
	for i := range n {
		w.exchange(said(int64(i+1), 1, uint64(i+1), at(n-i), 0, []byte("x"), []byte("y")))
	}
	r := w.open()
	for limit, first := range map[int]int64{0: 1, 1: n, pageSize: n - pageSize + 1, n - 1: 2, n: 1, n + 1: 1} {
		all := collect(t, r.Exchanges(t.Context(), Filter{Limit: limit}))
		if want := min(cmp.Or(limit, n), n); len(all) != want || all[0].ID != first || all[len(all)-1].ID != n {
			t.Errorf("limit %d: %d exchanges from %d on, want %d from %d", limit, len(all), all[0].ID, want, first)
		}
	}
	events := collect(t, r.Events(t.Context(), Filter{}))
	if !slices.IsSortedFunc(events[1:], func(a, b Event) int { return cmp.Compare(a.Exchange.Seq, b.Exchange.Seq) }) || len(events) != 1+2*n {
		t.Errorf("%d events, want %d in the order of the requests, to which the clock was set back", len(events), 1+2*n)
	}
}

// Little of large exchanges is in memory together, and each is told, in its place.
func TestLargeExchangesAreToldInPagesOfTheirOwn(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	large := bytes.Repeat([]byte("l"), streamBytes/10)
	const n = 5 * pageSize
	var ids []int64
	for id := int64(1); id <= n; id++ {
		request := []byte("s")
		if id > n-pageSize/2 {
			request = large
		}
		w.exchange(said(id, 1, uint64(id), at(int(id)), 10*time.Millisecond, request, []byte("y")))
		ids = append(ids, id)
	}
	r := w.open()
	found, bytes, err := r.exchanges(t.Context(), ids, streamBytes)
	if whole := n - pageSize/2 + 10; err != nil || len(found) != whole || bytes <= streamBytes || bytes > streamBytes+2*len(large) {
		t.Errorf("%d exchanges are read, of %d bytes, %v; want %d", len(found), bytes, err, whole)
	}
	var received, replied int64
	for _, e := range collect(t, r.Events(t.Context(), Filter{}))[1:] {
		switch e.Kind {
		case parley.Received:
			if received++; e.Exchange.ID != received {
				t.Fatalf("request %d is told, want %d", e.Exchange.ID, received)
			}
		case parley.Replied:
			if replied++; e.Exchange.ID != replied {
				t.Fatalf("reply %d is told, want %d", e.Exchange.ID, replied)
			}
		}
	}
	if received != n || replied != n {
		t.Errorf("%d requests and %d replies are told, want %d", received, replied, n)
	}
}

// While some exchanges are used, the next ones are read, which changes nothing of those.
func TestExchangesAreReadAhead(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	const n = 2*streamRows + 1
	for id := int64(1); id <= n; id++ {
		w.exchange(said(id, 1, uint64(id), at(0), 0, []byte("x"), []byte(strconv.FormatInt(id, 10))))
	}
	r := w.open()
	ahead := make(chan bool)
	read := 0
	accepts := func(string, *Exchange) bool {
		if read++; read == 2*streamRows {
			close(ahead)
		}
		return true
	}
	told := int64(0)
	for x, err := range r.Exchanges(t.Context(), Filter{Accepts: accepts}) {
		if err != nil {
			t.Fatal(err)
		}
		if told == 0 {
			select {
			case <-ahead:
			case <-time.After(patience):
				t.Fatal("nothing more is read before these are used")
			}
		}
		if told++; x.ID != told || string(x.Reply) != strconv.FormatInt(told, 10) {
			t.Fatalf("exchange %d, %q is told, want %d", x.ID, x.Reply, told)
		}
	}
	if told != n {
		t.Errorf("%d exchanges are told, want %d", told, n)
	}
}

// A session is read once for all of its pages, not once for each.
func TestASessionIsReadOnceForItsEvents(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	for id := int64(1); id <= 10*pageSize; id++ {
		w.exchange(said(id, 1, uint64(id), at(int(id)), 0, []byte("x"), []byte("y")))
	}
	told := 0
	for e, err := range w.open().Events(t.Context(), Filter{}) {
		if err != nil || e.Session.Lost {
			t.Fatalf("event %d is of session %+v, %v", told, e.Session, err)
		}
		if told++; told == 1 {
			w.exec("DELETE FROM sessions")
		}
	}
	if want := 1 + 20*pageSize; told != want {
		t.Errorf("%d events are told, want %d", told, want)
	}
}

// Whoever wants no more events or exchanges ends what reads the next ones: the only connection is free again.
func TestEventsAreGivenUp(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	for id := int64(1); id <= 2*streamRows+1; id++ {
		w.exchange(said(id, 1, uint64(id), at(int(id)), 0, []byte("x"), []byte("y")))
	}
	r := w.open()
	r.db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 3 {
		for e, err := range r.Events(ctx, Filter{}) {
			if err != nil || e.Kind != parley.Opened {
				t.Errorf("first comes %v, %v", e.Kind, err)
			}
			break
		}
		for x, err := range r.Exchanges(ctx, Filter{}) {
			if err != nil || x.ID != 1 {
				t.Errorf("first comes exchange %d, %v", x.ID, err)
			}
			break
		}
	}
}

// What a row's numbers are read of says of each whether it is there, and has no more or less than them.
func TestNumbersOfARow(t *testing.T) {
	ten := ",1,2,3,4,,-6,7,8,9,10"
	for text, want := range map[string]string{
		"7,1,-2,3,4,,-6,0":     "7 1 -2 3ns {4 true} {0 false} {-6 true} {0 true} false",
		"7,1,-2,3,,,," + ten:   "7 1 -2 3ns {0 false} {0 false} {0 false} {0 false} true",
		"":                     "",
		"7,1,-2,3,4,,-6":       "",
		"7,1,-2,3,4,,-6,0,":    "",
		"7,1,-2,3,4,,-6,0,1,2": "",
		"7,-1,-2,3,4,,-6,0":    "",
		"7,,-2,3,4,,-6,0":      "",
		"7,1,-2,3.5,4,,-6,0":   "",
		"7,1,-2,3,x,,-6,0":     "",
		"7,1,-2,3,-,,-6,0":     "",
		"7,1,-2,3,,,9223372036854775807,-9223372036854775808": "7 1 -2 3ns {0 false} {0 false} {9223372036854775807 true} {-9223372036854775808 true} false",
		"7,1,-2,3,4,,9223372036854775808,0":                   "",
		"7,1,-2,3,4,,-9223372036854775809,0":                  "",
		"7,1,-2,3,4,,18446744073709551617,0":                  "",
		"7,1,-2,3,,,," + ten + "," + ten:                      "",
	} {
		var row exchangeRow
		err := (*exchangeNumbers)(&row).Scan(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q is taken for numbers", text)
			}
			continue
		}
		got := fmt.Sprint(row.session, row.seq, row.received, time.Duration(row.took), row.sum, row.requestPlace, row.replyPlace, row.partsColumn, row.rare[9].Valid)
		if err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	if err := new(exchangeNumbers).Scan(nil); err == nil {
		t.Error("NULL is taken for numbers")
	}
}

// The view and the method say the same; only of an end that nobody saw it is unknown.
func TestRepliedYesNoUnknown(t *testing.T) {
	w := story(t)
	w.exec("UPDATE sessions SET replied_upto = 1, sum = NULL WHERE id = 2")
	w.exchange(said(5, 2, 2, at(60), 0, []byte("x"), []byte("y")))
	rows, err := w.db.Query("SELECT session, seq, replied FROM replies ORDER BY session, seq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	r := w.open()
	for rows.Next() {
		var id int64
		var seq uint64
		var replied string
		if err := rows.Scan(&id, &seq, &replied); err != nil {
			t.Fatal(err)
		}
		s, _, err := r.Session(t.Context(), id, 0)
		if err != nil || s.Replied(seq) != replied {
			t.Errorf("session %d, %d: %s, the view says %s, %v", id, seq, s.Replied(seq), replied, err)
		}
		got = append(got, fmt.Sprint(id, ".", seq, " ", replied))
	}
	if want := []string{"1.1 yes", "1.2 yes", "1.3 no", "2.1 yes", "2.2 unknown"}; !slices.Equal(got, want) {
		t.Errorf("replied: %q, want %q", got, want)
	}
}

func TestWhatIsNoJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	made := func(name, sql string) string {
		w := newWritten(t, filepath.Join(dir, name))
		w.exec(sql)
		w.db.Close()
		return w.file
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]error{
		filepath.Join(dir, "missing"): fs.ErrNotExist,
		dir:                           ErrNotAJournal,
		text:                          ErrNotAJournal,
		empty:                         ErrNotAJournal,
		made("tables", "DROP VIEW replies; DROP TABLE exchanges"): ErrNotAJournal,
		made("another's", "PRAGMA application_id = 1"):            ErrNotAJournal,
		made("no version", "PRAGMA user_version = 0"):             ErrNotAJournal,
		made("no application", "PRAGMA application_id = 0"):       nil,
	} {
		r, err := Open(file)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", filepath.Base(file), err, want)
		}
		if err == nil {
			r.Close()
		}
	}
	_, err := Open(made("newer", "PRAGMA user_version = 7"))
	if want := "a newer parley has written it (journal version 7; this one reads 6)"; err == nil || err.Error() != want {
		t.Errorf("newer: %v, want %s", err, want)
	}
}

// A reader leaves nothing beside the journal and changes nothing in it.
func TestReadingLeavesNoTrace(t *testing.T) {
	w := story(t)
	w.db.Close()
	before, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	r := w.open()
	briefs(t, r, Filter{Text: []byte("two")})
	r.Close()
	after, err := os.ReadFile(w.file)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
	entries, _ := os.ReadDir(filepath.Dir(w.file))
	for _, e := range entries {
		if info, _ := e.Info(); e.Name() != filepath.Base(w.file) {
			t.Errorf("left behind: %s (%d bytes)", e.Name(), info.Size())
		}
	}
}

// A server's checkpoint may wait for no reader that is slow with what it was told.
func TestASlowReaderHoldsNoTransaction(t *testing.T) {
	w := story(t)
	r := w.open()
	for range r.Events(t.Context(), Filter{}) {
		w.exchange(said(100, 1, 4, at(60), 0, nil, nil))
		var busy, pages, moved int
		if err := w.db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil || busy != 0 {
			t.Errorf("a checkpoint is held up: busy %d, %v", busy, err)
		}
		break
	}
}

func TestFollowTellsWhatIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":     {Filter{}, "+1 +2 1.1? 1.1! 1.2? 1.2! 2.1? 2.1! 1.3? 1.3! -1 +3 -3 | +4 4.1? 4.1! | 2.2? 2.2! 2.3? 2.3! -2 | -4"},
		"limited": {Filter{Limit: 1}, "+1 1.3? 1.3! -1 | +4 4.1? 4.1! | +2 2.2? 2.2! 2.3? 2.3! -2 | -4"},
		"text":    {Filter{Text: []byte("late")}, "| | +2 2.2? 2.2! -2 |"},
	} {
		t.Run(name, func(t *testing.T) {
			w := story(t)
			steps := []func(){
				func() {
					w.session(Session{ID: 4, Number: 4, Opened: at(200)})
					w.exchange(said(5, 4, 1, at(201), 0, []byte("x"), []byte("y")))
				},
				func() {
					w.exchange(said(6, 2, 2, at(202), 0, []byte("late"), []byte("y")))
					w.exchange(said(7, 2, 3, at(202).Add(1), 0, []byte("x"), []byte("y")))
					w.session(Session{ID: 2, Number: 2, Opened: at(5), Closed: at(203), Reason: "eof"})
				},
				func() { w.session(Session{ID: 4, Number: 4, Opened: at(200), Closed: at(204), Reason: "eof"}) },
			}
			// Pass by pass, as the clock's ticks would do it.
			r, at := w.open(), newPosition()
			var words []string
			for i := range len(steps) + 1 {
				if i > 0 {
					words = append(words, "|")
					steps[i-1]()
				}
				err := r.tell(t.Context(), &c.f, at, func(e Event, err error) bool {
					words = append(words, brief(e))
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := strings.Join(words, " "); got != c.want {
				t.Errorf("told %q, want %q", got, c.want)
			}
		})
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	w := story(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := 0
	for e, err := range w.open().Follow(ctx, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		switch n++; brief(e) {
		case "-3":
			w.exchange(said(9, 2, 2, at(300), 0, []byte("new"), []byte("y")))
		case "2.2!":
			cancel()
		}
	}
	if n != 15 || ctx.Err() != context.Canceled {
		t.Errorf("%d events were told before the end, want 15", n)
	}
}

// sqlOf is a file as any SQLite tool sees it.
func sqlOf(t testing.TB, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dataSource(file, "mode=rw", lockPatience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// oneNumber is what a query for one number finds.
func oneNumber(t testing.TB, r *Reader, query string) (n int64) {
	t.Helper()
	if err := r.db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
