package console

import (
	"strconv"
	"time"

	"github.com/parley-tcp/parley"
)

// An Entry is an event that was kept and is told later: what is left of a parley.Event and
// its session.
type Entry struct {
	Kind          parley.EventKind // Opened, Received, Replied, Unasked, Closed, Refused or Faulted
	Time          time.Time
	Number        uint64 // the session's
	Lost          int64  // the session's own number in the journal, if nothing else of it was recorded
	Seq           uint64
	Remote, Local string
	Body          []byte
	Cut           uint64 // how many bytes Body leaves out at its end
	Whole         int    // how many bytes Body had before parts of it were replaced to conceal them; 0 if none were
	Secret        bool   // Body carries credentials
	Took          time.Duration
	Unsent        string // of Replied: "no" if the reply was made and did not get out, "unknown" if nobody knows
	In, Out       uint64
	Stray         uint64 // of Closed: bytes that belonged to no message
	Reason        string // as docs/events.md names it
	Fault         string // of Faulted, and what did to the exchange that a reply ends: such as reply.delay=50ms

	Tap               bool   // told by a tap, not by a server
	Framing, Upstream string // how the session was recorded, where that is to be told
	security                 // of the peer, where that is to be told
	overTLS           bool

	messages
}

// message is what an entry has to say.
func (e *Entry) message() *parley.Event {
	return &parley.Event{Kind: e.Kind, Body: e.Body, Cut: e.Cut, Whole: e.Whole, Secret: e.Secret}
}

// shown is what it has to say in words, or its bytes.
func (e *Entry) shown() []byte {
	if m := e.message(); e.rewords(m) && e.Kind != parley.Refused {
		return e.appendText(nil, m, m.Secret && !e.secrets)
	}
	return e.Body
}

// AppendEntry appends the line of the narrative, with the time, the session and the peer
// before it if it is verbose. Unlike a server's own it has a line for each reply.
func AppendEntry(dst []byte, e *Entry, verbose bool) []byte {
	switch {
	case verbose && e.Lost != 0:
		dst = append(e.Time.UTC().AppendFormat(dst, logTime), " #? (session "...)
		dst = append(strconv.AppendInt(dst, e.Lost, 10), " was not recorded) "...)
	case verbose && e.Kind == parley.Refused:
		dst = append(e.Time.UTC().AppendFormat(dst, logTime), " - "...)
		dst = append(AppendEscaped(dst, []byte(e.Remote)), ' ')
	case verbose:
		dst = append(appendTimeAndNumber(dst, e.Time, e.Number), ' ')
		dst = append(AppendEscaped(dst, []byte(e.Remote)), ' ')
	}
	switch e.Kind {
	case parley.Opened:
		dst = AppendEscaped(append(dst, opened...), []byte(e.Remote))
		if verbose {
			dst = e.security.appendTo(dst)
		}
	case parley.Received:
		dst = e.appendMessage(append(dst, received...), e.message())
	case parley.Replied:
		dst = e.appendMessage(append(dst, replyWords(e.Unsent)...), e.message())
	case parley.Unasked:
		dst = e.appendMessage(append(dst, unasked...), e.message())
	case parley.Faulted:
		dst = AppendEscaped(append(dst, faulted...), []byte(e.Fault))
	case parley.Closed:
		dst = appendClosed(dst, e.why())
	case parley.Refused:
		dst = AppendEscaped(append(dst, "Server: refused "...), []byte(e.Remote))
		dst = append(append(append(dst, " ("...), e.why()...), ')')
		if e.Body != nil {
			dst = appendMessage(append(dst, " ["...), e.message())
		}
	}
	return append(dst, '\n')
}

func replyWords(unsent string) string {
	switch unsent {
	case "":
		return replied
	case "no":
		return "Server: reply not sent ["
	}
	return "Server: reply unconfirmed ["
}

// why is the reason in words. What a limit was, or an error, is not kept.
func (e *Entry) why() string {
	for reason := parley.EndOfFile; reason <= parley.Fault; reason++ {
		if reason.String() != e.Reason {
			continue
		}
		switch reason {
		case parley.Truncated:
			return e.truncated()
		case parley.EndOfFile, parley.Blank, parley.NoRequest, parley.Reset, parley.Memory, parley.HangUp,
			parley.Draining, parley.DrainCut, parley.ServerClosed, parley.UpstreamReset:
			return (&Limits{}).explain(reason, nil)
		}
	}
	return string(AppendEscaped(nil, []byte(inWords(e.Reason))))
}

// truncated is that reason in words. Which of the two it was over TLS is not kept.
func (e *Entry) truncated() string {
	inside := (&Limits{}).explain(parley.Truncated, nil)
	if e.overTLS {
		return inside + ", or without TLS's close_notify"
	}
	return inside
}

// AppendEntryJSON appends the line of JSON, as the server writes it. A reply that did not
// get out, or may not have, is the event reply_made.
func AppendEntryJSON(dst []byte, e *Entry) []byte {
	name := e.Kind.String()
	if e.Unsent != "" {
		name = "reply_made"
	}
	dst = append(append(append(dst, `{"event":"`...), name...), '"')
	side := "server"
	if e.Tap {
		side = "tap"
	}
	dst = appendSide(appendTime(dst, e.Time), side)
	dst = appendCount(dst, "session", e.Number)
	dst = appendCount(dst, "lost_session", uint64(e.Lost))
	dst = appendCount(dst, "seq", e.Seq)
	dst = appendJSONString(append(dst, `,"remote":`...), e.Remote)
	dst = appendJSONString(append(dst, `,"local":`...), e.Local)
	dst = appendName(appendName(dst, "framing", e.Framing), "upstream", e.Upstream)
	dst = e.security.appendFields(dst)
	switch e.Kind {
	case parley.Received, parley.Replied, parley.Unasked:
		dst = e.appendTextField(appendMessageFields(dst, e.message()), e.message())
		if e.Secret {
			dst = append(dst, `,"secret":true`...)
		}
	}
	switch e.Kind {
	case parley.Faulted:
		dst = appendJSONString(append(dst, `,"fault":`...), e.Fault)
	case parley.Replied:
		dst = appendName(appendTook(dst, e.Took), "fault", e.Fault)
		if e.Unsent != "" {
			dst = appendJSONString(append(dst, `,"replied":`...), e.Unsent)
		}
	case parley.Closed:
		dst = appendCount(appendBytesInOut(appendTook(dst, e.Took), e.In, e.Out), "stray", e.Stray)
		dst = appendJSONString(append(dst, `,"reason":`...), e.Reason)
	case parley.Refused:
		if e.Body != nil {
			dst = appendMessageFields(dst, e.message())
		}
		dst = appendJSONString(append(dst, `,"reason":`...), e.Reason)
	}
	return append(dst, "}\n"...)
}

// appendName appends a field of text, and nothing if it is empty.
func appendName(dst []byte, name, text string) []byte {
	if text == "" {
		return dst
	}
	return appendJSONString(append(append(append(dst, `,"`...), name...), `":`...), text)
}

// Printable says whether p is valid UTF-8 that may reach a terminal as it is. What is not is
// escaped by the narrative and in base64 in JSON.
func Printable(p []byte) bool { return allPrintable(p) }
