package main

import (
	"context"
	"fmt"
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
	showSecrets          bool
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
is shown. With redis, http, smtp or memcached each message is shown in words, a reply with
its request; with chunk each read is shown as it came. A port alone, such as 6380, listens
on 127.0.0.1, for this host only; :6380 on all addresses. An interrupt lets nobody in any
more and waits for the connections to end; another one a second later stops at once.`,
		Example: `  parley tap 6380 redis.internal:6379 -f redis   then: redis-cli -p 6380
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
				return usageError("%s is the tap itself; the server has to be at another address", args[1])
			}
			return runTap(cmd, at, upstream, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "put time, session and address before each line")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no narrative")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	opt.framing.add(cmd, "")
	flags.BoolVar(&opt.showSecrets, "show-secrets", false, showSecretsUsage)
	flags.StringVar(&opt.addrFile, "addr-file", "", "write the bound address to `FILE` once it is listening")
	flags.Var(&opt.maxMessage, "max-message", "longest message told and kept whole; of longer ones the beginning (default 64KiB; 1MiB with length, octets, netstring, frame, close and the protocols)")
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
	target := upstream.target()
	opt.web.upstream = target
	s := newServing(cmd, opt.output(target), opt.drain, func() string {
		return fmt.Sprintf("stopping, with up to %v for open connections to end (%d)", opt.drain, t.Open())
	})
	defer s.close()
	l, err := at.listen(cmd.Context())
	if err != nil {
		return explainListen(at, err)
	}
	defer l.Close()
	opt.web.framing, opt.web.secrets = opt.framing.Framing, opt.showSecrets
	opt.journal.of("tap", opt.framing.Name, target)
	if t.Gate, err = s.record(cmd.Context(), &opt.journal, opt.web, l.Addr()); err != nil {
		return err
	}
	t.Observer = s.observer
	if err := writeAddress(opt.addrFile, l.Addr()); err != nil {
		return err
	}
	if opt.verbose {
		s.Notes.Printf("limits: %d sessions, idle %s, write %s, half-closed %s, drain %v",
			opt.maxSessions, console.OrNone(opt.idle), console.OrNone(opt.write), console.OrNone(opt.half), opt.drain)
	}
	s.Started(l.Addr())
	return s.run(t, l)
}

// newTap makes the tap that the flags describe.
func newTap(upstream address, opt *tapOptions) (*tap.Tap, error) {
	if err := checkMaxSessions(opt.maxSessions); err != nil {
		return nil, err
	}
	if opt.connect == 0 {
		return nil, usageError("--connect-timeout 0s: it must be more than 0")
	}
	framing := opt.framing.Onlooker()
	return &tap.Tap{
		Dial:             func(ctx context.Context) (net.Conn, error) { return upstream.dial(ctx, opt.connect) },
		Framing:          framing.Requests,
		Replies:          framing.Replies,
		MaxMessage:       int(opt.maxMessage),
		MaxSessions:      opt.maxSessions,
		IdleTimeout:      opt.idle,
		WriteTimeout:     offIfZero(opt.write),
		HalfCloseTimeout: offIfZero(opt.half),
	}, nil
}

// output is what the tap has to say.
func (opt *tapOptions) output(target string) console.OutputOptions {
	return console.OutputOptions{Verbose: opt.verbose, Quiet: opt.quiet, JSON: opt.json,
		Limits: console.Limits{MaxSessions: opt.maxSessions}, Lines: opt.framing.Requests == parley.Lines, Upstream: target,
		Words: opt.framing.Words, ShowSecrets: opt.showSecrets}
}
