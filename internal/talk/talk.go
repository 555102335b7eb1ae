// Package talk is a client's side of a conversation, typed or piped: it sends what is
// typed, has each request answered, shows what the server says unasked, and says how it
// all ended.
package talk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A View shows what happens, in order. What it is given is valid during the call.
type View interface {
	Connected(server string)
	Prompt()                                            // a line is awaited
	PromptMore()                                        // another line of the same request
	Typed(line dialect.Message)                         // it is there; its Body is nil at the end of the input
	Sending(request dialect.Message)                    // it is about to be sent
	Response(reply dialect.Message, took time.Duration) // its reply was read
	Message(m dialect.Message)                          // the server said something unasked
	Unfinished(came []byte, lacks string)               // of a reply only this came, with its framing; what it lacks
	NotSent(typed []byte, why string)                   // typed, and not sent any more, or, if it says why, never
	Closed(reason, why string)                          // as JSON and as the narrative name it; why is "" for an orderly close
	Together(show func())                               // what show shows is written at once
	Err() error                                         // the first error of the output
}

// A Conversation is the client's side of one. Fields are required unless they say what they are
// if left out. Lines or Once is called once, and closes the connection.
type Conversation struct {
	Conn      net.Conn
	Server    string          // what errors call it
	Framing   dialect.Framing // of requests and replies
	View      View
	Timeout   time.Duration // for the server to greet, to take a request, to reply to it, and to close after our end of file
	KeepBlank bool          // send a blank line instead of ending there

	// Single is the framing of one message from the server, of which Framing may take several for
	// a reply; where there are no replies, of what it says anyway. Nil for a protocol.
	Single parley.Framing

	// Greeting is the framing of what the server says before anything is sent to it. If its
	// Requests are nil, nothing is waited for but the greeting that a protocol has itself.
	Greeting dialect.Framing

	// Lacks says what the beginning of a reply, with its framing, lacks to be whole, and
	// what would make it so; advice may be "". GreetingLacks says that of a greeting.
	Lacks, GreetingLacks func(came []byte) (lacks, advice string)

	// Surplus says what n messages more than requests may come from. If nil, they are no fault.
	Surplus func(n int) (advice string)

	client     *parley.Client // of replies: requests are framed here, since it is shown what is sent
	requests   parley.Framing
	heard      chan heard
	interrupt  context.CancelFunc // of what listens to the server
	halfClosed bool               // our end of file is out
	cutShort   bool               // the server's end of file is one that TLS has not announced
	last       bool               // the connection is to end behind what was said last
	asked      bool               // a request was sent that is replied to
	surplus    int                // messages since that were no reply
	unfinished []byte             // the lines so far of a request that wants more
	input      *input             // nil if nothing is read
}

// An Error says why a conversation did not end in good order.
type Error struct {
	Local   bool // the reason is on this side: it is not the network's doing, nor the server's
	Surplus bool // there were more messages than requests: replies may have been taken for others
	text    string
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
	if err := c.awaitGreeting(ctx); err != nil {
		return err
	}
	if len(request) == 0 && !c.KeepBlank {
		return c.hangUp(ctx)
	}
	framed, err := c.frame(request)
	if err != nil {
		return c.notFramed(err)
	}
	if err := c.exchange(ctx, framed); err != nil {
		return err
	}
	return c.done(ctx)
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
	if err := c.awaitGreeting(ctx); err != nil {
		return err
	}
	if c.silent() && !c.oneRequest() && !c.input.typed() {
		return c.pour(ctx)
	}
	for {
		c.prompt()
		line, left, err := c.nextLine(ctx)
		switch {
		case err != nil:
			return err
		case left:
			return c.serverLeft(ctx)
		case line.err != nil:
			c.View.Typed(dialect.Message{})
			return c.endOfInput(ctx)
		case c.isBlank(line.text):
			c.View.Typed(dialect.Message{Body: line.text})
			c.input.over = true
			return c.endAtBlank(ctx)
		}
		request, whole, err := c.typed(line.text)
		switch {
		case err != nil && c.input.typed(): // who typed it can type it again
			c.View.NotSent(line.text, inWords(err))
			continue
		case err != nil:
			return c.notFramed(err)
		case !whole:
			continue
		}
		if err := c.exchange(ctx, request); err != nil {
			return err
		}
		if c.oneRequest() {
			return c.endAfterOne(ctx)
		}
	}
}

