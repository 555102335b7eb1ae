package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/probe"
)

// checkScripts has a check play dialogues: --script and what goes with it.
type checkScripts struct {
	scriptFlags
	print bool
	junit string
}

func (s *checkScripts) add(cmd *cobra.Command) {
	defer heading(cmd.Flags(), ofDialogue)()
	s.scriptFlags.add(cmd, true, "play the dialogue in this `FILE`, over a connection of its own; - is standard input; may be repeated")
	flags := cmd.Flags()
	flags.StringVar(&s.junit, "junit", "", "with --script: write the verdicts to `FILE` as JUnit's XML, for CI")
	flags.BoolVar(&s.print, "print", false, "with --script: print the dialogues as they are written by the rules, and connect to nobody")
	flags.SetAnnotation("junit", goesWith, []string{"script"})
	flags.SetAnnotation("print", goesWith, []string{"script"})
	cmd.MarkFlagsMutuallyExclusive("print", "junit")
	cmd.MarkFlagsMutuallyExclusive("print", "json")
	cmd.MarkFlagsMutuallyExclusive("print", "quiet")
}

// notOfScripts are the flags of a check that say what a dialogue says by itself.
var notOfScripts = []string{"expect", "expect-text", "expect-status", "banner", "banner-until", "stays", "lines", "until"}

// checkScripts plays the dialogues that --script names, or prints them.
func (opt *checkOptions) checkScripts(cmd *cobra.Command, args []string) error {
	if opt.script.print {
		return opt.printScripts(cmd, args)
	}
	checks, err := opt.scriptChecks(cmd, args)
	if err != nil {
		return err
	}
	defer opt.out.close()
	err = runChecks(cmd.Context(), checks)
	if opt.script.junit == "" {
		return err
	}
	if failed := writeWhole("junit", opt.script.junit, checks[0].Report.Write); failed != nil {
		return failed
	}
	return err
}

// openScripts reads the dialogues, and says what does not go with any.
func (opt *checkOptions) openScripts(cmd *cobra.Command, args []string) ([]*dialogue.Dialogue, error) {
	for _, name := range notOfScripts {
		if isGiven(cmd.Flags().Lookup(name)) {
			return nil, usageError("--%s goes without --script: the dialogue says what is expected, and when", name)
		}
	}
	if len(args) > 1 {
		return nil, usageError("the message %q goes without --script: the dialogue says what is sent", args[1])
	}
	return opt.script.open()
}

func (opt *checkOptions) printScripts(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return usageError("--print connects to nobody; leave out %s", args[0])
	}
	dialogues, err := opt.openScripts(cmd, args)
	if err != nil {
		return err
	}
	return printDialogues(cmd.OutOrStdout(), dialogues)
}

func printDialogues(out io.Writer, dialogues []*dialogue.Dialogue) error {
	for _, d := range dialogues {
		if _, err := out.Write(d.Append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// scriptChecks are what the command line asks for: a check for each dialogue.
func (opt *checkOptions) scriptChecks(cmd *cobra.Command, args []string) ([]*probe.Check, error) {
	dialogues, err := opt.openScripts(cmd, args)
	if err != nil {
		return nil, err
	}
	at, err := addressOf(args)
	if err != nil {
		return nil, err
	}
	if err := opt.refuse(cmd.Flags()); err != nil {
		return nil, err
	}
	if err := opt.out.forScripts(dialogues...); err != nil {
		return nil, err
	}
	scripts := make([]*probe.Script, len(dialogues))
	for i, d := range dialogues {
		framing, err := opt.framingOf(d)
		if err != nil {
			return nil, err
		}
		scripts[i] = &probe.Script{Dialogue: d, Framing: framing}
	}
	var report *probe.Report
	if opt.script.junit != "" {
		report = new(probe.Report)
		if err := writable("junit", opt.script.junit); err != nil {
			return nil, err
		}
	}
	if err := opt.out.open(at); err != nil {
		return nil, err
	}
	dialer := opt.out.dialer(at, family(opt.only4, opt.only6), opt.timeout)
	if opt.out.secure == nil && isGiven(cmd.Flags().Lookup("expires")) {
		return nil, usageError("--expires goes with --tls, or a dialogue with tls in it")
	}
	checks := make([]*probe.Check, len(scripts))
	for i, script := range scripts {
		p := probe.Probe{Dialer: dialer, All: opt.all, Timeout: opt.timeout, Script: script}
		if dialer.TLS != nil || goesOverToTLS(script.Dialogue) {
			p.Expires = opt.expires.Duration
		}
		if goesOverToTLS(script.Dialogue) {
			script.TLS = opt.out.secure.Config
		}
		checks[i] = &probe.Check{
			Probe: p, Target: at.target(), Count: opt.count, Interval: opt.interval, Wait: opt.wait, Report: report,
			Out: cmd.OutOrStdout(), Notes: cmd.ErrOrStderr(), Quiet: opt.quiet, JSON: opt.json, Node: opt.node.orHost(),
			Columns: columnsOf(cmd.OutOrStdout()), Style: styleOf(cmd, cmd.OutOrStdout()),
		}
	}
	return checks, nil
}

// framingOf is the framing of a dialogue.
func (opt *checkOptions) framingOf(d *dialogue.Dialogue) (dialect.Framing, error) {
	framing := opt.script.framing(d, opt.framing)
	if opt.crlf {
		if err := framing.withCRLF(); err != nil {
			return dialect.Framing{}, err
		}
	}
	if err := opt.out.refuseGreeting(d); err != nil {
		return dialect.Framing{}, err
	}
	err := opt.out.conversation(&framing, false)
	return framing.Framing, err
}

// runChecks runs one check after the other, and has the worst verdict as its error: a service that
// could not be asked is worse than one that answers something else. They share the time of --wait.
func runChecks(ctx context.Context, checks []*probe.Check) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	deadline := time.Now().Add(checks[0].Wait)
	var probes, held, lost, unplayable int
	var err error
	for i, check := range checks {
		if ctx.Err() != nil || err != nil {
			break
		}
		if i > 0 {
			check.Wait = max(0, min(check.Wait, time.Until(deadline)))
		}
		var summary probe.Summary
		summary, err = check.Run(ctx)
		probes, held, lost = probes+summary.Probes, held+summary.Held, lost+summary.Lost()
		unplayable += summary.Failed[probe.Unplayable]
	}
	// A series that was cut short has a verdict all the same.
	if cause := signalled(ctx); cause != nil && checks[0].Count == 0 {
		return cause
	}
	switch {
	case probes == 0:
		return networkError("nothing was checked: it was interrupted before the first verdict")
	case err != nil:
		return cannotWrite(err)
	case unplayable > 0:
		return &exitError{code: exitUsage}
	case lost > 0:
		return &exitError{code: exitNetwork}
	case held < probes:
		return &exitError{code: exitMismatch}
	}
	return nil
}

// writable says early what is wrong with a file to write.
func writable(flag, file string) error {
	info, err := os.Stat(filepath.Dir(file))
	if err == nil && !info.IsDir() {
		return usageError("--%s %s: %s is no directory", flag, file, filepath.Dir(file))
	}
	if err != nil {
		return usageError("--%s %s: %w", flag, file, inWords(err, aFileToWrite))
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return usageError("--%s %s: it is a directory", flag, file)
	}
	f, err := createWhole(file)
	if err != nil {
		return usageError("--%s %s: %w", flag, file, inWords(err, aFileToWrite))
	}
	f.discard()
	return nil
}
