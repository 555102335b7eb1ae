package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/report"
)

type benchOptions struct {
	connections, inFlight int
	duration, warmup      time.Duration
	requests              uint64
	rate                  float64
	connectEach           bool
	message, file         string
	size                  int
	framing               framingFlag
	crlf                  bool
	greeting              bannerFlags
	out                   outFlags
	tlsResume             resumeFlag
	expect                string
	timeout               time.Duration
	only4, only6          bool

	slo         string
	compare     bool
	rounds      int
	maxRatio    float64
	json, quiet bool

	files    benchFiles
	baseline baselineFlags
	script   benchScript
	agents   benchAgents
}

// What a run is when nothing else is asked for.
const (
	benchDuration = 10 * time.Second
	benchWarmup   = time.Second
	stepDuration  = 3 * time.Second // of a search or a comparison
	stepWarmup    = 500 * time.Millisecond
	benchMessage  = "message {n}"
	maxRate       = 1e9 // one a nanosecond
	maxInFlight   = 65536
	maxTogether   = 1 << 22 // requests in flight on all connections
	maxSize       = 1 << 30 // bytes of a request
)

func benchCommand() *cobra.Command {
	opt := benchOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "bench [[host:]port]",
		Short: "Measure the latency and throughput of any line service",
		Long: `Send requests over many connections, judge every reply and report how long they took.
Without a rate each connection sends when its reply is there: a closed loop, as fast as the
service goes. With one the requests are due at that rate, whatever the service does, and
are counted from when they were due: an open loop, which hides no stall. In a message {n}
is the request's number and {conn} its connection's; {{n}} is {n}. An interrupt stops it
and prints what was measured. With --script a dialogue is played in place of a request and
its reply, and each of its steps is timed; docs/dialogues.md has the grammar. With --agents
other machines put the load on together, and it is measured as if one had; docs/fleet.md says
how. With --framing line/none, for services that never reply, it measures how many requests are
taken, and how long a write takes.

The exit code is 0 if every reply was as expected and in time, 1 if the service could not
be reached or went away, 2 for wrong usage, 3 if replies were mismatched, missing, late or
extra, a promise or a ratio was not kept, or the run is worse than that of --against. A run
that counted or judged nothing is no success: 1.`,
		Example: `  parley bench :6969                             16 connections, 10 s, as fast as it goes
  parley bench -r 5000 -d 30s :6969              5,000 requests a second, honestly timed
  parley bench -n 100000 -c 64 -p 16 :6969       64 connections, 16 in flight on each
  parley bench -f redis -m 'SET k{n} v' :6379    commands, as redis counts them
  parley bench -f line/none --size 200 :514      what a log server takes, which never replies
  parley bench --tls --ca ca.pem :6970           over TLS; --connect-each with a handshake each
  parley bench --slo p99=5ms :6969               the highest rate that keeps the promise
  parley bench --compare :6969 :7070             two services in turn, and their ratio
  parley bench --connect-each -r 200 :6969       a connection for each request
  parley bench --script smtp.talk -r 20 :25      twenty dialogues a second, and the time of each step
  parley bench -r 1000 --save was.json :6969     keep a run, to judge a later one by it:
  parley bench -r 1000 --against was.json :6969
  parley bench --agents 3 --nats nats://nats.internal db.internal:6969    from three machines that run parley agent
  parley bench -q -n 1000 :6969                  just the report, no progress
  parley bench --json -r 1000 :6969 | jq .response.p99_us`,
		ValidArgsFunction: inPlaces(anAddress, anAddress),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runBench(cmd, args, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVarP(&opt.connections, "connections", "c", 16, "connections at once")
	flags.DurationVarP(&opt.duration, "duration", "d", benchDuration, "how long to measure; with --requests alone no limit")
	flags.Uint64VarP(&opt.requests, "requests", "n", 0, "how many requests to measure; with --duration too, what comes first ends it (default no limit)")
	flags.Float64VarP(&opt.rate, "rate", "r", 0, "requests a second, all in all: an open loop; 0 is a closed one")
	flags.IntVarP(&opt.inFlight, "in-flight", "p", 1, "requests sent on a connection before the first of their replies")
	flags.BoolVar(&opt.connectEach, "connect-each", false, "a connection for each request: connect, exchange, close")
	flags.DurationVar(&opt.warmup, "warmup", 0, "first, and not counted (default 1s, with --slo and --compare 500ms, with --requests none)")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "how long to wait to connect, and for each reply: one that takes longer is late, one that takes twice that is missing")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "say nothing while it runs")
	flags.BoolVar(&opt.json, "json", false, "print the report as a JSON object")
	messages := heading(flags, ofMessages)
	flags.StringVarP(&opt.message, "message", "m", benchMessage, "the `TEXT` of each request")
	flags.IntVar(&opt.size, "size", 0, "a numbered request of `N` bytes")
	flags.StringVar(&opt.file, "file", "", "the requests, one a line of this `FILE`, in turn; - is standard input")
	flags.StringVarP(&opt.expect, "expect", "e", "",
		"each reply: contains (the request; default if it counts), exact (is the request), any (default otherwise), or a match of this `REGEX`")
	opt.script.add(cmd)
	opt.framing.add(cmd, "")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	opt.greeting.add(flags)
	messages()
	judging := heading(flags, ofJudging)
	flags.StringVar(&opt.slo, "slo", "", "search for the highest rate that keeps a `PROMISE` such as p99=5ms; -d is one step (default 3s)")
	flags.BoolVar(&opt.compare, "compare", false, "two addresses, measured in turn; -d is one turn (default 3s)")
	flags.IntVar(&opt.rounds, "rounds", 5, "with --compare: how often")
	opt.baseline.add(cmd)
	flags.Float64Var(&opt.maxRatio, "max-ratio", 0, "with --compare or --against: exit with 3 if the second, or this run, is worse by more, in replies/s or, with --rate, in p99")
	judging()
	opt.agents.add(cmd)
	opt.files.add(cmd)
	opt.out.add(cmd)
	resumption := heading(flags, ofTLS)
	flags.Var(&opt.tlsResume, "tls-resume", "on or off: over TLS a connection resumes the session of one before, as clients do that come again; if not, each handshake is a full one")
	resumption()
	cmd.RegisterFlagCompletionFunc("tls-resume", cobra.FixedCompletions([]string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp))
	addFamily(cmd, &opt.only4, &opt.only6)
	cmd.MarkFlagsMutuallyExclusive("message", "size", "file")
	flags.SetAnnotation("rounds", goesWith, []string{"compare"})
	flags.SetAnnotation("max-ratio", goesWith, []string{"compare", "against"})
	cmd.MarkFlagsMutuallyExclusive("slo", "rate")
	cmd.MarkFlagsMutuallyExclusive("slo", "requests")
	cmd.MarkFlagsMutuallyExclusive("slo", "connect-each")
	return cmd
}

