package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// greets says hello after a time, complains of what was sent before, and echoes.
func greets(t *testing.T, conn net.Conn, hello string, after time.Duration) {
	conn.SetReadDeadline(time.Now().Add(after))
	if n, _ := conn.Read(make([]byte, 1)); n > 0 {
		t.Error("something was sent before the greeting")
	}
	conn.SetReadDeadline(time.Time{})
	io.WriteString(conn, hello)
	io.Copy(conn, conn)
	conn.Close()
}

// The greeting is awaited on each connection, and is in no time but its own.
func TestGreetingsAreAwaited(t *testing.T) {
	for _, plan := range []Plan{{Connections: 3}, {Connections: 3, Rate: 100}, {Connections: 3, ConnectEach: true}} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{serve: func(conn *parleytest.Conn) { greets(t, conn, "hello\n", 5*time.Second) }}
			plan.Framing, plan.Banner, plan.Requests = dialect.Greeted(parley.Lines, nil, parley.Lines), true, 30
			r := s.run(t, t.Context(), plan)
			if r.Replies != 30 || r.Failed() || len(r.Errors) > 0 {
				t.Errorf("connect each %v, rate %v: %d replies, %d bad, want 30 and none", plan.ConnectEach, plan.Rate, r.Replies, r.Bad())
			}
			if r.Greeting.Count() != int64(r.Connects) || !within(r.Greeting.Min(), 5*time.Second, 5*time.Millisecond) {
				t.Errorf("connect each %v: %d greetings of %d connections, after %v; want all, after 5s", plan.ConnectEach, r.Greeting.Count(), r.Connects, r.Greeting.Min())
			}
			if plan.ConnectEach && r.FirstReply.Max() > time.Millisecond || !plan.ConnectEach && r.Service.Max() > time.Millisecond {
				t.Errorf("connect each %v: a first reply took %v, any %v; the greeting is in it", plan.ConnectEach, r.FirstReply.Max(), r.Service.Max())
			}
		})
	}
}

// It is awaited over sockets too, whoever serves them, and not once more.
func TestGreetingsAreAwaitedOverSockets(t *testing.T) {
	dialer := serveSockets(t, func(conn *net.TCPConn) { greets(t, conn, "hello\n", 50*time.Millisecond) })
	for _, plan := range []Plan{{Connections: 4}, {Connections: 4, InFlight: 8}, {Connections: 4, Rate: 20000}, {Connections: 4, ConnectEach: true}} {
		plan.Framing, plan.Banner, plan.Requests = dialect.Greeted(parley.Lines, nil, parley.Lines), true, 50
		r := runOver(t, t.Context(), dialer, plan)
		if r.Replies != 50 || r.Failed() || len(r.Errors) > 0 || r.Greeting.Count() != int64(r.Connects) {
			t.Errorf("%d in flight, rate %v, connect each %v: %d replies, %d bad, %d greetings of %d connections; want 50, none and all",
				plan.InFlight, plan.Rate, plan.ConnectEach, r.Replies, r.Bad(), r.Greeting.Count(), r.Connects)
		}
	}
}

// A line that came with the greeting is no reply: it is extra.
func TestWhatComesWithAGreetingIsExtra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{serve: func(conn *parleytest.Conn) { greets(t, conn, "hello\nyou\n", time.Second) }}
		r := s.run(t, t.Context(), Plan{ConnectEach: true, Framing: dialect.Greeted(parley.Lines, nil, parley.Lines), Banner: true, Requests: 10})
		if r.Replies != 10 || r.Mismatched != 0 || r.Extra != 10 {
			t.Errorf("%d replies, %d mismatched, %d extra; want 10, 0, 10", r.Replies, r.Mismatched, r.Extra)
		}
	})
}

func TestNoGreetingIsNoConnection(t *testing.T) {
	for _, plan := range []Plan{{}, {ConnectEach: true}} {
		for came, kind := range map[string]dial.Kind{"": dial.ReplyTimeout, "\x00\x00\x00\x05he": dial.ReplyTimeout, "\x00\x00\x00\x05by": dial.Closed} {
			synctest.Test(t, func(t *testing.T) {
				s := &service{serve: func(conn *parleytest.Conn) {
					io.WriteString(conn, came)
					if kind != dial.Closed {
						io.Copy(io.Discard, conn)
					}
					conn.Close()
				}}
				plan.Dial, plan.Banner, plan.Timeout, plan.Requests = s.dial, true, 2*time.Second, 1
				plan.Messages, plan.Framing = ParseMessages([]byte("a")), dialect.Greeted(parley.Lines, nil, parley.LengthPrefixed)
				begin := time.Now()
				_, err := plan.Run(t.Context())
				var greeting *GreetingError
				if !errors.As(err, &greeting) || string(greeting.Came) != came || dial.KindOf(err) != kind {
					t.Errorf("connect each %v: after %q the error is %v, of kind %s, want %s", plan.ConnectEach, came, err, dial.KindOf(err), kind)
				}
				if took := time.Since(begin); kind == dial.ReplyTimeout && took != plan.Timeout {
					t.Errorf("it took %v, want %v", took, plan.Timeout)
				}
				s.closed.Wait()
			})
		}
	}
}

