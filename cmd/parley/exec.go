package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/child"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/tap"
)

// execFlags are how a server has programs behind it: one a session, or one a request. Without them nothing of
// its methods does anything.
type execFlags struct {
	session, request string
	shell, terminal  bool
	grace, timeout   time.Duration
	max, queue       int

	runner *child.Runner // nil if there is no program
	note   note          // set once there is somewhere to write
}

// mostPrograms is how many sessions with a program of their own there are at once, unless that is
// said: each takes five of the files that may be open, where others take two.
func mostPrograms() int { return max(16, min(1000, parley.DefaultMaxSessions()*2/5)) }

func (f *execFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofPrograms)()
	flags.StringVar(&f.session, "exec", "", "run `COMMAND` for each session: what the client sends is its standard input, what it prints is what the client gets")
	flags.StringVar(&f.request, "exec-per-request", "", "run `COMMAND` for each request, with it as standard input; what it prints is the reply")
	flags.BoolVar(&f.shell, "sh", false, "the command is for /bin/sh, which knows pipes, variables and wildcards")
	flags.BoolVar(&f.terminal, "pty", false, "the program prints to a pseudo-terminal, so that it holds nothing back")
	flags.DurationVar(&f.grace, "exec-grace", child.DefaultGrace, "once its session is over a program has this long, from SIGTERM to SIGKILL")
	flags.IntVar(&f.max, "exec-max", 64, "programs for requests at once")
	flags.IntVar(&f.queue, "exec-queue", 256, "requests that wait for one; past it the reply is Error: busy")
	flags.DurationVar(&f.timeout, "exec-timeout", 10*time.Second, "a program for a request that takes longer is killed, and so is the wait for one")
	flags.SetAnnotation("sh", goesWith, []string{"exec", "exec-per-request"})
	for _, name := range []string{"pty", "exec-grace"} {
		flags.SetAnnotation(name, goesWith, []string{"exec"})
	}
	for _, name := range []string{"exec-max", "exec-queue", "exec-timeout"} {
		flags.SetAnnotation(name, goesWith, []string{"exec-per-request"})
	}
	// What answers in the program's place, and for a session what would be done to messages: there its bytes
	// pass as they are.
	for _, name := range []string{"reply", "echo", "answers", "script"} {
		cmd.MarkFlagsMutuallyExclusive("exec", name)
		cmd.MarkFlagsMutuallyExclusive("exec-per-request", name)
	}
	for _, name := range []string{"exec-per-request", "crlf", "keep-blank", "max-request", "max-unsent", "max-held", "first-byte-timeout", "request-timeout"} {
		cmd.MarkFlagsMutuallyExclusive("exec", name)
	}
}

// prepare reads the command, and has the server's engine be as a program needs.
func (f *execFlags) prepare(cmd *cobra.Command, opt *serverOptions) error {
	flag, text := "exec", f.session
	if f.request != "" {
		flag, text = "exec-per-request", f.request
	}
	switch {
	case text == "":
		return nil
	case !child.Possible:
		return usageError("--%s: programs can be run on Unix only", flag)
	case f.max < 1:
		return usageError("--exec-max %d: it must be at least 1", f.max)
	case f.queue < 0:
		return usageError("--exec-queue %d: it cannot be negative; 0 is no queue", f.queue)
	case f.timeout == 0:
		return usageError("--exec-timeout 0s: it must be more than 0")
	}
	command, err := child.Parse(text, f.shell)
	if err != nil {
		return usageError("--%s %q: %w", flag, text, err)
	}
	if err := opt.needGoroutines("--" + flag); err != nil {
		return err
	}
	f.runner = &child.Runner{
		Command: command, Grace: f.grace, Max: f.max, Terminal: f.terminal,
		Say: func(s *parley.Session, text string) { f.note("session %d: %s", s.Number(), text) },
	}
	if f.session == "" {
		return nil
	}
	if !cmd.Flags().Changed("max-sessions") {
		opt.maxSessions = mostPrograms()
	}
	f.runner.Max = opt.maxSessions
	if opt.fault.layer != nil {
		opt.fault.layer.Tap = true
	}
	return nil
}

// handler is the program that answers each request.
func (f *execFlags) handler(framing *framingFlag) parley.Handler {
	return &child.Requests{
		Runner: f.runner, Queue: f.queue, Timeout: f.timeout,
		InLines: isText(framing.Requests), Lines: isText(cmp.Or(framing.Replies, framing.Requests)),
	}
}

// isText reports whether the messages of a framing are lines that people write and read.
func isText(framing parley.Framing) bool {
	return framing == parley.Lines || framing == parley.LinesCRLF || framing == parley.Chunks
}

// begin tells what is run.
func (f *execFlags) begin(note note) {
	f.note = note
	if f.runner == nil {
		return
	}
	each := "session"
	if f.request != "" {
		each = "request"
	}
	note("runs %s for each %s", f.runner.Command.Name, each) // its arguments may be nobody's business
}

// limits are those of sessions that have a program for themselves, the server's otherwise.
func (f *execFlags) limits(of console.Limits) string {
	if f.session == "" {
		return of.String()
	}
	return fmt.Sprintf("limits: %d sessions (%s per address), idle %s, write %s, grace %v, drain %v%s", of.MaxSessions,
		console.OrNone(of.MaxSessionsPerIP), console.OrNone(of.Idle), console.OrNone(of.Write), f.grace, of.Drain, console.HandshakeLimit(of.Handshake))
}

// behind is who serves: the server itself, or who passes on what clients and their programs say, with all that
// the server was given.
func (f *execFlags) behind(srv *parley.Server, opt *serverOptions) service {
	if f.runner == nil {
		return srv
	}
	if f.session == "" {
		return programs{srv, f.runner}
	}
	return programs{&tap.Tap{
		Dial:             opt.fault.dial(f.runner.Dial),
		ServerName:       "program",
		Framing:          srv.Framing,
		Replies:          srv.Replies,
		Observer:         srv.Observer,
		Gate:             srv.Gate,
		Allow:            srv.Allow,
		MaxSessions:      srv.MaxSessions,
		MaxSessionsPerIP: srv.MaxSessionsPerIP,
		Refusal:          func(why parley.CloseReason) (body, sent []byte) { return refusal(srv, why) },
		HandshakeTimeout: srv.HandshakeTimeout,
		IdleTimeout:      max(0, srv.IdleTimeout),
		HalfCloseTimeout: srv.IdleTimeout,
		WriteTimeout:     srv.WriteTimeout,
	}, f.runner}
}

// refusal is what a client over a limit of the server is told, in the words that the server itself has.
func refusal(srv *parley.Server, why parley.CloseReason) (body, sent []byte) {
	body = fmt.Appendf(nil, "Error: server is full (%d sessions)", srv.MaxSessions)
	if why == parley.PerIP {
		body = fmt.Appendf(nil, "Error: too many sessions from your address (%d)", srv.MaxSessionsPerIP)
	}
	_, replies := parley.OpenFraming(srv.Framing, srv.Replies)
	sent, err := replies.End(append(replies.Begin(nil), body...), 0)
	if err != nil {
		return nil, nil
	}
	return body, sent
}

// programs is a service with programs behind it, of which none outlives it.
type programs struct {
	service
	runner *child.Runner
}

// Shutdown ends the service, and waits for the last program.
func (p programs) Shutdown(ctx context.Context) error {
	err := p.service.Shutdown(ctx)
	p.runner.Wait()
	return err
}

// Close has no program wait for its grace.
func (p programs) Close() error {
	p.runner.Kill()
	return p.service.Close()
}
