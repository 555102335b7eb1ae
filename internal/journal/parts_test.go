package journal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// Each message is read as it was on the wire and without its framing, however much framing
// there is, and the view messages says the same.
func TestMessagesAreKeptWithTheirFraming(t *testing.T) {
	raw := func(head, body, tail int, at uint64) ([]byte, parley.Raw) {
		bytes := []byte(strings.Repeat("<", head) + strings.Repeat("b", body) + strings.Repeat(">", tail))
		return bytes[head : head+body], parley.Raw{Bytes: bytes, Body: head, At: at}
	}
	var written []parley.Exchange
	add := func(requestHead, requestTail, replyHead, replyTail int, change func(x *parley.Exchange)) {
		x := parley.Exchange{Seq: uint64(len(written)), Received: at(len(written)), Took: time.Millisecond}
		x.Request, x.RawRequest = raw(requestHead, len(written), requestTail, 1<<40+uint64(len(written)))
		x.Reply, x.RawReply = raw(replyHead, 3, replyTail, 0)
		if change != nil {
			change(&x)
		}
		written = append(written, x)
	}
	for range rowsAtOnce { // those inserted together and those alone
		add(0, 1, 0, 1, nil)
	}
	for _, n := range []int{0, 1, maxHead - 1, maxHead, maxHead + 1, maxTail - 1, maxTail, maxTail + 1, 5000} {
		add(n, 0, 0, 0, nil)
		add(0, n, 0, 0, nil)
		add(0, 0, n, 0, nil)
		add(0, 0, 0, n, nil)
		add(n, n, n, n, func(x *parley.Exchange) { x.Secret = true })
	}
	add(0, 0, 0, 0, func(x *parley.Exchange) { x.RawRequest.Cut, x.RequestCut = 12, 10 })
	add(4, 0, 2, 0, func(x *parley.Exchange) { x.RawReply.Cut, x.ReplyCut, x.Secret = 1<<40, 1<<40, true })
	add(0, 0, 0, 0, func(x *parley.Exchange) { x.Request, x.RawRequest = nil, parley.Raw{} })
	add(0, 0, 0, 0, func(x *parley.Exchange) { x.Reply, x.RawReply = nil, parley.Raw{} })
	add(0, 0, 0, 0, func(x *parley.Exchange) { x.RawRequest = parley.Raw{} }) // whose framing nobody knows

	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Pass(parley.NewSession(1, nil, nil, at(0)), written)
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := collect(t, r.Exchanges(t.Context(), Filter{}))
	if len(read) != len(written) {
		t.Fatalf("%d exchanges, want %d", len(read), len(written))
	}
	rows, err := r.db.Query("SELECT request, reply, secret FROM messages ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for i, x := range read {
		y := written[i]
		got := parley.Exchange{Seq: x.Seq, Received: x.Received, Took: x.Took, Request: x.Request, Reply: x.Reply,
			RawRequest: x.RawRequest, RawReply: x.RawReply, Secret: x.Secret, RequestCut: x.RequestCut, ReplyCut: x.ReplyCut}
		if !reflect.DeepEqual(got, y) {
			t.Errorf("exchange %+v, want %+v", got, y)
		}
		var request, reply blob
		var secret bool
		if !rows.Next() {
			t.Fatal("the view has fewer")
		}
		if err := rows.Scan(&request, &reply, &secret); err != nil || !bytes.Equal(request, y.Request) || !bytes.Equal(reply, y.Reply) ||
			(request == nil) != (y.Request == nil) || secret != y.Secret {
			t.Errorf("the view has %q and %q, %v, %v; want %q and %q, %v", request, reply, secret, err, y.Request, y.Reply, y.Secret)
		}
	}
	if v, err := r.Verify(t.Context()); err != nil || v.Damages > 0 {
		t.Errorf("Verify = %+v, %v", v, err)
	}
}

