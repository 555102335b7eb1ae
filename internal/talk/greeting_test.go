package talk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

// greeted has the conversation wait for a greeting of one line.
func greeted(client func(*talk.Conversation) error) func(*talk.Conversation) error {
	return func(c *talk.Conversation) error {
		c.Greeting = dialect.Framing{Name: "line", Requests: parley.Lines}
		return client(c)
	}
}

// judged has messages more than requests be a fault.
func judged(client func(*talk.Conversation) error) func(*talk.Conversation) error {
	return func(c *talk.Conversation) error {
		c.Surplus = func(n int) string { return fmt.Sprintf("%d too many?", n) }
		return client(c)
	}
}

// Nothing is sent before the greeting is there, which is no reply, however many lines one has.
func TestGreetingIsAwaited(t *testing.T) {
	exchange := "sending [1] a ...\nserver response: "
	for _, c := range []struct {
		name    string
		framing parley.Framing
		client  func(*talk.Conversation) error
		replies string
		shown   string
	}{
		{"once", parley.Lines, once("a"), "ok\n", "server message: 220 hi\n" + exchange + "ok\nConnection closed\n"},
		{"in a pipe", parley.Lines, lines("a\n"), "ok\n", "server message: 220 hi\nEnter data: a\n" + exchange + "ok\nEnter data: \nConnection closed\n"},
		{"replies of two lines", linePairs{parley.Lines}, once("a"), "one\ntwo\n", "server message: 220 hi\n" + exchange + "one\\ntwo\nConnection closed\n"},
		{"replies until the end", parley.UntilClose, once("a"), "one\ntwo\n", "server message: 220 hi\n" + exchange + "one\\ntwo\\n\nConnection closed\n"},
		{"no replies", parley.NoReplies, once("a"), "", "server message: 220 hi\nsending [1] a ...\nConnection closed\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
				s.SetReadDeadline(time.Now().Add(timeout - time.Millisecond))
				if n, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: %d bytes were sent before the greeting, %v", c.name, n, err)
				}
				s.SetReadDeadline(time.Time{})
				io.WriteString(s, "220 hi\n")
				s.Read(make([]byte, 100))
				io.WriteString(s, c.replies)
				s.CloseWrite()
				io.Copy(io.Discard, s)
				s.Close()
			}, greeted(judged(func(talk *talk.Conversation) error {
				talk.Framing.Replies = c.framing
				return c.client(talk)
			})))
			check(t, c.name, shown, "Connected to s\n"+c.shown, err, "")
		})
	}
}

func TestGreetingThatDoesNotCome(t *testing.T) {
	for _, c := range []struct {
		name  string
		said  string
		then  func(*parleytest.Conn)
		shown string
		want  string
	}{
		{"nothing", "", readsOn, "Connection closed (no greeting within 5s)\n", "no greeting from s within 5s; --timeout waits longer"},
		{"half", "220-hi", readsOn, "unfinished response: 220-hi\nConnection closed (no whole greeting within 5s)\n",
			"the greeting from s is not whole after 5s: only 6 came: 220-hi; have more, --timeout waits longer"},
		{"the end", "", closes, "Connection closed (closed by the server before its greeting)\n", "s closed the connection before its greeting"},
		{"a reset inside", "22", resets, "unfinished response: 22\nConnection closed (connection reset by peer)\n", "the connection to s broke: connection reset by peer"},
	} {
		for _, client := range []func(*talk.Conversation) error{once("a"), lines("a\nb\n")} {
			synctest.Test(t, func(t *testing.T) {
				shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) { io.WriteString(s, c.said); c.then(s) }, greeted(client))
				check(t, c.name, shown, "Connected to s\n"+c.shown, err, c.want)
			})
		}
	}
}

