package journal

import (
	"context"
	"database/sql"
	"math"
)

// A gapRow is a row of gaps.
type gapRow struct {
	missed
	node sql.NullString
	sum  sql.NullInt64 // NULL of what a version before 6 has recorded
}

func (g *gapRow) id() int64 { return g.ID }
func (g *gapRow) columns() []any {
	return []any{&g.ID, &g.From, &g.To, &g.Exchanges, &g.Sessions, &g.Reason, &g.node, &g.sum}
}

func (r *Reader) gapColumns() string {
	const columns = "rowid AS id, from_ns, to_ns, exchanges, sessions, reason, "
	switch version := r.version.Load(); {
	case version < 5:
		return columns + "NULL, NULL"
	case version < 6:
		return columns + "node, NULL"
	}
	return columns + "node, sum"
}

// good reports a row that is not what was written.
func (g *gapRow) good(r *Reader) bool {
	return r.believes("gaps", g.ID, !g.sum.Valid || g.sum.Int64 == new(checksummer).gap(&g.missed, g.node.String))
}

// Missing is how many exchanges the journal says it does not have: it could not be written.
func (r *Reader) Missing(ctx context.Context) (exchanges int64, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		exchanges, err = r.missing(ctx, tx)
		return err
	})
	return exchanges, err
}

func (r *Reader) missing(ctx context.Context, tx *sql.Tx) (exchanges int64, err error) {
	var row gapRow
	err = r.walk(ctx, tx, walk{table: "gaps", columns: r.gapColumns(), from: 1, to: math.MaxInt64}, &row, func() bool {
		if row.good(r) {
			exchanges += min(row.Exchanges, math.MaxInt64-exchanges) // other nodes say what is missing of theirs
		}
		return true
	})
	return exchanges, err
}

// A writerRow is who writes the journal, or did last.
type writerRow struct {
	number              int64
	pid, since, session int64
	sum                 sql.NullInt64 // NULL of a version before 6
}

const writerColumns = "rowid AS id, pid, since_ns, session, sum"

func (w *writerRow) id() int64      { return w.number }
func (w *writerRow) columns() []any { return []any{&w.number, &w.pid, &w.since, &w.session, &w.sum} }

func (w *writerRow) good(r *Reader) bool {
	return r.believes("writer", w.number, !w.sum.Valid || w.sum.Int64 == new(checksummer).writer(*w))
}
