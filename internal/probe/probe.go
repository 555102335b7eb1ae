// Package probe asks a service one thing over a connection of its own: once, in a series or
// until it is answered as expected, and says in a line what it found.
package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
)

// A Probe asks a service one thing, each time over a connection of its own.
type Probe struct {
	Dialer  dial.Dialer
	All     bool           // each address of the name is probed, not only the first that answers
	Framing parley.Framing // of requests, as of a parley.Dialer
	Replies parley.Framing // the same, of replies
	Timeout time.Duration  // for each message to come
	Banner  bool           // the server speaks first
	Request []byte         // nil to send nothing; what comes first afterwards is its reply
	Silent  bool           // there is no reply to it
	Expect  expect.Rule    // of the last message
	Status  Status         // of the same
	Script  *Script        // is played instead of all these; nil for none

	// Stays is how long the connection is to be open, since it was made or, with a request, since
	// its reply; 0 does not ask.
	Stays time.Duration

	// Expires is for how long from now the certificates of the server have to be valid; 0 does not
	// ask. It needs Dialer.TLS.
	Expires time.Duration

	// Greeting is the framing of what the server says first, and Single of one message that came
	// with it. Nil if that of a protocol has it among its own.
	Greeting, Single parley.Framing

	// What a banner and a reply of which only this came, framing included, lacks to be whole, and
	// what may help.
	BannerLacks, ReplyLacks func(came []byte) (lacks, advice string)
}

// A Status is what the status of a reply is to be, such as 200. The zero value does not judge.
type Status struct {
	Want string                                      // an x stands for any digit
	Of   func(reply []byte) (status string, ok bool) // that of a reply, if it has one
}

// holds says what the status is, and whether it is as wanted.
func (s Status) holds(reply []byte) (status string, holds bool) {
	if s.Of == nil {
		return "", true
	}
	status, ok := s.Of(reply)
	switch {
	case !ok:
		return "", false
	case len(status) != len(s.Want):
		return status, false
	}
	for i := range status {
		if s.Want[i] != 'x' && s.Want[i] != status[i] {
			return status, false
		}
	}
	return status, true
}

// A Finding is what a Probe found.
type Finding struct {
	Time      time.Time // when it began
	Connected bool
	dial.Steps
	Banner, Reply time.Duration // until each was there, 0 if it is not
	Told          bool          // a request was sent to which there is no reply
	Send          time.Duration // how long that took
	Open          time.Duration // how long Stays found the connection open
	Dialogue      time.Duration // how long that of Script took as a whole; 0 if it did not hold
	Played        []Played      // what was played of it
	Secured       *Secured      // what the TLS handshake showed, nil if it did not come so far
	Message       []byte        // the last that came, nil if none did
	Status        string        // of Message, "" if it has none or nobody asked
	wrongStatus   bool          // it is the Mismatch
	ended         bool          // the connection, though it was to stay
	unfinished    partial       // what came of the one that did not come whole
	Kind          dial.Kind     // of failure, "" if all holds
	Err           error         // behind Kind; nil if that is dial.Mismatch without a Script
}

// Run probes, and returns a finding for each address in turn if all are wanted, else
// one. A name that is not found is one finding. What the end of ctx cut short is left out.
func (p *Probe) Run(ctx context.Context) []Finding {
	if !p.All {
		return p.add(ctx, nil, (*dial.Dialer).Dial)
	}
	addresses, lookup, err := p.Dialer.Addresses(ctx)
	if err != nil {
		return p.add(ctx, nil, func(*dial.Dialer, context.Context) (net.Conn, dial.Steps, error) {
			return nil, dial.Steps{Lookup: lookup}, err
		})
	}
	var found []Finding
	for _, address := range addresses {
		found = p.add(ctx, found, func(d *dial.Dialer, ctx context.Context) (net.Conn, dial.Steps, error) {
			conn, steps, err := d.DialAddress(ctx, address)
			steps.Lookup = lookup
			return conn, steps, err
		})
	}
	return found
}

