package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/load"
)

// benchScript has a bench play a dialogue in place of requests and replies.
type benchScript struct {
	scriptFlags
	dialogue *dialogue.Dialogue // nil if none is to be played
}

func (s *benchScript) add(cmd *cobra.Command) {
	s.scriptFlags.add(cmd, false, "play the dialogue in this `FILE` on each connection, again and again; -n, -r and all figures then count dialogues")
}

// notOfScript are the flags of a bench that say what a dialogue says by itself.
var notOfScript = []string{"message", "size", "file", "expect", "banner", "banner-until"}

// readScript reads the dialogue, if one is named, and refuses what does not go with it.
func (opt *benchOptions) readScript(cmd *cobra.Command) error {
	if !opt.script.given() {
		return nil
	}
	for _, name := range notOfScript {
		if isGiven(cmd.Flags().Lookup(name)) {
			return usageError("--%s goes without --script: the dialogue says what is sent and what is expected", name)
		}
	}
	if opt.inFlight > 1 {
		return usageError("--in-flight is for requests; a dialogue of --script is played one at a time on a connection")
	}
	dialogues, err := opt.script.open()
	if err != nil {
		return err
	}
	opt.script.dialogue = dialogues[0]
	opt.framing = opt.script.framing(dialogues[0], opt.framing)
	if opt.framing.OfReplies() == parley.NoReplies {
		return usageError("--script is about replies, and with --framing %s there are none", opt.framing.Name)
	}
	return opt.out.forScripts(dialogues...)
}

// checkRepeats refuses a dialogue that cannot be played again on a connection that is kept.
func (opt *benchOptions) checkRepeats() error {
	d := opt.script.dialogue
	if d == nil || opt.connectEach || d.Repeats() {
		return nil
	}
	ends := slices.IndexFunc(d.Steps, func(s dialogue.Step) bool {
		return s.Kind == dialogue.StartTLS || s.Kind == dialogue.End || s.Kind == dialogue.ExpectEnd
	})
	if ends < 0 {
		return usageError("--script %s: it sends nothing, so that on a connection there is nothing to play again; --connect-each has a connection for each", d.File)
	}
	why := "ends the connection"
	if d.Steps[ends].Kind == dialogue.StartTLS {
		why = "is for once on a connection"
	}
	return usageError("--script: step %d (%s:%d): %s %s, so each play wants one of its own: add --connect-each", ends+1, d.File, d.Steps[ends].Line, &d.Steps[ends], why)
}

// to is the script of a plan for one of the targets; nil if there is none.
func (s *benchScript) to(at address, opt *benchOptions) *load.Script {
	if s.dialogue == nil {
		return nil
	}
	return &load.Script{Dialogue: s.dialogue, Framing: addressed(opt.framing.Framing, at), StartTLS: opt.out.overToTLS(at)}
}
