package talk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
)

// MaxWindow is the most requests that may wait for their replies; of a protocol, which has to remember
// each, it is maxProtocolWindow.
const (
	MaxWindow         = 1 << 16
	maxProtocolWindow = 1 << 10
)

// pipelined says whether lines are sent before the one before has its reply: those of a pipe, if that
// is wanted or there are no replies to wait for.
func (c *Conversation) pipelined() bool {
	return c.input != nil && !c.input.typed() && !c.oneRequest() && (c.Window > 1 || c.silent())
}

// A pipeline sends the lines of a pipe while requests before them wait for their replies. As long as
// there are lines, one goroutine does it all: a way from one to another takes longer than the work. Two
// others help where it would have to wait for two things: one listens while it waits for the input, and
// one writes what is so much that the server may want its replies read before it takes the rest.
type pipeline struct {
	*Conversation
	wire    []byte    // what is to be written
	writing bool      // it is, by the other goroutine
	flights []flight  // of the requests that are owed their replies, oldest first
	flying  int       // bytes of those
	waits   bool      // for all that is owed before anything else is sent
	lately  time.Time // when something was written or heard, or began to be owed

	mayPipeline bool // the protocol lets it, or the server has said that it may be

	// What comes once nothing is owed any more; one of them at most.
	blank  bool  // a blank line, which is still to be taken
	ended  bool  // the end of the input
	failed error // why a line could not be made a request
	broke  error // why a write failed
}

// A flight is requests that were sent at the same time.
type flight struct {
	begun time.Time
	n     int // that are owed their replies
	bytes int // of all
}

// A write of no more than fits, with all that is in flight, does not have to wait for the server: the
// system has room for it.
const fits = 16 << 10

// pipeline has the lines of a pipe answered with up to Window of them in flight: without bound where
// nothing is replied to.
func (c *Conversation) pipeline(ctx context.Context) error {
	p := &pipeline{Conversation: c, mayPipeline: c.Framing.Pipelining == nil}
	writing, stop := context.WithCancel(ctx)
	wires, written := make(chan []byte), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wire := range wires {
			written <- c.write(writing, wire)
		}
	}()
	defer func() {
		stop()
		close(wires)
		<-done
	}()
	return p.run(ctx, wires, written)
}

// write writes requests within the time that the server has to take them.
func (c *Conversation) write(ctx context.Context, wire []byte) error {
	limit, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err := c.client.Send(limit, wire)
	if err != nil && ctx.Err() == nil && limit.Err() != nil {
		return errNotTaken
	}
	return err
}

// errNotTaken is that the server does not read.
var errNotTaken = errors.New("the server does not read")

func (p *pipeline) run(ctx context.Context, wires chan<- []byte, written <-chan error) error {
	late := time.NewTimer(p.Timeout)
	defer late.Stop()
	for {
		err := p.View.Err()
		if errors.Is(err, syscall.EPIPE) {
			return err
		}
		p.readAhead()
		if err := p.sendMore(ctx, wires); err != nil {
			return err
		}
		if p.owed == 0 && !p.writing && p.isOver() {
			p.listenAgain()
			return p.end(ctx)
		}
		if p.owed > 0 && !p.writing && (len(p.input.block) > 0 || p.isOver()) {
			if over, err := p.hearHere(ctx); over || err != nil {
				return err
			}
			continue
		}
		p.listenAgain()
		var lines <-chan line
		if len(p.input.block) == 0 && !p.isOver() {
			lines = p.input.lines
		}
		var overdue <-chan time.Time
		if p.owed > 0 {
			overdue = late.C
		}
		over := false
		select {
		case l := <-lines:
			err = p.take(l)
		case err = <-written:
			err = p.wrote(ctx, err)
		case h := <-p.heard:
			over, err = p.hears(ctx, h)
		case <-overdue:
			if left := time.Until(p.lately.Add(p.Timeout)); left > 0 {
				late.Reset(left)
				continue
			}
			over, err = p.stopListening(ctx)
		case <-ctx.Done():
			err = p.cut(ctx)
		}
		if over || err != nil {
			return err
		}
	}
}

// readAhead asks for lines before they are needed.
func (p *pipeline) readAhead() {
	if p.isOver() {
		return
	}
	p.input.ask()
}

