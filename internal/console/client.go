package console

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// A sink is a stream that remembers its first error.
type sink struct {
	w    io.Writer
	err  error
	buf  []byte
	held bool // what is said is written later

	times bool // a line begins with its time
}

// Together has what show says written at once.
func (s *sink) Together(show func()) {
	outer := s.held
	s.held = true
	show()
	s.held = outer
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
	s.buf = append(append(s.stamp(s.buf), format...), payload...)
	s.buf = append(append(s.buf, tail...), '\n')
	s.flush()
}

// stamp appends the time of a line, if it is to have one.
func (s *sink) stamp(dst []byte) []byte {
	if s.times {
		dst = time.Now().UTC().AppendFormat(dst, "15:04:05.000Z ")
	}
	return dst
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

// An Editor is a line editor. What is written to it, whole lines, stands above the line that is typed.
type Editor interface {
	io.Writer
	Prompt(text string)      // a line is awaited behind text
	Beside(line, end string) // shows a line, with end at the right edge of the terminal; both end without a newline
	Columns() int            // of the terminal, now
}

// A Wording says how messages are shown: in words, where their protocol has any.
type Wording struct {
	Words   dialect.Words // nil if a message is its words
	Secrets bool          // shows credentials too
}

func (w *Wording) request(m dialect.Message) []byte { return w.text(parley.Received, m) }
func (w *Wording) reply(m dialect.Message) []byte   { return w.text(parley.Replied, m) }

func (w *Wording) text(kind parley.EventKind, m dialect.Message) []byte {
	shown := messages{words: w.Words, secrets: w.Secrets}
	return shown.appendText(nil, &parley.Event{Kind: kind, Body: m.Body, Cut: m.Cut}, w.conceals(m))
}

// conceals says whether a message is shown by its words alone. Of what was typed behind /secret there are no bytes to show.
func (w *Wording) conceals(m dialect.Message) bool { return m.Secret && (!w.Secrets || m.Cut > 0) }

// A ClientNarrative tells the conversation in the words of the seed.
type ClientNarrative struct {
	sink
	Wording
	Style  Style     // of what goes to a terminal
	prompt io.Writer // where the prompt goes; nil if to the narrative
	typing Typing
	asking bool   // the prompt stands unanswered at the end of the line
	editor Editor // shows the prompt and what is typed; nil if none does
	beside bool   // the narrative goes to the editor too

	// Dump has messages be shown as a hex dump, in so many columns as it says; 0 for no bound. If nil
	// they are text.
	Dump func() int
}

// NewClientNarrative writes to out, and prompts on prompt if the two terminals differ.
func NewClientNarrative(out, prompt io.Writer, typing Typing) *ClientNarrative {
	if typing != Elsewhere {
		prompt = nil
	}
	return &ClientNarrative{sink: sink{w: out}, prompt: prompt, typing: typing}
}

func (n *ClientNarrative) Over(string, string) {}

func (n *ClientNarrative) Behind(int) {}

// NewEditedNarrative has an editor show the prompt and what is typed, and the narrative too if out is nil; then
// how long each reply took stands at its right.
func NewEditedNarrative(out io.Writer, editor Editor) *ClientNarrative {
	n := &ClientNarrative{sink: sink{w: out}, prompt: editor, typing: Elsewhere, editor: editor, beside: out == nil}
	if n.beside {
		n.w = editor
	}
	return n
}

func (n *ClientNarrative) Connected(target string) {
	n.tell(plain, "Client: Connected to ", AppendEscaped(nil, []byte(target)), plain, "")
}

// tell says a line of which both parts have their tint.
func (n *ClientNarrative) tell(of tint, label string, text []byte, ofText tint, tail string) {
	n.say(n.Style.in(of, label), []byte(n.Style.in(ofText, string(text))), n.Style.in(ofText, tail))
}

func (n *ClientNarrative) Prompt() { n.ask("Enter data: ") }

func (n *ClientNarrative) PromptMore() { n.ask("... ") }

func (n *ClientNarrative) ask(prompt string) {
	if n.editor != nil {
		n.editor.Prompt(prompt)
		return
	}
	n.asking = true
	n.toPrompt(prompt)
}

// toPrompt writes to where the prompt goes.
func (n *ClientNarrative) toPrompt(text string) {
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
	case line.Body == nil && n.asking: // Ctrl-D leaves the cursor behind the prompt
		n.toPrompt("\n")
	}
	n.asking = false
}

func (n *ClientNarrative) Sending(request dialect.Message) {
	if n.dump("Client: sending", request, nil) {
		return
	}
	n.tell(dim, "Client: sending ["+strconv.FormatUint(uint64(len(request.Body))+request.Cut, 10)+"] ", n.request(request), dim, " ...")
}

