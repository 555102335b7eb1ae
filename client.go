package parley

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// A Dialer makes Clients. Its zero value works.
type Dialer struct {
	Framing  Framing // as the server's; Lines if nil. It may be a Protocol
	Replies  Framing // of replies; as Framing if nil, and with a Protocol
	MaxReply int     // longest message from the server, in bytes; 16 MiB if zero

	// TLS is spoken over the connection; plain if nil. Without a ServerName it is the host of
	// the address. With Chunks set DynamicRecordSizingDisabled: then a request of up to 16 KiB
	// is one record, which the server reads at once.
	TLS *tls.Config

	// NetDial makes the connection, below TLS; that of a net.Dialer if nil.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial connects to host:port or to unix:PATH. It does not retry.
func (d *Dialer) Dial(ctx context.Context, addr string) (*Client, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	dial := d.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if d.TLS != nil {
		if conn, err = d.secure(ctx, conn, addr); err != nil {
			return nil, err
		}
	}
	c := newClient(conn, d.Framing, d.Replies)
	if d.MaxReply > 0 {
		c.maxReply = d.MaxReply
	}
	return c, nil
}

// secure shakes hands with the server at addr by TLS. The connection is closed if that fails.
func (d *Dialer) secure(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	config := d.TLS
	if host, _, err := net.SplitHostPort(addr); config.ServerName == "" && err == nil {
		config = config.Clone()
		config.ServerName = host
	}
	secure := tlsconn.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("parley: TLS with %s: %w", addr, err)
	}
	return secure, nil
}

// Dial connects to a server of lines at host:port or unix:PATH.
func Dial(ctx context.Context, addr string) (*Client, error) {
	return new(Dialer).Dial(ctx, addr)
}

// A Client is one connection to a server. One goroutine may Send while another
// Receives; Do is for one goroutine alone. It never repeats a request on its own: a
// request whose reply was lost may have been carried out.
type Client struct {
	conn              net.Conn
	requests, replies Framing
	maxReply          int

	out []byte // the request being sent, framed

	in      []byte // in[r:w] was read and is not yet handed out
	r, w    int
	scanned int
	eof     bool
	look    func() (int, error) // reads what is there without waiting; nil where that cannot be

	outOfStep atomic.Bool
	early     []byte      // the message by which it is, until it is received; nil if there is none
	ended     atomic.Bool // it has half-closed behind the only request of UntilClose
}

const (
	defaultMaxReply = 16 << 20
	clientBuffer    = 4 << 10
)

// NewClient makes a client of a connection, with Lines if framing is nil and the
// default limit of 16 MiB a reply.
func NewClient(conn net.Conn, framing Framing) *Client { return newClient(conn, framing, nil) }

func newClient(conn net.Conn, framing, replies Framing) *Client {
	c := &Client{conn: conn, maxReply: defaultMaxReply}
	c.requests, c.replies = OpenFraming(framing, replies)
	c.look = c.lookNow()
	return c
}

// Do sends a request and waits for its reply, which is valid until the next call of
// Do or Receive. If ctx ends, or anything else cuts it off once the request may have
// left, the reply may still come: from then on Do returns ErrOutOfStep. It does so
// too if a whole message is already there before the request is written, since that
// cannot be its reply. What a Protocol says is no reply is passed over. With NoReplies, and with
// a request that a Protocol says is not replied to, it is Send, and the reply nil.
//
// An empty request is what the framing makes of one, such as a newline. A Server ends the
// conversation there, so that Do returns io.EOF, unless its KeepBlank is set: then it is answered
// like any other. OctetCounted has no empty message, which is an error before anything is sent. With
// Chunks there is no byte to send, and so nothing to reply to: Do waits until ctx ends.
func (c *Client) Do(ctx context.Context, request []byte) (reply []byte, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if c.outOfStep.Load() {
		return nil, ErrOutOfStep
	}
	if err := c.frame(request); err != nil {
		return nil, err
	}
	if err := c.inStep(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.outOfStep.Store(true)
		}
	}()
	if err := c.write(ctx); err != nil {
		return nil, err
	}
	if c.replies == NoReplies || noteOf(c.requests).Alone {
		return nil, nil
	}
	for {
		if reply, err = c.Receive(ctx); err != nil || !c.Note().Alone {
			return reply, err
		}
	}
}

