package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/load"
)

type checkOptions struct {
	quiet, json        bool
	framing            framingFlag
	crlf               bool
	reply              replyFlags
	banner, all        bool
	only4, only6       bool
	expect, expectText string
	timeout, wait      time.Duration
	count              int
	interval           time.Duration
}

func checkCommand() *cobra.Command {
	opt := checkOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "check [[host:]port] [message...]",
		Short: "Say whether a service is reachable and answers as expected",
		Long: `Connect and, with a message, send it and wait for one reply. One line says which
address answered, how long the lookup of its name, the connection and the reply took, and
what the reply was. Without an address: localhost:6969.

The exit code is 0 if all held, 1 if the service could not be reached or did not answer, 2
for wrong usage, 3 if the reply was not the expected one.`,
		Example: `  parley check db.internal:5432                     does it accept?
  parley check :6969 hello --expect '^Request #'    does it answer, and so?
  parley check --crlf redis:6379 PING --expect-text +PONG
  parley check mail.internal:25 --banner --expect '^220 '
  parley check --wait 30s -q :6969                  for scripts: wait until it is up
  parley check --count 10 :6969 hello               a ping with an exchange
  parley check --all www.internal:80                each address of the name`,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := addressOf(args)
			if err != nil {
				return err
			}
			c, err := opt.check(cmd, at, args[min(1, len(args)):])
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return c.run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&opt.expect, "expect", "e", "", "the reply must have a match of this `REGEX`")
	flags.StringVar(&opt.expectText, "expect-text", "", "the reply must be exactly this `TEXT`")
	flags.BoolVarP(&opt.banner, "banner", "b", false, "the server speaks first: wait for that")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 5*time.Second, "how long to wait to connect, and for each reply")
	flags.DurationVar(&opt.wait, "wait", 0, "try again for this long until it holds")
	flags.IntVarP(&opt.count, "count", "c", 0, "check this often, and sum up")
	flags.DurationVarP(&opt.interval, "interval", "i", time.Second, "with --count: from one to the next")
	flags.BoolVarP(&opt.all, "all", "a", false, "check each address of the name")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print nothing: the exit code says it")
	flags.BoolVar(&opt.json, "json", false, "print a JSON object a check")
	flags.VarP(&opt.framing, "framing", "f", framingUsage)
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end the message with CRLF")
	opt.reply.add(flags)
	flags.BoolVarP(&opt.only4, "ipv4", "4", false, "use IPv4 only")
	flags.BoolVarP(&opt.only6, "ipv6", "6", false, "use IPv6 only")
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("ipv4", "ipv6")
	cmd.MarkFlagsMutuallyExclusive("expect", "expect-text")
	cmd.MarkFlagsMutuallyExclusive("wait", "count")
	flags.SetAnnotation("interval", goesWith, []string{"count"})
	return cmd
}

// check is what the command line asks for.
func (opt *checkOptions) check(cmd *cobra.Command, at address, words []string) (*check, error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	framing, err := opt.reply.framing(opt.framing)
	if err != nil {
		return nil, err
	}
	probe := load.Probe{
		Dialer: at.dialer(family(opt.only4, opt.only6), opt.timeout), All: opt.all,
		Framing: framing, Timeout: opt.timeout, Banner: opt.banner,
	}
	if len(words) > 0 {
		probe.Request = []byte(strings.Join(words, " "))
		start := framing.Begin(nil)
		if _, err := framing.End(append(start, probe.Request...), 0); err != nil {
			return nil, usageError("the message cannot be sent: %w", err)
		}
	}
	flags := cmd.Flags()
	switch {
	case flags.Changed("expect"):
		if probe.Expect, err = load.ExpectRegexp(opt.expect); err != nil {
			return nil, usageError("--expect: %w", err)
		}
	case flags.Changed("expect-text"):
		probe.Expect = load.ExpectText(opt.expectText)
	}
	switch {
	case probe.Expect.Judges() && probe.Request == nil && !opt.banner:
		return nil, usageError("there will be no reply to judge; give a message, or --banner if the server speaks first")
	case opt.timeout <= 0:
		return nil, usageError("--timeout %v: it must be more than 0", opt.timeout)
	case flags.Changed("count") && opt.count < 1:
		return nil, usageError("--count %d: it must be at least 1", opt.count)
	case opt.wait < 0 || opt.interval < 0:
		return nil, usageError("--wait and --interval cannot be negative")
	}
	return &check{opt: opt, probe: probe, target: at.target(), out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}, nil
}

// A check is one run of the command.
type check struct {
	opt        *checkOptions
	probe      load.Probe
	target     string
	out, notes io.Writer
	err        error // the first of out

	series load.Series
}

// run checks once, until it holds or as often as asked for. The error is the verdict.
func (c *check) run(ctx context.Context) error {
	switch {
	case c.opt.count > 0:
		load.Repeat(ctx, c.opt.count, c.opt.interval, func() { c.tell(c.probe.Run(ctx)) })
	case c.opt.wait > 0:
		if found := c.await(ctx); ctx.Err() == nil {
			c.tell(found)
		}
	default:
		c.tell(c.probe.Run(ctx))
	}
	// A series that was cut short has a verdict all the same.
	if cause := signalled(ctx); cause != nil && (c.opt.count == 0 || c.series.Probes == 0) {
		return cause
	}
	if c.opt.count > 0 {
		c.sumUp()
	}
	switch {
	case c.err != nil:
		return cannotWrite(c.err)
	case c.series.Lost() > 0:
		return &exitError{code: exitNetwork}
	case c.series.Held < c.series.Probes:
		return &exitError{code: exitMismatch}
	}
	return nil
}

// leastTry is what a try may take though the time for all of them is nearly over.
const leastTry = time.Second