// sendMore writes as many requests as may be in flight.
func (p *pipeline) sendMore(ctx context.Context, wires chan<- []byte) error {
	if p.writing {
		return nil
	}
	owed := p.owed
	p.fill()
	switch {
	case len(p.wire) == 0:
		return nil
	case p.owed > owed && p.flying <= fits:
		return p.wrote(ctx, p.write(ctx, p.wire))
	}
	p.writing = true
	wires <- p.wire
	return nil
}

// listenAgain has the other goroutine listen.
func (p *pipeline) listenAgain() {
	if !p.listening {
		p.listen()
	}
}

// stopListening shows what the other goroutine has heard. It is called where that has come to its end,
// or to have nobody listen, and reports whether the conversation is over.
func (p *pipeline) stopListening(ctx context.Context) (over bool, err error) {
	h := p.interrupted()
	for ; h.err == nil; h = <-p.heard {
		p.replies(h)
	}
	p.listening = false
	late := p.owed > 0 && time.Since(p.lately) >= p.Timeout
	if late || !errors.Is(h.err, context.Canceled) {
		return p.hears(ctx, h)
	}
	return false, nil
}

// hearHere waits for replies and shows all that have come. It reports whether the conversation is over.
func (p *pipeline) hearHere(ctx context.Context) (over bool, err error) {
	if p.listening {
		return p.stopListening(ctx)
	}
	limit, cancel := context.WithDeadline(ctx, p.lately.Add(p.Timeout))
	defer cancel()
	body, err := p.client.Receive(limit)
	now := time.Now()
	p.View.Together(func() {
		for whole := err == nil; whole && err == nil; {
			p.reply(heard{body: body, note: p.client.Note()}, now)
			body, whole, err = p.client.TryReceive()
		}
	})
	p.View.Behind(0)
	p.lately = time.Now()
	switch {
	case err == nil:
		return false, nil
	case ctx.Err() != nil:
		p.showUnfinished(p.client.Unfinished(), p.Lacks)
		return true, p.cut(ctx)
	case limit.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		err = context.Canceled // as of an interruption
	}
	return p.hears(ctx, heard{body: bytes.Clone(p.client.Unfinished()), err: err})
}

// isOver says whether nothing more is to be sent.
func (p *pipeline) isOver() bool {
	return p.ended || p.blank || p.failed != nil || p.broke != nil
}

// end ends the conversation once all is answered.
func (p *pipeline) end(ctx context.Context) error {
	switch {
	case p.failed != nil:
		return p.notFramed(p.failed)
	case p.broke != nil:
		return p.broken(p.broke)
	case p.ended:
		p.prompt()
		p.View.Typed(dialect.Message{})
		return p.endOfInput(ctx)
	}
	p.prompt()
	text := p.line()
	if len(bytes.Trim(p.input.block, "\r\n")) > 0 {
		p.View.Typed(dialect.Message{Body: text})
		p.input.over = true
		return cmp.Or(p.hangUp(ctx), p.leftBehindBlank(p.input.count))
	}
	return p.endAtBlank(ctx, text)
}

// line takes a line of the block.
func (p *pipeline) line() (text []byte) {
	text, p.input.block, _ = bytes.Cut(p.input.block, []byte("\n"))
	p.input.count++
	return bytes.TrimSuffix(text, []byte("\r"))
}

// take takes a block of lines.
func (p *pipeline) take(l line) error {
	p.input.asked = false
	switch {
	case l.err == io.EOF:
		p.ended = true
		return nil
	case l.err != nil:
		return p.unreadable(l.err)
	}
	p.input.block = append(l.text, '\n')
	return nil
}

// fill makes requests of as many lines as may be sent now, and shows them.
func (p *pipeline) fill() {
	if p.writing || p.isOver() || len(p.input.block) == 0 || !p.hasRoom(0) {
		return
	}
	now, sent := time.Now(), 0
	p.View.Together(func() {
		for p.hasRoom(sent) && len(p.input.block) > 0 && !p.isOver() {
			if next, _, _ := bytes.Cut(p.input.block, []byte("\n")); p.isBlank(bytes.TrimSuffix(next, []byte("\r"))) {
				p.blank = true
				return
			}
			text := p.line()
			if p.send(text) {
				sent++
			}
		}
	})
	if sent > 0 {
		if p.owed == 0 {
			p.lately = now
		}
		p.owed += sent
		p.flights = append(p.flights, flight{now, sent, len(p.wire)})
		p.flying += len(p.wire)
	}
}

