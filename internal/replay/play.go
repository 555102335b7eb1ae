package replay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A play is one session that is played.
type play struct {
	*run
	session  Session
	client   *parley.Client
	requests parley.Framing // of what the client said
	heard    *heard         // the framing of what the server says
	hungUp   bool           // it was said that nothing more will be sent
	begun    time.Time
	steps    []step             // all of them; nil once it has ended
	sendings map[uint64]sending // of a rate, by their numbers

	// Of a protocol, which knows what is a reply and what came unasked: these need not come in
	// the recorded order.
	tellsApart       bool
	owed             int       // requests whose reply has not come
	replies, unasked []message // came, and nothing was compared with them yet

	// For those that begin later, in times of the recording:
	nextAt  time.Time // of what it comes to next; guarded by run.mu
	over    bool      // nothing of it is awaited; the same
	knownAt time.Time // nextAt when it was looked at
}

// A message is one that came, and when.
type message struct {
	bytes []byte
	at    time.Time
}

// play connects, says what the client said, and compares what the server says.
func (p *play) play() {
	p.begun = time.Now()
	steps := p.steps
	if err := p.connect(steps); err != nil {
		p.unreachable(err)
		return
	}
	defer p.client.Close()
	p.count(func(sum *Summary) { sum.Sessions++ })
	if p.awaitsGreeting(steps) && !p.greeted() {
		return
	}
	for goOn := true; len(steps) > 0; {
		if s := steps[0]; s.sent {
			steps, goOn = steps[1:], p.say(s)
		} else {
			steps, goOn = p.expect(steps)
			p.comesTo(steps)
		}
		if !goOn {
			return
		}
	}
	p.hangUp()
}

// connect dials the server. What is said goes out as it is.
func (p *play) connect(steps []step) (err error) {
	f := p.framing()
	requests, replies := parley.OpenFraming(f.Requests, f.Replies)
	_, p.tellsApart = f.Requests.(parley.Protocol)
	stream := replies == parley.Chunks
	if p.awaitsGreeting(steps) && !p.tellsApart && !stream {
		requests, replies = dialect.Greeted(f.Requests, f.Replies, f.OfGreeting().Requests).Open()
	}
	p.requests, p.heard = requests, &heard{replies, stream}
	longest := uint64(0)
	for _, s := range steps {
		longest = max(longest, s.length())
	}
	const most, more = 16 << 20, 1 << 20 // a reply may have grown
	dialer := parley.Dialer{
		Framing: parley.Chunks, Replies: p.heard, MaxReply: int(max(most, min(longest, math.MaxInt-more)+more)),
		NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(ctx) },
	}
	p.client, err = dialer.Dial(p.ctx, "")
	return err
}

// framing is that of the session.
func (p *play) framing() dialect.Framing {
	f := p.session.Framing
	if f.Name == "" {
		f = p.Framing
	}
	if p.Greeted {
		f = f.BehindGreeting()
	}
	return f
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

// awaitsGreeting says whether a message of the server is to be there before anything is sent, of
// which the recording has nothing.
func (p *play) awaitsGreeting(steps []step) bool {
	return p.Banner && (len(steps) == 0 || steps[0].sent)
}

// greeted awaits the message that a server begins with.
func (p *play) greeted() bool {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout())
	defer cancel()
	_, err := p.next(ctx, true)
	if err != nil && p.ctx.Err() == nil {
		p.count(func(sum *Summary) { sum.Broken++ })
		p.differs(Difference{Node: p.session.Node, Session: p.session.Number, Lost: "no greeting, " + p.lost(err)})
	}
	return err == nil
}

// say sends what the client had sent, when it is due, and reports whether the session goes on.
func (p *play) say(s step) bool {
	if s.cut > 0 {
		p.count(func(sum *Summary) { sum.Cut++ })
		return false
	}
	sent, whole, err := p.framed(s)
	if err != nil {
		p.cancel(fmt.Errorf("request %d of session %d does not go with this framing: %w", s.seq, p.session.Number, err))
		return false
	}
	due := p.due(s)
	if !p.sleepUntil(due) {
		return false
	}
	if p.Rate > 0 && s.answered && s.seq > 0 {
		if p.sendings == nil {
			p.sendings = make(map[uint64]sending)
		}
		p.sendings[s.seq] = sending{due, time.Now()}
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout())
	defer cancel()
	// Whether it could be sent shows at the next reply; if none was recorded nothing is
	// lost.
	if err := p.client.Send(ctx, sent); err != nil && p.ctx.Err() != nil {
		return false
	}
	if s.last && !whole { // it was the end of file that ended it, and nothing is answered before
		p.closeWrite()
	}
	if s.seq > 0 {
		p.count(func(sum *Summary) {
			sum.Requests++
			if !s.answered {
				sum.Unanswered++
			}
		})
	}
	return true
}

// framed is what a step sends: what was sent then, or what the framing makes of it. It is whole
// if no more needs to come behind it.
func (p *play) framed(s step) (sent []byte, whole bool, err error) {
	sent = s.bytes
	if !s.raw {
		if sent, err = p.requests.End(append(p.requests.Begin(nil), s.bytes...), 0); err != nil {
			return nil, false, err
		}
	}
	whole = s.raw || p.tellsApart
	if s.raw || !p.tellsApart { // or End has seen it
		whole = p.follow(sent)
	}
	if s.seq > 0 && !noteOf(p.requests).Alone {
		p.owed++
	}
	return sent, whole, nil
}

