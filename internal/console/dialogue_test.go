package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

// What a server has recorded is exported as a dialogue that the same server holds to.
func TestARecordingAsADialogue(t *testing.T) {
	for _, c := range []struct {
		name, framing string
		reply         parley.HandlerFunc
		sent          []string // by the client, each behind the reply to the one before, and then its end of file
		want          string   // behind the first line
	}{
		{"lines", "line", pong, []string{"a\n", "b \x1b{n}\n"}, `framing line
> a
< = pong 1 a
> b \x1b{{n}}
< = pong 2 b \x1b{{n}}
eof
`},
		{"lines that end in CRLF", "line", pong, []string{"a\r\n"}, "framing crlf\n> a\n< = pong 1 a\neof\n"},
		{"a blank line ends it", "line", pong, []string{"a\n\n"}, "framing line\n> a\n< = pong 1 a\n>\n< eof\n"},
		{"a reply until the end", "line/close", pong, []string{"a\r\n"}, "framing crlf/close\n> a\n< = pong 1 a\n< eof\n"},
		{"a request until the end", "close", pong, []string{"a\n"}, "framing close\n> a\\n\n< = pong 1 a\\n\neof\n"},
		{"chunks", "chunk", pong, []string{"a\n"}, "framing chunk\n> a\\n\n< = pong 1 a\neof\n"},
		{"lengths", "length:2", pong, []string{"\x00\x02a\n"}, "framing length:2\n> a\\n\n< = pong 1 a\\n\neof\n"},
		{"redis", "redis", pong, []string{"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n", "PING\r\n"}, `framing redis
> GET "a b"
< = $29\r\npong 1 *2\r\n$3\r\nGET\r\n$3\r\na b\r\n\r\n
> PING\r\n
< = $13\r\npong 2 PING\r\n\r\n
eof
`},
		{"pages", "http", page, []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n"}, `framing http
> GET / HTTP/1.1\r\nHost: a\r\n\r\n
< ~ ^HTTP/1\.1 200 OK\r\nDate:(?s:.*?)\nContent-Length: 2\r\n\r\n\x{1}\x{20}$
eg HTTP/1.1 200 OK\r\nDate: 1\r\nContent-Length: 2\r\n\r\n\x01\x20
eof
`},
		{"mail", "smtp", done, []string{"", "EHLO me\r\n", "DATA\r\n", ".. a\r\n\r\nb\r\n.\r\n", "QUIT\r\n"}, `framing smtp
< ~ ^220
eg 220 here ESMTP parley\r\n
> EHLO me
< = 250 OK\r\n
> DATA
< = 354 OK\r\n
> . a\n\nb\n.
< ~ ^250
eg 250 OK\r\n
> QUIT
< = 221 OK\r\n
< eof
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := dialect.Parse(c.framing)
			if err != nil {
				t.Fatal(err)
			}
			server := func() *parley.Server {
				return &parley.Server{Framing: f.Requests, Replies: f.Replies, Handler: c.reply}
			}
			text := exported(t, recorded(t, server(), c.framing, c.sent))
			head, rest, _ := strings.Cut(text, "\n")
			if c.framing == "smtp" {
				greeting := string(parleyGreeting(t, server()))
				c.want = strings.Replace(c.want, `220 here ESMTP parley\r\n`, strings.TrimSuffix(greeting, "\r\n")+`\r\n`, 1)
			}
			if !strings.HasPrefix(head, "# session 1 with ") || rest != c.want {
				t.Errorf("%s\n%swant\n%s", head, rest, c.want)
			}
			d, err := dialogue.Parse("recorded", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if f, err = dialect.Parse(d.Framing); err != nil {
				t.Fatal(err)
			}
			play := (&dialogue.Player{Framing: f}).Open(parleytest.Pipe(t, server()))
			defer play.Close()
			if err := play.Run(t.Context(), d, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func pong(dst []byte, req *parley.Request) ([]byte, error) {
	return append(append(dst, "pong "+string('0'+rune(req.Seq))+" "...), req.Body...), nil
}

func page(dst []byte, _ *parley.Request) ([]byte, error) {
	return fmt.Appendf(dst, "HTTP/1.1 200 OK\r\nDate: %d\r\nContent-Length: 2\r\n\r\n\x01 ", dates.Add(1)), nil
}

var dates atomic.Int64 // each page has its own

func done(dst []byte, _ *parley.Request) ([]byte, error) { return append(dst, "OK"...), nil }

// parleyGreeting is what the server says first.
func parleyGreeting(t *testing.T, server *parley.Server) []byte {
	conn := parleytest.Pipe(t, server)
	defer conn.Close()
	greeting := make([]byte, 1024)
	n, err := conn.Read(greeting)
	if err != nil {
		t.Fatal(err)
	}
	return greeting[:n]
}

// recorded is the journal of sessions in which these were sent.
func recorded(t *testing.T, server *parley.Server, framing string, sessions ...[]string) *journal.Reader {
	t.Helper()
	file := filepath.Join(t.TempDir(), "j")
	w, err := journal.Create(file, journal.Options{About: journal.About{Framing: framing, Role: "server"}})
	if err != nil {
		t.Fatal(err)
	}
	server.Observer, server.Gate = w, w
	for _, sent := range sessions {
		conn := parleytest.Pipe(t, server)
		for i, text := range sent {
			if i > 0 {
				conn.Read(make([]byte, 1024))
			}
			io.WriteString(conn, text)
		}
		conn.CloseWrite()
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func exported(t *testing.T, r *journal.Reader) string {
	t.Helper()
	var out bytes.Buffer
	if err := export(t, r, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func export(t *testing.T, r *journal.Reader, out io.Writer) error {
	line, _ := dialect.Parse("line")
	view, err := NewLogView("dialogue", out, LogOptions{Framing: line})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Events(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := view.Show(e); err != nil {
			return err
		}
	}
	return view.End()
}

// What cannot be one dialogue is said, and not half written.
func TestWhatIsNoDialogue(t *testing.T) {
	var out bytes.Buffer
	err := export(t, recorded(t, &parley.Server{Handler: parley.HandlerFunc(pong)}, "line", []string{"a\n"}, []string{"b\n"}), &out)
	var not *NotExported
	if !errors.As(err, &not) || err.Error() != "there are several sessions, such as 1 and 2, and a dialogue has one; --session 1 takes one" || out.Len() > 0 {
		t.Errorf("%v, and %q", err, &out)
	}
	line, _ := dialect.Parse("line")
	many, _ := NewLogView("dialogue", &out, LogOptions{Framing: line, ManyNodes: true})
	for i, node := range []string{"edge", "web-2"} {
		err = many.Show(journal.Event{Kind: parley.Opened, Session: &journal.Session{ID: int64(i + 1), Number: 2, About: journal.About{Node: node}}})
	}
	if err == nil || err.Error() != "there are several sessions, such as edge/2 and web-2/2, and a dialogue has one; --session edge/2 takes one" {
		t.Errorf("of two nodes: %v", err)
	}
	out.Reset()
	drawn, _ := NewLogView("mermaid", &out, LogOptions{Framing: line, ManyNodes: true})
	drawn.Show(journal.Event{Kind: parley.Opened, Session: &journal.Session{ID: 1, Number: 2, About: journal.About{Node: "web-2"}}})
	if !strings.Contains(out.String(), ": session web-2/2\n") {
		t.Errorf("drawn is %s", &out)
	}
	of := func(events ...journal.Event) (string, error) {
		var out bytes.Buffer
		view, _ := NewLogView("dialogue", &out, LogOptions{Framing: line})
		for _, e := range events {
			if e.Session == nil {
				e.Session = &journal.Session{ID: 1, Number: 7, Remote: "10.0.0.1:1", RepliedUpTo: 1, Closed: time.Unix(1, 0), Reason: "reset", Stray: 3}
			}
			if err := view.Show(e); err != nil {
				return "", err
			}
		}
		err := view.End()
		return out.String(), err
	}
	request := journal.Event{Kind: parley.Received, Exchange: &journal.Exchange{Seq: 1, Request: []byte("ab"), RequestCut: 3}}
	if _, err := of(request); err == nil || err.Error() != "request 1 has only its first 2 bytes of 5 in the recording, so it cannot be sent again" {
		t.Error(err)
	}
	long := journal.Event{Kind: parley.Received, Exchange: &journal.Exchange{Seq: 1, Request: bytes.Repeat([]byte("a"), dialogue.MaxLine)}}
	if _, err := of(long); err == nil || !strings.HasPrefix(err.Error(), "session 7 cannot be written as a dialogue: line:3:1: the line has") {
		t.Error(err)
	}
	cut := &journal.Exchange{Seq: 1, Request: []byte("a"), Reply: []byte("a.\n\xff{n} "), ReplyCut: 9}
	unsent := &journal.Exchange{Seq: 2, Request: []byte("b"), Reply: []byte("c")}
	redacted := &journal.Exchange{Seq: 1, Request: []byte("PASS *"), RequestWhole: 9, Reply: []byte("hello *"), ReplyWhole: 9}
	events := []journal.Event{{Kind: parley.Opened}, {Kind: parley.Received, Exchange: redacted}, {Kind: parley.Replied, Exchange: redacted},
		{Kind: parley.Received, Exchange: cut}, {Kind: parley.Replied, Exchange: cut},
		{Kind: parley.Received, Exchange: unsent}, {Kind: parley.Replied, Exchange: unsent}, {Kind: parley.Closed}}
	got, err := of(events...)
	want := `# session 7 with 10.0.0.1:1, 0001-01-01T00:00:00Z
framing line
# of request 1 parts were replaced before it was recorded: put back what was there
> PASS *
# parts of this were replaced before it was recorded
< *
eg hello *
> a
# the recording has only the first 8 bytes of 17
< ~ ^a\.\n(?s:.)\{n\}\x{20}
> b
# the reply to request 2 did not get out
# it ended: reset
# 3 bytes that belong to no message are left out
`
	if err != nil || got != want {
		t.Errorf("%v\n%swant\n%s", err, got, want)
	}
}
