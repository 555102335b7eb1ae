package parley

import (
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
	"time"
)

const (
	maxUnsentReplies  = 1024            // replies made and not yet written, beside Server.MaxUnsent; and what a gate is asked about at once
	unfinishedAfter   = 2 * time.Second // how long a begun request waits before Unfinished is told
	unsentAge         = 6               // the oldest unsent byte may be this many WriteTimeouts old
	framingAllowance  = 4 << 10         // what a framing may put around a body of the full limit
	requestTooLongFmt = "Error: request longer than %d bytes"
)

// maxLate is how late a clock may be looked at. Past that the process did not run, since it
// was stopped or its machine was: what a peer did meanwhile could not be seen.
const maxLate = time.Second

// A conversation is one session's protocol: bytes in, bytes out. It does no I/O
// and has no goroutine, no lock and no clock. An engine owns the socket and the
// buffers and calls, in this order:
//
//	open    once
//	greet   once then, if it greets, and have that written, before anything is read
//	read    when bytes or the end of file have come, with the time
//	answer  with all bytes held; again after a flush while it needs room, and when it is to speak
//	ask     before the replies are written and the bytes let go, if there is a gate
//	wrote   after each write, with what the socket took and the time
//	expire  when its deadline has come
//	hear    with what a peer had sent that has gone, once it cannot be answered any more
//	close   once it is over and its peer has what it is owed, or will not get it
//
// Clocks are kept as durations since the session was opened, which a step of the wall clock
// does not change. The times of events are the wall clock as it is then: only the last
// read's has to be kept for that.
type conversation struct {
	*settings
	session  *Session
	protocol *protocol // what this connection's messages are; nil if its framings have no memory

	err    error       // behind reason; may be nil
	reason CloseReason // why it is over
	phase  phase
	asking asked // for what the handler is at work

	heard    bool // a byte has come
	begun    bool // a request has begun and is not whole
	hinted   bool // Unfinished was told
	cutShort bool // the end of file is not one that the peer has said is its own
	draining bool // over as soon as all that was read is answered
	stalled  bool // a write is pending

	seq      uint64    // requests received
	replied  uint64    // the last one whose reply is written, as far as is known at the last flush; to the byte with marks
	delivery *delivery // of what is written; nil until there is much of it, or it is waited for
	in, out  uint64    // bytes read and written
	scanned  int       // bytes at the start of the input that hold no end of a request
	stray    uint64    // bytes read that belonged to no message

	arrived  time.Time     // the last read
	stopped  time.Duration // since when nothing was read: the last read, or the last flush
	clock    time.Duration // since when no request has come, or was replied to; strays change nothing
	began    time.Duration // since when a request has begun; it stands still while nothing is read
	stall    time.Duration // since when a write is pending, or is waited for to be taken
	progress time.Duration // when a byte of it was last taken
	anew     time.Duration // when restartClocks last did so; 0 is never
	again    time.Duration // when the handler wants to speak; 0 is not before the next reply
}

// An asked says what a handler is asked for.
type asked uint8

const (
	nothing asked = iota
	aReply
	aWord // that is unasked for
)

// A protocol is the framings of one connection, made by a Protocol.
type protocol struct {
	requests, replies Framing
	asked, answered   Noter // the same, nil if they have no notes
}

// A phase says what a conversation waits for.
type phase uint8

const (
	needsInput phase = iota // has answered all that is whole
	needsRoom               // holds whole requests; answer again when the write buffer is flushed
	over                    // flush the write buffer, see that the peer takes it, then close
	broken                  // close now; what is unsent is lost
)

// A writeBuffer holds the replies a session is owed until the socket has taken them.
// A conversation has one only while there is something in it.
type writeBuffer struct {
	buf     []byte
	sent    int        // how much of buf the socket has taken
	replies int        // how many are in buf
	before  uint64     // the request that was replied to before the first of them
	last    uint64     // the request that the last of them answers
	marks   []mark     // where they are, if somebody wants to know when they are written
	told    int        // how many of them are
	counted int        // how many of the replies Answered was told of
	batch   []Exchange // those that a gate is to be asked about
	asked   Exchange   // what the handler is asked, if there is a gate

	req     Request // scratch: handlers and observers get pointers
	event   Event
	arrived time.Duration // the read that is answered
}

// A mark says where a reply lies in the write buffer.
type mark struct {
	seq        uint64 // 0 is an error text, which answers no request
	arrived    time.Duration
	start, end int // of the body
	last       int // behind the framing's ending
	secret     bool
}

