package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A guard says which browsers are answered.
type guard struct {
	hosts []string // names by which the page may be asked for, beside localhost and IP addresses
	token string   // what a browser has to know; nothing if empty
}

// headers keep a browser from running, loading or showing anything but this page, should
// a peer's bytes ever be taken for more than text.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
	"X-Content-Type-Options":  "nosniff",
	"Referrer-Policy":         "no-referrer",
	"Cache-Control":           "no-store",
}

// serve has a browser answered that passes. Every route is behind the same checks, and none of
// them changes anything.
func (g *guard) serve(w http.ResponseWriter, r *http.Request, route http.HandlerFunc) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	switch {
	case r.ContentLength != 0:
		// Or net/http waits for the body before it lets the answer out.
		http.NewResponseController(w).SetReadDeadline(time.Now())
		http.Error(w, "this page takes no request bodies", http.StatusRequestEntityTooLarge)
	case !g.mayBeCalled(r.Host):
		http.Error(w, "this page goes by an IP address or localhost, not by the name it was asked for", http.StatusMisdirectedRequest)
	case isForeign(r):
		http.Error(w, "this page is not for other sites", http.StatusForbidden)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page only shows", http.StatusMethodNotAllowed)
	case !g.admits(w, r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "a token is needed: open /?token=… with it once", http.StatusUnauthorized)
	default:
		route(w, r)
	}
}

// mayBeCalled reports whether the page goes by the host that it was asked for. A name of
// somebody else's that resolves to this host (DNS rebinding) would make his pages its own.
func (g *guard) mayBeCalled(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" || strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(g.hosts, func(name string) bool { return strings.EqualFold(host, name) })
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
func (g *guard) admits(w http.ResponseWriter, r *http.Request) bool {
	if g.token == "" {
		return true
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(bearer, g.token)
	}
	if token := r.URL.Query().Get("token"); token != "" {
		if !same(token, g.token) {
			return false
		}
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: g.cookie(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		return true
	}
	c, err := r.Cookie(cookieName)
	return err == nil && same(c.Value, g.cookie())
}

// cookie stands for the token and does not tell it. It outlives the server: a page that
// finds a new one is still let in.
func (g *guard) cookie() string {
	mac := hmac.New(sha256.New, []byte(g.token))
	mac.Write([]byte(cookieName))
	return hex.EncodeToString(mac.Sum(nil))
}

// same compares in a time that does not tell where two secrets differ, nor how long they are.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