// inStep looks whether the next message can only be the reply to the next request.
func (c *Client) inStep() error {
	for {
		n, err := c.readNow()
		if err != nil {
			return c.wrap("receive", err)
		}
		if err := c.unlessEarly(); err != nil {
			return err
		}
		if n == 0 { // a message may be longer than one read
			return c.unlessEOF()
		}
	}
}

// readNow reads what is there, if that can be seen without waiting.
func (c *Client) readNow() (int, error) {
	if c.look == nil || c.eof {
		return 0, nil
	}
	c.room()
	n, err := c.look()
	c.w += n
	if err == io.EOF {
		c.eof, err = true, nil
	}
	return n, err
}

// unlessEarly is ErrOutOfStep if a message is there that is no reply to what is yet to be sent.
func (c *Client) unlessEarly() error {
	for c.r < c.w {
		n, body, err := c.next()
		whole := n > 0 && err == nil && len(body) <= c.maxReply
		if whole { // a Protocol is not to look at it again
			c.r += n
			c.scanned = 0
		}
		switch {
		case whole && c.Note().Alone:
			continue
		case whole:
			c.early = nonNil(body)
			fallthrough
		case n > 0 || err != nil:
			c.outOfStep.Store(true)
			return ErrOutOfStep
		default:
			return nil // it is not whole
		}
	}
	return nil
}

func (c *Client) unlessEOF() error {
	if c.eof {
		return c.wrap("send", fmt.Errorf("the server has closed: %w", io.EOF))
	}
	return nil
}

// Send sends one or more requests, in one write, and does not wait for their replies. A
// request that the framing cannot carry is an error before anything is sent. With UntilClose
// there is one request only, behind which it half-closes.
func (c *Client) Send(ctx context.Context, requests ...[]byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.frame(requests...); err != nil {
		return err
	}
	return c.write(ctx)
}

func (c *Client) frame(requests ...[]byte) error {
	if c.requests == UntilClose && len(requests) > 1 {
		return fmt.Errorf("parley: a connection has one request where the end of file ends it, not %d", len(requests))
	}
	out := c.out[:0]
	for _, request := range requests {
		var err error
		start := len(out)
		if out, err = c.requests.End(append(c.requests.Begin(out), request...), start); err != nil {
			return fmt.Errorf("parley: this framing cannot carry the request: %w", err)
		}
	}
	c.out = out
	return nil
}

func (c *Client) write(ctx context.Context) error {
	release := c.interrupt(ctx, true)
	_, err := c.conn.Write(c.out)
	if cap(c.out) > 1<<20 {
		c.out = nil
	}
	if release() && err != nil {
		err = context.Cause(ctx)
	}
	if err == nil && c.requests == UntilClose {
		return c.CloseWrite()
	}
	return c.wrap("send", err)
}

// Receive returns the next message from the server, valid until the next call of
// Receive or Do. At the end of file it returns io.EOF, or io.ErrUnexpectedEOF if that
// cuts a message short. A message over MaxReply is ErrTooLong, found out before
// memory is spent on it.
func (c *Client) Receive(ctx context.Context) ([]byte, error) {
	for {
		if body, ok, err := c.TryReceive(); ok || err != nil {
			return body, err
		}
		if err := c.read(ctx); err != nil {
			return nil, err
		}
	}
}

