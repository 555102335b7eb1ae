package web

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

const (
	maxExporting = 2   // exports at once
	heldBeside   = 256 // bytes that each message is counted for beside its own
)

// Of what one export has. Tests have less.
var (
	maxExported = 100_000  // exchanges, the newest; of each a few numbers are in memory meanwhile
	maxHeld     = 16 << 20 // bytes of messages, if it is written in one piece
)

// An exportFormat is how what was said can be written.
type exportFormat struct {
	ending, kind string
	held         bool // all of it is in memory before it is written
}

var exportFormats = map[string]exportFormat{
	"dialogue": {"talk", "text/plain; charset=utf-8", true},
	"md":       {"md", "text/markdown; charset=utf-8", true},
	"mermaid":  {"mmd", "text/plain; charset=utf-8", false},
	"ndjson":   {"ndjson", "application/x-ndjson", false},
	"pcap":     {"pcap", "application/vnd.tcpdump.pcap", false},
}

// An export is what was said in one of the formats, to be saved by a browser.
type export struct {
	format  string
	name    string // of the file, without its ending
	framing dialect.Framing
	secrets bool
	ended   context.Context // no more is written when it ends
}

// parseFormat reads in which format a browser wants something.
func parseFormat(r *http.Request) (string, error) {
	format := r.URL.Query().Get("format")
	if _, known := exportFormats[format]; !known {
		return "", explain(http.StatusBadRequest, "format %q: there are dialogue, md, mermaid, ndjson and pcap", format)
	}
	return format, nil
}

// serve writes events. A question for the head alone finds out whether there is anything to
// write, and whether the format can have it.
func (e *export) serve(w http.ResponseWriter, r *http.Request, events iter.Seq2[journal.Event, error]) {
	as := exportFormats[e.format]
	w.Header().Set("Content-Type", as.kind)
	attach(w, e.name+"."+as.ending)
	sent := &begun{out: &patient{w, http.NewResponseController(w)}}
	if r.Method == http.MethodHead {
		sent.out = io.Discard
	}
	out := bufio.NewWriterSize(sent, maxStep)
	err := e.write(out, events, r.Method == http.MethodHead && !as.held)
	if err == nil {
		err = out.Flush()
	}
	var not *console.NotExported
	switch {
	case err == nil:
	case sent.is: // the browser is not to take a part for the whole
		panic(http.ErrAbortHandler)
	default:
		w.Header().Del("Content-Disposition")
		if errors.As(err, &not) {
			err = explain(http.StatusConflict, "%v", err)
		}
		fail(w, err)
	}
}

// write writes events to out; if one is enough, only whether there is any is found out.
func (e *export) write(out io.Writer, events iter.Seq2[journal.Event, error], one bool) error {
	view, err := console.NewLogView(e.format, out, console.LogOptions{Framing: e.framing, Secrets: e.secrets})
	if err != nil {
		return err
	}
	shown, held := 0, 0
	for event, err := range events {
		if err != nil {
			return err
		}
		if e.ended.Err() != nil {
			return explain(http.StatusServiceUnavailable, "the server is stopping")
		}
		if exportFormats[e.format].held {
			if held += lengthIn(event) + heldBeside; held > maxHeld {
				return explain(http.StatusRequestEntityTooLarge, "that is too much to be written in one piece (%d MiB); choose less, or NDJSON or pcap", maxHeld>>20)
			}
		}
		shown++
		if one {
			return nil
		}
		if err := view.Show(e.concealed(event)); err != nil {
			return err
		}
	}
	if shown == 0 {
		return explain(http.StatusNotFound, "there is nothing to export")
	}
	return view.End()
}

// lengthIn is how many bytes an event has to say.
func lengthIn(event journal.Event) int {
	switch {
	case event.Exchange == nil:
		return len(event.Text)
	case event.Kind == parley.Received:
		return len(event.Exchange.Request)
	}
	return len(event.Exchange.Reply)
}

// concealed is an event without the credentials that the page does not show either.
func (e *export) concealed(event journal.Event) journal.Event {
	x := event.Exchange
	if e.secrets || x == nil || !x.Secret {
		return event
	}
	said := wordingOf(cmp.Or(event.Session.Framing, e.framing.Name), false)
	own := *x
	own.Secret = false
	if x.Request != nil {
		own.Request, own.RequestWhole = []byte(said.request(x.Request, x.RequestCut, true, maxRecordedMessage).Text), len(x.Request)+int(x.RequestCut)
		own.RequestCut, own.RawRequest.Bytes = 0, nil
	} else {
		own.Reply, own.ReplyWhole = []byte(said.reply(x.Reply, x.ReplyCut, true, maxRecordedMessage).Text), len(x.Reply)+int(x.ReplyCut)
		own.ReplyCut, own.RawReply.Bytes = 0, nil
	}
	event.Exchange = &own
	return event
}

