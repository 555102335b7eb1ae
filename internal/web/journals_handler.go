package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// How much of the journals is told at once, and how long a question may take: a search that
// has found nothing yet goes on with the next question.
const (
	pageExchanges = 100
	pageSessions  = 50
	pageWithin    = 500 * time.Millisecond
)

func (p *Journals) route(w http.ResponseWriter, r *http.Request) {
	if serveAsset(w, r) {
		return
	}
	switch r.URL.Path {
	case "/":
		http.ServeFileFS(w, r, assets, "assets/journal.html")
	case "/state":
		writeJSON(w, p.state(r.Context()))
	case "/exchanges":
		serveAnswer(w, r, p, p.exchanges)
	case "/sessions":
		serveAnswer(w, r, p, p.sessions)
	case "/session":
		p.serveRecorded(w, r)
	case "/exchange":
		serveWhole(w, r, p.whole)
	case "/message":
		serveMessage(w, r, p.whole)
	case "/export":
		p.export(w, r)
	case "/stats":
		serveAnswer(w, r, p, p.stats)
	default:
		http.NotFound(w, r)
	}
}

// serveAnswer answers a question.
func serveAnswer[A any](w http.ResponseWriter, r *http.Request, p *Journals, ask func(context.Context, question, url.Values) (A, error)) {
	v := r.URL.Query()
	q, err := p.parse(v)
	var a A
	if err == nil {
		a, err = ask(r.Context(), q, v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, a)
}

// A problem is why a file is not in an answer.
type problem struct {
	File int    `json:"file"`
	Why  string `json:"why"`
}

// A foundExchange is an exchange of one of the files.
type foundExchange struct {
	*exchange
	File int    `json:"file"`
	Of   string `json:"of"` // its session, as in exchangesAnswer.Sessions
}

// An exchangesAnswer has exchanges in the order of time, the newest first.
type exchangesAnswer struct {
	Exchanges []foundExchange         `json:"exchanges"`
	Sessions  map[string]foundSession `json:"sessions"` // those of the exchanges, by file and ID: 0.17
	Next      string                  `json:"next"`     // to go on with, as before; empty if there is no more
	Problems  []problem               `json:"problems,omitempty"`
}

// A foundSession is a session of one of the files.
type foundSession struct {
	session
	File int  `json:"file"`
	Lost bool `json:"lost,omitempty"` // the journal has exchanges of it and not its own record
}

func (p *Journals) exchanges(ctx context.Context, q question, _ url.Values) (exchangesAnswer, error) {
	a := exchangesAnswer{Exchanges: []foundExchange{}, Sessions: make(map[string]foundSession)}
	found, next, problems := newest(ctx, p, q, pageExchanges, (*journal.Reader).NewestExchanges, func(x *journal.Exchange) (int64, time.Time) { return x.ID, x.Received })
	if a.Problems = problems; !next.isDone() {
		a.Next = next.String()
	}
	of, err := p.sessionsOf(ctx, found)
	if err != nil {
		return a, err
	}
	said := make(map[string]wording)
	for _, x := range found {
		s := of[x.file][x.one.Session]
		if s == nil {
			s = &journal.Session{ID: x.one.Session, Lost: true}
		}
		framing := p.framing(s)
		if _, known := said[framing]; !known {
			said[framing] = wordingOf(framing, p.opt.Secrets)
		}
		key := keyOf(x.file, s.ID)
		a.Sessions[key] = p.foundSession(x.file, s)
		a.Exchanges = append(a.Exchanges, foundExchange{said[framing].exchange(s.Number, x.one, maxMessage), x.file, key})
	}
	return a, nil
}

func keyOf(file int, id int64) string { return fmt.Sprintf("%d.%d", file, id) }

// framing is that of a session; an older parley did not record it.
func (p *Journals) framing(s *journal.Session) string { return cmp.Or(s.Framing, p.opt.Framing.Name) }

func (p *Journals) foundSession(file int, s *journal.Session) foundSession {
	of := foundSession{session: sessionOf(*s), File: file, Lost: s.Lost}
	of.Framing = p.framing(s)
	if s.Lost {
		of.Opened = 0
	}
	return of
}

// sessionsOf are the sessions of some exchanges, by their files and IDs.
func (p *Journals) sessionsOf(ctx context.Context, found []foundIn[journal.Exchange]) (of []map[int64]*journal.Session, err error) {
	ids := make([][]int64, len(p.files))
	for _, x := range found {
		ids[x.file] = append(ids[x.file], x.one.Session)
	}
	of = make([]map[int64]*journal.Session, len(p.files))
	for i, f := range p.files {
		if len(ids[i]) == 0 {
			continue
		}
		if err := f.use(func(r *journal.Reader, _ int64) (err error) {
			of[i], err = r.SessionsOf(ctx, ids[i])
			return err
		}); err != nil {
			return of, err
		}
	}
	return of, nil
}

// A sessionsAnswer has sessions in the order of their opening, the newest first.
type sessionsAnswer struct {
	Sessions []foundSession `json:"sessions"`
	Next     string         `json:"next"`
	Problems []problem      `json:"problems,omitempty"`
}

// sessions answers with a page of sessions, or with those that the browser names: 0.17,0.18.
func (p *Journals) sessions(ctx context.Context, q question, v url.Values) (sessionsAnswer, error) {
	a := sessionsAnswer{Sessions: []foundSession{}}
	if v.Has("ids") {
		return a, p.namedSessions(ctx, v.Get("ids"), &a)
	}
	found, next, problems := newest(ctx, p, q, pageSessions, (*journal.Reader).NewestSessions, func(s *journal.Session) (int64, time.Time) { return s.ID, s.Opened })
	if a.Problems = problems; !next.isDone() {
		a.Next = next.String()
	}
	for _, s := range found {
		a.Sessions = append(a.Sessions, p.foundSession(s.file, &s.one))
	}
	return a, nil
}

func (p *Journals) namedSessions(ctx context.Context, names string, a *sessionsAnswer) error {
	parts := strings.Split(names, ",")
	if len(parts) > maxAsked {
		return fmt.Errorf("ids: no more than %d at once", maxAsked)
	}
	ids := make([][]int64, len(p.files))
	for _, part := range parts {
		file, id, _ := strings.Cut(part, ".")
		i, err := p.parseFile(file)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("ids: %q is not a file and a session's ID, as 0.17", part)
		}
		ids[i] = append(ids[i], n)
	}
	for i, f := range p.files {
		if len(ids[i]) == 0 {
			continue
		}
		if err := f.use(func(r *journal.Reader, _ int64) error {
			of, err := r.SessionsOf(ctx, ids[i])
			for _, id := range ids[i] {
				if s := of[id]; s != nil {
					a.Sessions = append(a.Sessions, p.foundSession(i, s))
				}
			}
			return err
		}); err != nil {
			a.Problems = append(a.Problems, problem{i, err.Error()})
		}
	}
	return nil
}

