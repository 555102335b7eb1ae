package journal

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// found returns the exchanges that hold a text.
func found(t testing.TB, r *Reader, f Filter) (ids []int64) {
	t.Helper()
	for _, x := range collect(t, r.Exchanges(t.Context(), f)) {
		ids = append(ids, x.ID)
	}
	return ids
}

// indexed counts the exchanges that the index holds.
func indexed(t testing.TB, r *Reader) (n int) {
	t.Helper()
	conn, err := r.index.Load().db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, texts, instance)")
	if err == nil {
		err = conn.QueryRowContext(t.Context(), "SELECT count(DISTINCT doc) FROM temp.vocabulary").Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func index(t testing.TB, r *Reader) {
	t.Helper()
	if err := r.Index(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// Whatever the bytes, the index finds what a look at every exchange finds.
func TestIndexFindsWhatAScanFinds(t *testing.T) {
	alphabet := []string{"a", "b", "\"", "\x00", "\xff", "é", "\x80", "*", " ", "日", "\n", "AND", "A", "^", "'"}
	random := rand.New(rand.NewPCG(1, 2))
	text := func(most int) []byte {
		var b []byte
		for range random.IntN(most) {
			b = append(b, alphabet[random.IntN(len(alphabet))]...)
		}
		return b
	}
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	for i := range 2 * candidates {
		w.exchange(said(int64(i+1), 1, uint64(i+1), at(i), time.Duration(i), text(12), text(60)))
	}
	scan, r := w.open(), w.open()
	index(t, r)
	hits := 0
	for range 100 {
		f := Filter{Text: text(5), Slower: time.Duration(random.IntN(100)), Limit: random.IntN(4)}
		if random.IntN(10) == 0 {
			f.Text = append(f.Text, text(60)...) // more than maxGrams
		}
		got, want := found(t, r, f), found(t, scan, f)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: the index finds %v, a scan %v", f.Text, got, want)
		}
		if len(f.Text) >= gram {
			hits += len(got)
		}
	}
	if hits < 30 {
		t.Errorf("%d hits in all: the texts are too rare to test anything", hits)
	}
}

// Each text is found by the index itself, not by a look at what is behind it.
func TestIndexIsUsed(t *testing.T) {
	w := story(t)
	r := w.open()
	index(t, r)
	if _, err := r.index.Load().db.Exec("INSERT INTO texts (texts) VALUES ('delete-all')"); err != nil {
		t.Fatal(err)
	}
	if ids := found(t, r, Filter{Text: []byte("two")}); ids != nil {
		t.Errorf("an empty index finds %v", ids)
	}
	if ids := found(t, r, Filter{Text: []byte("tw")}); !slices.Equal(ids, []int64{3}) {
		t.Errorf("a text of two bytes is found in %v, want a scan to find it in 3", ids)
	}
	w.exchange(said(9, 1, 4, at(60), 0, []byte("two more"), nil))
	if ids := found(t, r, Filter{Text: []byte("two")}); !slices.Equal(ids, []int64{9}) {
		t.Errorf("what was recorded behind the index is %v, want 9", ids)
	}
}

func TestIndexGrowsWithTheJournal(t *testing.T) {
	w := story(t)
	index(t, w.open())
	w.exchange(said(9, 1, 4, at(60), 0, []byte("more"), []byte("two")))
	r := w.open()
	var told []int64
	if err := r.Index(t.Context(), func(done, _ int64) { told = append(told, done) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int64{1}) {
		t.Errorf("progress told %v, want the one exchange that is new", told)
	}
	index(t, r) // nothing new: nothing to do
	if ids := found(t, r, Filter{Text: []byte("two")}); !slices.Equal(ids, []int64{3, 9}) {
		t.Errorf("found in %v, want 3 and 9", ids)
	}
	info, err := os.Stat(IndexFile(w.file))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the index has mode %v, %v; want 0600", info.Mode(), err)
	}
}

// Deleted exchanges are not found; an index that has only such ones is made anew.
func TestIndexOfAPrunedJournal(t *testing.T) {
	w := story(t)
	index(t, w.open())
	w.exec("DELETE FROM exchanges WHERE id < 4")
	r := w.open()
	index(t, r)
	if n, ids := indexed(t, r), found(t, r, Filter{Text: []byte("Reply")}); n != 4 || !slices.Equal(ids, []int64{4}) {
		t.Errorf("%d in the index, found %v; want 4 and [4]", n, ids)
	}
	w.exchange(said(5, 1, 4, at(60), 0, []byte("more"), []byte("Reply")))
	w.exec("DELETE FROM exchanges WHERE id < 5")
	index(t, r)
	if n, ids := indexed(t, r), found(t, r, Filter{Text: []byte("Reply")}); n != 1 || !slices.Equal(ids, []int64{5}) {
		t.Errorf("%d in the index, found %v; want 1 and [5]", n, ids)
	}
}

// A new journal in the place of an old one has the same numbers and other bytes.
func TestIndexOfAnotherJournalIsMadeAnew(t *testing.T) {
	w := story(t)
	index(t, w.open())
	w.db.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(w.file + suffix)
	}
	w = newWritten(t, w.file)
	w.session(Session{ID: 1, Number: 1, Opened: at(0)})
	for i := range 6 {
		w.exchange(said(int64(i+1), 1, uint64(i+1), at(1000+i), 0, []byte("quite new"), nil))
	}
	r := w.open()
	index(t, r)
	if n, ids := indexed(t, r), found(t, r, Filter{Text: []byte("quite")}); n != 6 || len(ids) != 6 {
		t.Errorf("%d in the index, found %v; want all six", n, ids)
	}
}

// A file of somebody else's is left alone.
func TestIndexOverwritesNothing(t *testing.T) {
	for name, content := range map[string]string{"text": strings.Repeat("my notes\n", 1000), "database": ""} {
		w := story(t)
		if name == "database" {
			other := newWritten(t, IndexFile(w.file))
			other.db.Close()
		} else if err := os.WriteFile(IndexFile(w.file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(IndexFile(w.file))
		r := w.open()
		if err := r.Index(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v, want an error that says to remove it", name, err)
		}
		if after, _ := os.ReadFile(IndexFile(w.file)); !bytes.Equal(before, after) {
			t.Errorf("%s: it was written to", name)
		}
		if ids := found(t, r, Filter{Text: []byte("two")}); !slices.Equal(ids, []int64{3}) {
			t.Errorf("%s: without an index found %v, want 3", name, ids)
		}
	}
}

// An indexing that is cut off keeps what is done and is gone on with.
func TestIndexingIsGoneOnWith(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	const batch = 10
	w.fill(2*batch + 1)
	ctx, cancel := context.WithCancel(t.Context())
	cut := w.open()
	cut.batch = batch
	if err := cut.Index(ctx, func(int64, int64) { cancel() }); err == nil {
		t.Error("indexing went on without its context")
	}
	r := w.open()
	r.batch = batch
	var told []int64
	if err := r.Index(t.Context(), func(done, _ int64) { told = append(told, done) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int64{batch, batch + 1}) {
		t.Errorf("progress told %v, want one batch and 1 more", told)
	}
	if first := found(t, r, Filter{Text: []byte("order 1 for")}); !slices.Equal(first, []int64{1}) {
		t.Errorf("the first exchange is found in %v", first)
	}
}

// Of large exchanges fewer enter the index in one transaction.
func TestLargeExchangesAreIndexedBitByBit(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	large := bytes.Repeat([]byte("l"), indexBytes/4)
	for id := int64(1); id <= 5; id++ {
		w.exchange(said(id, 1, uint64(id), at(int(id)), 0, large, large))
	}
	var told []int64
	if err := w.open().Index(t.Context(), func(done, _ int64) { told = append(told, done) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int64{2, 4, 5}) {
		t.Errorf("progress told %v, want two at once", told)
	}
}

// fill records n exchanges of a hundred sessions: text that looks like a log's, and a needle.
func (w *written) fill(n int) {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 5000)
	for i := range words {
		b := make([]byte, 3+random.IntN(8))
		for j := range b {
			b[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(b)
	}
	tx, err := w.db.Begin()
	if err != nil {
		w.t.Fatal(err)
	}
	insert, err := tx.Prepare("INSERT INTO exchanges (id, session, seq, received_ns, took_ns, request, reply) VALUES (?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		request := fmt.Sprintf("order %d for %s %s %s", i, words[random.IntN(5000)], words[random.IntN(5000)], words[random.IntN(5000)])
		if i == n/4*3 {
			request += " Needle"
		}
		reply := fmt.Sprintf("Request #%d - %s ...", i%100+1, request)
		if _, err := insert.Exec(i, i%100+1, i/100+1, at(i).UnixNano(), 50000+i%1000, []byte(request), []byte(reply)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
	for i := 1; i <= 100; i++ {
		w.session(Session{ID: int64(i), Number: uint64(i), Remote: fmt.Sprintf("10.0.0.%d:4000", i), Local: "10.0.0.254:6969",
			Opened: at(0), Closed: at(n + 1), Reason: "eof", Requests: uint64(n / 100), RepliedUpTo: uint64(n / 100)})
	}
}

// BenchmarkMillion is what a person waits for in a journal of a million exchanges, from
// opening the file on: go test -run '^$' -bench Million ./internal/journal
func BenchmarkMillion(b *testing.B) {
	w := newWritten(b, filepath.Join(b.TempDir(), "j"))
	w.fill(1000000)
	r := w.open()
	start := time.Now()
	index(b, r)
	journal, _ := os.Stat(w.file)
	size, _ := os.Stat(IndexFile(w.file))
	b.Logf("index made in %v; journal %d MiB, index %d MiB", time.Since(start).Round(time.Second), journal.Size()>>20, size.Size()>>20)
	for _, c := range []struct {
		name string
		f    Filter
		want int
	}{
		{"text/rare", Filter{Text: []byte("Needle")}, 1},
		{"text/nowhere", Filter{Text: []byte("no such text")}, 0},
		{"text/number", Filter{Text: []byte("order 654321 for")}, 1},
		{"text/common-limit-100", Filter{Text: []byte("Request"), Limit: 100}, 100},
		{"text/common-of-a-session-limit-100", Filter{Text: []byte("Request"), Number: 7, Limit: 100}, 100},
		{"scan/session-limit-100", Filter{Number: 7, Limit: 100}, 100},
		{"scan/session", Filter{Number: 7}, 10000},
		{"scan/text-of-two-bytes-limit-100", Filter{Text: []byte("Re"), Limit: 100}, 100},
		{"scan/regexp", Filter{Regexp: regexp.MustCompile(`(?i)nee+dle$`)}, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r, err := Open(w.file)
				if err != nil {
					b.Fatal(err)
				}
				if len(c.f.Text) >= gram {
					index(b, r)
				}
				if got := len(found(b, r, c.f)); got != c.want {
					b.Fatalf("%d found, want %d", got, c.want)
				}
				r.Close()
			}
		})
	}
}
