package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	browserdomain "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const wholeIsOpen = `document.querySelector('#whole')?.open === true && document.querySelector('#whole h3') !== null`

// An exchange of the stream is opened whole by keyboard and by hand, shows all of itself, is turned through, and closes
// with the focus where it was. Its address opens it in another browser.
func testExchangeWhole(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	l := talkTo(t, s.addr)
	for _, text := range []string{"one", "caf\xc3\xa9 <img src=x onerror=alert(1)> \x1b[31m", "three"} {
		l.say(text)
	}
	b.until(rows + ` === 3`)
	eval[any](b, `document.querySelector('#rows > li:last-child a.whole').focus()`)
	b.press(kb.Enter)
	b.until(wholeIsOpen + ` && document.querySelector('#whole-title').textContent === 'Exchange 1 in session 1'`)
	facts := b.texts("#whole dt")
	if want := []string{"Received", "Replied", "Took", "Session", "Peer", "Server", "Framing", "Link"}; !slices.Equal(facts, want) {
		t.Errorf("the facts are %q, want %q", facts, want)
	}
	if got, want := b.texts("#whole pre"), "one"; len(got) != 4 || got[0] != want || !strings.HasPrefix(got[1], "000000  6f 6e 65 ") || got[2] != "Request #1 - one ..." {
		t.Errorf("the messages are %q", got)
	}
	b.press("j") // the next, whichever way the list goes
	b.until(`document.querySelector('#whole-title').textContent === 'Exchange 2 in session 1' && location.hash.startsWith('#exchange/1.2@')`)
	if got := b.texts("#whole pre")[0]; got != `café <img src=x onerror=alert(1)> \x1b[31m` {
		t.Errorf("the text is %q", got)
	}
	b.press(kb.ArrowRight)
	b.until(`document.querySelector('#whole-title').textContent === 'Exchange 3 in session 1'`)
	b.press("j")
	b.until(`document.querySelector('#whole [role=status]').textContent === 'This is the last one.'`)
	b.press("k")
	b.until(`document.querySelector('#whole-title').textContent === 'Exchange 2 in session 1' && document.querySelector('#whole h3') !== null`)
	address := eval[string](b, `location.href`)

	other := openTab(t, browser, 360, 740, address)
	other.until(wholeIsOpen + ` && document.querySelector('#whole-title').textContent === 'Exchange 2 in session 1'`)
	other.press("k") // in its session, whatever is shown behind
	other.until(`document.querySelector('#whole-title').textContent === 'Exchange 1 in session 1'`)
	if wide := eval[int](other, `Math.max(document.documentElement.scrollWidth, document.querySelector('#whole').scrollWidth)`); wide > 360 {
		t.Errorf("at 360 px it is %d px wide", wide)
	}
	other.fine(url)

	b.press(kb.Escape)
	b.until(`document.querySelector('#whole') === null && location.hash === '' && document.activeElement.closest('#rows') !== null`)

	// A press beside the dialog closes it, one within does not, nor one that only ends beside it.
	eval[any](b, `document.querySelector('#rows > li').click()`)
	b.until(wholeIsOpen)
	mouse := func(what input.DispatchMouseEventType, x, y float64) {
		call(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: what, X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1})
	}
	box := eval[[]float64](b, `(box => [box.left, box.top])(document.querySelector('#whole').getBoundingClientRect())`)
	for _, end := range [][]float64{{box[0] + 4, box[1] + 4}, {box[0] - 4, box[1] + 4}} {
		mouse(input.DispatchMouseEventTypeMousePressed, box[0]+4, box[1]+4)
		mouse(input.DispatchMouseEventTypeMouseReleased, end[0], end[1])
		if !eval[bool](b, wholeIsOpen) {
			t.Fatal("a press within the dialog closed it")
		}
	}
	mouse(input.DispatchMouseEventTypeMousePressed, box[0]-4, box[1]+4)
	mouse(input.DispatchMouseEventTypeMouseReleased, box[0]-4, box[1]+4)
	b.until(`document.querySelector('#whole') === null`)

	// In a session it is opened over the session, which stays.
	eval[any](b, `document.querySelector('#rows button').click()`)
	b.until(`document.querySelectorAll('#steps-rows a.whole').length === 6`)
	eval[any](b, `document.querySelector('details').open = true; document.querySelector('#steps-rows tr:nth-child(2) td:last-child').click()`)
	b.until(wholeIsOpen)
	b.press(kb.Escape)
	b.until(`document.querySelector('#whole') === null && location.hash === '#session/1' && document.activeElement.closest('#steps-rows') !== null`)
	if got := eval[string](b, `document.querySelector('#session-link').hash`); !strings.HasPrefix(got, "#session/1@") {
		t.Errorf("the link to the session is %q", got)
	}
	b.fine(url)
	for _, gone := range []string{"#exchange/1.99", "#exchange/1.1@1", "#exchange/nonsense", "#session/1@1"} {
		eval[any](b, `location.hash = '`+gone+`'`)
		b.until(`/not kept any more|nothing is left|which exchange/.test(document.querySelector('#whole [role=status]')?.textContent ?? document.querySelector('#session-state').textContent)`)
		eval[any](b, `location.hash = ''`)
		b.until(`document.querySelector('#whole') === null && !document.querySelector('#overview').hidden`)
	}
}

