package console

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
)

// Limits are a server's, for the texts that name them. 0 is no limit.
type Limits struct {
	MaxRequest, MaxUnsent, MaxSessions, MaxSessionsPerIP int
	MaxHeld                                              int64
	FirstByte, Request, Idle, Write, Drain               time.Duration
	Handshake                                            time.Duration // 0 where there are none
	Programs                                             bool          // each session has a program for itself: an end may be that one's
}

// String is all of them in a line.
func (l Limits) String() string {
	return fmt.Sprintf("limits: request %d bytes within %s, %d sessions (%s per address), first byte %s, idle %s, write %s, unsent replies %d bytes, held in all %d bytes, drain %v%s",
		l.MaxRequest, OrNone(l.Request), l.MaxSessions, OrNone(l.MaxSessionsPerIP), OrNone(l.FirstByte), OrNone(l.Idle), OrNone(l.Write), l.MaxUnsent, l.MaxHeld, l.Drain, HandshakeLimit(l.Handshake))
}

// HandshakeLimit is the end of a line of limits; 0 is where there are no handshakes.
func HandshakeLimit(limit time.Duration) string {
	if limit == 0 {
		return ""
	}
	return ", handshake " + limit.String()
}

// OrNone is a limit in words, of which 0 is none.
func OrNone[T comparable](limit T) string {
	if limit == *new(T) {
		return "no limit"
	}
	return fmt.Sprint(limit)
}

// scratch lends buffers in which a line is put together before it is queued.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// appendLine queues the line that format makes.
func appendLine(w *Writer, format func(dst []byte) []byte) {
	b := scratch.Get().(*[]byte)
	*b = format((*b)[:0])
	w.Append(*b)
	if cap(*b) <= 64<<10 {
		scratch.Put(b)
	}
}

// A Narrative is the observer that tells a server's side of the conversations, in
// the words of the seed.
type Narrative struct {
	out     *Writer
	limits  Limits
	verbose bool
	messages
}

// NewNarrative writes to out. With verbose each line begins with the time, the
// session and the peer, and there are lines for replies, error texts and refusals.
func NewNarrative(out *Writer, limits Limits, verbose bool) *Narrative {
	return &Narrative{out: out, limits: limits, verbose: verbose}
}

// SkippedLine is the notice of the narrative's Writer.
func SkippedLine(dst []byte, n int64) []byte { return appendSkipped(dst, "Server: ", n) }

func appendSkipped(dst []byte, who string, n int64) []byte {
	return append(append(append(dst, who...), plural(n, "line")...), " skipped\n"...)
}

// Started tells that the server listens.
func (n *Narrative) Started(at net.Addr) {
	appendLine(n.out, func(dst []byte) []byte { return appendStarted(dst, "Server: ", at) })
}

func appendStarted(dst []byte, who string, at net.Addr) []byte {
	dst = append(append(dst, who...), "started on "...)
	if tcp, ok := at.(*net.TCPAddr); ok {
		dst = strconv.AppendInt(append(dst, "port "...), int64(tcp.Port), 10)
	} else {
		dst = AppendEscaped(append(dst, at.Network()+":"...), []byte(at.String()))
	}
	return append(dst, '\n')
}

// Wants what the seed tells, and if it is verbose all that the server says.
func (n *Narrative) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Received, parley.Closed, parley.Faulted:
		return true
	case parley.Replied, parley.Unasked, parley.Refused:
		return n.verbose
	}
	return false
}

// Observe tells of connections, messages and endings.
func (n *Narrative) Observe(e *parley.Event) {
	if !n.Wants(e.Kind) {
		return
	}
	appendLine(n.out, func(dst []byte) []byte { return n.appendEvent(dst, e) })
}

// Fork returns the observer for one event loop.
func (n *Narrative) Fork() parley.Observer { return &batch{format: n, out: n.out} }

