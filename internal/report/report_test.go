package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/parleytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as it was; got\n%s\nwant\n%s", name, got, want)
	}
}

// measured is a report whose every figure comes of made-up time: the service takes as many
// ms as the request's number says, 1 to 10, but for what misbehave does.
func measured(t *testing.T, plan load.Plan, misbehave func(line string, conn *parleytest.Conn) (handled bool)) *Report {
	t.Helper()
	s := speaking(func(line string, conn *parleytest.Conn) bool {
		if misbehave != nil && misbehave(line, conn) {
			return true
		}
		time.Sleep(time.Duration(line[len(line)-1]-'0'+1) * time.Millisecond)
		conn.Write([]byte("re " + line + "\n"))
		return true
	})
	r := &Report{Target: "memory:1", Plan: plan}
	if r.Plan.Messages == nil {
		r.Plan.Messages = load.ParseMessages([]byte("{n}"))
	}
	r.Result = s.run(t, r.Plan)
	r.CPU = 0 // this process's, in real time
	return r
}

func TestReportsForAPerson(t *testing.T) {
	contains, _ := expect.Parse("contains")
	for name, plan := range map[string]load.Plan{
		"closed.txt":  {Connections: 2, Duration: 10 * time.Second, Warmup: time.Second, Expect: contains},
		"open.txt":    {Connections: 10, Rate: 250, Duration: 20 * time.Second, Expect: contains},
		"each.txt":    {Connections: 1, Requests: 100, ConnectEach: true, Expect: contains},
		"faulty.txt":  {Connections: 1, Requests: 1000, Timeout: time.Second, Expect: contains},
		"nothing.txt": {Connections: 1, Requests: 3, Timeout: time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var misbehave func(line string, conn *parleytest.Conn) bool
			switch name {
			case "faulty.txt":
				misbehave = func(line string, conn *parleytest.Conn) bool {
					switch {
					case strings.HasSuffix(line, "01"):
						conn.Write([]byte("what?\n"))
					case strings.HasSuffix(line, "02"):
						time.Sleep(1500 * time.Millisecond)
						conn.Write([]byte(line + "\n"))
					case strings.HasSuffix(line, "03"):
						conn.Write([]byte(line + "\nmore\n"))
					case strings.HasSuffix(line, "05"):
						time.Sleep(time.Minute)
					default:
						return false
					}
					return true
				}
			case "nothing.txt":
				misbehave = func(string, *parleytest.Conn) bool { time.Sleep(time.Minute); return true }
			}
			var text bytes.Buffer
			if err := measured(t, plan, misbehave).WriteText(&text, 0); err != nil {
				t.Error(err)
			}
			golden(t, name, text.String())
		})
	}
}

// Tables fit into the terminal by leaving out what is needed least; what failed is never left out.
func TestReportFitsTheTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := measured(t, load.Plan{Connections: 1, Requests: 100, Timeout: time.Second}, func(line string, conn *parleytest.Conn) bool {
			if line == "7" {
				conn.Write([]byte("7\nmore\n"))
			}
			return line == "7"
		})
		report.Plan.Messages = load.ParseMessages([]byte("{n}"))
		report.Plan.Expect = expect.Text("such such such such a reply")
		for width, columns := range map[int]string{
			0:   "time mean std dev min p50 p75 p90 p95 p99 p99.9 p99.99 max",
			110: "time mean std dev min p50 p75 p90 p95 p99 p99.9 p99.99 max",
			80:  "time p50 p90 p95 p99 p99.9 p99.99 max",
			40:  "time p50 p99 max", 1: "time p99 max",
		} {
			var text bytes.Buffer
			if err := report.WriteText(&text, width); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), "\nextra                         1") {
				t.Errorf("%d columns: no count of what is extra in\n%s", width, &text)
			}
			if width == 80 && !strings.Contains(text.String(), " such\n"+strings.Repeat(" ", 33)+"such a reply\"\n") {
				t.Errorf("%d columns: what is expected does not go on below in\n%s", width, &text)
			}
			_, table, _ := strings.Cut(text.String(), "\n\n")
			for line := range strings.Lines(table) {
				line = strings.TrimSuffix(line, "\n")
				isTable := strings.HasPrefix(strings.TrimSpace(line), "time ") || strings.HasPrefix(line, "  up to") || strings.HasPrefix(line, "  service ")
				if n := utf8.RuneCountInString(line); isTable && width >= 40 && n > width {
					t.Errorf("%d columns: a line has %d:\n%s", width, n, line)
				}
				if got := strings.Join(strings.Fields(line), " "); strings.HasPrefix(got, "time ") && got != columns {
					t.Errorf("%d columns: the table has %q, want %q", width, got, columns)
				}
			}
		}
	})
}

