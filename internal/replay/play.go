package replay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
)

// A play is one session that is played.
type play struct {
	*run
	session Session
	client  *parley.Client
	begun   time.Time
	done    chan struct{}
}

// A step is a request to send or a reply to expect.
type step struct {
	at       time.Time // in the recording
	seq      uint64
	request  bool
	answered bool // a request that was
	body     []byte
	cut      uint64
}

// script is the session's messages in the order of the recording, both sides' as they met.
func (p *play) script() (steps []step) {
	// Where a request is earlier than the one before it, the clock was set back: what comes
	// is put behind what was.
	var ahead time.Duration
	request, last := p.session.Opened, p.session.Opened
	for _, x := range p.session.Exchanges {
		received := x.Received.Add(ahead)
		if x.Request != nil {
			if received.Before(request) {
				ahead += last.Sub(received)
				received = last
			}
			request = received
			steps = append(steps, step{received, x.Seq, true, x.Reply != nil, x.Request, x.RequestCut})
		}
		replied := received.Add(x.Took)
		if x.Reply != nil {
			steps = append(steps, step{replied, x.Seq, false, false, x.Reply, x.ReplyCut})
		}
		if replied.After(last) {
			last = replied
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	if !p.Stream {
		return steps
	}
	joined := steps[:0]
	for _, s := range steps {
		if n := len(joined); n > 0 && !s.request && !joined[n-1].request && joined[n-1].cut == 0 {
			last := &joined[n-1]
			last.body, last.cut = slices.Concat(last.body, s.body), s.cut
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// play connects, says what the client said, and compares what the server says.
func (p *play) play() {
	p.begun = time.Now()
	dialer := parley.Dialer{Framing: p.Framing, Replies: p.Replies, NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx) }}
	client, err := dialer.Dial(p.ctx, "")
	if err != nil {
		p.unreachable(err)
		return
	}
	defer client.Close()
	p.client = client
	p.count(func(sum *Summary) { sum.Sessions++ })
	for _, s := range p.script() {
		goOn := p.expect
		if s.request {
			goOn = p.say
		}
		if !goOn(s) {
			return
		}
	}
	p.hangUp()
}

func (p *play) unreachable(err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.count(func(sum *Summary) {
		sum.Unreachable++
		sum.Err = cmp.Or(sum.Err, err)
	})
}

// say sends a request when it is due, and reports whether the session goes on.
func (p *play) say(s step) bool {
	if s.cut > 0 {
		p.count(func(sum *Summary) { sum.Cut++ })
		return false
	}
	if err := p.carries(s.body); err != nil {
		p.cancel(fmt.Errorf("request %d of session %d does not go with this framing: %w", s.seq, p.session.Number, err))
		return false
	}
	if !p.sleepUntil(p.begun.Add(p.scaled(s.at.Sub(p.session.Opened)))) {
		return false
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout())
	defer cancel()
	// Whether it could be sent shows at the next reply; if none was recorded nothing is
	// lost.
	if err := p.client.Send(ctx, s.body); err != nil && p.ctx.Err() != nil {
		return false
	}
	p.count(func(sum *Summary) {
		sum.Requests++
		if !s.answered {
			sum.Unanswered++
		}
	})
	return true
}

func (p *play) framing() parley.Framing { return cmp.Or(p.Framing, parley.Lines) }

func (p *play) carries(body []byte) error {
	_, err := p.framing().End(append(p.framing().Begin(nil), body...), 0)
	return err
}

func (p *play) timeout() time.Duration { return cmp.Or(p.Timeout, 10*time.Second) }

// expect compares what comes with what was recorded, and reports whether the session
// goes on.
func (p *play) expect(s step) bool {
	got, err := p.receive(uint64(len(s.body)) + s.cut)
	if p.ctx.Err() != nil {
		return false
	}
	p.count(func(sum *Summary) {
		sum.Replies++
		if s.seq == 0 {
			sum.Unasked++
		}
		if err != nil {
			sum.Broken++
		}
	})
	if got == nil || !p.same(s.body, s.cut, got) {
		p.differs(Difference{p.session.Number, s.seq, s.body, got, p.lost(err)})
	}
	return err == nil
}

// receive returns the next message, nil if none came; of a Stream what has come once it
// is as long as the recorded one.
func (p *play) receive(length uint64) (got []byte, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout())
	defer cancel()
	for {
		body, err := p.client.Receive(ctx)
		if err != nil {
			return got, err
		}
		got = append(got, body...)
		if got == nil {
			got = []byte{}
		}
		if !p.Stream || uint64(len(got)) >= length {
			return got, nil
		}
	}
}

// lost says in words why a reply did not come.
func (p *play) lost(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("nothing more within %v", p.timeout())
	case dial.KindOf(err) == dial.Closed:
		return "closed by the server"
	}
	return dial.Reason(err)
}

// hangUp says that nothing more will be sent, and tells what the server has to say beyond
// the recording.
func (p *play) hangUp() {
	if p.client.CloseWrite() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, min(lastWords, p.timeout()))
	defer cancel()
	for {
		body, err := p.client.Receive(ctx)
		if err != nil {
			return
		}
		p.differs(Difference{Session: p.session.Number, Got: bytes.Clone(body)})
	}
}
