package main

import (
	"context"
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
)

// A logView shows the events of a journal in one of its formats.
type logView interface {
	show(e journal.Event) error
	end() error
}

var exports = map[string]func(io.Writer) (logView, error){
	"md":      newMarkdownView,
	"mermaid": newMermaidView,
	"ndjson":  newJSONView,
	"pcap":    newPcapView,
}

func (opt *logOptions) view(out io.Writer) (logView, error) {
	switch {
	case opt.export != "":
		return exports[opt.export](out)
	case opt.json:
		return newJSONView(out)
	case opt.csv:
		return newCSVView(out)
	case opt.table:
		return newTableView(out)
	}
	return &lineView{out: out, format: func(dst []byte, e *console.Entry) []byte {
		return console.AppendEntry(dst, e, true)
	}}, nil
}

// entryOf is an event as the console tells it.
func entryOf(e journal.Event) *console.Entry {
	s := e.Session
	entry := &console.Entry{Kind: e.Kind, Time: e.Time, Number: s.Number, Remote: s.Remote, Local: s.Local}
	switch e.Kind {
	case parley.Received:
		entry.Seq, entry.Body, entry.Cut = e.Exchange.Seq, e.Exchange.Request, e.Exchange.RequestCut
	case parley.Replied:
		entry.Seq, entry.Body, entry.Cut, entry.Took = e.Exchange.Seq, e.Exchange.Reply, e.Exchange.ReplyCut, e.Exchange.Took
		if entry.Seq == 0 {
			entry.Kind = parley.Unasked
			break
		}
		if replied := s.Replied(entry.Seq); replied != "yes" {
			entry.Unsent = replied
		}
	case parley.Closed:
		entry.Seq, entry.Took, entry.Reason = s.Requests, s.Closed.Sub(s.Opened), s.Reason
		entry.In, entry.Out = s.BytesIn, s.BytesOut
	}
	return entry
}

// A lineView writes a line an event: the narrative or JSON.
type lineView struct {
	out    io.Writer
	format func(dst []byte, e *console.Entry) []byte
	line   []byte
}

func newJSONView(out io.Writer) (logView, error) {
	return &lineView{out: out, format: console.AppendEntryJSON}, nil
}

func (v *lineView) show(e journal.Event) error {
	v.line = v.format(v.line[:0], entryOf(e))
	_, err := v.out.Write(v.line)
	return err
}

func (v *lineView) end() error { return nil }

// oncePerExchange says whether an event stands for its exchange in a view that has a line
// for each: its request, or the reply if there was none.
func oncePerExchange(e journal.Event) bool {
	return e.Kind == parley.Received || e.Kind == parley.Replied && e.Exchange.Request == nil
}

// A tableView writes an exchange a line, payloads cut to a column.
type tableView struct{ out io.Writer }

const (
	logTime     = "2006-01-02T15:04:05.000000Z"
	columnWidth = 40 // of a payload
	tableFormat = "%7v %6v  %-27v %11v  %-7v  %-21v  %-*s  %s\n"
)

func newTableView(out io.Writer) (logView, error) {
	_, err := fmt.Fprintf(out, tableFormat, "session", "seq", "received", "took", "replied", "remote", columnWidth, "request", "reply")
	return tableView{out}, err
}

func (v tableView) show(e journal.Event) error {
	if !oncePerExchange(e) {
		return nil
	}
	s, x := e.Session, e.Exchange
	_, err := fmt.Fprintf(v.out, tableFormat, s.Number, x.Seq, x.Received.Format(logTime), x.Took, replied(s, x),
		escaped(s.Remote), columnWidth, console.AppendBrief(nil, x.Request, columnWidth), console.AppendBrief(nil, x.Reply, columnWidth))
	return err
}

func (v tableView) end() error { return nil }

// replied says whether the reply got out, or that nobody had asked for it.
func replied(s *journal.Session, x *journal.Exchange) string {
	if x.Seq == 0 {
		return "unasked"
	}
	return s.Replied(x.Seq)
}

func escaped(text string) string { return string(console.AppendEscaped(nil, []byte(text))) }

