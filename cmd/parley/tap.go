package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/tap"
)

type tapOptions struct {
	verbose, quiet, json bool
	framing              framingFlag
	addrFile             string
	maxMessage           sizeFlag
	maxSessions          int
	connect, drain       time.Duration
	idle, write, half    time.Duration
	journal              journalOptions
	web                  webOptions
}

func tapCommand() *cobra.Command {
	opt := tapOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "tap LISTEN UPSTREAM",
		Short: "Stand between clients and a server, and show what both say",
		Long: `Listen on one address, connect each client to the server at the other, pass the bytes
of both on as they come, ends of file and resets too, and show what is said. Nothing is
changed, added or held back, unless a journal is to keep it: --framing says only how it
is shown, and with chunk each read is shown as it came. A port alone, such as 6380, listens
on 127.0.0.1, for this host only; :6380 on all addresses. An interrupt lets nobody in any
more and waits for the connections to end; a second one stops at once.`,
		Example: `  parley tap 6380 redis.internal:6379            then: redis-cli -p 6380
  parley tap 8080 localhost:80 --framing chunk   what a browser and a web server say
  parley tap :7001 unix:/run/app.sock            for other hosts too, before a Unix socket
  parley tap -v 127.0.0.1:0 :7000 --addr-file addr   a free port, written to a file
  parley tap 7001 7000 --journal before          a recording for parley replay and log
  parley tap 7001 7000 --web 8080                and a live page at http://127.0.0.1:8080/`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError("tap needs two addresses: where to listen, and the server; such as parley tap 6380 redis:6379")
			}
			at, err := parseAddress(args[0], args[1])
			if err != nil {
				return err
			}
			upstream, err := parseAddress(args[1], "")
			if err != nil {
				return err
			}
			if isNumber(args[0]) {
				at.host = "127.0.0.1" // what passes is for nobody else to see, unless that is asked for
			}
			if isItself(at, upstream) {
				return usageError("%s is the tap itself; the server has to be at another address", console.AppendEscaped(nil, []byte(args[1])))
			}
			return runTap(cmd, at, upstream, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "put time, session and address before each line")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no narrative")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.VarP(&opt.framing, "framing", "f", framingUsage)
	flags.StringVar(&opt.addrFile, "addr-file", "", "write the bound address to `FILE` once it is listening")
	flags.Var(&opt.maxMessage, "max-message", "longest message told and kept whole; of longer ones the beginning (default 64KiB, with --framing length 1MiB)")
	flags.IntVar(&opt.maxSessions, "max-sessions", parley.DefaultMaxSessions(), "sessions at once")
	flags.DurationVarP(&opt.connect, "connect-timeout", "w", 10*time.Second, "how long to wait for the server to answer")
	flags.DurationVar(&opt.idle, "idle-timeout", 0, "end a connection on which both sides are silent for that long; 0 is never (default never)")
	flags.DurationVar(&opt.write, "write-timeout", tap.DefaultWriteTimeout, "end it if one side takes not one byte, or acknowledges none, for that long; 0 is never")
	flags.DurationVar(&opt.half, "half-close-timeout", tap.DefaultHalfCloseTimeout, "end it if one side has ended and the other is silent for that long; 0 is never")
	flags.DurationVar(&opt.drain, "drain-timeout", 10*time.Second, "how long a stop waits for the connections to end")
	opt.journal.addFlags(cmd)
	opt.web.addFlags(cmd)
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet", "json")
	return cmd
}

// isItself reports whether what listens at one address is what answers at the other.
func isItself(at, upstream address) bool {
	local := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "" || host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
	}
	sameHost := at.host == upstream.host || local(at.host) && local(upstream.host)
	return at.network == upstream.network && at.path == upstream.path && at.port == upstream.port && sameHost
}

