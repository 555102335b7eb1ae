// Package talk is a client's side of a conversation, typed or piped: it sends what is
// typed, has each request answered, shows what the server says unasked, and says how it
// all ended.
package talk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A View shows what happens, in order. What it is given is valid during the call.
type View interface {
	Over(remote, local string) // the connection that comes next is between these addresses
	Connected(server string)
	Prompt()                                            // a line is awaited
	PromptMore()                                        // another line of the same request
	Typed(line dialect.Message)                         // it is there; its Body is nil at the end of the input
	Sending(request dialect.Message)                    // it is about to be sent
	Behind(n int)                                       // replies from here on are to the request that many before the one that was sent last
	Response(reply dialect.Message, took time.Duration) // its reply was read
	Message(m dialect.Message)                          // the server said something unasked
	Unfinished(came []byte, lacks string)               // of a reply only this came, with its framing; what it lacks
	NotSent(typed []byte, why string)                   // typed, and not sent any more, or, if it says why, never
	Closed(reason, why string)                          // as JSON and as the narrative name it; why is "" for an orderly close
	Reconnecting(server string, in time.Duration, attempt int, note string)
	Tell(text string)            // lines for who typed a command
	ShowIn(f dialect.Framing)    // messages are framed so from here on
	ToggleTimes() (on, can bool) // whether each line has its time from here on, if lines can have one
	Together(show func())        // what show shows is written at once
	Err() error                  // the first error of the output
}

// A Conversation is the client's side of one, over one connection or, one after another, several.
// Fields are required unless they say what they are if left out. Lines or Once is called once, and
// closes the connections.
type Conversation struct {
	Conn      net.Conn        // the first; if nil, Dial makes it. One with a method Hide([]byte) is told what of the next request nobody is to see
	Server    string          // what errors call it
	Framing   dialect.Framing // of requests and replies
	View      View
	Timeout   time.Duration // for the server to greet, to take a request, to reply to it, and to close after our end of file
	KeepBlank bool          // send a blank line instead of ending there
	Escapes   bool          // \r \n \t \\ and \xNN in a request are the bytes that they stand for
	Window    int           // how many requests of a pipe may wait for their replies; one if 0

	// Dial makes a connection like the first. If nil there is no other.
	Dial func(context.Context) (net.Conn, error)

	// Reconnect has another connection follow one that is lost, and be tried until there is one.
	// No request is sent again.
	Reconnect bool

	// Single is the framing of one message from the server, of which Framing may take several for
	// a reply; where there are no replies, of what it says anyway. Nil for a protocol.
	Single parley.Framing

	// Greeting is the framing of what the server says before anything is sent to it. If its
	// Requests are nil, nothing is waited for but the greeting that a protocol has itself.
	Greeting dialect.Framing

	// Lacks says what the beginning of a reply, with its framing, lacks to be whole, and
	// what would make it so; advice may be "". GreetingLacks says that of a greeting.
	Lacks, GreetingLacks func(came []byte) (lacks, advice string)

	// Guard is deferred by each goroutine of the conversation: it does what a panic there would leave undone,
	// as to give a terminal back. Nil for nothing.
	Guard func()

	// Surplus says what n messages more than requests may come from. If nil, they are no fault.
	Surplus func(n int) (advice string)

	// Commands are what the commands of who types need of others.
	Commands Needs

	*connection
	attempts   int // to connect since there was a connection that was of use
	unanswered int // requests, on connections that have ended
	surplus    int // messages that were no reply, since a request was sent
	input      *input
	again      []byte // the request that was typed last, nil if there is none
	secret     bool   // the next line typed is not to be shown
}

// An Error says why a conversation did not end in good order.
type Error struct {
	Local   bool // the reason is on this side: it is not the network's doing, nor the server's
	Surplus bool // there were more messages than requests: replies may have been taken for others
	Told    bool // who sees the narrative knows as much: it told that the server has closed
	lost    bool // the connection is lost
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
	return c.over(ctx, func(ctx context.Context) error {
		if len(request) == 0 && !c.KeepBlank {
			return c.hangUp(ctx)
		}
		request, err := c.unescaped(request)
		if err != nil {
			return c.notFramed(err)
		}
		framed, err := c.frame(nil, request)
		if err != nil {
			return c.notFramed(err)
		}
		if err := c.exchange(ctx, framed); err != nil {
			return err
		}
		return c.done(ctx)
	})
}

// Lines has each line of the input answered, until a blank one or the end. Of a Typist
// what was typed and not sent is shown and taken away, so that it is not left to who
// reads the terminal next; what is typed behind the end is for that one. If the output is
// a broken pipe it returns that error.
func (c *Conversation) Lines(ctx context.Context, in io.Reader) error {
	if c.Guard == nil {
		c.Guard = func() {}
	}
	c.input = readInput(in, c.Guard)
	defer c.input.end()
	c.input.blocks.Store(c.pipelined())
	return c.over(ctx, func(ctx context.Context) error {
		if c.pipelined() {
			return c.pipeline(ctx)
		}
		return c.lines(ctx)
	})
}

// lines has a line at a time answered.
func (c *Conversation) lines(ctx context.Context) error {
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
			return c.endAtBlank(ctx, line.text)
		}
		if c.input.typed() {
			err = c.obey(ctx, line.text)
		} else {
			err = c.answer(ctx, line.text)
		}
		if err != nil || c.input.over {
			return err
		}
		if c.oneRequest() && c.sent > 0 {
			return c.endAfterOne(ctx)
		}
	}
}

