package journal

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	batchRows  = 1000                    // at which a batch is full
	batchBytes = 1 << 20                 // the same
	batchWait  = 20 * time.Millisecond   // how long a record waits for others to share its batch
	queueBound = 64                      // batches queued, from which on sessions wait for their records
	queueBytes = queueBound * batchBytes // the same, since one exchange may be many times a batch

	// sessionsBound is from when on openings and ends of sessions are only counted: nobody
	// can be made to wait for them.
	sessionsBound = 4 * queueBound

	spareBatches = 4

	transactionBytes = 16 * 4096 // of pages, about, that one takes up on disk whatever it writes

	retryEvery = time.Second // after an error
	lookEvery  = time.Second // whether the file is there, what has to be synced and what to be deleted
)

// Options say how a journal is kept. The zero value works.
type Options struct {
	Sync         bool         // a reply leaves only after its record is on disk
	ServeOnError bool         // while nothing can be written, serve without records; if not, sessions are held
	Keep         Keep         // what is deleted in time
	About        About        // how the sessions come to be
	Warn         func(string) // told when the journal cannot be written, at most once a second, and when it can again; when a reader holds it up
}

// A Writer records every session and every exchange of a server: it is to be both its
// Gate and one of its Observers. It belongs to one server, since it knows sessions by
// their numbers.
//
// Records are queued, and one goroutine writes them in batches, each a transaction. No
// exchange is skipped: while 64 batches (of 1,000 exchanges or 1 MiB) or 64 MiB are queued,
// a session that adds one is held until that is written, as all are with Options.Sync.
type Writer struct {
	file *file
	opt  Options
	base int64 // the id of a session is this and its number

	batchBytes int // at which a batch is full; batchBytes if 0

	mu      sync.Mutex
	queue   []*batch             // the last one is being filled
	bytes   int                  // of requests and replies in it
	outs    map[uint64][2]string // what PassedOn has noted, by the numbers of sessions that are open
	free    []*batch             // to be used again
	gap     gap                  // what is not recorded, since the last gap that is
	writing int64                // exchanges that are being written
	since   int64                // when the first of them was received; ns since 1970
	failing bool                 // nothing can be written at present
	closed  bool

	wake    chan struct{} // there is something to write, or more reason to
	closing chan struct{}
	done    chan struct{}

	// Of the goroutine that writes.
	timer    *time.Timer
	warned   time.Time
	unkept   int64 // exchanges that are not recorded at the end
	err      error // why
	closeErr error // of the file
}

// A batch is what is written in one transaction.
type batch struct {
	opened, closed []Session
	refused        []Refusal
	faults         []Fault
	exchanges      []record
	bytes          []byte            // their requests and replies
	names          int               // bytes of what the peers of sessions call themselves
	waiting        []*parley.Session // to be released once it is written
	gap            gap

	// Of what is collected.
	gaps     []gap
	sources  []source
	sessions []mapped
}

func (b *batch) rows() int {
	return len(b.opened) + len(b.closed) + len(b.refused) + len(b.faults) + len(b.exchanges)
}

// size is about how many bytes the batch takes up on disk, rather more than less.
func (b *batch) size() int64 { return transactionBytes + b.content() }

// content is about how many bytes its records take up.
func (b *batch) content() int64 {
	const row, session = 80, 256
	bytes := int64(len(b.bytes) + b.names)
	return bytes + bytes/8 + int64(len(b.exchanges))*row + int64(len(b.opened)+len(b.closed)+len(b.refused)+len(b.faults))*session
}

// lastSession is the highest id of a session that the batch names.
func (b *batch) lastSession() (id int64) {
	for i := range b.opened {
		id = max(id, b.opened[i].ID)
	}
	for i := range b.closed {
		id = max(id, b.closed[i].ID)
	}
	for i := range b.exchanges {
		id = max(id, b.exchanges[i].session)
	}
	for i := range b.faults {
		id = max(id, b.faults[i].Session)
	}
	return id
}

