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
	"github.com/parley-tcp/parley/parleytest"
)

// atLength is how often a test does something: often enough to find what is broken, and all of it in `make soak`.
func atLength(enough, all int) int {
	if os.Getenv("PARLEY_SOAK") != "" {
		return all
	}
	return enough
}

// A history is what a run has done to its disk, and what it had promised by when.
type history struct {
	*crashDisk
	opt     Options
	replies []replied
}

// A replied request is one whose reply its peer has read.
type replied struct {
	request string
	at      time.Time
	ops     int // that there were then
}

// crashRequest is the n-th one of a connection; its reply follows from it.
func crashRequest(run, conn, n int, rnd *rand.Rand) string {
	filler := 1 + rnd.IntN(30)
	if rnd.IntN(6) == 0 {
		filler = rnd.IntN(9000) // which takes pages of its own
	}
	return fmt.Sprintf("run %d, connection %d, request %d %s", run, conn, n, strings.Repeat("x", filler))
}

func crashReply(request string) string { return "reply to " + request }

// serveAndCrash has a server be started three times, with some clients that talk to it, and someone who reads meanwhile.
// It runs in a time of its own, so that the same always happens.
func serveAndCrash(t *testing.T, opt Options) *history {
	h := &history{opt: opt}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h.crashDisk = recordDisk(t, dir)
		rnd := rand.New(rand.NewPCG(1, 2))
		for run := range 3 {
			opt.About = About{Framing: "line", Role: "server", Listener: fmt.Sprint(":", run)}
			opt.Warn = func(text string) { t.Errorf("the writer warns: %s", text) }
			w, err := Create(filepath.Join(dir, "j"), opt)
			if err != nil {
				t.Fatal(err)
			}
			handler := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				return append(dst, crashReply(string(req.Body))...), nil
			})
			srv := &parley.Server{Handler: handler, Gate: w, Observer: w}
			conns := make([]*crashClient, 3)
			for i := range conns {
				conns[i] = newCrashClient(parleytest.Pipe(t, srv))
			}
			for round := range 6 {
				end := func() {}
				if run == 1 && round%3 == 1 {
					end = holdLog(t, filepath.Join(dir, "j"))
				}
				for i, c := range conns {
					for range rnd.IntN(4) {
						c.said++
						c.ask(t, crashRequest(run, i, c.said, rnd))
					}
				}
				for _, c := range conns {
					for c.answered < c.said {
						h.replies = append(h.replies, replied{c.answer(t), time.Now(), h.done()})
					}
				}
				time.Sleep(time.Duration(rnd.IntN(900)) * time.Millisecond)
				end()
				if i := rnd.IntN(len(conns)); round%2 == 0 {
					conns[i].conn.Close()
					conns[i] = newCrashClient(parleytest.Pipe(t, srv))
				}
			}
			if run == 1 {
				time.Sleep(2 * lookEvery)
			}
			srv.Shutdown(t.Context())
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	return h
}

