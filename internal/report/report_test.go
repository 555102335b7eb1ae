package report

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
			if err := measured(t, plan, misbehave).WriteText(&text); err != nil {
				t.Error(err)
			}
			golden(t, name, text.String())
		})
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
		for _, name := range strings.Fields("requests replies mismatched missing late extra errors seconds rate bytes_sent bytes_received service response connect lag") {
			if _, ok := fields[name]; !ok {
				t.Errorf("%q is not there", name)
			}
		}
		for _, name := range strings.Fields("mean stddev min p50 p75 p90 p99 p99_9 p99_99 max") {
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
	if got, want := Bar(s, began, began.Add(10*time.Second), 100), "[#####---------------] 30s left, 1,000 replies/s, p50 1.00 ms, p99 2.00 ms, 0 errors"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Bar(s, began, began.Add(10*time.Second), 30); got != "[#####---------------] 30s le" {
		t.Errorf("30 columns: got %q", got)
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
