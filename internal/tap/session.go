package tap

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

const (
	readSize        = 32 << 10        // of one read; two buffers a session
	unfinishedAfter = 2 * time.Second // how long a begun message of the client waits before Unfinished is told
	lastWordsTime   = time.Second     // for what a peer said before its connection broke to reach the other
	maxWaiting      = 1024            // groups of requests without a reply that are kept apart
	maxWaitingBytes = 256 << 10       // of requests that wait for their reply to be recorded with it
)

// A session is one client's connection and its connection to the server.
type session struct {
	tap    *Tap
	about  *parley.Session
	client net.Conn
	ctx    context.Context // ends when it is aborted
	cancel context.CancelFunc

	turn chan struct{} // taken by the direction whose bytes are looked at and recorded

	mu       sync.Mutex // one event at a time
	server   net.Conn   // nil while it is dialled
	told     bool       // Opened was
	over     bool       // Closed was told: nothing is from now on
	open     int        // directions that have not ended
	broken   fault      // the first thing that was not in order
	requests scanner
	replies  scanner
	now      time.Time // of the read that is looked at
	seq      uint64    // requests so far
	replied  uint64
	waiting  []group // requests without a reply
	written  uint64  // replies whose last byte was
	in, out  uint64

	asking      []parley.Exchange // requests without a reply that are to be recorded with it
	askingBytes int
	batch       []parley.Exchange // what the gate is to be asked about
	held        <-chan struct{}   // by the gate, once the session is over

	begun  time.Time   // since when a request waits for its rest
	hint   *time.Timer // tells Unfinished; nil while none does
	hinted bool        // it was told
}

// A group is requests that arrived together, each of which waits for its reply. Past
// maxWaiting groups what comes is counted with the last, so that a client which is never
// answered takes up no memory; only Took suffers.
type group struct {
	n       uint64
	arrived time.Time
}

// A fault is why a session ends other than by two ends of file.
type fault struct {
	reason parley.CloseReason
	err    error
}

func newSession(t *Tap, client net.Conn) *session {
	s := &session{tap: t, client: client, turn: make(chan struct{}, 1), open: 2}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.requests = scanner{framing: t.framing(), max: t.maxMessage(), tell: s.tellRequest}
	s.replies = scanner{framing: t.framing(), max: t.maxMessage(), tell: s.tellReply}
	return s
}

// run passes both directions until both have ended.
func (s *session) run() {
	defer s.close()
	s.begin()
	if !s.connect() {
		return
	}
	var up sync.WaitGroup
	up.Go(func() { s.pass(s.server, s.client, &s.requests) })
	s.pass(s.client, s.server, &s.replies)
	up.Wait()
	s.awaitRecord()
}

// begin tells that there is a session.
func (s *session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellOpened()
}

// connect dials the server. A client must see that there is none, and not take it for
// one that has nothing to say: it is reset.
func (s *session) connect() bool {
	if s.ctx.Err() != nil {
		return false
	}
	server, err := s.tap.Dial(s.ctx)
	if err != nil {
		s.abort(parley.Unreachable, err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
	return !s.over
}

// pass passes one direction on. Its bytes are looked at before they are passed on, so
// that a request is told of before its reply can be.
func (s *session) pass(to, from net.Conn, look *scanner) {
	buf := make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			s.look(look, buf[:n], false)
			if _, err := to.Write(buf[:n]); err != nil {
				s.cannotWrite(to, err)
				return
			}
			s.passed(look)
		}
		switch {
		case err == io.EOF:
			s.ended(to, look)
			return
		case err != nil:
			s.abort(s.faultOf(from, err))
			return
		}
	}
}

// look tells the messages that p completes, or the end of file, and waits while the gate
// holds the session.
func (s *session) look(look *scanner, p []byte, eof bool) {
	s.turn <- struct{}{}
	s.await(s.tellMessages(look, p, eof))
	<-s.turn
}

