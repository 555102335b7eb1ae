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
		for page := range slices.Chunk(ids, sessionsAtOnce) {
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

// sessionsAtOnce is how many are read at once: each costs less then, and has no messages.
const sessionsAtOnce = 1024

// sessionIDs are the sessions that the filter selects, and those of them that are lost.
func (r *Reader) sessionIDs(ctx context.Context, f Filter) (ids []int64, lost map[int64]*Session, err error) {
	limit := f.Limit
	f.Limit = 0
	var orphans []hit
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		where := r.ofSessions(&f)
		where.overlap(&f)
		var hits []hit
		if f.looksAtExchanges() {
			if hits, err = r.find(ctx, tx, &f, fromTheStart); err != nil {
				return err
			}
			where.in("id", unique(hits, hit.ofSession))
		}
		newestOnly := limit
		if f.looksAtExchanges() {
			newestOnly = 0
		}
		if ids, err = r.sessionsWhere(ctx, tx, where, newestOnly); err != nil {
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
	if f.Number != 0 || f.Address != "" || f.Reason != "" || len(f.Nodes) > 0 {
		return nil, nil // nobody knows
	}
	if !f.looksAtExchanges() {
		where, _, err := r.ofExchanges(ctx, tx, f)
		if err != nil {
			return nil, err
		}
		without := conditions{slices.Clone(where.terms), slices.Clone(where.args)}
		without.add("session NOT IN (SELECT id FROM sessions)")
		if hits, err = r.appendHits(ctx, tx, nil, f, &without, 1, math.MaxInt64, 0); err != nil && isDamage(err) {
			// It is the sessions that are damaged: those that can be read are left out below.
			hits, err = r.appendHits(ctx, tx, nil, f, where, 1, math.MaxInt64, 0)
		}
		if err != nil {
			return nil, err
		}
		slices.Reverse(hits)
	}
	there := new(conditions)
	there.in("id", unique(hits, hit.ofSession))
	recorded, err := r.sessionsWhere(ctx, tx, there, 0)
	return slices.DeleteFunc(hits, func(h hit) bool {
		_, found := slices.BinarySearch(recorded, h.session)
		return found
	}), err
}

// lostSessions are the sessions of some exchanges, unless these are damaged.
func (r *Reader) lostSessions(ctx context.Context, orphans []hit) (map[int64]*Session, error) {
	all := make(map[int64]*Session)
	for page := range slices.Chunk(orphans, pageSize) {
		exchanges, _, err := r.exchanges(ctx, unique(page, hit.ofExchange), math.MaxInt)
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
		if r.readsAll(&f) {
			read := func(ctx context.Context, pages chan<- []Exchange) error { return r.stream(ctx, &f, pages) }
			if err := readAhead(ctx, yield, read); err != nil && err != errEnough {
				yield(Exchange{}, err)
			}
			return
		}
		var hits []hit
		err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
			hits, err = r.find(ctx, tx, &f, fromTheStart)
			return err
		})
		if err != nil {
			yield(Exchange{}, err)
			return
		}
		for page := range slices.Chunk(hits, pageSize) {
			exchanges, _, err := r.exchanges(ctx, unique(page, hit.ofExchange), math.MaxInt)
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

// readsAll says whether all exchanges are looked at to find those that the filter selects.
func (r *Reader) readsAll(f *Filter) bool {
	return f.Limit == 0 && f.Session == 0 && f.Number == 0 && (r.index.Load() == nil || len(f.Text) < gram)
}

// Of what is streamed so much is in memory together, and so many rows are looked at in a transaction.
const (
	streamRows  = 4096
	streamBytes = 1 << 20
)

// stream reads the exchanges that the filter selects, of those that are there now.
func (r *Reader) stream(ctx context.Context, f *Filter, pages chan<- []Exchange) error {
	var where *conditions
	var end int64
	w := walk{table: "exchanges", from: 1, to: math.MaxInt64}
	if err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if where, _, err = r.ofExchanges(ctx, tx, f); err != nil {
			return err
		}
		end, err = r.lastID(ctx, tx, "exchanges")
		return err
	}); err != nil {
		return err
	}
	var row exchangeRow
	page, used := make([]Exchange, 0, streamRows), make([]Exchange, 0, streamRows)
	for more := true; more; page, used = used, page {
		page = page[:0]
		more = false
		if err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
			looked, bytes := 0, 0
			accepts := r.accepts(ctx, tx, f)
			rare, join := r.rareIn(ctx, tx)
			part := w
			part.join, part.columns, part.where = join, r.exchangeColumns(rare), conditions{slices.Clone(where.terms), slices.Clone(where.args)}
			err := r.walk(ctx, tx, part, &row, func() bool {
				if row.ID > end {
					return !row.isWhole(r) // then it has not this number, and others are behind it
				}
				w.from = row.ID + 1
				looked++
				if request, reply := row.messages(); f.matches(request, reply) && accepts(row.session, &row, request, reply) {
					if x, there := row.exchange(r); there {
						page = append(page, x)
						bytes += len(row.requestBytes) + len(row.replyBytes)
					}
				}
				more = (looked >= verifyAtOnce || len(page) >= streamRows || bytes >= streamBytes) && row.isWhole(r)
				return !more
			})
			if err != nil {
				return err
			}
			return r.addFaults(ctx, tx, pointers(page))
		}); err != nil {
			return err
		}
		if err := send(ctx, pages, page); err != nil {
			return err
		}
	}
	return nil
}

