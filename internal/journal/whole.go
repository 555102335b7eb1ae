package journal

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
)

// sliceRows is how many exchanges of a whole journal are read together, and as many are held back.
const sliceRows = 1 << 18

// A telling puts the moments of a whole journal in order, without all of them in memory: those of so many exchanges are
// held back, since what is recorded next may have begun before them. What began earlier still is told behind what was told, in
// the order of its session all the same.
type telling struct {
	ordering
	r        *Reader
	where    *conditions
	rows     int      // as sliceRows
	next, to int64    // the exchanges that are not read
	held     []moment // of those that are, in order
	others   []moment // of sessions, faults and refusals, in order
	ends     []ending // of sessions whose last exchange is not read, in its order
}

// isWhole says whether all is selected, but for the times.
func (f *Filter) isWhole() bool {
	return !f.looksAtExchanges() && !f.Loose && f.Session == 0 && f.Number == 0 && f.Address == "" && f.Reason == "" && len(f.Nodes) == 0
}

// isOfOne says whether one program after the other has recorded what happened when it did: what is collected may come a day
// behind what is later. And a session says which exchange is its last.
func (r *Reader) isOfOne(ctx context.Context) (bool, error) {
	switch version := r.version.Load(); {
	case version < 3:
		return false, nil
	case version < 5:
		return true, nil
	}
	collected, err := hasRows(ctx, r.db, "sources")
	if err != nil && isDamage(err) {
		return false, nil
	}
	return !collected, err
}

// tellAll reads what a journal has, and moves the position behind it.
func (r *Reader) tellAll(ctx context.Context, f *Filter, at *position, pages chan<- []Event) error {
	t, err := r.newTelling(ctx, f, at)
	for more := true; more && err == nil; {
		var moments []moment
		if moments, more, err = t.read(ctx); err == nil {
			err = r.readMoments(ctx, moments, pages)
		}
	}
	return err
}

func (r *Reader) newTelling(ctx context.Context, f *Filter, at *position) (t *telling, err error) {
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		t = &telling{ordering: make(ordering), r: r, rows: cmp.Or(r.slice, sliceRows), next: at.exchange + 1}
		var err error
		if t.where, _, err = r.ofExchanges(ctx, tx, f); err != nil {
			return err
		}
		openings, ends, err := r.sessionMoments(ctx, tx, f, at, true, nil)
		if err != nil {
			return err
		}
		faults, err := r.faultMoments(ctx, tx, f, at)
		if err != nil {
			return err
		}
		for i := range openings {
			t.placeOpening(&openings[i])
		}
		for i := range faults {
			t.placeFault(&faults[i])
		}
		if t.others, err = r.appendRefusals(ctx, tx, append(openings, faults...), f, at); err != nil {
			return err
		}
		sortMoments(t.others)
		slices.SortFunc(ends, func(a, b ending) int { return cmp.Compare(a.last, b.last) })
		t.ends = ends
		if at.session, err = r.lastID(ctx, tx, "sessions"); err != nil {
			return err
		}
		at.exchange, err = r.lastID(ctx, tx, "exchanges")
		t.to = at.exchange
		return err
	})
	return t, err
}

// read reads some exchanges, and returns what can be told now and whether there is more.
func (t *telling) read(ctx context.Context) (moments []moment, more bool, err error) {
	hits, err := t.hits(ctx)
	if err != nil {
		return nil, false, err
	}
	if more = len(hits) == t.rows; more {
		t.next = hits[len(hits)-1].exchange + 1
	} else {
		t.next = math.MaxInt64
	}
	read := t.exchanges(hits, false)
	sortMoments(read)
	t.held = merged(t.held, read)
	t.placeEnds()
	n, others := len(t.held), len(t.others)
	if more {
		if n -= 2 * t.rows; n <= 0 {
			return nil, true, nil
		}
		others, _ = slices.BinarySearchFunc(t.others, t.held[n], moment.compare)
	}
	moments = merged(t.others[:others], t.held[:n])
	t.others, t.held = t.others[others:], slices.Clone(t.held[n:])
	return moments, more, nil
}

// hits are the next ones.
func (t *telling) hits(ctx context.Context) (hits []hit, err error) {
	err = t.r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var row hitRow
		w := t.r.hits(ctx, tx, false, false)
		w.where, w.from, w.to = *t.where, t.next, t.to
		return t.r.walk(ctx, tx, w, &row, func() bool {
			hits = append(hits, row.found())
			return len(hits) < t.rows
		})
	})
	return hits, err
}

// placeEnds gives the ends their places whose sessions are read.
func (t *telling) placeEnds() {
	n := 0
	for n < len(t.ends) && t.ends[n].last < t.next {
		n++
	}
	ends := make([]moment, n)
	for i, end := range t.ends[:n] {
		t.placeEnd(&end.moment)
		ends[i] = end.moment
		delete(t.ordering, end.session)
	}
	t.ends = t.ends[n:]
	if n > 0 {
		sortMoments(ends)
		t.others = merged(t.others, ends)
	}
}
