package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
)

// demoSessions is what the two clients type.
var demoSessions = [][]string{
	{"session 1 msg 1", "session 1 msg 2"},
	{"session 2 msg 1", "session 2 msg 2"},
}

const demoTimeout = 10 * time.Second

func demoCommand() *cobra.Command {
	var reply string
	var page webOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play both ends of two conversations, side by side",
		Long: `Start a server on a free port of this host, let two clients talk to it over real
sockets, one after the other, and show both terminals side by side in the order of
time; in a pipe as a Markdown table. With --web they talk again and again, a line a second, and a
live page shows it, until an interrupt.`,
		Example: `  parley demo
  parley demo --reply '{host} says: {message}'
  parley demo --web                    open the page that it names
  parley demo --web 8080               at http://127.0.0.1:8080/`,
		ValidArgsFunction: inPlaces(anyWord),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && page.at == anyPort { // --web ADDR: only --web=ADDR comes with the flag
				page.at, args = args[0], args[1:]
			}
			if len(args) > 0 {
				return usageError("demo takes no address; %q is too much", args[0])
			}
			if page.at != "" {
				return playWatched(cmd, page, reply)
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			table := console.NewTranscript(terminals...)
			style := console.Style{} // of Markdown
			if isTerminal(cmd.OutOrStdout()) {
				style = styleOf(cmd, cmd.OutOrStdout())
			}
			err := playDemo(ctx, table, reply, style)
			if err != nil {
				return cmp.Or(signalled(ctx), err)
			}
			out := cmd.OutOrStdout()
			if columns := columnsOf(out); columns > 0 {
				err = table.PrintPanes(out, columns, style)
			} else {
				err = table.Print(out)
			}
			if err != nil {
				return cannotWrite(err)
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&reply, "reply", "r", parley.DefaultReply, "the reply's `PATTERN`, as for parley server")
	page.addFlags(cmd)
	cmd.Flags().Lookup("web").NoOptDefVal = anyPort
	return cmd
}

// terminals are the titles of the seed's table.
var terminals = []string{"Server Terminal (server.js)", "Client Terminal (client.js)"}

const (
	anyPort  = "127.0.0.1:0" // where the page of a demo is if --web does not say
	demoPace = time.Second   // between two lines of a demo that is watched
)

// playWatched has the conversations again and again, for a live page, until it is
// interrupted, which is how it is meant to end.
func playWatched(cmd *cobra.Command, opt webOptions, reply string) error {
	handler, err := parley.ParseTemplate(reply, nil)
	if err != nil {
		return usageError("%w", err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return usageError("demo: %w", err)
	}
	defer l.Close()
	out := console.NewOutput(cmd.OutOrStdout(), cmd.ErrOrStderr(), console.OutputOptions{Quiet: true})
	defer out.Close()
	page, err := openPage(cmd.Context(), opt, boundAddress(l.Addr()), nil, out.Notes)
	if err != nil {
		return err
	}
	defer page.close()
	ctx, stop := untilSignalOr(cmd.Context(), page.reload)
	defer stop()
	srv := &parley.Server{Handler: handler, Observer: page}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()
	out.Notes.Printf("live page at %s", page.url)
	out.Notes.Printf("an interrupt (Ctrl-C) ends the demo")
	for {
		for _, lines := range demoSessions {
			err := playSlowly(ctx, l.Addr().String(), lines)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				return networkError("demo: %w", err)
			}
		}
	}
}

// playSlowly is one client's conversation, at a pace that can be followed.
func playSlowly(ctx context.Context, addr string, lines []string) error {
	client, err := parley.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, line := range lines {
		if err := pause(ctx, demoPace); err != nil {
			return err
		}
		if _, err := client.Do(ctx, []byte(line)); err != nil {
			return err
		}
	}
	return pause(ctx, demoPace)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The columns of the demo's table.
const (
	serverColumn = iota
	clientColumn
)

// playDemo has the conversations; both sides' own narratives fill the table.
func playDemo(ctx context.Context, table *console.Transcript, reply string, style console.Style) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	handler, err := parley.ParseTemplate(reply, nil)
	if err != nil {
		return usageError("%w", err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return usageError("demo: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	out := console.NewWriter(table.Column(serverColumn), console.QueueLimit, console.SkippedLine, nil)
	defer out.Close(demoTimeout)
	narrative := console.NewNarrative(out, console.Limits{}, false)
	narrative.Style = style
	srv := &parley.Server{Handler: handler, Observer: narrative}

	table.Say(serverColumn, fmt.Sprintf("$ parley server %d", port))
	narrative.Started(l.Addr())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()
	if err := table.Await(ctx, serverColumn, 2); err != nil {
		return usageError("demo: %w", err)
	}
	for _, lines := range demoSessions {
		if err := playSession(ctx, table, port, lines, style); err != nil {
			return networkError("demo: %w", err)
		}
	}
	return nil
}

// playSession is one client's conversation, as `parley client` has it in a pipe.
func playSession(ctx context.Context, table *console.Transcript, port int, lines []string, style console.Style) error {
	at := address{network: "tcp", port: strconv.Itoa(port)}
	table.Say(clientColumn, "$ parley client "+at.target())
	view := &inOrder{
		ClientNarrative: console.NewClientNarrative(table.Column(clientColumn), nil, console.Piped),
		ctx:             ctx, table: table, heard: table.Lines(serverColumn),
	}
	view.Style = style
	conn, err := at.dial(ctx, demoTimeout)
	if err != nil {
		return err
	}
	conversation := &talk.Conversation{
		Conn: conn, Server: at.target(), Framing: newFramingFlag().Framing, View: view, Timeout: demoTimeout,
		Single: parley.Lines, Lacks: func([]byte) (string, string) { return "no newline ends it", "" },
	}
	err = conversation.Lines(ctx, strings.NewReader(strings.Join(lines, "\n")+"\n"))
	return cmp.Or(view.err, err)
}

// An inOrder is a client's narrative that, before it says what it has seen, waits for the
// server's line about the cause: the table is in the order of events, not of two writers'
// luck.
type inOrder struct {
	*console.ClientNarrative
	ctx   context.Context
	table *console.Transcript
	heard int   // lines of the server
	err   error // the first that did not come
}

func (v *inOrder) Connected(server string) {
	v.awaitServer()
	v.ClientNarrative.Connected(server)
}

func (v *inOrder) Response(reply dialect.Message, took time.Duration) {
	v.awaitServer()
	v.ClientNarrative.Response(reply, took)
}

func (v *inOrder) Closed(reason, why string) {
	v.awaitServer()
	v.ClientNarrative.Closed(reason, why)
}

func (v *inOrder) awaitServer() {
	v.heard++
	v.err = cmp.Or(v.err, v.table.Await(v.ctx, serverColumn, v.heard))
}
