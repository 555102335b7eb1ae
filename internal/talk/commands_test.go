package talk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

// A typist types lines, and waits then.
type typist struct {
	lines  []string
	hidden []string // that were typed while they were hidden
	hides  bool

	remembered []string
	stop       chan struct{}
}

func (f *typist) Read(p []byte) (int, error) {
	if len(f.lines) == 0 {
		<-f.stop
		return 0, talk.ErrStopped
	}
	line := f.lines[0]
	f.lines = f.lines[1:]
	if f.hides {
		f.hidden = append(f.hidden, line)
	}
	return copy(p, line+"\n"), nil
}

func (f *typist) Stop() bool {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	return true
}

var _ talk.Typist = (*typist)(nil)

func (f *typist) TakePending(bool) []byte { return nil }
func (f *typist) Hide(hidden bool)        { f.hides = hidden }

func (f *typist) Remember(line []byte, _ bool) { f.remembered = append(f.remembered, string(line)) }

// typing has a conversation with somebody who types these lines, and a blank one.
func typing(lines ...string) (*typist, func(c *talk.Conversation) error) {
	who := &typist{lines: append(lines, ""), stop: make(chan struct{})}
	return who, func(c *talk.Conversation) error { return c.Lines(context.Background(), who) }
}

// typed is converse as somebody at a terminal sees it, who sees what he types besides.
func typed(t *testing.T, serve func(*parleytest.Conn), client func(*talk.Conversation) error) (shown string, err error) {
	t.Helper()
	var out bytes.Buffer
	_, _, err = converse(t, parley.Lines, serve, func(c *talk.Conversation) error {
		c.View = console.NewClientNarrative(&out, nil, console.Typed)
		return client(c)
	})
	return strings.ReplaceAll(out.String(), "Client: ", ""), err
}

// Who writes the secret on the line of the command finds it neither sent nor in the history.
func TestSecretBehindItsCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who, client := typing("/secret hunter2", "open")
		shown, err := typed(t, echoes, client)
		want := "Connected to s\nEnter data: /secret: type it alone, and the secret as the next line; this line was neither sent nor kept\n" +
			"Enter data: sending [4] open ...\nserver response: open\n"
		if !strings.HasPrefix(shown, want) || err != nil || !slices.Equal(who.remembered, []string{"open"}) {
			t.Errorf("%v, remembered %q, shown\n%swant\n%s", err, who.remembered, shown, want)
		}
	})
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "request")
	for name, text := range map[string]string{"request": "from a file\n", "two": "one\ntwo\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	big, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	big.Truncate(16<<20 + 1)
	big.Close()
	said := func(text string) string {
		return fmt.Sprintf("sending [%d] %s ...\nserver response: %[2]s\n", len(text), text)
	}
	for _, c := range []struct {
		typed []string
		want  string // between the first prompt and the last
	}{
		{[]string{"//x"}, said("/x")},
		{[]string{"//"}, said("/")},
		{[]string{"/hex 61 62"}, said("ab")},
		{[]string{"/hex 61 6"}, "/hex: \"61 6\" are no bytes; write two hexadecimal digits for each, as in /hex 00 ff\n"},
		{[]string{"/hex"}, "/hex: which bytes? two hexadecimal digits each, as in /hex 00 ff\n"},
		{[]string{"/hex 0a"}, "/hex: not sent: a newline at byte 0 would end the message early"},
		{[]string{"/file " + file}, said("from a file")},
		{[]string{"/file " + filepath.Join(dir, "two")}, "/file: not sent: a newline at byte 3 would end the message early"},
		{[]string{"/file " + filepath.Join(dir, "empty")}, "/file: " + filepath.Join(dir, "empty") + " is empty\n"},
		{[]string{"/file " + filepath.Join(dir, "big")}, "/file: " + filepath.Join(dir, "big") + " has more than 16 MiB, which is the most that is sent as one request\n"},
		{[]string{"/file " + filepath.Join(dir, "none")}, "/file: cannot read " + filepath.Join(dir, "none") + ": no such file\n"},
		{[]string{"/file " + dir}, "/file: cannot read " + dir + ": it is a directory\n"},
		{[]string{"/file"}, "/file: which file? as in /file request.bin\n"},
		{[]string{"/repeat 2"}, "/repeat: nothing has been sent that could be sent again\n"},
		{[]string{"a", "/repeat 2"}, said("a") + "Enter data: " + said("a") + said("a")},
		{[]string{"a", "/repeat 2 1h"}, said("a") + "Enter data: " + said("a") + said("a")},
		{[]string{"/repeat"}, "/repeat: how often? as in /repeat 10 or /repeat 10 500ms\n"},
		{[]string{"/repeat 0"}, "/repeat: \"0\" is no number from 1 to 1000000\n"},
		{[]string{"/repeat 2 soon"}, "/repeat: \"soon\" is no time; write one with its unit, such as 500ms or 2s\n"},
		{[]string{"/framing"}, "framing f\n"},
		{[]string{"/framing x"}, "/framing: it cannot be changed here\n"},
		{[]string{"/save x"}, "/save: nothing is kept here that could be saved\n"},
		{[]string{"/reconnect"}, "/reconnect: there is no way to connect again\n"},
		{[]string{"/hlp"}, "no command is called /hlp (did you mean /help"},
		{[]string{"/"}, "no command is called /; /help lists them; nothing was sent"},
		{[]string{"/etc/passwd"}, "no command is called /etc/passwd; /help lists them; nothing was sent"},
		{[]string{"/help"}, "  /help             this list\n"},
		{[]string{"/time on"}, "/time: it takes nothing behind it\n"},
		{[]string{"/close now"}, "/close: it takes nothing behind it\n"},
		{[]string{"/info"}, "connected  to s since 2000-01-01 00:00:00 UTC (0s)\naddresses  "},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, client := typing(c.typed...)
			shown, err := typed(t, echoes, client)
			got := strings.TrimPrefix(shown, "Connected to s\nEnter data: ")
			if !strings.HasPrefix(got, c.want) || err != nil {
				t.Errorf("%q: %v, shown\n%swant\n%s", c.typed, err, got, c.want)
			}
		})
	}
}

