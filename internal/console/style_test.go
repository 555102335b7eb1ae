package console

import (
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

var sequence = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// everyKind is an event of each kind that a narrative tells of, what peers say being hostile.
func everyKind(number uint64) []*parley.Event {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	s := parley.NewSession(number, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}, nil, at)
	said := []byte("\x1b[31mred\x1b[0m")
	return []*parley.Event{
		{Kind: parley.Opened, Time: at, Session: s},
		{Kind: parley.Received, Time: at, Session: s, Seq: 1, Body: said},
		{Kind: parley.Faulted, Time: at, Session: s, Seq: 1, Fault: "reply.delay=52ms"},
		{Kind: parley.Faulted, Time: at, Session: s, Body: said, Fault: "request.drop"},
		{Kind: parley.Replied, Time: at, Session: s, Seq: 1, Body: said, Took: 41 * time.Microsecond},
		{Kind: parley.Unasked, Time: at, Session: s, Body: said},
		{Kind: parley.Closed, Time: at, Session: s, Reason: parley.Reset, Err: errors.New(string(said))},
		{Kind: parley.Closed, Time: at, Session: s, Reason: parley.Fault, Err: errors.New(string(said))},
		{Kind: parley.Closed, Time: at, Session: s, Reason: parley.NoRequest},
		{Kind: parley.Refused, Time: at, Session: s, Reason: parley.Full, Body: said},
	}
}

// Colours are all that a style adds: without their sequences the bytes are those of a pipe, and no line
// leaves one behind.
func TestStyleAddsColoursOnly(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		for _, e := range everyKind(3) {
			server, tap := NewNarrative(nil, Limits{}, verbose), NewTapNarrative(nil, "db:1", verbose)
			for who, format := range map[string]struct {
				format
				shown *messages
			}{"server": {server, &server.messages}, "tap": {tap, &tap.messages}} {
				if who == "tap" && e.Kind == parley.Refused { // of which notes tell
					continue
				}
				bare := string(format.appendEvent(nil, e))
				if strings.Contains(bare, "\x1b") {
					t.Errorf("the %s's %v has a sequence without a style: %q", who, e.Kind, bare)
				}
				format.shown.Style = Coloured()
				got := string(format.appendEvent(nil, e))
				if sequence.ReplaceAllString(got, "") != bare {
					t.Errorf("the %s's %v is %q in colour, want the text of %q", who, e.Kind, got, bare)
				}
				all := sequence.FindAllString(got, -1)
				if len(all) == 0 || all[len(all)-1] != "\x1b[0m" {
					t.Errorf("the %s's %v ends in the colours of %q", who, e.Kind, all)
				}
			}
		}
	}
}

// What is wrong is red, what is so on purpose yellow, and neither is the colour of a session, which it keeps.
func TestWhatColoursSay(t *testing.T) {
	n := NewNarrative(nil, Limits{}, true)
	n.Style = Coloured()
	var sessions []string
	for number := range uint64(5) {
		line := string(n.appendEvent(nil, everyKind(number + 1)[0]))
		sessions = append(sessions, sequence.FindAllString(line, -1)[2])
		if !strings.HasPrefix(line, "\x1b[0;2m2026-11-24T08:00:00.000000Z\x1b[0m ") {
			t.Errorf("the time is not dim: %q", line)
		}
	}
	if slices.Contains(sessions, "\x1b[0;31m") || slices.Contains(sessions, "\x1b[0;33m") || sessions[0] != sessions[4] || len(slices.Compact(sessions)) != 5 {
		t.Errorf("sessions have %q", sessions)
	}
	events := everyKind(1)
	for i, want := range map[int]string{
		1: "\x1b[0;1m\\x1b[31mred", 2: "\x1b[0;33mServer: fault: ", 4: "\x1b[0m\\x1b[31mred", 6: "\x1b[0;31m(connection reset", 7: "\x1b[0;33m(", 8: "\x1b[0m(no request)", 9: "\x1b[0;31mServer: refused",
	} {
		if got := string(n.appendEvent(nil, events[i])); !strings.Contains(got, want) {
			t.Errorf("%v is %q, want in it %q", events[i].Kind, got, want)
		}
	}
}

// A time has the unit that a person would take for it.
func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1000: "1 µs", 41_300: "41 µs", 999_499: "999 µs", 999_500: "1.00 ms", 1_234_000: "1.23 ms",
		9_994_000: "9.99 ms", 9_995_000: "10.0 ms", 99_949_000: "99.9 ms", 99_951_000: "100 ms", 999_499_000: "999 ms", 999_500_000: "1.0 s",
		2_100 * time.Millisecond: "2.1 s", 59_949 * time.Millisecond: "59.9 s", 59_950 * time.Millisecond: "1m0s", 83 * time.Second: "1m23s",
	} {
		if got := string(appendSpan(nil, d)); got != want {
			t.Errorf("%d ns is %q, want %q", int64(d), got, want)
		}
	}
}

