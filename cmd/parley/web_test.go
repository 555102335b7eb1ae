package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	neturl "net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var pictures = flag.Duration("pictures", 0, "renew docs/seeing-*.png after so much load, 45s at most")

// startWatched starts a server with a live page, and returns where that is.
func startWatched(t *testing.T, args ...string) (s *server, url string) {
	t.Helper()
	s = startServer(t, append([]string{"--web", "0"}, args...)...)
	return s, awaitPage(t, s.process)
}

func awaitPage(t *testing.T, p *process) string {
	t.Helper()
	const before = "parley: live page at "
	p.stderr.await(t, "/\n")
	_, rest, _ := strings.Cut(p.stderr.String(), before)
	url, _, _ := strings.Cut(rest, "\n")
	return url
}

// lines talks to a server a line at a time.
type lines struct {
	t       *testing.T
	conn    *net.TCPConn
	replies *bufio.Reader
}

func talkTo(t *testing.T, addr string) *lines {
	conn := connect(t, addr)
	return &lines{t, conn, bufio.NewReader(conn)}
}

func (l *lines) say(text string) {
	l.t.Helper()
	fmt.Fprintln(l.conn, text)
	if _, err := l.replies.ReadString('\n'); err != nil {
		l.t.Fatal(err)
	}
}

// end half-closes and reads the end of file.
func (l *lines) end() {
	l.t.Helper()
	l.conn.CloseWrite()
	if _, err := l.replies.ReadByte(); err != io.EOF {
		l.t.Fatalf("at the end there is %v", err)
	}
	l.conn.Close()
}

const (
	isLive = `document.querySelector('#connection').dataset.state === 'live'`
	rows   = `document.querySelectorAll('#rows > li').length`
)

func TestLivePage(t *testing.T) {
	browser := startBrowser(t)
	for name, test := range map[string]func(t *testing.T, browser context.Context){
		"the seed's conversation appears row by row": testRowByRow,
		"a session is a sequence diagram":            testDiagram,
		"also a long one":                            testLongDiagram,
		"ends are told with their reasons":           testEnds,
		"payloads stay text":                         testPayloadsStayText,
		"filters":                                    testFilters,
		"pause":                                      testPause,
		"comes back after a restart":                 testRestart,
		"a token is asked for":                       testToken,
		"keys, names and landmarks":                  testHandsAndEars,
		"fits a telephone":                           testNarrow,
		"a flood":                                    testFlood,
		"more tabs than a browser has connections":   testManyTabs,
		"figures of another time say so":             testFiguresAge,
		"what is not shipped":                        testLag,
		"nothing is broken over two lines":           testNothingIsBroken,
		"a tap is called one":                        testTapIsNamed,
		"sessions of earlier runs":                   testEarlierRuns,
		"error texts":                                testErrorTexts,
		"words of a protocol":                        testWords,
		"who connects":                               testWhoConnects,
		"every view":                                 testEveryView,
		"keys alone":                                 testKeysAlone,
		"keys alone in journals":                     testKeysAloneInJournals,
		"a tap has three lifelines":                  testTapDiagram,
		"both ends of a connection":                  testBothEnds,
		"faults and error texts":                     testFaultsAndErrorTexts,
		"who was turned away":                        testTurnedAway,
		"an exchange is opened whole":                testExchangeWhole,
		"long messages":                              testLongMessages,
		"ends by reason":                             testEndsByReason,
		"exports":                                    testExports,
		"charts":                                     testCharts,
	} {
		t.Run(name, func(t *testing.T) { test(t, browser) })
	}
}

func testRowByRow(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	b.until(fmt.Sprintf(`document.querySelector('#rows-empty').innerText === 'Nothing was said yet. Say something: parley client %s'`, s.addr))
	l := talkTo(t, s.addr)
	for n := 1; n <= 2; n++ {
		l.say(fmt.Sprintf("session 1 msg %d", n))
		b.until(fmt.Sprintf("%s === %d", rows, n))
		got := b.texts("#rows > li:first-child > *")
		if len(got) != 5 {
			t.Fatalf("the row has %q", got)
		}
		want := []string{"#1", fmt.Sprintf("[15] session 1 msg %d", n), fmt.Sprintf("[32] Request #1 - session 1 msg %d ...", n)}
		if !slices.Equal(got[1:4], want) || !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}$`).MatchString(got[0]) || !regexp.MustCompile(`^[\d.,]+\x{a0}(ns|µs|ms|s)$`).MatchString(got[4]) {
			t.Errorf("row %d is %q, want a time, %q and how long it took", n, got, want)
		}
	}
	b.until(`document.querySelector('#sessions').innerText.includes('since ')`)
	l.end()
	b.until(`document.querySelector('#sessions').innerText.includes('eof, after')`)
	b.until(`document.querySelector('#now-requests').textContent === '2' && document.querySelector('#now-open').textContent === '0'`)
	if got := b.texts("#sessions > li > *"); len(got) != 4 || got[0] != "#1" || !strings.HasPrefix(got[1], "127.0.0.1:") || got[3] != "2 requests" {
		t.Errorf("the session is %q", got)
	}
	if got := b.text("#server"); got != s.addr {
		t.Errorf("the server is at %q, want %q", got, s.addr)
	}
	b.until(`document.querySelector('#rate-chart').ariaLabel?.startsWith('Requests a second from ') && document.querySelector('#latency-chart').ariaLabel.includes('half within')`)
	b.fine(url)
}

// requests is what the browser has asked for so far.
func (b *tab) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// step is what a row of the diagram's table says but for its times.
func (b *tab) steps() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll('#steps-rows tr')].map(tr => [...tr.cells].slice(-3).map(td => td.textContent).join(' | '))`)
}