// noLimit leaves framings room to count past it.
const noLimit = math.MaxInt / 2

// follow has the framing see what is sent, since a protocol must, and reports whether that ends
// where a message does.
func (p *play) follow(sent []byte) (whole bool) {
	for len(sent) > 0 {
		n, _, err := p.requests.Next(sent, 0, noLimit, false)
		switch {
		case err != nil && err != parley.ErrStray:
			// As a tap takes what comes from here on: nobody can tell what answers what.
			p.requests, p.heard.stream = parley.Chunks, true
			return true
		case n == 0:
			p.requests.Next(sent, len(sent), noLimit, true)
			return false
		}
		sent = sent[n:]
	}
	return true
}

func noteOf(framing parley.Framing) parley.Note {
	if noter, ok := framing.(parley.Noter); ok {
		return noter.Note()
	}
	return parley.Note{}
}

func (p *play) timeout() time.Duration { return cmp.Or(p.Timeout, 10*time.Second) }

// expect compares what comes with what was recorded, which is the first of steps, and reports whether the
// session goes on, with which steps. Where messages cannot be told apart it is all up to the next that the
// client had sent.
func (p *play) expect(steps []step) ([]step, bool) {
	s, rest := steps[0], steps[1:]
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout())
	defer cancel()
	came, err := p.next(ctx, s.seq == 0)
	got := came.bytes
	if err == nil {
		p.replied(s.seq, came.at)
	}
	if p.heard.stream {
		s, rest = joined(s, rest)
		ahead, behind := steps, uint64(0) // the messages that are not whole, and the bytes of those that are
		for err == nil && uint64(len(got)) < s.length() {
			for behind+ahead[0].length() <= uint64(len(got)) {
				behind, ahead = behind+ahead[0].length(), ahead[1:]
			}
			p.comesTo(ahead)
			var more []byte
			more, err = p.client.Receive(ctx)
			got = append(got, more...)
		}
	}
	if p.ctx.Err() != nil {
		return nil, false
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
	if got == nil || !p.same(s.bytes, s.cut, got, p.steady(s.seq)) {
		p.differs(Difference{p.session.Node, p.session.Number, s.seq, s.bytes, got, p.lost(err)})
	}
	return rest, err == nil
}

// steady takes of the reply to a request what the server says again.
func (p *play) steady(seq uint64) func(reply []byte) []byte {
	f := p.framing()
	if f.Steady == nil || p.heard.stream {
		return func(reply []byte) []byte { return reply }
	}
	var request []byte
	for _, x := range p.session.Exchanges {
		if x.Seq == seq && x.Request != nil {
			request = x.Request
		}
	}
	return func(reply []byte) []byte { return f.Steady(request, reply) }
}

// joined is a step with those that follow up to the client's next.
func joined(s step, rest []step) (step, []step) {
	s.bytes = slices.Clip(s.bytes)
	for s.cut == 0 && len(rest) > 0 && !rest[0].sent {
		s.bytes, s.cut = append(s.bytes, rest[0].bytes...), rest[0].cut
		rest = rest[1:]
	}
	return s, rest
}

// next returns the next message, whose bytes are its caller's and never nil: of a protocol the next
// reply, or the next message that came unasked. The others wait.
func (p *play) next(ctx context.Context, unasked bool) (message, error) {
	queue := &p.replies
	if unasked {
		queue = &p.unasked
	}
	for len(*queue) == 0 {
		body, err := p.client.Receive(ctx)
		if err != nil {
			return message{}, err
		}
		one := message{append([]byte{}, body...), time.Now()}
		switch {
		case !p.tellsApart, p.heard.stream:
			return one, nil
		case p.owed == 0, p.client.Note().Alone:
			p.unasked = append(p.unasked, one)
		default:
			p.owed--
			p.replies = append(p.replies, one)
		}
	}
	one := (*queue)[0]
	*queue = (*queue)[1:]
	return one, nil
}

// lost says in words why a reply did not come.
func (p *play) lost(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("nothing more within %v", p.timeout())
	case dial.KindOf(err) == dial.Closed && !errors.Is(err, parley.ErrTruncated):
		return "closed by the server"
	}
	return dial.Reason(err)
}

// hangUp says that nothing more will be sent, and tells what the server has to say beyond
// the recording.
func (p *play) hangUp() {
	for _, message := range slices.Concat(p.replies, p.unasked) {
		p.differs(Difference{Node: p.session.Node, Session: p.session.Number, Got: message.bytes})
	}
	if p.closeWrite() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, min(lastWords, p.timeout()))
	defer cancel()
	for {
		body, err := p.client.Receive(ctx)
		if err != nil {
			return
		}
		p.differs(Difference{Node: p.session.Node, Session: p.session.Number, Got: bytes.Clone(body)})
	}
}

func (p *play) closeWrite() error {
	if p.hungUp {
		return nil
	}
	p.hungUp = true
	return p.client.CloseWrite()
}

// heard is the framing of what the server says. What can be no message of it, and what comes
// once a protocol has been left, is taken as it comes, as a tap does.
type heard struct {
	parley.Framing
	stream bool
}

func (h *heard) Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error) {
	if !h.stream {
		n, body, err = h.Framing.Next(buf, scanned, max, eof)
		h.stream = errors.Is(err, parley.ErrMalformed) || err == nil && dialect.Streams(h.Framing)
	}
	if h.stream {
		return len(buf), buf, nil
	}
	return n, body, err
}

func (h *heard) Note() parley.Note { return noteOf(h.Framing) }
