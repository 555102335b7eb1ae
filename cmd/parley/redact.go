package main

import (
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
	cmd.Flags().Var(f, "redact", "replace what matches, by "+redact.Concealed+" or TEXT with $1 for a group, "+what+"; may be repeated")
}

// asKept is what --redact says on what serves.
const asKept = "before it is shown, kept or streamed; what passes is not changed"

// conceal has all who are told of what is said, and the gate that it returns, see it concealed.
func (f *redactFlag) conceal(s *serving, gate parley.Gate) parley.Gate {
	s.observer = f.Observer(s.observer)
	return f.Gate(gate)
}