// add probes over the connection that connect makes.
func (p *Probe) add(ctx context.Context, found []Finding, connect func(*dial.Dialer, context.Context) (net.Conn, dial.Steps, error)) []Finding {
	f := Finding{Time: time.Now()}
	dialer := p.Dialer
	if dialer.TLS != nil {
		dialer.TLS = f.verifying(dialer.TLS, dialer.Host)
	}
	conn, steps, err := connect(&dialer, ctx)
	f.Steps = steps
	if err == nil {
		f.Connected = true
		err = p.ask(ctx, conn, &f)
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return found
	case err != nil:
		f.Kind, f.Err = kindOf(err), err
		if f.ended && f.Kind != dial.TLSFailed {
			f.Kind = dial.Closed // one way or the other
		}
	case f.Kind == "" && p.Expires > 0 && f.Secured.expiry(p.Expires) != "":
		f.Kind = Expiring
	}
	return append(found, f)
}

// ask has the conversation, judges it, and watches whether the connection stays.
func (p *Probe) ask(ctx context.Context, conn net.Conn, f *Finding) error {
	if p.Script != nil {
		return p.play(ctx, conn, f)
	}
	since := time.Now()
	if err := p.converse(ctx, conn, f); err != nil {
		return err
	}
	if f.Message != nil {
		p.judge(f)
	}
	if f.Kind != "" || p.Stays == 0 {
		return nil
	}
	if p.Request != nil {
		since = time.Now()
	}
	return p.stays(ctx, conn, since, f)
}

// judge judges the last message.
func (p *Probe) judge(f *Finding) {
	holds := false
	if f.Status, holds = p.Status.holds(f.Message); !holds {
		f.Kind, f.wrongStatus = dial.Mismatch, true
	} else if !p.Expect.Holds(p.Request, f.Message) {
		f.Kind = dial.Mismatch
	}
}

// converse hears the banner, asks, and hears the reply.
func (p *Probe) converse(ctx context.Context, conn net.Conn, f *Finding) (err error) {
	requests, replies := parley.OpenFraming(p.Framing, p.Replies)
	server := &replaceable{replies}
	if p.Banner && p.Greeting != nil {
		replies = server
		server.Framing = p.Greeting
	}
	dialer := parley.Dialer{Framing: requests, Replies: replies,
		NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	client, err := dialer.Dial(ctx, "")
	if err != nil {
		return err
	}
	if p.Banner {
		if f.Banner, err = p.hear(ctx, client, nil, p.BannerLacks, f); err != nil {
			return err
		}
		if p.Greeting != nil {
			server.Framing = p.Single
			for more := p.Request != nil; more && err == nil; { // what came with the banner is no reply either
				_, more, err = client.TryReceive()
			}
			_, server.Framing = parley.OpenFraming(p.Framing, p.Replies)
		}
	}
	switch {
	case p.Request == nil || err != nil:
	case p.Silent:
		f.Send, err = p.tell(ctx, client)
		f.Told = err == nil
	default:
		f.Reply, err = p.hear(ctx, client, p.Request, p.ReplyLacks, f)
	}
	return err
}

// A replaceable framing can be another for the messages from some time on.
type replaceable struct{ parley.Framing }

// hear sends a request, if there is one, and waits for its reply, else for the next message.
func (p *Probe) hear(ctx context.Context, client *parley.Client, request []byte, lacks func([]byte) (string, string), f *Finding) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	begin := time.Now()
	if request != nil {
		if err := client.Send(ctx, request); err != nil {
			return 0, err
		}
	}
	message, err := client.Receive(ctx)
	for err == nil && request != nil && client.Note().Alone {
		message, err = client.Receive(ctx)
	}
	if err != nil {
		f.unfinished.bytes = bytes.Clone(client.Unfinished())
		if len(f.unfinished.bytes) > 0 {
			f.unfinished.lacks, f.unfinished.advice = lacks(f.unfinished.bytes)
		}
		return 0, err
	}
	f.Message = append([]byte{}, message...) // not nil, though it may be empty
	return time.Since(begin), nil
}

// closesWithin is how long a server to which nothing more is sent is given to close, so that it is
// seen if it resets the connection instead.
const closesWithin = time.Second

// tell sends the request, to which there is no reply.
func (p *Probe) tell(ctx context.Context, client *parley.Client) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	begin := time.Now()
	if err := client.Send(ctx, p.Request); err != nil {
		return 0, err
	}
	took = time.Since(begin)
	ctx, cancel = context.WithTimeout(ctx, closesWithin)
	defer cancel()
	if p.Framing != parley.UntilClose { // else it is out already
		err = client.CloseWrite()
	}
	for err == nil {
		_, err = client.Receive(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil {
		return took, nil
	}
	return took, err
}
