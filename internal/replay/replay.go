// Package replay plays recorded sessions against another server, as concurrently as they
// were, and compares what it says with what was recorded.
package replay

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"iter"
	"net"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/shape"
)

// A Session is one recorded conversation.
type Session struct {
	Number    uint64          // as it was counted; reports name it
	Node      string          // where it was; empty if the recording does not say
	Opened    time.Time       //
	Closed    time.Time       // zero if the recording does not have its end
	Framing   dialect.Framing // its Name is empty if the recording does not say
	TLS       bool            // it was over TLS
	Exchanges []Exchange      // by number; a message that came unasked stands anywhere
}

// An Exchange is one request and its reply, without their framing, or bytes of the client that
// belong to no message, as Raw alone.
type Exchange struct {
	Seq        uint64        // the request's number; 0 for a message that came unasked
	Received   time.Time     // when the request came, or the message
	Took       time.Duration // from then to the reply
	Request    []byte        // nil for a message that came unasked
	Reply      []byte        // nil if there was none
	RequestCut uint64        // how many bytes at its end the recording does not have
	ReplyCut   uint64        //
	Raw        []byte        // what the client sent as it was on the wire; nil if the recording does not have that
	Before     uint64        // how many bytes it had sent before that; 0 if that is not known
	SaidBefore uint64        // how many the server had before its reply; the same
	RawReply   []byte        // what the server sent as it was on the wire; nil if the recording does not have that
	Redacted   bool          // parts of the request or of the reply were replaced to conceal them
}

// A Replay says against whom, how fast and how strictly.
type Replay struct {
	Dial    func(ctx context.Context) (net.Conn, error) // connects to the server, once a session; required
	Framing dialect.Framing                             // of sessions that do not say; lines if its Name is empty
	Speed   float64                                     // times the recorded pace; 1 if zero, math.Inf(1) does not wait
	Rate    float64                                     // requests due a second, all in all, instead of a pace: see Run; none if zero
	Timeout time.Duration                               // for each reply, and for a request to be taken; 10 s if zero
	Ignore  []*regexp.Regexp                            // what matches is blanked on both sides before they are compared
	Shape   bool                                        // of what is left the shapes are compared

	// Banner awaits a message of the server before anything is sent, where the recording does not
	// begin with one. It is compared with nothing.
	Banner bool

	// Greeted says that the server has greeted before Dial returns, as it does before STARTTLS: the
	// greeting of a recording is not awaited.
	Greeted bool

	// Differs is told of each difference, one at a time; required.
	Differs func(Difference)
}

// A Difference is a reply that is not the recorded one.
type Difference struct {
	Node         string // of the session
	Session, Seq uint64 // Seq is 0 for a message that came unasked
	Want         []byte // nil if nothing was recorded
	Got          []byte // nil if nothing came
	Lost         string // why nothing came, or no more
}

// A Summary says what was played and found.
type Summary struct {
	Sessions    int   // played
	Requests    int   // sent
	Replies     int   // compared, messages that came unasked included
	Unasked     int   // those of them that came unasked in the recording
	Unanswered  int   // requests sent that had no reply in the recording
	Differences int   //
	Broken      int   // sessions that a lost reply ended early
	Cut         int   // sessions played only up to a request that the recording does not have whole
	Unreachable int   // sessions for which there was no connection
	Err         error // why there was none the first time

	Paced *Paced // with a rate
}

// lastWords is how long a server has for what it says behind the recorded end.
const lastWords = time.Second

// Run plays the sessions, which come in the order of opening, until ctx ends. A session
// begins when it did in the recording, counted from the first one at the given speed, and
// not before all is there that the server had said before it in other sessions, and those have
// ended that had ended: what a session finds, others may have brought about. In a session each request is sent
// when it was and not before all is there that the server had said before it, byte for byte
// as far as that is recorded. Replies are compared without their framing, but those of a
// protocol, whose framing is part of them; those under chunk, which has no ends of messages, as one
// run of bytes between two requests.
//
// With a rate it is an open loop: the requests of all sessions are due one after the other, in the
// order in which they came, at that rate. A session begins when its first request is due, whatever
// others are at. What a request waits for, a connection or a reply before it, is part of its response time.
//
// The error is that of sessions, of ctx, or of a request that the framing cannot carry.
func (r *Replay) Run(ctx context.Context, sessions iter.Seq2[Session, error]) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	run := newRun(ctx, cancel, r)
	if r.Rate > 0 {
		run.allPaced(sessions)
	} else {
		run.all(sessions)
	}
	run.playing.Wait()
	return run.sum, context.Cause(ctx)
}

