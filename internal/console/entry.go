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
	Raw           parley.Raw // Body as it was on the wire; of no bytes where that is not known
	Cut           uint64     // how many bytes Body leaves out at its end
	Whole         int        // how many bytes Body had before parts of it were replaced to conceal them; 0 if none were
	Secret        bool       // Body carries credentials
	Took          time.Duration
	Unsent        string // of Replied: "no" if the reply was made and did not get out, "unknown" if nobody knows
	In, Out       uint64
	Stray         uint64 // of Closed: bytes that belonged to no message
	Reason        string // as docs/events.md names it
	Fault         string // of Faulted, and what did to the exchange that a reply ends: such as reply.delay=50ms

	Node              string // where it was recorded; empty if that is not known
	Side              string // server, tap or client: who tells
	Framing, Upstream string // how the session was recorded, where that is to be told
	security                 // of the peer, where that is to be told
	overTLS           bool

	named bool // the session is called by its node and number
	width int  // of the terminal that the line is to fit, in columns; 0 if it need not
	messages
}

// message is what an entry has to say.
func (e *Entry) message() *parley.Event {
	return &parley.Event{Kind: e.Kind, Body: e.Body, Raw: e.Raw, Cut: e.Cut, Whole: e.Whole, Secret: e.Secret}
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
	from := len(dst)
	if verbose {
		dst = e.appendStamp(dst)
	}
	dst = e.Style.begin(dst, sessionTint(e.Number))
	if 0 < e.width && e.width < wordy {
		dst = e.appendBriefly(dst)
		dst = append(dst[:from], fitStyled(string(dst[from:]), e.width)...)
		return e.appendDump(append(dst, '\n'), e.message())
	}
	switch e.Kind {
	case parley.Opened:
		dst = e.Style.end(AppendEscaped(append(dst, e.word(opened)...), []byte(e.Remote)))
		if verbose {
			dst = e.security.appendTo(dst)
		}
	case parley.Received:
		dst = e.appendMessage(append(dst, e.word(received)...), e.message())
	case parley.Replied:
		dst = e.appendMessage(append(dst, e.word(replyWords(e.Unsent))...), e.message())
	case parley.Unasked:
		dst = e.appendMessage(append(dst, e.word(unasked)...), e.message())
	case parley.Faulted:
		dst = e.Style.end(AppendEscaped(append(e.Style.begin(dst, faultTint), faulted...), []byte(e.Fault)))
	case parley.Closed:
		dst = e.Style.appendWhy(append(dst, e.word(closed)...), e.Reason, e.why())
	case parley.Refused:
		dst = AppendEscaped(append(e.Style.begin(dst, endTint(e.Reason)), "Server: refused "...), []byte(e.Remote))
		dst = append(append(append(dst, " ("...), e.why()...), ')')
		if e.Body != nil {
			dst = appendMessage(append(dst, " ["...), e.message())
		}
		dst = e.Style.end(dst)
	}
	if e.width > 0 {
		dst = append(dst[:from], fitStyled(string(dst[from:]), e.width)...)
	}
	return e.appendDump(append(dst, '\n'), e.message())
}

// isClient says whether it is a client that tells, of what it has sent and read itself.
func (e *Entry) isClient() bool { return e.Side == "client" }

// word is what a line begins with, by what a server says.
func (e *Entry) word(ofServer string) string {
	if ofClient := clientWords[ofServer]; e.isClient() && ofClient != "" {
		return ofClient
	}
	return ofServer
}

var clientWords = map[string]string{
	opened:   "Client: Connected to ",
	received: "Client: sending [",
	replied:  "Client: server response [",
	unasked:  "Client: server message [",
	closed:   "Client: Connection closed",
}

// appendBriefly appends what happened in few words, so that there is room for what was said.
func (e *Entry) appendBriefly(dst []byte) []byte {
	label, text, of := "", string(e.shown()), messageTint(e.Kind)
	switch e.Kind {
	case parley.Opened:
		label, text, of = map[bool]string{false: "from ", true: "to "}[e.isClient()], e.Remote, sessionTint(e.Number)
	case parley.Received:
		label = "> "
	case parley.Replied:
		label = map[string]string{"": "< ", "no": "<? not sent: "}[e.Unsent]
		if label == "" {
			label = "<? unconfirmed: "
		}
	case parley.Unasked:
		label = "< unasked: "
	case parley.Faulted:
		label, text, of = "fault: ", e.Fault, faultTint
	case parley.Closed:
		label, text, of = "closed", "", plain
		if why := e.why(); why != "" {
			label, text, of = "closed: ", why, endTint(e.Reason)
		}
	case parley.Refused:
		label, text, of = "refused: ", e.why(), endTint(e.Reason)
	}
	const most = 16 // bytes a column
	text = text[:min(len(text), most*e.width)]
	return e.Style.end(AppendEscaped(e.Style.begin(append(dst, label...), of), []byte(text)))
}

// appendStamp appends when, in which session and with whom it was. Where there is little room the day gives
// way, and who it was, which the line of the opening says as well; then the time.
func (e *Entry) appendStamp(dst []byte) []byte {
	layout := logTime
	switch {
	case e.width == 0 || e.width >= roomy:
	case e.width >= middling:
		layout = timeOfDay
	case e.width >= timely:
		layout = time.TimeOnly
	default:
		layout = ""
	}
	if layout != "" {
		dst = append(e.Style.appendTime(dst, e.Time, layout), ' ')
	}
	dst = e.Style.begin(dst, sessionTint(e.Number))
	hash := "#"
	if e.named && e.Node != "" {
		hash = escaped(e.Node) + "/"
	}
	switch {
	case e.Lost != 0 && layout == logTime:
		dst = append(strconv.AppendInt(append(dst, "#? (session "...), e.Lost, 10), " was not recorded)"...)
	case e.Lost != 0:
		dst = append(dst, "#?"...)
	case e.Kind == parley.Refused && hash == "#":
		dst = append(dst, '-')
	case e.Kind == parley.Refused:
		dst = append(append(dst, hash...), '-')
	default:
		dst = strconv.AppendUint(append(dst, hash...), e.Number, 10)
	}
	if layout == logTime && e.Lost == 0 {
		dst = AppendEscaped(append(dst, ' '), []byte(e.Remote))
	}
	return append(e.Style.end(dst), ' ')
}

// From how many columns on a terminal has room for the whole stamp before a line, for the time of the day to
// the microsecond, for the words of the seed, and for the time of the day to the second.
const (
	roomy    = 120
	middling = 70
	wordy    = 60
	timely   = 30
)

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
	switch {
	case e.Unsent != "":
		name = "reply_made"
	case e.Kind == parley.Received && e.isClient():
		name = "sent"
	}
	dst = append(append(append(dst, `{"event":"`...), name...), '"')
	dst = appendOrigin(appendTime(dst, e.Time), e.Side, e.Node)
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
