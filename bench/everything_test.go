package main

import (
	"os"
	"testing"

	"github.com/parley-tcp/parley/bench/selfsigned"
)

// Every row of what people turn on can be measured, however short: the figures of such a
// run say nothing.
func TestEveryRowCanBeMeasured(t *testing.T) {
	b, _ := testBench(t)
	b.seconds, b.warmup = 0.02, 0.01
	if _, _, err := selfsigned.Write(b.dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range comparisons() {
		t.Run(c.title, func(t *testing.T) {
			broken, err := b.buildAll(t.Context(), c.servers)
			if err != nil {
				t.Fatal(err)
			}
			for name, why := range broken {
				if os.Getenv("CI") == "true" {
					t.Errorf("%s: %v", name, why)
				}
				t.Logf("%s is left out: %v", name, why)
			}
			for i := range c.workloads {
				c.workloads[i].lines /= 10
			}
			tables, err := b.compare(t.Context(), c.servers, c.reference, c.workloads, 1, broken)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range tables {
				for _, r := range found.rows {
					if r.failed != nil && broken[r.server] == nil {
						t.Errorf("%s, %s: %v", r.server, found.workload.name, r.failed)
					} else if r.failed == nil && (r.samples[0].cpu <= 0 || r.samples[0].rate <= 0) {
						t.Errorf("%s, %s: %+v", r.server, found.workload.name, r.samples[0])
					}
				}
			}
		})
	}
}

func TestPipesCanBeMeasured(t *testing.T) {
	b, _ := testBench(t)
	tables, err := b.pipes(t.Context(), 1, 5000)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range tables {
		for _, r := range found.rows {
			if r.failed != nil {
				t.Errorf("%s, %s: %v", found.about, r.server, r.failed)
			} else if r.samples[0].cpu <= 0 || r.samples[0].rate <= 0 {
				t.Errorf("%s, %s: %+v", found.about, r.server, r.samples[0])
			}
		}
	}
}
