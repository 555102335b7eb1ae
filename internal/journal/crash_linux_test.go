package journal

import (
	"bufio"
	"database/sql"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simdisk"
	"github.com/parley-tcp/parley/internal/sqliteconn"
	"github.com/parley-tcp/parley/parleytest"
)

// A history is what a run has done to its disk, and what it had promised by when.
type history struct {
	*crashDisk
	opt      Options
	replies  []replied
	followed []followedTo
}

// A replied request is one whose reply its peer has read.
type replied struct {
	request string
	at      time.Time
	ops     int // that there were then
}

// A followedTo is how far a follower had been given blocks.
type followedTo struct {
	to  Position
	ops int
}

// crashRequest is some request, as there is no other; its reply follows from it.
func crashRequest(run, conn int, rnd *rand.Rand) string {
	filler := 1 + rnd.IntN(30)
	if rnd.IntN(6) == 0 {
		filler = rnd.IntN(9000) // which takes pages of its own
	}
	return fmt.Sprintf("run %d, connection %d, request %d %s", run, conn, rnd.Uint64(), strings.Repeat("x", filler))
}

func crashReply(request string) string { return "reply to " + request }

// A companion is somebody who works on the journal beside its server: step is called in each round of a run, between
// the replies and a pause, and end before the server ends.
type companion interface {
	step(run, round int)
	end()
}

// serveAndCrash has a server be started three times, with some clients that talk to it, and with a companion for each
// time. It runs in a time of its own, so that the same always happens.
func serveAndCrash(t *testing.T, opt Options, with func(*testing.T, *history) companion) *history {
	h := &history{opt: opt}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h.crashDisk = recordDisk(t, dir)
		rnd := rand.New(rand.NewPCG(1, 2))
		for run := range 3 {
			opt.About = About{Framing: "line", Role: "server", Listener: fmt.Sprint(":", run)}
			opt.Warn = func(text string) { t.Errorf("the writer warns: %s", text) }
			w, err := Create(h.path("j"), opt)
			if err != nil {
				t.Fatal(err)
			}
			beside := with(t, h)
			handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				return append(dst, crashReply(string(req.Body))...), nil
			})
			srv := &parley.Server{Handler: handler, Gate: w, Observer: w}
			conns := make([]*crashClient, 3)
			for i := range conns {
				conns[i] = newCrashClient(parleytest.Pipe(t, srv))
			}
			for round := range 6 {
				for i, c := range conns {
					for range rnd.IntN(4) {
						c.ask(t, crashRequest(run, i, rnd))
					}
				}
				for _, c := range conns {
					for c.answered < len(c.asked) {
						h.replies = append(h.replies, replied{c.answer(t), time.Now(), h.done()})
					}
				}
				beside.step(run, round)
				time.Sleep(time.Duration(rnd.IntN(900)) * time.Millisecond)
				if i := rnd.IntN(len(conns)); round%2 == 0 {
					conns[i].conn.Close()
					conns[i] = newCrashClient(parleytest.Pipe(t, srv))
				}
			}
			if run == 1 {
				time.Sleep(2 * lookEvery)
			}
			beside.end()
			srv.Shutdown(t.Context())
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	return h
}

func (d *crashDisk) path(name string) string { return filepath.Join(d.dir, name) }

// A crashClient asks and reads what it is answered.
type crashClient struct {
	conn     *parleytest.Conn
	in       *bufio.Reader
	asked    []string
	answered int
}

func newCrashClient(conn *parleytest.Conn) *crashClient {
	return &crashClient{conn: conn, in: bufio.NewReader(conn)}
}

func (c *crashClient) ask(t *testing.T, request string) {
	t.Helper()
	if _, err := io.WriteString(c.conn, request+"\n"); err != nil {
		t.Fatal(err)
	}
	c.asked = append(c.asked, request)
}