func runBench(cmd *cobra.Command, args []string, opt benchOptions) error {
	targets := args[:min(1, len(args))]
	if opt.compare {
		if len(args) != 2 {
			return usageError("--compare wants two addresses, such as: parley bench --compare :6969 :7070")
		}
		targets = args
	} else if len(args) > 1 {
		if _, err := addressOf(args); err != nil {
			return err
		}
		return usageError("one address is enough; %q is too much, but with --compare", args[1])
	}
	plan, err := opt.plan(cmd)
	if err != nil {
		return err
	}
	b := &bench{opt: &opt, plan: plan, out: cmd.OutOrStdout(), progress: benchProgress(cmd.ErrOrStderr(), opt.quiet), note: notesOn(cmd)}
	for i := range max(1, len(targets)) {
		at, err := addressOf(targets[i:])
		if err != nil {
			return err
		}
		b.targets = append(b.targets, at)
	}
	opt.out.tls.resume = bool(opt.tlsResume)
	if err := opt.out.open(b.targets...); err != nil {
		return err
	}
	defer opt.out.close()
	if resume := cmd.Flags().Lookup("tls-resume"); isGiven(resume) && opt.out.secure == nil {
		return usageError("--tls-resume goes with --tls")
	}
	if err := b.checkAgents(); err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	if err := b.gather(ctx); err != nil {
		return err
	}
	defer b.release()
	switch {
	case opt.slo != "":
		return b.search(ctx)
	case opt.compare:
		return b.compare(ctx)
	}
	return b.measure(ctx)
}

