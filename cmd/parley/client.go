package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
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
}

func clientCommand() *cobra.Command {
	opt := clientOptions{framing: newFramingFlag()}
	cmd := &cobra.Command{
		Use:   "client [[host:]port] [message...]",
		Short: "Talk to a server, by hand, in a pipe or with one request",
		Long: `Send each line typed as a request and show its reply. A blank line, or the end of the
input, ends the conversation; input behind a blank line in a pipe is an error. Words
behind the address are one request: it is sent, its reply shown, and that is all.
Without an address: localhost:6969. Behind -- words may look like flags.`,
		Example: `  parley client                              localhost:6969, typed
  parley client -q db.internal:7000 PING     just the reply, for scripts
  printf 'a\nb\n' | parley client -q :7000   a reply a line
  parley client --json :7000 hello           events, one JSON object a line
  parley client --crlf -q --lines 2 redis:6379 GET key
  parley client --crlf --until '^\d+ ' mail.internal:25`,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := addressOf(args)
			if err != nil {
				return err
			}
			return runClient(cmd, at, args[min(1, len(args)):], opt)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print replies only: their exact bytes and a newline; escaped on a terminal, and cut at 4 KiB")
	flags.BoolVar(&opt.raw, "raw", false, "print replies only, exact bytes also on a terminal")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	opt.framing.add(cmd, "")
	flags.BoolVarP(&opt.crlf, "crlf", "C", false, "end requests with CRLF")
	flags.BoolVar(&opt.keepBlank, "keep-blank", false, "send a blank line instead of ending there")
	flags.BoolVarP(&opt.only4, "ipv4", "4", false, "use IPv4 only")
	flags.BoolVarP(&opt.only6, "ipv6", "6", false, "use IPv6 only")
	flags.DurationVarP(&opt.timeout, "timeout", "w", 10*time.Second, "how long to wait to connect, and for each reply")
	opt.reply.add(flags)
	cmd.MarkFlagsMutuallyExclusive("quiet", "json")
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	cmd.MarkFlagsMutuallyExclusive("ipv4", "ipv6")
	return cmd
}

func runClient(cmd *cobra.Command, at address, words []string, opt clientOptions) error {
	framing, err := opt.messageFraming()
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that left is an error of a write
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	target := at.target()
	d := at.dialer(family(opt.only4, opt.only6), opt.timeout)
	dialer := parley.Dialer{Framing: framing.Requests, Replies: framing.Replies, NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, _, err := d.Dial(ctx)
		return conn, err
	}}
	client, err := dialer.Dial(ctx, "")
	if err != nil {
		if cause := signalled(ctx); cause != nil {
			return cause
		}
		return explainDial(target, opt.timeout, err)
	}
	view := opt.view(cmd, client)
	conversation := &talk.Conversation{
		Client: client, Server: target, View: view, Timeout: opt.timeout, KeepBlank: opt.keepBlank,
		Single: opt.framing.OfReplies(),
		Lacks:  func(came []byte) (lacks, advice string) { return opt.reply.lacks(opt.framing, came) },
	}
	if len(words) > 0 {
		err = conversation.Once(ctx, []byte(strings.Join(words, " ")))
	} else {
		err = talkLines(ctx, conversation, cmd.InOrStdin())
	}
	return endOfTalk(ctx, err, view.Err())
}

// talkLines has each line of the input answered.
func talkLines(ctx context.Context, conversation *talk.Conversation, in io.Reader) error {
	if isTerminal(in) {
		terminal, err := talk.OpenTerminal(in.(*os.File))
		if err != nil {
			return usageError("cannot read the terminal: %w", err)
		}
		defer terminal.Close()
		in = terminal
	}
	return conversation.Lines(ctx, in)
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
func (opt *clientOptions) view(cmd *cobra.Command, client *parley.Client) talk.View {
	out := cmd.OutOrStdout()
	typing := console.Piped
	switch {
	case isTerminal(cmd.InOrStdin()) && isTerminal(out):
		typing = console.Typed
	case isTerminal(cmd.InOrStdin()):
		typing = console.Elsewhere
	}
	switch {
	case opt.json:
		return console.NewClientJSON(out, client.RemoteAddr().String(), client.LocalAddr().String())
	case opt.raw:
		return console.NewReplies(out, cmd.ErrOrStderr(), false)
	case opt.quiet:
		return console.NewReplies(out, cmd.ErrOrStderr(), isTerminal(out))
	}
	return console.NewClientNarrative(out, cmd.ErrOrStderr(), typing)
}

// messageFraming is the framing of requests and replies.
func (opt *clientOptions) messageFraming() (framing dialect.Framing, err error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return framing, err
		}
	}
	if opt.timeout == 0 {
		return framing, usageError("--timeout 0s: it must be more than 0")
	}
	return opt.reply.of(opt.framing)
}
