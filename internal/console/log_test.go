package console

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/clipperhouse/displaywidth"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// logStory is what a journal tells that is out of the ordinary: an exchange whose session was
// not recorded, the server's own error text, and a connection that was refused.
func logStory() []journal.Event {
	at := func(ms int) time.Time {
		return time.Date(2026, 11, 24, 8, 0, 0, ms*1e6, time.UTC)
	}
	lost := &journal.Session{ID: 9, Lost: true}
	told := &journal.Session{ID: 1, Number: 1, Remote: "10.0.0.1:1", Local: "10.0.0.2:2", Opened: at(0), Closed: at(9), Reason: "too_long", RepliedUpTo: 1, Requests: 1}
	refused := &journal.Session{Remote: "10.0.0.3:3", Local: "10.0.0.2:2", Opened: at(8), Closed: at(8), Reason: "full"}
	orphan := &journal.Exchange{ID: 1, Session: 9, Seq: 4, Received: at(2), Request: []byte("whose\x1b[2J"), Reply: []byte("nobody's")}
	text := &journal.Exchange{ID: 2, Session: 1, Received: at(3), Reply: []byte("Error: request longer than 4 bytes")}
	return []journal.Event{
		{Kind: parley.Opened, Time: at(0), Session: told},
		{Kind: parley.Received, Time: at(2), Session: lost, Exchange: orphan},
		{Kind: parley.Replied, Time: at(2), Session: lost, Exchange: orphan},
		{Kind: parley.Replied, Time: at(3), Session: told, Exchange: text},
		{Kind: parley.Refused, Time: at(8), Session: refused, Text: []byte("Error: server is full (1 sessions)")},
		{Kind: parley.Closed, Time: at(9), Session: told},
	}
}

func viewed(t *testing.T, format string, width int, events []journal.Event) string {
	t.Helper()
	return viewedWith(t, format, LogOptions{Width: width}, events)
}