// answer reads the next reply, and returns the request.
func (c *crashClient) answer(t *testing.T) string {
	t.Helper()
	request := c.asked[c.answered]
	c.answered++
	if line, err := c.in.ReadString('\n'); err != nil || line != crashReply(request)+"\n" {
		t.Fatalf("to %.60q %.60q is answered, %v", request, line, err)
	}
	return request
}

// A logHolder reads in a transaction in some rounds, so that the -wal file cannot be copied.
type logHolder struct {
	t      *testing.T
	file   string
	reader *sqliteconn.Conn
}

func (l *logHolder) step(run, round int) {
	l.t.Helper()
	l.end()
	if run != 1 || round%3 != 1 {
		return
	}
	var err error
	if l.reader, err = connectFor(l.file, "mode=ro", 0); err != nil {
		l.t.Fatal(err)
	}
	if err := l.reader.Exec("BEGIN; SELECT count(*) FROM sessions"); err != nil {
		l.t.Fatal(err)
	}
}

func (l *logHolder) end() {
	if l.reader != nil {
		l.reader.Close()
		l.reader = nil
	}
}

// A shipping follows the journal into another one on the same disk.
type shipping struct {
	t    *testing.T
	h    *history
	from *Follower
	into *Collector
}

func ship(t *testing.T, h *history) companion {
	from, err := Follow(h.path("j"))
	if err != nil {
		t.Fatal(err)
	}
	into, err := Collect(h.path("collected"), CollectOptions{Warn: func(text string) { t.Errorf("the collector warns: %s", text) }})
	if err != nil {
		t.Fatal(err)
	}
	return &shipping{t, h, from, into}
}

func (s *shipping) step(int, int) {
	s.t.Helper()
	from, err := s.from.Cursor("collector")
	for block := (*Block)(nil); err == nil; from = block.To {
		if block, err = s.from.Next(s.t.Context(), from, 8<<10); block == nil {
			break
		}
		s.h.followed = append(s.h.followed, followedTo{block.To, s.h.done()})
		if _, err = s.into.Add(block, 1); err == nil {
			err = s.from.Keep("collector", block.To)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shipping) end() {
	s.from.Close()
	if err := s.into.Close(); err != nil {
		s.t.Error(err)
	}
}

// An indexer brings the text index up to date.
type indexer struct {
	t    *testing.T
	file string
}

func (i indexer) step(int, int) {
	i.t.Helper()
	r, err := Open(i.file)
	if err != nil {
		i.t.Fatal(err)
	}
	defer r.Close()
	index(i.t, r)
}

func (i indexer) end() {}

// A content is what a journal has.
type content struct {
	state    uint64   // of all tables together
	first    int64    // the id of the first exchange
	requests []string // of the exchanges, in their order
	newest   Position
	torn     bool  // there is something in the -wal file behind what can be read
	err      error // why it cannot be read
}

var crashHash = maphash.MakeSeed()

// contentOf reads all of a journal, and wants it to be whole.
func contentOf(t *testing.T, file string) (c content) {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		return content{err: err}
	}
	defer r.Close()
	var damages []string
	r.Damaged = func(d Damage) {
		if c.torn = strings.HasPrefix(d.Why, logNotWhole); !c.torn {
			damages = append(damages, d.String())
		}
	}
	if _, err := r.Verify(t.Context()); err != nil || damages != nil {
		return content{err: fmt.Errorf("Verify = %v, damages %q", err, damages)}
	}
	c.err = func() error {
		if c.state, err = stateOf(r.db); err != nil {
			return err
		}
		rows, err := r.db.Query("SELECT id, request, reply FROM messages ORDER BY id")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int64
			var request, reply string
			if err := rows.Scan(&id, &request, &reply); err != nil {
				return err
			}
			if len(c.requests) == 0 {
				c.first = id
			}
			c.requests = append(c.requests, request)
			switch {
			case reply != crashReply(request):
				return fmt.Errorf("exchange %d is false: %.60q, %.60q", id, request, reply)
			case id != c.first+int64(len(c.requests))-1:
				return fmt.Errorf("before exchange %d there is a hole", id)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return r.db.QueryRow("SELECT (SELECT coalesce(max(id), 0) FROM exchanges), (SELECT coalesce(max(ended), 0) FROM sessions), " +
			"(SELECT coalesce(max(id), 0) FROM sessions), 0, 0, 0").Scan(c.newest.places()...)
	}()
	return c
}

// stateOf is a sum of all that is in all tables.
func stateOf(db *sql.DB) (uint64, error) {
	var h maphash.Hash
	h.SetSeed(crashHash)
	for _, table := range []string{"sessions", "exchanges", "cuts", "gaps", "writer", "refused", "origins", "latest", "faults", "identity", "cursors", "sources", "collected"} {
		rows, err := db.Query("SELECT rowid, * FROM " + table + " ORDER BY rowid")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return 0, err
		}
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				return 0, err
			}
			fmt.Fprintf(&h, "%s %v\n", table, values)
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
	}
	return h.Sum64(), nil
}

