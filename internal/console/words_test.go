package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// shouting are words for the tests: a message's bytes in capitals, and how much is cut.
type shouting struct{}

func (shouting) AppendRequest(dst []byte, m dialect.Message) []byte { return shout(dst, "ASKED", m) }
func (shouting) AppendReply(dst []byte, m dialect.Message) []byte   { return shout(dst, "SAID", m) }

func shout(dst []byte, verb string, m dialect.Message) []byte {
	switch {
	case len(m.Body) == 0 || m.Body[0] == '-': // there are no words for it
		return dst
	case m.Secret:
		return append(dst, verb+" (secret)"...)
	}
	dst = append(append(dst, verb+" "...), bytes.ToUpper(m.Body)...)
	if m.Cut > 0 {
		dst = fmt.Appendf(dst, " and %d more", m.Cut)
	}
	return dst
}

// told is what the output says of events, each with its number in a session.
func told(opt OutputOptions, events ...parley.Event) (stdout, stderr string) {
	out, notes := new(collector), new(collector)
	o := NewOutput(out, notes, opt)
	for i := range events {
		e := &events[i]
		if e.Time.IsZero() {
			e.Time = time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC)
		}
		if e.Session == nil {
			e.Session = new(parley.Session)
		}
		o.Observer().Observe(e)
	}
	o.Close()
	return out.String(), notes.String()
}

func TestMessagesAreShownInWords(t *testing.T) {
	long := strings.Repeat("x", maxShown)
	for _, c := range []struct {
		event  parley.Event
		secret bool // shown
		want   string
	}{
		{parley.Event{Kind: parley.Received, Body: []byte("get\x1b k"), Cut: 0}, false, `[6]: ASKED GET\x1b K`},
		{parley.Event{Kind: parley.Replied, Body: []byte("$1\r\nv\r\n")}, false, `[7]: SAID $1\r\nV\r\n`},
		{parley.Event{Kind: parley.Unasked, Body: []byte("push"), Cut: 96}, false, "[100]: SAID PUSH and 96 more"},
		{parley.Event{Kind: parley.Received, Body: []byte("-x\x00"), Cut: 2}, false, `[5]: -x\x00…(5 bytes)`},
		{parley.Event{Kind: parley.Received, Body: []byte(long[6:])}, false, "[4090]: ASKED " + strings.ToUpper(long[6:])},
		{parley.Event{Kind: parley.Received, Body: []byte(long[5:])}, false, "[4091]: ASKED " + strings.ToUpper(long[6:]) + "…(4091 bytes)"},
		{parley.Event{Kind: parley.Received, Body: []byte("auth me"), Secret: true}, false, "[7]: ASKED (secret)"},
		{parley.Event{Kind: parley.Received, Body: []byte("auth me"), Secret: true}, true, "[7]: ASKED AUTH ME"},
		{parley.Event{Kind: parley.Received, Body: []byte("-me"), Secret: true}, false, "[3]: (secret)"},
		{parley.Event{Kind: parley.Received, Body: []byte("-me"), Secret: true}, true, "[3]: -me"},
	} {
		for upstream, who := range map[string][2]string{"": {"Server: incoming data ", "Server: "}, "x:1": {"Tap: client ", "Tap: server "}} {
			if upstream == "" && c.event.Kind != parley.Received {
				continue // without -v
			}
			got, _ := told(OutputOptions{Upstream: upstream, Words: shouting{}, ShowSecrets: c.secret}, c.event)
			want := who[0] + c.want + "\n"
			if c.event.Kind != parley.Received {
				want = who[1] + c.want + "\n"
			}
			if got != want {
				t.Errorf("%v is told as %.100q, want %.100q", c.event.Kind, got, want)
			}
		}
	}
}

// Without words credentials are left out as a whole.
func TestSecretsWithoutWords(t *testing.T) {
	for show, want := range map[bool]string{false: "(secret)", true: "password"} {
		e := parley.Event{Kind: parley.Received, Seq: 1, Body: []byte("password"), Secret: true}
		got, _ := told(OutputOptions{Upstream: "x:1", ShowSecrets: show}, e)
		if got != "Tap: client [8]: "+want+"\n" {
			t.Errorf("shown as %q, want %s", got, want)
		}
		e.Kind = parley.Replied
		got, _ = told(OutputOptions{Verbose: true, ShowSecrets: show}, e)
		if !strings.HasSuffix(got, "Server: reply [8]: "+want+" (0 ns)\n") {
			t.Errorf("shown as %q, want %s", got, want)
		}
	}
}

