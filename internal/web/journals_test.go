package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// at is a moment of what is recorded, in ms.
func at(ms int) time.Time {
	return time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

// A recording writes a journal.
type recording struct {
	t    testing.TB
	file string
	w    *journal.Writer
	n    uint64 // sessions
}

func record(t testing.TB, file, framing string) *recording {
	t.Helper()
	w, err := journal.Create(file, journal.Options{About: journal.About{Framing: framing, Role: "server"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(context.Background()) })
	return &recording{t: t, file: file, w: w}
}

// open begins a session.
func (r *recording) open(ms int) *parley.Session {
	r.n++
	s := parley.NewSession(r.n, &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(r.n)), Port: 4000}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 254), Port: 6969}, at(ms))
	r.w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(ms)})
	return s
}

func (r *recording) say(s *parley.Session, seq, ms int, request, reply string) {
	x := parley.Exchange{Seq: uint64(seq), Received: at(ms), Took: time.Duration(seq) * time.Millisecond, Request: []byte(request), Reply: []byte(reply)}
	if reply == "" {
		x.Reply = nil
	}
	r.w.Pass(s, []parley.Exchange{x})
}

func (r *recording) end(s *parley.Session, seq, ms int) {
	r.w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(ms), Seq: uint64(seq), Replied: uint64(seq), Reason: parley.EndOfFile, In: 100, Out: 200})
}

