package journal

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// asWritten makes a journal as a server does, of one session of so many exchanges, and
// returns its file.
func asWritten(t testing.TB, exchanges int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	for i := range exchanges {
		w.Pass(s, []parley.Exchange{{Seq: uint64(i + 1), Received: at(i + 1), Took: time.Millisecond,
			Request: fmt.Appendf(nil, "request %d of many", i+1), Reply: []byte("reply")}})
	}
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(exchanges + 1), Seq: uint64(exchanges), Replied: uint64(exchanges)})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return file
}

// readAll reads whatever of a file can be read, and what is damaged.
func readAll(t testing.TB, file string) (sessions []Session, exchanges []Exchange, damages []Damage, err error) {
	r, err := Open(file)
	if err != nil {
		return nil, nil, nil, err
	}
	defer r.Close()
	r.Damaged = func(d Damage) { damages = append(damages, d) }
	for s, err := range r.Sessions(t.Context(), Filter{}) {
		if err != nil {
			return sessions, exchanges, damages, err
		}
		sessions = append(sessions, s)
	}
	for x, err := range r.Exchanges(t.Context(), Filter{}) {
		if err != nil {
			return sessions, exchanges, damages, err
		}
		exchanges = append(exchanges, x)
	}
	return sessions, exchanges, damages, nil
}

