package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
)

// A benchmark that is interrupted prints what it has measured, and its exit code is that
// of the verdict so far.
func TestInterruptedBenchReports(t *testing.T) {
	srv := startServer(t, "-q")
	for _, args := range [][]string{{}, {"--rate", "100"}, {"--connect-each"}} {
		bench := start(t, program(t, append([]string{"bench", "-d", "1h", "--warmup", "0s", "-c", "4", srv.addr}, args...)...))
		bench.stderr.await(t, "1s: ")
		if code := bench.stop(t, syscall.SIGINT); code != 0 {
			t.Errorf("%v: exit code %d, want 0", args, code)
		}
		out := bench.stdout.String()
		if !strings.Contains(out, ", interrupted\n") || !strings.Contains(out, "service") || strings.Contains(out, "missing") {
			t.Errorf("%v: the report is\n%s", args, out)
		}
	}
	// One whose replies are wrong has that verdict.
	bench := start(t, program(t, "bench", "-d", "1h", "--warmup", "0s", "--expect", "nothing like it", srv.addr))
	bench.stderr.await(t, "1s: ")
	if code := bench.stop(t, syscall.SIGINT); code != exitMismatch {
		t.Errorf("exit code %d, want %d", code, exitMismatch)
	}
}

// On a terminal one line is painted again and again, and taken off at the end.
func TestBenchPaintsOneLineOnATerminal(t *testing.T) {
	srv := startServer(t, "-q")
	cmd := program(t, "bench", "-d", "2100ms", "--warmup", "0s", "-c", "2", srv.addr)
	var p *process
	term := openTerminal(t, func() *process { p = start(t, cmd); return p }, func(tty *os.File) {
		pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 60})
		cmd.Stdout, cmd.Stderr = tty, tty
	})
	term.screen.await(t, "Closed loop: ")
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	live, report, _ := strings.Cut(term.text(), srv.addr)
	if lines := strings.Split(live, "\r\x1b[K"); len(lines) < 3 || !strings.HasPrefix(lines[1], "[####") {
		t.Errorf("the live line was %q", lines)
	}
	for _, line := range strings.Split(live, "\r\x1b[K") {
		if utf8.RuneCountInString(line) >= 60 || strings.Contains(line, "\n") {
			t.Errorf("%q is not one line of the terminal", line)
		}
	}
	if strings.Contains(report, "\x1b") || !strings.Contains(report, "replies") {
		t.Errorf("the report behind it is %q", report)
	}
}
