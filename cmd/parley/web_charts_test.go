package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	browsers "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const chartsBegin = 1_764_000_000 // 2025-11-24T16:00:00Z

// chartedPage is a page whose charts are of 100 seconds that are made up: second n has n requests, of
// which half took 1 ms and the others 2 ms; every tenth second has none.
func chartedPage(t *testing.T, page string) (url string) {
	return rewritten(t, page, map[string]func(map[string]any){"/state": func(snapshot map[string]any) {
		var points []any
		for n := range 100 {
			p := map[string]any{"at": chartsBegin + n, "seconds": 1, "requests": n, "replies": n, "open": n % 7, "p50": 1e6, "p99": 2e6, "max": 2e6, "times": []int{rowOfMillisecond, n - n/2, rowOfMillisecond + 2, n / 2}}
			if n%10 == 0 {
				p = map[string]any{"at": chartsBegin + n, "seconds": 1, "requests": 0, "replies": 0, "open": n % 7}
			}
			points = append(points, p)
		}
		snapshot["points"], snapshot["replot"], snapshot["every"] = points, true, 1
		snapshot["recent"] = map[string]any{"at": chartsBegin + 99, "seconds": 10, "requests": 945, "replies": 945, "answered": chartsBegin + 99, "p50": 1e6, "p99": 2e6}
	}})
}

const rowOfMillisecond = 33 // 786,432 to 1,048,575 ns

// at moves the mouse over a chart to a part of what is drawn, from the left and from the top.
func (b *tab) at(chart string, x, y float64, kind input.DispatchMouseEventType, button input.MouseButton, clicks int64) {
	b.t.Helper()
	box := eval[[]float64](b, fmt.Sprintf(`(r => [r.left, r.top, r.width, r.height])(document.querySelector('#%s .u-over').getBoundingClientRect())`, chart))
	buttons := int64(0)
	if button != "" && kind != input.DispatchMouseEventTypeMouseReleased {
		buttons = 1
	}
	call(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: box[0] + x*box[2], Y: box[1] + y*box[3], Button: button, Buttons: buttons, ClickCount: clicks})
}

func (b *tab) moveTo(chart string, x, y float64) {
	b.at(chart, x, y, input.DispatchMouseEventTypeMouseMoved, "", 0)
}

// drag draws with the mouse from one part of a chart to another.
func (b *tab) drag(chart string, from, to float64) {
	b.at(chart, from, 0.5, input.DispatchMouseEventTypeMousePressed, input.MouseButtonLeft, 1)
	b.at(chart, to, 0.5, input.DispatchMouseEventTypeMouseMoved, input.MouseButtonLeft, 0)
	b.at(chart, to, 0.5, input.DispatchMouseEventTypeMouseReleased, input.MouseButtonLeft, 1)
}

// heightOf is where a chart from 100 µs to 10 ms has a time in ns, from its top.
func heightOf(ns float64) float64 { return 1 - (math.Log10(ns)-5)/2 }

const reading = `[...document.querySelectorAll('#reading span')].map(e => e.textContent.replaceAll('\u00a0', ' ')).join('; ')`

