package journal

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// An index of exchanges by their sessions would cost more at each insert than all the rest.
// Instead each exchange says how many exchanges ago the last one of its session was, a session
// that is closed which one its last was, and the table latest the same of those that are open,
// as it was some exchanges ago.

// A chain is the last exchange of each session that has one and is open.
type chain struct {
	last    map[int64]int64 // exchanges.id by sessions.id
	changed []link          // by the transaction, as they were before it
	noted   int64           // the exchange up to which latest has them
	noting  int64           // the same once the transaction is through; 0 if it does not write it
}

type link struct{ session, last int64 }

// link adds an exchange, and returns how many exchanges ago the last one of its session was.
func (c *chain) link(session, id int64) (back int64) {
	last := c.last[session]
	if n := len(c.changed); n == 0 || c.changed[n-1].session != session {
		c.changed = append(c.changed, link{session, last})
	}
	c.last[session] = id
	if last == 0 {
		return 0
	}
	return id - last
}

// undo forgets what a transaction has added that failed.
func (c *chain) undo() {
	for _, l := range slices.Backward(c.changed) {
		if l.last == 0 {
			delete(c.last, l.session)
		} else {
			c.last[l.session] = l.last
		}
	}
	c.changed, c.noting = c.changed[:0], 0
}

// done is called behind a transaction that went well.
func (c *chain) done(b *batch) {
	c.changed, c.noted, c.noting = c.changed[:0], max(c.noted, c.noting), 0
	for i := range b.closed {
		delete(c.last, b.closed[i].ID)
	}
}

// noteEvery is behind how many exchanges latest is written: those behind it have to be looked
// through for a session's.
const noteEvery = 8 << 10

// noteLatest writes latest, which is as it is behind the exchange last.
func (f *file) noteLatest(last int64) error {
	links := make([]byte, 0, 8*len(f.chain.last))
	for session, exchange := range f.chain.last {
		links = binary.AppendVarint(links, session-f.base)
		links = binary.AppendVarint(links, last-exchange)
	}
	f.chain.noting = last
	return run(f.latest, f.base+1, last, links, latestSum(f.base+1, last, links))
}

func (c *chain) isDue(last int64) bool { return last-c.noted >= max(noteEvery, 2*int64(len(c.last))) }

func latestSum(first, upto int64, links []byte) int64 {
	var c checksummer
	c.begin(first, upto)
	return c.end(links)
}

// takeLinks is the reverse of what noteLatest writes.
func takeLinks(first, upto int64, links []byte, take func(session, exchange int64)) {
	for len(links) > 0 {
		session, n := binary.Varint(links)
		ago, m := binary.Varint(links[max(n, 0):])
		if n <= 0 || m <= 0 {
			return
		}
		links = links[n+m:]
		take(first-1+session, upto-ago)
	}
}

// A latestRow is the table latest. The first session is 0 if it has nothing that can be relied on.
type latestRow struct {
	first, upto int64
	last        map[int64]int64 // exchanges.id by sessions.id
}

func readLatest(ctx context.Context, q querier) (l latestRow, err error) {
	rows, err := q.QueryContext(ctx, "SELECT "+linksColumns+" FROM latest")
	if err != nil {
		return l, err
	}
	defer rows.Close()
	var row linksRow
	if !rows.Next() {
		return l, rows.Err()
	}
	if err := rows.Scan(row.columns()...); err != nil || !row.good() {
		return l, nil // and what it should say is looked for
	}
	l = latestRow{row.first, row.upto, make(map[int64]int64)}
	takeLinks(row.first, row.upto, row.links, func(session, exchange int64) { l.last[session] = exchange })
	return l, nil
}

// A linksRow is how a latestRow is kept.
type linksRow struct {
	number, first, upto int64
	links               blob
	sum                 int64
}

const linksColumns = "rowid AS id, first, upto, exchanges, sum"

func (l *linksRow) id() int64      { return l.number }
func (l *linksRow) columns() []any { return []any{&l.number, &l.first, &l.upto, &l.links, &l.sum} }
func (l *linksRow) good() bool     { return l.sum == latestSum(l.first, l.upto, l.links) }

// linkRest has the sessions that the writer before this one has left open say which exchange
// was their last.
func (f *file) linkRest() error {
	r, err := Open(f.name)
	if err != nil {
		return err
	}
	defer r.Close()
	l, err := readLatest(background, r.db)
	if err == nil && l.first > 0 {
		err = f.closeChains(r, &l)
	}
	if err != nil && !isDamage(err) {
		return err
	}
	err = f.noteLatest(f.exchange)
	f.chain.noted, f.chain.noting = f.exchange, 0
	return err
}

