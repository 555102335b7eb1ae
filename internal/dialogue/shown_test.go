package dialogue

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/parleytest"
)

// What the protocol knows to be a credential is not in what is shown of a dialogue: also a line of
// them that follows a question, and behind a way into TLS. All else is as it is written.
func TestStepsAreShownWithoutCredentials(t *testing.T) {
	for framing, steps := range map[string][]string{
		"smtp": {
			"> EHLO me", "> EHLO me",
			"< ~ ^250", "< ~ ^250",
			"> STARTTLS", "> STARTTLS",
			"tls", "tls",
			"> AUTH PLAIN AHUAcHc=", "> AUTH PLAIN (secret)",
			"< *", "< *",
			"> AUTH LOGIN", "> AUTH LOGIN",
			"< ~ ^334", "< ~ ^334",
			"> dXNlcg==", "> (secret)",
			"< ~ ^334", "< ~ ^334",
			"> cGFzcw==", "> (secret)",
			"> MAIL FROM:<{n}@x>", "> MAIL FROM:<{n}@x>",
		},
		"redis": {"> AUTH me hunter2", "> AUTH (secret)", `> SET k "AUTH x"`, `> SET k "AUTH x"`, `> *1\r\n$4\r\nPING\r\n`, "> PING"},
		"http":  {`> GET / HTTP/1.1\r\nAuthorization: Basic eHl6\r\n\r\n`, `> GET /`, "> GET /x", "> GET /x", "> GET /a b c d", "> …(12 bytes)"},
		"line":  {"> AUTH PLAIN AHUAcHc=", "> AUTH PLAIN AHUAcHc="},
	} {
		f, err := dialect.Parse(framing)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for i := 0; i < len(steps); i += 2 {
			lines = append(lines, steps[i])
		}
		for i, got := range read(t, lines...).Shown(f.WithTLSBelow()) {
			if want := steps[2*i+1]; got != want {
				t.Errorf("%s: %s is shown as %s, want %s", framing, steps[2*i], got, want)
			}
		}
	}
}

// Who has written the words of a reply is told its bytes.
func TestAReplyInWordsIsToldInBytes(t *testing.T) {
	for framing, c := range map[string]struct{ want, got, advice string }{
		"redis": {"PONG", "+PONG\r\n", "; under redis a text is all bytes of a message: < = +PONG\\r\\n"},
		"smtp":  {"220 hi", "220 hi\r\n", "; under smtp a text is all bytes of a message: < = 220 hi\\r\\n"},
		"http":  {"PONG", "HTTP/1.1 204 No Content\r\n\r\n", ""},
		"line":  {"PONG", "PONG \n", ""},
	} {
		playing(t, framing, says(c.got), func(t *testing.T, _ *Player, play *Play) {
			got := fmt.Sprint(play.Run(context.Background(), read(t, "< = "+c.want), nil))
			_, heard, _ := strings.Cut(got, ", got ")
			if _, advice, _ := strings.Cut(heard, ";"); advice != strings.TrimPrefix(c.advice, ";") {
				t.Errorf("%s: %s, want %s behind it", framing, got, c.advice)
			}
		})
	}
}

// The send that fails is named without its credentials, unless they are asked for.
func TestAFailedSendHasNoCredentials(t *testing.T) {
	for secrets, want := range map[bool]string{false: "> AUTH PLAIN (secret): ", true: "> AUTH PLAIN AHUAcHc=: "} {
		playing(t, "smtp", func(*parleytest.Conn, *bufio.Reader) {}, func(t *testing.T, p *Player, play *Play) {
			p.Secrets = secrets
			play.conn.Close()
			err := play.Run(context.Background(), read(t, "> AUTH PLAIN AHUAcHc="), nil)
			if got := fmt.Sprint(err); !strings.HasPrefix(got, "step 1 (f:1): "+want) {
				t.Errorf("secrets %v: the error is %s, want %s", secrets, got, want)
			}
		})
	}
}
