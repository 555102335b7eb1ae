//go:build unix

package talk_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

// patience bounds every wait for an event; only a failing test uses it up.
const patience = 30 * time.Second

// A desk is a pseudo-terminal, seen from both of its ends.
type desk struct {
	keys *os.File // where somebody types, and looks at the screen
	tty  *os.File // what the program has
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	keys, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close(); tty.Close() })
	return &desk{keys, tty}
}

// types types text and waits until the terminal has it: its echo is on the screen.
func (d *desk) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(d.keys, text); err != nil {
		t.Fatal(err)
	}
	d.keys.SetReadDeadline(time.Now().Add(patience))
	echo := strings.ReplaceAll(strings.ReplaceAll(text, "\x04", ""), "\n", "\r\n")
	if _, err := io.ReadFull(d.keys, make([]byte, len(echo))); err != nil {
		t.Fatalf("%v while waiting for the echo of %q", err, text)
	}
}

// next is the line that who reads the terminal next gets.
func (d *desk) next(t *testing.T) string {
	t.Helper()
	d.types(t, "next\n")
	buf := make([]byte, 100)
	n, err := d.tty.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// What was typed and not sent is shown, and who reads the terminal next does not get it.
// The terminal is as it was.
func TestWhatWasTypedAndNotSentIsTaken(t *testing.T) {
	repliesOnce := func(s *parleytest.Conn) {
		s.Read(make([]byte, 100))
		io.WriteString(s, "ok\n")
		readsOn(s)
	}
	for _, c := range []struct {
		name   string
		before func(s *parleytest.Conn)
		typed  []string
		end    func(s *parleytest.Conn, cancel func())
		shown  string // of the end
		next   string
	}{
		{"half a line, the server leaves", nil, []string{"rm -rf"}, func(s *parleytest.Conn, _ func()) { s.Close() },
			"\nClient: not sent: rm -rf\nClient: Connection closed (closed by the server)\n", "next\n"},
		{"nothing, the server leaves", nil, nil, func(s *parleytest.Conn, _ func()) { s.Close() },
			"\nClient: Connection closed (closed by the server)\n", "next\n"},
		{"half a line handed over by Ctrl-D", nil, []string{"rm\x04", " -rf"}, func(s *parleytest.Conn, _ func()) { s.Close() },
			"\nClient: not sent: rm -rf\nClient: Connection closed (closed by the server)\n", "next\n"},
		{"half a line, the connection breaks", nil, []string{"rm -rf"}, func(s *parleytest.Conn, _ func()) { s.Reset() },
			"\nClient: not sent: rm -rf\nClient: Connection closed (connection reset by peer)\n", "next\n"},
		{"half a line, a signal", nil, []string{"rm -rf"}, func(_ *parleytest.Conn, cancel func()) { cancel() },
			"\nClient: not sent: rm -rf\n", "next\n"},
		{"typed ahead of a reply that does not come", func(s *parleytest.Conn) { s.Read(make([]byte, 100)) }, []string{"a\n", "rm -rf\n", "ls"},
			func(s *parleytest.Conn, _ func()) { s.Close() },
			"Client: sending [1] a ...\nClient: not sent: rm -rf\\nls\nClient: Connection closed (closed by the server before it replied)\n", "next\n"},
		{"behind the blank line it is for the shell", repliesOnce, []string{"a\n", "\n", "ls\n"}, func(s *parleytest.Conn, _ func()) { s.Close() },
			"Client: Connection closed\n", "ls\n"},
		{"also if the server then does not close", repliesOnce, []string{"a\n", "\n", "ls\n"}, func(_ *parleytest.Conn, cancel func()) { cancel() },
			"Enter data: ", "ls\n"},
		{"or the end was typed", repliesOnce, []string{"a\n", "\x04", "ls\n"}, func(s *parleytest.Conn, _ func()) { s.Close() },
			"Enter data: \nClient: Connection closed\n", "ls\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t)
			before, err := term.GetState(int(d.tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := parleytest.ConnPair()
			terminal, err := talk.OpenTerminal(d.tty)
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out bytes.Buffer
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				conversation(ours, parley.Lines, console.NewClientNarrative(&out, nil, console.Typed)).Lines(ctx, terminal)
			}()
			read := make(chan struct{})
			go func() {
				defer close(read)
				if c.before != nil {
					c.before(theirs)
				}
			}()
			for _, text := range c.typed {
				d.types(t, text)
			}
			<-read
			c.end(theirs, cancel)
			select {
			case <-ended:
			case <-time.After(patience):
				t.Fatal("the conversation has not ended")
			}
			if !strings.HasSuffix(out.String(), c.shown) {
				t.Errorf("shown was\n%swant it to end with\n%s", &out, c.shown)
			}
			after, err := term.GetState(int(d.tty.Fd()))
			if err != nil || *after != *before {
				t.Errorf("the terminal is not as it was: %v, %v, before %v", after, err, before)
			}
			if got := d.next(t); got != c.next {
				t.Errorf("who reads next gets %q, want %q", got, c.next)
			}
		})
	}
}

// A panic while what is typed is hidden leaves a terminal that shows it again.
func TestPanicShowsAgainWhatIsTyped(t *testing.T) {
	d := newDesk(t)
	before, err := term.GetState(int(d.tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := talk.OpenTerminal(d.tty)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	terminal.Hide(true)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not go on")
			}
		}()
		defer terminal.Guard()
		panic("on purpose")
	}()
	if after, err := term.GetState(int(d.tty.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal is %v, %v; it was %v", after, err, before)
	}
}
