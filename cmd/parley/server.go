package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
)

type serverOptions struct {
	verbose, quiet, json bool
	framing              framingFlag
	crlf                 bool
	reply                string
	echo                 bool
	keepBlank            bool
	addrFile             string
	engine               engineFlag
	journal              journalOptions
	web                  webOptions

	maxRequest, maxUnsent, maxHeld  sizeFlag
	maxSessions, maxSessionsPerIP   int
	firstByte, request, idle, write time.Duration
	drain                           time.Duration
}

func serverCommand() *cobra.Command {
	opt := serverOptions{framing: newFramingFlag(), engine: newEngineFlag()}
	cmd := &cobra.Command{
		Use:   "server [[host:]port]",
		Short: "Answer everybody, and show every exchange",
		Long: `Answer each request with one reply, and show on standard output who connects, what
they say and how it ends. Without an address it listens on all addresses, IPv6 and
IPv4, port 6969; port 0 picks a free one. An interrupt drains: what was read is
answered, then the connections close; a second one stops at once.`,
		Example: `  parley server                                  port 6969; try: nc localhost 6969
  parley server 127.0.0.1:0 --addr-file addr     a free port, written to a file
  parley server -v                               with times, numbers and addresses
  parley server -q --echo                        say nothing, send back what comes
  parley server --framing chunk                  for peers that send no newline
  parley server --reply '{host} {local}: {message}'   prove which host answered
  parley server --web 8080                       and a live page at http://127.0.0.1:8080/
  parley server --journal parley.journal         keep every exchange in a file
  parley server unix:/run/parley.sock --json     a Unix socket, one JSON object a line`,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := addressOf(args)
			if err != nil {
				return err
			}
			if len(args) > 1 {
				return usageError("one address is enough; %q is too much", args[1])
			}
			return runServer(cmd, at, opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.verbose, "verbose", "v", false, "put time, session and address before each line; print the limits at start")
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print no narrative")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.VarP(&opt.framing, "framing", "f", framingUsage)
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end replies with CRLF")
	flags.StringVarP(&opt.reply, "reply", "r", parley.DefaultReply,
		"the reply's `PATTERN`: {conn} {seq} {message} {bytes} {host} {local} {remote} {time}")
	flags.BoolVarP(&opt.echo, "echo", "e", false, "send back what comes: --reply '{message}'")
	flags.BoolVar(&opt.keepBlank, "keep-blank", false, "answer an empty request instead of closing")
	flags.StringVar(&opt.addrFile, "addr-file", "", "write the bound address to `FILE` once it is listening")
	opt.maxRequest, opt.maxUnsent = 0, 256<<10
	flags.Var(&opt.maxRequest, "max-request", "longest request (default 64KiB, with --framing length 1MiB)")
	flags.Var(&opt.maxUnsent, "max-unsent", "unsent replies at which a peer is no longer read")
	flags.Var(&opt.maxHeld, "max-held", "unfinished requests and unsent replies of all sessions; past it the one that holds most is ended (default a quarter of the memory limit)")
	flags.IntVar(&opt.maxSessions, "max-sessions", parley.DefaultMaxSessions(), "sessions at once")
	flags.IntVar(&opt.maxSessionsPerIP, "max-sessions-per-ip", 0, "sessions of one IPv4 address or IPv6 /64; 0 is no limit")
	flags.DurationVar(&opt.firstByte, "first-byte-timeout", 0, "hang up if nothing ever comes (default as --idle-timeout)")
	flags.DurationVar(&opt.request, "request-timeout", 30*time.Second, "from a request's first byte to its last; 0 is off")
	flags.DurationVar(&opt.idle, "idle-timeout", 5*time.Minute, "hang up on a silent peer; 0 is off")
	flags.DurationVar(&opt.write, "write-timeout", 10*time.Second, "hang up if not one byte of a reply is taken, or one waits six times that; 0 is off")
	flags.Var(&opt.engine, "engine", "what drives the sessions: loops (Linux), goroutines, or auto, which is loops where they can be")
	flags.DurationVar(&opt.drain, "drain-timeout", 10*time.Second, "how long a stop waits for what is owed")
	opt.journal.addFlags(cmd)
	opt.web.addFlags(cmd)
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("reply", "echo")
	return cmd
}

func runServer(cmd *cobra.Command, at address, opt serverOptions) error {
	srv, err := newServer(&opt)
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
	engine, err := opt.engine.engine.For(l)
	if err != nil {
		return usageError("--engine loops: they are for Linux only; use goroutines or auto")
	}

	view := newServerView(cmd, &opt)
	defer view.close()
	if srv.Gate, err = view.record(cmd.Context(), &opt.journal, opt.web, l.Addr()); err != nil {
		return err
	}
	srv.Observer = view.observer
	view.started(l.Addr(), engine)
	if opt.addrFile != "" {
		if err := writeAddress(opt.addrFile, l.Addr()); err != nil {
			return err
		}
	}

	err, drained := serveUntil(stop, srv, l, opt.drain)
	if !drained {
		return usageError("the server cannot go on: %w", err)
	}
	return view.ended(err, opt.drain)
}

// stopSignals are those that ask for an end, until ignore is called.
func stopSignals() (stop chan os.Signal, ignore func()) {
	// A reader of ours that goes away must not take the server with it.
	signal.Ignore(syscall.SIGPIPE)
	stop = make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	return stop, func() { signal.Stop(stop) }
}

// A service is what serves until it is stopped: a *parley.Server or a *tap.Tap.
type service interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// serveUntil serves l until a signal, then drains; a second signal stops at once. If it
// has to end before the first, drained is false and err says why.
func serveUntil(stop <-chan os.Signal, srv service, l net.Listener, patience time.Duration) (err error, drained bool) {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err, false
	case <-stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	select {
	case err := <-done:
		return err, true
	case <-stop:
		srv.Close()
		return errStoppedAtOnce, true
	}
}

var errStoppedAtOnce = errors.New("stopped at once by a second signal")

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
	handler, err := parley.ParseTemplate(opt.reply, opt.framing.framing)
	if err != nil {
		return nil, usageError("%w", err)
	}
	for name, n := range map[string]int{"--max-sessions": opt.maxSessions - 1, "--max-sessions-per-ip": opt.maxSessionsPerIP} {
		if n < 0 {
			return nil, usageError("%s: the number is too small", name)
		}
	}
	for name, d := range map[string]time.Duration{"--first-byte-timeout": opt.firstByte, "--request-timeout": opt.request,
		"--idle-timeout": opt.idle, "--write-timeout": opt.write, "--drain-timeout": opt.drain} {
		if d < 0 {
			return nil, usageError("%s %v: a time cannot be negative", name, d)
		}
	}
	return &parley.Server{
		Engine:           opt.engine.engine,
		Handler:          handler,
		Framing:          opt.framing.framing,
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
	}, nil
}

