package main

import (
	"context"
	"fmt"
	"os"
)

// A table is a workload's samples.
type table struct {
	about     string // what its title begins with, if anything
	workload  workload
	reference string // the row to which all ratios are
	rows      []row
}

// A row is one server's samples, one of each round, or the reason why there are none.
type row struct {
	server  string
	samples []sample
	failed  error
}

// idleRounds are enough: memory hardly differs from round to round, and time is short.
const idleRounds = 2

// compare runs every workload on every server that can do it, round by round, so that
// what a ratio compares was measured close together. Each round begins with another
// server: nobody always comes first. A server that failed is not asked again. All ratios
// are to the reference.
func (b *bench) compare(ctx context.Context, chosen []server, reference string, workloads []workload, rounds int, broken map[string]error) ([]table, error) {
	tables := make([]table, len(workloads))
	for i, w := range workloads {
		tables[i].workload, tables[i].reference = w, reference
		for _, s := range chosen {
			if s.can(w) {
				tables[i].rows = append(tables[i].rows, row{server: s.name, failed: broken[s.name]})
			}
		}
	}
	byName := make(map[string]server)
	for _, s := range chosen {
		byName[s.name] = s
	}
	for round := range rounds {
		for _, t := range tables {
			if t.workload.name == "idle" && round >= idleRounds {
				continue
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, t.workload.name)
			for i := range t.rows {
				r := &t.rows[(i+round)%len(t.rows)]
				if r.failed != nil {
					continue
				}
				found, err := b.measure(ctx, byName[r.server], t.workload)
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				if err != nil {
					r.failed = err
					fmt.Fprintf(os.Stderr, "%s failed: %v\n", r.server, err)
				}
				r.samples = append(r.samples, found)
			}
		}
	}
	return tables, nil
}

func (t table) row(server string) *row {
	for i := range t.rows {
		if t.rows[i].server == server {
			return &t.rows[i]
		}
	}
	return nil
}

func anyFailed(tables []table) bool {
	for _, t := range tables {
		for _, r := range t.rows {
			if r.failed != nil {
				return true
			}
		}
	}
	return false
}
