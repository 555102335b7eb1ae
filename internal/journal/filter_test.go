package journal

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// FuzzFilter: whatever is asked for, in one look, page by page, by the index and without it, as events and
// as sessions, exactly that is found which a plain comparison of all that is recorded selects.
func FuzzFilter(f *testing.F) {
	file := twoNodes(f)
	scan, indexed := openFor(f, file), openFor(f, file)
	index(f, indexed)
	all := everything{collect(f, scan.Sessions(f.Context(), Filter{})), collect(f, scan.Exchanges(f.Context(), Filter{}))}
	noon := at(0).UnixMilli()
	f.Add(int64(0), uint64(0), uint64(0), "", "", "", int64(0), int64(0), []byte(nil), "", int64(0), uint8(0))
	f.Add(int64(2), uint64(2), uint64(1), "10.0.0.", "eof", "web-1", noon+1, noon+30, []byte("order 1"), "ord", int64(time.Millisecond), uint8(3))
	f.Add(int64(0), uint64(1), uint64(0), "2001:db8::", ReasonOpen, "web-2", noon, int64(0), []byte("\x00\xff"), `\xff|two$`, int64(0), uint8(1))
	for _, bound := range []int64{noon + 10, noon + 50, noon + 101} { // at which something is said, or ends, or begins
		f.Add(int64(0), uint64(0), uint64(0), "", "", "", bound, int64(0), []byte(nil), "", int64(0), uint8(0))
		f.Add(int64(0), uint64(0), uint64(0), "", "", "", int64(0), bound, []byte(nil), "", int64(0), uint8(0))
	}
	for _, address := range []string{"0.0.1", "[2001", "2001:db8::1]:4001", "%", "10.0.0.1:4001"} {
		f.Add(int64(0), uint64(0), uint64(0), address, "", "", int64(0), int64(0), []byte(nil), "", int64(0), uint8(0))
	}
	f.Add(int64(0), uint64(0), uint64(0), "", ReasonOpen, "", int64(0), int64(0), []byte(nil), "", int64(2*time.Millisecond), uint8(0))
	f.Add(int64(0), uint64(2), uint64(0), "", "", "", int64(0), int64(0), []byte(nil), "", int64(0), uint8(0))
	f.Add(int64(0), uint64(0), uint64(3), "", "eof", "", int64(0), int64(0), []byte("2 of"), "", int64(0), uint8(1))
	for _, year := range []int{-3000, 1, 1500, 2500, 9999} { // no number of nanoseconds says so
		then := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		f.Add(int64(0), uint64(0), uint64(0), "", "", "", then, int64(0), []byte(nil), "", int64(0), uint8(0))
		f.Add(int64(0), uint64(0), uint64(0), "", "", "", int64(0), then, []byte(nil), "", int64(0), uint8(0))
	}
	f.Fuzz(func(t *testing.T, session int64, number, seq uint64, address, reason, node string, since, until int64, text []byte, pattern string, slower int64, limit uint8) {
		q := Filter{Session: session, Number: number, Seq: seq, Address: address, Reason: reason, Text: text, Slower: time.Duration(slower), Limit: int(limit)}
		if node != "" {
			q.Nodes = []string{node, "web-9"}
		}
		if since != 0 {
			q.Since = time.UnixMilli(since)
		}
		if until != 0 {
			q.Until = time.UnixMilli(until)
		}
		if pattern != "" {
			var err error
			if q.Regexp, err = regexp.Compile(pattern); err != nil {
				return
			}
		}
		want := all.exchanges(&q)
		unlimited := q
		unlimited.Limit = 0
		pages := reversed(all.exchanges(&unlimited))
		for name, r := range map[string]*Reader{"without an index": scan, "with an index": indexed} {
			if got := found(t, r, q); !slices.Equal(got, want) {
				t.Errorf("%s %+v finds %v, want %v", name, q, got, want)
			}
			if got, _ := pageByPage(t, r, q, Span{Most: 1 + int(limit), Within: time.Hour}); !slices.Equal(got, pages) {
				t.Errorf("%s %+v finds %v page by page, want %v", name, q, got, pages)
			}
			if got, want := idsOf(collect(t, r.Sessions(t.Context(), q))), all.sessions(&q); !slices.Equal(got, want) {
				t.Errorf("%s %+v finds the sessions %v, want %v", name, q, got, want)
			}
			var told []int64
			for _, e := range collect(t, r.Events(t.Context(), q)) {
				if e.Kind == parley.Received {
					told = append(told, e.Exchange.ID)
				}
			}
			if slices.Sort(told); !slices.Equal(told, want) {
				t.Errorf("%s %+v tells of %v, want %v", name, q, told, want)
			}
		}
	})
}

