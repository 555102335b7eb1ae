package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// axeVersion is what scripts/install-test-tools installs.
const axeVersion = "4.14.1"

// axeSource is axe-core, which says of a page what people cannot see, hear or reach.
func axeSource(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "parley-test-tools", "axe-core-"+axeVersion, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		skipOutsideCI(t, "axe-core is not installed; scripts/install-test-tools installs it")
	}
	return string(text)
}

// A view is something that a page shows.
type view struct {
	name  string
	open  func() (url string) // has it served; nil if it is
	show  string              // the script that shows it there
	ready string              // is true when it is shown
}

// looks are those of a desk in the light and of a telephone in the dark: colours do not depend on sizes.
var looks = []struct {
	width, height int64
	scheme        string
}{{1280, 800, "light"}, {360, 740, "dark"}}

// Whatever either page shows breaks none of axe's rules and is not wider than the window: at a desk and on
// a telephone, in light and in dark colours.
func testEveryView(t *testing.T, browser context.Context) {
	source := axeSource(t)
	var b *tab
	for _, v := range viewsOfAll(t) {
		if v.open != nil {
			b = openTab(t, browser, 1280, 800, v.open())
			if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](source+"\nundefined")); err != nil {
				t.Fatal(err)
			}
		}
		eval[any](b, v.show+"\nundefined")
		b.until(v.ready)
		for _, look := range looks {
			b.do(chromedp.EmulateViewport(look.width, look.height))
			b.until(fmt.Sprintf(`innerWidth === %d`, look.width))
			b.prefer(look.scheme)
			b.checkView(fmt.Sprintf("%s, %d px, %s", v.name, look.width, look.scheme))
		}
	}
}

// checkView has axe look at what is shown and sees that it is not too wide.
func (b *tab) checkView(name string) {
	b.t.Helper()
	// Two frames later everything has its new size and colours.
	look := `new Promise(shown => requestAnimationFrame(() => requestAnimationFrame(shown)))
		.then(() => axe.run(document, { resultTypes: ['violations'] }))
		.then(found => found.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target + ' ' + n.failureSummary).join('\n\t')))`
	broken, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](look, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	if len(broken) > 0 {
		b.t.Errorf("%s breaks the rules of axe:\n%s", name, strings.Join(broken, "\n"))
	}
	const wide = `document.scrollingElement.scrollWidth > innerWidth ? [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll')).slice(0, 5).map(e => e.tagName + '#' + e.id + '.' + e.className) : []`
	if got := eval[[]string](b, wide); len(got) > 0 {
		b.t.Errorf("%s is wider than the window: %q", name, got)
	}
}

// viewsOfAll makes pages with something of everything, and returns what they show.
func viewsOfAll(t *testing.T) []view {
	const (
		open   = `(e => { e && (e.open = true) })(document.querySelector('#session details'))`
		locked = "sixteen-letters!"
	)
	file := filepath.Join(t.TempDir(), "journal")
	empty := func() string {
		_, url := startWatched(t)
		return url
	}
	tap := func() string {
		behind := startServer(t, "--max-request", "3000", "--journal", file)
		tap := startTap(t, behind.addr, "--web", "0", "--fault", "refuse=3,reply.drop=3,seed=1")
		sayOfAll(t, tap.addr)
		return awaitPage(t, tap.process)
	}
	journal := func() string { // behind the tap's, of which it has what was said
		_, url := startJournalPage(t, file)
		return url
	}
	nodes := func() string {
		_, url := startJournalPage(t, recordBothEnds(t))
		return url
	}
	secret := func() string {
		_, url := startWatched(t, "--web-token", locked)
		return url
	}
	shown := func(id string) string {
		return open + `, !document.querySelector('#` + id + `').hidden`
	}
	at := func(hash string) string { return fmt.Sprintf(`location.hash = %q`, hash) }
	const whole = `document.querySelector('#whole') !== null && document.querySelector('#whole').open && document.querySelector('#whole .facts').children.length > 0`
	return []view{
		{"the live page of a server that nobody talks to", empty, at(""), isLive},
		{"the live page of a tap", tap, at(""), isLive + ` && ` + rows + ` >= 4 && !document.querySelector('#turned-part').hidden`},
		{"a session with a fault", nil, at("session/1"), shown("session") + ` && document.querySelector('#diagram').textContent.includes('reply.drop')`},
		{"a long exchange over its session", nil, `document.querySelectorAll('#steps-rows a.whole')[2].click()`, whole},
		{"a session with an error text", nil, at("session/2"), shown("session") + ` && document.querySelector('#diagram').textContent.includes('Error: ')`},
		{"an exchange whole", nil, `location.hash = ''; document.querySelector('#rows a.whole').click()`, whole},
		{"sessions that ended badly", nil, `document.querySelector('#whole')?.close(); location.hash = ''; document.querySelector('#ends button').click()`, `!document.querySelector('#ended-part').hidden`},
		{"a session that is not there", nil, at("session/99"), shown("session") + ` && document.querySelector('#session-state').textContent.startsWith('nothing')`},
		{"a page of journals", journal, at(""), isLive + ` && document.querySelectorAll('#rows > li').length > 3 && document.querySelectorAll('#sessions > li').length > 1`},
		{"its statistics", nil, at("view=stats"), shown("statistics") + ` && document.querySelectorAll('#statistics-rows tr').length > 1`},
		{"a session of it", nil, at("open=0.1"), shown("session") + ` && document.querySelector('#diagram').textContent.includes('msg 1')`},
		{"an exchange of it", nil, `document.querySelector('#steps-rows a.whole').click()`, whole},
		{"a page of many nodes", nodes, at(""), isLive + ` && document.querySelectorAll('#sessions > li').length === 3`},
		{"a connection with both ends", nil, at("open=0.1"), shown("session") + ` && document.querySelectorAll('#session-ends li').length === 3 && document.querySelector('#diagram').textContent.includes('did not arrive')`},
		{"the question for the token", secret, at(""), `document.querySelector('#token') !== null`},
		{"a wrong token", func() string { return secret() + "?token=wrong" }, at(""), `document.querySelector('#wrong') !== null`},
	}
}

// sayOfAll has a session with text, bytes and a reply that a fault drops, one that ends with an error text, and
// a connection that is refused.
func sayOfAll(t *testing.T, addr string) {
	t.Helper()
	l := talkTo(t, addr)
	l.say("session 1 msg 1")
	l.say(strings.Repeat("y", 2000) + strings.Repeat("\x1b\xff", 100))
	fmt.Fprintln(l.conn, "whose reply is dropped")
	converse(t, addr, strings.Repeat("too long", 1000)+"\n")
	if conn, err := net.Dial("tcp", addr); err == nil { // every third one is refused, which may be seen at once
		conn.Close()
	}
}
