package dialogue

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// read reads a dialogue.
func read(t testing.TB, lines ...string) *Dialogue {
	t.Helper()
	d, err := Parse("f", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// playing plays against a server that is a function, in made-up time.
func playing(t *testing.T, framing string, serve func(c *parleytest.Conn, in *bufio.Reader), use func(t *testing.T, p *Player, play *Play)) {
	t.Helper()
	f, err := dialect.Parse(framing)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := parleytest.ConnPair()
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer theirs.Close()
			serve(theirs, bufio.NewReader(theirs))
		}()
		p := &Player{Framing: f}
		play := p.Open(ours)
		use(t, p, play)
		play.Close()
		<-served
	})
}

// says makes a server that greets and then answers each line with the next of these texts, and closes.
func says(greeting string, replies ...string) func(*parleytest.Conn, *bufio.Reader) {
	return func(c *parleytest.Conn, in *bufio.Reader) {
		io.WriteString(c, greeting)
		for _, reply := range replies {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			io.WriteString(c, reply)
		}
	}
}

// A dialogue with everything but TLS holds; each step is told as it is done.
func TestADialogueIsPlayed(t *testing.T) {
	d := read(t, "< ~ ^hello (?P<who>\\w+)", "> I am {who} {n}", "wait 1s", "< = ok {who}", "< *", "> more", "< !~ error", "eof", "< eof")
	serve := func(c *parleytest.Conn, in *bufio.Reader) {
		io.WriteString(c, "hello anna\n")
		line, _ := in.ReadString('\n')
		if line != "I am anna 3\n" {
			t.Errorf("the server heard %q", line)
		}
		io.WriteString(c, "ok anna\nby the way\n")
		in.ReadString('\n')
		io.WriteString(c, "fine\n")
		io.Copy(io.Discard, in)
	}
	playing(t, "line", serve, func(t *testing.T, p *Player, play *Play) {
		var told []string
		p.Done = func(d Done) { told = append(told, fmt.Sprintf("%d %s %v", d.Index, d.Message, d.Took)) }
		v := Values{"n": []byte("3")}
		if err := play.Run(t.Context(), d, v); err != nil {
			t.Error(err)
		}
		want := "0 hello anna 0s|1 I am anna 3 0s|2  1s|3 ok anna 0s|4 by the way 0s|5 more 0s|6 fine 0s|7  0s|8  0s"
		if got := strings.Join(told, "|"); got != want {
			t.Errorf("told\n%s, want\n%s", got, want)
		}
		if string(v["who"]) != "anna" {
			t.Errorf("caught %q", v)
		}
	})
}

