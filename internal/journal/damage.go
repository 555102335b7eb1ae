package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// A Damage is a part of a journal that cannot be read, or that is not what was written.
type Damage struct {
	Table    string // exchanges, sessions, refused, origins or faults; empty if it is the file as a whole
	From, To int64  // the ids, of which there may have been none
	Why      string
}

func (d Damage) String() string {
	switch {
	case d.Table == "":
		return d.Why
	case d.From == d.To:
		return fmt.Sprintf("%s %d: %s", d.Table, d.From, d.Why)
	case d.To == math.MaxInt64:
		return fmt.Sprintf("%s from %d on: %s", d.Table, d.From, d.Why)
	}
	return fmt.Sprintf("%s %d to %d: %s", d.Table, d.From, d.To, d.Why)
}

const (
	badSum    = "it is not what was written (its checksum differs)"
	badColumn = "a column is not of the kind that was written"

	codeIO      = 10 // SQLITE_IOERR
	codeCorrupt = 11 // SQLITE_CORRUPT
)

var (
	errDisorder = errors.New("its rows are out of order")

	// errTooLong is that of a file that was made, or damaged, so that a question to it never
	// ends.
	errTooLong = errors.New("reading takes far longer than for a journal of this size; it is damaged, or no server wrote it")
)

// isDamage says whether an error is that of some page of the file, so that others may be read.
func isDamage(err error) bool {
	code := primary(codeOf(err))
	return code == codeCorrupt || code == codeIO
}

// report tells of damage, once.
func (r *Reader) report(d Damage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported[d] || len(r.reported) >= maxReported {
		return
	}
	if r.reported == nil {
		r.reported = make(map[Damage]bool)
	}
	r.reported[d] = true
	if r.Damaged != nil {
		r.Damaged(d)
	}
}

const maxReported = 10000 // a file of nothing but damage is no reason to fill the memory

// limit bounds how long a question to the journal may take: a scan reads some 100 MB/s.
func (r *Reader) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	const least, perSecond = 30 * time.Second, 4 << 20
	limit := least
	if info, err := os.Stat(r.file); err == nil {
		limit += time.Duration(info.Size()/perSecond) * time.Second
	}
	if r.patience != 0 {
		limit = r.patience
	}
	return context.WithTimeoutCause(ctx, limit, errTooLong)
}

// inTime is the error of a question, in words if it took too long.
func inTime(ctx context.Context, err error) error {
	if err != nil && context.Cause(ctx) == errTooLong {
		return errTooLong
	}
	return err
}

// A querier is the database or one transaction of it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// A walk goes through the rows of a table in the order of their ids.
type walk struct {
	table       string
	join        string // what else belongs to a row; empty if nothing does
	columns     string // the first one is id
	where       conditions
	from, to    int64 // the ids
	newestFirst bool
	scan        bool // all rows are gone through, and the conditions looked at one by one
}

// A row takes the columns of a walk; the first one is id.
type row interface {
	columns() []any
	id() int64
}

// walk has each row scanned and used, until use is false. What cannot be read is reported and
// left out.
func (r *Reader) walk(ctx context.Context, q querier, w walk, row row, use func() bool) error {
	var stopped error // by this it was, and it goes on
	for again, disorders := false, 0; w.from <= w.to; {
		from, to := w.from, w.to
		err := r.walkOn(ctx, q, &w, row, use)
		further := w.from != from || w.to != to
		if stopped != nil && further {
			r.report(Damage{Why: stopped.Error()}) // nothing is known to be missing
		}
		switch {
		case err == errDisorder:
			if disorders++; !further || disorders == maxDisorders { // going on would go round in a circle
				r.report(Damage{w.table, min(w.from, w.to), max(w.from, w.to), err.Error()})
				return nil
			}
			if err := r.oneByOne(ctx, q, &w, row, use); err != nil {
				return err
			}
			continue
		case !isDamage(err):
			return err
		case further:
			stopped, again = err, false
			continue
		}
		stopped = nil
		// Rows that the conditions leave out may lie between the last one and the damage.
		where := w.where
		w.where = conditions{}
		plain := r.walkOn(ctx, q, &w, row, func() bool { return true })
		if !again && (plain == nil || plain == errDisorder) {
			// The conditions had it look elsewhere than the rows are, or SQLite has only stumbled once.
			stopped, again, w.where, w.from, w.to = err, true, where, from, to
			w.scan = len(where.terms) > 0 && strings.HasPrefix(w.columns, "id")
			continue
		}
		if !isDamage(plain) {
			return errors.Join(plain, err)
		}
		if err := r.leap(ctx, q, &w, row, err); err != nil {
			return err
		}
		w.where = where
	}
	return nil
}

const (
	maxDisorders = 64
	rowsOfAPage  = 256 // at least as many as a page may have
)

// oneByOne asks for the next rows by their ids, where one of a page's has another id than it should: those of
// other pages are found so.
func (r *Reader) oneByOne(ctx context.Context, q querier, w *walk, row row, use func() bool) error {
	n := min(uint64(w.to)-uint64(w.from), rowsOfAPage-1) + 1
	first, last := w.at(0), w.at(n-1)
	r.report(Damage{w.table, min(first, last), max(first, last), errDisorder.Error()})
	more := true
	for i := range n {
		one := *w
		one.from = w.at(i)
		one.to = one.from
		err := r.walkOn(ctx, q, &one, row, func() bool {
			more = use()
			return more
		})
		if err != nil && err != errDisorder && !isDamage(err) {
			return err
		}
		if !more {
			w.from, w.to = 1, 0
			return nil
		}
	}
	w.behind(last)
	return nil
}

