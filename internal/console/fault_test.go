package console

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// Faults are told by both narratives, in JSON and in the sum; a message that no other line has is shown
// with its fault, in the words of its protocol.
func TestFaultsAreTold(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	s := parley.NewSession(7, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}, nil, at)
	refused := parley.NewSession(0, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6}, nil, at)
	events := []*parley.Event{
		{Kind: parley.Faulted, Time: at, Session: s, Seq: 1, Body: []byte("+OK\r\n"), Fault: "reply.delay=52ms"},
		{Kind: parley.Faulted, Time: at, Session: s, Body: []byte("*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n"), Secret: true, Fault: "request.drop"},
		{Kind: parley.Faulted, Time: at, Session: s, Fault: "stall=5s"},
		{Kind: parley.Faulted, Time: at, Session: s, Seq: 2, Fault: "reply.delay=49ms"},
		{Kind: parley.Refused, Time: at, Session: refused, Reason: parley.Fault, Fault: "refuse", Err: errors.New("refused on purpose")},
	}
	redis, _ := dialect.Parse("redis")
	said := messages{words: redis.Words}
	narrative := NewNarrative(nil, Limits{}, true)
	narrative.messages = said
	tap := NewTapNarrative(nil, "db:1", false)
	json := NewJSON(nil, "")
	var counts Counts
	var lines, tapLines, objects string
	for _, e := range events {
		lines += string(narrative.appendEvent(nil, e))
		objects += string(json.appendEvent(nil, e))
		if tap.Wants(e.Kind) {
			tapLines += string(tap.appendEvent(nil, e))
		}
		counts.Observe(e)
	}
	const before = "2026-11-24T08:00:00.000000Z #7 127.0.0.1:5 "
	for _, one := range []struct{ what, got, want string }{
		{"the narrative", lines, before + "Server: fault: reply.delay=52ms\n" + before + "Server: fault: request.drop [21]: AUTH (secret)\n" + before + "Server: fault: stall=5s\n" +
			before + "Server: fault: reply.delay=49ms\n2026-11-24T08:00:00.000000Z #0 127.0.0.1:6 Server: refused (fault)\n"},
		{"the tap's", tapLines, "Tap: fault: reply.delay=52ms\nTap: fault: request.drop\nTap: fault: stall=5s\nTap: fault: reply.delay=49ms\n"},
		{"the sum", counts.faulted(), ", 5 faults: 1 refuse, 2 reply.delay, 1 request.drop, 1 stall"},
		{"JSON", strings.SplitAfter(objects, "\n")[0], `{"event":"fault","time":"2026-11-24T08:00:00Z","side":"server","session":7,"seq":1,"remote":"127.0.0.1:5","local":"unknown","bytes":5,"payload_base64":"K09LDQo=","fault":"reply.delay=52ms"}` + "\n"},
	} {
		if one.got != one.want {
			t.Errorf("%s has\n%swant\n%s", one.what, one.got, one.want)
		}
	}
}

// What a journal says of a fault is shown as it is, and escaped: anybody may have written the file.
func TestLoggedFault(t *testing.T) {
	e := &Entry{Kind: parley.Faulted, Side: "server", Time: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), Number: 7, Seq: 1, Remote: "r", Local: "l", Fault: "reply.\x1b[31mdrop"}
	if got, want := string(AppendEntry(nil, e, false)), "Server: fault: reply.\\x1b[31mdrop\n"; got != want {
		t.Errorf("the narrative has %q, want %q", got, want)
	}
	if got, want := string(AppendEntryJSON(nil, e)), `{"event":"fault","time":"2026-11-24T08:00:00Z","side":"server","session":7,"seq":1,"remote":"r","local":"l","fault":"reply.\u001b[31mdrop"}`+"\n"; got != want {
		t.Errorf("JSON has %s, want %s", got, want)
	}
}
