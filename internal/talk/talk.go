// Package talk is a client's side of a conversation, typed or piped: it sends what is
// typed, has each request answered, shows what the server says unasked, and says how it
// all ended.
package talk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// A View shows what happens, in order. What it is given is valid during the call.
type View interface {
	Connected(server string)
	Prompt()                                   // a line is awaited
	Typed(line []byte)                         // it is there; nil at the end of the input
	Sending(request []byte)                    // it is about to be sent
	Response(reply []byte, took time.Duration) // its reply was read
	Message(body []byte)                       // the server said something unasked
	Unfinished(came []byte, lacks string)      // of a reply only this came, with its framing; what it lacks
	NotSent(typed []byte)                      // typed, and not sent any more
	Closed(reason, why string)                 // as JSON and as the narrative name it; why is "" for an orderly close
	Err() error                                // the first error of the output
}

// A Conversation is the client's side of one. All fields but KeepBlank are required.
// Lines or Once is called once, and closes the client.
type Conversation struct {
	Client    *parley.Client
	Server    string // what errors call it
	View      View
	Timeout   time.Duration // for the server to take a request, to reply to it, and to close after our end of file
	KeepBlank bool          // send a blank line instead of ending there

	// Single is the framing of one message, of which the client's own may take several
	// for a reply.
	Single parley.Framing

	// Lacks says what the beginning of a reply, with its framing, lacks to be whole, and
	// what would make it so; advice may be "".
	Lacks func(came []byte) (lacks, advice string)

	heard     chan heard
	interrupt context.CancelFunc // of what listens to the server
	input     *input             // nil if nothing is read
}

// An Error says why a conversation did not end in good order.
type Error struct {
	Local bool // the reason is on this side: it is not the network's doing, nor the server's
	text  string
}

func (e *Error) Error() string { return e.text }

// doneWithin is how long is waited for what no longer matters to the conversation: the
// end of file of a server whose reply has come, and the rest of an input that ended at a
// blank line.
const doneWithin = time.Second

// Once has one request answered; an empty one, unless KeepBlank, is not sent. With its
// reply all is done, whether or not the server closes.
func (c *Conversation) Once(ctx context.Context, request []byte) error {
	c.begin()
	defer c.end()
	if len(request) == 0 && !c.KeepBlank {
		return c.hangUp(ctx)
	}
	if err := c.exchange(ctx, request); err != nil {
		return err
	}
	switch err := c.awaitClose(ctx, min(doneWithin, c.Timeout)); {
	case err == nil:
		c.View.Closed("eof", "")
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errStillOpen):
		c.View.Closed("close_timeout", "not by the server")
	default:
		c.View.Closed(howBroken(err))
	}
	return nil
}

// Lines has each line of the input answered, until a blank one or the end. At a *Terminal
// what was typed and not sent is shown and taken away, so that it is not left to who
// reads the terminal next; what is typed behind the end is for that one. If the output is
// a broken pipe it returns that error.
func (c *Conversation) Lines(ctx context.Context, in io.Reader) error {
	c.begin()
	defer c.end()
	c.input = readInput(in)
	defer c.input.end()
	for {
		c.View.Prompt()
		line, left, err := c.nextLine(ctx)
		if err != nil {
			return err
		}
		if left {
			return c.serverLeft(ctx)
		}
		c.View.Typed(line.text)
		switch {
		case line.err != nil:
			c.input.over = true
			return c.hangUp(ctx)
		case len(line.text) == 0 && !c.KeepBlank:
			c.input.over = true
			return c.endAtBlank(ctx)
		}
		if err := c.exchange(ctx, line.text); err != nil {
			return err
		}
	}
}

// heard is a message from the server, or how it ended and what came of a next one.
type heard struct {
	body []byte
	err  error
}

// begin starts to listen, so that what the server says unasked is seen at once.
func (c *Conversation) begin() {
	c.View.Connected(c.Server)
	c.listen()
}

func (c *Conversation) listen() {
	heardNow := make(chan heard)
	ctx, cancel := context.WithCancel(context.Background())
	c.heard, c.interrupt = heardNow, cancel
	go func() {
		defer close(heardNow)
		for {
			body, err := c.Client.Receive(ctx)
			if err != nil {
				heardNow <- heard{bytes.Clone(c.Client.Unfinished()), err}
				return
			}
			heardNow <- heard{bytes.Clone(body), nil}
		}
	}()
}

// interrupted stops to listen. It returns the first message that came at the last moment,
// or what has come of one.
func (c *Conversation) interrupted() heard {
	c.interrupt()
	return <-c.heard
}

// listenOn listens again after an interruption.
func (c *Conversation) listenOn() {
	for h := range c.heard {
		if h.err == nil {
			c.View.Message(h.body)
		}
	}
	c.listen()
}

// end closes the connection and waits for what listens.
func (c *Conversation) end() {
	c.interrupt()
	c.Client.Close()
	for range c.heard {
	}
}

// nextLine waits for a line of the input. Meanwhile the server may speak, or leave; and so
// may who reads the output, for whom alone it would go on.
func (c *Conversation) nextLine(ctx context.Context) (l line, left bool, err error) {
	c.input.ask()
	for {
		if err := c.View.Err(); errors.Is(err, syscall.EPIPE) {
			return line{}, false, err
		}
		select {
		case l := <-c.input.lines:
			c.input.asked = false
			if l.err != nil && l.err != io.EOF {
				c.View.Closed("input_error", "the input cannot be read")
				return l, false, &Error{true, "cannot read the input: " + dial.Reason(l.err)}
			}
			return l, false, nil
		case h := <-c.heard:
			if h.err == nil {
				c.View.Message(h.body)
				c.View.Prompt()
				continue
			}
			if err := c.lastWords(h); err != io.EOF {
				return line{}, false, c.broken(err)
			}
			return line{}, true, nil
		case <-ctx.Done():
			return line{}, false, c.cut(ctx)
		}
	}
}

// exchange sends a request and waits for its reply.
func (c *Conversation) exchange(ctx context.Context, request []byte) error {
	if err := c.showUnasked(); err != nil {
		return err
	}
	c.View.Sending(request)
	limit, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	begin := time.Now()
	if err := c.Client.Send(limit, request); err != nil {
		return c.unsent(ctx, limit, err)
	}
	var h heard
	select {
	case h = <-c.heard:
	case <-limit.Done():
		if h = c.interrupted(); h.err == nil {
			defer c.listenOn() // it was just in time
		}
	}
	switch {
	case h.err == nil:
		c.View.Response(h.body, time.Since(begin))
		return nil
	case ctx.Err() != nil:
		c.showUnfinished(h.body)
		return c.cut(ctx)
	}
	return c.noReply(h)
}

// showUnasked shows what is there before a request is sent: it cannot be its reply.
func (c *Conversation) showUnasked() error {
	for {
		select {
		case h := <-c.heard:
			if h.err != nil {
				return c.noReply(h)
			}
			c.View.Message(h.body)
		default:
			return nil
		}
	}
}