// rowsInARow are read before others of the process are let go first: who reads much, such as a page or a
// shipper, is not to hold up a server's sessions on the same processor for the ten milliseconds that Go's
// scheduler would let it.
const rowsInARow = 64

// walkOn walks until the end, which empties the walk, or an error, and has the walk go on
// behind the last row that was read.
func (r *Reader) walkOn(ctx context.Context, q querier, w *walk, row row, use func() bool) error {
	where, table := w.where, w.table
	where.add("id BETWEEN ? AND ?", w.from, w.to)
	if w.scan { // a limit keeps the conditions out of it
		table = fmt.Sprintf("(SELECT * FROM %s WHERE id BETWEEN %d AND %d ORDER BY id%s LIMIT -1) %[1]s", table, w.from, w.to, w.direction())
	}
	rows, err := q.QueryContext(ctx, "SELECT "+w.columns+" FROM "+table+w.join+where.clause()+" ORDER BY id"+w.direction(), where.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns := row.columns()
	var last, before int64 // ids; 0 if there is none
	for n := 1; rows.Next(); n++ {
		if n%rowsInARow == 0 {
			runtime.Gosched()
		}
		good := true
		if err := rows.Scan(columns...); err != nil {
			good = false
			if err := rows.Scan(onlyID(columns)...); err != nil {
				return err
			}
		}
		id := row.id()
		if id < w.from || id > w.to {
			if before != 0 && (id > before) != w.newestFirst && id != before { // then it is the last one that is wrong
				w.behind(before)
			}
			return errDisorder
		}
		last, before = id, last
		w.behind(id)
		if !good || id == 0 { // ids count from 1
			r.report(Damage{w.table, id, id, badColumn})
		} else if !use() {
			w.from, w.to = 1, 0
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	w.from, w.to = 1, 0
	return nil
}

func (w *walk) direction() string {
	if w.newestFirst {
		return " DESC"
	}
	return ""
}

// behind has the walk go on behind a row.
func (w *walk) behind(id int64) {
	switch {
	case w.newestFirst && id == math.MinInt64, !w.newestFirst && id == math.MaxInt64:
		w.from, w.to = 1, 0
	case w.newestFirst:
		w.to = id - 1
	default:
		w.from = id + 1
	}
}

// leap has the walk go on at the next row that can be read, and reports what lies before it.
// The first steps are as small as a page may have rows, so that no good page is overlooked
// between two bad ones.
func (r *Reader) leap(ctx context.Context, q querier, w *walk, row row, why error) error {
	const smallSteps, smallStep = 256, 32
	first, last := w.from, w.to
	// Rows are counted from where the walk stands. None up to bad can be read; those from
	// there on can, or lie behind the end.
	end := uint64(last) - uint64(first) + 1
	bad, there := uint64(0), end
	for n, step := 0, uint64(1); step < end-bad; n++ {
		ok, err := w.readable(ctx, q, row, w.at(bad+step))
		if err != nil {
			return err
		}
		if ok {
			there = bad + step
			break
		}
		bad += step
		if step < smallStep || n > smallSteps {
			step *= 2
		}
	}
	for there-bad > 1 {
		middle := bad + (there-bad)/2
		ok, err := w.readable(ctx, q, row, w.at(middle))
		if err != nil {
			return err
		}
		if ok {
			there = middle
		} else {
			bad = middle
		}
	}
	switch {
	case there == end:
		w.from, w.to = 1, 0
	case w.newestFirst:
		w.to = w.at(there)
		first = w.to + 1
	default:
		w.from = w.at(there)
		last = w.from - 1
	}
	r.report(Damage{w.table, first, last, why.Error()})
	return nil
}

// at is the id that lies so far from where the walk stands, in its direction.
func (w *walk) at(distance uint64) int64 {
	if w.newestFirst {
		return int64(uint64(w.to) - distance)
	}
	return int64(uint64(w.from) + distance)
}

// readable says whether the row at an id, or the first one behind it, can be read.
func (w *walk) readable(ctx context.Context, q querier, row row, id int64) (bool, error) {
	compare := "id >= ?"
	if w.newestFirst {
		compare = "id <= ?"
	}
	rows, err := q.QueryContext(ctx, "SELECT "+w.columns+" FROM "+w.table+w.join+" WHERE "+compare+" ORDER BY id"+w.direction()+" LIMIT 1", id)
	if err == nil {
		defer rows.Close()
		if rows.Next() {
			err = rows.Scan(onlyID(row.columns())...)
		}
		err = errors.Join(err, rows.Err())
	}
	if err != nil && isDamage(err) {
		return false, nil
	}
	return err == nil, err
}

// onlyID takes the id of a row, and nothing else of it.
func onlyID(columns []any) []any {
	only := []any{columns[0]}
	for range columns[1:] {
		only = append(only, new(anything))
	}
	return only
}

// anything is a column that is not looked at.
type anything struct{}

func (*anything) Scan(any) error { return nil }