func (i image) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(crashHash)
	for _, name := range slices.Sorted(maps.Keys(i)) {
		fmt.Fprintf(&h, "%s %d ", name, len(i[name]))
		h.Write(i[name])
	}
	return h.Sum64()
}

// A crashed is one of the journals of a run, wherever the power may have failed.
type crashed struct {
	*history
	t        *testing.T
	dir      string
	name     string
	beside   string                        // another file that is left together with it, if not empty
	promised func(n int, is content) error // whether what is there has all that was promised behind n operations
	goOn     func(is content) error        // with what is there in dir
	seen     map[uint64]content            // by the sums of images
	states   map[uint64]bool               // that the journal had at some time by now
	goneOn   int
}

// check has the power fail at every operation, or in one of so many, in every way.
func (c *crashed) check(oneOf int) {
	c.dir, c.seen, c.states = inMemory(c.t), make(map[uint64]content), make(map[uint64]bool)
	p := newPlatter()
	for n := 0; n <= len(c.ops) && !c.t.Failed(); n++ {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		if n > 0 && c.mayCommit(n) {
			c.states[c.content(p.image(rnd, fates[0]).of(c.name, c.beside), rnd).state] = true
		}
		if rnd.IntN(oneOf) == 0 {
			for _, f := range fates {
				c.at(n, f, p.image(rnd, f).of(c.name, c.beside), rnd)
			}
		}
		if n < len(c.ops) {
			p.do(c.ops[n])
		}
	}
	c.t.Logf("%s: %d operations, %d replies, %d states, %d images, %d of them gone on with", c.name, len(c.ops), len(c.replies), len(c.states), len(c.seen), c.goneOn)
	if len(c.states) < 10 || len(c.seen) < 20 { // how many operations a run has depends on how busy the machine is
		c.t.Error("nothing much was tried")
	}
}

// mayCommit says whether the operation before the n-th may have ended a transaction.
func (c *crashed) mayCommit(n int) bool {
	const frameHead = 24
	o := c.ops[n-1]
	if o.Kind != simdisk.Write || o.Name != c.name+"-wal" {
		return o.Kind == simdisk.Remove || o.Kind == simdisk.Create
	}
	for i := n - 2; i >= 0; i-- {
		if before := c.ops[i]; before.file == o.file && before.Kind == simdisk.Write {
			return len(o.Data) > frameHead && len(before.Data) == frameHead && string(before.Data[4:8]) != "\x00\x00\x00\x00"
		}
	}
	return false
}

// content is that of an image, which is written as files for it.
func (c *crashed) content(i image, rnd *rand.Rand) content {
	sum := i.sum()
	if _, is := c.seen[sum]; !is {
		clearDir(c.t, c.dir)
		i.write(c.t, c.dir, rnd)
		c.seen[sum] = contentOf(c.t, filepath.Join(c.dir, c.name))
	}
	return c.seen[sum]
}

