//go:build linux || darwin

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// openPlainClient is openClient at a terminal in which no line can be edited.
func openPlainClient(t *testing.T, args ...string) *terminal {
	t.Helper()
	t.Setenv("TERM", "dumb")
	return openClient(t, args...)
}

// Each command, typed in the plain way.
func TestCommandsTyped(t *testing.T) {
	s := startServer(t, "--tls-self-signed")
	dir := t.TempDir()
	request := filepath.Join(dir, "request")
	if err := os.WriteFile(request, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	term := openPlainClient(t, "--tls", "--insecure", s.addr)
	said := 0 // of the screen
	for _, step := range []struct{ typed, want string }{
		{"/help", "\r\n  /repeat N [EVERY] "},
		{"/nonsense", "no command is called /nonsense; /help lists them; nothing was sent, and //nonsense sends /nonsense\r\n"},
		{"hello", "response: Request #1 - hello ...\r\n"},
		{"//x", "response: Request #1 - /x ...\r\n"},
		{"/hex 41 42", "Client: sending [2] AB ...\r\nClient: server response: Request #1 - AB ...\r\n"},
		{"/repeat 2 1ms", "AB ...\r\nClient: sending [2] AB ...\r\nClient: server response: Request #1 - AB ...\r\n"},
		{"/file " + request, "Client: sending [11] from a file ...\r\nClient: server response: Request #1 - from a file ...\r\n"},
		{"/time", "each line has its time from here on (UTC)\r\n"},
		{"timed", "Z Client: server response: Request #1 - timed ...\r\n"},
		{"/time", "lines are without their time again\r\n"},
		{"/info", "framing    line\r\nsaid       7 requests, 7 replies\r\nTLS        TLS 1.3, TLS_"},
		{"/framing", "framing line\r\n"},
		{"/framing crlf", "framing crlf from here on\r\n"},
		{"/framing nope", "/framing: it stays crlf: no framing is named \"nope\""},
		{"/save " + filepath.Join(dir, "a.md"), "saved as "},
		{"/save " + filepath.Join(dir, "a.json"), "saved as "},
		{"/save " + filepath.Join(dir, "a.talk"), "saved as "},
		{"/save " + filepath.Join(dir, "a.md"), "is there already, and is not written over; choose another name\r\n"},
		{"/reconnect", "Client: Connection closed (to reconnect)\r\nClient: Connected to " + s.addr + "\r\n"},
		{"again", "response: Request #2 - again ...\r\n"},
		{"/secret", "/secret\r\n"},
	} {
		term.typeAt(t, "Enter data: ", step.typed+"\n")
		said = awaitBehind(t, term, said, step.want)
		said = awaitBehind(t, term, said, "Enter data: ")
	}
	term.typeAt(t, "Enter data: ", "hunter2\n")
	said = awaitBehind(t, term, said, "\r\nClient: sending [7] (secret) ...\r\nClient: server response: Request #2 - (secret) ...\r\nEnter data: ")
	term.typeAt(t, "Enter data: ", "/close\n")
	awaitBehind(t, term, said, "Client: Connection closed\r\n")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if strings.Contains(term.text(), "hunter2") {
		t.Errorf("the secret is on the screen:\n%s", term.text())
	}

	text := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := text("a.md"); !strings.Contains(got, "| | Client: server response: Request #1 - /x ... |\n") {
		t.Errorf("the table is\n%s", got)
	}
	if got := text("a.json"); strings.Count(got, `"event":"replied"`) != 7 {
		t.Errorf("the events are\n%s", got)
	}
	check := program(t, "check", "--tls", "--insecure", "--script", filepath.Join(dir, "a.talk"), s.addr)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the dialogue does not hold: %v\n%s\n%s", err, out, text("a.talk"))
	}
}

// awaitBehind waits until the screen has text behind what was seen before, and returns where it ends.
func awaitBehind(t *testing.T, term *terminal, seen int, text string) int {
	t.Helper()
	at := -1
	eventually(t, fmt.Sprintf("the screen has %q", text), func() bool {
		at = strings.Index(term.screen.String()[seen:], text)
		return at >= 0
	})
	return seen + at + len(text)
}

// A line that the terminal may have cut is not sent, and that is said.
func TestLineThatTheTerminalMayHaveCut(t *testing.T) {
	s := startServer(t)
	term := openPlainClient(t, s.addr)
	term.typeAt(t, "Enter data: ", strings.Repeat("x", 5000)+"\n")
	term.screen.await(t, "(it may have been cut: the terminal keeps 4095 bytes of a line; /file or a pipe sends longer ones)\r\n")
	term.typeAt(t, "longer ones)\r\nEnter data: ", strings.Repeat("y", 4094)+"\n")
	term.screen.await(t, "Client: sending [4094] yyy")
	term.typeAt(t, "(4111 bytes)\r\nEnter data: ", "\n")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if strings.Contains(s.stdout.String(), "xxx") {
		t.Error("a part of the line was sent")
	}
}

// A server that goes away and comes back at the same address is talked to again; what was sent and not
// answered is told, and not sent again.
func TestComesBackToAServer(t *testing.T) {
	s := startServer(t)
	term := openPlainClient(t, "--reconnect", s.addr)
	term.typeAt(t, "Enter data: ", "one\n")
	term.typeAt(t, "one ...\r\nEnter data: ", "half a l")
	s.stop(t, syscall.SIGTERM)
	term.screen.await(t, "\r\nClient: Connection closed (closed by the server)\r\nClient: reconnecting to "+s.addr+" in ")
	again := start(t, program(t, "server", s.addr))
	term.screen.await(t, "Client: Connected to "+s.addr+"\r\nEnter data: ")
	seen := strings.LastIndex(term.screen.String(), "Client: Connected to ")
	term.keys.WriteString("ine\n")
	awaitBehind(t, term, seen, "Client: server response: Request #1 - half a line ...\r\nEnter data: ")
	term.keys.WriteString("\n")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	again.stop(t, syscall.SIGTERM)
}

// Commands where lines are edited: Tab completes them, /secret hides the line, and the reply of /time has
// its time too.
func TestCommandsEdited(t *testing.T) {
	s := startServer(t, "-q")
	p := sitAtClient(t, 100, s.addr)
	p.types("Enter data:", "/hel\t\r")
	p.types("  //x               sends /x", "/framing me\t\r")
	p.types("framing memcached from here on", "/framing line\r")
	p.types("framing line from here on", "/time\r")
	p.types("each line has its time", "timed\r")
	p.sees("Z Client: server response: Request #1 - timed ...")
	p.types("timed ...", "/secret\r")
	p.types("Enter data: /secret", "hunter2\r")
	p.types("Client: server response: Request #1 - (secret) ...", "/close\r")
	p.exits(0)
	if text := p.Text(); strings.Contains(text, "hunter2") {
		t.Errorf("the secret is on the screen:\n%s", text)
	}
	history, err := os.ReadFile(filepath.Join(p.state, "parley", "history"))
	if err != nil || strings.Contains(string(history), "hunter2") || !strings.Contains(string(history), "timed") {
		t.Errorf("the history is %q, %v", history, err)
	}
}
