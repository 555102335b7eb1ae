package answer

import (
	"bytes"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// DialogueOptions say how strictly a dialogue is played.
type DialogueOptions struct {
	Framing  dialect.Framing
	AnyOrder bool // each message of the client may come at any time, and again

	// Failed is told of each session that is not as in the dialogue, for the first MostTold of them;
	// may be nil. It is called from any goroutine.
	Failed func(s *parley.Session, why string)
}

// A Dialogue is a Handler and Speaker that plays the server's side of a dialogue, each session from
// its top: it expects what the client says there, and says what the server does. A client that says
// something else is told so and hung up on, as a Mismatch. It is also an Observer, which notices
// clients that end before the dialogue does.
type Dialogue struct {
	file     string
	framing  dialect.Framing
	anyOrder bool
	failed   func(s *parley.Session, why string)
	turns    []turn // the first is what the server says before it is asked
	failures atomic.Int64
	goesOver bool // to TLS
	pauses   bool // before a reply
}

// A turn is a message of the client, and what the server does then.
type turn struct {
	step    *dialogue.Step    // nil of the first
	shown   string            // step, without credentials
	literal []byte            // what the message has to be, if catch is nil
	catch   *dialogue.Catcher // the same where there are names
	acts    []act
}

// An act is what the server does.
type act struct {
	step *dialogue.Step
	text *dialogue.Text // Expect: what it says
}

// NewDialogue makes the handler. An error begins with file:line.
func NewDialogue(d *dialogue.Dialogue, opt DialogueOptions) (*Dialogue, error) {
	p := &Dialogue{file: d.File, framing: opt.Framing, anyOrder: opt.AnyOrder, failed: opt.Failed, turns: make([]turn, 1)}
	var paused, secured bool // behind a message of the client, or tls, in this turn
	shown := d.Shown(opt.Framing)
	for i := range d.Steps {
		step := &d.Steps[i]
		current := &p.turns[len(p.turns)-1]
		switch step.Kind {
		case dialogue.Send:
			p.turns = append(p.turns, newTurn(step, shown[i]))
			paused, secured = false, false
			continue
		case dialogue.Expect:
			one, err := p.newAct(step)
			if err != nil {
				return nil, err
			}
			if secured {
				return nil, fmt.Errorf("%s:%d: a mock cannot speak first behind tls; put a > before it", d.File, step.Line)
			}
			p.pauses = p.pauses || paused && !current.speaks()
			current.acts = append(current.acts, one)
			continue
		case dialogue.Wait:
			paused = len(p.turns) > 1
		case dialogue.StartTLS:
			p.goesOver, secured = true, true
		case dialogue.End:
			continue // what is behind it is said without waiting for that
		}
		current.acts = append(current.acts, act{step: step})
	}
	return p, nil
}

func newTurn(step *dialogue.Step, shown string) turn {
	t := turn{step: step, shown: shown, literal: step.Text.Append(nil, nil)}
	if len(step.Text.Names()) > 0 {
		t.catch = step.Text.Catcher()
	}
	return t
}

// newAct finds what the server says in the place of an expectation.
func (d *Dialogue) newAct(step *dialogue.Step) (act, error) {
	judge := &step.Judge
	switch {
	case judge.Kind == dialogue.Exact:
		return act{step, &judge.Text}, nil
	case step.Example == nil:
		return act{}, fmt.Errorf("%s:%d: what is to be said for < %v? write eg TEXT on the line below it", d.file, step.Line, judge)
	}
	mayName := strings.Contains(judge.Pattern, "{") // of what was caught: nobody knows yet
	if !mayName && len(step.Example.Names()) == 0 && !d.holds(judge, step.Example.Append(nil, nil), dialogue.Values{}) {
		return act{}, fmt.Errorf("%s:%d: eg %v is not as < %v wants it", d.file, step.Line, step.Example, judge)
	}
	return act{step, step.Example}, nil
}

// holds reports whether a judge holds for what is said: of a protocol, whose messages are all of
// their bytes, for what becomes of it.
func (d *Dialogue) holds(judge *dialogue.Judge, said []byte, v dialogue.Values) bool {
	if protocol, is := d.framing.Requests.(parley.Protocol); is {
		_, replies := protocol.Open()
		if whole, err := replies.End(bytes.Clone(said), 0); err == nil && judge.Holds(whole, v) {
			return true
		}
	}
	return judge.Holds(said, v)
}

// speaks reports whether the server has said something in its turn.
func (t *turn) speaks() bool {
	for _, a := range t.acts {
		if a.text != nil {
			return true
		}
	}
	return false
}

// Blocks says why sessions need goroutines: there is a pause before a reply, or TLS begins inside of
// a session; "" if they do not.
func (d *Dialogue) Blocks() string {
	switch {
	case d.goesOver:
		return "a dialogue with tls"
	case d.pauses:
		return "a dialogue with wait before a reply"
	}
	return ""
}

// GoesOverToTLS says whether the dialogue has a tls step. Its connections have to come from Listener.
func (d *Dialogue) GoesOverToTLS() bool { return d.goesOver }

// Failures is how many sessions were not as in the dialogue.
func (d *Dialogue) Failures() int { return int(d.failures.Load()) }

// A playing is a session's place in the dialogue.
type playing struct {
	sayings
	turn   int // the last that was begun
	values dialogue.Values
	used   []bool // with AnyOrder, by turn
	over   bool   // it is not as in the dialogue, which was told
	conn   *conn  // of Listener; nil of another
}

// of is the place of a session. A new one begins at the top.
func (d *Dialogue) of(s *parley.Session) *playing {
	p, _ := s.Data.(*playing)
	if p == nil {
		p = new(playing)
		s.Data = p
	}
	if p.values == nil {
		p.values = dialogue.Values{"n": []byte("1"), "conn": strconv.AppendUint(nil, s.Number(), 10)}
		p.used = make([]bool, len(d.turns))
		d.act(p, d.turns[0].acts, s, s.Opened(), nil)
	}
	return p
}

// Speak says what is not the reply to a message.
func (d *Dialogue) Speak(dst []byte, s *parley.Session, now time.Time) ([]byte, time.Time, error) {
	return d.of(s).speak(dst, now)
}

// Reply says what the dialogue has behind the client's message: the first of it is the reply.
func (d *Dialogue) Reply(dst []byte, req *parley.Request) ([]byte, error) {
	p := d.of(req.Session)
	if p.conn.isGoingOver() {
		return d.mismatch(dst, p, req, "TLS, and not more in plain")
	}
	if p.isFull() {
		return nil, errMostWaiting
	}
	i := d.find(p, req.Body)
	switch {
	case i < 0 && !d.anyOrder && p.turn == len(d.turns)-1:
		return d.mismatch(dst, p, req, "nothing more")
	case i < 0 && !d.anyOrder:
		return d.mismatch(dst, p, req, d.turns[p.turn+1].shown)
	case i < 0:
		return d.mismatch(dst, p, req, "")
	}
	p.turn, p.used[i] = i, true
	r, before := &reply{dst: dst, none: true}, len(p.queue)
	d.act(p, d.turns[i].acts, req.Session, req.Time, r)
	p.addedSince(before)
	switch {
	case r.none:
		return nil, parley.ErrNoReply
	case r.last:
		return r.dst, parley.ErrHangUp
	}
	return r.dst, nil
}

// find is the turn that a message begins; -1 if it is not expected.
func (d *Dialogue) find(p *playing, body []byte) int {
	all := forms(&d.framing, body)
	if !d.anyOrder {
		if next := p.turn + 1; next < len(d.turns) && d.turns[next].begins(all, p.values) {
			return next
		}
		return -1
	}
	last := -1
	for i := range d.turns[1:] {
		caught := maps.Clone(p.values)
		if !d.turns[i+1].begins(all, caught) {
			continue
		}
		if last = i + 1; !p.used[last] {
			break
		}
	}
	if last > 0 {
		d.turns[last].begins(all, p.values)
	}
	return last
}

// begins reports whether a message, in one of its forms, is what begins the turn, and catches what its
// names stand for.
func (t *turn) begins(forms [][]byte, v dialogue.Values) bool {
	for _, form := range forms {
		if t.catch == nil {
			if bytes.Equal(form, t.literal) || len(forms) > 1 && bytes.Equal(trimEnd(t.literal), form) {
				return true
			}
			continue
		}
		if found := t.catch.Catch(form); found != nil && agree(found, v) {
			maps.Copy(v, found)
			return true
		}
	}
	return false
}

// agree reports whether what names stand for is what the server has said; {n} and {conn} are the
// client's own.
func agree(found, said dialogue.Values) bool {
	for name, value := range found {
		if before, known := said[name]; known && name != "n" && name != "conn" && !bytes.Equal(value, before) {
			return false
		}
	}
	return true
}

// A reply is what is to be said at once to a message.
type reply struct {
	dst  []byte
	none bool
	last bool
}

// act does what the server does in a turn that began at a time: what is not the reply is said
// unasked. r is nil where there is nothing to reply to.
func (d *Dialogue) act(p *playing, acts []act, s *parley.Session, at time.Time, r *reply) {
	last := r != nil // what is said last so far is the reply
	for _, a := range acts {
		switch {
		case a.step.Kind == dialogue.Wait:
			at = at.Add(a.step.Pause)
			last = false
		case a.step.Kind == dialogue.StartTLS:
			p.conn.goOver()
		case a.step.Kind == dialogue.ExpectEnd && last && !r.none:
			r.last = true
		case a.step.Kind == dialogue.ExpectEnd:
			p.add(saying{due: at, nothing: true, last: true})
		case r != nil && r.none:
			waitUntil(at, s)
			start := len(r.dst)
			r.dst, r.none, last = a.text.Append(r.dst, p.values), false, true
			d.holds(&a.step.Judge, r.dst[start:], p.values)
		default:
			message := a.text.Append(nil, p.values)
			d.holds(&a.step.Judge, message, p.values)
			p.add(saying{message: message, due: at})
			last = false
		}
	}
}

// A mismatch is why a session is not as in the dialogue.
type mismatch string

func (m mismatch) Error() string        { return string(m) }
func (m mismatch) Is(target error) bool { return target == parley.ErrMismatch }

// mismatch tells the client what was expected, in the place of its reply; wanted is empty if it might
// be one of several messages.
func (d *Dialogue) mismatch(dst []byte, p *playing, req *parley.Request, wanted string) ([]byte, error) {
	p.over = true
	place := d.file
	if next := p.turn + 1; !d.anyOrder && next < len(d.turns) {
		place = d.place(next)
	}
	why := "not what " + place + " expects"
	if wanted != "" {
		why += ": " + wanted
	}
	d.fail(req.Session, why)
	return append(append(dst, "Error: "...), why...), mismatch(why)
}

// place is where a turn begins.
func (d *Dialogue) place(i int) string { return fmt.Sprintf("%s:%d", d.file, d.turns[i].step.Line) }

func (d *Dialogue) fail(s *parley.Session, why string) {
	if d.failures.Add(1) <= MostTold && d.failed != nil {
		d.failed(s, why)
	}
}

// Wants the ends of sessions.
func (d *Dialogue) Wants(kind parley.EventKind) bool { return kind == parley.Closed }

// Observe notices a session that has begun and ends before the dialogue does. One that the server has
// ended for a stop is none, nor one of a client that has said nothing.
func (d *Dialogue) Observe(e *parley.Event) {
	p, _ := e.Session.Data.(*playing)
	stopped := e.Reason == parley.Draining || e.Reason == parley.DrainCut || e.Reason == parley.ServerClosed
	if p == nil || p.over || stopped || d.anyOrder || e.Seq == 0 || p.turn >= len(d.turns)-1 {
		return
	}
	d.fail(e.Session, fmt.Sprintf("it ended (%v) before %s: %s", e.Reason, d.place(p.turn+1), d.turns[p.turn+1].shown))
}