// A gap is a time in which something was not recorded.
type gap struct {
	from, to            time.Time // from is zero if there is no gap
	exchanges, sessions int64     // not recorded; of sessions each opening and each end
	reason              string
	node                string // whose, if it is not this one's
}

func (g *gap) add(from time.Time, exchanges, sessions int64) {
	if g.from.IsZero() {
		g.from = from
	}
	g.exchanges += exchanges
	g.sessions += sessions
}

// Create opens a journal for writing, or makes a new one. Errors do not name the file.
func Create(name string, opt Options) (*Writer, error) {
	if opt.Keep.Bytes > 0 {
		opt.Keep.Bytes = max(opt.Keep.Bytes, MinKeep)
	}
	f, err := openFile(name, opt)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		file: f, opt: opt, base: f.base, timer: time.NewTimer(0),
		batchBytes: int(min(batchBytes, opt.Keep.share(batchShare))),
		wake:       make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(w.done)
		w.run()
		w.closeErr = f.close()
	}()
	return w, nil
}

// Pass takes exchanges down; see parley.Gate.
func (w *Writer) Pass(s *parley.Session, exchanges []parley.Exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing && w.opt.ServeOnError || w.closed {
		w.gap.add(exchanges[0].Received, int64(len(exchanges)), 0)
		return w.opt.ServeOnError
	}
	var b *batch
	for i := range exchanges {
		e := &exchanges[i]
		b = w.last()
		r, request, reply := newRecord(w.SessionID(s.Number()), e)
		b.exchanges = append(b.exchanges, r)
		b.bytes = append(append(b.bytes, request...), reply...)
		w.bytes += len(request) + len(reply)
	}
	if !w.opt.Sync && !w.failing && len(w.queue) <= queueBound && w.bytes <= queueBytes {
		return true
	}
	b.waiting = append(b.waiting, s)
	w.ring()
	return false
}

// SessionID is the journal's number, a Session.ID, of a session that the server counts so.
func (w *Writer) SessionID(number uint64) int64 { return w.base + int64(number) }

// Wants the openings and the ends of sessions, connections that were refused, and what went wrong
// on purpose.
func (w *Writer) Wants(kind parley.EventKind) bool {
	return kind == parley.Opened || kind == parley.Closed || kind == parley.Refused || kind == parley.Faulted
}

// Observe takes down the opening or the end of a session, a refusal, or a fault. Of a connection
// that is refused on purpose the refusal says so.
func (w *Writer) Observe(e *parley.Event) {
	switch {
	case !w.Wants(e.Kind):
		return
	case e.Kind == parley.Faulted:
		w.observeFault(e)
		return
	}
	s := w.session(e.Session)
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == parley.Closed {
		s.OutLocal, s.OutRemote = w.takeOut(s.Number)
	}
	switch {
	case w.closed || len(w.queue) > sessionsBound:
		w.gap.add(e.Time, 0, 1)
	case e.Kind == parley.Refused:
		b := w.last()
		b.refused = append(b.refused, Refusal{At: e.Time, Remote: s.Remote, Local: s.Local, Reason: e.Reason.String(), Text: bytes.Clone(e.Body), RawText: textOf(e), About: w.opt.About})
	case e.Kind == parley.Opened:
		w.last().addOpened(s)
	default:
		s.Closed, s.Reason = e.Time, e.Reason.String()
		s.Requests, s.RepliedUpTo, s.BytesIn, s.BytesOut = e.Seq, e.Replied, e.In, e.Out
		s.Stray = e.Stray
		w.last().addClosed(s)
	}
}

// session is what is known of a session when it is opened.
func (w *Writer) session(s *parley.Session) Session {
	return Session{
		ID:         w.SessionID(s.Number()),
		Number:     s.Number(),
		Remote:     string(s.AppendRemote(nil)),
		Local:      string(s.AppendLocal(nil)),
		Opened:     s.Opened(),
		About:      w.opt.About,
		TLSVersion: s.TLSVersion(),
		TLSName:    s.TLSName(),
		Proxied:    s.Proxy(),
	}
}