// A failure says which step, what was wanted, and what came of it.
func TestFailures(t *testing.T) {
	silent := func(c *parleytest.Conn, in *bufio.Reader) { io.Copy(io.Discard, in) }
	for _, c := range []struct {
		name    string
		framing string
		serve   func(*parleytest.Conn, *bufio.Reader)
		lines   []string
		kind    dial.Kind
		want    string
	}{
		{"another text", "line", says("550 no such user\n"), []string{"< ~ ^220"}, dial.Mismatch,
			"step 1 (f:1): want ~ ^220, got 550 no such user"},
		{"another exact text", "line", says("a\x1b b\n"), []string{"# note", "< = ab"}, dial.Mismatch,
			`step 1 (f:2): want = ab, got a\x1b b`},
		{"a match that may not be", "line", says("error\n"), []string{"< !~ err"}, dial.Mismatch,
			"step 1 (f:1): want !~ err, got error"},
		{"an empty message", "line", says("\n"), []string{"< ~ a"}, dial.Mismatch,
			"step 1 (f:1): want ~ a, got an empty message"},
		{"a value in what is wanted", "line", says("a.\nb\n"), []string{"< ~ (?P<x>.*)", "< ~ ^{x}$"}, dial.Mismatch,
			`step 2 (f:2): want ~ ^(?:a\.)$, got b`},
		{"a protocol's bytes", "redis", says("", "+OK\r\n"), []string{"> SET a b", "< = +QUEUED\\r\\n"}, dial.Mismatch,
			`step 2 (f:2): want = +QUEUED\r\n, got +OK\r\n`},
		{"closed", "line", says(""), []string{"< ~ ^220"}, dial.Closed,
			"step 1 (f:1): want ~ ^220, but the server closed"},
		{"closed inside a message", "length", says("\x00\x00\x00\x05ab"), []string{"< *"}, dial.Closed,
			`step 1 (f:1): want *, but the server closed inside its message: 2 of its 5 bytes came: \x00\x00\x00\x05ab; --framing chunk needs none`},
		{"nothing in time", "line", silent, []string{"within 2s < = a"}, dial.ReplyTimeout,
			"step 1 (f:1): want = a, but nothing came within 2s"},
		{"not whole in time", "line", func(c *parleytest.Conn, in *bufio.Reader) { io.WriteString(c, "PONG\x00"); silent(c, in) }, []string{"< *"}, dial.ReplyTimeout,
			`step 1 (f:1): want *, but the message is not whole after 10s: 5 bytes came and no line's end: PONG\x00; --framing delim:00 would end it`},
		{"reset", "line", func(c *parleytest.Conn, _ *bufio.Reader) { c.Reset() }, []string{"< *"}, dial.Reset,
			"step 1 (f:1): want *, but the connection broke: connection reset by peer"},
		{"malformed", "redis", says("", "what\r\n"), []string{"> PING", "< *"}, dial.Malformed,
			`step 2 (f:2): want *, but what came can be no message: byte 0x77 where a value should begin: what\r\n`},
		{"a message where the end is wanted", "line", says("bye\n"), []string{"< eof"}, dial.Mismatch,
			"step 1 (f:1): want eof, got bye"},
		{"half a message where the end is wanted", "length", says("\x00"), []string{"< eof"}, dial.Mismatch,
			`step 1 (f:1): want eof, got \x00`},
		{"no end", "line", silent, []string{"within 1s < eof"}, dial.ReplyTimeout,
			"step 1 (f:1): want eof, but the server did not close within 1s"},
		{"what the framing cannot carry", "line", silent, []string{"> a\\nb"}, dial.IOError,
			`step 1 (f:1): > a\nb: line cannot carry this: a newline at byte 1 would end the message early`},
		{"nobody ever replies", "line/none", silent, []string{"> a", "< *"}, dial.IOError,
			"step 2 (f:2): want *: under line/none a server says nothing"},
		{"nobody speaks TLS", "line", silent, []string{"tls"}, dial.IOError,
			"step 1 (f:1): tls: nobody said how to speak TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := read(t, c.lines...)
			playing(t, c.framing, c.serve, func(t *testing.T, p *Player, play *Play) {
				err := play.Run(t.Context(), d, nil)
				var f *Failure
				switch {
				case !errors.As(err, &f):
					t.Fatalf("%v, which is no failure", err)
				case f.Kind() != c.kind || f.Mismatch() != (c.kind == dial.Mismatch):
					t.Errorf("kind %s, mismatch %v; want %s: %v", f.Kind(), f.Mismatch(), c.kind, err)
				case c.want != "" && err.Error() != c.want:
					t.Errorf("got  %v\nwant %s", err, c.want)
				case f.Local() != (strings.HasPrefix(c.name, "what the framing") || strings.HasPrefix(c.name, "nobody")):
					t.Errorf("local: %v", f.Local())
				}
			})
		})
	}
}

// Where the end of the connection ends a message, that message is judged, and an empty one is none.
func TestTheLastMessageUntilTheEnd(t *testing.T) {
	for answer, want := range map[string]string{
		"domain: x\r\n": "",
		"no match\r\n":  `step 2 (f:2): want ~ ^domain, got no match\r\n`,
		"":              "step 2 (f:2): want ~ ^domain, but the server closed",
	} {
		playing(t, "line/close", says("", answer), func(t *testing.T, _ *Player, play *Play) {
			err := play.Run(t.Context(), read(t, "> example.org", "< ~ ^domain", "< eof"), nil)
			if got := fmt.Sprint(err); got != want && !(err == nil && want == "") {
				t.Errorf("%q: %v, want %s", answer, err, want)
			}
		})
	}
	whole := func(c *parleytest.Conn, in *bufio.Reader) {
		request, _ := io.ReadAll(in)
		c.Write(bytes.ToUpper(request))
	}
	playing(t, "close", whole, func(t *testing.T, _ *Player, play *Play) {
		if err := play.Run(t.Context(), read(t, "> a", "eof", "< = A", "< eof"), nil); err != nil {
			t.Error(err)
		}
	})
}