// Whatever arguments and peers wrote is on one line, and nothing in it steers a terminal.
func TestReportsEscapeWhatStrangersWrote(t *testing.T) {
	const evil = "\x1b[2J\u202e\n"
	expected := expect.Text(evil)
	excerpt := load.Excerpt{Bytes: []byte(evil), Size: len(evil)}
	result := &load.Result{
		Service: load.Times{Histogram: histogramOf(t)}, Response: load.Times{Histogram: histogramOf(t)}, Lag: load.Times{Histogram: histogramOf(t)},
		Connect: load.Times{Histogram: histogramOf(t)}, Lookup: load.Times{Histogram: histogramOf(t)}, FirstReply: load.Times{Histogram: histogramOf(t)},
		Examples: map[load.Outcome]*load.Example{load.Mismatched: {Request: excerpt, Reply: excerpt}, load.Missing: {Request: excerpt, Reply: excerpt, Cause: dial.Reset}},
	}
	report := &Report{Target: evil, Plan: load.Plan{Messages: load.ParseMessages([]byte(evil)), Expect: expected}, Result: result}
	comparison := &Comparison{Targets: [2]string{evil, evil}, Plans: [2]load.Plan{report.Plan, report.Plan}, Rounds: [][2]*load.Result{{{Mismatched: 1, Response: result.Response, Examples: result.Examples}, {Response: result.Response}}}}
	var text, line, plot, page, compared, comparedLine bytes.Buffer
	about := report.About([]string{"parley", "bench", evil})
	for _, err := range []error{
		report.WriteText(&text, 80), report.WriteJSON(&line), WritePlot(&plot, about, result), WritePage(&page, about, result), comparison.WriteText(&compared), comparison.WriteJSON(&comparedLine),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for name, out := range map[string]*bytes.Buffer{"text": &text, "JSON": &line, "plot": &plot, "page": &page, "comparison": &compared} {
		if strings.ContainsAny(out.String(), "\x1b\u202e") && name != "JSON" || strings.Contains(out.String(), "\x1b") {
			t.Errorf("the %s is not escaped:\n%s", name, out)
		}
		if want := `\x1b[2J\xe2\x80\xae\n`; name != "JSON" && !strings.Contains(out.String(), want) {
			t.Errorf("the %s does not show %s:\n%s", name, want, out)
		}
	}
	if !strings.Contains(compared.String(), "first mismatched: to ") || !strings.Contains(comparedLine.String(), `"examples":[{"mismatched":{`) {
		t.Errorf("a comparison does not show what went wrong first:\n%s%s", &compared, &comparedLine)
	}
	for _, want := range []string{`first mismatched: to "\x1b[2J\xe2\x80\xae\n": want the text "\x1b[2J\u202e\n", got "\x1b[2J\xe2\x80\xae\n"`, `first missing: to`} {
		if onLines := strings.ReplaceAll(text.String(), "\n  ", " "); !strings.Contains(onLines, want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	var found struct {
		Examples map[string]struct {
			Request []byte `json:"request_base64"`
			Reply   []byte `json:"reply_base64"`
			Kind    string
		}
	}
	if err := json.Unmarshal(line.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if e := found.Examples["missing"]; string(e.Request) != evil || string(e.Reply) != evil || e.Kind != "reset" {
		t.Errorf("the example in JSON is %+v, want the exact bytes", found.Examples)
	}
}

// A reply that is not whole is shown with what it lacks; a long one is cut.
func TestExamplesSayWhatIsMissing(t *testing.T) {
	report := &Report{Result: &load.Result{Examples: map[load.Outcome]*load.Example{
		load.Missing: {
			Request: load.Excerpt{Bytes: []byte("PING"), Size: 4}, Reply: load.Excerpt{Bytes: []byte("PONG\x00"), Size: 5},
			Cause: dial.ReplyTimeout, Took: 10 * time.Second, Lacks: "no newline ends it", Advice: "do so",
		},
		load.Extra: {Reply: load.Excerpt{Bytes: bytes.Repeat([]byte("x"), 4096), Size: 65536}},
	}}}
	got := strings.Join(Examples(&report.Plan, report.Result), "\n")
	want := `first missing: to "PING": want a reply, but no newline ends it: "PONG\x00"; do so (reply timeout after 10.0 s)
first extra: want nothing more, got "` + strings.Repeat("x", 200) + `"… (65,536 bytes)`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if e := newExamplesJSON(report.Result)[load.Missing]; *e.RequestBytes != 4 || *e.Request != "PING" || e.ReplyBytes != 5 || string(e.ReplyBase64) != "PONG\x00" || e.Lacks != "no newline ends it" {
		t.Errorf("in JSON %+v", e)
	}
}

// What must be known to read the figures rightly is said with them.
func TestNotesSayWhatIsLeftOut(t *testing.T) {
	slow, quick := histogramOf(t), histogramOf(t)
	slow.RecordValue(int64(time.Second))
	quick.RecordValue(int64(time.Microsecond))
	kept := load.Result{Replies: 1, Response: load.Times{Histogram: slow}, Lag: load.Times{Histogram: quick}}
	unsent, busy, late := kept, kept, kept
	unsent.Unsent, busy.CPU, late.Lag = 1234, 0.95, load.Times{Histogram: slow}
	exact, _ := expect.Parse("exact")
	for want, result := range map[string]*load.Result{
		"": &kept, "1,234 requests were due and could not be sent": &unsent,
		"used 95 % of its CPU": &busy, "itself late in sending": &late,
	} {
		report := Report{Plan: load.Plan{Rate: 10, Expect: exact}, Result: result}
		notes := strings.Join(report.Notes(), "\n")
		if !strings.Contains(notes, want) || want == "" && notes != "" {
			t.Errorf("the notes are %q, want %q", notes, want)
		}
	}
}

func TestReportInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := measured(t, load.Plan{Connections: 10, Rate: 250, Duration: 20 * time.Second}, nil)
		var text bytes.Buffer
		if err := report.WriteJSON(&text); err != nil {
			t.Fatal(err)
		}
		golden(t, "open.json", text.String())
	})
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		if err := measured(t, load.Plan{Requests: 10}, nil).WriteJSON(&text); err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text.Bytes(), &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields("requests replies mismatched missing late extra errors examples elapsed_s rate_per_s bytes_sent bytes_received service response connect lag") {
			if _, ok := fields[name]; !ok {
				t.Errorf("%q is not there", name)
			}
		}
		for _, name := range strings.Fields("mean_us stddev_us min_us p50_us p75_us p90_us p95_us p99_us p99_9_us p99_99_us max_us") {
			if _, ok := fields["service"].(map[string]any)[name]; !ok {
				t.Errorf("%q is not among the times", name)
			}
		}
		if fields["lag"] != nil {
			t.Errorf("a closed loop has a lag of %v, want null", fields["lag"])
		}
	})
}

func TestTimesHaveThreeDigitsAndAUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ns", 1: "1 ns", 999: "999 ns", 1000: "1.00 µs", 1234: "1.23 µs", 12345: "12.3 µs", 123456: "123 µs", 999499: "999 µs",
		999500: "1.00 ms", 1320 * time.Microsecond: "1.32 ms", time.Second: "1.00 s", 90 * time.Second: "90.0 s", time.Hour: "3600 s",
	} {
		if got := Short(d); got != want {
			t.Errorf("%d ns: got %q, want %q", int64(d), got, want)
		}
	}
}

func TestBarIsCutToTheTerminal(t *testing.T) {
	began := time.Unix(0, 0)
	s := load.Second{At: time.Second, Length: time.Second, Replies: 1000, Done: 0.25, P50: 1e6, P99: 2e6}
	if got, want := liveLine(s, began, began.Add(10*time.Second), 100), "[#####---------------] 30s left, 1,000 replies/s, p50 1.00 ms, p99 2.00 ms, 0 errors"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// Without room for all the count of errors is what stays.
	for width, want := range map[int]string{
		0:  "[#####---------------] 30s left, 1,000 replies/s, p50 1.00 ms, p99 2.00 ms, 0 errors",
		80: "30s left, 1,000 replies/s, p50 1.00 ms, p99 2.00 ms, 0 errors",
		60: "30s left, 1,000 replies/s, p99 2.00 ms, 0 errors",
		48: "1,000 replies/s, p99 2.00 ms, 0 errors",
		30: "p99 2.00 ms, 0 errors",
		20: "0 errors", 8: "0 errors", 7: "0 err", 4: "0", 1: "0",
	} {
		if got := liveLine(s, began, began.Add(10*time.Second), width); got != want {
			t.Errorf("%d columns: got %q, want %q", width, got, want)
		}
	}
	s.Bad = 1234567
	for width := 5; width < 100; width++ {
		line := liveLine(s, began, began.Add(10*time.Second), width)
		if n := utf8.RuneCountInString(line); n > width || !strings.Contains(strings.ReplaceAll(line, ",", ""), "1234567") && !strings.HasSuffix(line, "1234k") {
			t.Errorf("%d columns: got %q", width, line)
		}
	}
	s.Bad = 0
	warmup := load.Second{Length: time.Second, Bad: 3, Done: 0.5}
	if got, want := liveLine(warmup, began, began.Add(10*time.Second), 32), "10s left, warm-up, 3 errors"; got != want {
		t.Errorf("of the warm-up: got %q, want %q", got, want)
	}
	if got, want := liveLine(warmup, began, began.Add(10*time.Second), 24), "warm-up, 3 errors"; got != want {
		t.Errorf("of the warm-up: got %q, want %q", got, want)
	}
	s.Done = 1e-12 // of a run that is to go on for centuries
	if got := liveLine(s, began, began.Add(10*time.Second), 100); strings.Contains(got, "-1") || !strings.Contains(got, " left") {
		t.Errorf("got %q, want no time below 0", got)
	}
}