// A session with more exchanges than are drawn has the last of them drawn, and says how many it leaves out.
func testLongDiagram(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	var all strings.Builder
	for n := range 130 {
		fmt.Fprintf(&all, "message %d\n", n+1)
	}
	converse(t, s.addr, all.String())
	b := openTab(t, browser, 1280, 800, url+"#session/1")
	b.until(`document.querySelector('#diagram').textContent.includes('message 130')`)
	if got := eval[string](b, `document.querySelector('#diagram').textContent`); !strings.Contains(got, "30 exchanges not shown") {
		t.Errorf("the diagram does not say that 30 exchanges are not shown:\n%.300s", got)
	}
	b.fine(url)
}

func testDiagram(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	l := talkTo(t, s.addr)
	l.say("session 1 msg 1")
	b.until(rows + ` === 1`)
	eval[any](b, `document.querySelector('#rows button').click()`)
	b.until(`document.querySelector('#diagram').textContent.includes('still open')`)
	l.say("session 1 msg 2") // appears while it is looked at
	b.until(`document.querySelector('#diagram').textContent.includes('msg 2 ...')`)
	l.end()
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)

	want := []string{
		"client | connect → accept | connection",
		"client | write → read | [15] session 1 msg 1",
		"server | write → read | [32] Request #1 - session 1 msg 1 ...",
		"client | write → read | [15] session 1 msg 2",
		"server | write → read | [32] Request #1 - session 1 msg 2 ...",
		"client | close → end of file | the client closed",
		"server | close → end of file | ",
	}
	if got := b.steps(); !slices.Equal(got, want) {
		t.Errorf("the table says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	labels := b.texts("#diagram text")
	for _, label := range []string{"Client", l.conn.LocalAddr().String(), "Server", s.addr, "socket", "bind", "listen", "connect", "accept", "write", "read",
		"[15] session 1 msg 1", "[32] Request #1 - session 1 msg 2 ...", "close", "end of file", "closed: eof"} {
		if !slices.Contains(labels, label) {
			t.Errorf("the diagram lacks %q; it has %q", label, labels)
		}
	}
	if got := b.text("#session-state"); got != "closed (eof): the client closed" {
		t.Errorf("its state is %q", got)
	}
	const isPicture = `(svg => svg.getAttribute('role') === 'img' && svg.ariaLabel.startsWith('Sequence diagram of session 1: 4 messages') && document.getElementById(svg.getAttribute('aria-describedby')).rows.length === 8)(document.querySelector('#diagram'))`
	if !eval[bool](b, isPicture) {
		t.Error("the diagram does not tell a screen reader where its table is")
	}

	// Requests sent ahead come before the replies that they did not wait for.
	converse(t, s.addr, "a\nb\n")
	eval[any](b, `location.hash = 'session/2'`)
	b.until(`document.querySelector('#diagram').ariaLabel.startsWith('Sequence diagram of session 2')`)
	if got := b.steps()[1:5]; !strings.HasPrefix(got[0], "client | write") || !strings.HasPrefix(got[1], "client | write") || !strings.HasPrefix(got[2], "server | write") {
		t.Errorf("the steps are %q", got)
	}
	eval[any](b, `location.hash = 'session/99'`)
	b.until(`document.querySelector('#session-state').textContent === 'nothing is remembered of this session since the server was started'`)
	b.press(kb.Escape)
	b.until(`document.querySelector('#session').hidden && !document.querySelector('#overview').hidden`)
}

func testEnds(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--max-request", "10", "--idle-timeout", "300ms")
	b := openTab(t, browser, 1280, 800, url)
	converse(t, s.addr, "")
	converse(t, s.addr, "\n")
	converse(t, s.addr, "this is too long\n")
	reset := talkTo(t, s.addr)
	reset.say("a")
	reset.conn.SetLinger(0)
	reset.conn.Close()
	idle := talkTo(t, s.addr)
	idle.say("a")
	if _, err := idle.replies.ReadByte(); err != io.EOF {
		t.Errorf("the idle one reads %v", err)
	}
	for i, c := range []struct{ reason, last string }{
		{"no_request", "server | close → end of file | "},
		{"blank", "server | close → end of file | "},
		{"too_long", "server | close → end of file | a request was too long"},
		{"reset", "client | reset | the connection was reset"},
		{"idle_timeout", "server | close → end of file | nothing came for too long"},
	} {
		eval[any](b, fmt.Sprintf(`location.hash = 'session/%d'`, i+1))
		b.until(fmt.Sprintf(`document.querySelector('#session-title').textContent === 'Session %d' && document.querySelector('#diagram').textContent.includes('closed: %s')`, i+1, c.reason))
		if steps := b.steps(); steps[len(steps)-1] != c.last {
			t.Errorf("%s: the last step is %q, want %q", c.reason, steps[len(steps)-1], c.last)
		}
	}
}

func testPayloadsStayText(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--echo")
	b := openTab(t, browser, 1280, 800, url)
	payloads := []struct{ sent, shown string }{
		{`<img src=x onerror=alert(1)>`, `<img src=x onerror=alert(1)>`},
		{`</script><script>alert(1)</script>`, `</script><script>alert(1)</script>`},
		{`&lt;b&gt; &amp; "'`, `&lt;b&gt; &amp; "'`},
		{"a\u2028b", `a\xe2\x80\xa8b`},
		{"left\u202eright", `left\xe2\x80\xaeright`},
		{"\x1b[31m\a\x7f\u009b", `\x1b[31m\x07\x7f\xc2\x9b`},
		{"\xff\xfe\xc3(\xe2\x82 \xf0\x9f", `\xff\xfe\xc3(\xe2\x82 \xf0\x9f`},
		{"tab\tcr\rend", `tab\tcr\rend`},
		{"grüß 日本 🙂", "grüß 日本 🙂"},
		{`data: x event: y`, `data: x event: y`},
	}
	l := talkTo(t, s.addr)
	for _, p := range payloads {
		l.say(p.sent)
	}
	b.until(fmt.Sprintf("%s === %d", rows, len(payloads)))
	got := b.texts("#rows .message.reply")
	slices.Reverse(got)
	for i, p := range payloads {
		if want := fmt.Sprintf("[%d] %s", len(p.sent), p.shown); got[i] != want {
			t.Errorf("%q is shown as %q, want %q", p.sent, got[i], want)
		}
	}
	// A cut leaves no half of a character behind, wherever it falls.
	for _, start := range []string{"", "x", "xx"} {
		l.say(start + strings.Repeat("日", 400))
	}
	b.until(fmt.Sprintf("%s === %d", rows, len(payloads)+3))
	for _, text := range b.texts("#rows .message")[:6] {
		if strings.Contains(text, `\x`) || !strings.Contains(text, "日…(1,20") {
			t.Errorf("of a long text is shown %q", text)
		}
	}
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#diagram').textContent.includes('still open')`)
	labels, steps := b.texts("#diagram text"), b.steps()
	for _, step := range steps[len(steps)-6:] {
		if strings.Contains(step, `\x`) || !strings.Contains(step, "日…(1,20") {
			t.Errorf("of a long text the session shows %q", step)
		}
	}
	for i, p := range payloads {
		if want := fmt.Sprintf("[%d] %s", len(p.sent), p.shown); !slices.Contains(labels, want) || steps[1+2*i] != "client | write → read | "+want {
			t.Errorf("%q is in the diagram not as %q", p.sent, want)
		}
	}
	if n := eval[int](b, `document.querySelectorAll('img, script:not([src]), b').length`); n > 0 {
		t.Errorf("%d elements were made of payloads", n)
	}
	for view, want := range map[string]string{"hex": "[9] 74 61 62 09 63 72 0d 65 6e 64", "both": `tab\tcr\rend74 61 62 09 63 72 0d 65 6e 64`, "text": `tab\tcr\rend`} {
		eval[any](b, `location.hash = ''`)
		eval[any](b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('change')) })(document.querySelector('#payload'))`, view))
		want = strings.TrimPrefix(want, "[9] ")
		b.until(fmt.Sprintf(`[...document.querySelectorAll('#rows .message')].some(e => e.textContent === %q)`, "[10] "+want))
	}
	b.fine(url)
}

func testFilters(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	for range 2 {
		l := talkTo(t, s.addr)
		l.say("apple")
		l.say("<Pear>")
		l.end()
	}
	b.until(rows + ` === 4`)
	for _, c := range []struct {
		text, session, slower string
		want                  int
	}{
		{"", "", "", 4}, {"pear", "", "", 2}, {"<PEAR", "", "", 2}, {"request #2", "", "", 2}, {"", "1", "", 2}, {"", "#2", "", 2}, {"apple", "2", "", 1},
		{"plum", "", "", 0}, {"", "3", "", 0}, {"", "", "0", 4}, {"", "", "0.000001", 4}, {"", "", "60000", 0}, {"", "", "nonsense", 4},
	} {
		eval[any](b, fmt.Sprintf(`(['text', 'session', 'slower'].forEach((name, i) => { document.querySelector('#filter-' + name).value = %s[i] }), document.querySelector('#filter').dispatchEvent(new Event('input')))`,
			fmt.Sprintf(`[%q, %q, %q]`, c.text, c.session, c.slower)))
		b.until(fmt.Sprintf("%s === %d", rows, c.want))
		if empty := b.text("#rows-empty"); c.want == 0 && empty != "Nothing here passes the filter." {
			t.Errorf("an empty list says %q", empty)
		}
	}
}

func testPause(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	l := talkTo(t, s.addr)
	l.say("one")
	b.until(rows + ` === 1`)
	b.press("p")
	b.until(`document.querySelector('#pause').ariaPressed === 'true'`)
	l.say("two")
	b.until(`document.querySelector('#now-requests').textContent === '2' && document.querySelector('#pause').textContent === 'Resume (1 new)'`)
	if n := eval[int](b, rows); n != 1 {
		t.Errorf("%d rows while it is paused, want 1", n)
	}
	b.press("p")
	b.until(rows + ` === 2 && document.querySelector('#pause').textContent === 'Pause'`)
}

func testRestart(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	talkTo(t, s.addr).say("before")
	b.until(rows + ` === 1`)
	s.stop(t, os.Interrupt)
	b.until(`document.querySelector('#connection').dataset.state === 'lost'`)
	port := strings.Trim(url[strings.LastIndex(url, ":"):], ":/")
	s = startServer(t, "--web", port)
	l := talkTo(t, s.addr)
	l.say("after")
	b.until(isLive)
	b.until(rows + ` === 1 && document.querySelector('#rows').textContent.includes('after') && document.querySelector('#now-requests').textContent === '1'`)
	b.until(fmt.Sprintf(`document.querySelector('#sessions .mono').textContent === %q`, l.conn.LocalAddr())) // of another session 1 than before
}

// The page says how much of the journal is not shipped, where it is to be.
func testLag(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--journal", filepath.Join(t.TempDir(), "web.journal"), "--ship", "nats://127.0.0.1:1")
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	talkTo(t, s.addr).end()
	b.until(`/^1 record is not shipped yet, the oldest for .*; NATS takes none at present$/.test(document.querySelector('#now-lag').textContent)`)

	_, url = startWatched(t)
	b = openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	b.until(`document.querySelector('#now-lag').hidden`)
}

func testHandsAndEars(t *testing.T, browser context.Context) {
	_, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	// Not with press, which types the character even where the page took the key for itself.
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"})
	b.press("p/v")
	if got := eval[string](b, `document.activeElement.id + ' ' + document.activeElement.value`); got != "filter-text p/v" {
		t.Errorf("after / and typing the focus is in %q, want the filter with what was typed", got)
	}
	b.press(kb.Escape)
	b.press("v")
	if got := eval[string](b, `document.activeElement.tagName + ' ' + document.querySelector('#payload').value`); got != "BODY hex" {
		t.Errorf("after Escape and v the focus and the payload are %q", got)
	}
	b.press(kb.Tab)
	if got := eval[string](b, `document.activeElement.className || document.activeElement.id`); got == "" {
		t.Error("Tab leads nowhere")
	}
	for _, what := range []string{`[...document.querySelectorAll('header, main, footer, h1')].length === 4`, `document.documentElement.lang === 'en'`,
		`[...document.querySelectorAll('input, select')].every(e => e.labels.length === 1)`,
		`[...document.querySelectorAll('section')].every(e => e.ariaLabel || document.getElementById(e.getAttribute('aria-labelledby')))`,
		`[...document.querySelectorAll('svg, .plot')].every(e => e.getAttribute('role') === 'img')`,
		`[...document.querySelectorAll('.plot')].every(e => e.ariaLabel)`,
		`[...document.querySelectorAll('h1, h2')].map(e => e.tagName).join() === 'H1,H2,H2,H2,H2'`} {
		if !eval[bool](b, what) {
			t.Errorf("it is not so that %s", what)
		}
	}
}

// At 360 px nothing has to be scrolled sideways, however long what was said is.
func testNarrow(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 360, 740, url)
	l := talkTo(t, s.addr)
	l.say("session 1 msg 1")
	l.say(strings.Repeat("x", 3000))
	b.until(rows + ` === 2`)
	for _, hash := range []string{"", "session/1"} {
		eval[any](b, fmt.Sprintf(`location.hash = %q`, hash))
		b.until(fmt.Sprintf(`document.querySelector('#session').hidden === %v`, hash == ""))
		if hash != "" {
			b.until(`document.querySelector('#diagram').textContent.includes('still open')`)
		}
		if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 360 {
			t.Errorf("at #%s the page is %d px wide, want 360 at most", hash, wide)
		}
	}
	const outside = `[...document.querySelectorAll('#diagram text')].map(e => [e.getBBox(), e.textContent]).filter(([box]) => box.x < 0 || box.x + box.width > document.querySelector('#diagram').clientWidth).map(([, text]) => text)`
	if cut := eval[[]string](b, outside); len(cut) > 0 {
		t.Errorf("the diagram's edges cut %q", cut)
	}
}

// Tens of thousands of exchanges leave the page quick and its counts exact.
func testFlood(t *testing.T, browser context.Context) {
	const peers, requests = 10, 3000
	s, url := startWatched(t, "-q")
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	var talking sync.WaitGroup
	for range peers {
		talking.Go(func() { converse(t, s.addr, strings.Repeat("ping\n", requests)) })
	}
	talking.Wait()
	b.until(`document.querySelector('#now-requests').textContent === '30,000' && document.querySelector('#now-open').textContent === '0'`)
	shown := eval[int](b, `document.querySelectorAll('#rows > li:not(.gap)').length`)
	if shown == 0 || shown > 200 {
		t.Errorf("%d exchanges are shown, want some and no more than 200", shown)
	}
	b.until(`/^[\d,]+ of 30,000 left out$/.test(document.querySelector('#left-out').textContent)`)
	if got := b.texts("#sessions .count"); len(got) != peers || slices.ContainsFunc(got, func(text string) bool { return text != "3,000 requests" }) {
		t.Errorf("the sessions have %q", got)
	}
	b.fine(url)
}

// rewritten is a page whose answers change on their way to the browser, by their paths.
func rewritten(t *testing.T, page string, changes map[string]func(answer map[string]any)) (url string) {
	t.Helper()
	to, err := neturl.Parse(page)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(answer *http.Response) error {
		change := changes[answer.Request.URL.Path]
		if change == nil {
			return nil
		}
		var told map[string]any
		if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
			return err
		}
		change(told)
		text, err := json.Marshal(told)
		answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		answer.Header.Set("Content-Length", fmt.Sprint(len(text)))
		return err
	}
	site := httptest.NewServer(proxy)
	t.Cleanup(site.Close)
	return site.URL + "/"
}

func testFiguresAge(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	b := openTab(t, browser, 1280, 800, url)
	b.until(isLive)
	b.until(`document.querySelector('#latency-chart').dataset.empty === 'nothing was answered yet'`)
	l := talkTo(t, s.addr)
	l.say("a")
	b.until(`document.querySelector('#latency-chart').dataset.empty === '' && document.querySelector('#now-p50').textContent !== '–'`)
	if got := eval[string](b, `['p50', 'p99'].map(name => document.querySelector('#now-' + name).className + document.querySelector('#now-' + name + '-age').textContent).join()`); got != "," {
		t.Errorf("figures of now are marked %q", got)
	}

	// What the server says of a time that has passed.
	var quiet atomic.Int64 // seconds without a reply
	passed := rewritten(t, url, map[string]func(map[string]any){"/state": func(snapshot map[string]any) {
		recent := snapshot["recent"].(map[string]any)
		recent["at"], recent["answered"], recent["p50"], recent["p99"] = 10_000+quiet.Load(), 10_000, 51_000, 7_000_000
		recent["requests"], recent["replies"], recent["seconds"] = 0, 0, 10
		for _, p := range snapshot["points"].([]any) {
			p.(map[string]any)["replies"] = 0
		}
	}})
	b = openTab(t, browser, 1280, 800, passed)
	for _, c := range []struct {
		quiet     int64
		p50, age  string
		className string
	}{
		{0, "51.0 µs", "", ""}, {9, "51.0 µs", "", ""}, {10, "51.0 µs", "10 s ago", "past"}, {59, "51.0 µs", "59 s ago", "past"},
		{60, "–", "60 s ago", "past"}, {119, "–", "119 s ago", "past"}, {120, "–", "2 min ago", "past"}, {7200, "–", "2 h ago", "past"},
	} {
		quiet.Store(c.quiet)
		b.until(fmt.Sprintf(`(e => e.textContent.replaceAll('\u00a0', ' ') === %q && e.className === %q)(document.querySelector('#now-p50'))`, c.p50, c.className))
		b.until(fmt.Sprintf(`['p50', 'p99'].every(name => document.querySelector('#now-' + name + '-age').textContent.replaceAll('\u00a0', ' ') === %q) && document.querySelector('#now-rate').textContent === '0'`, c.age))
	}
	b.until(`document.querySelector('#latency-chart').dataset.empty === 'nothing was answered in this time'`)
}

// Neither a number and its unit, nor the digits of a byte.
func testNothingIsBroken(t *testing.T, browser context.Context) {
	s, url := startWatched(t, "--echo")
	b := openTab(t, browser, 360, 740, rewritten(t, url, map[string]func(map[string]any){"/state": func(snapshot map[string]any) {
		snapshot["recent"] = map[string]any{"at": 100, "answered": 80, "seconds": 10, "requests": 0, "p50": 51_000, "p99": 51_000}
	}}))
	l := talkTo(t, s.addr)
	binary := strings.Repeat("\x1b\xff", 100)
	l.say("x" + binary)
	l.say(strings.Repeat("y", 2000)) // of which a part is kept
	b.until(rows + ` === 2`)
	whole := regexp.MustCompile(`^(\[\d+\] )?([0-9a-f]{2}( [0-9a-f]{2})*|x?(\\x[0-9a-f]{2})*|y*)…?$`)
	const apart = `[...document.querySelectorAll('body *')].flatMap(e => [...e.childNodes]).filter(n => n.nodeType === 3 && /\d (ns|µs|ms|s|bytes|%|minutes)(?![a-z])/.test(n.data)).map(n => n.data)`
	for _, hash := range []string{"", "session/1"} {
		eval[any](b, fmt.Sprintf(`location.hash = %q`, hash))
		for _, view := range []string{"text", "hex", "both"} {
			eval[any](b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('change')) })(document.querySelector('#payload'))`, view))
			if hash == "" {
				b.until(fmt.Sprintf(`[...document.querySelectorAll('#rows .message')].every(e => Boolean(e.querySelector('.exact')) === %v)`, view != "text"))
			} else {
				b.until(fmt.Sprintf(`document.querySelector('#diagram').textContent.includes('still open') && Boolean(document.querySelector('#diagram .size')) === %v`, view != "text"))
			}
			if got := eval[[]string](b, apart); len(got) > 0 {
				t.Errorf("#%s in %s: a line may end before the unit in %q", hash, view, got)
			}
			if got := eval[[]string](b, `[...document.querySelectorAll('#rows .message .exact, #rows .message:not(:has(.exact)) > span:last-child')].flatMap(e => [...e.childNodes]).filter(n => n.nodeType === 3 && /[0-9a-f]{2}/.test(n.data)).map(n => n.data)`); view != "text" && len(got) > 0 {
				t.Errorf("#%s in %s: the browser's ellipsis may go through a byte of %.40q", hash, view, got)
			}
			if got := eval[[]string](b, `[...document.querySelectorAll('.piece')].filter(e => e.getClientRects().length > 1).map(e => e.textContent)`); len(got) > 0 {
				t.Errorf("#%s in %s: %q are broken over two lines", hash, view, got)
			}
			for _, label := range b.texts("#diagram .payload") {
				if !whole.MatchString(label) && !strings.HasPrefix(label, "127.0.0.1:") {
					t.Errorf("in %s a line of the diagram is %q", view, label)
				}
			}
		}
	}
	if n := len(b.texts("#diagram .payload")); n < 4 {
		t.Errorf("the diagram has %d lines of payload", n)
	}
}

