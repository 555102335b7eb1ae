package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A session is held from the bound of the queue on, not before. Openings and ends are
// taken beyond it, up to a bound of their own.
func TestQueueIsBounded(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	s := new(parley.Session)
	one := []parley.Exchange{{Seq: 1, Request: []byte("a"), Reply: []byte("b")}}
	for i := range queueBound * batchRows {
		if !w.Pass(s, one) {
			t.Fatalf("held at exchange %d, want at %d", i, queueBound*batchRows)
		}
	}
	if w.Pass(s, one) {
		t.Errorf("exchange %d passed", queueBound*batchRows)
	}
	large := []parley.Exchange{{Seq: 2, Request: make([]byte, batchBytes)}}
	if w.Pass(s, large); len(w.queue) != queueBound+1 {
		t.Errorf("%d batches, want the last one to take what is large", len(w.queue))
	}
	w = &Writer{wake: make(chan struct{}, 1)}
	large[0].Request = make([]byte, queueBytes/4)
	for i, want := range []bool{true, true, true, true, false} {
		if got := w.Pass(s, large); got != want {
			t.Errorf("exchange %d of a quarter of the queue: passed %v, want %v", i+1, got, want)
		}
	}
	w.take()
	if w.Pass(s, one) {
		t.Error("it passed while the bound was exceeded by a byte")
	}
	w.take()
	if !w.Pass(s, one) {
		t.Error("it was held with three quarters of the queue in use")
	}
	for _, c := range []struct{ queued, counted int64 }{{sessionsBound - 1, 0}, {sessionsBound, 0}, {sessionsBound + 1, 1}} {
		w := &Writer{wake: make(chan struct{}, 1), queue: make([]*batch, c.queued)}
		w.queue[c.queued-1] = new(batch)
		if w.Observe(&parley.Event{Kind: parley.Opened, Session: s}); w.gap.sessions != c.counted {
			t.Errorf("with %d batches %d openings are counted only, want %d", c.queued, w.gap.sessions, c.counted)
		}
	}
}

// A batch is as large as it may be.
func TestBatchesAreFull(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	s := new(parley.Session)
	w.Pass(s, make([]parley.Exchange, 2*batchRows+1))
	for i, want := range []int{batchRows, batchRows, 1} {
		if n := len(w.queue[i].exchanges); n != want {
			t.Errorf("batch %d has %d exchanges, want %d", i, n, want)
		}
	}
}

func newFile(t *testing.T, keep Keep) *file {
	t.Helper()
	f, err := openFile(filepath.Join(t.TempDir(), "j"), Options{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.close() })
	return f
}

// Of what is too much no more is deleted than has to be, however large an exchange is.
func TestPruneLeavesWhatMayBeKept(t *testing.T) {
	for _, size := range []int{100, 900, 100 << 10} {
		const bound, kept = 4 << 20, 4 << 20 / 16 * contentShare
		f := newFile(t, Keep{Bytes: bound})
		for seq := uint64(1); seq*uint64(size+32) < 2*kept; {
			b := new(batch)
			for range batchBytes / (size + 32) / 2 {
				b.exchanges = append(b.exchanges, record{session: 1, seq: seq, request: size})
				b.bytes = append(b.bytes, make([]byte, size)...)
				seq++
			}
			if err := f.write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := f.prune(); err != nil {
				t.Fatal(err)
			}
		}
		for more, err := true, error(nil); more; {
			if more, err = f.prune(); err != nil {
				t.Fatal(err)
			}
		}
		var bytes int64
		if err := queryRow(f.conn, "SELECT sum(length(request) + 32) FROM exchanges", &bytes); err != nil || bytes < kept*3/4 || bytes > kept*5/4 {
			t.Errorf("of exchanges of %d bytes %d are kept, %v; want about %d", size, bytes, err, kept)
		}
	}
}

