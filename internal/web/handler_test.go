package web

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

var routes = []string{"/", "/page.css", "/page.js", "/state", "/earlier", "/session?number=1", "/session?id=1", "/session", "/nowhere", "/debug/pprof/", "/../page.go"}

// ask has one request answered.
func ask(p http.Handler, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestEveryAnswerHasTheHeadersThatConfineIt(t *testing.T) {
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "no-referrer",
	}
	locked := New(Options{Token: "a token of some length"})
	for _, path := range routes {
		for name, w := range map[string]*httptest.ResponseRecorder{
			"GET":            ask(New(Options{}), "GET", path, nil),
			"POST":           ask(New(Options{}), "POST", path, nil),
			"foreign host":   ask(New(Options{}), "GET", path, func(r *http.Request) { r.Host = "evil.example" }),
			"without token":  ask(locked, "GET", path, nil),
			"foreign origin": ask(New(Options{}), "GET", path, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }),
		} {
			for header, value := range want {
				if got := w.Header().Get(header); got != value {
					t.Errorf("%s %s: %s is %q, want %q", name, path, header, got, value)
				}
			}
		}
	}
}

func TestRoutes(t *testing.T) {
	p := New(Options{})
	say(t, parleytest.Start(t, &parley.Server{Handler: echo, Observer: p}), "a\n")
	for _, c := range []struct {
		path, kind string
		code       int
	}{
		{"/", "text/html; charset=utf-8", 200},
		{"/page.css", "text/css; charset=utf-8", 200},
		{"/page.js", "text/javascript; charset=utf-8", 200},
		{"/common.js", "text/javascript; charset=utf-8", 200},
		{"/diagram.js", "text/javascript; charset=utf-8", 200},
		{"/exchange.js", "text/javascript; charset=utf-8", 200},
		{"/export.js", "text/javascript; charset=utf-8", 200},
		{"/kept.js", "text/javascript; charset=utf-8", 200},
		{"/journal/", "text/plain; charset=utf-8", 404}, // there is none
		{"/exchange?session=1&seq=1", "application/json", 200},
		{"/exchange?session=1&seq=2", "text/plain; charset=utf-8", 404},
		{"/exchange?session=2&seq=1", "text/plain; charset=utf-8", 404},
		{"/exchange?kept=1", "text/plain; charset=utf-8", 404},
		{"/exchange?id=1", "text/plain; charset=utf-8", 404},
		{"/exchange?session=1&seq=1&run=1", "text/plain; charset=utf-8", 410},
		{"/exchange", "text/plain; charset=utf-8", 400},
		{"/exchange?session=-1&seq=1", "text/plain; charset=utf-8", 400},
		{"/message?session=1&seq=1&side=reply", "application/octet-stream", 200},
		{"/message?session=1&seq=1&side=reply&from=99", "application/octet-stream", 200},
		{"/message?session=1&seq=1&side=both", "text/plain; charset=utf-8", 400},
		{"/message?session=1&seq=1&side=reply&from=-1", "text/plain; charset=utf-8", 400},
		{"/export?format=ndjson", "application/x-ndjson", 200},
		{"/export?format=md&number=1", "text/markdown; charset=utf-8", 200},
		{"/export?format=dialogue&number=2", "text/plain; charset=utf-8", 404},
		{"/export?format=csv", "text/plain; charset=utf-8", 400},
		{"/export?format=md&id=1", "text/plain; charset=utf-8", 400},
		{"/ended?reason=eof", "application/json", 200},
		{"/state", "application/json", 200},
		{"/state?after=nonsense", "application/json", 200},
		{"/earlier", "text/plain; charset=utf-8", 404},
		{"/session?number=1", "application/json", 200},
		{"/session?number=2", "text/plain; charset=utf-8", 404},
		{"/session?number=0", "text/plain; charset=utf-8", 404},
		{"/session?number=18446744073709551615", "text/plain; charset=utf-8", 404},
		{"/session?id=1", "text/plain; charset=utf-8", 404},
		{"/session?number=-1", "text/plain; charset=utf-8", 400},
		{"/session", "text/plain; charset=utf-8", 400},
		{"/page.html", "text/plain; charset=utf-8", 404},
		{"/assets/page.js", "text/plain; charset=utf-8", 404},
		{"/debug/pprof/", "text/plain; charset=utf-8", 404},
		{"/debug/vars", "text/plain; charset=utf-8", 404},
		{"/favicon.ico", "text/plain; charset=utf-8", 404},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := ask(p, method, c.path, nil)
			if got := w.Header().Get("Content-Type"); w.Code != c.code || got != c.kind {
				t.Errorf("%s %s = %d, %q; want %d, %q", method, c.path, w.Code, got, c.code, c.kind)
			}
		}
	}
}

