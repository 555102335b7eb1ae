//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
)

// A terminal runs a command with a pseudo-terminal as its standard streams.
type terminal struct {
	*process
	keys   *os.File
	screen *output
}

// openTerminal starts cmd in a terminal that shows no colours, unless the command has an environment; onScreen
// has one that does. Streams that the command already has set are left alone.
func openTerminal(t *testing.T, cmd func() *process, streams func(tty *os.File)) *terminal {
	t.Helper()
	t.Setenv("TERM", "dumb")
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	streams(tty)
	term := &terminal{cmd(), keys, newOutput()}
	tty.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := keys.Read(buf)
			term.screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		term.Process.Kill() // the screen ends with whom it shows
		<-read
		keys.Close()
	})
	return term
}

// typeAt types text once the screen shows what it waits for.
func (term *terminal) typeAt(t *testing.T, shows, text string) {
	t.Helper()
	term.screen.await(t, shows)
	if _, err := term.keys.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (term *terminal) text() string { return strings.ReplaceAll(term.screen.String(), "\r\n", "\n") }

// openClient runs the client with all of its streams in a terminal that cannot move its cursor, where it
// edits no lines; sitAtClient is for those that can.
func openClient(t *testing.T, args ...string) *terminal {
	t.Helper()
	cmd := program(t, append([]string{"client"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=dumb")
	return openTerminal(t, func() *process { return start(t, cmd) }, func(tty *os.File) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	})
}

// The seed's page, typed by a person, to the letter.
func TestSeedTyped(t *testing.T) {
	s := startServer(t)
	for _, session := range []string{"1", "2"} {
		term := openClient(t, "localhost:"+s.port)
		term.typeAt(t, "\nEnter data: ", "session "+session+" msg 1\n")
		term.typeAt(t, "msg 1 ...\r\nEnter data: ", "session "+session+" msg 2\n")
		term.typeAt(t, "msg 2 ...\r\nEnter data: ", "\n")
		if code := term.exit(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		term.screen.await(t, "closed\r\n")
		want := strings.NewReplacer("N", session, "PORT", s.port).Replace(`Client: Connected to localhost:PORT
Enter data: session N msg 1
Client: sending [15] session N msg 1 ...
Client: server response: Request #N - session N msg 1 ...
Enter data: session N msg 2
Client: sending [15] session N msg 2 ...
Client: server response: Request #N - session N msg 2 ...
Enter data: 
Client: Connection closed
`)
		if term.text() != want {
			t.Errorf("the screen shows\n%swant\n%s", term.text(), want)
		}
	}
	if code := s.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the server's exit code is %d, want 0", code)
	}
}

func TestControlDIsAnOrderlyClose(t *testing.T) {
	s := startServer(t)
	term := openClient(t, s.addr)
	term.typeAt(t, "Enter data: ", "\x04")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	term.screen.await(t, "Enter data: \r\nClient: Connection closed\r\n")
	s.stdout.await(t, "Server: Connection closed! (no request)\n")
}

func TestControlCExitsWith130(t *testing.T) {
	s := startServer(t)
	term := openClient(t, s.addr)
	term.typeAt(t, "Enter data: ", "\x03")
	if code := term.exit(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	s.stdout.await(t, "Server: Connection closed!")
}

func TestSIGTERMExitsWith143(t *testing.T) {
	s := startServer(t)
	term := openClient(t, s.addr)
	term.screen.await(t, "Enter data: ")
	if code := term.stop(t, syscall.SIGTERM); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
}

// The server goes away while somebody is typing.
func TestServerGoesAwayAtThePrompt(t *testing.T) {
	s := startServer(t)
	term := openClient(t, s.addr)
	term.typeAt(t, "Enter data: ", "half a line")
	s.stdout.await(t, "Server: connection from ") // what was never accepted is reset
	s.stop(t, syscall.SIGINT)
	if code := term.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	term.screen.await(t, "Enter data: half a line\r\nClient: not sent: half a line\r\nClient: Connection closed (closed by the server)\r\n")
}

// What a framing cannot carry is not sent, and can be typed again.
func TestWhatIsNoRequestCanBeTypedAgain(t *testing.T) {
	s := startServer(t, "-f", "redis", "--reply", "OK")
	term := openClient(t, "-f", "redis", s.addr)
	term.typeAt(t, "Enter data: ", "SET a \"b\n")
	term.typeAt(t, "Client: not sent: SET a \"b (a quote is not closed)\r\nEnter data: ", "SET a b\n")
	term.typeAt(t, "Client: sending [27] SET a b ...\r\nClient: server response: OK\r\nEnter data: ", "\n")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0\n%s", code, term.text())
	}
}

// A server that was asked to close, or said that it will, leaves in good order.
func TestServerThatSaidGoodbye(t *testing.T) {
	for framing, goodbye := range map[string]string{"smtp": "QUIT", "redis": "quit", "memcached": "quit"} {
		t.Run(framing, func(t *testing.T) {
			s := startServer(t, "-f", framing, "--reply", "OK")
			term := openClient(t, "-f", framing, s.addr)
			term.typeAt(t, "Enter data: ", goodbye+"\n")
			if code := term.exit(t); code != 0 {
				t.Errorf("exit code %d, want 0\n%s", code, term.text())
			}
			term.screen.await(t, "\nClient: Connection closed\r\n")
		})
	}
}

// openShell runs a command of the shell in a terminal that is its own.
func openShell(t *testing.T, shell string, args ...string) *terminal {
	t.Helper()
	cmd := peer(t, shell, args...)
	cmd.Env = append(os.Environ(), "PS1=ready> ", "TERM=dumb")
	return openTerminal(t, func() *process { return start(t, cmd) }, func(tty *os.File) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	})
}

// What was half typed when the server left, or a signal came, is not left to the shell,
// which would take it for the beginning of its own next line.
func TestShellDoesNotGetWhatWasHalfTyped(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal // to the client; 0 stops the server
		code   string
	}{{"the server leaves", 0, "1"}, {"SIGTERM", syscall.SIGTERM, "143"}, {"SIGHUP", syscall.SIGHUP, "129"}} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t)
			term := openShell(t, "sh", "-c", `sh -c 'echo "pid $$"; exec parley client "$0"' "$0"; echo "exit $?"; read -r line; echo "the shell got <$line>"`, s.addr)
			term.typeAt(t, "Enter data: ", "rm -rf half")
			term.screen.await(t, "rm -rf half")
			s.stdout.await(t, "Server: connection from ") // what was never accepted is reset
			if c.signal == 0 {
				s.stop(t, syscall.SIGINT)
			} else {
				pid, err := strconv.Atoi(regexp.MustCompile(`pid (\d+)`).FindStringSubmatch(term.text())[1])
				if err != nil {
					t.Fatal(err)
				}
				if err := syscall.Kill(pid, c.signal); err != nil {
					t.Fatal(err)
				}
			}
			term.screen.await(t, "Client: not sent: rm -rf half\r\n")
			term.typeAt(t, "exit "+c.code+"\r\n", "next\n")
			term.screen.await(t, "the shell got <next>\r\n")
		})
	}
}

