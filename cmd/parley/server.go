package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/listen"
)

type serverOptions struct {
	verbose, quiet, json bool
	hex                  bool
	node                 nodeFlag
	framing              framingFlag
	showSecrets          bool
	redact               redactFlag
	crlf                 bool
	reply                string
	echo                 bool
	keepBlank            bool
	addrFile             string
	engine               engineFlag
	in                   inFlags
	journal              journalOptions
	ship                 shipOptions
	web                  webOptions
	admin                adminOptions
	fault                faultFlag
	answers              *answerFlags
	exec                 *execFlags

	maxRequest, maxUnsent, maxHeld  sizeFlag
	maxSessions, maxSessionsPerIP   int
	firstByte, request, idle, write time.Duration
	drain                           time.Duration
}

// maxChunk is the longest request under chunk, in bytes: each read has room for one.
const maxChunk = 1 << 30

func serverCommand() *cobra.Command {
	opt := newServerOptions()
	cmd := &cobra.Command{
		Use:   "server [[host:]port]",
		Short: "Answer everybody, and show every exchange",
		Long: `Answer each request with one reply, and show on standard output who connects, what
they say and how it ends. Without an address it listens on all addresses, IPv6 and
IPv4, port 6969; port 0 picks a free one. An address may also be unix:PATH, fd://3 or
systemd:NAME, and --listen takes more of them. An interrupt drains: what was read is
answered, then the connections close; another one a second later stops at once.`,
		Example: `  parley server                                  port 6969; try: nc localhost 6969
  parley server 127.0.0.1:0 --addr-file addr     a free port, written to a file
  parley server -v                               with times, numbers and addresses
  parley server -q --echo                        say nothing, send back what comes
  parley server --framing chunk                  for peers that send no newline
  parley server --reply '{host} {local}: {message}'   prove which host answered
  parley server --web 8080                       and a live page at http://127.0.0.1:8080/
  parley server --journal parley.journal         keep every exchange in a file
  parley server unix:/run/parley.sock --json     a Unix socket, one JSON object a line
  parley server --answers redis.journal 6379     stand in for the server that was recorded
  parley server --script smtp.talk 2525          play the server's side of a dialogue
  parley server 7443 --tls-self-signed           over TLS, with a CA of your own for clients' --ca
  parley server --exec 'python3 -u calc.py'      a program of yours for each session
  parley server --exec-per-request 'tr a-z A-Z'  and one for each request
  parley server --fault delay=50ms~10ms,drop=10%  replies are late, and some do not come
  parley server --listen tcp:6969,tls:7443 --tls-cert cert.pem --tls-key key.pem   both ways in`,
		ValidArgsFunction: inPlaces(anyWord),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cmp.Or(opt.answers.prepare(cmd, &opt), opt.exec.prepare(cmd, &opt)); err != nil {
				return err
			}
			ways, err := serverWays(args, &opt.in)
			if err != nil {
				return err
			}
			return runServer(cmd, ways, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "show replies too, with how long each took, and time, session and address before each line; print the limits at start")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no narrative")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	addHex(cmd, &opt.hex, "below its line")
	opt.framing.add(cmd, "")
	flags.BoolVar(&opt.showSecrets, "show-secrets", false, showSecretsUsage)
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end replies with CRLF")
	flags.StringVarP(&opt.reply, "reply", "r", parley.DefaultReply,
		"the reply's `PATTERN`: {conn} {seq} {message} {bytes} {host} {node} {local} {remote} {tls_name} {time}")
	flags.BoolVarP(&opt.echo, "echo", "e", false, "send back what comes: --reply '{message}'")
	flags.BoolVar(&opt.keepBlank, "keep-blank", false, "answer an empty request instead of closing")
	opt.node.add(cmd, "events, the journal and {node} of a reply")
	flags.StringVar(&opt.addrFile, "addr-file", "", "write the bound addresses to `FILE`, one a line, once it is listening")
	opt.in.add(cmd)
	limits := heading(flags, ofLimits)
	opt.maxRequest, opt.maxUnsent = 0, 256<<10
	flags.Var(&opt.maxRequest, "max-request", "longest request (default 64KiB with line, crlf, chunk and delim, 1MiB with others)")
	flags.Var(&opt.maxUnsent, "max-unsent", "unsent replies at which a peer is no longer read")
	flags.Var(&opt.maxHeld, "max-held", "unfinished requests and unsent replies of all sessions; past it the one that holds most is ended (default a quarter of the memory limit)")
	flags.IntVar(&opt.maxSessions, "max-sessions", parley.DefaultMaxSessions(), "sessions at once")
	flags.IntVar(&opt.maxSessionsPerIP, "max-sessions-per-ip", 0, "sessions of one IPv4 address or IPv6 /64, and TLS handshakes; 0 is no limit")
	flags.DurationVar(&opt.firstByte, "first-byte-timeout", 0, "hang up if nothing ever comes (default as --idle-timeout)")
	flags.DurationVar(&opt.request, "request-timeout", 30*time.Second, "from a request's first byte to its last; 0 is off")
	flags.DurationVar(&opt.idle, "idle-timeout", 5*time.Minute, "hang up on a silent peer; 0 is off")
	flags.DurationVar(&opt.write, "write-timeout", 10*time.Second, "hang up if not one byte of a reply is taken, or one waits six times that; 0 is off")
	flags.Var(&opt.engine, "engine", "what drives the sessions: loops (Linux), goroutines, or auto, which is loops where they can be")
	flags.DurationVar(&opt.drain, "drain-timeout", 10*time.Second, "how long a stop waits for what is owed")
	limits()
	opt.redact.add(cmd, asKept)
	opt.journal.addFlags(cmd)
	opt.ship.addFlags(cmd)
	opt.web.addFlags(cmd)
	opt.admin.addFlags(cmd)
	opt.admin.addDelay(cmd)
	opt.fault.add(cmd)
	opt.answers.add(cmd)
	opt.exec.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("reply", "echo")
	return cmd
}

// serverWays are the ways in that a server's words and flags name; port 6969 if none is.
func serverWays(args []string, in *inFlags) ([]listen.Way, error) {
	if err := in.tls.strayName(args); err != nil {
		return nil, err
	}
	switch {
	case len(args) == 0 && len(in.listen.items) == 0:
		return in.ways([]string{defaultPort}, "")
	case len(args) < 2:
		return in.ways(args, "")
	}
	if _, err := in.ways(args[:1], args[1]); err != nil {
		return nil, err
	}
	return nil, usageError("one address is enough, and --listen for others; %q is too much", args[1])
}

func runServer(cmd *cobra.Command, ways []listen.Way, opt serverOptions) error {
	srv, err := newServer(&opt)
	if err != nil {
		return err
	}
	s := newServing(cmd, &opt.in, &opt.web, &opt.admin, opt.output(), opt.drain, func() string {
		return fmt.Sprintf("stopping, with up to %v for what is owed", opt.drain)
	})
	defer s.close()
	open, err := opt.in.open(cmd.Context(), ways, s.Notes.Printf)
	if err != nil {
		return err
	}
	defer opt.in.close()
	defer open.close()
	opt.answers.lay(open, &opt.in)
	opt.fault.lay(open) // over the TLS that a dialogue goes over to
	engines, err := open.engines(opt.engine.engine)
	if err != nil {
		return err
	}
	opt.web.framing, opt.web.secrets = opt.framing.Framing, opt.showSecrets
	opt.journal.of(opt.node.orHost(), "server", opt.framing.Name, "")
	if srv.Gate, err = s.record(cmd.Context(), &opt.journal, &opt.ship, opt.web, open); err != nil {
		return err
	}
	if err := s.supervise(cmd.Context(), &opt.admin, open); err != nil {
		return err
	}
	srv.Gate = opt.redact.conceal(s, srv.Gate)
	srv.Observer, srv.Allow = opt.answers.observer(opt.fault.observer(s)), opt.in.allow()
	if err := open.writeAddresses(opt.addrFile); err != nil {
		return err
	}
	if opt.verbose {
		s.Notes.Printf("engine: %s", open.withEach(engines))
		s.Notes.Printf("%s", opt.exec.limits(opt.limits()))
	}
	opt.answers.begin(s.Notes.Printf)
	opt.exec.begin(s.Notes.Printf)
	s.announce(open)
	return opt.answers.end(s.run(opt.exec.behind(srv, &opt), open))
}

// newServerOptions are those of no flags, but for the flags' own defaults.
func newServerOptions() serverOptions {
	return serverOptions{framing: newFramingFlag(), engine: newEngineFlag(), answers: new(answerFlags), exec: new(execFlags)}
}

// newServer makes the server that the flags describe.
func newServer(opt *serverOptions) (*parley.Server, error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	if opt.echo {
		opt.reply = "{message}"
	}
	handler := opt.answers.handler()
	if opt.exec.request != "" {
		handler = opt.exec.handler(&opt.framing)
	}
	if handler == nil {
		template, err := parley.ParseTemplate(opt.reply, opt.framing.OfReplies())
		if err != nil {
			return nil, usageError("%w", err)
		}
		template.Node = opt.node.orHost()
		handler = template
	}
	if err := checkMaxSessions(opt.maxSessions); err != nil {
		return nil, err
	}
	if opt.maxSessionsPerIP < 0 {
		return nil, usageError("--max-sessions-per-ip %d: it cannot be negative; 0 is no limit", opt.maxSessionsPerIP)
	}
	if opt.framing.Requests == parley.Chunks && opt.maxRequest > maxChunk {
		return nil, usageError("--max-request: with --framing chunk each read has room for all of it; %d bytes are the most", maxChunk)
	}
	if err := opt.fault.prepareServer(opt); err != nil {
		return nil, err
	}
	return &parley.Server{
		Engine:           opt.engine.engine,
		Handler:          handler,
		Framing:          opt.framing.Requests,
		Replies:          opt.framing.Replies,
		KeepBlank:        opt.keepBlank,
		MaxRequest:       int(opt.maxRequest),
		MaxUnsent:        int(opt.maxUnsent),
		MaxHeld:          int64(opt.maxHeld),
		MaxSessions:      opt.maxSessions,
		MaxSessionsPerIP: opt.maxSessionsPerIP,
		FirstByteTimeout: opt.firstByte, // 0 is as idle
		RequestTimeout:   offIfZero(opt.request),
		IdleTimeout:      offIfZero(opt.idle),
		WriteTimeout:     offIfZero(opt.write),
		HandshakeTimeout: handshakeTimeout,
	}, nil
}

// output is what the server has to say.
func (opt *serverOptions) output() console.OutputOptions {
	return console.OutputOptions{Verbose: opt.verbose, Quiet: opt.quiet, JSON: opt.json, Hex: opt.hex, Node: opt.node.orHost(),
		Limits: opt.limits(), Lines: opt.framing.Requests == parley.Lines, Words: opt.framing.Words, ShowSecrets: opt.showSecrets}
}

// limits are what the server will go by, the defaults filled in.
func (opt *serverOptions) limits() console.Limits {
	return console.Limits{
		MaxRequest:       cmp.Or(int(opt.maxRequest), parley.DefaultMaxRequest(opt.framing.Requests)),
		MaxUnsent:        int(opt.maxUnsent),
		MaxHeld:          cmp.Or(int64(opt.maxHeld), parley.DefaultMaxHeld()),
		MaxSessions:      opt.maxSessions,
		MaxSessionsPerIP: opt.maxSessionsPerIP,
		FirstByte:        cmp.Or(opt.firstByte, opt.idle),
		Request:          opt.request,
		Idle:             opt.idle,
		Write:            opt.write,
		Drain:            opt.drain,
		Handshake:        opt.in.handshake(),
		Programs:         opt.exec.session != "",
	}
}

const showSecretsUsage = "show credentials in the narrative and on the live page, where the protocol knows them; JSON and journal have them anyway"

// offIfZero: to a person 0 means no limit, to the library it means the default.
func offIfZero(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