func runTap(cmd *cobra.Command, at, upstream address, opt tapOptions) error {
	t, err := newTap(upstream, &opt)
	if err != nil {
		return err
	}
	stop, ignore := stopSignals()
	defer ignore()

	l, err := at.listen(cmd.Context())
	if err != nil {
		return explainListen(at, err)
	}
	defer l.Close()

	view := newTapView(cmd, &opt, upstream.target())
	defer view.close()
	if t.Gate, err = view.record(cmd.Context(), &opt.journal, opt.web, l.Addr()); err != nil {
		return err
	}
	t.Observer = view.observer
	if opt.verbose {
		view.notes.Printf("limits: %d sessions, idle %s, write %s, half-closed %s, drain %v",
			opt.maxSessions, orOff(opt.idle), orOff(opt.write), orOff(opt.half), opt.drain)
	}
	if view.starter != nil {
		view.starter.Started(l.Addr())
	}
	if opt.addrFile != "" {
		if err := writeAddress(opt.addrFile, l.Addr()); err != nil {
			return err
		}
	}
	running := &runningTap{t, view.notes, opt.drain, make(chan error, 1)}
	err, _ = serveUntil(stop, running, l, opt.drain)
	select {
	case lost := <-running.lost:
		view.ended(err, opt.drain)
		return usageError("the tap cannot go on without its listener: %w", lost)
	default:
		return view.ended(err, opt.drain)
	}
}

// newTap makes the tap that the flags describe.
func newTap(upstream address, opt *tapOptions) (*tap.Tap, error) {
	switch {
	case opt.maxSessions < 1:
		return nil, usageError("--max-sessions %d: it must be 1 or more", opt.maxSessions)
	case opt.connect <= 0:
		return nil, usageError("--connect-timeout %v: it must be more than 0", opt.connect)
	}
	for name, d := range map[string]time.Duration{"--idle-timeout": opt.idle, "--write-timeout": opt.write,
		"--half-close-timeout": opt.half, "--drain-timeout": opt.drain} {
		if d < 0 {
			return nil, usageError("%s %v: a time cannot be negative", name, d)
		}
	}
	return &tap.Tap{
		Dial:             func(ctx context.Context) (net.Conn, error) { return upstream.dial(ctx, opt.connect) },
		Framing:          opt.framing.onlooker(),
		MaxMessage:       int(opt.maxMessage),
		MaxSessions:      opt.maxSessions,
		IdleTimeout:      opt.idle,
		WriteTimeout:     offIfZero(opt.write),
		HalfCloseTimeout: offIfZero(opt.half),
	}, nil
}

// newTapView is what a running tap says.
func newTapView(cmd *cobra.Command, opt *tapOptions, target string) *serverView {
	v := &serverView{limits: console.Limits{MaxSessions: opt.maxSessions}, counts: new(console.Counts)}
	v.err = console.NewWriter(cmd.ErrOrStderr(), console.QueueLimit, console.SkippedNotes, nil)
	v.notes = console.NewNotes(v.err, v.limits, opt.framing.name == "line")
	lost := func(err error) {
		v.notes.Printf("standard output is gone (%v); passing goes on without it", plainly(err))
	}
	var narrator parley.Observer
	switch {
	case opt.json:
		v.out = console.NewWriter(cmd.OutOrStdout(), console.QueueLimit, console.SkippedTapJSON, lost)
		j := console.NewTapJSON(v.out, target)
		narrator, v.starter = j, j
	case !opt.quiet:
		v.out = console.NewWriter(cmd.OutOrStdout(), console.QueueLimit, console.SkippedTapLine, lost)
		n := console.NewTapNarrative(v.out, target, opt.verbose)
		narrator, v.starter = n, n
	}
	v.observer = parley.Observers(narrator, v.notes, v.counts)
	return v
}

// A runningTap says what it waits for when it stops: connections that are open and idle end
// only when one of their ends wants it. It stops by itself when its listener is lost.
type runningTap struct {
	*tap.Tap
	notes    *console.Notes
	patience time.Duration
	lost     chan error // has why the listener is lost, if it is
}

func (t *runningTap) Serve(l net.Listener) error {
	err := t.Tap.Serve(l)
	if err == parley.ErrServerClosed {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	t.notes.Printf("the listener is lost, nobody can connect any more: %s", console.AppendEscaped(nil, []byte(err.Error())))
	t.lost <- err
	ctx, cancel := context.WithTimeout(context.Background(), t.patience)
	defer cancel()
	return t.Shutdown(ctx)
}

func (t *runningTap) Shutdown(ctx context.Context) error {
	if n := t.Open(); n > 0 {
		t.notes.Printf("waiting up to %v for open connections to end (%d); a second signal cuts them", t.patience, n)
	}
	return t.Tap.Shutdown(ctx)
}