// A begun writer notes that something was written.
type begun struct {
	out io.Writer
	is  bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.is = true
	return b.out.Write(p)
}

// claim takes one of the places for exports. The error says that there is none.
func claim(places chan struct{}) (release func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, explain(http.StatusServiceUnavailable, "%d exports are under way; try again when one is done", cap(places))
	}
}

// export writes one session of a journal, or all that is chosen of it.
func (p *Journals) export(w http.ResponseWriter, r *http.Request) {
	q, err := p.parse(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	file := slices.Index(q.files, true)
	if file < 0 || slices.Contains(q.files[file+1:], true) {
		http.Error(w, "an export is of one journal; choose a file", http.StatusBadRequest)
		return
	}
	if text := r.URL.Query().Get("id"); text != "" {
		if q.filter.Session, err = strconv.ParseInt(text, 10, 64); err != nil || q.filter.Session < 1 {
			http.Error(w, "id: that is no row of a session", http.StatusBadRequest)
			return
		}
	}
	if err := p.exportOf(w, r, file, q); err != nil {
		fail(w, err)
	}
}

// exportOf writes what a question selects of a file. The error is one that nothing was written of.
func (p *Journals) exportOf(w http.ResponseWriter, r *http.Request, file int, q question) error {
	format, err := parseFormat(r)
	if err != nil {
		return err
	}
	release, err := claim(p.exporting)
	if err != nil {
		return err
	}
	defer release()
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	defer context.AfterFunc(p.indexing, stop)() // Close waits for whoever uses the file
	f := p.files[file]
	return f.use(func(reader *journal.Reader, _ int64) error {
		defer context.AfterFunc(f.inPlace, stop)() // or whoever asks for the next file would wait for a slow browser
		filter, err := p.filterFor(ctx, reader, q)
		if err != nil {
			return err
		}
		filter.Loose = format == "pcap" // which has all bytes
		e := export{format: format, name: fileNameOf(f.name) + "-exchanges", framing: p.opt.Framing, secrets: p.opt.Secrets, ended: p.indexing}
		if filter.Session != 0 {
			of, err := reader.SessionsOf(ctx, []int64{filter.Session})
			if err != nil {
				return err
			}
			e.name = fmt.Sprintf("%s-session-%d", fileNameOf(f.name), filter.Session)
			if s := of[filter.Session]; s != nil {
				e.name = fmt.Sprintf("%s-session-%d", fileNameOf(f.name), s.Number)
			}
		}
		extent, err := reader.Extent(ctx)
		if err != nil {
			return err
		}
		if extent.Exchange+extent.Session+extent.Refusal > int64(maxExported) {
			filter.Limit = maxExported
		}
		e.serve(w, r, reader.Events(ctx, filter))
		return nil
	})
}

// fileNameOf is the name of a journal as the beginning of another file's.
func fileNameOf(name string) string {
	name = strings.TrimSuffix(filepath.Base(name), ".journal")
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z' {
			return r
		}
		return '_'
	}, name)
}

// export writes one session of this run, from the journal if there is one, one of the journal by its row, or what is
// kept in memory and passes the filter of the stream.
func (p *Page) export(w http.ResponseWriter, r *http.Request) {
	if err := p.exportOf(w, r); err != nil {
		fail(w, err)
	}
}

func (p *Page) exportOf(w http.ResponseWriter, r *http.Request) error {
	format, err := parseFormat(r)
	if err != nil {
		return err
	}
	v := r.URL.Query()
	var number uint64
	var row int64
	if v.Has("id") {
		row, err = strconv.ParseInt(v.Get("id"), 10, 64)
	} else if v.Has("number") {
		number, err = strconv.ParseUint(v.Get("number"), 10, 63)
	}
	slower, slowerErr := strconv.ParseFloat(cmp.Or(v.Get("slower"), "0"), 64)
	if err != nil || slowerErr != nil || row < 0 || v.Has("id") && p.opt.Journal == nil || len(v.Get("text")) > maxSought {
		return explain(http.StatusBadRequest, "what? number=3, a session of this run; id=17, one of the journal; or text=, session= and slower= of what is kept in memory")
	}
	if number > 0 && p.opt.Journal != nil {
		row = p.opt.FirstID + int64(number) - 1
	}
	if row > 0 {
		release := p.ask(r.Context())
		defer release()
		all := make([]bool, 1)
		all[0] = true
		err := p.opt.Journal.exportOf(w, r, 0, question{filter: journal.Filter{Session: row}, files: all})
		return err
	}
	release, err := claim(p.exporting)
	if err != nil {
		return err
	}
	defer release()
	e := export{format: format, name: "parley-exchanges", framing: p.opt.Framing, secrets: p.opt.Secrets, ended: context.Background()}
	if number > 0 {
		e.name = fmt.Sprintf("parley-session-%d", number)
	}
	e.serve(w, r, slicesOf(p.events(number, remembered{
		text: strings.ToLower(v.Get("text")), session: strings.TrimPrefix(v.Get("session"), "#"), slower: time.Duration(slower * 1e6),
	})))
	return nil
}

