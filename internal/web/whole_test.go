package web

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

// A told whole is what a browser is told of an exchange.
type toldWhole struct {
	toldExchange
	Took    time.Duration
	Of      foundSession
	Source  string
	Replied string
	Late    bool
	Run     int64
	Kept    uint64
	Refused *refusal
}

// A message is told in steps of maxStep, and saved whole, whatever its length is beside that.
func TestAMessageComesInSteps(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "a journal"), "line")
	s := r.open(0)
	lengths := []int{0, 1, maxStep - 1, maxStep, maxStep + 1, 3*maxStep + 7}
	for i, n := range lengths {
		r.say(s, i+1, i, strings.Repeat("x", n), "done")
	}
	r.end(s, len(lengths)-1, 99) // the last reply did not get out
	r.close()
	p := show(t, r.file)
	for i, n := range lengths {
		query := fmt.Sprintf("id=%d", i+1)
		x := get[toldWhole](t, p, "/exchange?"+query)
		if x.Request.Bytes != n || x.Request.Kept != n || len(x.Request.Start) != min(n, maxStep) || x.Source != "journal" || x.Of.Remote != "10.0.0.1:4000" || x.Of.Reason != "eof" {
			t.Errorf("of %d bytes %d are told, %d kept; %+v of %+v", n, len(x.Request.Start), x.Request.Kept, x, x.Of)
		}
		if want := map[bool]string{true: "no", false: "yes"}[i == len(lengths)-1]; x.Replied != want {
			t.Errorf("exchange %d: replied %q, want %q", i+1, x.Replied, want)
		}
		if same := get[toldWhole](t, p, fmt.Sprintf("/exchange?session=1&seq=%d", i+1)); same.ID != x.ID {
			t.Errorf("by its number it is exchange %d, want %d", same.ID, x.ID)
		}
		var all []byte
		for all = x.Request.Start; len(all) < n; {
			w := ask(p, "GET", fmt.Sprintf("/message?%s&side=request&from=%d", query, len(all)), nil)
			if got := w.Body.Len(); w.Code != 200 || got != min(maxStep, n-len(all)) {
				t.Fatalf("from %d of %d there are %d bytes (%d)", len(all), n, got, w.Code)
			}
			all = append(all, w.Body.Bytes()...)
		}
		w := ask(p, "GET", "/message?"+query+"&side=request&save", nil)
		if !bytes.Equal(w.Body.Bytes(), []byte(strings.Repeat("x", n))) || w.Header().Get("Content-Disposition") != fmt.Sprintf("attachment; filename=session-1-%d-request.bin", i+1) {
			t.Errorf("%d bytes of %d are saved, as %q", w.Body.Len(), n, w.Header().Get("Content-Disposition"))
		}
	}
	for path, code := range map[string]int{"/exchange?id=7": 404, "/exchange?session=1&seq=7": 404, "/exchange?session=2&seq=1": 404, "/exchange?id=0": 400, "/exchange?file=1&id=1": 400,
		"/exchange?id=9223372036854775807": 404, "/message?id=7&side=reply": 404} {
		if w := ask(p, "GET", path, nil); w.Code != code {
			t.Errorf("GET %s = %d, want %d: %s", path, w.Code, code, w.Body)
		}
	}
}

// What a tap keeps one by one is one exchange.
func TestPartsOfAnExchangeAreOne(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "journal"), "line")
	s := r.open(0)
	r.w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("ask")}})
	r.w.Pass(s, []parley.Exchange{{Seq: 2, Received: at(2), Request: []byte("other"), Reply: []byte("reply")}})
	r.w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Took: 5 * time.Millisecond, Reply: []byte("answer")}})
	r.close()
	p := show(t, r.file)
	for _, query := range []string{"id=1", "id=3", "session=1&seq=1"} {
		x := get[toldWhole](t, p, "/exchange?"+query)
		if x.Request == nil || x.Reply == nil || string(x.Request.Start) != "ask" || string(x.Reply.Start) != "answer" || x.Took != 5*time.Millisecond || x.At != at(1).UnixMicro() {
			t.Errorf("%s is %+v", query, x)
		}
	}
}