// Where a greeting was taken for a reply, the message too many gives it away.
func TestMessagesMoreThanRequests(t *testing.T) {
	echo := func(first string) func(*parleytest.Conn) {
		return func(s *parleytest.Conn) {
			s.Read(make([]byte, 2))
			io.WriteString(s, first)
			echoes(s)
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(*parleytest.Conn)
		client func(*talk.Conversation) error
		want   string
	}{
		{"none", echo("a\n"), judged(lines("a\nb\n")), ""},
		{"a late greeting", echo("hi\na\n"), judged(lines("a\nb\n")), "one message more than requests: 1 too many?"},
		{"of two lines", echo("hi\nho\na\n"), judged(lines("a\nb\n")), "2 messages more than requests: 2 too many?"},
		{"once", echo("hi\na\n"), judged(once("a")), "one message more than requests: 1 too many?"},
		{"once, with no end to the last", echo("hi\na"), judged(once("a")), "one message more than requests: 1 too many?"},
		{"no fault where replies end as said", echo("hi\na\n"), lines("a\nb\n"), ""},
		{"a greeting that was awaited", func(s *parleytest.Conn) { io.WriteString(s, "hi\n"); echoes(s) }, judged(greeted(lines("a\nb\n"))), ""},
		{"a greeting before the first request", func(s *parleytest.Conn) { io.WriteString(s, "hi\n"); echoes(s) }, judged(func(c *talk.Conversation) error {
			in, typist := io.Pipe()
			go func() {
				time.Sleep(time.Second)
				io.WriteString(typist, "a\n")
				typist.Close()
			}()
			return c.Lines(context.Background(), in)
		}), ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, _, err := converse(t, parley.Lines, c.serve, c.client)
			check(t, c.name, "", "", err, c.want)
			var e *talk.Error
			if err != nil && (!errors.As(err, &e) || !e.Surplus) {
				t.Errorf("%s: %v is told as another kind of error", c.name, err)
			}
		})
	}
}

// Where nobody replies nobody is waited for: lines go out together.
func TestNoReplies(t *testing.T) {
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintln(&many, "message", i)
	}
	for _, c := range []struct {
		name   string
		client func(*talk.Conversation) error
		then   func(*parleytest.Conn)
		got    string
		shown  string // "" if it is too much
		took   time.Duration
		want   string
	}{
		{"once", once("a"), closes, "a\n", "sending [1] a ...\nConnection closed\n", 0, ""},
		{"lines", lines("a\r\nb"), closes, "a\nb\n",
			"Enter data: a\nsending [1] a ...\nEnter data: b\nsending [1] b ...\nEnter data: \nConnection closed\n", 0, ""},
		{"many lines", lines(many.String()), closes, many.String(), "", 0, ""},
		{"a server that never looks for our end", lines("a\n"), func(*parleytest.Conn) { time.Sleep(time.Hour) }, "a\n",
			"Enter data: a\nsending [1] a ...\nEnter data: \nConnection closed (not by the server)\n", time.Second, ""},
		{"a server that talks", lines("a\n"), func(s *parleytest.Conn) { io.WriteString(s, "hm\n"); s.Close() }, "a\n",
			"Enter data: a\nsending [1] a ...\nEnter data: \nserver message: hm\nConnection closed\n", 0, ""},
		{"blank line", lines("a\n\n\n"), closes, "a\n", "Enter data: a\nsending [1] a ...\nEnter data: \nConnection closed\n", 0, ""},
		{"blank line with more behind it", lines("a\nb\n\nc\n"), closes, "a\nb\n",
			"Enter data: a\nsending [1] a ...\nEnter data: b\nsending [1] b ...\nEnter data: \nConnection closed\n", 0,
			"ended at blank line 3 with input left; --keep-blank sends blank lines"},
		{"a reset", lines("a\n"), resets, "a\n", "Enter data: a\nsending [1] a ...\nEnter data: \nConnection closed (connection reset by peer)\n", time.Millisecond,
			"the connection to s broke: connection reset by peer"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []byte
			shown, took, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
				got, _ = io.ReadAll(s)
				c.then(s)
			}, judged(func(talk *talk.Conversation) error {
				talk.Framing.Replies = parley.NoReplies
				return c.client(talk)
			}))
			if c.shown == "" {
				shown = ""
			} else {
				c.shown = "Connected to s\n" + c.shown
			}
			check(t, c.name, shown, c.shown, err, c.want)
			if string(got) != c.got {
				t.Errorf("%s: the server got %d bytes, want %d", c.name, len(got), len(c.got))
			}
			if took != c.took {
				t.Errorf("%s: it took %v, want %v", c.name, took, c.took)
			}
		})
	}
}

