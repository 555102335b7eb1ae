//go:build linux && simulate

package simulation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/simdisk"
	"github.com/parley-tcp/parley/internal/simkernel"
)

// disks is a directory in memory for what is recorded; see TestMain.
var disks string

// journaled is a world that is recorded, on a disk that fails.
type journaled struct {
	inhabited
	*recording
}

func journalWorld(s *settings, seen *strings.Builder) inhabited {
	some := *s
	some.gate, some.observes = true, s.observes%2
	w := newWorld(&some, seen)
	w.journal = newRecording(&some, &w.diary, w.k, &w.mu, w.excuseAll)
	w.srv.Observer = parley.Observers(w.srv.Observer, w.journal)
	w.serve()
	return &journaled{w, w.journal}
}

func (w *world) excuseAll(why string) {
	for _, p := range w.peers {
		w.excuse(p, why)
	}
}

func recordedTapWorld(s *settings, seen *strings.Builder) inhabited {
	some := *s
	some.gate = false
	w := newTaps(&some, seen)
	w.journal = newRecording(&some, &w.diary, w.k, &w.mu, w.excuseAll)
	w.tap.Gate, w.tap.Observer = w.journal, parley.Observers(w.tap.Observer, w.journal)
	w.serve()
	return &journaled{w, w.journal}
}

func (w *taps) excuseAll(string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.sides {
		*p.excuse = true
	}
}

// A recording is a journal, and what it was told.
type recording struct {
	*settings
	*diary
	*journal.Writer
	k         *simkernel.Kernel
	mu        *sync.Mutex // the world's
	excuseAll func(why string)
	dir       string

	told     []*told // exchanges, in order
	sessions map[uint64]*session
	refused  int

	syncs    int       // of its -wal file
	resumed  int       // how often it was said that it can be written again
	warned   time.Time // when it was said last that it cannot
	brokenAt time.Time // when the disk was broken; zero while it is not, or hangs
	thawed   time.Time // when the last pause was over
	hangs    bool
	gone     bool // it has failed to sync: nothing is recorded until the next start
}

// A told is an exchange that the journal was told.
type told struct {
	session        uint64
	seq            uint64
	request, reply string
	at             time.Time
	syncs, resumed int  // how many there were then
	failing        bool // it could not be written then
}

type session struct {
	exchanges map[uint64]*told // by their numbers
	opened    bool
	closed    *parley.Event
}

// newRecording makes a journal on a disk of its own.
func newRecording(s *settings, d *diary, k *simkernel.Kernel, mu *sync.Mutex, excuseAll func(string)) *recording {
	dir, err := os.MkdirTemp(disks, "")
	if err != nil {
		panic(err)
	}
	r := &recording{settings: s, diary: d, k: k, mu: mu, excuseAll: excuseAll, dir: dir, sessions: make(map[uint64]*session)}
	simdisk.Watch(dir, &simdisk.Disk{Before: before, Behind: r.done})
	if r.Writer, err = journal.Create(r.file(), journal.Options{Sync: s.sync, ServeOnError: s.serves, Warn: r.warn}); err != nil {
		panic(err)
	}
	return r
}

func (r *recording) file() string { return filepath.Join(r.dir, "j") }

var calls = [...]simkernel.Call{simdisk.Write: simkernel.WriteCall, simdisk.Truncate: simkernel.TruncateCall, simdisk.Sync: simkernel.SyncCall,
	simdisk.Create: simkernel.OpenCall, simdisk.Remove: simkernel.RemoveCall, simdisk.Read: simkernel.ReadCall,
	simdisk.Size: simkernel.StatCall, simdisk.Map: simkernel.TruncateCall}

func before(o simdisk.Op) syscall.Errno { return simkernel.File(calls[o.Kind]) }

func (r *recording) done(o simdisk.Op) {
	if o.Kind == simdisk.Sync && o.Name == "j-wal" {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.syncs++
	}
}

func (r *recording) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sees("journal: it %s", text)
	switch {
	case strings.HasPrefix(text, "cannot be written"):
		r.warned = simkernel.Now()
	case strings.HasPrefix(text, "can be written again"):
		r.resumed++
	}
}

// Pass is asked by a tap.
func (r *recording) Pass(s *parley.Session, batch []parley.Exchange) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pass(s, batch)
}