func (r *recording) close() {
	r.t.Helper()
	if err := r.w.Close(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// show opens a page of journals.
func show(t testing.TB, files ...string) *Journals {
	p := NewJournals(JournalsOptions{Files: files})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return p
}

// get is the answer to a question of a path.
func get[A any](t *testing.T, p http.Handler, path string) A {
	t.Helper()
	w := ask(p, "GET", path, nil)
	if w.Code != 200 {
		t.Fatalf("GET %s = %d %s", path, w.Code, w.Body)
	}
	return decode[A](t, w.Body.String())
}

// told are the exchanges and the sessions that the browser needs.
type toldExchange struct {
	File    int
	ID      int64
	Of      string
	Session uint64
	Seq     uint64
	At      int64
	Request *message
	Reply   *message
	Fault   string
}
type toldExchangesAnswer struct {
	Exchanges []toldExchange
	Sessions  map[string]foundSession
	Next      string
	Problems  []problem
}

// all is what pages of exchanges have together, and how many there are.
func all(t *testing.T, p *Journals, query string) (told []toldExchange, n int) {
	t.Helper()
	for before := ""; ; {
		a := get[toldExchangesAnswer](t, p, "/exchanges?"+query+"&before="+before)
		if told = append(told, a.Exchanges...); len(a.Exchanges) > pageExchanges || len(a.Problems) > 0 {
			t.Fatalf("a page has %d exchanges, and problems %v", len(a.Exchanges), a.Problems)
		}
		for _, x := range a.Exchanges {
			if s, known := a.Sessions[x.Of]; !known || s.Number != x.Session || s.File != x.File {
				t.Errorf("the session of %+v is %+v, %v", x, s, known)
			}
		}
		if n++; a.Next == "" {
			return told, n
		}
		before = a.Next
	}
}

// twoFiles are journals whose exchanges alternate in time: of even ms in the first.
func twoFiles(t testing.TB, first, second int) []string {
	dir := t.TempDir()
	var files []string
	for i, n := range []int{first, second} {
		r := record(t, filepath.Join(dir, fmt.Sprint(i, ".journal")), "line")
		for k := range n {
			s := r.open(2*k + i)
			r.say(s, 1, 2*k+i, fmt.Sprintf("file %d order %d", i, k), "done")
			if k%2 == 0 {
				r.end(s, 1, 2*k+i+1)
			}
		}
		r.close()
		files = append(files, r.file)
	}
	return files
}

func TestAllIsToldOnceInTheOrderOfTime(t *testing.T) {
	for _, n := range [][2]int{{0, 0}, {99, 0}, {100, 0}, {101, 0}, {50, 50}, {50, 51}, {120, 3}, {130, 131}} {
		p := show(t, twoFiles(t, n[0], n[1])...)
		told, pages := all(t, p, "")
		seen := make(map[string]bool)
		for i, x := range told {
			seen[fmt.Sprint(x.File, x.ID)] = true
			if i > 0 && x.At > told[i-1].At {
				t.Errorf("%v: behind %d comes %d", n, told[i-1].At, x.At)
			}
		}
		if want := n[0] + n[1]; len(told) != want || len(seen) != want || pages != max(1, (want+pageExchanges-1)/pageExchanges) {
			t.Errorf("%v: %d exchanges, %d different ones, in %d pages", n, len(told), len(seen), pages)
		}
		sessions, before := 0, ""
		for {
			a := get[sessionsAnswer](t, p, "/sessions?before="+before)
			if sessions += len(a.Sessions); len(a.Sessions) > pageSessions {
				t.Errorf("a page has %d sessions", len(a.Sessions))
			}
			if before = a.Next; before == "" {
				break
			}
		}
		if sessions != n[0]+n[1] {
			t.Errorf("%v: %d sessions", n, sessions)
		}
	}
}

// A search that takes longer than an answer may goes on with the next one, in the order of time
// nevertheless; statistics come in parts that add up.
func TestALongSearchGoesOn(t *testing.T) {
	const n = 25000
	dir := t.TempDir()
	long, short := record(t, filepath.Join(dir, "long"), "line"), record(t, filepath.Join(dir, "short"), "line")
	s := long.open(0)
	batch := make([]parley.Exchange, n)
	for i := range batch {
		batch[i] = parley.Exchange{Seq: uint64(i + 1), Received: at(i), Request: []byte("hay")}
	}
	batch[100].Request = []byte("needle 100")
	long.w.Pass(s, batch)
	long.close()
	short.say(short.open(0), 1, 50, "needle 50", "")
	short.close()
	p := show(t, long.file, short.file)
	p.within = -1
	told, pages := all(t, p, "regexp=needle+.")
	if len(told) != 2 || string(told[0].Request.Start) != "needle 100" || pages < 3 {
		t.Errorf("in %d pages there are %+v", pages, told)
	}
	counted, parts := uint64(0), 0
	for before := ""; ; parts++ {
		a := get[statsAnswer](t, p, "/stats?regexp=a&before="+before)
		counted += sum(a)
		if before = a.Next; before == "" {
			break
		}
	}
	if counted != n-1 || parts < 3 {
		t.Errorf("%d counted in %d parts, want %d", counted, parts, n-1)
	}
}

func TestQuestions(t *testing.T) {
	p := show(t, twoFiles(t, 40, 40)...)
	since := func(name string, ms int) string { return name + "=" + url.QueryEscape(at(ms).Format(time.RFC3339Nano)) }
	for query, want := range map[string]int{
		"":                          80,
		"file=0":                    40,
		"file=1":                    40,
		"file=0,1":                  80,
		"session=7":                 2,
		"session=%237&file=1":       1,
		"session=41":                0,
		"text=order+7":              2,
		"text=7":                    8,
		"text=file+1+order+39":      1,
		"text=Order":                0,
		"regexp=%28%3Fi%29ORDER+3$": 2,
		"address=10.0.0.1":          22, // and 10.0.0.10 to .19
		"address=10.0.0.1:":         2,
		"reason=eof":                40,
		"reason=open":               40,
		"reason=reset":              0,
		"slower=1":                  80,
		"slower=1.5":                0,
		since("since", 40):          40,
		since("until", 10):          10,
		since("since", 10) + "&" + since("until", 12) + "&file=1": 1,
	} {
		for range 2 { // the second time there may be an index
			if told, _ := all(t, p, query); len(told) != want {
				t.Errorf("?%s: %d exchanges, want %d", query, len(told), want)
			}
			p.background.Wait()
		}
	}
	if a := get[sessionsAnswer](t, p, "/sessions?ids=0.3,1.4,1.99"); len(a.Sessions) != 2 || a.Sessions[0].Number != 3 || a.Sessions[1].File != 1 {
		t.Errorf("by their ids the sessions are %+v", a)
	}
}

func TestWrongQuestionsAreExplained(t *testing.T) {
	p := show(t, twoFiles(t, 1, 1)...)
	for path, why := range map[string]string{
		"/exchanges?file=2":                                    `file "2": there are 2, from 0 on`,
		"/exchanges?file=-1":                                   "there are 2",
		"/exchanges?session=0":                                 "sessions count from 1",
		"/exchanges?session=x":                                 "sessions count from 1",
		"/exchanges?slower=-1":                                 "use milliseconds",
		"/exchanges?slower=NaN":                                "use milliseconds",
		"/exchanges?since=yesterday":                           "use a time as 2026-11-24T08:00:00Z",
		"/exchanges?regexp=%28":                                "regular expression",
		"/exchanges?before=1.1":                                "that cursor is of other files",
		"/exchanges?before=1.1,x":                              "that is no cursor",
		"/exchanges?before=1.1,1.-1":                           "that is no cursor",
		"/exchanges?text=" + strings.Repeat("a", maxSought+1):  "longer than 1024 bytes",
		"/sessions?ids=0.1" + strings.Repeat(",0.1", maxAsked): "no more than 200",
		"/sessions?ids=0":                                      "is not a file and a session",
		"/stats?by=colour":                                     "there are shape, session, peer, node and end",
		"/stats?every=0":                                       "use milliseconds, 1 or more",
		"/session":                                             "which session?",
		"/session?file=0&id=0":                                 "which session?",
	} {
		if w := ask(p, "GET", path, nil); w.Code != 400 || !strings.Contains(w.Body.String(), why) {
			t.Errorf("GET %.60s = %d %q, want 400 and %q", path, w.Code, w.Body, why)
		}
	}
	for _, path := range []string{"/exchanges?text=" + strings.Repeat("a", maxSought), "/sessions?ids=0.1" + strings.Repeat(",0.1", maxAsked-1), "/stats?every=1"} {
		if w := ask(p, "GET", path, nil); w.Code != 200 {
			t.Errorf("GET %.60s = %d %q", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/session?file=0&id=99", "/page.html", "/earlier", "/nowhere"} {
		if w := ask(p, "GET", path, nil); w.Code != 404 {
			t.Errorf("GET %s = %d, want 404", path, w.Code)
		}
	}
}

// The page of journals lets nobody in whom the live page would not.
func TestJournalsAreGuarded(t *testing.T) {
	p := NewJournals(JournalsOptions{Files: twoFiles(t, 1, 1), Token: "correct horse battery"})
	t.Cleanup(func() { p.Close() })
	known := func(r *http.Request) { r.Header.Set("Authorization", "Bearer correct horse battery") }
	for _, path := range []string{"/", "/journal.js", "/statistics.js", "/common.js", "/diagram.js", "/state", "/exchanges", "/sessions", "/session?file=0&id=1", "/stats"} {
		for name, c := range map[string]struct {
			method string
			change func(*http.Request)
			code   int
		}{
			"known":          {"GET", known, 200},
			"HEAD":           {"HEAD", known, 200},
			"without token":  {"GET", nil, 401},
			"POST":           {"POST", known, 405},
			"foreign host":   {"GET", func(r *http.Request) { known(r); r.Host = "evil.example" }, 421},
			"foreign origin": {"GET", func(r *http.Request) { known(r); r.Header.Set("Origin", "http://evil.example") }, 403},
			"a body":         {"GET", func(r *http.Request) { known(r); r.ContentLength = 1 }, 413},
		} {
			w := ask(p, c.method, path, c.change)
			if w.Code != c.code || w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("%s, %s = %d, want %d; %v", path, name, w.Code, c.code, w.Header())
			}
		}
	}
}

// Bytes survive exactly, and are nothing but bytes.
func TestHostileBytesAreTold(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "<b>j.journal"), "line")
	hostile := "</script><img src=x onerror=alert(1)>\x00\x1b[2J\xff\u2028\u202e"
	s := r.open(0)
	r.say(s, 1, 1, hostile, strings.Repeat(hostile, 2000))
	r.close()
	p := show(t, r.file)
	for _, path := range []string{"/exchanges", "/session?file=0&id=1", "/stats", "/state", "/sessions", "/exchanges?text=" + url.QueryEscape(hostile)} {
		w := ask(p, "GET", path, nil)
		if body := w.Body.String(); w.Code != 200 || strings.ContainsAny(body, "<>\x00\x1b\u2028") || !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("GET %s = %d %.200q", path, w.Code, body)
		}
	}
	told, _ := all(t, p, "text="+url.QueryEscape(hostile))
	if len(told) != 1 || string(told[0].Request.Start) != hostile || told[0].Reply.Bytes != 2000*len(hostile) || len(told[0].Reply.Start) != maxMessage {
		t.Errorf("told %+v", told)
	}
}