// Memory has the first 1,024 bytes of a message, and says so; what has no number is found by when it was kept.
func TestAnExchangeInMemory(t *testing.T) {
	p := New(Options{})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Observer: p, MaxRequest: 5000})
	say(t, addr, "a\n"+strings.Repeat("b", maxMessage-1)+"\n"+strings.Repeat("b", maxMessage)+"\n"+strings.Repeat("b", maxMessage+1)+"\n")
	for seq, n := range []int{1, maxMessage - 1, maxMessage, maxMessage + 1} {
		x := get[toldWhole](t, p, fmt.Sprintf("/exchange?session=1&seq=%d&run=%d", seq+1, p.started))
		if x.Request.Bytes != n || x.Request.Kept != min(n, maxMessage) || len(x.Request.Start) != min(n, maxMessage) || x.Source != "memory" || x.Late || x.Run != p.started || x.Of.Local != addr {
			t.Errorf("of %d bytes: %+v, %+v", n, x, x.Request)
		}
	}
	say(t, addr, strings.Repeat("x", 5001)+"\n")
	eventually(t, func() bool { return look(p, func(s *state) bool { return len(s.bad) == 1 }) })
	unasked := get[struct{ Exchanges []toldWhole }](t, p, "/state").Exchanges[4]
	if x := get[toldWhole](t, p, fmt.Sprintf("/exchange?kept=%d", unasked.Kept)); unasked.Kept != 5 || x.Request != nil || !strings.HasPrefix(string(x.Reply.Start), "Error: request longer") || x.Of.Reason != "too_long" {
		t.Errorf("what was not asked for is %+v of %+v", x, x.Of)
	}
}

// Credentials are told in no way: neither whole, nor in steps, nor saved, nor exported, from a journal or from memory.
func TestCredentialsAreNotToldWhole(t *testing.T) {
	framing, err := dialect.Parse("redis")
	if err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2hunter2"
	auth := fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(secret), secret)
	file := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(file, journal.Options{About: journal.About{Framing: "redis"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(context.Background())
	for _, shown := range []bool{false, true} {
		p := New(Options{Framing: framing, Secrets: shown})
		s := parley.NewSession(1, nil, nil, at(0))
		for _, e := range []parley.Event{{Kind: parley.Opened}, {Kind: parley.Received, Seq: 1, Body: []byte(auth), Secret: true}, {Kind: parley.Replied, Seq: 1, Body: []byte("+OK\r\n")}, {Kind: parley.Closed, Reason: parley.EndOfFile}} {
			e.Session, e.Time = s, at(1)
			p.Observe(&e)
			if !shown {
				w.Observe(&e)
			}
		}
		if !shown {
			w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte(auth), Reply: []byte("+OK\r\n"), Secret: true}})
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		j := NewJournals(JournalsOptions{Files: []string{file}, Secrets: shown})
		defer j.Close()
		for name, c := range map[string]struct {
			page    http.Handler
			x, one  string
			refused int
		}{"memory": {p, "session=1&seq=1", "number=1", 403}, "journal": {j, "id=1", "id=1", 403}} {
			paths := []string{"/exchange?" + c.x, "/message?side=request&" + c.x, "/message?side=request&save&" + c.x}
			for format := range exportFormats {
				paths = append(paths, "/export?format="+format+"&"+c.one)
			}
			for _, path := range paths {
				w := ask(c.page, "GET", path, nil)
				encoded := "aHVudGVyMm" // of which a browser could make it again
				is := strings.Contains(w.Body.String(), secret) || strings.Contains(w.Body.String(), encoded)
				if is && !shown {
					t.Errorf("%s: GET %s tells the secret: %q", name, path, w.Body)
				}
				if strings.HasPrefix(path, "/message") && (w.Code == 403) == shown {
					t.Errorf("%s, shown %v: GET %s = %d", name, shown, path, w.Code)
				}
				if strings.HasPrefix(path, "/export") && (w.Code != 200 || !is && shown && !strings.Contains(path, "mermaid")) {
					t.Errorf("%s, shown %v: GET %s = %d %q", name, shown, path, w.Code, w.Body)
				}
			}
		}
	}
}