func testCharts(t *testing.T, browser context.Context) {
	_, page := startWatched(t)
	url := chartedPage(t, page)
	b := openTab(t, browser, 1280, 800, url)
	spans := func(want string) {
		t.Helper()
		b.until(fmt.Sprintf(`document.querySelector('#charts-span').textContent === %q`, want))
	}
	reads := func(want string) {
		t.Helper()
		b.until(fmt.Sprintf(`%s === %q`, reading, want))
	}
	asks := func(span string) {
		t.Helper()
		eventually(t, "it asks for span="+span, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return strings.HasSuffix(b.asked[len(b.asked)-1], "&span="+span)
		})
	}
	const all = "from 16:00:00 to 16:01:40"
	const hint = "Point at a chart or use the arrow keys to read it; drag, + or − to look closer."

	t.Run("their own span at first", func(t *testing.T) {
		b.t = t
		spans(all) // not five minutes
		asks("300")
		reads(hint)
		b.until(`document.querySelector('#rate-chart').ariaLabel === 'Requests a second from 16:00:00 to 16:01:40: the last 99'`)
		b.until(`document.querySelector('#latency-chart').ariaLabel.replaceAll('\u00a0', ' ') === 'Time to answer from 16:00:00 to 16:01:40: last, at 16:01:39, half within 1.00 ms, 99 % within 2.00 ms'`)
		b.until(`document.querySelector('#heat-chart').ariaLabel.replaceAll('\u00a0', ' ').endsWith(': most took 786 µs to 1.05 ms')`)
	})
	t.Run("figures name their window", func(t *testing.T) {
		b.t = t
		if got := b.texts(".now dt"); !slices.Equal(got, []string{"Open sessions, now", "Requests/s, last 10\u00a0s", "Half within, last 10\u00a0s", "99\u00a0% within, last 10\u00a0s", "Requests, all", "Sessions, all"}) {
			t.Errorf("the figures are %q", got)
		}
		b.until(`document.querySelector('#now-rate').textContent === '95' && document.querySelector('#now-p50').textContent === '1.00\u00a0ms' && document.querySelector('#now-p50').className === ''`)
	})
	t.Run("ranges", func(t *testing.T) {
		b.t = t
		for _, c := range []struct{ name, span, asked string }{{"1 min", "from 16:00:40 to 16:01:40", "60"}, {"60 min", all, "3600"}, {"all", all, "0"}, {"5 min", all, "300"}} {
			eval[any](b, fmt.Sprintf(`[...document.querySelectorAll('#ranges button')].find(e => e.textContent === %q).click()`, c.name))
			spans(c.span)
			asks(c.asked)
			if got := b.texts("#ranges [aria-pressed=true]"); !slices.Equal(got, []string{c.name}) {
				t.Errorf("%q are pressed, want %s", got, c.name)
			}
		}
	})
	t.Run("a pointer reads all of them", func(t *testing.T) {
		b.t = t
		b.moveTo("rate-chart", 0.375, 0.5) // 37.5 s from the left
		reads("16:00:37; 37 requests/s; 2 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; most took 786 µs to 1.05 ms")
		if at := eval[[]string](b, `[...document.querySelectorAll('.u-cursor-x')].map(e => e.style.transform)`); len(at) != 3 || at[0] == "" || at[0] != at[1] || at[1] != at[2] || strings.Contains(at[0], "-10px") {
			t.Errorf("the cursors are at %q, want all three at one place", at)
		}
		b.moveTo("rate-chart", 0.405, 0.5)
		reads("16:00:40; 0 requests/s; 5 open sessions; no reply")
		b.moveTo("heat-chart", 0.375, heightOf(1e6))
		reads("16:00:37; 37 requests/s; 2 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; 19 of 37 took 786 µs to 1.05 ms")
		b.moveTo("heat-chart", 0.375, heightOf(1.2e6))
		reads("16:00:37; 37 requests/s; 2 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; 0 of 37 took 1.05 ms to 1.57 ms")
		b.at("heat-chart", 0.5, -2, input.DispatchMouseEventTypeMouseMoved, "", 0)
		reads(hint)
	})
	t.Run("a drag looks closer", func(t *testing.T) {
		b.t = t
		for name, back := range map[string]func(){
			"Escape": func() { b.press(kb.Escape) },
			"a double click": func() {
				for _, kind := range []input.DispatchMouseEventType{input.DispatchMouseEventTypeMousePressed, input.DispatchMouseEventTypeMouseReleased} {
					b.at("latency-chart", 0.5, 0.5, kind, input.MouseButtonLeft, 2)
				}
			},
			"its button": func() { eval[any](b, `document.querySelector('#unzoom').click()`) },
		} {
			if got := eval[bool](b, `document.querySelector('#unzoom').hidden`); !got {
				t.Errorf("%s: the way back is shown with nothing to go back from", name)
			}
			b.drag("rate-chart", 0.203, 0.603)
			spans("from 16:00:20 to 16:01:00")
			asks("80") // it reaches back to there
			back()
			spans(all)
		}
		b.drag("rate-chart", 0.2, 0.204) // a click that trembled
		b.moveTo("rate-chart", 0.5, 0.5)
		spans(all)
	})
	t.Run("by keyboard", func(t *testing.T) {
		b.t = t
		b.moveTo("rate-chart", 0.5, -1)
		eval[any](b, `document.querySelector('#plots').focus()`)
		b.press(kb.ArrowRight)
		const last = "16:01:39; 99 requests/s; 1 open session; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; "
		reads(last + "most took 786 µs to 1.05 ms")
		b.press(kb.ArrowUp)
		reads(last + "50 of 99 took 786 µs to 1.05 ms")
		b.press(kb.ArrowUp)
		reads(last + "49 of 99 took 1.57 ms to 2.10 ms")
		b.press(kb.ArrowDown + kb.ArrowLeft)
		reads("16:01:38; 98 requests/s; 0 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; 49 of 98 took 786 µs to 1.05 ms")
		b.press(kb.Home)
		reads("16:00:00; 0 requests/s; 0 open sessions; no reply")
		b.press("+")
		spans("from 16:00:00 to 16:00:50")
		b.press("+")
		spans("from 16:00:00 to 16:00:25")
		b.press("-")
		spans("from 16:00:00 to 16:00:50")
		b.press(kb.End)
		reads("16:00:49; 49 requests/s; 0 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; 25 of 49 took 786 µs to 1.05 ms")
		b.press("-")
		spans(all)
		b.press(kb.Escape)
		reads(hint)
	})
	b.t = t
	b.fine(url)
	t.Run("dense where many are", func(t *testing.T) {
		b.t = t
		// The red of the second with most, and how dense it, one with few and one with none are.
		shades := fmt.Sprintf(`(c => { const over = document.querySelector('#heat-chart .u-over').getBoundingClientRect(), box = c.getBoundingClientRect(), scale = c.width / box.width
			const at = x => c.getContext('2d').getImageData((over.left - box.left + over.width * x / 100) * scale, (over.top - box.top + over.height * %f) * scale, 1, 1).data
			return [at(99.5)[0], ...[99.5, 1.5, 90.5].map(x => at(x)[3])] })(document.querySelector('#heat-chart canvas'))`, heightOf(0.9e6))
		light := eval[[]float64](b, shades)
		if !(light[0] < 50 && light[1] > light[2] && light[2] > 40 && light[3] == 0) {
			t.Errorf("the shades are %v, want the fullest the densest, and nothing where nothing was", light)
		}
		b.prefer("dark")
		b.until(fmt.Sprintf(`(([red, ...dense]) => red > 100 && dense.join() === %q)(%s)`, strings.Trim(strings.ReplaceAll(fmt.Sprint(light[1:]), " ", ","), "[]"), shades))
	})
	b.t = t
	narrow := openTab(t, browser, 360, 740, url)
	narrow.until(`document.querySelectorAll('.u-over').length === 3`)
	if wide := eval[int](narrow, `document.documentElement.scrollWidth`); wide > 360 {
		t.Errorf("the page is %d px wide, want 360 at most", wide)
	}
	b = narrow
	box := eval[[]float64](b, `(r => [r.left, r.top, r.width, r.height])(document.querySelector('#latency-chart .u-over').getBoundingClientRect())`)
	finger := &input.TouchPoint{X: box[0] + 0.375*box[2], Y: box[1] + heightOf(1e6)*box[3]}
	call(b, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchStart, TouchPoints: []*input.TouchPoint{finger}})
	call(b, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: input.DispatchTouchEventTypeTouchEnd, TouchPoints: []*input.TouchPoint{}})
	reads("16:00:37; 37 requests/s; 2 open sessions; half 1.00 ms; 99 % 2.00 ms; longest 2.00 ms; 19 of 37 took 786 µs to 1.05 ms") // also after the finger is gone
}