// Credentials are told only if they were asked for; what was concealed, and went wrong on purpose, is told.
func TestSecretsFaultsAndConcealedMessages(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "j"), "redis")
	s := r.open(0)
	r.w.Pass(s, []parley.Exchange{
		{Seq: 1, Received: at(1), Took: 1, Request: []byte("*2\r\n$4\r\nAUTH\r\n$6\r\nhunter\r\n"), Reply: []byte("+OK\r\n"), Secret: true},
		{Seq: 2, Received: at(2), Took: 1, Request: []byte("*2\r\n$3\r\nGET\r\n$3\r\n***\r\n"), Reply: []byte("-ERR no\r\n"), RequestWhole: 40}})
	r.w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: at(3), Seq: 2, Fault: "reply.delay=4ms"})
	r.close()
	for _, secrets := range []bool{false, true} {
		p := NewJournals(JournalsOptions{Files: []string{r.file}, Secrets: secrets})
		t.Cleanup(func() { p.Close() })
		told, _ := all(t, p, "")
		if len(told) != 2 || told[0].Fault != "reply.delay=4ms" || told[0].Request.Whole != 40 || told[0].Request.Text != "GET ***" {
			t.Fatalf("told %+v", told)
		}
		want := map[bool]string{false: "AUTH (secret)", true: "AUTH hunter"}[secrets]
		if got := told[1].Request; got.Text != want || (got.Start != nil) != secrets {
			t.Errorf("the request is %+v, want %s", got, want)
		}
		for _, path := range []string{"/exchanges", "/session?file=0&id=1", "/stats"} {
			body := ask(p, "GET", path, nil).Body.String()
			if shown := strings.Contains(body, "aHVudGVy") || strings.Contains(body, "odW50ZX") || strings.Contains(body, "hunter"); shown && !secrets {
				t.Errorf("GET %s tells the password: %s", path, body)
			}
		}
		stats := get[statsAnswer](t, p, "/stats")
		if len(stats.Groups) != 2 || string(stats.Groups[0].Name)+string(stats.Groups[1].Name) != want+"GET ***" || stats.Groups[1].Errors != 1 {
			t.Errorf("statistics %s and %s", stats.Groups[0].Name, stats.Groups[1].Name)
		}
	}
}

