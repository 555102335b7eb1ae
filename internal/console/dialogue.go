package console

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/journal"
)

// A NotExported error is why a log cannot be written in a format.
type NotExported struct{ why string }

func (e *NotExported) Error() string { return e.why }

func notExported(format string, args ...any) error {
	return &NotExported{fmt.Sprintf(format, args...)}
}

// A dialogueView writes one session as a dialogue that a client can play.
type dialogueView struct {
	out      io.Writer
	framing  dialect.Framing // of a session of which the journal does not say
	named    bool            // sessions are named with their nodes
	session  *journal.Session
	d        dialogue.Dialogue
	requests map[uint64][]byte // that are not replied to, of a protocol that has to know to what a reply is
	sent     int               // requests
	crlf     int               // of those, lines that ended in CRLF
}

func (v *dialogueView) Show(e journal.Event) error {
	if e.Kind == parley.Refused {
		return nil
	}
	if v.session == nil {
		if err := v.begin(e.Session); err != nil {
			return err
		}
	}
	if e.Session.ID != v.session.ID {
		return notExported("there are several sessions, such as %s and %s, and a dialogue has one; --session %[1]s takes one", sessionName(v.session, v.named), sessionName(e.Session, v.named))
	}
	switch e.Kind {
	case parley.Received:
		return v.request(e.Exchange)
	case parley.Replied:
		v.reply(e.Exchange)
	case parley.Closed:
		v.end(e.Session)
	}
	return nil
}

// sessionName is what --session calls a session, of a journal of many nodes by its node.
func sessionName(s *journal.Session, manyNodes bool) string {
	if manyNodes && s.Node != "" {
		return fmt.Sprintf("%s/%d", escaped(s.Node), s.Number)
	}
	return fmt.Sprint(s.Number)
}

// begin writes the head of the dialogue.
func (v *dialogueView) begin(s *journal.Session) (err error) {
	v.session, v.requests = s, make(map[uint64][]byte)
	if s.Framing != "" {
		if v.framing, err = dialect.Parse(s.Framing); err != nil {
			return notExported("its framing is of a newer parley: %v", err)
		}
	}
	v.d.Note(fmt.Sprintf("session %s with %s, %s", sessionName(s, v.named), AppendEscaped(nil, []byte(s.Remote)), s.Opened.UTC().Format(time.RFC3339)))
	v.d.Framing = v.framing.Name
	return nil
}

func (v *dialogueView) request(x *journal.Exchange) error {
	if x.RequestCut > 0 {
		return notExported("request %d has only its first %d bytes of %d in the recording, so it cannot be sent again", x.Seq, len(x.Request), uint64(len(x.Request))+x.RequestCut)
	}
	body := x.Request
	raw := x.RawRequest.Bytes
	if v.framing.Requests == parley.Chunks && raw != nil {
		body = raw // a chunk is sent as it is
	}
	if v.framing.Steady != nil {
		v.requests[x.Seq] = x.Request
	}
	v.sent++
	if bytes.HasSuffix(raw, []byte("\r\n")) {
		v.crlf++
	}
	if x.RequestWhole > 0 {
		v.d.Note(fmt.Sprintf("of request %d parts were replaced before it was recorded: put back what was there", x.Seq))
	}
	v.d.Steps = append(v.d.Steps, dialogue.Step{Kind: dialogue.Send, Text: dialogue.NewText(requestText(v.framing, body))})
	return nil
}

// requestText is a request as a person would write it, if that is sent as the same bytes.
func requestText(f dialect.Framing, body []byte) []byte {
	if !f.IsProtocol() {
		return body
	}
	texts := [][]byte{bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))}
	if f.Words != nil {
		texts = append([][]byte{f.Words.AppendRequest(nil, dialect.Message{Body: body})}, texts...)
	}
	for _, text := range texts {
		wire, err := f.Requests.End(append(f.Requests.Begin(nil), text...), 0)
		if err == nil && bytes.Equal(wire, body) {
			return text
		}
	}
	if f.Name == "smtp" {
		return unstuffed(body)
	}
	return body
}

