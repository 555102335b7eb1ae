package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/probe"
)

type checkOptions struct {
	quiet, json        bool
	node               nodeFlag
	framing            framingFlag
	crlf               bool
	reply              replyFlags
	greeting           bannerFlags
	out                outFlags
	all                bool
	only4, only6       bool
	expect, expectText string
	status             string
	timeout, wait      time.Duration
	count              int
	interval           time.Duration
	stays              time.Duration
	expires            daysFlag
	script             checkScripts
	prober             proberOptions
}

func checkCommand() *cobra.Command {
	_, cmd := newCheck()
	return cmd
}

// newCheck is the command and its flags.
func newCheck() (*checkOptions, *cobra.Command) {
	opt := &checkOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "check [[host:]port] [message...]",
		Short: "Say whether a service is reachable and answers as expected",
		Long: `Connect and, with a message, send it and wait for one reply. One line says which
address answered, how long the lookup of its name, the connection and the reply took, and
what the reply was; over TLS lines below it say which version and cipher were agreed on, whose
certificate it was and whether it can be trusted. Without an address: localhost:6969.

With --script it plays a dialogue instead, a conversation of a file, and the line has the
time of each of its steps, or says which one failed.

With --every it is a prober: it goes on until a signal ends it, prints a line whenever the service
goes up or down, and with --admin has Prometheus scrape what each probe took and found. --targets
has it probe many services.

The exit code is 0 if all held, 1 if the service could not be reached or did not answer, 2
for wrong usage or a dialogue that cannot be played, 3 if the reply was not the expected one
or a certificate expires too early; of several checks that of the worst: 2, then 1, then 3. A
prober that a signal ends is done: 0, whatever it has found.`,
		Example: `  parley check db.internal:5432                     does it accept?
  parley check :6969 hello --expect '^Request #'    does it answer, and so?
  parley check --crlf redis:6379 PING --expect-text +PONG
  parley check mail.internal:25 --banner --expect '^220 '
  parley check -f http :80 'GET /health' --expect-status 200
  parley check --tls db.internal:5433               does it speak TLS, with a certificate to trust?
  parley check --tls --expires 14d db.internal:5433   and one that is good for two weeks more?
  parley check --starttls smtp mail.internal:25     the same, of a server that begins in plain
  parley check --stays 500ms :6969                  is there a server behind the proxy that accepts?
  parley check --send-proxy v2 :6969 hello          as a load balancer does
  parley check --via http://proxy:3128 db.internal:5432
  parley check --wait 30s -q :6969                  for scripts: wait until it is up
  parley check --count 10 :6969 hello               a ping with an exchange
  parley check --all www.internal:80                each address of the name
  parley check --script smtp.talk mail.internal:587   a whole dialogue, step by step
  parley check --script a.talk --script b.talk --junit report.xml :6969    for CI
  parley check --script a.talk --print              is it written well? connects to nobody
  parley check --every 15s :6969 hello              a line whenever it goes up or down
  parley check --every 15s --admin :9115 --targets targets.txt    a prober that Prometheus scrapes`,
		ValidArgsFunction: inPlaces(anAddress),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case opt.prober.every > 0:
				return opt.keepProbing(cmd, args)
			case opt.script.given():
				return opt.checkScripts(cmd, args)
			}
			check, err := opt.check(cmd, args)
			if err != nil {
				return err
			}
			defer opt.out.close()
			return runChecks(cmd.Context(), []*probe.Check{check})
		},
		Annotations: map[string]string{takesWords: "yes"},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&opt.expect, "expect", "e", "", "the reply must have a match of this `REGEX`")
	flags.StringVar(&opt.expectText, "expect-text", "", "the reply must be exactly this `TEXT`")
	flags.StringVar(&opt.status, "expect-status", "", "the reply must have this `STATUS`, such as 200 or 2xx, with --framing http or smtp")
	flags.DurationVar(&opt.stays, "stays", 0, "the connection must be open for this long: since it was made, with a message since its reply")
	flags.Var(&opt.expires, "expires", "over TLS: the server's certificates must be valid for this long from now, such as 14d or 336h")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 5*time.Second, "how long to wait to connect, and for each reply")
	flags.DurationVar(&opt.wait, "wait", 0, "try again for this long until it holds")
	flags.IntVarP(&opt.count, "count", "c", 0, "check this often, and sum up")
	flags.DurationVarP(&opt.interval, "interval", "i", time.Second, "with --count: from one to the next")
	flags.BoolVarP(&opt.all, "all", "a", false, "check each address of the name")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print nothing: the exit code says it")
	flags.BoolVar(&opt.json, "json", false, "print a JSON object a check")
	opt.node.add(cmd, "JSON objects")
	opt.script.add(cmd)
	messages := heading(flags, ofMessages)
	opt.framing.add(cmd, "")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	opt.greeting.add(flags)
	opt.reply.add(flags)
	messages()
	opt.out.add(cmd)
	addFamily(cmd, &opt.only4, &opt.only6)
	opt.prober.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("expect", "expect-text")
	cmd.MarkFlagsMutuallyExclusive("wait", "count")
	flags.SetAnnotation("interval", goesWith, []string{"count"})
	return opt, cmd
}

