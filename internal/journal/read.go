package journal

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/parley-tcp/parley"
)

const (
	readableVersion = 2          // PRAGMA user_version of the newest journals read here
	applicationID   = 0x5061726c // PRAGMA application_id, if it is set: "Parl"

	codePermission   = 3  // SQLITE_PERM
	codeReadOnly     = 8  // SQLITE_READONLY
	codeCannotOpen   = 14 // SQLITE_CANTOPEN
	codeNotADatabase = 26 // SQLITE_NOTADB

	lockPatience = 5 * time.Second // with a writer that is just starting or ending
)

// ErrNotAJournal is returned for a file that is something else.
var ErrNotAJournal = errors.New("not a journal of parley")

// A Reader reads a journal, also while a server writes to it, which it never holds up: the
// file is opened read-only, and no transaction stays open while its caller is at work. A
// Reader is safe for use by several goroutines.
//
// What is damaged is left out. Who wants to know of it sets Damaged before reading.
type Reader struct {
	Damaged func(Damage) // told of each damage once; nothing is if it is nil
	Notice  string       // what is known to be missing of the whole, as the newest records; empty if nothing

	file    string
	db      *sql.DB
	version int
	alone   bool // no writer was there at the start, and what a reader leaves behind can be taken away

	mu       sync.Mutex
	reported map[Damage]bool

	batch    int           // indexBatch; tests lower it
	patience time.Duration // instead of limit's, if not 0; of tests
	indexing sync.Mutex
	index    atomic.Pointer[textIndex] // nil until Index has brought it up to date
}

// Open opens a journal for reading. The error is fs.ErrNotExist if there is none,
// ErrNotAJournal, or says that a newer parley has written it.
func Open(file string) (*Reader, error) {
	// SQLite would say no more than that it cannot open it.
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case !info.Mode().IsRegular():
		return nil, ErrNotAJournal
	}
	r := &Reader{file: file, alone: !isFile(file + "-wal"), batch: indexBatch}
	err = r.open("mode=ro")
	switch primary(codeOf(err)) {
	case codeCannotOpen, codeReadOnly, codePermission:
		err = r.openUnwritable(err)
	case codeNotADatabase:
		err = ErrNotAJournal
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openUnwritable opens a journal where SQLite has no place to meet a writer in: its directory
// or its file system cannot be written. Then there is none, unless it is another user's.
func (r *Reader) openUnwritable(why error) error {
	f, err := os.Open(r.file)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	if err := tryReadLock(f); err == errLocked {
		return fmt.Errorf("%w; while a server writes it, it can be read only by who may write beside it", why)
	}
	r.alone = false
	log, err := os.Open(r.file + "-wal")
	if err == nil {
		defer log.Close()
	}
	info, statErr := os.Stat(r.file + "-wal")
	switch {
	case errors.Is(err, fs.ErrNotExist), statErr == nil && info.Size() == 0:
		return r.open("mode=ro&immutable=1")
	case err != nil:
		r.Notice = fmt.Sprintf("the newest records are missing: its -wal file cannot be read (%v)", errors.Unwrap(err))
		return r.open("mode=ro&immutable=1")
	}
	// Without locks, and with the index of the -wal file in memory.
	return r.open("mode=ro&vfs=unix-none&_pragma=locking_mode(EXCLUSIVE)")
}

func (r *Reader) open(how string) (err error) {
	if r.db, err = sql.Open("sqlite", dataSource(r.file, how, lockPatience)); err != nil {
		return err
	}
	if err = r.check(); err != nil {
		r.db.Close()
	}
	return err
}

// check says whether it is a journal that can be read here. What is in the file is not
// trusted: a view could stand where a table is expected, and compute for ever.
func (r *Reader) check() error {
	var application, tables, computed int
	err := r.db.QueryRow("SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), "+
		"(SELECT count(*) FROM sqlite_schema WHERE "+isOurTable+"), "+
		"(SELECT count(*) FROM (SELECT name AS ours FROM sqlite_schema WHERE "+isOurTable+"), pragma_table_xinfo(ours) WHERE hidden > 0)").
		Scan(&application, &r.version, &tables, &computed)
	switch {
	case err != nil:
		return err
	case application != 0 && application != applicationID, r.version < 1:
		return ErrNotAJournal
	case r.version > readableVersion:
		return fmt.Errorf("a newer parley has written it (journal version %d; this one reads %d)", r.version, readableVersion)
	case int64(tables) != ourTables(int64(r.version)), computed > 0:
		return ErrNotAJournal
	}
	return nil
}

// dataSource is the URI that SQLite knows a file by, and how long it waits for a lock.
func dataSource(file, how string, patience time.Duration) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	path := "/" + strings.TrimPrefix(filepath.ToSlash(file), "/")
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + how +
		fmt.Sprintf("&_pragma=busy_timeout(%d)&_pragma=trusted_schema(OFF)&_pragma=cell_size_check(ON)", patience.Milliseconds())
}