// In a pipe a line that begins with a slash is a line.
func TestNoCommandsInAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown, _, err := converse(t, parley.Lines, echoes, lines("/help\n//x\n"))
		check(t, "", shown, "Connected to s\nEnter data: /help\nsending [5] /help ...\nserver response: /help\nEnter data: //x\nsending [3] //x ...\nserver response: //x\nEnter data: \nConnection closed\n", err, "")
	})
}

// What is typed behind /secret is sent and not shown, also where the server says it again; it is not
// sent again either.
func TestSecretIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who, client := typing("/secret", "/hunter2", "b")
		shown, err := typed(t, echoes, client)
		check(t, "", shown, "Connected to s\nEnter data: Enter data: sending [8] (secret) ...\nserver response: (secret)\nEnter data: sending [1] b ...\nserver response: b\nEnter data: Connection closed\n", err, "")
		if !slices.Equal(who.hidden, []string{"/hunter2"}) {
			t.Errorf("hidden was %q, want /hunter2 alone", who.hidden)
		}
		if !slices.Equal(who.remembered, []string{"/secret", "b"}) {
			t.Errorf("remembered is %q, want /secret and b", who.remembered)
		}
	})
}

// Nor is one shown that cannot be sent, nor any line of a secret request of several.
func TestSecretThatIsNotSentIsNotShown(t *testing.T) {
	memcached, err := dialect.Parse("memcached")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		set    func(c *talk.Conversation)
		typed  []string
		hidden []string
	}{
		{"no escape", func(c *talk.Conversation) { c.Escapes = true }, []string{"/secret", `hunter2\q`, "b"}, []string{`hunter2\q`}},
		{"several lines", func(c *talk.Conversation) { c.Framing, c.Single = memcached, nil }, []string{"/secret", "set hunter2 0 0 7", "hunter2"}, []string{"set hunter2 0 0 7", "hunter2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			who, client := typing(c.typed...)
			stores := func(s *parleytest.Conn) {
				s.Read(make([]byte, 100))
				io.WriteString(s, "STORED\r\n")
				readsOn(s)
			}
			shown, _ := typed(t, stores, func(conversation *talk.Conversation) error {
				c.set(conversation)
				return client(conversation)
			})
			if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "(secret)") {
				t.Errorf("%s: shown\n%swant (secret) in place of hunter2", c.name, shown)
			}
			if !slices.Equal(who.hidden, c.hidden) {
				t.Errorf("%s: hidden was %q, want %q", c.name, who.hidden, c.hidden)
			}
			if all := strings.Join(who.remembered, "|"); strings.Contains(all, "hunter2") {
				t.Errorf("%s: remembered is %q", c.name, all)
			}
		})
	}
}

