package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

// exchangesIn counts the requests of an export in NDJSON.
func exchangesIn(body string) int { return strings.Count(body, `"event":"received"`) }

// An export has the newest exchanges, so many at most.
func TestAnExportIsBounded(t *testing.T) {
	before := maxExported
	maxExported = 10
	defer func() { maxExported = before }()
	for _, n := range []int{8, 9, 10, 30} { // and a session
		r := record(t, filepath.Join(t.TempDir(), "j"), "line")
		s := r.open(0)
		for i := range n {
			r.say(s, i+1, i, fmt.Sprintf("request %d", i), "done")
		}
		r.end(s, n, 99)
		r.close()
		body := ask(show(t, r.file), "GET", "/export?format=ndjson", nil).Body.String()
		if got, want := exchangesIn(body), min(n, maxExported); got != want || !strings.Contains(body, fmt.Sprintf(`"payload":"request %d"`, n-1)) {
			t.Errorf("of %d exchanges %d are exported, want %d", n, got, want)
		}
	}
}

// What is written in one piece is so large at most.
func TestWhatIsHeldIsBounded(t *testing.T) {
	before := maxHeld
	maxHeld = 64 << 10
	defer func() { maxHeld = before }()
	const events = 4 // an opening, a request, a reply and an end
	for _, more := range []int{-1, 0, 1} {
		r := record(t, filepath.Join(t.TempDir(), "j"), "line")
		s := r.open(0)
		r.say(s, 1, 1, strings.Repeat("x", maxHeld-events*heldBeside-len("done")+more), "done")
		r.end(s, 1, 2)
		r.close()
		p := show(t, r.file)
		want := map[bool]int{false: 200, true: 413}[more > 0]
		for _, format := range []string{"md", "dialogue"} {
			for _, method := range []string{"GET", "HEAD"} {
				if w := ask(p, method, "/export?id=1&format="+format, nil); w.Code != want {
					t.Errorf("%s %s with %d bytes more than the most = %d, want %d: %.200s", method, format, more, w.Code, want, w.Body)
				}
			}
		}
		if w := ask(p, "GET", "/export?format=ndjson", nil); w.Code != 200 || exchangesIn(w.Body.String()) != 1 {
			t.Errorf("in parts it is %d", w.Code)
		}
	}
}

func TestExportsThatCannotBe(t *testing.T) {
	files := twoFiles(t, 3, 3)
	p := show(t, files...)
	for path, code := range map[string]int{
		"/export?format=ndjson":                             400, // of two files
		"/export?format=ndjson&file=1":                      200,
		"/export?format=ndjson&file=0,1":                    400,
		"/export?format=ndjson&file=0&text=no":              404,
		"/export?format=dialogue&file=0":                    409, // several sessions
		"/export?format=dialogue&file=0&id=2":               200,
		"/export?format=dialogue&file=0&id=99":              404,
		"/export?format=dialogue&file=0&id=x":               400,
		"/export?format=nothing&file=0":                     400,
		"/export?format=pcap&file=0&regexp=(":               400,
		"/export?format=md&file=0&shape=file+{n}":           404,
		"/export?format=md&file=0&shape=file+{n}+order+{n}": 200,
	} {
		path = strings.ReplaceAll(path, "{n}", "%7Bn%7D")
		for _, method := range []string{"GET", "HEAD"} {
			w := ask(p, method, path, nil)
			if w.Code != code || (w.Header().Get("Content-Disposition") != "") != (code == 200) {
				t.Errorf("%s %s = %d, %q; want %d: %.200s", method, path, w.Code, w.Header().Get("Content-Disposition"), code, w.Body)
			}
		}
	}
}

// A browser that takes nothing more is given up, the page does not wait for it when it is closed, and of exports there are few at once.
func TestAStuckExportHoldsNobodyUp(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "j"), "line")
	s := r.open(0)
	for i := range 40 {
		r.say(s, i+1, i, strings.Repeat("x", 1<<20), "done")
	}
	r.end(s, 40, 99)
	r.close()
	p := NewJournals(JournalsOptions{Files: []string{r.file}})
	srv := httptest.NewServer(p)
	defer srv.Close()
	defer srv.CloseClientConnections()
	for range maxExporting {
		answer, err := http.Get(srv.URL + "/export?format=pcap")
		if err != nil || answer.StatusCode != 200 {
			t.Fatal(answer, err)
		}
		defer answer.Body.Close()
	}
	if answer, err := http.Get(srv.URL + "/export?format=pcap"); err != nil || answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one more is answered %v, %v", answer.StatusCode, err)
	} else {
		answer.Body.Close()
	}
	srv.CloseClientConnections()
	closed := make(chan error)
	go func() { closed <- p.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the page waits for browsers")
	}
}

