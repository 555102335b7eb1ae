//go:build linux || darwin

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/clipperhouse/displaywidth"
	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/parley-tcp/parley/internal/screen"
)

// A typist sits before a screen.
type typist struct {
	*screen.Screen
	t     *testing.T
	state string // the state directory
	asked int    // commands of the shell
}

// sit starts a command on a screen that can move its cursor. The state directory is the test's own, unless
// it is given.
func sit(t *testing.T, columns int, state string, cmd *exec.Cmd) *typist {
	t.Helper()
	if state == "" {
		state = t.TempDir()
	}
	cmd.Env = append(cmd.Environ(), "TERM=xterm-256color", "XDG_STATE_HOME="+state, "PS1=ready> ", "NO_COLOR=")
	s, err := screen.Start(cmd, columns, 24)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &typist{Screen: s, t: t, state: state}
}

// sitAtClient runs the client, as parley client does.
func sitAtClient(t *testing.T, columns int, args ...string) *typist {
	t.Helper()
	return sit(t, columns, "", program(t, append([]string{"client"}, args...)...))
}

// sees waits until the screen shows all of these.
func (p *typist) sees(parts ...string) {
	p.t.Helper()
	for _, part := range parts {
		if err := p.AwaitText(part); err != nil {
			p.t.Fatal(err)
		}
	}
}

// types types text once the screen shows what it waits for.
func (p *typist) types(shows, text string) {
	p.t.Helper()
	p.sees(shows)
	if err := p.Type(text); err != nil {
		p.t.Fatal(err)
	}
}

// exits waits for the end, and wants this exit code.
func (p *typist) exits(code int) {
	p.t.Helper()
	err := p.Wait()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if got != code {
		p.t.Errorf("exit code %d (%v), want %d; the screen shows\n%s", got, err, code, p.Text())
	}
}