// A bench is one run of the command.
type bench struct {
	opt      *benchOptions
	plan     load.Plan
	targets  []address
	out      io.Writer
	progress report.Progress
	note     func(format string, args ...any) // on standard error
	team     *team                            // nil if this machine puts the load on itself
}

// planFor is the load on one of the targets.
func (b *bench) planFor(target int) load.Plan {
	plan := b.plan
	dialer := b.opt.out.dialer(b.targets[target], family(b.opt.only4, b.opt.only6), b.opt.timeout)
	plan.Dial = dialer.Dial
	if f := addressed(b.opt.framing.Framing, b.targets[target]); f.For != nil {
		plan.Framing, plan.Replies = f.Requests, f.Replies
	}
	plan.Script = b.opt.script.to(b.targets[target], b.opt)
	b.progress.Begin()
	plan.Watch = b.progress.Show
	if b.team != nil {
		plan.Elsewhere = b.elsewhere(target)
	}
	return plan
}

// measure runs the load once and reports.
func (b *bench) measure(ctx context.Context) error {
	measured := report.Report{Target: b.targets[0].target(), Plan: b.planFor(0)}
	keeps, err := b.openBaseline(&measured.Plan)
	if err != nil {
		return err
	}
	defer keeps.close()
	files := &b.opt.files
	if err := files.open(); err != nil {
		return err
	}
	defer files.close()
	measured.Plan.Watch = files.watch(measured.Plan.Watch)
	measured.Result, err = measured.Plan.Run(ctx)
	b.progress.End()
	if err != nil {
		return b.unreachable(ctx, 0, err)
	}
	errKeep := keeps.done(&measured)
	if err := errors.Join(b.print(func(w io.Writer) error { return measured.WriteText(w, columnsOf(w)) }, measured.WriteJSON), files.write(&measured), errKeep); err != nil {
		return err
	}
	if err := b.verdict(&measured); err != nil {
		return err
	}
	return keeps.verdict(&measured)
}

// verdict is the exit code of a run, and why if that is not said already.
func (b *bench) verdict(measured *report.Report) error {
	switch {
	case measured.Failed():
		return &exitError{code: exitMismatch}
	case len(measured.Lost()) > 0: // as the report says
		return &exitError{code: exitNetwork}
	case measured.Plan.Silent() && len(measured.Errors) > 0: // what was taken before may be lost
		return &exitError{code: exitNetwork}
	case measured.GaveUp, measured.Replies == 0 && len(measured.Errors) > 0:
		return &exitError{code: exitNetwork}
	case measured.Requests == 0 && measured.Interrupted:
		return networkError("nothing was counted: it was interrupted before the first %s was over", measured.Noun())
	case measured.Requests == 0:
		return networkError("nothing was counted: no %s was due and answered in %v; --duration measures longer", measured.Noun(), b.plan.Duration)
	}
	return nil
}

// search looks for the highest rate that keeps the promise.
func (b *bench) search(ctx context.Context) error {
	slo, err := report.ParseSLO(b.opt.slo)
	if err != nil {
		return usageError("--slo: %w", err)
	}
	tell := func(line string) { fmt.Fprintln(b.out, line) }
	if b.opt.json {
		tell = b.progress.Say
	}
	shown := false // what went wrong first
	found, err := slo.Search(ctx, b.planFor(0), func(s report.Step) {
		b.progress.End()
		tell(slo.Describe(s))
		if !shown {
			for _, line := range report.Examples(&b.plan, s.Result) {
				tell(line)
				shown = true
			}
		}
		b.progress.Begin()
	})
	b.progress.End()
	if err != nil {
		return b.unreachable(ctx, 0, err)
	}
	text := func(w io.Writer) error { _, err := fmt.Fprintln(w, found.Verdict(slo)); return err }
	if err := b.print(text, func(w io.Writer) error { return json.NewEncoder(w).Encode(found) }); err != nil {
		return err
	}
	switch {
	case found.Rate == 0 && found.Interrupted:
		return &exitError{code: exitNetwork} // nothing was judged
	case found.Rate == 0:
		return &exitError{code: exitMismatch}
	}
	return nil
}

