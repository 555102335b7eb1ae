package main

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

// grown is a curve of f.
func grown(name string, f func(n float64) float64) curve {
	c := curve{name: name}
	for _, n := range []float64{1, 10, 100, 1000, 10000} {
		c.at = append(c.at, spot{n, f(n)})
	}
	return c
}

func TestAgainstNLogN(t *testing.T) {
	for _, test := range []struct {
		name        string
		cost        func(n float64) float64
		least, most float64
	}{
		{"n log n itself", nLogN, 0.999, 1.001},
		{"linear", func(n float64) float64 { return 7 * n }, 0, 0.9},
		{"always the same", func(float64) float64 { return 5 }, 0, 0.1},
		{"a fixed cost, then linear", func(n float64) float64 { return 1e6 + n }, 0, 0.9},
		{"quadratic", func(n float64) float64 { return n * n }, 100, 1e9},
		{"a fixed cost, then quadratic", func(n float64) float64 { return 1e6 + n*n }, 2, 1e9},
		{"n log n, ten times dearer from 1000 on", func(n float64) float64 {
			if n >= 1000 {
				return 10 * nLogN(n)
			}
			return nLogN(n)
		}, 9.9, 10.1},
	} {
		c := grown(test.name, test.cost)
		if got := c.againstNLogN(); got < test.least || got > test.most {
			t.Errorf("%s grows %.3f times as fast as n log n, want %g to %g", test.name, got, test.least, test.most)
		}
	}
	near := curve{at: []spot{{1000, 1}, {2000, 100}}}
	if got := near.againstNLogN(); got != 0 {
		t.Errorf("two spots that are near say %g", got)
	}
}

func TestPictureIsWhatItSays(t *testing.T) {
	p := picture{title: "Sessions", x: "sessions", y: "CPU time", curves: []curve{
		grown("linear", func(n float64) float64 { return 1e3 * n }),
		grown("the same", func(float64) float64 { return 5e6 }),
	}}
	svg := p.svg()
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, want := range []string{
		">Sessions<", ">CPU time; dotted: n log n through the last<", ">linear<", ">the same<", ">10 k<", ">1 µs<", ">10 ms<",
		`<path class="line c0" d="M80.0 320.0L`, // from the lower left corner
		"940.0 48.0\"/>\n",                      // to the upper right one
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("no numbers in\n%s", svg)
	}

	table := p.table()
	for _, want := range []string{
		"| sessions | linear | the same |\n", "| 1 | 1 µs (1 µs) | 5 ms (5 ms) |\n", "| 10,000 | 10 ms (1 µs) | 5 ms (500 ns) |\n", "| growth beside n log n | 0.77 | 0.08 |\n",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}

func TestShortTime(t *testing.T) {
	for want, ns := range map[string]float64{"12 ns": 12, "1 µs": 1e3, "1.5 ms": 1.5e6, "120 s": 1.2e11} {
		if got := shortTime(ns); got != want {
			t.Errorf("shortTime(%g) = %s, want %s", ns, got, want)
		}
	}
	if nLogN(1) != 1 || math.IsNaN(nLogN(1)) {
		t.Errorf("one step costs %g", nLogN(1))
	}
}
