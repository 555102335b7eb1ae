package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const scalingServers = reference + ",parley,parley-goroutines"

// A series is one table of the scaling report: a row a step, a column a server.
type series struct {
	title string
	of    func(sample) float64
	first string // the title of the steps' column
	steps []step
	note  string
}

type step struct {
	label    string
	workload workload
	cores    cores
}

func allSeries() []series {
	cpu := func(s sample) float64 { return s.cpu }
	rate := func(s sample) float64 { return s.rate }
	var sizes, counts, processors []step
	for _, size := range []int{16, 64, 256, 1024, 4096, 16384, 61440} {
		sizes = append(sizes, step{thousands(float64(size), 0), workload{connections: 64, inflight: 1, size: size}, apart})
	}
	for _, n := range []int{1, 10, 100, 1000, 5000, 10000, 15000} {
		counts = append(counts, step{thousands(float64(n), 0), workload{connections: n, inflight: 1, size: payload}, apart})
	}
	for i, list := range []string{"0", "0-1"} {
		shared := cores{server: list, load: list}
		processors = append(processors, step{fmt.Sprint(i + 1), workload{connections: 1000, inflight: 1, size: payload}, shared})
	}
	return []series{
		{"CPU ns/request against message size; 64 connections, one in flight", cpu, "bytes", sizes, ""},
		{"CPU ns/request against connections; 16 bytes, one in flight", cpu, "connections", counts, ""},
		{"Requests/s against cores; 1,000 connections, 16 bytes, one in flight", rate, "cores", processors,
			"Server and load program share these cores; load has one thread, GOMAXPROCS is their number.\n\n"},
	}
}

// scaling shows how the reference and both of Parley's engines take to larger messages,
// to more connections and to a second core.
func (b *bench) scaling(ctx context.Context, chosen []server, rounds int, broken map[string]error) (report string, failed bool, err error) {
	var out strings.Builder
	for _, s := range allSeries() {
		fmt.Fprintf(&out, "### %s\n\n", s.title)
		writeRow(&out, append([]string{s.first}, namesOf(chosen)...))
		writeRow(&out, slices.Repeat([]string{"--:"}, len(chosen)+1))
		for _, st := range s.steps {
			b.cores = st.cores
			st.workload.name = st.label + " " + s.first
			tables, err := b.compare(ctx, chosen, reference, []workload{st.workload}, rounds, broken)
			if err != nil {
				return "", false, err
			}
			failed = failed || anyFailed(tables)
			writeRow(&out, append([]string{st.label}, tables[0].cells(s.of)...))
		}
		out.WriteString("\n" + s.note)
	}
	return out.String(), failed, nil
}

// cells are the medians of a table's rows, each with its ratio to the reference.
func (t table) cells(of func(sample) float64) []string {
	var cells []string
	for _, r := range t.rows {
		if r.failed != nil {
			cells = append(cells, failure(r.failed))
			continue
		}
		cell := thousands(median(each(r.samples, of)), 0)
		if ratios := t.ratios(r, t.reference, of); len(ratios) > 0 && r.server != t.reference {
			cell += fmt.Sprintf(" (%.2f)", median(ratios))
		}
		cells = append(cells, cell)
	}
	return cells
}
