package tap

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-tcp/parley"
)

// An Onlooker tells and records a session that nobody passes on any more, such as one of a capture,
// as a Tap does whose it is: the same bytes make the same messages and the same exchanges. It
// dials, waits for and times out nothing; what happens happens at the times that it is told, and
// never before what was told already. Its methods are for one goroutine, and wait while the gate
// holds the session, or until its context ends. After End of both sides, Reset, Unreachable or Leave
// there is nothing more to tell.
type Onlooker struct {
	s *session
}

// A Side is one of the two that speak.
type Side int

const (
	Client Side = iota
	Server
)

// Onlook tells that a session has begun. The Tap is for its Framing, Replies, MaxMessage, Observer
// and Gate.
func (t *Tap) Onlook(ctx context.Context, session *parley.Session) *Onlooker {
	s := newSession(t, nil)
	s.cancel()
	s.ctx, s.public, s.now = ctx, session, session.Opened()
	s.unfinishedTold = true // the clock that it would be told by is not that of this session
	s.tellOpened()
	return &Onlooker{s}
}

func (o *Onlooker) direction(from Side) *direction {
	if from == Client {
		return &o.s.requests
	}
	return &o.s.replies
}

// Say has one side have said p.
func (o *Onlooker) Say(from Side, p []byte, at time.Time) {
	d := o.direction(from)
	o.s.await(o.s.tellMessages(d, p, false, at))
	o.s.notePassed(d)
}

// Miss has one side have said n bytes that nobody has. A message that they belong to is recorded as
// bytes of no message, with a Raw.Cut, and FramingLost is told: what follows is told as it comes.
func (o *Onlooker) Miss(from Side, n uint64, at time.Time) {
	o.s.await(o.s.miss(o.direction(from), n, at))
}

func (s *session) miss(d *direction, n uint64, now time.Time) (held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveOn(now)
	s.count(d, n)
	if raw := d.scanner.unfinishedRaw(); len(raw.Bytes) > 0 {
		raw.Cut += n
		s.recordLoose(d, raw)
	}
	d.scanner.miss(n, fmt.Errorf("%d bytes before it are missing", n))
	return s.ask()
}

// End has one side have said all, and reports whether the session has ended with it.
func (o *Onlooker) End(from Side, at time.Time) bool {
	d := o.direction(from)
	o.s.await(o.s.tellMessages(d, nil, true, at))
	o.s.notePassed(d)
	end := o.s.countEnd(d)
	if end != nil {
		o.close(end, at)
	}
	return end != nil
}

// Reset has one side have reset the connection.
func (o *Onlooker) Reset(by Side, at time.Time) {
	end := &ending{reason: parley.Reset}
	switch {
	case by == Server:
		end.reason = parley.UpstreamReset
	case o.s.in == 0 && o.s.out == 0:
		end.reason = parley.NoRequest
	}
	o.close(end, at)
}

// Unreachable has the server have let nobody in.
func (o *Onlooker) Unreachable(at time.Time) {
	o.close(&ending{reason: parley.Unreachable}, at)
}

func (o *Onlooker) close(end *ending, now time.Time) {
	o.s.tellClosed(end, now)
	o.s.awaitRecords()
}

// Leave records what is there of a session whose end nobody has seen, and tells of none.
func (o *Onlooker) Leave(at time.Time) {
	o.s.mu.Lock()
	o.s.moveOn(at)
	o.s.recordRest()
	o.s.mu.Unlock()
	o.s.awaitRecords()
}
