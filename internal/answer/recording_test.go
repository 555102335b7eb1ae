package answer

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/replay"
	"github.com/parley-tcp/parley/parleytest"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }

// asked is an exchange; a reply of "-" is none.
func asked(seq uint64, seconds float64, request, reply string) replay.Exchange {
	x := replay.Exchange{Seq: seq, Received: at(seconds), Took: time.Second / 2, Request: []byte(request), Reply: []byte(reply)}
	if reply == "-" {
		x.Reply, x.Took = nil, 0
	}
	return x
}

func unasked(seconds float64, message string) replay.Exchange {
	return replay.Exchange{Received: at(seconds), Reply: []byte(message)}
}

func recorded(f dialect.Framing, sessions ...[]replay.Exchange) *replay.Recording {
	r := new(replay.Recording)
	for i, s := range sessions {
		r.Sessions = append(r.Sessions, replay.Session{Number: uint64(i + 1), Opened: at(float64(100 * i)), Framing: f, Exchanges: s})
	}
	return r
}

func newRecording(t testing.TB, r *replay.Recording, opt RecordingOptions) *Recording {
	t.Helper()
	made, err := NewRecording(r, opt)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// The same request gets its replies in the order of the recording, whichever session asks, and then
// the last one.
func TestRecordedOrder(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		f := named(t, "line")
		r := newRecording(t, recorded(f,
			[]replay.Exchange{asked(1, 1, "n", "1"), asked(2, 2, "n", "2"), asked(3, 3, "n", "2"), asked(4, 4, "k", "v")},
			[]replay.Exchange{asked(1, 101, "n", "3")},
		), RecordingOptions{})
		dial := serve(t, engine, f, r)
		for _, c := range []struct{ in, want string }{
			{"n\nk\n", "1\nv\n"}, {"n\nn\nk\n", "2\n2\nv\n"}, {"n\nn\n", "3\n3\n"},
			{"what\n", "Error: no recorded answer\n"},
		} {
			if got := say(t, dial(), c.in); got != c.want {
				t.Errorf("%q is answered %q, want %q", c.in, got, c.want)
			}
		}
	})
}

// What came unasked comes in its place: the greetings of sessions in turn, and what followed a reply
// behind it.
func TestRecordedUnasked(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		f := named(t, "line")
		// The second of what followed a is recorded before it, as times may be.
		first, second := unasked(1.8, "news 1"), unasked(1.6, "news 2")
		one := asked(1, 1, "a", "A")
		one.SaidBefore, first.SaidBefore, second.SaidBefore = 10, 20, 30
		r := newRecording(t, recorded(f,
			[]replay.Exchange{unasked(0.1, "hello 1"), unasked(0.2, "and welcome"), second, one, first},
			[]replay.Exchange{unasked(100.1, "hello 2"), asked(1, 101, "b", "B")},
		), RecordingOptions{})
		dial := serve(t, engine, f, r)
		for _, want := range []string{"hello 1\nand welcome\nA\nnews 1\nnews 2\nB\n", "hello 2\nA\nnews 1\nnews 2\nB\n", "hello 2\nA\nnews 1\nnews 2\nB\n"} {
			if got := say(t, dial(), "a\nb\n"); got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		}
	})
}

