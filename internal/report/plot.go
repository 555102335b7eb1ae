package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/load"
)

// About is what the files of a run say beside what was measured. Its texts are shown as
// they are: what strangers wrote is to be escaped before, as for a terminal.
type About struct {
	Title    string    // the service and the load, in a few words
	Command  string    // as it was typed
	Rate     float64   // requests due a second; 0 for a closed loop
	Settings []Setting // the parameters of the run, in the order to show them
	Machine  []Setting // what it ran on
	Examples []string  // of replies that were not as they should be
	Notes    []string  // sentences that a reader of the figures must know

	Dialogues bool // these are counted, and not requests and replies
	steps     []stepRow
}

// A Setting is a parameter and its value.
type Setting struct{ Name, Value string }

// WritePlot writes a picture of a run as SVG: the times by percentile, then replies a
// second and p99 second by second.
func WritePlot(w io.Writer, about *About, res *load.Result) error {
	const width, height = 960, 260
	heading := wrapSettings(about.Settings, (width-2*margin)/6)
	var body bytes.Buffer
	writeText(&body, "head", "start", margin, 30, cut(about.Title, width/10))
	y := 50
	for _, text := range heading {
		writeText(&body, "dim", "start", margin, float64(y), text)
		y += 16
	}
	for i, c := range charts(about, res) {
		h := height
		if i == 0 {
			h += 80 // the curve has the most to show
		}
		fmt.Fprintf(&body, `<g transform="translate(0,%d)">`+"\n", y)
		c.draw(&body, width, float64(h))
		body.WriteString("</g>\n")
		y += h
	}
	y += margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d">`, width, y)
	fmt.Fprintf(&b, "\n<style>%s</style>\n<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n%s</svg>\n", plotStyle, width, y, body.Bytes())
	_, err := w.Write(b.Bytes())
	return err
}

// maxSettingShown is how much of a parameter's value a picture shows, in characters.
const maxSettingShown = 60

// wrapSettings makes lines of up to about limit characters.
func wrapSettings(settings []Setting, limit int) []string {
	var lines []string
	for _, s := range settings {
		text := s.Name + " " + cut(s.Value, maxSettingShown)
		if last := len(lines) - 1; last >= 0 && len(lines[last])+len(text) < limit {
			lines[last] += " · " + text
		} else {
			lines = append(lines, text)
		}
	}
	return lines
}

// charts are the three pictures of a run.
func charts(about *About, res *load.Result) []*chart {
	return []*chart{percentileChart(about, res), rateChart(about, res), secondsChart(about, res)}
}

// percentileChart has each further nine of a percentile as far from the last: where the
// slowest request of a thousand is as easy to see as the slowest of ten.
func percentileChart(about *About, res *load.Result) *chart {
	c := &chart{title: "Service time by percentile, closed loop"}
	if about.Rate > 0 {
		c.title = "Time by percentile, open loop"
		c.add("response", "response", percentileCurve(res.Response))
	}
	c.add("service", "service", percentileCurve(res.Service))
	decades := 1.0
	for _, l := range c.lines {
		decades = max(decades, l.strokes[0][len(l.strokes[0])-1].x)
	}
	c.x = axis{name: "percentile", max: decades, ticks: []tick{{0, "0"}, {math.Log10(2), "50"}}}
	for nines := 1; float64(nines) <= decades+1e-9; nines++ {
		c.x.ticks = append(c.x.ticks, tick{float64(nines), percentileOfNines(nines)})
	}
	c.y = c.timesUp()
	return c
}

// percentileOfNines is 90, 99, 99.9 …
func percentileOfNines(n int) string {
	if n == 1 {
		return "90"
	}
	return strings.TrimSuffix("99."+strings.Repeat("9", n-2), ".")
}

// percentileCurve ends at the longest of all times: it is the one in so many.
func percentileCurve(t load.Times) []point {
	const stepsADecade = 50
	if t.Count() == 0 {
		return nil
	}
	var curve []point
	end := math.Log10(float64(t.Count()))
	for i := 0; float64(i)/stepsADecade < end; i++ {
		x := float64(i) / stepsADecade
		curve = append(curve, point{x, logTime(t.Quantile(100 - 100*math.Pow(10, -x)))})
	}
	return append(curve, point{end, logTime(t.Max())})
}

func logTime(d time.Duration) float64 { return math.Log10(float64(max(d, 1))) }

// add adds a line, if there is any of it.
func (c *chart) add(name, class string, strokes ...[]point) {
	if len(strokes) > 0 && len(strokes[0]) > 0 {
		c.lines = append(c.lines, line{name, class, strokes})
	}
}