// dialogueOf is what the screen shows, without the times at the right edge.
func (p *typist) dialogueOf() string {
	var lines []string
	for _, line := range strings.Split(p.Text(), "\n") {
		if text, _, has := strings.Cut(line, " ..."); has {
			line = text + " ..."
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// The seed's page, typed by a person at a terminal with an editor, to the letter.
func TestSeedEdited(t *testing.T) {
	s := startServer(t)
	p := sitAtClient(t, 80, "localhost:"+s.port)
	p.types("\nEnter data:", "session 1 msg 1\r")
	p.types("\nClient: server response: Request #1 - session 1 msg 1 ...", "session 1 msg 2\r")
	p.types("\nClient: server response: Request #1 - session 1 msg 2 ...", "\r")
	p.exits(0)
	want := strings.ReplaceAll(`Client: Connected to localhost:PORT
Enter data: session 1 msg 1
Client: sending [15] session 1 msg 1 ...
Client: server response: Request #1 - session 1 msg 1 ...
Enter data: session 1 msg 2
Client: sending [15] session 1 msg 2 ...
Client: server response: Request #1 - session 1 msg 2 ...
Enter data:
Client: Connection closed`, "PORT", s.port)
	if got := p.dialogueOf(); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
}

// A counterpart is a server that replies to each line, or only when it is told to.
type counterpart struct {
	addr  string
	conns chan net.Conn
	lines chan string // of the connection, without their newlines
}

// startCounterpart starts one that replies to each line so; if "", not by itself.
func startCounterpart(t *testing.T, reply string) *counterpart {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counterpart{l.Addr().String(), make(chan net.Conn, 10), make(chan string, 100)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns <- conn
			r := bufio.NewReader(conn)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					break
				}
				c.lines <- strings.TrimSuffix(line, "\n")
				io.WriteString(conn, reply)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { // of clients before, which end their connections
		l.Close()
		<-served
	})
	return c
}

// conn is the connection of a client that came.
func (c *counterpart) conn(t *testing.T) net.Conn {
	t.Helper()
	select {
	case conn := <-c.conns:
		return conn
	case <-time.After(patience):
		t.Fatal("nobody has connected")
		return nil
	}
}

// line is the next line that was sent.
func (c *counterpart) line(t *testing.T) string {
	t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(patience):
		t.Fatal("no line has come")
		return ""
	}
}

func TestKeysEditTheLine(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	for _, columns := range []int{80, 20} {
		p := sitAtClient(t, columns, s.addr)
		p.sees("Enter data:")
		for _, c := range []struct{ name, keys, line string }{
			{"Ctrl-A, Ctrl-E, Ctrl-B, Ctrl-F", "bd\x01a\x05e\x02\x02\x02c\x7f\x06\x02c", "acbde"},
			{"arrows, Home, End, Delete", "xbcy\x1b[D\x1b[D\x1b[D\x1b[Ca\x1b[H\x1b[3~\x1b[F\x7f", "bac"},
			{"Home and End as others send them", "b\x1bOHa\x1bOFc\x1b[1~<\x1b[4~>", "<abc>"},
			{"Ctrl-D in a line", "abc\x01\x04", "bc"},
			{"Ctrl-K, Ctrl-Y", "abc def\x01\x1bf\x0b\x01\x19-", " def-abc"},
			{"Ctrl-U", "lost\x15kept", "kept"},
			{"Ctrl-W, Ctrl-Y", "one two.three\x17\x01\x19 ", "two.three one "},
			{"Alt-D, Alt-B, Alt-Backspace", "one two three\x1bb\x1bb\x1bd\x1b[F\x1b\x7fx", "one  x"},
			{"Ctrl-Left, Ctrl-Right", "one two\x1b[1;5D_\x1b[1;5D_\x1b[1;5C!", "_one! _two"},
			{"Ctrl-T", "ab\x14c\x02\x14", "bca"},
			{"wide, combining, emoji", "日本e\u0301👍🏽x\x02\x7f\x02\x02_", "日_本e\u0301x"},
			{"Ctrl-V", "a\x16\x03\x16\tb\x16\x1b", "a\x03\tb\x1b"},
			{"no UTF-8", "\xff\xc3a\xe2\x82\x01\x1b[C\x1b[3~", "\xff\x61\xe2\x82"},
			{"what a terminal answers", "a\x1b[?2026;2$yb\x1b[24;80Rc\x1b]11;rgb:0000/0000/0000\x1b\\d\x1b[?1;2ce\x1bP>|xterm\x1b\\f", "abcdef"},
			{"history", "\x10\x10\x10\x10\x1b[A\x0e\x7f", "日_本e\u0301"},
		} {
			p.Type(c.keys + "\r")
			if got := s.line(t); got != c.line {
				t.Errorf("%s: sent was %q, want %q", c.name, got, c.line)
			}
		}
		p.Type("\x04")
		p.exits(0)
	}
}

// A line arrives to the byte, however long it is and whatever it has, typed or pasted.
func TestLinesArriveWhole(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 20, s.addr)
	p.sees("Enter data:")
	for _, n := range []int{4095, 4096, 4097, 100_000} {
		line := strings.Repeat("0123456789abcde日", n/16+1)[:n]
		for how, enter := range map[string]func(){
			"typed":  func() { p.Type(line + "\r") },
			"pasted": func() { p.Paste(line + "\r") },
		} {
			enter()
			if got := s.line(t); got != line {
				t.Errorf("%d bytes %s: %d have come", n, how, len(got))
			}
		}
	}
	all := make([]byte, 0, 256)
	for b := range 256 {
		if b != '\n' && b != '\r' {
			all = append(all, byte(b))
		}
	}
	p.Paste(string(all) + "\r\n\x1b[20\x1b[201")
	if got := s.line(t); got != string(all) {
		t.Errorf("all bytes pasted: %q have come", got)
	}
	p.types("Enter data: [201", "!\r")
	if got := s.line(t); got != "\x1b[20\x1b[201!" {
		t.Errorf("the rest of what was pasted is %q", got)
	}
	p.Type("\r")
	p.exits(0)
}

