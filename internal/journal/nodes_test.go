package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// What is not there any more, or damaged, is counted, and a gap says so.
func TestMissingExchangesAreCounted(t *testing.T) {
	file, into := filepath.Join(t.TempDir(), "j"), filepath.Join(t.TempDir(), "collected")
	mixed(t, file, 120, "web-1")
	db := sqlOf(t, file)
	for _, change := range []string{
		"DELETE FROM exchanges WHERE id <= 20",                // as when they are too old
		"UPDATE exchanges SET took_ns = -9 WHERE id = 50",     // another than was written
		"UPDATE exchanges SET session = 'x' WHERE id = 60",    // of another kind
		"UPDATE sessions SET remote = 'nobody' WHERE id = 10", // a session that is not what was written
		"UPDATE gaps SET reason = x'00', from_ns = 'x' WHERE rowid = 2",
	} {
		if _, err := db.Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{1, 3000, 1 << 20} {
		os.Remove(into)
		f, c := follow(t, file), collectInto(t, into)
		missing := int64(0)
		all := blocks(t, f, Position{}, size)
		for _, b := range all {
			missing += b.Missing
		}
		if missing != 22 {
			t.Errorf("of %d bytes: %d are missing, want 22", size, missing)
		}
		addAll(t, c, all)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := Open(into)
		if err != nil {
			t.Fatal(err)
		}
		if n := oneNumber(t, r, "SELECT sum(exchanges) FROM gaps WHERE node = 'web-1' AND reason LIKE 'they were deleted or damaged%'"); n != 22 {
			t.Errorf("the gaps say %d, want 22", n)
		}
		if n := oneNumber(t, r, "SELECT count(*) FROM exchanges"); n != 98 {
			t.Errorf("%d exchanges, want 98", n)
		}
		if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 {
			t.Errorf("%+v, %v", v, err)
		}
		r.Close()
	}
}

// A session that has begun waits for those that were accepted before it and are to come, and not for
// ever.
func TestOpeningsWaitForThoseBefore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w := newWritten(t, file)
	now := at(0)
	add := func(id int64) {
		w.exec("INSERT INTO sessions (id, number, remote, local, opened_ns) VALUES (?,?,'r','l',?)", id, id, now.UnixNano())
	}
	f := follow(t, file)
	f.now = func() time.Time { return now }
	from := Position{}
	next := func() (ids string) {
		t.Helper()
		b, err := f.Next(t.Context(), from, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return "nothing"
		}
		from = b.To
		for _, s := range b.Sessions {
			ids += fmt.Sprint(s.ID, " ")
		}
		return ids + fmt.Sprint("up to ", from.Opened)
	}
	for _, step := range []struct {
		ids  []int64
		wait time.Duration
		want string
	}{
		{[]int64{1, 3}, 0, "1 up to 1"}, {nil, openingPatience / 2, "nothing"}, {[]int64{2}, 0, "2 3 up to 3"},
		{[]int64{6}, openingPatience - 1, "nothing"}, {nil, 1, "6 up to 6"}, {[]int64{7}, 0, "7 up to 7"},
	} {
		for _, id := range step.ids {
			add(id)
		}
		now = now.Add(step.wait)
		if got := next(); got != step.want {
			t.Errorf("with %v, %v later: %s, want %s", step.ids, step.wait, got, step.want)
		}
	}
}

// What was followed keeps its numbers, though the journal has lost it with the power.
func TestNumbersGoOnBehindWhatWasFollowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	mixed(t, file, 60, "web-1")
	f := follow(t, file)
	newest, err := f.Newest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := f.Keep("a'b", newest); err != nil {
			t.Fatal(i, err)
		}
	}
	if p, err := f.Cursor("a'b"); p != newest || err != nil {
		t.Errorf("Cursor = %+v, %v, want %+v", p, err, newest)
	}
	if p, err := f.Cursor("nobody"); p != (Position{}) || err != nil {
		t.Errorf("Cursor = %+v, %v", p, err)
	}
	db := sqlOf(t, file)
	for _, lost := range []string{"DELETE FROM exchanges WHERE id > 30", "DELETE FROM cuts WHERE exchange > 30", "DELETE FROM sessions WHERE id > 5",
		"UPDATE writer SET session = 5", "DELETE FROM refused", "DELETE FROM faults", "INSERT INTO cursors VALUES (9, 'damaged', 1000000, 0, 0, 0, 0, 0, 0)"} {
		if _, err := db.Exec(lost); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(0)})
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("new")}})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(2)})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := f.Next(t.Context(), newest, 1<<20)
	if err != nil || b == nil || len(b.Exchanges.IDs) != 1 || b.Missing != 0 || len(b.Sessions) != 1 || !b.Sessions[0].Over || b.To.Exchange != newest.Exchange+1 {
		t.Errorf("what is new is %+v, %v", b, err)
	}
}