// JSON has the exact bytes, and beside them the words, that hide nothing either.
func TestJSONHasTextBesidePayload(t *testing.T) {
	for _, c := range []struct {
		event parley.Event
		want  string
	}{
		{parley.Event{Kind: parley.Received, Seq: 1, Body: []byte("set \"\r\n"), Cut: 4}, `"seq":1,"remote":"unknown","local":"unknown","bytes":11,"payload_base64":"c2V0ICINCg==","cut":4,"text":"ASKED SET \"\\r\\n and 4 more"}`},
		{parley.Event{Kind: parley.Replied, Seq: 1, Body: []byte("ok"), Took: 7}, `"seq":1,"remote":"unknown","local":"unknown","bytes":2,"payload":"ok","text":"SAID OK","took_ns":7}`},
		{parley.Event{Kind: parley.Unasked, Body: []byte("auth"), Secret: true}, `"remote":"unknown","local":"unknown","bytes":4,"payload":"auth","text":"SAID AUTH","secret":true}`},
		{parley.Event{Kind: parley.Unfinished, Body: []byte("x")}, `"remote":"unknown","local":"unknown","bytes":1,"payload":"x"}`},
		{parley.Event{Kind: parley.Stray, Body: []byte("x"), Stray: 1, Err: errors.New("the client's byte 0: so")}, `"remote":"unknown","local":"unknown","bytes":1,"payload":"x","error":"the client's byte 0: so"}`},
		{parley.Event{Kind: parley.FramingLost, Err: errors.New("why")}, `"remote":"unknown","local":"unknown","error":"why"}`},
		{parley.Event{Kind: parley.Closed, Stray: 3, Reason: parley.EndOfFile}, `"remote":"unknown","local":"unknown","took_ns":0,"bytes_in":0,"bytes_out":0,"stray":3,"reason":"eof"}`},
	} {
		for upstream, side := range map[string]string{"": "server", "x:1": "tap"} {
			got, _ := told(OutputOptions{Upstream: upstream, JSON: true, Words: shouting{}}, c.event)
			want := fmt.Sprintf(`{"event":"%v","time":"2026-01-02T03:04:00Z","side":"%s",%s`+"\n", c.event.Kind, side, c.want)
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		}
	}
}

// What belongs to no message, and a framing that is lost, is a note.
func TestNotesOfStraysAndLostFramings(t *testing.T) {
	session, later := parley.NewSession(7, nil, nil, time.Now()), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	_, got := told(OutputOptions{Upstream: "x:1"},
		parley.Event{Kind: parley.Stray, Body: []byte("\x1b"), Stray: 1},
		parley.Event{Kind: parley.Stray, Body: []byte("xx"), Stray: 2, Err: errors.New("the server's byte 3: so\x1b")},
		parley.Event{Kind: parley.FramingLost, Err: errors.New("the client's byte 4: why")},
		parley.Event{Kind: parley.FramingLost, Time: later, Session: session, Err: errors.New("the client's byte 5: why")},
		parley.Event{Kind: parley.FramingLost, Time: later, Session: session, Err: errors.New("the server's byte 0: why")})
	want := `parley: session 0 with unknown: what came belongs to no message (1 byte) and is left out, as is all like it
parley: session 0 with unknown: the server's byte 3: so\x1b
parley: session 0 with unknown: the client's byte 4: why
parley: session 7 with unknown: the client's byte 5: why
parley: session 7 with unknown: the server's byte 0: why
`
	if got != want {
		t.Errorf("noted\n%swant\n%s", got, want)
	}
}