// at is a power cut before the n-th operation.
func (c *crashed) at(n int, f fate, i image, rnd *rand.Rand) {
	c.t.Helper()
	fail := func(format string, args ...any) {
		c.t.Helper()
		c.t.Errorf("%s: the power fails behind %d operations at %v, and %s: %s\nthe last ones were\n%v", c.name, n, c.when(n), f.name, fmt.Sprintf(format, args...), c.last(n))
	}
	_, again := c.seen[i.sum()]
	is := c.content(i, rnd)
	promised := c.promised(n, is)
	switch {
	case is.err != nil && promised == nil: // it was being made
	case is.err != nil:
		fail("it cannot be read: %v", is.err)
		return
	case promised != nil:
		fail("%v", promised)
	case is.torn && f.name == fates[0].name:
		fail("Verify finds the -wal file not whole, and no power was cut")
	case !c.states[is.state]:
		fail("it was never so as it is: exchanges %d to %d", is.first, is.first+int64(len(is.requests))-1)
	}
	if again {
		return
	}
	clearDir(c.t, c.dir)
	i.write(c.t, c.dir, rnd)
	if err := c.goOn(is); err != nil {
		fail("it cannot be gone on with: %v", err)
	}
	c.goneOn++
}

// last are the operations before the n-th.
func (h *history) last(n int) string {
	var text []string
	for i := max(0, n-12); i < n; i++ {
		text = append(text, fmt.Sprintf("  %5d %v %v", i, h.ops[i].when.Format("15:04:05.000"), h.ops[i]))
	}
	return strings.Join(text, "\n")
}

// when is the latest time at which no more than n operations had been done.
func (h *history) when(n int) time.Time { return h.ops[min(n, len(h.ops)-1)].when }

// lastSecond is what a power cut may take of a journal that is not synced with each record: a record waits for others, it is looked
// every second, and what comes just before that waits again.
const lastSecond = lookEvery + 2*batchWait

// repliedTo wants the exchanges to be there whose replies were read when they had to be on the disk. Those that were deleted for
// their age are missing.
func (h *history) repliedTo(n int, is content) error {
	for _, r := range h.replies {
		switch {
		case r.ops > n || !h.opt.Sync && !r.at.Add(lastSecond).Before(h.when(n)):
			return nil
		case h.opt.Keep.Age > 0 && h.when(n).Sub(r.at) >= h.opt.Keep.Age:
		case !slices.Contains(is.requests, r.request):
			return fmt.Errorf("%.50q is lost, whose reply was read behind %d operations at %v", r.request, r.ops, r.at)
		}
	}
	return nil
}

// Whoever says something just before a second has passed does not put off for another one what was said before.
func TestARecordIsSyncedWithinASecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := recordDisk(t, dir)
		w, err := Create(d.path("j"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := parley.NewSession(1, nil, nil, time.Now())
		var recorded []time.Time
		for i := range 6 {
			recorded = append(recorded, time.Now())
			w.Pass(s, []parley.Exchange{{Seq: uint64(i + 1), Received: time.Now(), Request: []byte("a"), Reply: []byte("b")}})
			time.Sleep(lookEvery * 9 / 10)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, at := range recorded {
			if !slices.ContainsFunc(d.ops, func(o diskOp) bool {
				return o.Kind == simdisk.Sync && o.Name == "j-wal" && o.when.After(at) && !o.when.After(at.Add(lastSecond))
			}) {
				t.Errorf("record %d was not synced within %v", i+1, lastSecond)
			}
		}
	})
}

// serveOn has another server write to a journal that is left.
func serveOn(t *testing.T, file string, opt Options, before content) error {
	var warning string
	opt.Warn = func(text string) { warning = text }
	w, err := Create(file, opt)
	if err != nil {
		return err
	}
	s := parley.NewSession(1, nil, nil, time.Now())
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: time.Now(), Request: []byte("new"), Reply: []byte(crashReply("new"))}})
	if err := w.Close(t.Context()); err != nil {
		return err
	}
	if warning != "" {
		return fmt.Errorf("the writer warns: %s", warning)
	}
	after := contentOf(t, file)
	if want := append(slices.Clone(before.requests), "new"); after.err == nil && !slices.Equal(after.requests, want) {
		return fmt.Errorf("it has %d exchanges behind that, want %d", len(after.requests), len(want))
	}
	return after.err
}