func (o *writeBuffer) unsent() []byte { return o.buf[o.sent:] }

func (o *writeBuffer) flushed() bool { return o.sent == len(o.buf) && o.told == len(o.marks) }

func (o *writeBuffer) reset() {
	o.buf, o.marks = o.buf[:0], o.marks[:0]
	o.sent, o.replies, o.last, o.told, o.counted = 0, 0, 0, 0, 0
}

// open begins the conversation. What is told goes through e, unless it is nil: an event made for each of
// thousands of sessions would be garbage that stays resident while they are silent.
func (c *conversation) open(e *Event) {
	if p, ok := c.framing.(Protocol); ok {
		c.protocol = new(protocol)
		c.protocol.requests, c.protocol.replies = p.Open()
		c.protocol.asked, _ = c.protocol.requests.(Noter)
		c.protocol.answered, _ = c.protocol.replies.(Noter)
	}
	if c.tells(Opened) {
		c.tell(e, Event{Kind: Opened, Time: c.session.opened, Session: c.session})
	}
}

// requests and answers are the framings of the two directions.
func (c *conversation) requests() Framing {
	if c.protocol != nil {
		return c.protocol.requests
	}
	return c.framing
}

func (c *conversation) answers() Framing {
	if c.protocol != nil {
		return c.protocol.replies
	}
	return c.replies
}

// note is what is known of the request that was found last.
func (c *conversation) note() Note {
	if c.protocol == nil || c.protocol.asked == nil {
		return Note{}
	}
	return c.protocol.asked.Note()
}

// replyNote is what is known of the message that was made last.
func (c *conversation) replyNote() Note {
	if c.protocol == nil || c.protocol.answered == nil {
		return Note{}
	}
	return c.protocol.answered.Note()
}

// read notes that bytes, or the end of file, have come.
func (c *conversation) read(n int, now time.Time) {
	c.heard = c.heard || n > 0
	c.in += uint64(n)
	c.arrived, c.stopped = now, c.since(now)
}

// answer answers the whole requests at the start of in, which is all that is held,
// and reports how many bytes they took up. It stops when the write buffer is full. A handler
// that panics ends its own conversation only.
func (c *conversation) answer(by Handler, out *writeBuffer, in []byte, eof bool) (used int) {
	defer c.recoverHandler(out) // here rather than around each call: it costs a tenth of a small request
	out.req.Session, out.req.Time, out.arrived = c.session, c.arrived, c.since(c.arrived)
	if c.phase < over && c.session.evicted() {
		c.say(out, []byte(outOfMemoryText))
		c.finish(Memory, nil)
		return c.keepLoose(out, in, used)
	}
	turn := c.again != 0 && c.speakIfDue(by, out) // one request goes out with what is said, however much that is
	requests := c.requests()
	for c.phase < over {
		if !turn && c.isFull(out) {
			c.phase = needsRoom
			return used
		}
		rest := in[used:]
		n, body, err := requests.Next(rest, c.scanned, c.maxRequest, eof && !c.cutShort)
		switch {
		case err != nil && err == ErrStray: // nearly always it is nil
			c.leaveOut(out, in, used, n)
			used += n
			continue
		case err != nil || c.isTooLong(n, body, rest):
			c.refuseRequest(out, err)
			return c.keepLoose(out, in, used)
		case n == 0 && eof && turn && c.isFull(out): // what else there is to say now comes before it hangs up
			c.scanned, c.phase = len(rest), needsRoom
			return used
		case n == 0:
			c.scanned = len(rest)
			c.awaitMore(len(rest), eof)
			return c.keepLoose(out, in, used)
		}
		if len(body) == 0 && !c.keepBlank {
			c.finish(Blank, nil)
			return c.keepLoose(out, in, used)
		}
		c.scanned, c.begun, c.clock = 0, false, c.stopped
		used += n
		if c.gate != nil {
			out.asked.RawRequest = rawOf(rest[:n], body, c.in-uint64(len(rest)))
		}
		c.reply(by, out, body)
		turn = false
		if c.closesBehindReply {
			c.closeBehindReply(eof && used == len(in))
		}
		if c.speaks {
			c.speak(by, out)
		}
	}
	return c.keepLoose(out, in, used)
}

// isFull reports whether what is in the write buffer is to be written before more is put there.
func (c *conversation) isFull(out *writeBuffer) bool {
	return len(out.buf) >= c.maxUnsent && (out.replies > 0 || len(out.marks) > 0) || max(out.replies, len(out.marks), len(out.batch)) >= maxUnsentReplies
}

