package console

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

type hinting struct{}

func (hinting) Error() string { return "connection reset by peer" }
func (hinting) Hint() string  { return "nothing\x1bwas read" }

// Who can connect is to be seen in where it listens.
func TestTapSaysWhereItListens(t *testing.T) {
	for _, c := range []struct {
		at   net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("127.0.0.1"), Port: 7001}, "127.0.0.1:7001"},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 7001}, "[::1]:7001"},
		{&net.TCPAddr{IP: net.IPv6unspecified, Port: 7001}, "port 7001 of all addresses"},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 7001}, "port 7001 of all addresses"},
		{&net.UnixAddr{Net: "unix", Name: "/run/\x1b[2J"}, `unix:/run/\x1b[2J`},
	} {
		out := new(collector)
		w := NewWriter(out, QueueLimit, SkippedTapLine, nil)
		NewTapNarrative(w, "redis:6379", false).Started(c.at)
		w.Close(time.Minute)
		if got, want := out.String(), "Tap: started on "+c.want+"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTapNarrativeTellsWhatPasses(t *testing.T) {
	s := new(parley.Session)
	for _, c := range []struct {
		event parley.Event
		want  string
	}{
		{parley.Event{Kind: parley.Opened}, "Tap: connection from unknown to redis\\x1b:6379"},
		{parley.Event{Kind: parley.Received, Seq: 1, Body: []byte("PING\r")}, `Tap: client [5]: PING\r`},
		{parley.Event{Kind: parley.Replied, Seq: 1, Body: []byte("+PONG")}, "Tap: server [5]: +PONG"},
		{parley.Event{Kind: parley.Unasked, Body: []byte("\x1b[2J")}, `Tap: server [4]: \x1b[2J`},
		{parley.Event{Kind: parley.Replied, Seq: 1, Body: []byte("ab"), Cut: 98}, "Tap: server [100]: ab…(100 bytes)"},
		{parley.Event{Kind: parley.Received, Seq: 1, Body: bytes.Repeat([]byte("x"), 5000), Cut: 1 << 40},
			"Tap: client [1099511632776]: " + strings.Repeat("x", 4096) + "…(1099511632776 bytes)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.EndOfFile}, "Tap: Connection closed!"},
		{parley.Event{Kind: parley.Closed, Reason: parley.NoRequest}, "Tap: Connection closed! (nothing was said)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.Truncated}, "Tap: Connection closed! (end of file inside a message)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.Truncated, Err: parley.ErrTruncated}, "Tap: Connection closed! (end of file without TLS's close_notify)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.Reset}, "Tap: Connection closed! (connection reset by client)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.UpstreamReset}, "Tap: Connection closed! (connection reset by server)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.Reset, Err: fmt.Errorf("read: %w", hinting{})}, `Tap: Connection closed! (connection reset by client; nothing\x1bwas read)`},
		{parley.Event{Kind: parley.Closed, Reason: parley.UpstreamReset, Err: hinting{}}, `Tap: Connection closed! (connection reset by server; nothing\x1bwas read)`},
		{parley.Event{Kind: parley.Closed, Reason: parley.IdleTimeout, Err: errors.New("nothing was said for 1m0s")}, "Tap: Connection closed! (nothing was said for 1m0s)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.WriteTimeout, Err: errors.New("the client took nothing for 5m0s")}, "Tap: Connection closed! (the client took nothing for 5m0s)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.Unreachable, Err: errors.New("no\nway")}, `Tap: Connection closed! (no\nway)`},
		{parley.Event{Kind: parley.Closed, Reason: parley.IOError, Err: errors.New("timed out")}, "Tap: Connection closed! (timed out)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.DrainCut}, "Tap: Connection closed! (cut by the shutdown)"},
		{parley.Event{Kind: parley.Closed, Reason: parley.ServerClosed}, "Tap: Connection closed! (tap stopped)"},
	} {
		c.event.Session, c.event.Took = s, 41*time.Microsecond
		c.event.Time = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		for verbose, stamp := range map[bool]string{false: "", true: "2026-01-02T03:04:05.000006Z #0 unknown "} {
			out := new(collector)
			w := NewWriter(out, QueueLimit, SkippedTapLine, nil)
			NewTapNarrative(w, "redis\x1b:6379", verbose).Observe(&c.event)
			w.Close(time.Minute)
			want := stamp + c.want
			if verbose && c.event.Kind == parley.Replied {
				want += " (41 µs)"
			}
			if got := out.String(); got != want+"\n" {
				t.Errorf("%v is told as %.100q, want %.100q", c.event.Kind, got, want)
			}
		}
	}
}

// What a tap cuts off is missing in the payload and counted, and the length is the whole's.
func TestTapJSON(t *testing.T) {
	s := new(parley.Session)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		event parley.Event
		want  string
	}{
		{parley.Event{Kind: parley.Unasked, Body: []byte("hello")}, `{"event":"message","time":"2026-01-02T03:04:05Z","side":"tap","remote":"unknown","local":"unknown","bytes":5,"payload":"hello"}`},
		{parley.Event{Kind: parley.Received, Seq: 3, Body: []byte("a\x00"), Cut: 5}, `{"event":"received","time":"2026-01-02T03:04:05Z","side":"tap","seq":3,"remote":"unknown","local":"unknown","bytes":7,"payload_base64":"YQA=","cut":5}`},
	} {
		c.event.Session, c.event.Time = s, at
		if got := string(NewTapJSON(nil, "", "x:1").appendEvent(nil, &c.event)); got != c.want+"\n" {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
	}
}