// compare runs both targets in turn and prints their ratio.
func (b *bench) compare(ctx context.Context) error {
	c := report.Comparison{}
	for i := range c.Targets {
		c.Targets[i], c.Plans[i] = b.targets[i].target(), b.planFor(i)
	}
	failedAt := 0
	err := c.Run(ctx, b.opt.rounds, func(round, target int) {
		b.progress.Say(fmt.Sprintf("round %d of %d: %s", round+1, b.opt.rounds, c.Targets[target]))
		b.progress.Begin()
		failedAt = target
	})
	b.progress.End()
	if err != nil {
		return b.unreachable(ctx, failedAt, err)
	}
	verdict, ok := c.Verdict()
	if signalled(ctx) != nil && !ok {
		return networkError("nothing was compared: it was interrupted before a round was whole")
	}
	if err := b.print(c.WriteText, c.WriteJSON); err != nil {
		return err
	}
	switch {
	case c.Failed(), b.opt.maxRatio > 0 && verdict.Median > b.opt.maxRatio:
		return &exitError{code: exitMismatch}
	case !c.Counted():
		return networkError("nothing was compared: there were not replies of both in the counted time; --duration measures longer")
	}
	return nil
}

func (b *bench) print(text, json func(io.Writer) error) error {
	write := text
	if b.opt.json {
		write = json
	}
	if err := write(b.out); err != nil {
		return cannotWrite(err)
	}
	return nil
}

// unreachable is the error of a run that could not begin.
func (b *bench) unreachable(ctx context.Context, target int, err error) error {
	if signalled(ctx) != nil {
		return networkError("nothing was counted: it was interrupted while it connected")
	}
	var failure *dialogue.Failure
	var told *exitError
	switch {
	case errors.As(err, &told):
		return told
	case errors.As(err, &failure):
		return explainScript(err)
	}
	var greeting *load.GreetingError
	if errors.As(err, &greeting) {
		return b.explainGreeting(b.targets[target].target(), greeting)
	}
	return explainDial(b.targets[target].target(), b.opt.timeout, err)
}

// explainGreeting says in words why no greeting came.
func (b *bench) explainGreeting(target string, err *load.GreetingError) error {
	came := ""
	if len(err.Came) > 0 {
		lacks, advice := b.opt.greeting.lacks(err.Came)
		came = fmt.Sprintf(": %s: %s", lacks, excerpt(err.Came))
		if advice != "" {
			came += "; " + advice
		}
	}
	switch kind := dial.KindOf(err); {
	case kind == dial.ReplyTimeout && came == "":
		return networkError("no greeting from %s within %v; --timeout waits longer", target, b.opt.timeout)
	case kind == dial.ReplyTimeout:
		return networkError("the greeting from %s is not whole after %v%s", target, b.opt.timeout, came)
	case kind == dial.Closed && came == "":
		return networkError("%s closed the connection before its greeting", target)
	case kind == dial.Closed:
		return networkError("%s closed the connection inside its greeting%s", target, came)
	}
	return networkError("the connection to %s broke before its greeting: %s", target, dial.Reason(err.Err))
}

// benchProgress goes to standard error, unless that is to be quiet.
func benchProgress(out io.Writer, quiet bool) report.Progress {
	p := report.Progress{Out: out}
	if quiet {
		p.Out = nil
	} else {
		p.Width = widthOf(out)
	}
	return p
}
