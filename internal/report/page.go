package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// WritePage writes all that is known of a run as one HTML page, which has no script and
// loads nothing from elsewhere.
func WritePage(w io.Writer, about *About, res *load.Result) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(about, res)); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// A page is what page.html shows, as it shows it.
type page struct {
	About     *About
	Result    *load.Result
	PlotStyle template.CSS

	Began, Elapsed string
	Tiles          []count
	Pictures       []picture
	Columns        []string // of the table of times
	Rows           []row
	Glossary       []string // what the columns are
	Counts         []count
	Steps          []row // of a dialogue
	PerSecond      string
	Parts          []row
	SecondsAPart   int
}

type row struct {
	Name  string
	Cells []string
}

type count struct {
	Name, Value, Meaning string
	Bad                  bool
}

// A picture is there twice, since its letters must not shrink with it.
type picture struct{ Wide, Narrow template.HTML }

func newPage(about *About, res *load.Result) *page {
	p := &page{
		About: about, Result: res, PlotStyle: plotStyle,
		Began:   res.Began.UTC().Format("2006-01-02 15:04:05 MST"),
		Elapsed: res.Elapsed.Round(time.Millisecond).String(),
		Tiles:   tiles(about, res),
		Counts:  counts(about, res),

		PerSecond:    newNouns(about.Dialogues).plural() + "/s",
		SecondsAPart: secondsAPart(res),
	}
	for _, s := range about.steps {
		p.Steps = append(p.Steps, row{strconv.Itoa(s.step), append([]string{strconv.Itoa(s.line), escaped(s.what)}, s.figures()...)})
	}
	for i, c := range charts(about, res) {
		height := 240.0
		if i == 0 {
			height = 340
		}
		p.Pictures = append(p.Pictures, picture{inline(c, 928, height), inline(c, 328, 260)})
	}
	p.timesTable(about, res)
	for _, s := range parts(res) {
		p.Parts = append(p.Parts, partRow(s, res))
	}
	return p
}

// tiles are the figures to be seen first.
func tiles(about *About, res *load.Result) []count {
	kind, bad := "service", res.Bad()
	if about.Rate > 0 {
		kind = "response"
	}
	return []count{
		{Name: newNouns(about.Dialogues).plural() + " a second", Value: grouped(math.Round(res.Rate))},
		{Name: "median " + kind, Value: timeOf(res.Response, 50)},
		{Name: "p99 " + kind, Value: timeOf(res.Response, 99)},
		{Name: "longest " + kind, Value: timeOf(res.Response, 100)},
		{Name: "failures", Value: grouped(float64(bad)), Bad: bad > 0},
	}
}

// timeOf is a percentile, or a dash where there are too few times for it to be another
// than the longest.
func timeOf(t load.Times, percent float64) string {
	if t.Count() == 0 || percent < 100 && float64(t.Count())*(100-percent) < 100*(1-1e-9) {
		return "–"
	}
	return Short(t.Quantile(percent))
}

