package journal

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// What went wrong on purpose is told in its place and with the exchange it touched, and how long a
// message was of which a part is concealed.
func TestFaultsAndConcealedMessages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	w, err := Create(file, Options{About: About{Framing: "line", Role: "tap", Listener: ":1", Upstream: "u:2", Node: "n"}})
	if err != nil {
		t.Fatal(err)
	}
	s := parley.NewSession(1, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
	w.Pass(s, []parley.Exchange{{Seq: 1, Received: at(10), Took: time.Millisecond, Request: []byte("AUTH ***"), Reply: []byte("ok"), RequestWhole: 40, Secret: true},
		{Seq: 2, Received: at(20), Took: 5 * time.Millisecond, Request: []byte("two"), Reply: []byte("*"), ReplyWhole: 9, ReplyCut: 3},
		{Seq: 3, Received: at(30), Took: 5 * time.Millisecond, Request: []byte("three"), Reply: []byte("3")}})
	for _, f := range []parley.Event{{Seq: 2, Fault: "reply.delay=4ms", Time: at(22)}, {Seq: 2, Fault: "reply.cut=1", Time: at(23)}, {Fault: "stall=5s/30s", Time: at(31)}} {
		f.Kind, f.Session = parley.Faulted, s
		w.Observe(&f)
	}
	refused := parley.NewSession(0, nil, nil, at(0))
	w.Observe(&parley.Event{Kind: parley.Faulted, Session: refused, Time: at(32), Fault: "refuse=10%"})
	w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: at(50), Seq: 3, Replied: 3, Reason: parley.Fault})
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	told := func(f Filter) (all []string) {
		for _, e := range collect(t, r.Events(t.Context(), f)) {
			one := e.Kind.String()
			if e.Fault != nil {
				one = fmt.Sprintf("%s %d", e.Fault.Fault, e.Fault.Seq)
			}
			all = append(all, one)
		}
		return all
	}
	want := []string{"opened", "received", "replied", "received", "reply.delay=4ms 2", "reply.cut=1 2", "replied", "received", "stall=5s/30s 0", "replied", "closed"}
	if got := told(Filter{}); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if got := told(Filter{Since: at(23), Until: at(32), Session: 1}); !slices.Equal(got, []string{"reply.cut=1 2", "received", "stall=5s/30s 0", "replied"}) {
		t.Errorf("in a part of the time told %q", got)
	}
	if got := told(Filter{Reason: "eof"}); got != nil {
		t.Errorf("of other sessions told %q", got)
	}
	if got := told(Filter{Text: []byte("two")}); slices.Contains(got, "reply.cut=1 2") {
		t.Errorf("of one exchange told %q", got)
	}
	var got []string
	for _, x := range collect(t, r.Exchanges(t.Context(), Filter{})) {
		got = append(got, fmt.Sprintf("%d %q %d %d %q", x.Seq, x.Fault, x.RequestWhole, x.ReplyWhole, x.Reply))
	}
	if want := []string{`1 "" 40 0 "ok"`, `2 "reply.delay=4ms, reply.cut=1" 0 9 "*"`, `3 "" 0 0 "3"`}; !slices.Equal(got, want) {
		t.Errorf("exchanges %q, want %q", got, want)
	}
	if v, err := r.Verify(t.Context()); v != (Verdict{Sessions: 1, Exchanges: 3}) || err != nil {
		t.Errorf("Verify = %+v, %v", v, err)
	}
	var fault string
	if err := sqlOf(t, copyOf(t, file)).QueryRow("SELECT group_concat(fault || '/' || request_bytes || '/' || reply_bytes, ' ') FROM v_exchange WHERE seq = 2").Scan(&fault); err != nil || fault != "reply.delay=4ms, reply.cut=1/3/12" {
		t.Errorf("v_exchange has %s, %v", fault, err)
	}
	for _, change := range []string{"UPDATE faults SET fault = 'other' WHERE id = 1", "UPDATE cuts SET request_whole = 41", "UPDATE cuts SET reply_whole = 0 WHERE exchange = 2"} {
		damaged := copyOf(t, file)
		if _, err := sqlOf(t, damaged).Exec(change); err != nil {
			t.Fatal(err)
		}
		r, err := Open(damaged)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := r.Verify(t.Context()); v.Damages == 0 || err != nil {
			t.Errorf("after %s: %+v, %v; want damage", change, v, err)
		}
		r.Close()
	}
}