// PassedOn takes down the two addresses of the connection by which a session is passed on to the
// server behind a tap: what that server records of the same bytes is found by them.
func (w *Writer) PassedOn(of *parley.Session, conn interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}) {
	s := w.session(of)
	out := parley.NewSession(0, conn.RemoteAddr(), conn.LocalAddr(), time.Time{})
	s.OutLocal, s.OutRemote = string(out.AppendLocal(nil)), string(out.AppendRemote(nil))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.outs == nil {
		w.outs = make(map[uint64][2]string)
	}
	w.outs[s.Number] = [2]string{s.OutLocal, s.OutRemote}
	if len(w.queue) > sessionsBound {
		return // it is recorded with the session's end
	}
	if n := len(w.queue); n > 0 && w.queue[n-1].amend(&s) {
		return
	}
	w.last().addOpened(s)
}

// takeOut is what PassedOn has noted of a session that ends.
func (w *Writer) takeOut(number uint64) (local, remote string) {
	out := w.outs[number]
	delete(w.outs, number)
	return out[0], out[1]
}

// amend has the opening of a session say what is known of it now, if it is among the last ones.
func (b *batch) amend(s *Session) bool {
	const looked = 64
	for i := len(b.opened) - 1; i >= max(0, len(b.opened)-looked); i-- {
		if b.opened[i].ID == s.ID {
			b.opened[i] = *s
			return true
		}
	}
	return false
}

func (w *Writer) observeFault(e *parley.Event) {
	if e.Session.Number() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue) > sessionsBound {
		w.gap.add(e.Time, 0, 1)
		return
	}
	b := w.last()
	b.faults = append(b.faults, Fault{Session: w.SessionID(e.Session.Number()), At: e.Time, Seq: e.Seq, Fault: e.Fault})
}

func (b *batch) addOpened(s Session) {
	b.opened = append(b.opened, s)
	b.names += s.names()
}

func (b *batch) addClosed(s Session) {
	b.closed = append(b.closed, s)
	b.names += s.names()
}

// names is how many bytes the peer's own words take up: a certificate has room for many.
func (s *Session) names() int { return len(s.TLSVersion) + len(s.TLSName) }

// textOf is what a refused peer was told, as it was sent, if the event says that.
func textOf(e *parley.Event) parley.Raw {
	raw := e.Raw
	if end := raw.Body + len(e.Body); raw.Bytes == nil || end > len(raw.Bytes) || !bytes.Equal(raw.Bytes[raw.Body:end], e.Body) {
		return parley.Raw{}
	}
	raw.Bytes = bytes.Clone(raw.Bytes)
	return raw
}

// last is the batch that is being filled.
func (w *Writer) last() *batch {
	if n := len(w.queue); n > 0 && !w.full(w.queue[n-1]) {
		return w.queue[n-1]
	}
	b := w.empty()
	w.queue = append(w.queue, b)
	w.ring()
	return b
}

func (w *Writer) full(b *batch) bool {
	return b.rows() >= batchRows || b.content() >= int64(cmp.Or(w.batchBytes, batchBytes))
}

func (w *Writer) empty() *batch {
	n := len(w.free)
	if n == 0 {
		return new(batch)
	}
	b := w.free[n-1]
	w.free = w.free[:n-1]
	return b
}

func (w *Writer) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Close writes what is queued and closes the file. It is called once the server has
// ended; the error says what is not recorded. When ctx ends before that is done, as on a disk
// that hangs, it returns at once and leaves the rest to the end of the process.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	w.mu.Unlock()
	if again {
		return nil
	}
	close(w.closing)
	select {
	case <-w.done:
	case <-ctx.Done():
		return fmt.Errorf("exchanges not recorded: up to %d (%w)", w.unwritten(), context.Cause(ctx))
	}
	switch {
	case w.unkept > 0:
		return fmt.Errorf("exchanges not recorded: %d (%w)", w.unkept, w.err)
	case w.err != nil:
		return w.err
	}
	return w.closeErr
}

// unwritten counts the exchanges that are not known to be recorded.
func (w *Writer) unwritten() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = w.gap.exchanges + w.writing
	for _, b := range w.queue {
		n += int64(len(b.exchanges))
	}
	return n
}

