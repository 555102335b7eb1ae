package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/listen"
	"github.com/parley-tcp/parley/internal/tap"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

type tapOptions struct {
	verbose, quiet, json bool
	hex                  bool
	node                 nodeFlag
	framing              framingFlag
	showSecrets          bool
	redact               redactFlag
	addrFile             string
	in                   inFlags
	out                  outFlags
	maxMessage           sizeFlag
	maxSessions          int
	connect, drain       time.Duration
	idle, write, half    time.Duration
	journal              journalOptions
	ship                 shipOptions
	web                  webOptions
	admin                adminOptions
	fault                faultFlag
}

func tapCommand() *cobra.Command {
	opt := tapOptions{framing: newFramingFlag(), in: inFlags{bareHost: "127.0.0.1"}} // what passes is for nobody else to see, unless that is asked for
	cmd := &cobra.Command{
		Use:   "tap LISTEN UPSTREAM",
		Short: "Stand between clients and a server, and show what both say",
		Long: `Listen on one address, connect each client to the server at the other, pass the bytes
of both on as they come, ends of file and resets too, and show what is said. Nothing is
changed, added or held back, unless a journal is to keep it: --framing says only how it
is shown. With redis, http, smtp or memcached each message is shown in words, a reply with
its request; with chunk each read is shown as it came. A port alone, such as 6380, listens
on 127.0.0.1, for this host only; :6380 on all addresses. TLS is opened with a certificate
towards the clients, and with --upstream-tls towards the server, each alone or both. An interrupt lets nobody in any
more and waits for the connections to end; another one a second later stops at once.`,
		Example: `  parley tap 6380 redis.internal:6379 -f redis   then: redis-cli -p 6380
  parley tap 8080 localhost:80 --framing chunk   what a browser and a web server say
  parley tap :7001 unix:/run/app.sock            for other hosts too, before a Unix socket
  parley tap -v 127.0.0.1:0 :7000 --addr-file addr   a free port, written to a file
  parley tap -q 7001 7000 --journal before       say nothing, record for parley replay and log
  parley tap 7001 7000 --web 8080                and a live page at http://127.0.0.1:8080/
  parley tap 6380 6379 -f redis --fault reply.drop=10%,seed=7   what does a client do without a reply?
  parley tap 7443 db:7443 --tls-self-signed --upstream-tls   what is said inside TLS`,
		ValidArgsFunction: inPlaces(anyWord, anAddress),
		RunE: func(cmd *cobra.Command, args []string) error {
			ways, upstream, err := tapWays(args, &opt.in)
			if err != nil {
				return err
			}
			return runTap(cmd, ways, upstream, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "put time, session and address before each line, and behind a reply how long it took")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no narrative")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	addHex(cmd, &opt.hex, "as it passed, below its line")
	opt.framing.add(cmd, "")
	flags.BoolVar(&opt.showSecrets, "show-secrets", false, showSecretsUsage)
	opt.node.add(cmd, "events and the journal")
	flags.StringVar(&opt.addrFile, "addr-file", "", "write the bound addresses to `FILE`, one a line, once it is listening")
	opt.in.add(cmd)
	opt.out.addUpstream(cmd, &opt.in.tls)
	limits := heading(flags, ofLimits)
	flags.Var(&opt.maxMessage, "max-message", "longest message told and kept whole; of longer ones the beginning (default 64KiB; 1MiB with length, octets, netstring, frame, close and the protocols)")
	flags.IntVar(&opt.maxSessions, "max-sessions", parley.DefaultMaxSessions(), "sessions at once")
	flags.DurationVarP(&opt.connect, "connect-timeout", "w", 10*time.Second, "how long to wait for the server to answer")
	flags.DurationVar(&opt.idle, "idle-timeout", 0, "end a connection on which both sides are silent for that long; 0 is never (default never)")
	flags.DurationVar(&opt.write, "write-timeout", tap.DefaultWriteTimeout, "end it if one side takes not one byte, or acknowledges none, for that long; 0 is never")
	flags.DurationVar(&opt.half, "half-close-timeout", tap.DefaultHalfCloseTimeout, "end it if one side has ended and the other is silent for that long; 0 is never")
	flags.DurationVar(&opt.drain, "drain-timeout", 10*time.Second, "how long a stop waits for the connections to end")
	limits()
	opt.redact.add(cmd, asKept)
	opt.journal.addFlags(cmd)
	opt.ship.addFlags(cmd)
	opt.web.addFlags(cmd)
	opt.admin.addFlags(cmd)
	opt.admin.addDelay(cmd)
	opt.fault.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet", "json")
	return cmd
}

// tapWays are the ways in that a tap's words and flags name, and the server behind it, which is
// its last word.
func tapWays(args []string, in *inFlags) (ways []listen.Way, upstream address, err error) {
	if err := in.tls.strayName(args); err != nil {
		return nil, address{}, err
	}
	last := len(args) - 1
	if last != 1 && (last != 0 || len(in.listen.items) == 0) {
		return nil, address{}, usageError("tap needs two addresses: where to listen, and the server; such as parley tap 6380 redis:6379")
	}
	if ways, err = in.ways(args[:last], args[last]); err != nil {
		return nil, address{}, err
	}
	if upstream, err = parseAddress(args[last], ""); err != nil {
		return nil, address{}, err
	}
	for _, w := range ways {
		if isItself(w, upstream) {
			return nil, address{}, usageError("%s is the tap itself; the server has to be at another address", args[last])
		}
	}
	return ways, upstream, nil
}

// isItself reports whether what listens at a way in is what answers at an address.
func isItself(at listen.Way, upstream address) bool {
	local := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "" || host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
	}
	sameHost := at.Host == upstream.host || local(at.Host) && local(upstream.host)
	return at.Network == upstream.network && at.Path == upstream.path && at.Port == upstream.port && sameHost
}

func runTap(cmd *cobra.Command, ways []listen.Way, upstream address, opt tapOptions) error {
	if err := opt.out.open(upstream); err != nil {
		return err
	}
	defer opt.out.close()
	t, err := newTap(upstream, &opt)
	if err != nil {
		return err
	}
	target := upstream.target()
	opt.web.upstream, opt.web.upstreamTLS = target, opt.out.tls.on
	s := newServing(cmd, &opt.in, &opt.web, &opt.admin, opt.output(target), opt.drain, func() string {
		return fmt.Sprintf("stopping, with up to %v for open connections to end (%d)", opt.drain, t.Open())
	})
	defer s.close()
	open, err := opt.in.open(cmd.Context(), ways, s.Notes.Printf)
	if err != nil {
		return err
	}
	defer opt.in.close()
	defer open.close()
	opt.fault.lay(open)
	opt.web.framing, opt.web.secrets = opt.framing.Framing, opt.showSecrets
	opt.journal.of(opt.node.orHost(), "tap", opt.framing.Name, target)
	if t.Gate, err = s.record(cmd.Context(), &opt.journal, &opt.ship, opt.web, open); err != nil {
		return err
	}
	t.Dial = noteWaysOut(t.Dial, s.kept)
	if err := s.supervise(cmd.Context(), &opt.admin, open); err != nil {
		return err
	}
	t.Gate = opt.redact.conceal(s, t.Gate)
	t.Observer = opt.fault.observer(s)
	if err := open.writeAddresses(opt.addrFile); err != nil {
		return err
	}
	if opt.verbose {
		s.Notes.Printf("limits: %d sessions, idle %s, write %s, half-closed %s, drain %v%s",
			opt.maxSessions, console.OrNone(opt.idle), console.OrNone(opt.write), console.OrNone(opt.half), opt.drain, console.HandshakeLimit(opt.in.handshake()))
	}
	s.announce(open)
	return s.run(t, open)
}

// newTap makes the tap that the flags describe.
func newTap(upstream address, opt *tapOptions) (*tap.Tap, error) {
	if err := checkMaxSessions(opt.maxSessions); err != nil {
		return nil, err
	}
	if opt.connect == 0 {
		return nil, usageError("--connect-timeout 0s: it must be more than 0")
	}
	if err := opt.fault.prepareTap(opt); err != nil {
		return nil, err
	}
	framing := opt.framing.Onlooker()
	return &tap.Tap{
		Dial:             opt.fault.dial(opt.dialTo(upstream)),
		Engine:           parley.LoopsIfPossible, // nobody who is told, or asked, blocks
		Framing:          framing.Requests,
		Replies:          framing.Replies,
		MaxMessage:       int(opt.maxMessage),
		MaxSessions:      opt.maxSessions,
		Allow:            opt.in.allow(),
		HandshakeTimeout: handshakeTimeout,
		IdleTimeout:      opt.idle,
		WriteTimeout:     offIfZero(opt.write),
		HalfCloseTimeout: offIfZero(opt.half),
	}, nil
}

// dialTo connects to the server for a client, whose addresses a PROXY header is to name. Only for that a client
// has a dialer of its own: as garbage, those of many would leave holes between the sessions that stay.
func (opt *tapOptions) dialTo(upstream address) dialFunc {
	shared := opt.out.dialer(upstream, "", opt.connect)
	return func(ctx context.Context, client *parley.Session) (net.Conn, error) {
		dialer := &shared
		if shared.SendProxy > 0 {
			own := shared
			own.Source, own.Destination = client.RemoteAddr(), client.LocalAddr()
			dialer = &own
		}
		conn, _, err := dialer.Dial(ctx)
		if err != nil {
			return nil, explainDial(upstream.target(), opt.connect, err)
		}
		if secured, ok := conn.(*tlsconn.Conn); ok {
			return wordedConn{secured}, nil
		}
		return conn, nil
	}
}

// A wordedConn is a TLS connection to a server. What it refuses us for, such as our certificate,
// may come behind the handshake: that is said in words too.
type wordedConn struct{ *tlsconn.Conn }

func (c wordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && dial.KindOf(err) == dial.TLSFailed {
		err = wordedError{err}
	}
	return n, err
}

type wordedError struct{ error }

func (e wordedError) Error() string { return "TLS with the server ended: " + dial.Reason(e.error) }
func (e wordedError) Unwrap() error { return e.error }

// output is what the tap has to say.
func (opt *tapOptions) output(target string) console.OutputOptions {
	return console.OutputOptions{Verbose: opt.verbose, Quiet: opt.quiet, JSON: opt.json, Hex: opt.hex, Node: opt.node.orHost(),
		Limits: console.Limits{MaxSessions: opt.maxSessions}, Lines: opt.framing.Requests == parley.Lines, Upstream: target,
		Words: opt.framing.Words, ShowSecrets: opt.showSecrets}
}

// noteWaysOut has a tap's journal say by which connection each session was passed on: the server's
// own record of it is found by that.
func noteWaysOut(dial dialFunc, w *journal.Writer) dialFunc {
	if w == nil {
		return dial
	}
	return func(ctx context.Context, client *parley.Session) (net.Conn, error) {
		conn, err := dial(ctx, client)
		if err == nil {
			w.PassedOn(client, conn)
		}
		return conn, err
	}
}