// closeBehindReply ends the conversation where that ends the reply: with nothing left to
// answer it is the peer that has closed.
func (c *conversation) closeBehindReply(atEnd bool) {
	reason := HangUp
	if atEnd {
		reason = EndOfFile
	}
	c.finish(reason, nil)
}

// refuseRequest ends the conversation for what cannot be a request.
func (c *conversation) refuseRequest(out *writeBuffer, why error) {
	if errors.Is(why, ErrMalformed) {
		c.say(out, fmt.Appendf(nil, "Error: %v", why))
		c.finish(Malformed, why)
		return
	}
	c.say(out, fmt.Appendf(nil, requestTooLongFmt, c.maxRequest))
	c.finish(TooLong, nil)
}

// leaveOut notes that n bytes of the input belong to no message.
func (c *conversation) leaveOut(out *writeBuffer, in []byte, used, n int) {
	stray := in[used : used+n]
	c.scanned, c.begun = 0, false // what seemed to begin a request was none
	if c.stray == 0 && c.tells(Stray) {
		out.event = Event{Kind: Stray, Time: c.arrived, Session: c.session, Body: stray, Stray: uint64(n)}
		c.observer.Observe(&out.event)
	}
	c.stray += uint64(n)
	c.keep(out, stray, c.in-uint64(len(in)-used))
}

// isTooLong reports whether the request that the framing found at the start of what is held is
// over the limit, or will be: some framings look at the limit themselves.
func (c *conversation) isTooLong(n int, body, held []byte) bool {
	return len(body) > c.maxRequest || n == 0 && len(held)-framingAllowance > c.maxRequest
}

// awaitMore is called when no whole request is left; held bytes of one may be.
func (c *conversation) awaitMore(held int, eof bool) {
	c.phase = needsInput
	switch {
	case eof && !c.heard:
		c.finish(NoRequest, nil)
	case eof && c.cutShort:
		c.finish(Truncated, ErrTruncated)
	case eof && held > 0:
		c.finish(Truncated, nil)
	case eof:
		c.finish(EndOfFile, nil)
	case c.draining:
		c.finish(Draining, nil)
	case held > 0 && !c.begun:
		c.begun, c.began = true, c.stopped
	}
}

// reply has one request answered into the write buffer. For a gate its raw bytes are there already.
func (c *conversation) reply(by Handler, out *writeBuffer, body []byte) {
	c.seq++
	note := c.note()
	out.req.Seq, out.req.Body, out.req.Secret = c.seq, body, note.Secret
	if c.tells(Received) {
		e := &out.event
		*e = Event{}
		e.Kind, e.Time, e.Session, e.Seq, e.Body, e.Secret = Received, out.req.Time, c.session, c.seq, body, out.req.Secret
		c.observer.Observe(e)
	}
	if c.gate != nil {
		c.keepRequest(out, body)
	}
	before := len(out.buf)
	framing := c.answers()
	buf := framing.Begin(out.buf)
	start := len(buf)
	c.asking = aReply
	answer, err := by.Reply(buf[start:], &out.req)
	c.asking = nothing
	if c.gate != nil { // which may have been asked about others meanwhile
		out.batch = append(out.batch, out.asked)
	}
	if c.phase == broken { // found out while the handler ran
		return
	}
	said := err
	hangUp := err != nil && (errors.Is(err, ErrHangUp) || errors.Is(err, ErrMismatch))
	noReply := err != nil && errors.Is(err, ErrNoReply)
	if err != nil && !hangUp && !noReply {
		c.finish(HandlerError, err)
		return
	}
	if c.silent || noReply || note.Alone {
		hangUp = hangUp || note.Last
	} else {
		buf = appendAnswer(buf, answer)
		end := len(buf)
		if buf, err = framing.End(buf, before); err != nil {
			c.finish(HandlerError, err)
			return
		}
		note = c.replyNote()
		hangUp = hangUp || note.Last
		out.buf = buf
		if out.replies == 0 {
			out.before = c.replied
		}
		out.replies++
		out.last = c.seq
		if c.marks {
			c.noteReply(out, before, start, end, note.Secret)
		}
	}
	if hangUp {
		c.finishIf(said, hangUp)
	}
}

// say puts an error text into the write buffer, if the framing can carry it.
func (c *conversation) say(out *writeBuffer, text []byte) {
	before := len(out.buf)
	framing := c.answers()
	start := before + len(framing.Begin(nil))
	out.buf = appendMessage(out.buf, framing, text)
	if len(out.buf) == before {
		return
	}
	start, end := c.bodyOf(out.buf, before, start, start+len(text))
	c.noteUnasked(out, c.arrived, before, start, end)
}

