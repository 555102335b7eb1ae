package talk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

const timeout = 5 * time.Second

// converse has a conversation with a server that is the test's own hand, and returns what
// was shown of it.
func converse(t *testing.T, framing parley.Framing, serve func(server *parleytest.Conn), client func(c *talk.Conversation) error) (shown string, took time.Duration, err error) {
	t.Helper()
	ours, theirs := parleytest.ConnPair()
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(theirs)
	}()
	var out bytes.Buffer
	begin := time.Now()
	err = client(conversation(ours, framing, console.NewClientNarrative(&out, nil, console.Piped)))
	took = time.Since(begin)
	<-served
	return strings.ReplaceAll(out.String(), "Client: ", ""), took, err
}

func conversation(conn *parleytest.Conn, framing parley.Framing, view talk.View) *talk.Conversation {
	single := framing
	if pairs, ok := framing.(linePairs); ok {
		single = pairs.Framing
	}
	lacks := func(came []byte) (string, string) { return fmt.Sprintf("only %d came", len(came)), "have more" }
	return &talk.Conversation{
		Conn: conn, Server: "s", Framing: dialect.Framing{Name: "f", Requests: framing}, View: view, Timeout: timeout, Single: single,
		Lacks: lacks, GreetingLacks: lacks,
	}
}

// linePairs is a framing in which a message read is two lines.
type linePairs struct{ parley.Framing }

func (p linePairs) Next(buf []byte, _, max int, eof bool) (int, []byte, error) {
	first, _, err := p.Framing.Next(buf, 0, max, eof)
	if first == 0 || err != nil {
		return 0, nil, err
	}
	second, body, err := p.Framing.Next(buf[first:], 0, max, eof)
	if second == 0 || err != nil {
		return 0, nil, err
	}
	return first + second, buf[:first+len(body)], nil
}

func once(request string) func(c *talk.Conversation) error {
	return func(c *talk.Conversation) error { return c.Once(context.Background(), []byte(request)) }
}

func lines(input string) func(c *talk.Conversation) error {
	return func(c *talk.Conversation) error { return c.Lines(context.Background(), strings.NewReader(input)) }
}

// slowly has each line come a moment behind the one before, when all that this has led to has happened.
func slowly(input ...string) func(c *talk.Conversation) error {
	return func(c *talk.Conversation) error { return c.Lines(context.Background(), &slowInput{input}) }
}

type slowInput struct{ rest []string }

func (s *slowInput) Read(p []byte) (n int, err error) {
	time.Sleep(time.Millisecond)
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n = copy(p, s.rest[0])
	s.rest = s.rest[1:]
	return n, nil
}

// reply reads one request, says something and does then what is left to do.
func reply(text string, then func(server *parleytest.Conn)) func(server *parleytest.Conn) {
	return func(server *parleytest.Conn) {
		server.Read(make([]byte, 100))
		io.WriteString(server, text)
		then(server)
	}
}

func closes(server *parleytest.Conn) { server.Close() }

func readsOn(server *parleytest.Conn) { io.Copy(io.Discard, server) }

func ignoresTheEnd(server *parleytest.Conn) {
	readsOn(server)
	time.Sleep(time.Hour)
}

func resets(server *parleytest.Conn) {
	time.Sleep(time.Millisecond) // what was said has been read
	server.Reset()
}

// check compares how a conversation ended; want is "" for an orderly end.
func check(t *testing.T, name, shown, wantShown string, err error, want string) {
	t.Helper()
	if shown != wantShown {
		t.Errorf("%s: shown\n%swant\n%s", name, shown, wantShown)
	}
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s: the error is %q, want %q", name, got, want)
	}
}