// A long message comes in steps, and is saved and copied whole; without a journal it says how much is kept. The names, the times
// and the way to all that is kept are there.
func testLongMessages(t *testing.T, browser context.Context) {
	file := filepath.Join(t.TempDir(), "shop.journal")
	long := strings.Repeat("0123456789abcdef", 10_000) // 160,000 bytes
	for _, kept := range []bool{false, true} {
		args := []string{"--framing", "line", "--max-request", "1MiB"}
		if kept {
			args = append(args, "--journal", file)
		}
		s, url := startWatched(t, args...)
		b := openTab(t, browser, 1280, 800, url)
		l := talkTo(t, s.addr)
		l.say(long)
		b.until(rows + ` === 1`)
		eval[any](b, `document.querySelector('#rows > li').click()`) // anywhere on it
		b.until(wholeIsOpen)
		if !kept {
			b.until(`document.querySelector('#whole .note').textContent === 'the first 1,024 of 160,000\u00a0bytes are kept; a journal keeps all'`)
			b.fine(url)
			s.stop(t, os.Interrupt)
			continue
		}
		b.until(`document.querySelector('#whole .note') === null && location.hash === '#exchange/row.1'`)
		for step, want := range []int{65536, 131072, 160000} {
			b.until(fmt.Sprintf(`document.querySelector('#whole pre').textContent.length === %d`, want))
			if step < 2 {
				eval[any](b, `document.querySelector('#whole .tools button').click()`)
			}
		}
		b.until(`!document.querySelector('#whole .tools').textContent.includes('More')`)
		saved := download(t, eval[string](b, `document.querySelector('#whole .tools a').href`), `attachment; filename=session-1-1-request.bin`)
		if string(saved) != long {
			t.Errorf("what is saved has %d bytes, want %d", len(saved), len(long))
		}
		l.end()
		b.press(kb.Escape)
		b.until(`document.querySelector('#whole') === null`)
		eval[any](b, `document.querySelector('#filter-text').value = 'abcdef'; document.querySelector('#all-kept').click()`)
		b.arrive(`location.pathname === '/journal/' && location.hash === '#text=abcdef'`)
		b.until(rows + ` === 2 && document.querySelector('#sum-count').textContent === '1'`) // a row, and the day
		eval[any](b, `document.querySelector('#rows a.whole').click()`)
		b.until(wholeIsOpen + ` && location.hash === '#text=abcdef&exchange=0.1'`)
		b.press(kb.Escape)
		b.until(`document.querySelector('#whole') === null && location.hash === '#text=abcdef'`)
		eval[any](b, `document.querySelector('#live').click()`)
		b.arrive(`location.pathname === '/' && document.querySelector('#connection')?.dataset.state === 'live'`)
		b.fine(url)
		if code := s.stop(t, os.Interrupt); code != 0 {
			t.Errorf("exit code %d; %s", code, s.stderr)
		}
		if beside, _ := filepath.Glob(file + "-*"); len(beside) > 0 {
			t.Errorf("the server has left %q behind, since the page had the journal open", beside)
		}
	}
}