// Each line that is pasted is a request, shown with its reply, in order.
func TestPasteOfSeveralLines(t *testing.T) {
	s := startServer(t)
	p := sitAtClient(t, 80, s.addr)
	p.sees("Enter data:")
	p.Paste("one\rtwo\r\nthree\nhalf")
	p.sees("#1 - three ...", "Enter data: half")
	want := `Enter data: one
Client: sending [3] one ...
Client: server response: Request #1 - one ...
Enter data: two
Client: sending [3] two ...
Client: server response: Request #1 - two ...
Enter data: three
Client: sending [5] three ...
Client: server response: Request #1 - three ...
Enter data: half`
	if got := p.dialogueOf(); !strings.HasSuffix(got, want) {
		t.Errorf("the screen shows\n%s\nwant at its end\n%s", got, want)
	}
	p.Type("\x15\x04")
	p.exits(0)
}

// What is typed while a reply is awaited is kept, and shown once it is asked for.
func TestTypingAhead(t *testing.T) {
	s := startCounterpart(t, "")
	p := sitAtClient(t, 80, s.addr)
	p.types("Enter data:", "first\r")
	conn := s.conn(t)
	s.line(t)
	p.Type("second\rhalf")
	p.sees("sending [5] first ...\nhalf")
	io.WriteString(conn, "reply 1\n")
	p.sees("Client: server response: reply 1", "Enter data: second\nClient: sending [6] second ...\nhalf")
	io.WriteString(conn, "reply 2\n")
	p.sees("Enter data: half")
	p.Type(" a line\r")
	if got := s.line(t) + s.line(t); got != "secondhalf a line" {
		t.Errorf("sent was %q", got)
	}
	io.WriteString(conn, "reply 3\n")
	p.types("reply 3", "\x04")
	p.exits(0)
}

// What the server says unasked appears above the line, which stays as it is, also on a terminal that becomes
// narrower and wider; nothing of it moves the cursor or gives a colour.
func TestServerSpeaksWhileSomebodyTypes(t *testing.T) {
	for _, columns := range []int{80, 20} {
		s := startCounterpart(t, "")
		p := sitAtClient(t, columns, s.addr)
		p.types("Enter data:", "half of a 日本 line which is long")
		p.sees("is long")
		conn := s.conn(t)
		io.WriteString(conn, "\x1b[2J\x1b[31mred\x07\x9b31m\u202e\r\n")
		io.WriteString(conn, strings.Repeat("long ", 100)+"end\n")
		p.sees("ng end\nEnter data: ", "is long")
		if shown := strings.ReplaceAll(p.Text(), "\n", ""); !strings.Contains(shown, `Client: server message: \x1b[2J\x1b[31mred\x07\x9b31m\xe2\x80\xae`) {
			t.Errorf("the screen shows\n%s", p.Text())
		}
		if raw := p.Raw(); strings.Contains(raw, "\x1b[31m") || strings.Contains(raw, "\x07") || strings.Contains(raw, "\u202e") {
			t.Errorf("the terminal got %q", raw)
		}
		for _, columns := range []int{20, 50, 14, 8, 80} {
			p.Resize(columns, 24)
			p.Type(".")
			// The line is one row, of which the cursor stands at the end.
			rows := func(text string) bool {
				lines := strings.Split(text, "\n")
				last := lines[len(lines)-1]
				column, _, shown := p.Cursor()
				return strings.HasSuffix(last, ".") && shown && column == displaywidth.String(last) && column < columns
			}
			if err := p.Await("the line in one row, with the cursor at its end", rows, 0); err != nil {
				t.Fatal(err)
			}
		}
		p.types("Enter data: half of a 日本 line which is long.....", "\r")
		if got := s.line(t); got != "half of a 日本 line which is long....." {
			t.Errorf("sent was %q", got)
		}
		conn.Close()
		p.exits(1)
	}
}

