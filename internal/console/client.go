package console

import (
	"io"
	"strconv"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A sink is a stream that remembers its first error.
type sink struct {
	w    io.Writer
	err  error
	buf  []byte
	held bool // what is said is written later
}

// Together has what show says written at once.
func (s *sink) Together(show func()) {
	s.held = true
	show()
	s.held = false
	s.flush()
}

func (s *sink) flush() {
	if s.held && len(s.buf) < maxHeld {
		return
	}
	if s.err == nil && len(s.buf) > 0 {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
}

func (s *sink) say(format string, payload []byte, tail string) {
	s.buf = append(append(s.buf, format...), payload...)
	s.buf = append(append(s.buf, tail...), '\n')
	s.flush()
}

// maxHeld is how much a sink holds, in bytes.
const maxHeld = 64 << 10

// Err returns the first error of the output.
func (s *sink) Err() error { return s.err }

// Typing says how what a person types gets to the screen.
type Typing int

const (
	Piped     Typing = iota // nobody types: the prompt and the line read are printed
	Typed                   // a terminal shows them; the prompt goes to the narrative
	Elsewhere               // a terminal shows them, but the narrative goes to no terminal
)

// A Wording says how messages are shown: in words, where their protocol has any.
type Wording struct {
	Words   dialect.Words // nil if a message is its words
	Secrets bool          // shows credentials too
}

func (w *Wording) request(m dialect.Message) []byte { return w.text(parley.Received, m) }
func (w *Wording) reply(m dialect.Message) []byte   { return w.text(parley.Replied, m) }

func (w *Wording) text(kind parley.EventKind, m dialect.Message) []byte {
	shown := messages{w.Words, w.Secrets}
	return shown.appendText(nil, &parley.Event{Kind: kind, Body: m.Body, Cut: m.Cut}, m.Secret && !w.Secrets)
}

// A ClientNarrative tells the conversation in the words of the seed.
type ClientNarrative struct {
	sink
	Wording
	prompt io.Writer // where the prompt goes; nil if to the narrative
	typing Typing
	asking bool // the prompt stands unanswered at the end of the line
}

// NewClientNarrative writes to out, and prompts on prompt if the two terminals differ.
func NewClientNarrative(out, prompt io.Writer, typing Typing) *ClientNarrative {
	if typing != Elsewhere {
		prompt = nil
	}
	return &ClientNarrative{sink: sink{w: out}, prompt: prompt, typing: typing}
}

func (n *ClientNarrative) Connected(target string) {
	n.say("Client: Connected to ", AppendEscaped(nil, []byte(target)), "")
}

func (n *ClientNarrative) Prompt() { n.ask("Enter data: ") }

func (n *ClientNarrative) PromptMore() { n.ask("... ") }

func (n *ClientNarrative) ask(prompt string) {
	n.asking = true
	n.beside(prompt)
}

// beside writes to where the prompt goes.
func (n *ClientNarrative) beside(text string) {
	if n.prompt == nil {
		n.buf = append(n.buf, text...)
		n.flush()
	} else if _, err := io.WriteString(n.prompt, text); err != nil && n.err == nil {
		n.err = err
	}
}

// Typed shows a line whole that is no secret, as it was typed.
func (n *ClientNarrative) Typed(line dialect.Message) {
	switch {
	case n.typing == Piped && line.Secret:
		n.say("", n.request(line), "")
	case n.typing == Piped:
		n.say("", AppendPayload(nil, line.Body), "")
	case line.Body == nil: // Ctrl-D leaves the cursor behind the prompt
		n.beside("\n")
	}
	n.asking = false
}

func (n *ClientNarrative) Sending(request dialect.Message) {
	n.say("Client: sending ["+strconv.FormatUint(uint64(len(request.Body))+request.Cut, 10)+"] ", n.request(request), " ...")
}

func (n *ClientNarrative) Response(reply dialect.Message, _ time.Duration) {
	n.say("Client: server response: ", n.reply(reply), "")
}

func (n *ClientNarrative) Message(m dialect.Message) {
	n.leavePrompt()
	n.say("Client: server message: ", n.reply(m), "")
}

// Unfinished shows what came; what it lacks the error says.
func (n *ClientNarrative) Unfinished(came []byte, _ string) {
	n.leavePrompt()
	n.say("Client: unfinished response: ", AppendPayload(nil, came), "")
}

// NotSent goes where it was typed.
func (n *ClientNarrative) NotSent(typed []byte, why string) {
	n.leavePrompt()
	n.beside("Client: not sent: " + string(appendNotSent(nil, typed, why)) + "\n")
}

func (n *ClientNarrative) Closed(_, why string) {
	n.leavePrompt()
	if why != "" {
		why = " (" + why + ")"
	}
	n.say("Client: Connection closed", AppendEscaped(nil, []byte(why)), "")
}

// leavePrompt begins a new line if a prompt stands unanswered.
func (n *ClientNarrative) leavePrompt() {
	if n.asking {
		n.beside("\n")
		n.asking = false
	}
}

// Replies shows replies only. What else is said or typed goes to standard error.
type Replies struct {
	sink
	Wording
	stderr io.Writer
	escape bool

	// PrintReply, if not nil, shows a reply as its protocol's own client does, newline included.
	PrintReply func(dst, reply []byte, terminal bool) []byte
}

// NewReplies writes each reply to out, its exact bytes and a newline, or as the narrative
// shows it.
func NewReplies(out, stderr io.Writer, escape bool) *Replies {
	return &Replies{sink: sink{w: out}, stderr: stderr, escape: escape}
}

func (r *Replies) Connected(string)        {}
func (r *Replies) Prompt()                 {}
func (r *Replies) PromptMore()             {}
func (r *Replies) Typed(dialect.Message)   {}
func (r *Replies) Sending(dialect.Message) {}
func (r *Replies) Closed(string, string)   {}

func (r *Replies) Response(reply dialect.Message, _ time.Duration) {
	if r.PrintReply == nil {
		r.exactly(reply.Body)
		return
	}
	r.buf = r.PrintReply(r.buf, reply.Body, r.escape)
	r.flush()
}

func (r *Replies) exactly(reply []byte) {
	if r.escape {
		reply = AppendPayload(nil, reply)
	}
	r.say("", reply, "")
}

// Unfinished shows what came as if it were whole; what it lacks the error says.
func (r *Replies) Unfinished(came []byte, _ string) { r.exactly(came) }

func (r *Replies) Message(m dialect.Message) { r.note("server message: ", r.reply(m)) }

func (r *Replies) NotSent(typed []byte, why string) {
	r.note("not sent: ", appendNotSent(nil, typed, why))
}

// appendNotSent appends what was typed, and why it was not sent if that is said.
func appendNotSent(dst, typed []byte, why string) []byte {
	dst = AppendPayload(dst, typed)
	if why != "" {
		dst = AppendEscaped(dst, []byte(" ("+why+")"))
	}
	return dst
}

func (r *Replies) note(what string, text []byte) {
	io.WriteString(r.stderr, "parley: "+what+string(text)+"\n")
}

// A ClientJSON writes events, one object a line. They are exact, credentials included.
type ClientJSON struct {
	sink
	Words         dialect.Words // of messages, beside their bytes; nil for none
	remote, local string
	opened        time.Time
	sent          uint64
}

// NewClientJSON writes to out about a connection between these two addresses.
func NewClientJSON(out io.Writer, remote, local string) *ClientJSON {
	return &ClientJSON{sink: sink{w: out}, remote: remote, local: local}
}

func (j *ClientJSON) event(name string, seq uint64, fields func(dst []byte, now time.Time) []byte) {
	now := time.Now()
	if j.opened.IsZero() {
		j.opened = now
	}
	dst := append(append(append(j.buf, `{"event":"`...), name...), '"')
	dst = append(appendTime(dst, now), `,"side":"client","session":1`...)
	dst = appendCount(dst, "seq", seq)
	dst = appendJSONString(append(dst, `,"remote":`...), j.remote)
	dst = appendJSONString(append(dst, `,"local":`...), j.local)
	if fields != nil {
		dst = fields(dst, now)
	}
	j.buf = append(dst, "}\n"...)
	j.flush()
}

func (j *ClientJSON) Connected(string)      { j.event("opened", 0, nil) }
func (j *ClientJSON) Prompt()               {}
func (j *ClientJSON) PromptMore()           {}
func (j *ClientJSON) Typed(dialect.Message) {}

func (j *ClientJSON) Sending(request dialect.Message) {
	j.sent++
	j.event("sent", j.sent, func(dst []byte, _ time.Time) []byte {
		dst = appendPayloadField(dst, request.Body)
		if j.Words != nil {
			dst = j.appendText(dst, j.Words.AppendRequest(nil, dialect.Message{Body: request.Body}))
		}
		return dst
	})
}

func (j *ClientJSON) Response(reply dialect.Message, took time.Duration) {
	j.event("replied", j.sent, func(dst []byte, _ time.Time) []byte {
		return appendTook(j.appendReply(dst, reply), took)
	})
}

func (j *ClientJSON) Message(m dialect.Message) {
	j.event("message", 0, func(dst []byte, _ time.Time) []byte { return j.appendReply(dst, m) })
}

func (j *ClientJSON) appendReply(dst []byte, m dialect.Message) []byte {
	dst = appendPayloadField(dst, m.Body)
	if j.Words != nil {
		dst = j.appendText(dst, j.Words.AppendReply(nil, dialect.Message{Body: m.Body}))
	}
	return dst
}

func (*ClientJSON) appendText(dst, text []byte) []byte {
	return appendJSONString(append(dst, `,"text":`...), string(text))
}

func (j *ClientJSON) Unfinished(came []byte, lacks string) {
	j.event("unfinished", j.sent, func(dst []byte, _ time.Time) []byte {
		return appendJSONString(append(appendPayloadField(dst, came), `,"error":`...), lacks)
	})
}

func (j *ClientJSON) NotSent(typed []byte, why string) {
	j.event("not_sent", 0, func(dst []byte, _ time.Time) []byte {
		dst = appendPayloadField(dst, typed)
		if why != "" {
			dst = appendJSONString(append(dst, `,"error":`...), why)
		}
		return dst
	})
}

func (j *ClientJSON) Closed(reason, why string) {
	j.event("closed", j.sent, func(dst []byte, now time.Time) []byte {
		dst = appendTook(dst, now.Sub(j.opened))
		dst = appendJSONString(append(dst, `,"reason":`...), reason)
		if why != "" {
			dst = appendJSONString(append(dst, `,"error":`...), why)
		}
		return dst
	})
}