// Each has a file of its own kind, and a copy is another journal.
func TestWhatAJournalIs(t *testing.T) {
	dir := t.TempDir()
	own, into := filepath.Join(dir, "own"), filepath.Join(dir, "collected")
	mixed(t, own, 30, "web-1")
	f := follow(t, own)
	if !isIdentity(f.Journal()) || f.Node() != "web-1" {
		t.Errorf("it is %q of %q", f.Journal(), f.Node())
	}
	if err := f.Keep("ship", Position{Exchange: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := Collect(own, CollectOptions{}); err == nil || !strings.Contains(err.Error(), "a server's own journal") {
		t.Errorf("Collect into a server's = %v", err)
	}
	c := collectInto(t, into)
	addAll(t, c, blocks(t, f, Position{}, 1<<20))
	if _, err := Collect(into, CollectOptions{}); err == nil || !strings.HasPrefix(err.Error(), "in use by process ") {
		t.Errorf("a second one: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(into, Options{}); err == nil || !strings.Contains(err.Error(), "was collected of other journals") {
		t.Errorf("Create = %v", err)
	}
	if _, err := Follow(into); !errors.Is(err, errCollected) {
		t.Errorf("Follow = %v", err)
	}
	// With all of it but what others have kept of how far they are.
	for _, file := range []string{own, into} {
		r, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		copy, _ := copied(t, r, concealing(t))
		wantSame(t, "the copy", entries(t, copy.file), entries(t, file))
		mine, err := r.identity(t.Context(), r.db)
		if err != nil {
			t.Fatal(err)
		}
		if its, err := copy.identity(t.Context(), copy.db); its == mine || !isIdentity(its) || err != nil {
			t.Errorf("the copy of %s is %s, %v", mine, its, err)
		}
		if n := oneNumber(t, copy, "SELECT count(*) FROM cursors"); n != 0 {
			t.Errorf("%d cursors are copied", n)
		}
		if file == into {
			c := collectInto(t, copy.file)
			if added := addAll(t, c, blocks(t, f, Position{}, 3000)); added != 0 {
				t.Errorf("%d records are added to the copy again", added)
			}
		}
		r.Close()
	}
	// A damaged identity is not taken for another.
	if _, err := sqlOf(t, own).Exec("UPDATE identity SET journal = 'f' || substr(journal, 2, 30) || 'f'"); err != nil {
		t.Fatal(err)
	}
	if _, err := Follow(own); err != errNoIdentity {
		t.Errorf("Follow = %v, want %v", err, errNoIdentity)
	}
}

// Some that is there of another -wal file is not followed on, and who has followed goes on when the writer has
// mended it.
func TestFollowerGoesOnWithAnotherLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	var warned []string
	w, err := Create(file, Options{Warn: func(text string) { warned = append(warned, text) }})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	pass := func(n int) {
		for i := range n {
			w.Pass(s, []parley.Exchange{{Seq: uint64(i + 1), Received: at(i), Request: []byte("x")}})
		}
	}
	f := follow(t, file)
	await := func(from Position, n int) (p Position) {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			b, err := f.Next(t.Context(), from, 1<<20)
			if err != nil {
				continue // such as while there is none
			}
			if b != nil {
				n -= len(b.Exchanges.IDs)
				from = b.To
			}
			if n <= 0 {
				return from
			}
		}
		t.Fatalf("%d exchanges do not come", n)
		return from
	}
	pass(10)
	p := await(Position{}, 10)
	if err := f.Keep("ship", p); err != nil {
		t.Fatal(err)
	}
	db := sqlOf(t, file)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // then it is not looked at, and seems good
		var busy, length, copied int
		if err := db.QueryRow("PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &length, &copied); err != nil || time.Now().After(end) {
			t.Fatal(err)
		}
		if busy == 0 && length == copied {
			break
		}
	}
	if err := os.Remove(file + "-wal"); err != nil {
		t.Fatal(err)
	}
	if err := f.Keep("ship", Position{Exchange: 4}); err == nil {
		t.Error("a cursor is kept where the writer does not see it")
	}
	db.Close()
	pass(10)
	p = await(p, 10)
	for end := time.Now().Add(patience); f.Keep("ship", p) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no cursor is kept any more")
		}
	}
	if err := w.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if got, err := f.Cursor("ship"); got != p || err != nil {
		t.Errorf("Cursor = %+v, %v", got, err)
	}
	if v, err := f.reader.Verify(t.Context()); err != nil || v.Damages > 0 || v.Exchanges != 20 {
		t.Errorf("%+v, %v; warned %q", v, err, warned)
	}
	os.Rename(file, file+".1")
	if _, err := f.Next(t.Context(), p, 1); err == nil {
		t.Error("a journal that is not there any more is followed")
	}
	os.WriteFile(file, nil, 0o600)
	if _, err := f.Next(t.Context(), p, 1); err != errReplaced {
		t.Errorf("of one that was replaced: %v", err)
	}
}