// One request is done with its reply, whatever the server makes of the half-close.
func TestOnceIsDoneWithItsReply(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*parleytest.Conn)
		said string
		took time.Duration
	}{
		"closes":             {closes, "", 0},
		"ignores our end":    {ignoresTheEnd, " (not by the server)", time.Second},
		"resets":             {resets, " (connection reset by peer)", time.Millisecond},
		"says more for ever": {func(s *parleytest.Conn) { io.WriteString(s, "more"); ignoresTheEnd(s) }, " (not by the server)", time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			shown, took, err := converse(t, parley.Lines, reply("ok\n", c.then), once("a"))
			want := "Connected to s\nsending [1] a ...\nserver response: ok\n"
			if name == "says more for ever" {
				want += "server message: more\n"
			}
			check(t, name, shown, want+"Connection closed"+c.said+"\n", err, "")
			if took != c.took {
				t.Errorf("%s: it took %v, want %v", name, took, c.took)
			}
		})
	}
}

// Bytes behind the last reply are no beginning of another: nobody waits for one.
func TestWhatCameBehindTheLastReplyIsShown(t *testing.T) {
	pairs := linePairs{parley.Lines}
	exchange := "sending [1] a ...\nserver response: one\\ntwo\n"
	for _, c := range []struct {
		name    string
		framing parley.Framing
		said    string
		client  func(*talk.Conversation) error
		shown   string
		want    string
	}{
		{"once", pairs, "one\ntwo\nthree\n", once("a"), exchange + "server message: three\nConnection closed\n", ""},
		{"once, no newline", pairs, "one\ntwo\nthree", once("a"), exchange + "server message: three\nConnection closed\n", ""},
		{"more than once", pairs, "one\ntwo\nthree\nfour\nfive\n", once("a"),
			exchange + "server message: three\\nfour\nserver message: five\nConnection closed\n", ""},
		{"lines", pairs, "one\ntwo\nthree\n", lines("a\n"), "Enter data: a\n" + exchange + "Enter data: \nserver message: three\nConnection closed\n", ""},
		{"inside a message of known length", parley.LengthPrefixed, "\x00\x00\x00\x02ok\x00\x00\x00\x05ab", lines("a"),
			"Enter data: a\nsending [1] a ...\nserver response: ok\nEnter data: \nunfinished response: \\x00\\x00\\x00\\x05ab\nConnection closed (closed by the server inside a message)\n",
			"s closed the connection inside a message"},
		{"inside a message that one request does not want", parley.LengthPrefixed, "\x00\x00\x00\x02ok\x00\x00\x00\x05ab", once("a"),
			"sending [1] a ...\nserver response: ok\nunfinished response: \\x00\\x00\\x00\\x05ab\nConnection closed (closed by the server inside a message)\n", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			// It closes once it has read our end of file.
			shown, _, err := converse(t, c.framing, reply(c.said, func(s *parleytest.Conn) { readsOn(s); s.Close() }), c.client)
			check(t, c.name, shown, "Connected to s\n"+c.shown, err, c.want)
		})
	}
}

// The server leaves at the prompt, in the middle of what it says unasked.
func TestWhatCameAtThePromptIsShown(t *testing.T) {
	for _, c := range []struct {
		framing parley.Framing
		said    string
		shown   string
		want    string
	}{
		{linePairs{parley.Lines}, "Error: full\n", "server message: Error: full\nConnection closed (closed by the server)\n", "s closed the connection"},
		{parley.LengthPrefixed, "\x00\x00\x00\x05ab", "unfinished response: \\x00\\x00\\x00\\x05ab\nConnection closed (closed by the server inside a message)\n",
			"s closed the connection inside a message"},
		{parley.LengthPrefixed, "SSH-2.0", "unfinished response: SSH-2.0\nConnection closed (message too long)\n",
			"a message from s is longer than 16 MiB; is --framing right?"},
	} {
		synctest.Test(t, func(t *testing.T) {
			in, keyboard := io.Pipe()
			defer keyboard.Close()
			shown, _, err := converse(t, c.framing,
				func(s *parleytest.Conn) { io.WriteString(s, c.said); s.Close() },
				func(c *talk.Conversation) error { return c.Lines(t.Context(), in) })
			check(t, c.said, shown, "Connected to s\nEnter data: \n"+c.shown, err, c.want)
		})
	}
}

