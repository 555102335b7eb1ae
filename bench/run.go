package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A bench is what all runs share.
type bench struct {
	dir     string // the programs and the outputs of the running server
	seconds float64
	warmup  float64
	cores   cores
	built   map[string]error // what was made of each command that builds a program

	// What other programs used of all cores while windows were measured, and how long
	// these were together.
	others, watched time.Duration
}

// cores are where the two sides run, as taskset writes it.
type cores struct{ server, load string }

// apart is one core each: neither takes time from the other.
var apart = cores{server: "0", load: "1"}

// A workload is one table.
type workload struct {
	name        string // 64x1, idle, accepts
	connections int
	inflight    int
	size        int // of a payload, in bytes
	lines       int // that are sent in all, where nobody replies
	before      int // of idle connections: those that count for nothing, as what a process sets up once
}

const (
	idleConnections = 10000
	idleHold        = 3 * time.Second // what connecting took may be given back first
	acceptsAtOnce   = 16
	payload         = 16
	redisAround     = len("*2\r\n$3\r\nGET\r\n$16\r\n\r\n") - len("\n")
)

func parseWorkload(name string) (workload, error) {
	w := workload{name: name, inflight: 1, size: payload}
	switch name {
	case "idle":
		w.connections = idleConnections
	case "accepts":
		w.connections = acceptsAtOnce
	default:
		fmt.Sscanf(name, "%dx%d", &w.connections, &w.inflight)
		if w.connections < 1 || w.inflight < 1 || name != fmt.Sprintf("%dx%d", w.connections, w.inflight) {
			return w, fmt.Errorf("no workload %q; write CONNECTIONSxINFLIGHT, idle or accepts", name)
		}
	}
	return w, nil
}

// A sample is what one run found. A request is a whole connection under accepts.
type sample struct {
	cpu            float64 // ns of the server for a request
	rate           float64 // requests a second
	p50, p99, p999 float64 // latency in µs
	memory         float64 // resident at the end, in MiB
	perConnection  float64 // the memory of an idle connection, in KiB
}

// patience is for a whole run: the longest takes about three seconds.
const patience = 30 * time.Second

// measure starts the server, puts the load on it and ends both.
func (b *bench) measure(ctx context.Context, s server, w workload) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done in %v", patience))
	defer cancel()
	p, err := b.start(ctx, s)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	if w.before > 0 {
		l, err := b.holdBefore(ctx, p, s, w)
		if err != nil {
			return sample{}, err
		}
		defer l.stop()
		w.connections -= w.before
	}
	l, err := b.startLoad(ctx, p.port, s, w)
	if err != nil {
		return sample{}, err
	}
	defer l.stop()
	switch {
	case w.name == "idle":
		return measureIdle(ctx, p, l, w)
	case w.lines > 0:
		return b.measureSink(ctx, p, l, w)
	}
	return b.measureBusy(ctx, p, l)
}

func (b *bench) measureBusy(ctx context.Context, p *running, l *loader) (sample, error) {
	if _, err := l.awaitWord(ctx, "start"); err != nil {
		return sample{}, err
	}
	before, err := readClocks(p, l)
	if err != nil {
		return sample{}, err
	}
	l.goOn()
	figures, err := l.awaitWord(ctx, "end")
	if err != nil {
		return sample{}, err
	}
	after, err := readClocks(p, l)
	if err != nil {
		return sample{}, err
	}
	server := after.server - before.server
	b.others += after.machine - before.machine - (after.ours - before.ours)
	b.watched += after.at.Sub(before.at)
	memory, err := p.memory()
	if err != nil {
		return sample{}, err
	}
	found, err := parseFigures(figures)
	if err != nil {
		return sample{}, err
	}
	busy := found.sample()
	busy.cpu, busy.memory = float64(server)/found.Requests, memory/(1<<20)
	return busy, nil
}

// figures are what load prints.
type figures struct {
	Requests, Seconds float64
	P50               float64 `json:"p50_ns"`
	P99               float64 `json:"p99_ns"`
	P999              float64 `json:"p999_ns"`
}

func parseFigures(text string) (figures, error) {
	var f figures
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return f, fmt.Errorf("load: %w", err)
	}
	if f.Requests == 0 {
		return f, errors.New("no request was done in the window")
	}
	return f, nil
}

func (f *figures) sample() sample {
	return sample{rate: f.Requests / f.Seconds, p50: f.P50 / 1e3, p99: f.P99 / 1e3, p999: f.P999 / 1e3}
}

// clocks are read while all connections are at rest.
type clocks struct {
	at                    time.Time
	server, ours, machine time.Duration // CPU time used by what is measured, by all that runs for it, and by all
}

func readClocks(p *running, l *loader) (clocks, error) {
	c := clocks{at: time.Now()}
	var errs [4]error
	var own, behind, load time.Duration
	own, errs[0] = p.cpu()
	if p.back != nil {
		behind, errs[1] = p.back.cpu()
	}
	load, errs[2] = cpuTime(l.cmd.Process.Pid)
	c.machine, errs[3] = machineTime()
	c.server, c.ours = own, own+behind+load
	if p.whole {
		c.server += behind
	}
	return c, errors.Join(errs[:]...)
}

// holdBefore opens the connections whose memory counts for nothing.
func (b *bench) holdBefore(ctx context.Context, p *running, s server, w workload) (*loader, error) {
	w.connections = w.before
	l, err := b.startLoad(ctx, p.port, s, w)
	if err != nil {
		return nil, err
	}
	if err = awaitIdle(ctx, l); err == nil {
		p.memoryBefore, err = p.memory()
	}
	if err != nil {
		l.stop()
	}
	return l, err
}

func awaitIdle(ctx context.Context, l *loader) error {
	if _, err := l.awaitWord(ctx, "ready"); err != nil {
		return err
	}
	select {
	case <-time.After(idleHold):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// measureIdle relies on start's exchange: what a first connection sets up is not
// counted as memory of the idle ones.
func measureIdle(ctx context.Context, p *running, l *loader, w workload) (sample, error) {
	if err := awaitIdle(ctx, l); err != nil {
		return sample{}, err
	}
	memory, err := p.memory()
	if err != nil {
		return sample{}, err
	}
	return sample{
		memory:        memory / (1 << 20),
		perConnection: (memory - p.memoryBefore) / 1024 / float64(w.connections),
	}, nil
}
