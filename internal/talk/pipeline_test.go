package talk_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

// pipelined has the lines of an input answered with so many requests in flight.
func pipelined(window int, input string) func(c *talk.Conversation) error {
	return func(c *talk.Conversation) error {
		c.Window = window
		return c.Lines(context.Background(), strings.NewReader(input))
	}
}

// A server that replies only once so many requests are there gets them, and never one more.
func TestWindowIsFilledAndNeverPassed(t *testing.T) {
	const window, count = 3, 10
	for _, feed := range []string{"at once", "a line at a time"} {
		synctest.Test(t, func(t *testing.T) {
			var input io.Reader = strings.NewReader(strings.Repeat("a\n", count))
			if feed == "a line at a time" {
				in, out := io.Pipe()
				go func() {
					for range count {
						io.WriteString(out, "a\n")
						time.Sleep(time.Millisecond)
					}
					out.Close()
				}()
				input = in
			}
			var most, came atomic.Int64
			serve := func(s *parleytest.Conn) {
				lines := make(chan string, count)
				go func() {
					defer close(lines)
					for in := bufio.NewReader(s); ; {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						came.Add(1)
						lines <- line
					}
				}()
				for replied := int64(0); replied < count; replied++ {
					if left := count - replied; left >= window {
						time.Sleep(time.Second) // all that may be sent has been
						most.Store(max(most.Load(), came.Load()-replied))
					}
					io.WriteString(s, <-lines)
				}
				for range lines {
				}
				s.Close()
			}
			shown, _, err := converse(t, parley.Lines, serve, func(c *talk.Conversation) error {
				c.Window = window
				return c.Lines(t.Context(), input)
			})
			if err != nil || strings.Count(shown, "response: a\n") != count {
				t.Errorf("%s: %v, shown\n%s", feed, err, shown)
			}
			if most.Load() > window || came.Load() != count || feed == "at once" && most.Load() != window {
				t.Errorf("%s: %d requests in all, and at most %d before their replies; want %d and %d", feed, came.Load(), most.Load(), count, window)
			}
		})
	}
}

// What a pipeline shows is what lockstep shows, but for the order of what was sent and what came; a
// prompt stands before its line.
func TestPipelineIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown, _, err := converse(t, parley.Lines, echoes, pipelined(2, "a\nb\nc\n"))
		check(t, "", shown, `Connected to s
Enter data: a
sending [1] a ...
Enter data: b
sending [1] b ...
server response: a
server response: b
Enter data: c
sending [1] c ...
server response: c
Enter data: 
Connection closed
`, err, "")
	})
}

// Blank lines, the end of the input and what cannot be sent are as in lockstep, and the last reply is
// awaited.
func TestPipelineEndsAsLockstep(t *testing.T) {
	slowly := func(s *parleytest.Conn) {
		for in := bufio.NewReader(s); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				s.Close()
				return
			}
			time.Sleep(timeout / 2)
			io.WriteString(s, line)
		}
	}
	for _, c := range []struct{ name, input, replies, want string }{
		{"no newline at the end", "a\nb\nc", "a b c", ""},
		{"nothing", "", "", ""},
		{"blank at the end", "a\nb\n\n", "a b", ""},
		{"blank with input behind", "a\nb\n\nc\n", "a b", "ended at blank line 3 with input left; --keep-blank sends blank lines"},
		{"blank first", "\na\n", "", "ended at blank line 1 with input left; --keep-blank sends blank lines"},
		{"CRLF", "a\r\nb\r\n\r\n", "a b", ""},
	} {
		for _, window := range []int{1, 2, 64} {
			synctest.Test(t, func(t *testing.T) {
				shown, _, err := converse(t, parley.Lines, slowly, pipelined(window, c.input))
				check(t, c.name, "", "", err, c.want)
				var got []string
				for line := range strings.Lines(shown) {
					if reply, is := strings.CutPrefix(line, "server response: "); is {
						got = append(got, strings.TrimSuffix(reply, "\n"))
					}
				}
				if strings.Join(got, " ") != c.replies {
					t.Errorf("%s, %d in flight: replies %q, want %s", c.name, window, got, c.replies)
				}
			})
		}
	}
}

