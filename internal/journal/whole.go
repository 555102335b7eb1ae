package journal

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"slices"
)

const (
	// sliceRows is how many exchanges of a whole journal are read together, by their ids, and held back.
	sliceRows = 1 << 18

	// mostHeld is how many slices are, of which some began before what was recorded last.
	mostHeld = 4
)

// A telling puts the moments of a whole journal in order, without those of all its exchanges in memory: what is told lies before all
// of the slice that was read last, since what is recorded next may have begun before it. What began earlier still is told
// behind what was told, in the order of its session all the same.
type telling struct {
	ordering
	r        *Reader
	where    *conditions
	rows     int64    // as sliceRows
	next, to int64    // the exchanges that are not read
	read     bool     // all are
	held     []moment // of those that are, in order
	others   []moment // openings, faults and refusals, in order
	ends     []ending // of sessions whose last exchange is not read, in its order
	ended    moments  // ends of the others
}

// isWhole says whether all is selected, but for the times.
func (f *Filter) isWhole() bool {
	return !f.looksAtExchanges() && !f.Loose && f.Session == 0 && f.Number == 0 && f.Address == "" && f.Reason == "" && len(f.Nodes) == 0
}

// isOfOne says whether one program after the other has recorded what happened when it did: what is collected may come a day
// behind what is later. And each session that ended has to say which exchange is its last.
func (r *Reader) isOfOne(ctx context.Context, tx *sql.Tx) (bool, error) {
	version := r.version.Load()
	if version < 3 {
		return false, nil
	}
	if version >= 5 {
		if collected, err := hasRows(ctx, tx, "sources"); collected || err != nil {
			return false, err
		}
	}
	unknown, err := hasRows(ctx, tx, "sessions WHERE closed_ns IS NOT NULL AND last IS NULL")
	return !unknown, err
}

// tellAll reads all that a journal has, and moves the position behind it.
func (t *telling) tellAll(ctx context.Context, pages chan<- []Event) error {
	for !t.read {
		some, err := t.some(ctx)
		if err != nil {
			return err
		}
		if err := t.r.readMoments(ctx, some, pages); err != nil {
			return err
		}
	}
	return nil
}

// newTelling begins to tell a journal from its start; it is nil if what is to be told is put in order at once.
func (r *Reader) newTelling(ctx context.Context, f *Filter, at *position) (t *telling, err error) {
	if at.exchange != fromTheStart || !f.isWhole() {
		return nil, nil
	}
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if isOfOne, err := r.isOfOne(ctx, tx); !isOfOne {
			if err != nil && isDamage(err) {
				err = nil
			}
			return err
		}
		t = &telling{r: r, rows: cmp.Or(r.slice, sliceRows), next: at.exchange + 1}
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
		t.ordering = newOrdering(openings, faults)
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

// some reads a slice, and returns what can be told now.
func (t *telling) some(ctx context.Context) ([]moment, error) {
	hits, err := t.slice(ctx)
	if err != nil {
		return nil, err
	}
	read := t.exchanges(hits, false)
	sortMoments(read)
	t.placeEnds()
	first := 0
	if len(read) > 0 {
		first, _ = slices.BinarySearchFunc(t.held, read[0], moment.compare)
	}
	before := len(t.held)
	t.held = merged(t.held, read)
	switch {
	case t.read:
		return t.tell(len(t.held), func(moment) bool { return true }), nil
	case int64(before-first) > 2*mostHeld*t.rows:
		first = len(t.held)
	case first == 0:
		return nil, nil
	}
	last := t.held[first-1]
	return t.tell(first, func(m moment) bool { return m.compare(last) < 0 }), nil
}

// tell takes the first ones of what is held, and of all else what is to be told with it.
func (t *telling) tell(first int, with func(moment) bool) []moment {
	others := 0
	for others < len(t.others) && with(t.others[others]) {
		others++
	}
	var ended []moment
	for len(t.ended) > 0 && with(t.ended[0]) {
		ended = append(ended, heap.Pop(&t.ended).(moment))
	}
	told := merged(merged(t.others[:others], t.held[:first]), ended)
	t.others, t.held = t.others[others:], t.held[first:]
	return told
}

// slice reads the next exchanges, and finds where to go on.
func (t *telling) slice(ctx context.Context) (hits []hit, err error) {
	err = t.r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		to := t.to
		if t.to-t.next >= t.rows {
			to = t.next + t.rows - 1
		}
		var row hitRow
		w := t.r.hits(ctx, tx, false, false)
		w.where, w.from, w.to = *t.where, t.next, to
		if err := t.r.walk(ctx, tx, w, &row, func() bool { hits = append(hits, row.found()); return true }); err != nil {
			return err
		}
		if t.read = to == t.to; t.read {
			return nil
		}
		if t.next = to + 1; len(hits) > 0 {
			return nil
		}
		t.read = true
		var id idRow // there may be holes of any width
		return t.r.walk(ctx, tx, walk{table: "exchanges", columns: "id", from: to + 1, to: t.to}, &id, func() bool {
			t.read, t.next = false, int64(id)
			return false
		})
	})
	return hits, err
}

// placeEnds gives the ends their places whose sessions are read.
func (t *telling) placeEnds() {
	for len(t.ends) > 0 && (t.read || t.ends[0].last < t.next) {
		end := t.ends[0].moment
		t.placeEnd(&end)
		heap.Push(&t.ended, end)
		delete(t.ordering, end.session)
		t.ends = t.ends[1:]
	}
}

// moments are a heap.
type moments []moment

func (m moments) Len() int           { return len(m) }
func (m moments) Less(i, j int) bool { return m[i].compare(m[j]) < 0 }
func (m moments) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *moments) Push(one any)      { *m = append(*m, one.(moment)) }
func (m *moments) Pop() any {
	last := len(*m) - 1
	one := (*m)[last]
	*m = (*m)[:last]
	return one
}
