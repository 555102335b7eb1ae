package tap

import (
	"bytes"
	"fmt"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	unfinishedAfter    = 2 * time.Second // how long a begun message of the client waits before Unfinished is told
	maxArrivals        = 1024            // of requests without a reply that are kept apart
	maxUnanswered      = 1024            // requests that wait for their reply to be recorded with it
	maxUnansweredBytes = 256 << 10       // of those
)

// An arrival is requests that arrived together, which are without a reply. Past maxArrivals
// what comes is counted with the last, so that a client which is never answered takes up no
// memory; only Took suffers, and if there were others between them their numbers.
type arrival struct {
	first    uint64 // the number of the first one; 0 if it is not known
	requests uint64 // that follow each other
	at       time.Time
}

// inspect tells the messages that p completes, or the end of file, and waits while the gate
// holds the session.
func (s *session) inspect(d *direction, p []byte, eof bool) {
	s.await(s.tellMessages(d, p, eof, kernel.Now()))
}

// await waits while the gate holds the session.
func (s *session) await(held <-chan struct{}) {
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-s.ctx.Done():
	}
}

func (s *session) tellMessages(d *direction, p []byte, eof bool, now time.Time) (held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveOn(now)
	s.count(d, uint64(len(p)))
	d.scanner.feed(p, eof)
	if d == &s.requests {
		s.watchUnfinished()
	}
	s.tellProgress()
	return s.ask()
}

// moveOn sets the time, which does not go back: two directions are told of at once, and one that looked
// at the clock first may have its turn last.
func (s *session) moveOn(now time.Time) {
	if now.After(s.now) {
		s.now = now
	}
}

// count counts bytes of a direction.
func (s *session) count(d *direction, n uint64) {
	if d == &s.requests {
		s.in += n
	} else {
		s.out += n
	}
}

// notePassed notes that all of a direction which has been told of was written.
func (s *session) notePassed(d *direction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d == &s.replies && !d.stopped {
		s.written = s.replied
		s.tellProgress()
	}
}

// tellProgress has whoever asks see how far the session has come.
func (s *session) tellProgress() {
	p := parley.Progress{Requests: s.seq, In: s.in, Out: s.out}
	if !s.unpaired {
		p.Waiting = s.waiting
	}
	s.public.Advance(p)
}

func (s *session) tellOpened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event = parley.Event{Kind: parley.Opened, Time: s.public.Opened(), Session: s.public}
	s.tell(&s.event)
}

// tellClosed tells that the session is over, and what there was of messages that nobody will
// finish.
func (s *session) tellClosed(end *ending, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveOn(now)
	s.recordRest()
	s.closed = true
	s.stopUnfinishedTimer()
	s.event = parley.Event{
		Kind: parley.Closed, Time: s.now, Session: s.public, Seq: s.seq, Took: s.now.Sub(s.public.Opened()),
		Replied: s.written, In: s.in, Out: s.out, Stray: s.stray, Reason: end.reason, Err: end.err,
	}
	s.tell(&s.event)
	s.event = parley.Event{} // which a loop has for all its sessions
}

// recordRest records what there was of messages that nobody will finish.
func (s *session) recordRest() {
	s.requests.scanner.feed(nil, true)
	s.replies.scanner.feed(nil, true)
	s.recordAllUnanswered()
	s.recordLoose(&s.requests, s.requests.scanner.unfinishedRaw())
	s.recordLoose(&s.replies, s.replies.scanner.unfinishedRaw())
	if held := s.ask(); s.records != nil {
		s.held = held
	}
}

// A requestHearer tells what is found of a client, a replyHearer what is of the server.
type (
	requestHearer struct{ *session }
	replyHearer   struct{ *session }
)

func (h requestHearer) tell(m message)              { h.tellRequest(m) }
func (h requestHearer) loose(raw parley.Raw)        { h.tellStray(&h.requests, raw) }
func (h requestHearer) broken(at uint64, why error) { h.tellFramingLost(&h.requests, at, why) }

func (h replyHearer) tell(m message)              { h.tellReply(m) }
func (h replyHearer) loose(raw parley.Raw)        { h.tellStray(&h.replies, raw) }
func (h replyHearer) broken(at uint64, why error) { h.tellFramingLost(&h.replies, at, why) }

