package main

import (
	"cmp"
	"fmt"
	"strings"
)

// A mark is a ratio that was aimed at, of one row of a table to another, or a figure of one.
type mark struct {
	what    string
	table   string // its title's beginning, and its workload
	load    string
	row, to string // to is empty where the figure itself is meant
	goal    float64
	of      func(sample) float64
	more    bool // is better
}

func cpuOf(s sample) float64    { return s.cpu }
func rateOf(s sample) float64   { return s.rate }
func memoryOf(s sample) float64 { return s.perConnection }

const (
	bare    = "Beside the bare exchange"
	taps    = "A tap"
	silence = "A tap's silent sessions"
	secure  = "TLS 1.3"
	asked   = "Commands of redis, to the server"
	passed  = "Commands of redis, through the tap"
	piped   = "To Parley's server"
)

var marks = []mark{
	{what: "JSON to a file, 64x16", table: bare, load: "64x16", row: "parley-json", to: reference, goal: 2, of: cpuOf},
	{what: "narrative to a file, 64x16", table: bare, load: "64x16", row: "parley-narrative", to: reference, goal: 1.3, of: cpuOf},
	{what: "journal, 64x1", table: bare, load: "64x1", row: "parley-journal", to: reference, goal: 1.15, of: cpuOf},
	{what: "journal, 64x16", table: bare, load: "64x16", row: "parley-journal", to: reference, goal: 4.5, of: cpuOf},
	{what: "metrics on, 64x1", table: bare, load: "64x1", row: "parley-metrics", to: "parley", goal: 1.02, of: cpuOf},
	{what: "metrics on, 64x16", table: bare, load: "64x16", row: "parley-metrics", to: "parley", goal: 1.02, of: cpuOf},
	{what: "tap, silent, 64x1", table: taps, load: "64x1", row: "parley-tap", to: "haproxy", goal: 1, of: cpuOf},
	{what: "tap, narrative to a file, 64x1", table: taps, load: "64x1", row: "parley-tap-narrative", to: "haproxy", goal: 1.2, of: cpuOf},
	{what: "tap, silent, 4 KiB lines in bulk", table: taps, load: "bulk", row: "parley-tap", to: "haproxy", goal: 1, of: cpuOf},
	{what: "KiB of a tap's silent session, as RSS", table: silence, load: "idle", row: "parley-tap", goal: 1.5, of: memoryOf},
	{what: "TLS 1.3, 64x1", table: secure, load: "64x1", row: "parley", to: openSSL, goal: 1.25, of: cpuOf},
	{what: "TLS 1.3, 64x16", table: secure, load: "64x16", row: "parley", to: openSSL, goal: 1.25, of: cpuOf},
	{what: "TLS 1.3, a handshake", table: secure, load: "accepts", row: "parley", to: openSSL, goal: 1.3, of: cpuOf},
	{what: "a million lines through a pipe, rate", table: piped, load: "pipe", row: pipedClient, to: pipedBench, goal: 0.5, of: rateOf, more: true},
	{what: "commands of redis to the server, 64x16", table: asked, load: "64x16", row: "redis", to: "lines", goal: 1.5, of: cpuOf},
	{what: "commands of redis through the tap, 64x16", table: passed, load: "64x16", row: "redis", to: "lines", goal: 1.5, of: cpuOf},
}

// markTable says of each mark where it is. What could not be measured is no success.
func markTable(tables []table) string {
	var out strings.Builder
	out.WriteString("### The marks\n\nRatios of CPU time, but of the pipe's rate, and memory: medians, with least and most.\n\n")
	writeRow(&out, []string{"what", "beside", "mark", "measured", ""})
	writeRow(&out, []string{"---", "---", "--:", "--:", "---"})
	for _, m := range marks {
		var ratios []float64
		for _, t := range tables {
			if r := t.row(m.row); t.about == m.table && t.workload.name == m.load && r != nil && r.failed == nil {
				if ratios = each(r.samples, m.of); m.to != "" {
					ratios = t.ratios(*r, m.to, m.of)
				}
			}
		}
		writeRow(&out, []string{m.what, cmp.Or(m.to, "–"), fmt.Sprintf("%.2f", m.goal), spread(ratios), m.verdict(ratios)})
	}
	out.WriteString("\n")
	return out.String()
}

// verdict is by how much a mark is held or missed.
func (m *mark) verdict(ratios []float64) string {
	if len(ratios) == 0 {
		return "not measured"
	}
	ahead := m.goal - median(ratios)
	if m.more {
		ahead = -ahead
	}
	// As it is shown: 1.004 beside 1 is no miss that anybody could see.
	if shown := fmt.Sprintf("%.2f", ahead); ahead >= 0 || shown == "-0.00" {
		return "held, by " + strings.TrimPrefix(shown, "-")
	}
	return fmt.Sprintf("missed, by %.2f", -ahead)
}
