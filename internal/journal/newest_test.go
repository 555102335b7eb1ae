package journal

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// pageByPage is what NewestExchanges finds, page by page, and how many pages there were.
func pageByPage(t *testing.T, r *Reader, f Filter, span Span) (ids []int64, n int) {
	t.Helper()
	for {
		found, next, err := r.NewestExchanges(t.Context(), f, span)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > span.Most {
			t.Fatalf("%d exchanges in a page, want %d at most", len(found), span.Most)
		}
		for _, x := range found {
			ids = append(ids, x.ID)
		}
		if n++; next == 0 {
			return ids, n
		}
		if span.Before != 0 && next >= span.Before {
			t.Fatalf("before %d it goes on at %d", span.Before, next)
		}
		span.Before = next
	}
}

// linkedJournal has sessions whose exchanges alternate, of which the last is open.
func linkedJournal(t *testing.T, sessions, each int) *Reader {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{Framing: "line"}})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*parley.Session, sessions)
	for i := range all {
		all[i] = parley.NewSession(uint64(i+1), nil, nil, at(i))
		w.Observe(&parley.Event{Kind: parley.Opened, Session: all[i], Time: at(i)})
	}
	for seq := range each {
		for i, s := range all {
			text := fmt.Appendf(nil, "needle %d of %d", seq, i)
			w.Pass(s, []parley.Exchange{{Seq: uint64(seq + 1), Received: at(100 + seq*sessions + i), Took: time.Duration(seq) * time.Millisecond, Request: text, Reply: text}})
		}
	}
	for _, s := range all[:sessions-1] {
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(5000), Reason: parley.EndOfFile})
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// Page by page the same is found as at once, whatever is looked for, how many make a page, how little
// time there is, and whether there is an index.
func TestPagesFindWhatOneLookFinds(t *testing.T) {
	r := linkedJournal(t, 5, 12)
	old := story(t).open()
	odd := func(_ string, x *Exchange) bool { return len(x.Request)%2 == 1 }
	for name, r := range map[string]*Reader{"now": r, "an older parley's": old} {
		for _, indexed := range []bool{false, true} {
			if indexed {
				index(t, r)
			}
			for _, f := range []Filter{
				{}, {Session: 3}, {Session: 5}, {Number: 2}, {Number: 99}, {Reason: "eof"}, {Reason: ReasonOpen}, {Slower: 6 * time.Millisecond}, {Text: []byte("needle 3 ")},
				{Text: []byte("of")}, {Text: []byte("nowhere")}, {Text: []byte("needle"), Session: 4}, {Regexp: regexp.MustCompile("needle 1. of [3-4]")}, {Regexp: regexp.MustCompile("two|bytes")},
				{Since: at(120)}, {Until: at(120)}, {Since: at(110), Until: at(150), Session: 2}, {Since: at(9999)},
				{Seq: 3}, {Seq: 3, Session: 2}, {Seq: 99, Session: 2}, {Accepts: odd}, {Accepts: odd, Session: 3}, {Accepts: odd, Text: []byte("needle 3 ")},
			} {
				want := found(t, r, f)
				slices.Reverse(want)
				for _, span := range []Span{{Most: 1}, {Most: 7, Within: time.Hour}, {Most: 11}, {Most: 12, Within: time.Hour}, {Most: 12}, {Most: 13}, {Most: 1000, Within: time.Hour}, {Most: 1000}} {
					got, n := pageByPage(t, r, f, span)
					if !slices.Equal(got, want) {
						t.Errorf("%s, index %v, %+v in pages of %d within %v: %v, want %v", name, indexed, f, span.Most, span.Within, got, want)
					}
					if span.Most == 1000 && n > 2 {
						t.Errorf("%s: %+v takes %d pages", name, f, n)
					}
				}
				last := int64(0)
				if len(want) > 0 {
					last = want[len(want)/2]
				}
				behind := slices.DeleteFunc(slices.Clone(want), func(id int64) bool { return id <= last })
				if got, _ := pageByPage(t, r, f, Span{Most: 5, After: last, Within: time.Hour}); !slices.Equal(got, behind) {
					t.Errorf("%s, index %v: of %+v there are %v behind %d, want %v", name, indexed, f, got, last, behind)
				}
			}
		}
	}
}

// A search that takes long ends in time, and says where to go on.
func TestALongSearchIsDoneInParts(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.fill(3*windowRows - 1)
	r := w.open()
	for _, f := range []Filter{{Regexp: regexp.MustCompile("Needle")}, {Slower: 50999}} {
		if got, n := pageByPage(t, r, f, Span{Most: 100000, Within: -1}); n < 3 || len(got) == 0 || !slices.Equal(got, reversed(found(t, r, f))) {
			t.Errorf("%+v: %d found in %d parts", f, len(got), n)
		}
	}
}