// How long a reply took stands dim at the right edge: beside the reply, or below it if that leaves no room.
func TestTimeOfAReplyIsAtTheRightEdge(t *testing.T) {
	s := startServer(t, "--reply", "{message}")
	for _, columns := range []int{80, 20} {
		p := sitAtClient(t, columns, s.addr)
		p.sees("Enter data:")
		for _, length := range []int{1, columns - 25, columns, 3*columns - 25} {
			if length < 1 {
				continue
			}
			line := strings.Repeat("x", length)
			p.Paste(line + "\r")
			p.sees(line[:1])
			took := ""
			eventually(t, "the prompt is there again, behind a time", func() bool {
				rows := strings.Split(p.Text(), "\n")
				took = rows[max(0, len(rows)-2)]
				return rows[len(rows)-1] == "Enter data:" && regexp.MustCompile(`(^| {2,})\d+(\.\d+)? (µs|ms|s)$`).MatchString(took)
			})
			if displaywidth.String(took) != columns {
				t.Errorf("%d columns, %d bytes: the row is %q, %d columns wide", columns, length, took, displaywidth.String(took))
			}
			eventually(t, "the time is dim", func() bool {
				_, row, _ := p.Cursor()
				cell := p.Cell(columns-1, row-1)
				return cell != nil && cell.Style.Attrs&uv.AttrFaint != 0
			})
		}
		p.Type("\x04")
		p.exits(0)
	}
}

// What was half typed when the server left is shown, and the end is said once, with its reason.
func TestServerLeavesWhileSomebodyTypes(t *testing.T) {
	for _, columns := range []int{80, 20} {
		s := startCounterpart(t, "")
		p := sitAtClient(t, columns, s.addr)
		p.types("Enter data:", "half a line")
		p.sees("a line")
		s.conn(t).Close()
		p.exits(1)
		shown := strings.ReplaceAll(p.Text(), "\n", "")
		if want := "Client: not sent: half a lineClient: Connection closed (closed by the server)"; !strings.HasSuffix(shown, want) || strings.Count(shown, "closed") != 2 {
			t.Errorf("the screen shows\n%s", p.Text())
		}
		if columns == 80 && !strings.Contains(p.Text(), "\nEnter data: half a line\nClient: not sent") {
			t.Errorf("the screen shows\n%s", p.Text())
		}
	}
}

// Lines that were typed ahead of a reply which does not come are shown too.
func TestServerLeavesBeforeItReplies(t *testing.T) {
	s := startCounterpart(t, "")
	p := sitAtClient(t, 80, s.addr)
	p.types("Enter data:", "a\r")
	conn := s.conn(t)
	s.line(t)
	p.Paste("rm -rf\rls")
	p.sees("\nls")
	conn.Close()
	p.exits(1)
	p.sees("Client: not sent: rm -rf\\nls\nClient: Connection closed (closed by the server before it replied)\n")
}

// A paste that has a blank line in it ends there, and what was pasted behind it is not for the shell.
func TestPasteWithABlankLine(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, s.addr)
	p.sees("Enter data:")
	p.Paste("a\r\rrm -rf\r")
	p.exits(0)
	p.sees("response: ok", "Client: not sent: rm -rf\nClient: Connection closed")
}

// sitAtShell runs an interactive shell.
func sitAtShell(t *testing.T) *typist {
	t.Helper()
	p := sit(t, 80, "", peer(t, "bash", "--norc", "--noprofile", "-i"))
	p.sees("ready>")
	return p
}

