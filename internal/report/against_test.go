package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
)

// baselineOf is a run with these figures: replies in each second, or with a rate the p99 of each in
// µs, 0 for a second without a reply.
func baselineOf(rate, overall float64, seconds ...float64) *Baseline {
	b := &Baseline{Version: baselineVersion, Saved: time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)}
	b.Plan = PlanFacts{Target: "loopback", Framing: "line", Connections: 4, InFlight: 1, Rate: rate, Duration: float64(len(seconds)), Messages: strings.Repeat("ab", 32)}
	b.Machine = MachineFacts{CPU: "some CPU", Cores: 2, GOMAXPROCS: 2, System: "linux/amd64", Kernel: "6.1", Parley: "v8"}
	times := &timesJSON{P50: 100, P99: 1000}
	b.Result = &reportJSON{Target: "127.0.0.1:7001", Rate: overall, Response: times}
	if rate > 0 {
		b.Result.Rate, times.P99 = rate, overall
	}
	for i, v := range seconds {
		s := secondJSON{At: float64(i + 1), Length: 1, Replies: uint64(v), P50: 100, P99: 1000}
		if rate > 0 {
			s.Replies, s.P99 = uint64(min(v, 1)*max(rate, 1)), v
		}
		b.Seconds = append(b.Seconds, s)
	}
	return b
}

func TestAnEarlierRunIsWhatALaterOneIsJudgedBy(t *testing.T) {
	then := baselineOf(0, 1000, 990, 1000, 1010, 1005, 995)
	thenOpen := baselineOf(50, 1000, 990, 1000, 1010, 1005, 995)
	for name, c := range map[string]struct {
		then, now *Baseline
		verdict   Verdict
		u, p      float64
	}{
		"slower in each second":      {then, baselineOf(0, 800, 790, 800, 810, 805, 795), Worse, 0, 2.0 / 252},
		"slower, but not by 1.1":     {then, baselineOf(0, 950, 940, 950, 960, 955, 945), NotWorse, 0, 2.0 / 252},
		"quicker in each second":     {then, baselineOf(0, 1200, 1190, 1200, 1210, 1205, 1195), NotWorse, 25, 2.0 / 252},
		"slower for two bad seconds": {then, baselineOf(0, 800, 200, 1003, 1004, 1011, 300), ByChance, 11, 2 * 0.42063492063492064},
		"four seconds are enough":    {then, baselineOf(0, 800, 790, 800, 810, 805), Worse, 0, 2.0 / 126},
		"two are not":                {then, baselineOf(0, 800, 790, 800), TooShort, 0, 0},
		"none is not":                {then, baselineOf(0, 800), TooShort, 0, 0},
		"open: p99 is worse":         {thenOpen, baselineOf(50, 1200, 1190, 1200, 1210, 1205, 1195), Worse, 25, 2.0 / 252},
		"open: p99 is better":        {thenOpen, baselineOf(50, 800, 790, 800, 810, 805, 795), NotWorse, 0, 2.0 / 252},
		// p99 of all is that of one bad second: the others are better, which is no sign of worse.
		"open: worse for one, but better in most": {thenOpen, baselineOf(50, 9000, 790, 800, 810, 805, 795, 780, 9000), ByChance, 5, 2 * 19.0 / 792},
		// A second in which nothing came back is not one that took no time.
		"open: no replies": {thenOpen, baselineOf(50, 1200, 0, 0, 0, 0, 0), Worse, 25, 2.0 / 252},
		// At one in a while none may have been due.
		"open: one in a while": {thenOpen, baselineOf(0.5, 1200, 0, 0, 0, 1300, 1310, 1320, 1330), Worse, 20, 2.0 / 126},
	} {
		j := Judge(c.then, c.now, "was.json", 1.1)
		if j.Verdict != c.verdict || j.test.U != c.u || math.Abs(j.test.P-c.p) > 1e-9 {
			t.Errorf("%s: %s, U = %v, p = %v; want %s, %v, %v", name, j.Verdict, j.test.U, j.test.P, c.verdict, c.u, c.p)
		}
	}
	// Just as much as is allowed is not more.
	half := baselineOf(0, 500, 490, 500, 510, 505, 495)
	for maxRatio, want := range map[float64]Verdict{2: NotWorse, 1.99: Worse} {
		if j := Judge(then, half, "", maxRatio); j.Verdict != want {
			t.Errorf("twice as bad where %v is allowed: %s, want %s", maxRatio, j.Verdict, want)
		}
	}
}

