package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/load"
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
input, ends the conversation. Words behind the address are one request: it is sent,
its reply shown, and that is all. Without an address: localhost:6969. Behind -- words
may look like flags.`,
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
	flags.BoolVarP(&opt.quiet, "quiet", "q", false, "print replies only: their exact bytes and a newline; escaped on a terminal")
	flags.BoolVar(&opt.raw, "raw", false, "print replies only, exact bytes also on a terminal")
	flags.BoolVar(&opt.json, "json", false, "print events, one JSON object a line")
	flags.VarP(&opt.framing, "framing", "f", framingUsage)
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
	ctx, stop := untilSignal(cmd.Context())
	defer stop()

	target := at.target()
	d := at.dialer(family(opt.only4, opt.only6), opt.timeout)
	conn, _, err := d.Dial(ctx)
	if err != nil {
		if cause := signalled(ctx); cause != nil {
			return cause
		}
		return explainDial(target, opt.timeout, err)
	}
	client := parley.NewClient(conn, framing)
	t := &talk{client: client, target: target, opt: opt, view: opt.view(cmd, client), typing: isTerminal(cmd.InOrStdin())}
	defer t.hearNoMore()
	t.hear()
	t.view.Connected(target)
	switch message := strings.Join(words, " "); {
	case len(words) == 0:
		err = t.lines(ctx, cmd.InOrStdin())
	case message == "" && !opt.keepBlank:
		err = t.hangUp(ctx)
	default:
		err = t.oneShot(ctx, []byte(message))
	}
	if cause := signalled(ctx); cause != nil {
		return cause
	}
	if err == nil && t.view.Err() != nil {
		return cannotWrite(t.view.Err())
	}
	return err
}

// view is how the conversation is shown.
func (opt *clientOptions) view(cmd *cobra.Command, client *parley.Client) console.ClientView {
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
		return console.NewReplies(out, false)
	case opt.quiet:
		return console.NewReplies(out, isTerminal(out))
	}
	return console.NewClientNarrative(out, cmd.ErrOrStderr(), typing)
}

// messageFraming is the framing of requests and replies.
func (opt *clientOptions) messageFraming() (parley.Framing, error) {
	if opt.crlf {
		if err := opt.framing.withCRLF(); err != nil {
			return nil, err
		}
	}
	if opt.timeout <= 0 {
		return nil, usageError("--timeout %v: it must be more than 0", opt.timeout)
	}
	return opt.reply.framing(opt.framing)
}

// A talk is the client's side of one conversation.
type talk struct {
	client *parley.Client
	target string
	opt    clientOptions
	view   console.ClientView
	typing bool // the input is a terminal

	heard chan heard
	done  chan struct{} // closed: no more is wanted
}

// heard is a message from the server, or how it ended.
type heard struct {
	body []byte
	err  error
}

// hear starts to read what the server says, so that what it says unasked is seen
// at once.
func (t *talk) hear() {
	t.heard, t.done = make(chan heard), make(chan struct{})
	go func() {
		defer close(t.heard)
		for {
			body, err := t.client.Receive(context.Background())
			select {
			case t.heard <- heard{bytes.Clone(body), err}:
			case <-t.done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
}

// hearNoMore closes the connection and waits for the reader.
func (t *talk) hearNoMore() {
	close(t.done)
	t.client.Close()
	for range t.heard {
	}
}

// oneShot has one request answered.
func (t *talk) oneShot(ctx context.Context, message []byte) error {
	if err := t.exchange(ctx, message); err != nil {
		return err
	}
	return t.hangUp(ctx)
}

// lines has each line of the input answered, until a blank one or the end.
func (t *talk) lines(ctx context.Context, in io.Reader) error {
	typed := readLines(in)
	for {
		t.view.Prompt()
		line, left, err := t.nextLine(ctx, typed)
		if err != nil {
			return err
		}
		if left {
			return t.serverLeft(ctx, typed)
		}
		t.view.Typed(line.text)
		if line.err != nil || len(line.text) == 0 && !t.opt.keepBlank {
			return t.hangUp(ctx)
		}
		if err := t.exchange(ctx, line.text); err != nil {
			return err
		}
	}
}

type typedLine struct {
	text []byte
	err  error // the end of the input, or why it could not be read
}

// readLines reads the input in a goroutine of its own, which nobody waits for: a
// read of a terminal cannot be interrupted, and it ends with the process.
func readLines(in io.Reader) <-chan typedLine {
	typed := make(chan typedLine)
	go func() {
		r := bufio.NewReader(in)
		for {
			text, err := r.ReadBytes('\n')
			text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
			if len(text) > 0 && err != nil {
				typed <- typedLine{text, nil} // the last line had no newline
			}
			if err != nil {
				typed <- typedLine{nil, err}
				return
			}
			typed <- typedLine{text, nil}
		}
	}()
	return typed
}

// nextLine waits for a line of the input. Meanwhile the server may speak, or leave.
func (t *talk) nextLine(ctx context.Context, typed <-chan typedLine) (line typedLine, left bool, err error) {
	for {
		select {
		case line := <-typed:
			if line.err != nil && line.err != io.EOF {
				return line, false, usageError("cannot read the input: %w", line.err)
			}
			return line, false, nil
		case h := <-t.heard:
			switch {
			case errors.Is(h.err, io.EOF):
				return typedLine{}, true, nil
			case h.err != nil:
				return typedLine{}, false, t.broken(h.err)
			}
			t.view.Message(h.body)
			t.view.Prompt()
		case <-ctx.Done():
			return typedLine{}, false, ctx.Err()
		}
	}
}

// serverLeft ends a conversation that the server ended at the prompt. In a pipe the
// input may have been at its end too: then nothing is lost, and all is well.
func (t *talk) serverLeft(ctx context.Context, typed <-chan typedLine) error {
	if !t.typing {
		select {
		case line := <-typed:
			t.view.Typed(line.text)
			if line.err == io.EOF || len(line.text) == 0 && !t.opt.keepBlank {
				t.view.Closed("eof", "")
				return nil
			}
			return t.lost("eof", "closed by the server", "%s closed the connection; %d bytes were not sent", t.target, len(line.text))
		case <-time.After(t.opt.timeout):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.lost("eof", "closed by the server", "%s closed the connection", t.target)
}

// exchange sends a request and waits for its reply.
func (t *talk) exchange(ctx context.Context, request []byte) error {
	if err := t.showUnasked(); err != nil {
		return err
	}
	t.view.Sending(request)
	sendCtx, cancel := context.WithTimeout(ctx, t.opt.timeout)
	defer cancel()
	begin := time.Now()
	if err := t.client.Send(sendCtx, request); err != nil {
		return t.unsent(ctx, sendCtx, err)
	}
	select {
	case h := <-t.heard:
		if h.err != nil {
			return t.noReply(h.err)
		}
		t.view.Response(h.body, time.Since(begin))
		return nil
	case <-sendCtx.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return t.lost("reply_timeout", "no reply within "+t.opt.timeout.String(), "%s", t.whyNoReply(context.DeadlineExceeded))
	}
}

// showUnasked shows what is there before a request is sent: it cannot be its reply.
func (t *talk) showUnasked() error {
	for {
		select {
		case h := <-t.heard:
			if h.err != nil {
				return t.noReply(h.err)
			}
			t.view.Message(h.body)
		default:
			return nil
		}
	}
}

// unsent explains why a request could not be sent.
func (t *talk) unsent(ctx, sendCtx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case sendCtx.Err() != nil:
		return t.lost("write_timeout", "the server does not read", "%s took no more of the request within %v", t.target, t.opt.timeout)
	case load.KindOf(err) == load.Reset, errors.Is(err, io.EOF):
		return t.broken(err)
	}
	t.view.Closed("not_sent", "not sent")
	return usageError("the request was not sent: %s", strings.TrimPrefix(err.Error(), "parley: "))
}

// noReply explains why a reply did not come.
func (t *talk) noReply(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return t.lost("no_reply", "closed by the server before it replied", "%s", t.whyNoReply(err))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return t.lost("truncated", "closed by the server inside its reply", "%s", t.whyNoReply(err))
	case errors.Is(err, parley.ErrTooLong):
		return t.lost("too_long", "reply too long", "%s", t.whyNoReply(err))
	}
	return t.broken(err)
}

func (t *talk) whyNoReply(err error) string { return whyNoReply(t.target, t.opt.timeout, err) }

// broken explains an error of the connection.
func (t *talk) broken(err error) error {
	reason := "io_error"
	if load.KindOf(err) == load.Reset {
		reason = "reset"
	}
	return t.lost(reason, whyBroken(err), "the connection to %s broke: %s", t.target, whyBroken(err))
}

// lost ends the conversation as not in order.
func (t *talk) lost(reason, why, format string, args ...any) error {
	t.view.Closed(reason, why)
	return networkError(format, args...)
}

// hangUp says that nothing more will be sent, and waits for the server to close.
func (t *talk) hangUp(ctx context.Context) error {
	if err := t.client.CloseWrite(); err != nil {
		return t.broken(err)
	}
	patience := time.After(t.opt.timeout)
	for {
		select {
		case h := <-t.heard:
			switch {
			case h.err == nil:
				t.view.Message(h.body)
			case errors.Is(h.err, io.EOF):
				t.view.Closed("eof", "")
				return nil
			default:
				return t.broken(h.err)
			}
		case <-patience:
			return t.lost("close_timeout", "no end of file from the server within "+t.opt.timeout.String(),
				"%s did not close within %v of our end of file", t.target, t.opt.timeout)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