// arrive is until, of a page that a link leads to: there is none for a moment.
func (b *tab) arrive(expression string) {
	b.t.Helper()
	eventually(b.t, expression, func() bool {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && is
	})
}

// download is what a browser saves.
func download(t *testing.T, url, disposition string) []byte {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 || answer.Header.Get("Content-Disposition") != disposition {
		t.Fatalf("GET %s = %d, %q, %v: %.200s", url, answer.StatusCode, answer.Header.Get("Content-Disposition"), err, body)
	}
	return body
}

// Ends are counted by reason, the bad ones told apart; those of a reason are listed, and bad ones stay in sight.
func testEndsByReason(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--max-request", "64")
	b := openTab(t, browser, 1280, 800, url)
	bad := connect(t, s.addr)
	fmt.Fprintf(bad, "%s\n", strings.Repeat("x", 100))
	io.Copy(io.Discard, bad)
	bad.Close()
	for n := range 30 { // more than are told of those that ended well
		converse(t, s.addr, fmt.Sprintf("%d\n", n))
	}
	b.until(`[...document.querySelectorAll('#ends .end')].map(e => e.textContent).join() === '1 too_long,30 eof'`)
	b.until(`document.querySelectorAll('#sessions > li').length === 21 && document.querySelector('#sessions .state.bad').textContent.startsWith('too_long')`)
	if got := b.texts("#ends .bad"); !slices.Equal(got, []string{"too_long"}) {
		t.Errorf("coloured are %q", got)
	}
	eval[any](b, `document.querySelector('[data-end=too_long]').focus()`)
	b.press(kb.Enter)
	b.until(`document.querySelector('[data-end=too_long]').getAttribute('aria-pressed') === 'true' && document.querySelector('#ended-title').textContent === 'Ended by too_long' && document.querySelector('#ended').textContent.startsWith('#1')`)
	eval[any](b, `document.querySelector('[data-end=eof]').click()`)
	b.until(`document.querySelectorAll('#ended > li').length === 30`)
	eval[any](b, `document.querySelector('[data-end=eof]').click()`)
	b.until(`document.querySelector('#ended-part').hidden`)
	eval[any](b, `document.querySelector('#goto-number').focus()`)
	b.press("7")
	b.press(kb.Enter)
	b.until(`location.hash === '#session/7' && document.querySelector('#diagram').textContent.includes('Request #7')`)
	b.fine(url)
}