// asks has the shell run a command that prints; what it prints is awaited, and returned.
func (p *typist) asks(command string) string {
	p.t.Helper()
	p.asked++
	p.Type(fmt.Sprintf("%s; echo d''one %d\r", command, p.asked))
	end := fmt.Sprintf("done %d\nready>", p.asked)
	p.sees("\n" + end)
	typed, text := fmt.Sprintf("echo d''one %d\n", p.asked), p.Text()
	printed := text[strings.LastIndex(text, typed)+len(typed):] // typed before the prompt was there it is shown twice
	printed, _, _ = strings.Cut(printed, end)
	return printed
}

// After Ctrl-Z the terminal is as the shell had it; after fg the prompt is there again, with what was typed.
func TestStoppedAndContinued(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtShell(t)
	before := p.asks("stty -a")
	p.types("ready>", "parley client "+s.addr+"\r")
	p.types("Enter data:", "half")
	p.types("Enter data: half", "\x1a")
	p.sees("Stopped")
	conn := s.conn(t)
	io.WriteString(conn, "news\n")
	if stopped := p.asks("stty -a"); stopped != before {
		t.Errorf("the shell's terminal was\n%sand is\n%s", before, stopped)
	}
	p.types("ready>", "fg\r")
	p.types("Client: server message: news\nEnter data: half", " a line\r")
	if got := s.line(t); got != "half a line" {
		t.Errorf("sent was %q", got)
	}
	p.types("response: ok", "\x1a")
	p.types("Stopped", "bg; sleep 0.3; kill -TERM %1; wait %1; echo code $?\r") // in the background it takes the terminal from nobody
	p.sees("code 143")
	if after := p.asks("stty -a"); after != before {
		t.Errorf("the shell's terminal was\n%sand is\n%s", before, after)
	}
}

// At a terminal whose cursor cannot be moved the prompt comes back too.
func TestContinuedInThePlainWay(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtShell(t)
	p.types("ready>", "TERM=dumb parley client "+s.addr+"\r")
	p.types("Enter data:", "\x1a")
	p.types("Stopped", "fg\r")
	p.types("\nTERM=dumb parley client "+s.addr+"\nEnter data:", "a line\r")
	if got := s.line(t); got != "a line" {
		t.Errorf("sent was %q", got)
	}
	p.types("response: ok\nEnter data:", "\r")
	p.sees("\nEnter data: a line\nClient: sending [6] a line ...\nClient: server response: ok\nEnter data:\nClient: Connection closed")
}

// However the client ends, the shell behind has its terminal as it was, and runs nothing of what was typed
// for the client.
func TestShellBehindTheClient(t *testing.T) {
	for _, c := range []struct{ name, end, code string }{
		{"the server leaves", "", "1"}, {"SIGTERM", "TERM", "143"}, {"SIGHUP", "HUP", "129"}, {"Ctrl-C", "\x03", "130"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := startCounterpart(t, ""), sitAtShell(t)
			before := p.asks("stty -a")
			p.Type("(echo $BASHPID >" + p.state + "/pid; exec parley client " + s.addr + "); echo code $?\r")
			p.types("Enter data:", "touch owned; echo own''ed")
			p.sees("Enter data: touch owned; echo own''ed")
			conn := s.conn(t)
			p.Type("\x1b[200~\recho mo''re\rand mo") // a paste that has not ended
			p.sees("and mo")
			s.line(t)
			switch len(c.end) {
			case 0:
				conn.Close()
			case 1:
				p.Type("\x1b[201~" + c.end)
			default:
				pid, err := os.ReadFile(filepath.Join(p.state, "pid"))
				if err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command("kill", "-"+c.end, strings.TrimSpace(string(pid))).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			p.sees("Client: not sent: echo mo''re\\nand mo\n", "\ncode "+c.code+"\n")
			if after := p.asks("stty -a"); after != before {
				t.Errorf("the shell's terminal was\n%sand is\n%s", before, after)
			}
			if text := p.Text(); strings.Contains(text, "owned\n") || strings.Contains(text, "more\n") {
				t.Errorf("the shell has run what was typed:\n%s", text)
			}
		})
	}
}