// inline is a chart as an element of a page, whose margin does for both.
func inline(c *chart, width, height float64) template.HTML {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg class="plot" role="img" aria-label="%s" viewBox="%d 0 %s %s">`+"\n", template.HTMLEscapeString(c.title), margin, px(width-margin), px(height))
	c.draw(&b, width, height)
	b.WriteString("</svg>")
	return template.HTML(b.String()) // each of its texts was escaped
}

// timesTable has a column for each kind of time that there is, and a row for each
// percentile that one of them can tell.
func (p *page) timesTable(about *About, res *load.Result) {
	begun, start, sent, done := "request", "sending of the request", "sent", "reply"
	if about.Dialogues {
		begun, start, sent, done = "dialogue", "beginning of the dialogue", "begun", "end"
	}
	var columns []load.Times
	for _, c := range []struct {
		name  string
		times load.Times
		shown bool
		means string
	}{
		{"response", res.Response, about.Rate > 0, "Response: from when the " + begun + " was due to its " + done + "."},
		{"service", res.Service, true, "Service: from the " + start + " to its " + done + "."},
		{"lag", res.Lag, about.Rate > 0, "Lag: how much later a " + begun + " was " + sent + " than it could have been, which is the load program's own."},
		{"connect", res.Connect, true, "Connect: making a connection."},
		{"handshake", res.Handshake, true, "Handshake: agreeing on TLS over a connection that is made."},
		{"greeting", res.Greeting, true, "Greeting: from making a connection to what the server said first."},
		{"lookup", res.Lookup, true, "Lookup: finding the addresses of the host."},
		{"first reply", res.FirstReply, true, "First reply: from making a connection, or its greeting, to the first reply on it."},
	} {
		if c.shown && c.times.Count() > 0 {
			columns = append(columns, c.times)
			p.Columns, p.Glossary = append(p.Columns, c.name), append(p.Glossary, c.means)
		}
	}
	add := func(name string, always bool, cell func(load.Times) string) {
		r := row{Name: name}
		told := always
		for _, t := range columns {
			r.Cells = append(r.Cells, cell(t))
			told = told || cell(t) != "–"
		}
		if told {
			p.Rows = append(p.Rows, r)
		}
	}
	add("shortest", true, func(t load.Times) string { return Short(t.Min()) })
	for _, percent := range []float64{50, 75, 90, 95, 99, 99.9, 99.99, 99.999, 99.9999} {
		add(strconv.FormatFloat(percent, 'f', -1, 64)+" %", percent <= 99.99, func(t load.Times) string { return timeOf(t, percent) })
	}
	add("longest", true, func(t load.Times) string { return Short(t.Max()) })
	add("mean", true, func(t load.Times) string { return Short(t.Mean()) })
	add("std. deviation", true, func(t load.Times) string { return Short(t.StdDev()) })
	add("how many", true, func(t load.Times) string { return grouped(float64(t.Count())) })
}

// counts are all that was counted, each with what it means.
func counts(about *About, res *load.Result) []count {
	if about.Dialogues {
		list := []count{
			{Name: "dialogues", Value: grouped(float64(res.Requests)), Meaning: "played, and their end is known"},
			{Name: "as expected", Value: grouped(float64(res.Replies)), Meaning: "to their end; only these are in the times, but for those of single steps"},
		}
		for _, f := range dialogueFailures(res) {
			list = append(list, count{f.name, grouped(float64(f.n)), f.about, f.n > 0})
		}
		return append(list, traffic(res)...)
	}
	list := []count{
		{Name: "requests", Value: grouped(float64(res.Requests)), Meaning: "sent, and their fate is known"},
		{Name: "replies", Value: grouped(float64(res.Replies)), Meaning: "as expected and in time; only these are in the times"},
	}
	failed := func(name string, n uint64, meaning string) {
		list = append(list, count{name, grouped(float64(n)), meaning, n > 0})
	}
	failed("mismatched", res.Mismatched, "replies that were other than expected")
	failed("missing", res.Missing, "replies that never came")
	failed("late", res.Late, "replies that came after the timeout")
	failed("extra", res.Extra, "replies that came with no request open")
	if about.Rate > 0 {
		failed("unsent", res.Unsent, "requests that were due and could not be sent in time")
	}
	return append(list, traffic(res)...)
}

// traffic counts connections and bytes.
func traffic(res *load.Result) (list []count) {
	for _, kind := range slices.Sorted(maps.Keys(res.Errors)) {
		meaning := "connections that failed so"
		if kind == dial.TLSFailed {
			meaning += ": " + escaped(res.NoTLS)
		}
		n := res.Errors[kind]
		list = append(list, count{"error: " + words(kind), grouped(float64(n)), meaning, n > 0})
	}
	list = append(list,
		count{Name: "connections", Value: grouped(float64(res.Connects)), Meaning: "made, those before the warm-up included"},
		count{Name: "bytes sent", Value: grouped(float64(res.BytesSent)), Meaning: grouped(perSecond(res.BytesSent, res.Elapsed)) + " a second, endings included"},
		count{Name: "bytes received", Value: grouped(float64(res.BytesReceived)), Meaning: grouped(perSecond(res.BytesReceived, res.Elapsed)) + " a second, endings included"},
	)
	if res.Handshake.Count() > 0 {
		list = append(list, count{Name: "resumed", Value: grouped(float64(res.Resumed)), Meaning: "connections that resumed the TLS session of one before"})
	}
	if res.CPU > 0 {
		list = append(list, count{Name: "own CPU", Value: fmt.Sprintf("%.0f %%", 100*res.CPU), Meaning: "of its cores that the load program used"})
	}
	return list
}

func partRow(s load.Second, res *load.Result) row {
	r := row{fmt.Sprintf("%.1f s", s.At.Seconds()), []string{"–", grouped(float64(s.Bad)), "–", "–"}}
	if sending(s, res) {
		r.Cells[0] = grouped(perSecond(s.Replies, s.Counted()))
	}
	if s.Replies > 0 {
		r.Cells[2], r.Cells[3] = Short(s.P50), Short(s.P99)
	}
	return r
}

// machine describes what this program runs on.
func machine() []Setting {
	system := runtime.GOOS + "/" + runtime.GOARCH
	if kernel := kernelRelease(); kernel != "" {
		system += ", kernel " + kernel
	}
	return []Setting{
		{"CPU", cpuModel()},
		{"cores", fmt.Sprintf("%d, of which Go uses %d", runtime.NumCPU(), runtime.GOMAXPROCS(0))},
		{"system", system},
		{"Go", runtime.Version()},
	}
}

// cpuModel is its name where Linux tells it, which on some kinds it does not.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// kernelRelease is that of Linux, "" elsewhere.
func kernelRelease() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(release))
}
