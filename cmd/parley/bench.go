package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/expect"
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

	hdr, plot, html string
	baseline        baselineFlags
	script          benchScript
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
its reply, and each of its steps is timed; docs/dialogues.md has the grammar. With
--framing line/none, for services that never reply, it measures how many requests are
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
  parley bench --json -r 1000 :6969 | jq .response.p99_us`,
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
	flags.StringVarP(&opt.message, "message", "m", benchMessage, "the `TEXT` of each request")
	flags.IntVar(&opt.size, "size", 0, "a numbered request of this many bytes")
	flags.StringVar(&opt.file, "file", "", "the requests, one a line of this `FILE`, in turn; - is standard input")
	flags.StringVarP(&opt.expect, "expect", "e", "",
		"each reply: contains (the request; default if it counts), exact (is the request), any (default otherwise), or a match of this `REGEX`")
	opt.script.add(cmd)
	opt.framing.add(cmd, "")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	flags.DurationVar(&opt.warmup, "warmup", 0, "first, and not counted (default 1s, with --slo and --compare 500ms, with --requests none)")
	opt.greeting.add(flags)
	flags.BoolVar(&opt.connectEach, "connect-each", false, "a connection for each request: connect, exchange, close")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "to connect, and for a reply: one that takes longer is late, one that takes twice that is missing")
	flags.StringVar(&opt.slo, "slo", "", "search for the highest rate that keeps a `PROMISE` such as p99=5ms; -d is one step (default 3s)")
	flags.BoolVar(&opt.compare, "compare", false, "two addresses, measured in turn; -d is one turn (default 3s)")
	flags.IntVar(&opt.rounds, "rounds", 5, "with --compare: how often")
	flags.Float64Var(&opt.maxRatio, "max-ratio", 0, "with --compare or --against: exit with 3 if the second, or this run, is worse by more, in replies/s or, with --rate, in p99")
	flags.BoolVar(&opt.json, "json", false, "print the report as a JSON object")
	flags.StringVar(&opt.hdr, "hdr", "", "write the times of each second to `FILE`, as an HdrHistogram log")
	flags.StringVar(&opt.plot, "plot", "", "draw percentiles, rate and p99 over time into `FILE.svg`")
	flags.StringVar(&opt.html, "html", "", "write all of it to `FILE` as one HTML page")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "say nothing while it runs")
	opt.baseline.add(cmd)
	opt.out.add(cmd)
	flags.Var(&opt.tlsResume, "tls-resume", "on or off: over TLS a connection resumes the session of one before, as clients do that come again; if not, each handshake is a full one")
	cmd.RegisterFlagCompletionFunc("tls-resume", cobra.FixedCompletions([]string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp))
	addFamily(cmd, &opt.only4, &opt.only6)
	cmd.MarkFlagsMutuallyExclusive("message", "size", "file")
	for _, file := range []string{"hdr", "plot", "html"} {
		cmd.MarkFlagsMutuallyExclusive("slo", "compare", file)
	}
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
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	switch {
	case opt.slo != "":
		return b.search(ctx)
	case opt.compare:
		return b.compare(ctx)
	}
	return b.measure(ctx)
}

// plan is the load that the flags describe, but for where it goes.
func (opt *benchOptions) plan(cmd *cobra.Command) (load.Plan, error) {
	none := load.Plan{}
	flags := cmd.Flags()
	for _, limit := range []struct {
		flag string
		ok   bool
		must string
	}{
		{"connections", opt.connections >= 1 && opt.connections <= maxTogether, fmt.Sprintf("from 1 to %d", maxTogether)},
		{"in-flight", opt.inFlight >= 1 && opt.inFlight <= maxInFlight, fmt.Sprintf("from 1 to %d", maxInFlight)},
		{"requests", opt.requests >= 1 || !flags.Changed("requests"), "at least 1"},
		{"rate", opt.rate >= 0 && opt.rate <= maxRate, "from 0 to 1e+09"},
		{"size", (opt.size >= 1 || !flags.Changed("size")) && opt.size <= maxSize, fmt.Sprintf("from 1 to %d", maxSize)},
		{"duration", opt.duration != 0, "more than 0"},
		{"timeout", opt.timeout != 0, "more than 0"},
		{"rounds", opt.rounds >= 1, "at least 1"},
		{"max-ratio", opt.maxRatio >= 0, "0 or more"},
	} {
		if !limit.ok {
			return none, usageError("--%s %v: it must be %s", limit.flag, flags.Lookup(limit.flag).Value, limit.must)
		}
	}
	var err error
	if opt.maxRatio, err = opt.baseline.ratio(cmd, opt.maxRatio); err != nil {
		return none, err
	}
	switch {
	case opt.connections > maxTogether/opt.inFlight:
		return none, usageError("--connections %d with --in-flight %d is too much: at most %d requests together", opt.connections, opt.inFlight, maxTogether)
	case opt.connectEach && opt.inFlight > 1:
		return none, usageError("--in-flight is for connections that are kept; with --connect-each it is 1")
	case opt.inFlight > 1 && (opt.framing.Requests == parley.Chunks || opt.framing.OfReplies() == parley.Chunks):
		return none, usageError("--framing %s is lockstep: --in-flight must be 1", opt.framing.Name)
	case !slices.Contains([]string{"", ".svg"}, filepath.Ext(opt.plot)):
		return none, usageError("--plot %s: the plot is an SVG; name a FILE.svg", opt.plot)
	}
	if err := opt.readScript(cmd); err != nil {
		return none, err
	}
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return none, err
		}
	}
	if err := opt.out.conversation(&opt.framing, opt.greeting.asked()); err != nil {
		return none, err
	}
	if err := opt.greeting.resolve(opt.framing); err != nil {
		return none, err
	}
	if err := opt.refuseReplies(flags.Changed); err != nil {
		return none, err
	}
	if err := opt.limitToOne(flags.Changed); err != nil {
		return none, err
	}
	if err := opt.checkRepeats(); err != nil {
		return none, err
	}
	messages, err := opt.messages(cmd)
	if err != nil {
		return none, err
	}
	expected := opt.expect
	if expected == "" {
		if expected = "any"; messages.Numbered() && !opt.framing.IsProtocol() && opt.framing.OfReplies() != parley.NoReplies {
			expected = "contains"
		}
	}
	judge, err := expect.Parse(expected)
	if err != nil {
		return none, usageError("--expect: %w", err)
	}
	opt.setLengths(flags.Changed)
	framing := opt.greeting.of(opt.framing.Framing)
	return load.Plan{
		Framing: framing.Requests, Replies: framing.Replies, Banner: opt.greeting.awaited(opt.framing) && opt.script.dialogue == nil, Messages: messages, Expect: judge,
		Connections: opt.connections, InFlight: opt.inFlight, Rate: opt.rate, ConnectEach: opt.connectEach,
		Warmup: opt.warmup, Duration: opt.duration, Requests: opt.requests, Timeout: opt.timeout,
		Lacks: func(came []byte) (lacks, advice string) {
			return opt.framing.Lacks(came)
		},
		Conceal: opt.framing.Conceal,
	}, nil
}

// refuseReplies is an error for a flag that asks for replies where there are none.
func (opt *benchOptions) refuseReplies(changed func(flag string) bool) error {
	if opt.framing.OfReplies() != parley.NoReplies {
		return nil
	}
	for _, flag := range []string{"expect", "slo", "compare", "hdr", "plot", "html"} {
		if changed(flag) {
			return usageError("--%s is about replies, and with --framing %s there are none", flag, opt.framing.Name)
		}
	}
	if opt.inFlight > 1 {
		return usageError("--in-flight is about replies, and with --framing %s there are none", opt.framing.Name)
	}
	return nil
}

// limitToOne has a connection for each request where the end of the connection ends a message.
func (opt *benchOptions) limitToOne(changed func(flag string) bool) error {
	if !endsWithConnection(opt.framing.Framing) {
		return nil
	}
	switch {
	case opt.inFlight > 1:
		return usageError("--in-flight must be 1: with --framing %s a connection has one request", opt.framing.Name)
	case changed("slo"):
		return usageError("--slo wants connections that are kept: with --framing %s each has one request", opt.framing.Name)
	}
	opt.connectEach = true
	return nil
}

// endsWithConnection says whether it is the end of the connection that ends a message.
func endsWithConnection(f dialect.Framing) bool {
	return f.Requests == parley.UntilClose || f.OfReplies() == parley.UntilClose
}

// setLengths fills in how long to measure where that was not said.
func (opt *benchOptions) setLengths(changed func(flag string) bool) {
	steps := opt.slo != "" || opt.compare
	switch {
	case !changed("duration") && opt.requests > 0:
		opt.duration = 0
	case !changed("duration") && steps:
		opt.duration = stepDuration
	}
	switch {
	case changed("warmup") || opt.requests > 0:
	case steps:
		opt.warmup = stepWarmup
	default:
		opt.warmup = benchWarmup
	}
}

// messages are the requests, each of which the framing can carry.
func (opt *benchOptions) messages(cmd *cobra.Command) (*load.Messages, error) {
	messages := load.ParseMessages([]byte(opt.message))
	switch {
	case opt.script.dialogue != nil:
		return nil, nil
	case opt.size > 0:
		messages = load.SizedMessages(opt.size)
	case opt.file != "":
		var err error
		if messages, err = readMessages(cmd.InOrStdin(), opt.file, opt.framing.Requests); err != nil {
			return nil, usageError("--file %s: %w", opt.file, inWords(err, aFileToRead))
		}
	}
	if err := messages.Fit(opt.framing.Requests); err != nil {
		return nil, usageError("%w", err)
	}
	return messages, nil
}

// readMessages reads the requests from a file, or from standard input.
func readMessages(stdin io.Reader, file string, framing parley.Framing) (*load.Messages, error) {
	if file == "-" {
		return load.ReadMessages(stdin, framing)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return load.ReadMessages(f, framing)
}

// A resumeFlag is --tls-resume.
type resumeFlag bool

func (f *resumeFlag) Type() string { return "on|off" }

func (f *resumeFlag) String() string {
	if *f {
		return "on"
	}
	return "off"
}

func (f *resumeFlag) Set(s string) error {
	if s != "on" && s != "off" {
		return errors.New("use on or off")
	}
	*f = s == "on"
	return nil
}

// A bench is one run of the command.
type bench struct {
	opt      *benchOptions
	plan     load.Plan
	targets  []address
	out      io.Writer
	progress report.Progress
	note     func(format string, args ...any) // on standard error
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
	files, err := openBenchFiles(b.opt)
	if err != nil {
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
			for _, line := range report.Examples(s.Result) {
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
	if errors.As(err, &failure) {
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

// benchFiles are those that a run leaves behind. They are made before it begins: that
// they cannot be is not to be learnt after an hour.
type benchFiles struct {
	opt             *benchOptions
	hdr, plot, html *os.File // nil if not asked for
	log             *report.HDRLog
}

func openBenchFiles(opt *benchOptions) (*benchFiles, error) {
	f := &benchFiles{opt: opt}
	for _, file := range []struct {
		flag, name string
		file       **os.File
	}{{"hdr", opt.hdr, &f.hdr}, {"plot", opt.plot, &f.plot}, {"html", opt.html, &f.html}} {
		if file.name == "" {
			continue
		}
		var err error
		if *file.file, err = os.Create(file.name); err != nil {
			f.close()
			return nil, usageError("--%s %s: %w", file.flag, file.name, inWords(err, aFileToWrite))
		}
	}
	if f.hdr != nil {
		f.log = report.NewHDRLog(f.hdr)
	}
	return f, nil
}

func (f *benchFiles) close() {
	for _, file := range []*os.File{f.hdr, f.plot, f.html} {
		if file != nil {
			file.Close()
		}
	}
}

// watch has the log told of each second too.
func (f *benchFiles) watch(show func(load.Second)) func(load.Second) {
	if f.log == nil {
		return show
	}
	return func(s load.Second) {
		f.log.Add(s)
		show(s)
	}
}

// write writes the files.
func (f *benchFiles) write(measured *report.Report) error {
	if f.log != nil && f.log.Err() != nil {
		return usageError("--hdr %s: %w", f.opt.hdr, inWords(f.log.Err(), aFileToWrite))
	}
	about := measured.About(append([]string{"parley"}, concealProxy(os.Args[1:])...))
	if f.plot != nil {
		if err := report.WritePlot(f.plot, about, measured.Result); err != nil {
			return usageError("--plot %s: %w", f.opt.plot, inWords(err, aFileToWrite))
		}
	}
	if f.html != nil {
		if err := report.WritePage(f.html, about, measured.Result); err != nil {
			return usageError("--html %s: %w", f.opt.html, inWords(err, aFileToWrite))
		}
	}
	return nil
}

// benchProgress goes to standard error, unless that is to be quiet.
func benchProgress(out io.Writer, quiet bool) report.Progress {
	p := report.Progress{Out: out}
	if quiet {
		p.Out = nil
	} else if isTerminal(out) {
		p.Width = func() int { return columnsOf(out) }
	}
	return p
}
