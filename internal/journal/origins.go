package journal

// A knownOrigins is what a writer has said in origins, and is going to.
type knownOrigins struct {
	ids    map[About]int64
	there  map[int64]bool // those that are in the file
	added  []int64        // by the transaction
	newest int64          // the highest id
	last   About          // the one that was asked for last, and its id
	lastID int64
}

// findOrigins numbers what was said of sessions. So many of the newest are used again: a server
// uses the last one, so that what was said of the sessions is in their order.
func (f *file) findOrigins(most int64) error {
	o := &f.origins
	*o = knownOrigins{ids: make(map[About]int64), there: make(map[int64]bool)}
	rows, err := f.conn.Query("SELECT "+originColumns+" FROM origins ORDER BY id DESC LIMIT ?", most)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, sum int64
		var about About
		rows.Scan(&id, &about.Framing, &about.Role, &about.Listener, &about.Upstream, &about.Node, &sum)
		o.newest = max(o.newest, id)
		if sum == f.sums.origin(id, &about) {
			o.ids[about], o.there[id] = id, true
		}
	}
	return rows.Err()
}

// originOf is the id of what is said of a session, which is recorded if it is not there.
func (f *file) originOf(about *About) (id int64, err error) {
	o := &f.origins
	if o.lastID == 0 || o.last != *about {
		o.last, o.lastID = *about, o.ids[*about]
		if o.lastID == 0 {
			o.newest++
			o.lastID = o.newest
			o.ids[*about] = o.newest
		}
	}
	id = o.lastID
	if o.there[id] {
		return id, nil
	}
	o.there[id] = true
	o.added = append(o.added, id)
	return id, run(f.origin, id, about.Framing, about.Role, about.Listener, about.Upstream, about.Node, f.sums.origin(id, about))
}

func (o *knownOrigins) done() { o.added = o.added[:0] }

// undo is called when the transaction has failed.
func (o *knownOrigins) undo() {
	for _, id := range o.added {
		delete(o.there, id)
	}
	o.done()
}

// forget has all be recorded again that is named from now on: it may have been lost.
func (o *knownOrigins) forget() { clear(o.there) }
