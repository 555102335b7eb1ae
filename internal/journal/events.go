package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
)

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
// whether it got out), Closed, or Refused of a connection that did not become one. Faulted is what
// went wrong on purpose, and not told of if the filter looks at exchanges. Stray, if the filter asks
// for them, is bytes that belong to no message.
type Event struct {
	Kind     parley.EventKind
	Time     time.Time
	Session  *Session   // of Refused, what is known of the connection
	Exchange *Exchange  // of Received, Replied and Stray
	Fault    *Fault     // of Faulted
	Text     []byte     // of Refused, what the peer was told; nil if nothing
	RawText  parley.Raw // the same as it was sent, where that is known
}

// happened says whether the exchange has what the event is about: a tap sees requests that
// nobody answers, and messages that nobody asked for.
func (e *Event) happened() bool {
	switch {
	case e.Exchange == nil:
		return false
	case e.Kind == parley.Received:
		return e.Exchange.Request != nil
	case e.Kind == parley.Replied:
		return e.Exchange.Reply != nil
	}
	return true
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
	fault             int64          // the same of faults
	open              map[int64]bool // sessions whose opening was told and whose end was not
}

func newPosition() *position { return &position{exchange: fromTheStart, open: make(map[int64]bool)} }

// A moment is an event without its bytes: millions of them fit in memory, are sorted there,
// and need no transaction to stay open while they are told.
type moment struct {
	ns, order         int64 // the time, and what it is sorted by
	session, exchange int64 // exchange is 0 if it is about the session; a refusal's or a fault's if it is about that
	kind              parley.EventKind
}

// An ending is the end of a session, and its last exchange, 0 if it has none.
type ending struct {
	moment
	last int64
}

func (m moment) ofExchange() int64 {
	if m.kind == parley.Refused || m.kind == parley.Faulted {
		return 0
	}
	return m.exchange
}

func (m moment) ofFault() int64 {
	if m.kind != parley.Faulted {
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

// tell yields the events behind the position and moves it.
func (r *Reader) tell(ctx context.Context, f *Filter, at *position, yield func(Event, error) bool) error {
	return readAhead(ctx, yield, func(ctx context.Context, pages chan<- []Event) error {
		whole, err := r.newTelling(ctx, f, at)
		if err != nil {
			return err
		}
		if whole != nil {
			return whole.tellAll(ctx, pages)
		}
		moments, err := r.moments(ctx, f, at)
		if err != nil {
			return err
		}
		return r.readMoments(ctx, moments, pages)
	})
}

// readAhead yields what read sends: while one page is used the next one is read. Once another is sent, the page
// before it is no longer needed.
func readAhead[T any](ctx context.Context, yield func(T, error) bool, read func(ctx context.Context, pages chan<- []T) error) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	pages, failed := make(chan []T), make(chan error, 1)
	reading.Go(func() {
		defer close(pages)
		failed <- read(ctx, pages)
	})
	for page := range pages {
		for _, one := range page {
			if !yield(one, nil) {
				return errEnough
			}
		}
	}
	return <-failed
}

// send gives a page to readAhead.
func send[T any](ctx context.Context, pages chan<- []T, page []T) error {
	select {
	case pages <- page:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readMoments reads what the moments are about, page by page.
func (r *Reader) readMoments(ctx context.Context, moments []moment, pages chan<- []Event) error {
	// A reply is often told some pages after its request.
	var exchanges, before map[int64]*Exchange
	// And most sessions of a page are those of the one before it.
	var sessions map[int64]*Session
	for size := pageSize; len(moments) > 0; {
		page := moments[:min(size, len(moments))]
		most := streamBytes
		if len(page) == 1 {
			most = math.MaxInt
		}
		wanted := slices.DeleteFunc(unique(page, moment.ofExchange), func(id int64) bool { return exchanges[id] != nil })
		found, bytes, err := r.exchanges(ctx, wanted, most)
		switch {
		case err != nil:
			return err
		case bytes > most:
			size = len(page) / 2
			continue
		case bytes < streamBytes/4:
			size = min(2*size, streamRows)
		}
		exchanges, before = found, exchanges
		moments = moments[len(page):]
		if sessions, err = r.sessionsAgain(ctx, unique(page, moment.ofSession), sessions); err != nil {
			return err
		}
		refusals, err := r.refusals(ctx, unique(page, moment.ofRefusal))
		if err != nil {
			return err
		}
		faults, err := r.faults(ctx, unique(page, moment.ofFault))
		if err != nil {
			return err
		}
		events := make([]Event, 0, len(page))
		for _, m := range page {
			e := Event{Kind: m.kind, Time: time.Unix(0, m.ns).UTC(), Session: sessions[m.session]}
			there := false // and not deleted since, nor damaged
			switch refusal := refusals[m.ofRefusal()]; {
			case refusal != nil:
				e.Session = &Session{About: refusal.About, Remote: refusal.Remote, Local: refusal.Local, Opened: e.Time, Closed: e.Time, Reason: refusal.Reason}
				e.Text, e.RawText, there = refusal.Text, refusal.RawText, true
			case m.ofExchange() != 0:
				e.Exchange = cmp.Or(exchanges[m.exchange], before[m.exchange])
				e.Session = cmp.Or(e.Session, lost(m.session))
				there = e.happened()
			case m.kind == parley.Faulted:
				e.Fault = faults[m.exchange]
				e.Session = cmp.Or(e.Session, lost(m.session))
				there = e.Fault != nil
			case m.kind != parley.Refused:
				there = e.Session != nil
			}
			if there {
				events = append(events, e)
			}
		}
		if err := send(ctx, pages, events); err != nil {
			return err
		}
	}
	return nil
}

// sessionsAgain are those of some ids, of which some may be known.
func (r *Reader) sessionsAgain(ctx context.Context, ids []int64, known map[int64]*Session) (map[int64]*Session, error) {
	again := make(map[int64]*Session, len(ids))
	wanted := slices.DeleteFunc(ids, func(id int64) bool {
		if s := known[id]; s != nil {
			again[id] = s
		}
		return again[id] != nil
	})
	found, err := r.sessions(ctx, wanted)
	maps.Copy(again, found)
	return again, err
}

// moments are the events behind the position, in the order of time.
func (r *Reader) moments(ctx context.Context, f *Filter, at *position) (all []moment, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		hits, err := r.find(ctx, tx, f, at.exchange)
		if err != nil {
			return err
		}
		openings, ends, err := r.sessionMoments(ctx, tx, f, at, at.exchange == fromTheStart, unique(hits, hit.ofSession))
		if err != nil {
			return err
		}
		faults, err := r.faultMoments(ctx, tx, f, at)
		if err != nil {
			return err
		}
		places := newOrdering(openings, faults)
		all = append(append(openings, places.exchanges(hits, f.Loose)...), faults...)
		for _, end := range ends {
			places.placeEnd(&end.moment)
			all = append(all, end.moment)
		}
		if all, err = r.appendRefusals(ctx, tx, all, f, at); err != nil {
			return err
		}
		if at.session, err = r.lastID(ctx, tx, "sessions"); err != nil {
			return err
		}
		at.exchange, err = r.lastID(ctx, tx, "exchanges")
		return err
	})
	sortMoments(all)
	return all, err
}

// sessionMoments are the openings that were not told yet, and the ends of what was opened.
// known are the sessions of exchanges that are told now.
func (r *Reader) sessionMoments(ctx context.Context, tx *sql.Tx, f *Filter, at *position, first bool, known []int64) (openings []moment, ends []ending, err error) {
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
				ends = append(ends, ending{moment{ns: row.closed.Int64, session: row.session, kind: parley.Closed}, row.last.Int64})
			}
		}
		return true
	}
	w := walk{table: "sessions", columns: r.spanColumns(), where: *r.ofSessions(f), from: at.session + 1, to: math.MaxInt64}
	if first && f.looksAtExchanges() { // no others are told of, of which there may be a million
		w.where.in("id", known)
	}
	if err := r.walk(ctx, tx, w, &row, use); err != nil || first {
		return openings, ends, err
	}
	ended, err := r.endedSince(ctx, tx, at.ended)
	if err != nil {
		return nil, nil, err
	}
	w.where = *r.ofSessions(f)
	w.where.in("id", append(ended, known...))
	w.from, w.to = 1, at.session
	return openings, ends, r.walk(ctx, tx, w, &row, use)
}