func reversed(ids []int64) []int64 {
	slices.Reverse(ids)
	return ids
}

func TestNewestSessions(t *testing.T) {
	r := linkedJournal(t, 7, 2)
	for _, c := range []struct {
		f    Filter
		want []int64
	}{
		{Filter{}, []int64{7, 6, 5, 4, 3, 2, 1}}, {Filter{Reason: "eof"}, []int64{6, 5, 4, 3, 2, 1}}, {Filter{Reason: ReasonOpen}, []int64{7}}, {Filter{Number: 3}, []int64{3}},
		{Filter{Until: at(2)}, []int64{2, 1}}, {Filter{Since: at(6000)}, []int64{7}}, {Filter{Text: []byte("nowhere")}, []int64{7, 6, 5, 4, 3, 2, 1}},
	} {
		for _, most := range []int{1, 6, 7, 8} {
			var got []int64
			for span := (Span{Most: most, Within: time.Hour}); ; {
				found, next, err := r.NewestSessions(t.Context(), c.f, span)
				if err != nil || len(found) > most {
					t.Fatalf("%d found, %v", len(found), err)
				}
				for _, s := range found {
					got = append(got, s.ID)
				}
				if span.Before = next; next == 0 {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v in pages of %d: %v, want %v", c.f, most, got, c.want)
			}
		}
	}
	of, err := r.SessionsOf(t.Context(), []int64{5, 3, 5, 99})
	if err != nil || len(of) != 2 || of[5].Number != 5 || of[3].Framing != "line" {
		t.Errorf("SessionsOf = %v, %v", of, err)
	}
}

// What is damaged is left out, and pages end nevertheless.
func TestPagesLeaveOutWhatIsDamaged(t *testing.T) {
	w := story(t)
	w.exec("UPDATE exchanges SET took_ns = 7 WHERE id = 3")
	r := w.open()
	var told []Damage
	r.Damaged = func(d Damage) { told = append(told, d) }
	if got, _ := pageByPage(t, r, Filter{}, Span{Most: 1, Within: time.Hour}); !slices.Equal(got, []int64{4, 2, 1}) || len(told) != 1 {
		t.Errorf("found %v, told %v", got, told)
	}
}

func TestExtent(t *testing.T) {
	r := linkedJournal(t, 3, 4)
	got, err := r.Extent(t.Context())
	want := Extent{Exchange: 12, Session: 3, Ended: 2, First: at(0), Last: at(111)}
	if err != nil || got != want {
		t.Errorf("Extent = %+v, %v; want %+v", got, err, want)
	}
	empty := newWritten(t, filepath.Join(t.TempDir(), "j")).open()
	if got, err := empty.Extent(t.Context()); err != nil || got != (Extent{}) {
		t.Errorf("of an empty journal it is %+v, %v", got, err)
	}
}

// Who accepts exchanges is told the framing of each session, and what a message had before it was cut.
func TestAcceptsIsToldTheFraming(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	for i, framing := range []string{"line", "redis"} {
		w, err := Create(file, Options{About: About{Framing: framing}})
		if err != nil {
			t.Fatal(err)
		}
		s := parley.NewSession(1, nil, nil, at(i))
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(i)})
		w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(i), Request: []byte("ask"), Reply: []byte("told"), Secret: i == 1, RequestCut: uint64(i)}})
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, f := range []Filter{{}, {Limit: 5}, {Session: 2}, {Text: []byte("ask")}} { // read in different ways
		var asked []string
		f.Accepts = func(framing string, x *Exchange) bool {
			asked = append(asked, fmt.Sprintf("%d %s %s %s %v +%d", x.Session, framing, x.Request, x.Reply, x.Secret, x.RequestCut))
			return framing == "redis"
		}
		ids := found(t, r, f)
		slices.Sort(asked)
		want := []string{"1 line ask told false +0", "2 redis ask told true +1"}
		if f.Session == 2 {
			want = want[1:]
		}
		if !slices.Equal(ids, []int64{2}) || !slices.Equal(asked, want) {
			t.Errorf("%+v: %v, asked %q, want %q", f, ids, asked, want)
		}
	}
}

// Where a journal ends is seen without a look at each session: its page asks four times a second.
func TestTheLastEndIsFoundByItsIndex(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	var id, parent, unused int
	var how string
	if err := w.db.QueryRow("EXPLAIN QUERY PLAN "+lastEnd).Scan(&id, &parent, &unused, &how); err != nil || !strings.Contains(how, "INDEX ends") {
		t.Errorf("it is found by %s, %v", how, err)
	}
}