// dump shows a message as a hex dump if that is wanted and it is no secret, below a line that say says, or the
// usual way if nil.
func (n *ClientNarrative) dump(what string, m dialect.Message, say func(line string)) bool {
	if n.Dump == nil || n.conceals(m) {
		return false
	}
	if say == nil {
		say = func(line string) { n.say(line, nil, "") }
	}
	n.Together(func() {
		say(fmt.Sprintf("%s [%d]:", what, len(m.Body)))
		n.buf = AppendDump(n.buf, "", m.Body, n.Dump())
	})
	return true
}

func (n *ClientNarrative) Response(reply dialect.Message, took time.Duration) {
	var beside func(line string)
	if n.beside {
		beside = func(line string) {
			n.editor.Beside(string(n.stamp(nil))+line, n.Style.in(dim, string(appendSpan(nil, took))))
		}
	}
	const is = "Client: server response: "
	switch {
	case n.dump("Client: server response", reply, beside):
	case n.beside:
		beside(n.Style.in(green, is) + n.Style.in(replyTint, string(n.reply(reply))))
	default:
		n.tell(green, is, n.reply(reply), replyTint, "")
	}
}

func (n *ClientNarrative) Message(m dialect.Message) {
	n.leavePrompt()
	if n.dump("Client: server message", m, nil) {
		return
	}
	n.tell(cyan, "Client: server message: ", n.reply(m), replyTint, "")
}

// Unfinished shows what came; what it lacks the error says.
func (n *ClientNarrative) Unfinished(came []byte, _ string) {
	n.leavePrompt()
	if n.dump("Client: unfinished response", dialect.Message{Body: came}, nil) {
		return
	}
	n.tell(abnormalTint, "Client: unfinished response: ", AppendPayload(nil, came), replyTint, "")
}

// NotSent goes where it was typed.
func (n *ClientNarrative) NotSent(typed []byte, why string) {
	n.leavePrompt()
	n.toPrompt(n.Style.in(abnormalTint, "Client: not sent: ") + string(appendNotSent(nil, typed, why)) + "\n")
}

func (n *ClientNarrative) Closed(_, why string) {
	n.leavePrompt()
	if why != "" {
		why = " (" + why + ")"
	}
	n.tell(plain, "Client: Connection closed", AppendEscaped(nil, []byte(why)), abnormalTint, "")
}

func (n *ClientNarrative) Reconnecting(target string, in time.Duration, attempt int, note string) {
	n.leavePrompt()
	n.say("Client: ", appendReconnecting(nil, target, in, attempt, note), "")
}

// appendReconnecting appends that another attempt to connect is to come.
func appendReconnecting(dst []byte, target string, in time.Duration, attempt int, note string) []byte {
	if note != "" {
		note = ": " + note
	}
	return AppendEscaped(dst, fmt.Appendf(nil, "reconnecting to %s in %v (attempt %d)%s", target, in, attempt, note))
}

// Tell goes where it was asked for.
func (n *ClientNarrative) Tell(text string) {
	n.leavePrompt()
	n.toPrompt(string(appendLines(nil, "", text)))
}

// appendLines appends lines, each behind prefix.
func appendLines(dst []byte, prefix, text string) []byte {
	for line := range strings.SplitSeq(text, "\n") {
		dst = append(AppendEscaped(append(dst, prefix...), []byte(line)), '\n')
	}
	return dst
}

// ToggleTimes has each line of the conversation begin with its time, or no more.
func (n *ClientNarrative) ToggleTimes() (on, can bool) {
	n.times = !n.times
	return n.times, true
}

// ShowIn has messages be shown in the words of another framing.
func (n *ClientNarrative) ShowIn(f dialect.Framing) { n.Words = f.Words }

// leavePrompt begins a new line if a prompt stands unanswered.
func (n *ClientNarrative) leavePrompt() {
	if n.asking {
		n.toPrompt("\n")
		n.asking = false
	}
}

// Replies shows replies only. What else is said or typed goes to standard error.
type Replies struct {
	sink
	Wording
	stderr io.Writer
	escape bool

	Raw bool // replies are their exact bytes in every framing

	// PrintReply, if not nil, shows a reply as its protocol's own client does, newline included.
	PrintReply func(dst, reply []byte, terminal bool) []byte
}

// NewReplies writes each reply to out, its exact bytes and a newline, or as the narrative
// shows it.
func NewReplies(out, stderr io.Writer, escape bool) *Replies {
	return &Replies{sink: sink{w: out}, stderr: stderr, escape: escape}
}

func (r *Replies) Over(string, string)     {}
func (r *Replies) Behind(int)              {}
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
	from := len(r.buf)
	r.buf = r.PrintReply(r.buf, reply.Body, r.escape)
	if r.escape {
		r.buf = cutPrinted(r.buf, from, len(reply.Body))
	}
	r.flush()
}