// A csvView writes an exchange a record (RFC 4180). As in JSON a payload is there as it is,
// or in base64 if it is not printable.
type csvView struct{ out *csv.Writer }

func newCSVView(out io.Writer) (logView, error) {
	v := csvView{newCSV(out)}
	return v, v.write("session", "seq", "remote", "local", "received", "took_ns", "replied",
		"request", "request_base64", "reply", "reply_base64")
}

func newCSV(out io.Writer) *csv.Writer {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	return w
}

func (v csvView) show(e journal.Event) error {
	if !oncePerExchange(e) {
		return nil
	}
	s, x := e.Session, e.Exchange
	request, request64 := plainOrBase64(x.Request)
	reply, reply64 := plainOrBase64(x.Reply)
	return v.write(fmt.Sprint(s.Number), fmt.Sprint(x.Seq), escaped(s.Remote), escaped(s.Local), x.Received.Format(time.RFC3339Nano),
		fmt.Sprint(int64(x.Took)), replied(s, x), request, request64, reply, reply64)
}

func plainOrBase64(p []byte) (plain, in64 string) {
	if console.Printable(p) {
		return string(p), ""
	}
	return "", base64.StdEncoding.EncodeToString(p)
}

func (v csvView) write(record ...string) error {
	v.out.Write(record) // an error comes back from Flush
	v.out.Flush()
	return v.out.Error()
}

func (v csvView) end() error { return nil }

// A markdownView fills the seed's table: what the two terminals show.
type markdownView struct {
	out     io.Writer
	table   *console.Transcript
	clients map[int64]*console.ClientNarrative // by Session.ID
}

func newMarkdownView(out io.Writer) (logView, error) {
	return &markdownView{out, console.NewTranscript(terminals...), make(map[int64]*console.ClientNarrative)}, nil
}

func (v *markdownView) show(e journal.Event) error {
	entry, client := entryOf(e), v.client(e.Session)
	server := func() {
		line := console.AppendEntry(nil, entry, false)
		v.table.Say(serverColumn, strings.TrimSuffix(string(line), "\n"))
	}
	switch {
	case entry.Kind == parley.Opened:
		server()
		client.Connected(escaped(e.Session.Local))
	case entry.Kind == parley.Received:
		client.Prompt()
		client.Typed(entry.Body)
		client.Sending(entry.Body)
		server()
	case entry.Kind == parley.Replied && entry.Unsent == "":
		client.Response(entry.Body, entry.Took)
	case entry.Kind == parley.Unasked:
		client.Message(entry.Body)
	case entry.Kind == parley.Replied:
		server()
	case entry.Kind == parley.Closed:
		if entry.Reason == parley.EndOfFile.String() || entry.Reason == parley.Blank.String() {
			client.Prompt()
			client.Typed(nil)
		}
		server()
		client.Closed("", "")
		delete(v.clients, e.Session.ID)
	}
	return nil
}

func (v *markdownView) client(s *journal.Session) *console.ClientNarrative {
	if v.clients[s.ID] == nil {
		v.clients[s.ID] = console.NewClientNarrative(v.table.Column(clientColumn), nil, console.Piped)
	}
	return v.clients[s.ID]
}

func (v *markdownView) end() error { return v.table.Print(v.out) }

// A mermaidView draws a sequence diagram.
type mermaidView struct {
	out   io.Writer
	drawn map[int64]bool // sessions that have their line of life
}

func newMermaidView(out io.Writer) (logView, error) {
	_, err := io.WriteString(out, "sequenceDiagram\n    participant s as Server\n")
	return &mermaidView{out, make(map[int64]bool)}, err
}