func testTapIsNamed(t *testing.T, browser context.Context) {
	s := startServer(t)
	tap := startTap(t, s.addr, "--web", "0")
	b := openTab(t, browser, 1280, 800, awaitPage(t, tap.process))
	b.until(isLive)
	if got, want := b.text(".server"), "tap "+tap.addr+" → "+s.addr; got != want {
		t.Errorf("the page is of %q, want %q", got, want)
	}
	b.until(fmt.Sprintf("document.querySelector('#rows-empty').textContent.endsWith(%q)", "parley client "+tap.addr))
}

// A server that is started anew on its journal shows what was before, also to who looks at a
// session meanwhile.
func testEarlierRuns(t *testing.T, browser context.Context) {
	file := filepath.Join(t.TempDir(), "journal")
	s, url := startWatched(t, "--journal", file)
	b := openTab(t, browser, 1280, 800, url)
	b.until(`document.querySelector('#earlier-note').textContent === 'The journal has none.'`)
	l := talkTo(t, s.addr)
	l.say("before")
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#session-facts').textContent.includes('Requests1')`)
	eventually(t, "the journal has it", func() bool { return storyAt(t, url, 1).Session.ID == 1 })
	l.end()
	b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
	s.stop(t, os.Interrupt)
	port := strings.Trim(url[strings.LastIndex(url, ":"):], ":/")
	s = startServer(t, "--web", port, "--journal", file)
	b.until(`location.hash === '#journal/1' && document.querySelector('#session-title').textContent === 'Session 1 in the journal' && document.querySelector('#diagram').textContent.includes('before')`)

	talkTo(t, s.addr).say("after")
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#session-title').textContent === 'Session 1' && document.querySelector('#diagram').textContent.includes('after')`)
	b.press(kb.Escape)
	b.until(`document.querySelector('#earlier').children.length === 1`)
	if got := b.text("#earlier li"); !strings.Contains(got, "#1") || !strings.Contains(got, "127.0.0.1:") || !strings.Contains(got, ", eof") || !strings.Contains(got, "1 request") {
		t.Errorf("the earlier session is %q", got)
	}
	eval[any](b, `document.querySelector('#earlier button').click()`)
	b.until(`location.hash === '#journal/1' && document.querySelector('#diagram').textContent.includes('before') && document.querySelector('#session-state').textContent === 'closed (eof): the client closed'`)
	eval[any](b, `location.hash = 'journal/99'`)
	b.until(`document.querySelector('#session-state').textContent === 'there is no such session in the journal'`)
}