// await tries until all holds, and returns what the last try found.
func (c *check) await(ctx context.Context) (found []load.Finding) {
	var said load.Kind
	load.Retry(ctx, c.opt.wait, func(left time.Duration) bool {
		c.probe.Timeout = min(c.opt.timeout, max(left, leastTry).Round(time.Millisecond))
		c.probe.Dialer.Timeout = c.probe.Timeout
		found = c.probe.Run(ctx)
		i := slices.IndexFunc(found, func(f load.Finding) bool { return f.Kind != "" })
		if i < 0 {
			return true
		}
		if f := &found[i]; f.Kind != said && !c.opt.quiet {
			said = f.Kind
			fmt.Fprintf(c.notes, "parley: waiting: %s\n", console.AppendEscaped(nil, []byte(c.why(f))))
		}
		return false
	})
	return found
}

// tell prints what was found, a line each, and counts it.
func (c *check) tell(found []load.Finding) {
	for i := range found {
		c.series.Add(&found[i])
		if c.opt.json {
			c.write(c.object(&found[i]))
		} else {
			c.write(append(c.sentence(&found[i]), '\n'))
		}
	}
}

func (c *check) write(line []byte) {
	if c.opt.quiet || c.err != nil {
		return
	}
	_, c.err = c.out.Write(line)
}

// sentence is the verdict in words.
func (c *check) sentence(f *load.Finding) []byte {
	text := f.Address
	switch {
	case f.Kind == "" && f.Message == nil:
		text += " is reachable: " + times(f)
	case f.Kind == "":
		text += " answered: " + times(f) + ": "
	case f.Kind == load.Mismatch:
		text += fmt.Sprintf(" answered, but not with %v: %s: ", c.probe.Expect, times(f))
	case f.Connected:
		text = c.why(f) + " (" + times(f) + ")"
	default:
		text = c.why(f)
	}
	line := console.AppendEscaped(nil, []byte(text))
	if f.Kind == "" || f.Kind == load.Mismatch {
		line = console.AppendPayload(line, f.Message)
	}
	return line
}

// why says in words what failed.
func (c *check) why(f *load.Finding) string {
	place := c.target
	if f.Address != "" && f.Address != place {
		place += " (" + f.Address + ")"
	}
	switch {
	case f.Kind == load.Mismatch:
		return fmt.Sprintf("%s answered, but not with %v", place, c.probe.Expect)
	case f.Connected:
		return whyNoReply(place, c.probe.Timeout, f.Err)
	}
	return whyNotConnected(place, c.probe.Dialer.Timeout, f.Err)
}

// A step is something that was done, and how long it took.
type step struct {
	name string
	took time.Duration
}

func stepsOf(f *load.Finding) []step {
	all := []step{{"lookup", f.Lookup}, {"connect", f.Connect}, {"banner", f.Banner}, {"reply", f.Reply}}
	return slices.DeleteFunc(all, func(s step) bool { return s.took == 0 })
}

// times are such as "lookup 0.20 ms, connect 0.10 ms".
func times(f *load.Finding) string {
	var list []string
	for _, step := range stepsOf(f) {
		list = append(list, step.name+" "+milliseconds(step.took))
	}
	return strings.Join(list, ", ")
}

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds()*1000, 'f', 2, 64) + " ms"
}

// object is the verdict in JSON.
func (c *check) object(f *load.Finding) []byte {
	o := console.NewObject("check", f.Time)
	o.Text("target", c.target)
	o.Text("address", f.Address)
	for _, step := range stepsOf(f) {
		o.Number(step.name+"_ns", int64(step.took))
	}
	if f.Message != nil {
		o.Payload(f.Message)
	}
	o.Truth("held", f.Kind == "")
	if f.Kind != "" {
		o.Text("kind", string(f.Kind))
		o.Text("error", c.why(f))
	}
	return o.Line()
}

// sumUp prints what a series came to.
func (c *check) sumUp() {
	if c.opt.json {
		c.write(c.summaryObject())
		return
	}
	s := &c.series
	text := fmt.Sprintf("%s: %d of %d held", c.target, s.Held, s.Probes)
	for _, kind := range slices.Sorted(maps.Keys(s.Failed)) {
		text += fmt.Sprintf(", %d %s", s.Failed[kind], strings.ReplaceAll(string(kind), "_", " "))
	}
	text += fmt.Sprintf("; %.1f %% lost\n", 100*float64(s.Lost())/float64(s.Probes))
	for _, row := range c.spreads() {
		if row.N > 0 {
			text += fmt.Sprintf("%s: min %s, median %s, p99 %s, max %s\n", row.name,
				milliseconds(row.Min), milliseconds(row.Median), milliseconds(row.P99), milliseconds(row.Max))
		}
	}
	c.write([]byte(text))
}

func (c *check) summaryObject() []byte {
	s := &c.series
	o := console.NewObject("summary", time.Now())
	o.Text("target", c.target)
	o.Number("checks", int64(s.Probes))
	o.Number("held", int64(s.Held))
	o.Number("lost", int64(s.Lost()))
	for _, kind := range slices.Sorted(maps.Keys(s.Failed)) {
		o.Number(string(kind), int64(s.Failed[kind]))
	}
	for _, row := range c.spreads() {
		if row.N > 0 {
			o.Number(row.name+"_min_ns", int64(row.Min))
			o.Number(row.name+"_median_ns", int64(row.Median))
			o.Number(row.name+"_p99_ns", int64(row.P99))
			o.Number(row.name+"_max_ns", int64(row.Max))
		}
	}
	return o.Line()
}

// A spread is how the times of a step lie.
type spread struct {
	name string
	load.Spread
}

func (c *check) spreads() []spread {
	return []spread{{"connect", c.series.Connect()}, {"reply", c.series.Reply()}}
}