// Who got no reply gets none, unless the same request has had one: then its session had only ended.
func TestRecordedSilence(t *testing.T) {
	f := named(t, "line")
	r := newRecording(t, recorded(f, []replay.Exchange{
		asked(1, 1, "NICK x", "-"), asked(2, 2, "JOIN", "joined"), asked(3, 3, "JOIN", "-"), unasked(4, "hi"),
	}), RecordingOptions{})
	if got, want := say(t, serve(t, parley.Goroutines, f, r)(), "NICK x\nJOIN\nJOIN\n"), "joined\nhi\njoined\nhi\n"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// A tap records a request alone that it has passed before its reply was there.
func TestRequestRecordedAlone(t *testing.T) {
	f := named(t, "line")
	reply := asked(1, 2, "", "A")
	reply.Request = nil
	r := newRecording(t, recorded(f, []replay.Exchange{asked(1, 1, "a", "-"), reply}), RecordingOptions{})
	if got := say(t, serve(t, parley.Goroutines, f, r)(), "a\n"); got != "A\n" {
		t.Errorf("heard %q", got)
	}
}

// What is not there whole is not answered with.
func TestRecordedInPart(t *testing.T) {
	cut, concealed, long := asked(1, 1, "a", "A…"), asked(2, 2, "b", "B"), asked(3, 3, "c", "C")
	cut.ReplyCut, concealed.Redacted, long.RequestCut = 5, true, 7
	f := named(t, "line")
	r := newRecording(t, recorded(f, []replay.Exchange{cut, concealed, long, asked(4, 4, "d", "D")}), RecordingOptions{})
	if want := "4 recorded requests, 1 of them different; cut or redacted, and so not answered with: 3"; r.About() != want {
		t.Errorf("about: %q, want %q", r.About(), want)
	}
	dial := serve(t, parley.Goroutines, f, r)
	if got, want := say(t, dial(), "a\nb\nc\nd\n"), strings.Repeat(NoAnswer+"\n", 3)+"D\n"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// Each protocol says in its own form that there is no answer.
func TestNoAnswerInTheProtocolsForm(t *testing.T) {
	for _, c := range []struct{ framing, request, reply, unknown, want string }{
		{"redis", "PING\r\n", "+PONG\r\n", "GET x\r\n", "-ERR no recorded answer\r\n"},
		{"memcached", "version\r\n", "VERSION 1\r\n", "get x\r\n", "SERVER_ERROR no recorded answer\r\n"},
		{"smtp", "NOOP\r\n", "250 OK\r\n", "HELP\r\n", "500 no recorded answer\r\n"},
		{"http", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 501 Not Implemented\r\n"},
		{"length:2", "a", "A", "\x00\x01b", "\x00\x19Error: no recorded answer"},
	} {
		t.Run(c.framing, func(t *testing.T) {
			f := named(t, c.framing)
			r := newRecording(t, recorded(f, []replay.Exchange{asked(1, 1, c.request, c.reply)}), RecordingOptions{})
			got := say(t, serve(t, parley.Goroutines, f, r)(), c.unknown)
			if c.framing == "smtp" { // which greets of itself, since the recording does not
				_, got, _ = strings.Cut(got, "\r\n")
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("heard %q, want %q", got, c.want)
			}
		})
	}
}

// HTTP goes on behind what is not known, HEAD has no body, and what a server says to a request that is
// not whole has no place.
func TestRecordedHTTP(t *testing.T) {
	const head = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
	const get = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
	f := named(t, "http")
	r := newRecording(t, recorded(f, []replay.Exchange{
		unasked(0.5, "HTTP/1.1 100 Continue\r\n\r\n"),
		asked(1, 1, head, "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 100\r\n\r\n"),
		asked(2, 2, get, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
	}), RecordingOptions{})
	c := serve(t, parley.Goroutines, f, r)()
	in := bufio.NewReader(c)
	for _, e := range []struct {
		request, method string
		status          int
		body            string
	}{{head, "HEAD", 200, ""}, {"GET /y HTTP/1.1\r\nHost: x\r\n\r\n", "GET", 501, NoAnswer + "\n"}, {get, "GET", 200, "hi"}} {
		io.WriteString(c, e.request)
		reply, err := http.ReadResponse(in, &http.Request{Method: e.method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		if reply.StatusCode != e.status || string(body) != e.body || err != nil || reply.Close {
			t.Errorf("%q is answered %s %q, %v", e.request, reply.Status, body, err)
		}
	}
}

// A noreply command is known by its protocol: nothing comes, and the next has its own reply.
func TestRecordedNoReply(t *testing.T) {
	f := named(t, "memcached")
	r := newRecording(t, recorded(f, []replay.Exchange{
		asked(1, 1, "set k 0 0 1 noreply\r\nx\r\n", "-"), asked(2, 2, "get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n"),
	}), RecordingOptions{})
	if got, want := say(t, serve(t, parley.Goroutines, f, r)(), "set k 0 0 1 noreply\r\nx\r\nget k\r\n"), "VALUE k 0 1\r\nx\r\nEND\r\n"; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
	if n, _ := r.Unanswered(); n != 0 {
		t.Errorf("%d without an answer", n)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		match, a, b string
		same        bool
	}{
		{"shape", "GET user:17", "GET user:4", true},
		{"shape", "GET user:17", "GET group:17", false},
		{`^GET (\w+)`, "GET a 1", "GET a 2", true},
		{`^GET (\w+)`, "GET a", "GET b", false},
		{`^GET (\w+)`, "SET a", "SET a", true},
		{`^GET (\w+)`, "SET a", "SET b", false},
		{`^(a)?(b?)`, "b", "ab", false},
		{`^(a*)(b*)`, "ab", "aab", false},
		{`^(.*),(.*)$`, "ab,c", "a,bc", false},
	} {
		match, err := ParseMatch(c.match)
		if err != nil {
			t.Fatal(err)
		}
		if same := string(match(nil, []byte(c.a))) == string(match(nil, []byte(c.b))); same != c.same {
			t.Errorf("--match %s: %q and %q are the same: %v", c.match, c.a, c.b, same)
		}
	}
	for match, want := range map[string]string{"(": "missing closing )", "^GET": "has no group"} {
		if _, err := ParseMatch(match); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--match %s gives %v, want %s", match, err, want)
		}
	}
}

func TestFramingOfARecording(t *testing.T) {
	line, redis := named(t, "line"), named(t, "redis")
	both := recorded(line, []replay.Exchange{asked(1, 1, "a", "A")}, []replay.Exchange{asked(1, 2, "PING\r\n", "+PONG\r\n")})
	both.Sessions[1].Framing = redis
	silent := recorded(dialect.Framing{}, []replay.Exchange{asked(1, 1, "a", "A")})
	empty := recorded(line, []replay.Exchange{asked(1, 1, "a", "-")})
	crlf := recorded(line, []replay.Exchange{asked(1, 1, "a", "A")})
	crlf.Sessions[0].Exchanges[0].RawReply = []byte("A\r\n")
	for _, c := range []struct {
		name     string
		recorded *replay.Recording
		opt      RecordingOptions
		want     string
		crlf     bool
		err      string
	}{
		{"its own", recorded(redis, []replay.Exchange{asked(1, 1, "PING\r\n", "+PONG\r\n")}), RecordingOptions{Default: line}, "redis", false, ""},
		{"lines that ended in CRLF", crlf, RecordingOptions{Default: line}, "line", true, ""},
		{"one that does not say", silent, RecordingOptions{Default: line}, "line", false, ""},
		{"one that does not say, but the flag", silent, RecordingOptions{Default: line, Framing: redis}, "redis", false, ""},
		{"several", both, RecordingOptions{Default: line}, "", false, "it has sessions in several framings, line, redis; --framing NAME answers from those of one"},
		{"one of several", both, RecordingOptions{Default: line, Framing: redis}, "redis", false, ""},
		{"none of several", both, RecordingOptions{Default: line, Framing: named(t, "smtp")}, "", false, "no session of it was recorded with --framing smtp, but with line, redis"},
		{"no replies", empty, RecordingOptions{Default: line}, "", false, "it has no replies, so there is nothing to answer with"},
	} {
		r, err := NewRecording(c.recorded, c.opt)
		if fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
			t.Errorf("%s: %v, want %s", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		if f, crlf := r.Framing(); f.Name != c.want || crlf != c.crlf {
			t.Errorf("%s: %s, CRLF %v, want %s, %v", c.name, f.Name, crlf, c.want, c.crlf)
		}
	}
}

// With Pace what was said is said when it was, counted from the request, or from the reply before.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := named(t, "line")
		r := newRecording(t, recorded(f, []replay.Exchange{unasked(2, "hello"), asked(1, 10, "a", "A"), unasked(13.5, "news")}), RecordingOptions{Pace: true})
		c := parleytest.Pipe(t, &parley.Server{Handler: r, Framing: f.Requests})
		in := bufio.NewReader(c)
		begun := time.Now()
		for i, want := range []struct {
			line  string
			after time.Duration
		}{{"hello\n", 2 * time.Second}, {"A\n", time.Second / 2}, {"news\n", 3 * time.Second}} {
			if i == 1 {
				io.WriteString(c, "a\n")
				begun = time.Now()
			}
			line, err := in.ReadString('\n')
			if took := time.Since(begun).Round(10 * time.Millisecond); line != want.line || took != want.after || err != nil {
				t.Errorf("%q after %v, %v; want %q after %v", line, took, err, want.line, want.after)
			}
			begun = time.Now()
		}
	})
}

// Each different request without an answer is told of once, and listed with its count: not all of
// very many, and no credentials.
func TestUnanswered(t *testing.T) {
	f := named(t, "redis")
	var told []string
	r := newRecording(t, recorded(f, []replay.Exchange{asked(1, 1, "PING\r\n", "+PONG\r\n")}),
		RecordingOptions{Unknown: func(s *parley.Session, request string) {
			told = append(told, fmt.Sprintf("%d %s", s.Number(), request))
		}})
	dial := serve(t, parley.Goroutines, f, r)
	text := "AUTH secret\r\nGET a\r\nGET a\r\n"
	for i := range 30 {
		text += fmt.Sprintf("GET k%02d\r\n", i)
	}
	say(t, dial(), text)
	if len(told) != MostTold || told[0] != "1 AUTH (secret)" || told[1] != "1 GET a" || told[2] != "1 GET k00" {
		t.Errorf("told %q", told)
	}
	total, list := r.Unanswered()
	if total != 33 || len(list) != MostTold+1 || list[0] != "GET a (2 times)" || list[1] != "AUTH (secret)" || list[MostTold] != "and 12 more" {
		t.Errorf("%d: %q", total, list)
	}
}

// Equal replies in a row are held once.
func TestEqualAnswersAreHeldOnce(t *testing.T) {
	var many []replay.Exchange
	for i := range 1000 {
		many = append(many, asked(uint64(i+1), float64(i), "PING", "PONG"))
	}
	many = append(many, asked(1001, 1001, "PING", "bye"))
	r := newRecording(t, recorded(named(t, "line"), many), RecordingOptions{})
	if n := len(r.answers["bPING"].all); n != 2 {
		t.Errorf("%d answers are held, want 2", n)
	}
	for i := range 1000 {
		if one := r.take([]byte("PING")); string(one.reply) != "PONG" {
			t.Fatalf("the %d. is %q", i+1, one.reply)
		}
	}
	for range 2 {
		if one := r.take([]byte("PING")); string(one.reply) != "bye" {
			t.Errorf("the last is %q", one.reply)
		}
	}
}

// Whatever the exchanges, each request of a recording has an answer, and none is lost.
func FuzzRecording(f *testing.F) {
	f.Add("a1b2a3", uint8(0))
	f.Add("a1!xa2c-", uint8(3))
	f.Fuzz(func(t *testing.T, text string, order uint8) {
		var exchanges []replay.Exchange
		var want []string
		for i := 0; i+1 < len(text); i += 2 {
			seq := uint64(len(want) + 1)
			switch request, reply := text[i:i+1], text[i+1:i+2]; request {
			case "!":
				exchanges = append(exchanges, unasked(float64(i), reply))
			default:
				exchanges = append(exchanges, asked(seq, float64(i), request, reply))
				want = append(want, request)
			}
		}
		if order%2 == 1 {
			slices.Reverse(exchanges)
		}
		r, err := NewRecording(recorded(dialect.Framing{}, exchanges), RecordingOptions{Default: dialect.Framing{Name: "line", Requests: parley.Lines}})
		if err != nil {
			return
		}
		for _, request := range want {
			if r.take([]byte(request)) == nil {
				t.Errorf("%q of %q has no answer", request, text)
			}
		}
	})
}