// cutPrinted cuts a reply of so many bytes that was printed at buf[from:], as AppendPayload does.
func cutPrinted(buf []byte, from, bytes int) []byte {
	cut := from + maxShown
	if len(buf) <= cut+1 { // with its newline
		return buf
	}
	for !utf8.RuneStart(buf[cut]) {
		cut--
	}
	return append(strconv.AppendInt(append(buf[:cut], "…("...), int64(bytes), 10), " bytes)\n"...)
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

func (r *Replies) Reconnecting(target string, in time.Duration, attempt int, note string) {
	io.WriteString(r.stderr, "parley: "+string(appendReconnecting(nil, target, in, attempt, note))+"\n")
}

func (r *Replies) Tell(text string) { r.stderr.Write(appendLines(nil, "parley: ", text)) }

// ShowIn has messages be shown as those of another framing.
func (r *Replies) ShowIn(f dialect.Framing) {
	r.Words = f.Words
	if !r.Raw {
		r.PrintReply = f.Print
	}
}

func (r *Replies) ToggleTimes() (on, can bool) { return false, false }

func (r *Replies) note(what string, text []byte) {
	io.WriteString(r.stderr, "parley: "+what+string(text)+"\n")
}

// A ClientJSON writes events, one object a line. They are exact, credentials included.
type ClientJSON struct {
	sink
	Words         dialect.Words // of messages, beside their bytes; nil for none
	Node          string        // where it runs
	stderr        io.Writer     // for who types
	remote, local string
	session       uint64 // the connection, from 1
	opened        time.Time
	sent, behind  uint64

	now     func() time.Time
	conceal bool // credentials are left out
}

// NewClientJSON writes to out, and what is no event to stderr.
func NewClientJSON(out, stderr io.Writer) *ClientJSON {
	return &ClientJSON{sink: sink{w: out}, stderr: stderr, now: time.Now}
}

// Over begins a session, between these two addresses.
func (j *ClientJSON) Over(remote, local string) {
	j.remote, j.local = remote, local
	j.session++
	j.opened, j.sent, j.behind = time.Time{}, 0, 0
}

func (j *ClientJSON) Behind(n int) { j.behind = uint64(n) }

func (j *ClientJSON) event(name string, seq uint64, fields func(dst []byte, now time.Time) []byte) {
	now := j.now()
	if j.opened.IsZero() {
		j.opened = now
	}
	dst := append(append(append(j.buf, `{"event":"`...), name...), '"')
	dst = appendOrigin(appendTime(dst, now), "client", j.Node)
	dst = appendCount(dst, "session", j.session)
	dst = appendCount(dst, "seq", seq)
	if j.session > 0 {
		dst = appendJSONString(append(dst, `,"remote":`...), j.remote)
		dst = appendJSONString(append(dst, `,"local":`...), j.local)
	}
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
		if request.Secret && (j.conceal || request.Cut > 0) {
			return j.appendConcealed(dst, uint64(len(request.Body))+request.Cut)
		}
		dst = appendPayloadField(dst, request.Body)
		if j.Words != nil {
			dst = j.appendText(dst, j.Words.AppendRequest(nil, dialect.Message{Body: request.Body}))
		}
		return dst
	})
}

func (j *ClientJSON) Response(reply dialect.Message, took time.Duration) {
	j.event("replied", j.sent-j.behind, func(dst []byte, _ time.Time) []byte {
		return appendTook(j.appendReply(dst, reply), took)
	})
}

func (j *ClientJSON) Message(m dialect.Message) {
	j.event("message", 0, func(dst []byte, _ time.Time) []byte { return j.appendReply(dst, m) })
}

// appendConcealed says that there was a message with credentials.
func (j *ClientJSON) appendConcealed(dst []byte, n uint64) []byte {
	return append(appendCount(dst, "bytes", n), `,"secret":true`...)
}

func (j *ClientJSON) appendReply(dst []byte, m dialect.Message) []byte {
	if m.Secret && j.conceal {
		return j.appendConcealed(dst, uint64(len(m.Body)))
	}
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

func (j *ClientJSON) Reconnecting(target string, in time.Duration, attempt int, note string) {
	j.event("reconnecting", 0, func(dst []byte, _ time.Time) []byte {
		dst = appendJSONString(append(dst, `,"target":`...), target)
		dst = appendCount(dst, "attempt", uint64(attempt))
		dst = strconv.AppendInt(append(dst, `,"wait_ns":`...), int64(in), 10)
		if note != "" {
			dst = appendJSONString(append(dst, `,"error":`...), note)
		}
		return dst
	})
}

func (j *ClientJSON) Tell(text string) { j.stderr.Write(appendLines(nil, "parley: ", text)) }

// ShowIn has messages have the words of another framing.
func (j *ClientJSON) ShowIn(f dialect.Framing) { j.Words = f.Words }

func (j *ClientJSON) ToggleTimes() (on, can bool) { return false, false }

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
