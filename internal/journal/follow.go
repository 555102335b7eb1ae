package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"
)

// A Follower reads a journal's records in the order of recording, also while a server writes it,
// which it never holds up. What it returns is on the disk: a journal that loses what is newer with
// the power has it still. It is for one goroutine.
type Follower struct {
	file    string
	reader  *Reader
	info    fs.FileInfo // the file
	log     *os.File    // its -wal file
	synced  Position    // up to here all is known to be on the disk
	since   int64       // when the writer has opened it
	strange bool        // the -wal file is another than the writer's, as far as is known
	journal string
	node    string

	now func() time.Time // tests set it
}

const (
	// openingPatience is how long the opening of a session waits for those that were accepted before
	// it: loops record each for itself.
	openingPatience = 2 * time.Second

	// About what records take up in a block.
	exchangeBytes = 24
	sessionBytes  = 64
	otherBytes    = 32

	// recordsAtOnce is how many of a kind a block has at most.
	recordsAtOnce = maxInBlock / 16

	// othersShare is which part of a block is left to what is no exchange.
	othersShare = 4
)

// Follow opens a journal to be followed. One of an older version is brought up to date, unless a
// server writes it that would not know it any more. Errors do not name the file; they are those of
// Open, or that it cannot be written.
func Follow(file string) (*Follower, error) {
	f := &Follower{file: file, now: time.Now}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Follower) open() (err error) {
	if f.reader, err = Open(f.file); err != nil {
		return err
	}
	if f.reader.version.Load() < 5 {
		if err := f.upgrade(); err != nil {
			f.reader.Close()
			return err
		}
	}
	if err := f.look(); err != nil {
		f.Close()
		return err
	}
	return nil
}

// upgrade has a journal say what it is called.
func (f *Follower) upgrade() error {
	old, err := openFile(f.file, Options{})
	if err != nil {
		return err
	}
	return old.close()
}

// look finds out which files it has open, and what the journal is called.
func (f *Follower) look() (err error) {
	if err := f.reader.snapshot(background, func(ctx context.Context, tx *sql.Tx) (err error) {
		switch sources, err := f.reader.sources(ctx, tx); {
		case err != nil:
			return err
		case len(sources) > 0:
			return errCollected
		}
		if f.journal, err = f.reader.identity(ctx, tx); err != nil {
			return err
		}
		if f.node, err = f.reader.newestNode(ctx, tx); err != nil {
			return err
		}
		f.since, err = f.reader.writerSince(ctx, tx)
		return err
	}); err != nil {
		return err
	}
	if f.info, err = os.Stat(f.file); err != nil {
		return errors.Unwrap(err)
	}
	if f.log, err = os.Open(f.file + "-wal"); err != nil {
		return errors.Unwrap(err)
	}
	return nil
}

// Close closes the files.
func (f *Follower) Close() error {
	if f.log != nil {
		f.log.Close()
		f.log = nil
	}
	return f.reader.Close()
}

// Journal is the journal's own id: 32 hex digits.
func (f *Follower) Journal() string { return f.journal }

// Node is that of the newest origin; empty if there is none.
func (f *Follower) Node() string { return f.node }

// Cursor is how far somebody has come, as kept in the journal: the beginning if nothing is.
func (f *Follower) Cursor(name string) (p Position, err error) {
	err = f.reader.snapshot(background, func(ctx context.Context, tx *sql.Tx) error {
		p, err = f.reader.cursor(ctx, tx, name)
		return err
	})
	return p, err
}

// errCollected is that of a journal of many nodes.
var errCollected = errors.New("it was collected of other journals, which are followed themselves")

// errReplaced is that of a journal that is not the one which was opened.
var errReplaced = errors.New("the file was replaced by another")

