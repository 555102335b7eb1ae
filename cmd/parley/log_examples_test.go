//go:build unix

package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// The questions to a journal that pages show below a line <!-- ask --> are asked, and answered as they say.
func TestQuestionsOfTheManual(t *testing.T) {
	dir := t.TempDir()
	recordShop(t, filepath.Join(dir, "shop.journal"))
	asked := 0
	for _, page := range manualPages(t) {
		for _, b := range page.blocks {
			if b.mark != "ask" {
				continue
			}
			asked++
			t.Run(fmt.Sprintf("%s:%d", page.name, b.line), func(t *testing.T) {
				tr := &transcript{lines: b.lines, dir: dir, ports: strings.NewReplacer(), shown: strings.NewReplacer()}
				tr.play(t)
			})
		}
	}
	if asked < 3 {
		t.Fatalf("the manual asks %d times", asked)
	}
}

// recordShop makes the journal of a tap before a small shop, which speaks HTTP.
func recordShop(t *testing.T, file string) {
	t.Helper()
	w, err := journal.Create(file, journal.Options{About: journal.About{Framing: "http", Role: "tap", Listener: "[::]:8080", Upstream: "shop:80", Node: "edge"}})
	if err != nil {
		t.Fatal(err)
	}
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 8080}
	for number, c := range []struct {
		remote string
		from   time.Duration
		asks   []string // path, status, ms
		reason parley.CloseReason
	}{
		{"10.0.0.7", 0, []string{"/items/17 200 3", "/items/18 200 4", "/items/4711 404 2", "/cart?session=5f0c2a9b41d7 200 12"}, parley.EndOfFile},
		{"10.0.0.8", 20 * time.Second, []string{"/items/17 200 3", "/items/99 200 5", "/checkout 503 2041"}, parley.Reset},
		{"10.0.0.7", 150 * time.Second, []string{"/items/21 200 4", "/cart?session=c01db33f9a02 200 9", "/checkout  0"}, parley.Reset},
	} {
		opened := noon.Add(c.from)
		remote := &net.TCPAddr{IP: net.ParseIP(c.remote), Port: 50000 + number}
		s := parley.NewSession(uint64(number+1), remote, local, opened)
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: opened})
		replied := 0
		for i, ask := range c.asks {
			path, rest, _ := strings.Cut(ask, " ")
			status, took, _ := strings.Cut(rest, " ")
			ms, _ := strconv.Atoi(took)
			request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: shop\r\n\r\n", path)
			x := parley.Exchange{Seq: uint64(i + 1), Received: opened.Add(time.Duration(i+1) * 2 * time.Second), Took: time.Duration(ms) * time.Millisecond,
				Request: request, RawRequest: parley.Raw{Bytes: request}}
			if status != "" {
				x.Reply = fmt.Appendf(nil, "HTTP/1.1 %s X\r\nContent-Length: 2\r\n\r\nok", status)
				x.RawReply.Bytes = x.Reply
				replied = i + 1
			}
			w.Pass(s, []parley.Exchange{x})
			if ms > 1000 {
				w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: x.Received, Seq: x.Seq, Fault: "reply.delay=2s"})
			}
		}
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: opened.Add(10 * time.Second), Seq: uint64(len(c.asks)), Replied: uint64(replied), Reason: c.reason})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
