package tap

import (
	"time"

	"github.com/parley-tcp/parley"
)

const (
	unfinishedAfter    = 2 * time.Second // how long a begun message of the client waits before Unfinished is told
	maxArrivals        = 1024            // of requests without a reply that are kept apart
	maxUnanswered      = 1024            // requests that wait for their reply to be recorded with it
	maxUnansweredBytes = 256 << 10       // of those
)

// An arrival is requests that arrived together, which are without a reply. Past maxArrivals
// what comes is counted with the last, so that a client which is never answered takes up no
// memory; only Took suffers.
type arrival struct {
	requests uint64
	at       time.Time
}

// inspect tells the messages that p completes, or the end of file, and waits while the gate
// holds the session.
func (s *session) inspect(d *direction, p []byte, eof bool) {
	s.inspecting <- struct{}{}
	if held := s.tellMessages(d, p, eof); held != nil {
		select {
		case <-held:
		case <-s.ctx.Done():
		}
	}
	<-s.inspecting
}

func (s *session) tellMessages(d *direction, p []byte, eof bool) (held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = time.Now()
	if d == &s.requests {
		s.in += uint64(len(p))
	} else {
		s.out += uint64(len(p))
	}
	d.scanner.feed(p, eof)
	if d == &s.requests {
		s.watchUnfinished()
	}
	return s.ask()
}

// notePassed notes that all of a direction which has been told of was written.
func (s *session) notePassed(d *direction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d == &s.replies && !d.stopped {
		s.written = s.replied
	}
}

func (s *session) tellOpened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tap.tell(&parley.Event{Kind: parley.Opened, Time: s.public.Opened(), Session: s.public})
}

// tellClosed tells that the session is over, and what there was of messages that nobody will
// finish.
func (s *session) tellClosed(end *ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = time.Now()
	s.requests.scanner.feed(nil, true)
	s.replies.scanner.feed(nil, true)
	for len(s.unanswered) > 0 {
		s.recordUnanswered()
	}
	s.held = s.ask()
	s.closed = true
	if s.unfinishedTimer != nil {
		s.unfinishedTimer.Stop()
	}
	s.tap.tell(&parley.Event{
		Kind: parley.Closed, Time: s.now, Session: s.public, Seq: s.seq, Took: s.now.Sub(s.public.Opened()),
		Replied: s.written, In: s.in, Out: s.out, Reason: end.reason, Err: end.err,
	})
}

// tellRequest is told of a client's message.
func (s *session) tellRequest(body []byte, cut uint64) {
	s.seq++
	last := len(s.inFlight) - 1
	if last >= 0 && (s.inFlight[last].at.Equal(s.now) || last+1 == maxArrivals) {
		s.inFlight[last].requests++
	} else {
		s.inFlight = append(s.inFlight, arrival{1, s.now})
	}
	s.tap.tell(&parley.Event{Kind: parley.Received, Time: s.now, Session: s.public, Seq: s.seq, Body: body, Cut: cut})
	if s.tap.Gate != nil {
		s.keepRequest(body, cut)
	}
}

// tellReply is told of a server's message: it answers the oldest request in flight.
func (s *session) tellReply(body []byte, cut uint64) {
	e := parley.Event{Kind: parley.Unasked, Time: s.now, Session: s.public, Body: body, Cut: cut}
	if len(s.inFlight) > 0 {
		oldest := &s.inFlight[0]
		s.replied++
		e.Kind, e.Seq, e.Took = parley.Replied, s.replied, s.now.Sub(oldest.at)
		if oldest.requests--; oldest.requests == 0 {
			s.inFlight = append(s.inFlight[:0], s.inFlight[1:]...)
		}
	}
	s.tap.tell(&e)
	if s.tap.Gate != nil {
		s.recordReply(&e)
	}
}

// keepRequest keeps a request for the record that its reply completes. Of those that wait
// for long the oldest are recorded alone, so that memory is bounded: at most one is longer
// than maxUnansweredBytes.
func (s *session) keepRequest(body []byte, cut uint64) {
	s.unanswered = append(s.unanswered, parley.Exchange{Seq: s.seq, Received: s.now, Request: copied(body), RequestCut: cut})
	s.unansweredBytes += len(body)
	for n := len(s.unanswered); n > maxUnanswered || n > 1 && s.unansweredBytes > maxUnansweredBytes; n-- {
		s.recordUnanswered()
	}
}

func (s *session) recordUnanswered() { s.batch = append(s.batch, s.takeOldest()) }

// takeOldest takes the first request that waits for its reply.
func (s *session) takeOldest() parley.Exchange {
	x := s.unanswered[0]
	s.unanswered[0] = parley.Exchange{}
	s.unanswered = s.unanswered[1:]
	s.unansweredBytes -= len(x.Request)
	return x
}

// recordReply records what the server said with what it answers, if that is still there.
func (s *session) recordReply(e *parley.Event) {
	x := parley.Exchange{Seq: e.Seq, Received: e.Time.Add(-e.Took)}
	if len(s.unanswered) > 0 && s.unanswered[0].Seq == e.Seq {
		x = s.takeOldest()
	}
	x.Took, x.Reply, x.ReplyCut = e.Time.Sub(x.Received), copied(e.Body), e.Cut
	s.batch = append(s.batch, x)
}

// copied is never nil: that would be no message.
func copied(body []byte) []byte { return append([]byte{}, body...) }

// ask asks the gate about what is to be recorded.
func (s *session) ask() (held <-chan struct{}) {
	if len(s.batch) == 0 {
		return nil
	}
	held = s.public.Ask(s.tap.Gate, s.batch)
	clear(s.batch) // else it keeps their bytes
	s.batch = s.batch[:0]
	return held
}

// awaitRecords waits for the last records of a session that is over, so that there are
// never more of those than there may be sessions.
func (s *session) awaitRecords() {
	if s.held == nil {
		return
	}
	select {
	case <-s.held:
	case <-s.ctx.Done():
	}
}

// watchUnfinished has Unfinished told, once a session, if a message of the client waits for
// its rest.
func (s *session) watchUnfinished() {
	switch begun := s.requests.scanner.begun(); {
	case s.unfinishedTold:
	case begun && s.unfinishedTimer == nil:
		s.unfinishedSince = s.now
		s.unfinishedTimer = time.AfterFunc(unfinishedAfter, s.tellUnfinished)
	case !begun && s.unfinishedTimer != nil:
		s.unfinishedTimer.Stop()
		s.unfinishedTimer = nil
	}
}

func (s *session) tellUnfinished() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	// The timer may have fired for a message that was finished just then.
	if s.closed || s.unfinishedTimer == nil || now.Sub(s.unfinishedSince) < unfinishedAfter {
		return
	}
	s.unfinishedTold = true
	body, cut := s.requests.scanner.unfinished()
	s.tap.tell(&parley.Event{Kind: parley.Unfinished, Time: now, Session: s.public, Seq: s.seq + 1, Body: body, Cut: cut})
}
