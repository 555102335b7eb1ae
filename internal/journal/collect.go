package journal

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// CollectOptions say how a journal of many nodes is kept. The zero value works.
type CollectOptions struct {
	Warn func(string) // told when the journal is brought up to date, when it cannot be synced, and when a reader holds it up
}

// A Source is a journal whose records are collected, and how far they are.
type Source struct {
	Journal, Node string
	Position      Position
	Mark          uint64 // of the last block that was added: the caller's own, such as the number in a stream
}

// A HoleError is that records are missing between those that are there and a block.
type HoleError struct {
	Journal, Node string
	Have          Position // the source's
	From          Position // the block's
}

func (e *HoleError) Error() string {
	return fmt.Sprintf("records of %q are missing before a block (it has exchanges up to %d, the block those behind %d)", e.Node, e.Have.Exchange, e.From.Exchange)
}

// A Collector records what other journals have in one of its own. Its methods may be called from
// any goroutine.
type Collector struct {
	opt CollectOptions

	mu      sync.Mutex
	file    *file
	sources map[string]*source // by their journals
	known   map[place]*known
	batch   batch
	last    int64 // the highest id of a session that was given

	closing chan struct{}
	done    chan struct{}
}

// A place is a session of a source.
type place struct{ source, session int64 }

// A known session is what is recorded of one.
type known struct {
	id     int64 // sessions.id
	there  bool  // its own row is
	closed bool  // and says how it ended
}

const (
	// maxKnown is of how many sessions it is in memory what is recorded of them.
	maxKnown = 1 << 16

	notThere = "they were deleted or damaged before they were followed"
)

// Collect makes the journal of many nodes, or opens it. One process writes it. Errors do not name
// the file.
func Collect(name string, opt CollectOptions) (*Collector, error) {
	c := &Collector{opt: opt, closing: make(chan struct{}), done: make(chan struct{})}
	c.file = &file{name: name, warn: opt.Warn}
	if err := c.file.open(func(f *file) error { return cmp.Or(c.load(), f.exec(endIndexes)) }); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.done)
		c.look()
	}()
	return c, nil
}

// load finds out what is recorded.
func (c *Collector) load() error {
	f := c.file
	r, err := Open(f.name)
	if err != nil {
		return err
	}
	defer r.Close()
	c.sources, c.known, c.last = make(map[string]*source), make(map[place]*known), f.session
	err = r.snapshot(background, func(ctx context.Context, tx *sql.Tx) error {
		sources, err := r.sources(ctx, tx)
		if err != nil {
			return err
		}
		for i := range sources {
			c.sources[sources[i].Journal] = &sources[i]
		}
		if len(sources) == 0 && f.session+f.exchange+f.refusal > 0 {
			return errors.New("it is a server's own journal; what is collected needs another file")
		}
		return f.resumeChains(ctx, tx, r)
	})
	if err != nil {
		return err
	}
	if err := f.findOrigins(math.MaxInt64); err != nil {
		return err
	}
	err = f.noteLatest(f.exchange)
	f.chain.noted, f.chain.noting = f.exchange, 0
	return err
}

// resumeChains finds the last exchange of each session that goes on.
func (f *file) resumeChains(ctx context.Context, tx *sql.Tx, r *Reader) error {
	l, err := readLatest(ctx, tx)
	if err != nil && !isDamage(err) {
		return err
	}
	if l.first != 1 {
		l = latestRow{last: make(map[int64]int64)}
	}
	var link linkRow
	w := walk{table: "exchanges", columns: linkColumns, from: l.upto + 1, to: math.MaxInt64}
	if err := r.walk(ctx, tx, w, &link, func() bool {
		l.last[link.session] = link.exchange
		return true
	}); err != nil {
		return err
	}
	var closed idRow
	w = walk{table: "sessions", columns: "id"}
	w.where.add("closed_ns IS NOT NULL")
	if err := r.among(ctx, tx, slices.Sorted(maps.Keys(l.last)), w, &closed, func() { delete(l.last, int64(closed)) }); err != nil {
		return err
	}
	f.chain = chain{last: l.last}
	return nil
}

// Sources are the journals that records were collected of, in the order in which they came.
func (c *Collector) Sources() []Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.SortedFunc(maps.Values(c.sources), func(a, b *source) int { return int(a.number - b.number) })
	list := make([]Source, len(all))
	for i, s := range all {
		list[i] = s.Source
	}
	return list
}

// Add records a block together with its mark, whole or not at all, and returns how many records
// were added. What is recorded already is left out, so a block may come twice, or cut in another
// way. The error is a *HoleError if the block begins behind what is there: then nothing is recorded.
// After any other error it may be added again.
func (c *Collector) Add(b *Block, mark uint64) (added int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.mended(func() error {
		s := c.source(b.Journal, b.Node)
		if !s.Position.Covers(b.From) {
			return &HoleError{b.Journal, b.Node, s.Position, b.From}
		}
		a := &adding{Collector: c, block: b, source: s, have: s.Position, sessions: make([]*known, len(b.Sessions))}
		if err := a.fill(); err != nil {
			return err
		}
		added = a.added
		s.Position, s.Mark = s.Position.and(b.To), mark
		return c.write(s)
	})
	if err != nil {
		added = 0
	}
	return added, err
}

