package talk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
)

// hangUp says that nothing more will be sent, and waits for the server to close.
func (c *Conversation) hangUp(ctx context.Context) error {
	if c.silent() {
		return c.done(ctx) // it may well never look
	}
	switch err := c.awaitClose(ctx, c.Timeout); {
	case err == nil:
		c.closed()
		return c.inStep()
	case ctx.Err() != nil:
		return c.cut(ctx)
	case errors.Is(err, errStillOpen):
		return c.lost("close_timeout", fmt.Sprintf("no end of file from the server within %v", c.Timeout),
			"%s did not close within %v of our end of file", c.Server, c.Timeout)
	default:
		return c.broken(err)
	}
}

// done ends a conversation in which nothing is awaited any more, but for a moment the end of file.
func (c *Conversation) done(ctx context.Context) error {
	switch err := c.awaitClose(ctx, min(doneWithin, c.Timeout)); {
	case err == nil:
		c.closed()
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errStillOpen):
		c.View.Closed("close_timeout", "not by the server")
	case c.silent():
		return c.broken(err) // what was sent last may not have been taken
	default:
		c.View.Closed(howBroken(err))
	}
	return c.inStep()
}

// inStep is an error if the server said more than it was asked for: then any of it may have been
// taken for the reply to another request.
func (c *Conversation) inStep() error {
	if c.surplus == 0 || c.Surplus == nil {
		return nil
	}
	count := "one message"
	if c.surplus > 1 {
		count = fmt.Sprintf("%d messages", c.surplus)
	}
	return &Error{Surplus: true, text: count + " more than requests: " + c.Surplus(c.surplus)}
}

// errStillOpen is that the server has not closed.
var errStillOpen = errors.New("the server has not closed")

// awaitClose half-closes and shows what the server still says. It returns nil for the
// server's end of file.
func (c *Conversation) awaitClose(ctx context.Context, patience time.Duration) error {
	if err := c.closeWrite(); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var h heard
		select {
		case h = <-c.heard:
		case <-limit.Done():
			h = c.interrupted()
		}
		if h.err == nil {
			c.showMessage(h)
			continue
		}
		switch err := c.lastWords(h); {
		case err == io.EOF:
			return nil
		case errors.Is(err, context.Canceled):
			return errStillOpen
		default:
			return err
		}
	}
}

// lastWords shows what came behind the last message when no reply is owed: it is no
// beginning of one. It returns io.EOF for an orderly close, also if a reply of several
// messages could have gone on. An end that TLS has not announced is none: what it ends is no
// message.
func (c *Conversation) lastWords(h heard) error {
	came, isCutShort := h.body, errors.Is(h.err, parley.ErrTruncated)
	for len(came) > 0 {
		n, body, err := 0, []byte(nil), error(nil)
		if c.Single != nil {
			n, body, err = c.Single.Next(came, 0, len(came), !isCutShort)
		}
		if n == 0 || err != nil {
			c.showUnfinished(came, c.Lacks)
			return h.err
		}
		c.showMessage(heard{body: body})
		came = came[n:]
	}
	c.cutShort = isCutShort
	if errors.Is(h.err, io.ErrUnexpectedEOF) || errors.Is(h.err, io.EOF) {
		return io.EOF
	}
	return h.err
}

// closeNotify is said of an end of file that TLS has not announced: anybody on the way may have made it,
// but nothing is missing that is known of.
const closeNotify = ", without TLS's close_notify"

// closed shows that the server has closed with nothing owed.
func (c *Conversation) closed() {
	if c.cutShort {
		c.View.Closed("truncated", "closed by the server"+closeNotify)
	} else {
		c.View.Closed("eof", "")
	}
}

// endOfInput ends a conversation at the end of the input.
func (c *Conversation) endOfInput(ctx context.Context) error {
	c.input.over = true
	c.showNotSent()
	if c.unfinished != nil {
		c.View.Closed("not_sent", "not sent")
		return &Error{Local: true, text: fmt.Sprintf("the input ended inside a request, which was not sent: more lines belong to %s", quoted(c.shownTyped(c.unfinished)))}
	}
	return c.hangUp(ctx)
}

