package journal

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"
)

// A Span bounds one look into a journal, which may end before all is found: who wants more
// goes on from where it ended.
type Span struct {
	After  int64         // only what has a higher ID
	Before int64         // only what has a lower ID; all if 0
	Most   int           // so many at most
	Within time.Duration // and then no further, whatever has been found
}

const (
	windowRows = 10_000                // that are looked at between two looks at the clock
	noMore     = 0                     // as where to go on
	longLook   = 10 * time.Millisecond // that a window of rows may take before the next is smaller
)

// NewestExchanges returns the newest exchanges that the filter selects, the newest first, and
// the next Span.Before to go on with; 0 if there are no more. The filter's own limit does not
// count.
func (r *Reader) NewestExchanges(ctx context.Context, f Filter, span Span) (found []Exchange, next int64, err error) {
	f.Limit = 0
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if found, next, err = r.newestExchanges(ctx, tx, &f, span); err != nil {
			return err
		}
		return r.addFaults(ctx, tx, pointers(found))
	})
	return found, next, err
}

// NewestSessions is NewestExchanges of sessions: it goes by what the filter says of them, and by
// its times as Sessions does, and looks at no exchange.
func (r *Reader) NewestSessions(ctx context.Context, f Filter, span Span) (found []Session, next int64, err error) {
	where := r.ofSessions(&f)
	where.overlap(&f)
	var ids []int64
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		next, err = r.inWindows(ctx, tx, "sessions", span, func(from, to int64) (int64, error) {
			var id idRow
			w := walk{table: "sessions", columns: "id", where: *where, from: from, to: to, newestFirst: true}
			err := r.walk(ctx, tx, w, &id, func() bool {
				ids = append(ids, int64(id))
				return len(ids) < span.Most
			})
			return enough(ids, span.Most, func(id int64) int64 { return id }), err
		})
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	for page := range slices.Chunk(ids, pageSize) {
		of, err := r.SessionsOf(ctx, page)
		if err != nil {
			return nil, 0, err
		}
		for _, id := range page {
			if s := of[id]; s != nil {
				found = append(found, *s)
			}
		}
	}
	return found, next, nil
}

// SessionsOf returns the sessions of some IDs, those that can be read.
func (r *Reader) SessionsOf(ctx context.Context, ids []int64) (map[int64]*Session, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return r.sessions(ctx, slices.Compact(ids))
}

// newestExchanges selects the newest exchanges of a span, and says where to go on.
func (r *Reader) newestExchanges(ctx context.Context, tx *sql.Tx, f *Filter, span Span) (found []Exchange, next int64, err error) {
	where, sessions, err := r.ofExchanges(ctx, tx, f)
	if err != nil {
		return nil, 0, err
	}
	if sessions != nil && len(sessions) == 0 {
		return nil, noMore, nil
	}
	if sessions != nil && len(sessions) <= maxSessionsLinked && r.version.Load() >= 3 && span.After == 0 {
		if found, next, err = r.newestLinked(ctx, tx, sessions, f, where, span); err != nil || next == noMore || len(found) >= span.Most {
			return found, next, err
		}
		span.Before = next
	}
	if index := r.index.Load(); index != nil && len(f.Text) >= gram && span.After == 0 {
		behind := span
		behind.After = index.upto
		if next, err = r.inAllWindows(ctx, tx, &found, f, where, behind); err != nil || next != noMore {
			return found, next, err
		}
		return r.newestIndexed(ctx, tx, index, found, f, where, span, time.Now().Add(span.Within))
	}
	next, err = r.inAllWindows(ctx, tx, &found, f, where, span)
	return found, next, err
}

// inAllWindows adds the exchanges of a span.
func (r *Reader) inAllWindows(ctx context.Context, tx *sql.Tx, found *[]Exchange, f *Filter, where *conditions, span Span) (next int64, err error) {
	return r.inWindows(ctx, tx, "exchanges", span, func(from, to int64) (int64, error) {
		*found, err = r.appendExchanges(ctx, tx, *found, f, where, from, to, span.Most)
		return enough(*found, span.Most, Exchange.id), err
	})
}