// Session returns a session by its ID and the last most of its exchanges, all if that is 0, in
// their order. The error is fs.ErrNotExist if there is none.
func (r *Reader) Session(ctx context.Context, id int64, most int) (Session, []Exchange, error) {
	sessions, err := r.sessions(ctx, []int64{id})
	if err != nil {
		return Session{}, nil, err
	}
	exchanges, err := collected(r.Exchanges(ctx, Filter{Session: id, Limit: most}))
	if err != nil {
		return Session{}, nil, err
	}
	s := sessions[id]
	switch {
	case s == nil && len(exchanges) == 0:
		return Session{}, nil, fs.ErrNotExist
	case s == nil:
		s = lost(id)
	}
	return *s, exchanges, nil
}

func collected[T any](all iter.Seq2[T, error]) (list []T, err error) {
	for one, err := range all {
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// lost is a session of which only exchanges are there.
func lost(id int64) *Session { return &Session{ID: id, Lost: true} }

// Framings are the names of the framings that the sessions have, each once; among them the empty
// one if an older parley has written some. It is empty if there are no sessions.
func (r *Reader) Framings(ctx context.Context) (names []string, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		names = nil
		if r.version.Load() < 3 {
			names = []string{""}
			return nil
		}
		// What an older parley has written comes first.
		var old bool
		err := tx.QueryRowContext(ctx, "SELECT origin IS NULL FROM sessions ORDER BY id LIMIT 1").Scan(&old)
		if err != nil && err != sql.ErrNoRows {
			return err
		}
		if old {
			names = []string{""}
		}
		var row originRow
		return r.walk(ctx, tx, walk{table: "origins", columns: originColumns, from: 1, to: math.MaxInt64}, &row, func() bool {
			if about := row.about(r); about != nil && !slices.Contains(names, about.Framing) {
				names = append(names, about.Framing)
			}
			return true
		})
	})
	return names, err
}

// sessionsWhere are the ids of the sessions that meet the conditions, in their order; with a
// limit the newest of them.
func (r *Reader) sessionsWhere(ctx context.Context, tx *sql.Tx, where *conditions, limit int) (ids []int64, err error) {
	var id idRow
	err = r.walk(ctx, tx, walk{table: "sessions", columns: "id", where: *where, from: 1, to: math.MaxInt64, newestFirst: limit > 0}, &id, func() bool {
		ids = append(ids, int64(id))
		return limit == 0 || len(ids) < limit
	})
	if limit > 0 {
		slices.Reverse(ids)
	}
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
func (r *idRow) columns() []any { return []any{(*number)(r)} }
