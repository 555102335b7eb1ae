package console

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"

	"github.com/parley-tcp/parley/internal/tally"
)

// hostile would be taken for something else by a terminal, a spreadsheet or a parser.
const hostile = "=cmd|' /C calc'!A0\x1b[2J\n\xff\u202e"

func written(t *testing.T, write func(out *bytes.Buffer) error) string {
	t.Helper()
	out := new(bytes.Buffer)
	if err := write(out); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(out.Bytes(), "\x1b\xff\u202e") {
		t.Errorf("it has %q", out)
	}
	return out.String()
}

// What a peer has said is escaped in each form, and no formula.
func TestStatsOfHostilePeers(t *testing.T) {
	for _, by := range []tally.By{tally.ByShape, tally.BySession, tally.ByPeer, tally.ByTime} {
		result := &tally.Result{By: by, Ends: map[string]int64{"eof": 2, "a\x1b": 1}, Rows: []*tally.Row{{
			Shape: hostile, Framing: hostile, Peer: hostile, Session: &tally.Session{Number: 1, Remote: hostile, Ended: hostile}, Exchanges: 1, Ends: map[string]int64{hostile: 1},
		}}, Rest: &tally.Row{Exchanges: 7}}
		for _, format := range []string{"table", "json", "csv"} {
			text := written(t, func(out *bytes.Buffer) error { return WriteStats(format, out, 0, Style{}, result) })
			if format == "csv" && (strings.Contains(text, "\n=") || strings.Contains(text, ",=")) {
				t.Errorf("%s: a formula in %q", by, text)
			}
		}
	}
}

// A table fits the terminal, and says how much more there is.
func TestStatsTableFits(t *testing.T) {
	for _, by := range []tally.By{tally.ByShape, tally.BySession, tally.ByPeer} {
		result := &tally.Result{By: by}
		for n := range statsShown + 2 {
			result.Rows = append(result.Rows, &tally.Row{Shape: strings.Repeat("long shape ", 30), Peer: "10.0.0.1", Session: &tally.Session{Number: uint64(n), Remote: "10.0.0.1:5"}, Exchanges: 3})
		}
		text := written(t, func(out *bytes.Buffer) error { return WriteStats("table", out, 60, Style{}, result) })
		if want := "\n… and 2 more, with 6 exchanges; --json and --csv have up to\n100,000\n"; !strings.HasSuffix(text, want) {
			t.Errorf("%s ends %q", by, text[max(0, len(text)-100):])
		}
		for line := range strings.Lines(text) {
			if width := displaywidth.String(strings.TrimSuffix(line, "\n")); width > 60 {
				t.Errorf("%s: %d columns: %s", by, width, line)
			}
		}
	}
}

// An answer has each kind of value in each form.
func TestAnswer(t *testing.T) {
	columns := []string{"a", "=b", "a"}
	rows := [][]any{{int64(-5), "=1+1", nil}, {2.5, []byte("plain"), []byte{0, 0xff}}, {math.Inf(1), hostile, int64(math.MaxInt64)}, {"", "\u4e16", []byte{}}}
	for format, want := range map[string]string{
		"table": "a     =b                                               a\n" +
			"-5    =1+1                                             NULL\n" +
			"2.5   plain                                            \\x00\\xff\n" +
			"+Inf  =cmd|' /C calc'!A0\\x1b[2J\\n\\xff\\xe2\\x80\\xae  9223372036854775807\n" +
			"      \u4e16                                               \n",
		"json": `{"a":-5,"=b":"=1+1","a_2":null}` + "\n" + `{"a":2.5,"=b":"plain","a_2_base64":"AP8="}` + "\n" +
			`{"a":"+Inf","=b_base64":"PWNtZHwnIC9DIGNhbGMnIUEwG1sySgr/4oCu","a_2":9223372036854775807}` + "\n" + `{"a":"","=b":"` + "\u4e16" + `","a_2":""}` + "\n",
		"csv": "a,'=b,a\r\n-5,'=1+1,\r\n2.5,plain,\\x00\\xff\r\n+Inf,'=cmd|' /C calc'!A0\\x1b[2J\\n\\xff\\xe2\\x80\\xae,9223372036854775807\r\n,\u4e16,\r\n",
	} {
		got := written(t, func(out *bytes.Buffer) error {
			a := NewAnswer(format, out, 0)
			if err := a.Head(columns); err != nil {
				return err
			}
			for _, row := range rows {
				if err := a.Row(row); err != nil {
					return err
				}
			}
			return a.End()
		})
		if format == "table" { // not how wide it is
			got, want = strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")
		}
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", format, got, want)
		}
	}
}

// The rows of a table are there as they come once it is known how wide they are, and on a terminal
// the widest columns of text give way.
func TestAnswerTable(t *testing.T) {
	out := new(bytes.Buffer)
	a := NewAnswer("table", out, 40)
	a.Head([]string{"n", "text", "more"})
	for n := range sampled + 1 {
		if err := a.Row([]any{int64(100 + n), strings.Repeat("x", 100), "short"}); err != nil {
			t.Fatal(err)
		}
		if shown := strings.Count(out.String(), "\n"); shown != 0 && n < sampled-1 || shown != n+2 && n >= sampled-1 {
			t.Fatalf("%d lines after %d rows", shown, n+1)
		}
	}
	for line := range strings.Lines(out.String()) {
		if displaywidth.String(strings.TrimSuffix(line, "\n")) > 40 {
			t.Errorf("too long: %s", line)
		}
	}
	if want := fmt.Sprintf("%3d  %s…  short\n", 100+sampled, strings.Repeat("x", 27)); !strings.HasSuffix(out.String(), want) {
		t.Errorf("the last line is %q, want %q", out.String()[out.Len()-45:], want)
	}
}