// The same before a real prompt: the shell edits its lines itself.
func TestInteractiveShellDoesNotRunWhatWasHalfTyped(t *testing.T) {
	s := startServer(t)
	owned := filepath.Join(t.TempDir(), "owned")
	term := openShell(t, "bash", "--norc", "--noprofile", "-i")
	term.typeAt(t, "ready> ", "parley client "+s.addr+"\n")
	term.typeAt(t, "Enter data: ", "touch "+owned)
	term.screen.await(t, "touch "+owned)
	s.stdout.await(t, "Server: connection from ")
	s.stop(t, syscall.SIGINT)
	term.typeAt(t, "Client: Connection closed (closed by the server)\r\n", "\nexit\n")
	term.exit(t)
	if _, err := os.Stat(owned); err == nil {
		t.Errorf("the shell has run what was half typed:\n%s", term.text())
	}
}

// A client that was put into the background ends there, and leaves the terminal to the
// shell that has it: to change it would stop the client for good.
func TestClientInTheBackgroundLeavesTheTerminalAlone(t *testing.T) {
	s := startServer(t)
	term := openShell(t, "bash", "--norc", "--noprofile", "-i")
	term.typeAt(t, "ready> ", "parley client "+s.addr+"\n")
	term.typeAt(t, "Enter data: ", "\x1a")
	term.typeAt(t, "Stopped", "kill %1\n")
	s.stdout.await(t, "Server: Connection closed!")
	term.typeAt(t, "kill %1\r\n", "wait; echo $((40+2))\n") // a shell does not leave while it has a job
	term.typeAt(t, "42\r\n", "exit\n")
	term.exit(t)
}

