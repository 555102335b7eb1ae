// Package probe asks a service one thing over a connection of its own: once, in a series or
// until it is answered as expected, and says in a line what it found.
package probe

import (
	"bytes"
	"cmp"
	"context"
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
	Framing parley.Framing // of a banner and of requests; Lines if nil
	Replies parley.Framing // of the reply; as Framing if nil
	Timeout time.Duration  // for each message to come
	Banner  bool           // the server speaks first, one message of Framing
	Request []byte         // nil to send nothing; what comes first afterwards is its reply
	Expect  expect.Rule    // of the last message

	// What a banner and a reply of which only this came, framing included, lack to be whole, and
	// what may help.
	BannerLacks, ReplyLacks func(came []byte) (lacks, advice string)
}

// A Finding is what a Probe found.
type Finding struct {
	Time      time.Time // when it began
	Connected bool
	dial.Steps
	Banner, Reply time.Duration // until each was there, 0 if it is not
	Message       []byte        // the last that came, nil if none did
	unfinished    partial       // what came of the one that did not come whole
	Kind          dial.Kind     // of failure, "" if all holds
	Err           error         // behind Kind; nil if that is dial.Mismatch
}

// Run probes, and returns a finding for each address in turn if all are wanted, else
// one. A name that is not found is one finding. What the end of ctx cut short is left out.
func (p *Probe) Run(ctx context.Context) []Finding {
	if !p.All {
		return p.add(ctx, nil, p.Dialer.Dial)
	}
	addresses, lookup, err := p.Dialer.Addresses(ctx)
	if err != nil {
		return p.add(ctx, nil, func(context.Context) (net.Conn, dial.Steps, error) { return nil, dial.Steps{Lookup: lookup}, err })
	}
	var found []Finding
	for _, address := range addresses {
		found = p.add(ctx, found, func(ctx context.Context) (net.Conn, dial.Steps, error) {
			conn, steps, err := p.Dialer.DialAddress(ctx, address)
			steps.Lookup = lookup
			return conn, steps, err
		})
	}
	return found
}

// add probes over the connection that connect makes.
func (p *Probe) add(ctx context.Context, found []Finding, connect func(context.Context) (net.Conn, dial.Steps, error)) []Finding {
	f := Finding{Time: time.Now()}
	conn, steps, err := connect(ctx)
	f.Steps = steps
	if err == nil {
		f.Connected = true
		err = p.converse(ctx, conn, &f)
		conn.Close()
	}
	switch {
	case ctx.Err() != nil:
		return found
	case err != nil:
		f.Kind, f.Err = dial.KindOf(err), err
	case f.Message != nil && !p.Expect.Holds(p.Request, f.Message):
		f.Kind = dial.Mismatch
	}
	return append(found, f)
}

// converse hears the banner, asks, and hears the reply.
func (p *Probe) converse(ctx context.Context, conn net.Conn, f *Finding) (err error) {
	framing := &replaceable{cmp.Or(p.Framing, parley.Framing(parley.Lines))}
	client := parley.NewClient(conn, framing.Framing)
	if p.Replies != nil {
		client = parley.NewClient(conn, framing)
	}
	if p.Banner {
		if f.Banner, err = p.hear(ctx, client, nil, p.BannerLacks, f); err != nil {
			return err
		}
		for more := p.Request != nil; more && err == nil; { // what came with the banner is no reply either
			_, more, err = client.TryReceive()
		}
	}
	if p.Replies != nil {
		framing.Framing = p.Replies
	}
	if p.Request != nil {
		f.Reply, err = p.hear(ctx, client, p.Request, p.ReplyLacks, f)
	}
	return err
}

// A replaceable framing can be another for the messages from some time on.
type replaceable struct{ parley.Framing }

// hear sends a request, if there is one, and waits for the next message.
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
