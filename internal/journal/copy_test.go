package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/redact"
)

func concealing(t *testing.T, rules ...string) (list redact.Rules) {
	t.Helper()
	for _, s := range rules {
		r, err := redact.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// copied copies a journal, and sees that the source is left as it is.
func copied(t *testing.T, r *Reader, conceal Concealer) (*Reader, Copied) {
	t.Helper()
	before, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "copy")
	c, err := r.Copy(t.Context(), file, conceal)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(r.file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the journal is changed, %v", err)
	}
	copy, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { copy.Close() })
	if v, err := copy.Verify(t.Context()); err != nil || v.Damages > 0 || v.Sessions != c.Sessions || v.Exchanges != c.Exchanges || v.Refused != c.Refused {
		t.Errorf("of the copy: %+v, %v; copied %+v", v, err, c)
	}
	return copy, c
}

// all is what a journal has.
func all(t *testing.T, r *Reader) string {
	t.Helper()
	var text strings.Builder
	for _, s := range collect(t, r.Sessions(t.Context(), Filter{})) {
		fmt.Fprintf(&text, "%+v\n", s)
		for _, x := range collect(t, r.Exchanges(t.Context(), Filter{Session: s.ID, Loose: true})) {
			fmt.Fprintf(&text, "  %+v %q %q\n", x, x.Request, x.Reply)
		}
	}
	for _, e := range collect(t, r.Events(t.Context(), Filter{Loose: true})) {
		fmt.Fprintf(&text, "%v %v %v %q %v\n", e.Kind, e.Time, e.Session.ID, e.Text, e.Fault)
	}
	return text.String()
}

