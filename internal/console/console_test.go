package console

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/talk"
)

// strange is everything that must not get out as it is, and so many-th of the 131,068 for private use
// behind U+F0000.
func strange(every rune) []byte {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) && (r < 0xf0000 || r%every == 0) {
			all = utf8.AppendRune(all, r)
		}
	}
	return append(all, "\xc0\x80\xed\xa0\x80\xf5\xff"...)
}

func checkHarmless(t testing.TB, text []byte) {
	t.Helper()
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if !printable(r, n) {
			t.Fatalf("%U (%q) at byte %d of %d", r, text[i:i+n], i, len(text))
		}
		i += n
	}
}

func TestEscaping(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"tab\tcr\rlf\n":   `tab\tcr\rlf\n`,
		"\x00\x1b[2J\x7f": `\x00\x1b[2J\x7f`,
		"é 日本 👍":          "é 日本 👍",
		"\u009b2J":        `\xc2\x9b2J`,
		"\u202etxt":       `\xe2\x80\xaetxt`,
		"\u2028":          `\xe2\x80\xa8`,
		"\xff\xfe":        `\xff\xfe`,
		"\xed\xa0\x80":    `\xed\xa0\x80`,
		"\ufffd":          "\ufffd",
		`a\b`:             `a\b`,
	} {
		if got := string(AppendEscaped(nil, []byte(in))); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
	checkHarmless(t, AppendEscaped(nil, strange(1)))
}

func TestPayloadIsCutAt4KiB(t *testing.T) {
	for n, want := range map[int]string{
		4095: strings.Repeat("x", 4095),
		4096: strings.Repeat("x", 4096),
		4097: strings.Repeat("x", 4096) + "…(4097 bytes)",
	} {
		if got := string(AppendPayload(nil, bytes.Repeat([]byte("x"), n))); got != want {
			t.Errorf("%d bytes are shown as %d ending in %.30q", n, len(got), got[len(got)-30:])
		}
	}
	// Not inside a character.
	got := string(AppendPayload(nil, []byte("x"+strings.Repeat("é", 3000))))
	if want := "x" + strings.Repeat("é", 2047) + "…(6001 bytes)"; got != want {
		t.Errorf("cut to %.20q … %q", got, got[len(got)-30:])
	}
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("a\x1b[2J\u009b\u202e\xff\r\n\u2028é\""))
	f.Fuzz(func(t *testing.T, p []byte) {
		checkHarmless(t, AppendEscaped(nil, p))
		checkHarmless(t, AppendPayload(nil, p))
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte("a\x1b[2J\u009b\u202e\xff\r\n\u2028é\""))
	f.Add([]byte(`"\/`))
	f.Fuzz(func(t *testing.T, p []byte) {
		line := NewJSON(nil, "").appendEvent(nil, &parley.Event{Kind: parley.Received, Session: new(parley.Session), Seq: 1, Body: p, Err: errors.New(string(p))})
		if line[len(line)-1] != '\n' {
			t.Fatal("the line has no end")
		}
		checkHarmless(t, line[:len(line)-1])
		if got := payload(t, line); !bytes.Equal(got, p) {
			t.Errorf("%q came back as %q", p, got)
		}
	})
}