// What is typed behind the end is for the shell.
func TestShellGetsWhatIsTypedBehindTheEnd(t *testing.T) {
	s, p := startCounterpart(t, "ok\n"), sitAtShell(t)
	p.Type("parley client " + s.addr + "\r")
	p.types("Enter data:", "a\r\recho for the sh''ell\r")
	p.sees("Client: Connection closed", "\nfor the shell\n")
}

// The history lasts beyond the run, is its owner's alone, and has no secret.
func TestHistoryLasts(t *testing.T) {
	s := startServer(t, "-f", "redis", "--reply", "OK")
	state := t.TempDir()
	at := func(args ...string) *typist {
		p := sit(t, 80, state, program(t, append([]string{"client", "-f", "redis", s.addr}, args...)...))
		p.sees("Enter data:")
		return p
	}
	p := at()
	for i, line := range []string{"SET a 1", "SET a 1", "AUTH hunter2", "SET b \"x\ty\"", "GET \"a"} {
		p.Type(strings.ReplaceAll(line, "\t", "\x16\t") + "\r")
		if i < 4 {
			eventually(t, "it is replied to", func() bool { return strings.Count(p.Text(), "response: OK") == i+1 })
		}
	}
	p.types("not sent: GET \"a (a quote is not closed)", "\x10")
	p.types("Enter data: GET \"a", "\x15\x04")
	p.exits(0)

	file := filepath.Join(state, "parley", "history")
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "SET a 1\nSET b \\\"x\\ty\\\"\n"; string(kept) != want {
		t.Errorf("the history has\n%swant\n%s", kept, want)
	}
	for path, want := range map[string]fs.FileMode{file: 0o600, filepath.Dir(file): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}

	p = at()
	p.Type("\x10")
	p.types(`Enter data: SET b "x\ty"`, "\x10")
	p.types("Enter data: SET a 1", "\x0e\x0e\x04")
	p.exits(0)

	p = at("--no-history")
	p.Type("GET a\r")
	p.types("response: OK", "\x10\x10\x10")
	p.types("Enter data: GET a", "\x15\x04")
	p.exits(0)
	if now, _ := os.ReadFile(file); string(now) != string(kept) {
		t.Errorf("with --no-history the history has become\n%s", now)
	}

	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	p = at()
	p.Type("GET a\r")
	p.types("response: OK", "\x04")
	p.exits(0)
	if text := strings.ReplaceAll(p.Text(), "\n", ""); strings.Count(text, "the history is not kept: ") != 1 || !strings.Contains(text, "; --no-history does without") {
		t.Errorf("the screen shows\n%s", p.Text())
	}
}

func TestHistoryIsSearched(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	for _, columns := range []int{80, 20} {
		p := sitAtClient(t, columns, s.addr)
		p.sees("Enter data:")
		for _, line := range []string{"first get", "second put", "third get", "fourth put"} {
			p.Type(line + "\r")
			s.line(t)
		}
		for _, c := range []struct{ name, keys, line string }{
			{"the newest", "\x12get\r", "third get"},
			{"further", "\x12get\x12\r", "first get"}, // the other is there twice by now
			{"typed on", "\x12s\x12ec\x12\r", "second put"},
			{"nothing further", "\x12second\x12\r", "second put"},
			{"a letter less", "\x12putx\x7f\r", "second put"},
			{"Esc gives back", "typed\x12get\x1b", ""},
			{"so does Ctrl-G", "\x12get\x07!\r", "typed!"},
			{"taken for editing", "\x12fourth\x1b[C\x05?\r", "fourth put?"},
		} {
			p.Type(c.keys)
			if c.line == "" {
				p.sees("Enter data: typed")
			} else if got := s.line(t); got != c.line {
				t.Errorf("%s: sent was %q, want %q", c.name, got, c.line)
			}
		}
		p.Type("\x12put")
		p.sees("'put': ")
		p.Type("\x07\x04")
		p.exits(0)
	}
}