// check is what the command line asks for.
func (opt *checkOptions) check(cmd *cobra.Command, args []string) (*probe.Check, error) {
	at, err := addressOf(args)
	if err != nil {
		return nil, err
	}
	words := args[min(1, len(args)):]
	if err := opt.refuse(cmd.Flags()); err != nil {
		return nil, err
	}
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	if err := opt.out.conversation(&opt.framing, opt.greeting.asked()); err != nil {
		return nil, err
	}
	if err := opt.greeting.resolve(opt.framing); err != nil {
		return nil, err
	}
	framing, err := opt.reply.of(opt.framing)
	if err != nil {
		return nil, err
	}
	framing = addressed(framing, at)
	p := probe.Probe{
		All:     opt.all,
		Framing: framing.Requests, Replies: framing.Replies, Timeout: opt.timeout, Stays: opt.stays,
		Banner: opt.greeting.awaited(opt.framing), Greeting: opt.greeting.framing.Requests, Single: opt.greeting.single.Requests,
		BannerLacks: opt.greeting.lacks,
		ReplyLacks:  func(came []byte) (lacks, advice string) { return opt.reply.lacks(opt.framing, came) },
	}
	if len(words) > 0 {
		p.Request = requestOf(framing, words)
		if p.Silent, err = isSilent(framing, p.Request); err != nil {
			return nil, usageError("the message cannot be sent: %w", err)
		}
	}
	if p.Status, err = opt.expectedStatus(framing); err != nil {
		return nil, err
	}
	flags := cmd.Flags()
	switch {
	case flags.Changed("expect"):
		if p.Expect, err = expect.Regexp(opt.expect); err != nil {
			return nil, usageError("--expect: %w", err)
		}
	case flags.Changed("expect-text"):
		p.Expect = expect.Text(opt.expectText)
	}
	switch {
	case (p.Expect.Judges() || opt.status != "") && p.Silent:
		return nil, usageError("there will be no reply to judge: to this message there is none with --framing %s", opt.framing.Name)
	case (p.Expect.Judges() || opt.status != "") && p.Request == nil && !p.Banner:
		return nil, usageError("there will be no reply to judge; give a message, or --banner if the server speaks first")
	case opt.stays > 0 && (p.Silent || p.Request != nil && endsWithConnection(framing)):
		return nil, usageError("--stays is for connections that are kept: with --framing %s this message ends its own", opt.framing.Name)
	}
	if err := opt.out.open(at); err != nil {
		return nil, err
	}
	p.Dialer = opt.out.dialer(at, family(opt.only4, opt.only6), opt.timeout)
	switch {
	case p.Dialer.TLS != nil:
		p.Expires = opt.expires.Duration
	case isGiven(flags.Lookup("expires")):
		return nil, usageError("--expires goes with --tls")
	}
	return &probe.Check{
		Probe: p, Target: at.target(), Count: opt.count, Interval: opt.interval, Wait: opt.wait, Words: framing.Words,
		Out: cmd.OutOrStdout(), Notes: cmd.ErrOrStderr(), Quiet: opt.quiet, JSON: opt.json, Node: opt.node.orHost(),
		Columns: columnsOf(cmd.OutOrStdout()), Style: styleOf(cmd, cmd.OutOrStdout()),
	}, nil
}

// refuse says what is wrong with flags of any check.
func (opt *checkOptions) refuse(flags *pflag.FlagSet) error {
	switch {
	case opt.timeout == 0:
		return usageError("--timeout 0s: it must be more than 0")
	case flags.Changed("every") && opt.prober.every == 0:
		return usageError("--every 0s: it must be more than 0")
	case flags.Changed("count") && opt.count < 1:
		return usageError("--count %d: it must be at least 1", opt.count)
	case opt.all && opt.out.via != "":
		return usageError("--all goes without --via: it is the proxy that looks up the name")
	}
	return nil
}

// isSilent says whether a request gets no reply, or why it cannot be sent.
func isSilent(f dialect.Framing, request []byte) (silent bool, err error) {
	requests, replies := parley.OpenFraming(f.Requests, f.Replies)
	if _, err := requests.End(append(requests.Begin(nil), request...), 0); err != nil {
		return false, err
	}
	noter, ok := requests.(parley.Noter)
	return replies == parley.NoReplies || ok && noter.Note().Alone, nil
}

// expectedStatus is what --expect-status asks for.
func (opt *checkOptions) expectedStatus(f dialect.Framing) (probe.Status, error) {
	want := strings.ToLower(opt.status)
	switch {
	case want == "":
		return probe.Status{}, nil
	case f.Status == nil:
		return probe.Status{}, usageError("--expect-status goes with --framing http or smtp; the replies of %s have none", f.Name)
	case len(want) != 3 || strings.Trim(want, "0123456789x") != "":
		return probe.Status{}, usageError("--expect-status %q: use three digits such as 200, or x for any digit, such as 2xx", opt.status)
	}
	return probe.Status{Want: want, Of: f.Status}, nil
}
