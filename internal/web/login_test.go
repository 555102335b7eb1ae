package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const rightToken = "correct horse battery"

// fill sends the form with a token, as a browser does.
func fill(p http.Handler, path, token string, change func(*http.Request)) *httptest.ResponseRecorder {
	form := url.Values{"token": {token}}.Encode()
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080"+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	r.Header.Set("Origin", "http://127.0.0.1:8080")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// Who opens a page without the token gets a field for it, and whoever is no browser a line.
func TestWhoLacksTheTokenIsAskedForIt(t *testing.T) {
	journals := NewJournals(JournalsOptions{Token: rightToken})
	defer journals.Close()
	for name, p := range map[string]http.Handler{"live": New(Options{Token: rightToken}), "journals": journals} {
		for path, isWrong := range map[string]bool{"/": false, "/session?number=1": false, "/?token=wrong": true, "/?token=": true} {
			w := ask(p, "GET", path, func(r *http.Request) { r.Header.Set("Accept", "text/html,*/*;q=0.8") })
			text := w.Body.String()
			if w.Code != http.StatusUnauthorized || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(text, `name="token"`) {
				t.Errorf("%s %s = %d, %q", name, path, w.Code, text)
			}
			if got := strings.Contains(text, "That is not the token of this page."); got != isWrong {
				t.Errorf("%s %s says that the token is wrong: %v", name, path, got)
			}
			if got := w.Header().Get("Referrer-Policy"); got != "strict-origin" {
				t.Errorf("%s %s has the referrer policy %q: its form would have no origin, or tell the address", name, path, got)
			}
		}
		for _, path := range []string{"/page.css", "/login.js"} {
			if w := ask(p, "GET", path, nil); w.Code != http.StatusOK {
				t.Errorf("%s: %s, which the question looks like, is %d", name, path, w.Code)
			}
		}
		for _, accept := range []string{"", "*/*", "application/json"} {
			w := ask(p, "GET", "/", func(r *http.Request) { r.Header.Set("Accept", accept) })
			if got, want := w.Body.String(), "a token is needed: Authorization: Bearer …\n"; w.Code != http.StatusUnauthorized || got != want {
				t.Errorf("%s to a program that accepts %q: %d, %q, want 401, %q", name, accept, w.Code, got, want)
			}
		}
	}
}

func TestTheFormLetsIn(t *testing.T) {
	p := New(Options{Token: rightToken})
	for _, token := range []string{rightToken, " " + rightToken + "\r\n"} { // as it may be pasted
		w := fill(p, "/", token, nil)
		cookies := w.Result().Cookies()
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" || len(cookies) != 1 {
			t.Fatalf("the right token = %d to %q, %v", w.Code, w.Header().Get("Location"), cookies)
		}
		c := cookies[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Name != "parley-page-8080" || strings.Contains(c.Value, "horse") {
			t.Errorf("the cookie is %v", c)
		}
		if w := ask(p, "GET", "/state", func(r *http.Request) { r.AddCookie(c) }); w.Code != http.StatusOK {
			t.Errorf("the cookie is worth %d", w.Code)
		}
	}
	if c := fill(p, "/", rightToken, func(r *http.Request) { r.TLS = new(tls.ConnectionState) }).Result().Cookies(); len(c) != 1 || !c[0].Secure {
		t.Errorf("over TLS the cookies are %v", c)
	}
}

// Only the right token in the form itself lets in, from the page's own address only, and leads nowhere
// but to the page.
func TestTheFormLetsNobodyElseIn(t *testing.T) {
	p := New(Options{Token: rightToken})
	origin := func(o string) func(*http.Request) { return func(r *http.Request) { r.Header.Set("Origin", o) } }
	for name, c := range map[string]struct {
		path, token string
		change      func(*http.Request)
		code        int
	}{
		"wrong":             {"/", "wrong", nil, 401},
		"empty":             {"/", "", nil, 401},
		"in the address":    {"/?token=correct+horse+battery", "wrong", nil, 401},
		"of another site":   {"/", rightToken, origin("http://evil.example"), 403},
		"of another port":   {"/", rightToken, origin("http://127.0.0.1:8081"), 403},
		"of nowhere":        {"/", rightToken, origin("null"), 403},
		"cross-site":        {"/", rightToken, func(r *http.Request) { r.Header.Del("Origin"); r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"of a sibling":      {"/", rightToken, func(r *http.Request) { r.Header.Del("Origin"); r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"rebound":           {"/", rightToken, func(r *http.Request) { r.Host = "evil.example" }, 421},
		"to another path":   {"/state", rightToken, nil, 413},
		"with a path to it": {"//evil.example/", rightToken, nil, 413},
		"no form":           {"/", rightToken, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 413},
		"of parts":          {"/", rightToken, func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, 413},
		"long":              {"/", strings.Repeat("x", maxForm), nil, 413},
		"of no length":      {"/", rightToken, func(r *http.Request) { r.ContentLength = -1 }, 413},
		"PUT":               {"/", rightToken, func(r *http.Request) { r.Method = "PUT" }, 413},
	} {
		w := fill(p, c.path, c.token, c.change)
		if w.Code != c.code || w.Header().Get("Set-Cookie") != "" || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d, %v; want %d", name, w.Code, w.Header(), c.code)
		}
		if text := w.Body.String(); strings.Contains(text, "horse") {
			t.Errorf("%s: the answer tells the token", name)
		}
	}
	if w := fill(p, "/journal/", rightToken, nil); w.Code != 303 || w.Header().Get("Location") != "/journal/" {
		t.Errorf("from the page of the journal it leads to %q, %d", w.Header().Get("Location"), w.Code)
	}
	if w := fill(p, "/?next=http://evil.example/&token=wrong", rightToken, nil); w.Code != 303 || w.Header().Get("Location") != "/" {
		t.Errorf("whatever else is in the address: %d to %q", w.Code, w.Header().Get("Location"))
	}
	if w := fill(New(Options{}), "/", "", nil); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("of a page without a token: %d, want 413", w.Code)
	}
}

// Pages on several ports of a host do not take each other's cookies away.
func TestTwoPagesOfAHost(t *testing.T) {
	at := func(port string) func(*http.Request) {
		return func(r *http.Request) {
			r.Host = "127.0.0.1:" + port
			r.Header.Set("Origin", "http://127.0.0.1:"+port)
		}
	}
	a, b := fill(New(Options{Token: rightToken}), "/", rightToken, at("8080")), fill(New(Options{Token: rightToken}), "/", rightToken, at("8081"))
	if x, y := a.Result().Cookies(), b.Result().Cookies(); len(x) != 1 || len(y) != 1 || x[0].Name == y[0].Name {
		t.Errorf("the cookies are %v and %v", x, y)
	}
}

// With TLS a page goes by the names of its certificate too.
func TestNamesOfTheCertificate(t *testing.T) {
	p := New(Options{Certified: func(name string) bool { return name == "db.internal" }})
	for host, code := range map[string]int{"db.internal:8443": 200, "127.0.0.1:8443": 200, "evil.example": 421} {
		if w := ask(p, "GET", "/", func(r *http.Request) { r.Host = host }); w.Code != code {
			t.Errorf("Host %s = %d, want %d", host, w.Code, code)
		}
	}
}