func TestJudgementSaysWhatItRestsOn(t *testing.T) {
	then, now := baselineOf(0, 1000, 990, 1000, 1010, 1005, 995), baselineOf(0, 800, 790, 800, 810, 805, 795)
	then.Result.Target, now.Machine.Kernel, now.Plan.Duration, now.Plan.Greeting = "a\x1b[2J", "6.2", 1.5, "until \x1b"
	now.Plan.Messages = strings.Repeat("cd", 32)
	var text strings.Builder
	Judge(then, now, "was.json", 1.1).writeText(&text)
	want := `against was.json: a\x1b[2J, saved 2026-03-01 12:30 UTC

                then      now  now is worse by
  replies/s    1,000      800       1.25 times
        p50   100 µs   100 µs       1.00 times
        p99  1.00 ms  1.00 ms       1.00 times

different: greeting: "" then, "until \x1b" now
different: requests: abababababab… then, cdcdcdcdcdcd… now
different: duration: 5 s then, 1.5 s now
different: kernel: 6.1 then, 6.2 now
Worse: replies/s is worse by 1.25 times, and 1.1 is allowed.
Mann-Whitney U test of the replies/s of each second, 5 then and 5 now: U = 0 of 25, p = 0.0079 (two-sided; chance is ruled out below 0.05).
`
	if text.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", text.String(), want)
	}
	for verdict, c := range map[Verdict]struct {
		now  *Baseline
		want string
	}{
		NotWorse: {baselineOf(0, 2000, 1990, 2000, 2010, 2005, 1995), "Not worse: replies/s is better by 2.00 times."},
		ByChance: {baselineOf(0, 800, 200, 1003, 1004, 1011, 300), "Not judged worse: replies/s is worse by 1.25 times, and 1.1 is allowed, but the seconds of the two runs do not rule out chance. A longer run may."},
		TooShort: {baselineOf(0, 800, 800), "Not judged: 5 seconds then and 1 now are too few for any difference to rule out chance; --duration measures longer, and 4 of both are enough."},
	} {
		if j := Judge(then, c.now, "", 1.1); j.Verdict != verdict || j.sentences()[0] != c.want {
			t.Errorf("%s: %q, want %q", j.Verdict, j.sentences()[0], c.want)
		}
	}
}

// A run in made-up time comes back from its file as it was saved, and stands beside itself.
func TestARunIsKept(t *testing.T) {
	contains, _ := expect.Parse("contains")
	for name, plan := range map[string]load.Plan{
		"closed": {Connections: 2, Duration: 6 * time.Second, Expect: contains, Timeout: time.Second},
		"open":   {Connections: 2, Rate: 100, Duration: 6 * time.Second, Expect: contains, Timeout: time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			report := measured(t, plan, nil)
			kept := NewBaseline(NewSetup(PlanFacts{Target: "loopback"}, &report.Plan, "v8"), report)
			var file bytes.Buffer
			if err := kept.Write(&file); err != nil {
				t.Fatal(err)
			}
			read, err := ReadBaseline(&file)
			if err != nil {
				t.Fatal(name, err)
			}
			if !reflect.DeepEqual(read, kept) || len(read.Seconds) < 6 || read.Result.Examples != nil {
				t.Errorf("%s: read %+v, was %+v", name, read, kept)
			}
			report.Against = Judge(read, kept, "was.json", 1.1)
			if report.Against.Verdict != NotWorse || report.Against.test.P != 1 || len(report.Against.Differs) > 0 {
				t.Errorf("%s: beside itself it is %+v", name, report.Against)
			}
			var text, line, page bytes.Buffer
			if err := report.WriteText(&text, 0); err != nil || !strings.Contains(text.String(), "\nNot worse: ") {
				t.Errorf("%s: %v, the report says\n%s", name, err, text.String())
			}
			var got struct {
				Against map[string]any `json:"against"`
			}
			if err := report.WriteJSON(&line); err != nil {
				t.Error(err)
			}
			if err := json.Unmarshal(line.Bytes(), &got); err != nil || got.Against["verdict"] != "not_worse" || got.Against["p"] != 1.0 {
				t.Errorf("%s: %v, its JSON has %v", name, err, got.Against)
			}
			if err := WritePage(&page, report.About(nil), report.Result); err != nil || !strings.Contains(page.String(), "Not worse: ") {
				t.Errorf("%s: %v, the page does not say how it stands", name, err)
			}
		})
	}
}