// A play again on the same connection leaves out the greeting, and keeps what it caught.
func TestADialogueIsPlayedAgain(t *testing.T) {
	d := read(t, "< ~ (?P<id>\\d+)", "> {id} {n}", "< = {id} {n}")
	echo := func(c *parleytest.Conn, in *bufio.Reader) { io.WriteString(c, "17\n"); io.Copy(c, in) }
	playing(t, "line", echo, func(t *testing.T, p *Player, play *Play) {
		steps := 0
		p.Done = func(Done) { steps++ }
		v := Values{}
		for n := range 3 {
			v["n"] = fmt.Append(nil, n)
			if err := play.Run(t.Context(), d, v); err != nil {
				t.Error(err)
			}
		}
		if steps != 7 || !d.Repeats() {
			t.Errorf("%d steps, want 3+2+2", steps)
		}
	})
}

// A lenient player goes on behind what is not as expected, and not behind the end.
func TestALenientPlayer(t *testing.T) {
	playing(t, "line", says("a\nb\n"), func(t *testing.T, p *Player, play *Play) {
		p.Lenient = true
		steps := 0
		p.Done = func(Done) { steps++ }
		err := play.Run(t.Context(), read(t, "< = x", "< = b", "< = c", "< = d"), nil)
		if err == nil || err.Error() != "step 3 (f:3): want = c, but the server closed" || steps != 3 {
			t.Errorf("%v after %d steps", err, steps)
		}
	})
}

// What ctx cuts short is no failure of the server.
func TestACutPlay(t *testing.T) {
	gone := errors.New("gone")
	silent := func(c *parleytest.Conn, in *bufio.Reader) { io.Copy(io.Discard, in) }
	for _, line := range []string{"< *", "wait 1h", "< eof"} {
		playing(t, "line", silent, func(t *testing.T, _ *Player, play *Play) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(gone) })
			if err := play.Run(ctx, read(t, line), nil); err != gone {
				t.Errorf("%s: %v", line, err)
			}
		})
	}
}

// Behind tls the conversation goes on over the other connection, without another greeting. What came
// in plain behind the go-ahead is refused.
func TestStartTLSStep(t *testing.T) {
	lines := []string{"< ~ ^220", "> STARTTLS", "< ~ ^220", "tls", "> EHLO me", "< = 250 hello\\r\\n"}
	for _, injected := range []string{"", "250 injected\r\n", "2"} {
		playing(t, "smtp", says("220 hi\r\n", "220 go ahead\r\n"+injected), func(t *testing.T, p *Player, play *Play) {
			p.StartTLS = func(_ context.Context, conn net.Conn) (net.Conn, error) {
				conn.Close()
				return parleytest.Pipe(t, &parley.Server{Framing: parley.Lines, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
					return append(dst, "250 hello\r"...), nil
				})}), nil
			}
			greeted := false
			p.Done = func(d Done) { greeted = d.Note.Alone }
			err := play.Run(t.Context(), read(t, lines...), nil)
			var f *Failure
			switch {
			case injected == "" && (err != nil || greeted):
				t.Errorf("%v; the reply over TLS is taken for a greeting: %v", err, greeted)
			case injected != "" && (!errors.As(err, &f) || f.Kind() != dial.TLSFailed || !strings.Contains(err.Error(), "more in plain")):
				t.Errorf("%q behind the go-ahead: %v", injected, err)
			}
		})
	}
	playing(t, "line", says("220 hi\n"), func(t *testing.T, p *Player, play *Play) {
		p.StartTLS = func(context.Context, net.Conn) (net.Conn, error) { return nil, io.EOF }
		err := play.Run(t.Context(), read(t, "< *", "tls"), nil)
		if err == nil || err.Error() != "step 2 (f:2): tls: the connection was closed" {
			t.Error(err)
		}
	})
}