func (s *session) tellMessages(look *scanner, p []byte, eof bool) (held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	s.now = time.Now()
	if look == &s.requests {
		s.in += uint64(len(p))
	} else {
		s.out += uint64(len(p))
	}
	look.feed(p, eof)
	if look == &s.requests {
		s.awaitRest()
	}
	return s.ask()
}

// passed notes what was written whole.
func (s *session) passed(look *scanner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if look == &s.replies {
		s.written = s.replied
	}
}

// ended passes an end of file on. The second one ends the session, which is told before
// anybody can see it.
func (s *session) ended(to net.Conn, look *scanner) {
	s.look(look, nil, true)
	s.passed(look)
	s.mu.Lock()
	s.open--
	broken, last := s.broken, s.open == 0
	s.mu.Unlock()
	switch {
	case last && broken.reason != 0:
		s.abort(broken.reason, broken.err)
		return
	case last:
		s.finish(s.orderly())
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// orderly is the reason of a session that ended with two ends of file.
func (s *session) orderly() parley.CloseReason {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.in == 0 && s.out == 0:
		return parley.NoRequest
	case s.requests.begun():
		return parley.Truncated
	}
	return parley.EndOfFile
}

// cannotWrite ends one direction: nobody is there to read it. What that peer said before
// may still be on its way to the other; then the other is to see that it broke.
func (s *session) cannotWrite(to net.Conn, err error) {
	reason, err := s.faultOf(to, err)
	s.mu.Lock()
	if s.broken.reason == 0 {
		s.broken = fault{reason, err}
	}
	s.open--
	last := s.open == 0
	s.mu.Unlock()
	if last {
		s.abort(reason, err)
		return
	}
	deadline := time.Now().Add(lastWordsTime)
	s.client.SetDeadline(deadline)
	s.server.SetDeadline(deadline)
}

// faultOf says what an error of one of the two connections means.
func (s *session) faultOf(conn net.Conn, err error) (parley.CloseReason, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch isReset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE); {
	case s.broken.reason != 0:
		return s.broken.reason, s.broken.err
	case isReset && conn == s.client:
		return parley.Reset, err
	case isReset:
		return parley.UpstreamReset, err
	}
	return parley.IOError, err
}

// abort ends the session other than by two ends of file, and says whether it had not
// ended before. Both peers are reset: an end of file would be a lie.
func (s *session) abort(reason parley.CloseReason, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tellClosed(reason, err) {
		return false
	}
	reset(s.client)
	if s.server != nil {
		reset(s.server)
	}
	// Not before that: whoever waits would close the connections, with an end of file.
	s.cancel()
	return true
}

// finish ends the session by its second end of file.
func (s *session) finish(reason parley.CloseReason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellClosed(reason, nil)
}

// tellClosed tells that the session is over, unless that was told, and what there was of
// messages that nobody will finish.
func (s *session) tellClosed(reason parley.CloseReason, err error) bool {
	if s.over {
		return false
	}
	s.tellOpened() // a drain can be quicker than run
	s.now = time.Now()
	s.requests.feed(nil, true)
	s.replies.feed(nil, true)
	for len(s.asking) > 0 {
		s.recordUnanswered()
	}
	s.held = s.ask()
	s.over = true
	if s.hint != nil {
		s.hint.Stop()
	}
	s.tap.tell(&parley.Event{Kind: parley.Closed, Time: s.now, Session: s.about, Seq: s.seq, Took: s.now.Sub(s.about.Opened()),
		Replied: s.written, In: s.in, Out: s.out, Reason: reason, Err: err})
	return true
}

func (s *session) close() {
	s.cancel()
	s.client.Close()
	if s.server != nil {
		s.server.Close()
	}
}