func slicesOf(events []journal.Event) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// remembered is what is chosen of memory, as the filter above the stream has it.
type remembered struct {
	text    string // in lower case
	session string
	slower  time.Duration
}

func (f *remembered) passes(x *exchange) bool {
	if f.session != "" && strconv.FormatUint(x.Session, 10) != f.session || f.slower > 0 && x.Took <= f.slower {
		return false
	}
	if f.text == "" {
		return true
	}
	var all []byte
	for _, m := range []*message{x.Request, x.Reply} {
		if m != nil {
			all = append(console.AppendEscaped(append(append(all, m.Text...), '\n'), m.Start), '\n')
		}
	}
	return bytes.Contains(bytes.ToLower(all), []byte(f.text))
}

// events are what memory has of a session, if number is not 0, or of all that passes a filter, as a journal
// would tell it.
func (p *Page) events(number uint64, f remembered) (events []journal.Event) {
	p.mu.Lock()
	chosen := p.state.last(maxExchanges, func(x *exchange) bool { return number == 0 || x.Session == number })
	p.mu.Unlock()
	chosen = slices.DeleteFunc(chosen, func(x *exchange) bool { return !f.passes(x) }) // which takes the time that the lock must not be held for
	p.mu.Lock()
	defer p.mu.Unlock()
	var order []uint64 // of sessions
	of := make(map[uint64][]*exchange)
	if number > 0 && p.state.sessions[number] != nil {
		order = []uint64{number}
	}
	for _, x := range chosen {
		if x.Refused != nil {
			at := time.UnixMicro(x.At).UTC()
			refused := journal.Event{Kind: parley.Refused, Time: at, Session: &journal.Session{Remote: x.Refused.Remote, Opened: at, Closed: at, Reason: x.Refused.Reason}}
			if x.Reply != nil {
				refused.Text = x.Reply.Start
			}
			events = append(events, refused)
			continue
		}
		if !slices.Contains(order, x.Session) {
			order = append(order, x.Session)
		}
		of[x.Session] = append(of[x.Session], x)
	}
	for _, session := range order {
		events = append(events, p.eventsOf(session, of[session])...)
	}
	slices.SortStableFunc(events, func(a, b journal.Event) int { return a.Time.Compare(b.Time) })
	return events
}

// eventsOf are those of a session.
func (p *Page) eventsOf(number uint64, exchanges []*exchange) (events []journal.Event) {
	s := &journal.Session{ID: int64(number), Number: number, Lost: true}
	if known := p.state.sessions[number]; known != nil {
		s.Lost, s.Remote, s.Local, s.Opened = false, known.Remote, known.Local, time.UnixMicro(known.Opened).UTC()
		s.Reason, s.Requests, s.BytesIn, s.BytesOut = known.Reason, known.Requests, known.In, known.Out
		s.Stray, s.TLSVersion, s.TLSName, s.Proxied = known.Stray, known.TLSVersion, known.TLSName, known.Proxy
		if known.Closed > 0 {
			s.Closed = time.UnixMicro(known.Closed).UTC()
		}
		events = append(events, journal.Event{Kind: parley.Opened, Time: s.Opened, Session: s})
	}
	s.Framing, s.Upstream, s.Role = p.opt.Framing.Name, p.opt.Upstream, "server"
	if p.opt.Upstream != "" {
		s.Role = "tap"
	}
	for _, x := range exchanges {
		own := x.recorded(s.ID)
		if own.Request != nil {
			events = append(events, journal.Event{Kind: parley.Received, Time: own.Received, Session: s, Exchange: own})
		}
		if own.Reply != nil {
			s.RepliedUpTo = max(s.RepliedUpTo, own.Seq) // a page is told of replies that are written
			events = append(events, journal.Event{Kind: parley.Replied, Time: own.Received.Add(own.Took), Session: s, Exchange: own})
		}
	}
	if !s.Closed.IsZero() {
		events = append(events, journal.Event{Kind: parley.Closed, Time: s.Closed, Session: s})
	}
	return events
}

// recorded is the exchange as a journal would have it. Credentials are not in it.
func (x *exchange) recorded(session int64) *journal.Exchange {
	own := &journal.Exchange{Session: session, Seq: x.Seq, Received: time.UnixMicro(x.At).UTC(), Took: x.Took, Fault: x.Fault}
	own.Request, own.RequestCut, own.RequestWhole = x.Request.recorded()
	own.Reply, own.ReplyCut, own.ReplyWhole = x.Reply.recorded()
	return own
}

func (m *message) recorded() (body []byte, cut uint64, whole int) {
	switch {
	case m == nil:
		return nil, 0, 0
	case m.Secret:
		return []byte(m.Text), 0, m.Bytes
	}
	return m.Start, uint64(m.Bytes - len(m.Start)), m.Whole
}