// Keep keeps in the journal how far somebody has come. A crash may lose the last.
//
// It is a transaction of one row beside those of a server, which waits for it if they meet. Its
// connection is opened for it alone, so that it writes to the -wal file that there is now; beside a
// server it copies nothing of that into the journal, as that does, and while the reader is open its end does
// not either. Where somebody has removed the -wal file, nothing is written before the server has
// opened the new one: the two would not know of each other.
func (f *Follower) Keep(name string, p Position) error {
	if err := f.renew(); err != nil {
		return err
	}
	if f.strange {
		return errWALGone
	}
	c, err := connectFor(f.file, "mode=rw", lockPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Exec("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	if rest, err := f.reader.logAtRest(); err != nil || rest != nil {
		if err := cmp.Or(err, forgetRest(c, f.file)); err != nil {
			return err
		}
	}
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err = keepCursor(c, name, p)
	if err == nil && !f.isLog() { // a server will find out too, and mends what it has
		err = errWALGone
	}
	if err != nil {
		c.Exec("ROLLBACK")
		return err
	}
	return c.Exec("COMMIT")
}

// renew opens the journal anew if its -wal file is another now.
func (f *Follower) renew() error {
	switch info, err := os.Stat(f.file); {
	case err != nil:
		return errors.Unwrap(err)
	case !os.SameFile(info, f.info):
		return errReplaced
	case f.isLog() && !f.strange:
		return nil
	}
	before := f.since
	f.Close()
	reader, err := Open(f.file)
	if err != nil {
		return err
	}
	reader.alone = false // a server mends it, maybe now: nothing is taken away
	f.reader, f.strange = reader, true
	if err := f.look(); err != nil {
		return err
	}
	f.strange = f.since == before
	return nil
}

// isLog says whether the -wal file is the one that was there.
func (f *Follower) isLog() bool {
	there, err := os.Stat(f.file + "-wal")
	if err != nil || f.log == nil {
		return false
	}
	mine, err := f.log.Stat()
	return err == nil && os.SameFile(there, mine)
}

// Newest is how far the journal goes.
func (f *Follower) Newest(ctx context.Context) (p Position, err error) {
	if err := f.renew(); err != nil {
		return p, err
	}
	err = f.reader.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT (SELECT coalesce(max(id), 0) FROM exchanges), (SELECT coalesce(max(ended), 0) FROM sessions WHERE ended IS NOT NULL), "+
			"(SELECT coalesce(max(id), 0) FROM sessions), (SELECT coalesce(max(id), 0) FROM refused), (SELECT coalesce(max(id), 0) FROM faults), "+
			"(SELECT coalesce(max(rowid), 0) FROM gaps)").Scan(p.places()...)
	})
	return p, err
}

// Next is the block behind a position: about maxBytes encoded at most, but one record at least,
// however large. It is nil if there is nothing new.
func (f *Follower) Next(ctx context.Context, from Position, maxBytes int) (*Block, error) {
	if err := f.renew(); err != nil {
		return nil, err
	}
	c := &cutter{r: f.reader, now: f.now(), max: maxBytes}
	c.block = Block{Journal: f.journal, From: from, To: from}
	if err := f.reader.snapshot(ctx, c.cut); err != nil {
		return nil, err
	}
	if c.block.To == from {
		return nil, nil
	}
	f.node = c.block.Node
	if !f.synced.Covers(c.block.To) {
		if err := syncLog(f.log); err != nil {
			return nil, err
		}
		f.synced = f.synced.and(c.block.To)
	}
	return &c.block, nil
}

// A cutter makes one block of a journal.
type cutter struct {
	r     *Reader
	now   time.Time
	max   int
	size  int // about, of what is in the block
	block Block

	places  map[int64]int // of sessions in the block, in the order in which they are named
	ids     []int64       // the sessions by their places
	origins map[int64]int // places of origins.id, from 1
	last    int64         // the last exchange in the block
	more    bool          // there are exchanges behind it
}

func (c *cutter) cut(ctx context.Context, tx *sql.Tx) (err error) {
	c.places, c.origins, c.last = make(map[int64]int), make(map[int64]int), c.block.From.Exchange
	if c.block.Node, err = c.r.newestNode(ctx, tx); err != nil {
		return err
	}
	for _, step := range []func(context.Context, *sql.Tx) error{c.exchanges, c.ends, c.openings, c.refusals, c.faults, c.gaps, c.sessions} {
		if err := step(ctx, tx); err != nil {
			return err
		}
	}
	c.block.countMissing()
	return nil
}

// hasRoom says whether one more record of some bytes fits; the first one of a block does.
func (c *cutter) hasRoom(bytes, limit int) bool { return c.size == 0 || c.size+bytes <= limit }

// place is that of a session in the block.
func (c *cutter) place(session int64) int {
	at, is := c.places[session]
	if !is {
		at = len(c.ids)
		c.places[session] = at
		c.ids = append(c.ids, session)
		c.size += sessionBytes
	}
	return at
}

