package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

var routes = []string{"/", "/page.css", "/page.js", "/events", "/session?number=1", "/session", "/nowhere", "/debug/pprof/", "/../page.go"}

// ask has one request answered. A stream ends at once, for the browser is gone.
func ask(p *Page, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	ctx, gone := context.WithCancel(context.Background())
	gone()
	r := httptest.NewRequestWithContext(ctx, method, "http://127.0.0.1:8080"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestEveryAnswerHasTheHeadersThatConfineIt(t *testing.T) {
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
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
		{"/events", "text/event-stream", 200},
		{"/session?number=1", "application/json", 200},
		{"/session?number=2", "text/plain; charset=utf-8", 404},
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
	broken := New(Options{History: fakeHistory{errors.New("disk on fire")}})
	if w := ask(broken, "GET", "/session?number=1", nil); w.Code != 500 || w.Body.String() != "the session cannot be read: disk on fire\n" {
		t.Errorf("a broken history = %d %q", w.Code, w.Body)
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
			if p.mayBeCalled(host) {
				t.Errorf("the page may be called as %q", host)
			}
		}
	})
}

func TestOtherSitesAreTurnedAway(t *testing.T) {
	for origin, code := range map[string]int{
		"http://127.0.0.1:8080": 200, "https://127.0.0.1:8080": 200, "http://127.0.0.1:8081": 403, "http://evil.example": 403, "null": 403, "::": 403,
	} {
		if w := ask(New(Options{}), "GET", "/events", func(r *http.Request) { r.Header.Set("Origin", origin) }); w.Code != code {
			t.Errorf("Origin %q = %d, want %d", origin, w.Code, code)
		}
	}
}

