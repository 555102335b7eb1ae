package report

import (
	"bytes"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/load"
)

func pageOf(t *testing.T, about *About, res *load.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WritePage(&b, about, res); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageLoadsNothingAndRunsNothing(t *testing.T) {
	for name, run := range results(t) {
		page := strings.ToLower(pageOf(t, run.about, run.res))
		for _, loads := range []string{
			"<script", "<link", "<img", "<iframe", "<object", "<embed", "<base", "<form",
			"src=", "href=", "url(", "@import", "http:", "https:", "onload", "onclick", "onerror", "javascript",
			"zgotmplz", // what the template took for unsafe
		} {
			if strings.Contains(page, loads) {
				t.Errorf("%s: the page has %q", name, loads)
			}
		}
	}
}

func TestPageEscapesWhatStrangersWrote(t *testing.T) {
	const evil = `</title></style><script>alert(1)</script><img src=x onerror=alert(1)>"'`
	run := results(t)["open"]
	about := *run.about
	about.Title, about.Command, about.Notes, about.Examples = evil, evil, []string{evil}, []string{evil}
	about.Settings, about.Machine = []Setting{{evil, evil}}, []Setting{{evil, evil}}
	page := pageOf(t, &about, run.res)
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("what a stranger wrote is an element of the page")
	}
	if got, want := strings.Count(page, "&lt;script&gt;"), 9; got != want {
		t.Errorf("it is on the page %d times, want %d: title, heading, command, note, example, parameter, machine", got, want)
	}
}

func TestPageHasEveryFigure(t *testing.T) {
	run := results(t)["open"]
	res := *run.res
	res.Mismatched, res.Missing, res.Late, res.Extra, res.Unsent, res.Connects = 11_001, 11_002, 11_003, 11_004, 11_005, 11_006
	res.BytesSent, res.BytesReceived, res.CPU, res.Interrupted = 12_000_001, 12_000_002, 0.43, true
	res.Errors = map[dial.Kind]uint64{dial.ConnectTimeout: 11_007, dial.Refused: 11_008}
	res.Connect = load.Times{Histogram: histogramOf(t, 300*time.Microsecond)}
	res.Handshake, res.Resumed = load.Times{Histogram: histogramOf(t, 2*time.Millisecond, 2*time.Millisecond)}, 11_009
	about := *run.about
	about.Command, about.Notes = "parley bench -r 1000 :6969", []string{"The load program was busy."}
	about.Examples = []string{`first late: to "a" came "b" after 2 s`}
	about.Machine = []Setting{{"CPU", "a slow one"}}
	text := regexp.MustCompile(`\s*<[^>]*>\s*`).ReplaceAllString(pageOf(t, &about, &res), "|")
	text = regexp.MustCompile(`\|+`).ReplaceAllString(text, "|")
	for _, want := range []string{
		"then interrupted.", "|parley bench -r 1000 :6969|", "|The load program was busy.|",
		"|failures|77,030|", "|p99 response|990 ms|",
		"|mismatched|11,001|", "|missing|11,002|", "|late|11,003|", "|extra|11,004|", "|unsent|11,005|", "|connections|11,006|",
		"|error: connect timeout|11,007|", "|error: refused|11,008|",
		"|bytes sent|12,000,001|6,000,001 a second", "|bytes received|12,000,002|6,000,001 a second", "|own CPU|43 %|",
		"|percentile|response|service|connect|handshake|",
		"|50 %|500 ms|500 µs|–|2.00 ms|", "|99.99 %|–|–|–|–|", "|first late: to &#34;a&#34; came &#34;b&#34; after 2 s|", "|99.9 %|999 ms|999 µs|–|–|", "|longest|1.00 s|1.00 ms|300 µs|2.00 ms|", "|how many|1,000|1,000|1|2|", "|resumed|11,009|",
		"|connections|16|", "|CPU|a slow one|",
		"|1.0 s|500|0|1.00 ms|20.0 ms|", "|2.0 s|0|40|–|–|",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, hasNot := range []string{"|99.999 %|", "|first reply|"} {
		if strings.Contains(text, hasNot) {
			t.Errorf("the page has %q", hasNot)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// With 100 times the 99th percentile is the second longest; with 99 it would be the
// longest.
func TestPercentileNeedsEnoughTimes(t *testing.T) {
	for _, c := range []struct {
		count   int
		percent float64
		told    bool
	}{
		{0, 50, false}, {1, 50, false}, {2, 50, true}, {99, 99, false}, {100, 99, true}, {101, 99, true},
		{999, 99.9, false}, {1000, 99.9, true}, {9999, 99.99, false}, {10_000, 99.99, true}, {1, 100, true},
	} {
		times := load.Times{Histogram: histogramOf(t)}
		for range c.count {
			times.Histogram.RecordValue(1000)
		}
		if got := timeOf(times, c.percent) != "–"; got != c.told {
			t.Errorf("p%v of %d: told %v, want %v", c.percent, c.count, got, c.told)
		}
	}
}

func TestMachineIsDescribed(t *testing.T) {
	var text strings.Builder
	for _, s := range machine() {
		if s.Name == "" || s.Value == "" || strings.ContainsAny(s.Value, "\n\t") {
			t.Errorf("the setting %q is %q", s.Name, s.Value)
		}
		text.WriteString(s.Value + "\n")
	}
	for _, want := range []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
