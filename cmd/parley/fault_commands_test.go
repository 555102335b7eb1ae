package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/fault"
	"github.com/parley-tcp/parley/internal/journal"
)

// serveFaulted is where a server answers as `parley server --fault LIST` does, until the test ends.
func serveFaulted(t *testing.T, list string, kept *journal.Writer) (addr string) {
	t.Helper()
	handler, err := parley.ParseTemplate(parley.DefaultReply, parley.Lines)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &parley.Server{Handler: handler}
	if kept != nil {
		srv.Observer, srv.Gate = kept, kept
	}
	addr = l.Addr().String()
	if list != "" {
		plan, err := fault.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		layer := &fault.Layer{Plan: plan}
		srv.Observer = layer.Observer(nil)
		l = layer.Listener(l)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return addr
}

// runHere runs a command in this process, and returns its exit code and all that it says on
// standard error.
func runHere(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, notes bytes.Buffer
	root := rootCommand()
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&notes)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		exit := &exitError{exitUsage, err}
		errors.As(err, &exit)
		code = exit.code
		if exit.err != nil {
			notes.WriteString("parley: " + string(console.AppendEscaped(nil, []byte(exit.err.Error()))) + "\n")
		}
	}
	if ctx.Err() != nil {
		t.Errorf("parley %s has not ended", strings.Join(args, " "))
	}
	return code, out.String(), notes.String()
}

// Every command that talks to a server meets every fault: it ends by itself, with the right exit
// code, and says in clear words what is wrong.
func TestEveryCommandMeetsEveryFault(t *testing.T) {
	dir := t.TempDir()
	recording := filepath.Join(dir, "recording")
	kept, err := journal.Create(recording, journal.Options{About: journal.About{Framing: "line", Role: "server"}})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runHere(t, "a\nb\nc\nd\ne\n", "client", serveFaulted(t, "", kept)); code != 0 {
		t.Fatal(stderr)
	}
	if err := kept.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("> a\n< ~ ^Request #\\d+ - a \\.\n> b\n< ~ ^Request #\\d+ - b \\.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const waits = "-w 10s" // for who is to wait as long as it takes
	commands := []string{
		"client ADDR one -q", "client ADDR", "check ADDR hello", "check ADDR hello -c 5 -i 1ms",
		"bench ADDR -c 2 --requests 8", "bench ADDR -c 2 --rate 100 -d 500ms --warmup 0s", "replay " + recording + " ADDR --speed max",
		"check ADDR --script " + script, "client ADDR -q --script " + script, "bench ADDR -c 2 --requests 8 --script " + script,
	}
	for _, row := range []struct {
		list, wait string
		codes      string // of the commands; ? is 0 or 3, whether a request was under way, and ! 1 or 3, whether the end was seen when connecting: matters of luck
		text       string // what a client that fails says
	}{
		{"delay=5ms~5ms", waits, "0000000000", ""},
		{"request.delay=5ms~5ms", waits, "0000000000", ""},
		{"split=1", waits, "0000000000", ""},
		{"request.split=1", waits, "0000000000", ""},
		{"rate=1KiB/s", waits, "0000000000", ""},
		{"request.rate=1KiB/s", waits, "0000000000", ""},
		{"stall=50ms/60ms", waits, "0000000000", ""},
		{"drop=2", "-w 500ms", "0100333113", "no reply from ADDR within 500ms; --timeout waits longer"},
		{"request.drop=1", "-w 500ms", "1111333113", "no reply from ADDR within 500ms; --timeout waits longer"},
		{"close-after=1", waits, "0100??3113", "ADDR closed the connection before it replied|ADDR closed the connection; line 2 of the input was not sent|the connection to ADDR broke: connection reset by peer"},
		{"request.close-after=1", waits, "0100??3113", "ADDR closed the connection before it replied|ADDR closed the connection; line 2 of the input was not sent|the connection to ADDR broke: connection reset by peer"},
		{"reset-after=1", waits, "0100??3113", "the connection to ADDR broke: connection reset by peer"},
		{"request.reset-after=1", waits, "0100??3113", "the connection to ADDR broke: connection reset by peer"},
		{"cut=2", waits, "0100333333", "ADDR closed the connection; line 3 of the input was not sent|ADDR closed the connection before it replied|the connection to ADDR broke: connection reset by peer"},
		{"cut=1", waits, "0100333333", "ADDR closed the connection; line 2 of the input was not sent|ADDR closed the connection before it replied|the connection to ADDR broke: connection reset by peer"},
		{"request.cut=1", waits, "1111333113", "ADDR closed the connection before it replied"},
		{"garbage=2", waits, "0000333333", ""},
		{"request.garbage=1", waits, "0000333333", ""},
		{"refuse=2", waits, "0001??000?", ""},
		{"refuse=1", waits, "1111!!!11!", "cannot connect to ADDR: connection reset by peer|the connection to ADDR broke: connection reset by peer"},
	} {
		t.Run(row.list, func(t *testing.T) {
			t.Parallel()
			for i, command := range commands {
				addr := serveFaulted(t, row.list+",seed=1", nil)
				args := strings.Fields(strings.Replace(command, "ADDR", addr, 1) + " " + row.wait)
				code, stdout, stderr := runHere(t, "a\nb\nc\nd\ne\n", args...)
				want := string(row.codes[i])
				if one := map[string]string{"?": "03", "!": "13"}[want]; one != "" {
					want = one
				}
				if !strings.Contains(want, strconv.Itoa(code)) {
					t.Errorf("parley %s: exit %d, want one of %s\n%s%s", command, code, want, stdout, stderr)
				}
				said, text := strings.ReplaceAll(stderr, addr, "ADDR"), `^parley: (`+row.text+`)\n$`
				if strings.Contains(command, "--script") {
					text = `^parley: (step \d \(\S+:\d\): (want .*, (got|but) .*|> [ab]: the connection broke: .*)|` + row.text + `)\n$`
				}
				if strings.HasPrefix(command, "client") && code != 0 && !regexp.MustCompile(text).MatchString(said) {
					t.Errorf("parley %s says %q, want %s", command, said, text)
				}
				if strings.HasPrefix(command, "check") && code != 0 && !regexp.MustCompile(`no reply|closed the connection|connection reset|: step \d `).MatchString(stdout) {
					t.Errorf("parley %s says\n%s", command, stdout)
				}
			}
		})
	}
}
