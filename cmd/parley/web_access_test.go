package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Who has no token types it into a field, and is where he was led to; nothing keeps the token.
func testToken(t *testing.T, browser context.Context) {
	const token = "correct-horse-battery"
	s, url := startWatched(t, "--web-token", token)
	talkTo(t, s.addr).say("hello")
	b := openTab(t, browser, 1280, 800, url+"?token=almost-"+token+"#session/1")
	isTold := func(want bool) {
		t.Helper()
		b.until(`document.querySelector('#token') !== null && document.activeElement.id === 'token' && location.search === ''`)
		if got := strings.Contains(b.text("body"), "That is not the token of this page."); got != want {
			t.Errorf("it says that the token is wrong: %v", got)
		}
	}
	isTold(true)
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url+"#session/1"))
	isTold(false)
	b.press("almost-" + token + kb.Enter)
	b.until(`document.querySelector('#wrong') !== null`)
	isTold(true)
	b.press(token + kb.Enter)
	b.until(`document.querySelector('#diagram') !== null && document.querySelector('#diagram').textContent.includes('hello')`)
	if got := eval[string](b, `location.href + document.cookie + document.referrer`); got != url+"#session/1" {
		t.Errorf("the address bar, the cookies that scripts see, and where it comes from are %q", got)
	}
	b.do(chromedp.Reload())
	b.until(isLive)

	// A link with the token works too, and the token does not stay in the address.
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url+"?token="+token+"#session/1"))
	b.until(isLive + ` && location.search === ''`)
	if got := eval[string](b, `location.href + document.referrer`); got != url+"#session/1" {
		t.Errorf("the address bar, and where it comes from, are %q", got)
	}
	for _, asked := range b.requests() {
		if strings.Contains(asked, token) && !strings.Contains(asked, "?token=") {
			t.Errorf("the browser asked for %s", asked)
		}
	}

	// Whoever loses it is told what to do.
	s.stop(t, os.Interrupt)
	if said := s.stderr.String() + s.stdout.String(); strings.Contains(said, token) {
		t.Errorf("the token is told:\n%s", said)
	}
	startServer(t, "--web", strings.Trim(url[strings.LastIndex(url, ":"):], ":/"), "--web-token", "another-horse-battery")
	b.until(`document.querySelector('#connection').textContent === 'A token is needed: reload the page'`)
}

// A token that is made is told once, to whoever started the server, and is nowhere else.
func TestMadeTokenIsToldOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	s := startServer(t, "-v", "--web", "0.0.0.0:0", "--journal", file)
	s.stderr.await(t, "?token=")
	found := regexp.MustCompile(`live page at http://[^/]+:(\d+)/\?token=([A-Z2-7]{26})\n`)
	eventually(t, "the address is told", func() bool { return found.MatchString(s.stderr.String()) })
	match := found.FindStringSubmatch(s.stderr.String())
	url, token := "http://127.0.0.1:"+match[1]+"/", match[2]
	talkTo(t, s.addr).say("hello")

	ask := func(path string, header ...string) (status int, text string) {
		r := must(http.NewRequest("GET", url+path, nil))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer := must(http.DefaultClient.Do(r))
		defer answer.Body.Close()
		return answer.StatusCode, string(must(io.ReadAll(answer.Body)))
	}
	for _, path := range []string{"", "page.css", "page.js", "state", "session?number=1", "earlier", "nowhere"} {
		if status, text := ask(path, "Accept", "text/html"); status == http.StatusOK && path != "page.css" || strings.Contains(text, token) {
			t.Errorf("/%s without the token is %d, and tells it: %v", path, status, strings.Contains(text, token))
		}
		status, text := ask(path, "Authorization", "Bearer "+token)
		if status == http.StatusUnauthorized || strings.Contains(text, token) {
			t.Errorf("/%s with it is %d, and tells it: %v", path, status, strings.Contains(text, token))
		}
		if path == "state" && !json.Valid([]byte(text)) {
			t.Errorf("/%s is %q", path, text)
		}
	}
	if code := s.stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(s.stderr.String(), token); n != 1 || strings.Contains(s.stdout.String(), token) {
		t.Errorf("the token is told %d times on stderr:\n%s\nstdout:\n%s", n, s.stderr, s.stdout)
	}
	for _, name := range must(filepath.Glob(file + "*")) {
		if strings.Contains(string(must(os.ReadFile(name))), token) {
			t.Errorf("%s has the token", name)
		}
	}
}