func (n *Narrative) appendEvent(dst []byte, e *parley.Event) []byte {
	if n.verbose {
		dst = n.appendStamp(dst, e)
	}
	switch e.Kind {
	case parley.Opened:
		dst = n.Style.end(appendRemote(append(n.beginLine(dst, e), opened...), e.Session))
		dst = n.appendSecurity(dst, e.Session)
	case parley.Received:
		dst = n.appendMessage(append(n.beginLine(dst, e), received...), e)
	case parley.Replied:
		dst = n.appendMessage(append(n.beginLine(dst, e), replied...), e)
		dst = n.Style.appendSpan(dst, e.Took)
	case parley.Unasked:
		dst = n.appendMessage(append(n.beginLine(dst, e), unasked...), e)
	case parley.Refused:
		dst = n.Style.end(appendRefused(n.Style.begin(dst, endTint(e.Reason.String())), e))
	case parley.Faulted:
		dst = n.appendFault(append(n.Style.begin(dst, faultTint), faulted...), e)
		if lone := faultedAlone(e); lone != nil {
			e = lone
		}
	case parley.Closed:
		dst = append(n.beginLine(dst, e), closed...)
		dst = n.Style.appendWhy(dst, e.Reason.String(), n.limits.explain(e.Reason, e.Err))
	}
	return n.appendDump(append(dst, '\n'), e)
}

// beginLine has what comes stand in the colour of the event's session.
func (m *messages) beginLine(dst []byte, e *parley.Event) []byte {
	if !m.Style.coloured {
		return dst
	}
	return m.Style.begin(dst, sessionTint(e.Session.Number()))
}

// appendFault appends what goes wrong on purpose, with the message if no other line has it.
func (m *messages) appendFault(dst []byte, e *parley.Event) []byte {
	dst = append(dst, e.Fault...)
	if lone := faultedAlone(e); lone != nil {
		return m.appendMessage(append(dst, " ["...), lone)
	}
	return m.Style.end(dst)
}

// faultedAlone is the message with which something goes wrong if no other line has it, else nil.
func faultedAlone(e *parley.Event) *parley.Event {
	if e.Seq > 0 || len(e.Body) == 0 {
		return nil
	}
	own := *e
	own.Kind = parley.Unasked
	if strings.HasPrefix(e.Fault, "request.") {
		own.Kind = parley.Received
	}
	return &own
}

// appendSpan appends how long a reply took, in brackets.
func (s Style) appendSpan(dst []byte, took time.Duration) []byte {
	dst = s.begin(append(dst, ' '), timeTint)
	return s.end(append(appendSpan(append(dst, '('), took), ')'))
}

// appendSpan appends a time with the unit that a person would take: 850 ns, 41 µs, 1.23 ms, 2.1 s, 1m23s.
func appendSpan(dst []byte, d time.Duration) []byte {
	unit, name, digits := time.Nanosecond, " ns", 0
	switch ms := float64(d) / float64(time.Millisecond); {
	case d < time.Microsecond:
	case d < 999_500*time.Nanosecond:
		unit, name = time.Microsecond, " µs"
	case ms < 9.995:
		unit, name, digits = time.Millisecond, " ms", 2
	case ms < 99.95:
		unit, name, digits = time.Millisecond, " ms", 1
	case ms < 999.5:
		unit, name = time.Millisecond, " ms"
	case ms < 59_950:
		unit, name, digits = time.Second, " s", 1
	default:
		return append(dst, d.Round(time.Second).String()...)
	}
	return append(strconv.AppendFloat(dst, float64(d)/float64(unit), 'f', digits, 64), name...)
}

// appendSecurity appends what -v puts behind the address of who connects.
func (n *Narrative) appendSecurity(dst []byte, s *parley.Session) []byte {
	if !n.verbose {
		return dst
	}
	of := securityOf(s)
	return of.appendTo(dst)
}

