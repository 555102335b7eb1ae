package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/redact"
)

// A redactFlag is --redact, which may be given several times.
type redactFlag struct {
	redact.Rules
	text string
}

func (f *redactFlag) String() string { return f.text }
func (f *redactFlag) Type() string   { return "REGEX[=>TEXT]" }

func (f *redactFlag) Set(s string) error {
	rule, err := redact.Parse(s)
	if err != nil {
		return err
	}
	f.Rules, f.text = append(f.Rules, rule), s
	return nil
}

func (f *redactFlag) add(cmd *cobra.Command, what string) {
	defer heading(cmd.Flags(), ofRecord)()
	cmd.Flags().Var(f, "redact", "replace what matches, by "+redact.Concealed+" or TEXT with $1 for a group, "+what+"; may be repeated")
}

// asKept is what --redact says on what serves.
const asKept = "before it is shown, kept or streamed; what passes is not changed"

// conceal has all who are told of what is said, and the gate that it returns, see it concealed.
func (f *redactFlag) conceal(s *serving, gate parley.Gate) parley.Gate {
	s.observer = f.Observer(s.observer)
	return f.Gate(gate)
}

// addCopy adds the flag to a command that makes a copy.
func (f *redactFlag) addCopy(cmd *cobra.Command) {
	f.add(cmd, "in the journal -o NEW that is made of this one")
}

// runRedactedCopy makes a copy of a journal in which what matches is concealed.
func runRedactedCopy(cmd *cobra.Command, file string, opt logOptions) error {
	r, err := openJournal(file)
	if err != nil {
		return err
	}
	defer r.Close()
	note := notesOn(cmd)
	if r.Notice != "" {
		note("%s: %s", file, r.Notice)
	}
	damages := noteDamages(r, file, note)
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	draft, err := newDraftFile(opt.output)
	if err != nil {
		return err
	}
	copied, err := r.Copy(ctx, draft.draft, opt.redact.Rules)
	switch {
	case signalled(ctx) != nil:
		draft.discard()
		return signalled(ctx)
	case err != nil:
		draft.discard()
		return usageError("cannot copy %s to %s: %w", file, opt.output, err)
	}
	if err := draft.finish(ctx); err != nil {
		return err
	}
	concealed := fmt.Sprintf("parts of %d are concealed", copied.Concealed)
	if copied.Concealed == 0 {
		concealed = "nothing in them matches, so nothing is concealed"
	}
	note("%s: %s, %s, %s; %s", opt.output, count(int(copied.Sessions), "session", "sessions"),
		count(int(copied.Exchanges), "exchange", "exchanges"), count(int(copied.Refused), "refusal", "refusals"), concealed)
	if *damages > 0 {
		return networkError("%s is damaged in %s, and what is there is left out; 'parley log --verify' names all", file, places(*damages))
	}
	return nil
}
