package tap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/kernel"
)

// An Own is the connection of a client that keeps its own record. What is written is what the client
// says, and what is read what the server does: they are told and recorded as by a Tap between the two,
// a request before it leaves. The session's remote address is the server's, its local one the client's.
type Own struct {
	net.Conn
	gate     parley.Gate
	onlooker *Onlooker

	mu     sync.Mutex // of what follows, and of the onlooker
	said   uint64     // bytes that were written
	hide   []byte     // what the next write has that nobody is to see
	hidden []hidden
	ended  [2]bool // by Side
	over   bool
}

// A hidden request has something that nobody is to see, nor in its reply.
type hidden struct {
	from, to uint64 // its bytes, from the client's first
	what     []byte
}

// maxOwnMessage is as much of a message as a client reads.
const maxOwnMessage = 16 << 20

// NewOwn tells that a client has connected. The messages are framed as a Tap's; ctx ends the waiting for
// a gate that holds the session.
func NewOwn(ctx context.Context, conn net.Conn, session *parley.Session, requests, replies parley.Framing, observer parley.Observer, gate parley.Gate) *Own {
	o := &Own{Conn: conn, gate: gate}
	tap := &Tap{Framing: requests, Replies: replies, MaxMessage: maxOwnMessage, Observer: observer, Gate: o}
	o.onlooker = tap.Onlook(ctx, session)
	return o
}

// NetConn is the connection below.
func (o *Own) NetConn() net.Conn { return o.Conn }

// Hide has the request that is written next be recorded without its text, and its reply without what
// of it is not to be seen.
func (o *Own) Hide(what []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hide = bytes.Clone(what)
}

// Write tells what the client says, and sends it.
func (o *Own) Write(p []byte) (int, error) {
	o.say(p)
	return o.Conn.Write(p)
}

func (o *Own) say(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.hide) > 0 {
		o.hidden = append(o.hidden, hidden{o.said, o.said + uint64(len(p)), o.hide})
		o.hide = nil
	}
	o.said += uint64(len(p))
	if !o.over {
		o.onlooker.Say(Client, p, kernel.Now())
	}
}

// Read tells what the server says, and how it ends.
func (o *Own) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if n == 0 && err == nil {
		return n, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if n > 0 && !o.over {
		o.onlooker.Say(Server, p[:n], kernel.Now())
	}
	switch {
	case err == io.EOF:
		o.end(Server)
	case errors.Is(err, parley.ErrTruncated):
		o.onlooker.s.replies.cutShort = true
		o.end(Server)
	case isResetError(err) && !o.over:
		o.over = true
		o.onlooker.Reset(Server, kernel.Now())
	}
	return n, err
}

// end tells that a side has said all. The lock is held.
func (o *Own) end(side Side) {
	if !o.over && !o.ended[side] {
		o.ended[side] = true
		o.over = o.onlooker.End(side, kernel.Now())
	}
}

// CloseWrite tells that the client has said all.
func (o *Own) CloseWrite() error {
	half, ok := o.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	o.mu.Lock()
	o.end(Client)
	o.mu.Unlock()
	return half.CloseWrite()
}

// Close tells that the session has ended, if it has not: the client leaves.
func (o *Own) Close() error {
	o.mu.Lock()
	o.end(Server)
	o.end(Client)
	o.mu.Unlock()
	return o.Conn.Close()
}

// Pass asks the gate about exchanges without what is hidden.
func (o *Own) Pass(s *parley.Session, batch []parley.Exchange) bool {
	if len(o.hidden) == 0 {
		return o.gate.Pass(s, batch)
	}
	shown := slices.Clone(batch)
	for i := range shown {
		o.conceal(&shown[i])
	}
	return o.gate.Pass(s, shown)
}

var concealed = []byte("(secret)")

// conceal replaces what is hidden in an exchange.
func (o *Own) conceal(x *parley.Exchange) {
	for _, h := range o.hidden {
		if at := x.RawRequest.At; x.RawRequest.Bytes != nil && h.from <= at && at < h.to {
			whole := max(len(x.Request), 1)
			x.RawRequest = parley.Raw{At: at}
			if x.Request != nil {
				x.Request, x.RequestWhole, x.Secret = concealed, whole, true
			}
		}
		if bytes.Contains(x.Reply, h.what) || bytes.Contains(x.RawReply.Bytes, h.what) {
			x.ReplyWhole, x.RawReply = len(x.Reply), parley.Raw{At: x.RawReply.At}
			if x.Reply != nil {
				x.Reply = bytes.ReplaceAll(x.Reply, h.what, concealed)
			}
		}
	}
}
