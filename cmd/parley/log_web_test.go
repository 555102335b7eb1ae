package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// startJournalPage shows journals in a page, and returns where that is.
func startJournalPage(t *testing.T, files ...string) (p *process, url string) {
	t.Helper()
	p = start(t, program(t, append([]string{"log", "--web", "0"}, files...)...))
	p.stderr.await(t, "/\n")
	_, url, _ = strings.Cut(strings.TrimSpace(p.stderr.String()), " at ")
	return p, url
}

// A finished journal and one that grows in one page: opened, searched, narrowed in time, counted,
// and seen to grow.
func TestJournalsInABrowser(t *testing.T) {
	dir := t.TempDir()
	finished, growing := filepath.Join(dir, "finished.journal"), filepath.Join(dir, "growing.journal")
	s := startServer(t, "--journal", finished)
	for n := range 3 {
		converse(t, s.addr, fmt.Sprintf("GET /item/%d\n<img src=x onerror=alert(1)>\x1b[31m\n", n))
	}
	s.stop(t, os.Interrupt)
	s = startServer(t, "--journal", growing)
	converse(t, s.addr, "GET /other/1\n")
	p, url := startJournalPage(t, finished, growing)
	b := openTab(t, startBrowser(t), 1280, 800, url)
	b.until(isLive)
	b.until(`document.querySelector('#sum-count').textContent === '7' && document.querySelectorAll('#sessions > li').length === 4`)
	if got := b.text(".server"); !strings.HasPrefix(got, "journals finished.journal, growing.journal 20") {
		t.Errorf("the page is of %q", got)
	}
	journalRows := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll('#rows > li:not(.gap)').length === %d && document.querySelector('#sum-count').textContent === '%[1]d' && document.querySelector('#sum-progress').textContent === ''`, n)
	}
	fill := func(id, value string) {
		t.Helper()
		eval[any](b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('input', { bubbles: true })) })(document.querySelector('#%s'))`, value, id))
	}
	b.until(journalRows(7))

	t.Run("searches", func(t *testing.T) {
		b.t = t
		call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/"})
		b.do(chromedp.SendKeys("#text", "item/1"))
		b.until(journalRows(1) + ` && location.hash.includes('text=item')`)
		fill("text", "ITEM")
		b.until(journalRows(0) + ` && document.querySelector('#rows-empty').textContent === 'Nothing in the journal is what was chosen.'`)
		eval[any](b, `document.querySelector('#regexp').click()`)
		fill("text", "(?i)ITEM|other")
		b.until(journalRows(4))
		fill("text", "(")
		b.until(`!document.querySelector('#wrong').hidden && document.querySelector('#wrong').textContent.includes('regular expression')`)
		eval[any](b, `document.querySelector('#clear').click()`)
		b.until(journalRows(7) + ` && document.querySelector('#wrong').hidden`)
		fill("file", "1")
		b.until(journalRows(1))
		fill("file", "")
		b.until(journalRows(7))
		b.until(`document.querySelectorAll('img, b').length === 0 && document.querySelector('#rows').textContent.includes('<img src=x onerror=alert(1)>\\x1b[31m')`)
	})

	t.Run("a time is chosen", func(t *testing.T) {
		b.t = t
		b.moveTo("count-chart", 0.999, 0.5)
		b.until(`/; 1 exchange; half .*; 99.% .*; longest .*; most took /.test(` + reading + `)`)
		b.moveTo("heat-chart", 0.999, 0.01)
		b.until(`/; [01] of 1 took /.test(` + reading + `)`) // 1 if it was the slowest
		b.drag("count-chart", 0.5, 1)                        // the one conversation of the second server came last
		b.until(`location.hash.includes('since=20') && location.hash.includes('until=20') && document.querySelector('#since').value !== ''`)
		b.until(`document.querySelector('#rows').textContent.includes('/other/1') && !document.querySelector('#rows').textContent.includes('/item/')`)
		b.press(kb.Escape)
		b.until(journalRows(7) + ` && location.hash === ''`)
		fill("since", "2031-01-01T00:00:00")
		b.until(journalRows(0))
		eval[any](b, `document.querySelector('#clear').click()`)
		b.until(journalRows(7) + ` && document.querySelector('#since').value === ''`)
	})

	t.Run("statistics", func(t *testing.T) {
		b.t = t
		b.press(kb.Escape) // leaves the field
		b.press("s")
		b.until(`!document.querySelector('#statistics').hidden && document.querySelectorAll('#statistics-rows tr').length === 3`)
		if got := b.texts("#statistics-rows tr:first-child > *"); len(got) != 9 || got[0] != "GET /item/{n}" && got[0] != `<img src=x onerror=alert({n})>\x1b[{n}m` || got[1] != "3" || got[2] != "0" {
			t.Errorf("the first row is %q", got)
		}
		for _, c := range []struct{ by, want string }{{"peer", "127.0.0.1"}, {"session", "#"}, {"end", "eof the client closed"}} {
			eval[any](b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('change')) })(document.querySelector('#by'))`, c.by))
			b.until(fmt.Sprintf(`location.hash.includes('by=%s') && document.querySelector('#sum-progress').textContent === '' && document.querySelector('#statistics-rows').textContent.startsWith(%q)`, c.by, c.want))
		}
		b.until(`document.querySelector('#sum-what').textContent === 'Sessions' && document.querySelector('#sum-count').textContent === '4'`)
		b.press("s")
		b.until(`document.querySelector('#statistics').hidden`)
	})

	t.Run("an exchange whole", func(t *testing.T) {
		b.t = t
		testJournalExchange(t, b, url)
	})

	t.Run("grows", func(t *testing.T) {
		b.t = t
		l := talkTo(t, s.addr)
		l.say("while it is looked at")
		b.until(journalRows(8) + ` && document.querySelectorAll('#sessions > li').length === 5 && document.querySelector('#sessions').textContent.includes('no end is recorded')`)
		eval[any](b, `document.querySelector('#rows button').click()`)
		b.until(`document.querySelector('#session-title').textContent === 'Session 2 in growing.journal' && document.querySelector('#diagram').textContent.includes('while it is looked at')`)
		l.say("again")
		b.until(`document.querySelector('#diagram').textContent.includes('again')`)
		l.end()
		b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
		if got, want := b.steps(), "client | close → end of file | the client closed"; !slices.Contains(got, want) {
			t.Errorf("the steps are %q", got)
		}
		// The address is for others.
		other := openTab(t, b.ctx, 360, 740, eval[string](b, `location.href`))
		other.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
		other.press(kb.Escape)
		other.until(`document.querySelector('#session').hidden`)
		for _, hash := range []string{"", "view=stats", "open=1.2"} { // at 360 px nothing has to be scrolled sideways
			eval[any](other, fmt.Sprintf(`location.hash = %q`, hash))
			other.until(fmt.Sprintf(`document.querySelector('#session').hidden === %v`, !strings.HasPrefix(hash, "open")))
			if wide := eval[int](other, `document.documentElement.scrollWidth`); wide > 360 {
				t.Errorf("at #%s the page is %d px wide, want 360 at most", hash, wide)
			}
		}
		other.fine(url)
		b.press(kb.Escape)
		b.until(`!document.querySelector('#overview').hidden && document.querySelector('#sessions li .state').textContent.includes('2 requests, eof after')`)
	})

	t.Run("hands and ears", func(t *testing.T) {
		b.t = t
		for _, what := range []string{`[...document.querySelectorAll('header, main, footer, h1')].length === 4`, `document.documentElement.lang === 'en'`,
			`[...document.querySelectorAll('input, select')].every(e => e.labels.length === 1)`,
			`[...document.querySelectorAll('section')].every(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby')))`,
			`[...document.querySelectorAll('svg, .plot')].every(e => e.getAttribute('role') === 'img')`,
			`[...document.querySelectorAll('.plot')].every(e => e.ariaLabel)`,
			`[...document.querySelectorAll('button')].every(e => e.textContent.trim())`,
			`new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size === document.querySelectorAll('[id]').length`,
			`[...document.querySelectorAll('h1, h2')].map(e => e.tagName).join() === 'H1,H2,H2,H2,H2'`} {
			if !eval[bool](b, what) {
				t.Errorf("it is not so that %s", what)
			}
		}
	})

	t.Run("a file goes", func(t *testing.T) {
		b.t = t
		if err := os.Rename(finished, finished+".away"); err != nil {
			t.Fatal(err)
		}
		b.until(`document.querySelector('#notes').textContent.startsWith('finished.journal: the file is not there any more') && document.querySelector('#sum-count').textContent === '3'`)
		if err := os.Rename(finished+".away", finished); err != nil {
			t.Fatal(err)
		}
		b.until(`document.querySelector('#notes').textContent === ''`)
		b.until(journalRows(9))
	})
	b.t = t
	b.forgive("status of 400") // the regular expression that was wrong
	b.fine(url)
	if code := p.stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, p.stderr)
	}
}