func (v *mermaidView) show(e journal.Event) error {
	const width = 80
	var line []byte
	entry, client := entryOf(e), "c"+strconv.FormatInt(e.Session.ID, 10)
	if !v.drawn[e.Session.ID] {
		v.drawn[e.Session.ID] = true
		line = fmt.Appendf(line, "    participant %s as %s\n", client, console.AppendMermaid(nil, escaped(e.Session.Remote)))
	}
	body := fmt.Sprintf("[%d] %s", uint64(len(entry.Body))+entry.Cut, console.AppendMermaid(nil, string(console.AppendBrief(nil, entry.Body, width))))
	switch {
	case entry.Kind == parley.Opened:
		line = fmt.Appendf(line, "    Note over %s,s: session %d\n", client, entry.Number)
	case entry.Kind == parley.Received:
		line = fmt.Appendf(line, "    %s->>s: %s\n", client, body)
	case entry.Kind == parley.Unasked || entry.Kind == parley.Replied && entry.Unsent == "":
		line = fmt.Appendf(line, "    s-->>%s: %s\n", client, body)
	case entry.Kind == parley.Replied && entry.Unsent == "no":
		line = fmt.Appendf(line, "    s--x%s: not sent %s\n", client, body)
	case entry.Kind == parley.Replied:
		line = fmt.Appendf(line, "    s--)%s: unconfirmed %s\n", client, body)
	case entry.Kind == parley.Closed:
		line = fmt.Appendf(line, "    Note over %s,s: closed, %s\n", client, console.AppendMermaid(nil, escaped(entry.Reason)))
	}
	_, err := v.out.Write(line)
	return err
}

func (v *mermaidView) end() error { return nil }

// A pcapView writes a capture file.
type pcapView struct{ *journal.Pcap }

func newPcapView(out io.Writer) (logView, error) {
	p, err := journal.NewPcap(out)
	return pcapView{p}, err
}

func (v pcapView) show(e journal.Event) error { return v.Write(e) }
func (v pcapView) end() error                 { return nil }

// printSessions lists sessions: a table, CSV, or in JSON the last that is known of each, its
// closed or its opened event.
func (opt *logOptions) printSessions(ctx context.Context, r *journal.Reader, out io.Writer) error {
	show, err := opt.sessionLine(out)
	if err != nil {
		return err
	}
	for s, err := range r.Sessions(ctx, opt.filter) {
		if err != nil {
			return err
		}
		if err := show(&s); err != nil {
			return err
		}
	}
	return nil
}

// sessionLine writes the head, if the format has one, and returns what writes a session.
func (opt *logOptions) sessionLine(out io.Writer) (show func(*journal.Session) error, err error) {
	switch {
	case opt.json:
		return func(s *journal.Session) error {
			e := journal.Event{Kind: parley.Opened, Time: s.Opened, Session: s}
			if !s.Closed.IsZero() {
				e.Kind, e.Time = parley.Closed, s.Closed
			}
			_, err := out.Write(console.AppendEntryJSON(nil, entryOf(e)))
			return err
		}, nil
	case opt.csv:
		v := csvView{newCSV(out)}
		return func(s *journal.Session) error {
			record := []string{fmt.Sprint(s.Number), escaped(s.Remote), escaped(s.Local), s.Opened.Format(time.RFC3339Nano), "", "", "", "", "", ""}
			if !s.Closed.IsZero() {
				record = append(record[:4], s.Closed.Format(time.RFC3339Nano), escaped(s.Reason),
					fmt.Sprint(s.Requests), fmt.Sprint(s.RepliedUpTo), fmt.Sprint(s.BytesIn), fmt.Sprint(s.BytesOut))
			}
			return v.write(record...)
		}, v.write("session", "remote", "local", "opened", "closed", "reason", "requests", "replied_upto", "bytes_in", "bytes_out")
	}
	const format = "%7v  %-27v %14v  %-21v  %8v %8v %10v %10v  %v\n"
	_, err = fmt.Fprintf(out, format, "session", "opened", "lasted", "remote", "requests", "replied", "bytes in", "bytes out", "reason")
	return func(s *journal.Session) error {
		known := []any{"?", "?", "?", "?", "?", journal.ReasonOpen}
		if !s.Closed.IsZero() {
			known = []any{s.Closed.Sub(s.Opened), s.Requests, s.RepliedUpTo, s.BytesIn, s.BytesOut, escaped(s.Reason)}
		}
		_, err := fmt.Fprintf(out, format, s.Number, s.Opened.Format(logTime), known[0], escaped(s.Remote),
			known[1], known[2], known[3], known[4], known[5])
		return err
	}, err
}
