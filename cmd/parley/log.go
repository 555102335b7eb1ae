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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/suggest"
)

const defaultJournal = "parley.journal"

type logOptions struct {
	filter       journal.Filter
	session      sessionFlag
	nodes        nodesFlag
	many         bool // nodes are in the journal
	bothEnds     bool
	since, until string
	text, regexp string
	sessions     bool
	follow       bool
	verify       bool

	table, json, csv bool
	export           string
	output           string
	imported         string // a capture
	redact           redactFlag
	hex              bool
	framing          framingFlag
	showSecrets      bool

	stats logStats
	sql   logSQL
	web   webOptions
}

// selections are the flags that leave something out.
var selections = []string{"session", "node", "address", "since", "until", "text", "regexp", "slower-than", "reason", "limit"}

// tasks are what log does but show what is selected: each by a flag, and with the flags that go with
// it. The first that is given is done.
var tasks = []struct {
	flag string
	with []string
}{
	{"import", []string{"output", "framing", "redact"}},
	{"redact", []string{"output"}},
	{"web", []string{"web-token", "web-tls-cert", "web-tls-key", "web-tls-self-signed", "framing", "show-secrets"}},
	{"verify", []string{"output"}},
	{"sql", []string{"timeout", "table", "json", "csv", "output"}},
	{"stats", append([]string{"by", "every", "table", "json", "csv", "output", "framing", "show-secrets"}, selections...)},
}

func logCommand() *cobra.Command {
	opt := logOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "log [FILE...]",
		Short: "Read a journal: search it, follow it, export it",
		Long: `Show the sessions and exchanges that parley server --journal FILE has kept, or parley
tap, also while they write. What the flags say must all be so. Without FILE: parley.journal in the current
directory. A text is found by an index beside the journal, FILE.index, which is brought up
to date first.

The exit code is 0 when all is shown, 1 when nothing is what the flags select, or something is
damaged, which is left out and named, and 2 for wrong usage or a local error.`,
		Example: `  parley log                                    everything, as the server told it
  parley log --text 'order 17' --since 10m      who said that in the last ten minutes?
  parley log --regexp '(?i)error' --table       request and reply in one line
  parley log --sessions --reason reset          which sessions were reset
  parley log -f --slower-than 5ms --json        slow exchanges as they come, one JSON object a line
  parley log --session 7 --export pcap -o 7.pcap    for Wireshark
  parley log --session 7 --export dialogue -o 7.talk    for check, client and bench --script
  parley log --stats --since 1h                 which requests, how often, how fast, how many failed?
  parley log --sql 'SELECT remote, count(*) FROM v_exchange GROUP BY 1'    whatever else you want to know
  parley log a.journal b.journal --web 8080     in a browser, also while they grow
  parley log --import 7.pcap -o 7.journal --framing redis    a journal made of a capture
  parley log --redact 'pass=\S+' -o shared.journal    a copy without what matches
  parley log --verify                           is all as it was written?`,
		ValidArgsFunction: aJournal,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseStrays(cmd); err != nil {
				return err
			}
			if cmd.Flags().Changed("import") {
				return runImport(cmd, args, opt)
			}
			file := defaultJournal
			if len(args) > 0 {
				file = args[0]
			}
			switch {
			case isGiven(cmd.Flags().Lookup("web")): // a variable is for servers
				return runLogWeb(cmd, args, opt)
			case len(args) > 1:
				if _, err := dialect.Parse(file); err == nil && cmd.Flags().Changed("follow") {
					return usageError("-f is --follow here, so %q is taken for a journal; write --framing %[1]s", file)
				}
				return usageError("one journal is enough; %q is too much: --web PORT shows several together", args[1])
			case file == "":
				return usageError("the name of the journal is empty; leave it out for %s", defaultJournal)
			}
			if len(opt.redact.Rules) > 0 {
				return runRedactedCopy(cmd, file, opt)
			}
			return runLog(cmd, file, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.follow, "follow", "f", false, "go on with what is recorded, until interrupted")
	flags.BoolVar(&opt.sessions, "sessions", false, "list sessions")
	flags.BoolVar(&opt.table, "table", false, "print an exchange a line, in columns")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.BoolVar(&opt.csv, "csv", false, "print comma-separated values")
	flags.StringVar(&opt.export, "export", "", "print in another `FORMAT`: md (the two terminals), mermaid, ndjson, pcap, or of one session a dialogue, which --script plays")
	addHex(cmd, &opt.hex, "as it was on the wire, below its line")
	opt.framing.addWith(cmd, "", "; of sessions that an older parley recorded, which do not say")
	flags.BoolVar(&opt.showSecrets, "show-secrets", false, "show credentials, where the protocol knows them; JSON, CSV, pcap and dialogues have them anyway")
	flags.StringVarP(&opt.output, "output", "o", "-", "write to `FILE`; - is standard output")
	selection := heading(flags, ofSelection)
	flags.Var(&opt.session, "session", "the session of this number; a journal of several starts has several. With its node before it, such as web-2/17, that one's")
	flags.SetAnnotation("session", notOfEnvironment, nil)
	opt.nodes.add(cmd, "what was recorded on these nodes")
	addBothEnds(cmd, &opt.bothEnds)
	flags.StringVar(&opt.filter.Address, "address", "", "the peer's address begins with `TEXT`: 10.0., 127.0.0.1:4, unix")
	flags.StringVar(&opt.since, "since", "", "from this `TIME` on: 2026-11-24, '2026-11-24 08:00' (UTC), RFC 3339, or 10m ago")
	flags.StringVar(&opt.until, "until", "", "before this `TIME`")
	flags.StringVar(&opt.text, "text", "", "request or reply has this `TEXT`, exactly")
	flags.StringVar(&opt.regexp, "regexp", "", "request or reply matches the regular expression `REGEX`")
	flags.DurationVar(&opt.filter.Slower, "slower-than", 0, "the reply took this long or longer")
	flags.StringVar(&opt.filter.Reason, "reason", "", "the `REASON` why the session ended, or was refused: eof, reset, denied …; open if nobody saw it end")
	flags.IntVar(&opt.filter.Limit, "limit", 0, "only the newest `N` exchanges, with --sessions the newest sessions")
	selection()
	opt.stats.add(cmd)
	opt.sql.add(cmd)
	opt.addWeb(cmd)
	copies := heading(flags, ofCopies)
	flags.BoolVar(&opt.verify, "verify", false, "compare every record with its checksum, and look at the structure of the file")
	addImport(cmd, &opt.imported)
	opt.redact.addCopy(cmd)
	copies()
	cmd.MarkFlagsMutuallyExclusive("table", "json", "csv", "export")
	for _, other := range notBothEnds {
		cmd.MarkFlagsMutuallyExclusive("both-ends", other)
	}
	cmd.MarkFlagsMutuallyExclusive("sessions", "follow")
	cmd.MarkFlagsMutuallyExclusive("sessions", "export")
	return cmd
}