// A reply that is not whole is never withheld and never called none.
func TestWhatCameOfAReplyIsShown(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing parley.Framing
		said    string
		then    func(*parleytest.Conn)
		shown   string
		want    string
	}{
		{"nothing, in time", parley.Lines, "", readsOn, "Connection closed (no reply within 5s)\n", "no reply from s within 5s; --timeout waits longer"},
		{"no newline", parley.Lines, "Test\r", readsOn, "unfinished response: Test\\r\nConnection closed (no whole reply within 5s)\n",
			"the reply from s is not whole after 5s: only 5 came: Test\r; have more, --timeout waits longer"},
		{"another's ending", parley.Lines, "PONG\x00", readsOn, "unfinished response: PONG\\x00\nConnection closed (no whole reply within 5s)\n",
			"the reply from s is not whole after 5s: only 5 came: PONG\x00; have more, --timeout waits longer"},
		{"whole lines of too few", linePairs{parley.Lines}, "one\n", readsOn, "unfinished response: one\\n\nConnection closed (no whole reply within 5s)\n",
			"the reply from s is not whole after 5s: only 4 came: one\n; have more, --timeout waits longer"},
		{"nothing, then the end", parley.Lines, "", closes, "Connection closed (closed by the server before it replied)\n", "s closed the connection before it replied"},
		{"the end inside", linePairs{parley.Lines}, "one\n", closes, "unfinished response: one\\n\nConnection closed (closed by the server inside its reply)\n",
			"s closed the connection inside its reply: only 4 came: one\n; have more"},
		{"a reset inside", parley.Lines, "one", resets, "unfinished response: one\nConnection closed (connection reset by peer)\n",
			"the connection to s broke: connection reset by peer"},
		{"a length out of bounds", parley.LengthPrefixed, "HTTP/1.1", readsOn, "unfinished response: HTTP/1.1\nConnection closed (reply too long)\n",
			"the reply from s is longer than 16 MiB; is --framing right?"},
	} {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, c.framing, reply(c.said, c.then), once("a"))
			check(t, c.name, shown, "Connected to s\nsending [1] a ...\n"+c.shown, err, c.want)
		})
	}
}

// An end of file that TLS has not announced is no orderly end, and no error where nothing is owed.
func TestEndThatTLSHasNotAnnounced(t *testing.T) {
	for _, c := range []struct {
		name, said string
		client     func(*talk.Conversation) error
		shown      string
		want       string
	}{
		{"for a reply", "", once("a"), "sending [1] a ...\nConnection closed (closed by the server before it replied, without TLS's close_notify)\n",
			"s closed the connection before it replied, without TLS's close_notify"},
		{"inside a reply", "on", once("a"), "sending [1] a ...\nunfinished response: on\nConnection closed (closed by the server inside its reply, without TLS's close_notify)\n",
			"s closed the connection inside its reply, without TLS's close_notify: only 2 came: on; have more"},
		{"behind the reply, and more", "one\npart", once("a"), "sending [1] a ...\nserver response: one\nunfinished response: part\nConnection closed (end of file without TLS's close_notify)\n", ""},
		{"in a pipe, and more", "one\npart", lines("a\n"), "Enter data: a\nsending [1] a ...\nserver response: one\nEnter data: \nunfinished response: part\nConnection closed (end of file without TLS's close_notify)\n",
			"s: the connection ended without TLS saying so (close_notify): what came may be cut short"},
		{"behind the reply", "one\n", once("a"), "sending [1] a ...\nserver response: one\nConnection closed (closed by the server, without TLS's close_notify)\n", ""},
		{"in a pipe", "one\n", lines("a\n"), "Enter data: a\nsending [1] a ...\nserver response: one\nEnter data: \nConnection closed (closed by the server, without TLS's close_notify)\n", ""},
		{"with input left", "one\n", slowly("a\n", "b\n"), "Enter data: a\nsending [1] a ...\nserver response: one\nEnter data: b\nConnection closed (closed by the server, without TLS's close_notify)\n",
			"s closed the connection; line 2 of the input was not sent"},
	} {
		synctest.Test(t, func(t *testing.T) {
			// It closes at once, and reads on, so that no reset comes of it.
			shown, _, err := converse(t, parley.Lines, reply(c.said, func(s *parleytest.Conn) { s.CloseWrite(); readsOn(s) }), func(conv *talk.Conversation) error {
				conv.Conn = abruptly{conv.Conn.(*parleytest.Conn)}
				time.Sleep(time.Millisecond)
				return c.client(conv)
			})
			check(t, c.name, shown, "Connected to s\n"+c.shown, err, c.want)
		})
	}
}

