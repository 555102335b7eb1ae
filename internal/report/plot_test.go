package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// results are runs of all kinds, the odd ones too.
func results(t *testing.T) map[string]struct {
	about *About
	res   *load.Result
} {
	t.Helper()
	evenly := func(n int, step time.Duration) load.Times {
		list := make([]time.Duration, n)
		for i := range list {
			list[i] = time.Duration(i+1) * step
		}
		return load.Times{Histogram: histogramOf(t, list...)}
	}
	none := evenly(0, 0)
	with := func(service, response load.Times, seconds ...load.Second) *load.Result {
		return &load.Result{
			Requests: uint64(service.Count()), Replies: uint64(service.Count()), Elapsed: 2 * time.Second, Began: time.Unix(1795595981, 0),
			Service: service, Response: response, Lag: none, Connect: none, Lookup: none, FirstReply: none,
			Seconds: seconds,
		}
	}
	second := load.Second{At: time.Second, Length: time.Second, Replies: 500, P50: time.Millisecond, P99: 20 * time.Millisecond}
	failed := load.Second{At: 2 * time.Second, Length: time.Second, Bad: 40}
	rest := load.Second{At: 2*time.Second + 1, Length: 1, Replies: 1, P50: 1, P99: 1}
	settings := []Setting{{"connections", "16"}, {"message", strings.Repeat("<&\"'>\x00\u202e", 100)}}
	closed := &About{Title: "a closed loop", Settings: settings}
	open := &About{Title: "<an> open & \x01loop" + strings.Repeat(" and so on", 30), Rate: 1000, Settings: settings}
	thousand := evenly(1000, time.Millisecond)
	type run = struct {
		about *About
		res   *load.Result
	}
	return map[string]run{
		"closed":        {closed, with(thousand, thousand, second, second)},
		"open":          {open, with(evenly(1000, time.Microsecond), thousand, second, failed, rest)},
		"no reply":      {open, with(none, none, failed)},
		"no time":       {closed, with(none, none)},
		"one reply":     {closed, with(evenly(1, time.Millisecond), evenly(1, time.Millisecond), second)},
		"the shortest":  {closed, with(evenly(3, 1), evenly(3, 1), rest)},
		"the longest":   {open, with(evenly(2, 5*time.Minute), evenly(2, 5*time.Minute), second)},
		"hours":         {open, with(thousand, thousand, load.Second{At: 5 * time.Hour, Length: 5 * time.Hour, Replies: 1e9, P99: 1})},
		"a lone minute": {open, with(thousand, thousand, load.Second{At: 4 * time.Minute, Length: time.Minute, Replies: 1})},
	}
}

func TestPlotIsASoundPicture(t *testing.T) {
	for name, run := range results(t) {
		var b bytes.Buffer
		if err := WritePlot(&b, run.about, run.res); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkXML(t, name, b.String())
		for _, c := range charts(run.about, run.res) {
			for _, width := range []float64{328, 960} {
				b.Reset()
				c.draw(&b, width, 260)
				checkInside(t, name+": "+c.title, b.String(), width, 260)
			}
		}
	}
}

func checkXML(t *testing.T, name, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("%s: %v in\n%s", name, err, svg)
			return
		}
	}
}

// checkInside sees that each point is in the picture.
func checkInside(t *testing.T, name, svg string, width, height float64) {
	t.Helper()
	number := `(-?[\d.]+|[-+]?Inf|NaN)`
	points := regexp.MustCompile(`[ML]`+number+` `+number).FindAllStringSubmatch(svg, -1)
	points = append(points, regexp.MustCompile(`x="`+number+`" y="`+number+`"`).FindAllStringSubmatch(svg, -1)...)
	if len(points) == 0 {
		t.Errorf("%s: nothing is drawn:\n%s", name, svg)
	}
	for _, p := range points {
		x, errX := strconv.ParseFloat(p[1], 64)
		y, errY := strconv.ParseFloat(p[2], 64)
		if errX != nil || errY != nil || !(x >= 0 && x <= width && y >= 0 && y <= height) {
			t.Errorf("%s: the point %q is outside of a picture of %v x %v", name, p[0], width, height)
		}
	}
}