// unstuffed is a mail without the dots that are added to its lines when it is sent (RFC 5321, section
// 4.5.2), and without the CR of its lines, which are too.
func unstuffed(mail []byte) []byte {
	if !bytes.HasSuffix(mail, []byte("\r\n.\r\n")) {
		return mail
	}
	var text []byte
	for line := range bytes.Lines(bytes.TrimSuffix(mail, []byte(".\r\n"))) {
		text = append(text, bytes.TrimSuffix(bytes.TrimPrefix(line, []byte(".")), []byte("\r\n"))...)
		text = append(text, '\n')
	}
	return append(text, '.')
}

// reply writes what the server said. What is known not to have got out was not said.
func (v *dialogueView) reply(x *journal.Exchange) {
	if v.session.Replied(x.Seq) == "no" {
		v.d.Note(fmt.Sprintf("the reply to request %d did not get out", x.Seq))
		return
	}
	body := x.Reply
	if v.framing.OfReplies() == parley.Chunks { // who reads a chunk takes that off
		body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))
	}
	text := dialogue.NewText(body)
	step := dialogue.Step{Kind: dialogue.Expect}
	matches := func(pattern string) { step.Judge = dialogue.Judge{Kind: dialogue.Matches, Pattern: pattern} }
	steady := body
	if v.framing.Steady != nil {
		steady = v.framing.Steady(v.requests[x.Seq], body)
		delete(v.requests, x.Seq)
	}
	switch {
	case x.ReplyWhole > 0:
		v.d.Note("parts of this were replaced before it was recorded")
		step.Example = &text
	case x.ReplyCut > 0:
		v.d.Note(fmt.Sprintf("the recording has only the first %d bytes of %d", len(body), uint64(len(body))+x.ReplyCut))
		if len(body) > 0 {
			matches("^" + dialogue.Quote(body[:min(len(body), maxPattern)]))
		}
	case len(steady) < len(body):
		matches(patternOf(body, steady))
		step.Example = &text
	default:
		step.Judge = dialogue.Judge{Kind: dialogue.Exact, Text: text}
	}
	v.d.Steps = append(v.d.Steps, step)
}

// maxPattern is how much of a message a regular expression has, in bytes.
const maxPattern = 4096

// patternOf is a regular expression of what of a reply is said again, which is all of it but for one
// part.
func patternOf(reply, steady []byte) string {
	n := 0
	for n < len(steady) && steady[n] == reply[n] {
		n++
	}
	behind := steady[n:]
	pattern := "^" + dialogue.Quote(reply[:n])
	if len(behind) > 0 {
		pattern += "(?s:.*?)" + dialogue.Quote(behind[:min(len(behind), maxPattern)])
	}
	if 0 < len(behind) && len(behind) <= maxPattern {
		pattern += "$"
	}
	return pattern
}

// end writes how the session ended, where one of the two ended it in order.
func (v *dialogueView) end(s *journal.Session) {
	v.session = s
	end := func(kind dialogue.Kind) { v.d.Steps = append(v.d.Steps, dialogue.Step{Kind: kind}) }
	switch s.Reason {
	case parley.EndOfFile.String():
		end(dialogue.End)
	case parley.Blank.String(): // which is no request, and asks the server to close
		v.d.Steps = append(v.d.Steps, dialogue.Step{Kind: dialogue.Send})
		end(dialogue.ExpectEnd)
	case parley.HangUp.String():
		end(dialogue.ExpectEnd)
	default:
		v.d.Note("it ended: " + string(AppendEscaped(nil, []byte(s.Reason))))
	}
}

// End writes the dialogue.
func (v *dialogueView) End() error {
	if v.session == nil {
		return nil
	}
	if v.session.Stray > 0 {
		v.d.Note(fmt.Sprintf("%d bytes that belong to no message are left out", v.session.Stray))
	}
	request, behind, two := strings.Cut(v.d.Framing, "/")
	if request == "line" && v.sent > 0 && v.sent == v.crlf {
		v.d.Framing = "crlf"
		if two {
			v.d.Framing += "/" + behind
		}
	}
	text := v.d.Append(nil)
	if _, err := dialogue.Parse("line", text); err != nil {
		return notExported("session %d cannot be written as a dialogue: %v", v.session.Number, err)
	}
	_, err := v.out.Write(text)
	return err
}
