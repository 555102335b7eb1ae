package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/metrics"
	"github.com/parley-tcp/parley/internal/probe"
	"github.com/parley-tcp/parley/internal/systemd"
)

// proberOptions have a check go on for good: --every and what goes with it.
type proberOptions struct {
	every   time.Duration
	targets string
	verbose bool
	admin   adminOptions
}

func (p *proberOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	end := heading(flags, ofProber)
	flags.DurationVar(&p.every, "every", 0, "probe again and again, this long from one to the next, and print a line whenever the service goes up or down")
	flags.StringVar(&p.targets, "targets", "", "probe all that stand in this `FILE`, a line each: a name, an address and options; SIGHUP reads it again")
	flags.BoolVarP(&p.verbose, "verbose", "v", false, "print every verdict, not only changes")
	flags.SetAnnotation("targets", goesWith, []string{"every"})
	flags.SetAnnotation("verbose", goesWith, []string{"every"})
	for _, name := range []string{"count", "wait", "all", "junit", "print"} {
		cmd.MarkFlagsMutuallyExclusive("every", name)
	}
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet")
	end()
	p.admin.addFlags(cmd)
	flags.SetAnnotation("admin", goesWith, []string{"every"})
}

// A prober is a check that goes on for good.
type prober struct {
	*probe.Prober
	load    func() (targets []*probe.Target, texts []string, err error)
	others  chan []*probe.Target
	bad     atomic.Bool // the file of targets could not be read the last time
	out     *console.Writer
	err     *console.Writer
	notes   *console.Notes
	site    *adminSite       // nil without --admin
	manager *systemd.Service // that has started the process; nil if it does not ask
}

// keepProbing probes until a signal asks for an end.
func (opt *checkOptions) keepProbing(cmd *cobra.Command, args []string) error {
	signal.Ignore(syscall.SIGPIPE) // a reader of ours that goes away is told of below
	p := &prober{Prober: &probe.Prober{Every: opt.prober.every}, others: make(chan []*probe.Target)}
	load, err := opt.targets(cmd, args)
	if err != nil {
		return err
	}
	p.load = load
	targets, texts, err := p.load()
	if err != nil {
		return err
	}
	ctx, lost := context.WithCancelCause(cmd.Context())
	defer lost(nil)
	p.open(cmd.OutOrStdout(), cmd.ErrOrStderr(), opt, lost)
	defer p.close()
	noteAll(p.notes.Printf, texts)
	if err := p.answer(ctx, opt); err != nil {
		closeTargets(targets)
		return err
	}
	var reload func()
	if opt.prober.targets != "" || opt.prober.admin.reloads() {
		reload = func() { p.reload(ctx, opt.prober.targets) }
	}
	ctx, stop := untilSignalOr(ctx, reload)
	defer stop()
	p.manager.Ready()
	p.Run(ctx, targets, p.others)
	p.manager.Stopping()
	if cause := context.Cause(ctx); isOfOutput(cause) {
		return cannotWrite(cause)
	}
	return nil // whatever the last verdicts are: they are in what was printed and counted
}

// targets says how those are loaded that the command line asks for: one, or those of a file.
func (opt *checkOptions) targets(cmd *cobra.Command, args []string) (load func() ([]*probe.Target, []string, error), err error) {
	file := opt.prober.targets
	if file == "" {
		return func() ([]*probe.Target, []string, error) {
			check, err := opt.oneCheck(cmd, args)
			if err != nil {
				return nil, nil, err
			}
			return []*probe.Target{{Name: check.Target, Check: *check, Close: opt.out.close}}, nil, nil
		}, nil
	}
	if len(args) > 0 {
		return nil, usageError("%s goes without --targets: each line of %s names an address", args[0], file)
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if isGiven(f) && !isOfTheProber(f) && err == nil {
			err = usageError("--%s goes into the lines of %s, for the targets that want it; %s sets it for all", f.Name, file, variableOf(f))
		}
	})
	if err != nil {
		return nil, err
	}
	return func() ([]*probe.Target, []string, error) {
		targets, texts, err := readTargets(file)
		for _, t := range targets {
			t.Check.JSON, t.Check.Node, t.Check.Style = opt.json, opt.node.orHost(), styleOf(cmd, cmd.OutOrStdout())
		}
		return targets, texts, err
	}, nil
}

// open starts to write to both streams. lost ends all if nobody reads any more and nobody can ask.
func (p *prober) open(stdout, stderr io.Writer, opt *checkOptions, lost context.CancelCauseFunc) {
	p.err = console.NewWriter(stderr, console.QueueLimit, console.SkippedNotes, nil)
	p.notes = console.NewNotes(p.err, console.Limits{}, false)
	if opt.quiet {
		return
	}
	skipped := console.SkippedNotes
	if opt.json {
		skipped = console.SkippedJSON("prober", opt.node.orHost())
	}
	p.out = console.NewWriter(stdout, console.QueueLimit, skipped, func(err error, full bool) {
		switch {
		case full:
			p.notes.Printf("standard output takes no more (%v); its lines wait, and are skipped past %d MiB", inWords(err, aFileToWrite), console.QueueLimit>>20)
		case opt.prober.admin.at == "":
			lost(err)
		default:
			p.notes.Printf("standard output is gone (%v); it goes on without", inWords(err, aFileToWrite))
		}
	})
	p.Told = func(t *probe.Target, f *probe.Finding, was probe.State) {
		if line := t.Tell(f, was, opt.prober.verbose); line != nil {
			p.out.Append(line)
		}
	}
}

// answer has Prometheus answered, and the service manager told how it is.
func (p *prober) answer(ctx context.Context, opt *checkOptions) (err error) {
	told := metrics.Options{Targets: p.States}
	if opt.prober.targets != "" {
		told.Gauges = []metrics.Gauge{{
			Name:  "parley_probe_targets_last_reload_successful",
			Help:  "1 if the file of targets could be read the last time, 0 if the targets are those of a time before.",
			Value: func() float64 { return map[bool]float64{false: 1}[p.bad.Load()] },
		}}
	}
	if p.site, err = opt.prober.admin.open(ctx, told, p.notes); err != nil {
		return err
	}
	if p.manager, err = systemd.Open(p.status, func() bool { return true }); err != nil {
		return usageError("%w", err)
	}
	return nil
}

// status is such as "11 of 12 targets are up".
func (p *prober) status() string {
	states, up := p.States(), 0
	for _, s := range states {
		if s.Up {
			up++
		}
	}
	return fmt.Sprintf("%d of %d targets are up", up, len(states))
}

// reload reads the files again. What cannot be used is said, and the old stays.
func (p *prober) reload(ctx context.Context, file string) {
	p.manager.Reloading()
	defer p.manager.Ready()
	if p.site != nil && p.site.reload != nil {
		p.site.reload()
	}
	if file == "" {
		return
	}
	targets, texts, err := p.load()
	p.bad.Store(err != nil)
	if err != nil {
		p.notes.Printf("not reloaded, the targets stay as they were: %v", err)
		return
	}
	noteAll(p.notes.Printf, texts)
	select {
	case p.others <- targets:
		p.notes.Printf("reloaded %s, targets: %d", file, len(targets))
	case <-ctx.Done():
		closeTargets(targets)
	}
}

// close lets whoever asks have its answer, and the streams take what is queued.
func (p *prober) close() {
	const lastWords = time.Second
	p.site.close()
	p.manager.Close()
	if p.out != nil {
		p.out.Close(lastWords)
	}
	p.err.Close(lastWords)
}