// offIfZero: to a person 0 means no limit, to the library it means the default.
func offIfZero(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// explainListen says in words why an address could not be listened on.
func explainListen(at address, err error) error {
	where := "port " + at.port
	if at.network == "unix" || at.host != "" {
		where = at.target()
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return usageError("cannot listen on %s: unknown host %q", where, dns.Name)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if at.network == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		return usageError("cannot listen on %s: the path exists; remove it if no server uses it", where)
	}
	return usageError("cannot listen on %s: %w", where, plainly(err))
}

// writeAddress puts the bound address in a file, whole or not at all: a script may
// be waiting for it to appear.
func writeAddress(file string, bound net.Addr) error {
	text := bound.String()
	if bound.Network() == "unix" {
		text = "unix:" + text
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return usageError("--addr-file %s: %w", file, plainly(err))
	}
	_, err = fmt.Fprintln(f, text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return usageError("--addr-file %s: %w", file, plainly(err))
	}
	return nil
}

// A serverView is all that a running server says: the narrative or events on
// standard output, the rest on standard error, a live page. None of them can hold a
// session back; the journal, which is with them, can.
type serverView struct {
	opt      *serverOptions
	limits   console.Limits
	observer parley.Observer
	out, err *console.Writer
	notes    *console.Notes
	counts   *console.Counts
	starter  interface{ Started(net.Addr) }
	journal  *journalOptions
	kept     *journal.Writer // nil if there is no journal
	page     *livePage       // nil if there is none
}

const lastWords = time.Second // for the outputs to take what is queued

func newServerView(cmd *cobra.Command, opt *serverOptions) *serverView {
	v := &serverView{opt: opt, limits: opt.limits(), counts: new(console.Counts)}
	v.err = console.NewWriter(cmd.ErrOrStderr(), console.QueueLimit, console.SkippedNotes, nil)
	v.notes = console.NewNotes(v.err, v.limits, opt.framing.name == "line")
	lost := func(err error) {
		v.notes.Printf("standard output is gone (%v); serving goes on without it", plainly(err))
	}
	var narrator parley.Observer
	switch {
	case opt.json:
		v.out = console.NewWriter(cmd.OutOrStdout(), console.QueueLimit, console.SkippedJSON, lost)
		j := console.NewJSON(v.out)
		narrator, v.starter = j, j
	case !opt.quiet:
		v.out = console.NewWriter(cmd.OutOrStdout(), console.QueueLimit, console.SkippedLine, lost)
		n := console.NewNarrative(v.out, v.limits, opt.verbose)
		narrator, v.starter = n, n
	}
	v.observer = parley.Observers(narrator, v.notes, v.counts)
	return v
}

// limits are what the server will go by, the defaults filled in.
func (opt *serverOptions) limits() console.Limits {
	l := console.Limits{
		MaxRequest:       int(opt.maxRequest),
		MaxSessions:      opt.maxSessions,
		MaxSessionsPerIP: opt.maxSessionsPerIP,
		FirstByte:        cmp.Or(opt.firstByte, opt.idle),
		Request:          opt.request,
		Idle:             opt.idle,
		Write:            opt.write,
	}
	if l.MaxRequest == 0 {
		l.MaxRequest = parley.DefaultMaxRequest(opt.framing.framing)
	}
	return l
}

// record has the service at an address kept in a journal, whose gate it returns, and shown
// on a live page, as far as that is wanted.
func (v *serverView) record(ctx context.Context, kept *journalOptions, page webOptions, at net.Addr) (gate parley.Gate, err error) {
	v.journal = kept
	if v.kept, err = kept.open(v.notes); err != nil {
		return nil, err
	}
	if v.kept != nil {
		gate, v.observer = v.kept, parley.Observers(v.kept, v.observer)
	}
	if v.page, err = openPage(ctx, page, at, kept.past(v.kept)); err != nil {
		return nil, err
	}
	if v.page != nil {
		v.observer = parley.Observers(v.observer, v.page)
		v.notes.Printf("live page at %s", v.page.url)
	}
	return gate, nil
}

func (v *serverView) started(at net.Addr, engine parley.Engine) {
	if v.opt.verbose {
		v.notes.Printf("engine: %v", engine)
		l := v.limits
		v.notes.Printf("limits: request %d bytes within %s, %d sessions (%s per address), first byte %s, idle %s, write %s, unsent replies %d bytes, drain %v",
			l.MaxRequest, orOff(l.Request), l.MaxSessions, orOff(l.MaxSessionsPerIP), orOff(l.FirstByte), orOff(l.Idle), orOff(l.Write), v.opt.maxUnsent, v.opt.drain)
	}
	if v.starter != nil {
		v.starter.Started(at)
	}
}

func orOff[T comparable](limit T) string {
	if limit == *new(T) {
		return "no limit"
	}
	return fmt.Sprint(limit)
}

// ended says what was done and, if the end was not in good order, what was cut or is not
// recorded. It returns the exit code's error, of which all is said.
func (v *serverView) ended(err error, patience time.Duration) error {
	const most = 10 // named; a drain may cut thousands
	unkept := v.journal.close(v.kept, v.notes)
	var drain *parley.DrainError
	if errors.As(err, &drain) {
		for i, s := range drain.Cut {
			if i == most {
				v.notes.Printf("and %d more", len(drain.Cut)-most)
				break
			}
			v.notes.Printf("cut session %d with %s: not done within %v", s.Number(), console.AppendEscaped(nil, s.AppendRemote(nil)), patience)
		}
	} else if err != nil {
		v.notes.Printf("%v", err)
	}
	v.notes.Suppressed()
	v.notes.Printf("%s", v.counts)
	if err != nil {
		return &exitError{code: exitNetwork}
	}
	return unkept
}

// close ends the page and lets the journal and the outputs take what is queued.
func (v *serverView) close() {
	if v.page != nil {
		v.page.close()
	}
	if v.kept != nil {
		v.kept.Close() // again, mostly
	}
	if v.out != nil {
		v.out.Close(lastWords)
	}
	v.err.Close(lastWords)
}
