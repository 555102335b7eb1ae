//go:build unix

package main

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
)

// The report of a benchmark fits into the terminal that it is printed on.
func TestBenchFitsTheTerminal(t *testing.T) {
	s := startServer(t, "-q")
	for _, columns := range []uint16{40, 60, 80} {
		cmd := program(t, "bench", "-q", "-n", "200", "-r", "10000", s.addr)
		term := openTerminal(t, func() *process { return start(t, cmd) }, func(tty *os.File) {
			if err := pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: columns}); err != nil {
				t.Fatal(err)
			}
			cmd.Stdout = tty
		})
		if code := term.exit(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		term.screen.await(t, "\r\nresponse time")
		_, table, _ := strings.Cut(term.text(), "\n\n")
		_, table, _ = strings.Cut(table, "\n\n")
		table, _, _ = strings.Cut(table, "\n\n")
		if !strings.Contains(table, "p99") || !strings.Contains(table, "max") || strings.Contains(table, "std dev") {
			t.Errorf("%d columns: p99 and max should be left of\n%s", columns, table)
		}
		for line := range strings.Lines(table) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > int(columns) {
				t.Errorf("%d columns: a line has %d: %s", columns, n, line)
			}
		}
	}
}