// queue is a service that takes 10 ms for each request, one after the other: beyond 100 a
// second they wait.
func queue() *service {
	turn := make(chan struct{}, 1) // no mutex: in a bubble, time stands still for those who wait for one
	return answering(func(dst []byte, req *parley.Request) ([]byte, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		time.Sleep(10 * time.Millisecond)
		return echo(dst, req)
	})
}

func TestSearchFindsTheRateThatKeepsAPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := queue()
		slo, err := ParseSLO("p99=50ms")
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		plan := load.Plan{Dial: s.dial, Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Connections: 20, Duration: 10 * time.Second}
		found, err := slo.Search(t.Context(), plan, func(step Step) { steps = append(steps, slo.Describe(step)) })
		if err != nil {
			t.Fatal(err)
		}
		// At 100 a second the queue just does not grow; the search ends within 5 % of that.
		if found.Rate < 94 || found.Rate > 101 || found.Held != 3 || found.Tried != 3 {
			t.Errorf("found %+v, want about 100/s, held in 3 of 3\n%s", found, strings.Join(steps, "\n"))
		}
		if found.Broken > 0 && (found.Broken < found.Rate || found.Broken > found.Rate*1.06) {
			t.Errorf("broken at %v/s, want just above %v/s", found.Broken, found.Rate)
		}
		if !strings.HasPrefix(steps[0], "closed loop: 100 replies/s") {
			t.Errorf("it began with %q, want the closed loop", steps[0])
		}
		s.closed.Wait()
	})
}

func TestSearchSaysWhenThereIsNoSuchRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := queue()
		plan := load.Plan{Dial: s.dial, Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Connections: 1, Duration: time.Second}
		slo := SLO{99, time.Millisecond}
		found, err := slo.Search(t.Context(), plan, func(Step) {})
		if err != nil || found.Rate != 0 || found.Broken == 0 {
			t.Errorf("found %+v, %v; nothing can keep 1ms", found, err)
		}
		if got := found.Verdict(slo); !strings.HasPrefix(got, "no rate keeps p99=1ms") {
			t.Errorf("the verdict is %q", got)
		}
		s.closed.Wait()
	})
}

