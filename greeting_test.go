package parley_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

func smtpFraming(t *testing.T) parley.Framing {
	t.Helper()
	f, err := dialect.Parse("smtp")
	if err != nil {
		t.Fatal(err)
	}
	return f.Requests
}

// A server that is asked nothing says its greeting, told as unasked, and with a gate as a reply
// to no request.
func TestServerGreetsFirst(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w, p := new(witness), new(porter)
		dial := serve(&parley.Server{Handler: echo, Framing: smtpFraming(t), Observer: w, Gate: p})
		for n := range 2 {
			c := dial()
			in := bufio.NewReader(c)
			greeting, err := in.ReadString('\n')
			if !strings.HasPrefix(greeting, "220 ") || !strings.HasSuffix(greeting, " ESMTP parley\r\n") || err != nil {
				t.Fatalf("greeted with %q, %v", greeting, err)
			}
			fmt.Fprint(c, "QUIT\r\n")
			if got, err := io.ReadAll(in); string(got) != "221 QUIT\r\n" || err != nil {
				t.Errorf("QUIT is answered %q, %v", got, err)
			}
			if end := w.closed(t, n+1); end.reason != parley.HangUp {
				t.Errorf("closed for %v", end.reason)
			}
			var got []string
			for _, e := range w.all() {
				if e.number == uint64(n+1) {
					got = append(got, fmt.Sprintf("%v %d %s", e.kind, e.seq, e.body))
				}
			}
			want := []string{"opened 0 ", "message 0 " + greeting, "received 1 QUIT\r\n", "replied 1 221 QUIT\r\n", "closed 1 "}
			if !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
			exchanges := p.exchanges()
			if got := exchanges[len(exchanges)-2]; got.seq != 0 || got.request != "none" || got.reply != greeting {
				t.Errorf("the gate was told %+v", got)
			}
		}
	})
}

// What a gate holds is not said yet.
func TestHeldGreeting(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		p := holds()
		c := serve(&parley.Server{Handler: echo, Framing: smtpFraming(t), Gate: p})()
		fmt.Fprint(c, "NOOP\r\n") // is not read before
		held := p.awaitHeld(t, 1)
		held[0].Release()
		in := textproto.NewReader(bufio.NewReader(c))
		if line, err := in.ReadLine(); !strings.HasPrefix(line, "220 ") || err != nil {
			t.Errorf("greeted with %q, %v", line, err)
		}
		p.awaitHeld(t, 2)[1].Release()
		if line, err := in.ReadLine(); line != "250 NOOP" || err != nil {
			t.Errorf("NOOP is answered %q, %v", line, err)
		}
		if n := len(p.exchanges()); n != 2 {
			t.Errorf("%d exchanges, want the greeting and one", n)
		}
	})
}

// Any fixed reply will do to receive mail, as the seed's own does.
func TestMailSink(t *testing.T) {
	for _, pattern := range []string{parley.DefaultReply, "250 OK", "yes\n{message}"} {
		t.Run(pattern, func(t *testing.T) {
			overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
				w := new(witness)
				framing := smtpFraming(t)
				template, err := parley.ParseTemplate(pattern, framing)
				if err != nil {
					t.Fatal(err)
				}
				dial := serve(&parley.Server{Handler: template, Framing: framing, Observer: w})
				c, err := smtp.NewClient(dial(), "localhost")
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					err = errors.Join(c.Mail("a@b"), c.Rcpt("c@d"), c.Rcpt("e@f"))
					if err != nil {
						t.Fatal(err)
					}
					body, err := c.Data()
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprint(body, "Subject: x\n\n.hi\n")
					if err := body.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Quit(); err != nil {
					t.Fatal(err)
				}
				w.closed(t, 1)
				var got []string
				for _, e := range w.all() {
					if e.kind == parley.Received {
						got = append(got, e.body)
					}
				}
				delivery := []string{"MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "RCPT TO:<e@f>\r\n", "DATA\r\n", "Subject: x\r\n\r\n..hi\r\n.\r\n"}
				want := slices.Concat([]string{"EHLO localhost\r\n"}, delivery, delivery, []string{"QUIT\r\n"})
				if !slices.Equal(got, want) {
					t.Errorf("received %q, want %q", got, want)
				}
			})
		})
	}
}

// The error texts are replies too, and credentials are not said again.
func TestMailSinkRefuses(t *testing.T) {
	overSome(t, []string{"tcp", "tcp, loops", "unix", "unix, loops"}, func(t *testing.T, serve func(*parley.Server) func() conn) {
		framing := smtpFraming(t)
		template, _ := parley.ParseTemplate("you said {message}", framing)
		dial := serve(&parley.Server{Handler: template, Framing: framing, MaxRequest: 100, MaxSessions: 1})
		c := dial()
		in := textproto.NewReader(bufio.NewReader(c))
		wantLine := func(want string) {
			t.Helper()
			if line, err := in.ReadLine(); !strings.HasPrefix(line, want) || err != nil {
				t.Errorf("got %q, %v; want %q", line, err, want)
			}
		}
		wantLine("220 ")
		if got := say(t, dial(), ""); got != "421 server is full (1 sessions)\r\n" {
			t.Errorf("refused with %q", got)
		}
		fmt.Fprint(c, "AUTH PLAIN AGEAYg==\r\n")
		wantLine("235 OK")
		fmt.Fprint(c, "DATA\r\n")
		wantLine("354 ")
		fmt.Fprint(c, strings.Repeat("x", 101)+"\r\n.\r\n")
		wantLine("552 request longer than 100 bytes")
		if got := say(t, c, ""); got != "" {
			t.Errorf("and then %q", got)
		}
	})
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		dial := serve(&parley.Server{Handler: echo, Framing: smtpFraming(t)})
		_, refusal, _ := strings.Cut(say(t, dial(), "\x16\x03\x01\x02\x00\x01"), "\r\n")
		if want := "500 malformed message: TLS, not smtp\r\n"; refusal != want {
			t.Errorf("to TLS it says %q, want %q", refusal, want)
		}
	})
}

// Over TLS the greeting comes behind the handshake.
func TestGreetingOverTLS(t *testing.T) {
	end := overTLS(t, &parley.Server{Handler: echo, Framing: smtpFraming(t)}, 0, func(c net.Conn) {
		client := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		greeting := make([]byte, 4)
		if _, err := io.ReadFull(client, greeting); string(greeting) != "220 " || err != nil {
			t.Errorf("greeted with %q, %v", greeting, err)
		}
		client.Close()
	})
	if end.Reason != parley.EndOfFile && end.Reason != parley.NoRequest {
		t.Errorf("ended for %v, %v", end.Reason, end.Err)
	}
}

// A peer that takes no greeting is given up.
func TestGreetingThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan parley.Event, 1)
		srv := &parley.Server{Handler: echo, Framing: smtpFraming(t), Observer: endings(ends), WriteTimeout: time.Minute}
		near, far := net.Pipe() // takes nothing that is not read
		defer near.Close()
		go srv.ServeConn(far)
		if end := <-ends; end.Reason != parley.WriteTimeout || end.Out != 0 || end.Took != time.Minute {
			t.Errorf("ended for %v after %v, want %v", end.Reason, end.Took, parley.WriteTimeout)
		}
	})
}