// hasRoom says whether a request may be sent behind those that are owed replies, and so many more.
func (p *pipeline) hasRoom(more int) bool {
	if p.silent() {
		return len(p.wire) < blockSize
	}
	most := p.Window
	if p.Framing.IsProtocol() {
		most = min(most, maxProtocolWindow)
	}
	return !p.waits && p.owed+more < most && len(p.wire) < blockSize
}

// send makes a request of a line, and reports whether it is owed a reply.
func (p *pipeline) send(text []byte) bool {
	p.prompt()
	r, whole, err := p.typed(p.wire, text)
	switch {
	case err != nil:
		p.failed = err
		return false
	case !whole:
		return false
	}
	p.View.Sending(r.shown)
	p.wire = r.wire
	p.sent++
	p.last = r.last
	if p.silent() || r.alone {
		return false
	}
	p.waits = r.last || !p.mayPipeline || p.Framing.Waits != nil && p.Framing.Waits(r.shown.Body)
	p.asked = true
	return true
}

// wrote deals with the end of a write. What the server said before it broke can still be read.
func (p *pipeline) wrote(ctx context.Context, err error) error {
	p.writing, p.wire = false, p.wire[:0]
	switch {
	case err == nil:
		p.lately = time.Now()
		return nil
	case ctx.Err() != nil:
		return p.cut(ctx)
	case err == errNotTaken:
		return p.lost("write_timeout", "the server does not read", "%s took no more of the request within %v", p.Server, p.Timeout)
	case dial.KindOf(err) != dial.Reset && !errors.Is(err, io.EOF):
		return p.notSent(err)
	case p.owed == 0:
		return p.broken(err)
	}
	p.broke = err
	return nil
}

// hears deals with what the server said or, which is the end of the conversation, with its end.
func (p *pipeline) hears(ctx context.Context, h heard) (over bool, err error) {
	if h.err == nil {
		p.replies(h)
		return false, nil
	}
	return true, p.ends(ctx, h)
}

// ends ends the conversation at the server's end.
func (p *pipeline) ends(ctx context.Context, h heard) error {
	if p.owed > 0 {
		return p.noReply(h)
	}
	if err := p.lastWords(h); err != io.EOF {
		return p.broken(err)
	}
	if p.failed != nil {
		return p.notFramed(p.failed)
	}
	p.prompt()
	switch {
	case p.Reconnect && (p.ended || p.blank):
		p.View.Typed(dialect.Message{})
		p.closed()
		return p.inStep()
	case p.Reconnect:
		return p.leftForNow(ctx)
	case p.ended:
		return p.leftAt(ctx, line{err: io.EOF})
	case len(p.input.block) > 0:
		p.input.count++
		return p.leftAt(ctx, line{text: bytes.TrimSuffix(p.input.block, []byte("\n"))})
	}
	p.input.count++
	return p.serverLeft(ctx)
}

// replies shows what came together.
func (p *pipeline) replies(h heard) {
	now := time.Now()
	p.View.Together(func() {
		p.reply(h, now)
		for _, more := range h.behind {
			p.reply(more, now)
		}
	})
	p.View.Behind(0)
	p.lately = time.Now()
}

func (p *pipeline) reply(h heard, now time.Time) {
	if h.note.Alone || p.owed == 0 {
		h.behind = nil
		p.showMessage(h)
		return
	}
	p.owed--
	p.replied++
	p.last = h.note.Last
	p.mayPipeline = p.mayPipeline || p.Framing.Pipelining(h.body)
	p.View.Behind(p.owed)
	p.View.Response(h.message(), now.Sub(p.flights[0].begun))
	if p.flights[0].n--; p.flights[0].n == 0 {
		p.flying -= p.flights[0].bytes
		p.flights = p.flights[1:]
	}
	p.waits = p.waits && p.owed > 0
}

// unreadable ends the conversation because the input cannot be read.
func (c *Conversation) unreadable(err error) error {
	c.View.Closed("input_error", "the input cannot be read")
	return &Error{Local: true, text: "cannot read the input: " + dial.Reason(err)}
}