// codeOf is SQLite's own number of an error, with its details.
func codeOf(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// primary is such a number without its details.
func primary(code int) int { return code & 0xff }

func isFile(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// Close closes the files.
func (r *Reader) Close() error {
	var err error
	if index := r.index.Load(); index != nil {
		err = index.db.Close()
	}
	err = errors.Join(err, r.db.Close())
	if r.alone {
		r.tidy()
	}
	return err
}

// tidy takes away the empty -wal and -shm files that a read-only connection has to make where
// there are none, and cannot take away. The last connection that may write does, and only if
// it is the last.
func (r *Reader) tidy() {
	db, err := sql.Open("sqlite", dataSource(r.file, "mode=rw", lockPatience))
	if err != nil {
		return
	}
	defer db.Close()
	db.Exec("SELECT count(*) FROM sqlite_schema")
}

// Replied says whether a reply of the session was written whole: yes, no, or unknown if
// nobody saw the session end. The view replies says the same in SQL.
func (s *Session) Replied(seq uint64) string {
	switch {
	case seq <= s.RepliedUpTo:
		return "yes"
	case s.Closed.IsZero():
		return "unknown"
	}
	return "no"
}

// An Event is what happened to a session, put together from its row or from one of its
// exchanges: parley.Opened, Received, Replied (the reply was made; see Session.Replied for
// whether it got out), Closed, or Refused of a connection that did not become one.
type Event struct {
	Kind     parley.EventKind
	Time     time.Time
	Session  *Session  // of Refused, what is known of the connection
	Exchange *Exchange // of Received and Replied
	Text     []byte    // of Refused, what the peer was told; nil if nothing
}

// happened says whether the exchange has what the event is about: a tap sees requests that
// nobody answers, and messages that nobody asked for.
func (e *Event) happened() bool {
	return e.Exchange != nil && (e.Kind == parley.Received && e.Exchange.Request != nil || e.Kind == parley.Replied && e.Exchange.Reply != nil)
}

// Sessions returns the sessions that the filter selects, in the order of opening: those
// that were open at some time between Since and Until and, if the filter looks at
// exchanges, have one that it selects. Limit counts sessions here, and those that are lost are
// not looked for then. Of one that is lost, Opened is when its first exchange came.
func (r *Reader) Sessions(ctx context.Context, f Filter) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		ids, orphans, err := r.sessionIDs(ctx, f)
		if err != nil {
			yield(Session{}, err)
			return
		}
		for page := range slices.Chunk(ids, pageSize) {
			found, err := r.sessions(ctx, page)
			if err != nil {
				yield(Session{}, err)
				return
			}
			for _, id := range page {
				if s := cmp.Or(found[id], orphans[id]); s != nil && !yield(*s, nil) {
					return
				}
			}
		}
	}
}