// Whatever number or text of a record is changed, it is noticed.
func TestChecksumsCoverAllColumns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{"line", "server", ":1", "up:1", "here"}})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	x := parley.Exchange{Seq: 1, Received: at(1), Request: []byte("a"), Reply: []byte("b"), RequestCut: 1,
		RawRequest: parley.Raw{Bytes: []byte("a"), Cut: 2, At: 5}, RawReply: parley.Raw{Bytes: []byte("b\n"), At: 6}}
	w.Pass(s, []parley.Exchange{x})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(2), Seq: 1, Replied: 1, Stray: 3, In: 6, Out: 7, Reason: parley.EndOfFile})
	w.Observe(&parley.Event{Kind: parley.Refused, Session: parley.NewSession(0, nil, nil, at(3)), Time: at(3), Reason: parley.Full,
		Body: []byte("no"), Raw: parley.Raw{Bytes: []byte("(no)"), Body: 1}})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := sqlOf(t, file)
	notSummed := map[string]bool{"sessions.sum": true, "exchanges.sum": true, "origins.sum": true, "refused.sum": true, "cuts.exchange": true}
	for _, table := range []string{"sessions", "exchanges", "cuts", "refused", "origins"} {
		rows, err := db.Query("SELECT name FROM pragma_table_info(?)", table)
		if err != nil {
			t.Fatal(err)
		}
		var columns []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			columns = append(columns, name)
		}
		rows.Close()
		for _, column := range columns {
			if notSummed[table+"."+column] {
				continue
			}
			change := fmt.Sprintf("UPDATE %[1]s SET %[2]s = iif(typeof(%[2]s) = 'integer', %[2]s + 1, CAST(coalesce(%[2]s, '') || 'x' AS BLOB))", table, column)
			copied := copyOf(t, file)
			if _, err := sqlOf(t, copied).Exec(change); err != nil {
				t.Fatal(err)
			}
			r, err := Open(copied)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := r.Verify(t.Context()); err != nil || v.Damages == 0 {
				t.Errorf("%s: Verify = %+v, %v; want damage", change, v, err)
			}
			r.Close()
		}
	}
}

// copyOf copies a file of testdata, or one that nobody writes.
func copyOf(t *testing.T, file string) string {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.CreateTemp(t.TempDir(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// The journals of version 2 in testdata were written by the parley before version 3 of the file:
// a server with --max-request 100 and --max-sessions-per-ip 3, which had three requests, one that
// was too long, probes and a refusal; and a tap with --max-message 40 before a server that
// greets, replies to two of three requests, and is sent and sends what is longer.
var version2 = map[string]struct {
	told       string
	exchanges  []string
	verdict    Verdict
	ofSession1 int
}{
	"server": {"+1 1.1? 1.2? 1.3? 1.1! 1.2! 1.3! +2 2.0! -2 +3 +4 refused per_ip -1 -4 -3",
		[]string{`1.1 "one" "Request #1 - one ..."`, `1.2 "two" "Request #1 - two ..."`, `1.3 "\xff\x00three" "Request #1 - \xff\x00three ..."`,
			`2.0 "" "Error: request longer than 100 bytes"`}, Verdict{Sessions: 4, Exchanges: 4, Refused: 1}, 3},
	"tap": {"+1 1.0! 1.1? 1.2? 1.3? 1.1! 1.2! -1",
		[]string{`1.0 "" "220 hello"`, `1.1 "first" "first reply"`, `1.2 "second" "long long long long long long long long "+60`,
			`1.3 "0123456789012345678901234567890123456789"+60 ""`}, Verdict{Sessions: 1, Exchanges: 4}, 4},
}

// A journal of version 2 is read as it is, also by who is reading it when a writer brings it up
// to date; then what it had is still there, and is found by its session.
func TestVersion2IsReadAndBroughtUpToDate(t *testing.T) {
	for name, c := range version2 {
		t.Run(name, func(t *testing.T) {
			file := copyOf(t, filepath.Join("testdata", "version2-"+name+".journal"))
			before, err := Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close()
			check := func(r *Reader, framings []string) {
				t.Helper()
				if got := briefs(t, r, Filter{}); got != c.told {
					t.Errorf("told %s, want %s", got, c.told)
				}
				var exchanges []string
				for _, x := range collect(t, r.Exchanges(t.Context(), Filter{})) {
					exchanges = append(exchanges, fmt.Sprintf("%d.%d %q%s %q%s", x.Session, x.Seq, x.Request, plus(x.RequestCut), x.Reply, plus(x.ReplyCut)))
					if x.RawRequest.Bytes != nil || x.RawReply.Bytes != nil || x.Secret {
						t.Errorf("it knows the framing of %+v", x)
					}
				}
				if !slices.Equal(exchanges, c.exchanges) {
					t.Errorf("exchanges %q, want %q", exchanges, c.exchanges)
				}
				if got, err := r.Framings(t.Context()); err != nil || !slices.Equal(got, framings) {
					t.Errorf("framings %q, %v; want %q", got, err, framings)
				}
				if v, err := r.Verify(t.Context()); v != c.verdict || err != nil {
					t.Errorf("Verify = %+v, %v; want %+v", v, err, c.verdict)
				}
				for s, all := range map[int64]int{1: c.ofSession1, 9: 0} {
					for limit, want := range map[int]int{0: all, 2: min(all, 2)} {
						if got := collect(t, r.Exchanges(t.Context(), Filter{Session: s, Limit: limit})); len(got) != want {
							t.Errorf("session %d, limit %d: %d exchanges, want %d", s, limit, len(got), want)
						}
					}
				}
			}
			check(before, []string{""})
			var told []string
			w, err := Create(file, Options{About: About{Framing: "crlf", Role: "server"}, Warn: func(text string) { told = append(told, text) }})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"is brought up to date once, from version 2 to 6: a few seconds for each million exchanges"}; !slices.Equal(told, want) {
				t.Errorf("it is told %q, want %q", told, want)
			}
			if version := oneNumber(t, before, "PRAGMA user_version"); version != 6 {
				t.Errorf("it is brought up to version %d", version)
			}
			check(before, []string{""})
			after, err := Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer after.Close()
			check(after, []string{""})
			s := parley.NewSession(1, nil, nil, at(0))
			w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
			w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(1), Request: []byte("new"), RawRequest: parley.Raw{Bytes: []byte("new\r\n")}}})
			id := w.SessionID(1)
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := before.Framings(t.Context()); err != nil || !slices.Equal(got, []string{"", "crlf"}) {
				t.Errorf("framings %q, %v", got, err)
			}
			session, all, err := before.Session(t.Context(), id, 0)
			if err != nil || session.About != (About{Framing: "crlf", Role: "server"}) || len(all) != 1 || string(all[0].RawRequest.Bytes) != "new\r\n" {
				t.Errorf("the new session is %+v with %+v, %v", session, all, err)
			}
			if got := collect(t, before.Exchanges(t.Context(), Filter{Number: 1})); len(got) != c.ofSession1+1 {
				t.Errorf("%d exchanges are of a session 1, want %d", len(got), c.ofSession1+1)
			}
			wantLinked(t, before, id)
			// And by who reads it when a still newer one comes.
			if _, err := sqlOf(t, file).Exec("PRAGMA user_version = 7"); err != nil {
				t.Fatal(err)
			}
			for _, err := range before.Events(t.Context(), Filter{}) {
				if want := "a newer parley has written it (journal version 7; this one reads 6)"; err == nil || err.Error() != want {
					t.Errorf("Events = %v, want %s", err, want)
				}
			}
		})
	}
}

