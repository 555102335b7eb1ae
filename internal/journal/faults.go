package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"iter"
	"math"
	"time"

	"github.com/parley-tcp/parley"
)

// A faultRow is a row of faults.
type faultRow struct {
	Fault
	at  int64
	sum sql.NullInt64
}

const faultColumns = "id, session, at_ns, seq, fault, sum"

func (x *faultRow) id() int64 { return x.ID }
func (x *faultRow) columns() []any {
	return []any{&x.ID, &x.Session, &x.at, &x.Seq, &x.Fault.Fault, &x.sum}
}

// fault is what the row says; nil, and reported, if that is not what was written.
func (x *faultRow) fault(r *Reader) *Fault {
	one := x.Fault
	one.At = time.Unix(0, x.at).UTC()
	if x.sum.Valid && x.sum.Int64 != new(checksummer).fault(&one) {
		r.report(Damage{"faults", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) faults(ctx context.Context, ids []int64) (map[int64]*Fault, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make(map[int64]*Fault, len(ids))
	err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var row faultRow
		return r.among(ctx, tx, ids, walk{table: "faults", columns: faultColumns}, &row, func() {
			if x := row.fault(r); x != nil {
				found[x.ID] = x
			}
		})
	})
	return found, err
}

// faultMoments are the faults that were not told yet.
func (r *Reader) faultMoments(ctx context.Context, tx *sql.Tx, f *Filter, at *position) (all []moment, err error) {
	if r.version.Load() < 4 || f.looksAtExchanges() {
		return nil, nil
	}
	w := walk{table: "faults", columns: faultColumns, from: at.fault + 1, to: math.MaxInt64}
	if of := r.ofSessions(f); len(of.terms) > 0 {
		ids, err := r.sessionsWhere(ctx, tx, of, 0)
		if err != nil {
			return nil, err
		}
		w.where.in("session", ids)
	}
	var row faultRow
	err = r.walk(ctx, tx, w, &row, func() bool {
		at.fault = row.ID
		if f.covers(row.at) {
			all = append(all, moment{ns: row.at, session: row.Session, exchange: row.ID, kind: parley.Faulted})
		}
		return true
	})
	return all, err
}

// addFaults has the exchanges say what went wrong on purpose with them.
func (r *Reader) addFaults(ctx context.Context, q querier, exchanges iter.Seq[*Exchange]) error {
	if r.version.Load() < 4 {
		return nil
	}
	err := r.faultsOf(ctx, q, exchanges)
	if err != nil && isDamage(err) {
		r.report(Damage{"faults", 1, math.MaxInt64, err.Error()})
		return nil
	}
	return err
}

// faultsOf is addFaults, and tells of damage too.
func (r *Reader) faultsOf(ctx context.Context, q querier, exchanges iter.Seq[*Exchange]) error {
	// Hardly any journal has one. To look for those of each exchange costs half of what reading it does.
	if any, err := hasRows(ctx, q, "faults"); !any {
		return err
	}
	type place struct{ session, seq int64 }
	var places [][2]int64
	of := make(map[place][]*Exchange)
	for x := range exchanges {
		if x.Seq > 0 {
			places = append(places, [2]int64{x.Session, int64(x.Seq)})
			at := place{x.Session, int64(x.Seq)}
			of[at] = append(of[at], x) // a tap may have kept the request and its reply alone
		}
	}
	list, _ := json.Marshal(places) // numbers cannot fail
	rows, err := q.QueryContext(ctx, "SELECT f.id, f.session, f.at_ns, f.seq, f.fault, f.sum FROM json_each(?) j CROSS JOIN faults f INDEXED BY faults_of "+
		"ON f.session = json_extract(j.value, '$[0]') AND f.seq = json_extract(j.value, '$[1]') ORDER BY f.id", string(list))
	if err != nil {
		return err
	}
	defer rows.Close()
	seen := int64(0)
	for rows.Next() {
		var row faultRow
		if err := rows.Scan(row.columns()...); err != nil {
			continue // Verify tells of it
		}
		fault := row.fault(r)
		if fault == nil || fault.ID == seen {
			continue
		}
		seen = fault.ID
		for _, x := range of[place{fault.Session, int64(fault.Seq)}] {
			if x.Fault != "" {
				x.Fault += ", "
			}
			x.Fault += fault.Fault
		}
	}
	return rows.Err()
}

// pointers are to each one of a list.
func pointers[T any](all []T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range all {
			if !yield(&all[i]) {
				return
			}
		}
	}
}

// hasRows says whether a table has any.
func hasRows(ctx context.Context, q querier, table string) (bool, error) {
	rows, err := q.QueryContext(ctx, "SELECT 1 FROM "+table+" LIMIT 1")
	if err != nil {
		return false, err
	}
	defer rows.Close()
	return rows.Next(), rows.Err()
}