// Wherever the power fails, and whatever of what was not synced is lost then, the journal is as it was at some
// moment before: whole, without a hole, and gone on with without a hand. With Options.Sync nothing is lost that a
// peer has read the reply of; without it no more than the last second.
func TestThePowerFails(t *testing.T) {
	for name, opt := range map[string]Options{
		"synced":          {Sync: true},
		"not synced":      {},
		"kept for a time": {Keep: Keep{Age: 4 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			h := serveAndCrash(t, opt, func(t *testing.T, h *history) companion { return &logHolder{t: t, file: h.path("j")} })
			c := &crashed{history: h, t: t, name: "j", promised: h.repliedTo}
			c.goOn = func(is content) error {
				return serveOn(t, filepath.Join(c.dir, "j"), Options{Sync: opt.Sync}, is)
			}
			c.check(atLength(80, 1))
		})
	}
}

// A server that is killed within a transaction, and another one behind a shorter one, leave nothing that looks like damage;
// nor does a follower that keeps how far it has come, while no server runs.
func TestTwoKillsAreNoDamage(t *testing.T) {
	h := serveAndCrash(t, Options{}, func(t *testing.T, h *history) companion { return &logHolder{t: t, file: h.path("j")} })
	server := func(file string) (end func() error) {
		w, err := Create(file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return func() error { return w.Close(t.Context()) }
	}
	follower := func(file string) (end func() error) {
		f, err := Follow(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Keep("x", Position{}); err != nil {
			t.Error(err)
		}
		return f.Close
	}
	p, left, again, killed := newPlatter(), inMemory(t), inMemory(t), 0
	for n, o := range h.ops {
		if rnd := rand.New(rand.NewPCG(uint64(n), 1)); o.Kind == simdisk.Write && o.Name == "j-wal" && rnd.IntN(10) == 0 {
			image := p.image(rnd, fates[0]).of("j")
			for what, write := range map[string]func(file string) (end func() error){"a server": server, "a follower": follower} {
				clearDir(t, left)
				clearDir(t, again)
				image.write(t, left, rnd)
				if what == "a follower" && contentOf(t, filepath.Join(left, "j")).err != nil {
					continue // it is no journal yet
				}
				end := write(filepath.Join(left, "j"))
				if err := os.CopyFS(again, os.DirFS(left)); err != nil { // as it would be if it was killed now
					t.Fatal(err)
				}
				if err := end(); err != nil {
					t.Error(err)
				}
				if is := contentOf(t, filepath.Join(again, "j")); is.err != nil || is.torn {
					t.Errorf("killed behind %d operations, and %s behind it, it is read with %v, and its -wal file not whole: %t", n, what, is.err, is.torn)
				}
			}
			killed++
		}
		p.do(o)
	}
	if killed < 10 {
		t.Errorf("only %d were killed", killed)
	}
}

// The power fails on a machine on which a journal is followed and collected. What a follower was given is in the journal
// still; what is collected is as it was at some moment, and has all again once that is followed from there on.
func TestThePowerFailsBesideAFollower(t *testing.T) {
	h := serveAndCrash(t, Options{}, ship)
	left := &crashed{history: h, t: t, name: "j", promised: func(n int, is content) error {
		for _, f := range h.followed {
			if f.ops <= n && !is.newest.Covers(f.to) {
				return fmt.Errorf("it goes up to %+v, and was followed up to %+v behind %d operations", is.newest, f.to, f.ops)
			}
		}
		return h.repliedTo(n, is)
	}}
	left.goOn = func(is content) error { return serveOn(t, filepath.Join(left.dir, "j"), Options{}, is) }
	left.check(atLength(80, 1))

	collected := &crashed{history: h, t: t, name: "collected", promised: func(int, content) error { return nil }}
	from := follow(t, h.path("j"))
	want := entries(t, h.path("j"))
	collected.goOn = func(content) error {
		file := filepath.Join(collected.dir, "collected")
		into, err := Collect(file, CollectOptions{})
		if err != nil {
			return err
		}
		var position Position
		for _, s := range into.Sources() {
			position = s.Position
		}
		addAll(t, into, blocks(t, from, position, 50_000))
		if err := into.Close(); err != nil {
			return err
		}
		if got := entries(t, file); got != want {
			return fmt.Errorf("with what it had up to %+v, and all behind that, it has %d bytes; want %d", position, len(got), len(want))
		}
		return nil
	}
	collected.check(atLength(80, 1))
}

// The power fails on a machine on which a journal is indexed. The index may have what the journal has lost, whose numbers are given
// again; nothing is found that is not there, and all that is.
func TestThePowerFailsBesideAnIndex(t *testing.T) {
	h := serveAndCrash(t, Options{}, func(t *testing.T, h *history) companion { return indexer{t, h.path("j")} })
	c := &crashed{history: h, t: t, name: "j", beside: "j.index", promised: h.repliedTo}
	c.goOn = func(is content) error {
		file := filepath.Join(c.dir, "j")
		if err := serveOn(t, file, Options{}, is); err != nil {
			return err
		}
		r, err := Open(file)
		if err != nil {
			return err
		}
		defer r.Close()
		index(t, r)
		for _, text := range append(is.requests[max(0, len(is.requests)-3):], "new", "connection 1, ") {
			want := 0
			for _, request := range append(slices.Clone(is.requests), "new") {
				want += strings.Count(request, text)
			}
			if ids := found(t, r, Filter{Text: []byte(text)}); len(ids) != want {
				return fmt.Errorf("the index finds %.50q in %v, want it %d times", text, ids, want)
			}
		}
		return nil
	}
	c.check(atLength(80, 1))
}

// The power fails while a journal is copied: what is left has nothing that the copy would not have. Once it is made it is all
// there.
func TestThePowerFailsInACopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	mixed(t, file, 300, "web-1")
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := recordDisk(t, t.TempDir())
	if _, err := r.Copy(t.Context(), d.path("copy"), concealing(t, "[a-m]+=>#")); err != nil {
		t.Fatal(err)
	}
	want := entries(t, d.path("copy"))
	ops := d.ops[:len(d.ops):len(d.ops)]
	said := make(map[string]bool)
	_, exchanges, _, err := readAll(t, d.path("copy"))
	if err != nil || len(exchanges) < 200 {
		t.Fatalf("%d exchanges, %v", len(exchanges), err)
	}
	for _, x := range exchanges {
		said[fmt.Sprint(x)] = true
	}
	p, dir, read := newPlatter(), inMemory(t), 0
	for n := 0; n <= len(ops) && !t.Failed(); n++ {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		if whole := n == len(ops); whole || rnd.IntN(atLength(10, 1)) == 0 {
			for _, f := range fates {
				clearDir(t, dir)
				p.image(rnd, f).write(t, dir, rnd)
				_, got, _, err := readAll(t, filepath.Join(dir, "copy"))
				read += len(got)
				for _, x := range got {
					if !said[fmt.Sprint(x)] {
						t.Errorf("behind %d of %d operations, %s, there is %+v", n, len(ops), f.name, x)
					}
				}
				if whole && err == nil {
					wantSame(t, "the copy, when "+f.name+",", entries(t, filepath.Join(dir, "copy")), want)
				} else if whole {
					t.Errorf("when %s the copy cannot be read: %v", f.name, err)
				}
			}
		}
		if n < len(ops) {
			p.do(ops[n])
		}
	}
	t.Logf("%d operations, %d exchanges read", len(ops), read)
}