// A writer that is to close does not first delete all that is too old.
func TestCloseDoesNotWaitForPruning(t *testing.T) {
	f := newFile(t, Keep{Age: time.Hour})
	b := &batch{exchanges: make([]record, 5*pruneRows)}
	if err := f.write(b); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		closed bool
		want   int64
	}{{true, 4 * pruneRows}, {false, 1}} {
		w := &Writer{file: f, closed: c.closed}
		w.look()
		var left int64
		if err := queryRow(f.conn, "SELECT count(*) FROM exchanges", &left); err != nil || left != c.want {
			t.Errorf("closed %v: %d exchanges are left, %v; want %d", c.closed, left, err, c.want)
		}
	}
}

// Sessions without exchanges are deleted too once they are too much.
func TestPruneSessionsThatSayNothing(t *testing.T) {
	const bound, kept = 320 << 10, 320 << 10 / 16 * contentShare
	f := newFile(t, Keep{Bytes: bound})
	now := time.Now()
	for id := range int64(5) {
		b := new(batch)
		for n := range int64(1000) {
			b.closed = append(b.closed, Session{ID: 1000*id + n + 1, Remote: "127.0.0.1:50000", Local: "127.0.0.1:6969", Opened: now, Closed: now})
		}
		if err := f.write(b); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if _, err := f.prune(); err != nil {
			t.Fatal(err)
		}
		if err := f.pruneSessions(); err != nil {
			t.Fatal(err)
		}
	}
	var size, left, newest int64
	if err := queryRow(f.conn, "SELECT "+usedBytes+", (SELECT count(*) FROM sessions), (SELECT max(id) FROM sessions)", &size, &left, &newest); err != nil {
		t.Fatal(err)
	}
	if size > kept || left < 1000 || newest != 5000 {
		t.Errorf("%d bytes are used, %d sessions are left up to %d; want %d bytes at most, and the newest sessions", size, left, newest, kept)
	}
}

// Whatever happens to the files while a batch is written, its exchanges are there once.
func TestBatchIsNeverThereTwice(t *testing.T) {
	for name, harm := range map[string]func(file string){
		"the file was away":    func(file string) { os.Rename(file, file+".away") },
		"the -wal was emptied": func(file string) { os.Truncate(file+"-wal", 0) },
		"the -wal was removed": func(file string) { os.Remove(file + "-wal") },
		"the -wal was longer than it had to be": func(file string) {
			info, _ := os.Stat(file + "-wal")
			os.Truncate(file+"-wal", info.Size()-1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile(t, Keep{})
			batchOf := func(text string) *batch {
				return &batch{exchanges: []record{{session: 1, seq: 1, request: len(text), reply: -1}, {session: 1, seq: 2, request: -1, reply: -1}}, bytes: []byte(text)}
			}
			if err := f.write(batchOf("before")); err != nil {
				t.Fatal(err)
			}
			if name == "the -wal was longer than it had to be" { // it begins anew, and keeps its length
				for range 20 {
					f.write(&batch{opened: []Session{{ID: 1, Remote: strings.Repeat("x", 10000)}}})
				}
				if err := f.checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
			commit := f.commit
			f.commit = func() error { // before write looks at the files
				defer harm(f.name)
				return commit()
			}
			w := &Writer{file: f, writing: 2}
			b := batchOf("meanwhile")
			err := f.write(b)
			f.commit = commit
			os.Rename(f.name+".away", f.name)
			if err != nil {
				if err := w.tryAgain(b, err); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.write(batchOf("behind")); err != nil {
				t.Fatal(err)
			}
			var all, once, there int64
			err = queryRow(f.conn, "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE request IN (CAST('meanwhile' AS BLOB), CAST('behind' AS BLOB))) FROM exchanges", &all, &once, &there)
			if err != nil || all+b.gap.exchanges != 6 || once != all || there != 2 {
				t.Errorf("%d exchanges are there and %d told missing, %v; want 6 together, and both that were written behind the harm, not %d", all, b.gap.exchanges, err, there)
			}
		})
	}
}