func plus(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("+%d", n)
}

// What is said of sessions is kept once, and for as long as one of them is.
func TestOriginsAreKeptWhileTheyAreUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	origins := func(r *Reader) (all string) {
		for _, s := range collect(t, r.Sessions(t.Context(), Filter{})) {
			all += s.Framing + " "
		}
		return all
	}
	for i, framing := range []string{"line", "line", "crlf", "line"} {
		w, err := Create(file, Options{About: About{Framing: framing}})
		if err != nil {
			t.Fatal(err)
		}
		s := parley.NewSession(1, nil, nil, at(i))
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: at(i)})
		w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(i), Request: []byte("a")}})
		w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(i), Reason: parley.EndOfFile})
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Create(file, Options{About: About{Framing: "chunk"}}) // nobody comes
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := origins(r); got != "line line crlf line " {
		t.Errorf("the sessions have %s", got)
	}
	if got, err := r.Framings(t.Context()); err != nil || !slices.Equal(got, []string{"line", "crlf"}) {
		t.Errorf("framings %q, %v", got, err)
	}
	if n := oneNumber(t, r, "SELECT count(*) FROM origins"); n != 3 {
		t.Errorf("%d origins, want 3: one for the first two runs", n)
	}
	f, err := openFile(file, Options{Keep: Keep{Age: 1}, About: About{Framing: "chunk"}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.exec("DELETE FROM exchanges WHERE id < 4"); err != nil { // as they are when they are too old
		t.Fatal(err)
	}
	for range 2 { // origins go when their sessions have gone
		if err := f.pruneSessions(); err != nil {
			t.Fatal(err)
		}
	}
	if got := origins(r); got != "line " {
		t.Errorf("the sessions have %s", got)
	}
	if n := oneNumber(t, r, "SELECT count(*) FROM origins"); n != 1 {
		t.Errorf("%d origins are left, want 1", n)
	}
}