// nohup has the client go on without its terminal.
func TestHangUpThatIsIgnoredStaysIgnored(t *testing.T) {
	s := startServer(t)
	cmd := command(t, "sh", "-c", `trap '' HUP; exec parley client "$0"`, s.addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	p.stdout.await(t, "Enter data: ")
	p.Process.Signal(syscall.SIGHUP)
	io.WriteString(in, "still here\n")
	p.stdout.await(t, "Request #1 - still here ...")
	in.Close()
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// With the narrative going to a file, the prompt and the typing stay on the screen.
func TestPromptGoesToStderrWhenStdoutIsNoTerminal(t *testing.T) {
	s := startServer(t)
	cmd := program(t, "client", s.addr)
	cmd.Env = append(os.Environ(), "TERM=dumb")
	term := openTerminal(t, func() *process { return start(t, cmd) }, func(tty *os.File) { cmd.Stdin, cmd.Stderr = tty, tty })
	term.typeAt(t, "Enter data: ", "hello\n")
	term.typeAt(t, "Enter data: hello\r\nEnter data: ", "\n")
	if code := term.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	want := "Client: Connected to " + s.addr + "\nClient: sending [5] hello ...\nClient: server response: Request #1 - hello ...\nClient: Connection closed\n"
	if got := term.stdout.String(); got != want {
		t.Errorf("stdout\n%swant\n%s", got, want)
	}
}

// On a terminal even -q escapes; --raw is for those who know.
func TestRepliesAreEscapedOnATerminal(t *testing.T) {
	s := startServer(t, "--echo")
	for _, c := range []struct{ flag, want string }{
		{"-q", `\x1b[2Jred\t` + "\r\n"},
		{"--raw", "\x1b[2Jred\t\r\n"},
	} {
		term := openClient(t, c.flag, s.addr, "\x1b[2Jred\t")
		if code := term.exit(t); code != 0 {
			t.Errorf("%s: exit code %d, want 0", c.flag, code)
		}
		term.screen.await(t, c.want)
	}
	// A terminal is spared a payload of any length; --raw gives it all.
	long := strings.Repeat("x", 5000)
	for flag, want := range map[string]string{"-q": long[:4096] + "…(5000 bytes)\r\n", "--raw": long + "\r\n"} {
		term := openClient(t, flag, s.addr, long)
		term.exit(t)
		term.screen.await(t, want)
		if got := term.screen.String(); got != want {
			t.Errorf("%s shows %d bytes, want %d", flag, len(got), len(want))
		}
	}
	// Not on a terminal -q gives the exact bytes too.
	if got := run(t, program(t, "client", "-q", s.addr, "\x1b[2Jred\t"), ""); got != "\x1b[2Jred\t\n" {
		t.Errorf("-q to a pipe gave %q, want the exact bytes", got)
	}
}

// On a terminal what a flag is for stays in its column; elsewhere it is one line.
func TestHelpFitsTheTerminal(t *testing.T) {
	for _, command := range []string{"server", "client", "check", "bench", "tap", "replay", "log"} {
		for _, width := range []int{80, 100, 200} {
			cmd := program(t, command, "--help")
			term := openTerminal(t, func() *process { return start(t, cmd) }, func(tty *os.File) {
				pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: uint16(width)})
				cmd.Stdout, cmd.Stderr = tty, tty
			})
			term.screen.await(t, "help for "+command)
			if code := term.exit(t); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			_, flags, _ := strings.Cut(term.text(), "\nFlags:\n")
			for line := range strings.Lines(flags) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%s, %d columns: a line of %d: %s", command, width, n, line)
				}
			}
		}
		if _, flags, _ := strings.Cut(run(t, program(t, command, "--help"), ""), "\nFlags:\n"); strings.Contains(flags, "\n         ") {
			t.Errorf("%s: the help in a pipe is not a line a flag:\n%s", command, flags)
		}
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
	term.screen.await(t, "service time")
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	live, report, _ := strings.Cut(term.text(), srv.addr)
	if lines := strings.Split(live, "\r\x1b[K"); len(lines) < 3 || !strings.Contains(lines[1], " left, ") || !strings.HasSuffix(lines[1], ", 0 errors") {
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
