package web

import (
	"net/http"

	"github.com/parley-tcp/parley/internal/guard"
)

// A door is where browsers come in: behind a guard, and with the token in a cookie.
type door struct{ guard.Guard }

// headers keep a browser from running, loading or showing anything but this page, should
// a peer's bytes ever be taken for more than text.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	"X-Content-Type-Options":  "nosniff",
	"Referrer-Policy":         "no-referrer",
	"Cache-Control":           "no-store",
}

// serve has a browser answered that passes. Every route is behind the same checks, and none of
// them changes anything.
func (d *door) serve(w http.ResponseWriter, r *http.Request, route http.HandlerFunc) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	logsIn := d.isLogin(r)
	switch {
	case d.Refuses(w, r, logsIn):
	case logsIn:
		d.logIn(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page only shows", http.StatusMethodNotAllowed)
	case r.URL.Path == "/login.js":
		http.ServeFileFS(w, r, assets, "assets/login.js")
	case r.URL.Path != "/page.css" && !d.admits(w, r): // which the question for the token has too
		d.askForToken(w, r, r.URL.Query().Has("token"))
	default:
		route(w, r)
	}
}