// With nothing to conceal a copy is what it is a copy of, of each version, and a server can go on with it.
func TestACopyHasAll(t *testing.T) {
	sources := map[string]string{"story": ""}
	for _, name := range []string{"version2-server", "version2-tap", "version3-tap"} {
		sources[name] = copyOf(t, filepath.Join("testdata", name+".journal"))
	}
	for name, file := range sources {
		t.Run(name, func(t *testing.T) {
			var r *Reader
			if file == "" {
				r = story(t).open()
			} else {
				var err error
				if r, err = Open(file); err != nil {
					t.Fatal(err)
				}
				defer r.Close()
			}
			copy, c := copied(t, r, redact.Rules(nil))
			if got, want := all(t, copy), all(t, r); got != want || c.Concealed != 0 || c.Exchanges == 0 {
				t.Errorf("%+v: the copy has\n%s\nwant\n%s", c, got, want)
			}
			last := oneNumber(t, copy, "SELECT max(id) FROM sessions")
			w, err := Create(copy.file, Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := parley.NewSession(1, nil, nil, time.Now())
			if id := w.SessionID(s.Number()); id <= last {
				t.Errorf("the next session is %d, behind %d", id, last)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What is concealed is nowhere in a copy, and all around it is: the length that messages had, their
// framing and places, faults, refusals, and what belongs to no message.
func TestACopyConceals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{Framing: "netstring", Role: "tap", Upstream: "u:2"}})
	if err != nil {
		t.Fatal(err)
	}
	raw := func(text string, head, at int) parley.Raw {
		return parley.Raw{Bytes: []byte(text), Body: head, At: uint64(at)}
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	w.Pass(s, []parley.Exchange{
		{Seq: 1, Received: at(10), Took: time.Millisecond, Request: []byte("my hidden"), RawRequest: raw("9:my hidden,", 2, 0), Reply: []byte("ok"), RawReply: raw("2:ok,", 2, 0), Secret: true},
		{Seq: 2, Received: at(20), Took: time.Millisecond, Request: []byte("two"), RawRequest: raw("3:two,", 2, 12), Reply: []byte("hidden"), ReplyCut: 3,
			RawReply: parley.Raw{Bytes: []byte("9:hidden"), Body: 2, At: 5, Cut: 4}},
		{Received: at(30), RawRequest: raw("a hidden rest", 0, 18)},
		{Seq: 3, Received: at(31), Request: []byte("left"), RawRequest: raw("4:left,", 2, 31)},
	})
	w.Observe(&parley.Event{Kind: parley.Faulted, Session: s, Time: at(22), Seq: 2, Fault: "reply.delay=4ms"})
	w.Observe(&parley.Event{Kind: parley.Refused, Session: parley.NewSession(0, nil, nil, at(40)), Time: at(40), Reason: parley.Full,
		Body: []byte("no hidden"), Raw: raw("9:no hidden,", 2, 0)})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(50), Seq: 3, Replied: 3, In: 38, Out: 17, Reason: parley.EndOfFile})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	copy, c := copied(t, r, concealing(t, "hidden=>x"))
	if want := (Copied{Sessions: 1, Exchanges: 3, Refused: 1, Concealed: 4}); c != want {
		t.Errorf("copied %+v, want %+v", c, want)
	}
	var got []string
	for _, x := range collect(t, copy.Exchanges(t.Context(), Filter{Session: 1, Loose: true})) {
		got = append(got, fmt.Sprintf("%d %q %d %q at %d, %q %d %q at %d cut %d", x.Seq, x.Request, x.RequestWhole, x.RawRequest.Bytes, x.RawRequest.At,
			x.Reply, x.ReplyWhole, x.RawReply.Bytes, x.RawReply.At, x.RawReply.Cut))
	}
	want := []string{`1 "my x" 9 "9:my x," at 0, "ok" 0 "2:ok," at 0 cut 0`, `2 "two" 0 "3:two," at 12, "x" 6 "9:x" at 5 cut 4`,
		`0 "" 13 "a x rest" at 18, "" 0 "" at 0 cut 0`, `3 "left" 0 "4:left," at 31, "" 0 "" at 0 cut 0`}
	if !slices.Equal(got, want) {
		t.Errorf("the copy has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	events := all(t, copy)
	for _, part := range []string{`"no x"`, "reply.delay=4ms"} {
		if !strings.Contains(events, part) {
			t.Errorf("no %s in\n%s", part, events)
		}
	}
	for _, name := range []string{"", "-wal"} {
		if data, err := os.ReadFile(copy.file + name); err == nil && bytes.Contains(data, []byte("hidden")) {
			t.Errorf("copy%s has it still", name)
		}
	}

	// A capture has no bytes that were not on the wire: what is concealed is missing in it.
	wire := capture(t, copy, Filter{Loose: true})
	streams := followedRaw(t, wire)
	if strings.Contains(streams, "my x") || !strings.Contains(streams, "3:two,") || !strings.Contains(streams, "4:left,") {
		t.Errorf("the capture has %q", streams)
	}
	if seq := tshark(t, wire, append(fields("tcp.seq"), "-Y", "tcp.payload contains \"left\"")...); !slices.Equal(seq, []string{"32"}) {
		t.Errorf("what follows is at %q, want 32", seq)
	}
}

// followedRaw is what a capture carries.
func followedRaw(t *testing.T, wire []byte) (all string) {
	t.Helper()
	for _, line := range tshark(t, wire, append(fields("tcp.payload"), "-Y", "tcp.len > 0")...) {
		var data []byte
		fmt.Sscanf(line, "%x", &data)
		all += string(data)
	}
	return all
}

// What is damaged is left out and named, and a copy that is given up is an error.
func TestACopyLeavesOutDamage(t *testing.T) {
	w := story(t)
	w.exec("UPDATE exchanges SET reply = 'another' WHERE id = 3")
	r := w.open()
	var damages []string
	r.Damaged = func(d Damage) { damages = append(damages, d.String()) }
	_, c := copied(t, r, concealing(t, "one"))
	if c.Exchanges != 3 || c.Concealed != 1 || len(damages) != 1 {
		t.Errorf("copied %+v, with %q", c, damages)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Copy(ctx, filepath.Join(t.TempDir(), "other"), redact.Rules(nil)); err == nil {
		t.Error("a copy that was given up is one")
	}
}

// A journal that somebody else has made names no statement by its columns.
func TestACopyRunsNothingOfTheJournal(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	w := story(t)
	w.exec(`INSERT INTO gaps VALUES (1, 2, 1, 0, 'full', NULL, NULL)`)
	w.exec(`ALTER TABLE gaps ADD COLUMN "reason) VALUES (1, 2, 3, 4, 5, 6); COMMIT; ATTACH '` + other + `' AS o; CREATE TABLE o.t(a); BEGIN; --"`)
	r := w.open()
	if _, err := r.Copy(t.Context(), filepath.Join(t.TempDir(), "copy"), concealing(t, "one")); err == nil || !strings.Contains(err.Error(), "no column named") {
		t.Errorf("copied, %v; want no column of that name", err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the journal's own SQL was run")
	}
}
