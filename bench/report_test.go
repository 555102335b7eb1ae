package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.values, got, test.want)
		}
	}
}

func TestThousands(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "999": 999, "1,000": 1000, "1,234,568": 1234567.8, "-1,000": -1000, "-100": -100} {
		if got := thousands(v, 0); got != want {
			t.Errorf("thousands(%v) = %s, want %s", v, got, want)
		}
	}
	if got := thousands(1234.56, 1); got != "1,234.6" {
		t.Errorf("thousands(1234.56, 1) = %s", got)
	}
}

// A ratio is to the reference in the same round, not to its median.
func TestTable(t *testing.T) {
	busy, err := parseWorkload("1000x16")
	if err != nil {
		t.Fatal(err)
	}
	tab := table{workload: busy, reference: reference, rows: []row{
		{server: reference, samples: []sample{{cpu: 100}, {cpu: 200}, {cpu: 400}}},
		{server: "peer", samples: []sample{{cpu: 150, rate: 1e6, p50: 1, p99: 2, p999: 3, memory: 4.25}, {cpu: 220, rate: 1e6, p50: 1, p99: 2, p999: 3, memory: 4.25}, {cpu: 480, rate: 1e6, p50: 1, p99: 2, p999: 3, memory: 4.25}}},
		{server: "broken", failed: errors.New("no | luck")},
	}}
	got := tab.markdown()
	for _, want := range []string{
		"### 1,000 connections, 16 in flight\n",
		"| server | CPU ns/request | ratio to c-epoll | requests/s | p50 µs | p99 µs | p99.9 µs | RSS MiB |\n",
		"| c-epoll | 200 | 1.00 (1.00–1.00) |",
		"| peer | 220 | 1.20 (1.10–1.50) | 1,000,000 | 1 | 2 | 3 | 4.2 |\n",
		`| broken | failed: no \| luck |  |  |  |  |  |  |` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}

	cells := strings.Join(tab.cells(func(s sample) float64 { return s.cpu }), "; ")
	if want := `200; 220 (1.20); failed: no \| luck`; cells != want {
		t.Errorf("cells %s, want %s", cells, want)
	}

	tab.rows[0].failed = errors.New("gone")
	if got := tab.markdown(); !strings.Contains(got, "| peer | 220 | – |") {
		t.Errorf("a ratio to a reference that failed:\n%s", got)
	}
}

func TestWriteOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const page = "# Speed\n\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n\nrest\n<!-- scaling: begin -->\n<!-- scaling: end -->\n"
	os.WriteFile(file, []byte(page), 0o644)
	if err := writeOut(file, "bench", ""); err != nil {
		t.Error(err)
	}
	for range 2 { // again gives the same
		if err := writeOut(file, "bench", "new\n"); err != nil {
			t.Error(err)
		}
		got, _ := os.ReadFile(file)
		if want := strings.Replace(page, "old", "\nnew", 1); string(got) != want {
			t.Errorf("the page is now\n%s\nwant\n%s", got, want)
		}
	}
	for _, bad := range []string{"", "<!-- bench: begin -->\n", "<!-- bench: end -->\n<!-- bench: begin -->\n"} {
		if _, err := replaceBetween(bad, "bench", "x"); err == nil {
			t.Errorf("replaceBetween(%q) finds markers", bad)
		}
	}
}

func TestSelectServers(t *testing.T) {
	got, err := selectServers("socat,parley")
	if err != nil || strings.Join(namesOf(got), " ") != "c-epoll socat parley" {
		t.Errorf("selectServers = %v, %v", namesOf(got), err)
	}
	if got, err := selectServers(""); err != nil || len(got) != len(servers) {
		t.Errorf("selectServers = %v, %v; want all", namesOf(got), err)
	}
	if _, err := selectServers("parley,"); err == nil {
		t.Error("an empty name is a server")
	}
}

func TestParseWorkload(t *testing.T) {
	for _, bad := range []string{"", "64", "64x", "x1", "0x1", "64x0", "64x1x", "busy"} {
		if w, err := parseWorkload(bad); err == nil {
			t.Errorf("parseWorkload(%q) = %+v, want an error", bad, w)
		}
	}
}

func TestFailedServerStaysInTheTable(t *testing.T) {
	b, run := testBench(t)
	good, bad, unbuilt := run("right"), run("closed"), run("echo")
	limited := run("stubborn")
	limited.only = []string{"accepts"}
	w := workload{name: "4x1", connections: 4, inflight: 1, size: payload}
	tables, err := b.compare(t.Context(), []server{good, bad, unbuilt, limited}, reference, []workload{w}, 2,
		map[string]error{"echo": errors.New("gcc: no")})
	if err != nil {
		t.Fatal(err)
	}
	rows := tables[0].rows
	if len(rows) != 3 || rows[0].failed != nil || len(rows[0].samples) != 2 || rows[1].failed == nil || rows[2].failed == nil || !anyFailed(tables) {
		t.Errorf("rows %+v", rows)
	}
}
