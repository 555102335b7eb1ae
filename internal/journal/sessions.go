package journal

import (
	"cmp"
	"context"
	"database/sql"
	"io/fs"
	"iter"
	"math"
	"slices"
)

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

// Framings are the names of the framings that the sessions have, each once; among them the empty
// one if an older parley has written some.
func (r *Reader) Framings(ctx context.Context) ([]string, error) {
	return []string{""}, nil
}

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