// Several nodes count their sessions alike, and are told apart.
func TestSeveralNodesInOneJournal(t *testing.T) {
	dir := t.TempDir()
	into := filepath.Join(dir, "collected")
	c := collectInto(t, into)
	want := make(map[string]string)
	parts := make(map[string][]*Block)
	for _, node := range []string{"web-1", "web-2"} {
		file := filepath.Join(dir, node)
		mixed(t, file, 90, node)
		parts[node] = blocks(t, follow(t, file), Position{}, 2000)
		want[node] = entriesOf(t, file, Filter{Nodes: []string{node}})
	}
	for i := range max(len(parts["web-1"]), len(parts["web-2"])) { // in turn
		for _, all := range parts {
			if i < len(all) {
				addAll(t, c, all[i:i+1])
			}
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(into)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if nodes, err := r.Nodes(t.Context()); err != nil || !slices.Equal(nodes, []string{"web-1", "web-2"}) && !slices.Equal(nodes, []string{"web-2", "web-1"}) {
		t.Errorf("the nodes are %q, %v", nodes, err)
	}
	for node, all := range want {
		wantSame(t, node, entriesOf(t, into, Filter{Nodes: []string{node}}), all)
		sessions := collect(t, r.Sessions(t.Context(), Filter{Number: 2, Nodes: []string{node}}))
		if len(sessions) != 3 || sessions[0].Node != node {
			t.Errorf("session 2 of %s is %+v", node, sessions)
		}
	}
	if all := collect(t, r.Sessions(t.Context(), Filter{Nodes: []string{"web"}})); len(all) != 0 {
		t.Errorf("a node of that name has %d sessions", len(all))
	}
}

// What a journal of many nodes says is missing can be asked for whatever one of them has claimed.
func TestHugeGapsAreCounted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "all")
	c, err := Collect(file, CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := &Block{Journal: strings.Repeat("0", 32), Node: "liar", To: Position{Gap: 2}}
	b.Gaps = []missed{{ID: 1, Exchanges: math.MaxInt64}, {ID: 2, Exchanges: math.MaxInt64}}
	if why := b.check(); why != "" {
		t.Fatal(why)
	}
	if _, err := c.Add(b, 0); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.Missing(t.Context()); err != nil || n < 1<<62 {
		t.Errorf("missing are %d, %v", n, err)
	}
	if e, err := r.Extent(t.Context()); err != nil || e.Missing < 1<<62 {
		t.Errorf("missing are %d, %v", e.Missing, err)
	}
}
