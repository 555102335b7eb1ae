package web

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assets embed.FS

// ServeHTTP answers a browser.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.route) }

// serveAsset answers with a part that both pages may have, if one is asked for.
func serveAsset(w http.ResponseWriter, r *http.Request) bool {
	name := "assets" + r.URL.Path
	if ending := path.Ext(name); ending != ".js" && ending != ".css" {
		return false
	}
	if _, err := fs.Stat(assets, name); err != nil {
		return false
	}
	http.ServeFileFS(w, r, assets, name)
	return true
}

func (p *Page) route(w http.ResponseWriter, r *http.Request) {
	if serveAsset(w, r) {
		return
	}
	if rest, is := strings.CutPrefix(r.URL.Path, "/journal/"); is && p.opt.Journal != nil {
		p.serveJournal(w, r, rest)
		return
	}
	switch r.URL.Path {
	case "/":
		http.ServeFileFS(w, r, assets, "assets/page.html")
	case "/state":
		p.serveState(w, r)
	case "/earlier":
		p.serveEarlier(w, r)
	case "/session":
		p.serveSession(w, r)
	case "/exchange":
		serveWhole(w, r, p.whole)
	case "/message":
		serveMessage(w, r, p.whole)
	case "/export":
		p.export(w, r)
	case "/ended":
		p.serveEnded(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serveState tells what is new since the answer whose cursor is after, with charts of the last span
// seconds: five minutes if it is left out, all if it is 0.
func (p *Page) serveState(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	span := int64(fineSpan)
	if text := query.Get("span"); text != "" {
		var err error
		if span, err = strconv.ParseInt(text, 10, 64); err != nil || span < 0 {
			http.Error(w, fmt.Sprintf("span %q: use seconds, such as 3600, or 0 for all", text), http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, p.snapshot(parseCursor(query.Get("after")), span))
}

// serveSession tells one session with its exchanges, as far as they are remembered: by its
// number in this run, or by its ID in the history, which is of any run.
func (p *Page) serveSession(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	text, lookUp := query.Get("number"), p.transcript
	if query.Has("id") {
		text, lookUp = query.Get("id"), p.recorded
	}
	if run := query.Get("run"); run != "" && run != fmt.Sprint(p.started) {
		http.Error(w, "that session was before the server was started anew: of what it kept then nothing is left here", http.StatusGone)
		return
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		http.Error(w, "which session? /session?number=1, or /session?id=1, its row in the journal", http.StatusBadRequest)
		return
	}
	t, err := lookUp(r.Context(), number)
	switch {
	case errors.Is(err, fs.ErrNotExist) && query.Has("id"):
		http.Error(w, "there is no such session in the journal", http.StatusNotFound)
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "nothing is remembered of this session since the server was started", http.StatusNotFound)
	case err != nil:
		http.Error(w, "the session cannot be read: "+err.Error(), http.StatusInternalServerError)
	default:
		writeJSON(w, t)
	}
}

// serveEarlier tells the last sessions of earlier runs, the newest first.
func (p *Page) serveEarlier(w http.ResponseWriter, r *http.Request) {
	if p.opt.History == nil {
		http.Error(w, "there is no journal of earlier sessions", http.StatusNotFound)
		return
	}
	found, err := p.opt.History.Earlier(r.Context(), toldEarlier)
	if err != nil {
		http.Error(w, "earlier sessions cannot be read: "+err.Error(), http.StatusInternalServerError)
		return
	}
	told := []session{}
	for _, s := range found {
		told = append(told, sessionOf(s))
	}
	writeJSON(w, told)
}

// ask waits for a place for a question to the journal: each has files open, which are to be within the
// descriptors that sessions leave. Who does not wait any more asks in vain.
func (p *Page) ask(ctx context.Context) (release func()) {
	select {
	case p.asking <- struct{}{}:
		return func() { <-p.asking }
	case <-ctx.Done():
		return func() {}
	}
}

// serveJournal answers with the page of the journal, and with what that asks.
func (p *Page) serveJournal(w http.ResponseWriter, r *http.Request, path string) {
	defer p.ask(r.Context())()
	own := r.Clone(r.Context())
	own.URL.Path = "/" + path
	p.opt.Journal.route(w, own)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // numbers, strings and bytes: only the browser can fail
}
