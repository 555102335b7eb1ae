//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"

	"github.com/parley-tcp/parley/internal/screen"
)

// onScreen starts a command in a terminal that can show colours.
func onScreen(t *testing.T, cmd *exec.Cmd, columns, rows int) *screen.Screen {
	t.Helper()
	t.Setenv("NO_COLOR", "")
	s, err := screen.Start(cmd, columns, rows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// shown is all that a command writes to a terminal until it ends.
func shown(t *testing.T, cmd *exec.Cmd, columns int) string {
	t.Helper()
	s := onScreen(t, cmd, columns, 60)
	s.Wait() // some exit with what they found
	return strings.ReplaceAll(s.Raw(), "\r\n", "\n")
}

// styleAt is how the first of the cells stands that show a text: bold, dim, and the number of its colour among
// the sixteen.
func styleAt(t *testing.T, s *screen.Screen, text string) string {
	t.Helper()
	for y, line := range strings.Split(s.Text(), "\n") {
		if at := strings.Index(line, text); at >= 0 {
			return describeStyle(s.Cell(len([]rune(line[:at])), y).Style)
		}
	}
	t.Errorf("the screen does not have %q:\n%s", text, s.Text())
	return ""
}

func describeStyle(style uv.Style) string {
	text := map[uint8]string{uv.AttrBold: "bold", uv.AttrFaint: "dim"}[style.Attrs]
	if style.Fg != nil {
		text += fmt.Sprintf("%d", style.Fg)
	}
	return text
}

// Times are dim, each session has its colour, what is asked is bold, and an end that is none in good order
// is red.
func TestServerInColour(t *testing.T) {
	file := filepath.Join(t.TempDir(), "addr")
	s := onScreen(t, program(t, "server", "127.0.0.1:0", "-v", "--addr-file", file, "--fault", "delay=1ms"), 160, 30)
	addr := awaitAddr(t, file)
	converse(t, addr, "one\n")
	second := connect(t, addr)
	second.Write([]byte("two\n"))
	if err := s.AwaitText("#2 - two"); err != nil {
		t.Fatal(err)
	}
	second.SetLinger(0)
	second.Close()
	if err := s.AwaitText("(connection reset by peer)"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		time.Now().UTC().Format("2006-01-"): "dim", "#1 127": "6", "Server: incoming": "6", "one": "bold", "Request #1": "", "#2 127": "5",
		"(connection reset": "1", "Server: fault: reply.de": "3", "Server: started": "",
	} {
		if got := styleAt(t, s, text); got != want {
			t.Errorf("%q stands in %q, want %q", text, got, want)
		}
	}
}

// A tap's terminal has colours too, and what passed as a dump that fits it.
func TestTapInColour(t *testing.T) {
	srv := startServer(t, "-q")
	file := filepath.Join(t.TempDir(), "addr")
	s := onScreen(t, program(t, "tap", "127.0.0.1:0", srv.addr, "-v", "--hex", "--addr-file", file), 80, 30)
	converse(t, awaitAddr(t, file), "hello\r\n") // of which the CR is not the message's
	if err := s.AwaitText("Connection closed!"); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"> 00000000  68 65 6c 6c 6f 0d 0a                              |hello..|",
		"< 00000000  52 65 71 75 65 73 74 20  23 31 20 2d 20 68 65 6c  |Request #1 - hel|",
		" (",
	} {
		if !strings.Contains(s.Text(), line) {
			t.Errorf("the screen lacks %q:\n%s", line, s.Text())
		}
	}
	if got := styleAt(t, s, "Tap: client [5]"); got != "6" {
		t.Errorf("the client's line stands in %q", got)
	}
}

// Colours are for terminals that can show them, and for who asks for them.
func TestWhenThereAreColours(t *testing.T) {
	addr := "127.0.0.1:" + freePort(t)
	for _, c := range []struct {
		args     string
		env      []string
		terminal bool
		colours  bool
	}{
		{"", nil, true, true},
		{"", nil, false, false},
		{"--color=never", nil, true, false},
		{"--color=always", nil, false, true},
		{"--color=auto", nil, false, false},
		{"", []string{"NO_COLOR=1"}, true, false},
		{"", []string{"NO_COLOR="}, true, true},
		{"--color=auto", []string{"NO_COLOR=1"}, true, false},
		{"--color=always", []string{"NO_COLOR=1"}, true, true},
		{"", []string{"TERM=dumb"}, true, false},
		{"", []string{"TERM="}, true, false},
		{"--color=always", []string{"TERM=dumb"}, true, true},
		{"", []string{"PARLEY_COLOR=always"}, false, true},
		{"", []string{"PARLEY_COLOR=always", "NO_COLOR=1"}, true, false},
		{"", []string{"PARLEY_COLOR=never"}, true, false},
		{"--json --color=always", nil, true, false},
	} {
		cmd := program(t, append([]string{"check", addr}, strings.Fields(c.args)...)...)
		cmd.Env = append(append(os.Environ(), "TERM=xterm-256color", "NO_COLOR="), c.env...)
		var got string
		if c.terminal {
			got = shown(t, cmd, 80)
		} else {
			out, _ := cmd.Output()
			got = string(out)
		}
		if got == "" || strings.Contains(got, "\x1b[") != c.colours {
			t.Errorf("%q %q on a terminal (%v) shows %q, want colours: %v", c.args, c.env, c.terminal, got, c.colours)
		}
	}
	cmd := program(t, "check", addr, "--color=pink")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "--color \"pink\": use auto, always or never") {
		t.Errorf("--color=pink says %q", out)
	}
}

// The client's own lines and the server's are told apart.
func TestClientInColour(t *testing.T) {
	srv := startServer(t, "-q")
	s := onScreen(t, program(t, "client", srv.addr, "hello"), 80, 30)
	if err := s.AwaitText("Connection closed"); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"Client: Connected": "", "Client: sending": "dim", "Client: server response": "2", "Request #1": ""} {
		if got := styleAt(t, s, text); got != want {
			t.Errorf("%q stands in %q, want %q", text, got, want)
		}
	}
}
