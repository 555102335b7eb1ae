package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/replay"
)

type replayOptions struct {
	quiet, json bool
	framing     framingFlag
	crlf        bool
	banner      bool
	speed       speedFlag
	rate        float64
	shape       bool
	ignore      ignoreFlag
	timeout     time.Duration
	out         outFlags
	nodes       nodesFlag
}

func replayCommand() *cobra.Command {
	opt := replayOptions{framing: newFramingFlag(), speed: 1}
	cmd := &cobra.Command{
		Use:   "replay FILE TARGET",
		Short: "Play recorded sessions against a server, and compare its replies",
		Long: `Play the sessions that a server or a tap recorded with --journal or --json against
another server: at the recorded pace, as concurrently as they were, each request when all is there that
was said before it. A journal says in what framing and whether over TLS, and has the bytes that were sent: those go out. Print where
the replies differ from the recorded ones, as a diff: - is what was recorded, + is what came.
The exit code is 0 if nothing differs, 3 if something does, and 1 if nothing does but not everything
could be played, or nothing was compared. FILE may be - for standard input.`,
		Example: `  parley tap 7001 7000 --journal before          record what clients and server say
  parley replay before :7000                     is it still the same?
  parley replay -q before :7000                  for scripts: the exit code says it
  parley tap --json 7001 7000 > before.jsonl     the same as JSON lines
  parley replay before.jsonl :7000 --speed max   flat out
  parley replay before :7000 --rate 500          as a load: 500 requests a second, honestly timed
  parley replay before :7000 --shape             numbers, ids and times may differ
  parley replay before :7000 --ignore '[0-9]+ms' --ignore '#[0-9]+'
  parley replay --framing redis redis.jsonl redis:6379    JSON lines do not say their framing
  parley replay before --tls app.internal:7443    what was recorded in plain, over TLS
  parley replay tls.journal :7000 --tls=false     and the other way round`,
		ValidArgsFunction: inPlaces(aJournal, anAddress),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 2:
				return usageError("replay needs a recording and a server; such as parley replay before :7000")
			case args[0] == "":
				return usageError("the name of the recording is empty")
			}
			target, err := parseAddress(args[1], "")
			if err != nil {
				return err
			}
			return runReplay(cmd, args[0], target, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no differences; the exit code tells")
	flags.BoolVar(&opt.json, "json", false, "print differences and the summary, one JSON object a line")
	opt.nodes.add(cmd, "only what was recorded on these nodes")
	opt.framing.add(cmd, "; of a recording that does not say")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF, of a recording that does not have their ends")
	flags.BoolVarP(&opt.banner, "banner", "b", false, "send nothing before the server has greeted, where the recording has no greeting; it is compared with nothing")
	flags.Var(&opt.speed, "speed", "times the recorded pace, such as 10x; max does not wait")
	flags.Float64VarP(&opt.rate, "rate", "r", 0, "requests a second in the order of the recording, whatever the server does, and how long replies took from when they were due")
	flags.BoolVar(&opt.shape, "shape", false, "compare replies without numbers, ids and times")
	flags.Var(&opt.ignore, "ignore", "what may differ; may be repeated")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "how long to wait to connect, and for each reply")
	opt.out.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("speed", "rate")
	return cmd
}

