package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/load"
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
sockets, one after the other, and print what each terminal shows as a Markdown table
in the order of time. With --web they talk again and again, a line a second, and a
live page shows it, until an interrupt.`,
		Example: `  parley demo
  parley demo --reply '{host} says: {message}'
  parley demo --web                    open the page that it names
  parley demo --web 8080               at http://127.0.0.1:8080/`,
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
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTimeout)
			defer cancel()
			table := newTranscript(terminals...)
			if err := playDemo(ctx, table, reply); err != nil {
				return err
			}
			if err := table.print(cmd.OutOrStdout()); err != nil {
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
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return usageError("demo: %w", err)
	}
	defer l.Close()
	page, err := openPage(cmd.Context(), opt, l.Addr(), nil)
	if err != nil {
		return err
	}
	defer page.close()
	srv := &parley.Server{Handler: handler, Observer: page}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()
	fmt.Fprintf(cmd.ErrOrStderr(), "parley: live page at %s\nparley: an interrupt (Ctrl-C) ends the demo\n", page.url)
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
func playDemo(ctx context.Context, table *transcript, reply string) error {
	handler, err := parley.ParseTemplate(reply, nil)
	if err != nil {
		return usageError("%w", err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return usageError("demo: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	out := console.NewWriter(table.column(serverColumn), console.QueueLimit, console.SkippedLine, nil)
	defer out.Close(demoTimeout)
	narrative := console.NewNarrative(out, console.Limits{}, false)
	srv := &parley.Server{Handler: handler, Observer: narrative}

	table.say(serverColumn, fmt.Sprintf("$ parley server %d", port))
	narrative.Started(l.Addr())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()
	if err := table.await(ctx, serverColumn, 2); err != nil {
		return usageError("demo: %w", err)
	}
	for _, lines := range demoSessions {
		if err := playSession(ctx, table, port, lines); err != nil {
			return networkError("demo: %w", err)
		}
	}
	return nil
}

// playSession is one client's conversation. Before it says what it has seen it waits
// for the server's line about the cause: the table is in the order of events, not of
// two writers' luck.
func playSession(ctx context.Context, table *transcript, port int, lines []string) error {
	target := fmt.Sprintf("localhost:%d", port)
	view := console.NewClientNarrative(table.column(clientColumn), nil, console.Piped)
	table.say(clientColumn, "$ parley client "+target)

	heard := table.lines(serverColumn)
	dialer := load.Dialer{Network: "tcp", Host: "localhost", Port: strconv.Itoa(port), Timeout: demoTimeout}
	conn, _, err := dialer.Dial(ctx)
	if err != nil {
		return err
	}
	client := parley.NewClient(conn, nil)
	defer client.Close()
	heard++
	if err := table.await(ctx, serverColumn, heard); err != nil {
		return err
	}
	view.Connected(target)
	for _, line := range lines {
		view.Prompt()
		view.Typed([]byte(line))
		view.Sending([]byte(line))
		reply, err := client.Do(ctx, []byte(line))
		if err != nil {
			return err
		}
		heard++
		if err := table.await(ctx, serverColumn, heard); err != nil {
			return err
		}
		view.Response(reply, 0)
	}
	view.Prompt()
	view.Typed(nil)
	if err := client.CloseWrite(); err != nil {
		return err
	}
	if _, err := client.Receive(ctx); err != io.EOF {
		return fmt.Errorf("after the half-close: %v, not the end of file", err)
	}
	heard++
	if err := table.await(ctx, serverColumn, heard); err != nil {
		return err
	}
	view.Closed("eof", "")
	return nil
}

// A transcript is what several terminals showed, line by line in the order of time.
type transcript struct {
	titles []string

	mu      sync.Mutex
	rows    []row
	partial []string      // of each column, the line that is not yet whole
	said    chan struct{} // closed and replaced at each line
}

type row struct {
	column int
	text   string
}

func newTranscript(titles ...string) *transcript {
	return &transcript{titles: titles, partial: make([]string, len(titles)), said: make(chan struct{})}
}

func (t *transcript) column(i int) io.Writer { return columnWriter{t, i} }

type columnWriter struct {
	t      *transcript
	column int
}

func (w columnWriter) Write(p []byte) (int, error) {
	w.t.say(w.column, w.t.take(w.column, string(p))...)
	return len(p), nil
}

// take returns the lines that text makes whole.
func (t *transcript) take(column int, text string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.partial[column]+text, "\n")
	t.partial[column] = lines[len(lines)-1]
	return lines[:len(lines)-1]
}

func (t *transcript) say(column int, lines ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range lines {
		t.rows = append(t.rows, row{column, line})
	}
	close(t.said)
	t.said = make(chan struct{})
}

// lines counts a column's rows.
func (t *transcript) lines(column int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count(column)
}

func (t *transcript) count(column int) (n int) {
	for _, r := range t.rows {
		if r.column == column {
			n++
		}
	}
	return n
}

// await waits until a column has n rows.
func (t *transcript) await(ctx context.Context, column, n int) error {
	for {
		t.mu.Lock()
		have, said := t.count(column), t.said
		t.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-said:
		case <-ctx.Done():
			return fmt.Errorf("%s said %d lines of %d", t.titles[column], have, n)
		}
	}
}

// print writes the table in Markdown.
func (t *transcript) print(w io.Writer) error {
	text := console.AppendMarkdownHead(nil, t.titles...)
	for _, r := range t.rows {
		text = console.AppendMarkdownRow(text, len(t.titles), r.column, r.text)
	}
	_, err := w.Write(text)
	return err
}
