package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// headers keep a browser from running, loading or showing anything but this page, should
// a peer's bytes ever be taken for more than text.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
	"X-Content-Type-Options":  "nosniff",
	"Referrer-Policy":         "no-referrer",
	"Cache-Control":           "no-store",
}

// ServeHTTP answers a browser. Every route is behind the same checks, and none of them
// changes anything.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	switch {
	case r.ContentLength != 0:
		// Or net/http waits for the body before it lets the answer out.
		http.NewResponseController(w).SetReadDeadline(time.Now())
		http.Error(w, "this page takes no request bodies", http.StatusRequestEntityTooLarge)
	case !p.mayBeCalled(r.Host):
		http.Error(w, "this page goes by an IP address or localhost, not by the name it was asked for", http.StatusMisdirectedRequest)
	case isForeign(r):
		http.Error(w, "this page is not for other sites", http.StatusForbidden)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page only shows", http.StatusMethodNotAllowed)
	case !p.admits(w, r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token is needed: open /?token=… with it once", http.StatusUnauthorized)
	default:
		p.route(w, r)
	}
}

func (p *Page) route(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		http.ServeFileFS(w, r, assets, "assets/page.html")
	case "/page.css", "/page.js":
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

// mayBeCalled reports whether the page goes by the host that it was asked for. A name of
// somebody else's that resolves to this host (DNS rebinding) would make his pages its own.
func (p *Page) mayBeCalled(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" || strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(p.opt.Hosts, func(name string) bool { return strings.EqualFold(host, name) })
}

// isForeign reports whether another site's page asks.
func isForeign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

const cookieName = "parley-page"

// admits reports whether the browser knows the token: from the address once, which earns
// it a cookie, or in a header. There is no redirect: browsers leave a strict cookie out
// where a link of another site led here. The page takes the token out of the address bar.
func (p *Page) admits(w http.ResponseWriter, r *http.Request) bool {
	if p.opt.Token == "" {
		return true
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(bearer, p.opt.Token)
	}
	if token := r.URL.Query().Get("token"); token != "" {
		if !same(token, p.opt.Token) {
			return false
		}
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: p.cookie(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		return true
	}
	c, err := r.Cookie(cookieName)
	return err == nil && same(c.Value, p.cookie())
}

// cookie stands for the token and does not tell it. It outlives the server: a page that
// finds a new one is still let in.
func (p *Page) cookie() string {
	mac := hmac.New(sha256.New, []byte(p.opt.Token))
	mac.Write([]byte(cookieName))
	return hex.EncodeToString(mac.Sum(nil))
}

// same compares in a time that does not tell where two secrets differ, nor how long they are.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
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