// reset closes a connection so that its peer sees a reset, where its kind can.
func reset(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

func (s *session) tellOpened() {
	if !s.told {
		s.told = true
		s.tap.tell(&parley.Event{Kind: parley.Opened, Time: s.about.Opened(), Session: s.about})
	}
}

// tellRequest is told of a client's message.
func (s *session) tellRequest(body []byte, cut uint64) {
	s.seq++
	last := len(s.waiting) - 1
	if last >= 0 && (s.waiting[last].arrived.Equal(s.now) || last+1 == maxWaiting) {
		s.waiting[last].n++
	} else {
		s.waiting = append(s.waiting, group{1, s.now})
	}
	s.tap.tell(&parley.Event{Kind: parley.Received, Time: s.now, Session: s.about, Seq: s.seq, Body: body, Cut: cut})
	if s.tap.Gate != nil {
		s.awaitReply(body, cut)
	}
}

// tellReply is told of a server's message: it answers the oldest request that waits.
func (s *session) tellReply(body []byte, cut uint64) {
	e := parley.Event{Kind: parley.Unasked, Time: s.now, Session: s.about, Body: body, Cut: cut}
	if len(s.waiting) > 0 {
		first := &s.waiting[0]
		s.replied++
		e.Kind, e.Seq, e.Took = parley.Replied, s.replied, s.now.Sub(first.arrived)
		if first.n--; first.n == 0 {
			s.waiting = append(s.waiting[:0], s.waiting[1:]...)
		}
	}
	s.tap.tell(&e)
	if s.tap.Gate != nil {
		s.recordReply(&e)
	}
}

// awaitReply keeps a request for the record that its reply completes. Of those that wait
// for long the oldest are recorded alone, so that memory is bounded: at most one is longer
// than maxWaitingBytes.
func (s *session) awaitReply(body []byte, cut uint64) {
	s.asking = append(s.asking, parley.Exchange{Seq: s.seq, Received: s.now, Request: copied(body), RequestCut: cut})
	s.askingBytes += len(body)
	for n := len(s.asking); n > maxWaiting || n > 1 && s.askingBytes > maxWaitingBytes; n-- {
		s.recordUnanswered()
	}
}

func (s *session) recordUnanswered() { s.batch = append(s.batch, s.oldest()) }

// oldest takes the first request that waits for its reply.
func (s *session) oldest() parley.Exchange {
	x := s.asking[0]
	s.asking[0] = parley.Exchange{}
	s.asking = s.asking[1:]
	s.askingBytes -= len(x.Request)
	return x
}

// recordReply records what the server said with what it answers, if that is still there.
func (s *session) recordReply(e *parley.Event) {
	x := parley.Exchange{Seq: e.Seq, Received: e.Time.Add(-e.Took)}
	if len(s.asking) > 0 && s.asking[0].Seq == e.Seq {
		x = s.oldest()
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
	held = s.about.Ask(s.tap.Gate, s.batch)
	clear(s.batch) // else it keeps their bytes
	s.batch = s.batch[:0]
	return held
}

// await waits until the gate holds the session no longer, or it is aborted.
func (s *session) await(held <-chan struct{}) {
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-s.ctx.Done():
	}
}

// awaitRecord waits for the last records of a session that is over, so that there are
// never more of those than there may be sessions.
func (s *session) awaitRecord() {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held == nil {
		return
	}
	select {
	case <-held:
	case <-s.tap.cutting:
	}
}

// awaitRest has Unfinished told, once a session, if a message of the client waits for its
// rest.
func (s *session) awaitRest() {
	switch begun := s.requests.begun(); {
	case s.hinted:
	case begun && s.hint == nil:
		s.begun = s.now
		s.hint = time.AfterFunc(unfinishedAfter, s.tellUnfinished)
	case !begun && s.hint != nil:
		s.hint.Stop()
		s.hint = nil
	}
}

func (s *session) tellUnfinished() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	// The timer may have fired for a message that was finished just then.
	if s.over || s.hint == nil || now.Sub(s.begun) < unfinishedAfter {
		return
	}
	s.hinted = true
	body, cut := s.requests.unfinished()
	s.tap.tell(&parley.Event{Kind: parley.Unfinished, Time: now, Session: s.about, Seq: s.seq + 1, Body: body, Cut: cut})
}
