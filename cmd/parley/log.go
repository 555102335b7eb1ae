package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

const defaultJournal = "parley.journal"

type logOptions struct {
	filter       journal.Filter
	since, until string
	text, regexp string
	sessions     bool
	follow       bool

	table, json, csv bool
	export           string
	output           string
}

func logCommand() *cobra.Command {
	var opt logOptions
	cmd := &cobra.Command{
		Use:   "log [FILE]",
		Short: "Read a journal: search it, follow it, export it",
		Long: `Show the sessions and exchanges that parley server --journal FILE has kept, or parley
tap, also while they write. What the flags say must all be so. Without FILE: parley.journal in the current
directory. A text is found by an index beside the journal, FILE.index, which is brought up
to date first.`,
		Example: `  parley log                                    everything, as the server told it
  parley log --text 'order 17' --since 10m      who said that in the last ten minutes?
  parley log --regexp '(?i)error' --table       request and reply in one line
  parley log --sessions --reason reset          which sessions were reset
  parley log -f --slower-than 5ms --json        slow exchanges as they come, one JSON object a line
  parley log --session 7 --export pcap -o 7.pcap    for Wireshark`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := defaultJournal
			if len(args) > 0 {
				file = args[0]
			}
			if len(args) > 1 {
				return usageError("one journal is enough; %q is too much", args[1])
			}
			return runLog(cmd, file, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint64Var(&opt.filter.Number, "session", 0, "the session of this `NUMBER`; a journal of several starts has several")
	flags.StringVar(&opt.filter.Address, "address", "", "the peer's address begins with `TEXT`: 10.0., 127.0.0.1:4, unix")
	flags.StringVar(&opt.since, "since", "", "from this `TIME` on: 2026-11-24T08:00:00Z, or 10m ago")
	flags.StringVar(&opt.until, "until", "", "before this `TIME`")
	flags.StringVar(&opt.text, "text", "", "request or reply has this `TEXT`, exactly")
	flags.StringVar(&opt.regexp, "regexp", "", "request or reply matches the regular expression `REGEX`")
	flags.DurationVar(&opt.filter.Slower, "slower-than", 0, "the reply took this long or longer")
	flags.StringVar(&opt.filter.Reason, "reason", "", "the `REASON` why the session ended: eof, reset, idle_timeout …; open if nobody saw it end")
	flags.IntVar(&opt.filter.Limit, "limit", 0, "only the newest `N` exchanges, with --sessions the newest sessions")
	flags.BoolVarP(&opt.follow, "follow", "f", false, "go on with what is recorded, until interrupted")
	flags.BoolVar(&opt.sessions, "sessions", false, "list sessions")
	flags.BoolVar(&opt.table, "table", false, "print an exchange a line, in columns")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.BoolVar(&opt.csv, "csv", false, "print comma-separated values")
	flags.StringVar(&opt.export, "export", "", "print in another `FORMAT`: md (the two terminals), mermaid, ndjson or pcap")
	flags.StringVarP(&opt.output, "output", "o", "", "write to `FILE` instead of standard output")
	cmd.MarkFlagsMutuallyExclusive("table", "json", "csv", "export")
	cmd.MarkFlagsMutuallyExclusive("sessions", "follow")
	cmd.MarkFlagsMutuallyExclusive("sessions", "export")
	return cmd
}

func runLog(cmd *cobra.Command, file string, opt logOptions) error {
	if err := opt.check(time.Now()); err != nil {
		return err
	}
	r, err := journal.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return usageError("cannot read %s: no such file; 'parley server --journal %s' writes one", file, file)
	} else if err != nil {
		return usageError("cannot read %s: %w", file, inWords(err, aFileToRead))
	}
	defer r.Close()
	out, err := opt.open(cmd, file)
	if err != nil {
		return err
	}
	// An output that goes away ends it in good order: parley log -f | head.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	if len(opt.text) >= journal.MinIndexed {
		bringIndexUpToDate(ctx, cmd.ErrOrStderr(), r)
	}
	if err := errors.Join(opt.print(ctx, r, out), out.Close()); err != nil {
		return explainLog(ctx, file, err)
	}
	if opt.follow {
		return nil
	}
	return signalled(ctx)
}