// greets reports whether greet is to be called.
func (c *conversation) greets() bool { return c.protocol != nil || c.speaks }

// greet puts what the handler says first into the write buffer, or the protocol's greeting if that
// is nothing.
func (c *conversation) greet(by Handler, out *writeBuffer) {
	defer c.recoverHandler(out)
	if c.speaks {
		c.speak(by, out)
	}
	greeter, ok := c.answers().(Greeter)
	if !ok || len(out.marks) > 0 || c.phase >= over {
		return
	}
	start := len(out.buf)
	if out.buf = greeter.Greet(out.buf); len(out.buf) > start {
		c.noteUnasked(out, c.session.opened, start, start, len(out.buf))
	}
}

// recoverHandler makes an error of a handler's panic. Whatever else panics is let through.
func (c *conversation) recoverHandler(out *writeBuffer) {
	if c.asking == nothing {
		return
	}
	if c.gate != nil && c.asking == aReply {
		out.batch = append(out.batch, out.asked)
	}
	c.asking = nothing
	if v := recover(); v != nil {
		c.finish(HandlerError, &PanicError{v, debug.Stack()})
	}
}

// appendAnswer puts answer behind buf; mostly it lies there already.
func appendAnswer(buf, answer []byte) []byte {
	n := len(buf)
	if len(answer) > 0 && cap(buf) > n && &answer[0] == &buf[: n+1 : n+1][n] {
		return buf[:n+len(answer)]
	}
	return append(buf, answer...)
}

// appendMessage appends body in its framing, and nothing if the framing cannot
// carry it.
func appendMessage(dst []byte, framing Framing, body []byte) []byte {
	start := len(dst)
	dst = append(framing.Begin(dst), body...)
	whole, err := framing.End(dst, start)
	if err != nil {
		return dst[:start]
	}
	return whole
}

// wrote notes that the socket took n bytes of the write buffer. It leaves the bytes
// there: a handler may be at work behind them. It reports whether taken is to be called.
func (c *conversation) wrote(out *writeBuffer, n int, now time.Time) (look bool) {
	out.sent += n
	c.out += uint64(n)
	at := c.since(now)
	base := c.out - uint64(out.sent) // what was written before this buffer
	end := base                      // where in all that was written the last reply that is told ends
	if out.told > 0 {
		end += uint64(out.marks[out.told-1].last)
	}
	if out.sent == len(out.buf) && c.out/milestoneEvery == end/milestoneEvery && !c.tells(Replied) && !c.tells(Unasked) {
		out.told = len(out.marks) // nobody wants to know of each
	}
	for out.told < len(out.marks) && out.marks[out.told].last <= out.sent {
		m := out.marks[out.told]
		out.told++
		before := end
		end = base + uint64(m.last)
		passed := end/milestoneEvery != before/milestoneEvery
		if passed {
			c.addMilestone(before)
			look = true
		}
		kind := Unasked
		if m.seq > 0 {
			kind, c.replied = Replied, m.seq
		}
		if passed {
			c.addMilestone(end)
		}
		if c.tells(kind) {
			e := &out.event
			*e = Event{}
			e.Kind, e.Time, e.Session, e.Seq, e.Body, e.Secret = kind, now, c.session, m.seq, out.buf[m.start:m.end], m.secret
			if kind == Replied {
				e.Took = at - m.arrived
			}
			c.observer.Observe(e)
		}
	}
	if len(out.marks) > 0 && c.out/milestoneEvery != end/milestoneEvery {
		c.addMilestone(end)
	}
	if out.sent == len(out.buf) {
		c.replied = max(c.replied, out.last)
		c.stalled = false
		if out.counted < out.replies && c.tells(Answered) {
			c.tellAnswered(out, at, now)
		}
		if c.clock += at - c.stopped; len(out.buf) > 0 || out.replies > 0 {
			c.clock = at
		}
		c.began += at - c.stopped
		c.stopped = at
		return look
	}
	if !c.stalled {
		c.stalled, c.stall, c.progress = true, at, at
	} else if n > 0 {
		c.progress = at
	}
	return look
}

// deadline says when expire is to be called; the zero time is never.
func (c *conversation) deadline() time.Time { return c.orNever(c.due()) }

