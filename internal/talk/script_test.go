package talk_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/dialogue"
	"github.com/parley-tcp/parley/internal/talk"
	"github.com/parley-tcp/parley/parleytest"
)

// A dialogue is shown as the conversation that it is, and how it ended.
func TestADialogueIsShown(t *testing.T) {
	for _, c := range []struct {
		name, framing string
		lines         string
		replies       []string // to each line; the first is said at once
		open          bool     // the server does not close behind them
		want          string
		err           string
	}{
		{"it holds", "line", "< ~ ^hi|> a|< = b|< ~ ^c|> x|< *", []string{"hi\n", "b\nc 1\n", "d\n"}, false,
			"message: hi|sending [1] a ...|response: b|message: c 1|sending [1] x ...|response: d|Connection closed", ""},
		{"what comes behind it is shown", "line", "> a|< = b", []string{"", "b\nc\n"}, false,
			"sending [1] a ...|response: b|message: c|Connection closed", ""},
		{"the end is expected", "line", "> a|< = b|< eof", []string{"", "b\n"}, false,
			"sending [1] a ...|response: b|Connection closed", ""},
		{"the server does not close", "line", "> a|< = b", []string{"", "b\n"}, true,
			"sending [1] a ...|response: b|Connection closed (not by the server)", ""},
		{"something else is said", "line", "> a|< = x|> c", []string{"", "b\x1b\n"}, false,
			`sending [1] a ...|response: b\x1b|Connection closed (not as expected)`, `step 2 (f:2): want = x, got b\x1b`},
		{"something is said where the end is expected", "line", "< eof", []string{"b\n"}, false,
			"message: b|Connection closed (not as expected)", "step 1 (f:1): want eof, got b"},
		{"it closes", "line", "> a|< = x", []string{"", ""}, false,
			"sending [1] a ...|Connection closed (closed by the server before it replied)", "step 2 (f:2): want = x, but the server closed"},
		{"nothing comes", "line", "> a|within 2s < = x", []string{"", ""}, true,
			"sending [1] a ...|Connection closed (no reply within 2s)", "step 2 (f:2): want = x, but nothing came within 2s"},
		{"it does not close", "line", "within 2s < eof", []string{""}, true,
			"Connection closed (no end of file from the server within 2s)", "step 1 (f:1): want eof, but the server did not close within 2s"},
		{"not all came", "length", "< *", []string{"\x00\x00\x00\x05ab"}, false,
			`unfinished response: \x00\x00\x00\x05ab|Connection closed (closed by the server inside a message)`,
			`step 1 (f:1): want *, but the server closed inside its message: 2 of its 5 bytes came: \x00\x00\x00\x05ab; --framing chunk needs none`},
		{"it cannot be sent", "line", "> a\\nb", []string{"", ""}, true,
			"Connection closed (not sent)", `step 1 (f:1): > a\nb: line cannot carry this: a newline at byte 1 would end the message early`},
		{"TLS is not agreed on", "line", "< *|tls", []string{"a\nb\n"}, true,
			"message: a|Connection closed (TLS was not agreed on)", "step 2 (f:2): tls: the server says more in plain behind its word that TLS begins; somebody on the way may have put it there"},
		{"credentials are not shown", "smtp", "< ~ ^220|> AUTH PLAIN c2VjcmV0|< ~ ^235", []string{"220 hi\r\n", "235 ok\r\n"}, false,
			"message: 220 hi|sending [21] AUTH PLAIN (secret) ...|response: 235 ok|Connection closed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, err := dialect.Parse(c.framing)
				if err != nil {
					t.Fatal(err)
				}
				d, err := dialogue.Parse("f", []byte(strings.ReplaceAll(c.lines, "|", "\n")))
				if err != nil {
					t.Fatal(err)
				}
				ours, theirs := parleytest.ConnPair()
				served := make(chan struct{})
				go func() {
					defer close(served)
					defer theirs.Close()
					in := bufio.NewReader(theirs)
					for i, reply := range c.replies {
						if i > 0 {
							in.ReadString('\n')
						}
						io.WriteString(theirs, reply)
					}
					if c.open {
						time.Sleep(time.Hour)
					}
				}()
				var out bytes.Buffer
				view := console.NewClientNarrative(&out, nil, console.Piped)
				view.Wording = console.Wording{Words: f.Words}
				script := talk.Script{Conn: ours, Server: "s", View: view, Player: dialogue.Player{Framing: f, Timeout: timeout}}
				script.Player.StartTLS = func(context.Context, net.Conn) (net.Conn, error) { panic("what is said in plain is refused before") }
				if got := fmt.Sprint(script.Play(t.Context(), d)); got != c.err && (got != "<nil>" || c.err != "") {
					t.Errorf("%s\nwant %s", got, c.err)
				}
				got := strings.NewReplacer("Client: Connected to s\n", "", "Client: server ", "", "Client: ", "").Replace(out.String())
				if got != strings.ReplaceAll(c.want, "|", "\n")+"\n" {
					t.Errorf("shown\n%swant\n%s", got, strings.ReplaceAll(c.want, "|", "\n"))
				}
				<-served
			})
		})
	}
}