// pour sends the lines of a pipe as fast as they are taken, since nobody replies to them: those
// that are there together in one write.
func (c *Conversation) pour(ctx context.Context) error {
	c.input.blocks.Store(true)
	c.prompt()
	for {
		block, left, err := c.nextLine(ctx)
		switch {
		case err != nil:
			return err
		case left:
			return c.serverLeft(ctx)
		case block.err != nil:
			c.View.Typed(dialect.Message{})
			return c.endOfInput(ctx)
		}
		var wire, rest []byte
		blank := false
		c.View.Together(func() { wire, rest, blank, err = c.frameLines(block.text) })
		limit, cancel := context.WithTimeout(ctx, c.Timeout)
		sendErr := c.client.Send(limit, wire)
		if sendErr != nil {
			sendErr = c.unsent(ctx, limit, sendErr)
		}
		cancel()
		switch {
		case sendErr != nil:
			return sendErr
		case err != nil:
			return c.notFramed(err)
		case blank && len(bytes.Trim(rest, "\r\n")) > 0:
			return cmp.Or(c.hangUp(ctx), c.leftBehindBlank(c.input.count))
		case blank:
			c.input.over = true
			return c.endAtBlank(ctx)
		}
	}
}

// frameLines frames the lines of a block, and shows them. It ends behind a blank one, or before
// one that cannot be framed.
func (c *Conversation) frameLines(block []byte) (wire, rest []byte, blank bool, err error) {
	c.input.count-- // it counted the block
	for more := true; more; {
		var line []byte
		line, block, more = bytes.Cut(block, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		c.input.count++
		if c.isBlank(line) {
			c.View.Typed(dialect.Message{Body: line})
			return wire, block, true, nil
		}
		request, whole, err := c.typed(line)
		if err != nil {
			return wire, block, false, err
		}
		if whole {
			c.View.Sending(request.shown)
			wire = append(wire, request.wire...)
		}
		c.prompt()
	}
	return wire, nil, false, nil
}

// silent says whether the server replies to nothing.
func (c *Conversation) silent() bool { return c.Framing.OfReplies() == parley.NoReplies }

// oneRequest says whether a connection has one request only, since its end, or that of its reply,
// is that of the connection.
func (c *Conversation) oneRequest() bool {
	return c.Framing.Requests == parley.UntilClose || c.Framing.OfReplies() == parley.UntilClose
}

// isBlank says whether a line ends the conversation. Within a request it does not.
func (c *Conversation) isBlank(line []byte) bool {
	return len(line) == 0 && !c.KeepBlank && c.unfinished == nil
}

func (c *Conversation) prompt() {
	if c.unfinished != nil {
		c.View.PromptMore()
	} else {
		c.View.Prompt()
	}
}

// A request has been framed.
type request struct {
	wire  []byte // as it is sent, valid until the next is framed
	shown dialect.Message
	alone bool // it is not replied to
	last  bool // with it the server is asked to close
}

// frame makes a request of what was typed.
func (c *Conversation) frame(typed []byte) (request, error) {
	wire, err := c.requests.End(append(c.requests.Begin(nil), typed...), 0)
	if err != nil {
		return request{}, err
	}
	r := request{wire: wire, shown: dialect.Message{Body: typed}}
	if noter, ok := c.requests.(parley.Noter); ok {
		note := noter.Note()
		r.shown = dialect.Message{Body: wire, Secret: note.Secret}
		r.alone, r.last = note.Alone, note.Last
	}
	return r, nil
}

// typed makes a request of a line, and of those before it if they wanted more, and shows what was
// typed.
func (c *Conversation) typed(line []byte) (r request, whole bool, err error) {
	all := line
	if c.unfinished != nil {
		all = append(append(c.unfinished, '\n'), line...)
	}
	r, err = c.frame(all)
	if errors.Is(err, parley.ErrUnfinished) {
		c.View.Typed(dialect.Message{Body: line})
		c.unfinished = append(make([]byte, 0, 2*len(all)+1), all...)
		return r, false, nil
	}
	c.unfinished = nil
	if r.shown.Secret {
		c.View.Typed(r.shown)
	} else {
		c.View.Typed(dialect.Message{Body: line})
	}
	return r, true, err
}

// heard is a message from the server, or how it ended and what came of a next one.
type heard struct {
	body []byte
	note parley.Note
	err  error
}

func (h heard) message() dialect.Message { return dialect.Message{Body: h.body, Secret: h.note.Secret} }

// begin starts to listen, so that what the server says unasked is seen at once.
func (c *Conversation) begin() {
	requests, replies := c.Framing.Requests, c.Framing.Replies
	if c.silent() {
		replies = c.Single
	}
	if c.Greeting.Requests != nil {
		requests = dialect.Greeted(requests, replies, c.Greeting.Requests)
	}
	c.requests, replies = parley.OpenFraming(requests, replies)
	dialer := parley.Dialer{Framing: parley.Chunks, Replies: replies,
		NetDial: func(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }}
	c.client, _ = dialer.Dial(context.Background(), "") // NetDial does not fail
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
			body, err := c.client.Receive(ctx)
			if err != nil {
				heardNow <- heard{body: bytes.Clone(c.client.Unfinished()), err: err}
				return
			}
			heardNow <- heard{body: bytes.Clone(body), note: c.client.Note()}
		}
	}()
}

