package main

import (
	"errors"
	"strings"
	"testing"
)

func TestMarkTable(t *testing.T) {
	bulky := table{about: taps, workload: bulk, reference: "haproxy", rows: []row{
		{server: "haproxy", samples: []sample{{cpu: 100}, {cpu: 200}, {cpu: 400}}},
		{server: "parley-tap", samples: []sample{{cpu: 90}, {cpu: 220}, {cpu: 500}}},
	}}
	lone := bulky
	lone.workload = one
	lone.rows = []row{{server: "haproxy", failed: errors.New("not there")}, bulky.rows[1],
		{server: "parley-tap-narrative", failed: errors.New("no luck")}}
	commands := table{about: asked, workload: framed, rows: []row{
		{server: "lines", samples: []sample{{cpu: 100}}}, {server: "redis", samples: []sample{{cpu: 125}}}}}
	pipe := table{about: piped, workload: workload{name: "pipe"}, rows: []row{
		{server: pipedBench, samples: []sample{{rate: 100, cpu: 1}}}, {server: pipedClient, samples: []sample{{rate: 75, cpu: 9}}}}}
	quiet := table{about: silence, workload: silent, rows: []row{{server: "parley-tap", samples: []sample{{perConnection: 1.25}}}}}
	got := markTable([]table{bulky, lone, commands, pipe, quiet})
	for _, want := range []string{
		"| tap, silent, 4 KiB lines in bulk | haproxy | 1.00 | 1.10 (0.90–1.25) | missed, by 0.10 |\n",
		"| tap, silent, 64x1 | haproxy | 1.00 | – | not measured |\n",
		"| tap, narrative to a file, 64x1 | haproxy | 1.20 | – | not measured |\n",
		"| commands of redis to the server, 64x16 | lines | 1.50 | 1.25 (1.25–1.25) | held, by 0.25 |\n",
		"| KiB of a tap's silent session, as RSS | – | 1.50 | 1.25 (1.25–1.25) | held, by 0.25 |\n",
		"| a million lines through a pipe, rate | " + pipedBench + " | 0.50 | 0.75 (0.75–0.75) | held, by 0.25 |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for ratio, want := range map[float64]string{1.004: "held, by 0.00", 1: "held, by 0.00", 1.01: "missed, by 0.01", 0.9: "held, by 0.10"} {
		m := mark{goal: 1}
		if got := m.verdict([]float64{ratio}); got != want {
			t.Errorf("a mark of 1 with %g is %q, want %q", ratio, got, want)
		}
	}
}

// Every mark is of two rows that are measured.
func TestMarksAreMeasured(t *testing.T) {
	for _, m := range marks {
		var rows []string
		for _, c := range comparisons() {
			for _, w := range c.workloads {
				if c.title == m.table && w.name == m.load {
					rows = append(rows, namesOf(c.servers)...)
				}
			}
		}
		for _, c := range pipeContests(1) {
			if c.title == m.table && m.load == "pipe" {
				for _, g := range c.generators {
					rows = append(rows, g.name)
				}
			}
		}
		if all := strings.Join(rows, "\n") + "\n"; !strings.Contains(all, m.row+"\n") || !strings.Contains(all, m.to+"\n") {
			t.Errorf("%s: no rows %q and %q in %q", m.what, m.row, m.to, rows)
		}
	}
}