func runReplay(cmd *cobra.Command, file string, target address, opt replayOptions) error {
	r, err := newReplay(target, &opt)
	if err != nil {
		return err
	}
	recording, err := readRecording(cmd, file)
	if err != nil {
		return err
	}
	if err := opt.nodes.keep(recording, file); err != nil {
		return err
	}
	opt.followTLS(cmd, file, recording)
	if err := opt.out.open(target); err != nil {
		return err
	}
	defer opt.out.close()
	if err := opt.refuseOtherFraming(cmd, file, recording); err != nil {
		return err
	}

	view := opt.view(cmd)
	many := len(recording.Nodes()) > 1
	r.Differs = func(d replay.Difference) {
		if !many {
			d.Node = ""
		}
		view.Differs(d.Node, d.Session, d.Seq, d.Want, d.Got, d.Lost)
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	sum, err := r.Run(ctx, recording.All())
	if cause := signalled(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return usageError("%w; --framing is to be as it was recorded", err)
	}
	counts := countsOf(&sum)
	if sum.Paced != nil {
		counts.Pace = paceOf(&sum, opt.rate)
	}
	if j, ok := view.(*console.ReplayJSON); ok {
		j.Done(counts)
	}
	tellSum(cmd.ErrOrStderr(), counts)
	if counts.Pace != nil {
		tellSum(cmd.ErrOrStderr(), counts.Pace)
	}
	switch {
	case view.Err() != nil:
		return cannotWrite(view.Err())
	case sum.Differences > 0:
		return &exitError{code: exitMismatch}
	case sum.Unreachable > 0:
		return networkError("%d of the sessions could not be played: %w", sum.Unreachable, sum.Err)
	case sum.Replies == 0 && !recording.HasReplies():
		return networkError("nothing to compare: %s has no replies", file)
	case sum.Replies == 0:
		return networkError("nothing was compared: %s has no reply that a request could be played for", file)
	}
	return nil
}

// tellSum writes what was done, in lines that fit a terminal.
func tellSum(stderr io.Writer, sum fmt.Stringer) {
	io.WriteString(stderr, console.Wrap("parley: "+sum.String()+"\n", columnsOf(stderr), "  "))
}

// newReplay makes the replay that the flags describe.
func newReplay(target address, opt *replayOptions) (*replay.Replay, error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	if opt.timeout == 0 {
		return nil, usageError("--timeout 0s: it must be more than 0")
	}
	const mostRate = 1e6
	if flag := opt.out.cmd.Flags().Lookup("rate"); flag.Changed && !(opt.rate > 0 && opt.rate <= mostRate) {
		return nil, usageError("--rate %v: use a number of requests a second, above 0 and up to 1000000", opt.rate)
	}
	if err := opt.out.conversation(&opt.framing, opt.banner); err != nil {
		return nil, err
	}
	return &replay.Replay{
		Dial:    func(ctx context.Context) (net.Conn, error) { return opt.out.dial(ctx, target, opt.timeout) },
		Greeted: opt.out.startTLS != "",
		Framing: opt.framing.Framing,
		Banner:  opt.banner,
		Speed:   float64(opt.speed),
		Rate:    opt.rate,
		Shape:   opt.shape,
		Timeout: opt.timeout,
		Ignore:  opt.ignore,
	}, nil
}

// followTLS has what was recorded over TLS go over TLS, unless the flags say otherwise.
func (opt *replayOptions) followTLS(cmd *cobra.Command, file string, recording *replay.Recording) {
	over, note := recording.OverTLS(), notesOn(cmd)
	switch {
	case over == 0 || opt.out.tls.on || opt.out.startTLS != "" || cmd.Flags().Changed("tls"):
	case over < len(recording.Sessions):
		note("%s has %d sessions over TLS and %d in plain; all are played in plain, with --tls all over TLS", file, over, len(recording.Sessions)-over)
	default:
		opt.out.tls.on = true
		note("%s was recorded over TLS, and is played over TLS; --tls=false plays it in plain", file)
	}
}

// refuseOtherFraming refuses a framing that is not what the recording says of itself.
func (opt *replayOptions) refuseOtherFraming(cmd *cobra.Command, file string, recording *replay.Recording) error {
	return cmp.Or(
		refuseContradiction(cmd, "framing", opt.framing.Name, file, recording.Framings()),
		refuseContradiction(cmd, "crlf", opt.framing.Name, file, recording.Framings()))
}

// refuseContradiction refuses a flag about the framing that is not as a file was recorded. It may
// be about the sessions that do not say how, and a variable about other files.
func refuseContradiction(cmd *cobra.Command, flag, framing, file string, recorded []string) error {
	other := func(name string) bool { return name != framing }
	if !isGiven(cmd.Flags().Lookup(flag)) || slices.Contains(recorded, "") || !slices.ContainsFunc(recorded, other) {
		return nil
	}
	return usageError("%s was recorded with --framing %s; leave --%s out", file, strings.Join(recorded, " and "), flag)
}

// readRecording reads a recording of a file, or of the standard input.
func readRecording(cmd *cobra.Command, file string) (*replay.Recording, error) {
	recording, err := replay.Open(cmd.Context(), cmd.InOrStdin(), file)
	var path *fs.PathError
	switch {
	case err == replay.ErrJournalOnInput:
		return nil, usageError("%w", err)
	case errors.As(err, &path):
		return nil, usageError("cannot read %s: %w", file, inWords(path.Err, aFileToRead))
	case err != nil:
		return nil, usageError("cannot read %s: %w", file, inWords(err, aFileToRead))
	}
	note := notesOn(cmd)
	if recording.Skipped > 0 {
		note("%s has a gap: %d events were not recorded", file, recording.Skipped)
	}
	if recording.Twice > 0 {
		note("%s has both ends of connections: of each the server's is played, or else the tap's; %s left out", file, count(recording.Twice, "session is", "sessions are"))
	}
	if recording.Torn {
		note("%s ends inside a line, which is left out", file)
	}
	const most = 10
	for i, damage := range recording.Damages {
		if i == most {
			note("%s is damaged in %d more places; 'parley log --verify' names all", file, len(recording.Damages)-most)
			break
		}
		note("%s is damaged: %s", file, damage)
	}
	if len(recording.Sessions) == 0 {
		return nil, networkError("%s has no sessions, so there is nothing to play; record some with parley tap --journal or parley server --json", file)
	}
	return recording, nil
}

// view is how differences are shown.
func (opt *replayOptions) view(cmd *cobra.Command) console.ReplayView {
	switch {
	case opt.json:
		return console.NewReplayJSON(cmd.OutOrStdout(), ownNode())
	case opt.quiet:
		return console.NewReplayDiff(io.Discard, 0, console.Style{})
	}
	out := cmd.OutOrStdout()
	return console.NewReplayDiff(out, columnsOf(out), styleOf(cmd, out))
}

// countsOf is the summary as it is shown.
func countsOf(sum *replay.Summary) *console.ReplayCounts {
	return &console.ReplayCounts{
		Sessions: sum.Sessions, Requests: sum.Requests, Replies: sum.Replies, Unasked: sum.Unasked,
		Unanswered: sum.Unanswered, Differences: sum.Differences, Broken: sum.Broken, Cut: sum.Cut,
		Unreachable: sum.Unreachable,
	}
}

// paceOf is how a replay at a rate went, as it is shown.
func paceOf(sum *replay.Summary, rate float64) *console.ReplayPace {
	p := &console.ReplayPace{Rate: rate, Reached: sum.PerSecond(), Unsent: sum.Paced.Unsent, Took: sum.Paced.Took}
	for _, times := range []struct {
		of   load.Times
		into *console.ReplayTimes
	}{{sum.Paced.Response, &p.Response}, {sum.Paced.Service, &p.Service}} {
		*times.into = console.ReplayTimes{Count: times.of.Count(), P50: times.of.Quantile(50), P90: times.of.Quantile(90), P99: times.of.Quantile(99), Max: times.of.Max()}
	}
	return p
}

// A speedFlag is how many times the recorded pace: 10x, 0.5x, or max.
type speedFlag float64

func (f *speedFlag) Type() string { return "SPEED" }

func (f *speedFlag) String() string {
	if math.IsInf(float64(*f), 1) {
		return "max"
	}
	return strconv.FormatFloat(float64(*f), 'g', -1, 64) + "x"
}

func (f *speedFlag) Set(s string) error {
	if s == "max" {
		*f = speedFlag(math.Inf(1))
		return nil
	}
	times, err := strconv.ParseFloat(strings.TrimSuffix(s, "x"), 64)
	if err != nil || !(times > 0) || math.IsInf(times, 0) {
		return errors.New("use a number of times the recorded pace, such as 10x or 0.5x, or max")
	}
	*f = speedFlag(times)
	return nil
}

// An ignoreFlag is --ignore, as often as it is given.
type ignoreFlag []*regexp.Regexp

func (f *ignoreFlag) Type() string { return "REGEX" }

func (f *ignoreFlag) String() string {
	var all []string
	for _, re := range *f {
		all = append(all, re.String())
	}
	return strings.Join(all, " ")
}

func (f *ignoreFlag) Set(s string) error {
	re, err := expect.Compile(s)
	if err != nil {
		return err
	}
	*f = append(*f, re)
	return nil
}