// A message is dumped below its line, as it passed where that is known, with its direction; of one that is
// cut it says so, and credentials are not dumped where they are not shown.
func TestDumpsBelowLines(t *testing.T) {
	redis, _ := dialect.Parse("redis")
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	s := parley.NewSession(1, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}, nil, at)
	auth := []byte("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n")
	for _, c := range []struct {
		what  string
		shown messages
		event parley.Event
		want  string
	}{
		{"a request", messages{}, parley.Event{Kind: parley.Received, Body: []byte("hello")},
			"Tap: client [5]: hello\n> 00000000  68 65 6c 6c 6f                                    |hello|\n"},
		{"a reply as it passed", messages{}, parley.Event{Kind: parley.Replied, Body: []byte("hello"), Raw: parley.Raw{Bytes: []byte("hello\r\n")}},
			"Tap: server [5]: hello\n< 00000000  68 65 6c 6c 6f 0d 0a                              |hello..|\n"},
		{"what was unasked, in 40 columns", messages{columns: func() int { return 40 }}, parley.Event{Kind: parley.Unasked, Body: []byte("hello")},
			"Tap: server [5]: hello\n< 00000000  68 65 6c 6c  |hell|\n< 00000004  6f           |o|\n"},
		{"the beginning of one", messages{}, parley.Event{Kind: parley.Received, Body: []byte("he"), Cut: 98},
			"Tap: client [100]: he…(100 bytes)\n> 00000000  68 65                                             |he|\n> …(100 bytes)\n"},
		{"credentials", messages{words: redis.Words}, parley.Event{Kind: parley.Received, Body: auth, Secret: true}, "Tap: client [26]: AUTH (secret)\n> (secret)\n"},
		{"an end", messages{}, parley.Event{Kind: parley.Closed, Reason: parley.EndOfFile}, "Tap: Connection closed!\n"},
	} {
		n := NewTapNarrative(nil, "db:1", false)
		n.messages = c.shown
		n.hex = true
		c.event.Session, c.event.Time = s, at
		if got := string(n.appendEvent(nil, &c.event)); got != c.want {
			t.Errorf("%s is told as\n%s\nwant\n%s", c.what, got, c.want)
		}
	}
	n := NewNarrative(nil, Limits{}, false)
	n.hex = true
	dropped := &parley.Event{Kind: parley.Faulted, Session: s, Time: at, Fault: "request.drop", Body: []byte("x")}
	if got, want := string(n.appendEvent(nil, dropped)), "Server: fault: request.drop [1]: x\n> 00000000  78  "; !strings.HasPrefix(got, want) {
		t.Errorf("a request that no other line has is told as %q, want %q", got, want)
	}
}

// A protocol's own form of a reply is cut on a terminal as its bytes are.
func TestPrintedReplyIsCutOnATerminal(t *testing.T) {
	redis, _ := dialect.Parse("redis")
	long := strings.Repeat("é", 5000)
	reply := []byte("$10000\r\n" + long + "\r\n")
	for terminal, want := range map[bool]string{true: "\"" + `\xc3\xa9` + "…", false: long + "\n"} {
		var out strings.Builder
		r := NewReplies(&out, &out, terminal)
		r.PrintReply = redis.Print
		r.Response(dialect.Message{Body: reply}, 0)
		if got := out.String(); !terminal && got != want || terminal && (len(got) > maxShown+30 || !strings.HasSuffix(got, "…(10010 bytes)\n")) {
			t.Errorf("on a terminal (%v) %d bytes are printed, which end in %q", terminal, len(got), got[len(got)-30:])
		}
		out.Reset()
		r.Response(dialect.Message{Body: []byte("+OK\r\n")}, 0)
		if out.String() != "OK\n" {
			t.Errorf("a short reply is printed as %q", out.String())
		}
	}
}

// What a client sends is dim to its end, so that the reply below it stands out.
func TestWhatIsSentIsDim(t *testing.T) {
	var out strings.Builder
	n := NewClientNarrative(&out, nil, Typed)
	n.Style = Coloured()
	n.Sending(dialect.Message{Body: []byte("hi")})
	for text := range strings.SplitSeq(strings.TrimSpace(out.String()), "\x1b[0m") {
		if text != "" && !strings.HasPrefix(text, "\x1b[0;2m") {
			t.Errorf("%q of %q is not dim", text, out.String())
		}
	}
}