// quoted is the first line of a request.
func quoted(request []byte) string {
	const enough = 60
	line, _, _ := bytes.Cut(request, []byte("\n"))
	if len(line) > enough {
		return fmt.Sprintf("%q…", line[:enough])
	}
	return strconv.Quote(string(line))
}

// endAtBlank ends a conversation at the input's blank line.
func (c *Conversation) endAtBlank(ctx context.Context, line []byte) error {
	c.View.Typed(dialect.Message{Body: line})
	c.input.over = true
	c.showNotSent()
	blank := c.input.count
	if err := c.hangUp(ctx); err != nil || c.input.typed() {
		return err
	}
	return c.inputLeft(ctx, blank)
}

// inputLeft looks for input behind a blank line, for as long as it may be on its way:
// nobody types there in a pipe, it was meant to be sent.
func (c *Conversation) inputLeft(ctx context.Context, blank int) error {
	enough := time.After(doneWithin)
	for {
		c.input.ask()
		select {
		case l := <-c.input.lines:
			c.input.asked = false
			switch {
			case l.err != nil:
				return nil
			case len(bytes.Trim(l.text, "\r\n")) > 0:
				return c.leftBehindBlank(blank)
			}
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (*Conversation) leftBehindBlank(blank int) error {
	return &Error{text: fmt.Sprintf("ended at blank line %d with input left; --keep-blank sends blank lines", blank)}
}

// endAfterOne ends a conversation whose only request has been answered. Input that is left in a
// pipe was meant to be sent.
func (c *Conversation) endAfterOne(ctx context.Context) error {
	why := fmt.Sprintf("with --framing %s a connection has one request", c.Framing.Name)
	if c.input.typed() {
		if left := c.takeTyped(); len(left) > 0 {
			c.View.NotSent(left, "")
			return c.lost("one_request", "one request a connection", "what was typed behind the first line was not sent: %s", why)
		}
		return c.done(ctx)
	}
	c.prompt()
	c.input.ask()
	select {
	case l := <-c.input.lines:
		c.input.asked = false
		c.View.Typed(dialect.Message{Body: l.text})
		switch {
		case l.err != nil:
			return c.done(ctx)
		case c.isBlank(l.text):
			return cmp.Or(c.done(ctx), c.inputLeft(ctx, c.input.count))
		}
		return c.lost("one_request", "one request a connection", "line %d of the input was not sent: %s", c.input.count, why)
	case <-time.After(c.Timeout):
		return c.done(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serverLeft ends a conversation that the server ended at the prompt. In a pipe the
// input may have been at its end too: then nothing is lost, and all is well.
func (c *Conversation) serverLeft(ctx context.Context) error {
	if c.Reconnect {
		return c.leftForNow(ctx)
	}
	if c.input.typed() {
		if left := c.takeTyped(); len(left) > 0 {
			c.View.NotSent(left, "")
		} else if c.last {
			c.closed()
			return c.inStep()
		}
		err := c.left("%s closed the connection", c.Server)
		err.Told = true
		return err
	}
	select {
	case l := <-c.input.lines:
		c.input.asked = false
		return c.leftAt(ctx, l)
	case <-time.After(c.Timeout):
		return c.left("%s closed the connection", c.Server)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leftAt ends a conversation that the server ended before these lines, or the end, of a pipe.
func (c *Conversation) leftAt(ctx context.Context, l line) error {
	first, behind, _ := bytes.Cut(l.text, []byte("\n"))
	first = bytes.TrimSuffix(first, []byte("\r"))
	c.View.Typed(dialect.Message{Body: first})
	switch {
	case l.err != nil && c.unfinished != nil:
		return c.endOfInput(ctx)
	case l.err != nil:
		c.closed()
		return c.inStep()
	case c.isBlank(first):
		c.closed()
		if len(bytes.Trim(behind, "\r\n")) > 0 {
			return c.leftBehindBlank(c.input.count)
		}
		return cmp.Or(c.inputLeft(ctx, c.input.count), c.inStep())
	}
	return c.left("%s closed the connection; line %d of the input was not sent", c.Server, c.input.count)
}

// leftForNow ends a connection that the server ended at the prompt, unless the input is at its end too.
func (c *Conversation) leftForNow(ctx context.Context) error {
	if over, err := c.pause(ctx, firstPause); err != nil {
		return err
	} else if over {
		c.View.Typed(dialect.Message{})
		c.closed()
		return c.inStep()
	}
	return c.left("%s closed the connection", c.Server)
}

// unsent explains why a request could not be sent.
func (c *Conversation) unsent(ctx, limit context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return c.cut(ctx)
	case limit.Err() != nil:
		return c.lost("write_timeout", "the server does not read", "%s took no more of the request within %v", c.Server, c.Timeout)
	case dial.KindOf(err) == dial.Reset, errors.Is(err, io.EOF):
		return c.broken(err)
	}
	return c.notSent(err)
}

// notFramed explains why a request could not be made of what was typed.
func (c *Conversation) notFramed(err error) error {
	var bad *escapeError
	switch {
	case errors.As(err, &bad) && c.input != nil:
		return c.notSent(fmt.Errorf("line %d of the input, %w", c.input.count, err))
	case errors.As(err, &bad):
		return c.notSent(err)
	case errors.Is(err, parley.ErrUnfinished):
		return c.notSent(fmt.Errorf("%w; send them behind it, typed or from a pipe", err))
	}
	err = fmt.Errorf("this framing cannot carry the request: %w", err)
	if c.input != nil {
		err = fmt.Errorf("line %d of the input: %w", c.input.count, err)
	}
	return c.notSent(err)
}

func (c *Conversation) notSent(err error) error {
	c.showNotSent()
	c.View.Closed("not_sent", "not sent")
	return &Error{Local: true, text: "the request was not sent: " + inWords(err)}
}

// inWords is an error without where it came from.
func inWords(err error) string { return strings.TrimPrefix(err.Error(), "parley: ") }

// left is the error of a server that has closed before all was sent.
func (c *Conversation) left(format string, args ...any) *Error {
	if c.cutShort {
		return c.lost("truncated", "closed by the server"+closeNotify, format, args...)
	}
	return c.lost("eof", "closed by the server", format, args...)
}

// noReply explains why a reply did not come, or not the whole of it.
func (c *Conversation) noReply(h heard) error {
	return c.notWhole(h, "reply", "before it replied", c.Lacks)
}

// notWhole explains why what the server was to say, a reply or its greeting, did not come, or not
// the whole of it.
func (c *Conversation) notWhole(h heard, what, before string, lacking func([]byte) (lacks, advice string)) error {
	lacks, advice := c.showUnfinished(h.body, lacking)
	if lacks != "" {
		lacks += ": " + excerpt(h.body)
	}
	switch {
	case errors.Is(h.err, context.Canceled) && lacks != "":
		if advice != "" {
			advice += ", "
		}
		return c.lost("reply_timeout", fmt.Sprintf("no whole %s within %v", what, c.Timeout),
			"the %s from %s is not whole after %v: %s; %s--timeout waits longer", what, c.Server, c.Timeout, lacks, advice)
	case errors.Is(h.err, context.Canceled):
		return c.lost("reply_timeout", fmt.Sprintf("no %s within %v", what, c.Timeout),
			"no %s from %s within %v; --timeout waits longer", what, c.Server, c.Timeout)
	case errors.Is(h.err, parley.ErrTruncated):
		where := before
		if lacks != "" {
			where = "inside its " + what
			lacks = ": " + withAdvice(lacks, advice)
		}
		return c.lost("truncated", "closed by the server "+where+closeNotify, "%s closed the connection %s%s%s", c.Server, where, closeNotify, lacks)
	case errors.Is(h.err, io.ErrUnexpectedEOF):
		return c.lost("truncated", "closed by the server inside its "+what, "%s closed the connection inside its %s: %s",
			c.Server, what, withAdvice(lacks, advice))
	case errors.Is(h.err, io.EOF):
		return c.lost("no_reply", "closed by the server "+before, "%s closed the connection %s", c.Server, before)
	case errors.Is(h.err, parley.ErrTooLong):
		return c.lost("too_long", what+" too long", "the %s from %s is longer than 16 MiB; is --framing right?", what, c.Server)
	}
	return c.broken(h.err)
}

// showUnfinished shows what came of a message that was awaited.
func (c *Conversation) showUnfinished(came []byte, lacking func([]byte) (lacks, advice string)) (lacks, advice string) {
	if len(came) == 0 {
		return "", ""
	}
	lacks, advice = lacking(came)
	c.View.Unfinished(came, withAdvice(lacks, advice))
	return lacks, advice
}

// excerpt is the beginning of what came, as an error shows it.
func excerpt(came []byte) string {
	const most = 256
	if len(came) > most {
		return string(came[:most]) + "…"
	}
	return string(came)
}

func withAdvice(lacks, advice string) string {
	if advice == "" {
		return lacks
	}
	return lacks + "; " + advice
}

// broken explains an error of the connection.
func (c *Conversation) broken(err error) error {
	reason, why := howBroken(err)
	switch {
	case errors.Is(err, parley.ErrTruncated):
		return c.lost(reason, why, "%s: %s", c.Server, dial.Reason(err))
	case reason == "truncated":
		return c.lost(reason, why, "%s closed the connection inside a message", c.Server)
	case reason == "malformed":
		return c.lost(reason, why, "%s sent what is no message: %s; is --framing right?", c.Server, why)
	case reason == "too_long":
		return c.lost(reason, why, "a message from %s is longer than 16 MiB; is --framing right?", c.Server)
	}
	return c.lost(reason, why, "the connection to %s broke: %s", c.Server, why)
}

// howBroken says what an error of the connection is, for programs and in words.
func howBroken(err error) (reason, why string) {
	switch {
	case errors.Is(err, parley.ErrTruncated):
		return "truncated", "end of file without TLS's close_notify"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated", "closed by the server inside a message"
	case errors.Is(err, parley.ErrTooLong):
		return "too_long", "message too long"
	case errors.Is(err, parley.ErrMalformed):
		return "malformed", dial.Reason(err)
	case dial.KindOf(err) == dial.Reset:
		return "reset", dial.Reason(err)
	}
	return "io_error", dial.Reason(err)
}

// lost ends the connection as not in order, and the conversation unless another follows.
func (c *Conversation) lost(reason, why, format string, args ...any) *Error {
	if !c.Reconnect || !c.goesOn() {
		c.showNotSent()
	}
	c.View.Closed(reason, why)
	return &Error{lost: true, text: fmt.Sprintf(format, args...) + c.stillOwed()}
}

// stillOwed says which requests wait for their replies, where that may be several.
func (c *Conversation) stillOwed() string {
	switch first := c.sent - c.owed + 1; {
	case !c.pipelined() || c.owed == 0:
		return ""
	case c.owed == 1:
		return fmt.Sprintf("; request %d was owed its reply", first)
	default:
		return fmt.Sprintf("; %d requests were owed their replies, the first of them request %d", c.owed, first)
	}
}

// cut ends the conversation because its context has ended.
func (c *Conversation) cut(ctx context.Context) error {
	c.showNotSent()
	return ctx.Err()
}

// showNotSent takes what was typed and not sent from the terminal: the shell behind would
// take it for a command.
func (c *Conversation) showNotSent() {
	if c.input == nil {
		return
	}
	if typed := c.takeTyped(); len(typed) > 0 {
		c.View.NotSent(typed, "")
	}
}

// takeTyped takes what was typed and not sent, to be shown.
func (c *Conversation) takeTyped() []byte {
	return c.shownTyped(c.input.take())
}

// shownTyped is what may be shown of what was typed.
func (c *Conversation) shownTyped(typed []byte) []byte {
	if c.secret && len(typed) > 0 {
		return []byte("(secret)")
	}
	return typed
}
