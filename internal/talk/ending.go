package talk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// hangUp says that nothing more will be sent, and waits for the server to close.
func (c *Conversation) hangUp(ctx context.Context) error {
	switch err := c.awaitClose(ctx, c.Timeout); {
	case err == nil:
		c.View.Closed("eof", "")
		return nil
	case ctx.Err() != nil:
		return c.cut(ctx)
	case errors.Is(err, errStillOpen):
		return c.lost("close_timeout", fmt.Sprintf("no end of file from the server within %v", c.Timeout),
			"%s did not close within %v of our end of file", c.Server, c.Timeout)
	default:
		return c.broken(err)
	}
}

// errStillOpen is that the server has not closed.
var errStillOpen = errors.New("the server has not closed")

// awaitClose half-closes and shows what the server still says. It returns nil for the
// server's end of file.
func (c *Conversation) awaitClose(ctx context.Context, patience time.Duration) error {
	if err := c.Client.CloseWrite(); err != nil {
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
			c.View.Message(h.body)
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
// messages could have gone on.
func (c *Conversation) lastWords(h heard) error {
	came := h.body
	for len(came) > 0 {
		n, body, err := c.Single.Next(came, 0, len(came), true)
		if n == 0 || err != nil {
			c.showUnfinished(came)
			return h.err
		}
		c.View.Message(body)
		came = came[n:]
	}
	if errors.Is(h.err, io.ErrUnexpectedEOF) || errors.Is(h.err, io.EOF) {
		return io.EOF
	}
	return h.err
}

// endAtBlank ends a conversation at the input's blank line.
func (c *Conversation) endAtBlank(ctx context.Context) error {
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
			case len(l.text) > 0:
				return &Error{false, fmt.Sprintf("ended at blank line %d with input left; --keep-blank sends blank lines", blank)}
			}
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serverLeft ends a conversation that the server ended at the prompt. In a pipe the
// input may have been at its end too: then nothing is lost, and all is well.
func (c *Conversation) serverLeft(ctx context.Context) error {
	if c.input.typed() {
		return c.lost("eof", "closed by the server", "%s closed the connection", c.Server)
	}
	select {
	case l := <-c.input.lines:
		c.input.asked = false
		c.View.Typed(l.text)
		switch {
		case l.err != nil:
			c.View.Closed("eof", "")
			return nil
		case len(l.text) == 0 && !c.KeepBlank:
			c.View.Closed("eof", "")
			return c.inputLeft(ctx, c.input.count)
		}
		return c.lost("eof", "closed by the server", "%s closed the connection; line %d of the input was not sent", c.Server, c.input.count)
	case <-time.After(c.Timeout):
		return c.lost("eof", "closed by the server", "%s closed the connection", c.Server)
	case <-ctx.Done():
		return ctx.Err()
	}
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
	c.showNotSent()
	c.View.Closed("not_sent", "not sent")
	return &Error{true, "the request was not sent: " + strings.TrimPrefix(err.Error(), "parley: ")}
}

// noReply explains why a reply did not come, or not the whole of it.
func (c *Conversation) noReply(h heard) error {
	lacks, advice := "", ""
	if len(h.body) > 0 {
		lacks, advice = c.showUnfinished(h.body)
	}
	switch {
	case errors.Is(h.err, context.Canceled) && lacks != "":
		if advice != "" {
			advice += ", "
		}
		return c.lost("reply_timeout", fmt.Sprintf("no whole reply within %v", c.Timeout),
			"the reply from %s is not whole after %v: %s; %s--timeout waits longer", c.Server, c.Timeout, lacks, advice)
	case errors.Is(h.err, context.Canceled):
		return c.lost("reply_timeout", fmt.Sprintf("no reply within %v", c.Timeout),
			"no reply from %s within %v; --timeout waits longer", c.Server, c.Timeout)
	case errors.Is(h.err, io.ErrUnexpectedEOF):
		return c.lost("truncated", "closed by the server inside its reply", "%s closed the connection inside its reply: %s",
			c.Server, withAdvice(lacks, advice))
	case errors.Is(h.err, io.EOF):
		return c.lost("no_reply", "closed by the server before it replied", "%s closed the connection before it replied", c.Server)
	case errors.Is(h.err, parley.ErrTooLong):
		return c.lost("too_long", "reply too long", "the reply from %s is longer than 16 MiB; is --framing right?", c.Server)
	}
	return c.broken(h.err)
}

// showUnfinished shows what came of a reply.
func (c *Conversation) showUnfinished(came []byte) (lacks, advice string) {
	if len(came) == 0 {
		return "", ""
	}
	lacks, advice = c.Lacks(came)
	c.View.Unfinished(came, withAdvice(lacks, advice))
	return lacks, advice
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
	switch reason {
	case "truncated":
		return c.lost(reason, why, "%s closed the connection inside a message", c.Server)
	case "too_long":
		return c.lost(reason, why, "a message from %s is longer than 16 MiB; is --framing right?", c.Server)
	}
	return c.lost(reason, why, "the connection to %s broke: %s", c.Server, why)
}

// howBroken says what an error of the connection is, for programs and in words.
func howBroken(err error) (reason, why string) {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated", "closed by the server inside a message"
	case errors.Is(err, parley.ErrTooLong):
		return "too_long", "message too long"
	case dial.KindOf(err) == dial.Reset:
		return "reset", dial.Reason(err)
	}
	return "io_error", dial.Reason(err)
}

// lost ends the conversation as not in order.
func (c *Conversation) lost(reason, why, format string, args ...any) error {
	c.showNotSent()
	c.View.Closed(reason, why)
	return &Error{false, fmt.Sprintf(format, args...)}
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
	if typed := c.input.take(); len(typed) > 0 {
		c.View.NotSent(typed)
	}
}