// answer has a line answered, or keeps it for the request that wants more.
func (c *Conversation) answer(ctx context.Context, line []byte) error {
	request, whole, err := c.typed(nil, line)
	if c.secret && c.unfinished == nil {
		c.hide(false)
	}
	switch {
	case err != nil && c.input.typed(): // who typed it can type it again
		c.View.NotSent(c.shownTyped(line), inWords(err))
		if !c.secret {
			c.input.remember(line, false)
		}
		return nil
	case err != nil:
		return c.notFramed(err)
	case !whole:
		return nil
	}
	return c.exchange(ctx, request)
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
	wire  []byte // as it is sent, behind what it was to stand behind
	shown dialect.Message
	alone bool // it is not replied to
	last  bool // with it the server is asked to close

	hidden []byte // what of it is not to be shown, nor in its reply
}

// frame makes a request of what was typed, behind dst.
func (c *Conversation) frame(dst, typed []byte) (request, error) {
	start := len(dst)
	wire, err := c.requests.End(append(c.requests.Begin(dst), typed...), start)
	if err != nil {
		return request{}, err
	}
	r := request{wire: wire, shown: dialect.Message{Body: typed}}
	if noter, ok := c.requests.(parley.Noter); ok {
		note := noter.Note()
		r.shown = dialect.Message{Body: wire[start:], Secret: note.Secret}
		r.alone, r.last = note.Alone, note.Last
	}
	if c.secret {
		r.shown = dialect.Message{Body: []byte{}, Cut: uint64(len(typed)), Secret: true}
		r.hidden = typed
	}
	return r, nil
}

// typed makes a request of a line, and of those before it if they wanted more, behind dst, and shows
// what was typed.
func (c *Conversation) typed(dst, line []byte) (r request, whole bool, err error) {
	all, err := c.unescaped(line)
	if err != nil {
		c.View.Typed(dialect.Message{Body: line})
		return r, true, err
	}
	if c.input.typed() {
		c.parts = append(c.parts, asTyped(line, len(c.parts) == 0))
	}
	if c.unfinished != nil {
		all = append(append(c.unfinished, '\n'), all...)
	}
	r, err = c.frame(dst, all)
	if errors.Is(err, parley.ErrUnfinished) {
		c.View.Typed(dialect.Message{Body: line})
		c.unfinished = append(make([]byte, 0, 2*len(all)+1), all...)
		r.wire = dst
		return r, false, nil
	}
	if err == nil && c.input.typed() {
		c.remember(all, r.shown.Secret)
	}
	c.unfinished, c.parts = nil, nil
	if r.shown.Secret {
		c.View.Typed(r.shown)
	} else {
		c.View.Typed(dialect.Message{Body: line})
	}
	return r, true, err
}

// remember has a whole request come back to who typed it, unless it has a secret.
func (c *Conversation) remember(request []byte, secret bool) {
	if c.again = nil; !c.secret {
		c.again = bytes.Clone(request)
	}
	if secret {
		return
	}
	for _, line := range c.parts {
		c.input.remember(line, true)
	}
}

// asTyped is a line as it was typed: // begins a request that begins with a slash.
func asTyped(line []byte, first bool) []byte {
	if first && bytes.HasPrefix(line, []byte("/")) {
		return append([]byte("/"), line...)
	}
	return line
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
		c.showMessage(h)
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
	for _, more := range h.behind {
		c.showMessage(more)
	}
}

// nextLine waits for a line of the input. Meanwhile the server may speak, or leave; and so
// may who reads the output, for whom alone it would go on.
func (c *Conversation) nextLine(ctx context.Context) (l line, left bool, err error) {
	c.input.ask()
	select {
	case <-c.input.continued: // before this prompt
	default:
	}
	for {
		if err := c.View.Err(); errors.Is(err, syscall.EPIPE) {
			return line{}, false, err
		}
		var h heard
		select {
		case h = <-c.heard: // what is there already comes before the line
		default:
			select {
			case h = <-c.heard:
			case l := <-c.input.lines:
				c.input.asked = false
				if l.err != nil && l.err != io.EOF {
					return l, false, c.unreadable(l.err)
				}
				return l, false, nil
			case <-c.input.continued:
				c.prompt()
				continue
			case <-ctx.Done():
				return line{}, false, c.cut(ctx)
			}
		}
		if h.err == nil {
			c.showMessage(h)
			c.prompt()
			continue
		}
		if err := c.lastWords(h); err != io.EOF {
			return line{}, false, c.broken(err)
		}
		return line{}, true, nil
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
	c.sent++
	c.owed = 1
	if hides, ok := c.conn.(interface{ Hide([]byte) }); ok && len(r.hidden) > 0 {
		hides.Hide(r.hidden)
	}
	if err := c.send(limit, r.wire); err != nil {
		return c.unsent(ctx, limit, err)
	}
	c.last = r.last
	if c.silent() || r.alone {
		c.owed = 0
		return nil
	}
	c.asked = true
	for {
		h, again := c.hear(limit)
		if len(r.hidden) > 0 { // also in what is no whole reply
			h.body = bytes.ReplaceAll(h.body, r.hidden, []byte("(secret)"))
		}
		switch {
		case h.err == nil && h.note.Alone:
			c.showMessage(h)
			again()
			continue
		case h.err == nil:
			c.last = h.note.Last
			c.replied++
			c.owed = 0
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
