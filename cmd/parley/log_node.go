package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/ends"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/replay"
)

// A sessionFlag is a session by its number, or by its node and its number there: 17 or web-2/17.
type sessionFlag struct {
	text   string
	node   string
	number uint64
}

func (f *sessionFlag) String() string { return f.text }
func (f *sessionFlag) Type() string   { return "NAME" }

func (f *sessionFlag) Set(s string) (err error) {
	node, number, ok := journal.ParseName(s)
	if !ok {
		return errors.New("use a number from 1 on, with its node before it where there are several: 17 or web-2/17")
	}
	f.text, f.node, f.number = s, node, number
	return nil
}

// A nodesFlag is --node of what was recorded: several with commas, or given again.
type nodesFlag []string

func (f *nodesFlag) String() string { return strings.Join(*f, ",") }
func (f *nodesFlag) Type() string   { return "NAME,..." }

func (f *nodesFlag) Set(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		if name == "" {
			return errors.New("a name in it is empty")
		}
		*f = append(*f, name)
	}
	return nil
}

// add adds the flag. Its variable is what this machine is called, not what is looked for.
func (f *nodesFlag) add(cmd *cobra.Command, usage string) {
	cmd.Flags().Var(f, "node", usage)
	cmd.Flags().SetAnnotation("node", notOfEnvironment, nil)
}

// keep leaves what of a recording was made on the nodes, if there are any.
func (f nodesFlag) keep(recording *replay.Recording, file string) error {
	there := recording.Nodes()
	for _, name := range f {
		if !slices.Contains(there, name) {
			return unknownNode(name, there, file)
		}
	}
	if len(f) > 0 {
		recording.Keep(f)
	}
	return nil
}

// addBothEnds adds --both-ends, which shows one connection.
func addBothEnds(cmd *cobra.Command, on *bool) {
	flags := cmd.Flags()
	flags.BoolVar(on, "both-ends", false, "with --session: the connection as all have recorded it who were part of it, with the times by each one's clock, and by how much these differ")
	flags.SetAnnotation("both-ends", goesWith, []string{"session"})
}

// notBothEnds are the flags of other ways to show something.
var notBothEnds = []string{"follow", "sessions", "stats", "table", "json", "csv", "export", "hex"}

// printBothEnds shows the connection of the session that is selected.
func (opt *logOptions) printBothEnds(ctx context.Context, r *journal.Reader, file string, out *logOutput) (shown int, err error) {
	var one journal.Session
	for s, err := range r.Sessions(ctx, journal.Filter{Number: opt.filter.Number, Nodes: opt.filter.Nodes, Since: opt.filter.Since, Until: opt.filter.Until}) {
		if err != nil {
			return 0, err
		}
		if shown++; shown > 1 {
			return shown, usageError("%s has several sessions %s; name its node, as web-2/17, or --since and --until", file, opt.session.text)
		}
		one = s
	}
	if shown == 0 {
		return 0, nil
	}
	var exchanges []journal.Exchange
	for x, err := range r.Exchanges(ctx, journal.Filter{Session: one.ID}) {
		if err != nil {
			return 0, err
		}
		exchanges = append(exchanges, x)
	}
	connection, err := ends.Of(ctx, r, one, exchanges)
	switch {
	case err != nil:
		return 0, err
	case connection == nil:
		return 0, networkError("nobody else in %s has recorded the connection of session %s", file, opt.session.text)
	}
	return shown, console.WriteEnds(out, connection, console.LogOptions{Width: out.width, Framing: opt.framing.Framing, Secrets: opt.showSecrets, Style: out.style})
}

// unknownNode says that a journal has nothing of a node.
func unknownNode(name string, there []string, file string) error {
	if len(there) == 0 {
		return networkError("%s does not say on which node it was recorded", file)
	}
	return networkError("%s has nothing of a node %s; there are %s", file, name, strings.Join(there, ", "))
}