func viewedWith(t *testing.T, format string, opt LogOptions, events []journal.Event) string {
	t.Helper()
	var out bytes.Buffer
	v, err := NewLogView(format, &out, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := v.Show(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.End(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Each view shows what has no session of its own, or no request, as what it is.
func TestEveryViewShowsWhatIsOutOfTheOrdinary(t *testing.T) {
	for format, want := range map[string]string{
		"narrative": `2026-11-24T08:00:00.000000Z #1 10.0.0.1:1 Server: connection from 10.0.0.1:1
2026-11-24T08:00:00.002000Z #? (session 9 was not recorded) Server: incoming data [9]: whose\x1b[2J
2026-11-24T08:00:00.002000Z #? (session 9 was not recorded) Server: reply unconfirmed [8]: nobody's
2026-11-24T08:00:00.003000Z #1 10.0.0.1:1 Server: message [34]: Error: request longer than 4 bytes
2026-11-24T08:00:00.008000Z - 10.0.0.3:3 Server: refused 10.0.0.3:3 (full) [34]: Error: server is full (1 sessions)
2026-11-24T08:00:00.009000Z #1 10.0.0.1:1 Server: Connection closed! (too long)
`,
		"json": `{"event":"opened","time":"2026-11-24T08:00:00Z","side":"server","session":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2"}
{"event":"received","time":"2026-11-24T08:00:00.002Z","side":"server","lost_session":9,"seq":4,"remote":"","local":"","bytes":9,"payload_base64":"d2hvc2UbWzJK"}
{"event":"reply_made","time":"2026-11-24T08:00:00.002Z","side":"server","lost_session":9,"seq":4,"remote":"","local":"","bytes":8,"payload":"nobody's","took_ns":0,"replied":"unknown"}
{"event":"message","time":"2026-11-24T08:00:00.003Z","side":"server","session":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":34,"payload":"Error: request longer than 4 bytes"}
{"event":"refused","time":"2026-11-24T08:00:00.008Z","side":"server","remote":"10.0.0.3:3","local":"10.0.0.2:2","bytes":34,"payload":"Error: server is full (1 sessions)","reason":"full"}
{"event":"closed","time":"2026-11-24T08:00:00.009Z","side":"server","session":1,"seq":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","took_ns":9000000,"bytes_in":0,"bytes_out":0,"reason":"too_long"}
`,
		"table": `session    seq  received                           took  replied  remote                 request                                   reply
      ?      4  2026-11-24T08:00:00.002000Z          0s  unknown                         whose\x1b[2J                              nobody's
      1      0  2026-11-24T08:00:00.003000Z          0s  unasked  10.0.0.1:1                                                       Error: request longer than 4 bytes
      -      0  2026-11-24T08:00:00.008000Z          0s  full     10.0.0.3:3                                                       Error: server is full (1 sessions)
`,
		"csv": strings.ReplaceAll(`session,seq,remote,local,received,took_ns,replied,request,request_base64,reply,reply_base64,request_text,reply_text,fault,node
,4,,,2026-11-24T08:00:00.002Z,0,unknown,,d2hvc2UbWzJK,nobody's,,,,,
1,0,10.0.0.1:1,10.0.0.2:2,2026-11-24T08:00:00.003Z,0,unasked,,,Error: request longer than 4 bytes,,,,,
,0,10.0.0.3:3,10.0.0.2:2,2026-11-24T08:00:00.008Z,0,full,,,Error: server is full (1 sessions),,,,,
`, "\n", "\r\n"),
		"md": `| Server Terminal (server.js) | Client Terminal (client.js) |
|---|---|
| Server: connection from 10.0.0.1:1 | |
| | Client: Connected to 10.0.0.2:2 |
| (session 9 was not recorded) | |
| | Enter data: whose\\x1b[2J |
| | Client: sending [9] whose\\x1b[2J ... |
| Server: incoming data [9]: whose\\x1b[2J | |
| Server: reply unconfirmed [8]: nobody's | |
| | Client: server message: Error: request longer than 4 bytes |
| Server: refused 10.0.0.3:3 (full) [34]: Error: server is full (1 sessions) | |
| Server: Connection closed! (too long) | |
| | Client: Connection closed |
`,
		"mermaid": `sequenceDiagram
    participant s as Server
    participant c1 as 10.0.0.1#58;1
    Note over c1,s: session 1
    participant c9 as session 9, not recorded
    c9->>s: [9] whose#92;x1b[2J
    s--)c9: unconfirmed [8] nobody#39;s
    s-->>c1: [34] Error#58; request longer than 4 bytes
    participant r1 as 10.0.0.3#58;3
    s-->>r1: [34] Error#58; server is full (1 sessions)
    Note over r1,s: refused, full
    Note over c1,s: closed, too#95;long
`,
	} {
		if got := viewed(t, format, 0, logStory()); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", format, got, want)
		}
	}
	pcap := viewed(t, "pcap", 0, logStory())
	for _, text := range []string{"whose\x1b[2J\n", "nobody's\n", "Error: request longer than 4 bytes\n", "Error: server is full (1 sessions)\n"} {
		if !strings.Contains(pcap, text) {
			t.Errorf("the capture has no %q", text)
		}
	}
}

// protocolStory is what a journal tells of a protocol: a request and its reply, one with
// credentials, a message that came unasked and was cut, and one without words.
func protocolStory() []journal.Event {
	at := func(ms int) time.Time { return time.Date(2026, 11, 24, 8, 0, 0, ms*1e6, time.UTC) }
	s := &journal.Session{ID: 1, Number: 1, Remote: "10.0.0.1:1", Local: "10.0.0.2:2", Opened: at(0), Closed: at(9), Reason: "eof", RepliedUpTo: 3, Requests: 3, Stray: 12}
	s.Role = "tap"
	get := &journal.Exchange{ID: 1, Session: 1, Seq: 1, Received: at(1), Request: []byte("get\x1b"), Reply: []byte("ok\r\n")}
	auth := &journal.Exchange{ID: 2, Session: 1, Seq: 2, Received: at(2), Request: []byte("auth me"), Reply: []byte("+"), Secret: true}
	push := &journal.Exchange{ID: 3, Session: 1, Received: at(3), Reply: []byte("push"), ReplyCut: 96}
	none := &journal.Exchange{ID: 4, Session: 1, Seq: 3, Received: at(4), Request: []byte("-x"), Secret: true}
	return []journal.Event{
		{Kind: parley.Received, Time: at(1), Session: s, Exchange: get},
		{Kind: parley.Replied, Time: at(1), Session: s, Exchange: get},
		{Kind: parley.Received, Time: at(2), Session: s, Exchange: auth},
		{Kind: parley.Replied, Time: at(2), Session: s, Exchange: auth},
		{Kind: parley.Replied, Time: at(3), Session: s, Exchange: push},
		{Kind: parley.Received, Time: at(4), Session: s, Exchange: none},
		{Kind: parley.Closed, Time: at(9), Session: s},
	}
}

// Each view shows messages in the words of their protocol, and credentials only if that is asked
// for. JSON and CSV have the exact bytes, and hide nothing.
func TestEveryViewShowsWords(t *testing.T) {
	for format, want := range map[string]string{
		"narrative": `2026-11-24T08:00:00.001000Z #1 10.0.0.1:1 Server: incoming data [4]: ASKED GET\x1b
2026-11-24T08:00:00.001000Z #1 10.0.0.1:1 Server: reply [4]: SAID OK\r\n
2026-11-24T08:00:00.002000Z #1 10.0.0.1:1 Server: incoming data [7]: ASKED (secret)
2026-11-24T08:00:00.002000Z #1 10.0.0.1:1 Server: reply [1]: SAID +
2026-11-24T08:00:00.003000Z #1 10.0.0.1:1 Server: message [100]: SAID PUSH and 96 more
2026-11-24T08:00:00.004000Z #1 10.0.0.1:1 Server: incoming data [2]: (secret)
2026-11-24T08:00:00.009000Z #1 10.0.0.1:1 Server: Connection closed!
`,
		"table": `session    seq  received                           took  replied  remote                 request                                   reply
      1      1  2026-11-24T08:00:00.001000Z          0s  yes      10.0.0.1:1             ASKED GET\x1b                             SAID OK\r\n
      1      2  2026-11-24T08:00:00.002000Z          0s  yes      10.0.0.1:1             ASKED (secret)                            SAID +
      1      0  2026-11-24T08:00:00.003000Z          0s  unasked  10.0.0.1:1                                                       SAID PUSH and 96 more
      1      3  2026-11-24T08:00:00.004000Z          0s  no       10.0.0.1:1             (secret)                                  
`,
		"json": `{"event":"received","time":"2026-11-24T08:00:00.001Z","side":"tap","session":1,"seq":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":4,"payload_base64":"Z2V0Gw==","text":"ASKED GET\\x1b"}
{"event":"replied","time":"2026-11-24T08:00:00.001Z","side":"tap","session":1,"seq":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":4,"payload_base64":"b2sNCg==","text":"SAID OK\\r\\n","took_ns":0}
{"event":"received","time":"2026-11-24T08:00:00.002Z","side":"tap","session":1,"seq":2,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":7,"payload":"auth me","text":"ASKED AUTH ME","secret":true}
{"event":"replied","time":"2026-11-24T08:00:00.002Z","side":"tap","session":1,"seq":2,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":1,"payload":"+","text":"SAID +","took_ns":0}
{"event":"message","time":"2026-11-24T08:00:00.003Z","side":"tap","session":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":100,"payload":"push","cut":96,"text":"SAID PUSH and 96 more"}
{"event":"received","time":"2026-11-24T08:00:00.004Z","side":"tap","session":1,"seq":3,"remote":"10.0.0.1:1","local":"10.0.0.2:2","bytes":2,"payload":"-x","text":"-x","secret":true}
{"event":"closed","time":"2026-11-24T08:00:00.009Z","side":"tap","session":1,"seq":3,"remote":"10.0.0.1:1","local":"10.0.0.2:2","took_ns":9000000,"bytes_in":0,"bytes_out":0,"stray":12,"reason":"eof"}
`,
		"csv": strings.ReplaceAll(`session,seq,remote,local,received,took_ns,replied,request,request_base64,reply,reply_base64,request_text,reply_text,fault,node
1,1,10.0.0.1:1,10.0.0.2:2,2026-11-24T08:00:00.001Z,0,yes,,Z2V0Gw==,,b2sNCg==,ASKED GET\x1b,SAID OK\r\n,,
1,2,10.0.0.1:1,10.0.0.2:2,2026-11-24T08:00:00.002Z,0,yes,auth me,,+,,ASKED AUTH ME,SAID +,,
1,0,10.0.0.1:1,10.0.0.2:2,2026-11-24T08:00:00.003Z,0,unasked,,,push,,,SAID PUSH and 96 more,,
1,3,10.0.0.1:1,10.0.0.2:2,2026-11-24T08:00:00.004Z,0,no,-x,,,,-x,,,
`, "\n", "\r\n"),
		"md": `| Server Terminal (server.js) | Client Terminal (client.js) |
|---|---|
| | Enter data: ASKED GET\\x1b |
| | Client: sending [4] ASKED GET\\x1b ... |
| Server: incoming data [4]: ASKED GET\\x1b | |
| | Client: server response: SAID OK\\r\\n |
| | Enter data: ASKED (secret) |
| | Client: sending [7] ASKED (secret) ... |
| Server: incoming data [7]: ASKED (secret) | |
| | Client: server response: SAID + |
| | Client: server message: SAID PUSH and 96 more |
| | Enter data: (secret) |
| | Client: sending [2] (secret) ... |
| Server: incoming data [2]: (secret) | |
| | Enter data: |
| Server: Connection closed! | |
| | Client: Connection closed |
`,
		"mermaid": `sequenceDiagram
    participant s as Server
    participant c1 as 10.0.0.1#58;1
    c1->>s: [4] ASKED GET#92;x1b
    s-->>c1: [4] SAID OK#92;r#92;n
    c1->>s: [7] ASKED (secret)
    s-->>c1: [1] SAID +
    s-->>c1: [100] SAID PUSH and 96 more
    c1->>s: [2] (secret)
    Note over c1,s: closed, eof
`,
	} {
		opt := LogOptions{Framing: dialect.Framing{Name: "shouting", Words: shouting{}}}
		if got := viewedWith(t, format, opt, protocolStory()); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", format, got, want)
		}
		opt.Secrets = true
		if got := viewedWith(t, format, opt, protocolStory()); strings.Contains(got, "(secret)") || !strings.Contains(got, "ME") {
			t.Errorf("%s with secrets:\n%s", format, got)
		}
		opt.Framing.Words, opt.Secrets = nil, false
		got := viewedWith(t, format, opt, protocolStory())
		if exact := format == "json" || format == "csv"; strings.Contains(got, "auth me") != exact {
			t.Errorf("%s without words:\n%s", format, got)
		}
	}
}

// A session's own framing says what its messages are, and the flag only where it does not.
func TestWordsAreTheSessions(t *testing.T) {
	events := protocolStory()
	events[0].Session.Framing = "line"
	opt := LogOptions{Framing: dialect.Framing{Name: "shouting", Words: shouting{}}}
	if got := viewedWith(t, "narrative", opt, events); strings.Contains(got, "ASKED") {
		t.Errorf("lines are told as\n%s", got)
	}
	events[0].Session.Framing = "of a later parley"
	if got := viewedWith(t, "narrative", opt, events); !strings.Contains(got, `[4]: get\x1b`) || strings.Contains(got, "auth me") {
		t.Errorf("an unknown framing is told as\n%s", got)
	}
}

// The list of sessions says how each was recorded.
func TestListsShowHowSessionsWereRecorded(t *testing.T) {
	s := &journal.Session{ID: 1, Number: 1, Remote: "10.0.0.1:1", Local: "10.0.0.2:2", Opened: time.Unix(0, 0).UTC(), Stray: 3, TLSVersion: "TLS 1.3", TLSName: "a", Proxied: "10.9.9.9:9"}
	s.About = journal.About{Framing: "redis", Role: "tap", Listener: "127.0.0.1:6380", Upstream: "redis:6379", Node: "web-1"}
	for format, want := range map[string]string{
		"table": "  redis      redis:6379             TLS 1.3, by proxy 10.9.9.9:9, a  open\n",
		"csv":   ",,,,,,,tap,redis,127.0.0.1:6380,redis:6379,web-1,TLS 1.3,a,10.9.9.9:9\r\n",
		"json":  `"side":"tap","node":"web-1","session":1,"remote":"10.0.0.1:1","local":"10.0.0.2:2","framing":"redis","upstream":"redis:6379","tls_version":"TLS 1.3","tls_name":"a","proxy":"10.9.9.9:9"}` + "\n",
	} {
		var out bytes.Buffer
		list, err := NewSessionList(format, &out, 0, Style{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Show(s); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q at the end", format, got, want)
		}
	}
}

// A session of which only exchanges are there is in every list.
func TestListsShowLostSessions(t *testing.T) {
	lost := &journal.Session{ID: 9, Lost: true, Opened: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)}
	for format, want := range map[string]string{
		"table": "      ?  2026-11-24T08:00:00.000000Z              ?                                ?        ?          ?          ?                                                      (session 9 was not recorded)\n",
		"csv":   ",,,2026-11-24T08:00:00Z" + strings.Repeat(",", 15) + "\r\n",
		"json":  `{"event":"opened","time":"2026-11-24T08:00:00Z","side":"server","lost_session":9,"remote":"","local":""}` + "\n",
	} {
		var out bytes.Buffer
		list, err := NewSessionList(format, &out, 0, Style{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Show(lost); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q, want %q at the end", format, got, want)
		}
	}
}

// A table is no wider than its terminal, whatever characters it shows, and never without the
// columns that say how it went.
func TestTablesFitTheTerminal(t *testing.T) {
	s := &journal.Session{ID: 1, Number: 1234567, Remote: "10.0.0.1:12345", Opened: time.Unix(0, 0).UTC(), Closed: time.Unix(1, 0), Reason: "write_timeout", Requests: 7}
	var events []journal.Event
	for _, text := range []string{"short", strings.Repeat("long ", 50), strings.Repeat("日本語", 50), strings.Repeat("👩‍👩‍👧", 50), strings.Repeat("e\u0301", 500), strings.Repeat("\x00", 100), strings.Repeat("x", 10000)} {
		x := &journal.Exchange{ID: 1, Seq: 1, Received: s.Opened, Took: time.Millisecond, Request: []byte(text), Reply: []byte(text)}
		events = append(events, journal.Event{Kind: parley.Received, Time: s.Opened, Session: s, Exchange: x})
	}
	for _, width := range []int{60, 80, 100, 132, 250} {
		var sessions bytes.Buffer
		list, err := NewSessionList("table", &sessions, width, Style{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Show(s); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{viewed(t, "table", width, events), sessions.String()} {
			widest := 0
			for line := range strings.Lines(out) {
				widest = max(widest, displaywidth.String(strings.TrimSuffix(line, "\n")))
			}
			if widest > width {
				t.Errorf("in %d columns it is %d wide:\n%s", width, widest, out)
			}
		}
		exchanges := viewed(t, "table", width, events)
		if strings.Count(exchanges, " no ") != len(events) || !strings.Contains(exchanges, "…") || strings.Count(exchanges, "1234567 ") != len(events) {
			t.Errorf("in %d columns it does not say what was replied, and where it is cut:\n%s", width, exchanges)
		}
		if !strings.Contains(sessions.String(), "write_timeout") || !strings.Contains(sessions.String(), "1234567") {
			t.Errorf("in %d columns it does not say why it ended:\n%s", width, &sessions)
		}
		if dated := strings.Contains(exchanges, "1970-01-01T00:00:00.000000Z"); dated != (width >= 132) {
			t.Errorf("in %d columns the date is shown: %v", width, dated)
		}
	}
	// Where there is no terminal nothing is cut.
	if out := viewed(t, "table", 0, events[:2]); strings.Contains(out, "…") || strings.Count(out, "long ") != 100 {
		t.Errorf("in a pipe:\n%s", out)
	}
}