func (c *cutter) exchanges(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	limit := c.max - c.max/othersShare
	var row exchangeRow
	w := walk{table: "exchanges", join: joinCuts, columns: c.r.exchangeColumns(c.r.rareColumn()), from: b.From.Exchange + 1, to: math.MaxInt64}
	return c.r.walk(ctx, tx, w, &row, func() bool {
		bytes := exchangeBytes + len(row.requestBytes) + len(row.replyBytes)
		if !c.hasRoom(bytes, limit) || len(b.Exchanges.IDs) == recordsAtOnce {
			c.more = true
			return false
		}
		if row.isWhole(c.r) {
			c.size += bytes
			b.Exchanges.add(row.ID, c.last, c.place(row.session), &row.record, row.requestBytes, row.replyBytes)
			c.last = row.ID
		}
		b.To.Exchange = row.ID
		return true
	})
}

// ends takes the ends of sessions whose exchanges are all there.
func (c *cutter) ends(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT id, ended, last FROM sessions WHERE ended > ? ORDER BY ended LIMIT ?", c.block.From.Ended, recordsAtOnce)
	if err != nil {
		return c.unless(err, "sessions")
	}
	defer rows.Close()
	for rows.Next() {
		var id, ended int64
		var last sql.NullInt64
		if err := rows.Scan(&id, &ended, &last); err != nil {
			return err
		}
		if c.more && (!last.Valid || last.Int64 > c.block.To.Exchange) || !c.hasRoom(sessionBytes, c.max) {
			return nil
		}
		c.place(id)
		c.block.To.Ended = ended
	}
	return c.unless(rows.Err(), "sessions")
}

// unless reports damage, and returns any other error.
func (c *cutter) unless(err error, table string) error {
	if err == nil || !isDamage(err) {
		return err
	}
	c.r.report(Damage{table, 1, math.MaxInt64, err.Error()})
	return nil
}

// openings takes the sessions that have begun, as far as none of before is to come.
func (c *cutter) openings(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	var row sessionSpan
	taken := 0
	w := walk{table: "sessions", columns: c.r.spanColumns(), from: b.From.Opened + 1, to: math.MaxInt64}
	return c.r.walk(ctx, tx, w, &row, func() bool {
		isNext := row.session == b.To.Opened+1
		if !isNext && c.now.Sub(time.Unix(0, row.opened)).Abs() < openingPatience || !c.hasRoom(sessionBytes, c.max) || taken == recordsAtOnce {
			return false
		}
		c.place(row.session)
		taken++
		b.To.Opened = row.session
		return true
	})
}

func (c *cutter) refusals(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	var row refusalRow
	var origins []int64
	w := walk{table: "refused", columns: c.r.refusalColumns(), from: b.From.Refused + 1, to: math.MaxInt64}
	if err := c.r.walk(ctx, tx, w, &row, func() bool {
		bytes := otherBytes + len(row.Remote) + len(row.Local) + len(row.told)
		if !c.hasRoom(bytes, c.max) || len(b.Refusals) == recordsAtOnce {
			return false
		}
		b.To.Refused = row.ID
		if one := row.refusal(c.r); one != nil {
			c.size += bytes
			framed := one.RawText.Bytes != nil
			r := refused{ID: row.ID, At: row.at, Remote: row.Remote, Local: row.Local, Reason: row.Reason, Told: row.told, Framed: framed}
			if framed {
				r.Head, r.Length = one.RawText.Body, len(one.Text)
			}
			b.Refusals = append(b.Refusals, r)
			origins = append(origins, row.origin.Int64)
		}
		return true
	}); err != nil {
		return err
	}
	return c.eachOrigin(ctx, tx, origins, func(i, at int) { b.Refusals[i].Origin = at })
}

func (c *cutter) faults(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	var row faultRow
	w := walk{table: "faults", columns: faultColumns, from: b.From.Fault + 1, to: math.MaxInt64}
	return c.r.walk(ctx, tx, w, &row, func() bool {
		bytes := otherBytes + len(row.Fault.Fault)
		if !c.hasRoom(bytes, c.max) || len(b.Faults) == recordsAtOnce {
			return false
		}
		b.To.Fault = row.ID
		if row.fault(c.r) != nil {
			c.size += bytes
			b.Faults = append(b.Faults, faulted{ID: row.ID, Session: c.place(row.Session), At: row.at, Seq: int64(row.Seq), Fault: row.Fault.Fault})
		}
		return true
	})
}