// A recordedTranscript is one session with a page of its exchanges, in order.
type recordedTranscript struct {
	transcript
	File int         `json:"file"`
	Lost bool        `json:"lost,omitempty"`
	Next string      `json:"next"`           // for the exchanges before these, as before; empty if there are none
	Ends *connection `json:"ends,omitempty"` // the same connection as others have recorded it too
}

// serveRecorded tells one session with its last exchanges, or with those before.
func (p *Journals) serveRecorded(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	file, err := p.parseFile(v.Get("file"))
	id, idErr := strconv.ParseInt(v.Get("id"), 10, 64)
	before, beforeErr := strconv.ParseInt(cmp.Or(v.Get("before"), "0"), 10, 64)
	if err != nil || idErr != nil || beforeErr != nil || id < 1 || before < 0 {
		http.Error(w, "which session? /session?file=0&id=1, its file's place on the command line and its row", http.StatusBadRequest)
		return
	}
	t, err := p.recorded(r.Context(), file, id, before)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "there is no such session in the journal", http.StatusNotFound)
	case err != nil:
		http.Error(w, "the session cannot be read: "+err.Error(), http.StatusInternalServerError)
	default:
		writeJSON(w, t)
	}
}

// recorded looks on until it has something, or is asked no more.
func (p *Journals) recorded(ctx context.Context, file int, id, before int64) (t recordedTranscript, err error) {
	err = p.files[file].use(func(r *journal.Reader, _ int64) error {
		of, err := r.SessionsOf(ctx, []int64{id})
		if err != nil {
			return err
		}
		s := of[id]
		var exchanges []journal.Exchange
		next := before
		for first := true; first || next != 0 && len(exchanges) < pageExchanges; first = false {
			var more []journal.Exchange
			more, next, err = r.NewestExchanges(ctx, journal.Filter{Session: id}, journal.Span{Before: next, Most: pageExchanges - len(exchanges), Within: p.within})
			if err != nil {
				return err
			}
			exchanges = append(exchanges, more...)
		}
		if s == nil && len(exchanges) == 0 {
			return fs.ErrNotExist
		}
		if s == nil {
			s = &journal.Session{ID: id, Lost: true}
			s.Opened = exchanges[len(exchanges)-1].Received
		}
		slices.Reverse(exchanges)
		if n := len(exchanges); n > 0 && s.Closed.IsZero() && before == 0 {
			s.Requests = exchanges[n-1].Seq // as far as it has come
		}
		s.Framing = p.framing(s)
		t = recordedTranscript{transcript: transcriptOf(*s, exchanges, p.opt.Secrets), File: file, Lost: s.Lost}
		if next != 0 {
			t.Next = strconv.FormatInt(next, 10)
		}
		if !s.Lost {
			t.Ends, err = p.connection(ctx, r, *s, exchanges)
		}
		return err
	})
	return t, err
}