// A run is one Run.
type run struct {
	*Replay
	ctx     context.Context
	cancel  context.CancelCauseFunc
	playing sync.WaitGroup
	earlier awaited

	mu    sync.Mutex
	moved sync.Cond // a session has come further
	sum   Summary
}

func newRun(ctx context.Context, cancel context.CancelCauseFunc, r *Replay) *run {
	run := &run{Replay: r, ctx: ctx, cancel: cancel}
	run.moved.L = &run.mu
	return run
}

func (r *run) all(sessions iter.Seq2[Session, error]) {
	begin, first := time.Now(), time.Time{}
	for session, err := range sessions {
		if err != nil {
			r.cancel(err)
			return
		}
		if first.IsZero() {
			first = session.Opened
		}
		p := &play{run: r, session: session}
		p.steps = p.script()
		r.awaitEarlier(session.Opened)
		if !r.sleepUntil(begin.Add(r.scaled(session.Opened.Sub(first)))) {
			return
		}
		if p.comesTo(p.steps); !p.over {
			p.knownAt = p.nextAt
			heap.Push(&r.earlier, p)
		}
		r.playing.Go(func() {
			defer p.ends()
			p.play()
		})
	}
}

// awaitEarlier waits until the sessions that have begun are where they were then.
func (r *run) awaitEarlier(then time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.earlier) > 0 {
		switch p := r.earlier[0]; {
		case p.knownAt.After(then):
			return
		case p.over:
			heap.Pop(&r.earlier)
		case p.nextAt.After(p.knownAt):
			p.knownAt = p.nextAt
			heap.Fix(&r.earlier, 0)
		default:
			r.moved.Wait()
		}
	}
}

// comesTo notes what the session is to come to next that others await: what the server says, or the end.
func (p *play) comesTo(steps []step) {
	next := p.session.Closed
	// A message is not awaited for longer than the end, which is earlier if the clock was set back.
	if i := slices.IndexFunc(steps, func(s step) bool { return !s.sent }); i >= 0 && (next.IsZero() || steps[i].at.Before(next)) {
		next = steps[i].at
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = next.IsZero() // its end is not recorded
	if next.After(p.nextAt) {
		p.nextAt = next
	}
	p.moved.Signal()
}

// ends notes that nothing of the session is awaited any more.
func (p *play) ends() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over, p.steps = true, nil
	p.moved.Signal()
}

// Awaited is a heap of plays, the one that was known to come to something first on top: a recording may
// have a hundred thousand that were open at once.
type awaited []*play

func (a awaited) Len() int           { return len(a) }
func (a awaited) Less(i, j int) bool { return a[i].knownAt.Before(a[j].knownAt) }
func (a awaited) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *awaited) Push(p any)        { *a = append(*a, p.(*play)) }
func (a *awaited) Pop() any {
	last := len(*a) - 1
	p := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return p
}

func (r *run) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / cmp.Or(r.Speed, 1))
}

// sleepUntil reports whether it came to that.
func (r *run) sleepUntil(t time.Time) bool {
	wait := time.NewTimer(time.Until(t))
	defer wait.Stop()
	select {
	case <-wait.C:
		return r.ctx.Err() == nil
	case <-r.ctx.Done():
		return false
	}
}

func (r *run) count(add func(sum *Summary)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.sum)
}

func (r *run) differs(d Difference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Differences++
	r.Differs(d)
}

// blank stands for what is ignored. That something is there still counts.
var blank = []byte{0}

// same compares what is steady of a reply with that of the recorded one, of which cut bytes are
// not there.
func (r *Replay) same(want []byte, cut uint64, got []byte, steady func([]byte) []byte) bool {
	if cut > 0 {
		if len(r.Ignore) == 0 && !r.Shape && uint64(len(got)) != uint64(len(want))+cut {
			return false
		}
		got = got[:min(len(got), len(want))]
	}
	want, got = steady(want), steady(got)
	for _, ignored := range r.Ignore {
		want, got = ignored.ReplaceAll(want, blank), ignored.ReplaceAll(got, blank)
	}
	if r.Shape {
		want, got = shape.Append(nil, want), shape.Append(nil, got)
	}
	return bytes.Equal(want, got)
}