// counting is a protocol of lines that numbers its requests on a connection, and whose replies are
// found by that number: it works only if both sides see every message, in order.
type counting struct{ parley.Framing }

func (c counting) Open() (requests, replies parley.Framing) {
	n := new(atomic.Int64)
	return &countingSide{Framing: c.Framing, sent: n}, &countingSide{Framing: c.Framing, sent: n}
}

type countingSide struct {
	parley.Framing
	sent *atomic.Int64
	got  int64
	note parley.Note
}

func (c *countingSide) End(dst []byte, start int) ([]byte, error) {
	return fmt.Appendf(dst, " %d\n", c.sent.Add(1)), nil
}

func (c *countingSide) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	n, body, err := c.Framing.Next(buf, scanned, max, eof)
	if c.note.Alone = strings.HasPrefix(string(body), "!"); n == 0 || err != nil || c.note.Alone {
		return n, body, err
	}
	if c.got++; c.got > c.sent.Load() || !strings.HasSuffix(string(body), fmt.Sprint(" ", c.got)) {
		return 0, nil, fmt.Errorf("%w: reply %d is %q", parley.ErrMalformed, c.got, body)
	}
	return n, body, nil
}

func (c *countingSide) Note() parley.Note { return c.note }

// A protocol keeps its memory of a connection in whichever way that is served, and what it says is
// no reply is not counted.
func TestProtocolsOverSockets(t *testing.T) {
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		io.WriteString(conn, "!hello\n")
		for in := bufio.NewScanner(conn); in.Scan(); {
			fmt.Fprintf(conn, "!note\n%s\n!note\n", in.Text())
		}
	})
	for _, plan := range []Plan{
		{Connections: 4}, {Connections: 4, InFlight: 8}, {Connections: 4, Rate: 20000}, {Connections: 2, ConnectEach: true},
	} {
		for _, plan.Banner = range []bool{false, true} {
			plan.Framing, plan.Requests = counting{parley.Lines}, 500
			r := runOver(t, t.Context(), dialer, plan)
			if r.Replies != 500 || r.Failed() || len(r.Errors) > 0 || r.Requests != 500 {
				t.Errorf("%d in flight, rate %v, connect each %v: %d replies, %d mismatched, %d missing, %d extra, errors %v; want 500",
					plan.InFlight, plan.Rate, plan.ConnectEach, r.Replies, r.Mismatched, r.Missing, r.Extra, r.Errors)
			}
			if plan.Banner && r.Greeting.Count() != int64(r.Connects) {
				t.Errorf("%d greetings on %d connections", r.Greeting.Count(), r.Connects)
			}
		}
	}
}

// Where nobody replies, what is taken is counted, and it arrives.
func TestWhatIsTakenIsCounted(t *testing.T) {
	for _, plan := range []Plan{{Connections: 4}, {Connections: 4, Rate: 20000}, {Connections: 2, ConnectEach: true}} {
		lines := make(chan string, 1000)
		dialer := serveSockets(t, func(conn *net.TCPConn) {
			io.WriteString(conn, "who are you?\n")
			for in := bufio.NewScanner(conn); in.Scan(); {
				lines <- in.Text()
			}
		})
		plan.Replies, plan.Requests, plan.Dial, plan.Messages = parley.NoReplies, 500, dialer.Dial, ParseMessages([]byte("{n}"))
		r, err := plan.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Taken != 500 || r.Requests != 500 || r.Replies != 0 || r.Failed() || len(r.Errors) > 0 {
			t.Errorf("rate %v, connect each %v: %d taken of %d, %d replies, errors %v; want 500, 500, 0, none",
				plan.Rate, plan.ConnectEach, r.Taken, r.Requests, r.Replies, r.Errors)
		}
		arrived := make(map[string]bool)
		for late := time.After(30 * time.Second); len(arrived) < 500; { // the service may not have read all yet
			select {
			case line := <-lines:
				arrived[line] = true
			case <-late:
				t.Fatalf("rate %v, connect each %v: %d arrived, want 500", plan.Rate, plan.ConnectEach, len(arrived))
			}
		}
		if r.Write.Count() != 500 || r.Service.Count() != 0 || r.FirstReply.Count() != 0 {
			t.Errorf("%d times of writes, %d of service, %d of first replies; want 500, 0, 0", r.Write.Count(), r.Service.Count(), r.FirstReply.Count())
		}
	}
}