// TryReceive is Receive for what came together with the messages before: a whole message, or the
// end of file. It never reads from the connection, so it never waits; if nothing is there ok is false.
func (c *Client) TryReceive() (message []byte, ok bool, err error) {
	if message = c.early; message != nil {
		c.early = nil
		return message, true, nil
	}
	if c.r == c.w && !c.eof {
		return nil, false, nil
	}
	n, body, err := c.next()
	switch {
	case errors.Is(err, ErrMalformed):
		return nil, false, c.wrap("receive", err)
	case err != nil, len(body) > c.maxReply, n == 0 && c.w-c.r-framingAllowance > c.maxReply:
		return nil, false, c.wrap("receive", ErrTooLong)
	case n > 0:
		c.r += n
		c.scanned = 0
		return body, true, nil
	case c.eof && c.w > c.r:
		return nil, false, c.wrap("receive", io.ErrUnexpectedEOF)
	case c.eof:
		return nil, false, io.EOF
	}
	c.scanned = c.w - c.r
	return nil, false, nil
}

// next looks for a whole message, behind what belongs to none.
func (c *Client) next() (n int, body []byte, err error) {
	for {
		n, body, err = c.replies.Next(c.in[c.r:c.w], c.scanned, c.maxReply, c.eof)
		if err != ErrStray {
			return n, body, err
		}
		c.r += n
		c.scanned = 0
	}
}

// Note is what a Protocol knows of the message that was received last.
func (c *Client) Note() Note { return noteOf(c.replies) }

// Unfinished returns the bytes that came and of which no message has been made, valid
// until the next call of Receive or Do: once one of them has failed, the beginning of the
// message that it waited for, with its framing. It is for the goroutine that Receives.
func (c *Client) Unfinished() []byte { return c.in[c.r:c.w] }

// read reads once.
func (c *Client) read(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.room()
	release := c.interrupt(ctx, false)
	n, err := c.conn.Read(c.in[c.w:])
	c.w += n
	switch cut := release(); {
	case err == io.EOF:
		c.eof = true
		return nil
	case n > 0:
		return nil // an error will come again
	case cut && err != nil:
		err = context.Cause(ctx)
	}
	return c.wrap("receive", err)
}

// room makes place for the next read. What is held grows by doubling, so that memory
// is spent on bytes that came, not on a length that was claimed.
func (c *Client) room() {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
		if len(c.in) == 0 || len(c.in) > 1<<20 {
			c.in = make([]byte, max(clientBuffer, c.chunkRoom()))
		}
	case c.w < len(c.in):
	case c.r > 0:
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	default:
		bigger := make([]byte, 2*len(c.in))
		c.w = copy(bigger, c.in[:c.w])
		c.in = bigger
	}
}

// chunkRoom is the room that a read needs so as not to cut a chunk in two.
func (c *Client) chunkRoom() int {
	if c.replies == Chunks {
		return min(c.maxReply, 64<<10)
	}
	return 0
}

// CloseWrite says that no more requests will come; replies can still be received.
func (c *Client) CloseWrite() error {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok {
		return c.wrap("close", fmt.Errorf("a %T cannot half-close: %w", c.conn, errors.ErrUnsupported))
	}
	if c.requests == UntilClose && c.ended.Swap(true) {
		return nil
	}
	return c.wrap("close", half.CloseWrite())
}

// Close closes the connection. A Receive that waits returns net.ErrClosed, wrapped.
func (c *Client) Close() error { return c.conn.Close() }

// RemoteAddr is the server's address.
func (c *Client) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// LocalAddr is the client's own address.
func (c *Client) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// wrap adds what was being done. A *net.OpError says that already.
func (c *Client) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return err
	}
	return fmt.Errorf("parley: %s, server %v: %w", doing, c.conn.RemoteAddr(), err)
}

// interrupt has the end of ctx cut short what waits to read or to write. release ends
// that and says whether it happened.
func (c *Client) interrupt(ctx context.Context, writing bool) (release func() (cut bool)) {
	if ctx.Done() == nil {
		return neverCut
	}
	setDeadline := c.conn.SetReadDeadline
	if writing {
		setDeadline = c.conn.SetWriteDeadline
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		setDeadline(longAgo)
		close(done)
	})
	return func() bool {
		if stop() {
			return false
		}
		<-done
		setDeadline(time.Time{})
		return true
	}
}

func neverCut() bool { return false }
