package console

import (
	"io"
	"strconv"
	"time"
)

// A sink is a stream that remembers its first error.
type sink struct {
	w   io.Writer
	err error
	buf []byte
}

func (s *sink) flush() {
	if s.err == nil {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
}

func (s *sink) say(format string, payload []byte, tail string) {
	s.buf = append(append(s.buf, format...), payload...)
	s.buf = append(append(s.buf, tail...), '\n')
	s.flush()
}

// Err returns the first error of the output.
func (s *sink) Err() error { return s.err }

// Typing says how what a person types gets to the screen.
type Typing int

const (
	Piped     Typing = iota // nobody types: the prompt and the line read are printed
	Typed                   // a terminal shows them; the prompt goes to the narrative
	Elsewhere               // a terminal shows them, but the narrative goes to no terminal
)

// A ClientNarrative tells the conversation in the words of the seed.
type ClientNarrative struct {
	sink
	prompt io.Writer // where the prompt goes
	typing Typing
	asking bool // the prompt stands unanswered at the end of the line
}

// NewClientNarrative writes to out, and prompts on prompt if the two terminals differ.
func NewClientNarrative(out, prompt io.Writer, typing Typing) *ClientNarrative {
	if typing != Elsewhere {
		prompt = out
	}
	return &ClientNarrative{sink: sink{w: out}, prompt: prompt, typing: typing}
}

func (n *ClientNarrative) Connected(target string) {
	n.say("Client: Connected to ", AppendEscaped(nil, []byte(target)), "")
}

func (n *ClientNarrative) Prompt() {
	n.asking = true
	if _, err := io.WriteString(n.prompt, "Enter data: "); err != nil && n.err == nil {
		n.err = err
	}
}

func (n *ClientNarrative) Typed(line []byte) {
	switch {
	case n.typing == Piped:
		n.say("", AppendPayload(nil, line), "")
	case line == nil: // Ctrl-D leaves the cursor behind the prompt
		io.WriteString(n.prompt, "\n")
	}
	n.asking = false
}

func (n *ClientNarrative) Sending(request []byte) {
	n.say("Client: sending ["+strconv.Itoa(len(request))+"] ", AppendPayload(nil, request), " ...")
}

func (n *ClientNarrative) Response(reply []byte, _ time.Duration) {
	n.say("Client: server response: ", AppendPayload(nil, reply), "")
}

func (n *ClientNarrative) Message(body []byte) {
	n.leavePrompt()
	n.say("Client: server message: ", AppendPayload(nil, body), "")
}

// Unfinished shows what came; what it lacks the error says.
func (n *ClientNarrative) Unfinished(came []byte, _ string) {
	n.leavePrompt()
	n.say("Client: unfinished response: ", AppendPayload(nil, came), "")
}

// NotSent goes where it was typed.
func (n *ClientNarrative) NotSent(typed []byte) {
	n.leavePrompt()
	io.WriteString(n.prompt, "Client: not sent: "+string(AppendPayload(nil, typed))+"\n")
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
		io.WriteString(n.prompt, "\n")
		n.asking = false
	}
}

// Replies shows replies only. What else is said or typed goes to standard error.
type Replies struct {
	sink
	stderr io.Writer
	escape bool
}

// NewReplies writes each reply to out, its exact bytes and a newline, or as the narrative
// shows it.
func NewReplies(out, stderr io.Writer, escape bool) *Replies {
	return &Replies{sink: sink{w: out}, stderr: stderr, escape: escape}
}

func (r *Replies) Connected(string)      {}
func (r *Replies) Prompt()               {}
func (r *Replies) Typed([]byte)          {}
func (r *Replies) Sending([]byte)        {}
func (r *Replies) Closed(string, string) {}

func (r *Replies) Response(reply []byte, _ time.Duration) {
	if r.escape {
		reply = AppendPayload(nil, reply)
	}
	r.say("", reply, "")
}

// Unfinished shows what came as if it were whole; what it lacks the error says.
func (r *Replies) Unfinished(came []byte, _ string) { r.Response(came, 0) }

func (r *Replies) Message(body []byte) { r.note("server message: ", body) }

func (r *Replies) NotSent(typed []byte) { r.note("not sent: ", typed) }

func (r *Replies) note(what string, payload []byte) {
	io.WriteString(r.stderr, "parley: "+what+string(AppendPayload(nil, payload))+"\n")
}

// A ClientJSON writes events, one object a line.
type ClientJSON struct {
	sink
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

func (j *ClientJSON) Connected(string) { j.event("opened", 0, nil) }
func (j *ClientJSON) Prompt()          {}
func (j *ClientJSON) Typed([]byte)     {}

func (j *ClientJSON) Sending(request []byte) {
	j.sent++
	j.event("sent", j.sent, func(dst []byte, _ time.Time) []byte { return appendPayloadField(dst, request) })
}

func (j *ClientJSON) Response(reply []byte, took time.Duration) {
	j.event("replied", j.sent, func(dst []byte, _ time.Time) []byte {
		return appendTook(appendPayloadField(dst, reply), took)
	})
}

func (j *ClientJSON) Message(body []byte) {
	j.event("message", 0, func(dst []byte, _ time.Time) []byte { return appendPayloadField(dst, body) })
}

func (j *ClientJSON) Unfinished(came []byte, lacks string) {
	j.event("unfinished", j.sent, func(dst []byte, _ time.Time) []byte {
		return appendJSONString(append(appendPayloadField(dst, came), `,"error":`...), lacks)
	})
}

func (j *ClientJSON) NotSent(typed []byte) {
	j.event("not_sent", 0, func(dst []byte, _ time.Time) []byte { return appendPayloadField(dst, typed) })
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