// An error of a pipeline names the first request without a reply, and how many were owed one.
func TestPipelineNamesWhatIsOwed(t *testing.T) {
	two := func(then func(s *parleytest.Conn)) func(s *parleytest.Conn) {
		return func(s *parleytest.Conn) {
			in := bufio.NewReader(s)
			for range 5 {
				in.ReadString('\n')
			}
			io.WriteString(s, "1\n2\n")
			then(s)
		}
	}
	for _, c := range []struct {
		name, want string
		then       func(s *parleytest.Conn)
	}{
		{"closes", "s closed the connection before it replied; 3 requests were owed their replies, the first of them request 3", func(s *parleytest.Conn) { s.CloseWrite(); readsOn(s) }},
		{"says no more", "no reply from s within 5s; --timeout waits longer; 3 requests were owed their replies, the first of them request 3", readsOn},
		{"owes one", "no reply from s within 5s; --timeout waits longer; request 5 was owed its reply", func(s *parleytest.Conn) { io.WriteString(s, "3\n4\n"); readsOn(s) }},
		{"resets", "the connection to s broke: connection reset by peer; 3 requests were owed their replies, the first of them request 3", resets},
	} {
		synctest.Test(t, func(t *testing.T) {
			shown, _, err := converse(t, parley.Lines, two(c.then), pipelined(8, "a\nb\nc\nd\ne\n"))
			check(t, c.name, "", "", err, c.want)
			if !strings.Contains(shown, "response: 1\n") || !strings.Contains(shown, "response: 2\n") {
				t.Errorf("%s: the replies that came are not shown:\n%s", c.name, shown)
			}
		})
	}
}

// A server that wants its replies read before it takes more is read, however much is in flight.
func TestPipelineOfMuchDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := strings.Repeat("x", 60<<10)
		const count = 200
		input := strings.Repeat(line+"\n", count)
		var out bytes.Buffer
		ours, theirs := parleytest.ConnPair()
		served := make(chan struct{})
		go func() {
			defer close(served)
			in := bufio.NewReaderSize(theirs, 64<<10)
			for {
				line, err := in.ReadSlice('\n')
				if err != nil {
					theirs.Close()
					return
				}
				if _, err := theirs.Write(line); err != nil {
					return
				}
			}
		}()
		c := conversation(ours, parley.Lines, console.NewReplies(&out, io.Discard, false))
		c.Window = 1000
		if err := c.Lines(t.Context(), strings.NewReader(input)); err != nil {
			t.Error(err)
		}
		if out.String() != input {
			t.Errorf("%d bytes of replies, want %d", out.Len(), len(input))
		}
		<-served
	})
}

// A line that cannot be sent ends the conversation behind the replies that are owed.
func TestPipelineStopsAtWhatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shown, _, err := converse(t, parley.Delimited('|'), echoes, pipelined(8, "a\nb\nc|d\ne\n"))
		check(t, "", "", "", err, "the request was not sent: line 3 of the input: this framing cannot carry the request: the delimiter 0x7c at byte 1 would end the message early")
		if !strings.Contains(shown, "response: b\n") || strings.Contains(shown, "e ...") {
			t.Errorf("shown\n%s", shown)
		}
	})
}

// Where the server leaves with nothing owed, the line that was not sent is named.
func TestPipelineNamesTheLineThatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, typist := io.Pipe()
		go func() {
			io.WriteString(typist, "a\nb\n")
			time.Sleep(time.Second) // meanwhile the server leaves
			io.WriteString(typist, "c\nd\n")
			typist.Close()
		}()
		_, _, err := converse(t, parley.Lines, func(s *parleytest.Conn) {
			in := bufio.NewReader(s)
			in.ReadString('\n')
			in.ReadString('\n')
			io.WriteString(s, "1\n2\n")
			s.Close()
		}, func(c *talk.Conversation) error { c.Window = 8; return c.Lines(t.Context(), in) })
		check(t, "", "", "", err, "s closed the connection; line 3 of the input was not sent")
		in.Close()
	})
}

