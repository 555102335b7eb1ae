package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/fleet"
	"github.com/parley-tcp/parley/internal/natsconn"
)

type collectOptions struct {
	verbose, once bool
	wait          time.Duration
	nats          natsFlags
}

func collectCommand() *cobra.Command {
	var opt collectOptions
	cmd := &cobra.Command{
		Use:   "collect URL FILE",
		Short: "Make one journal of what many nodes ship over NATS",
		Long: `Record in one journal what parley ship, or a server or a tap with --ship, publishes on any number
of machines. parley log, replay and mocks read it as any other, also meanwhile; a session
is named web-2/17 there, by its node. How far it has come is in the file: after a crash it goes on from
there, and nothing is recorded twice. What the stream PARLEY no longer has is asked for from the nodes' own
journals, also by a collector that begins late; what no node gives within --wait-for-missing is given
up, and the journal says how much that was.`,
		Example: `  parley collect nats://nats.internal all.journal         until it is interrupted
  parley collect nats://a,b,c all.journal -v              a cluster; how far it is, every 10 seconds
  parley collect nats://a,b,c all.journal --once          what there is by now, and no more
  parley collect tls://a all.journal --nats-creds ops.creds   over TLS, with credentials
  parley log all.journal --node web-2                     what one of the nodes recorded`,
		ValidArgsFunction: inPlaces(anyWord, aJournal),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return usageError("collect needs NATS and a journal; such as parley collect nats://nats.internal all.journal")
			}
			if strings.Contains(args[1], "://") {
				return usageError("collect takes NATS first and then the journal; such as parley collect nats://nats.internal all.journal")
			}
			return runCollect(cmd, args[0], args[1], opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "say every 10 seconds how far each node is")
	flags.BoolVar(&opt.once, "once", false, "end once all is recorded that the stream has, and that the shippers there are have shipped")
	flags.DurationVar(&opt.wait, "wait-for-missing", fleet.DefaultWait, "how long to wait for the shipper of records that the stream has lost, before they are given up")
	opt.nats.add(cmd)
	return cmd
}

func runCollect(cmd *cobra.Command, url, file string, opt collectOptions) error {
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	note := notesOn(cmd)
	collection, err := fleet.NewCollection(file, fleet.CollectOptions{
		NATS: opt.nats.options(url, "parley collect"), Wait: cmp.Or(opt.wait, -1), Once: opt.once, Note: note,
	})
	var bad *fleet.JournalError
	switch {
	case errors.As(err, &bad):
		return usageError("cannot collect into %s: %w", file, inWords(bad.Err, aFileToWrite))
	case err != nil:
		return usageError("%w", err)
	}
	note("collecting from NATS at %s into %s", natsconn.Shown(url), file)
	tell := func() {
		for _, c := range collection.Count() {
			note("%s", collected(c))
		}
	}
	defer onRequest(tell)()
	if opt.verbose {
		defer every(10*time.Second, tell)()
	}
	err = collection.Run(ctx)
	var records int64
	counts := collection.Count()
	for _, c := range counts {
		records += c.Records
	}
	if _, e := fmt.Fprintf(cmd.OutOrStdout(), "collected %s of %s\n", recordsOf(records), count(len(counts), "journal", "journals")); e != nil {
		return cannotWrite(e)
	}
	switch {
	case errors.As(err, &bad):
		return usageError("cannot collect into %s: %w", file, inWords(bad.Err, aFileToWrite))
	case err != nil:
		return networkError("%w", err)
	}
	return nil
}

func recordsOf(n int64) string { return count(int(n), "record", "records") }

// collected says how far a node's journal is collected.
func collected(c fleet.NodeCount) string {
	text := fmt.Sprintf("node %s: %s, up to exchange %d", c.Node, recordsOf(c.Records), c.Position.Exchange)
	if c.Healed > 0 {
		text += fmt.Sprintf("; %d of them from its own journal", c.Healed)
	}
	if c.Waiting {
		text += "; waiting for records that are missing"
	}
	return text
}