// Skip gives up the records of a journal up to a position: a gap says how many are missing and
// why, and the source goes on behind them.
func (c *Collector) Skip(journal, node string, to Position, why string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mended(func() error {
		s := c.source(journal, node)
		g := gap{from: time.Now(), to: time.Now(), reason: why, node: node,
			exchanges: max(0, to.Exchange-s.Position.Exchange),
			sessions:  max(0, to.Opened-s.Position.Opened) + max(0, to.Ended-s.Position.Ended) + max(0, to.Fault-s.Position.Fault)}
		c.batch.gaps = append(c.batch.gaps, g)
		s.Position = s.Position.and(to)
		return c.write(s)
	})
}

// mended does something once the file can be written, and again if its -wal file was gone or cut.
func (c *Collector) mended(do func() error) error {
	var err error
	for range 2 {
		c.batch.empty()
		if err = do(); err != errWALGone && err != errWALCut {
			return err
		}
		if _, err := c.file.mend(err); err != nil {
			return err
		}
		if err := c.load(); err != nil { // some that was recorded may be lost
			return err
		}
	}
	return err
}

// source is a copy of what is known of a journal.
func (c *Collector) source(journal, node string) *source {
	s := source{number: int64(len(c.sources)) + 1, Source: Source{Journal: journal}}
	if is := c.sources[journal]; is != nil {
		s = *is
	} else {
		for _, other := range c.sources { // one that is damaged has left its number
			s.number = max(s.number, other.number+1)
		}
	}
	s.Node = node
	return &s
}

// write records the batch and how far a source is with it.
func (c *Collector) write(s *source) error {
	c.batch.sources = append(c.batch.sources, *s)
	if err := c.file.write(&c.batch); err != nil {
		clear(c.known)
		c.last = c.file.session
		if isFull(err) {
			c.file.relieve()
		}
		return err
	}
	c.sources[s.Journal] = s
	if c.file.checkpointDue() {
		c.sync()
	}
	return nil
}

// empty is called before a batch is filled again.
func (b *batch) empty() {
	clear(b.opened)
	clear(b.closed)
	clear(b.refused)
	*b = batch{opened: b.opened[:0], closed: b.closed[:0], refused: b.refused[:0], faults: b.faults[:0], exchanges: b.exchanges[:0], bytes: b.bytes[:0],
		gaps: b.gaps[:0], sources: b.sources[:0], sessions: b.sessions[:0]}
}

// An adding is one block on its way into the batch.
type adding struct {
	*Collector
	block    *Block
	source   *source
	have     Position
	sessions []*known // by their places in the block
	added    int
}