// TestPicturesOfJournals renews the pictures of the page of journals in docs, which are to be looked at:
//
//	go test -run TestPicturesOfJournals -pictures 10s -v ./cmd/parley
func TestPicturesOfJournals(t *testing.T) {
	if *pictures == 0 {
		t.Skip("asked for with -pictures")
	}
	dir := t.TempDir()
	shop, stock := filepath.Join(dir, "shop.journal"), filepath.Join(dir, "stock.journal")
	a, b := startServer(t, "-q", "--journal", shop), startServer(t, "-q", "--journal", stock)
	var talking sync.WaitGroup
	for _, s := range []*server{a, b} {
		talking.Go(func() { inWaves(t, s.addr, *pictures, nil) })
	}
	talking.Wait()
	for n := range 12 {
		converse(t, a.addr, fmt.Sprintf("ORDER %d 3 lamps\nPAY %d EUR 120.50\n", 4100+n, 4100+n))
		converse(t, b.addr, fmt.Sprintf("RESERVE lamp %d\n", n))
	}
	open := talkTo(t, a.addr)
	open.say("ORDER 4112 1 chair")
	_, url := startJournalPage(t, shop, stock)
	browser := startBrowser(t)
	counted := `document.querySelector('#sum-progress').textContent === '' && document.querySelector('#sum-count').textContent !== '–' && document.querySelectorAll('#rows > li').length > 10`
	wide, narrow := openTab(t, browser, 1280, 800, url), openTab(t, browser, 360, 740, url+"#regexp=1&text=ORDER%7CRESERVE")
	wide.until(isLive)
	for _, tab := range []*tab{wide, narrow} {
		tab.until(counted)
	}
	wide.picture("journals", "light")
	narrow.picture("journals-phone", "dark")
	eval[any](wide, `location.hash = 'view=stats'`)
	wide.until(`document.querySelectorAll('#statistics-rows tr').length > 3`)
	wide.picture("journals-statistics", "dark")
}
