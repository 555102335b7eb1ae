package console

import (
	"cmp"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/clipperhouse/displaywidth"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// A LogView shows the events of a journal in one of its formats.
type LogView interface {
	Show(e journal.Event) error
	End() error // what comes after the last one
}

// LogOptions say how a log is shown.
type LogOptions struct {
	Width     int             // of a table, in columns; as many as it needs if 0
	Framing   dialect.Framing // of sessions of which the journal does not say
	Secrets   bool            // credentials are shown too
	Style     Style           // of the narrative and of a table
	ManyNodes bool            // sessions are named with their nodes
	Hex       bool            // messages are dumped too, below the lines of the narrative or of a table
}

// NewLogView shows events as a format names them: narrative, table, json (or ndjson), csv,
// md, mermaid, pcap or dialogue. Messages of a protocol are shown in its words, and beside their exact bytes
// where those are.
func NewLogView(format string, out io.Writer, opt LogOptions) (LogView, error) {
	said := &wordings{LogOptions: opt, of: make(map[string]dialect.Words)}
	if format != "narrative" && format != "table" {
		said.Style = Style{}
	}
	switch format {
	case "narrative":
		return &lineView{out: out, said: said, format: func(dst []byte, e *Entry) []byte {
			e.width, e.named = opt.Width, opt.ManyNodes
			return AppendEntry(dst, e, true)
		}}, nil
	case "json", "ndjson":
		return &lineView{out: out, said: said, format: AppendEntryJSON}, nil
	case "table":
		v := exchangeTable{newTable(out, opt.Width, opt.Style, withNode(exchangeColumns, opt.ManyNodes, func(r *logRow) *journal.Session { return r.Session })), said}
		return v, v.head()
	case "csv":
		v := exchangeCSV{newCSV(out), said}
		return v, v.write("session", "seq", "remote", "local", "received", "took_ns", "replied",
			"request", "request_base64", "reply", "reply_base64", "request_text", "reply_text", "fault", "node")
	case "md":
		return &markdownView{out, said, NewTranscript("Server Terminal (server.js)", "Client Terminal (client.js)"), make(map[int64]*ClientNarrative)}, nil
	case "mermaid":
		_, err := io.WriteString(out, "sequenceDiagram\n    participant s as Server\n")
		return &mermaidView{out: out, said: said, drawn: make(map[string]bool)}, err
	case "pcap":
		p, err := journal.NewPcap(out)
		return pcapView{p}, err
	case "dialogue":
		return &dialogueView{out: out, framing: opt.Framing, named: opt.ManyNodes}, nil
	}
	return nil, fmt.Errorf("no format %q", format)
}

// wordings are how the messages of a journal's sessions are shown.
type wordings struct {
	LogOptions
	of map[string]dialect.Words // by the names of framings
}

func (w *wordings) session(s *journal.Session) messages {
	shown := messages{secrets: w.Secrets, Style: w.Style, hex: w.Hex, columns: func() int { return w.Width }}
	if s.Framing == "" {
		shown.words = w.Framing.Words
		return shown
	}
	words, known := w.of[s.Framing]
	if !known {
		f, _ := dialect.Parse(s.Framing) // a newer parley may know others: their bytes are shown
		words = f.Words
		w.of[s.Framing] = words
	}
	shown.words = words
	return shown
}

// entry is an event as a line tells it.
func (w *wordings) entry(e journal.Event) *Entry {
	entry := entryOf(e)
	entry.messages = w.session(e.Session)
	return entry
}

// entryOf is an event as a line tells it that has no words.
func entryOf(e journal.Event) *Entry {
	s := e.Session
	entry := &Entry{Kind: e.Kind, Time: e.Time, Number: s.Number, Remote: s.Remote, Local: s.Local, Side: sideOf(s), Node: s.Node}
	if s.Lost {
		entry.Lost = s.ID
	}
	if e.Exchange != nil {
		entry.Secret = isSecret(e.Exchange, e.Kind)
	}
	switch e.Kind {
	case parley.Opened:
		entry.Framing, entry.Upstream, entry.security = s.Framing, s.Upstream, recordedSecurity(s)
	case parley.Received:
		entry.Seq, entry.Body, entry.Cut, entry.Whole = e.Exchange.Seq, e.Exchange.Request, e.Exchange.RequestCut, e.Exchange.RequestWhole
		entry.Raw = e.Exchange.RawRequest
	case parley.Replied:
		entry.Seq, entry.Body, entry.Cut, entry.Took = e.Exchange.Seq, e.Exchange.Reply, e.Exchange.ReplyCut, e.Exchange.Took
		entry.Whole, entry.Fault, entry.Raw = e.Exchange.ReplyWhole, e.Exchange.Fault, e.Exchange.RawReply
		if entry.Seq == 0 {
			entry.Kind = parley.Unasked
			break
		}
		if replied := s.Replied(entry.Seq); replied != "yes" && s.Role != journal.RoleClient { // which has read it
			entry.Unsent = replied
		}
	case parley.Closed:
		entry.Seq, entry.Took, entry.Reason = s.Requests, s.Closed.Sub(s.Opened), s.Reason
		entry.In, entry.Out, entry.Stray, entry.overTLS = s.BytesIn, s.BytesOut, s.Stray, s.TLSVersion != ""
	case parley.Refused:
		entry.Body, entry.Raw, entry.Reason = e.Text, e.RawText, s.Reason
	case parley.Faulted:
		entry.Seq, entry.Fault = e.Fault.Seq, e.Fault.Fault
	}
	return entry
}

// sideOf is whose events those of a session are.
func sideOf(s *journal.Session) string {
	switch {
	case s.Role == journal.RoleClient:
		return s.Role
	case s.LooksOn():
		return "tap"
	}
	return "server"
}

// isSecret says whether a message carries credentials: the request, where there is one.
func isSecret(x *journal.Exchange, kind parley.EventKind) bool {
	return x.Secret && (kind == parley.Received) == (x.Request != nil)
}

// A lineView writes a line an event: the narrative or JSON.
type lineView struct {
	out    io.Writer
	said   *wordings
	format func(dst []byte, e *Entry) []byte
	line   []byte
}

func (v *lineView) Show(e journal.Event) error {
	v.line = v.format(v.line[:0], v.said.entry(e))
	_, err := v.out.Write(v.line)
	return err
}

func (v *lineView) End() error { return nil }

// A logRow is what a view with a row for each exchange shows: an exchange, or a connection
// that was refused as the reply that it got.
type logRow struct {
	*journal.Session
	x       *journal.Exchange
	replied string // whether the reply got out, or why there was no request
	messages
}

// request and reply are the messages of the row, without a body where there is none.
func (r *logRow) request() *parley.Event {
	return &parley.Event{Kind: parley.Received, Body: r.x.Request, Raw: r.x.RawRequest, Cut: r.x.RequestCut, Secret: isSecret(r.x, parley.Received)}
}

func (r *logRow) reply() *parley.Event {
	return &parley.Event{Kind: parley.Replied, Body: r.x.Reply, Raw: r.x.RawReply, Cut: r.x.ReplyCut, Secret: isSecret(r.x, parley.Replied)}
}

// brief is a message in words, or escaped, cut to a width; past 4 KiB only if that is 0.
func (m *messages) brief(e *parley.Event, width int) string {
	if !m.rewords(e) {
		return brief(e.Body, width)
	}
	text := string(m.appendText(nil, e, e.Secret && !m.secrets))
	if width == 0 {
		return text
	}
	return fit(text, width)
}

// rewords says whether something else is shown than the bytes of a message.
func (m *messages) rewords(e *parley.Event) bool {
	return e.Body != nil && (m.words != nil || e.Secret && !m.secrets)
}

// text is all that a message is in words; empty if it has none.
func (m *messages) text(e *parley.Event) string {
	if m.words == nil || e.Body == nil {
		return ""
	}
	return string(m.appendText(nil, e, false))
}

// row returns the row that an event stands for: a request's, or the reply's if there was no
// request. It is nil for others.
func (w *wordings) row(e journal.Event) *logRow {
	switch {
	case e.Kind == parley.Refused:
		row := &logRow{e.Session, &journal.Exchange{Received: e.Time, Reply: e.Text, RawReply: e.RawText}, e.Session.Reason, w.session(e.Session)}
		row.words = nil // it is said before there is a protocol
		return row
	case e.Kind == parley.Received, e.Kind == parley.Replied && e.Exchange.Request == nil:
		row := &logRow{e.Session, e.Exchange, "unasked", w.session(e.Session)}
		switch {
		case e.Exchange.Reply == nil: // nothing was to get out, such as to a noreply
			row.replied = "no"
		case e.Exchange.Seq != 0:
			row.replied = e.Session.Replied(e.Exchange.Seq)
		}
		return row
	}
	return nil
}

// withNode are columns of sessions, or of what is said in them, behind that of the node if there are many.
func withNode[T any](columns []column[T], many bool, of func(T) *journal.Session) []column[T] {
	if !many {
		return columns
	}
	node := column[T]{title: "node", width: 12, text: func(row T, width int) string { return within(width, of(row).Node) }}
	return append([]column[T]{node}, columns...)
}

// number is the session's, as people know it.
func number(s *journal.Session) string {
	switch {
	case s.Lost:
		return "?"
	case s.Number == 0:
		return "-"
	}
	return strconv.FormatUint(s.Number, 10)
}

func escaped(text string) string { return string(AppendEscaped(nil, []byte(text))) }

// An exchangeTable writes an exchange a line.
type exchangeTable struct {
	*table[*logRow]
	said *wordings
}

const (
	logTime   = "2006-01-02T15:04:05.000000Z"
	timeOfDay = "15:04:05.000000"
)

// exchangeColumns are those of a table of exchanges. Whether it was replied is never left out.
var exchangeColumns = []column[*logRow]{
	{title: "session", width: 7, right: true, dispensable: 2, tint: func(r *logRow) tint { return sessionTint(r.Number) }, text: func(r *logRow, _ int) string { return number(r.Session) }},
	{title: "seq", width: 5, right: true, dispensable: 3, text: func(r *logRow, _ int) string { return strconv.FormatUint(r.x.Seq, 10) }},
	{title: "received", width: len(logTime), narrow: len(timeOfDay), dispensable: 5, tint: func(*logRow) tint { return timeTint }, text: func(r *logRow, width int) string { return timeIn(r.x.Received, width) }},
	{title: "took", width: 10, right: true, dispensable: 4, text: func(r *logRow, width int) string { return spanIn(r.x.Took, width) }},
	{title: "replied", width: 7, tint: (*logRow).repliedTint, text: func(r *logRow, _ int) string { return r.replied }},
	{title: "remote", width: 21, dispensable: 6, tint: func(r *logRow) tint { return sessionTint(r.Number) }, text: func(r *logRow, _ int) string { return escaped(r.Remote) }},
	{title: "request", width: 40, elastic: true, tint: func(*logRow) tint { return requestTint }, text: func(r *logRow, width int) string { return r.brief(r.request(), width) }},
	{title: "reply", width: 40, elastic: true, dispensable: 1, tint: func(*logRow) tint { return replyTint }, text: func(r *logRow, width int) string { return r.brief(r.reply(), width) }},
}

// repliedTint is red where a reply was due and did not get out, or the connection was refused.
func (r *logRow) repliedTint() tint {
	switch {
	case r.replied == "yes", r.replied == "unasked", r.replied == "unknown":
		return plain
	case r.replied == "no" && r.x.Reply == nil: // none may have been due
		return plain
	}
	return abnormalTint
}

// timeIn is a time in so many columns, 0 for any: all of it, or that of the day.
func timeIn(t time.Time, width int) string {
	switch {
	case width == 0 || width >= len(logTime):
		return t.Format(logTime)
	case width >= len(timeOfDay):
		return t.Format(timeOfDay)
	}
	return t.Format(time.TimeOnly)
}

// spanIn is a time in so many columns, 0 for any: all of it, or three digits.
func spanIn(d time.Duration, width int) string {
	if text := d.String(); width == 0 || displaywidth.String(text) <= width {
		return text
	}
	return threeDigits(d)
}

// brief is a payload escaped and cut to a width; past 4 KiB only if that is 0.
func brief(p []byte, width int) string {
	if width == 0 {
		return string(AppendPayload(nil, p))
	}
	const most = 16 // bytes a column: a character has four at most, and what combines with it
	if len(p) > most*width {
		return fit(escaped(string(p[:most*width]))+"…", width)
	}
	return fit(escaped(string(p)), width)
}

func (v exchangeTable) Show(e journal.Event) error {
	r := v.said.row(e)
	if r == nil {
		return nil
	}
	if err := v.table.row(r); err != nil || !r.hex {
		return err
	}
	var dump []byte
	for _, message := range []*parley.Event{r.request(), r.reply()} {
		if message.Body != nil {
			dump = r.appendDump(dump, message)
		}
	}
	_, err := v.out.Write(dump)
	return err
}

func (v exchangeTable) End() error { return nil }

// An exchangeCSV writes an exchange a record (RFC 4180). As in JSON a payload is there as it
// is, or in base64 if it is not printable, and beside it in words if there are any.
type exchangeCSV struct {
	csvWriter
	said *wordings
}

func (v exchangeCSV) Show(e journal.Event) error {
	r := v.said.row(e)
	if r == nil {
		return nil
	}
	session := ""
	if r.Number != 0 {
		session = number(r.Session)
	}
	request, request64 := plainOrBase64(r.x.Request)
	reply, reply64 := plainOrBase64(r.x.Reply)
	return v.write(session, fmt.Sprint(r.x.Seq), escaped(r.Remote), escaped(r.Local), r.x.Received.Format(time.RFC3339Nano),
		fmt.Sprint(int64(r.x.Took)), r.replied, request, request64, reply, reply64, r.text(r.request()), r.text(r.reply()), escaped(r.x.Fault), escaped(r.Node))
}

func (v exchangeCSV) End() error { return nil }

func plainOrBase64(p []byte) (plain, in64 string) {
	if Printable(p) {
		return string(p), ""
	}
	return "", base64.StdEncoding.EncodeToString(p)
}

type csvWriter struct{ *csv.Writer }

func newCSV(out io.Writer) csvWriter {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	return csvWriter{w}
}

func (w csvWriter) write(record ...string) error {
	w.Write(record) // an error comes back from Flush
	w.Flush()
	return w.Error()
}

// A markdownView fills the seed's table: what the two terminals show.
type markdownView struct {
	out     io.Writer
	said    *wordings
	table   *Transcript
	clients map[int64]*ClientNarrative // by Session.ID
}

const (
	serverTerminal = iota
	clientTerminal
)

func (v *markdownView) Show(e journal.Event) error {
	entry := v.said.entry(e)
	message := dialect.Message{Body: entry.Body, Cut: entry.Cut, Secret: entry.Secret}
	entry.Side = "server" // whose terminal it is, whoever recorded it
	entry.Remote, entry.Local = e.Session.Ends()
	server := func() {
		line := AppendEntry(nil, entry, false)
		v.table.Say(serverTerminal, strings.TrimSuffix(string(line), "\n"))
	}
	if entry.Kind == parley.Refused {
		server()
		return nil
	}
	client := v.client(e.Session)
	switch {
	case entry.Kind == parley.Opened:
		server()
		_, at := e.Session.Ends()
		client.Connected(escaped(at))
	case entry.Kind == parley.Received:
		client.Prompt()
		client.Typed(dialect.Message{Body: entry.shown()})
		client.Sending(message)
		server()
	case entry.Kind == parley.Replied && entry.Unsent == "":
		client.Response(message, entry.Took)
	case entry.Kind == parley.Unasked:
		client.Message(message)
	case entry.Kind == parley.Replied, entry.Kind == parley.Faulted:
		server()
	case entry.Kind == parley.Closed:
		if entry.Reason == parley.EndOfFile.String() || entry.Reason == parley.Blank.String() {
			client.Prompt()
			client.Typed(dialect.Message{})
		}
		server()
		client.Closed("", "")
		delete(v.clients, e.Session.ID)
	}
	return nil
}

func (v *markdownView) client(s *journal.Session) *ClientNarrative {
	if v.clients[s.ID] == nil {
		client := NewClientNarrative(v.table.Column(clientTerminal), nil, Piped)
		shown := v.said.session(s)
		client.Wording = Wording{shown.words, shown.secrets}
		v.clients[s.ID] = client
		if s.Lost {
			v.table.Say(serverTerminal, fmt.Sprintf("(session %d was not recorded)", s.ID))
		}
	}
	return v.clients[s.ID]
}

func (v *markdownView) End() error { return v.table.Print(v.out) }

// A mermaidView draws a sequence diagram.
type mermaidView struct {
	out     io.Writer
	said    *wordings
	drawn   map[string]bool // participants that have their line of life
	refused int
}

func (v *mermaidView) Show(e journal.Event) error {
	const width = 80
	var line []byte
	at, _ := e.Session.Ends()
	entry, client, name := v.said.entry(e), "c"+strconv.FormatInt(e.Session.ID, 10), escaped(at)
	switch {
	case entry.Kind == parley.Refused:
		v.refused++
		client = "r" + strconv.Itoa(v.refused)
	case e.Session.Lost:
		name = fmt.Sprintf("session %d, not recorded", e.Session.ID)
	}
	if !v.drawn[client] {
		v.drawn[client] = true
		line = fmt.Appendf(line, "    participant %s as %s\n", client, AppendMermaid(nil, name))
	}
	body := fmt.Sprintf("[%d] %s", lengthOf(entry.message()), AppendMermaid(nil, string(AppendBrief(nil, entry.shown(), width))))
	switch {
	case entry.Kind == parley.Opened:
		line = fmt.Appendf(line, "    Note over %s,s: session %s\n", client, AppendMermaid(nil, sessionName(e.Session, v.said.ManyNodes)))
	case entry.Kind == parley.Received:
		line = fmt.Appendf(line, "    %s->>s: %s\n", client, body)
	case entry.Kind == parley.Unasked || entry.Kind == parley.Replied && entry.Unsent == "":
		line = fmt.Appendf(line, "    s-->>%s: %s\n", client, body)
	case entry.Kind == parley.Replied && entry.Unsent == "no":
		line = fmt.Appendf(line, "    s--x%s: not sent %s\n", client, body)
	case entry.Kind == parley.Replied:
		line = fmt.Appendf(line, "    s--)%s: unconfirmed %s\n", client, body)
	case entry.Kind == parley.Faulted:
		line = fmt.Appendf(line, "    Note over %s,s: fault, %s\n", client, AppendMermaid(nil, escaped(entry.Fault)))
	case entry.Kind == parley.Closed:
		line = fmt.Appendf(line, "    Note over %s,s: closed, %s\n", client, AppendMermaid(nil, escaped(entry.Reason)))
	case entry.Kind == parley.Refused:
		if entry.Body != nil {
			line = fmt.Appendf(line, "    s-->>%s: %s\n", client, body)
		}
		line = fmt.Appendf(line, "    Note over %s,s: refused, %s\n", client, AppendMermaid(nil, escaped(entry.Reason)))
	}
	_, err := v.out.Write(line)
	return err
}

func (v *mermaidView) End() error { return nil }

// A pcapView writes a capture file.
type pcapView struct{ *journal.Pcap }

func (v pcapView) Show(e journal.Event) error { return v.Write(e) }
func (v pcapView) End() error                 { return nil }

// A SessionList writes sessions.
type SessionList interface {
	Show(s *journal.Session) error
}

// NewSessionList lists sessions as a format names it: table, csv, or json for the last that
// is known of each, its closed or its opened event. A table fits, and is coloured, as that of NewLogView is;
// with manyNodes it has a column for them.
func NewSessionList(format string, out io.Writer, width int, style Style, manyNodes bool) (SessionList, error) {
	switch format {
	case "json":
		return sessionJSON{out}, nil
	case "csv":
		l := sessionCSV{newCSV(out)}
		return l, l.write("session", "remote", "local", "opened", "closed", "reason", "requests", "replied_upto", "bytes_in", "bytes_out",
			"stray", "role", "framing", "listener", "upstream", "node", "tls_version", "tls_name", "proxied")
	}
	l := sessionTable{newTable(out, width, style, withNode(sessionColumns, manyNodes, func(s *journal.Session) *journal.Session { return s }))}
	return l, l.head()
}

type sessionJSON struct{ out io.Writer }

func (l sessionJSON) Show(s *journal.Session) error {
	e := journal.Event{Kind: parley.Opened, Time: s.Opened, Session: s}
	if !s.Closed.IsZero() {
		e.Kind, e.Time = parley.Closed, s.Closed
	}
	entry := entryOf(e)
	entry.Framing, entry.Upstream, entry.security = s.Framing, s.Upstream, recordedSecurity(s)
	_, err := l.out.Write(AppendEntryJSON(nil, entry))
	return err
}

type sessionCSV struct{ csvWriter }

func (l sessionCSV) Show(s *journal.Session) error {
	session := ""
	if !s.Lost {
		session = number(s)
	}
	record := []string{session, escaped(s.Remote), escaped(s.Local), s.Opened.Format(time.RFC3339Nano), "", "", "", "", "", "", ""}
	if !s.Closed.IsZero() {
		record = append(record[:4], s.Closed.Format(time.RFC3339Nano), escaped(s.Reason),
			fmt.Sprint(s.Requests), fmt.Sprint(s.RepliedUpTo), fmt.Sprint(s.BytesIn), fmt.Sprint(s.BytesOut), fmt.Sprint(s.Stray))
	}
	for _, text := range []string{s.Role, s.Framing, s.Listener, s.Upstream, s.Node, s.TLSVersion, s.TLSName, s.Proxied} {
		record = append(record, escaped(text))
	}
	return l.write(record...)
}

type sessionTable struct{ *table[*journal.Session] }

func (l sessionTable) Show(s *journal.Session) error { return l.row(s) }

// sessionColumns are those of a table of sessions. Why it ended is never left out.
var sessionColumns = []column[*journal.Session]{
	{title: "session", width: 7, right: true, tint: func(s *journal.Session) tint { return sessionTint(s.Number) }, text: func(s *journal.Session, _ int) string { return number(s) }},
	{title: "opened", width: len(logTime), narrow: len(timeOfDay), dispensable: 5, tint: func(*journal.Session) tint { return timeTint }, text: func(s *journal.Session, width int) string { return timeIn(s.Opened, width) }},
	{title: "lasted", width: 13, right: true, dispensable: 6, text: func(s *journal.Session, width int) string {
		return ifClosed(func(s *journal.Session) string { return spanIn(s.Closed.Sub(s.Opened), width) })(s, width)
	}},
	{title: "remote", width: 21, dispensable: 4, tint: func(s *journal.Session) tint { return sessionTint(s.Number) }, text: func(s *journal.Session, _ int) string { return escaped(s.Remote) }},
	{title: "requests", width: 8, right: true, dispensable: 2, text: ifClosed(func(s *journal.Session) string { return fmt.Sprint(s.Requests) })},
	{title: "replied", width: 7, right: true, dispensable: 1, text: ifClosed(func(s *journal.Session) string { return fmt.Sprint(s.RepliedUpTo) })},
	{title: "bytes in", width: 9, right: true, dispensable: 8, text: ifClosed(func(s *journal.Session) string { return fmt.Sprint(s.BytesIn) })},
	{title: "bytes out", width: 9, right: true, dispensable: 7, text: ifClosed(func(s *journal.Session) string { return fmt.Sprint(s.BytesOut) })},
	{title: "framing", width: 9, dispensable: 9, text: func(s *journal.Session, width int) string { return within(width, s.Framing) }},
	{title: "upstream", width: 21, dispensable: 10, text: func(s *journal.Session, width int) string { return within(width, s.Upstream) }},
	{title: "tls, proxy", width: 16, elastic: true, most: 60, dispensable: 11, text: func(s *journal.Session, width int) string { return secured(width, s) }},
	{title: "reason", width: len("first_byte_timeout"), tint: func(s *journal.Session) tint { return endTint(cmp.Or(s.Reason, journal.ReasonOpen)) }, text: func(s *journal.Session, _ int) string {
		switch {
		case s.Lost:
			return fmt.Sprintf("(session %d was not recorded)", s.ID)
		case s.Closed.IsZero():
			return journal.ReasonOpen
		}
		return escaped(s.Reason)
	}},
}

// secured is what is known of a session's TLS and of the proxy before it, as within is.
func secured(width int, s *journal.Session) string {
	of := recordedSecurity(s)
	return within(width, string(of.appendList(nil)))
}

// within is a text escaped and cut to a width, if that is not 0.
func within(width int, text string) string {
	if width == 0 {
		return escaped(text)
	}
	return fit(escaped(text), width)
}

// ifClosed is what is known of a session once it is over.
func ifClosed(text func(*journal.Session) string) func(*journal.Session, int) string {
	return func(s *journal.Session, _ int) string {
		if s.Closed.IsZero() {
			return "?"
		}
		return text(s)
	}
}
