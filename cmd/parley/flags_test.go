//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// An option that is given an empty value is an error wherever nothing would come of it.
func TestAnEmptyValueIsAnError(t *testing.T) {
	refused := 0
	for _, cmd := range rootCommand().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "string" || mayBeEmpty[f.Name] {
				return
			}
			root := rootCommand()
			for _, each := range root.Commands() {
				each.RunE = func(*cobra.Command, []string) error { return nil }
			}
			root.SetArgs([]string{cmd.Name(), "--" + f.Name + "="})
			err := root.Execute()
			want := "--" + f.Name + ": its value is empty; leave the flag out if you do not want it"
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != exitUsage || err.Error() != want {
				t.Errorf("parley %s --%s= ended with %v, want %q", cmd.Name(), f.Name, err, want)
			}
			refused++
		})
	}
	if refused < 20 {
		t.Errorf("%d flags were tried, want all that are text", refused)
	}
}

// No limit is too large to be taken, or to be said to be.
func TestTheLargestLimits(t *testing.T) {
	const largest, longest = "9223372036854775807", "2562047h47m16.854775807s"
	limits := map[string]string{
		"max-request": largest, "max-unsent": largest, "max-sessions": largest, "max-sessions-per-ip": largest, "max-held": largest,
		"first-byte-timeout": longest, "request-timeout": longest, "idle-timeout": longest, "write-timeout": longest,
		"drain-timeout": longest, "exec-timeout": longest,
	}
	serverCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if isLimit := strings.HasPrefix(f.Name, "max-") || strings.HasSuffix(f.Name, "-timeout"); isLimit && limits[f.Name] == "" {
			t.Errorf("--%s is a limit and is not tried", f.Name)
		}
	})
	for _, framing := range []string{"line", "chunk"} {
		var all []string // at once: none hides that another ends the session
		for name, value := range limits {
			if name == "max-request" && framing == "chunk" {
				p := start(t, program(t, "server", "127.0.0.1:0", "--"+name, value, "-f", framing))
				if code := p.exit(t); code != 2 || !strings.Contains(p.stderr.String(), "with --framing chunk each read has room for all of it") {
					t.Errorf("--%s %s --framing %s: exit code %d, %s", name, value, framing, code, p.stderr)
				}
			} else if name != "exec-timeout" {
				all = append(all, "--"+name, value)
			}
		}
		for _, more := range [][]string{nil, {"--exec-timeout", limits["exec-timeout"], "--exec-per-request", "sed 's/.*/Request #1 - & .../'"}} {
			args := append(append([]string{"-f", framing}, all...), more...)
			s := startServer(t, args...)
			conn := connect(t, s.addr)
			for range 2 {
				io.WriteString(conn, "a\n")
				got := make([]byte, len("Request #1 - a ..."))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != "Request #1 - a ..." {
					t.Errorf("%q: got %q, %v", args, got, err)
				}
				if framing == "line" {
					io.ReadFull(conn, make([]byte, 1))
				}
			}
			conn.Close()
			s.stop(t, os.Interrupt)
		}
	}
}

// Nothing that a user types reaches the terminal unescaped.
func TestArgumentsAreEscaped(t *testing.T) {
	const bad = "a\x1b[2J\u009b\u202e\xff"
	tries := [][]string{{bad}, {"help", bad}, {"help", "server", bad}, {"--" + bad}, {"server", "--" + bad}, {"client", "--" + bad}, {"completion", bad}}
	tried := make(map[string]bool) // names and types of flags, of which several commands have the same
	for _, cmd := range rootCommand().Commands() {
		nowhere := []string{"127.0.0.1:1"}
		switch cmd.Name() {
		case "server":
			nowhere = []string{"198.51.100.7:1"} // where it cannot listen
		case "tap":
			nowhere = []string{"198.51.100.7:1", "127.0.0.1:1"}
		case "replay":
			nowhere = []string{"nothing", "127.0.0.1:1"}
		case "demo":
			nowhere = nil
		}
		tries = append(tries, []string{cmd.Name(), bad, bad, bad})
		switch cmd.Name() {
		case "server", "client", "check", "bench", "agent", "tap", "replay", "log", "ship", "collect": // addresses and files
			tries = append(tries, []string{cmd.Name(), bad + ":1"}, []string{cmd.Name(), "unix:" + bad + "/" + bad},
				[]string{cmd.Name(), bad, "127.0.0.1:1"}, []string{cmd.Name(), "unix:" + bad + "/" + bad, bad + ":1"})
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			// What is wrong with a text each flag says itself, with another value its type does.
			same := fmt.Sprintf("%T %s", f.Value, f.Value.Type())
			if kind := f.Value.Type(); kind == "string" || strings.HasPrefix(kind, "string") {
				same = f.Name
			}
			if f.Value.Type() != "bool" && !tried[same] {
				tried[same] = true
				tries = append(tries, append([]string{cmd.Name(), "--" + f.Name + "=" + bad + "/" + bad}, nowhere...))
			}
		})
	}
	for _, args := range tries {
		p := start(t, program(t, args...))
		p.exit(t)
		checkHarmless(t, fmt.Sprintf("%q: stderr", args), p.stderr.String())
		checkHarmless(t, fmt.Sprintf("%q: stdout", args), p.stdout.String())
	}
}

// A flag that takes a list takes it in several pieces too.
func TestFaultsAreJoined(t *testing.T) {
	joined := func(lists ...string) string {
		var f faultFlag
		for _, list := range lists {
			if err := f.Set(list); err != nil {
				return err.Error()
			}
		}
		return f.layer.Plan.String()
	}
	if got, want := joined("delay=20ms,seed=7", "drop=5%"), joined("delay=20ms,seed=7,drop=5%"); got != want {
		t.Errorf("the faults are %q, want %q", got, want)
	}
	if got, want := joined("drop=5%", "drop=3"), "reply.drop is given twice"; got != want {
		t.Errorf("twice the same is %q, want %q", got, want)
	}
}