// Behind what a browser knows it is told exactly what has been recorded since.
func TestAGrowingJournalIsFollowed(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "j"), "line")
	s := r.open(0)
	r.say(s, 1, 1, "one", "1")
	p := show(t, r.file)
	await := func(exchange, ended int64) fileState {
		t.Helper()
		var state []fileState
		eventually(t, func() bool {
			state = get[[]fileState](t, p, "/state")
			return state[0].Exchange == exchange && state[0].Ended == ended
		})
		return state[0]
	}
	known := await(1, 0)
	if got := get[sessionsAnswer](t, p, "/sessions").Sessions; len(got) != 1 || got[0].Closed != 0 {
		t.Errorf("the sessions are %+v", got)
	}
	if got := get[recordedTranscript](t, p, "/session?file=0&id=1"); got.Session.Closed != 0 || got.Session.Requests != 1 || len(got.Exchanges) != 1 {
		t.Errorf("the open session is %+v", got)
	}
	r.say(s, 2, 2, "two", "2")
	s2 := r.open(3)
	r.say(s2, 1, 3, "three", "3")
	r.end(s, 2, 4)
	now := await(3, 1)
	told, _ := all(t, p, fmt.Sprintf("after=%d.%d", known.Times, known.Exchange))
	if len(told) != 2 || string(told[0].Request.Start) != "three" || string(told[1].Request.Start) != "two" {
		t.Errorf("since then there are %+v", told)
	}
	if got := get[sessionsAnswer](t, p, fmt.Sprintf("/sessions?after=%d.%d", known.Times, known.Session)).Sessions; len(got) != 1 || got[0].ID != 2 {
		t.Errorf("since then the sessions are %+v", got)
	}
	if got := get[sessionsAnswer](t, p, "/sessions?ids=0.1").Sessions; len(got) != 1 || got[0].Reason != "eof" || got[0].Requests != 2 {
		t.Errorf("the one that was open is %+v", got)
	}
	first := get[statsAnswer](t, p, fmt.Sprintf("/stats?before=%d.%d", known.Times, known.Exchange+1))
	more := get[statsAnswer](t, p, fmt.Sprintf("/stats?before=%d.%d&after=%d.%d", now.Times, now.Exchange+1, known.Times, known.Exchange))
	if sum(first) != 1 || sum(more) != 2 {
		t.Errorf("counted %d and %d, want 1 and 2", sum(first), sum(more))
	}
}