// refuseStrays refuses the flags that do not go with what log is to do.
func refuseStrays(cmd *cobra.Command) error {
	for _, task := range tasks {
		if isGiven(cmd.Flags().Lookup(task.flag)) {
			return refuseOthers(cmd, task.flag, task.with)
		}
	}
	return nil
}

// refuseOthers refuses all flags beside one and those that go with it.
func refuseOthers(cmd *cobra.Command, flag string, with []string) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && isGiven(f) && f.Name != flag && f.Name != "color" && !slices.Contains(with, f.Name) {
			err = usageError("--%s and --%s exclude each other; use one of them", flag, f.Name)
		}
	})
	return err
}

func runLog(cmd *cobra.Command, file string, opt logOptions) error {
	if err := opt.check(time.Now()); err != nil {
		return err
	}
	stats, err := opt.stats.options(cmd, &opt)
	if err != nil {
		return err
	}
	r, err := openJournal(file)
	if err != nil {
		return err
	}
	defer r.Close()
	note := notesOn(cmd)
	if r.Notice != "" {
		note("%s: %s", file, r.Notice)
	}
	out, err := opt.open(cmd, file)
	if err != nil {
		return err
	}
	// An output that goes away ends it in good order: parley log -f | head.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	if opt.verify {
		return errors.Join(verifyJournal(ctx, r, file, out), out.Close())
	}
	if opt.sql.query != "" {
		return opt.sql.run(ctx, r, file, opt.format(), out)
	}
	if err := opt.refuseOtherFraming(ctx, cmd, r, file); err != nil {
		return err
	}
	nodes, err := r.Nodes(ctx)
	if err != nil {
		return explainLog(ctx, file, err)
	}
	opt.many = len(nodes) > 1
	for _, name := range opt.filter.Nodes {
		if !slices.Contains(nodes, name) {
			return unknownNode(name, nodes, file)
		}
	}
	damages := noteDamages(r, file, note)
	if len(opt.text) >= journal.MinIndexed {
		bringIndexUpToDate(ctx, cmd.ErrOrStderr(), note, r)
	}
	if opt.export == "pcap" {
		opt.filter.Loose = true
		if framings, err := r.Framings(ctx); err == nil && slices.Contains(framings, "") {
			note("%s has sessions that an older parley recorded, without their framing: their messages are written with a newline each", file)
		}
	}
	var shown int
	if opt.bothEnds {
		shown, err = opt.printBothEnds(ctx, r, file, out)
	} else if opt.stats.on {
		shown, err = opt.stats.print(ctx, r, opt.filter, stats, opt.format(), out)
	} else {
		shown, err = opt.print(ctx, r, out)
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return explainLog(ctx, file, err)
	}
	switch {
	case opt.follow:
		return nil
	case signalled(ctx) != nil:
		return signalled(ctx)
	case *damages > 0:
		return networkError("%s is damaged in %s, and what is there is left out; 'parley log --verify' names all", file, places(*damages))
	case shown == 0 && opt.filter.Number != 0:
		return networkError("%s has no session %s that is what the flags select", file, opt.session.text)
	case shown == 0 && slices.ContainsFunc(selections, cmd.Flags().Changed):
		return networkError("nothing in %s is what the flags select", file)
	}
	return nil
}

