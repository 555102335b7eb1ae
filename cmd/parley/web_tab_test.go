package main

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// startBrowser starts a browser without a window, for all tabs of a test. It is gone with
// all it wrote when the test ends.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	program := peer(t, "chromium").Path
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("HOME="+t.TempDir(), "TZ=UTC"), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.WSURLReadTimeout(patience))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("the browser did not close: %v", err)
		}
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	return ctx
}

// A tab shows one page, and remembers what it asked for and complained about.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu    sync.Mutex
	asked []string
	woes  []string

	thrown []string // by its scripts, and caught by nobody
}

func openTab(t *testing.T, browser context.Context, width, height int64, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*patience+*pictures)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.thrown) > 0 {
			t.Errorf("scripts of the page threw %q", b.thrown)
		}
	})
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	b.prefer("light")
	b.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
	return b
}

// exceptionOf is what was thrown, in words.
func exceptionOf(details *runtime.ExceptionDetails) string {
	if details.Exception != nil && details.Exception.Description != "" {
		return details.Exception.Description
	}
	return details.Text
}

// call has the browser do something that chromedp has no words for.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// prefer sets the colour scheme of the system: light or dark.
func (b *tab) prefer(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

func (b *tab) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *log.EventEntryAdded:
		b.woes = append(b.woes, e.Entry.Text+" "+e.Entry.URL)
	case *runtime.EventExceptionThrown:
		b.thrown = append(b.thrown, fmt.Sprintf("%s at line %d of %s", exceptionOf(e.ExceptionDetails), e.ExceptionDetails.LineNumber+1, e.ExceptionDetails.URL))
	case *page.EventJavascriptDialogOpening:
		b.woes = append(b.woes, "dialog: "+e.Message)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// eval is the value of a JavaScript expression in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits until an expression is true in the page.
func (b *tab) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !eval[bool](b, expression); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("it is not so that %s; the page says\n%.2000s", expression, b.text("body"))
		}
	}
}

// text is what a person reads there.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// texts is the text of every such element.
func (b *tab) texts(selector string) []string {
	b.t.Helper()
	return eval[[]string](b, fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.textContent)", selector))
}

func (b *tab) press(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// picture keeps what the window shows in docs.
func (b *tab) picture(name, scheme string) {
	b.t.Helper()
	b.prefer(scheme)
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	pixels, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, pixels); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "docs", "seeing-"+name+".png"), small.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// forgive forgets complaints that say so: what caused them was meant.
func (b *tab) forgive(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.woes = slices.DeleteFunc(b.woes, func(woe string) bool { return strings.Contains(woe, part) })
}

// fine checks that the page had nothing to complain about and asked nobody else.
func (b *tab) fine(url string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.woes) > 0 {
		b.t.Errorf("the browser complains: %q", b.woes)
	}
	for _, asked := range b.asked {
		if !strings.HasPrefix(asked, url) && !strings.HasPrefix(asked, "data:") { // the browser's own pictures in its fields
			b.t.Errorf("the page asked %s", asked)
		}
	}
}