// fill has the batch say what is new in the block.
func (a *adding) fill() error {
	for _, step := range []func() error{a.openings, a.exchanges, a.ends, a.others} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// openings finds the sessions that the block names, and records those that are not known.
func (a *adding) openings() error {
	if len(a.known) > maxKnown {
		clear(a.known)
	}
	for i := range a.block.Sessions {
		s := &a.block.Sessions[i]
		k, err := a.find(place{a.source.number, s.ID})
		if err != nil {
			return err
		}
		a.sessions[i] = k
		if s.There && !k.there && !s.Over {
			k.there = true
			a.added++
			a.batch.addOpened(a.block.session(s, k.id))
		}
	}
	return nil
}

// find is what is recorded of a session, which gets a number if nothing is.
func (a *adding) find(at place) (*known, error) {
	if k := a.known[at]; k != nil {
		return k, nil
	}
	k := new(known)
	var sum, there, closed int64
	err := queryRow(a.file.conn, fmt.Sprintf("SELECT c.id, c.sum, s.id IS NOT NULL, s.closed_ns IS NOT NULL FROM collected c LEFT JOIN sessions s ON s.id = c.id "+
		"WHERE c.source = %d AND c.session = %d", at.source, at.session), &k.id, &sum, &there, &closed)
	switch {
	case err == nil && sum == a.file.sums.collected(k.id, at.source, at.session):
		k.there, k.closed = there != 0, closed != 0
	case err == nil || err == io.EOF:
		a.last++
		*k = known{id: a.last}
		a.batch.sessions = append(a.batch.sessions, mapped{k.id, at.source, at.session})
	default:
		return nil, err
	}
	a.known[at] = k
	return k, nil
}

// session is what a block says of a session, by the number that it has here.
func (b *Block) session(n *namedSession, id int64) Session {
	s := Session{ID: id, Number: uint64(n.Number), Remote: n.Remote, Local: n.Local, Opened: time.Unix(0, n.Opened), About: b.about(n.Origin),
		TLSVersion: n.TLSVersion, TLSName: n.TLSName, Proxied: n.Proxied, OutLocal: n.OutLocal, OutRemote: n.OutRemote}
	if n.Over {
		s.Closed, s.Reason, s.Requests, s.RepliedUpTo = time.Unix(0, n.Closed), n.Reason, uint64(n.Requests), uint64(n.RepliedUpTo)
		s.BytesIn, s.BytesOut, s.Stray = uint64(n.In), uint64(n.Out), uint64(n.Stray)
	}
	return s
}

// about is what a block says of how something came to be; if it says nothing, the node is known.
func (b *Block) about(origin int) About {
	if origin == 0 {
		return About{Node: b.Node}
	}
	o := &b.Origins[origin-1]
	return About{Framing: o.Framing, Role: o.Role, Listener: o.Listener, Upstream: o.Upstream, Node: o.Node}
}

func (a *adding) exchanges() error {
	n := len(a.batch.exchanges)
	var failed error
	a.block.each(func(id int64, session int, r *record, request, reply []byte) {
		if id <= a.have.Exchange || failed != nil {
			return
		}
		k := a.sessions[session]
		if k.closed { // its exchanges came with another parley's journal, behind its end
			failed = a.file.resume(k.id)
		}
		r.session = k.id
		a.batch.exchanges = append(a.batch.exchanges, *r)
		a.batch.bytes = append(append(a.batch.bytes, request...), reply...)
	})
	added := len(a.batch.exchanges) - n
	a.added += added
	if missing := a.block.To.Exchange - max(a.have.Exchange, a.block.From.Exchange) - int64(added); missing > 0 {
		a.batch.gaps = append(a.batch.gaps, a.gapOf(missing))
	}
	return failed
}

// gapOf is that of exchanges which the source has no more, about when they were.
func (a *adding) gapOf(missing int64) gap {
	g := gap{from: time.Now(), to: time.Now(), exchanges: missing, reason: notThere, node: a.block.Node}
	if x := a.batch.exchanges; len(x) > 0 {
		g.from, g.to = time.Unix(0, x[0].received), time.Unix(0, x[len(x)-1].received)
	}
	return g
}

// resume has the exchanges of a session that was closed go on.
func (f *file) resume(session int64) error {
	if f.chain.last[session] != 0 {
		return nil
	}
	var last int64
	err := queryRow(f.conn, fmt.Sprintf("SELECT coalesce(last, 0) FROM sessions WHERE id = %d", session), &last)
	if last > 0 {
		f.chain.last[session] = last
	}
	return err
}

// ends records the ends of sessions, again of those that have exchanges behind them.
func (a *adding) ends() error {
	more := make([]bool, len(a.sessions))
	a.block.each(func(id int64, session int, _ *record, _, _ []byte) {
		more[session] = more[session] || id > a.have.Exchange
	})
	for i := range a.block.Sessions {
		s, k := &a.block.Sessions[i], a.sessions[i]
		if !s.Over || k.closed && !more[i] {
			continue
		}
		a.added += int(bit(!k.there) + bit(!k.closed))
		k.there, k.closed = true, true
		a.batch.addClosed(a.block.session(s, k.id))
	}
	return nil
}

func (a *adding) others() error {
	b := a.block
	for i := range b.Refusals {
		r := &b.Refusals[i]
		if r.ID <= a.have.Refused {
			continue
		}
		one := Refusal{At: time.Unix(0, r.At), Remote: r.Remote, Local: r.Local, Reason: r.Reason, Text: r.Told, About: b.about(r.Origin)}
		if r.Framed {
			one.RawText.Bytes, one.RawText.Body, one.Text = r.Told, r.Head, r.Told[r.Head:r.Head+r.Length]
		}
		a.batch.refused = append(a.batch.refused, one)
		a.added++
	}
	for i := range b.Faults {
		f := &b.Faults[i]
		if f.ID > a.have.Fault {
			a.batch.faults = append(a.batch.faults, Fault{Session: a.sessions[f.Session].id, At: time.Unix(0, f.At), Seq: uint64(f.Seq), Fault: f.Fault})
			a.added++
		}
	}
	for i := range b.Gaps {
		g := &b.Gaps[i]
		if g.ID > a.have.Gap {
			a.batch.gaps = append(a.batch.gaps, gap{from: time.Unix(0, g.From), to: time.Unix(0, g.To), exchanges: g.Exchanges, sessions: g.Sessions, reason: g.Reason, node: b.Node})
			a.added++
		}
	}
	return nil
}

// look has what was recorded synced every second.
func (c *Collector) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.closing:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		c.sync()
		c.mu.Unlock()
	}
}

// sync has what was recorded on the disk, and copied into the journal.
func (c *Collector) sync() {
	if err := c.file.checkpoint(); err != nil {
		c.warn(fmt.Sprintf("cannot be synced: %v", err))
	}
	if text := c.file.heldUp(); text != "" {
		c.warn(text)
	}
}

func (c *Collector) warn(text string) {
	if c.opt.Warn != nil {
		c.opt.Warn(text)
	}
}

// Close closes the files.
func (c *Collector) Close() error {
	select {
	case <-c.closing:
		return nil
	default:
	}
	close(c.closing)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.close()
}
