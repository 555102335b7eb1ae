package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// arrows are the arrows of the diagram, each as from lifeline > to lifeline, or from lifeline x if it does not get
// there; the lifelines are counted from the left.
func (b *tab) arrows() []string {
	b.t.Helper()
	return eval[[]string](b, `(() => {
		const lives = [...document.querySelectorAll('#diagram .life')].map(e => Number(e.getAttribute('x1'))).sort((a, b) => a - b)
		const nearest = x => lives.reduce((best, life, i) => Math.abs(life - x) < Math.abs(lives[best] - x) ? i : best, 0)
		return [...document.querySelectorAll('#diagram .arrow')].map(e => {
			const [, from, to] = /^M([\d.]+),[\d.]+H([\d.]+)$/.exec(e.getAttribute('d')).map(Number)
			return nearest(from) + (e.classList.contains('broken') ? ' x' : ' > ' + nearest(to))
		})
	})()`)
}

// A tap's session has three lifelines: what passes goes over that of the tap, and what a fault drops ends behind it.
// Live and from the journal it is the same.
func testTapDiagram(t *testing.T, browser context.Context) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "journal")
	behind := startServer(t, "--tls-self-signed")
	tap := startTap(t, behind.addr, "--web", "0", "--upstream-tls", "--insecure", "--journal", file, "--fault", "reply.drop=3,request.drop=4,seed=1")
	b := openTab(t, browser, 1280, 800, awaitPage(t, tap.process))
	l := talkTo(t, tap.addr)
	for _, text := range []string{"a", "b"} {
		l.say(text)
	}
	fmt.Fprintln(l.conn, "c") // whose reply is dropped
	b.until(fmt.Sprintf("%s === 3", rows))
	fmt.Fprintln(l.conn, "d") // is dropped
	l.conn.CloseWrite()
	io.Copy(io.Discard, l.conn)
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)

	wantSteps := []string{
		"client | connect → accept | connection",
		"tap | connect → accept | connection over TLS",
		"client | write → pass on | [1] a",
		"upstream | write → pass on | [18] Request #1 - a ...",
		"client | write → pass on | [1] b",
		"upstream | write → pass on | [18] Request #1 - b ...",
		"client | write → pass on | [1] c",
		"upstream | write | [18] Request #1 - c ... fault reply.drop",
		"client | write | [1] d fault request.drop",
		"client | close → close | both sides closed",
	}
	if got := b.steps(); !slices.Equal(got, wantSteps) {
		t.Errorf("the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSteps, "\n"))
	}
	there, back := []string{"0 > 1", "1 > 2"}, []string{"2 > 1", "1 > 0"}
	want := slices.Concat(there, there, back, there, back, there, []string{"2 > 1", "1 x", "0 > 1", "1 x", "0 > 1", "2 > 1"})
	if got := b.arrows(); !slices.Equal(got, want) {
		t.Errorf("the arrows are\n%q\nwant\n%q", got, want)
	}
	labels := b.texts("#diagram text")
	for _, label := range []string{"Client", "Tap", tap.addr, "Upstream", behind.addr, "fault reply.drop", "fault request.drop", "connection over TLS"} {
		if !slices.Contains(labels, label) {
			t.Errorf("the diagram lacks %q; it has %q", label, labels)
		}
	}
	if got := b.text("#session-facts"); !strings.Contains(got, behind.addr+" (TLS)") {
		t.Errorf("the facts are %q", got)
	}
	const worksUpstream = `[...document.querySelectorAll('#diagram .work')].every(e => Number(e.getAttribute('x')) > Math.max(...[...document.querySelectorAll('#diagram .life')].map(e => Number(e.getAttribute('x1')))) - 4)`
	if !eval[bool](b, worksUpstream) {
		t.Error("that a request is worked on is not drawn on the lifeline of the upstream, where no text is")
	}
	if got := eval[string](b, `document.querySelector('#diagram').ariaLabel`); !strings.Contains(got, ", tap "+tap.addr+" and upstream "+behind.addr) {
		t.Errorf("it is called %q", got)
	}

	_, url := startJournalPage(t, file)
	b.do(chromedp.Navigate(url + "#open=0.1"))
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
	if got := b.arrows(); !slices.Equal(got, want) {
		t.Errorf("from the journal the arrows are\n%q\nwant\n%q", got, want)
	}
	wantSteps[1] = "tap | connect → accept | connection" // over what is in no journal
	if got := b.steps(); !slices.Equal(got, wantSteps) {
		t.Errorf("from the journal the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSteps, "\n"))
	}
}

// A server's diagram has two lifelines. A request that is dropped on purpose, which the server never sees, is in it, a
// cut reply ends half way, and the error text that ends a session stands where it was said, also with a journal.
func testFaultsAndErrorTexts(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--max-request", "10", "--fault", "request.drop=2,reply.cut=3,seed=1", "--journal", filepath.Join(t.TempDir(), "journal"))
	b := openTab(t, browser, 1280, 800, url)
	l := talkTo(t, s.addr)
	l.say("a")
	fmt.Fprintln(l.conn, "b") // is dropped
	l.say("c")
	fmt.Fprintln(l.conn, "d")
	fmt.Fprintln(l.conn, "e") // whose reply is cut
	io.Copy(io.Discard, l.conn)
	converse(t, s.addr, "this is too long\n")
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#diagram').textContent.includes('closed: fault')`)
	want := []string{
		"client | connect → accept | connection",
		"client | write → read | [1] a",
		"server | write → read | [18] Request #1 - a ...",
		"client | write | [1] b fault request.drop",
		"client | write → read | [1] c",
		"server | write → read | [18] Request #1 - c ...",
		"client | write | [1] d fault request.drop",
		"client | write → read | [1] e",
		"server | write | [18] Request #1 - e ... fault reply.cut=8",
		"server | cut | ended on purpose, by a fault",
	}
	if got := b.steps(); !slices.Equal(got, want) {
		t.Errorf("the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	arrows := []string{"0 > 1", "0 > 1", "1 > 0", "0 x", "0 > 1", "1 > 0", "0 x", "0 > 1", "1 x", "1 x"}
	if got := b.arrows(); !slices.Equal(got, arrows) {
		t.Errorf("the arrows are\n%q\nwant\n%q", got, arrows)
	}
	eval[any](b, `location.hash = 'session/2'`)
	b.until(`document.querySelector('#diagram').textContent.includes('closed: too_long')`)
	want = []string{
		"client | connect → accept | connection",
		"server | write → read | [35] Error: request longer than 10 bytes",
		"server | close → end of file | a request was too long",
	}
	if got := b.steps(); !slices.Equal(got, want) {
		t.Errorf("the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	eventually(t, "the journal has it", func() bool { return storyAt(t, url, 2).Session.ID == 2 })
	eval[any](b, `location.hash = 'journal/2'`)
	b.until(`document.querySelector('#session-title').textContent.includes('journal') && document.querySelector('#diagram').textContent.includes('closed: too_long')`)
	if got := b.steps(); !slices.Equal(got, want) {
		t.Errorf("from the journal the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Who was turned away is listed, with the reason and the time, and a session says what its connection is over.
func testTurnedAway(t *testing.T, browser context.Context) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	s := startServer(t, "--max-sessions", "1", "--tls-self-signed", "--web", "0")
	b := openTab(t, browser, 1280, 800, awaitPage(t, s.process))
	b.until(isLive + ` && document.querySelector('#turned-part').hidden`)
	plain := connect(t, s.addr)
	io.WriteString(plain, "no TLS\n")
	io.Copy(io.Discard, plain)
	b.until(`document.querySelectorAll('#turned > li').length === 1`)
	first, _ := connectTLS(t, s.addr)
	fmt.Fprintln(first, "a")
	b.until(rows + ` === 1`)
	second, _ := connectTLS(t, s.addr)
	io.Copy(io.Discard, second)
	b.until(`document.querySelectorAll('#turned > li').length === 2`)
	got := b.texts("#turned > li > *")
	want := []string{second.LocalAddr().String(), "full: as many sessions as there may be", plain.LocalAddr().String(), "handshake: plain bytes on the TLS port"}
	if len(got) != 6 || !slices.Equal(slices.Concat(got[1:3], got[4:6]), want) || !regexp.MustCompile(`^\d\d:\d\d:\d\d$`).MatchString(got[0]) {
		t.Errorf("turned away are %q, want times and %q", got, want)
	}
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`[...document.querySelectorAll('#diagram text')].some(e => e.textContent === 'connection over TLS 1.3')`)
}