// appendRefused appends what a refused peer was told, or why it was not told anything.
func appendRefused(dst []byte, e *parley.Event) []byte {
	if len(e.Body) == 0 {
		return append(append(append(dst, "Server: refused ("...), inWords(e.Reason.String())...), ')')
	}
	return appendMessage(append(dst, "Server: refused ["...), e)
}

// inWords is the name of a reason as a person writes it.
func inWords(reason string) string { return strings.ReplaceAll(reason, "_", " ") }

// appendStamp appends what -v puts before a line: when, which session, who.
func (m *messages) appendStamp(dst []byte, e *parley.Event) []byte {
	dst = append(m.Style.appendTime(dst, e.Time, logTime), ' ')
	dst = strconv.AppendUint(append(m.beginLine(dst, e), '#'), e.Session.Number(), 10)
	return append(m.Style.end(appendRemote(append(dst, ' '), e.Session)), ' ')
}

func (s Style) appendTime(dst []byte, t time.Time, layout string) []byte {
	return s.end(t.UTC().AppendFormat(s.begin(dst, timeTint), layout))
}

const (
	opened   = "Server: connection from "
	received = "Server: incoming data ["
	replied  = "Server: reply ["
	unasked  = "Server: message ["
	faulted  = "Server: fault: "
	closed   = "Server: Connection closed!"
)

// appendWhy appends why a session ended, in brackets, if there is anything to say.
func (s Style) appendWhy(dst []byte, reason, why string) []byte {
	if why != "" {
		dst = append(s.begin(append(dst, ' '), endTint(reason)), '(')
		dst = append(append(dst, why...), ')')
	}
	return s.end(dst)
}

func appendRemote(dst []byte, s *parley.Session) []byte {
	return escapeFrom(s.AppendRemote(dst), len(dst))
}

// explain says in words why a session ended; "" is the peer's orderly close.
func (l *Limits) explain(reason parley.CloseReason, err error) string {
	switch {
	case l.Programs && reason == parley.HangUp:
		return "the program has ended"
	case l.Programs && (reason == parley.IdleTimeout || reason == parley.WriteTimeout):
		return escapedError(err) // which of the two it was
	}
	switch reason {
	case parley.EndOfFile, parley.Blank:
		return ""
	case parley.NoRequest:
		return "no request"
	case parley.Truncated:
		return truncated(err, "end of file inside a request")
	case parley.Reset:
		return "connection reset by peer"
	case parley.IdleTimeout:
		return "idle for " + l.Idle.String()
	case parley.FirstByteTimeout:
		return "no request within " + l.FirstByte.String()
	case parley.RequestTimeout:
		return "request not finished within " + l.Request.String()
	case parley.WriteTimeout:
		return "replies not read within " + l.Write.String() + ", or one waited six times that"
	case parley.TooLong:
		return "request longer than " + strconv.Itoa(l.MaxRequest) + " bytes"
	case parley.Memory:
		return "server is out of memory for requests"
	case parley.HandlerError:
		return "handler error: " + escapedError(err)
	case parley.HangUp:
		return "hung up by the server"
	case parley.Draining:
		return "server is shutting down"
	case parley.DrainCut:
		return "cut by the shutdown"
	case parley.ServerClosed:
		return "server stopped"
	case parley.IOError, parley.Unreachable, parley.Malformed, parley.Mismatch, parley.Fault:
		return escapedError(err)
	case parley.UpstreamReset:
		return "connection reset by server"
	case parley.HandshakeTimeout, parley.Handshake:
		return l.explainHandshake(reason, err)
	}
	return reason.String()
}

// truncated says in words what kind of end was none in good order.
func truncated(err error, inside string) string {
	if errors.Is(err, parley.ErrTruncated) {
		return noCloseNotify
	}
	return inside
}

const noCloseNotify = "end of file without TLS's close_notify"

func escapedError(err error) string {
	if err == nil {
		return "unknown"
	}
	return string(AppendPayload(nil, []byte(err.Error())))
}