// refuseOtherFraming refuses a framing that is not what the journal says of itself.
func (opt *logOptions) refuseOtherFraming(ctx context.Context, cmd *cobra.Command, r *journal.Reader, file string) error {
	recorded, err := r.Framings(ctx)
	if err != nil {
		return explainLog(ctx, file, err)
	}
	return refuseContradiction(cmd, "framing", opt.framing.Name, file, recorded)
}

// noteDamages has the first few that a reader comes upon said, and counts all.
func noteDamages(r *journal.Reader, file string, note func(format string, args ...any)) (damages *int) {
	damages = new(int)
	r.Damaged = func(d journal.Damage) {
		const most = 10 // named; --verify names all
		if *damages++; *damages <= most {
			note("%s is damaged: %v", file, d)
		}
	}
	return damages
}

func places(n int) string {
	if n == 1 {
		return "one place"
	}
	return fmt.Sprintf("%d places", n)
}

// openJournal opens a journal for reading.
func openJournal(file string) (*journal.Reader, error) {
	r, err := journal.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usageError("cannot read %[1]s: no such file; 'parley server --journal %[1]s' writes one", file)
	case err != nil:
		return nil, usageError("cannot read %s: %w", file, inWords(err, aFileToRead))
	}
	return r, nil
}

// notesOn writes lines to the command's standard error. What they are about is escaped: names
// of files may be anything.
func notesOn(cmd *cobra.Command) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Fprintf(cmd.ErrOrStderr(), "parley: %s\n", console.AppendEscaped(nil, fmt.Appendf(nil, format, args...)))
	}
}

// verifyJournal says what is damaged, and what has been verified.
func verifyJournal(ctx context.Context, r *journal.Reader, file string, out *logOutput) error {
	tell := func(line string) error {
		_, err := fmt.Fprintln(out, console.Wrap(string(console.AppendEscaped(nil, []byte(line))), out.width, "  "))
		return err
	}
	r.Damaged = func(d journal.Damage) { tell(d.String()) }
	v, err := r.Verify(ctx)
	if err != nil {
		return explainLog(ctx, file, err)
	}
	text := fmt.Sprintf("%d sessions, %d exchanges and %d refusals are as they were written", v.Sessions, v.Exchanges, v.Refused)
	if v.Unsummed > 0 {
		text += fmt.Sprintf(", or cannot be told: %d of them carry no checksum, an older parley wrote them", v.Unsummed)
	}
	if err := tell(text); err != nil {
		return cannotWrite(err)
	}
	if v.Damages > 0 {
		return networkError("%s is damaged in %s", file, places(v.Damages))
	}
	return nil
}

// check reads the flags that are text.
func (opt *logOptions) check(now time.Time) (err error) {
	f := &opt.filter
	f.Text, f.Number, f.Nodes = []byte(opt.text), opt.session.number, opt.nodes
	if opt.session.node != "" {
		if len(opt.nodes) > 0 {
			return usageError("--session %s names a node already; leave --node out", opt.session.text)
		}
		f.Nodes = []string{opt.session.node}
	}
	if f.Since, err = parseTime(opt.since, now); err != nil {
		return usageError("--since %s: %w", opt.since, err)
	}
	if f.Until, err = parseTime(opt.until, now); err != nil {
		return usageError("--until %s: %w", opt.until, err)
	}
	if opt.regexp != "" {
		if f.Regexp, err = expect.Compile(opt.regexp); err != nil {
			return usageError("--regexp: %w", err)
		}
	}
	if f.Limit < 0 {
		return usageError("--limit %d: a number cannot be negative; leave it out for all", f.Limit)
	}
	if err := checkReason(f.Reason); err != nil {
		return err
	}
	if opt.export != "" && !slices.Contains(exportFormats, opt.export) {
		return usageError("--export %s: use md, mermaid, ndjson, pcap or dialogue%s", opt.export, suggest.DidYouMean(opt.export, "", exportFormats))
	}
	if opt.export == "dialogue" && opt.follow {
		return usageError("--export dialogue goes without --follow: it is written when the session is read")
	}
	return nil
}