// sessionIDs are the sessions that the filter selects, and those of them that are lost.
func (r *Reader) sessionIDs(ctx context.Context, f Filter) (ids []int64, lost map[int64]*Session, err error) {
	limit := f.Limit
	f.Limit = 0
	var orphans []hit
	err = r.snapshot(ctx, func(tx *sql.Tx) error {
		where := f.ofSessions()
		where.overlap(&f)
		var hits []hit
		if f.looksAtExchanges() {
			if hits, err = r.find(ctx, tx, &f, fromTheStart); err != nil {
				return err
			}
			where.in("id", unique(hits, hit.ofSession))
		}
		if ids, err = r.sessionsWhere(ctx, tx, where); err != nil {
			return err
		}
		if limit == 0 || f.looksAtExchanges() { // to find them means to go through all exchanges
			orphans, err = r.orphans(ctx, tx, &f, hits)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if lost, err = r.lostSessions(ctx, orphans); err != nil {
		return nil, nil, err
	}
	for id := range lost {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return newest(ids, limit), lost, nil
}

// orphans are the exchanges that the filter selects and whose sessions are lost; hits are all
// that it selects, if it looks at exchanges.
func (r *Reader) orphans(ctx context.Context, tx *sql.Tx, f *Filter, hits []hit) ([]hit, error) {
	if f.Number != 0 || f.Address != "" || f.Reason != "" {
		return nil, nil // nobody knows
	}
	if !f.looksAtExchanges() {
		where, err := r.ofExchanges(ctx, tx, f)
		if err != nil {
			return nil, err
		}
		where.add("session NOT IN (SELECT id FROM sessions)")
		if hits, err = r.appendHits(ctx, tx, nil, f, where, fromTheStart, 0); err != nil {
			return nil, err
		}
		slices.Reverse(hits)
	}
	there := new(conditions)
	there.in("id", unique(hits, hit.ofSession))
	recorded, err := r.sessionsWhere(ctx, tx, there)
	return slices.DeleteFunc(hits, func(h hit) bool {
		_, found := slices.BinarySearch(recorded, h.session)
		return found
	}), err
}

// lostSessions are the sessions of some exchanges, unless these are damaged.
func (r *Reader) lostSessions(ctx context.Context, orphans []hit) (map[int64]*Session, error) {
	all := make(map[int64]*Session)
	for page := range slices.Chunk(orphans, pageSize) {
		exchanges, err := r.exchanges(ctx, unique(page, hit.ofExchange))
		if err != nil {
			return nil, err
		}
		for _, h := range page {
			if x := exchanges[h.exchange]; x != nil && all[x.Session] == nil {
				all[x.Session] = lost(x.Session)
				all[x.Session].Opened = x.Received
			}
		}
	}
	return all, nil
}

// newest are the last so many; all if the limit is 0.
func newest[T any](all []T, limit int) []T {
	if limit > 0 && len(all) > limit {
		return all[len(all)-limit:]
	}
	return all
}

// Exchanges returns the exchanges that the filter selects, in the order of recording.
func (r *Reader) Exchanges(ctx context.Context, f Filter) iter.Seq2[Exchange, error] {
	return func(yield func(Exchange, error) bool) {
		var hits []hit
		err := r.snapshot(ctx, func(tx *sql.Tx) (err error) {
			hits, err = r.find(ctx, tx, &f, fromTheStart)
			return err
		})
		if err != nil {
			yield(Exchange{}, err)
			return
		}
		for page := range slices.Chunk(hits, pageSize) {
			exchanges, err := r.exchanges(ctx, unique(page, hit.ofExchange))
			if err != nil {
				yield(Exchange{}, err)
				return
			}
			for _, h := range page {
				if x := exchanges[h.exchange]; x != nil && !yield(*x, nil) {
					return
				}
			}
		}
	}
}

// A Trail is where the exchanges of a session were found, so that asking for it again looks
// only at what was recorded since: there is no index of sessions.
type Trail struct {
	Session int64 // its ID

	found  []int64
	behind int64 // which exchange nothing was looked at; 0 before the first time
}

// Session returns the session of the trail and the last most of its exchanges, all if that
// is 0, in their order. The error is fs.ErrNotExist if there is none.
func (r *Reader) Session(ctx context.Context, t *Trail, most int) (Session, []Exchange, error) {
	sessions, err := r.sessions(ctx, []int64{t.Session})
	if err != nil {
		return Session{}, nil, err
	}
	if err := r.goOn(ctx, t, most); err != nil {
		return Session{}, nil, err
	}
	found, err := r.exchanges(ctx, t.found)
	if err != nil {
		return Session{}, nil, err
	}
	var all []Exchange
	for _, id := range t.found {
		if x := found[id]; x != nil { // not deleted since
			all = append(all, *x)
		}
	}
	s := sessions[t.Session]
	switch {
	case s == nil && len(all) == 0:
		return Session{}, nil, fs.ErrNotExist
	case s == nil:
		s = lost(t.Session)
	}
	return *s, all, nil
}

// lost is a session of which only exchanges are there.
func lost(id int64) *Session { return &Session{ID: id, Lost: true} }

// goOn adds what was recorded since the last time to the trail.
func (r *Reader) goOn(ctx context.Context, t *Trail, most int) error {
	return r.snapshot(ctx, func(tx *sql.Tx) error {
		hits, err := r.find(ctx, tx, &Filter{Session: t.Session, Limit: most}, cmp.Or(t.behind, fromTheStart))
		if err != nil {
			return err
		}
		t.found = newest(append(t.found, unique(hits, hit.ofExchange)...), most)
		t.behind, err = r.lastID(ctx, tx, "exchanges")
		return err
	})
}

// Missing is how many exchanges the journal says it does not have: it could not be written.
func (r *Reader) Missing(ctx context.Context) (exchanges int64, err error) {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	err = r.db.QueryRowContext(ctx, "SELECT coalesce(sum(exchanges), 0) FROM gaps").Scan(&exchanges)
	return exchanges, inTime(ctx, err)
}

// Events tells what the filter selects in the order of time: the exchanges, and the opening
// and the end of their sessions. A session without exchanges is told of if the filter does
// not look at exchanges.
func (r *Reader) Events(ctx context.Context, f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := r.tell(ctx, &f, newPosition(), yield); err != nil && err != errEnough {
			yield(Event{}, err)
		}
	}
}

// followEvery is how long what is recorded waits to be told.
const followEvery = 200 * time.Millisecond

// Follow is Events and then what is recorded, until the context ends. Of the past, Limit
// takes the newest exchanges; it does not count those to come.
func (r *Reader) Follow(ctx context.Context, f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at := newPosition()
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for {
			err := r.tell(ctx, &f, at, yield)
			if ctx.Err() != nil || err == errEnough {
				return
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// errEnough is that the caller wants no more.
var errEnough = errors.New("enough")

// A position is how far a journal has been told.
type position struct {
	session, exchange int64          // the last ones that were there
	refusal, ended    int64          // the same of refusals, and of the ends of sessions
	open              map[int64]bool // sessions whose opening was told and whose end was not
}

func newPosition() *position { return &position{exchange: fromTheStart, open: make(map[int64]bool)} }

// A moment is an event without its bytes: millions of them fit in memory, are sorted there,
// and need no transaction to stay open while they are told.
type moment struct {
	ns, order         int64 // the time, and what it is sorted by
	session, exchange int64 // exchange is 0 if it is about the session; a refusal's if it is about that
	kind              parley.EventKind
}

func (m moment) ofExchange() int64 {
	if m.kind == parley.Refused {
		return 0
	}
	return m.exchange
}

func (m moment) ofRefusal() int64 {
	if m.kind != parley.Refused {
		return 0
	}
	return m.exchange
}

func (m moment) ofSession() int64 { return m.session }
func (h hit) ofExchange() int64   { return h.exchange }
func (h hit) ofSession() int64    { return h.session }

// unique returns each of the numbers once. 0 is none.
func unique[T any](all []T, of func(T) int64) []int64 {
	ids := make([]int64, 0, len(all))
	for _, one := range all {
		if id := of(one); id != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// tell yields the events behind the position and moves it.
func (r *Reader) tell(ctx context.Context, f *Filter, at *position, yield func(Event, error) bool) error {
	moments, err := r.moments(ctx, f, at)
	if err != nil {
		return err
	}
	for page := range slices.Chunk(moments, pageSize) {
		sessions, err := r.sessions(ctx, unique(page, moment.ofSession))
		if err != nil {
			return err
		}
		exchanges, err := r.exchanges(ctx, unique(page, moment.ofExchange))
		if err != nil {
			return err
		}
		refusals, err := r.refusals(ctx, unique(page, moment.ofRefusal))
		if err != nil {
			return err
		}
		for _, m := range page {
			e := Event{Kind: m.kind, Time: time.Unix(0, m.ns).UTC(), Session: sessions[m.session]}
			there := false // and not deleted since, nor damaged
			switch refusal := refusals[m.ofRefusal()]; {
			case refusal != nil:
				e.Session = &Session{Remote: refusal.Remote, Local: refusal.Local, Opened: e.Time, Closed: e.Time, Reason: refusal.Reason}
				e.Text, there = refusal.Text, true
			case m.ofExchange() != 0:
				e.Exchange = exchanges[m.exchange]
				e.Session = cmp.Or(e.Session, lost(m.session))
				there = e.happened()
			case m.kind != parley.Refused:
				there = e.Session != nil
			}
			if there && !yield(e, nil) {
				return errEnough
			}
		}
	}
	return nil
}

// moments are the events behind the position, in the order of time.
func (r *Reader) moments(ctx context.Context, f *Filter, at *position) (all []moment, err error) {
	err = r.snapshot(ctx, func(tx *sql.Tx) error {
		hits, err := r.find(ctx, tx, f, at.exchange)
		if err != nil {
			return err
		}
		openings, ends, err := r.sessionMoments(ctx, tx, f, at, at.exchange == fromTheStart, unique(hits, hit.ofSession))
		if err != nil {
			return err
		}
		all = inOrder(openings, hits, ends)
		if all, err = r.appendRefusals(ctx, tx, all, f, at); err != nil {
			return err
		}
		if at.session, err = r.lastID(ctx, tx, "sessions"); err != nil {
			return err
		}
		at.exchange, err = r.lastID(ctx, tx, "exchanges")
		return err
	})
	slices.SortStableFunc(all, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.session, b.session))
	})
	return all, err
}

// inOrder has the moments of each session follow each other as they were recorded, whatever
// the clock was set to meanwhile: where a request is earlier than the one before it, the
// clock was set back, and what comes is put behind what was.
func inOrder(openings []moment, hits []hit, ends []moment) (all []moment) {
	type clock struct{ ahead, request, last int64 }
	clocks := make(map[int64]*clock)
	of := func(session, ns int64) *clock {
		if clocks[session] == nil {
			clocks[session] = &clock{request: ns, last: ns}
		}
		return clocks[session]
	}
	all = make([]moment, 0, len(openings)+2*len(hits)+len(ends))
	for _, m := range openings {
		of(m.session, m.ns)
		m.order = m.ns
		all = append(all, m)
	}
	for _, h := range hits {
		c := of(h.session, h.received)
		received := h.received + c.ahead
		if !h.unasked { // a message that nobody asked for may be recorded before an earlier request
			if received < c.request {
				c.ahead += c.last - received
				received = c.last
			}
			c.request = received
		}
		replied := received + h.took
		c.last = max(c.last, received, replied)
		all = append(all, moment{h.received, received, h.session, h.exchange, parley.Received},
			moment{h.received + h.took, replied, h.session, h.exchange, parley.Replied})
	}
	for _, m := range ends {
		m.order = max(m.ns, of(m.session, m.ns).last)
		all = append(all, m)
	}
	return all
}

// sessionMoments are the openings that were not told yet, and the ends of what was opened.
// known are the sessions of exchanges that are told now.
func (r *Reader) sessionMoments(ctx context.Context, tx *sql.Tx, f *Filter, at *position, first bool, known []int64) (openings, ends []moment, err error) {
	if !first {
		// Not each of those that are open is looked at: there may be many, at each tick.
		known = slices.DeleteFunc(known, func(id int64) bool { return at.open[id] })
	}
	var row sessionSpan
	use := func() bool {
		at.ended = max(at.ended, row.ended.Int64)
		if _, isKnown := slices.BinarySearch(known, row.session); !at.open[row.session] {
			if f.looksAtExchanges() && !isKnown {
				return true // it was not selected
			}
			if f.covers(row.opened) {
				openings = append(openings, moment{ns: row.opened, session: row.session, kind: parley.Opened})
			}
			at.open[row.session] = true
		}
		if row.closed.Valid {
			delete(at.open, row.session)
			if f.covers(row.closed.Int64) {
				ends = append(ends, moment{ns: row.closed.Int64, session: row.session, kind: parley.Closed})
			}
		}
		return true
	}
	w := walk{table: "sessions", columns: r.spanColumns(), where: *f.ofSessions(), from: at.session + 1, to: math.MaxInt64}
	if err := r.walk(ctx, tx, w, &row, use); err != nil || first {
		return openings, ends, err
	}
	ended, err := r.endedSince(ctx, tx, at.ended)
	if err != nil {
		return nil, nil, err
	}
	w.where = *f.ofSessions()
	w.where.in("id", append(ended, known...))
	w.from, w.to = 1, at.session
	return openings, ends, r.walk(ctx, tx, w, &row, use)
}

// endedSince are the sessions whose ends were recorded behind one of them.
func (r *Reader) endedSince(ctx context.Context, tx *sql.Tx, end int64) (ids []int64, err error) {
	if r.version == 1 { // whoever wrote it has no such numbers
		return nil, nil
	}
	rows, err := tx.QueryContext(ctx, "SELECT id FROM sessions WHERE ended > ?", end)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return nextIDs(rows, math.MaxInt)
}

func (r *Reader) spanColumns() string {
	if r.version == 1 {
		return "id, opened_ns, closed_ns, NULL"
	}
	return "id, opened_ns, closed_ns, ended"
}

// A sessionSpan is when a session began and ended.
type sessionSpan struct {
	session, opened int64
	closed, ended   sql.NullInt64
}

func (s *sessionSpan) id() int64      { return s.session }
func (s *sessionSpan) columns() []any { return []any{&s.session, &s.opened, &s.closed, &s.ended} }

// sessionsWhere are the ids of the sessions that meet the conditions, in their order.
func (r *Reader) sessionsWhere(ctx context.Context, tx *sql.Tx, where *conditions) (ids []int64, err error) {
	var id idRow
	err = r.walk(ctx, tx, walk{table: "sessions", columns: "id", where: *where, from: 1, to: math.MaxInt64}, &id, func() bool {
		ids = append(ids, int64(id))
		return true
	})
	return ids, err
}

// lastID is the highest one of a table that can be read; 0 if there is none.
func (r *Reader) lastID(ctx context.Context, tx *sql.Tx, table string) (int64, error) {
	var id idRow
	err := r.walk(ctx, tx, walk{table: table, columns: "id", from: 1, to: math.MaxInt64, newestFirst: true}, &id, func() bool { return false })
	return int64(id), err
}

type idRow int64

func (r *idRow) id() int64      { return int64(*r) }
func (r *idRow) columns() []any { return []any{(*int64)(r)} }

// appendRefusals adds the refusals that were not told yet.
func (r *Reader) appendRefusals(ctx context.Context, tx *sql.Tx, all []moment, f *Filter, at *position) ([]moment, error) {
	if r.version == 1 || !f.refusals() {
		return all, nil
	}
	var row refusalRow
	err := r.walk(ctx, tx, walk{table: "refused", columns: refusalColumns, from: at.refusal + 1, to: math.MaxInt64}, &row, func() bool {
		at.refusal = row.ID
		if refusal := row.refusal(r); refusal != nil && f.selects(refusal) {
			ns := refusal.At.UnixNano()
			all = append(all, moment{ns: ns, order: ns, exchange: row.ID, kind: parley.Refused})
		}
		return true
	})
	return all, err
}

// snapshot lets f read the journal as it was at one moment.
func (r *Reader) snapshot(ctx context.Context, f func(*sql.Tx) error) error {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return inTime(ctx, err)
	}
	defer tx.Rollback()
	return inTime(ctx, f(tx))
}

// pageSize is how many rows are read at once; what they say is in memory together.
const pageSize = 64

// among reads the rows of some ids.
func (r *Reader) among(ctx context.Context, ids []int64, w walk, row row, use func()) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := r.limit(ctx)
	defer cancel()
	w.from, w.to = ids[0], ids[len(ids)-1]
	w.where.in("id", ids)
	return inTime(ctx, r.walk(ctx, r.db, w, row, func() bool {
		use()
		return true
	}))
}

// A sessionRow is a row of sessions.
type sessionRow struct {
	Session
	opened             int64
	closed, ended, sum sql.NullInt64
	reason             sql.NullString
}

func (s *sessionRow) id() int64 { return s.ID }
func (s *sessionRow) columns() []any {
	return []any{&s.ID, &s.Number, &s.Remote, &s.Local, &s.opened, &s.closed, &s.reason, &s.Requests, &s.RepliedUpTo, &s.BytesIn, &s.BytesOut, &s.ended, &s.sum}
}

// session is what the row says; nil, and reported, if that is not what was written.
func (s *sessionRow) session(r *Reader) *Session {
	one := s.Session
	one.Opened, one.Closed, one.Reason = time.Unix(0, s.opened).UTC(), time.Time{}, s.reason.String
	if s.closed.Valid {
		one.Closed = time.Unix(0, s.closed.Int64).UTC()
	}
	if s.sum.Valid && s.sum.Int64 != new(checksummer).session(&one, s.ended.Int64) {
		r.report(Damage{"sessions", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) sessionColumns() string {
	const columns = "id, number, remote, local, opened_ns, closed_ns, reason, requests, replied_upto, bytes_in, bytes_out, "
	if r.version == 1 {
		return columns + "NULL, NULL"
	}
	return columns + "ended, sum"
}

func (r *Reader) sessions(ctx context.Context, ids []int64) (map[int64]*Session, error) {
	found := make(map[int64]*Session, len(ids))
	var row sessionRow
	err := r.among(ctx, ids, walk{table: "sessions", columns: r.sessionColumns()}, &row, func() {
		if s := row.session(r); s != nil {
			found[s.ID] = s
		}
	})
	return found, err
}

// An exchangeRow is a row of exchanges, and what cuts has of it.
type exchangeRow struct {
	Exchange
	received       int64
	request, reply blob
	sum            sql.NullInt64
}

func (x *exchangeRow) id() int64 { return x.ID }
func (x *exchangeRow) columns() []any {
	return []any{&x.ID, &x.Session, &x.Seq, &x.received, &x.Took, &x.request, &x.reply, &x.RequestCut, &x.ReplyCut, &x.sum}
}

// exchange is what the row says; nil, and reported, if that is not what was written.
func (x *exchangeRow) exchange(r *Reader) *Exchange {
	one := x.Exchange
	one.Received, one.Request, one.Reply = time.Unix(0, x.received).UTC(), x.request, x.reply
	sum := new(checksummer).exchange(one.ID, one.Session, int64(one.Seq), x.received, int64(one.Took),
		int64(one.RequestCut), int64(one.ReplyCut), one.Request, one.Reply)
	if x.sum.Valid && x.sum.Int64 != sum {
		r.report(Damage{"exchanges", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

const joinCuts = " LEFT JOIN cuts ON cuts.exchange = exchanges.id"

func (r *Reader) exchangeColumns() string {
	const columns = "id, session, seq, received_ns, took_ns, exchanges.request, exchanges.reply, coalesce(cuts.request, 0), coalesce(cuts.reply, 0), "
	if r.version == 1 {
		return columns + "NULL"
	}
	return columns + "sum"
}

func (r *Reader) exchanges(ctx context.Context, ids []int64) (map[int64]*Exchange, error) {
	found := make(map[int64]*Exchange, len(ids))
	var row exchangeRow
	err := r.among(ctx, ids, walk{table: "exchanges", join: joinCuts, columns: r.exchangeColumns()}, &row, func() {
		if x := row.exchange(r); x != nil {
			found[x.ID] = x
		}
	})
	return found, err
}

// A refusalRow is a row of refused.
type refusalRow struct {
	Refusal
	at   int64
	told blob
	sum  sql.NullInt64
}

const refusalColumns = "id, at_ns, remote, local, reason, told, sum"

func (x *refusalRow) id() int64 { return x.ID }
func (x *refusalRow) columns() []any {
	return []any{&x.ID, &x.at, &x.Remote, &x.Local, &x.Reason, &x.told, &x.sum}
}

// refusal is what the row says; nil, and reported, if that is not what was written.
func (x *refusalRow) refusal(r *Reader) *Refusal {
	one := x.Refusal
	one.At, one.Text = time.Unix(0, x.at).UTC(), x.told
	if x.sum.Valid && x.sum.Int64 != new(checksummer).refusal(&one) {
		r.report(Damage{"refused", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) refusals(ctx context.Context, ids []int64) (map[int64]*Refusal, error) {
	found := make(map[int64]*Refusal, len(ids))
	var row refusalRow
	err := r.among(ctx, ids, walk{table: "refused", columns: refusalColumns}, &row, func() {
		if one := row.refusal(r); one != nil {
			found[one.ID] = one
		}
	})
	return found, err
}

// A blob is a column of bytes in which nothing and no bytes are two things.
type blob []byte

func (b *blob) Scan(column any) error {
	switch v := column.(type) {
	case nil:
		*b = nil
	case []byte:
		*b = append([]byte{}, v...)
	case string:
		*b = []byte(v)
	default:
		return fmt.Errorf("%T where bytes are expected", v)
	}
	return nil
}

// list is numbers as SQLite's json_each takes them: one parameter, however many there are.
func list(ids []int64) string {
	text, _ := json.Marshal(ids) // numbers cannot fail
	return string(text)
}
