package report

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

// Every second is a row as soon as it is over: times in µs, and none where nothing came back.
func TestSecondsAsCSV(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file strings.Builder
		seconds := NewSecondsCSV(&file)
		plan := load.Plan{Connections: 2, Warmup: time.Second, Duration: 2 * time.Second, Timeout: 10 * time.Second, Watch: seconds.Add,
			Messages: load.ParseMessages([]byte("{n}"))}
		begun := time.Now()
		speaking(func(line string, conn *parleytest.Conn) bool {
			time.Sleep(10*time.Millisecond - time.Microsecond/2)
			if time.Since(begun) > 2*time.Second { // all of the last second
				time.Sleep(3 * time.Second)
			}
			conn.Write([]byte(line + "\n"))
			return true
		}).run(t, plan)
		want := []string{
			`time,at_s,length_s,replies,rate_per_s,bad,p50_us,p95_us,p99_us,in_flight`,
			`2000-01-01T00:00:02\.000Z,1,1,198,198,0,100\d\d\.\d+,100\d\d\.\d+,100\d\d\.\d+,2`,
			`2000-01-01T00:00:03\.000Z,2,1,0,0,0,,,,2`,
			`2000-01-01T00:00:0\d\.\d{3}Z,2\.5,0\.5,6,12,4,1000,2500,3000,7`,
		}
		seconds.Add(load.Second{At: 2500 * time.Millisecond, Length: time.Second / 2, Replies: 6, Bad: 4, P50: time.Millisecond, P95: 2500 * time.Microsecond, P99: 3 * time.Millisecond, Open: 7})
		rows := strings.Split(file.String(), "\n")
		for i, row := range want {
			if i == len(want)-1 { // behind what the run had to wait for
				i = len(rows) - 2
			}
			if !regexp.MustCompile("^" + row + "$").MatchString(rows[i]) {
				t.Errorf("row %d is %q, want a match of %s", i, rows[i], row)
			}
		}
	})
	full := &fullDisk{room: 1}
	seconds := NewSecondsCSV(full)
	seconds.Add(load.Second{At: time.Second, Length: time.Second})
	seconds.Add(load.Second{At: time.Second, Length: time.Second})
	if seconds.Err() != errFull || full.writes != 2 {
		t.Errorf("on a full disk error %v after %d writes, want %v after 2", seconds.Err(), full.writes, errFull)
	}
}

// That a closed loop hides stalls is said where it did, and with how much it hid.
func TestClosedLoopIsSaidWhereItHides(t *testing.T) {
	for name, c := range map[string]struct {
		rate float64
		slow map[int64]time.Duration // requests that took so long, beside 10,000 of a ms
		late uint64
		want string
	}{
		"steady":         {slow: map[int64]time.Duration{50: 8 * time.Millisecond}},
		"a tail":         {slow: map[int64]time.Duration{1: 90 * time.Millisecond}},
		"a stall":        {slow: map[int64]time.Duration{16: 100 * time.Millisecond}, want: "Closed loop: 14 % of the time was in a few requests that took over 10 times the p99, "},
		"an open loop":   {slow: map[int64]time.Duration{16: 100 * time.Millisecond}, rate: 1},
		"in the p99 too": {slow: map[int64]time.Duration{200: 100 * time.Millisecond}},
		"nothing came":   {slow: map[int64]time.Duration{-1: 0}},
		"a late reply":   {late: 1, want: "Closed loop: a connection that waited for what was late or missing sent nothing, "},
		"an open one":    {late: 1, rate: 1},
	} {
		h := histogramOf(t)
		if c.slow[-1] == 0 && name != "nothing came" {
			h.RecordValues(int64(time.Millisecond), 10_000)
		}
		for n, took := range c.slow {
			h.RecordValues(int64(took), max(n, 0))
		}
		r := &Report{Plan: load.Plan{Rate: c.rate}, Result: &load.Result{Replies: 1, Late: c.late, Service: load.Times{Histogram: h}, Response: load.Times{Histogram: h}, Lag: load.Times{Histogram: histogramOf(t)}}}
		told := ""
		for _, note := range r.Notes() {
			if strings.HasPrefix(note, "Closed loop") {
				told = note
			}
		}
		if !strings.HasPrefix(told, c.want) || c.want == "" && told != "" {
			t.Errorf("%s: told %q, want %q", name, told, c.want)
		}
	}
}
