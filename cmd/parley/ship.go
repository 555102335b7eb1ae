package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/fleet"
	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/internal/web"
)

type shipCommandOptions struct {
	verbose bool
	to      string
	nats    natsFlags
	stream  streamFlags
	drain   time.Duration
}

func shipCommand() *cobra.Command {
	var opt shipCommandOptions
	cmd := &cobra.Command{
		Use:   "ship FILE --to URL",
		Short: "Publish what a journal records over NATS, for parley collect on another machine",
		Long: `Follow a journal while a server or a tap writes it, and publish its records to the stream
PARLEY of NATS JetStream, which is made if it is not there. How far it has come is kept in the
journal: after a crash, on either side, it goes on from there. While NATS is away nobody waits for
it: what there is to ship is in the journal. What the stream has lost is given again to a collector
that asks, as long as the journal has it. An interrupt ships what is left and ends; the exit code is 1
if that was not possible within --drain-timeout. What was not shipped is shipped by the next run.`,
		Example: `  parley server 7000 --journal web.journal --node web-1   on each machine
  parley ship web.journal --to nats://nats.internal       what it records goes to NATS
  parley ship web.journal --to nats://a,b,c -v            a cluster; how far it is, every 10 seconds
  parley ship web.journal --to tls://a --nats-creds web.creds   over TLS, with credentials
  parley server 7000 --journal web.journal --ship nats://a,b,c  a server that ships by itself
  parley collect nats://a,b,c all.journal                 on one machine: the records of all`,
		ValidArgsFunction: inPlaces(aJournal),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usageError("ship needs a journal; such as parley ship web.journal --to nats://nats.internal")
			}
			return runShip(cmd, args[0], opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opt.to, "to", "", "`URL` of the NATS servers: nats://a,b,c or tls://a,b,c; a port is 4222 if left out (better with --nats-creds than with a password in it: others can see flags)")
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "say every 10 seconds how far it is, and what is left")
	flags.DurationVar(&opt.drain, "drain-timeout", 10*time.Second, "how long a stop may take to ship what is left")
	opt.stream.add(cmd)
	opt.nats.add(cmd)
	return cmd
}

// A streamFlags says how the stream is made where it is not there.
type streamFlags struct {
	replicas int
	bytes    sizeFlag
	age      daysFlag
}

func (f *streamFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofStream)()
	f.bytes, f.age = fleet.DefaultStreamBytes, daysFlag{"7d", fleet.DefaultStreamAge}
	flags.IntVar(&f.replicas, "replicas", 0, "servers that each keep the stream, 1 to 5 (default 3 where the cluster has as many, else 1)")
	flags.Var(&f.bytes, "stream-bytes", "what it may have at most; then the oldest goes")
	flags.Var(&f.age, "stream-age", "what is older goes")
}

func (f *streamFlags) stream() (fleet.Stream, error) {
	if f.replicas < 0 || f.replicas > 5 {
		return fleet.Stream{}, usageError("--replicas %d: use 1 to 5", f.replicas)
	}
	return fleet.Stream{Replicas: f.replicas, Bytes: int64(f.bytes), Age: f.age.Duration}, nil
}

func runShip(cmd *cobra.Command, file string, opt shipCommandOptions) error {
	if opt.to == "" {
		return usageError("--to is missing: where NATS is; such as --to nats://nats.internal")
	}
	stream, err := opt.stream.stream()
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	note := notesOn(cmd)
	shipper, err := newShipper(file, fleet.ShipOptions{
		NATS: opt.nats.options(opt.to, "parley ship"), Stream: stream, Drain: opt.drain, Note: note,
	})
	if err != nil {
		return err
	}
	note("shipping %s to NATS at %s", file, natsconn.Shown(opt.to))
	tell := func() { note("%s", shipped(shipper.Count())) }
	defer onRequest(tell)()
	if opt.verbose {
		defer every(10*time.Second, tell)()
	}
	err = shipper.Run(ctx)
	if _, e := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", shipped(shipper.Count())); e != nil {
		err = errors.Join(err, cannotWrite(e))
	}
	return explainShip(file, err)
}