// A server that leaves before the end of the input has not got all of it.
func TestServerThatLeavesWithoutReplying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, typist := io.Pipe()
		go func() {
			io.WriteString(typist, "a\nb\n")
			time.Sleep(time.Second) // meanwhile the server leaves
			io.WriteString(typist, "c\n")
			typist.Close()
		}()
		_, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
			io.ReadFull(s, make([]byte, 4))
			s.Close()
		}, func(c *talk.Conversation) error {
			c.Framing.Replies = parley.NoReplies
			return c.Lines(t.Context(), in)
		})
		check(t, "", "", "", err, "s closed the connection; line 3 of the input was not sent")
		in.Close()
	})
}

// Where the end of the connection ends a message, there is one request.
func TestOneRequestAConnection(t *testing.T) {
	exchange := "sending [1] a ...\nserver response: one\\ntwo\\n\n"
	for _, c := range []struct {
		name              string
		requests, replies parley.Framing
		client            func(*talk.Conversation) error
		wantGot           string
		shown, want       string
	}{
		{"once", parley.UntilClose, nil, once("a"), "a", exchange + "Connection closed\n", ""},
		{"a line", parley.UntilClose, nil, lines("a\n"), "a", "Enter data: a\n" + exchange + "Enter data: \nConnection closed\n", ""},
		{"a line, replied to until the end", parley.Lines, parley.UntilClose, lines("a\n"), "a\n", "Enter data: a\n" + exchange + "Enter data: \nConnection closed\n", ""},
		{"a blank line behind it", parley.UntilClose, nil, lines("a\n\n"), "a", "Enter data: a\n" + exchange + "Enter data: \nConnection closed\n", ""},
		{"a second line", parley.UntilClose, nil, lines("a\nb\n"), "a",
			"Enter data: a\n" + exchange + "Enter data: b\nConnection closed (one request a connection)\n",
			"line 2 of the input was not sent: with --framing f a connection has one request"},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := make([]byte, len(c.wantGot))
			shown, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
				io.ReadFull(s, got)
				if c.requests == parley.UntilClose {
					io.Copy(io.Discard, s)
				}
				io.WriteString(s, "one\ntwo\n")
				s.Close()
			}, judged(func(talk *talk.Conversation) error {
				talk.Framing.Requests, talk.Framing.Replies, talk.Single = c.requests, c.replies, parley.UntilClose
				return c.client(talk)
			}))
			check(t, c.name, shown, "Connected to s\n"+c.shown, err, c.want)
			if string(got) != c.wantGot {
				t.Errorf("%s: the server got %q, want %q", c.name, got, c.wantGot)
			}
		})
	}
}

// toy is a protocol of lines. A request that begins with "set" goes on for one more line; to "quiet"
// there is no reply; "login" has credentials. A line from the server that begins with "!" is no reply.
type toy struct{ parley.Framing }

func (p toy) Open() (requests, replies parley.Framing) {
	return &toySide{Framing: p.Framing}, &toySide{Framing: p.Framing}
}

type toySide struct {
	parley.Framing
	note parley.Note
}

func (s *toySide) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	n, body, err := s.Framing.Next(buf, scanned, max, eof)
	s.note = parley.Note{Alone: bytes.HasPrefix(body, []byte("!"))}
	return n, body, err
}

func (s *toySide) End(dst []byte, start int) ([]byte, error) {
	body := dst[start:]
	if bytes.HasPrefix(body, []byte("set")) && bytes.Count(body, []byte("\n")) < 1 {
		return dst, parley.ErrUnfinished
	}
	s.note = parley.Note{Alone: bytes.HasPrefix(body, []byte("quiet")), Secret: bytes.HasPrefix(body, []byte("login"))}
	return append(dst, "\n"...), nil
}

