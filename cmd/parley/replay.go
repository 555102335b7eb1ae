package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/replay"
)

type replayOptions struct {
	quiet, json bool
	framing     framingFlag
	crlf        bool
	speed       speedFlag
	ignore      ignoreFlag
	timeout     time.Duration
}

func replayCommand() *cobra.Command {
	opt := replayOptions{framing: newFramingFlag(), speed: 1}
	cmd := &cobra.Command{
		Use:   "replay FILE TARGET",
		Short: "Play recorded sessions against a server, and compare its replies",
		Long: `Play the sessions that a server or a tap recorded with --journal or --json against
another server: at the recorded pace, as concurrently as they were, each request when all is there that
was said before it. Print where the replies differ from the recorded ones, as a diff: -
is what was recorded, + is what came. The exit code is 0 if nothing differs, 3 if
something does, and 1 if nothing does but not everything could be played. FILE may be -
for standard input.`,
		Example: `  parley tap 7001 7000 --journal before          record what clients and server say
  parley replay before :7000                     is it still the same?
  parley tap --json 7001 7000 > before.jsonl     the same as JSON lines
  parley replay before.jsonl :7000 --speed max   flat out
  parley replay before :7000 --ignore '[0-9]+ms' --ignore '#[0-9]+'
  parley replay --crlf redis.jsonl redis:6379    requests end with CRLF`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError("replay needs a recording and a server; such as parley replay before :7000")
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
	flags.VarP(&opt.framing, "framing", "f", framingUsage+"; as it was recorded")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	flags.Var(&opt.speed, "speed", "times the recorded pace, such as 10x; max does not wait")
	flags.Var(&opt.ignore, "ignore", "what may differ; can be given several times")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "how long to wait to connect, and for each reply")
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	return cmd
}

func runReplay(cmd *cobra.Command, file string, target address, opt replayOptions) error {
	r, err := newReplay(target, &opt)
	if err != nil {
		return err
	}
	recording, err := readRecording(cmd.Context(), cmd.InOrStdin(), file)
	if err != nil {
		return err
	}
	note := func(format string, args ...any) {
		fmt.Fprintf(cmd.ErrOrStderr(), "parley: %s\n", console.AppendEscaped(nil, fmt.Appendf(nil, format, args...)))
	}
	if recording.Skipped > 0 {
		note("%s has a gap: %d events were not recorded", file, recording.Skipped)
	}
	if recording.Torn {
		note("%s ends inside a line, which is left out", file)
	}

	view := opt.view(cmd)
	r.Differs = func(d replay.Difference) { view.Differs(d.Session, d.Seq, d.Want, d.Got, d.Lost) }
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	sum, err := r.Run(ctx, recording.All())
	if cause := signalled(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return usageError("%w; --framing is to be as it was recorded", err)
	}
	if j, ok := view.(*console.ReplayJSON); ok {
		j.Done(countsOf(&sum))
	}
	note("%v", countsOf(&sum))
	switch {
	case view.Err() != nil:
		return cannotWrite(view.Err())
	case sum.Differences > 0:
		return &exitError{code: exitMismatch}
	case sum.Unreachable > 0:
		return networkError("%d of the sessions could not be played: %w", sum.Unreachable, sum.Err)
	}
	return nil
}

// newReplay makes the replay that the flags describe.
func newReplay(target address, opt *replayOptions) (*replay.Replay, error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	if opt.timeout <= 0 {
		return nil, usageError("--timeout %v: it must be more than 0", opt.timeout)
	}
	return &replay.Replay{
		Dial:    func(ctx context.Context) (net.Conn, error) { return target.dial(ctx, opt.timeout) },
		Framing: opt.framing.onlooker(),
		Stream:  opt.framing.name == "chunk",
		Speed:   float64(opt.speed),
		Timeout: opt.timeout,
		Ignore:  opt.ignore,
	}, nil
}

// readRecording reads a recording of a file, a journal or events, or events of the
// standard input.
func readRecording(ctx context.Context, stdin io.Reader, file string) (*replay.Recording, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usageError("cannot read %s: %w", file, inWords(err, aFileToRead))
		}
		defer f.Close()
		in = f
	}
	r := bufio.NewReader(in)
	const sqlite = "SQLite format 3\x00"
	read := func() (*replay.Recording, error) { return replay.ReadEvents(r) }
	if head, _ := r.Peek(len(sqlite)); bytes.Equal(head, []byte(sqlite)) {
		if file == "-" {
			return nil, usageError("a journal cannot be read from standard input; name its file")
		}
		read = func() (*replay.Recording, error) { return readJournal(ctx, file) }
	}
	recording, err := read()
	switch {
	case err != nil:
		return nil, usageError("cannot read %s: %w", file, err)
	case len(recording.Sessions) == 0:
		return nil, usageError("%s has no sessions; record some with parley tap --journal or parley server --json", file)
	}
	return recording, nil
}

// readJournal reads a journal as a whole: sessions that were open at the same time have
// their exchanges all over it.
func readJournal(ctx context.Context, file string) (*replay.Recording, error) {
	r, err := journal.Open(file)
	if err != nil {
		return nil, inWords(err, aFileToRead)
	}
	defer r.Close()
	recording := new(replay.Recording)
	if recording.Skipped, err = r.Missing(ctx); err != nil {
		return nil, err
	}
	place := make(map[int64]int)
	for s, err := range r.Sessions(ctx, journal.Filter{}) {
		if err != nil {
			return nil, err
		}
		place[s.ID] = len(recording.Sessions)
		recording.Sessions = append(recording.Sessions, replay.Session{Number: s.Number, Opened: s.Opened, Closed: s.Closed})
	}
	for x, err := range r.Exchanges(ctx, journal.Filter{}) {
		if err != nil {
			return nil, err
		}
		i, known := place[x.Session]
		if !known {
			continue // it has begun since
		}
		s := &recording.Sessions[i]
		s.Exchanges = append(s.Exchanges, replay.Exchange{
			Seq: x.Seq, Received: x.Received, Took: x.Took, Request: x.Request, Reply: x.Reply, RequestCut: x.RequestCut, ReplyCut: x.ReplyCut,
		})
	}
	return recording, nil
}

// view is how differences are shown.
func (opt *replayOptions) view(cmd *cobra.Command) console.ReplayView {
	switch {
	case opt.json:
		return console.NewReplayJSON(cmd.OutOrStdout())
	case opt.quiet:
		return console.NewReplayDiff(io.Discard)
	}
	return console.NewReplayDiff(cmd.OutOrStdout())
}

// countsOf is the summary as it is shown.
func countsOf(sum *replay.Summary) *console.ReplayCounts {
	return &console.ReplayCounts{
		Sessions: sum.Sessions, Requests: sum.Requests, Replies: sum.Replies, Unasked: sum.Unasked,
		Unanswered: sum.Unanswered, Differences: sum.Differences, Broken: sum.Broken, Cut: sum.Cut,
		Unreachable: sum.Unreachable,
	}
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
	re, err := regexp.Compile(s)
	if err != nil {
		return err
	}
	*f = append(*f, re)
	return nil
}