// What is unmistakably no line is named once a run, from the first messages of either side.
func TestAnotherFramingIsNamedOnce(t *testing.T) {
	say := func(s *parley.Session, kind parley.EventKind, seq uint64, body string) parley.Event {
		return parley.Event{Kind: kind, Session: s, Seq: seq, Body: []byte(body)}
	}
	session := func(n uint64, events ...parley.Event) []parley.Event {
		s := parley.NewSession(n, nil, nil, time.Now())
		all := append([]parley.Event{say(s, parley.Opened, 0, "")}, events...)
		for i := range all {
			all[i].Session = s
		}
		return append(all, say(s, parley.Closed, 9, ""))
	}
	names := func(stderr string) (found []string) {
		for line := range strings.Lines(stderr) {
			for _, name := range []string{"redis", "http", "smtp", "speaks tls", "proxy header"} {
				if strings.Contains(strings.ToLower(line), name) {
					found = append(found, name)
				}
			}
		}
		return found
	}
	redis := session(1, say(nil, parley.Received, 1, "*3"), say(nil, parley.Received, 2, "$3"), say(nil, parley.Received, 3, "SET"))
	get := session(2, say(nil, parley.Received, 1, "GET / HTTP/1.1"), say(nil, parley.Replied, 1, "HTTP/1.1 200 OK"))
	late := session(3, say(nil, parley.Received, 1, "a"), say(nil, parley.Received, 2, "b"), say(nil, parley.Received, 3, "GET / HTTP/1.1"))
	hello := session(4, say(nil, parley.Unfinished, 1, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	line := session(6, say(nil, parley.Received, 1, "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443"))
	binary := session(7, say(nil, parley.Received, 1, ""), say(nil, parley.Received, 2, ""), say(nil, parley.Received, 3, "\x00"), say(nil, parley.Received, 4, "QUIT"))
	empty := session(8, say(nil, parley.Received, 1, ""), say(nil, parley.Received, 2, "GET / HTTP/1.1"))
	blank := session(9)
	blank[1].Seq, blank[1].Reason, blank[1].In = 0, parley.Blank, 16
	typed := session(10)
	typed[1].Seq, typed[1].Reason, typed[1].In = 0, parley.Blank, 15
	greets := session(5, say(nil, parley.Unasked, 0, "220 mx.example.org ESMTP ready"))
	for _, c := range []struct {
		name   string
		opt    OutputOptions
		events []parley.Event
		want   string
	}{
		{"two lines", OutputOptions{Upstream: "x:1", Lines: true}, redis, "redis"},
		{"once", OutputOptions{Upstream: "x:1", Lines: true}, append(get, get...), "http"},
		{"each", OutputOptions{Upstream: "x:1", Lines: true, Quiet: true}, append(append(redis, get...), redis...), "redis http"},
		{"not at the beginning", OutputOptions{Upstream: "x:1", Lines: true}, late, ""},
		{"no line at all", OutputOptions{Upstream: "x:1", Lines: true}, append(hello, hello...), "speaks tls"},
		{"who is handed on", OutputOptions{Upstream: "x:1", Lines: true}, append(line, line...), "proxy header"},
		{"who is handed on, in binary", OutputOptions{Upstream: "x:1", Lines: true}, binary, "proxy header"},
		{"empty lines", OutputOptions{Upstream: "x:1", Lines: true}, empty, ""},
		{"to a server that takes it for the end", OutputOptions{Quiet: true}, blank, "proxy header"},
		{"shorter than such", OutputOptions{Quiet: true}, typed, ""},
		{"of a server", OutputOptions{Lines: true}, get, "http"},
		{"of a server that is to be fast", OutputOptions{Lines: true, Quiet: true}, get, ""},
		{"who greets", OutputOptions{Upstream: "x:1", Lines: true}, greets, "smtp"},
		{"with a framing", OutputOptions{Upstream: "x:1"}, get, ""},
	} {
		_, stderr := told(c.opt, c.events...)
		if got := strings.Join(names(stderr), " "); got != c.want || strings.Contains(stderr, "chunk") {
			t.Errorf("%s: named %q, want %q; noted\n%s", c.name, got, c.want, stderr)
		}
	}
	d := newDetector(true)
	for _, e := range append(redis, get...) {
		d.see(&e)
	}
	if len(d.young) > 0 {
		t.Errorf("%d sessions are kept that are over", len(d.young))
	}
}

// Sessions that say little and stay take up a bounded room, and who comes then is looked at.
func TestDetectorForgets(t *testing.T) {
	d := newDetector(true)
	var last *parley.Session
	for range detectYoung + 1 {
		last = new(parley.Session)
		d.see(&parley.Event{Kind: parley.Opened, Session: last})
	}
	if len(d.young) != detectYoung {
		t.Errorf("%d sessions are looked at, want %d", len(d.young), detectYoung)
	}
	if name, _ := d.see(&parley.Event{Kind: parley.Received, Session: last, Seq: 1, Body: []byte("GET / HTTP/1.1")}); name != "http" {
		t.Errorf("the newest of many speaks %q, want http", name)
	}
}

// Words cost no memory of their own either, where they are plain.
func TestWordsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
	defer w.Close(time.Minute)
	n := NewTapNarrative(w, "x:1", false)
	n.words = plainWords{}
	e := &parley.Event{Kind: parley.Received, Session: new(parley.Session), Body: []byte("*1\r\n$4\r\nPING\r\n")}
	buf := make([]byte, 0, 1000)
	if got := testing.AllocsPerRun(1000, func() { buf = n.appendEvent(buf[:0], e) }); got != 0 {
		t.Errorf("%v allocations an event", got)
	}
}

type plainWords struct{}

func (plainWords) AppendRequest(dst []byte, _ dialect.Message) []byte { return append(dst, "PING"...) }
func (plainWords) AppendReply(dst []byte, _ dialect.Message) []byte   { return append(dst, "PONG"...) }
