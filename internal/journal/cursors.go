package journal

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"github.com/parley-tcp/parley/internal/sqliteconn"
)

// errNoIdentity is that of a journal whose identity is damaged.
var errNoIdentity = errors.New("it is damaged: it does not say what it is called among other journals")

// identity is what a journal is called among others.
func (r *Reader) identity(ctx context.Context, q querier) (journal string, err error) {
	var row identityRow
	err = r.walk(ctx, q, walk{table: "identity", columns: "id, journal, sum", from: 1, to: 1}, &row, func() bool {
		if row.good(r) {
			journal = row.journal
		}
		return true
	})
	if err == nil && journal == "" {
		err = errNoIdentity
	}
	return journal, err
}

type identityRow struct {
	number  int64
	journal string
	sum     int64
}

func (i *identityRow) id() int64      { return i.number }
func (i *identityRow) columns() []any { return []any{&i.number, &i.journal, &i.sum} }

func (i *identityRow) good(r *Reader) bool {
	return r.believes("identity", i.number, i.sum == new(checksummer).identity(i.journal) && isIdentity(i.journal))
}

// isIdentity says whether a text is 32 hex digits.
func isIdentity(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(text) == 32
}

// believes reports a row that is not what was written.
func (r *Reader) believes(table string, id int64, good bool) bool {
	if !good {
		r.report(Damage{table, id, id, badSum})
	}
	return good
}

// A cursorRow is how far somebody has followed the journal.
type cursorRow struct {
	number int64
	name   string
	Position
	sum int64
}

const cursorColumns = "id, name, " + positionColumns + ", sum"

func (c *cursorRow) id() int64 { return c.number }
func (c *cursorRow) columns() []any {
	return append(append([]any{&c.number, &c.name}, c.places()...), &c.sum)
}

func (c *cursorRow) good(r *Reader) bool {
	return r.believes("cursors", c.number, c.sum == new(checksummer).cursor(c.name, c.Position))
}

// places are where the columns of a position are scanned into.
func (p *Position) places() (all []any) {
	for _, n := range p.numbers() {
		all = append(all, n)
	}
	return all
}

// values are those columns.
func (p *Position) values() (all []any) {
	for _, n := range p.numbers() {
		all = append(all, *n)
	}
	return all
}

// cursor is how far somebody has come; one that is damaged is at the beginning.
func (r *Reader) cursor(ctx context.Context, q querier, name string) (p Position, err error) {
	var row cursorRow
	w := walk{table: "cursors", columns: cursorColumns, from: 1, to: math.MaxInt64}
	w.where.add("name = ?", name)
	err = r.walk(ctx, q, w, &row, func() bool {
		if row.good(r) {
			p = row.Position
		}
		return true
	})
	return p, err
}

// keepCursor is one statement: a transaction of its own.
func keepCursor(c *sqliteconn.Conn, name string, p Position) error {
	return c.Exec("INSERT INTO cursors (name, "+positionColumns+", sum) VALUES (?,?,?,?,?,?,?,?) "+
		"ON CONFLICT (name) DO UPDATE SET exchange = excluded.exchange, ended = excluded.ended, opened = excluded.opened, "+
		"refused = excluded.refused, fault = excluded.fault, gap = excluded.gap, sum = excluded.sum",
		append(append([]any{name}, p.values()...), new(checksummer).cursor(name, p))...)
}

// followed is the furthest that somebody has followed the journal.
func (f *file) followed() (p Position, err error) {
	rows, err := f.conn.Query("SELECT " + cursorColumns + " FROM cursors")
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for row := new(cursorRow); rows.Next(); {
		if rows.Scan(row.columns()...); row.sum == f.sums.cursor(row.name, row.Position) {
			p = p.and(row.Position)
		}
	}
	return p, rows.Err()
}

// A sourceRow is a journal whose records are collected.
type sourceRow struct {
	source
	sum int64
}

// A source is a row of sources.
type source struct {
	number int64
	Source
}

const sourceColumns = "id, journal, node, mark, sum, " + positionColumns

func (s *sourceRow) id() int64 { return s.number }
func (s *sourceRow) columns() []any {
	return append([]any{&s.number, &s.Journal, &s.Node, (*bits)(&s.Mark), &s.sum}, s.Position.places()...)
}

func (s *sourceRow) good(r *Reader) bool {
	return r.believes("sources", s.number, s.sum == new(checksummer).source(s.number, &s.Source))
}

// bits are a number of 64 bits without a sign, which SQLite keeps with one.
type bits uint64

func (b *bits) Scan(column any) error {
	n, err := integer(column)
	*b = bits(n)
	return err
}

// A collectedRow is which session of which source a session is.
type collectedRow struct {
	mapped
	sum int64
}

type mapped struct{ number, source, session int64 }

func (c *collectedRow) id() int64      { return c.number }
func (c *collectedRow) columns() []any { return []any{&c.number, &c.source, &c.session, &c.sum} }

func (c *collectedRow) good(r *Reader) bool {
	return r.believes("collected", c.number, c.sum == new(checksummer).collected(c.number, c.source, c.session))
}

// insertCollected records what a batch says of other journals.
func (f *file) insertCollected(b *batch) error {
	for _, c := range b.sessions {
		if err := run(f.collected, c.number, c.source, c.session, f.sums.collected(c.number, c.source, c.session)); err != nil {
			return err
		}
	}
	for i := range b.sources {
		s := &b.sources[i]
		if err := run(f.source, append([]any{s.number, s.Journal, s.Node, int64(s.Mark), f.sums.source(s.number, &s.Source)}, s.Position.values()...)...); err != nil {
			return err
		}
	}
	return nil
}

// verifyCollecting verifies what version 5 has added.
func (r *Reader) verifyCollecting(ctx context.Context) error {
	var identity identityRow
	var cursor cursorRow
	var source sourceRow
	var session collectedRow
	return errors.Join(
		r.verify(ctx, walk{table: "identity", columns: "id, journal, sum"}, &identity, func() { identity.good(r) }),
		r.verify(ctx, walk{table: "cursors", columns: cursorColumns}, &cursor, func() { cursor.good(r) }),
		r.verify(ctx, walk{table: "sources", columns: sourceColumns}, &source, func() { source.good(r) }),
		r.verify(ctx, walk{table: "collected", columns: "id, source, session, sum"}, &session, func() { session.good(r) }))
}

// sources are the journals that this one was collected of, in the order in which they came.
func (r *Reader) sources(ctx context.Context, tx *sql.Tx) (all []source, err error) {
	var row sourceRow
	err = r.walk(ctx, tx, walk{table: "sources", columns: sourceColumns, from: 1, to: math.MaxInt64}, &row, func() bool {
		if row.good(r) {
			all = append(all, row.source)
		}
		return true
	})
	return all, err
}
