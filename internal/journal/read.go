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
	readableVersion = 1          // PRAGMA user_version of the journals read here
	applicationID   = 0x5061726c // PRAGMA application_id, if it is set: "Parl"

	codeCannotOpen   = 14 // SQLITE_CANTOPEN
	codeNotADatabase = 26 // SQLITE_NOTADB

	lockPatience = 5 * time.Second // with a writer that is just starting or ending
)

// ErrNotAJournal is returned for a file that is something else.
var ErrNotAJournal = errors.New("not a journal of parley")

// A Reader reads a journal, also while a server writes to it, which it never holds up: the
// file is opened read-only, and no transaction stays open while its caller is at work. A
// Reader is safe for use by several goroutines.
type Reader struct {
	file  string
	db    *sql.DB
	alone bool // no writer was there at the start

	batch    int // indexBatch; tests lower it
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
	if primary(codeOf(err)) == codeCannotOpen && r.alone {
		// In a directory that cannot be written there is no place to meet a writer in, and
		// no writer.
		err = r.open("mode=ro&immutable=1")
	}
	if primary(codeOf(err)) == codeNotADatabase {
		err = ErrNotAJournal
	}
	if err != nil {
		return nil, err
	}
	return r, nil
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

// check says whether it is a journal that can be read here.
func (r *Reader) check() error {
	var application, version, tables int
	err := r.db.QueryRow("SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) "+
		"FROM sqlite_schema WHERE type = 'table' AND name IN ('sessions', 'exchanges')").Scan(&application, &version, &tables)
	switch {
	case err != nil:
		return err
	case application != 0 && application != applicationID, tables != 2, version < 1:
		return ErrNotAJournal
	case version > readableVersion:
		return fmt.Errorf("a newer parley has written it (journal version %d; this one reads %d)", version, readableVersion)
	}
	return nil
}

// dataSource is the URI that SQLite knows a file by, and how long it waits for a lock.
func dataSource(file, how string, patience time.Duration) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	path := "/" + strings.TrimPrefix(filepath.ToSlash(file), "/")
	return "file://" + (&url.URL{Path: path}).EscapedPath() + "?" + how + fmt.Sprintf("&_pragma=busy_timeout(%d)", patience.Milliseconds())
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
// whether it got out) or Closed.
type Event struct {
	Kind     parley.EventKind
	Time     time.Time
	Session  *Session
	Exchange *Exchange // of Received and Replied
}

// happened says whether the exchange has what the event is about: a tap sees requests that
// nobody answers, and messages that nobody asked for.
func (e *Event) happened() bool {
	return e.Exchange != nil && (e.Kind == parley.Received && e.Exchange.Request != nil || e.Kind == parley.Replied && e.Exchange.Reply != nil)
}

// Sessions returns the sessions that the filter selects, in the order of opening: those
// that were open at some time between Since and Until and, if the filter looks at
// exchanges, have one that it selects. Limit counts sessions here.
func (r *Reader) Sessions(ctx context.Context, f Filter) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		ids, err := r.sessionIDs(ctx, f)
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
				if s := found[id]; s != nil && !yield(*s, nil) {
					return
				}
			}
		}
	}
}

func (r *Reader) sessionIDs(ctx context.Context, f Filter) (ids []int64, err error) {
	limit := f.Limit
	f.Limit = 0
	err = r.snapshot(ctx, func(tx *sql.Tx) error {
		where := f.ofSessions()
		where.overlap(&f)
		if f.looksAtExchanges() {
			hits, err := r.find(ctx, tx, &f, fromTheStart)
			if err != nil {
				return err
			}
			where.in("s.id", unique(hits, hit.ofSession))
		}
		ids, err = queryIDs(ctx, tx, "SELECT s.id FROM sessions s"+where.clause()+" ORDER BY s.id", where.args...)
		return err
	})
	return newest(ids, limit), err
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
	s := sessions[t.Session]
	if s == nil {
		return Session{}, nil, fs.ErrNotExist
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
	return *s, all, nil
}

// goOn adds what was recorded since the last time to the trail.
func (r *Reader) goOn(ctx context.Context, t *Trail, most int) error {
	return r.snapshot(ctx, func(tx *sql.Tx) error {
		hits, err := r.find(ctx, tx, &Filter{Session: t.Session, Limit: most}, cmp.Or(t.behind, fromTheStart))
		if err != nil {
			return err
		}
		t.found = newest(append(t.found, unique(hits, hit.ofExchange)...), most)
		return tx.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM exchanges").Scan(&t.behind)
	})
}

// Missing is how many exchanges the journal says it does not have: it could not be written.
func (r *Reader) Missing(ctx context.Context) (exchanges int64, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT coalesce(sum(exchanges), 0) FROM gaps").Scan(&exchanges)
	return exchanges, err
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
	open              map[int64]bool // sessions whose opening was told and whose end was not
}

func newPosition() *position { return &position{exchange: fromTheStart, open: make(map[int64]bool)} }

// A moment is an event without its bytes: millions of them fit in memory, are sorted there,
// and need no transaction to stay open while they are told.
type moment struct {
	ns                int64
	session, exchange int64 // exchange is 0 if it is about the session
	kind              parley.EventKind
}

func (m moment) ofExchange() int64 { return m.exchange }
func (m moment) ofSession() int64  { return m.session }
func (h hit) ofExchange() int64    { return h.exchange }
func (h hit) ofSession() int64     { return h.session }

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
		for _, m := range page {
			e := Event{Kind: m.kind, Time: time.Unix(0, m.ns).UTC(), Session: sessions[m.session], Exchange: exchanges[m.exchange]}
			if e.Session == nil || m.exchange != 0 && !e.happened() {
				continue // deleted since
			}
			if !yield(e, nil) {
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
		for _, h := range hits {
			received, replied := h.moments()
			all = append(all, received, replied)
		}
		if all, err = appendSessionMoments(ctx, tx, all, f, at, unique(hits, hit.ofSession)); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT (SELECT coalesce(max(id), 0) FROM sessions), (SELECT coalesce(max(id), 0) FROM exchanges)").
			Scan(&at.session, &at.exchange)
	})
	slices.SortStableFunc(all, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.session, b.session), cmp.Compare(a.exchange, b.exchange))
	})
	return all, err
}

