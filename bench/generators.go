package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A generator is a load program beside others, under the same server.
type generator struct {
	name string
	// run puts its load on the port, in a closed loop, and says what it found.
	run func(ctx context.Context, b *bench, port, connections int) (sample, error)
}

// A contest is a server, and the load programs that find out how fast it is.
type contest struct {
	title       string
	server      server
	connections int
	generators  []generator // to the first of which all ratios are
}

// With one connection no load program is its own limit.
var contests = []contest{
	{title: reference, server: servers[0], connections: 64, generators: numbering},
	{title: reference, server: servers[0], connections: 1, generators: numbering},
	{title: "redis, inline PING", server: redis, connections: 64, generators: pinging},
	{title: "redis, inline PING", server: redis, connections: 1, generators: pinging},
}

var numbering = []generator{
	{"load/load.c", loadInC},
	{"parley bench", parleyBench("--size", "16")},
}

var redis = server{name: "redis", run: "redis-server --port PORT --bind 127.0.0.1 --save 86400 1000000000 --appendonly no --dir DIR"}

var pinging = []generator{
	{"redis-benchmark", redisBenchmark},
	{"parley bench", parleyBench("--crlf", "-m", "PING", "--expect", `^\+PONG$`)},
}

// compareGenerators runs every contest, round by round, and returns its tables.
func (b *bench) compareGenerators(ctx context.Context, rounds int) (report string, err error) {
	if err := b.build(ctx, buildParley); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, c := range contests {
		found, err := b.contend(ctx, c, rounds)
		if err != nil {
			return "", err
		}
		for _, r := range found.rows {
			if r.failed != nil {
				return "", fmt.Errorf("%s on %s: %w", r.server, c.title, r.failed)
			}
		}
		c.write(&out, found)
	}
	return out.String(), nil
}

// contend runs a contest, round by round. The rows are the generators.
func (b *bench) contend(ctx context.Context, c contest, rounds int) (table, error) {
	t := table{about: c.title, reference: c.generators[0].name}
	for _, g := range c.generators {
		t.rows = append(t.rows, row{server: g.name})
	}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, c.title)
		for i := range c.generators {
			i = (i + round) % len(c.generators) // nobody always comes first
			if t.rows[i].failed != nil {
				continue
			}
			s, err := b.generate(ctx, c, c.generators[i])
			if ctx.Err() != nil {
				return t, ctx.Err()
			}
			t.rows[i].samples, t.rows[i].failed = append(t.rows[i].samples, s), err
		}
	}
	return t, nil
}

func (b *bench) generate(ctx context.Context, c contest, g generator) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done in %v", patience))
	defer cancel()
	p, err := b.start(ctx, c.server)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	s, err := g.run(ctx, b, p.port, c.connections)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // it was killed, and that is why
	}
	return s, err
}

// write adds a contest's table: medians, and ratios to the first generator in the same
// rounds.
func (c *contest) write(out *strings.Builder, found table) {
	fmt.Fprintf(out, "### %s; connections: %d, one in flight on each\n\n", c.title, c.connections)
	writeRow(out, []string{"load program", "requests/s", "ratio", "p50 µs", "ratio", "p99 µs", "ratio", "its own CPU ns/request", "ratio"})
	writeRow(out, []string{"---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:"})
	rate := func(s sample) float64 { return s.rate }
	p50 := func(s sample) float64 { return s.p50 }
	p99 := func(s sample) float64 { return s.p99 }
	cpu := func(s sample) float64 { return s.cpu }
	for _, r := range found.rows {
		ratio := func(of func(sample) float64) string { return spread(found.ratios(r, found.reference, of)) }
		writeRow(out, []string{r.server, thousands(median(each(r.samples, rate)), 0), ratio(rate),
			thousands(median(each(r.samples, p50)), 0), ratio(p50), thousands(median(each(r.samples, p99)), 0),
			thousands(median(each(r.samples, cpu)), 0), ratio(cpu)})
	}
	out.WriteString("\n")
}

// loadInC is load/load.c; its CPU time is that of the window.
func loadInC(ctx context.Context, b *bench, port, connections int) (sample, error) {
	l, err := b.startLoad(ctx, port, server{}, workload{connections: connections, inflight: 1, size: payload})
	if err != nil {
		return sample{}, err
	}
	defer l.stop()
	if _, err := l.awaitWord(ctx, "start"); err != nil {
		return sample{}, err
	}
	before, err := cpuTime(l.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	l.goOn()
	text, err := l.awaitWord(ctx, "end")
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(l.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	found, err := parseFigures(text)
	if err != nil {
		return sample{}, err
	}
	s := found.sample()
	s.cpu = float64(after-before) / found.Requests
	return s, nil
}

// parleyBench is the command with some more arguments; its CPU time is that of the whole
// process, its start and its report included.
func parleyBench(args ...string) func(ctx context.Context, b *bench, port, connections int) (sample, error) {
	return func(ctx context.Context, b *bench, port, connections int) (sample, error) {
		argv := append([]string{"-c", b.cores.load, filepath.Join(b.dir, "parley"), "bench", "-q", "--json", "--warmup", "0s",
			"-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%gs", b.seconds), fmt.Sprintf("127.0.0.1:%d", port)}, args...)
		cmd := exec.CommandContext(ctx, "taskset", argv...)
		cmd.Env = plainEnvironment()
		out, err := cmd.Output()
		if err != nil {
			return sample{}, errors.New(reason(out, err))
		}
		var found struct {
			Requests float64
			Rate     float64 `json:"rate_per_s"`
			Service  struct {
				P50 float64 `json:"p50_us"`
				P99 float64 `json:"p99_us"`
			}
		}
		if err := json.Unmarshal(out, &found); err != nil {
			return sample{}, err
		}
		used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		return sample{rate: found.Rate, p50: found.Service.P50, p99: found.Service.P99, cpu: float64(used) / found.Requests}, nil
	}
}

// redisBenchmark sends a number of requests, not for a time: so many that it takes about
// as long. Its CPU time is that of the whole process.
func redisBenchmark(ctx context.Context, b *bench, port, connections int) (sample, error) {
	perSecond := 100_000.0
	if connections == 1 {
		perSecond = 20_000
	}
	requests := int(b.seconds * perSecond)
	cmd := exec.CommandContext(ctx, "taskset", "-c", b.cores.load, "redis-benchmark", "-p", strconv.Itoa(port), "-t", "ping_inline",
		"-c", strconv.Itoa(connections), "-n", strconv.Itoa(requests), "--csv")
	out, err := cmd.Output()
	if err != nil {
		return sample{}, errors.New(reason(out, err))
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) != 2 {
		return sample{}, fmt.Errorf("redis-benchmark printed %q", out)
	}
	found := make(map[string]float64)
	for i, name := range rows[0] {
		found[name], _ = strconv.ParseFloat(rows[1][i], 64)
	}
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return sample{rate: found["rps"], p50: found["p50_latency_ms"] * 1e3, p99: found["p99_latency_ms"] * 1e3,
		cpu: float64(used) / float64(requests)}, nil
}