// An interrupt leaves out the step that it cut, and loses nothing of what was found before.
func TestAnInterruptedSearchSaysWhatHeldSoFar(t *testing.T) {
	for _, c := range []struct {
		after time.Duration // of steps of 10 s: the closed loop, 53/s, 79/s, 92/s, 98/s, then the repeats
		want  string
	}{
		{5 * time.Second, "interrupted before a rate was found that keeps p99=50ms"},
		{25 * time.Second, "interrupted: 52.5 requests/s kept p99=50ms once, which is not repeated"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := queue()
			slo := SLO{99, 50 * time.Millisecond}
			ctx, cancel := context.WithTimeout(t.Context(), c.after)
			defer cancel()
			steps := 0
			plan := load.Plan{Dial: s.dial, Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Connections: 20, Duration: 10 * time.Second}
			found, err := slo.Search(ctx, plan, func(Step) { steps++ })
			if got := found.Verdict(slo); err != nil || !found.Interrupted || got != c.want || found.Broken != 0 || steps != int(c.after/(10*time.Second)) {
				t.Errorf("after %v: %q, %+v, %d steps, %v; want %q", c.after, got, found, steps, err, c.want)
			}
			s.closed.Wait()
		})
	}
}

func TestSearchOfAServiceThatDoesNotReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := speaking(func(string, *parleytest.Conn) bool { time.Sleep(time.Millisecond); return false })
		plan := load.Plan{Dial: s.dial, Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Duration: 10 * time.Millisecond}
		slo := SLO{99, time.Millisecond}
		found, err := slo.Search(t.Context(), plan, func(Step) {})
		if got, want := found.Verdict(slo), "no rate keeps p99=1ms: the closed loop got hardly a reply a second"; got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		s.closed.Wait()
	})
}

// A ratio to nothing is no number, and that is no reason to say nothing.
func TestComparisonWithAServiceThatDoesNotReply(t *testing.T) {
	none, some := &load.Result{Response: load.Times{Histogram: histogramOf(t)}}, &load.Result{Replies: 1, Rate: 1, Response: load.Times{Histogram: histogramOf(t)}}
	some.Response.Histogram.RecordValue(int64(time.Millisecond))
	c := Comparison{Rounds: [][2]*load.Result{{some, none}}}
	for _, r := range c.Ratios() {
		if !math.IsInf(r.Median, 1) {
			t.Errorf("%s is worse by %v, want infinitely", r.Name, r.Median)
		}
	}
	var text, line bytes.Buffer
	if err := c.WriteText(&text); err != nil || strings.Contains(text.String(), "Inf") {
		t.Errorf("%v, in words:\n%s", err, &text)
	}
	if err := c.WriteJSON(&line); err != nil || !strings.Contains(line.String(), `"ratio":null`) {
		t.Errorf("%v, in JSON: %s", err, &line)
	}
}

// What has been measured is not lost with a round that an interrupt cut, even while it dials.
func TestAnInterruptedComparisonKeepsItsRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(echo)
		ctx, cancel := context.WithCancel(t.Context())
		plan := load.Plan{Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Requests: 10}
		plan.Dial = func(ctx context.Context) (net.Conn, dial.Steps, error) {
			if s.dials.Load() == 2 {
				cancel()
				return nil, dial.Steps{}, context.Cause(ctx)
			}
			return s.dial(ctx)
		}
		c := Comparison{Plans: [2]load.Plan{plan, plan}}
		if err := c.Run(ctx, 3, nil); err != nil || len(c.Rounds) != 1 {
			t.Errorf("%d rounds, %v; want the one that is whole", len(c.Rounds), err)
		}
		s.closed.Wait()
	})
}