func payload(t testing.TB, line []byte) []byte {
	t.Helper()
	var e struct {
		Bytes  int
		Text   string `json:"payload"`
		Base64 string `json:"payload_base64"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	got := []byte(e.Text)
	if e.Base64 != "" {
		got, _ = base64.StdEncoding.DecodeString(e.Base64)
	}
	if len(got) != e.Bytes {
		t.Errorf("bytes is %d for %d", e.Bytes, len(got))
	}
	return got
}

// One event is one line, whatever a peer sends.
func TestNobodyForgesALine(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	n := NewNarrative(nil, Limits{}, true)
	for range 10000 {
		body := make([]byte, random.IntN(40))
		for i := range body {
			body[i] = "\r\n\x1b\x85ab \u2028"[random.IntN(9)]
		}
		line := n.appendEvent(nil, &parley.Event{Kind: parley.Received, Session: new(parley.Session), Body: append(body, "\n2026 Server: connection from admin"...)})
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("%q made %q", body, line)
		}
	}
}

// A collector is a stream that keeps what is written, and can be held shut.
type collector struct {
	mu   sync.Mutex
	text bytes.Buffer
	gate chan struct{} // a write waits for it, if there is one
	err  error
}

func (c *collector) Write(p []byte) (int, error) {
	if c.gate != nil {
		<-c.gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	return c.text.Write(p)
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func TestNarrativeTellsEveryEnding(t *testing.T) {
	limits := Limits{MaxRequest: 65536, FirstByte: 10 * time.Second, Request: 30 * time.Second, Idle: 5 * time.Minute, Write: 10 * time.Second}
	for reason := parley.EndOfFile; reason < parley.Full; reason++ {
		out := new(collector)
		w := NewWriter(out, QueueLimit, SkippedLine, nil)
		NewNarrative(w, limits, false).Observe(&parley.Event{Kind: parley.Closed, Session: new(parley.Session), Reason: reason, Err: errors.New("a\nb")})
		w.Close(time.Minute)
		want := map[parley.CloseReason]string{
			parley.EndOfFile: "", parley.Blank: "", parley.NoRequest: " (no request)",
			parley.Truncated: " (end of file inside a request)", parley.Reset: " (connection reset by peer)",
			parley.IdleTimeout: " (idle for 5m0s)", parley.FirstByteTimeout: " (no request within 10s)",
			parley.RequestTimeout: " (request not finished within 30s)", parley.WriteTimeout: " (replies not read within 10s, or one waited six times that)",
			parley.TooLong: " (request longer than 65536 bytes)", parley.Malformed: ` (a\nb)`, parley.HandlerError: ` (handler error: a\nb)`,
			parley.Memory: " (server is out of memory for requests)",
			parley.HangUp: " (hung up by the server)", parley.Draining: " (server is shutting down)",
			parley.DrainCut: " (cut by the shutdown)", parley.ServerClosed: " (server stopped)", parley.IOError: ` (a\nb)`,
			parley.Unreachable: ` (a\nb)`, parley.UpstreamReset: " (connection reset by server)", parley.Mismatch: ` (a\nb)`, parley.Fault: ` (a\nb)`,
			parley.Handshake: ` (a\nb)`, parley.HandshakeTimeout: ` (a\nb)`,
		}[reason]
		if got := out.String(); got != "Server: Connection closed!"+want+"\n" {
			t.Errorf("%v is told as %q, want %q", reason, got, want)
		}
	}
}

// Where each session has a program, an end may be the program's.
func TestNarrativeTellsEndingsOfPrograms(t *testing.T) {
	for reason, want := range map[parley.CloseReason]string{
		parley.HangUp: "the program has ended", parley.IdleTimeout: `a\nb`, parley.WriteTimeout: `a\nb`, parley.Reset: "connection reset by peer",
	} {
		out := new(collector)
		w := NewWriter(out, QueueLimit, SkippedLine, nil)
		NewNarrative(w, Limits{Programs: true}, false).Observe(&parley.Event{Kind: parley.Closed, Session: new(parley.Session), Reason: reason, Err: errors.New("a\nb")})
		w.Close(time.Minute)
		if got := out.String(); got != "Server: Connection closed! ("+want+")\n" {
			t.Errorf("%v is told as %q, want %q", reason, got, want)
		}
	}
}

// Whatever the server says is told with -v, its own error texts too; without, the seed's lines are
// all there is.
func TestVerboseTellsAllThatTheServerSays(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	s := parley.NewSession(7, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 99}, nil, at)
	refused := parley.NewSession(0, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 98}, nil, at)
	events := []parley.Event{
		{Kind: parley.Opened, Session: s},
		{Kind: parley.Received, Session: s, Seq: 1, Body: []byte("hi")},
		{Kind: parley.Replied, Session: s, Seq: 1, Body: []byte("Request #7 - hi\x1b"), Took: 123456 * time.Nanosecond},
		{Kind: parley.Unasked, Session: s, Body: []byte("Error: request longer than 9 bytes")},
		{Kind: parley.Closed, Session: s, Seq: 1, Reason: parley.TooLong},
		{Kind: parley.Refused, Session: refused, Body: []byte("Error: server is full (1 session)"), Reason: parley.Full},
	}
	for verbose, want := range map[bool]string{
		true: `2026-01-02T03:04:05.000006Z #7 10.0.0.1:99 Server: connection from 10.0.0.1:99
2026-01-02T03:04:05.000006Z #7 10.0.0.1:99 Server: incoming data [2]: hi
2026-01-02T03:04:05.000006Z #7 10.0.0.1:99 Server: reply [16]: Request #7 - hi\x1b (123 µs)
2026-01-02T03:04:05.000006Z #7 10.0.0.1:99 Server: message [34]: Error: request longer than 9 bytes
2026-01-02T03:04:05.000006Z #7 10.0.0.1:99 Server: Connection closed! (request longer than 9 bytes)
2026-01-02T03:04:05.000006Z #0 10.0.0.2:98 Server: refused [33]: Error: server is full (1 session)
`,
		false: `Server: connection from 10.0.0.1:99
Server: incoming data [2]: hi
Server: Connection closed! (request longer than 9 bytes)
`,
	} {
		out := new(collector)
		w := NewWriter(out, QueueLimit, SkippedLine, nil)
		narrative := parley.Observers(NewNarrative(w, Limits{MaxRequest: 9}, verbose), new(Counts)) // tells each what it wants
		for _, e := range events {
			e.Time = at
			narrative.Observe(&e)
		}
		w.Close(time.Minute)
		if got := out.String(); got != want {
			t.Errorf("verbose %v: told\n%swant\n%s", verbose, got, want)
		}
	}
}

func TestJSONOfEveryEvent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.FixedZone("", 3600))
	s := new(parley.Session)
	head := `"time":"2026-01-02T02:04:05.00000006Z","side":"server"`
	for _, c := range []struct {
		event parley.Event
		want  string
	}{
		{parley.Event{Kind: parley.Opened, Session: s}, `{"event":"opened",` + head + `,"remote":"unknown","local":"unknown"}`},
		{parley.Event{Kind: parley.Received, Session: s, Seq: 2, Body: []byte("é\"\\")}, `{"event":"received",` + head + `,"seq":2,"remote":"unknown","local":"unknown","bytes":4,"payload":"é\"\\"}`},
		{parley.Event{Kind: parley.Replied, Session: s, Seq: 2, Took: 7}, `{"event":"replied",` + head + `,"seq":2,"remote":"unknown","local":"unknown","bytes":0,"payload":"","took_ns":7}`},
		{parley.Event{Kind: parley.Closed, Session: s, Seq: 2, Took: 9, In: 20, Out: 30, Reason: parley.Reset, Err: errors.New("a\x9bb")}, `{"event":"closed",` + head + `,"seq":2,"remote":"unknown","local":"unknown","took_ns":9,"bytes_in":20,"bytes_out":30,"reason":"reset","error":"a\ufffdb"}`},
		{parley.Event{Kind: parley.Refused, Session: s, Reason: parley.Full}, `{"event":"refused",` + head + `,"remote":"unknown","local":"unknown","reason":"full"}`},
		{parley.Event{Kind: parley.Refused, Session: s, Body: []byte("Error: full"), Reason: parley.Full}, `{"event":"refused",` + head + `,"remote":"unknown","local":"unknown","bytes":11,"payload":"Error: full","reason":"full"}`},
		{parley.Event{Kind: parley.Unasked, Session: s, Body: []byte("Error: too long")}, `{"event":"message",` + head + `,"remote":"unknown","local":"unknown","bytes":15,"payload":"Error: too long"}`},
		{parley.Event{Kind: parley.Refused, Session: s, Reason: parley.Denied}, `{"event":"refused",` + head + `,"remote":"unknown","local":"unknown","reason":"denied"}`},
		{parley.Event{Kind: parley.HandshakeFailed, Session: s, Reason: parley.Handshake, Took: 7, Err: errors.New("no\x1b")}, `{"event":"handshake_failed",` + head + `,"remote":"unknown","local":"unknown","took_ns":7,"reason":"handshake","error":"no\u001b"}`},
		{parley.Event{Kind: parley.AcceptFailed, Err: errors.New("too many")}, `{"event":"accept_failed",` + head + `,"error":"too many"}`},
		{parley.Event{Kind: parley.ListenerLost, Err: errors.New("gone")}, `{"event":"listener_lost",` + head + `,"error":"gone"}`},
	} {
		c.event.Time = at
		if got := string(NewJSON(nil, "").appendEvent(nil, &c.event)); got != c.want+"\n" {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
	}
}

// A stream that is blocked never holds up who appends. What is skipped is counted and
// said in its place, and no line is torn.
func TestWriterSkipsWholeLinesAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collector{gate: make(chan struct{})}
		w := NewWriter(out, 100, SkippedLine, nil)
		line := []byte("123456789\n")
		w.Append(line) // is being written, and counts until it is
		synctest.Wait()
		for range 12 {
			w.Append(line)
		}
		close(out.gate)
		synctest.Wait()
		w.Append([]byte("after\n"))
		for range 3 {
			w.Append(bytes.Repeat([]byte("x"), 101))
		}
		if err := w.Close(time.Minute); err != nil {
			t.Errorf("Close = %v", err)
		}
		w.Append([]byte("too late\n"))
		want := strings.Repeat(string(line), 10) + "Server: 3 lines skipped\nafter\nServer: 3 lines skipped\n"
		if got := out.String(); got != want {
			t.Errorf("written\n%swant\n%s", got, want)
		}
	})
}

func TestWriterHoldsItsLimit(t *testing.T) {
	for n, want := range map[int]string{99: "x", 100: "x", 101: "Server: 1 line skipped\n"} {
		out := new(collector)
		w := NewWriter(out, 100, SkippedLine, nil)
		w.Append(bytes.Repeat([]byte("x"), n))
		w.Close(time.Minute)
		if got := out.String(); !strings.HasPrefix(got, want) {
			t.Errorf("a line of %d with room for 100: %q, want %q", n, got, want)
		}
	}
}

func TestWriterToldOfABrokenStream(t *testing.T) {
	broken := errors.New("broken pipe")
	told := make(chan error, 10)
	w := NewWriter(&collector{err: broken}, 100, SkippedLine, func(err error, full bool) {
		if full {
			t.Error("told that a broken stream is full")
		}
		told <- err
	})
	w.Append([]byte("a\n"))
	if err := <-told; err != broken {
		t.Errorf("told of %v", err)
	}
	for range 1000 {
		w.Append([]byte("b\n"))
	}
	if err := w.Close(time.Minute); err != broken || len(told) != 0 || w.Skipped() != 1001 {
		t.Errorf("Close = %v, told %d times more, %d lines skipped, want 1001", err, len(told), w.Skipped())
	}
}

func TestCloseDoesNotWaitForABlockedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collector{gate: make(chan struct{})}
		w := NewWriter(out, 100, SkippedLine, nil)
		w.Append([]byte("a\n"))
		start := time.Now()
		if err := w.Close(time.Second); err != ErrNotAllWritten || time.Since(start) != time.Second {
			t.Errorf("Close = %v after %v, want ErrNotAllWritten after 1s", err, time.Since(start))
		}
		close(out.gate)
	})
}

func TestNotesAreALineASecondOfAKind(t *testing.T) {
	out := new(collector)
	w := NewWriter(out, QueueLimit, SkippedNotes, nil)
	n := NewNotes(w, Limits{MaxSessions: 10, MaxSessionsPerIP: 2}, true)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 1000 {
		n.Observe(&parley.Event{Kind: parley.Refused, Time: at.Add(time.Duration(i) * time.Millisecond), Session: new(parley.Session), Reason: parley.Full})
	}
	n.Observe(&parley.Event{Kind: parley.AcceptFailed, Time: at, Err: errors.New("too many\x1b")})
	n.Observe(&parley.Event{Kind: parley.Refused, Time: at, Session: new(parley.Session), Reason: parley.PerIP})
	n.Observe(&parley.Event{Kind: parley.Refused, Time: at, Session: new(parley.Session), Reason: parley.PerIP})
	n.Observe(&parley.Event{Kind: parley.Refused, Time: at, Session: new(parley.Session), Reason: parley.Denied})
	n.Observe(&parley.Event{Kind: parley.Refused, Time: at.Add(time.Second), Session: new(parley.Session), Reason: parley.Full})
	n.Observe(&parley.Event{Kind: parley.Unfinished, Time: at, Session: new(parley.Session), Body: []byte("x")})
	n.Observe(&parley.Event{Kind: parley.Closed, Time: at, Session: new(parley.Session), Err: &parley.PanicError{Value: "a\n", Stack: []byte("s\n")}})
	n.Suppressed()
	w.Close(time.Minute)
	want := `parley: refused unknown: server is full (10 sessions); --max-sessions allows more
parley: cannot accept, and will try again: too many\x1b
parley: refused unknown: too many sessions from its address (2); --max-sessions-per-ip allows more
parley: refused unknown: its address is not allowed (--allow, --deny)
parley: refused unknown: server is full (10 sessions); --max-sessions allows more (and 999 more before)
parley: unknown sent 1 byte and no newline yet; for peers that send none there is --framing chunk
parley: session 0: handler panicked: a\n: s\n
parley: 1 line more like these
`
	if got := out.String(); got != want {
		t.Errorf("notes\n%swant\n%s", got, want)
	}
}

func TestCounts(t *testing.T) {
	c := new(Counts)
	if got := c.String(); got != "0 sessions, 0 probes, 0 requests, 0 bytes in, 0 bytes out" {
		t.Errorf("at the start: %s", got)
	}
	for _, e := range []parley.Event{
		{Kind: parley.Opened}, {Kind: parley.Opened},
		{Kind: parley.Closed, Reason: parley.NoRequest, Seq: 1, In: 1, Out: 2, Stray: 1}, {Kind: parley.Closed, Reason: parley.DrainCut},
		{Kind: parley.Refused, Reason: parley.Denied}, {Kind: parley.HandshakeFailed, Reason: parley.NoRequest},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake}, {Kind: parley.HandshakeFailed, Reason: parley.Full},
	} {
		if !c.Wants(e.Kind) {
			t.Errorf("%v is not wanted", e.Kind)
		}
		c.Observe(&e)
	}
	if got := c.String(); got != "2 sessions, 2 probes, 1 request, 1 byte in, 2 bytes out (1 byte of no message), 1 refused, 2 handshakes failed, 1 cut" {
		t.Errorf("at the end: %s", got)
	}
}

func TestClientViews(t *testing.T) {
	play := func(v talk.View) {
		v.Connected("localhost:6969")
		v.Prompt()
		v.Message(dialect.Message{Body: []byte("wel\x1bcome")})
		v.Prompt()
		v.Typed(dialect.Message{Body: []byte("hi")})
		v.Sending(dialect.Message{Body: []byte("hi")})
		v.Response(dialect.Message{Body: []byte("you said\x1b hi")}, 7)
		v.Prompt()
		v.Typed(dialect.Message{})
		v.Unfinished([]byte("\x1bye\r"), "no new\x1bline ends it")
		v.Prompt()
		v.NotSent([]byte("half\x1b"), "")
		v.NotSent([]byte("no"), "not\x1b whole")
		v.Closed("eof", "")
		v.Closed("reset", "connection reset by peer")
	}
	for name, c := range map[string]struct {
		view func(out io.Writer) talk.View
		want string
	}{
		"narrative": {func(out io.Writer) talk.View { return NewClientNarrative(out, nil, Piped) }, `Client: Connected to localhost:6969
Enter data: 
Client: server message: wel\x1bcome
Enter data: hi
Client: sending [2] hi ...
Client: server response: you said\x1b hi
Enter data: 
Client: unfinished response: \x1bye\r
Enter data: 
Client: not sent: half\x1b
Client: not sent: no (not\x1b whole)
Client: Connection closed
Client: Connection closed (connection reset by peer)
`},
		"replies": {func(out io.Writer) talk.View { return NewReplies(out, out, false) }, `parley: server message: wel\x1bcome` + "\nyou said\x1b hi\n\x1bye\r\n" + `parley: not sent: half\x1b` + "\nparley: not sent: no (not\\x1b whole)\n"},
		"escaped": {func(out io.Writer) talk.View { return NewReplies(out, out, true) }, `parley: server message: wel\x1bcome
you said\x1b hi
\x1bye\r
parley: not sent: half\x1b
parley: not sent: no (not\x1b whole)
`},
	} {
		var out bytes.Buffer
		v := c.view(&out)
		play(v)
		if out.String() != c.want || v.Err() != nil {
			t.Errorf("%s:\n%swant\n%s", name, &out, c.want)
		}
	}
	var out bytes.Buffer
	play(NewClientJSON(&out, io.Discard))
	var got []string
	for line := range strings.Lines(out.String()) {
		checkHarmless(t, []byte(strings.TrimSuffix(line, "\n")))
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e["event"], e["seq"], e["payload"], e["payload_base64"], e["reason"]))
	}
	want := "[opened<nil><nil><nil><nil> message<nil><nil>d2VsG2NvbWU=<nil> sent1hi<nil><nil> replied1<nil>eW91IHNhaWQbIGhp<nil> unfinished1<nil>G3llDQ==<nil> not_sent<nil><nil>aGFsZhs=<nil> not_sent<nil>no<nil><nil> closed1<nil><nil>eof closed1<nil><nil>reset]"
	if g := strings.ReplaceAll(fmt.Sprint(got), " ", ""); g != strings.ReplaceAll(want, " ", "") {
		t.Errorf("events %s, want %s", g, want)
	}
}

func TestEventsAllocateNothing(t *testing.T) {
	if raceEnabled {
		return // sync.Pool drops at random then
	}
	w := NewWriter(io.Discard, QueueLimit, SkippedLine, nil)
	defer w.Close(time.Minute)
	for _, e := range []*parley.Event{
		{Kind: parley.Opened, Time: time.Now(), Session: new(parley.Session)},
		{Kind: parley.Received, Time: time.Now(), Session: new(parley.Session), Seq: 1, Body: []byte("session 1 msg 1")},
	} {
		for name, o := range map[string]parley.Observer{"narrative": NewNarrative(w, Limits{}, true), "json": NewJSON(w, "")} {
			if n := testing.AllocsPerRun(1000, func() { o.Observe(e) }); n != 0 {
				t.Errorf("%s, %v: %v allocations an event, want none", name, e.Kind, n)
			}
		}
	}
}