// Memory is exported as what it is: what passes the filter, with what is cut off said.
func TestMemoryIsExported(t *testing.T) {
	p := New(Options{})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Observer: p})
	say(t, addr, "first\nSecond \x01\n")
	say(t, addr, strings.Repeat("y", 2000)+"\n")
	for query, want := range map[string]int{"": 3, "number=1": 2, "session=2": 1, "text=second+%5Cx01": 1, "text=nothing": 0, "slower=100000": 0, "text=FIRST": 1} {
		w := ask(p, "GET", "/export?format=ndjson&"+query, nil)
		if got := exchangesIn(w.Body.String()); got != want || (w.Code == 200) != (want > 0) {
			t.Errorf("%q: %d exchanges (%d), want %d: %.300s", query, got, w.Code, want, w.Body)
		}
	}
	if w := ask(p, "GET", "/export?format=dialogue&number=1", nil); !strings.Contains(w.Body.String(), "> first\n") || w.Header().Get("Content-Disposition") != "attachment; filename=parley-session-1.talk" {
		t.Errorf("the dialogue is %q", w.Body)
	}
	if w := ask(p, "GET", "/export?format=dialogue&number=2", nil); w.Code != 409 || !strings.Contains(w.Body.String(), "only its first 1024 bytes of 2000") {
		t.Errorf("a dialogue of what is cut is %d %q", w.Code, w.Body)
	}
}

// The page of a server with a journal shows the journal's own pages under its address, with all that is kept.
func TestAllThatIsKeptIsUnderOneAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(file, journal.Options{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(context.Background())
	j := show(t, file)
	p := New(Options{History: NewHistory(file, w), Journal: j, FirstID: w.SessionID(1), Token: "a token of some length"})
	addr := parleytest.Start(t, &parley.Server{Handler: echo, Gate: w, Observer: parley.Observers(w, p)})
	long := strings.Repeat("b", 3000)
	say(t, addr, long+"\n")
	with := func(r *http.Request) { r.Header.Set("Authorization", "Bearer a token of some length") }
	for _, path := range []string{"/journal/", "/journal/state", "/journal/exchanges", "/journal/sessions", "/journal/session?file=0&id=1", "/journal/stats", "/journal/exchange?id=1", "/journal/export?format=pcap",
		"/exchange?id=1", "/exchange?row=1&seq=1", "/export?format=md&id=1"} {
		if w := ask(p, "GET", path, with); w.Code != 200 {
			t.Errorf("GET %s = %d %s", path, w.Code, w.Body)
		}
		if w := ask(p, "GET", path, nil); w.Code != 401 {
			t.Errorf("without the token GET %s = %d", path, w.Code)
		}
	}
	x := decode[toldWhole](t, ask(p, "GET", "/exchange?session=1&seq=1", with).Body.String())
	if x.Source != "journal" || x.Request.Kept != len(long) || x.Run != p.started || x.ID != 1 {
		t.Errorf("an exchange of this run is %+v", x)
	}
	for range maxAsking { // all places are taken
		defer p.ask(t.Context())()
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p.ask(gone)() // does not wait
}

// Another file in the place of the one that is exported ends the export: nobody waits for a slow browser until it has all.
func TestAnotherFileEndsAnExport(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"j", "next"} {
		r := record(t, filepath.Join(dir, name), "line")
		s := r.open(0)
		for i := range 4000 {
			r.say(s, i+1, i, strings.Repeat("request", 30), "done")
		}
		r.end(s, 4000, 4001)
		r.close()
	}
	p := show(t, filepath.Join(dir, "j"))
	slow := &slowBrowser{ResponseRecorder: httptest.NewRecorder(), writes: make(chan struct{}), goesOn: make(chan struct{})}
	exported, told := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(exported)
		defer func() { recover() }() // http.ErrAbortHandler, once something is written
		p.ServeHTTP(slow, httptest.NewRequest("GET", "http://localhost/export?format=ndjson", nil))
	}()
	<-slow.writes
	if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "j")); err != nil {
		t.Fatal(err)
	}
	go func() { told <- ask(p, "GET", "/state", nil).Body.String() }()
	<-p.files[0].inPlace.Done()
	close(slow.goesOn)
	<-exported
	if got := <-told; !strings.Contains(got, `"times":2`) {
		t.Errorf("the state is %.200s, want that of the second file", got)
	}
	if n := slow.Body.Len(); n > 512<<10 { // of more than a megabyte
		t.Errorf("%d bytes were exported of a file that is not there any more", n)
	}
}

// A slowBrowser takes nothing until it goes on.
type slowBrowser struct {
	*httptest.ResponseRecorder
	writes, goesOn chan struct{}
	once           sync.Once
}

func (b *slowBrowser) Write(p []byte) (int, error) {
	b.once.Do(func() { close(b.writes) })
	<-b.goesOn
	return b.ResponseRecorder.Write(p)
}