func TestOtherFilesAreNoRuns(t *testing.T) {
	whole := func(change func(*Baseline)) string {
		b := baselineOf(0, 1000, 990, 1000)
		change(b)
		var text bytes.Buffer
		if err := b.Write(&text); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	good := whole(func(*Baseline) {})
	const foreign = "it is no run that bench --save wrote"
	for text, want := range map[string]string{
		"":                         foreign,
		"replies/s 1,000\n":        foreign,
		"{}":                       foreign,
		"[1]":                      foreign,
		`{"target":"127.0.0.1:1"}`: foreign,
		`{"parley_bench":0}`:       foreign,
		`{"parley_bench":"one"}`:   foreign,
		good + good:                foreign,
		good[:len(good)/2]:         fmt.Sprintf("it is cut short: it ends after %d bytes, in the middle", len(good)/2),
		`{"parley_bench":2,"plan":{"connections":"some"}}`: "a newer parley has written it (version 2 of the file; this one reads 1)",
		`{"parley_bench":1,"plan":{"connections":"some"}}`: "it is damaged: json: cannot unmarshal string into Go struct field",
		`{"parley_bench":1}`:                                      "it is damaged: no reply is in its result",
		whole(func(b *Baseline) { b.Result.Rate = 0 }):            "it is damaged: no reply is in its result",
		whole(func(b *Baseline) { b.Result.Response = nil }):      "it is damaged: no reply is in its result",
		whole(func(b *Baseline) { b.Result.Response.P99 = -1 }):   "it is damaged: a time of its result is out of range",
		whole(func(b *Baseline) { b.Result.Response.P50 = 1e18 }): "it is damaged: a time of its result is out of range",
		whole(func(b *Baseline) { b.Seconds[1].Length = 0 }):      "it is damaged: a figure of its seconds is out of range",
		whole(func(b *Baseline) { b.Seconds[1].P99 = -1 }):        "it is damaged: a figure of its seconds is out of range",
	} {
		if _, err := ReadBaseline(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
	for most, ok := range map[int]bool{len(good) - 1: false, len(good): true, len(good) + 1: true} {
		if _, err := readBaseline(strings.NewReader(good), int64(most)); (err == nil) != ok {
			t.Errorf("%d bytes where there may be %d: %v", len(good), most, err)
		}
	}
}

// Whatever a file has, a run can be judged by it or it is refused.
func FuzzReadBaseline(f *testing.F) {
	for _, b := range []*Baseline{baselineOf(0, 1000, 990, 1000, 1010, 1005), baselineOf(50, 1000, 0, 1000, 1010, 1005)} {
		var text bytes.Buffer
		if err := b.Write(&text); err != nil {
			f.Fatal(err)
		}
		f.Add(text.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ReadBaseline(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, other := range []*Baseline{baselineOf(0, 1000, 990, 1000, 1010, 1005), baselineOf(50, 1000, 990, 0, 1010, 1005)} {
			j := Judge(b, other, "f", 1.1)
			var told strings.Builder
			j.writeText(&told)
			if strings.ContainsRune(told.String(), '\x1b') {
				t.Errorf("it says %q", told.String())
			}
			if _, err := json.Marshal(newAgainstJSON(j)); err != nil {
				t.Error(err)
			}
		}
	})
}
