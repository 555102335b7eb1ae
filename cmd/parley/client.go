package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
)

type clientOptions struct {
	quiet, json, raw bool
	framing          framingFlag
	crlf, keepBlank  bool
	only4, only6     bool
	timeout          time.Duration
	reply            replyFlags
	greeting         bannerFlags
	out              outFlags
	script           scriptFlags
	update           bool
	showSecrets      bool
	escapes, hex     bool
	reconnect        bool
	pipeline         int
	noHistory        bool
	node             nodeFlag
	own              ownRecord
}

func clientCommand() *cobra.Command {
	opt := clientOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "client [[host:]port] [message...]",
		Short: "Talk to a server, by hand, in a pipe or with one request",
		Long: `Send each line typed as a request and show its reply. A blank line, or the end of the
input, ends the conversation; input behind a blank line in a pipe is an error. Words
behind the address are one request: it is sent, its reply shown, and that is all.
Without an address: localhost:6969. Words that look like flags want -- before them.

With --script FILE the dialogue in FILE is played instead; docs/dialogues.md has how one is
written.

The exit code is 3 if the server said more than it was asked for: a greeting, or a reply of
several lines, may then have been taken for the reply to another request. With a dialogue it is
3 if the server says something else than expected.`,
		Example: `  parley client                              localhost:6969, typed
  parley client -q db.internal:7000 PING     just the reply, for scripts
  printf 'a\nb\n' | parley client -q :7000   a reply a line
  parley client --json :7000 hello           events, one JSON object a line
  parley client --crlf -q --lines 2 redis:6379 GET key
  parley client --crlf --banner --until '^\d+ ' mail.internal:25
  parley client -f line/close whois.internal:43 example.org
  journalctl -o cat | parley client -f line/none logs.internal:514
  parley client -f redis -q :6379 SET key "a value"
  parley client -f redis :6379 -- LRANGE key 0 -1
  parley client -f http :80 'GET /health'
  parley client --tls -f http www.internal:443 'GET /health'
  parley client --starttls smtp -f smtp mail.internal:25 'EHLO me'
  parley client --via socks5://bastion:1080 -q db.internal:7000 PING
  parley client --script mail.talk mail.internal:25    play a dialogue, and show it`,
		ValidArgsFunction: inPlaces(anAddress),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := addressOf(args)
			if err != nil {
				return err
			}
			words := args[min(1, len(args)):]
			if opt.script.given() {
				return runScript(cmd, at, words, opt)
			}
			return runClient(cmd, at, words, opt)
		},
		Annotations: map[string]string{takesWords: "yes"},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print replies only: their exact bytes and a newline; escaped on a terminal, and cut at 4 KiB")
	flags.BoolVar(&opt.raw, "raw", false, "print replies only, exact bytes also on a terminal")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.BoolVar(&opt.hex, "hex", false, "show what is sent and what comes as a hex dump, with its ASCII")
	flags.BoolVar(&opt.showSecrets, "show-secrets", false, "show credentials that a protocol knows of, such as a password; --json always does")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "how long to wait to connect, and for each reply")
	flags.BoolVar(&opt.reconnect, "reconnect", false, "connect again whenever the connection is lost, or cannot be made; no request is sent again")
	flags.IntVar(&opt.pipeline, "pipeline", 1, "in a pipe: so many requests are sent before the first of them has its reply; 65536 at most")
	flags.BoolVar(&opt.noHistory, "no-history", false, "neither read nor keep what was typed in other runs, nor the address")
	opt.node.add(cmd, "events and the journal")
	messages := heading(flags, ofMessages)
	opt.framing.add(cmd, "")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	flags.BoolVar(&opt.keepBlank, "keep-blank", false, "send a blank line instead of ending there")
	flags.BoolVar(&opt.escapes, "escapes", false, `\r \n \t \\ and \xNN in a request are the bytes that they stand for`)
	opt.reply.add(flags)
	opt.greeting.add(flags)
	messages()
	opt.out.add(cmd)
	addFamily(cmd, &opt.only4, &opt.only6)
	opt.script.addToClient(cmd, &opt.update)
	opt.own.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	for _, name := range []string{"quiet", "raw", "json"} {
		cmd.MarkFlagsMutuallyExclusive("hex", name)
	}
	for _, name := range []string{"escapes", "reconnect", "pipeline"} {
		cmd.MarkFlagsMutuallyExclusive("script", name)
	}
	return cmd
}