func TestPlotHasWhatThereIsToShow(t *testing.T) {
	for name, want := range map[string]struct{ has, hasNot []string }{
		"closed":   {[]string{"Service time by percentile, closed loop", `class="line service"`}, []string{`class="line response"`, "asked for"}},
		"open":     {[]string{"Time by percentile, open loop", `class="line service"`, `class="line response"`, "asked for", `class="line bad"`}, []string{"no replies to show"}},
		"no reply": {[]string{"no replies to show", `class="line bad"`}, []string{`class="line service"`, `class="line response"`}},
	} {
		var b bytes.Buffer
		run := results(t)[name]
		if err := WritePlot(&b, run.about, run.res); err != nil {
			t.Fatal(err)
		}
		for _, s := range want.has {
			if !strings.Contains(b.String(), s) {
				t.Errorf("%s: no %q", name, s)
			}
		}
		for _, s := range want.hasNot {
			if strings.Contains(b.String(), s) {
				t.Errorf("%s: it has %q", name, s)
			}
		}
	}
}

func TestPercentileCurveHasANineADecade(t *testing.T) {
	times := make([]time.Duration, 10_000)
	for i := range times {
		times[i] = time.Duration(i+1) * time.Microsecond
	}
	curve := percentileCurve(load.Times{Histogram: histogramOf(t, times...)})
	for x, want := range map[float64]float64{0: 1, 1: 9_000, 2: 9_900, 3: 9_990, 4: 10_000} {
		for _, p := range curve {
			if math.Abs(p.x-x) > 1e-9 {
				continue
			}
			if got := math.Pow(10, p.y) / 1e3; math.Abs(got-want) > want/500 {
				t.Errorf("at %v: %v µs, want %v", x, got, want)
			}
			want = 0
		}
		if want != 0 {
			t.Errorf("the curve has no point at %v", x)
		}
	}
	if last := curve[len(curve)-1]; last.x != 4 {
		t.Errorf("the curve ends at %v, want 4: the longest of 10,000", last.x)
	}
}

func TestPercentilesOfNines(t *testing.T) {
	for n, want := range []string{1: "90", 2: "99", 3: "99.9", 4: "99.99", 8: "99.999999"} {
		if want != "" && percentileOfNines(n) != want {
			t.Errorf("%d nines: %q, want %q", n, percentileOfNines(n), want)
		}
	}
}