// A journal of version 3, of a tap with --max-message 32B, is read as it is, and as it was when a
// writer has brought it up to date.
func TestVersion3IsReadAndBroughtUpToDate(t *testing.T) {
	file := copyOf(t, filepath.Join("testdata", "version3-tap.journal"))
	before, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	check := func() {
		t.Helper()
		if got, want := briefs(t, before, Filter{}), "+1 1.1? 1.1! 1.2? 1.2! 1.3? 1.3! -1 +2 2.1? 2.1! -2"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if v, err := before.Verify(t.Context()); v != (Verdict{Sessions: 2, Exchanges: 4}) || err != nil {
			t.Errorf("Verify = %+v, %v", v, err)
		}
		_, all, err := before.Session(t.Context(), 2, 0)
		if err != nil || len(all) != 1 || all[0].RequestCut != 118 || all[0].RawReply.Cut != 136 || all[0].RequestWhole != 0 {
			t.Errorf("the long one is %+v, %v", all, err)
		}
	}
	check()
	var told []string
	w, err := Create(file, Options{Warn: func(text string) { told = append(told, text) }})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"is brought up to date once, from version 3 to 6"}; !slices.Equal(told, want) {
		t.Errorf("it is told %q, want %q", told, want)
	}
	check()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
}

// The views of each version say the same, and are those that docs/journal.md lists.
func TestViewsOfAllVersions(t *testing.T) {
	const exchanges = "id, session, number, seq, remote, local, received, received_ns, took_ns, request, reply, request_bytes, reply_bytes, replied, secret, fault, framing, node, role, listener, upstream"
	const sessions = "id, number, remote, local, opened, opened_ns, closed, closed_ns, lasted_ns, reason, requests, replied_upto, bytes_in, bytes_out, stray, framing, node, role, listener, upstream, tls_version, tls_name, proxied, out_local, out_remote"
	dump := func(db *sql.DB, query string) string {
		t.Helper()
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		names, _ := rows.Columns()
		all := strings.Join(names, ", ")
		for rows.Next() {
			row, into := make([]any, len(names)), make([]any, len(names))
			for i := range row {
				into[i] = &row[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			all += "\n"
			for i, v := range row {
				if b, is := v.([]byte); is {
					v = string(b)
				}
				all += strings.Repeat("|", min(i, 1)) + fmt.Sprint(v)
			}
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		return all
	}
	both := func(file string, version int64) (exchanges, sessions string) {
		t.Helper()
		db := sqlOf(t, file)
		db.SetMaxOpenConns(1)
		if version > 0 {
			if _, err := db.Exec(viewsOf(version, "TEMP VIEW")); err != nil {
				t.Fatal(err)
			}
		}
		return dump(db, "SELECT * FROM v_exchange ORDER BY id"), dump(db, "SELECT * FROM v_session ORDER BY id")
	}
	for name, version := range map[string]int64{"version2-server": 2, "version2-tap": 2, "version3-tap": 3} {
		file := copyOf(t, filepath.Join("testdata", name+".journal"))
		wantExchanges, wantSessions := both(file, version)
		if !strings.HasPrefix(wantExchanges, exchanges+"\n") || !strings.HasPrefix(wantSessions, sessions+"\n") {
			t.Errorf("%s: the columns are\n%s\n%s", name, wantExchanges, wantSessions)
		}
		w, err := Create(file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, version := range []int64{0, 6} {
			if gotExchanges, gotSessions := both(file, version); gotExchanges != wantExchanges || gotSessions != wantSessions {
				t.Errorf("%s brought up to date has\n%s\n%s\nwant\n%s\n%s", name, gotExchanges, gotSessions, wantExchanges, wantSessions)
			}
		}
		if name == "version2-tap" && (!strings.Contains(wantExchanges, "|9|unasked|") || !strings.Contains(wantExchanges, "|100|<nil>|no|")) {
			t.Errorf("v_exchange does not say what was replied:\n%s", wantExchanges)
		}
		if name == "version3-tap" {
			for _, want := range []string{
				"\n1|1|1|1|127.0.0.1:33140|127.0.0.1:17972|2026-11-26T14:40:04.9898", "|one|Request #1 - one ...|3|20|yes|0|<nil>|line|vm|tap|[::]:17972|localhost:17971",
				"|150|167|yes|0|<nil>|line|",
			} {
				if !strings.Contains(wantExchanges, want) {
					t.Errorf("v_exchange has\n%s\nand not %s", wantExchanges, want)
				}
			}
		}
	}
}
