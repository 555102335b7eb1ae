package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// FuzzQuestion: whatever stands behind the question mark, nothing breaks; a question that is written down as
// it was understood is understood as the same; and page by page each exchange that it selects is told once,
// the newest first.
func FuzzQuestion(f *testing.F) {
	p := show(f, twoFiles(f, 110, 40)...)
	paths := []string{"/exchanges", "/sessions", "/session", "/exchange", "/message", "/export", "/stats", "/state"}
	for _, seed := range []string{
		"/exchanges?text=order+1&file=0&since=2026-11-24T08:00:00.01Z&until=2026-11-24T09:00:00%2B01:00", "/exchanges?session=3&slower=0.2&reason=eof&address=10.0.0.1",
		"/exchanges?regexp=(?i)FILE+1.*1$&node=a", "/exchanges?slower=1e300", "/exchanges?text=%ff%00", "/exchanges?session=web-2%2F%2317", "/exchanges?slower=0.000000001&shape=file+%23",
		"/sessions?before=1.5,-&after=0.0,1.3", "/sessions?ids=0.1,1.3", "/session?file=0&id=3&before=2", "/exchange?file=0&id=5", "/message?file=1&session=2&seq=1&side=reply&from=2",
		"/export?format=csv&file=0&id=2", "/stats?by=session&every=1000&file=1&slower=NaN", "/state?",
	} {
		path, query, _ := strings.Cut(seed, "?")
		f.Add(uint8(slices.Index(paths, path)), query)
	}
	f.Fuzz(func(t *testing.T, i uint8, query string) {
		path := paths[int(i)%len(paths)]
		w := ask(p, "GET", "/", func(r *http.Request) { r.URL.Path, r.URL.RawQuery = path, query })
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code == http.StatusOK && w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("that is no JSON: %s", w.Body)
		}
		v, _ := url.ParseQuery(query)
		q, err := p.parse(v)
		if err != nil {
			return
		}
		written := valuesOf(q)
		again, err := p.parse(written)
		if err != nil || !reflect.DeepEqual(again, q) {
			t.Fatalf("%+v, written as %s, is %+v, %v", q, written.Encode(), again, err)
		}
		written.Del("before")
		written.Del("after")
		if path == "/exchanges" && q.shape == "" {
			tellAll(t, p, q, written.Encode())
		}
	})
}

// valuesOf writes a question as a browser does.
func valuesOf(q question) url.Values {
	v := url.Values{"text": {string(q.filter.Text)}, "address": {q.filter.Address}, "reason": {q.filter.Reason}, "shape": {q.shape}, "before": {q.before.String()}, "after": {q.after.String()}}
	if q.filter.Regexp != nil {
		v.Set("regexp", q.filter.Regexp.String())
	}
	if q.filter.Nodes != nil {
		v.Set("node", q.filter.Nodes[0])
	}
	if q.filter.Number != 0 {
		v.Set("session", strconv.FormatUint(q.filter.Number, 10))
	}
	if q.filter.Slower != 0 {
		v.Set("slower", fmt.Sprintf("%d.%06d", q.filter.Slower/1e6, q.filter.Slower%1e6))
	}
	for name, at := range map[string]time.Time{"since": q.filter.Since, "until": q.filter.Until} {
		if !at.IsZero() {
			v.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	var files []string
	for i, asked := range q.files {
		if asked {
			files = append(files, strconv.Itoa(i))
		}
	}
	v.Set("file", strings.Join(files, ","))
	return v
}

// tellAll compares what is told page by page with what the journals themselves find.
func tellAll(t *testing.T, p *Journals, q question, query string) {
	var want []string
	for i, f := range p.files {
		if !q.files[i] {
			continue
		}
		if err := f.use(func(r *journal.Reader, _ int64) error {
			for x, err := range r.Exchanges(t.Context(), q.filter) {
				if err != nil {
					return err
				}
				want = append(want, keyOf(i, x.ID))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	told, _ := all(t, p, query)
	var got []string
	for i, x := range told {
		if got = append(got, keyOf(x.File, x.ID)); i > 0 && x.At > told[i-1].At {
			t.Errorf("%s: %s is told behind an older one", query, got[i])
		}
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%s tells of %v, want %v", query, got, want)
	}
}

// FuzzLivePage: whatever a browser says it knows and wants, the live page breaks on nothing, and who then says
// what it was told to say is told nothing twice.
func FuzzLivePage(f *testing.F) {
	p := New(Options{})
	s := parley.NewSession(1, nil, nil, at(0))
	p.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(0)})
	for seq := range uint64(3) {
		p.Observe(&parley.Event{Kind: parley.Received, Session: s, Time: at(1), Seq: seq + 1, Body: []byte("order")})
		p.Observe(&parley.Event{Kind: parley.Replied, Session: s, Time: at(2), Seq: seq + 1, Body: []byte("done")})
		p.tick(at(1000*int(seq)), true)
	}
	paths := []string{"/session", "/exchange", "/message", "/export", "/ended", "/earlier", "/state"}
	for i, query := range []string{"number=1", "session=1&seq=2", "session=1&seq=1&side=request&from=1&save", "format=ndjson&number=1", "reason=eof", "", "span=3600&after=1-2-3-4-5"} {
		f.Add(uint8(i), query, uint64(1), int64(1), at(1000).Unix(), uint64(0), int64(0))
	}
	f.Add(uint8(0), "number=18446744073709551615", uint64(1<<63), int64(-1), int64(math.MinInt64), uint64(1<<63), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, i uint8, query string, kept uint64, every, second int64, changes uint64, span int64) {
		w := ask(p, "GET", "/", func(r *http.Request) { r.URL.Path, r.URL.RawQuery = paths[int(i)%len(paths)], query })
		if w.Code >= http.StatusInternalServerError || w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		known := cursor{p.started, kept, every, second, changes}
		if got := parseCursor(known.String()); got != known {
			t.Fatalf("%v is read as %v", known, got)
		}
		look := func(after string) snapshot {
			w := ask(p, "GET", fmt.Sprintf("/state?after=%s&span=%d", after, max(span, 0)), nil)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			return decode[snapshot](t, w.Body.String())
		}
		first := look(known.String())
		if told := first.Skipped + uint64(len(first.Exchanges)); told > 3 {
			t.Errorf("behind %v there are %d exchanges of 3", known, told)
		}
		if again := look(first.Cursor); again.Whole || again.Replot || again.Skipped > 0 || len(again.Exchanges)+len(again.Sessions) > 0 || again.Cursor != first.Cursor {
			t.Errorf("behind %v it is told %+v, and then again %+v", known, first, again)
		}
	})
}