// A crashClient asks and reads what it is answered.
type crashClient struct {
	conn           *parleytest.Conn
	in             *bufio.Reader
	asked          []string
	said, answered int
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

// holdLog has someone read in a transaction, so that the -wal file cannot be copied, until end is called.
func holdLog(t *testing.T, file string) (end func()) {
	t.Helper()
	reader, err := connectFor(file, "mode=ro", 0)
	if err != nil {
		t.Fatal(err)
	}
	var sessions int64
	if err := queryRow(reader, "BEGIN; SELECT count(*) FROM sessions", &sessions); err != nil {
		t.Fatal(err)
	}
	return func() { reader.Close() }
}

// A content is what a journal has.
type content struct {
	state     uint64   // of all tables together; 0 if it cannot be read
	first     int64    // the id of the first exchange
	requests  []string // of the exchanges, in their order
	collected []Source
	err       error
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
	if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 {
		return content{err: fmt.Errorf("it is damaged: %+v, %w", v, err)}
	}
	if c.err = func() error {
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
		return rows.Err()
	}(); c.err != nil {
		return c
	}
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

// A crashed run is looked at wherever the power may have failed.
type crashed struct {
	*history
	t      *testing.T
	dir    string
	seen   map[uint64]content // by the sums of images
	states map[uint64]bool    // that the journal had at some time by now
	usable int                // images that were gone on with
}

// check has the power fail at every operation, or in one of so many, in every way.
func (h *history) check(t *testing.T, oneOf int) {
	c := &crashed{history: h, t: t, dir: t.TempDir(), seen: make(map[uint64]content), states: make(map[uint64]bool)}
	p := newPlatter()
	for n := 0; n <= len(h.ops) && !t.Failed(); n++ {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		if n < 60 || h.mayCommit(n) {
			c.states[c.content(p.image(rnd, fates[0]), rnd).state] = true
		}
		if rnd.IntN(oneOf) == 0 {
			for _, f := range fates {
				c.at(n, f, p.image(rnd, f), rnd)
			}
		}
		if n < len(h.ops) {
			p.do(h.ops[n])
		}
	}
	t.Logf("%d operations, %d replies, %d states, %d images, %d of them gone on with", len(h.ops), len(h.replies), len(c.states), len(c.seen), c.usable)
	if len(c.states) < 20 || len(c.seen) < 100 {
		t.Error("nothing much was tried")
	}
}

// mayCommit says whether the operation before the n-th may have ended a transaction.
func (h *history) mayCommit(n int) bool {
	const frameHead = 24
	o := h.ops[n-1]
	if o.kind != opWrite || !strings.HasSuffix(o.name, "-wal") {
		return o.kind == opRemove || o.kind == opCreate
	}
	before := h.ops[n-2]
	return len(o.data) > frameHead && len(before.data) == frameHead && string(before.data[4:8]) != "\x00\x00\x00\x00"
}

// content is that of an image, which is written as files for it.
func (c *crashed) content(i image, rnd *rand.Rand) content {
	sum := i.sum()
	if _, is := c.seen[sum]; !is {
		clearDir(c.t, c.dir)
		i.write(c.t, c.dir, rnd)
		c.seen[sum] = contentOf(c.t, filepath.Join(c.dir, "j"))
	}
	return c.seen[sum]
}

// at is a power cut before the n-th operation.
func (c *crashed) at(n int, f fate, i image, rnd *rand.Rand) {
	c.t.Helper()
	fail := func(format string, args ...any) {
		c.t.Helper()
		c.t.Errorf("the power fails behind %d operations, and %s: %s\nthe last ones were\n%v", n, f.name, fmt.Sprintf(format, args...), c.last(n))
	}
	_, again := c.seen[i.sum()]
	is := c.content(i, rnd)
	promised := c.promised(n)
	switch {
	case is.err != nil && len(promised) == 0: // it was being made
	case is.err != nil:
		fail("it cannot be read: %v", is.err)
		return
	case !c.states[is.state]:
		fail("it was never so as it is: exchanges %d to %d", is.first, is.first+int64(len(is.requests))-1)
	}
	for _, r := range promised {
		if !slices.Contains(is.requests, r.request) && !c.expired(r, n) {
			fail("%.50q is lost, whose reply was read behind %d operations at %v; it was %v", r.request, r.ops, r.at, c.when(n))
			break
		}
	}
	if again {
		return
	}
	clearDir(c.t, c.dir)
	i.write(c.t, c.dir, rnd)
	if err := c.goOn(is); err != nil {
		fail("it cannot be gone on with: %v", err)
	}
	c.usable++
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

// promised are the replies whose exchanges the journal is to have behind n operations.
func (h *history) promised(n int) []replied {
	end := len(h.replies)
	for i, r := range h.replies {
		if r.ops > n || !h.opt.Sync && !r.at.Add(lookEvery+batchWait).Before(h.when(n)) {
			end = i
			break
		}
	}
	return h.replies[:end]
}

// expired says whether it may have been deleted for its age.
func (h *history) expired(r replied, n int) bool {
	return h.opt.Keep.Age > 0 && h.when(n).Sub(r.at) > h.opt.Keep.Age-time.Second
}

// goOn has another server write to the journal that is left.
func (c *crashed) goOn(before content) error {
	file := filepath.Join(c.dir, "j")
	var warning string
	w, err := Create(file, Options{Sync: c.opt.Sync, Warn: func(text string) { warning = text }})
	if err != nil {
		return err
	}
	s := parley.NewSession(1, nil, nil, time.Now())
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: time.Now(), Request: []byte("new"), Reply: []byte(crashReply("new"))}})
	if err := w.Close(c.t.Context()); err != nil {
		return err
	}
	if warning != "" {
		return fmt.Errorf("the writer warns: %s", warning)
	}
	after := contentOf(c.t, file)
	if want := append(slices.Clone(before.requests), "new"); after.err == nil && !slices.Equal(after.requests, want) {
		return fmt.Errorf("it has %d exchanges behind that, want %d", len(after.requests), len(want))
	}
	return after.err
}

// Wherever the power fails, and whatever of what was not synced is lost then, the journal is as it was at some
// moment before: whole, without a hole, and gone on with without a hand. With Options.Sync nothing is lost that a peer has read
// the reply of; without it no more than the last second.
func TestThePowerFails(t *testing.T) {
	for name, opt := range map[string]Options{
		"synced":          {Sync: true},
		"not synced":      {},
		"kept for a time": {Keep: Keep{Age: 4 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			serveAndCrash(t, opt).check(t, atLength(20, 1))
		})
	}
}