// tellRequest is told of a client's message.
func (s *session) tellRequest(m message) {
	s.seq++
	waits := !m.note.Alone && !s.unpaired
	if waits {
		s.expectReply()
	}
	s.event = parley.Event{
		Kind: parley.Received, Time: s.now, Session: s.public, Seq: s.seq, Body: m.body, Raw: m.raw, Cut: m.cut, Secret: m.note.Secret,
	}
	s.tell(&s.event)
	if s.tap.Gate == nil {
		return
	}
	x := parley.Exchange{Seq: s.seq, Received: s.now, Secret: m.note.Secret}
	x.Request, x.RequestCut, x.RawRequest = m.copied()
	if waits {
		s.keepRequest(x)
	} else {
		s.batch = append(s.batch, x)
	}
}

// expectReply counts a request that is to have a reply.
func (s *session) expectReply() {
	s.waiting++
	n := len(s.inFlight)
	full := n >= maxArrivals
	if n > 0 {
		last := &s.inFlight[n-1]
		follows := last.first > 0 && last.first+last.requests == s.seq
		if follows && (full || last.at.Equal(s.now)) || last.first == 0 && n > maxArrivals {
			last.requests++
			return
		}
	}
	first := s.seq
	if full {
		first = 0
	}
	s.inFlight = append(s.inFlight, arrival{first, 1, s.now})
}

// answered takes the oldest request that is without a reply; seq is 0 if there is none, or
// nobody knows which it was.
func (s *session) answered() (seq uint64, at time.Time) {
	if len(s.inFlight) == 0 {
		return 0, time.Time{}
	}
	s.waiting--
	oldest := &s.inFlight[0]
	seq, at = oldest.first, oldest.at
	if seq > 0 {
		oldest.first++
	}
	if oldest.requests--; oldest.requests == 0 {
		s.inFlight = append(s.inFlight[:0], s.inFlight[1:]...)
	}
	return seq, at
}

// tellReply is told of a server's message: it answers the oldest request in flight, unless it
// is known to be no reply.
func (s *session) tellReply(m message) {
	e := &s.event
	*e = parley.Event{Kind: parley.Unasked, Time: s.now, Session: s.public, Body: m.body, Raw: m.raw, Cut: m.cut, Secret: m.note.Secret}
	if !m.note.Alone {
		if seq, at := s.answered(); seq > 0 {
			s.replied = seq
			e.Kind, e.Seq, e.Took = parley.Replied, seq, s.now.Sub(at)
		}
	}
	s.tell(e)
	if s.tap.Gate != nil {
		s.recordReply(e, m)
	}
	if e.Kind == parley.Replied && s.tap.answers {
		*e = parley.Event{Kind: parley.Answered, Time: s.now, Session: s.public, Seq: e.Seq, Replied: 1, Took: e.Took}
		s.tell(e)
	}
}

// tellStray is told of bytes that belong to no message.
func (s *session) tellStray(d *direction, raw parley.Raw) {
	n := uint64(len(raw.Bytes))
	s.stray += n
	if s.stray == n {
		s.tell(&parley.Event{
			Kind: parley.Stray, Time: s.now, Session: s.public, Body: raw.Bytes, Stray: n,
			Err: fmt.Errorf("the %s's byte %d: what comes there belongs to no message", s.nameOf(d.from), raw.At),
		})
	}
	s.recordLoose(d, raw)
}

// tellFramingLost is told where a direction left its framing. Of a server that did nobody can
// tell what answers what; of a client, what answers the requests that were whole.
func (s *session) tellFramingLost(d *direction, at uint64, why error) {
	if d == &s.replies {
		s.unpaired = true
		s.recordAllUnanswered()
	}
	s.tell(&parley.Event{
		Kind: parley.FramingLost, Time: s.now, Session: s.public,
		Err: fmt.Errorf("the %s's byte %d: %w; from there its bytes are shown as they come", s.nameOf(d.from), at, why),
	})
}

// keepRequest keeps a request for the record that its reply completes. Of those that wait
// for long the oldest are recorded alone, so that memory is bounded: at most one is longer
// than maxUnansweredBytes.
func (s *session) keepRequest(x parley.Exchange) {
	s.unanswered = append(s.unanswered, x)
	s.unansweredBytes += len(x.RawRequest.Bytes)
	for n := len(s.unanswered); n > maxUnanswered || n > 1 && s.unansweredBytes > maxUnansweredBytes; n-- {
		s.recordUnanswered()
	}
}

func (s *session) recordUnanswered() { s.batch = append(s.batch, s.takeOldest()) }

func (s *session) recordAllUnanswered() {
	for s.records != nil && len(s.unanswered) > 0 {
		s.recordUnanswered()
	}
}

