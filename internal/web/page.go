// Package web is the live page: who is connected, how fast they are answered, and what is
// said, as it happens. A Page watches a server as its observer and shows what it saw to
// browsers. Three rules hold for all of it: the server never waits for a browser, counts
// are exact whatever is left out of the stream, and no request changes anything.
package web

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

const (
	tick           = 250 * time.Millisecond // how often browsers are told what is new
	ticksPerSecond = int(time.Second / tick)

	refill  = 50   // exchanges a tick that are kept, which makes 200 a second
	burst   = 500  // as many at once after a quiet time
	maxHalf = 1000 // requests of one loop that are kept and still wait for their reply
)

// Options are what a Page goes by; all may be left out.
type Options struct {
	Server  string   // the watched server's address, to be shown
	Hosts   []string // names by which the page may be asked for, beside localhost and IP addresses
	Token   string   // what a browser has to know; nothing if empty
	History History  // what remembers more than the page's memory; may be nil
}

// A History remembers sessions and exchanges in full.
type History interface {
	// Session returns the session with that number of the server that is running now,
	// and the last most of its exchanges, in order. The error is fs.ErrNotExist if it does
	// not know the session, or not yet.
	Session(ctx context.Context, number uint64, most int) (journal.Session, []journal.Exchange, error)
}

// A Page is the observer of one server and the http.Handler that shows what it saw.
// Serve has it live.
type Page struct {
	opt     Options
	started time.Time
	room    atomic.Int64  // exchanges that may be kept before the next refill
	stride  atomic.Uint64 // of so many requests one is kept, so that it lasts

	mu       sync.Mutex // held for moments: every loop takes it once a round
	recorder recorder   // of the sessions that no loop has, and of those that are refused
	memory   memory
	streams  map[*stream]struct{}
	over     bool          // no stream is to begin any more
	ending   chan struct{} // closed with it: those that there are end
}

// New returns a page that has seen nothing.
func New(opt Options) *Page {
	p := &Page{opt: opt, started: time.Now(), memory: newMemory(), streams: make(map[*stream]struct{}), ending: make(chan struct{})}
	p.recorder.page = p
	p.room.Store(burst)
	p.stride.Store(1)
	return p
}

// Wants what conversations are made of.
func (p *Page) Wants(kind parley.EventKind) bool {
	return kind != parley.Unfinished && kind != parley.AcceptFailed
}

// Observe records an event of any session.
func (p *Page) Observe(e *parley.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recorder.Observe(e)
	p.recorder.remember()
}

// Fork returns the observer for one event loop.
func (p *Page) Fork() parley.Observer { return &recorder{page: p} }

// A recorder notes the events of one loop's round, with no lock; Flush puts them into the
// page's memory at once. Requests and replies cost it a few additions each; only those that
// are kept are copied.
type recorder struct {
	page *Page

	opened, ended []parley.Event
	tallies       []tally
	took          []uint16    // buckets of the histogram
	whole         []*exchange // of those that are kept
	leftOut       uint64
	passed        uint64 // requests since the last that was kept

	half    map[*parley.Session][]*exchange // kept requests that wait for their reply, in order
	waiting int                             // how many
}

// A tally is what a round brought to one session.
type tally struct {
	session           *parley.Session
	requests, replies uint64
	in, out           uint64
	last              time.Time
}

// Observe notes an event.
func (r *recorder) Observe(e *parley.Event) {
	switch e.Kind {
	case parley.Received:
		t := r.tally(e)
		t.requests++
		t.in += uint64(len(e.Body)) + e.Cut
		r.begin(e)
	case parley.Replied:
		t := r.tally(e)
		t.replies++
		t.out += uint64(len(e.Body)) + e.Cut
		r.took = append(r.took, uint16(bucketOf(e.Took)))
		if r.waiting > 0 {
			r.finish(e)
		}
	case parley.Unasked:
		r.tally(e).out += uint64(len(e.Body)) + e.Cut
		r.beginUnasked(e)
	case parley.Opened:
		r.opened = append(r.opened, *e)
	case parley.Closed, parley.Refused:
		r.ended = append(r.ended, *e)
		r.abandon(e.Session)
	}
}

