package parley

import (
	"errors"
	"time"
)

// What a Speaker says: a conversation asks it when it greets, behind each reply and at a deadline
// like those of its clocks.

// isToSpeak reports whether it has come to a time that the handler has named.
func (c *conversation) isToSpeak(at time.Duration) bool {
	return at != 0 && !c.draining && c.since(c.now()) >= at
}

// speakIfDue asks the handler what it has to say if its time has come, and reports whether it had.
// Until then the peer was listened to.
func (c *conversation) speakIfDue(by Handler, out *writeBuffer) bool {
	if c.phase >= over || !c.isToSpeak(c.again) {
		return false
	}
	c.stopped = max(c.stopped, c.since(c.now()))
	c.speak(by, out)
	return true
}

// speak asks the handler what it has to say until that is nothing, or there is no room for more:
// then it is to be asked again at once.
func (c *conversation) speak(by Handler, out *writeBuffer) {
	for c.phase < over {
		if c.isFull(out) {
			c.again = max(1, c.since(c.now()))
			return
		}
		if !c.sayOne(by.(Speaker), out) {
			return
		}
	}
}

// sayOne has one message said, and reports whether there was one.
func (c *conversation) sayOne(by Speaker, out *writeBuffer) bool {
	before := len(out.buf)
	framing := c.answers()
	buf := framing.Begin(out.buf)
	start, now := len(buf), c.now()
	c.asking = aWord
	message, again, err := by.Speak(nonNil(buf[start:]), c.session, now) // what it appends to nil might be nil
	c.asking = nothing
	if c.again = 0; !again.IsZero() {
		c.again = max(1, c.since(again))
	}
	if c.phase == broken { // found out meanwhile
		return false
	}
	said := err
	hangUp := err != nil && (errors.Is(err, ErrHangUp) || errors.Is(err, ErrMismatch))
	if err != nil && !hangUp {
		c.finish(HandlerError, err)
		return false
	}
	if message != nil {
		buf = appendAnswer(buf, message)
		end := len(buf)
		if buf, err = framing.End(buf, before); err != nil {
			c.finish(HandlerError, err)
			return false
		}
		hangUp = hangUp || c.replyNote().Last
		out.buf = buf
		start, end = c.bodyOf(buf, before, start, end)
		c.noteUnasked(out, now, before, start, end)
	}
	c.finishIf(said, hangUp)
	return message != nil
}

// finishIf ends the conversation for what a handler said beside its message: an error that is
// ErrMismatch, or that this was the last one.
func (c *conversation) finishIf(said error, hangUp bool) {
	switch {
	case said != nil && errors.Is(said, ErrMismatch):
		c.finish(Mismatch, said)
	case hangUp:
		c.finish(HangUp, nil)
	}
}