// due is the deadline as a duration, 0 for never.
func (c *conversation) due() time.Duration {
	at, _ := c.limit()
	if c.wantsHint() && (at == 0 || c.began+unfinishedAfter < at) {
		at = c.began + unfinishedAfter
	}
	if c.again != 0 && !c.stalled && (at == 0 || c.again < at) {
		at = c.again
	}
	return at
}

// limit says when the clock that is running runs out, 0 for never, and what then.
func (c *conversation) limit() (time.Duration, CloseReason) {
	after := func(from, limit time.Duration) time.Duration {
		if limit <= 0 {
			return 0
		}
		return from + limit
	}
	switch {
	case c.stalled && c.writeTimeout <= 0:
		return 0, 0
	case c.stalled:
		return min(c.progress+c.writeTimeout, c.stall+unsentAge*c.writeTimeout), WriteTimeout
	case !c.heard:
		return after(c.clock, c.firstByteTimeout), FirstByteTimeout
	case c.begun:
		return after(c.began, c.requestTimeout), RequestTimeout
	default:
		return after(c.clock, c.idleTimeout), IdleTimeout
	}
}

// ranOut reports whether a clock has run out for which the conversation is to end.
func (c *conversation) ranOut(now time.Time) bool {
	limit, _ := c.limit()
	return limit != 0 && c.since(now) >= limit
}

// restartClocks is called after a time in which the process did not run. It counts for
// nobody: the peer may have had everything to say, and may need a moment itself. A clock begins
// anew once, or a loop whose handlers take long would keep its peers for ever.
func (c *conversation) restartClocks(now time.Time) (restarted bool) {
	running := c.clock
	switch {
	case c.stalled:
		running = c.stall
	case c.begun:
		running = c.began
	}
	if c.anew != 0 && running == c.anew {
		return false
	}
	c.anew = c.since(now)
	c.clock, c.began, c.stopped, c.stall, c.progress = c.anew, c.anew, c.anew, c.anew, c.anew
	return true
}

func (c *conversation) wantsHint() bool {
	return c.begun && !c.hinted && !c.stalled && c.tells(Unfinished)
}

// expire acts on a deadline that has come; one that has not is left alone. The
// bytes of the unfinished request are in.
func (c *conversation) expire(in []byte, now time.Time) {
	at := c.since(now)
	limit, reason := c.limit()
	switch {
	case limit != 0 && at >= limit && reason == WriteTimeout:
		c.fail(reason, nil)
	case limit != 0 && at >= limit:
		c.finish(reason, nil)
	case c.wantsHint() && at >= c.began+unfinishedAfter:
		c.hinted = true
		c.observer.Observe(&Event{Kind: Unfinished, Time: now, Session: c.session, Seq: c.seq + 1, Body: in})
	}
}

// drain ends the conversation once all that was read is answered.
func (c *conversation) drain() {
	c.draining = true
	if c.phase == needsInput {
		c.finish(Draining, nil)
	}
}

// hear tells of the whole requests at the start of in, which the peer had sent before it
// went: they are received, and nobody answers them. It reports how many bytes they took up.
// Behind what ends a conversation nothing is a request.
func (c *conversation) hear(out *writeBuffer, in []byte) (used int) {
	defer func() { used = c.keepLoose(out, in, used) }()
	for c.phase < over {
		rest := in[used:]
		if len(out.batch) >= maxUnsentReplies {
			c.ask(out, c.arrived) // is not waited for: there is no reply to hold back
		}
		n, body, err := c.requests().Next(rest, c.scanned, c.maxRequest, false)
		switch {
		case err == ErrStray:
			c.leaveOut(out, in, used, n)
			used += n
			continue
		case err != nil || c.isTooLong(n, body, rest), n > 0 && len(body) == 0 && !c.keepBlank:
			c.phase = over
			return used
		case n == 0:
			c.scanned = len(rest)
			return used
		}
		c.scanned = 0
		c.seq++
		note := c.note()
		if c.tells(Received) {
			out.event = Event{Kind: Received, Time: c.arrived, Session: c.session, Seq: c.seq, Body: body, Secret: note.Secret}
			c.observer.Observe(&out.event)
		}
		if c.gate != nil {
			out.batch = append(out.batch, Exchange{Seq: c.seq, Received: c.arrived, Request: nonNil(body),
				RawRequest: rawOf(rest[:n], body, c.in-uint64(len(rest))), Secret: note.Secret})
		}
		used += n
	}
	return used
}