// Where the server leaves with nothing owed, and then the input turns out to be at its end, all is well
// as in lockstep, also for one who would come back.
func TestPipelineEndsWhereAllIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name, end string
		reconnect bool
	}{{"end of file", "", false}, {"blank line", "\n", false}, {"end of file, would come back", "", true}} {
		for _, window := range []int{1, 8} {
			synctest.Test(t, func(t *testing.T) {
				in, typist := io.Pipe()
				defer in.Close()
				go func() {
					io.WriteString(typist, "a\nb\n")
					time.Sleep(time.Millisecond) // meanwhile the server leaves
					io.WriteString(typist, c.end)
					typist.Close()
				}()
				shown, _, err := converse(t, parley.Lines, answers(2, closes), func(client *talk.Conversation) error {
					client.Window, client.Reconnect = window, c.reconnect
					return client.Lines(t.Context(), in)
				})
				name := fmt.Sprintf("%s, %d in flight", c.name, window)
				check(t, name, "", "", err, "")
				if !strings.HasSuffix(shown, "server response: b\nEnter data: \nConnection closed\n") {
					t.Errorf("%s: shown\n%s", name, shown)
				}
			})
		}
	}
}

// A reader of the output that has left ends it, without a word.
func TestPipelineEndsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := parleytest.ConnPair()
		served := make(chan struct{})
		go func() { defer close(served); echoes(theirs) }()
		c := conversation(ours, parley.Lines, console.NewReplies(brokenPipe{}, io.Discard, false))
		c.Window = 2
		if err := c.Lines(t.Context(), strings.NewReader(strings.Repeat("a\n", 100))); err != syscall.EPIPE {
			t.Errorf("it ends with %v, want EPIPE", err)
		}
		<-served
	})
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// A protocol's command that others turn on is answered before anything behind it is sent; and nothing
// is sent ahead before the server has said that it may be.
func TestPipelineWaitsWhereTheProtocolDoes(t *testing.T) {
	smtp, err := dialect.Parse("smtp")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ ehlo, want string }{
		{"250-me\r\n250 PIPELINING\r\n", "EHLO you|MAIL FROM:<a@b> RCPT TO:<c@d> DATA|hi . QUIT"},
		{"250 me\r\n", "EHLO you|MAIL FROM:<a@b>|RCPT TO:<c@d>|DATA|hi .|QUIT"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var groups []string
			serve := func(s *parleytest.Conn) {
				io.WriteString(s, "220 me\r\n")
				buf := make([]byte, 4096)
				for {
					time.Sleep(time.Second) // all that may be sent has been
					n, err := s.Read(buf)
					if err != nil {
						s.Close()
						return
					}
					lines := strings.Split(strings.TrimSuffix(string(buf[:n]), "\r\n"), "\r\n")
					groups = append(groups, strings.Join(lines, " "))
					for _, line := range lines {
						switch {
						case strings.HasPrefix(line, "EHLO"):
							io.WriteString(s, c.ehlo)
						case line == "DATA":
							io.WriteString(s, "354 go\r\n")
						case line == "hi":
						default:
							io.WriteString(s, "250 ok\r\n")
						}
					}
				}
			}
			_, _, err := converse(t, parley.Lines, serve, func(conv *talk.Conversation) error {
				conv.Framing, conv.Single, conv.Window = smtp, nil, 64
				return conv.Lines(t.Context(), strings.NewReader("EHLO you\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nhi\n.\nQUIT\n"))
			})
			if got := strings.Join(groups, "|"); got != c.want || err != nil {
				t.Errorf("%v; sent in the groups %s\nwant %s", err, got, c.want)
			}
		})
	}
}

// JSON names the request that a reply is to.
func TestPipelineInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := parleytest.ConnPair()
		served := make(chan struct{})
		go func() { defer close(served); echoes(theirs) }()
		var out bytes.Buffer
		c := conversation(ours, parley.Lines, console.NewClientJSON(&out, io.Discard))
		c.Window = 3
		if err := c.Lines(t.Context(), strings.NewReader("a\nb\nc\nd\n")); err != nil {
			t.Error(err)
		}
		<-served
		for i, payload := range []string{"a", "b", "c", "d"} {
			for _, event := range []string{"sent", "replied"} {
				found := false
				for line := range strings.Lines(out.String()) {
					found = found || strings.HasPrefix(line, `{"event":"`+event+`"`) && strings.Contains(line, fmt.Sprintf(`"seq":%d,`, i+1)) &&
						strings.Contains(line, `"payload":"`+payload+`"`)
				}
				if !found {
					t.Errorf("no %s of request %d, %s, in\n%s", event, i+1, payload, &out)
				}
			}
		}
	})
}
