package tally

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// recorded makes a journal of a redis tap: two sessions, the second of which its peer reset before
// its last reply got out.
func recorded(t *testing.T) *journal.Reader {
	t.Helper()
	return opened(t, record(t))
}

func opened(t *testing.T, file string) *journal.Reader {
	t.Helper()
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func record(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "j")
	w, err := journal.Create(file, journal.Options{About: journal.About{Framing: "redis", Role: "tap"}})
	if err != nil {
		t.Fatal(err)
	}
	command := func(words ...string) []byte {
		f, _ := dialect.Parse("redis")
		wire := f.Compose(words)
		requests, _ := parley.OpenFraming(f.Requests, f.Replies)
		wire, err := requests.End(append(requests.Begin(nil), wire...), 0)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	for n, session := range [][]parley.Exchange{
		{
			{Seq: 1, Took: time.Millisecond, Request: command("GET", "user:1"), Reply: []byte("$-1\r\n")},
			{Seq: 2, Took: 3 * time.Millisecond, Request: command("GET", "user:22"), Reply: []byte("-ERR no\r\n")},
			{Seq: 3, Took: time.Millisecond, Request: command("AUTH", "secret"), Reply: []byte("+OK\r\n"), Secret: true},
			{Seq: 4, Request: command("SAVE")},                             // kept alone
			{Seq: 4, Took: 9 * time.Millisecond, Reply: []byte("+OK\r\n")}, // and its reply
			{Seq: 0, Reply: []byte(">2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n")},    // nobody asked
			{Seq: 5, Request: command("SAVE")},                             // which nobody answered
		},
		{
			{Seq: 1, Took: 2 * time.Millisecond, Request: command("GET", "user:333"), Reply: []byte("$1\r\nx\r\n")},
			{Seq: 2, Took: 2 * time.Millisecond, Request: command("GET", "\x1b[2J=1+1"), Reply: []byte("$1\r\nx\r\n")},
		},
	} {
		s := parley.NewSession(uint64(n+1), addr(fmt.Sprintf("10.0.0.%d:5000", n+1)), addr("10.0.0.9:6379"), start.Add(time.Duration(n)*time.Minute))
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: s.Opened()})
		for i, x := range session {
			x.Received = s.Opened().Add(time.Duration(i) * time.Second)
			w.Pass(s, []parley.Exchange{x})
		}
		closed := parley.Event{Kind: parley.Closed, Session: s, Time: s.Opened().Add(10 * time.Second), Seq: 5, Replied: 4, Reason: parley.EndOfFile}
		if n == 1 {
			closed.Seq, closed.Replied, closed.Reason = 2, 1, parley.Reset
		}
		w.Observe(&closed)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return file
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func lines(t *testing.T, r *journal.Reader, f journal.Filter, opt Options) (all []string, result *Result) {
	t.Helper()
	result, err := Of(t.Context(), r, f, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range result.Rows {
		name := row.Shape + row.Peer
		switch {
		case row.Session != nil:
			name = fmt.Sprint(row.Session.Number)
		case !row.From.IsZero():
			name = row.From.Format("04:05")
		case row.Unasked:
			name = "unasked " + name
		}
		all = append(all, fmt.Sprintf("%s: %d %d, %v %v", name, row.Exchanges, row.Errors, row.Took.Percentile(50), row.Took.Max))
	}
	return all, result
}

func TestTally(t *testing.T) {
	r := recorded(t)
	for _, c := range []struct {
		name string
		f    journal.Filter
		opt  Options
		want []string
		ends string
	}{
		{"by shape", journal.Filter{}, Options{By: ByShape}, []string{
			"GET user:{n}: 3 1, 2ms 3ms", "SAVE: 2 1, 9ms 9ms", `GET "\x{n}b[{n}J={n}+{n}": 1 1, 2ms 2ms`, "AUTH (secret): 1 0, 1ms 1ms", "unasked [foo bar]: 1 0, 0s 0s",
		}, "map[eof:1 reset:1]"},
		{"with secrets", journal.Filter{Text: []byte("secret")}, Options{By: ByShape, Secrets: true}, []string{"AUTH secret: 1 0, 1ms 1ms"}, "map[eof:1]"},
		{"by session", journal.Filter{}, Options{By: BySession}, []string{"1: 5 2, 1ms 9ms", "2: 2 1, 2ms 2ms"}, "map[eof:1 reset:1]"},
		{"by peer", journal.Filter{Address: "10.0.0.2"}, Options{By: ByPeer}, []string{"10.0.0.2: 2 1, 2ms 2ms"}, "map[reset:1]"},
		{"over time", journal.Filter{}, Options{By: ByTime, Every: 30 * time.Second}, []string{"00:00: 5 2, 1ms 9ms", "00:30: 0 0, 0s 0s", "01:00: 2 1, 2ms 2ms"}, "map[eof:1 reset:1]"},
		{"slower", journal.Filter{Slower: 3 * time.Millisecond}, Options{By: BySession}, []string{"1: 1 1, 3ms 3ms"}, "map[eof:1]"},
		{"the newest", journal.Filter{Limit: 1}, Options{By: BySession}, []string{"2: 1 1, 2ms 2ms"}, "map[reset:1]"},
		{"nothing", journal.Filter{Reason: "full"}, Options{By: ByShape}, nil, "map[]"},
		{"nothing over time", journal.Filter{Reason: "full"}, Options{By: ByTime, Every: time.Second}, nil, "map[]"},
	} {
		got, result := lines(t, r, c.f, c.opt)
		if !slices.Equal(got, c.want) || fmt.Sprint(result.Ends) != c.ends {
			t.Errorf("%s: got\n%s\n%v\nwant\n%s\n%s", c.name, strings.Join(got, "\n"), result.Ends, strings.Join(c.want, "\n"), c.ends)
		}
	}
}

// Exchanges whose session is lost are counted, by a session of which nothing else is known, and how
// that ended is counted nowhere.
func TestLostSessionsAreCounted(t *testing.T) {
	file := record(t)
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DELETE FROM sessions WHERE number = 1"); err != nil {
		t.Fatal(err)
	}
	r := opened(t, file)
	for _, c := range []struct {
		f    journal.Filter
		opt  Options
		want []string
		ends string
	}{
		{journal.Filter{}, Options{By: BySession}, []string{"0: 5 1, 1ms 9ms", "2: 2 1, 2ms 2ms"}, "map[reset:1]"},
		{journal.Filter{}, Options{By: ByPeer}, []string{": 5 1, 1ms 9ms", "10.0.0.2: 2 1, 2ms 2ms"}, "map[reset:1]"},
		{journal.Filter{Slower: 9 * time.Millisecond}, Options{By: BySession}, []string{"0: 0 0, 0s 0s"}, "map[]"},
	} {
		got, result := lines(t, r, c.f, c.opt)
		if !slices.Equal(got, c.want) || fmt.Sprint(result.Ends) != c.ends {
			t.Errorf("by %s: got\n%s\n%v\nwant\n%s\n%s", c.opt.By, strings.Join(got, "\n"), result.Ends, strings.Join(c.want, "\n"), c.ends)
		}
	}
}

// A row more than can be shown is refused, with what helps.
func TestTooManyBuckets(t *testing.T) {
	r := recorded(t)
	many := new(TooMany)
	_, err := Of(t.Context(), r, journal.Filter{}, Options{By: ByTime, Every: time.Millisecond})
	if want := "61001 rows of 1ms, which are more than 10000; use 100ms or longer, or --since and --until"; !errors.As(err, &many) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for every, want := range map[time.Duration]int{61 * time.Second / 9998: 0, 61 * time.Second / 10010: -1} {
		result, err := Of(t.Context(), r, journal.Filter{}, Options{By: ByTime, Every: every})
		if (err == nil) != (want == 0) || err == nil && len(result.Rows) > maxBuckets {
			t.Errorf("every %v: %v", every, err)
		}
	}
}

// Percentiles are exact, and of many times at most 1 % too high.
func TestTimes(t *testing.T) {
	for _, n := range []int{1, 2, exactTimes, exactTimes + 1, 3 * exactTimes} {
		var times Times
		for i := range n {
			times.add(time.Duration((i*7919)%n+1) * time.Microsecond)
		}
		if times.Count() != int64(n) {
			t.Errorf("%d of %d", times.Count(), n)
		}
		for _, p := range []float64{50, 90, 99, 100} {
			rank := max(1, int((p*float64(n)+99)/100))
			want, got := time.Duration(rank)*time.Microsecond, times.Percentile(p)
			if exact := n <= exactTimes; exact && got != want || got < want*999/1000 || got > want*101/100 {
				t.Errorf("p%v of %d is %v, want %v", p, n, got, want)
			}
		}
		if times.Max != time.Duration(n)*time.Microsecond {
			t.Errorf("the longest of %d is %v", n, times.Max)
		}
	}
	if new(Times).Percentile(50) != 0 {
		t.Error("there is a time of none")
	}
}
