package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// focused is what has the focus, and whether that can be seen: a mark around it, inside of the window.
const focused = `(() => {
	const e = document.activeElement
	if (!e || e === document.body) return { name: '', seen: false }
	const box = e.getBoundingClientRect(), style = getComputedStyle(e)
	const name = (e.tagName + ' ' + (e.id ? '#' + e.id : e.className)).trim()
	const inside = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth
	return { name, seen: inside && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1 }
})()`

type focus struct {
	Name string `json:"name"`
	Seen bool   `json:"seen"`
}

// focus is what has it; the test fails where nobody can see that.
func (b *tab) focus() string {
	b.t.Helper()
	f := eval[focus](b, focused)
	if !f.Seen {
		b.t.Errorf("the focus is on %q, which cannot be seen", f.Name)
	}
	return f.Name
}

// walk presses Tab until it has been everywhere, and returns where that is.
func (b *tab) walk() (all []string) {
	b.t.Helper()
	for range 200 {
		b.press(kb.Tab)
		f := eval[focus](b, focused)
		if f.Name == "" { // the browser's own buttons
			return all
		}
		if !f.Seen {
			b.t.Errorf("the focus is on %q, which cannot be seen", f.Name)
		}
		all = append(all, f.Name)
	}
	b.t.Errorf("Tab never leaves the page: %q", all[len(all)-10:])
	return all
}

// tabTo presses Tab until what is reached has such a name.
func (b *tab) tabTo(name string) {
	b.t.Helper()
	for range 200 {
		b.press(kb.Tab)
		if f := eval[focus](b, focused); f.Name == name {
			return
		}
	}
	b.t.Fatalf("Tab does not lead to %q", name)
}

// Everything on the live page can be reached, opened and left by keys alone, and where one is is always to be seen.
func testKeysAlone(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	l := talkTo(t, s.addr)
	l.say("one")
	l.say("two")
	b.until(rows + ` === 2`)
	all := strings.Join(b.walk(), "\n")
	for _, name := range []string{"A skip", "BUTTON #pause", "INPUT #filter-text", "SELECT #payload", "BUTTON open"} {
		if !strings.Contains(all, name) {
			t.Errorf("Tab does not lead to %q, but to\n%s", name, all)
		}
	}

	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"}) // press would type it too
	if got := b.focus(); got != "INPUT #filter-text" {
		t.Errorf("/ leads to %q", got)
	}
	b.press("tw")
	b.until(rows + ` === 1`)
	b.tabTo("BUTTON open")
	b.press(kb.Enter)
	b.until(`!document.querySelector('#session').hidden && document.querySelector('#diagram').textContent.includes('still open')`)
	if got := b.focus(); got != "SECTION #session" {
		t.Errorf("a session that was opened has the focus on %q", got)
	}
	inside := strings.Join(b.walk(), "\n")
	for _, name := range []string{"SELECT #session-payload", "A #back", "SUMMARY"} {
		if !strings.Contains(inside, name) {
			t.Errorf("in a session Tab does not lead to %q, but to\n%s", name, inside)
		}
	}
	b.tabTo("SUMMARY")
	b.press(kb.Enter)
	b.until(`document.querySelector('#session details').open`)
	b.press(kb.Escape)
	b.until(`document.querySelector('#session').hidden`)
	if got := b.focus(); got != "BUTTON open" {
		t.Errorf("back from a session the focus is on %q, want the button that opened it", got)
	}

	// The row that has the focus goes, and comes back in another form.
	b.press("v")
	b.until(`document.querySelector('#rows .exact') !== null`)
	if got := b.focus(); got != "BUTTON open" {
		t.Errorf("shown in hex the focus is on %q, want the same row", got)
	}
	eval[any](b, `document.querySelector('#filter-text').value = 'nothing has this'; document.querySelector('#filter').dispatchEvent(new Event('input'))`)
	b.until(rows + ` === 0`)
	if got := b.focus(); got != "SECTION #exchanges" {
		t.Errorf("when the last row has gone the focus is on %q", got)
	}
	b.press("p")
	b.until(`document.querySelector('#pause').ariaPressed === 'true'`)
	for n := range 3 { // sessions come and go; the focus stays
		if n == 0 {
			eval[any](b, `document.querySelector('#sessions button').focus()`)
		}
		converse(t, s.addr, fmt.Sprintln(n))
		b.until(fmt.Sprintf(`document.querySelectorAll('#sessions > li').length === %d`, n+2))
		if got := eval[string](b, `document.activeElement.textContent`); got != "#1" {
			t.Errorf("after %d more sessions the focus is on %q", n+1, got)
		}
	}
}

// The page of journals likewise.
func testKeysAloneInJournals(t *testing.T, browser context.Context) {
	file := filepath.Join(t.TempDir(), "journal")
	s := startServer(t, "--journal", file)
	converse(t, s.addr, "one\ntwo\n")
	_, url := startJournalPage(t, file)
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive + ` && document.querySelectorAll('#rows button').length === 2 && document.querySelectorAll('#sessions button').length === 1`)
	all := strings.Join(b.walk(), "\n")
	for _, name := range []string{"A skip", "INPUT #text", "INPUT #regexp", "SELECT #reason", "INPUT #since", "BUTTON #clear", "BUTTON #view-stats", "BUTTON open"} {
		if !strings.Contains(all, name) {
			t.Errorf("Tab does not lead to %q, but to\n%s", name, all)
		}
	}
	b.tabTo("BUTTON #view-stats")
	b.press(kb.Enter)
	b.until(`!document.querySelector('#statistics').hidden && document.querySelectorAll('#statistics-rows tr').length > 0`)
	if got := b.focus(); got != "BUTTON #view-stats" {
		t.Errorf("with the statistics shown the focus is on %q", got)
	}
	b.press("s")
	b.until(`document.querySelector('#statistics').hidden`)
	b.tabTo("BUTTON open")
	b.press(kb.Enter)
	b.until(`!document.querySelector('#session').hidden && document.querySelector('#diagram').textContent.includes('closed: eof')`)
	if got := b.focus(); got != "SECTION #session" {
		t.Errorf("a session that was opened has the focus on %q", got)
	}
	b.walk()
	b.press(kb.Escape)
	b.until(`document.querySelector('#session').hidden`)
	if got := b.focus(); got != "BUTTON open" {
		t.Errorf("back from a session the focus is on %q, want the button that opened it", got)
	}
	b.do(chromedp.EmulateViewport(360, 740))
	b.walk()
}