// Whichever bit of the file flips, no record is shown that is not as it was written, and a
// record that is missing is reported. Verify finds what reading finds.
func TestFlippedBitsAreNeverShown(t *testing.T) {
	file := asWritten(t, 3)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sessions, exchanges, _, err := readAll(t, file)
	if err != nil || len(sessions) != 1 || len(exchanges) != 3 {
		t.Fatalf("%d sessions, %d exchanges, %v", len(sessions), len(exchanges), err)
	}
	record := strings.Index(string(whole), "request 2")
	var places []int // each bit of a record's head, one of each byte of what is said, and some of all the file
	for bit := (record - 16) * 8; bit < record*8; bit++ {
		places = append(places, bit)
	}
	for i := range 8 {
		places = append(places, (record+i)*8+i)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		places = append(places, random.IntN(len(whole)*8))
	}
	written := make(map[string]bool)
	for _, x := range exchanges {
		written[fmt.Sprint(x)] = true
	}
	noticed := 0
	for _, bit := range places {
		flipped := slices.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(file, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		gotSessions, got, damages, err := readAll(t, file)
		for _, x := range got {
			if !written[fmt.Sprint(x)] {
				t.Errorf("bit %d: %+v was never written", bit, x)
			}
		}
		for _, s := range gotSessions {
			if !s.Lost && s != sessions[0] {
				t.Errorf("bit %d: %+v was never written", bit, s)
			}
		}
		if len(damages) > 0 || err != nil {
			noticed++
		}
		var v Verdict
		if err == nil {
			r, openErr := Open(file)
			if openErr != nil {
				t.Fatal(openErr)
			}
			if v, err = r.Verify(t.Context()); err == nil && v.Damages == 0 && len(damages) > 0 {
				t.Errorf("bit %d: Verify finds nothing, reading found %v", bit, damages)
			}
			r.Close()
		}
		// A page that says that it has fewer rows is noticed by Verify alone.
		if (len(got) < 3 || len(gotSessions) < 1) && v.Damages == 0 && err == nil {
			t.Errorf("bit %d: %d sessions and %d exchanges are there, and nothing is said", bit, len(gotSessions), len(got))
		}
	}
	if noticed < 100 {
		t.Errorf("%d of %d flips were noticed: they hit nothing", noticed, len(places))
	}
}

// pages returns the numbers, from 0, of the file's pages that satisfy a condition.
func pages(file []byte, is func(page []byte) bool) (found []int) {
	for n := 1; n < len(file)/4096; n++ {
		if is(file[n*4096 : (n+1)*4096]) {
			found = append(found, n)
		}
	}
	return found
}

const (
	interiorPage = 0x05
	leafPage     = 0x0d
)

// What stands on pages that are not damaged is read, whatever order it is asked for in; of
// the others is said what is missing.
func TestDamagedPagesAreSkipped(t *testing.T) {
	const n = 2000
	file := asWritten(t, n)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	leaves := pages(whole, func(p []byte) bool { return p[0] == leafPage && strings.Contains(string(p), " of many") })
	if len(leaves) < 10 {
		t.Fatalf("%d pages of exchanges are too few", len(leaves))
	}
	for _, harmed := range [][]int{leaves[3:4], {leaves[2], leaves[4]}, leaves[len(leaves)-1:], leaves[:1]} {
		damaged := slices.Clone(whole)
		var lost []int64
		for _, page := range harmed {
			for i := range 4096 {
				damaged[page*4096+i] ^= 0x5a
			}
		}
		if err := os.WriteFile(file, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, exchanges, damages, err := readAll(t, file)
		if err != nil {
			t.Errorf("pages %v: %v", harmed, err)
		}
		there := make(map[int64]bool)
		for _, x := range exchanges {
			there[x.ID] = true
		}
		for id := int64(1); id <= n; id++ {
			if there[id] {
				continue
			}
			lost = append(lost, id)
			if !slices.ContainsFunc(damages, func(d Damage) bool { return d.Table == "exchanges" && d.From <= id && id <= d.To }) {
				t.Errorf("pages %v: exchange %d is missing, and that is not said by %v", harmed, id, damages)
			}
		}
		if most := 80 * len(harmed); len(lost) == 0 || len(lost) > most {
			t.Errorf("pages %v: %d exchanges are lost, %v; want those of the pages, %d at most", harmed, len(lost), damages, most)
		}
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(found(t, r, Filter{Slower: time.Nanosecond, Limit: n})); got != n-len(lost) {
			t.Errorf("pages %v: newest first and filtered %d are found, want %d", harmed, got, n-len(lost))
		}
		if got := len(found(t, r, Filter{Text: []byte(fmt.Sprintf("request %d of", n/2))})); got != 1 {
			t.Errorf("pages %v: what is whole is found %d times", harmed, got)
		}
		r.Close()
	}
}

// A table whose pages point at each other ends.
func TestRowsOutOfOrderEnd(t *testing.T) {
	file := asWritten(t, 2000)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inner := pages(whole, func(p []byte) bool { return p[0] == interiorPage })
	if len(inner) == 0 {
		t.Fatal("no page points at others")
	}
	for _, n := range inner {
		page := whole[n*4096 : (n+1)*4096]
		first := binary.BigEndian.Uint32(page[binary.BigEndian.Uint16(page[12:]):])
		for i := range binary.BigEndian.Uint16(page[3:]) {
			cell := binary.BigEndian.Uint16(page[12+2*i:])
			binary.BigEndian.PutUint32(page[cell:], first)
		}
		binary.BigEndian.PutUint32(page[8:], first)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	_, exchanges, damages, err := readAll(t, file)
	if err != nil || len(damages) == 0 || len(exchanges) == 0 || len(exchanges) > 100 {
		t.Errorf("%d exchanges, damages %v, %v; want one page of them, and the rest reported", len(exchanges), damages, err)
	}
}

// Whatever the numbers say that tell where a message lies, reading it goes well.
func TestNumbersOfNoPlace(t *testing.T) {
	for _, n := range []int64{-1, 1 << 30, math.MaxInt64, math.MinInt64} {
		w := story(t)
		w.exec(fmt.Sprintf("UPDATE exchanges SET sum = NULL, request_at = 0, reply_at = 0, parts = 0; "+
			"INSERT OR REPLACE INTO cuts SELECT id, 0, 0, 0, 0, %[1]d, %[1]d, %[1]d, %[1]d, %[1]d, %[1]d FROM exchanges; "+
			"INSERT INTO refused SELECT max(id) + 1, opened_ns, '', '', 'full', 'text', NULL, 0, %[1]d, %[1]d FROM sessions", n))
		r, err := Open(w.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []Filter{{}, {Text: []byte("x")}} {
			collect(t, r.Events(t.Context(), f))
		}
		r.Close()
		w.db.Close()
	}
}

// Only plain tables of ours are read, and nothing is written where a trigger would run.
func TestHostileJournals(t *testing.T) {
	const forever = " AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, id AS exchange, 0 AS request, 0 AS reply FROM n"
	for name, c := range map[string]struct {
		sql            string
		reads, written bool
	}{
		"a view for cuts":      {"DROP TABLE cuts; CREATE VIEW cuts" + forever, false, false},
		"a view for gaps":      {"DROP TABLE gaps; CREATE VIEW gaps" + forever, false, false},
		"a view for exchanges": {"DROP TABLE exchanges; CREATE VIEW exchanges" + forever, false, false},
		"a virtual table":      {"DROP TABLE cuts; CREATE VIRTUAL TABLE cuts USING fts5 (exchange, request, reply)", false, false},
		"a computed column":    {"ALTER TABLE cuts ADD COLUMN x AS (hex(zeroblob(exchange)))", false, false},
		"a trigger": {"CREATE TRIGGER t AFTER INSERT ON exchanges BEGIN INSERT INTO gaps WITH RECURSIVE n(id) AS " +
			"(SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, id, id, id, id FROM n; END", true, false},
		"another view": {"CREATE VIEW other" + forever, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := story(t)
			w.exec(c.sql)
			w.db.Close()
			r, err := Open(w.file)
			if (err == nil) != c.reads || err != nil && err != ErrNotAJournal {
				t.Errorf("Open = %v, want that it reads: %v", err, c.reads)
			}
			if err == nil {
				if got := briefs(t, r, Filter{}); got != "+1 +2 1.1? 1.1! 1.2? 1.2! 2.1? 2.1! 1.3? 1.3! -1 +3 -3" {
					t.Errorf("it reads %s", got)
				}
				r.Close()
			}
			writer, err := Create(w.file, Options{})
			if (err == nil) != c.written {
				t.Errorf("Create = %v, want that it writes: %v", err, c.written)
			}
			if err == nil {
				writer.Close(t.Context())
			}
		})
	}
}

// A question that takes longer than any of a journal of its size is given up.
func TestReadingHasALimit(t *testing.T) {
	r := story(t).open()
	r.patience = 1
	_, err := r.Verify(t.Context())
	if err != errTooLong {
		t.Errorf("Verify = %v, want %v", err, errTooLong)
	}
	for _, err := range r.Events(t.Context(), Filter{}) {
		if err != errTooLong {
			t.Errorf("Events = %v, want %v", err, errTooLong)
		}
	}
	r.patience = 50 * time.Millisecond // and one that is at work
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return r.among(ctx, tx, []int64{1, 2}, walk{table: "exchanges",
			columns: "(WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT count(*) FROM n)"}, new(idRow), func() {})
	}); err != errTooLong {
		t.Errorf("a query without end = %v, want %v", err, errTooLong)
	}
	if ctx.Err() != nil {
		t.Errorf("it was ended by %v, and not for having taken too long", ctx.Err())
	}
}

// A journal of an older parley is read as it is. A server brings it up to date, and what it
// had carries no checksum, which is said.
func TestOldJournalIsBroughtUpToDate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	db, err := sql.Open("sqlite", dataSource(file, "_pragma=journal_mode(WAL)", lockPatience))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		schema, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 1", fileID),
		"INSERT INTO sessions VALUES (1, 1, 'r', 'l', 1000, 9000, 'eof', 2, 2, 5, 6)",
		"INSERT INTO exchanges VALUES (1, 1, 1, 2000, 10, CAST('a' AS BLOB), CAST('b' AS BLOB)), (2, 77, 1, 3000, 10, CAST('c' AS BLOB), NULL)",
		"INSERT INTO cuts VALUES (2, 5, 0)",
	} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	const old = "+1 1.1? 1.1! 77.1? -1"
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := briefs(t, r, Filter{}); got != old {
		t.Errorf("as it is it reads %s, want %s", got, old)
	}
	v, err := r.Verify(t.Context())
	if want := (Verdict{Sessions: 1, Exchanges: 2, Unsummed: 3}); v != want || err != nil {
		t.Errorf("as it is Verify = %+v, %v; want %+v", v, err, want)
	}
	r.Close()

	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if id := w.SessionID(1); id != 78 {
		t.Errorf("the next session is %d, want 78: 77 has an exchange", id)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("new"), Reply: []byte("y")}})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = Open(file); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := briefs(t, r, Filter{}); got != old+" 78.1? 78.1!" {
		t.Errorf("brought up to date it reads %s", got)
	}
	v, err = r.Verify(t.Context())
	if want := (Verdict{Sessions: 1, Exchanges: 3, Unsummed: 3}); v != want || err != nil {
		t.Errorf("brought up to date Verify = %+v, %v; want %+v", v, err, want)
	}
}