// abruptly is a connection whose end of file TLS has not announced.
type abruptly struct{ *parleytest.Conn }

func (c abruptly) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = parley.ErrTruncated
	}
	return n, err
}

// A signal cuts a reply short: what came of it is shown all the same.
func TestWhatCameBeforeASignalIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		shown, took, err := converse(t, parley.Lines, reply("half", readsOn), func(c *talk.Conversation) error { return c.Once(ctx, []byte("a")) })
		check(t, "", shown, "Connected to s\nsending [1] a ...\nunfinished response: half\n", err, "context deadline exceeded")
		if took != time.Second {
			t.Errorf("it took %v, want 1s", took)
		}
	})
}

// In a pipe a blank line ends the conversation, and nothing is lost without a word.
func TestBlankLineInAPipe(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces []string // of the input, a quarter of a second apart
		open   bool     // its end does not come
		want   string
	}{
		{"at the end", []string{"a\n\n"}, false, ""},
		{"in place of an end", []string{"a\n\n"}, true, ""},
		{"only blank lines behind it", []string{"a\n\n\r\n\n"}, false, ""},
		{"first", []string{"\na\n"}, false, "ended at blank line 1 with input left; --keep-blank sends blank lines"},
		{"in the middle", []string{"a\n\nb\n"}, false, "ended at blank line 2 with input left; --keep-blank sends blank lines"},
		{"with half a line behind it", []string{"a\n\n\n\nb"}, false, "ended at blank line 2 with input left; --keep-blank sends blank lines"},
		{"with a slow rest", []string{"a\n", "\n", "\n", "b\n"}, true, "ended at blank line 2 with input left; --keep-blank sends blank lines"},
	} {
		synctest.Test(t, func(t *testing.T) {
			in, out := io.Pipe()
			fed := make(chan struct{})
			go func() {
				defer close(fed)
				for _, piece := range c.pieces {
					io.WriteString(out, piece)
					time.Sleep(250 * time.Millisecond)
				}
				if !c.open {
					out.Close()
				}
			}()
			_, _, err := converse(t, parley.Lines, echoes, func(c *talk.Conversation) error { return c.Lines(t.Context(), in) })
			check(t, c.name, "", "", err, c.want)
			in.Close()
			<-fed
			out.Close()
		})
	}
}

// However long the server takes to close, what stands behind the blank line is seen.
func TestBlankLineBeforeASlowServer(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			slow := func(s *parleytest.Conn) { readsOn(s); time.Sleep(timeout - time.Millisecond); s.Close() }
			_, _, err := converse(t, parley.Lines, reply("a\n", slow), lines("a\n\n\nb\n"))
			check(t, "", "", "", err, "ended at blank line 2 with input left; --keep-blank sends blank lines")
		})
	}
}

// The server hangs up before the blank line is read: the rest is still not lost.
func TestBlankLineAfterTheServerHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		go func() {
			time.Sleep(time.Second)
			io.WriteString(out, "\nb\n")
			out.Close()
		}()
		_, _, err := converse(t, parley.Lines, closes, func(c *talk.Conversation) error { return c.Lines(t.Context(), in) })
		check(t, "", "", "", err, "ended at blank line 1 with input left; --keep-blank sends blank lines")
		in.Close()
	})
}

