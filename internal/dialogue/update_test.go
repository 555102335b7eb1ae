package dialogue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/parleytest"
)

// What does not hold becomes what was heard; what holds, notes and order stay.
func TestExpectationsAreRewritten(t *testing.T) {
	d := read(t, "# greeting", "framing line", "< ~ ^hello", "eg hello", "> a", "< = old", "# regex", "< ~ ^x", "# of the example",
		"eg x", "", "within 1s < !~ error", "< *", "eg {n}", "< *", "eg same", "< = {n}", "# end")
	serve := says("hello world\n", "new {n}\n y \nerror 5\nany\nsame\r\n1\n")
	playing(t, "line", serve, func(t *testing.T, p *Player, play *Play) {
		var update Update
		p.Lenient, p.Done = true, update.Done
		if err := play.Run(t.Context(), d, nil); err == nil || err.Error() != "step 3 (f:6): want = old, got new {{n}}" {
			t.Error(err)
		}
		updated, changed, err := update.Of(d)
		if err != nil || !update.Played(d) || changed != 4 {
			t.Fatalf("%v, played %v, %d lines", err, update.Played(d), changed)
		}
		want := strings.Join([]string{"# greeting", "framing line", "< ~ ^hello", "eg hello world", "> a", "< = new {{n}}", "# regex", `< =  y\x20`,
			"# of the example", "", "within 1s < = error 5", "< *", "eg {n}", "< *", "eg same", "< = {n}", "# end", ""}, "\n")
		if got := string(updated.Append(nil)); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		if again := string(d.Append(nil)); strings.Contains(again, "new") {
			t.Errorf("the dialogue itself is another now:\n%s", again)
		}
	})
}

// Where the play could not go on there is nothing to rewrite from.
func TestWhatIsNotRewritten(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"< = a|> x|< *|< *", "step 4 (f:4): want *, but the server closed"},
		{"< = a|> x|< eof", "step 3 (f:3): want eof, got b"},
		{`< ~ (?P<id>\d)|> {id}`, `step 1 (f:1): want ~ (?P<id>\d), got hi`},
		{`< ~ (?P<id>\d)|> x|< ~ {id}`, `step 1 (f:1): want ~ (?P<id>\d), got hi`},
	} {
		d := read(t, strings.Split(c.lines, "|")...)
		playing(t, "line", says("hi\n", "b\n"), func(t *testing.T, p *Player, play *Play) {
			var update Update
			p.Lenient, p.Done = true, update.Done
			err := play.Run(t.Context(), d, nil)
			var failure *Failure
			if !errors.As(err, &failure) || fmt.Sprint(err) != c.want || update.Played(d) {
				t.Errorf("%s: %v, played %v", c.lines, err, update.Played(d))
			}
		})
	}
	long := func(c *parleytest.Conn, in *bufio.Reader) { io.WriteString(c, strings.Repeat("a", MaxLine)+"\n") }
	playing(t, "line", long, func(t *testing.T, p *Player, play *Play) {
		var update Update
		p.Lenient, p.Done = true, update.Done
		d := read(t, "< = b")
		play.Run(t.Context(), d, nil)
		if _, _, err := update.Of(d); err == nil || !strings.HasPrefix(err.Error(), "what was heard cannot be written: f:1:1: the line has 1048580 bytes") {
			t.Error(err)
		}
	})
}
