package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// Unplayable is the kind of failure of a dialogue that cannot be played as it is: nothing of it is
// the network's fault.
const Unplayable dial.Kind = "unplayable"

// A Script is a dialogue that a Probe plays over its connection, in place of asking one thing.
type Script struct {
	Dialogue *dialogue.Dialogue
	Framing  dialect.Framing
	TLS      *tls.Config // for its tls step; may be nil if it has none

	plays int // so far, each over a connection of its own
}

// A Played is a step of a dialogue that was played, the last one perhaps in vain.
type Played struct {
	*dialogue.Step
	Message []byte // sent or received; nil if there is none
	Secret  bool   // it has credentials
	Took    time.Duration
	Err     error // nil if it held
}

// play plays the dialogue. {n} and {conn} are the number of the play.
func (p *Probe) play(ctx context.Context, conn net.Conn, f *Finding) error {
	s := p.Script
	s.plays++
	number := strconv.AppendInt(nil, int64(s.plays), 10)
	player := dialogue.Player{Framing: s.Framing, Timeout: p.Timeout,
		StartTLS: func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			dialer := p.Dialer
			dialer.TLS = f.verifying(s.TLS, dialer.Host)
			return dialer.Handshake(ctx, conn)
		},
		Done: func(done dialogue.Done) {
			played := Played{Step: done.Step, Secret: done.Note.Secret, Took: done.Took, Err: done.Err}
			if done.Message != nil {
				played.Message = append([]byte{}, done.Message...)
			}
			f.Played = append(f.Played, played)
		}}
	play := player.Open(conn)
	defer play.Close()
	begin := time.Now()
	err := play.Run(ctx, s.Dialogue, dialogue.Values{"n": number, "conn": number})
	if err == nil {
		f.Dialogue = time.Since(begin)
	}
	return err
}

// kindOf is dial.KindOf, of the errors of a dialogue too.
func kindOf(err error) dial.Kind {
	var failure *dialogue.Failure
	switch {
	case !errors.As(err, &failure):
		return dial.KindOf(err)
	case failure.Local():
		return Unplayable
	}
	return failure.Kind()
}

// scriptVerdict is the verdict on a dialogue in words, below it where a long text differs.
func (c *Check) scriptVerdict(f *Finding) []byte {
	took := times(f)
	for i, played := range f.Played {
		if played.Kind != dialogue.Send { // that takes no time, as a rule
			took += fmt.Sprintf(", %d: %s", i+1, milliseconds(played.Took))
		}
	}
	if f.Kind == Expiring {
		return console.AppendEscaped(nil, []byte(f.Address+" "+f.Secured.expiry(c.Probe.Expires)+": "+took))
	}
	file := c.Probe.Script.Dialogue.File
	var failure *dialogue.Failure
	switch {
	case f.Kind == "":
		return console.AppendEscaped(nil, fmt.Appendf(nil, "%s %s held: %s", f.Address, file, took))
	case !errors.As(f.Err, &failure):
		text := file + ": " + c.why(f)
		if f.Connected || f.TLS > 0 || f.StartTLS > 0 {
			text += " (" + took + ")"
		}
		return console.AppendEscaped(nil, []byte(text))
	}
	verdict := console.AppendEscaped(nil, fmt.Appendf(nil, "%s (%s)", c.why(f), took))
	for line := range strings.Lines(failure.Diff()) {
		verdict = append(verdict, "\n  "...)
		verdict = console.AppendEscaped(verdict, []byte(strings.TrimSuffix(line, "\n")))
	}
	return verdict
}

// whyScript says in words what failed of a dialogue that could be begun.
func whyScript(place string, f *Finding) (why string, ok bool) {
	var failure *dialogue.Failure
	if !errors.As(f.Err, &failure) {
		return "", false
	}
	return place + ": " + failure.Error(), true
}

var stepNames = map[dialogue.Kind]string{
	dialogue.Send: "send", dialogue.Expect: "expect", dialogue.StartTLS: "tls",
	dialogue.Wait: "wait", dialogue.End: "eof", dialogue.ExpectEnd: "expect_eof",
}

// describeScript adds a dialogue, and the steps of it that were played, to a verdict in JSON.
func (c *Check) describeScript(o *console.Object, f *Finding) {
	o.Text("script", c.Probe.Script.Dialogue.File)
	if f.Dialogue > 0 {
		o.Number("dialogue_ns", int64(f.Dialogue))
	}
	o.Objects("steps", len(f.Played), func(i int, step *console.Object) {
		played := &f.Played[i]
		step.Number("line", int64(played.Line))
		step.Text("kind", stepNames[played.Kind])
		step.Number("took_ns", int64(played.Took))
		switch played.Kind {
		case dialogue.Expect:
			step.Text("want", played.Judge.String())
		case dialogue.ExpectEnd:
			step.Text("want", "eof")
		}
		if played.Message != nil {
			step.Payload(played.Message)
			c.describeInWords(step, played)
		}
		if played.Secret {
			step.Truth("secret", true)
		}
		step.Truth("held", played.Err == nil)
	})
}

// describeInWords adds what a message of a protocol is in words.
func (c *Check) describeInWords(step *console.Object, played *Played) {
	words, message := c.Probe.Script.Framing.Words, dialect.Message{Body: played.Message}
	switch {
	case words == nil:
	case played.Kind == dialogue.Send:
		step.Text("text", string(words.AppendRequest(nil, message)))
	default:
		step.Text("text", string(words.AppendReply(nil, message)))
	}
}