// A Backlog is what is not on its way to the disk yet.
type Backlog struct {
	Exchanges int64
	Bytes     int64     // of their requests and replies, without those that are being written
	Oldest    time.Time // when the first of them was received; zero if there is none
	Failing   bool      // nothing can be written at present
}

// Backlog is what is queued or being written.
func (w *Writer) Backlog() Backlog {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := Backlog{Exchanges: w.writing, Bytes: int64(w.bytes), Failing: w.failing}
	oldest := w.since
	for _, b := range w.queue {
		if l.Exchanges == 0 && len(b.exchanges) > 0 {
			oldest = b.exchanges[0].received
		}
		l.Exchanges += int64(len(b.exchanges))
	}
	if l.Exchanges > 0 {
		l.Oldest = time.Unix(0, oldest)
	}
	return l
}

// run writes until Close, and then what is left.
func (w *Writer) run() {
	for looked := kernel.Now(); ; {
		queued, ready, closed := w.state()
		switch {
		case !queued && closed:
			return
		case !queued:
			w.pause(lookEvery-kernel.Since(looked), w.wake)
		case !ready:
			w.pause(batchWait, w.wake)
			fallthrough
		default:
			if !w.record(w.take()) {
				return
			}
		}
		if kernel.Since(looked) < lookEvery {
			continue
		}
		looked = kernel.Now()
		if !w.look() {
			return
		}
	}
}

// state says whether there is something to write, and whether it should wait for others
// no longer.
func (w *Writer) state() (queued, ready, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.queue)
	return n > 0 || !w.gap.from.IsZero(), w.closed || n != 1 || len(w.queue[0].waiting) > 0, w.closed
}

// pause waits for so long, or until it is woken or closed, and reports the latter.
func (w *Writer) pause(d time.Duration, wake <-chan struct{}) (closed bool) {
	w.timer.Reset(d)
	select {
	case <-w.closing:
		return true
	case <-wake:
	case <-w.timer.C:
	}
	return false
}

// take takes the first batch off the queue, and the gap before it.
func (w *Writer) take() *batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b *batch
	if len(w.queue) == 0 {
		b = w.empty()
	} else {
		b = w.queue[0]
		w.queue = append(w.queue[:0], w.queue[1:]...)
		w.bytes -= len(b.bytes)
	}
	w.takeGap(b)
	w.writing = int64(len(b.exchanges)) + b.gap.exchanges
	switch {
	case len(b.exchanges) > 0:
		w.since = b.exchanges[0].received
	case b.gap.exchanges > 0:
		w.since = b.gap.from.UnixNano()
	}
	return b
}

// takeGap has what was not recorded by now become part of the batch's gap.
func (w *Writer) takeGap(b *batch) {
	if !w.gap.from.IsZero() {
		b.gap.add(w.gap.from, w.gap.exchanges, w.gap.sessions)
		w.gap = gap{}
	}
	b.gap.to = kernel.Now()
}

// record writes a batch, however long that takes. It is false if the writer was closed and
// it still cannot be done.
func (w *Writer) record(b *batch) bool {
	if err := w.file.write(b); err != nil && !w.insist(b, err) {
		return false
	}
	// An error of these shows when the next batch is written, or in look.
	w.file.prune()
	if w.file.sessionsSincePrune += len(b.closed); w.file.sessionsSincePrune > w.file.keep.sessions() {
		w.file.pruneSessions()
	}
	if w.file.checkpointDue() {
		w.file.checkpoint()
		w.warnOfReader()
	}
	for _, s := range b.waiting {
		s.Release()
	}
	clear(b.waiting)
	clear(b.refused)
	clear(b.faults)
	clear(b.opened)
	clear(b.closed)
	*b = batch{opened: b.opened[:0], closed: b.closed[:0], refused: b.refused[:0], faults: b.faults[:0], exchanges: b.exchanges[:0], bytes: b.bytes[:0], waiting: b.waiting[:0]}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = 0
	if len(w.free) < spareBatches && cap(b.bytes) <= 2*batchBytes {
		w.free = append(w.free, b)
	}
	return true
}