// format is what console calls the one that the flags name.
func (opt *logOptions) format() string {
	switch {
	case opt.export != "":
		return opt.export
	case opt.json:
		return "json"
	case opt.csv:
		return "csv"
	case opt.table:
		return "table"
	}
	return "narrative"
}

// timeForms are how a time may be written. Without a zone it is UTC, as the log shows times.
var timeForms = []string{time.RFC3339, "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00"}

// parseTime reads a time, or how long ago it was. No text is no time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("use a date such as 2026-11-24, a time such as '2026-11-24 08:00' or 2026-11-24T08:00:00Z, or how long ago, such as 10m")
}

// exportFormats are those of --export.
var exportFormats = []string{"md", "mermaid", "ndjson", "pcap", "dialogue"}

// reasonNames are those of --reason.
func reasonNames() []string {
	known := []string{journal.ReasonOpen}
	for reason := parley.EndOfFile; reason <= parley.Fault; reason++ {
		known = append(known, reason.String())
	}
	for reason := parley.Full; reason <= parley.Denied; reason++ {
		known = append(known, reason.String())
	}
	return known
}

func checkReason(name string) error {
	known := reasonNames()
	if name == "" || slices.Contains(known, name) {
		return nil
	}
	if meant := suggest.DidYouMean(name, "", known); meant != "" {
		return usageError("--reason %s: no such reason%s", name, meant)
	}
	return usageError("--reason %s: there are %s", name, strings.Join(known, " "))
}

// A logOutput is where the log is written to.
type logOutput struct {
	io.Writer
	buffer *bufio.Writer // nil if each line is to be seen at once
	file   *os.File      // nil if it is standard output
	width  int           // columns of the terminal; 0 if it is none
	style  console.Style // of what a person reads
}

func (opt *logOptions) open(cmd *cobra.Command, journalFile string) (*logOutput, error) {
	out := &logOutput{Writer: cmd.OutOrStdout()}
	if opt.output != "-" {
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
	out.width, out.style = columnsOf(out.Writer), styleOf(cmd, out.Writer)
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
func bringIndexUpToDate(ctx context.Context, stderr io.Writer, note func(format string, args ...any), r *journal.Reader) {
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
		note("searching without an index, which takes longer: %v", inWords(err, aFileToRead))
	}
}

// print shows what is selected, and returns how much that was.
func (opt *logOptions) print(ctx context.Context, r *journal.Reader, out *logOutput) (shown int, err error) {
	if opt.sessions {
		list, err := console.NewSessionList(opt.format(), out, out.width, out.style, opt.many)
		if err != nil {
			return 0, err
		}
		for s, err := range r.Sessions(ctx, opt.filter) {
			if err != nil {
				return shown, err
			}
			if err := list.Show(&s); err != nil {
				return shown, err
			}
			shown++
		}
		return shown, nil
	}
	opt.filter.Loose = opt.export == "pcap" // which has all bytes
	view, err := console.NewLogView(opt.format(), out, console.LogOptions{
		Width: out.width, Framing: opt.framing.Framing, Secrets: opt.showSecrets, Style: out.style, Hex: opt.hex, ManyNodes: opt.many,
	})
	if err != nil {
		return 0, err
	}
	events := r.Events
	if opt.follow {
		events = r.Follow
	}
	for e, err := range events(ctx, opt.filter) {
		if err != nil {
			return shown, err
		}
		if err := view.Show(e); err != nil {
			return shown, err
		}
		shown++
	}
	return shown, view.End()
}

// explainLog says what went wrong; a reader who left is nothing wrong.
func explainLog(ctx context.Context, file string, err error) error {
	var path *fs.PathError
	var exit *exitError
	var not *console.NotExported
	switch {
	case errors.As(err, &not):
		return usageError("%s: %w", file, err)
	case errors.Is(err, syscall.EPIPE):
		return nil
	case signalled(ctx) != nil:
		return signalled(ctx)
	case errors.As(err, &exit):
		return exit
	case errors.As(err, &path):
		return cannotWrite(path.Err)
	}
	return usageError("cannot read %s: %w", file, err)
}