// What is shown is saved in the formats of parley log, and as that writes it.
func testExports(t *testing.T, browser context.Context) {
	file := filepath.Join(t.TempDir(), "shop.journal")
	s, url := startWatched(t, "--journal", file)
	converse(t, s.addr, "ORDER 1 lamp\nPAY 1\n")
	l := talkTo(t, s.addr)
	l.say("ORDER 2 chair")
	l.end()
	b := openTab(t, browser, 1280, 800, url+"#session/1")
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
	names := b.texts("#session-exports button")
	if want := []string{"dialogue", "Markdown", "Mermaid", "NDJSON", "pcap"}; !slices.Equal(names, want) {
		t.Errorf("the formats are %q, want %q", names, want)
	}
	for format, ending := range map[string]string{"dialogue": "talk", "md": "md", "mermaid": "mmd", "ndjson": "ndjson", "pcap": "pcap"} {
		got := download(t, url+"export?number=1&format="+format, "attachment; filename=shop-session-1."+ending)
		var want bytes.Buffer
		cmd := program(t, "log", file, "--session", "1", "--export", format)
		cmd.Stdout = &want
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is\n%q, and parley log writes\n%q", format, got, want.Bytes())
		}
		if format == "dialogue" {
			continue
		}
		got = download(t, url+"journal/export?text=chair&format="+format, "attachment; filename=shop-exchanges."+ending)
		if format != "mermaid" && !bytes.Contains(got, []byte("ORDER 2 chair")) || bytes.Contains(got, []byte("lamp")) {
			t.Errorf("%s of what is chosen is\n%q", format, got)
		}
	}

	saved := t.TempDir()
	call(b, browserdomain.SetDownloadBehavior, browserdomain.SetDownloadBehaviorParams{Behavior: browserdomain.SetDownloadBehaviorBehaviorAllow, DownloadPath: saved})
	eval[any](b, `[...document.querySelectorAll('#session-exports button')].find(e => e.textContent === 'dialogue').click()`)
	eventually(t, "the browser has saved the dialogue", func() bool {
		text, err := os.ReadFile(filepath.Join(saved, "shop-session-1.talk"))
		return err == nil && strings.Contains(string(text), "> PAY 1\n")
	})
	b.fine(url)
}

// In the page of journals: a shape is chosen from the statistics, an exchange is opened over what is chosen, turned through
// in the list and in its session, and a session is gone to by its number.
func testJournalExchange(t *testing.T, b *tab, url string) {
	t.Helper()
	eval[any](b, `location.hash = 'view=stats'`)
	b.until(`document.querySelectorAll('#statistics-rows button.choose').length >= 2`)
	eval[any](b, `[...document.querySelectorAll('#statistics-rows button.choose')].find(e => e.textContent === 'GET /item/{n}').click()`)
	b.until(`location.hash === '#shape=GET+%2Fitem%2F%7Bn%7D' && document.querySelectorAll('#rows a.whole').length === 3 && document.querySelector('#shape').value === 'GET /item/{n}'`)
	eval[any](b, `document.querySelectorAll('#rows a.whole')[1].focus()`)
	b.press(kb.Enter)
	b.until(wholeIsOpen + ` && location.hash.includes('shape=GET') && location.hash.includes('exchange=0.') && document.querySelector('#whole pre').textContent === 'GET /item/1'`)
	b.press("j")
	b.until(`document.querySelector('#whole pre')?.textContent === 'GET /item/2'`)
	other := openTab(t, b.ctx, 360, 740, eval[string](b, `location.href`))
	other.until(wholeIsOpen + ` && document.querySelector('#whole pre').textContent === 'GET /item/2'`)
	other.fine(url)
	b.press(kb.Escape)
	b.until(`document.querySelector('#whole') === null && !location.hash.includes('exchange') && document.querySelectorAll('#rows a.whole').length === 3 && document.activeElement.closest('#rows') !== null`)
	eval[any](b, `location.hash = 'exchange=0.99'`)
	b.until(`document.querySelector('#whole [role=status]')?.textContent === 'exchange 99 is not in the journal, or not any more'`)
	b.press(kb.Escape)
	b.until(`document.querySelector('#whole') === null`)
	for _, c := range []struct{ number, then string }{
		{"0", `document.querySelector('#goto-wrong').textContent === 'Sessions count from 1.'`},
		{"77", `document.querySelector('#goto-wrong').textContent === 'There is no session 77.'`},
		{"1", `location.hash === '#session=1'`}, // each file has one
		{"3", `location.hash.includes('open=0.3') && document.querySelector('#session-title').textContent === 'Session 3 in finished.journal'`},
	} {
		eval[any](b, `document.querySelector('#goto-number').value = '`+c.number+`'; document.querySelector('#goto button').click()`)
		b.until(c.then)
	}
	eval[any](b, `document.querySelector('#steps-rows a.whole').focus()`)
	eval[any](b, `location.hash = ''`)
	b.until(`!document.querySelector('#overview').hidden`)
	b.forgive("status of 404") // the exchange that is not there
}