func (c *cutter) gaps(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	var row gapRow
	w := walk{table: "gaps", columns: c.r.gapColumns(), from: b.From.Gap + 1, to: math.MaxInt64}
	return c.r.walk(ctx, tx, w, &row, func() bool {
		bytes := otherBytes + len(row.Reason)
		if !c.hasRoom(bytes, c.max) || len(b.Gaps) == recordsAtOnce {
			return false
		}
		b.To.Gap = row.ID
		if row.good(c.r) {
			c.size += bytes
			b.Gaps = append(b.Gaps, row.missed)
		}
		return true
	})
}

// sessions has each session that is named come with its row, in the order of their ids.
func (c *cutter) sessions(ctx context.Context, tx *sql.Tx) error {
	b := &c.block
	ids := slices.Sorted(slices.Values(c.ids))
	order := make([]int, len(ids)) // the places where they are, by those in which they were named
	b.Sessions = make([]namedSession, len(ids))
	for i, id := range ids {
		order[c.places[id]] = i
		b.Sessions[i].ID = id
	}
	for i, at := range b.Exchanges.Sessions {
		b.Exchanges.Sessions[i] = order[at]
	}
	for i := range b.Faults {
		b.Faults[i].Session = order[b.Faults[i].Session]
	}
	origins := make([]int64, len(ids))
	var row sessionRow
	if err := c.r.among(ctx, tx, ids, walk{table: "sessions", columns: c.r.sessionColumns()}, &row, func() {
		if one := row.session(c.r); one != nil {
			i := order[c.places[row.ID]]
			b.Sessions[i] = c.named(&row, one)
			origins[i] = row.origin.Int64
		}
	}); err != nil {
		return err
	}
	return c.eachOrigin(ctx, tx, origins, func(i, at int) { b.Sessions[i].Origin = at })
}

// named is what a block says of a session. One that has ended behind the block is open in it.
func (c *cutter) named(row *sessionRow, s *Session) namedSession {
	n := namedSession{ID: s.ID, There: true, Number: int64(s.Number), Remote: s.Remote, Local: s.Local, Opened: row.opened,
		TLSVersion: s.TLSVersion, TLSName: s.TLSName, Proxied: s.Proxied, OutLocal: s.OutLocal, OutRemote: s.OutRemote}
	if !row.closed.Valid || row.ended.Int64 > c.block.To.Ended {
		return n
	}
	n.Over, n.Ended, n.Closed, n.Reason = true, row.ended.Int64, row.closed.Int64, s.Reason
	n.Requests, n.RepliedUpTo, n.In, n.Out, n.Stray = int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut), int64(s.Stray)
	return n
}

// origin is the place of what is said of a session, from 1; 0 if nothing is.
func (c *cutter) origin(ctx context.Context, tx *sql.Tx, id int64) (int, error) {
	if at, is := c.origins[id]; is || id == 0 {
		return at, nil
	}
	about, err := c.r.origin(ctx, tx, id)
	if err != nil {
		return 0, err
	}
	c.block.Origins = append(c.block.Origins, origin{Framing: about.Framing, Role: about.Role, Listener: about.Listener, Upstream: about.Upstream, Node: about.Node})
	c.origins[id] = len(c.block.Origins)
	return c.origins[id], nil
}

// eachOrigin has the places of several used.
func (c *cutter) eachOrigin(ctx context.Context, tx *sql.Tx, ids []int64, use func(i, at int)) error {
	for i, id := range ids {
		at, err := c.origin(ctx, tx, id)
		if err != nil {
			return err
		}
		use(i, at)
	}
	return nil
}

// newestNode is that of the newest origin; empty if there is none.
func (r *Reader) newestNode(ctx context.Context, tx *sql.Tx) (node string, err error) {
	var row originRow
	w := walk{table: "origins", columns: originColumns, from: 1, to: math.MaxInt64, newestFirst: true}
	err = r.walk(ctx, tx, w, &row, func() bool {
		about := row.about(r)
		if about != nil {
			node = about.Node
		}
		return about == nil
	})
	return node, err
}

// writerSince is when the file was opened by who writes it, or did last.
func (r *Reader) writerSince(ctx context.Context, tx *sql.Tx) (since int64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT coalesce(max(since_ns), 0) FROM writer").Scan(&since)
	return since, err
}