func runClient(cmd *cobra.Command, at address, words []string, opt clientOptions) error {
	framing, err := opt.messageFraming(at)
	if err != nil {
		return err
	}
	if err := opt.out.open(at); err != nil {
		return err
	}
	defer opt.out.close()
	signal.Ignore(syscall.SIGPIPE) // a reader that left is an error of a write
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	target := at.target()
	dialer := opt.out.dialer(at, family(opt.only4, opt.only6), opt.timeout)
	typing, err := opt.openTyping(cmd, len(words) > 0)
	if err != nil {
		return err
	}
	defer typing.close()
	view := opt.view(cmd, framing, typing)
	conversation := &talk.Conversation{
		Server: target, View: view, Timeout: opt.timeout, KeepBlank: opt.keepBlank,
		Escapes: opt.escapes, Window: opt.pipeline, Reconnect: opt.reconnect,
		Dial: func(ctx context.Context) (net.Conn, error) {
			conn, _, err := dialer.Dial(ctx)
			if err != nil {
				return nil, explainDial(target, opt.timeout, err)
			}
			if len(words) == 0 && isTerminal(cmd.InOrStdin()) && !opt.noHistory {
				keepAddress(target)
			}
			return opt.own.over(ctx, conn), nil
		},
		Lacks:         func(came []byte) (lacks, advice string) { return opt.reply.lacks(opt.framing, came) },
		GreetingLacks: opt.greeting.lacks,
		Guard:         typing.guard,
	}
	opt.frame(conversation, framing, len(words) > 0)
	if err := opt.refuseWindow(cmd, conversation, len(words) > 0); err != nil {
		return err
	}
	if err := opt.own.open(cmd, opt.node.orHost(), target, opt.framing.Framing); err != nil {
		return err
	}
	if len(words) > 0 {
		err = conversation.Once(ctx, requestOf(framing, words))
	} else {
		if typing.how != console.Piped {
			opt.offerCommands(conversation, at)
		}
		err = conversation.Lines(ctx, typing.in)
	}
	err = opt.own.close(endOfTalk(ctx, err, view.Err()))
	var ended *talk.Error
	if errors.As(err, &ended) && ended.Told && opt.isWatched(cmd, typing) {
		return &exitError{code: exitNetwork}
	}
	return err
}

// isWatched says whether somebody sees the narrative and the errors in one place.
func (opt *clientOptions) isWatched(cmd *cobra.Command, typing *typing) bool {
	return typing.how == console.Typed && isTerminal(cmd.ErrOrStderr()) && !opt.json && !opt.quiet && !opt.raw
}

// frame has a conversation be framed so, with all that depends on it.
func (opt *clientOptions) frame(c *talk.Conversation, framing dialect.Framing, once bool) {
	c.Framing, c.Single = framing, singleMessage(opt.framing.Framing)
	c.Greeting, c.Surplus = opt.greeting.framing, opt.surplus(once)
}

// refuseWindow says what --pipeline and --reconnect do not go with.
func (opt *clientOptions) refuseWindow(cmd *cobra.Command, c *talk.Conversation, once bool) error {
	oneRequest := c.Framing.Requests == parley.UntilClose || c.Framing.OfReplies() == parley.UntilClose
	if opt.reconnect && oneRequest && !once {
		return usageError("--reconnect does not go with --framing %s, in which a connection has one request", opt.framing.Name)
	}
	if opt.pipeline < 1 || opt.pipeline > talk.MaxWindow {
		return usageError("--pipeline %d: use a number from 1 to %d", opt.pipeline, talk.MaxWindow)
	}
	why := ""
	switch {
	case opt.pipeline == 1:
	case once:
		why = "one request goes alone, and --pipeline is for the lines of a pipe"
	case isTerminal(cmd.InOrStdin()):
		why = "what is typed is answered a line at a time, and --pipeline is for the lines of a pipe"
	case oneRequest:
		why = fmt.Sprintf("with --framing %s a connection has one request", opt.framing.Name)
	case c.Framing.Requests == parley.Chunks || c.Framing.OfReplies() == parley.Chunks:
		why = "under chunk one read is one message, so each request has to wait for its reply"
	}
	if why != "" && isGiven(cmd.Flags().Lookup("pipeline")) {
		return usageError("--pipeline %d: %s", opt.pipeline, why)
	}
	if why != "" {
		c.Window = 1 // a variable is there for other runs
	}
	return nil
}

