package journal

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A Verdict is what Verify has found.
type Verdict struct {
	Sessions, Exchanges, Refused int64 // records that are as they were written, or carry no checksum
	Unsummed                     int64 // of these, those without: an older parley has written them
	Damages                      int   // as many as Reader.Damaged was told of
}

// Verify reads all of the journal and compares each record with its checksum, and looks at
// the structure of the file.
func (r *Reader) Verify(ctx context.Context) (v Verdict, err error) {
	if err := r.snapshot(ctx, func(context.Context, *sql.Tx) error { return nil }); err != nil { // which version it is now
		return v, err
	}
	var session sessionRow
	if err := r.verify(ctx, walk{table: "sessions", columns: r.sessionColumns()}, &session, func() {
		if session.session(r) != nil {
			v.count(&v.Sessions, session.sum.Valid)
		}
	}); err != nil {
		return v, err
	}
	var exchange exchangeRow
	if err := r.verify(ctx, walk{table: "exchanges", join: joinCuts, columns: r.exchangeColumns(r.rareColumn())}, &exchange, func() {
		if exchange.isWhole(r) && !exchange.loose {
			v.count(&v.Exchanges, exchange.sum.Valid)
		}
	}); err != nil {
		return v, err
	}
	if r.version.Load() > 1 {
		var refusal refusalRow
		if err := r.verify(ctx, walk{table: "refused", columns: r.refusalColumns()}, &refusal, func() {
			if refusal.refusal(r) != nil {
				v.count(&v.Refused, refusal.sum.Valid)
			}
		}); err != nil {
			return v, err
		}
	}
	if r.version.Load() > 2 {
		var origin originRow
		if err := r.verify(ctx, walk{table: "origins", columns: originColumns}, &origin, func() { origin.about(r) }); err != nil {
			return v, err
		}
	}
	if r.version.Load() > 3 {
		var fault faultRow
		if err := r.verify(ctx, walk{table: "faults", columns: faultColumns}, &fault, func() { fault.fault(r) }); err != nil {
			return v, err
		}
	}
	if r.version.Load() > 4 {
		if err := r.verifyCollecting(ctx); err != nil {
			return v, err
		}
	}
	if err := r.verifyOthers(ctx); err != nil {
		return v, err
	}
	if err := r.checkKinds(ctx); err != nil {
		return v, err
	}
	err = cmp.Or(r.checkSchema(ctx), r.checkStructure(ctx), r.checkLog())
	r.mu.Lock()
	defer r.mu.Unlock()
	v.Damages = len(r.reported)
	return v, err
}

func (v *Verdict) count(records *int64, summed bool) {
	*records++
	if !summed {
		v.Unsummed++
	}
}

// verifyOthers verifies what nobody is told as a record.
func (r *Reader) verifyOthers(ctx context.Context) error {
	var gap gapRow
	err := r.verify(ctx, walk{table: "gaps", columns: r.gapColumns()}, &gap, func() { gap.good(r) })
	if err == nil && r.version.Load() > 2 {
		var latest linksRow
		err = r.verify(ctx, walk{table: "latest", columns: linksColumns}, &latest, func() { r.believes("latest", latest.number, latest.good()) })
	}
	if err == nil && r.version.Load() > 5 {
		var writer writerRow
		err = r.verify(ctx, walk{table: "writer", columns: writerColumns}, &writer, func() { writer.good(r) })
	}
	return err
}

// verifyAtOnce is how many rows are read in a transaction: a server that writes meanwhile
// needs its end.
const verifyAtOnce = 10000

func (r *Reader) verify(ctx context.Context, w walk, row row, use func()) error {
	for last, more := int64(fromTheStart), true; more; {
		n := 0
		part, cancel := r.limit(ctx)
		w.from, w.to = last+1, math.MaxInt64
		err := r.walk(part, r.db, w, row, func() bool {
			use()
			last = row.id()
			n++
			return n < verifyAtOnce
		})
		err = inTime(part, err)
		cancel()
		if err != nil {
			return err
		}
		more = n == verifyAtOnce && last < math.MaxInt64
	}
	return nil
}

// checkStructure has SQLite look at the file's pages, indexes and free ones included.
func (r *Reader) checkStructure(ctx context.Context) error {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	rows, err := r.db.QueryContext(ctx, "PRAGMA integrity_check(100)")
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var found string
			if err := rows.Scan(&found); err != nil {
				return err
			}
			if found != "ok" {
				r.report(Damage{Why: found})
			}
		}
		err = rows.Err()
	}
	if err != nil && isDamage(err) {
		r.report(Damage{Why: err.Error()})
		return nil
	}
	return inTime(ctx, err)
}

// checkKinds looks for columns that are of another kind than they should, with the same bytes in them: nobody would find
// a text that has become a BLOB.
func (r *Reader) checkKinds(ctx context.Context) error {
	rows, err := r.db.QueryContext(ctx, "SELECT t.name, i.name, i.type FROM (SELECT name FROM sqlite_schema WHERE "+isOurTable+") t, pragma_table_info(t.name) i")
	if err != nil {
		return err
	}
	defer rows.Close()
	wrong := make(map[string][]string)
	for rows.Next() {
		var table, column, kind string
		if err := rows.Scan(&table, &column, &kind); err != nil {
			return err
		}
		column, kind = strings.ReplaceAll(column, `"`, `""`), strings.ReplaceAll(strings.ToLower(kind), "'", "''") // which the file may have from anybody
		wrong[table] = append(wrong[table], `typeof("`+column+`") NOT IN ('null', '`+kind+`')`)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for table, columns := range wrong {
		var id idRow
		w := walk{table: table, columns: "rowid AS id"}
		w.where.add("(" + strings.Join(columns, " OR ") + ")")
		if err := r.verify(ctx, w, &id, func() { r.report(Damage{table, int64(id), int64(id), badColumn}) }); err != nil {
			return err
		}
	}
	return nil
}

// checkSchema looks whether the file says of its tables and views what was written. Those that an older parley has made may
// be described in other words.
func (r *Reader) checkSchema(ctx context.Context) error {
	if r.version.Load() < schemaVersion {
		return nil
	}
	want, err := asMade()
	if err != nil {
		return err
	}
	got, err := described(ctx, r.db)
	if err != nil {
		return err
	}
	for _, of := range slices.Sorted(maps.Keys(want)) {
		if got[of] != want[of] && got[of] != strings.Replace(want[of], faultsInOrder, faultsBefore, 1) {
			r.report(Damage{Why: "the " + of + " is not described as it was made"})
		}
	}
	return nil
}

// asMade is how this version describes what it makes.
var asMade = sync.OnceValues(func() (map[string]string, error) {
	made, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer made.Close()
	made.SetMaxOpenConns(1)
	if _, err := made.Exec(schemaOf(schemaVersion) + ";" + viewsOf(schemaVersion, "VIEW")); err != nil {
		return nil, err
	}
	return described(background, made)
})

// described is how a database's tables, indexes and views are made, without the comments in that.
func described(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]string)
	for rows.Next() {
		var of, how string
		if err := rows.Scan(&of, &how); err != nil {
			return nil, err
		}
		all[of] = strings.Join(strings.Fields(comments.ReplaceAllString(how, "")), " ")
	}
	return all, rows.Err()
}

var comments = regexp.MustCompile(`--[^\n]*`)
