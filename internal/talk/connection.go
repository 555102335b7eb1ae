package talk

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A connection is one of those that a conversation has, one after another, with what is known of it
// alone.
type connection struct {
	conn      net.Conn
	since     time.Time
	client    *parley.Client // of replies: requests are framed here, since it is shown what is sent
	requests  parley.Framing
	heard     chan heard
	interrupt context.CancelFunc // of what listens to the server
	listening bool               // there is such

	sent, replied int      // requests, and the replies to them
	owed          int      // requests that were sent, or may have been, and wait for their replies
	unfinished    []byte   // the lines so far of a request that wants more
	parts         [][]byte // those lines, to be remembered if there is no secret in the request
	halfClosed    bool     // our end of file is out
	cutShort      bool     // the server's end of file is one that TLS has not announced
	last          bool     // the connection is to end behind what was said last
	asked         bool     // a request was sent that is replied to
}

// heard is a message from the server and those that came with it, or how it ended and what came of a
// next one.
type heard struct {
	body   []byte
	note   parley.Note
	behind []heard
	err    error
}

func (h heard) message() dialect.Message { return dialect.Message{Body: h.body, Secret: h.note.Secret} }

// open begins to talk over a connection: what the server says unasked is seen at once.
func (c *Conversation) open(conn net.Conn) {
	c.connection = &connection{conn: conn, since: time.Now()}
	requests, replies := c.Framing.Requests, c.ofReplies()
	if c.Greeting.Requests != nil {
		requests = dialect.Greeted(requests, replies, c.Greeting.Requests)
	}
	c.frameBy(requests, replies)
	c.View.Over(conn.RemoteAddr().String(), conn.LocalAddr().String())
	c.View.Connected(c.Server)
	c.listen()
}

// ofReplies is the framing of what the server says; where there are no replies, of what it says anyway.
func (c *Conversation) ofReplies() parley.Framing {
	if c.silent() {
		return c.Single
	}
	return c.Framing.Replies
}

// frameBy has both directions framed so from here on.
func (c *connection) frameBy(requests, replies parley.Framing) {
	c.requests, replies = parley.OpenFraming(requests, replies)
	dialer := parley.Dialer{Framing: parley.Chunks, Replies: replies,
		NetDial: func(context.Context, string, string) (net.Conn, error) { return c.conn, nil }}
	c.client, _ = dialer.Dial(context.Background(), "") // NetDial does not fail
}

// listen hands over a message at a time or, where several requests are in flight, those that came
// together.
func (c *Conversation) listen() {
	heardNow, client, together, guard := make(chan heard), c.client, c.pipelined(), c.Guard
	if guard == nil {
		guard = func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.heard, c.interrupt, c.listening = heardNow, cancel, true
	go func() {
		defer close(heardNow)
		defer guard()
		for {
			body, err := client.Receive(ctx)
			if err != nil {
				heardNow <- heard{body: bytes.Clone(client.Unfinished()), err: err}
				return
			}
			first := heard{body: bytes.Clone(body), note: client.Note()}
			if together {
				first.behind, err = alreadyThere(client)
			}
			heardNow <- first
			if err != nil {
				heardNow <- heard{body: bytes.Clone(client.Unfinished()), err: err}
				return
			}
		}
	}()
}

// alreadyThere are the whole messages that have been read, up to so many bytes.
func alreadyThere(client *parley.Client) (messages []heard, err error) {
	const most = 64 << 10
	var bodies []byte
	for len(bodies) < most {
		body, ok, err := client.TryReceive()
		if !ok || err != nil {
			return messages, err
		}
		from := len(bodies)
		bodies = append(bodies, body...)
		messages = append(messages, heard{body: bodies[from:len(bodies):len(bodies)], note: client.Note()})
	}
	return messages, nil
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
func (c *connection) interrupted() heard {
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

// close closes the connection and waits for what listens.
func (c *connection) close() {
	c.interrupt()
	c.client.Close()
	for range c.heard {
	}
}

func (c *Conversation) closeWrite() error {
	if c.halfClosed {
		return nil
	}
	c.halfClosed = true
	return c.client.CloseWrite()
}

// hearAgain has the end that was heard be heard again, by who deals with it.
func (c *connection) hearAgain(h heard) {
	again := make(chan heard, 1)
	again <- h
	close(again)
	c.heard = again
}