// The numbers of sessions go on behind the highest that anything names, however long ago that
// was recorded, and whether or not the session itself is there.
func TestSessionIDsAreNeverGivenTwice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	f, err := openFile(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{opened: []Session{{ID: 3, Number: 3}}, exchanges: []record{{session: 50, seq: 1, request: -1, reply: -1}}}
	for range 3000 { // many later ones, of a session before it
		b.exchanges = append(b.exchanges, record{session: 2, seq: 1, request: -1, reply: -1})
	}
	if err := f.write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(t.Context())
	if id := w.SessionID(1); id != 51 {
		t.Errorf("the next session is %d, want 51", id)
	}
}

// An exchange whose session is not there is told, as what it is, and so is one whose session's
// record is damaged.
func TestExchangesWithoutASessionAreTold(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	w.exchange(said(1, 1, 1, at(1), 0, []byte("a"), []byte("b")))
	w.exchange(said(2, 9, 1, at(2), 0, []byte("c"), []byte("d")))
	r := w.open()
	if got := briefs(t, r, Filter{}); got != "+1 1.1? 1.1! 9.1? 9.1!" {
		t.Errorf("told %s", got)
	}
	for _, e := range collect(t, r.Events(t.Context(), Filter{Session: 9})) {
		if !e.Session.Lost || e.Session.ID != 9 {
			t.Errorf("its session is %+v, want one that is lost", e.Session)
		}
	}
	if s, exchanges, err := r.Session(t.Context(), 9, 0); !s.Lost || len(exchanges) != 1 || err != nil {
		t.Errorf("session 9 is %+v, %d exchanges, %v", s, len(exchanges), err)
	}
	for filter, want := range map[*Filter]string{{}: "[1 9]", {Text: []byte("c")}: "[9]", {Limit: 1}: "[1]", {Limit: 1, Text: []byte("c")}: "[9]", {Session: 9}: "[9]", {Number: 1}: "[1]", {Since: at(3)}: "[1]"} {
		var ids []int64
		for _, s := range collect(t, r.Sessions(t.Context(), *filter)) {
			ids = append(ids, s.ID)
			if s.Lost != (s.ID == 9) || s.Lost && !s.Opened.Equal(at(2)) {
				t.Errorf("listed is %+v", s)
			}
		}
		if got := fmt.Sprint(ids); got != want {
			t.Errorf("%+v: sessions %s are listed, want %s", *filter, got, want)
		}
	}
	w.exec("UPDATE sessions SET remote = 'another'")
	var damages []Damage
	r.Damaged = func(d Damage) { damages = append(damages, d) }
	if got := briefs(t, r, Filter{}); got != "1.1? 1.1! 9.1? 9.1!" || !slices.Equal(damages, []Damage{{"sessions", 1, 1, badSum}}) {
		t.Errorf("told %s, damages %v", got, damages)
	}
}