// Nor where what the server says again is no whole reply.
func TestSecretInAnUnfinishedReplyIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := typing("/secret", "hunter2")
		shown, err := typed(t, func(s *parleytest.Conn) {
			s.Read(make([]byte, 100))
			io.WriteString(s, "you said hunter2")
			readsOn(s)
		}, client)
		if err == nil || strings.Contains(shown+err.Error(), "hunter2") || !strings.Contains(shown, "unfinished response: you said (secret)") {
			t.Errorf("%v, shown\n%swant (secret) in place of hunter2", err, shown)
		}
	})
}

// /reconnect has another connection, and /close ends in good order.
func TestReconnectAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		served := make(chan struct{}, 2)
		c := conversation(nil, parley.Lines, console.NewClientNarrative(&out, nil, console.Typed))
		c.Conn = nil
		c.Dial = func(context.Context) (net.Conn, error) {
			ours, theirs := parleytest.ConnPair()
			go func() { echoes(theirs); served <- struct{}{} }()
			return ours, nil
		}
		who, client := typing("a", "/reconnect", "b", "/close", "never")
		if err := client(c); err != nil {
			t.Error(err)
		}
		<-served
		<-served
		want := "Connected to s\nEnter data: sending [1] a ...\nserver response: a\nEnter data: Connection closed (to reconnect)\nConnected to s\nEnter data: sending [1] b ...\nserver response: b\nEnter data: Connection closed\n"
		if got := strings.ReplaceAll(out.String(), "Client: ", ""); got != want {
			t.Errorf("shown\n%swant\n%s", got, want)
		}
		if len(who.lines) != 2 {
			t.Errorf("behind /close %q is left to read, want never and the blank line", who.lines)
		}
	})
}

// The framing changes between two messages, and not inside one.
func TestFramingChangesBetweenMessages(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"", "framing chunk from here on\nEnter data: sending [1] b ...\nserver response: b\nEnter data: Connection closed\n"},
		{"half", "/framing: it stays f: 4 bytes of a message came that is not whole in it, \"half\"\nEnter data: sending [1] b ...\nserver response: halfb\nEnter data: Connection closed\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			serve := func(s *parleytest.Conn) {
				s.Read(make([]byte, 10))
				io.WriteString(s, "a\n"+c.said)
				buf := make([]byte, 10)
				n, _ := s.Read(buf)
				s.Write(append(bytes.TrimSuffix(buf[:n], []byte("\n")), "\n"...))
				readsOn(s)
				s.Close()
			}
			_, client := typing("a", "/framing chunk", "b")
			shown, err := typed(t, serve, func(c *talk.Conversation) error {
				c.Commands.Reframe = func(name string) error {
					f, err := dialect.Parse(name)
					c.Framing, c.Single = f, f.Requests
					return err
				}
				return client(c)
			})
			check(t, c.said, shown, "Connected to s\nEnter data: sending [1] a ...\nserver response: a\nEnter data: "+c.want, err, "")
		})
	}
}

func TestCompletions(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "one"), nil, 0o600)
	os.Mkdir(filepath.Join(dir, "other"), 0o700)
	for line, want := range map[string][]string{
		"":                      nil,
		"a":                     nil,
		"//":                    nil,
		"/re":                   {"/repeat", "/reconnect"},
		"/framing me":           {"/framing memcached"},
		"/framing line/cl":      {"/framing line/close"},
		"/file " + dir + "/o":   {"/file " + dir + "/one", "/file " + dir + "/other/"},
		"/save " + dir + "/on":  {"/save " + dir + "/one"},
		"/hex 0":                nil,
		"/nothing of that name": nil,
	} {
		if got := talk.Complete(line); !slices.Equal(got, want) {
			t.Errorf("%q may become %q, want %q", line, got, want)
		}
	}
}

