package web

import (
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
)

//go:embed assets
var assets embed.FS

// ServeHTTP answers a browser.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r, p.route) }

func (p *Page) route(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		http.ServeFileFS(w, r, assets, "assets/page.html")
	case "/page.css", "/page.js", "/common.js", "/diagram.js":
		http.ServeFileFS(w, r, assets, "assets"+r.URL.Path)
	case "/state":
		writeJSON(w, p.snapshot(parseCursor(r.URL.Query().Get("after"))))
	case "/earlier":
		p.serveEarlier(w, r)
	case "/session":
		p.serveSession(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serveSession tells one session with its exchanges, as far as they are remembered: by its
// number in this run, or by its ID in the history, which is of any run.
func (p *Page) serveSession(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	text, lookUp := query.Get("number"), p.transcript
	if query.Has("id") {
		text, lookUp = query.Get("id"), p.recorded
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

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // numbers, strings and bytes: only the browser can fail
}