func sum(a statsAnswer) (n uint64) {
	for _, g := range a.Groups {
		n += g.Count
	}
	return n
}

// A long session is told a page at a time.
func TestALongSessionIsTurnedThrough(t *testing.T) {
	r := record(t, filepath.Join(t.TempDir(), "j"), "line")
	s, other := r.open(0), r.open(0)
	for seq := 1; seq <= 2*pageExchanges+1; seq++ {
		r.say(s, seq, seq, fmt.Sprint("a ", seq), "")
		r.say(other, seq, seq, "b", "")
	}
	r.close()
	p := show(t, r.file)
	var seqs []uint64
	var sizes []int
	for before := ""; ; {
		a := get[recordedTranscript](t, p, "/session?file=0&id=1&before="+before)
		var page []uint64
		for _, x := range a.Exchanges {
			page = append(page, x.Seq)
		}
		seqs, sizes = append(page, seqs...), append(sizes, len(page))
		if before = a.Next; before == "" {
			break
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 1}) || !slices.IsSorted(seqs) || len(seqs) != 201 {
		t.Errorf("pages of %v with %v", sizes, seqs)
	}
}

// A file that goes, or becomes another one, is said, and read again when it is back.
func TestAFileMayGoAndComeBack(t *testing.T) {
	files := twoFiles(t, 3, 4)
	p := show(t, files...)
	before := get[[]fileState](t, p, "/state")
	old, _ := all(t, p, "")
	if err := os.Rename(files[0], files[0]+".away"); err != nil {
		t.Fatal(err)
	}
	state := get[[]fileState](t, p, "/state")
	if state[0].Why != "the file is not there any more" || state[1].Why != "" {
		t.Errorf("the state is %+v", state)
	}
	if a := get[toldExchangesAnswer](t, p, "/exchanges"); len(a.Exchanges) != 4 || len(a.Problems) != 1 || a.Problems[0].File != 0 {
		t.Errorf("the exchanges are %+v", a)
	}
	if w := ask(p, "GET", "/session?file=0&id=1", nil); w.Code != 500 || !strings.Contains(w.Body.String(), "not there any more") {
		t.Errorf("its session = %d %s", w.Code, w.Body)
	}
	if err := os.WriteFile(files[0], []byte(`{"event":"opened"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if state := get[[]fileState](t, p, "/state"); state[0].Why != "it cannot be read: not a journal of parley" {
		t.Errorf("the state is %+v", state)
	}
	if err := os.Rename(files[0]+".away", files[0]); err != nil {
		t.Fatal(err)
	}
	if state := get[[]fileState](t, p, "/state"); state[0].Why != "" || state[0].Times == before[0].Times {
		t.Errorf("the state is %+v", state)
	}
	if told, _ := all(t, p, ""); len(told) != len(old) {
		t.Errorf("there are %d exchanges, want %d", len(told), len(old))
	}
	stale := fmt.Sprintf("/exchanges?before=%d.2,%d.2", before[0].Times, before[1].Times)
	if a := get[toldExchangesAnswer](t, p, stale); len(a.Exchanges) != 1 || len(a.Problems) != 1 || a.Problems[0].Why != "another file has come in its place" {
		t.Errorf("with a cursor of before: %+v", a)
	}
}

func TestDamageIsSaid(t *testing.T) {
	file := twoFiles(t, 30, 0)[0]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "file 0 order 7", "file 0 order 8", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	p := show(t, file)
	if told, _ := all(t, p, ""); len(told) != 29 {
		t.Errorf("%d exchanges are told, want 29", len(told))
	}
	if state := get[[]fileState](t, p, "/state"); len(state[0].Damages) != 1 || !strings.Contains(state[0].Damages[0], "exchanges 8: it is not what was written") {
		t.Errorf("the state is %+v", state)
	}
}

func TestStatistics(t *testing.T) {
	p := show(t, twoFiles(t, 60, 30)...)
	for by, want := range map[string]string{"shape": "file {n} order {n}: 90", "end": "eof: 45, open: 45"} {
		var got []string
		for _, g := range get[statsAnswer](t, p, "/stats?by="+by).Groups {
			got = append(got, fmt.Sprintf("%s: %d", g.Name, g.Count))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("by %s there is %q, want %q", by, got, want)
		}
	}
	peers := get[statsAnswer](t, p, "/stats?by=peer&every=10")
	if len(peers.Groups) != 60 || sum(peers) != 90 || peers.Groups[0].Count != 2 || len(peers.Moments) != 12 || peers.Moments[0].Count != 10 || peers.Moments[0].At != at(0).UnixMicro() {
		t.Errorf("by peer: %d groups of %d, %d moments", len(peers.Groups), sum(peers), len(peers.Moments))
	}
	sessions := get[statsAnswer](t, p, "/stats?by=session&file=1")
	if len(sessions.Groups) != 30 || sessions.Groups[0].Session == nil || sessions.Groups[0].Session.File != 1 {
		t.Errorf("by session: %+v", sessions.Groups)
	}
	g := get[statsAnswer](t, p, "/stats").Groups[0]
	if g.Max != time.Millisecond || len(g.Times) != 1 || g.Times[0] != [2]int{bucketOf(time.Millisecond), 90} || g.Errors != 0 || g.Out != 90*4 {
		t.Errorf("the group is %+v", g)
	}
}

// There is an answer for each of many, also while files come and go: the race detector looks on.
func TestManyAskAtOnce(t *testing.T) {
	files := twoFiles(t, 50, 50)
	p := show(t, files...)
	done := make(chan bool)
	for _, path := range []string{"/exchanges?text=order", "/sessions", "/stats", "/state", "/session?file=0&id=1"} {
		go func() {
			for range 20 {
				ask(p, "GET", path, nil)
			}
			done <- true
		}()
	}
	for range 10 {
		os.Rename(files[0], files[0]+".away")
		ask(p, "GET", "/state", nil)
		os.Rename(files[0]+".away", files[0])
	}
	for range 5 {
		<-done
	}
}

// A file that comes in the place of another is not kept waiting by the index of that, which may take
// minutes to make.
func TestAnotherFileEndsTheIndex(t *testing.T) {
	files := twoFiles(t, 1, 2)
	p := show(t, files[0])
	f := p.files[0]
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	f.index.running, f.index.stop = true, stop
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() { // what stands for it
		defer close(ended)
		f.use(func(*journal.Reader, int64) error {
			close(begun)
			<-ctx.Done()
			return nil
		})
	}()
	<-begun
	if err := os.Rename(files[1], files[0]); err != nil {
		t.Fatal(err)
	}
	if s := p.state(t.Context())[0]; s.Times != 2 || s.Why != "" {
		t.Errorf("the file is the %d. one, %s", s.Times, s.Why)
	}
	<-ended
}