func newShipper(file string, opt fleet.ShipOptions) (*fleet.Shipper, error) {
	s, err := fleet.NewShipper(file, opt)
	var bad *fleet.JournalError
	switch {
	case errors.As(err, &bad):
		return nil, usageError("cannot ship %s: %w", file, inWords(bad.Err, aFileToRead))
	case err != nil:
		return nil, usageError("%w", err)
	}
	return s, nil
}

func explainShip(file string, err error) error {
	var left *fleet.LeftError
	var bad *fleet.JournalError
	switch {
	case errors.As(err, &left):
		return networkError("%s: %w", file, err)
	case errors.As(err, &bad):
		return usageError("cannot ship %s: %w", file, inWords(bad.Err, aFileToRead))
	}
	return err
}

// shipped says how far a shipper is.
func shipped(c fleet.ShipCount) string {
	text := fmt.Sprintf("shipped %s in %s, %d bytes", count(int(c.Records), "record", "records"), count(int(c.Blocks), "block", "blocks"), c.Bytes)
	if c.Left > 0 {
		text += fmt.Sprintf("; %s left, for %v by now", count(int(c.Left), "record is", "records are"), c.Behind.Round(time.Second))
	}
	if c.Answers > 0 {
		text += fmt.Sprintf("; %s again for a collector", count(int(c.Answers), "block", "blocks"))
	}
	return text
}

// every calls f now and again until stop is called.
func every(interval time.Duration, f func()) (stop func()) {
	ticker, done := time.NewTicker(interval), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		running.Wait()
	}
}

// shipOptions are the flags of a server or a tap that ships its journal by itself; it does not if to is empty.
type shipOptions struct {
	to   string
	nats natsFlags
}

func (opt *shipOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	end := heading(flags, ofRecord)
	flags.StringVar(&opt.to, "ship", "", "publish what --journal records over NATS, for parley collect: `URL` of the servers, nats://a,b,c or tls://a,b,c")
	flags.SetAnnotation("ship", goesWith, []string{"journal"})
	end()
	opt.nats.add(cmd)
	for _, name := range []string{"nats-creds", "nats-ca", "nats-cert"} {
		flags.SetAnnotation(name, goesWith, []string{"ship"})
	}
}

// A shipping ships a journal beside what writes it.
type shipping struct {
	*fleet.Shipper
	file   string
	cancel context.CancelFunc
	ended  chan error // closed behind what Run returned
}

// start begins to ship a journal; it is nil if that is not wanted.
func (opt *shipOptions) start(file string, drain time.Duration, note note) (*shipping, error) {
	if opt.to == "" || file == "" { // PARLEY_SHIP may be there for other runs
		return nil, nil
	}
	s, err := newShipper(file, fleet.ShipOptions{NATS: opt.nats.options(opt.to, "parley ship"), Drain: drain, Note: note})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	sh := &shipping{s, file, cancel, make(chan error, 1)}
	note("shipping %s to NATS at %s", file, natsconn.Shown(opt.to))
	go func() {
		err := s.Run(ctx)
		if err != nil && ctx.Err() == nil { // what serves goes on
			note("%v; nothing more is shipped until this is started again", explainShip(file, err))
		}
		sh.ended <- err
		close(sh.ended)
	}()
	return sh, nil
}

// show has the live page tell how far it is.
func (sh *shipping) show(page *web.Options) {
	if sh == nil {
		return
	}
	page.Lag = func() web.Lag {
		c := sh.Count()
		return web.Lag{Records: c.Left, Oldest: c.Behind, Away: c.Away}
	}
}

// end ships what is left, once the journal is closed, and notes what that does not succeed with. It returns the
// exit code's error.
func (sh *shipping) end(note note) error {
	if sh == nil {
		return nil
	}
	sh.cancel()
	err := explainShip(sh.file, <-sh.ended)
	if err == nil {
		return nil
	}
	note("%v", err)
	exit := &exitError{code: exitUsage}
	errors.As(err, &exit)
	return &exitError{code: exit.code}
}