func TestEscapes(t *testing.T) {
	for typed, want := range map[string]string{
		"":                      "",
		"plain":                 "plain",
		`a\r\n\t\\b`:            "a\r\n\t\\b",
		`\x00\xfF\x41`:          "\x00\xffA",
		`\\n`:                   `\n`,
		`a\`:                    `byte 2: a \ at the end is no escape; \\ stands for one`,
		`\q`:                    `byte 1: \q is no escape; there are \r \n \t \xNN and \\`,
		`ab\ö`:                  `byte 3: \ö is no escape; there are \r \n \t \xNN and \\`,
		`\x4`:                   `byte 1: \x4 is no escape; \x wants two hexadecimal digits, as in \x0d`,
		`\x4g`:                  `byte 1: \x4g is no escape; \x wants two hexadecimal digits, as in \x0d`,
		`\x+1`:                  `byte 1: \x+1 is no escape; \x wants two hexadecimal digits, as in \x0d`,
		strings.Repeat(`\\`, 5): `\\\\\`,
	} {
		got, err := talk.Unescape([]byte(typed))
		if text := string(got); text != want && (err == nil || err.Error() != want) {
			t.Errorf("%q: %q, %v; want %q", typed, text, err, want)
		}
	}
}

// A bad escape sends nothing, and is named with its line.
func TestBadEscapeSendsNothing(t *testing.T) {
	for _, window := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, parley.Chunks, echoes, func(c *talk.Conversation) error {
				c.Escapes, c.Window = true, window
				return c.Lines(t.Context(), strings.NewReader("a\\x42\n\\q\nb\n"))
			})
			check(t, "", "", "", err, `the request was not sent: line 2 of the input, byte 1: \q is no escape; there are \r \n \t \xNN and \\`)
			if !strings.Contains(shown, "response: aB\n") || strings.Contains(shown, "q ...") || strings.Contains(shown, "sending [1] b") {
				t.Errorf("shown\n%s", shown)
			}
			var local *talk.Error
			if !errors.As(err, &local) || !local.Local {
				t.Errorf("it is told as the network's doing: %v", err)
			}
		})
	}
}

// What has no backslash is as it was typed; what is meant is never longer; and bytes written as escapes
// come back.
func FuzzUnescape(f *testing.F) {
	f.Add([]byte(`a\r\n\x41`))
	f.Add([]byte(`\`))
	f.Fuzz(func(t *testing.T, typed []byte) {
		meant, err := talk.Unescape(typed)
		if err == nil && len(meant) > len(typed) {
			t.Errorf("%q has become the longer %q", typed, meant)
		}
		if !bytes.Contains(typed, []byte(`\`)) && (err != nil || !bytes.Equal(meant, typed)) {
			t.Errorf("%q has become %q, %v", typed, meant, err)
		}
		var written []byte
		for _, b := range typed {
			written = fmt.Appendf(written, `\x%02x`, b)
		}
		if back, err := talk.Unescape(written); err != nil || !bytes.Equal(back, typed) {
			t.Errorf("%s has become %q, %v", written, back, err)
		}
	})
}

// Whatever is typed, a command sends nothing that was not asked for, and never panics; what begins with
// two slashes is never a command.
func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{"/help", "/hex 00 ff", "/repeat 1 1s", "//x", "/ x", "/framing \x00"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		name, args, is := talk.ParseCommand(line)
		if is != (strings.HasPrefix(line, "/") && !strings.HasPrefix(line, "//")) || strings.Contains(name, " ") || strings.TrimSpace(args) != args {
			t.Errorf("%q is the command %q with %q, %v", line, name, args, is)
		}
		for _, completed := range talk.Complete(line) {
			if !strings.HasPrefix(completed, line) {
				t.Errorf("%q may become %q", line, completed)
			}
		}
	})
}