// appendExchanges adds from the exchanges from one to another those that meet the conditions, the
// newest first, until there are most. Bytes that belong to no message are none.
func (r *Reader) appendExchanges(ctx context.Context, tx *sql.Tx, found []Exchange, f *Filter, where *conditions, from, to int64, most int) ([]Exchange, error) {
	if len(found) >= most {
		return found, nil
	}
	accepts := r.accepts(ctx, tx, f)
	var row exchangeRow
	w := walk{table: "exchanges", join: joinCuts, columns: r.exchangeColumns(r.rareColumn()), where: *where, from: from, to: to, newestFirst: true}
	err := r.walk(ctx, tx, w, &row, func() bool {
		request, reply := row.messages()
		if !f.matches(request, reply) || !accepts(row.session, &row, request, reply) {
			return true
		}
		if x, there := row.exchange(r); there {
			found = append(found, x)
		}
		return len(found) < most
	})
	return found, err
}

func (x Exchange) id() int64 { return x.ID }

// enough is the last of those that were found, if there are as many as wanted; 0 if not.
func enough[T any](found []T, most int, id func(T) int64) int64 {
	if len(found) < most {
		return 0
	}
	return id(found[len(found)-1])
}

// inWindows has a table looked through from the end of a span, some rows at a time. look returns
// the id at which it had enough, or 0. Next is where to go on.
func (r *Reader) inWindows(ctx context.Context, tx *sql.Tx, table string, span Span, look func(from, to int64) (int64, error)) (next int64, err error) {
	deadline := time.Now().Add(span.Within)
	to := int64(math.MaxInt64)
	if span.Before != 0 {
		to = span.Before - 1
	}
	window := int64(windowRows)
	for {
		// Ids may have holes of any width.
		if to, err = r.lastUpTo(ctx, tx, table, to); err != nil || to <= span.After {
			return noMore, err
		}
		from := max(span.After, to-window) + 1
		start := time.Now()
		at, err := look(from, to)
		switch now := time.Now(); {
		case err != nil:
			return noMore, err
		case at != 0:
			return r.goOn(ctx, tx, table, at, span.After)
		case now.After(deadline):
			return r.goOn(ctx, tx, table, from, span.After)
		case now.Sub(start) > longLook && window > windowRows/100:
			window /= 2
		}
		to = from - 1
	}
}

// goOn is where to go on before a row: nowhere if it is the first.
func (r *Reader) goOn(ctx context.Context, tx *sql.Tx, table string, at, after int64) (next int64, err error) {
	if before, err := r.lastUpTo(ctx, tx, table, at-1); err != nil || before <= after {
		return noMore, err
	}
	return at, nil
}

// lastUpTo is the highest id of a table that is not above one; 0 if there is none.
func (r *Reader) lastUpTo(ctx context.Context, tx *sql.Tx, table string, to int64) (int64, error) {
	var id idRow
	err := r.walk(ctx, tx, walk{table: table, columns: "id", from: 1, to: to, newestFirst: true}, &id, func() bool { return false })
	return int64(id), err
}

// newestLinked is newestExchanges for a few sessions, as far as it is known which exchanges are theirs.
func (r *Reader) newestLinked(ctx context.Context, tx *sql.Tx, sessions []int64, f *Filter, where *conditions, span Span) (found []Exchange, next int64, err error) {
	limit := 0
	if span.Before == 0 && len(sessions) == 1 && f.isOfSessions() {
		limit = span.Most + 1
	}
	var ids []int64
	rest := int64(0)
	for _, session := range sessions {
		found, restOf, err := r.linked(ctx, tx, session, limit)
		if err != nil {
			return nil, 0, err
		}
		ids, rest = append(ids, found...), max(rest, restOf)
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return id <= rest || span.Before != 0 && id >= span.Before })
	slices.Sort(ids)
	slices.Reverse(ids)
	deadline := time.Now().Add(span.Within)
	for len(ids) > 0 {
		page := ids[:min(len(ids), candidates)]
		ids = ids[len(page):]
		among := conditions{slices.Clone(where.terms), slices.Clone(where.args)}
		among.in("id", page)
		last := page[len(page)-1]
		if found, err = r.appendExchanges(ctx, tx, found, f, &among, last, page[0], span.Most); err != nil {
			return nil, 0, err
		}
		at := enough(found, span.Most, Exchange.id)
		switch {
		case at != 0 && at == last && len(ids) == 0 && rest == 0:
			return found, noMore, nil
		case at != 0:
			return found, at, nil
		case len(ids) > 0 && time.Now().After(deadline):
			return found, last, nil
		}
	}
	if rest == 0 {
		return found, noMore, nil
	}
	if span.Before == 0 || rest < span.Before-1 {
		return found, satAdd(rest), nil
	}
	return found, span.Before, nil
}