// appendSessionMoments adds the openings that were not told yet, and the ends of what was opened.
func appendSessionMoments(ctx context.Context, tx *sql.Tx, all []moment, f *Filter, at *position, known []int64) ([]moment, error) {
	where := f.ofSessions()
	for id := range at.open {
		known = append(known, id)
	}
	if f.looksAtExchanges() {
		where.in("s.id", known)
	} else {
		where.either("s.id > ?", at.session, "s.id", known)
	}
	rows, err := tx.QueryContext(ctx, "SELECT s.id, s.opened_ns, s.closed_ns FROM sessions s"+where.clause(), where.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		m := moment{kind: parley.Opened}
		var closed sql.NullInt64
		if err := rows.Scan(&m.session, &m.ns, &closed); err != nil {
			return nil, err
		}
		if !at.open[m.session] && f.covers(m.ns) {
			all = append(all, m)
		}
		at.open[m.session] = true
		if closed.Valid {
			delete(at.open, m.session)
			if f.covers(closed.Int64) {
				all = append(all, moment{ns: closed.Int64, session: m.session, kind: parley.Closed})
			}
		}
	}
	return all, rows.Err()
}

// snapshot lets f read the journal as it was at one moment.
func (r *Reader) snapshot(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return f(tx)
}

// pageSize is how many rows are read at once; what they say is in memory together.
const pageSize = 64

func (r *Reader) sessions(ctx context.Context, ids []int64) (map[int64]*Session, error) {
	found := make(map[int64]*Session, len(ids))
	rows, err := r.db.QueryContext(ctx, "SELECT id, number, remote, local, opened_ns, closed_ns, reason, requests, replied_upto, "+
		"bytes_in, bytes_out FROM sessions WHERE id IN (SELECT value FROM json_each(?))", list(ids))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		s := new(Session)
		var opened int64
		var closed sql.NullInt64
		var reason sql.NullString
		if err := rows.Scan(&s.ID, &s.Number, &s.Remote, &s.Local, &opened, &closed, &reason, &s.Requests, &s.RepliedUpTo,
			&s.BytesIn, &s.BytesOut); err != nil {
			return nil, err
		}
		s.Opened, s.Reason = time.Unix(0, opened).UTC(), reason.String
		if closed.Valid {
			s.Closed = time.Unix(0, closed.Int64).UTC()
		}
		found[s.ID] = s
	}
	return found, rows.Err()
}

func (r *Reader) exchanges(ctx context.Context, ids []int64) (map[int64]*Exchange, error) {
	found := make(map[int64]*Exchange, len(ids))
	rows, err := r.db.QueryContext(ctx, "SELECT e.id, e.session, e.seq, e.received_ns, e.took_ns, e.request, e.reply, coalesce(c.request, 0), coalesce(c.reply, 0) "+
		"FROM exchanges e LEFT JOIN cuts c ON c.exchange = e.id WHERE e.id IN (SELECT value FROM json_each(?))", list(ids))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		x := new(Exchange)
		var received int64
		if err := rows.Scan(&x.ID, &x.Session, &x.Seq, &received, &x.Took, (*blob)(&x.Request), (*blob)(&x.Reply), &x.RequestCut, &x.ReplyCut); err != nil {
			return nil, err
		}
		x.Received = time.Unix(0, received).UTC()
		found[x.ID] = x
	}
	return found, rows.Err()
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

func queryIDs(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return nextIDs(rows, math.MaxInt)
}