// What a server says of its own accord, in a session and to those it refuses, stands where
// it was said.
func testErrorTexts(t *testing.T, browser context.Context) {
	s, url := startWatched(t)
	l := talkTo(t, s.addr)
	l.say("a")
	message := func(text string) map[string]any {
		return map[string]any{"bytes": len(text), "start": base64.StdEncoding.EncodeToString([]byte(text))}
	}
	exchange := func(at, took int, request, reply map[string]any) map[string]any {
		return map[string]any{"session": 1, "seq": 0, "at": at, "took": took, "request": request, "reply": reply}
	}
	refused := func(remote, reason string, reply map[string]any) map[string]any {
		return map[string]any{"session": 0, "seq": 0, "at": 1006, "took": 0, "reply": reply, "refused": map[string]any{"remote": remote, "reason": reason}}
	}
	b := openTab(t, browser, 1280, 800, rewritten(t, url, map[string]func(map[string]any){
		"/state": func(snapshot map[string]any) {
			if snapshot["whole"] != true {
				return
			}
			snapshot["exchanges"] = append(snapshot["exchanges"].([]any), exchange(1005, 0, nil, message("Error: <b>too long</b>")),
				refused("192.0.2.7:99<i>", "full", message("Error: server is full")), refused("192.0.2.7:98", "denied", nil))
		},
		"/session": func(transcript map[string]any) { // the reply was sent with the text, 5.85 µs after a time that is told without its fraction
			transcript["exchanges"] = []any{exchange(1000, 5850, message("a"), message("b")), exchange(1005, 0, nil, message("Error: too long"))}
		},
	}))
	b.until(rows + ` === 4`)
	got := eval[[]string](b, `[...document.querySelectorAll('#rows > li')].map(li => [...li.children].slice(1).map(e => e.innerText.trim()).join(' | '))`)
	want := []string{
		"– | refused (denied) 192.0.2.7:98 | no reply | ",
		"– | refused (full) 192.0.2.7:99<i> | [21] Error: server is full | ",
		"#1 | not asked for | [22] Error: <b>too long</b> | ",
	}
	if !slices.Equal(got[:3], want) {
		t.Errorf("the rows are %q, want %q", got[:3], want)
	}
	eval[any](b, `location.hash = 'session/1'`)
	b.until(`document.querySelector('#diagram').textContent.includes('too long')`)
	if got, want := b.steps(), []string{"client | write → read | [1] a", "server | write → read | [1] b", "server | write → read | [15] Error: too long"}; len(got) < 4 || !slices.Equal(got[1:4], want) {
		t.Errorf("the steps are %q, want %q", got, want)
	}
}