// finish ends the conversation in good order: what it owes is still written.
func (c *conversation) finish(reason CloseReason, err error) {
	if c.phase < over {
		c.phase, c.reason, c.err = over, reason, err
	}
}

// fail ends the conversation at once, also while it is finishing.
func (c *conversation) fail(reason CloseReason, err error) {
	if c.phase < broken {
		c.phase, c.reason, c.err = broken, reason, err
		c.endContext()
	}
}

// broke ends the conversation for an error of its connection. Untaken is how many bytes of
// what was written the peer has not taken; with unread it is known that replies are among
// what it has not.
func (c *conversation) broke(err error, untaken int, unread bool) {
	reset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	isOnPurpose, _ := onPurpose(err)
	switch {
	case isOnPurpose:
		c.fail(Fault, err)
	case reset && !c.heard:
		c.fail(NoRequest, err)
	case reset && unread:
		c.fail(Reset, fmt.Errorf("%w: %w", ErrRepliesUnread, err))
	case reset:
		c.fail(Reset, err)
	case errors.Is(err, syscall.ETIMEDOUT) && untaken > 0: // TCP_USER_TIMEOUT
		c.fail(WriteTimeout, err)
	default:
		c.fail(IOError, err)
	}
}

// onPurpose reports whether an error of a connection is one that has been made for it, and whether
// the peer is to see a close in good order all the same.
func onPurpose(err error) (is, inOrder bool) {
	var ended interface{ OnPurpose() (inOrder bool) }
	if !errors.As(err, &ended) {
		return false, false
	}
	return true, ended.OnPurpose()
}

// tellAnswered tells of the replies in the write buffer that it was not told of before.
func (c *conversation) tellAnswered(out *writeBuffer, at time.Duration, now time.Time) {
	e := &out.event
	*e = Event{}
	e.Kind, e.Time, e.Session, e.Seq, e.Replied, e.Took = Answered, now, c.session, out.last, uint64(out.replies-out.counted), at-out.arrived
	c.observer.Observe(e)
	out.counted = out.replies
}

// tellProgress has whoever asks see how far the session has come, and whether it owes replies.
func (c *conversation) tellProgress(owes bool) {
	p := Progress{Requests: c.seq, In: c.in, Out: c.out}
	switch {
	case owes && c.silent:
		p.Waiting = 1
	case owes:
		p.Waiting = c.seq - c.replied
	}
	c.session.Advance(p)
}

// endContext lets a handler that is still at work know.
func (c *conversation) endContext() {
	if c.err != nil {
		c.session.end(c.err)
	} else {
		c.session.end(closedErrors[c.reason])
	}
}

// closedErrors and cutErrors are why the contexts of sessions end, by CloseReason, where
// there is no other error. They are made once: sessions end often.
var closedErrors, cutErrors = errorsOfReasons("parley: session closed: "), errorsOfReasons("parley: session cut: ")

func errorsOfReasons(prefix string) (errs [len(reasonNames)]error) {
	for reason := range errs {
		errs[reason] = errors.New(prefix + CloseReason(reason).String())
	}
	return errs
}

// close tells that the conversation is over, before the peer can see it, as open tells that it has begun.
func (c *conversation) close(e *Event, now time.Time) {
	c.endContext()
	if c.tells(Closed) {
		c.tell(e, Event{Kind: Closed, Time: now, Session: c.session, Seq: c.seq,
			Took: c.since(now), Replied: c.replied, In: c.in, Out: c.out, Reason: c.reason, Stray: c.stray, Err: c.err})
	} else if c.reason == HandlerError {
		c.logHandlerError()
	}
}

// tell tells of something through e, which holds nothing of it any longer; nil is an event of its own.
func (c *conversation) tell(e *Event, what Event) {
	if e == nil {
		e = new(Event)
	}
	*e = what
	c.observer.Observe(e)
	*e = Event{}
}

// logHandlerError logs what no Observer is told of. The logger escapes it.
func (c *conversation) logHandlerError() {
	about := []any{"session", c.session.number, "remote", string(c.session.remote.appendTo(nil)), "request", c.seq, "error", c.err}
	var panicked *PanicError
	if errors.As(c.err, &panicked) {
		about = append(about, "stack", string(panicked.Stack))
	}
	c.log.Error("parley: the handler failed", about...)
}

func (c *conversation) since(now time.Time) time.Duration { return now.Sub(c.session.opened) }

func (c *conversation) at(d time.Duration) time.Time { return c.session.opened.Add(d) }

// orNever is at, and the zero time for 0.
func (c *conversation) orNever(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return c.at(d)
}
