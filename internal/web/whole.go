package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/parley-tcp/parley/internal/guard"
	"github.com/parley-tcp/parley/internal/journal"
)

const (
	maxStep     = 64 << 10        // of a message that is told at once
	wholeWithin = 2 * time.Second // an exchange is looked for among those of its session
)

// A whole is one exchange with all that is known of it. Its messages are told as far as maxStep;
// the rest of them is asked for.
type whole struct {
	*exchange
	File    int          `json:"file"`
	Of      foundSession `json:"of"`
	Source  string       `json:"source"`         // where it is kept: journal or memory
	Replied string       `json:"replied"`        // whether the reply got out: yes, no or unknown
	Late    bool         `json:"late,omitempty"` // it is in memory, and soon in the journal
	Run     int64        `json:"run,omitempty"`  // of the live page: to which start its session's number belongs
	bodies  [2][]byte    // of the request and the reply, as far as they are kept
	secret  [2]bool      // and not to be shown
}

// sides are the messages of an exchange, as a browser names them.
var sides = []string{"request", "reply"}

// An explained error is what a browser is answered, with its code.
type explained struct {
	code int
	text string
}

func (e *explained) Error() string { return e.text }

func explain(code int, format string, args ...any) error {
	return &explained{code, fmt.Sprintf(format, args...)}
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	var known *explained
	if errors.As(err, &known) {
		http.Error(w, known.text, known.code)
		return
	}
	http.Error(w, "it cannot be read: "+err.Error(), http.StatusInternalServerError)
}

// A lookUp finds the exchange that a browser names.
type lookUp func(ctx context.Context, v url.Values) (*whole, error)

// serveWhole tells one exchange.
func serveWhole(w http.ResponseWriter, r *http.Request, find lookUp) {
	x, err := find(r.Context(), r.URL.Query())
	if err != nil {
		fail(w, err)
		return
	}
	for i, m := range []*message{x.Request, x.Reply} {
		if m == nil {
			continue
		}
		m.Kept = len(x.bodies[i])
		if m.Start = nil; !x.secret[i] {
			m.Start = append([]byte{}, x.bodies[i][:min(len(x.bodies[i]), maxStep)]...)
		}
	}
	writeJSON(w, x)
}

// serveMessage sends the bytes of one message: a step of them from a byte on, or all that are kept, as a file.
func serveMessage(w http.ResponseWriter, r *http.Request, find lookUp) {
	v := r.URL.Query()
	from, err := strconv.Atoi(cmp.Or(v.Get("from"), "0"))
	side := slices.Index(sides, v.Get("side"))
	if err != nil || from < 0 || side < 0 {
		http.Error(w, "which message? side=request or side=reply, and from=65536 for what comes behind so many bytes", http.StatusBadRequest)
		return
	}
	x, err := find(r.Context(), v)
	switch {
	case err != nil:
		fail(w, err)
		return
	case x.secret[side]:
		http.Error(w, "there are credentials in it, which are not shown; --show-secrets shows them", http.StatusForbidden)
		return
	case x.bodies[side] == nil:
		http.Error(w, "the exchange has no "+sides[side], http.StatusNotFound)
		return
	}
	body := x.bodies[side]
	body = body[min(from, len(body)):]
	w.Header().Set("Content-Type", "application/octet-stream")
	if v.Has("save") {
		attach(w, fmt.Sprintf("session-%d-%d-%s.bin", x.Session, x.Seq, sides[side]))
	} else {
		body = body[:min(len(body), maxStep)]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		(&patient{w, http.NewResponseController(w)}).Write(body)
	}
}