func (f *file) closeChains(r *Reader, l *latestRow) error {
	var row linkRow
	w := walk{table: "exchanges", columns: linkColumns, from: l.upto + 1, to: math.MaxInt64}
	if err := r.walk(background, r.db, w, &row, func() bool {
		l.last[row.session] = row.exchange
		return true
	}); err != nil {
		return err
	}
	open := make([]int64, 0, len(l.last))
	for id := range l.last {
		open = append(open, id)
	}
	slices.Sort(open)
	var updates [][3]int64
	var session sessionRow
	if err := r.among(background, r.db, open, walk{table: "sessions", columns: r.sessionColumns()}, &session, func() {
		if s := session.session(r); s != nil && s.Closed.IsZero() && session.origin.Valid {
			last := l.last[s.ID]
			updates = append(updates, [3]int64{last, f.sums.session(s, 0, session.origin.Int64, last), s.ID})
		}
	}); err != nil || len(updates) == 0 {
		return err
	}
	err := f.exec("BEGIN IMMEDIATE")
	for _, u := range updates {
		err = errors.Join(err, f.exec("UPDATE sessions SET last = ?, sum = ? WHERE id = ?", u[0], u[1], u[2]))
	}
	if err != nil {
		f.exec("ROLLBACK")
		return err
	}
	return f.exec("COMMIT")
}

// A linkRow is where the exchange before this one of the same session is.
type linkRow struct {
	exchange, session int64
	parts             sql.NullInt64
}

const linkColumns = "id, session, parts"

func (l *linkRow) id() int64      { return l.exchange }
func (l *linkRow) columns() []any { return []any{&l.exchange, &l.session, &l.parts} }

// before is the exchange before; 0 if there is none.
func (l *linkRow) before() int64 {
	if back := l.parts.Int64 >> backAt; back > 0 {
		return l.exchange - back
	}
	return 0
}

// messages is 0 if it is bytes that belong to no message, and otherwise 1.
func (l *linkRow) messages() int { return 1 - int(l.parts.Int64>>looseAt&1) }

// maxChain is how long a chain is followed. A session that has more exchanges is found in a
// look at all of them, which takes less for each.
const maxChain = 100_000

// linked are the exchanges of a session, the newest first, and up to which one they are to be
// looked for among all: 0 if these are all that there are. With a limit it is content with so
// many messages.
func (r *Reader) linked(ctx context.Context, tx *sql.Tx, id int64, limit int) (found []int64, rest int64, err error) {
	found, rest, err = r.followSession(ctx, tx, id, limit)
	if err != nil && isDamage(err) {
		return nil, math.MaxInt64, nil
	}
	return found, rest, err
}

func (r *Reader) followSession(ctx context.Context, tx *sql.Tx, id int64, limit int) (found []int64, rest int64, err error) {
	var row sessionRow
	there := false
	w := walk{table: "sessions", columns: r.sessionColumns(), from: id, to: id}
	if err := r.walk(ctx, tx, w, &row, func() bool {
		there = row.session(r) != nil
		return true
	}); err != nil {
		return nil, 0, err
	}
	if there && !row.origin.Valid {
		found, err = r.unlinked(ctx, tx, id)
		return found, 0, err
	}
	l, err := readLatest(ctx, tx)
	switch {
	case err != nil:
		return nil, 0, err
	case l.first == 0 || id < l.first && (!there || !row.last.Valid):
		return nil, math.MaxInt64, nil // nobody knows
	}
	next := l.last[id]
	if there {
		next = max(next, row.last.Int64)
	}
	messages := 0
	if id >= l.first { // it may have some that are newer
		var link linkRow
		newer := walk{table: "exchanges", columns: linkColumns, from: l.upto + 1, to: math.MaxInt64, newestFirst: true}
		newer.where.add("session = ?", id)
		if err := r.walk(ctx, tx, newer, &link, func() bool {
			found, next = append(found, link.exchange), link.before()
			messages += link.messages()
			return limit == 0 || messages < limit
		}); err != nil {
			return nil, 0, err
		}
	}
	if next == 0 || limit > 0 && messages >= limit {
		return found, 0, nil
	}
	return r.followChain(ctx, tx, id, next, found, messages, limit)
}

// followChain adds the exchange next and those of the session before it to those that were found.
func (r *Reader) followChain(ctx context.Context, tx *sql.Tx, id, next int64, found []int64, messages, limit int) ([]int64, int64, error) {
	rows, err := tx.QueryContext(ctx, "WITH RECURSIVE chain(id, session, parts) AS (SELECT id, session, parts FROM exchanges WHERE id = ? "+
		"UNION ALL SELECT e.id, e.session, e.parts FROM chain c JOIN exchanges e ON e.id = c.id - (c.parts >> 32) WHERE c.parts >> 32 > 0) "+
		"SELECT id, session, parts FROM chain", next)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		var link linkRow
		if err := rows.Scan(link.columns()...); err != nil || link.session != id || link.exchange != next || n == maxChain {
			return found, next, nil
		}
		found, next = append(found, link.exchange), link.before()
		messages += link.messages()
		if next == 0 || limit > 0 && messages >= limit {
			return found, 0, nil
		}
	}
	if rows.Err() != nil {
		return found, next, nil // whoever looks for the rest says what is damaged
	}
	// It is not there: it was deleted with all before it, or is missing.
	var oldest sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT min(id) FROM exchanges").Scan(&oldest); err != nil {
		return nil, 0, err
	}
	if next < oldest.Int64 {
		next = 0
	}
	return found, next, nil
}

// unlinked are the exchanges of a session that a version before 3 has recorded, the newest first.
func (r *Reader) unlinked(ctx context.Context, tx *sql.Tx, id int64) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id FROM exchanges WHERE session = ? AND parts IS NULL ORDER BY id DESC", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return nextIDs(rows, math.MaxInt)
}