// A tick of following looks at what is new, not at each session that is open.
func TestFollowingDoesNotAskForOpenSessions(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	for id := range int64(100) {
		w.session(Session{ID: id + 1, Number: uint64(id + 1), Opened: at(0)})
	}
	r, position := w.open(), newPosition()
	tell := func() (words []string) {
		t.Helper()
		if err := r.tell(t.Context(), &Filter{}, position, func(e Event, _ error) bool {
			words = append(words, brief(e))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return words
	}
	if n := len(tell()); n != 100 {
		t.Fatalf("%d openings are told, want 100", n)
	}
	// Whoever looks at one of those that stay open is told of damage.
	w.exec("UPDATE sessions SET opened_ns = 'x' WHERE id NOT IN (7, 8)")
	r.Damaged = func(d Damage) { t.Errorf("looked at: %v", d) }
	w.session(Session{ID: 7, Number: 7, Opened: at(0), Closed: at(5), Reason: "eof"})
	w.exchange(said(1, 8, 1, at(6), 0, []byte("a"), nil))
	w.session(Session{ID: 101, Number: 101, Opened: at(7)})
	if got := strings.Join(tell(), " "); got != "-7 8.1? +101" {
		t.Errorf("told %s, want -7 8.1? +101", got)
	}
	if got := tell(); got != nil {
		t.Errorf("told %s again", got)
	}
}

// Who wants the newest exchanges does not wait for a look at each session.
func TestAFewExchangesDoNotAskForAllSessions(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	for id := range int64(100) {
		w.session(Session{ID: id + 1, Number: uint64(id + 1), Opened: at(0), Closed: at(5), Reason: "eof"})
	}
	w.exchange(said(1, 8, 1, at(1), 0, []byte("a"), nil))
	w.exchange(said(2, 7, 1, at(2), 0, []byte("b"), nil))
	w.exec("UPDATE sessions SET opened_ns = 'x' WHERE id <> 7")
	r := w.open()
	r.Damaged = func(d Damage) { t.Errorf("looked at: %v", d) }
	if got, want := briefs(t, r, Filter{Limit: 1}), "+7 7.1? -7"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// A clock that is set back, or forward, changes nothing in what followed what.
func TestOrderIsThatOfRecording(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		w := newWritten(t, filepath.Join(t.TempDir(), "j"))
		later := func(ms int) time.Time { return at(ms).Add(step) }
		w.session(Session{ID: 1, Number: 1, Opened: at(0), Closed: later(9), Reason: "eof", Requests: 4, RepliedUpTo: 4})
		w.exchange(said(1, 1, 1, at(1), 3*time.Millisecond, []byte("a"), []byte("A")))
		w.exchange(said(2, 1, 2, at(2), 3*time.Millisecond, []byte("b"), []byte("B"))) // before the reply to a
		w.exchange(said(3, 1, 3, later(6), 2*time.Millisecond, []byte("c"), []byte("C")))
		w.exchange(said(4, 1, 4, later(7), 2*time.Millisecond, []byte("d"), []byte("D")))
		if got, want := briefs(t, w.open(), Filter{}), "+1 1.1? 1.2? 1.1! 1.2! 1.3? 1.4? 1.3! 1.4! -1"; got != want {
			t.Errorf("with the clock set by %v told %s, want %s", step, got, want)
		}
	}
}

// What a server says of its own accord, and to whom it does not let in, is kept and told.
func TestErrorTextsAndRefusalsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !w.Wants(parley.Refused) {
		t.Error("it does not want refusals")
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(0)})
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("a"), Reply: []byte("b")},
		{Received: at(2), Reply: []byte("Error: request longer than 4 bytes")}})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(3), Seq: 1, Replied: 1, Reason: parley.TooLong})
	for i, reason := range []parley.CloseReason{parley.Full, parley.PerIP} {
		w.Observe(&parley.Event{Kind: parley.Refused, Session: parley.NewSession(0, nil, nil, at(4+i)), Time: at(4 + i),
			Reason: reason, Body: []byte("Error: server is full (1 sessions)")})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := briefs(t, r, Filter{}); got != "+1 1.1? 1.1! 1.0! -1 refused full refused per_ip" {
		t.Errorf("told %s", got)
	}
	for filter, want := range map[*Filter]string{
		{Text: []byte("Error")}:                         "+1 1.0! -1 refused full refused per_ip",
		{Text: []byte("longer")}:                        "+1 1.0! -1",
		{Reason: "per_ip"}:                              "refused per_ip",
		{Reason: "eof"}:                                 "",
		{Number: 1, Text: []byte("full")}:               "",
		{Since: at(5)}:                                  "refused per_ip",
		{Address: "10."}:                                "",
		{Limit: 1}:                                      "+1 1.0! -1",
		{Text: []byte("full"), Until: at(5)}:            "refused full",
		{Slower: time.Nanosecond, Text: []byte("full")}: "",
	} {
		if got := briefs(t, r, *filter); got != want {
			t.Errorf("%+v: told %q, want %q", filter, got, want)
		}
	}
	v, err := r.Verify(t.Context())
	if want := (Verdict{Sessions: 1, Exchanges: 2, Refused: 2}); v != want || err != nil {
		t.Errorf("Verify = %+v, %v; want %+v", v, err, want)
	}
}

// With Sync each transaction is synced before its replies go out.
func TestSyncIsFull(t *testing.T) {
	for sync, want := range map[bool]int64{true: 2, false: 1} {
		f, err := openFile(filepath.Join(t.TempDir(), "j"), Options{Sync: sync})
		if err != nil {
			t.Fatal(err)
		}
		var level int64
		if err := queryRow(f.conn, "PRAGMA synchronous", &level); err != nil || level != want {
			t.Errorf("sync %v: synchronous is %d, %v; want %d", sync, level, err, want)
		}
		f.close()
	}
}

// Who no longer wants to know how a session came to be does not keep the next one from it.
func TestOriginIsReadAfterAReadThatWasCutOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{Framing: "netstring"}})
	if err != nil {
		t.Fatal(err)
	}
	w.Observe(&parley.Event{Kind: parley.Opened, Session: parley.NewSession(1, nil, nil, at(0)), Time: at(0)})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.origin(ctx, r.db, 1); err == nil {
		t.Error("a read that was cut off went well")
	}
	if about, err := r.origin(t.Context(), r.db, 1); err != nil || about.Framing != "netstring" {
		t.Errorf("got %+v, %v; want netstring", about, err)
	}
}
