// Package web is the live page: who is connected, how fast they are answered, and what is
// said, as it happens. A Page watches a server as its observer and shows what it saw to
// browsers. Three rules hold for all of it: the server never waits for a browser, counts
// are exact whatever is left out of the list, and no request changes anything.
package web

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/guard"
)

const (
	tick           = 250 * time.Millisecond // how often more exchanges may be kept
	ticksPerSecond = int(time.Second / tick)

	refill     = 50   // exchanges a tick that are kept, which makes 200 a second
	burst      = 500  // as many at once after a quiet time
	maxAsking  = 4    // questions to the journal at once
	maxPending = 1000 // requests of one event loop that are kept and still wait for their reply
)

// Options are what a Page goes by; all may be left out.
type Options struct {
	Server      string                 // the watched server's address, to be shown
	Upstream    string                 // if the server is a tap: the address behind it
	UpstreamTLS bool                   // that is spoken to over TLS
	Hosts       []string               // names by which the page may be asked for, beside localhost and IP addresses
	Certified   func(name string) bool // whether the page's certificate is for a name, which it may be asked for by then; nil without TLS
	Framing     dialect.Framing        // of the watched server; its words show messages
	Secrets     bool                   // credentials are shown too
	Token       string                 // what a browser has to know; nothing if empty
	History     History                // what remembers more than the page does; may be nil
	Journal     *Journals              // of the journal that is the History, to be looked through under /journal/; may be nil
	FirstID     int64                  // in that journal, of this run's session 1
	Lag         func() Lag             // how far that journal is shipped to other machines; nil if it is not
	Warn        func(line string)      // told what net/http has to say, at most once a second; must not block; may be nil
}

// A Lag is what of a journal is not shipped yet.
type Lag struct {
	Records int64         `json:"records"`
	Oldest  time.Duration `json:"oldest_ns"` // how long the oldest of them has waited
	Away    bool          `json:"away"`      // nothing is taken at present
}

// A Page is the observer of one server and the http.Handler that shows what it saw. Serve
// answers browsers with it and keeps its clock.
type Page struct {
	door
	opt         Options
	said        wording
	started     int64         // µs since 1970; tells browsers one run from the next
	budget      atomic.Int64  // exchanges that may be kept before the next refill
	asking      chan struct{} // has a place for each question to the journal that is answered
	exporting   chan struct{} // the same of exports from memory
	sampleEvery atomic.Uint64 // of so many requests one is kept, so that the budget lasts

	mu       sync.Mutex // held for moments: every event loop takes it once a round
	recorder recorder   // of the sessions that no event loop has, and of refusals
	state    state
}

// New returns a page that has seen nothing.
func New(opt Options) *Page {
	p := &Page{door: door{guard.Guard{Hosts: opt.Hosts, Certified: opt.Certified, Token: opt.Token}}, opt: opt, said: wording{opt.Framing.Words, opt.Secrets}, started: time.Now().UnixMicro(), state: newState(),
		asking: make(chan struct{}, maxAsking), exporting: make(chan struct{}, maxExporting)}
	p.recorder.page = p
	p.budget.Store(burst)
	p.sampleEvery.Store(1)
	return p
}

// Wants what conversations are made of.
func (p *Page) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Received, parley.Replied, parley.Unasked, parley.Closed, parley.Refused, parley.HandshakeFailed, parley.Faulted:
		return true
	}
	return false
}

// Observe records an event of any session.
func (p *Page) Observe(e *parley.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recorder.Observe(e)
	p.recorder.apply()
}

// Fork returns the observer for one event loop.
func (p *Page) Fork() parley.Observer { return &recorder{page: p} }

// tick lets some more exchanges be kept and, when a second is over, adds it to the charts.
func (p *Page) tick(now time.Time, second bool) {
	p.budget.Store(min(burst, max(0, p.budget.Load())+refill))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sampleEvery.Store(max(1, p.state.requestsOfTick()/refill))
	if second {
		p.state.endSecond(now)
	}
}

// transcript returns a session of this run and its exchanges: from the history, or from
// memory where there is none or it does not know the session yet. Memory's counts are exact
// in either case. The error is fs.ErrNotExist if the run has no such session.
func (p *Page) transcript(ctx context.Context, number uint64) (transcript, error) {
	p.mu.Lock()
	known := p.state.isSession(number)
	remembered, forgotten := p.state.transcript(number)
	remembered.Session.Framing, remembered.Session.Upstream, remembered.Session.UpstreamTLS = p.opt.Framing.Name, p.opt.Upstream, p.opt.UpstreamTLS
	p.mu.Unlock()
	if !known || p.opt.History == nil {
		return remembered, forgotten
	}
	s, exchanges, err := p.opt.History.Session(ctx, number, maxTranscript)
	if errors.Is(err, fs.ErrNotExist) {
		return remembered, forgotten
	}
	told := transcriptOf(s, exchanges, p.opt.Secrets)
	if forgotten == nil {
		remembered.Session.ID = told.Session.ID
		told.Session = remembered.Session
		told.addLate(remembered.Exchanges)
	}
	return told, err
}

// recorded returns a session of any run by its ID in the history.
func (p *Page) recorded(ctx context.Context, id uint64) (transcript, error) {
	if p.opt.History == nil {
		return transcript{}, fs.ErrNotExist
	}
	s, exchanges, err := p.opt.History.Recorded(ctx, id, maxTranscript)
	return transcriptOf(s, exchanges, p.opt.Secrets), err
}