func TestTokenIsAskedFor(t *testing.T) {
	const token = "correct horse battery"
	p := New(Options{Token: token})
	for _, path := range routes {
		for name, change := range map[string]func(*http.Request){
			"none":          nil,
			"wrong":         func(r *http.Request) { r.URL.RawQuery = "token=wrong" },
			"longer":        func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token+"x") },
			"shorter":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer correct") },
			"empty":         func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
			"in the cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: token}) },
			"empty cookie":  func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName}) },
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
	if w := ask(New(Options{Token: token}), "GET", "/events", func(r *http.Request) { r.AddCookie(c) }); w.Code != 200 {
		t.Errorf("the cookie is worth %d", w.Code)
	}
	if w := ask(New(Options{Token: token + "2"}), "GET", "/events", func(r *http.Request) { r.AddCookie(c) }); w.Code != 401 {
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
	for _, name := range []string{"page.html", "page.css", "page.js"} {
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

// A watcher reads a stream of events.
type watcher struct {
	t      *testing.T
	body   io.Closer
	events *bufio.Scanner
}

func watch(t *testing.T, url string) *watcher {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	events := bufio.NewScanner(answer.Body)
	events.Buffer(nil, 16<<20)
	return &watcher{t, answer.Body, events}
}

// next is the next event; its name is "" at the end of the stream.
func (w *watcher) next() (name, data string) {
	w.t.Helper()
	for w.events.Scan() {
		switch line := w.events.Text(); {
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		case line == "":
			return name, data
		}
	}
	return "", ""
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestABrowserIsToldWhatWasAndWhatIsNew(t *testing.T) {
	p := New(Options{Server: "127.0.0.1:6969"})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Observer: p})
	site := httptest.NewServer(p)
	defer site.Close()
	say(t, addr, "before\n")
	p.tick(time.Unix(1, 0), true)
	say(t, addr, "between\n")

	w := watch(t, site.URL)
	name, data := w.next()
	h := decode[hello](t, data)
	if name != "hello" || h.Server != "127.0.0.1:6969" || h.Started == 0 || len(h.Points) != 1 || h.Totals.Requests != 2 || len(h.Sessions) != 2 || h.Sessions[0].Number != 2 {
		t.Errorf("%s: %+v", name, h)
	}
	if len(h.Exchanges) != 1 || string(h.Exchanges[0].Request.Start) != "before" {
		t.Errorf("first %d exchanges are told, want the one that is not among the next news", len(h.Exchanges))
	}
	say(t, addr, "after\n")
	p.tick(time.Unix(2, 0), true)
	name, data = w.next()
	n := decode[news](t, data)
	if name != "news" || n.Point == nil || n.Point.Requests != 2 || n.Point.P50 == 0 || n.Totals.Sessions != 3 || len(n.Sessions) != 3 {
		t.Errorf("%s: %+v", name, n)
	}
	if len(n.Exchanges) != 2 || string(n.Exchanges[0].Request.Start) != "between" || string(n.Exchanges[1].Reply.Start) != "after" {
		t.Errorf("then %d exchanges are told: %s", len(n.Exchanges), data)
	}
	p.endStreams()
	if name, _ := w.next(); name != "" {
		t.Errorf("after the end there is %q", name)
	}
	if got := ask(p, "GET", "/events", nil).Code; got != http.StatusServiceUnavailable {
		t.Errorf("a stream that comes too late = %d, want 503", got)
	}
}

// A tick with nothing new is silent; the second tells a point all the same, so a browser
// and what is between hear that somebody is there.
func TestATickWithNothingNewIsSilent(t *testing.T) {
	m := newMemory()
	for _, second := range []bool{false, true} {
		if _, some := m.news(time.Now(), second); some != second {
			t.Errorf("news, second %v = %v", second, some)
		}
	}
}

// A browser that does not keep up is told how much it missed, once there is room again, and
// holds nobody up.
func TestASlowBrowserIsToldWhatItMissed(t *testing.T) {
	p := New(Options{})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Observer: p})
	s, _ := p.beginStream()
	for n := range streamQueue + 3 {
		say(t, addr, strings.Repeat("x\n", n+1))
		p.tick(time.Now(), false)
	}
	if got, want := s.skipped, uint64(streamQueue+1+streamQueue+2+streamQueue+3); got != want {
		t.Errorf("%d exchanges are skipped, want %d", got, want)
	}
	for n := range streamQueue {
		if m := <-s.queue; m.skipped != 0 || len(decode[news](t, string(m.news)).Exchanges) != n+1 {
			t.Errorf("message %d has %d skipped before it: %s", n, m.skipped, m.news)
		}
	}
	missed := s.skipped
	p.tick(time.Now(), true)
	if m := <-s.queue; m.skipped != missed || s.skipped != 0 {
		t.Errorf("the next message says %d were skipped, want %d", m.skipped, missed)
	}
}

func TestOnlySoManyBrowsersWatch(t *testing.T) {
	p := New(Options{})
	var last *stream
	for range maxStreams {
		if last, _ = p.beginStream(); last == nil {
			t.Fatal("too few may watch")
		}
	}
	if got := ask(p, "GET", "/events", nil).Code; got != http.StatusServiceUnavailable {
		t.Errorf("one more = %d, want 503", got)
	}
	p.endStream(last)
	if got := ask(p, "GET", "/events", nil).Code; got != http.StatusOK {
		t.Errorf("one in the place of another = %d, want 200", got)
	}
}

// Serve returns though a browser watches and another has not asked for anything yet.
func TestServeEnds(t *testing.T) {
	p := New(Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w := watch(t, "http://"+l.Addr().String())
	for _, want := range []string{"hello", "news"} {
		if name, _ := w.next(); name != want {
			t.Errorf("the stream says %q, want %q", name, want)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if name, _ := w.next(); name != "" {
		t.Errorf("after the end there is %q", name)
	}
	if n := look(p, func(*memory) int { return len(p.streams) }); n != 0 {
		t.Errorf("%d streams are left", n)
	}

	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New(Options{}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve of a closed listener = %v", err)
	}
}