// A second in which counting began has replies from then on only, and after the end there
// are only those that were still awaited.
func TestRateIsThatOfTheCountedTime(t *testing.T) {
	res := &load.Result{Elapsed: 1500 * time.Millisecond, Seconds: []load.Second{
		{At: 500 * time.Millisecond, Length: time.Second, Replies: 400},
		{At: 1500 * time.Millisecond, Length: time.Second, Replies: 900},
		{At: 1501 * time.Millisecond, Length: time.Millisecond, Replies: 900},
		{At: 2501 * time.Millisecond, Length: time.Second, Replies: 16},
	}}
	c := rateChart(&About{}, res)
	if len(c.lines) != 1 {
		t.Fatalf("%d lines, want the replies only", len(c.lines))
	}
	got, want := c.lines[0].strokes[0], []point{{0, 800}, {0.5, 800}, {0.5, 900}, {1.5, 900}}
	if len(got) != len(want) {
		t.Fatalf("the rate is %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("point %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestLongRunIsShownInParts(t *testing.T) {
	for seconds, want := range map[int]struct{ parts, each int }{0: {0, 0}, 1: {1, 1}, 999: {999, 1}, 1000: {1000, 1}, 1001: {501, 2}, 86_400: {994, 87}} {
		res := &load.Result{}
		for i := range seconds {
			res.Seconds = append(res.Seconds, load.Second{
				At: time.Duration(i)*time.Second + 300*time.Millisecond, Length: time.Second,
				Replies: 3, Bad: 2, P50: time.Duration(i + 1), P99: time.Duration(2 * (seconds - i)),
			})
		}
		shown := parts(res)
		if len(shown) != want.parts || secondsAPart(res) != want.each {
			t.Errorf("%d seconds in %d parts of %d s, want %+v", seconds, len(shown), secondsAPart(res), want)
		}
		var all load.Second
		for i, s := range shown {
			if begin := s.At - s.Counted(); begin != all.At {
				t.Errorf("%d seconds: part %d begins at %v, want %v", seconds, i, begin, all.At)
			}
			all.At, all.Replies, all.Bad = s.At, all.Replies+s.Replies, all.Bad+s.Bad
			all.P50, all.P99 = max(all.P50, s.P50), max(all.P99, s.P99)
		}
		n := uint64(seconds)
		if all.Replies != 3*n || all.Bad != 2*n || all.P50 != time.Duration(n) || all.P99 != time.Duration(2*n) {
			t.Errorf("%d seconds: together %+v", seconds, all)
		}
	}
}

func TestNoTimeIsDrawnWhereNoReplyCame(t *testing.T) {
	at := func(s int, p99 time.Duration) load.Second {
		return load.Second{At: time.Duration(s) * time.Second, Length: time.Second, P99: p99}
	}
	c := secondsChart(&About{}, &load.Result{Seconds: []load.Second{at(1, 0), at(2, 1e6), at(3, 1e6), at(4, 0), at(5, 0), at(6, 1e6)}})
	var spans [][2]float64
	for _, s := range c.lines[0].strokes {
		spans = append(spans, [2]float64{s[0].x, s[len(s)-1].x})
	}
	if len(spans) != 2 || spans[0] != [2]float64{1, 3} || spans[1] != [2]float64{5, 6} {
		t.Errorf("drawn from and to %v, want [1 3] [5 6]", spans)
	}
}

func TestAxesHoldTheirValues(t *testing.T) {
	check := func(a axis, least, most float64, maxTicks int) {
		t.Helper()
		if !(a.min <= least+1e-9 && a.max >= most-1e-9 && a.min < a.max) {
			t.Errorf("an axis from %v to %v for values from %v to %v", a.min, a.max, least, most)
		}
		if len(a.ticks) < 2 || len(a.ticks) > maxTicks {
			t.Errorf("%d ticks for values from %v to %v, want 2 to %d", len(a.ticks), least, most, maxTicks)
		}
		for i, tk := range a.ticks {
			if tk.at < a.min || tk.at > a.max+1e-9 || i > 0 && (tk.at <= a.ticks[i-1].at || tk.label == a.ticks[i-1].label) {
				t.Errorf("tick %d, %+v, of values from %v to %v", i, tk, least, most)
			}
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		least := random.Float64() * 11
		most := least + random.Float64()*(math.Log10(float64(24*time.Hour))-least)
		check(timeAxis("", least, most), least, most, 15)
		check(timeAxis("", least, least), least, least, 13)
		most = math.Pow(10, random.Float64()*12-2)
		check(linearAxis("", most, 5, axisCount), 0, most, 7)
	}
	for power := range 12 {
		check(timeAxis("", float64(power), float64(power)), float64(power), float64(power), 13)
		check(linearAxis("", math.Pow(10, float64(power)), 5, axisCount), 0, math.Pow(10, float64(power)), 7)
	}
}

func TestPlotSaysThatItCouldNotBeWritten(t *testing.T) {
	run := results(t)["open"]
	if err := WritePlot(&fullDisk{}, run.about, run.res); err != errFull {
		t.Errorf("WritePlot = %v, want %v", err, errFull)
	}
	if err := WritePage(&fullDisk{}, run.about, run.res); err != errFull {
		t.Errorf("WritePage = %v, want %v", err, errFull)
	}
}