// insist tries to write a batch until it works, which it reports, or the writer is closed.
func (w *Writer) insist(b *batch, err error) bool {
	for since := kernel.Now(); err != nil; {
		w.fail(b, since, err)
		closed := w.pause(retryEvery, nil)
		w.mu.Lock()
		w.takeGap(b)
		w.mu.Unlock()
		if err = w.tryAgain(b, err); err != nil && closed {
			w.giveUp(b, err)
			return false
		}
	}
	w.mu.Lock()
	w.failing = false
	w.mu.Unlock()
	w.warn(fmt.Sprintf("can be written again (exchanges not recorded: %d)", b.gap.exchanges))
	return true
}

// tryAgain writes a batch that could not be written, once what is in the way is out of it as
// far as that can be done here.
func (w *Writer) tryAgain(b *batch, err error) error {
	switch {
	case err == errWALGone || err == errWALCut:
		lost, err := w.file.mend(err)
		if err != nil {
			return err
		}
		if lost < 0 {
			return nil // this batch was there already
		}
		b.gap.exchanges += lost
	case isFull(err):
		w.file.relieve()
	}
	return w.file.write(b)
}

// fail goes by the policy for errors.
func (w *Writer) fail(b *batch, since time.Time, err error) {
	var release []*parley.Session
	waiting := 0
	w.mu.Lock()
	w.failing = true
	b.gap.add(since, 0, 0)
	b.gap.reason = err.Error()
	for _, q := range append(w.queue, b) {
		if w.opt.ServeOnError && len(q.exchanges) > 0 {
			first := time.Unix(0, q.exchanges[0].received)
			if first.Before(b.gap.from) {
				b.gap.from = first
			}
			b.gap.exchanges += int64(len(q.exchanges))
			q.exchanges, q.bytes = q.exchanges[:0], q.bytes[:0]
			w.bytes = 0
			release = append(release, q.waiting...)
			q.waiting = nil
		}
		waiting += len(q.waiting)
	}
	w.writing = int64(len(b.exchanges)) + b.gap.exchanges
	w.mu.Unlock()
	for _, s := range release {
		s.Release()
	}
	switch {
	case kernel.Since(w.warned) < retryEvery:
		return
	case w.opt.ServeOnError:
		w.warn(fmt.Sprintf("cannot be written: %v; serving goes on without it (exchanges not recorded: %d)", err, b.gap.exchanges))
	default:
		w.warn(fmt.Sprintf("cannot be written: %v; nobody is answered until it can be (sessions waiting: %d)", err, waiting))
	}
	w.warned = kernel.Now()
}

// giveUp counts what is not recorded.
func (w *Writer) giveUp(b *batch, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.unkept = b.gap.exchanges + w.gap.exchanges
	for _, q := range append(w.queue, b) {
		w.unkept += int64(len(q.exchanges))
	}
}

// look sees whether the file is still there, has it synced, and deletes what is too old or
// too much.
func (w *Writer) look() bool {
	err := w.file.checkpoint()
	if w.file.check() != nil {
		return w.record(w.take()) // and does not before it can be written again
	}
	if err != nil {
		w.warn(fmt.Sprintf("cannot be synced: %v", err)) // what was written is not lost
	}
	w.warnOfReader()
	more, err := true, error(nil)
	for queued, closed := false, false; more && !queued && !closed && err == nil; queued, _, closed = w.state() {
		if more, err = w.file.prune(); w.file.checkpointDue() {
			w.file.checkpoint() // an error shows in the next one
		}
	}
	if err == nil && !more {
		err = w.file.pruneSessions()
	}
	if err != nil {
		w.warn(fmt.Sprintf("cannot be pruned: %v", err))
	}
	if err := w.file.settle(); err != nil {
		w.warn(fmt.Sprintf("cannot be synced: %v", err))
	}
	return true
}

func (w *Writer) warnOfReader() {
	if text := w.file.heldUp(); text != "" {
		w.warn(text)
	}
}

func (w *Writer) warn(text string) {
	if w.opt.Warn != nil {
		w.opt.Warn(text)
	}
}
