package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// mixed writes a journal that has some of everything: n exchanges of several runs of a server, with
// framing, cuts, secrets, faults, concealed messages, bytes of no message, refusals and gaps; sessions
// that end late or never, and one without a row of its own.
func mixed(t testing.TB, file string, n int, node string) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	for run := range 3 {
		w, err := Create(file, Options{About: About{Framing: "line", Role: "server", Listener: fmt.Sprint("[::]:", 7000+run), Node: node}})
		if err != nil {
			t.Fatal(err)
		}
		var open []*parley.Session
		next := uint64(0)
		for i := range n / 3 {
			now := at(run*1000 + i)
			if len(open) == 0 || rnd.IntN(5) == 0 {
				next++
				s := parley.NewSession(next, address(1, int(next)), address(2, 7000), now)
				if next%7 != 3 { // whose opening is not recorded
					w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: now})
				}
				if next%3 == 0 {
					w.PassedOn(s, pipe{address(3, int(next)), address(4, 80)})
				}
				open = append(open, s)
			}
			at := rnd.IntN(len(open))
			s := open[at]
			x := parley.Exchange{Seq: uint64(i + 1), Received: now, Took: time.Duration(rnd.IntN(1000)), Request: random(rnd, 40), Reply: random(rnd, 90)}
			x.RawRequest = parley.Raw{Bytes: append(append([]byte("<"), x.Request...), "\r\n"...), Body: 1, At: uint64(100 * i)}
			x.RawReply = parley.Raw{Bytes: append(slices.Clone(x.Reply), '\n'), At: uint64(200 * i)}
			switch rnd.IntN(12) {
			case 0:
				x.Reply, x.RawReply = nil, parley.Raw{}
			case 1:
				x.Request, x.RawRequest, x.Seq = nil, parley.Raw{}, 0
			case 2:
				x.Request, x.Reply, x.RawReply, x.Seq = nil, nil, parley.Raw{}, 0 // loose
			case 3:
				x.RequestCut, x.RawRequest.Cut, x.ReplyCut = 12, 14, 3
			case 4:
				x.Secret, x.RequestWhole = true, 99
			case 5:
				head := bytes.Repeat([]byte("h"), 300)
				x.RawReply = parley.Raw{Bytes: append(slices.Clone(head), x.Reply...), Body: 300, At: 7}
			case 6:
				x.RawRequest, x.RawReply = parley.Raw{}, parley.Raw{}
			case 7:
				w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: now, Seq: x.Seq, Fault: "reply.delay=5ms"})
			case 8:
				refused := parley.NewSession(0, address(1, 9), nil, now)
				w.Observe(&parley.Event{Kind: parley.Refused, Session: refused, Time: now, Reason: parley.Full, Body: []byte("Error: full"),
					Raw: parley.Raw{Bytes: []byte("Error: full\r\n")}})
				w.Observe(&parley.Event{Kind: parley.Refused, Session: refused, Time: now, Reason: parley.Denied})
			}
			w.Pass(s, []parley.Exchange{x})
			if rnd.IntN(6) == 0 {
				w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: now, Reason: parley.EndOfFile, Seq: 3, Replied: 2, In: 50, Out: 60, Stray: 7})
				open = slices.Delete(open, at, at+1)
			}
		}
		w.mu.Lock()
		w.gap.add(at(run), int64(run+1), 2)
		w.gap.reason = "the disk is full"
		w.mu.Unlock()
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func random(rnd *rand.Rand, most int) []byte {
	p := make([]byte, rnd.IntN(most))
	for i := range p {
		p[i] = byte(rnd.IntN(256))
	}
	return p
}

// entries are what a journal has, but for its ids: each session with its exchanges and faults in
// their order, and then what is of no session.
func entries(t testing.TB, file string) string {
	t.Helper()
	return entriesOf(t, file, Filter{})
}