// With a connection for each request it is not closed before the service is done: to close it while
// the service talks would reset it, and what was taken might be lost.
func TestWhatIsTakenIsNotReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{serve: func(conn *parleytest.Conn) {
			defer conn.Close()
			if got, _ := io.ReadAll(conn); len(got) == 0 {
				return // it was seen whether there is a service
			}
			time.Sleep(closeTimeout - 1)
			if _, err := io.WriteString(conn, "who were you?\n"); err != nil {
				t.Errorf("the service is told %v", err)
			}
		}}
		plan := Plan{Replies: parley.NoReplies, ConnectEach: true, Requests: 3, Dial: s.dial, Messages: ParseMessages([]byte("{n}"))}
		if r, err := plan.Run(t.Context()); err != nil || r.Taken != 3 || len(r.Errors) > 0 {
			t.Errorf("%d taken, errors %v, %v; want 3 and none", r.Taken, r.Errors, err)
		}
		s.closed.Wait()
	})
}

// A peer that takes no more is no success.
func TestWhatIsNotTakenIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{serve: func(conn *parleytest.Conn) {
			conn.Read(make([]byte, 1))
			time.Sleep(time.Minute)
			conn.Close()
		}}
		plan := Plan{Replies: parley.NoReplies, Messages: SizedMessages(1 << 20), Timeout: time.Second, Duration: 10 * time.Second, Dial: s.dial, Sleep: time.Sleep}
		r, err := plan.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Missing == 0 || r.Errors[dial.ReplyTimeout] == 0 {
			t.Errorf("%d missing, errors %v; want some", r.Missing, r.Errors)
		}
		s.closed.Wait()
	})
}

// A reply that ends with its connection is whole there, and is the only one.
func TestRepliesUntilTheEnd(t *testing.T) {
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		request, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "you said\n%s\n", request)
	})
	plan := Plan{Framing: parley.UntilClose, Connections: 2, ConnectEach: true, Requests: 50}
	if r := runOver(t, t.Context(), dialer, plan); r.Replies != 50 || r.Failed() || len(r.Errors) > 0 {
		t.Errorf("%d replies, %d bad, errors %v; want 50 and none", r.Replies, r.Bad(), r.Errors)
	}
}

// A file has a request on as many lines as its framing finds in one.
func TestRequestsOfSeveralLinesInAFile(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
		err  string
	}{
		{"set a\n1\nget a\r\nset b\r\n2\r\n", []string{"set a\n1", "get a", "set b\n2"}, ""},
		{"get a\nset b\n", []string{"get a", "set b"}, "request 2 cannot be sent: more lines belong to the message"},
		{"quiet\n", []string{"quiet"}, "request 1 cannot be sent: there is no reply to it, and replies are what is measured"},
	} {
		m, err := ReadMessages(strings.NewReader(c.text), blocks{parley.Lines})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range m.list {
			got = append(got, string(m.Append(nil, uint64(i+1), 1)))
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%q has %q, want %q", c.text, got, c.want)
		}
		if err := m.Fit(blocks{parley.Lines}); fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
			t.Errorf("%q: %v, want %s", c.text, err, c.err)
		}
	}
}

// blocks is a protocol in which "set" goes on for one more line, and "quiet" has no reply.
type blocks struct{ parley.Framing }

func (b blocks) Open() (requests, replies parley.Framing) {
	return &blockSide{Framing: b.Framing}, b.Framing
}

type blockSide struct {
	parley.Framing
	note parley.Note
}

func (b *blockSide) End(dst []byte, start int) ([]byte, error) {
	body := string(dst[start:])
	if strings.HasPrefix(body, "set") && !strings.Contains(body, "\n") {
		return dst, parley.ErrUnfinished
	}
	b.note.Alone = body == "quiet"
	return append(dst, '\n'), nil
}

func (b *blockSide) Note() parley.Note { return b.note }
