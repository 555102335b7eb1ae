package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/load"
)

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
	}
	if err := opt.files.check(); err != nil {
		return none, err
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
	opt.expect = expected
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