// echoes says every line again, until the end of file.
func echoes(server *parleytest.Conn) {
	io.Copy(server, server)
	server.Close()
}

// What the server said before a request was sent is never taken for its reply.
func TestWhatCameUnaskedIsNoReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		go func() {
			time.Sleep(time.Second)
			io.WriteString(out, "hi\n")
			out.Close()
		}()
		shown, _, err := converse(t, parley.Lines,
			func(s *parleytest.Conn) { io.WriteString(s, "welcome\n"); echoes(s) },
			func(c *talk.Conversation) error { return c.Lines(t.Context(), in) })
		check(t, "", shown, "Connected to s\nEnter data: \nserver message: welcome\nEnter data: hi\nsending [2] hi ...\nserver response: hi\nEnter data: \nConnection closed\n", err, "")
	})
}

// A reply that comes in the very moment in which the patience ends is a reply or too
// late, but not lost, and the conversation goes on.
func TestReplyInTheLastMoment(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
				s.Read(make([]byte, 100))
				time.Sleep(timeout)
				io.WriteString(s, "one\n")
				echoes(s)
			}, lines("a\nb\n"))
			if got := strings.Contains(shown, "response: one\n") && strings.Contains(shown, "response: b\n"); got != (err == nil) {
				t.Errorf("the error is %v, and shown was\n%s", err, shown)
			}
		})
	}
}

// The longest patience there is is not over at once.
func TestLongestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patient := func(c *talk.Conversation) error {
			c.Timeout = math.MaxInt64
			return c.Lines(t.Context(), strings.NewReader("a\n"))
		}
		shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
			s.Read(make([]byte, 100))
			time.Sleep(1000 * time.Hour)
			io.WriteString(s, "late\n")
			readsOn(s)
			time.Sleep(1000 * time.Hour)
			s.Close()
		}, patient)
		check(t, "", shown, "Connected to s\nEnter data: a\nsending [1] a ...\nserver response: late\nEnter data: \nConnection closed\n", err, "")
	})
}

// What is no fault of the network says so.
func TestErrorsOfThisSideAreLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := converse(t, parley.Delimited('a'), echoes, once("banana"))
		var e *talk.Error
		if !errors.As(err, &e) || !e.Local || !strings.Contains(err.Error(), "the request was not sent: this framing cannot carry the request") {
			t.Errorf("a request that cannot be framed: %v", err)
		}
		unreadable := iotest.ErrReader(&fs.PathError{Op: "read", Path: "x", Err: syscall.EISDIR})
		shown, _, err := converse(t, parley.Lines, echoes, func(c *talk.Conversation) error { return c.Lines(t.Context(), unreadable) })
		check(t, "an input that cannot be read", shown,
			"Connected to s\nEnter data: \nConnection closed (the input cannot be read)\n", err, "cannot read the input: is a directory")
		if !errors.As(err, &e) || !e.Local {
			t.Errorf("an input that cannot be read is told as the network's doing: %v", err)
		}
	})
}

// Which line of a pipe a server that left was not sent any more is said.
func TestLineThatWasNotSentIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, typist := io.Pipe()
		go func() {
			io.WriteString(typist, "a\n")
			time.Sleep(time.Second) // meanwhile the server leaves
			io.WriteString(typist, "b\n")
			typist.Close()
		}()
		shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
			s.Read(make([]byte, 100))
			io.WriteString(s, "1\n")
			s.Close()
		}, func(c *talk.Conversation) error { return c.Lines(t.Context(), in) })
		check(t, "", shown, "Connected to s\nEnter data: a\nsending [1] a ...\nserver response: 1\nEnter data: b\nConnection closed (closed by the server)\n",
			err, "s closed the connection; line 2 of the input was not sent")
		in.Close()
	})
}