func TestPromises(t *testing.T) {
	for text, want := range map[string]SLO{
		"p99=5ms": {99, 5 * time.Millisecond}, "p99.9=1s": {99.9, time.Second}, "max=2s": {100, 2 * time.Second}, "p50=1µs": {50, time.Microsecond},
	} {
		if got, err := ParseSLO(text); got != want || err != nil || got.String() != text {
			t.Errorf("%s: got %v (%v), %v", text, got, got.String(), err)
		}
	}
	for _, text := range []string{"", "p99", "p99=", "p99=5", "99=5ms", "p0=5ms", "p101=5ms", "pNaN=5ms", "p99=-5ms", "p99=0s", "mean=5ms", "p99=5ms,p50=1ms"} {
		if got, err := ParseSLO(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func FuzzSLO(f *testing.F) {
	f.Add("p99=5ms")
	f.Add("max=1h2m")
	f.Fuzz(func(t *testing.T, text string) {
		slo, err := ParseSLO(text)
		if err != nil {
			return
		}
		if again, err := ParseSLO(slo.String()); again != slo || err != nil {
			t.Errorf("%q is %v, printed and read again %v, %v", text, slo, again, err)
		}
	})
}

func TestComparisonIsOfRounds(t *testing.T) {
	for _, rate := range []float64{0, 20} {
		synctest.Test(t, func(t *testing.T) {
			taking := func(d time.Duration) *service {
				return answering(func(dst []byte, req *parley.Request) ([]byte, error) {
					time.Sleep(d)
					return echo(dst, req)
				})
			}
			a, b := taking(10*time.Millisecond), taking(25*time.Millisecond)
			plan := load.Plan{Sleep: time.Sleep, Messages: load.ParseMessages([]byte("{n}")), Connections: 1, Rate: rate, Duration: time.Second}
			c := Comparison{Targets: [2]string{"a:1", "b:1"}, Plans: [2]load.Plan{plan, plan}}
			c.Plans[0].Dial, c.Plans[1].Dial = a.dial, b.dial
			var order []int
			if err := c.Run(t.Context(), 3, func(_, target int) { order = append(order, target) }); err != nil {
				t.Fatal(err)
			}
			a.closed.Wait()
			b.closed.Wait()
			if len(order) != 6 || order[0] != 0 || order[1] != 1 || order[2] != 1 || order[3] != 0 {
				t.Errorf("they were measured in the order %v, want 0 1 1 0 0 1", order)
			}
			verdict, ok := c.Verdict()
			if !ok || verdict.Median < 2.49 || verdict.Median > 2.51 || c.Failed() {
				t.Errorf("rate %v: the verdict is %+v, %v; want 2.5 times", rate, verdict, ok)
			}
			var text bytes.Buffer
			c.WriteText(&text)
			golden(t, map[bool]string{false: "compare-closed.txt", true: "compare-open.txt"}[rate > 0], text.String())
		})
	}
}

// Over TLS there is a row for handshakes, and the connections that resumed a session are told; else
// there is no word of it.
func TestReportOfTLS(t *testing.T) {
	some := load.Times{Histogram: histogramOf(t, time.Millisecond)}
	none := load.Times{Histogram: histogramOf(t)}
	for _, c := range []struct {
		handshake load.Times
		resumed   uint64
		text      string
		json      string
	}{
		{some, 1234, "connections 5,000 1,234 of them resumed a TLS session\n", `"connects":5000,"resumed":1234,`},
		{some, 0, "connections 5,000 each with a full TLS handshake\n", `"connects":5000,"resumed":0,`},
		{none, 0, "connections 5,000\n", `"connects":5000,"elapsed_s"`},
	} {
		report := &Report{Target: "x", Result: &load.Result{Connects: 5000, Resumed: c.resumed, Handshake: c.handshake,
			Service: some, Response: some, Lag: none, Connect: some, Greeting: none, Lookup: none, FirstReply: none, Write: none}}
		var text, line bytes.Buffer
		if err := errors.Join(report.WriteText(&text, 0), report.WriteJSON(&line)); err != nil {
			t.Fatal(err)
		}
		over := c.handshake.Count() > 0
		words := regexp.MustCompile(` +`).ReplaceAllString(text.String(), " ")
		if !strings.Contains(words, c.text) || strings.Contains(words, "\n handshake 1.00 ms") != over {
			t.Errorf("want in it %q, handshakes: %v\n%s", c.text, over, &text)
		}
		if !strings.Contains(line.String(), c.json) || strings.Contains(line.String(), `"handshake":{"mean_us":1000`) != over {
			t.Errorf("want in it %q, handshakes: %v\n%s", c.json, over, &line)
		}
	}
}

// Of an error of TLS its kind says next to nothing: why the first failed is told too.
func TestWhyTLSFailedIsShown(t *testing.T) {
	r := measured(t, load.Plan{Requests: 3}, nil)
	r.Errors, r.NoTLS = map[dial.Kind]uint64{dial.TLSFailed: 2}, "the server wants \x1b"
	var text, object bytes.Buffer
	if err := errors.Join(r.WriteText(&text, 0), r.WriteJSON(&object)); err != nil {
		t.Fatal(err)
	}
	if want := `errors                        2  tls: the server wants \x1b`; !strings.Contains(text.String(), want+"\n") {
		t.Errorf("%s\nhas no line %q", text.String(), want)
	}
	if want := `"errors":{"tls":2},"tls_error":"the server wants \u001b",`; !strings.Contains(object.String(), want) {
		t.Errorf("%s\nhas no %s", object.String(), want)
	}
}