// takeOldest takes the first request that waits for its reply.
func (s *session) takeOldest() parley.Exchange {
	x := s.unanswered[0]
	s.unanswered[0] = parley.Exchange{}
	s.unanswered = s.unanswered[1:]
	s.unansweredBytes -= len(x.RawRequest.Bytes)
	return x
}

// recordReply records what the server said with what it answers, if that is still there.
func (s *session) recordReply(e *parley.Event, m message) {
	for len(s.unanswered) > 0 && s.unanswered[0].Seq < e.Seq {
		s.recordUnanswered() // nobody knew what answered it
	}
	x := parley.Exchange{Seq: e.Seq, Received: e.Time.Add(-e.Took)}
	if len(s.unanswered) > 0 && s.unanswered[0].Seq == e.Seq {
		x = s.takeOldest()
	}
	x.Took, x.Secret = e.Time.Sub(x.Received), x.Secret || e.Secret
	x.Reply, x.ReplyCut, x.RawReply = m.copied()
	s.batch = append(s.batch, x)
}

// recordLoose records bytes of no message. What follows such bytes in the same read is added
// to them: there may be a great many of a byte each.
func (s *session) recordLoose(d *direction, raw parley.Raw) {
	if s.tap.Gate == nil || len(raw.Bytes) == 0 {
		return
	}
	if last := len(s.batch) - 1; last >= 0 {
		x := &s.batch[last]
		before := s.rawOf(d, x)
		if x.Request == nil && x.Reply == nil && before.Bytes != nil && before.At+uint64(len(before.Bytes)) == raw.At {
			before.Bytes, before.Cut = append(before.Bytes, raw.Bytes...), raw.Cut
			return
		}
	}
	x := parley.Exchange{Received: s.now}
	raw.Bytes = bytes.Clone(raw.Bytes)
	*s.rawOf(d, &x) = raw
	s.batch = append(s.batch, x)
}

// rawOf is what an exchange has of a direction.
func (s *session) rawOf(d *direction, x *parley.Exchange) *parley.Raw {
	if d == &s.requests {
		return &x.RawRequest
	}
	return &x.RawReply
}

// copied is the message as an exchange has it. A body is never nil: that would be no message.
func (m *message) copied() (body []byte, cut uint64, raw parley.Raw) {
	raw = m.raw
	raw.Bytes = bytes.Clone(raw.Bytes)
	return raw.Bytes[raw.Body : raw.Body+len(m.body)], m.cut, raw
}

// ask asks the gate about what is to be recorded. A loop does not wait for what it returns: it has set released,
// and looks at isHeld.
func (s *session) ask() (held <-chan struct{}) {
	if s.records == nil || len(s.batch) == 0 {
		return nil
	}
	if s.released == nil {
		held = s.public.Ask(s.tap.Gate, s.batch)
	} else {
		s.isHeld = s.public.AskThen(s.tap.Gate, s.batch, s.released)
	}
	clear(s.batch) // else it keeps their bytes
	s.batch = s.batch[:0]
	return held
}

// awaitRecords waits for the last records of a session that is over, so that there are
// never more of those than there may be sessions.
func (s *session) awaitRecords() {
	if s.records != nil {
		s.await(s.held)
	}
}

// watchUnfinished has Unfinished told, once a session, if a message of the client waits for
// its rest.
func (s *session) watchUnfinished() {
	switch begun := s.requests.scanner.begun(); {
	case s.unfinishedTold || begun == s.isUnfinished():
	case begun:
		s.unfinishedSince = s.now
		if s.lifetime != nil { // no loop, which has a clock of its own
			s.unfinishedTimer = time.AfterFunc(unfinishedAfter, func() { s.tellUnfinished(kernel.Now()) })
		}
	default:
		s.unfinishedSince = time.Time{}
		s.stopUnfinishedTimer()
	}
}

func (s *session) stopUnfinishedTimer() {
	if s.lifetime != nil && s.unfinishedTimer != nil {
		s.unfinishedTimer.Stop()
	}
}

func (s *session) isUnfinished() bool { return !s.unfinishedSince.IsZero() }

func (s *session) tellUnfinished(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The timer may have fired for a message that was finished just then.
	if s.closed || s.unfinishedTold || !s.isUnfinished() || now.Sub(s.unfinishedSince) < unfinishedAfter {
		return
	}
	s.unfinishedTold = true
	body, cut := s.requests.scanner.unfinished()
	s.tell(&parley.Event{Kind: parley.Unfinished, Time: now, Session: s.public, Seq: s.seq + 1, Body: body, Cut: cut})
}