// FuzzParseName: what is understood as the name of a session is written as one that means the same, and so is
// every name that a session may have.
func FuzzParseName(f *testing.F) {
	for _, name := range []string{"17", "#17", "web-2/17", "web-2/#17", "a/b/1", "/1", "a/", "0", "9223372036854775808"} {
		f.Add(name, uint64(17))
	}
	f.Fuzz(func(t *testing.T, text string, number uint64) {
		if node, n, ok := ParseName(text); ok {
			if again, m, ok := ParseName(NameOf(node, n)); again != node || m != n || !ok || n == 0 {
				t.Errorf("%q is %d of %q, and that is %d of %q, %v", text, n, node, m, again, ok)
			}
		}
		number = number>>1 | 1
		if node, n, ok := ParseName(NameOf(text, number)); node != text || n != number || !ok {
			t.Errorf("%q is read as %d of %q, %v", NameOf(text, number), n, node, ok)
		}
	})
}

// everything is what a journal has.
type everything struct {
	all  []Session
	said []Exchange
}

func (e *everything) exchanges(q *Filter) (ids []int64) {
	for _, x := range e.said {
		i := slices.IndexFunc(e.all, func(s Session) bool { return s.ID == x.Session })
		is := func(b []byte) bool { return strings.Contains(string(b), string(q.Text)) }
		if isOfSession(q, &e.all[i]) && (q.Seq == 0 || q.Seq == x.Seq) && x.Took >= q.Slower &&
			(q.Since.IsZero() || !x.Received.Before(q.Since)) && (q.Until.IsZero() || x.Received.Before(q.Until)) &&
			(is(x.Request) || is(x.Reply)) && (q.Regexp == nil || q.Regexp.Match(x.Request) || q.Regexp.Match(x.Reply)) {
			ids = append(ids, x.ID)
		}
	}
	return newest(ids, q.Limit)
}

// sessions are those that were open at the time and of which an exchange is selected, if the filter is
// about exchanges.
func (e *everything) sessions(q *Filter) (ids []int64) {
	about := *q
	about.Limit = 0
	selected := e.exchanges(&about)
	for _, s := range e.all {
		talks := slices.ContainsFunc(e.said, func(x Exchange) bool { return x.Session == s.ID && slices.Contains(selected, x.ID) })
		if isOfSession(q, &s) && (q.Since.IsZero() || s.Closed.IsZero() || !s.Closed.Before(q.Since)) && (q.Until.IsZero() || s.Opened.Before(q.Until)) &&
			(talks || !about.looksAtExchanges()) {
			ids = append(ids, s.ID)
		}
	}
	return newest(ids, q.Limit)
}

func isOfSession(q *Filter, s *Session) bool {
	return (q.Session == 0 || q.Session == s.ID) && (q.Number == 0 || q.Number == s.Number) &&
		(strings.HasPrefix(s.Remote, q.Address) || strings.HasPrefix(s.Remote, "["+q.Address)) &&
		(q.Reason == "" || q.Reason == ReasonOpen && s.Closed.IsZero() || q.Reason == s.Reason) &&
		(len(q.Nodes) == 0 || slices.Contains(q.Nodes, s.Node))
}

func idsOf(sessions []Session) (ids []int64) {
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// twoNodes makes a journal of two nodes, each with sessions that speak in turn, of which one does not end.
func twoNodes(t testing.TB) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "j")
	for node, from := range []string{"10.0.0.1:4000", "[2001:db8::1]:4000"} {
		w, err := Create(file, Options{About: About{Framing: "line", Node: fmt.Sprint("web-", node+1)}})
		if err != nil {
			t.Fatal(err)
		}
		local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.9:6969"))
		var all []*parley.Session
		for i := range 3 {
			remote := netip.MustParseAddrPort(from)
			s := parley.NewSession(uint64(i+1), net.TCPAddrFromAddrPort(netip.AddrPortFrom(remote.Addr(), remote.Port()+uint16(i))), local, at(100*node+i))
			w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
			all = append(all, s)
		}
		for seq := range 4 {
			for i, s := range all {
				w.Pass(s, []parley.Exchange{{Seq: uint64(seq + 1), Received: at(100*node + 10*seq + i), Took: time.Duration(seq) * time.Millisecond,
					Request: fmt.Appendf(nil, "order %d of \x00\xff%d", seq, i), Reply: []byte("done: é")}})
			}
		}
		for i, s := range all[:2] {
			w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(100*node + 50 + i), Seq: 4, Replied: 4, Reason: parley.EndOfFile})
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func openFor(t testing.TB, file string) *Reader {
	t.Helper()
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