// requestOf is the request that words on the command line are.
func requestOf(f dialect.Framing, words []string) []byte {
	if f.Compose != nil {
		return f.Compose(words)
	}
	return []byte(strings.Join(words, " "))
}

// singleMessage is the framing of one message from the server, and of what it says where there are
// no replies.
func singleMessage(f dialect.Framing) parley.Framing {
	isLines := f.Requests == parley.Lines || f.Requests == parley.LinesCRLF
	switch {
	case f.IsProtocol():
		return nil
	case f.OfReplies() != parley.NoReplies:
		return f.OfReplies()
	case isLines:
		return parley.Lines
	}
	return parley.Chunks
}

// surplus says what messages behind the replies to all requests may come from.
func (opt *clientOptions) surplus(once bool) func(n int) string {
	if opt.framing.IsProtocol() || opt.reply.several() {
		return nil
	}
	return func(n int) string {
		first, replies := "does the server speak first? --banner", opt.framing.OfReplies()
		if opt.greeting.framing.Requests != nil {
			first = "has its greeting several lines? --banner-until"
		}
		switch {
		case replies == parley.Chunks:
			return first + "; under chunk each read is a message"
		case (replies == parley.Lines || replies == parley.LinesCRLF) && (once || n > 1):
			return first + "; or has a reply several lines? --lines, --until"
		}
		return first
	}
}

// endOfTalk is the exit of a conversation that ended so. A reader of the output who left
// is nothing wrong.
func endOfTalk(ctx context.Context, err, output error) error {
	var ended *talk.Error
	switch cause := signalled(ctx); {
	case cause != nil:
		return cause
	case errors.As(err, &ended) && ended.Local:
		return usageError("%w", err)
	case errors.As(err, &ended) && ended.Surplus:
		return &exitError{exitMismatch, err}
	case errors.As(err, &ended):
		return networkError("%w", err)
	case errors.Is(output, syscall.EPIPE):
		return nil
	case output != nil:
		return cannotWrite(output)
	}
	return err
}

// view is how the conversation is shown.
func (opt *clientOptions) view(cmd *cobra.Command, framing dialect.Framing, typing *typing) talk.View {
	words := console.Wording{Words: framing.Words, Secrets: opt.showSecrets}
	switch {
	case opt.json:
		view := console.NewClientJSON(typing.stdout, typing.stderr)
		view.Words, view.Node = framing.Words, opt.node.orHost()
		return view
	case opt.raw, opt.quiet:
		view := console.NewReplies(typing.stdout, typing.stderr, !opt.raw && isTerminal(cmd.OutOrStdout()))
		view.Wording = words
		if view.Raw = opt.raw; !opt.raw {
			view.PrintReply = framing.Print
		}
		return view
	}
	view := typing.narrative()
	view.Wording, view.Style = words, styleOf(cmd, cmd.OutOrStdout())
	if opt.hex {
		view.Dump = func() int { return columnsOf(cmd.OutOrStdout()) }
	}
	return view
}

// messageFraming is the framing of requests and replies at an address.
func (opt *clientOptions) messageFraming(at address) (framing dialect.Framing, err error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return framing, err
		}
	}
	if opt.timeout == 0 {
		return framing, usageError("--timeout 0s: it must be more than 0")
	}
	if err := opt.out.conversation(&opt.framing, opt.greeting.asked()); err != nil {
		return framing, err
	}
	if err := opt.greeting.resolve(opt.framing); err != nil {
		return framing, err
	}
	framing, err = opt.reply.of(opt.framing)
	return addressed(framing, at), err
}