func TestTabCompletesFromTheHistory(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, s.addr)
	p.sees("Enter data:")
	for _, line := range []string{"get one", "get two", "put 日本 x", "put 日没 y"} {
		p.Type(line + "\r")
		s.line(t)
	}
	eventually(t, "the last reply is shown", func() bool {
		return strings.Count(p.Text(), "response: ok") == 4 && strings.HasSuffix(p.Text(), "\nEnter data:")
	})
	p.Type("g\t")
	p.types("Enter data: get", "\t")
	p.types("\nget two\nget one\nEnter data: get", "t\t\r")
	if got := s.line(t); got != "get two" {
		t.Errorf("sent was %q", got)
	}
	p.Type("p\t!\r") // a character is never cut
	if got := s.line(t); got != "put 日!" {
		t.Errorf("sent was %q", got)
	}
	p.Type("nothing\t\r")
	if got := s.line(t); got != "nothing" {
		t.Errorf("sent was %q", got)
	}
	p.Type("\x04")
	p.exits(0)
}

// With standard output elsewhere its bytes are as ever, and the prompt, the typing and the keys are on standard
// error's terminal.
func TestEditingWithTheNarrativeElsewhere(t *testing.T) {
	s := startServer(t, "--reply", "reply to {message}")
	for flag, want := range map[string]string{
		"":   "Client: Connected to " + s.addr + "\nClient: sending [5] hello ...\nClient: server response: reply to hello\nClient: Connection closed\n",
		"-q": "reply to hello\n",
	} {
		args := []string{"client", s.addr}
		if flag != "" {
			args = append(args, flag)
		}
		cmd, out := program(t, args...), newOutput()
		cmd.Stdout = out
		p := sit(t, 80, "", cmd)
		eventually(t, "the terminal is changed", func() bool { return strings.Contains(p.Raw(), "\x1b[?2004h") })
		p.Type("helo\x02l\r")
		out.await(t, "reply to hello\n")
		p.Type("\x04")
		p.exits(0)
		if got := out.String(); got != want {
			t.Errorf("%s: standard output has\n%swant\n%s", flag, got, want)
		}
		screen := "Enter data: hello\nEnter data:"
		if flag == "-q" {
			screen = "hello"
		}
		if got := p.Text(); got != screen {
			t.Errorf("%s: the screen shows\n%s\nwant\n%s", flag, got, screen)
		}
	}
}

// With replies only, or events, the line is edited without a prompt.
func TestEditingWithoutAPrompt(t *testing.T) {
	s := startServer(t)
	p := sitAtClient(t, 80, "-q", s.addr)
	eventually(t, "the terminal is changed", func() bool { return strings.Contains(p.Raw(), "\x1b[?2004h") })
	p.Type("helo\x02l\r")
	p.types("hello\nRequest #1 - hello ...", "half")
	p.types("\nhalf", "\x15\x04")
	p.exits(0)
	p = sitAtClient(t, 240, "--json", "--node", "n", s.addr)
	p.types(`{"event":"opened"`, "helo\x02l\r")
	p.types(`"payload":"Request #2 - hello ..."`, "half")
	p.types("\nhalf", "")
	s.stop(t, syscall.SIGTERM)
	p.exits(1)
	p.sees(`{"event":"not_sent"`, `"payload":"half"}`)
}