// entriesOf are those that a filter selects; gaps are of nobody's.
func entriesOf(t testing.TB, file string, f Filter) string {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Damaged = func(d Damage) { t.Errorf("%s is damaged: %v", file, d) }
	texts := make(map[int64]*strings.Builder)
	for s, err := range r.Sessions(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		texts[s.ID] = new(strings.Builder)
		id := s.ID
		s.ID = 0
		if s.Framing == "" {
			s.Node = "" // a collected one knows it
		}
		fmt.Fprintf(texts[id], "%+v\n", s)
	}
	loose := f
	loose.Loose = true
	for x, err := range r.Exchanges(t.Context(), loose) {
		if err != nil {
			t.Fatal(err)
		}
		text := texts[x.Session]
		if text == nil {
			t.Fatalf("the session of %+v is not told", x)
		}
		x.ID, x.Session = 0, 0
		fmt.Fprintf(text, "  %+v %v %v %v %v\n", x, x.Request == nil, x.Reply == nil, x.RawRequest.Bytes == nil, x.RawReply.Bytes == nil)
	}
	var sessions []string
	for id, text := range texts {
		// And by its links.
		linked := 0
		if id%3 == 0 {
			for _, err := range r.Exchanges(t.Context(), Filter{Session: id, Loose: true}) {
				if err != nil {
					t.Fatal(err)
				}
				linked++
			}
			if all := strings.Count(text.String(), "RawRequest"); linked != all {
				t.Errorf("%s: %d exchanges of session %d are found by its links, of %d", file, linked, id, all)
			}
		}
		sessions = append(sessions, text.String())
	}
	slices.Sort(sessions)
	for e, err := range r.Events(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case parley.Refused:
			sessions = append(sessions, fmt.Sprintf("refused %v %s %s %s %q %q %v\n", e.Time, e.Session.Remote, e.Session.Local, e.Session.Reason, e.Text, e.RawText.Bytes, e.RawText.Body))
		case parley.Faulted:
			sessions = append(sessions, fmt.Sprintf("fault %d %s %v %d %s\n", e.Session.Number, e.Session.Remote, e.Time, e.Fault.Seq, e.Fault.Fault))
		}
	}
	if len(f.Nodes) > 0 {
		return strings.Join(sessions, "")
	}
	rows, err := r.db.Query("SELECT from_ns, to_ns, exchanges, sessions, reason FROM gaps ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var g gapRow
		if err := rows.Scan(&g.From, &g.To, &g.Exchanges, &g.Sessions, &g.Reason); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, fmt.Sprintf("gap %d %d %d %d %s\n", g.From, g.To, g.Exchanges, g.Sessions, g.Reason))
	}
	if v, err := r.Verify(t.Context()); err != nil || v.Damages != 0 {
		t.Errorf("%s: %+v, %v", file, v, err)
	}
	return strings.Join(sessions, "")
}

// wantSame tells where two journals begin to differ.
func wantSame(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	lines, others := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range lines {
		if i >= len(others) || lines[i] != others[i] {
			t.Errorf("%s has %d lines, and the %d. is\n%s\nwant %d and\n%s", what, len(lines), i, lines[i], len(others), strings.Join(others[i:min(i+1, len(others))], ""))
			return
		}
	}
	t.Errorf("%s has %d lines of %d", what, len(lines), len(others))
}

// blocks are all blocks of a journal behind a position, encoded and parsed again.
func blocks(t testing.TB, f *Follower, from Position, maxBytes int) (all []*Block) {
	t.Helper()
	for {
		b, err := f.Next(t.Context(), from, maxBytes)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return all
		}
		encoded, err := b.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) > 4096+2*maxBytes && b.Records() > 2 {
			t.Errorf("a block of %d records has %d bytes, of %d at most", b.Records(), len(encoded), maxBytes)
		}
		parsed, err := ParseBlock(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.From != from || parsed.Missing != b.Missing || parsed.Records() != b.Records() || parsed.Node != b.Node {
			t.Fatalf("the block is read as %v, %d, %d", parsed.From, parsed.Missing, parsed.Records())
		}
		from = b.To
		all = append(all, parsed)
	}
}