// endedSince are the sessions whose ends were recorded behind one of them.
func (r *Reader) endedSince(ctx context.Context, tx *sql.Tx, end int64) (ids []int64, err error) {
	if r.version.Load() == 1 { // whoever wrote it has no such numbers
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
	switch version := r.version.Load(); {
	case version == 1:
		return "id, opened_ns, closed_ns, NULL, NULL"
	case version < 3:
		return "id, opened_ns, closed_ns, ended, NULL"
	}
	return "id, opened_ns, closed_ns, ended, last"
}

// A sessionSpan is when a session began and ended.
type sessionSpan struct {
	session, opened     int64
	closed, ended, last sql.NullInt64
}

func (s *sessionSpan) id() int64 { return s.session }
func (s *sessionSpan) columns() []any {
	return []any{&s.session, &s.opened, &s.closed, &s.ended, &s.last}
}

// appendRefusals adds the refusals that were not told yet.
func (r *Reader) appendRefusals(ctx context.Context, tx *sql.Tx, all []moment, f *Filter, at *position) ([]moment, error) {
	if r.version.Load() == 1 || !f.refusals() {
		return all, nil
	}
	var row refusalRow
	var failed error
	err := r.walk(ctx, tx, walk{table: "refused", columns: r.refusalColumns(), from: at.refusal + 1, to: math.MaxInt64}, &row, func() bool {
		at.refusal = row.ID
		refusal := row.refusal(r)
		if refusal != nil && len(f.Nodes) > 0 {
			if refusal.About, failed = r.origin(ctx, tx, row.origin.Int64); failed != nil {
				return false
			}
		}
		if refusal != nil && f.selects(refusal) {
			ns := refusal.At.UnixNano()
			all = append(all, moment{ns: ns, order: ns, exchange: row.ID, kind: parley.Refused})
		}
		return true
	})
	return all, cmp.Or(failed, err)
}