// hear waits for what the server says next. Again is to be called when that has been dealt with.
func (c *Conversation) hear(limit context.Context) (h heard, again func()) {
	select {
	case h = <-c.heard:
	case <-limit.Done():
		if h = c.interrupted(); h.err == nil {
			return h, c.listenOn // it was just in time
		}
	}
	return h, func() {}
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
			c.showMessage(h)
		}
	}
	c.listen()
}

// end closes the connection and waits for what listens.
func (c *Conversation) end() {
	c.interrupt()
	c.client.Close()
	for range c.heard {
	}
}

// awaitGreeting waits for what the server says first, if it is one that does.
func (c *Conversation) awaitGreeting(ctx context.Context) error {
	if c.Greeting.Requests == nil && !c.Framing.SpeaksFirst {
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	h, again := c.hear(limit)
	defer again()
	switch {
	case h.err == nil:
		c.View.Message(h.message())
		return nil
	case ctx.Err() != nil:
		c.showUnfinished(h.body, c.GreetingLacks)
		return c.cut(ctx)
	}
	return c.notWhole(h, "greeting", "before its greeting", c.GreetingLacks)
}

// showMessage shows what the server said unasked.
func (c *Conversation) showMessage(h heard) {
	if c.asked && !h.note.Alone {
		c.surplus++
	}
	c.View.Message(h.message())
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
				return l, false, &Error{Local: true, text: "cannot read the input: " + dial.Reason(l.err)}
			}
			return l, false, nil
		case h := <-c.heard:
			if h.err == nil {
				c.showMessage(h)
				c.prompt()
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

// exchange sends a request and waits for its reply, if there is to be one.
func (c *Conversation) exchange(ctx context.Context, r request) error {
	if err := c.showUnasked(); err != nil {
		return err
	}
	c.View.Sending(r.shown)
	limit, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	begin := time.Now()
	if err := c.send(limit, r.wire); err != nil {
		return c.unsent(ctx, limit, err)
	}
	c.last = r.last
	if c.silent() || r.alone {
		return nil
	}
	c.asked = true
	for {
		h, again := c.hear(limit)
		switch {
		case h.err == nil && h.note.Alone:
			c.showMessage(h)
			again()
			continue
		case h.err == nil:
			c.last = h.note.Last
			c.View.Response(h.message(), time.Since(begin))
			again()
			return nil
		case ctx.Err() != nil:
			c.showUnfinished(h.body, c.Lacks)
			return c.cut(ctx)
		}
		return c.noReply(h)
	}
}

func (c *Conversation) send(ctx context.Context, wire []byte) error {
	if err := c.client.Send(ctx, wire); err != nil || c.Framing.Requests != parley.UntilClose {
		return err
	}
	return c.closeWrite()
}

func (c *Conversation) closeWrite() error {
	if c.halfClosed {
		return nil
	}
	c.halfClosed = true
	return c.client.CloseWrite()
}

// showUnasked shows what is there before a request is sent: it cannot be its reply.
func (c *Conversation) showUnasked() error {
	for {
		select {
		case h := <-c.heard:
			if h.err != nil {
				return c.noReply(h)
			}
			c.showMessage(h)
		default:
			return nil
		}
	}
}