// pass is asked by the gate, with the world locked.
func (r *recording) pass(s *parley.Session, batch []parley.Exchange) bool {
	failing := r.Backlog().Failing
	for _, x := range batch {
		t := &told{s.Number(), x.Seq, asItWas(x.Request, x.RawRequest), asItWas(x.Reply, x.RawReply), simkernel.Now(), r.syncs, r.resumed, failing}
		r.told = append(r.told, t)
		r.session(s).exchanges[x.Seq] = t
	}
	passes := r.Writer.Pass(s, batch)
	r.sees("session %d: %d exchanges are recorded, and may go on: %v", s.Number(), len(batch), passes)
	return passes
}

// asItWas is a message with its framing, where that is known.
func asItWas(message []byte, raw parley.Raw) string {
	if raw.Bytes != nil {
		return string(raw.Bytes)
	}
	return string(message)
}

func (r *recording) session(s *parley.Session) *session {
	if r.sessions[s.Number()] == nil {
		r.sessions[s.Number()] = &session{exchanges: make(map[uint64]*told)}
	}
	return r.sessions[s.Number()]
}

// Observe notes what the journal is told of sessions.
func (r *recording) Observe(e *parley.Event) {
	r.mu.Lock()
	switch e.Kind {
	case parley.Opened:
		r.session(e.Session).opened = true
	case parley.Closed:
		closed := *e
		r.session(e.Session).closed = &closed
	case parley.Refused:
		r.refused++
	}
	r.mu.Unlock()
	r.Writer.Observe(e)
}

// mayAnswer says whether the reply to a request may be written, as far as it is to be recorded before.
func (r *recording) mayAnswer(p *peer, seq int) bool {
	t := r.session(p.session).exchanges[uint64(seq)]
	serves := r.serves && (t.failing || r.resumed > t.resumed || r.Backlog().Failing)
	switch {
	case serves:
		return true
	case r.sync:
		return r.syncs > t.syncs
	case t.failing:
		return r.resumed > t.resumed
	}
	return true
}

// fileFailures are of calls for files. The last is of a kind that ends all.
var fileFailures = []simkernel.Failure{
	{Call: simkernel.WriteCall, Errno: syscall.ENOSPC}, {Call: simkernel.WriteCall, Errno: syscall.EIO}, {Call: simkernel.WriteCall, Errno: syscall.EDQUOT},
	{Call: simkernel.AllocateCall, Errno: syscall.ENOSPC}, {Call: simkernel.AllocateCall, Errno: syscall.EINTR}, {Call: simkernel.AllocateCall, Errno: syscall.EOPNOTSUPP},
	{Call: simkernel.AllocateCall, Errno: syscall.EIO}, {Call: simkernel.TruncateCall, Errno: syscall.EIO}, {Call: simkernel.TruncateCall, Errno: syscall.ENOSPC},
	{Call: simkernel.StatCall, Errno: syscall.EIO}, {Call: simkernel.StatCall, Errno: syscall.ENOMEM}, {Call: simkernel.StatCall, Errno: syscall.EACCES},
	{Call: simkernel.OpenCall, Errno: syscall.EMFILE}, {Call: simkernel.OpenCall, Errno: syscall.EROFS},
	{Call: simkernel.ReadCall, Errno: syscall.EIO}, {Call: simkernel.RemoveCall, Errno: syscall.EIO},
	{Call: simkernel.SyncCall, Errno: syscall.EIO},
}

// diskFailures are what a disk may be for a while; 0 is that it hangs.
var diskFailures = [...]syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, 0}

func (w *journaled) do(s step) {
	if w.gone && !w.serves { // nobody is answered any more
		return
	}
	w.harm(s)
	w.inhabited.do(s)
	if s.act == pause {
		w.thawed = simkernel.Now()
	}
	w.look()
}

// harm does to the disk what a step says.
func (r *recording) harm(s step) {
	switch s.act {
	case failFile:
		kinds := len(fileFailures)
		if !r.maySync {
			kinds--
		}
		f := fileFailures[s.much%kinds]
		f.After = s.who % 16
		r.k.Fail(f)
	case breakDisk:
		errno := diskFailures[s.much%len(diskFailures)]
		r.mu.Lock()
		r.sees("the disk breaks: %d", errno)
		r.hangs, r.brokenAt = errno == 0, simkernel.Now()
		r.mu.Unlock()
		r.k.BreakDisk(errno)
	case mendDisk:
		r.mend()
	}
}

// mend has the disk be as new.
func (r *recording) mend() {
	r.mu.Lock()
	r.brokenAt, r.hangs = time.Time{}, false
	r.mu.Unlock()
	r.k.MendDisk()
}

// patience is how long may pass before a failure of the disk is told: what is recorded waits for others, and is tried
// once a second.
const patience = 2500 * time.Millisecond

