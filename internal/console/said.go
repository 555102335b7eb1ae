package console

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// Said is what was said in a client's conversation, to be kept in a file. It holds 64 MiB of messages and
// what is known of each at most: of more the oldest are left out, and counted.
type Said struct {
	Wording
	events []saying
	size   int
	gone   int // events that are left out
}

// A saying is one thing that happened.
type saying struct {
	at            time.Time
	what          sayingKind
	target        string // opened
	remote, local string // opened
	message       dialect.Message
	took          time.Duration
	reason, why   string // closed
}

type sayingKind uint8

const (
	saidOpened sayingKind = iota
	saidSent
	saidReplied
	saidUnasked
	saidClosed
)

const (
	maxSaid    = 64 << 20
	heldBeside = 256 // bytes that each message is counted for beside its own
)

// Opened, Sent, Replied, Message and Closed keep what the methods of a view of that meaning show.
func (s *Said) Opened(target, remote, local string) {
	s.keep(saying{what: saidOpened, target: target, remote: remote, local: local})
}

func (s *Said) Sent(m dialect.Message) { s.keep(saying{what: saidSent, message: m}) }

func (s *Said) Replied(m dialect.Message, took time.Duration) {
	s.keep(saying{what: saidReplied, message: m, took: took})
}

func (s *Said) Message(m dialect.Message) { s.keep(saying{what: saidUnasked, message: m}) }

func (s *Said) Closed(reason, why string) { s.keep(saying{what: saidClosed, reason: reason, why: why}) }

func (s *Said) keep(e saying) {
	e.at = time.Now()
	e.message.Body = bytes.Clone(e.message.Body)
	s.events = append(s.events, e)
	for s.size += heldBeside + len(e.message.Body); s.size > maxSaid; s.gone++ {
		s.size -= heldBeside + len(s.events[0].message.Body)
		s.events = s.events[1:]
	}
}

// AppendMarkdown appends the conversation as the table of two terminals, of which the server's is what
// parley server would show.
func (s *Said) AppendMarkdown(dst []byte) []byte {
	const server, client = 0, 1
	table := NewTranscript("Server Terminal", "Client Terminal")
	narrative := NewClientNarrative(table.Column(client), nil, Piped)
	narrative.Wording = s.Wording
	if s.gone > 0 {
		table.Say(client, fmt.Sprintf("(what was said before is left out: %d lines)", s.gone))
	}
	for _, e := range s.events {
		m := e.message
		switch e.what {
		case saidOpened:
			table.Say(server, "Server: connection from "+e.local)
			narrative.Connected(e.target)
		case saidSent:
			narrative.Prompt()
			narrative.Typed(dialect.Message{Body: s.request(m)})
			narrative.Sending(m)
			table.Say(server, fmt.Sprintf("Server: incoming data [%d]: %s", uint64(len(m.Body))+m.Cut, s.request(m)))
		case saidReplied:
			narrative.Response(m, e.took)
		case saidUnasked:
			narrative.Message(m)
		case saidClosed:
			table.Say(server, "Server: Connection closed!")
			narrative.Closed(e.reason, e.why)
		}
	}
	var text bytes.Buffer
	table.Print(&text) // to memory, which does not fail
	return append(dst, text.Bytes()...)
}

// AppendJSON appends the events as ClientJSON has them, but for credentials, which are left out unless
// they are shown too.
func (s *Said) AppendJSON(dst []byte) []byte {
	var text bytes.Buffer
	events := NewClientJSON(&text, nil)
	events.Words, events.conceal = s.Words, !s.Secrets
	for _, e := range s.events {
		events.now = func() time.Time { return e.at }
		switch e.what {
		case saidOpened:
			events.Over(e.remote, e.local)
			events.Connected(e.target)
		case saidSent:
			events.Sending(e.message)
		case saidReplied:
			events.Response(e.message, e.took)
		case saidUnasked:
			events.Message(e.message)
		case saidClosed:
			events.Closed(e.reason, e.why)
		}
	}
	return append(dst, text.Bytes()...)
}

// AppendDialogue appends what was said over the last connection, as a dialogue that holds for the server
// again: numbers in its replies that the request has not may be others, since servers count.
func (s *Said) AppendDialogue(dst []byte, f dialect.Framing) ([]byte, error) {
	d := dialogue.Dialogue{Framing: f.Name}
	from := 0
	for i, e := range s.events {
		if e.what == saidOpened {
			from = i
		}
	}
	var request []byte
	for _, e := range s.events[from:] {
		m := e.message
		secret := s.conceals(m)
		switch {
		case e.what == saidOpened:
			d.Note(fmt.Sprintf("a conversation with %s, %s", AppendEscaped(nil, []byte(e.target)), e.at.UTC().Format(time.RFC3339)))
		case e.what == saidSent && secret:
			d.Note("credentials are left out: put them back")
			d.Steps = append(d.Steps, dialogue.Step{Kind: dialogue.Send, Text: dialogue.NewText(s.request(m))})
			request = nil
		case e.what == saidSent:
			d.Steps = append(d.Steps, dialogue.Step{Kind: dialogue.Send, Text: dialogue.NewText(requestText(f, m.Body))})
			request = m.Body
		case (e.what == saidReplied || e.what == saidUnasked) && secret:
			d.Steps = append(d.Steps, dialogue.Step{Kind: dialogue.Expect})
		case e.what == saidReplied || e.what == saidUnasked:
			d.Steps = append(d.Steps, expectation(f, request, m.Body))
		}
	}
	if len(d.Steps) == 0 {
		return dst, errors.New("nothing was said yet")
	}
	return d.Append(dst), nil
}

var numbers = regexp.MustCompile(`[0-9]+`)

// expectation is what a server says again to a request.
func expectation(f dialect.Framing, request, reply []byte) dialogue.Step {
	text := dialogue.NewText(reply)
	step := dialogue.Step{Kind: dialogue.Expect, Judge: dialogue.Judge{Kind: dialogue.Exact, Text: text}}
	steady := reply
	if f.Steady != nil {
		steady = f.Steady(request, reply)
	}
	pattern := ""
	switch {
	case len(steady) < len(reply):
		pattern = patternOf(reply, steady)
	case numbers.Match(reply):
		var counted bool
		if pattern, counted = patternOfCounts(request, reply); !counted {
			return step
		}
	default:
		return step
	}
	step.Judge = dialogue.Judge{Kind: dialogue.Matches, Pattern: pattern}
	step.Example = &text
	return step
}

// patternOfCounts is a regular expression of a reply in which numbers may be others, but not where it
// says the request again. Of a long one it is its beginning. counted is false if no number may.
func patternOfCounts(request, reply []byte) (pattern string, counted bool) {
	pattern = "^"
	end := "$"
	if len(reply) > maxPattern {
		reply, end = reply[:maxPattern], ""
	}
	request = bytes.TrimRight(request, "\r\n")
	at := 0 // what is before is in the pattern
	for from := 0; from < len(reply); {
		said := len(reply) // where the reply says the request again
		if n := bytes.Index(reply[from:], request); n >= 0 && len(request) > 0 {
			said = from + n
		}
		for _, number := range numbers.FindAllIndex(reply[from:said], -1) {
			pattern += dialogue.Quote(reply[at:from+number[0]]) + "[0-9]+"
			at, counted = from+number[1], true
		}
		from = min(said+len(request), len(reply))
		if said == len(reply) {
			break
		}
	}
	return pattern + dialogue.Quote(reply[at:]) + end, counted
}