func (s *toySide) Note() parley.Note { return s.note }

type toyWords struct{}

func (toyWords) AppendRequest(dst []byte, m dialect.Message) []byte {
	if m.Secret {
		return append(dst, "login (secret)"...)
	}
	return fmt.Appendf(dst, "<%q>", m.Body)
}

func (toyWords) AppendReply(dst []byte, m dialect.Message) []byte {
	return fmt.Appendf(dst, "<%s>", m.Body)
}

func TestProtocol(t *testing.T) {
	replies := func(text string) func(*parleytest.Conn) {
		return func(s *parleytest.Conn) { s.Read(make([]byte, 100)); io.WriteString(s, text); readsOn(s); s.Close() }
	}
	for _, c := range []struct {
		name   string
		serve  func(*parleytest.Conn)
		client func(*talk.Conversation) error
		shown  string
		want   string
	}{
		{"a request of two lines", replies("ok\n"), lines("set a\n\n"),
			"Enter data: set a\n... \nsending [7] <\"set a\\n\\n\"> ...\nserver response: <ok>\nEnter data: \nConnection closed\n", ""},
		{"the end inside a request", replies(""), lines("set a\n"), "Enter data: set a\n... \nConnection closed (not sent)\n",
			`the input ended inside a request, which was not sent: more lines belong to "set a"`},
		{"once, inside a request", replies(""), once("set a"), "Connection closed (not sent)\n",
			"the request was not sent: more lines belong to the message; send them behind it, typed or from a pipe"},
		{"once, of two lines", replies("ok\n"), once("set a\nb"), "sending [8] <\"set a\\nb\\n\"> ...\nserver response: <ok>\nConnection closed\n", ""},
		{"what is no reply", func(s *parleytest.Conn) {
			s.Read(make([]byte, 100))
			io.WriteString(s, "!a\nok\n")
			readsOn(s)
			io.WriteString(s, "!b\n")
			s.Close()
		}, judged(lines("x\n")),
			"Enter data: x\nsending [2] <\"x\\n\"> ...\nserver message: <!a>\nserver response: <ok>\nEnter data: \nserver message: <!b>\nConnection closed\n", ""},
		{"what is not replied to", func(s *parleytest.Conn) {
			io.ReadFull(s, make([]byte, len("quiet\nx\n")))
			io.WriteString(s, "ok\n")
			readsOn(s)
			s.Close()
		}, judged(lines("quiet\nx\n")),
			"Enter data: quiet\nsending [6] <\"quiet\\n\"> ...\nEnter data: x\nsending [2] <\"x\\n\"> ...\nserver response: <ok>\nEnter data: \nConnection closed\n", ""},
		{"credentials", replies("ok\n"), lines("login me\n"),
			"Enter data: login (secret)\nsending [9] login (secret) ...\nserver response: <ok>\nEnter data: \nConnection closed\n", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, toy{parley.Lines}, c.serve, func(talk *talk.Conversation) error {
				talk.Single = nil
				setWords(talk.View, toyWords{})
				return c.client(talk)
			})
			check(t, c.name, shown, "Connected to s\n"+c.shown, err, c.want)
		})
	}
}

func setWords(view talk.View, words dialect.Words) { view.(*console.ClientNarrative).Words = words }

type countedWrites struct {
	*parleytest.Conn
	n int
}

func (c *countedWrites) Write(p []byte) (int, error) {
	c.n++
	return c.Conn.Write(p)
}

// What is there together goes out together.
func TestLinesGoOutInFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		_, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) { readsOn(s); s.Close() }, func(c *talk.Conversation) error {
			counted := &countedWrites{Conn: c.Conn.(*parleytest.Conn)}
			c.Conn, c.Framing.Replies = counted, parley.NoReplies
			defer func() { writes = counted.n }()
			return c.Lines(t.Context(), strings.NewReader(strings.Repeat("0123456789\n", 64<<10)))
		})
		if err != nil || writes > 20 {
			t.Errorf("704 KiB of lines took %d writes, %v, want 11 or so", writes, err)
		}
	})
}