// A long text that is not as expected is shown where it differs.
func TestWhereALongTextDiffers(t *testing.T) {
	text := strings.Repeat("0123456789", 9) + `\n` + strings.Repeat("abcdefghij", 9)
	said := strings.Repeat("0123456789", 9) + "\n" + strings.Repeat("abcdefghij", 4) + "X\n"
	playing(t, "chunk", says(said), func(t *testing.T, _ *Player, play *Play) {
		err := play.Run(t.Context(), read(t, "< = "+text), nil)
		var f *Failure
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		if want := "step 1 (f:1): want = and 181 bytes, got 132, of which line 2 differs at its byte 41"; err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		want := "@@ line 2 @@\n-" + strings.Repeat("abcdefghij", 9) + "\n+" + strings.Repeat("abcdefghij", 4) + "X\n"
		if f.Diff() != want {
			t.Errorf("diff\n%swant\n%s", f.Diff(), want)
		}
	})
}

// FuzzPlay: whatever a server says and then closes, a play ends, with all that held or with a failure
// of one line.
func FuzzPlay(f *testing.F) {
	f.Add("line", []byte("a\nb\nc"))
	f.Add("length:2", []byte("\x00\x01a\x00\x05"))
	f.Add("redis", []byte("+OK\r\n$3\r\nab"))
	f.Add("smtp", []byte("220 a\r\n250-b\r\n250 c\r\n"))
	f.Add("http", []byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, name string, said []byte) {
		framing, err := dialect.Parse(name)
		if err != nil || len(said) > 32<<10 {
			return
		}
		d := read(t, "< ~ ^(?P<a>.)", "> QUIT", "< !~ {a}", "eof", "< = {a}"+strings.Repeat("b", longText), "< *", "< eof")
		ours, theirs := parleytest.ConnPair()
		theirs.Write(said)
		theirs.CloseWrite()
		var update Update
		p := &Player{Framing: framing, Lenient: true, Done: update.Done}
		play := p.Open(ours)
		defer play.Close()
		err = play.Run(t.Context(), d, nil)
		var failure *Failure
		switch {
		case err != nil && !errors.As(err, &failure):
			t.Fatalf("%v, which is no failure", err)
		case err != nil && strings.ContainsAny(err.Error(), "\n\x1b\x00"):
			t.Fatalf("an error of two lines, or that steers a terminal: %q", err)
		case err != nil && strings.Trim(failure.Diff(), "\n") != "" && strings.Count(failure.Diff(), "\n") != 3:
			t.Fatalf("a difference not of three lines: %q", failure.Diff())
		}
		if _, _, err := update.Of(d); err != nil && update.Played(d) {
			t.Fatal(err)
		}
	})
}

// The end of ctx is not overlooked between two steps, each of which has its own time.
func TestAPlayIsCutBetweenItsSteps(t *testing.T) {
	serve := func(c *parleytest.Conn, in *bufio.Reader) { io.WriteString(c, "a\n"); io.Copy(io.Discard, in) }
	playing(t, "line", serve, func(t *testing.T, p *Player, play *Play) {
		ctx, cancel := context.WithCancel(t.Context())
		p.Done = func(Done) {
			cancel()
			synctest.Wait() // whoever was to be woken has been
		}
		begin := time.Now()
		if err := play.Run(ctx, read(t, "< *", "< *"), nil); err != context.Canceled || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// The time of a step is over with it.
func TestHangUpHasItsOwnTime(t *testing.T) {
	serve := func(c *parleytest.Conn, in *bufio.Reader) {
		io.WriteString(c, "a\n")
		io.Copy(io.Discard, in)
		time.Sleep(time.Minute)
	}
	playing(t, "line", serve, func(t *testing.T, p *Player, play *Play) {
		if err := play.Run(t.Context(), read(t, "within 1s < *"), nil); err != nil {
			t.Error(err)
		}
		if err := play.HangUp(t.Context(), func([]byte, parley.Note) {}); err != nil {
			t.Error(err)
		}
	})
}
