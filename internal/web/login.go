package web

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"text/template"

	"github.com/parley-tcp/parley/internal/guard"
)

const maxForm = 1 << 10 // bytes of the form with the token

// pages are what a browser goes on to behind the question for the token.
var pages = []string{"/", "/journal/"}

//go:embed assets/login.html
var loginText string

// loginPage asks for the token. Its one value says whether another one was given: nothing of a
// browser's gets into it.
var loginPage = template.Must(template.New("login").Parse(loginText))

// isLogin reports whether a browser sends the form with the token, which is the one request that has
// a body. Of that only so much is ever waited for.
func (d *door) isLogin(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return d.Token != "" && r.Method == http.MethodPost && slices.Contains(pages, r.URL.Path) &&
		kind == "application/x-www-form-urlencoded" && 0 < r.ContentLength && r.ContentLength <= maxForm
}

// logIn gives a cookie for the token in the form. The browser goes on to the page itself, so that neither
// its history nor the address has a token; what stands behind # in the address it keeps.
func (d *door) logIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || !guard.Same(strings.TrimSpace(r.PostForm.Get("token")), d.Token) {
		d.askForToken(w, r, true)
		return
	}
	d.giveCookie(w, r)
	http.Redirect(w, r, r.URL.Path, http.StatusSeeOther) // one of pages
}

// askForToken answers who does not know the token: a person with a field for it, a program with a line.
func (d *door) askForToken(w http.ResponseWriter, r *http.Request, isWrong bool) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "a token is needed: Authorization: Bearer …", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Referrer-Policy", "strict-origin") // with no-referrer the form would come from nowhere (Origin: null)
	w.WriteHeader(http.StatusUnauthorized)
	loginPage.Execute(w, isWrong) // only the browser can fail
}

// admits reports whether the browser knows the token: from the address once, which earns
// it a cookie, or in a header. There is no redirect: browsers leave a strict cookie out
// where a link of another site led here. The page takes the token out of the address bar.
func (d *door) admits(w http.ResponseWriter, r *http.Request) bool {
	if d.Token == "" {
		return true
	}
	if has, right := d.Bearer(r); has {
		return right
	}
	if token := r.URL.Query().Get("token"); token != "" {
		if !guard.Same(token, d.Token) {
			return false
		}
		d.giveCookie(w, r)
		return true
	}
	c, err := r.Cookie(cookieName(r))
	return err == nil && guard.Same(c.Value, d.cookie())
}

// cookieName is that of the page's cookie. A browser has one jar for all ports of a host, and what listens
// on another one may be a page with a token of its own.
func cookieName(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.Host)
	return "parley-page-" + port
}

func (d *door) giveCookie(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: d.cookie(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
}

// cookie stands for the token and does not tell it. It outlives the server: a page that
// finds a new one with the same token is still let in.
func (d *door) cookie() string {
	mac := hmac.New(sha256.New, []byte(d.Token))
	mac.Write([]byte("parley-page"))
	return hex.EncodeToString(mac.Sum(nil))
}
