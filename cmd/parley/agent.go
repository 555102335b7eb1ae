package main

import (
	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/agent"
	"github.com/parley-tcp/parley/internal/natsconn"
)

type agentOptions struct {
	node           nodeFlag
	targets        targetsFlag
	maxConnections int
	maxRate        float64
	nats           natsFlags
}

func agentCommand() *cobra.Command {
	opt := agentOptions{}
	cmd := &cobra.Command{
		Use:   "agent NATS",
		Short: "Take part in loads that parley bench puts on from many machines",
		Long: `Wait at NATS for what parley bench --agents asks for, and put that load on. An agent runs nothing else, for
one bench at a time, and connects only where an --allow-target lets it: every connection is looked at,
and a name that leads to another address than is allowed is refused. What files say, such as requests or a
dialogue, comes with the load; no file of this machine is read for it. It ends with SIGINT or SIGTERM, and
the bench is told.

The exit code is 0 when it was stopped, 1 if NATS could not be reached at the start, 2 for wrong usage. Later
it connects again for as long as it takes. What it does is said on standard error.`,
		Example: `  parley agent nats://nats.internal --allow-target db.internal:6969
  parley agent nats://a,b --allow-target '10.0.0.0/8:6969,[2001:db8::/32]:*'
  parley agent nats://a --allow-target db.internal:6969 --max-connections 500
  parley agent tls://a --nats-creds agents.creds --allow-target 'db.internal:*'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: inPlaces(anyWord),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgent(cmd, args, &opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(&opt.targets, "allow-target", "where loads may go: host:port, host:* or CIDR:port; repeated, or with commas between. A name stands for itself, a CIDR for every name that leads there")
	opt.node.add(cmd, "reports")
	flags.IntVar(&opt.maxConnections, "max-connections", 10_000, "the most connections of its share; a load with more is refused")
	flags.Float64Var(&opt.maxRate, "max-rate", 0, "the most requests a second of its share of an open loop (default no limit)")
	opt.nats.add(cmd)
	return cmd
}

func runAgent(cmd *cobra.Command, args []string, opt *agentOptions) error {
	switch {
	case len(args) == 0:
		return usageError("agent needs the NATS servers where it waits for work, such as: parley agent nats://host:4222 --allow-target db.internal:6969")
	case len(opt.targets.allowed) == 0:
		return usageError("--allow-target is missing: where loads may go, such as db.internal:6969 or 10.0.0.0/8:*")
	case opt.maxConnections < 1:
		return usageError("--max-connections %d: it must be at least 1", opt.maxConnections)
	case !(opt.maxRate >= 0):
		return usageError("--max-rate %v: it must be 0 or more", opt.maxRate)
	}
	note := notesOn(cmd)
	tell := func(what string) { note("%s", what) }
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	options := opt.nats.options(args[0], "parley agent "+opt.node.orHost())
	options.Told = tell
	conn, err := options.Connect(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil
	case err != nil:
		return networkError("%w", err)
	}
	defer conn.Close()
	a := &agent.Agent{
		Name: opt.node.orHost(), Version: shortVersion(), Allowed: opt.targets.allowed,
		MaxConnections: opt.maxConnections, MaxRate: opt.maxRate, Told: tell,
	}
	if err := a.Serve(ctx, conn); err != nil {
		return networkError("NATS at %s: %s", natsconn.Shown(args[0]), natsconn.Reason(err))
	}
	return nil
}