// respCommand is a command as redis takes it.
func respCommand(words ...string) string {
	text := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	return text
}

// A protocol's messages are shown in its words, with their exact bytes at hand, live and from the
// journal. Credentials are nowhere unless they were asked for.
func testWords(t *testing.T, browser context.Context) {
	const password = "cGFzc3dvcmQ" // as base64 of it begins, and as it is
	for _, c := range []struct {
		name   string
		args   []string
		secret string
		exact  string // of AUTH
	}{
		{"hidden", nil, "AUTH (secret)", ""},
		{"hidden, from the journal", []string{"--journal", filepath.Join(t.TempDir(), "a")}, "AUTH (secret)", ""},
		{"shown", []string{"--show-secrets", "--journal", filepath.Join(t.TempDir(), "b")}, "AUTH u " + password, `*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$11\r\n` + password + `\r\n`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, url := startWatched(t, append(c.args, "--framing", "redis", "--reply", "{bytes}")...)
			b := openTab(t, browser, 1280, 800, url)
			l := talkTo(t, s.addr)
			l.say(strings.TrimSuffix(respCommand("SET", "foo", "b<b>"), "\n"))
			l.say(strings.TrimSuffix(respCommand("AUTH", "u", password), "\n"))
			b.until(rows + " === 2")
			if got, want := b.texts("#rows .message"), []string{"[39] " + c.secret, "[5] 39", "[32] SET foo b<b>", "[5] 32"}; !slices.Equal(got, want) {
				t.Errorf("the rows are %q, want %q", got, want)
			}
			const set = `*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$4\r\nb<b>\r\n`
			if got, want := eval[[]string](b, `[...document.querySelectorAll('#rows .message')].map(e => e.title.replaceAll('\u200b', ''))`), []string{c.exact, `+39\r\n`, set, `+32\r\n`}; !slices.Equal(got, want) {
				t.Errorf("the exact bytes at hand are %q, want %q", got, want)
			}
			for _, text := range []string{"set foo", `$3\r\nset`, "auth", ""} {
				eval[any](b, fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event('input', { bubbles: true })) })(document.querySelector('#filter-text'))`, text))
				b.until(fmt.Sprintf("%s === %d", rows, 2-min(1, len(text))))
			}
			b.press("v")
			b.until(`document.querySelector('#rows li:nth-child(2) .message').textContent.startsWith('[32] 2a 33 0d 0a')`)
			b.press("v")
			b.until(`document.querySelector('#rows li:nth-child(2) .message').textContent.startsWith('[32] SET foo b<b>*3\\r')`)
			b.press("v")

			l.conn.CloseWrite()
			eventually(t, "all is told of it", func() bool {
				story := storyAt(t, url, 1)
				return story.Session.Reason != "" && len(story.Exchanges) == 2
			})
			eval[any](b, `location.hash = 'session/1'`)
			b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
			if got, want := b.steps()[1:5], []string{"client | write → read | [32] SET foo b<b>\n" + set, "server | write → read | [5] 32\n+32\\r\\n",
				"client | write → read | " + strings.TrimSuffix("[39] "+c.secret+"\n"+c.exact, "\n"), "server | write → read | [5] 39\n+39\\r\\n"}; !slices.Equal(got, want) {
				t.Errorf("the steps are %q, want %q", got, want)
			}
			if labels := b.texts("#diagram text"); !slices.Contains(labels, "[32] SET foo b<b>") || !slices.Contains(labels, "[39] "+c.secret) {
				t.Errorf("the diagram has %q", labels)
			}
			b.until(`document.querySelector('#session-facts').textContent.includes('Framingredis')`)
			for _, path := range []string{"state", "session?number=1"} {
				answer := fetch(t, url+path)
				told := strings.Contains(answer, password) || strings.Contains(answer, base64.StdEncoding.EncodeToString([]byte(respCommand("AUTH", "u", password))))
				if told != (c.exact != "") {
					t.Errorf("GET /%s tells credentials: %v", path, told)
				}
			}
			b.fine(url)
		})
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The page is of this host only, unless another address is named.
func TestPageIsOfThisHostOnly(t *testing.T) {
	for _, at := range []string{"0", ":0"} {
		s := startServer(t, "--web", at)
		url := awaitPage(t, s.process)
		port := strings.Trim(url[strings.LastIndex(url, ":"):], ":/")
		if url != "http://127.0.0.1:"+port+"/" {
			t.Errorf("--web %s is at %s", at, url)
		}
		connect(t, "127.0.0.1:"+port)
		for _, other := range []string{"127.0.0.2", "[::1]"} { // of this host, and served by who listens on all of its addresses
			if conn, err := net.Dial("tcp", other+":"+port); err == nil {
				conn.Close()
				t.Errorf("--web %s listens on %s too", at, other)
			}
		}
	}
}

// A newcomer sees the page alive in one command.
func TestDemoIsWatched(t *testing.T) {
	p := start(t, program(t, "demo", "--web"))
	url := awaitPage(t, p)
	said := base64.StdEncoding.EncodeToString([]byte("session 1 msg 2"))
	eventually(t, "the page tells of session 1 msg 2", func() bool {
		answer, err := http.Get(url + "state")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(text), said)
	})
	if code := p.stop(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d, want 0; %s", code, p.stderr)
	}
	if out := p.stdout.String(); out != "" {
		t.Errorf("stdout %q, want nothing", out)
	}
}

// TestPictures renews the pictures in docs, which are to be looked at: after a while of up
// to 10,000 requests a second, which it counts.
//
//	go test -run TestPictures -pictures 45s -v ./cmd/parley
func TestPictures(t *testing.T) {
	if *pictures == 0 {
		t.Skip("asked for with -pictures")
	}
	browser := startBrowser(t)
	s, url := startWatched(t, "-q")
	wide, narrow := openTab(t, browser, 1280, 800, url), openTab(t, browser, 360, 740, url)
	wide.until(isLive)
	wide.picture("empty", "light")
	for n := 1; n <= 2; n++ {
		l := talkTo(t, s.addr)
		l.say(fmt.Sprintf("session %d msg 1", n))
		l.say(fmt.Sprintf("session %d msg 2", n))
		l.end()
	}
	wide.until(rows + ` === 4`)
	wide.picture("quiet", "light")
	eval[any](wide, `location.hash = 'session/1'`)
	eval[any](narrow, `location.hash = 'session/1'`)
	for _, b := range []*tab{wide, narrow} {
		b.until(`document.querySelector('#diagram').textContent.includes('closed: eof')`)
		eval[any](b, `document.querySelector('#session').scrollIntoView()`)
	}
	wide.picture("session", "light")
	narrow.picture("session-phone", "dark")
	for _, b := range []*tab{wide, narrow} {
		eval[any](b, `location.hash = ''`)
		eval[any](b, `scrollTo(0, 0)`)
	}

	sent := inWaves(t, s.addr, *pictures, func() {
		wide.do(chromedp.EmulateViewport(1280, 600))
		eval[any](wide, `document.activeElement.blur()`)
		wide.moveTo("heat-chart", 0.7, 0.6)
		wide.until(reading + `.includes('took')`)
		wide.picture("busy", "light")
		wide.picture("busy-dark", "dark")
		narrow.picture("phone", "light")
	}) + 4
	wide.until(fmt.Sprintf(`document.querySelector('#now-requests').textContent === new Intl.NumberFormat('en').format(%d)`, sent))
	t.Logf("%d requests; the page says %s, and %s", sent, wide.text("#now-requests"), wide.text("#left-out"))
	s.stop(t, os.Interrupt)
	t.Logf("the server used %v", s.ProcessState.UserTime()+s.ProcessState.SystemTime())
}

// inWaves sends up to 9,000 requests a second in waves, calls look near its end, and returns
// how many it sent.
func inWaves(t *testing.T, addr string, d time.Duration, look func()) (sent int) {
	const peers = 20
	var talks [peers]*lines
	for i := range talks {
		talks[i] = talkTo(t, addr)
		talks[i].conn.SetDeadline(time.Now().Add(2 * d))
	}
	beats := time.NewTicker(20 * time.Millisecond)
	defer beats.Stop()
	for start := time.Now(); time.Since(start) < d && !t.Failed(); <-beats.C {
		part := time.Since(start).Seconds() / d.Seconds()
		atOnce := 1 + int(9*math.Abs(math.Sin(5*part))*min(1, 3*part))
		var talking sync.WaitGroup
		for i, l := range talks {
			talking.Go(func() {
				for n := range atOnce {
					fmt.Fprintf(l.conn, "GET /item/%d/%d\n", i, sent+n)
				}
				for range atOnce {
					if _, err := l.replies.ReadString('\n'); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		talking.Wait()
		sent += peers * atOnce
		if part > 0.9 && look != nil {
			look()
			look = nil
		}
	}
	return sent
}