// attach has a browser save the answer under a name.
func attach(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// A patient writer gives a browser time for each part of a long answer, and not for all of it together.
type patient struct {
	out     http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (n int, err error) {
	for len(b) > n && err == nil {
		p.control.SetWriteDeadline(time.Now().Add(guard.WriteWithin)) // a recorder in tests has none
		var more int
		more, err = p.out.Write(b[n:min(len(b), n+maxStep)])
		n += more
	}
	return n, err
}

// whole finds an exchange by its file and row, or by its session's row there and its number in that.
func (p *Journals) whole(ctx context.Context, v url.Values) (*whole, error) {
	file, err := p.parseFile(cmp.Or(v.Get("file"), "0"))
	id, idErr := strconv.ParseInt(cmp.Or(v.Get("id"), "0"), 10, 64)
	session, sessionErr := strconv.ParseInt(cmp.Or(v.Get("session"), "0"), 10, 64)
	seq, seqErr := strconv.ParseInt(cmp.Or(v.Get("seq"), "0"), 10, 64)
	if errors.Join(err, idErr, sessionErr, seqErr) != nil || id < 1 && (session < 1 || seq < 1) {
		return nil, explain(http.StatusBadRequest, "which exchange? file=0&id=17, its file's place on the command line and its row, or file=0&session=3&seq=17")
	}
	return p.wholeOf(ctx, file, id, session, uint64(max(seq, 0)))
}

// wholeOf is the exchange of a row or, if that is 0, of a session's row and a number in it.
func (p *Journals) wholeOf(ctx context.Context, file int, id, session int64, seq uint64) (w *whole, err error) {
	err = p.files[file].use(func(r *journal.Reader, _ int64) error {
		var x journal.Exchange
		if id > 0 {
			found, _, err := r.NewestExchanges(ctx, journal.Filter{}, journal.Span{After: id - 1, Before: id + 1, Most: 1})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return explain(http.StatusNotFound, "exchange %d is not in the journal, or not any more", id)
			}
			x = found[0]
		}
		if seq > 0 || x.Seq > 0 && (x.Request == nil || x.Reply == nil) { // of a tap's the two may be kept one by one
			if err := addParts(ctx, r, &x, cmp.Or(session, x.Session), cmp.Or(seq, x.Seq)); err != nil {
				return err
			}
		}
		of, err := r.SessionsOf(ctx, []int64{x.Session})
		if err != nil {
			return err
		}
		s := of[x.Session]
		if s == nil {
			s = &journal.Session{ID: x.Session, Lost: true}
		}
		w = p.wholeOfRow(file, s, x)
		return nil
	})
	return w, err
}

// addParts adds what the journal has of a request by its number.
func addParts(ctx context.Context, r *journal.Reader, x *journal.Exchange, session int64, seq uint64) error {
	deadline := time.Now().Add(wholeWithin)
	span := journal.Span{Most: 2, Within: wholeWithin}
	for {
		found, next, err := r.NewestExchanges(ctx, journal.Filter{Session: session, Seq: seq}, span)
		if err != nil {
			return err
		}
		for _, part := range found {
			if x.ID == 0 {
				*x = part
				continue
			}
			if x.Request == nil && part.Request != nil {
				x.Received, x.Request, x.RequestCut, x.RequestWhole, x.Secret = part.Received, part.Request, part.RequestCut, part.RequestWhole, part.Secret
			}
			if x.Reply == nil && part.Reply != nil {
				x.Reply, x.ReplyCut, x.ReplyWhole, x.Took = part.Reply, part.ReplyCut, part.ReplyWhole, part.Took
			}
			x.Fault = cmp.Or(x.Fault, part.Fault)
		}
		if next == 0 || x.Request != nil && x.Reply != nil {
			break
		}
		if span.Before = next; time.Now().After(deadline) {
			break
		}
	}
	if x.ID == 0 {
		return explain(http.StatusNotFound, "exchange %d of that session is not in the journal, or not any more", seq)
	}
	return nil
}

// wholeOfRow is what is told of a recorded exchange.
func (p *Journals) wholeOfRow(file int, s *journal.Session, x journal.Exchange) *whole {
	w := &whole{
		exchange: wordingOf(p.framing(s), p.opt.Secrets).exchange(s.Number, x, maxRecordedMessage), File: file, Of: p.foundSession(file, s),
		Source: "journal", Replied: s.Replied(x.Seq), bodies: [2][]byte{x.Request, x.Reply},
	}
	if s.Lost {
		w.Replied = "unknown"
	}
	w.note()
	return w
}

// note notes which of the messages are not to be shown.
func (w *whole) note() {
	for i, m := range []*message{w.Request, w.Reply} {
		w.secret[i] = m != nil && m.Secret
	}
}

// whole finds an exchange of this run by its session and number, or by when it was kept if it has none; or
// one of the journal by its row, or by its session's row there and its number.
func (p *Page) whole(ctx context.Context, v url.Values) (*whole, error) {
	if v.Has("id") || v.Has("row") {
		if p.opt.Journal == nil {
			return nil, explain(http.StatusNotFound, "there is no journal of earlier exchanges")
		}
		defer p.ask(ctx)()
		return p.opt.Journal.whole(ctx, url.Values{"id": v["id"], "session": v["row"], "seq": v["seq"]})
	}
	run, err := strconv.ParseInt(cmp.Or(v.Get("run"), fmt.Sprint(p.started)), 10, 64)
	session, sessionErr := strconv.ParseUint(cmp.Or(v.Get("session"), "0"), 10, 63)
	seq, seqErr := strconv.ParseUint(cmp.Or(v.Get("seq"), "0"), 10, 63)
	kept, keptErr := strconv.ParseUint(cmp.Or(v.Get("kept"), "0"), 10, 63)
	if errors.Join(err, sessionErr, seqErr, keptErr) != nil || kept == 0 && (session == 0 || seq == 0) {
		return nil, explain(http.StatusBadRequest, "which exchange? session=3&seq=17, or kept=17 of what has no number, or id=17 of the journal, or row=3&seq=17 of a session there")
	}
	if run != p.started {
		return nil, explain(http.StatusGone, "that was before the server was started anew: of what it kept then nothing is left here")
	}
	x, of, known := p.remembered(session, seq, kept)
	if p.opt.Journal != nil && kept == 0 && known {
		defer p.ask(ctx)()
		recorded, err := p.opt.Journal.wholeOf(ctx, 0, 0, p.opt.FirstID+int64(session)-1, seq)
		var missing *explained
		switch {
		case err == nil:
			recorded.Run = p.started
			return recorded, nil
		case !errors.As(err, &missing) && !errors.Is(err, fs.ErrNotExist) && x == nil:
			return nil, err
		}
	}
	switch {
	case !known:
		return nil, explain(http.StatusNotFound, "there was no session %d since the server was started", session)
	case x == nil && p.opt.Journal != nil:
		return nil, explain(http.StatusNotFound, "the journal has no exchange %d of session %d, or not any more", seq, session)
	case x == nil:
		return nil, explain(http.StatusNotFound, "it is not kept any more, or never was: a page keeps a sample of %d exchanges, a journal keeps all", maxExchanges)
	}
	w := &whole{exchange: x, Of: foundSession{session: of}, Source: "memory", Replied: "unknown", Run: p.started, Late: p.opt.Journal != nil && kept == 0}
	if x.Reply != nil { // which the page is told of once it is written
		w.Replied = "yes"
	}
	for i, m := range []*message{x.Request, x.Reply} {
		if m != nil {
			w.bodies[i] = m.Start
		}
	}
	w.note()
	return w, nil
}

// remembered is an exchange in memory, of which browsers may be told at the same time, and its session;
// nil if it is not there. Known is whether this run has such a session.
func (p *Page) remembered(number, seq, kept uint64) (x *exchange, of session, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known = kept > 0 || p.state.isSession(number)
	found := p.state.last(1, func(x *exchange) bool {
		return kept > 0 && x.Kept == kept || kept == 0 && x.Session == number && x.Seq == seq
	})
	if len(found) == 0 {
		return nil, of, known
	}
	own := *found[0]
	for _, m := range []**message{&own.Request, &own.Reply} {
		if *m != nil {
			copied := **m
			*m = &copied
		}
	}
	if s := p.state.sessions[own.Session]; s != nil {
		of = *s
		of.Framing = p.opt.Framing.Name
	} else {
		of.Number, of.Framing = own.Session, p.opt.Framing.Name
	}
	return &own, of, known
}