// timesUp is an axis for all times of the lines.
func (c *chart) timesUp() axis {
	least, most := math.Inf(1), 0.0
	for _, l := range c.lines {
		for _, stroke := range l.strokes {
			for _, p := range stroke {
				least, most = min(least, p.y), max(most, p.y)
			}
		}
	}
	if math.IsInf(least, 1) {
		return axis{}
	}
	return timeAxis("time, logarithmic", least, most)
}

// shortestShown is how long a part of a second must be to say something: the rest at the
// end of a run may be a few µs in which one reply came.
const shortestShown = 100 * time.Millisecond

// maxParts is in how many parts a run is shown over time: a day has more seconds than a
// picture has room for.
const maxParts = 1000

// secondsAPart is how many seconds are shown as one.
func secondsAPart(res *load.Result) int { return (len(res.Seconds) + maxParts - 1) / maxParts }

// parts are what is shown of a run over time.
func parts(res *load.Result) []load.Second {
	if len(res.Seconds) == 0 {
		return nil
	}
	var shown []load.Second
	for seconds := range slices.Chunk(res.Seconds, secondsAPart(res)) {
		if s := together(seconds); s.Counted() >= shortestShown {
			shown = append(shown, s)
		}
	}
	return shown
}

// together makes one of several seconds. Percentiles cannot be put together: those of the
// worst second stand for all.
func together(seconds []load.Second) load.Second {
	all := seconds[0]
	for _, s := range seconds[1:] {
		all.Length += s.Length
		all.At = s.At
		all.Replies += s.Replies
		all.Bad += s.Bad
		all.P50, all.P99 = max(all.P50, s.P50), max(all.P99, s.P99)
	}
	return all
}

func rateChart(about *About, res *load.Result) *chart {
	c := &chart{title: "Replies a second"}
	var good, bad []point
	most, failures := about.Rate, uint64(0)
	for _, s := range parts(res) {
		if !sending(s, res) {
			break
		}
		g, b := float64(s.Replies)/s.Counted().Seconds(), float64(s.Bad)/s.Counted().Seconds()
		good, bad = level(s, good, g), level(s, bad, b)
		most, failures = max(most, g, b), failures+s.Bad
	}
	if len(good) == 0 {
		return c
	}
	if about.Rate > 0 {
		c.add("asked for", "asked", []point{{0, about.Rate}, {good[len(good)-1].x, about.Rate}})
	}
	c.add(newNouns(about.Dialogues).plural(), "rate", good)
	if failures > 0 {
		c.add("failures", "bad", bad)
	}
	c.x = secondsAcross(res)
	c.y = linearAxis("1/s", cmp.Or(most, 1), 5, axisCount)
	return c
}

// sending is false for what comes after the counted time: the last replies are waited for,
// and how many come in a second says nothing of the service.
func sending(s load.Second, res *load.Result) bool { return s.At-s.Counted()/2 <= res.Elapsed }

func secondsChart(about *About, res *load.Result) *chart {
	name, title, which := "service", "Service time", "p99 of each second"
	if about.Rate > 0 {
		name, title = "response", "Response time"
	}
	if n := secondsAPart(res); n > 1 {
		which = fmt.Sprintf("worst p99 of each %d s", n)
	}
	c := &chart{title: title + ", " + which}
	strokes := make([][]point, 1)
	for _, s := range parts(res) {
		last := len(strokes) - 1
		switch {
		case s.P99 > 0:
			strokes[last] = level(s, strokes[last], logTime(s.P99))
		case len(strokes[last]) > 0:
			strokes = append(strokes, nil) // no reply came, so there is nothing to draw
		}
	}
	c.add(name, name, strokes...)
	c.x = secondsAcross(res)
	c.y = c.timesUp()
	return c
}

// level adds a second to a line: what was measured holds for all of it.
func level(s load.Second, line []point, v float64) []point {
	return append(line, point{(s.At - s.Counted()).Seconds(), v}, point{s.At.Seconds(), v})
}

// secondsAcross is an axis for the time since counting began, in s whatever its label.
func secondsAcross(res *load.Result) axis {
	end := 1.0
	if shown := parts(res); len(shown) > 0 {
		end = shown[len(shown)-1].At.Seconds()
	}
	name, unit := "s from when counting began", 1.0
	switch {
	case end > 3*3600:
		name, unit = "h from when counting began", 3600
	case end > 180:
		name, unit = "min from when counting began", 60
	}
	a := linearAxis(name, end/unit, 6, func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) })
	for i := range a.ticks {
		a.ticks[i].at *= unit
	}
	a.max = end
	for a.ticks[len(a.ticks)-1].at > end {
		a.ticks = a.ticks[:len(a.ticks)-1]
	}
	return a
}
