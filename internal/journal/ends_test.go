package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A connection's other ends are found by their addresses: of client, tap and server each one knows
// the others, also where their clocks differ, and where its port was used before.
func TestOtherEnds(t *testing.T) {
	w := newWritten(t, filepath.Join(t.TempDir(), "j"))
	const client, tap, out, server = "10.0.0.1:5000", "10.0.0.2:6380", "10.0.0.2:7000", "10.0.0.3:6379"
	origins := map[string]int64{"laptop": 1, "edge": 2, "web": 3}
	for node, id := range origins {
		about := About{Framing: "line", Role: map[string]string{"laptop": "client", "edge": "tap", "web": "server"}[node], Node: node}
		w.exec("INSERT INTO origins VALUES (?,?,?,?,?,?,?)", id, about.Framing, about.Role, about.Listener, about.Upstream, about.Node, w.sums.origin(id, &about))
	}
	add := func(id int64, node string, from, to int, s Session) {
		s.ID, s.Number, s.Opened, s.Reason = id, uint64(id), at(from), "eof"
		if to != 0 {
			s.Closed = at(to)
		}
		w.exec("INSERT INTO sessions (id, number, remote, local, opened_ns, closed_ns, reason, proxied, out_local, out_remote, origin) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
			id, id, s.Remote, s.Local, s.Opened.UnixNano(), nullTime(s.Closed), "eof", textOrNull(s.Proxied), textOrNull(s.OutLocal), textOrNull(s.OutRemote), origins[node])
	}
	const second, hour = 1000, 3600 * 1000
	add(1, "laptop", 0, 10*second, Session{Remote: tap, Local: client})
	add(2, "edge", 20*second, 31*second, Session{Remote: client, Local: tap, OutLocal: out, OutRemote: server}) // its clock is 20 s ahead
	add(3, "web", second, 12*second, Session{Remote: out, Local: server})
	add(4, "web", -2*hour, -hour, Session{Remote: out, Local: server})                    // long before
	add(5, "web", 2*second, 12*second, Session{Remote: client, Local: tap, Proxied: out}) // a server that the tap tells whose it is
	add(6, "web", 40*second, 0, Session{Remote: out, Local: server})                      // the port again, soon
	add(7, "web", 0, 10*second, Session{Remote: "10.0.0.9:5000", Local: server})
	add(8, "web", 0, 0, Session{Remote: "unix", Local: "unix:/run/a"})
	add(9, "web", 0, 0, Session{Remote: "unix", Local: "unix:/run/a"})
	r := w.open()
	for id, want := range map[int64][]int64{1: {2, 5}, 2: {1, 3, 5}, 3: {2}, 4: nil, 5: {1, 2}, 7: nil, 8: nil} {
		found, err := r.OtherEnds(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, s := range found {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the other ends of %d are %v, want %v", id, got, want)
		}
	}
	if _, err := r.OtherEnds(t.Context(), 99); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of one that is not there: %v", err)
	}
	r.version.Store(2) // where nobody tells of a way out
	if found, err := r.OtherEnds(t.Context(), 7); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}