// look is what is looked at behind each step.
func (r *recording) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) == 0 || r.brokenAt.IsZero() || r.hangs || r.gone {
		return
	}
	last := r.told[len(r.told)-1].at
	if last.After(r.brokenAt) && simkernel.Since(last) > patience && simkernel.Since(r.thawed) > patience && r.warned.Before(r.brokenAt) {
		r.isWrong("the disk has failed for %v, and nobody is told", simkernel.Since(r.brokenAt))
	}
}

// end ends the server before the disk is mended, where that is to be no harm, and then looks whether all is recorded.
func (w *journaled) end() {
	w.k.Mend()
	if !w.serves || w.hangs && w.sync {
		w.mend()
		time.Sleep(patience)
	}
	if w.gone && !w.serves {
		w.excuseAll("the disk has failed to sync")
	}
	w.inhabited.end()
	err := w.close()
	if !w.gone {
		w.startAgain()
	}
	simdisk.Forget(w.dir)
	w.judge(err)
	if err := os.RemoveAll(w.dir); err != nil {
		w.isWrong("the disk cannot be thrown away: %v", err)
	}
}

// close ends the writer, in one history of four while the disk is as it is.
func (r *recording) close() error {
	if r.seed%4 > 0 {
		r.mend()
		time.Sleep(patience)
		synctest.Wait()
		s := parley.NewSession(1<<40, nil, nil, simkernel.Now())
		last := []parley.Exchange{{Seq: 1, Received: simkernel.Now(), Request: []byte("last"), Reply: []byte("one")}}
		r.mu.Lock()
		if r.Backlog().Failing != r.gone {
			r.isWrong("the disk is as new, and the journal fails: %v", !r.gone)
		}
		r.told = append(r.told, &told{session: s.Number(), seq: 1, request: "last", reply: "one"})
		r.mu.Unlock()
		r.Writer.Pass(s, last)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := r.Close(ctx)
	r.mend()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sees("journal: it is closed: %v", err)
	if err != nil && r.seed%4 > 0 && !r.gone {
		r.isWrong("the disk is as new, and the journal is closed: %v", err)
	}
	return err
}

// startAgain opens the journal once more, in which a call fails: if it cannot be opened by that, the next time it can.
func (r *recording) startAgain() {
	f := fileFailures[r.seed%uint64(len(fileFailures)-1)]
	f.After = int(r.seed % 31)
	r.k.Fail(f)
	for again := range 2 {
		w, err := journal.Create(r.file(), journal.Options{Warn: r.warn})
		if err == nil {
			err = w.Close(context.Background())
		}
		r.mu.Lock()
		r.sees("journal: it is opened again: %v", err)
		if err != nil && again > 0 {
			r.isWrong("the disk is as new, and the journal is opened: %v", err)
		}
		r.mu.Unlock()
		r.k.Mend()
	}
}

// unkept is how many exchanges an error of the writer's end says that it has not recorded, or at most.
func unkept(err error) (n int64, atMost bool) {
	if err != nil {
		_, exact := fmt.Sscanf(err.Error(), "exchanges not recorded: %d", &n)
		_, most := fmt.Sscanf(err.Error(), "exchanges not recorded: up to %d", &n)
		return n, exact != nil && most == nil
	}
	return 0, false
}

// judge compares what is there with what was told. The writer's end has given an error, or none.
func (r *recording) judge(closed error) {
	is, err := journal.Open(r.file())
	if err != nil {
		r.isWrong("the journal cannot be read: %v", err)
		return
	}
	defer is.Close()
	is.Damaged = func(d journal.Damage) {
		begun := strings.HasPrefix(d.Why, "its -wal file is not whole") // a write that the disk has failed with at last
		if !begun || closed == nil && !r.gone {
			r.isWrong("the journal is damaged: %v", d)
		}
	}
	ctx := context.Background()
	_, err = is.Verify(ctx)
	missing, gaps := is.Missing(ctx)
	recorded, at := int64(0), 0
	messages := make(map[int64]int) // by sessions
	rows := is.Query(ctx, "SELECT s.number, e.seq, e.request, e.reply, e.session, e.parts >> 30 & 1 FROM exchanges e LEFT JOIN sessions s ON s.id = e.session ORDER BY e.id",
		func([]string) error { return nil }, func(row []any) error {
			recorded++
			if row[5] == int64(0) {
				messages[row[4].(int64)]++
			}
			for ; at < len(r.told); at++ {
				if t := r.told[at]; t.isRecordedAs(row) {
					at++
					return nil
				}
			}
			return fmt.Errorf("%v is recorded, and was not told, or before", row)
		})
	if err := errors.Join(err, gaps, rows); err != nil {
		r.isWrong("the journal: %v", err)
		return
	}
	all := int64(len(r.told))
	unkept, atMost := unkept(closed)
	switch told := recorded + missing; {
	case r.wrong != nil:
	case told+unkept < all, told > all, !atMost && !r.gone && told+unkept > all:
		r.isWrong("of %d exchanges %d are recorded, %d are said to be missing, and the end is %v", all, recorded, missing, closed)
	case missing > 0 && !r.serves:
		r.isWrong("%d exchanges are missing, and were answered", missing)
	}
	for id, n := range messages {
		linked := 0
		for _, err := range is.Exchanges(ctx, journal.Filter{Session: id}) {
			if err != nil {
				r.isWrong("the journal: %v", err)
			}
			linked++
		}
		if linked != n {
			r.isWrong("of session %d %d messages are found, of %d", id, linked, n)
		}
	}
	r.judgeOrder(ctx, is)
	if closed == nil && !r.gone {
		r.judgeSessions(ctx, is)
	}
}

// judgeOrder looks whether what is read comes in its order in each session, whatever the wall clock was set to.
func (r *recording) judgeOrder(ctx context.Context, is *journal.Reader) {
	type place struct {
		requests, replies uint64 // the last ones
		unasked           int64  // the last message that nobody asked for, which has no number
		begun, over       bool
	}
	places := make(map[int64]*place)
	for e, err := range is.Events(ctx, journal.Filter{}) {
		if err != nil {
			r.isWrong("the journal: %v", err)
			return
		}
		if places[e.Session.ID] == nil {
			places[e.Session.ID] = new(place)
		}
		p, isLate := places[e.Session.ID], false
		switch x := e.Exchange; {
		case e.Kind == parley.Refused:
			continue
		case e.Kind == parley.Opened:
			isLate = p.begun
		case x == nil, x.Request == nil && x.Seq > 0: // its request was recorded by itself
		case x.Request == nil:
			isLate, p.unasked = x.ID <= p.unasked, x.ID
		case e.Kind == parley.Received:
			isLate, p.requests = x.Seq <= p.requests, x.Seq
		case e.Kind == parley.Replied:
			isLate, p.replies = x.Seq <= p.replies || x.Seq > p.requests, x.Seq
		}
		if isLate || p.over {
			r.isWrong("%v of session %d is read out of its order: %d, behind request %d and reply %d", e.Kind, e.Session.Number, seqOf(e), p.requests, p.replies)
		}
		p.begun, p.over = true, e.Kind == parley.Closed
	}
}

func (t *told) isRecordedAs(row []any) bool {
	text := func(v any) string { b, _ := v.([]byte); return string(b) }
	number, is := row[0].(int64)
	return (!is || number == int64(t.session)) && row[1] == int64(t.seq) && text(row[2]) == t.request && text(row[3]) == t.reply
}

// judgeSessions looks whether each is recorded that was told, with its end.
func (r *recording) judgeSessions(ctx context.Context, is *journal.Reader) {
	seen := make(map[uint64]bool)
	for s, err := range is.Sessions(ctx, journal.Filter{}) {
		if err != nil {
			r.isWrong("the journal: %v", err)
			return
		}
		t := r.sessions[s.Number]
		switch {
		case s.Number == 1<<40 || s.Lost:
		case t == nil || seen[s.Number]:
			r.isWrong("session %d is recorded, which is not there, or twice", s.Number)
		case t.closed == nil && !s.Closed.IsZero():
			r.isWrong("the end of session %d is recorded, and was not told", s.Number)
		case t.closed != nil && (s.Reason != t.closed.Reason.String() || s.Requests != t.closed.Seq || s.RepliedUpTo != t.closed.Replied ||
			s.BytesIn != t.closed.In || s.BytesOut != t.closed.Out || !s.Closed.Equal(t.closed.Time)):
			r.isWrong("the end of session %d is recorded as %+v, and was %+v", s.Number, s, t.closed)
		}
		seen[s.Number] = true
	}
	for number, t := range r.sessions {
		if (t.opened || t.closed != nil) && !seen[number] {
			r.isWrong("session %d is not recorded", number)
		}
	}
	refused := int64(-1)
	if err := is.Query(ctx, "SELECT count(*) FROM refused", func([]string) error { return nil }, func(row []any) error {
		refused = row[0].(int64)
		return nil
	}); err != nil || refused != int64(r.refused) {
		r.isWrong("%d refusals are recorded, of %d: %v", refused, r.refused, err)
	}
}

func seqOf(e journal.Event) uint64 {
	if e.Exchange == nil {
		return 0
	}
	return e.Exchange.Seq
}
