// The command bench runs Parley and its peers side by side and reports what a request
// costs each of them. Run it in its own directory:
//
//	go run .                                    every server, every workload, five rounds
//	go run . -servers parley,gnet -rounds 3     some; c-epoll always runs with them
//	go run . -workloads 64x1,idle               some workloads
//	go run . -out ../docs/performance.md        put the tables into a page as well
//	go run . -scaling                           against size, connections and cores
//	go run . -generators                        parley bench beside other load programs
//	go run . -growth                            pictures of what grows, and n log n beside it
//	go run . -everything                        taps, TLS, sinks, pipes and protocols beside their peers
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	servers, workloads string
	rounds             int
	seconds, warmup    float64
	out                string
	scaling            bool
	generators         bool
	everything         bool
	growth             bool
	exchanges          int
}

func main() {
	var opt options
	flag.StringVar(&opt.servers, "servers", "", "which servers, with commas (default all of them)")
	flag.StringVar(&opt.workloads, "workloads", "64x1,1000x1,10000x1,64x16,idle,accepts", "CONNECTIONSxINFLIGHT, idle or accepts")
	flag.IntVar(&opt.rounds, "rounds", 5, "how often each is measured")
	flag.Float64Var(&opt.seconds, "seconds", 0.65, "the length of a measured window")
	flag.Float64Var(&opt.warmup, "warmup", 0.15, "seconds of load before it")
	flag.StringVar(&opt.out, "out", "", "also write between the markers in this file")
	flag.BoolVar(&opt.scaling, "scaling", false, "measure "+scalingServers+" against message size, connections and cores")
	flag.BoolVar(&opt.generators, "generators", false, "measure parley bench beside other load programs")
	flag.BoolVar(&opt.everything, "everything", false, "measure what people turn on beside those who do the same")
	flag.BoolVar(&opt.growth, "growth", false, "draw what it costs as sessions, messages, tabs and a journal grow")
	flag.IntVar(&opt.exchanges, "exchanges", 10_000_000, "with -growth: of the largest journal, in the temporary directory; ten million take 1 GB")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) error {
	began := time.Now()
	marker := "bench"
	if opt.scaling {
		marker, opt.servers = "scaling", scalingServers
	}
	if opt.generators {
		marker, opt.servers = "generators", reference
	}
	if opt.growth {
		marker, opt.servers = "growth", reference
	}
	if opt.everything {
		marker, opt.servers = "everything", reference
	}
	chosen, err := selectServers(opt.servers)
	if err != nil {
		return err
	}
	var workloads []workload
	for name := range strings.SplitSeq(opt.workloads, ",") {
		w, err := parseWorkload(name)
		if err != nil {
			return err
		}
		workloads = append(workloads, w)
	}
	if err := writeOut(opt.out, marker, ""); err != nil { // now, not after ten minutes
		return err
	}
	if opt.exchanges < 10_000 {
		return fmt.Errorf("a journal of %d exchanges shows nothing", opt.exchanges)
	}
	if opt.rounds < 1 || opt.seconds <= 0 {
		return fmt.Errorf("%d rounds of %g s measure nothing", opt.rounds, opt.seconds)
	}
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("server and load need a core each, and this machine has one")
	}
	raiseOpenFiles()
	dir, err := os.MkdirTemp("", "parley-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	b := &bench{dir: dir, seconds: opt.seconds, warmup: opt.warmup, cores: apart, built: make(map[string]error)}
	if err := b.buildLoad(ctx); err != nil {
		return err
	}
	broken, err := b.buildAll(ctx, chosen)
	if err != nil {
		return err
	}
	var body string
	var failed bool
	used := peersUsed()
	switch {
	case opt.scaling:
		body, failed, err = b.scaling(ctx, chosen, opt.rounds, broken)
	case opt.generators:
		body, err = b.compareGenerators(ctx, opt.rounds)
	case opt.everything:
		body, failed, err = b.everything(ctx, opt.rounds)
		used = everythingUsed()
	case opt.growth:
		body, err = b.growth(ctx, opt.rounds, opt.exchanges, opt.out)
	default:
		body, failed, err = b.standard(ctx, chosen, workloads, opt.rounds, broken)
	}
	if err != nil {
		return err
	}
	took := time.Since(began)
	body = b.circumstances(opt.rounds, took, used) + body
	fmt.Print(body)
	fmt.Fprintf(os.Stderr, "it took %v\n", took.Round(time.Second))
	if d := b.disturbance(); d > 0.03 {
		fmt.Fprintf(os.Stderr, "other programs used %.0f %% of the machine: repeat it when they do not\n", 100*d)
	}
	if err := writeOut(opt.out, marker, body); err != nil {
		return err
	}
	if failed {
		return fmt.Errorf("not all servers could be measured; see the tables")
	}
	return nil
}

// standard is the comparison of all servers, a table for each workload.
func (b *bench) standard(ctx context.Context, chosen []server, workloads []workload, rounds int, broken map[string]error) (report string, failed bool, err error) {
	tables, err := b.compare(ctx, chosen, reference, workloads, rounds, broken)
	if err != nil {
		return "", false, err
	}
	for _, t := range tables {
		report += t.markdown()
	}
	return report, anyFailed(tables), nil
}

// raiseOpenFiles lets the programs that are started have as many files open as is
// allowed. Go raises the limit for itself only, unless it is set by hand.
func raiseOpenFiles() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// writeOut puts the body between the markers of the file, if there is one to write. An
// empty body only sees whether that will be possible.
func writeOut(file, marker, body string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := replaceBetween(string(text), marker, body)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if body == "" {
		return nil
	}
	return os.WriteFile(file, []byte(changed), 0o644)
}