func TestNoRouteChangesAnything(t *testing.T) {
	for _, path := range routes {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			w := ask(New(Options{}), method, path, nil)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s = %d, allowed %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

// A name of somebody else's that resolves to this host is turned away on every route.
func TestHostIsChecked(t *testing.T) {
	p := New(Options{Hosts: []string{"box.lan"}})
	for _, path := range routes {
		for _, host := range []string{"evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "localhost.evil.example:80", "box.lan.evil.example",
			"[::1].evil.example", "xlocalhost", "localhost.", "127.0.0.1:80:80", "0x7f.1", "@127.0.0.1"} {
			if w := ask(p, "GET", path, func(r *http.Request) { r.Host = host }); w.Code != http.StatusMisdirectedRequest {
				t.Errorf("Host %q, %s = %d, want 421", host, path, w.Code)
			}
		}
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:8080", "[::1]:8080", "[::1]", "192.0.2.7:80", "box.lan:8080", "Box.Lan"} {
		if w := ask(p, "GET", "/", func(r *http.Request) { r.Host = host }); w.Code != http.StatusOK {
			t.Errorf("Host %q = %d, want 200", host, w.Code)
		}
	}
}

// Whatever stands before it: a name under a foreign domain is foreign.
func FuzzHost(f *testing.F) {
	for _, start := range []string{"localhost", "127.0.0.1", "[::1]", "::1%", "[", "", "box.lan:"} {
		f.Add(start)
	}
	p := New(Options{Hosts: []string{"box.lan"}})
	f.Fuzz(func(t *testing.T, start string) {
		for _, host := range []string{start + ".evil.example", start + ".evil.example:80"} {
			if p.GoesBy(host) {
				t.Errorf("the page may be called as %q", host)
			}
		}
	})
}

func TestOtherSitesAreTurnedAway(t *testing.T) {
	for origin, code := range map[string]int{
		"http://127.0.0.1:8080": 200, "https://127.0.0.1:8080": 200, "http://127.0.0.1:8081": 403, "http://evil.example": 403, "null": 403, "::": 403,
	} {
		if w := ask(New(Options{}), "GET", "/state", func(r *http.Request) { r.Header.Set("Origin", origin) }); w.Code != code {
			t.Errorf("Origin %q = %d, want %d", origin, w.Code, code)
		}
	}
}

func TestTokenIsAskedFor(t *testing.T) {
	const token = "correct horse battery"
	p := New(Options{Token: token})
	for _, path := range routes {
		if path == "/page.css" {
			continue
		}
		for name, change := range map[string]func(*http.Request){
			"none":          nil,
			"wrong":         func(r *http.Request) { r.URL.RawQuery = "token=wrong" },
			"longer":        func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") },
			"shorter":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer correct") },
			"empty":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
			"in the cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "parley-page-8080", Value: token}) },
			"empty cookie":  func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "parley-page-8080"}) },
		} {
			w := ask(p, "GET", path, change)
			if w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" || w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, %s: %d, %v", name, path, w.Code, w.Header())
			}
		}
	}
	if w := ask(p, "GET", "/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); w.Code != 200 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("the right one in a header = %d, %v", w.Code, w.Header())
	}

	// Once in the address, from then on in a cookie that does not tell it and is good for
	// a server that was started anew as well.
	w := ask(p, "GET", "/?token=correct+horse+battery", nil)
	cookies := w.Result().Cookies()
	if w.Code != 200 || len(cookies) != 1 {
		t.Fatalf("the right one in the address = %d, %v", w.Code, w.Header())
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, "horse") {
		t.Errorf("the cookie is %v", c)
	}
	if w := ask(New(Options{Token: token}), "GET", "/state", func(r *http.Request) { r.AddCookie(c) }); w.Code != 200 {
		t.Errorf("the cookie is worth %d", w.Code)
	}
	if w := ask(New(Options{Token: token + "2"}), "GET", "/state", func(r *http.Request) { r.AddCookie(c) }); w.Code != 401 {
		t.Errorf("the cookie of another token is worth %d", w.Code)
	}
	for _, path := range routes {
		w := ask(p, "GET", path, func(r *http.Request) { r.AddCookie(c) })
		if text := w.Body.String(); strings.Contains(text, "horse") || strings.Contains(text, c.Value) {
			t.Errorf("%s tells the token or its cookie", path)
		}
	}
}

// What is in the page can neither run what a peer sent, nor load anything from elsewhere.
func TestAssetsAreTame(t *testing.T) {
	for _, name := range []string{"page.html", "page.css", "page.js", "login.html", "login.js"} {
		text, err := fs.ReadFile(assets, "assets/"+name)
		if err != nil {
			t.Fatal(err)
		}
		for _, wild := range []string{`innerHTML`, `outerHTML`, `insertAdjacentHTML`, `document\.write`, `\beval\(`, `new Function`, `DOMParser`, `createContextualFragment`,
			`srcdoc`, `javascript:`, `\son[a-z]+=`, `\sstyle=`, `<style`, `<script>`, `@import`, `url\(`, `https?://`, `["'(]//`, `import\(`} {
			if found := regexp.MustCompile(wild).FindAllString(string(text), -1); found != nil && !(wild == `https?://` && strings.Count(string(text), "http://www.w3.org/2000/svg") == len(found)) {
				t.Errorf("%s has %q", name, found)
			}
		}
	}
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