// check reads the flags that are text.
func (opt *logOptions) check(now time.Time) (err error) {
	f := &opt.filter
	f.Text = []byte(opt.text)
	if f.Since, err = parseTime(opt.since, now); err != nil {
		return usageError("--since %s: %w", opt.since, err)
	}
	if f.Until, err = parseTime(opt.until, now); err != nil {
		return usageError("--until %s: %w", opt.until, err)
	}
	if opt.regexp != "" {
		if f.Regexp, err = regexp.Compile(opt.regexp); err != nil {
			return usageError("--regexp: %w", err)
		}
	}
	switch {
	case f.Limit < 0:
		return usageError("--limit %d: a number cannot be negative; leave it out for all", f.Limit)
	case f.Slower < 0:
		return usageError("--slower-than %v: a time cannot be negative", f.Slower)
	}
	if err := checkReason(f.Reason); err != nil {
		return err
	}
	if _, known := exports[opt.export]; opt.export != "" && !known {
		return usageError("--export %s: use md, mermaid, ndjson or pcap", opt.export)
	}
	return nil
}

// parseTime reads a time, or how long ago it was. No text is no time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, errors.New("use a time such as 2026-11-24T08:00:00Z, or how long ago, such as 10m")
	}
	return t, nil
}

func checkReason(name string) error {
	known := []string{journal.ReasonOpen}
	for reason := parley.EndOfFile; reason <= parley.UpstreamReset; reason++ {
		known = append(known, reason.String())
	}
	for _, k := range known {
		if name == k || name == "" {
			return nil
		}
	}
	return usageError("--reason %s: there are %s", name, strings.Join(known, " "))
}

// A logOutput is where the log is written to.
type logOutput struct {
	io.Writer
	buffer *bufio.Writer // nil if each line is to be seen at once
	file   *os.File      // nil if it is standard output
}

func (opt *logOptions) open(cmd *cobra.Command, journalFile string) (*logOutput, error) {
	out := &logOutput{Writer: cmd.OutOrStdout()}
	if opt.output != "" {
		if isSameFile(opt.output, journalFile) {
			return nil, usageError("--output %s: that is the journal itself", opt.output)
		}
		var err error
		if out.file, err = os.OpenFile(opt.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return nil, usageError("--output %s: %w", opt.output, inWords(err, aFileToWrite))
		}
		out.Writer = out.file
	}
	if opt.export == "pcap" && isTerminal(out.Writer) {
		return nil, usageError("--export pcap is binary: write it to a file with -o FILE")
	}
	if !opt.follow {
		out.buffer = bufio.NewWriterSize(out.Writer, 64<<10)
		out.Writer = out.buffer
	}
	return out, nil
}

func isSameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// Close writes what is buffered.
func (out *logOutput) Close() (err error) {
	if out.buffer != nil {
		err = out.buffer.Flush()
	}
	if out.file != nil {
		err = errors.Join(err, out.file.Close())
	}
	return err
}

// bringIndexUpToDate says on a terminal how far it is: the first time may take a while.
func bringIndexUpToDate(ctx context.Context, stderr io.Writer, r *journal.Reader) {
	said := false
	err := r.Index(ctx, func(done, all int64) {
		if said = isTerminal(stderr); said {
			fmt.Fprintf(stderr, "\rparley: indexing, %d of %d", done, all)
		}
	})
	if said {
		fmt.Fprintln(stderr)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "parley: searching without an index, which takes longer: %v\n", inWords(err, aFileToRead))
	}
}

// print shows what is selected.
func (opt *logOptions) print(ctx context.Context, r *journal.Reader, out io.Writer) error {
	if opt.sessions {
		return opt.printSessions(ctx, r, out)
	}
	view, err := opt.view(out)
	if err != nil {
		return err
	}
	events := r.Events
	if opt.follow {
		events = r.Follow
	}
	for e, err := range events(ctx, opt.filter) {
		if err != nil {
			return err
		}
		if err := view.show(e); err != nil {
			return err
		}
	}
	return view.end()
}

// explainLog says what went wrong; a reader who left is nothing wrong.
func explainLog(ctx context.Context, file string, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, syscall.EPIPE):
		return nil
	case signalled(ctx) != nil:
		return signalled(ctx)
	case errors.As(err, &path):
		return cannotWrite(path.Err)
	}
	return usageError("cannot read %s: %w", file, err)
}