func follow(t testing.TB, file string) *Follower {
	t.Helper()
	f, err := Follow(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func collectInto(t testing.TB, file string) *Collector {
	t.Helper()
	c, err := Collect(file, CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addAll(t testing.TB, c *Collector, all []*Block) (added int) {
	t.Helper()
	for i, b := range all {
		n, err := c.Add(b, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		added += n
	}
	return added
}

// A journal that is followed into another is all there, however it is cut, and also if some of it
// comes twice, or is cut in another way the second time.
func TestACollectedJournalHasAll(t *testing.T) {
	sources := make(map[string]string)
	for _, name := range []string{"version2-server", "version2-tap", "version3-tap", "version4-tap"} {
		sources[name] = copyOf(t, filepath.Join("testdata", name+".journal"))
	}
	sources["mixed"] = filepath.Join(t.TempDir(), "mixed")
	mixed(t, sources["mixed"], 240, "web-1")
	for name, file := range sources {
		f := follow(t, file)
		want := entries(t, file)
		sizes := []int{1, 1 << 20} // each record by itself, and all at once
		if name == "mixed" {
			sizes = append(sizes, 700, 20_000)
		}
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				into := filepath.Join(t.TempDir(), "collected")
				c := collectInto(t, into)
				all := blocks(t, f, Position{}, size)
				records := 0
				for _, b := range all {
					records += b.Records()
				}
				added := addAll(t, c, all[:len(all)/2])
				c.Close()
				c = collectInto(t, into)
				if added += addAll(t, c, all[len(all)/2:]); added != records {
					t.Errorf("%d records are added of %d", added, records)
				}
				wantSame(t, "it", entries(t, into), want)
				r, err := Open(into)
				if err != nil {
					t.Fatal(err)
				}
				if n := oneNumber(t, r, "SELECT coalesce(max(ended), 0) - count(ended) FROM sessions"); n != 0 {
					t.Errorf("%d sessions ended again", n)
				}
				r.Close()
				// Again, opened anew in the middle, and from places where no block had begun.
				for i, b := range all {
					if i%50 != 0 {
						continue
					}
					if i%100 == 50 {
						c.Close()
						c = collectInto(t, into)
					}
					again, err := f.Next(t.Context(), b.From, size*3)
					if err != nil {
						t.Fatal(err)
					}
					for _, b := range []*Block{b, again} {
						if added, err := c.Add(b, 1); added != 0 || err != nil {
							t.Errorf("block %d: %d records are added again, %v", i, added, err)
						}
					}
				}
				wantSame(t, "when some came again it", entries(t, into), want)
				if sources := c.Sources(); len(sources) != 1 || sources[0].Journal != f.Journal() || sources[0].Node != f.Node() {
					t.Errorf("the sources are %+v", sources)
				}
			})
		}
	}
}

// A block that begins behind what is there changes nothing, and what is given up leaves a gap.
func TestAHoleIsNotPassedOver(t *testing.T) {
	file, into := filepath.Join(t.TempDir(), "j"), filepath.Join(t.TempDir(), "collected")
	mixed(t, file, 300, "web-1")
	all := blocks(t, follow(t, file), Position{}, 4000)
	c := collectInto(t, into)
	addAll(t, c, all[:2])
	before := entries(t, into)
	var hole *HoleError
	if _, err := c.Add(all[3], 9); !errors.As(err, &hole) || hole.Have != all[1].To || hole.From != all[3].From || hole.Journal != all[0].Journal {
		t.Fatalf("Add = %v", err)
	}
	if s := c.Sources()[0]; s.Mark != 2 || s.Position != all[1].To {
		t.Errorf("the source is %+v", s)
	}
	if got := entries(t, into); got != before {
		t.Errorf("something was recorded:\n%s", got)
	}
	if err := c.Skip(hole.Journal, hole.Node, hole.From, "web-1 did not come back"); err != nil {
		t.Fatal(err)
	}
	addAll(t, c, all[3:])
	r, err := Open(into)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lost := int64(len(all[2].Exchanges.IDs))
	if n := oneNumber(t, r, "SELECT exchanges FROM gaps WHERE node = 'web-1' AND reason = 'web-1 did not come back'"); n != lost {
		t.Errorf("%d exchanges are given up, want %d", n, lost)
	}
	if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

func address(host, port int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(host)), Port: port}
}

// A pipe is a connection that has addresses.
type pipe struct{ local, remote net.Addr }

func (p pipe) LocalAddr() net.Addr  { return p.local }
func (p pipe) RemoteAddr() net.Addr { return p.remote }