// tally finds the session's. Its events of a round mostly come in a row; a session that
// gets two tallies is none the worse for it.
func (r *recorder) tally(e *parley.Event) *tally {
	if n := len(r.tallies); n == 0 || r.tallies[n-1].session != e.Session {
		r.tallies = append(r.tallies, tally{session: e.Session})
	}
	t := &r.tallies[len(r.tallies)-1]
	t.last = e.Time
	return t
}

// begin keeps a request until it is answered, if it is its turn and there is room.
func (r *recorder) begin(e *parley.Event) {
	// Look first: once the room is used up nobody need write to what all loops share.
	r.passed++
	if r.passed < r.page.stride.Load() || r.waiting >= maxHalf || r.page.room.Load() <= 0 || r.page.room.Add(-1) < 0 {
		r.leftOut++
		return
	}
	r.passed = 0
	if r.half == nil {
		r.half = make(map[*parley.Session][]*exchange)
	}
	r.half[e.Session] = append(r.half[e.Session], &exchange{
		Session: e.Session.Number(), Seq: e.Seq, At: e.Time.UnixMicro(), Request: bodyOf(e.Body, e.Cut, maxBody),
	})
	r.waiting++
}

// beginUnasked keeps what a server said that nobody had asked, if there is room.
func (r *recorder) beginUnasked(e *parley.Event) {
	if r.page.room.Load() > 0 && r.page.room.Add(-1) >= 0 {
		r.whole = append(r.whole, &exchange{Session: e.Session.Number(), At: e.Time.UnixMicro(), Reply: bodyOf(e.Body, e.Cut, maxBody)})
	}
}

// finish makes a whole exchange of a request that was kept.
func (r *recorder) finish(e *parley.Event) {
	list := r.half[e.Session]
	if len(list) == 0 || list[0].Seq != e.Seq {
		return
	}
	x := list[0]
	x.Took, x.Reply = e.Took, bodyOf(e.Body, e.Cut, maxBody)
	r.whole = append(r.whole, x)
	r.waiting--
	if len(list) > 1 {
		r.half[e.Session] = list[1:]
	} else {
		delete(r.half, e.Session)
	}
}

// abandon keeps the requests of a session that ended without a reply to them.
func (r *recorder) abandon(s *parley.Session) {
	if list := r.half[s]; len(list) > 0 {
		r.whole = append(r.whole, list...)
		r.waiting -= len(list)
		delete(r.half, s)
	}
}

// Flush puts what came together into the page's memory.
func (r *recorder) Flush() {
	if len(r.tallies)+len(r.opened)+len(r.ended) == 0 {
		return
	}
	r.page.mu.Lock()
	defer r.page.mu.Unlock()
	r.remember()
}

// remember is Flush with the page's lock held.
func (r *recorder) remember() {
	m := &r.page.memory
	for i := range r.opened {
		m.opened(&r.opened[i])
	}
	for i := range r.tallies {
		m.add(&r.tallies[i])
	}
	for _, bucket := range r.took {
		m.took[bucket]++
	}
	m.totals.LeftOut += r.leftOut
	for _, x := range r.whole {
		m.keep(x)
	}
	for i := range r.ended {
		m.ended(&r.ended[i])
	}
	r.opened, r.ended = emptied(r.opened), emptied(r.ended)
	r.tallies, r.whole = emptied(r.tallies), emptied(r.whole)
	r.took, r.leftOut = r.took[:0], 0
}

// emptied lets go of what the list points to, and of a list that one round has blown up.
func emptied[T any](list []T) []T {
	if cap(list) > 4096 {
		return nil
	}
	clear(list)
	return list[:0]
}

// story returns a session and its exchanges: from the history, or from memory where there
// is none or it does not know the session yet. What memory counts is exact in either case.
func (p *Page) story(ctx context.Context, number uint64) (story, error) {
	p.mu.Lock()
	remembered, unknown := p.memory.story(number)
	p.mu.Unlock()
	if p.opt.History == nil {
		return remembered, unknown
	}
	s, exchanges, err := p.opt.History.Session(ctx, number, toldStory)
	if errors.Is(err, fs.ErrNotExist) {
		return remembered, unknown
	}
	told := storyOf(s, exchanges)
	if unknown == nil {
		told.Session = remembered.Session
	}
	return told, err
}