// A foundIn is what was found in a file.
type foundIn[T any] struct {
	file int
	one  T
}

// newest asks every file for the newest that it has of something, all at once, and puts them
// together: the newest most of all, the newest first, and where each file is to go on. Where
// one has not looked through all yet, nothing older than what it has found is told.
func newest[T any](ctx context.Context, p *Journals, q question, most int,
	ask func(*journal.Reader, context.Context, journal.Filter, journal.Span) ([]T, int64, error),
	of func(*T) (id int64, at time.Time)) (found []foundIn[T], next cursors, problems []problem) {
	type heap struct { // of a file
		list []T
		more bool
	}
	heaps := make([]heap, len(p.files))
	next = slices.Clone(q.before)
	var mu sync.Mutex
	var asked sync.WaitGroup
	for i, f := range p.files {
		if next[i].done || !q.files[i] {
			next[i].done = true
			continue
		}
		asked.Go(func() {
			if len(q.filter.Text) >= journal.MinIndexed || len(longest(q.shape)) > 0 {
				p.bringIndexUpToDate(f)
			}
			err := f.use(func(r *journal.Reader, times int64) error {
				filter, err := p.filterFor(ctx, r, q)
				if err != nil {
					return err
				}
				c, after := &next[i], q.after[i]
				if c.times != 0 && c.times != times || after.times != 0 && after.times != times {
					return errors.New("another file has come in its place")
				}
				c.times = times
				list, id, err := ask(r, ctx, filter, journal.Span{After: after.id, Before: c.id, Most: most, Within: p.within})
				heaps[i] = heap{list, id != 0}
				c.id, c.done = id, id == 0
				return err
			})
			if err != nil {
				next[i].done = true
				mu.Lock()
				defer mu.Unlock()
				problems = append(problems, problem{i, err.Error()})
			}
		})
	}
	asked.Wait()
	slices.SortFunc(problems, func(a, b problem) int { return cmp.Compare(a.File, b.File) })

	taken := make([]int, len(heaps))
	for len(found) < most {
		best, at := -1, time.Time{}
		for i, h := range heaps {
			if taken[i] == len(h.list) {
				if h.more {
					best = -1
					break
				}
				continue
			}
			if _, t := of(&h.list[taken[i]]); best < 0 || t.After(at) {
				best, at = i, t
			}
		}
		if best < 0 {
			break
		}
		found = append(found, foundIn[T]{best, heaps[best].list[taken[best]]})
		taken[best]++
	}
	for i, h := range heaps {
		if taken[i] < len(h.list) { // what was found and not told is found again
			id, _ := of(&h.list[taken[i]])
			next[i].id, next[i].done = id+1, false
		}
	}
	return found, next, problems
}