// setWindow minimizes the window of a tab, which hides it, or brings it back.
func (b *tab) setWindow(state browsers.WindowState) {
	b.t.Helper()
	of, err := chromedp.Call(b.ctx, browsers.GetWindowForTarget, browsers.GetWindowForTargetParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	call(b, browsers.SetWindowBounds, browsers.SetWindowBoundsParams{WindowID: of.WindowID, Bounds: &browsers.Bounds{WindowState: state}})
	b.until(fmt.Sprintf(`document.hidden === %v`, state == browsers.WindowStateMinimized))
}

// questions are how often a tab has asked what is new.
func (b *tab) questions() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, asked := range b.asked {
		if strings.Contains(asked, "/state?") {
			n++
		}
	}
	return n
}

// Seven tabs of one server, to which a browser has six connections, under load: each is live when it is looked at, alone or all at once; one
// that is hidden asks nothing, and says what it missed once it is shown.
func testManyTabs(t *testing.T, browser context.Context) {
	const count = 7
	s, url := startWatched(t, "-q")
	var answered atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l := talkTo(t, s.addr)
		l.conn.SetDeadline(time.Now().Add(4 * patience))
		beats := time.NewTicker(4 * time.Millisecond)
		defer beats.Stop()
		for ; ; answered.Add(1) {
			select {
			case <-stop:
				return
			case <-beats.C:
				l.say("under load")
			}
		}
	}()
	end := sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	t.Cleanup(end)

	const requests = `Number(document.querySelector('#now-requests').textContent.replaceAll(',', ''))`
	live := func(b *tab) { b.until(fmt.Sprintf(`%s && %s >= %d`, isLive, requests, answered.Load())) }
	var tabs []*tab
	for range count {
		b := openTab(t, browser, 640, 480, url)
		live(b)
		if tabs = append(tabs, b); len(tabs) < count {
			b.setWindow(browsers.WindowStateMinimized)
		}
	}
	away, shown := tabs[0], tabs[count-1]
	before, knew, asked := away.questions(), eval[int](away, requests), shown.questions()
	eventually(t, "a tab that is shown has asked often", func() bool { return shown.questions() > asked+8 })
	if n := away.questions(); n > before+1 { // one may have been under way
		t.Errorf("a hidden tab asked %d times while another one asked 8 times", n-before)
	}
	if now := eval[int](away, requests); now > knew {
		t.Errorf("a hidden tab went on from %d requests to %d", knew, now)
	}
	eventually(t, "more is kept than a tab is told at once", func() bool { return keptNow(t, url)-away.kept() > 600 })
	const skipped = `[...document.querySelectorAll('#rows > .gap')].filter(e => /^[\d,]+ skipped while this page was hidden$/.test(e.textContent)).length`
	away.setWindow(browsers.WindowStateNormal)
	away.until(skipped + ` === 1`)
	for _, b := range tabs[1 : count-1] {
		b.setWindow(browsers.WindowStateNormal)
	}
	for _, b := range tabs {
		live(b)
	}
	end()
	for _, b := range tabs {
		b.until(fmt.Sprintf(`%s === %d`, requests, answered.Load()))
	}

	// Who missed nothing is told nothing.
	away.do(chromedp.Reload())
	away.until(isLive)
	away.setWindow(browsers.WindowStateMinimized)
	talkTo(t, s.addr).say("while it was hidden")
	away.setWindow(browsers.WindowStateNormal)
	away.until(isLive + ` && document.querySelector('#rows').textContent.includes('while it was hidden') && ` + skipped + ` === 0`)
	away.fine(url)
}

var cursorForm = regexp.MustCompile(`^\d+-(\d+)-`)

func keptOf(t *testing.T, cursor string) int {
	t.Helper()
	found := cursorForm.FindStringSubmatch(cursor)
	if found == nil {
		return 0
	}
	kept, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// keptNow is how many exchanges the page has kept so far.
func keptNow(t *testing.T, url string) int {
	t.Helper()
	var told struct{ Cursor string }
	if err := json.Unmarshal([]byte(fetch(t, url+"state")), &told); err != nil {
		t.Fatal(err)
	}
	return keptOf(t, told.Cursor)
}

// kept is how many the tab knew of when it asked last.
func (b *tab) kept() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, asked := range b.asked {
		if _, cursor, ok := strings.Cut(asked, "/state?after="); ok {
			n = keptOf(b.t, cursor)
		}
	}
	return n
}