func satAdd(id int64) int64 {
	if id == math.MaxInt64 {
		return id
	}
	return id + 1
}

// newestIndexed adds what the index finds, the newest first.
func (r *Reader) newestIndexed(ctx context.Context, tx *sql.Tx, index *textIndex, found []Exchange, f *Filter, where *conditions, span Span, deadline time.Time) ([]Exchange, int64, error) {
	before := satAdd(index.upto)
	if span.Before != 0 {
		before = min(before, span.Before)
	}
	rows, err := index.db.QueryContext(ctx, "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid < ? ORDER BY rowid DESC", grams(f.Text), before)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for {
		ids, err := nextIDs(rows, candidates)
		if err != nil || len(ids) == 0 {
			return found, noMore, err
		}
		among := conditions{slices.Clone(where.terms), slices.Clone(where.args)}
		among.in("id", ids)
		last := ids[len(ids)-1]
		if found, err = r.appendExchanges(ctx, tx, found, f, &among, last, ids[0], span.Most); err != nil {
			return nil, 0, err
		}
		if at := enough(found, span.Most, Exchange.id); at != 0 {
			return found, at, nil
		}
		if time.Now().After(deadline) {
			return found, last, nil
		}
	}
}

// An Extent is how far a journal goes. The ids are the highest ones, 0 if there are none.
type Extent struct {
	Exchange, Session, Refusal int64
	Ended                      int64     // counts the ends of sessions; of an older parley it does not
	First, Last                time.Time // of the exchanges and of the sessions' openings; zero if there are none
	Missing                    int64     // exchanges that it says it does not have
}

// lastEnd asks for the last end of a session by the index of those, which is of sessions that have one.
const lastEnd = "SELECT coalesce(max(ended), 0) FROM sessions WHERE ended IS NOT NULL"

// Extent returns how far the journal goes now; it takes next to nothing.
func (r *Reader) Extent(ctx context.Context) (e Extent, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		e = Extent{}
		var first, last sql.NullInt64
		ask := func(query string, to ...any) error {
			err := tx.QueryRowContext(ctx, query).Scan(to...)
			if errors.Is(err, sql.ErrNoRows) || err != nil && isDamage(err) {
				return nil
			}
			return err
		}
		at := func(ns int64) {
			t := time.Unix(0, ns).UTC()
			if e.First.IsZero() || t.Before(e.First) {
				e.First = t
			}
			if t.After(e.Last) {
				e.Last = t
			}
		}
		for _, table := range []struct {
			name, time string
			id         *int64
		}{{"exchanges", "received_ns", &e.Exchange}, {"sessions", "opened_ns", &e.Session}} {
			first, last = sql.NullInt64{}, sql.NullInt64{}
			if err := errors.Join(ask("SELECT "+table.time+" FROM "+table.name+" ORDER BY id LIMIT 1", &first),
				ask("SELECT id, "+table.time+" FROM "+table.name+" ORDER BY id DESC LIMIT 1", table.id, &last)); err != nil {
				return err
			}
			for _, ns := range []sql.NullInt64{first, last} {
				if ns.Valid {
					at(ns.Int64)
				}
			}
		}
		var err error
		e.Missing, err = r.missing(ctx, tx)
		if r.version.Load() >= 2 {
			err = errors.Join(err, ask(lastEnd, &e.Ended), ask("SELECT coalesce(max(id), 0) FROM refused", &e.Refusal))
		}
		return err
	})
	return e, err
}