// A line behind /secret is neither shown nor kept, also if it is typed ahead or pasted; commands are completed.
func TestSecretsAndCommandsInTheEditor(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, s.addr)
	p.types("Enter data:", "/secr\t\r")
	p.types("/secret\nEnter data:", "hunter2\x02\x02")
	p.Type("\x10\x12\t\r") // there is no history, no search and no completion of one
	if got := s.line(t); got != "hunter2" {
		t.Errorf("sent was %q", got)
	}
	p.types("response: ok", "\x10")
	p.types("Enter data: /secret", "\x15")
	p.Paste("/secret\rsesame\rnext\r")
	if got := s.line(t) + s.line(t); got != "sesamenext" {
		t.Errorf("sent was %q", got)
	}
	p.types("Enter data: next", "\x04")
	p.exits(0)
	kept, err := os.ReadFile(filepath.Join(p.state, "parley", "history"))
	if err != nil || string(kept) != "/secret\nnext\n" {
		t.Errorf("the history has\n%s%v", kept, err)
	}
	if strings.Contains(p.Raw(), "hunter") {
		t.Errorf("the screen had the secret: %q", p.Raw())
	}
	if strings.Contains(p.Text(), "sesame") {
		t.Errorf("the screen shows\n%s", p.Text())
	}
}

// What was typed while the client connects is kept for the prompt, or shown as not sent.
func TestTypingBeforeThereIsAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := sitAtClient(t, 80, "--reconnect", addr)
	p.types("reconnecting to ", "early")
	p.types("early", "\x03")
	p.exits(130)
	p.sees("Client: not sent: early")
}

// With --hex the time stands beside the line above the dump.
func TestTimeBesideADump(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, "--hex", s.addr)
	p.types("Enter data:", "a\r")
	p.sees("Client: server response [2]:")
	p.Type("\x04")
	p.exits(0)
	if !regexp.MustCompile(`\nClient: server response \[2\]: {10,}\d.* [µm]?s\n0*  6f 6b`).MatchString(p.Text()) {
		t.Errorf("the screen shows\n%s", p.Text())
	}
}

// Without job control nobody would have the client go on after Ctrl-Z: it does so by itself. Ctrl-L clears.
func TestControlZWithoutAShellAndControlL(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, s.addr)
	p.types("Enter data:", "half\x1a")
	p.types("Enter data: half\nEnter data: half", " a line\x0c")
	eventually(t, "the line stands at the top", func() bool {
		_, row, _ := p.Cursor()
		return row == 0
	})
	p.Type("!\r")
	if got := s.line(t); got != "half a line!" {
		t.Errorf("sent was %q", got)
	}
	p.types("response: ok", "\x04")
	p.exits(0)
}

// Without colours nothing is dim; a terminal that is not known gets no sequence at all.
func TestTerminalsWithLess(t *testing.T) {
	s := startCounterpart(t, "ok\n")
	p := sitAtClient(t, 80, s.addr, "--color", "never")
	p.types("Enter data:", "a\r")
	p.types("response: ok", "\x04")
	p.exits(0)
	if raw := p.Raw(); strings.Contains(raw, "m") && regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(raw) {
		t.Errorf("the terminal got %q", raw)
	}
	cmd := program(t, "client", s.addr)
	cmd.Env = append(cmd.Environ(), "TERM=")
	plain, err := screen.Start(cmd, 80, 24)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	p = &typist{Screen: plain, t: t}
	p.types("Enter data:", "a\r")
	p.types("response: ok", "\x04")
	p.exits(0)
	if raw := p.Raw(); strings.Contains(raw, "\x1b") {
		t.Errorf("the terminal got %q", raw)
	}
}

// Where even the terminal takes nothing more, a second signal ends the client, with the terminal given back.
func TestTerminalIsGivenBackByASecondSignal(t *testing.T) {
	s := startCounterpart(t, "")
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "client", s.addr)
	cmd.Env = append(os.Environ(), "TERM=xterm", "XDG_STATE_HOME="+t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := start(t, cmd)
	conn := s.conn(t)
	flooded := make(chan struct{})
	go func() { // until the client reads no more, since nobody reads what it shows
		defer close(flooded)
		for {
			conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := conn.Write(bytes.Repeat([]byte("a message of the server\n"), 1000)); err != nil {
				return
			}
		}
	}()
	<-flooded
	insist(t, p)
	if after, err := term.GetState(int(tty.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is %v, %v, was %v", after, err, before)
	}
}
