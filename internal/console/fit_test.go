package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/tally"
)

// coloured is what was written, which may have a style.
func coloured(t *testing.T, write func(out *bytes.Buffer) error) string {
	t.Helper()
	var out bytes.Buffer
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// widest is the width of the widest line.
func widest(text string) (width int) {
	for line := range strings.Lines(text) {
		width = max(width, styled.String(strings.TrimSuffix(line, "\n")))
	}
	return width
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text   string
		width  int
		indent string
		want   string
	}{
		{"short\nlines\n", 6, "  ", "short\nlines\n"},
		{"no bound at all", 0, "", "no bound at all"},
		{"one two three four", 9, "  ", "one two\n  three\n  four"},
		{"one two", 7, "", "one two"},
		{"one  two", 4, "", "one \ntwo"},
		{"abcdefghij", 4, " ", "abcd\n efg\n hij"},
		{"日本語日本語", 5, "", "日本\n語日\n本語"},
		{"ab", 1, "    ", "a\nb"},
		{"", 5, "", ""},
		{"\x1b[0;31mone two\x1b[0m three\n", 4, "", "\x1b[0;31mone\x1b[0m\n\x1b[0;31mtwo\x1b[0m\nthre\ne\n"},
	} {
		got := Wrap(c.text, c.width, c.indent)
		if got != c.want {
			t.Errorf("%q in %d columns is %q, want %q", c.text, c.width, got, c.want)
		}
		if c.width > 0 && widest(got) > c.width {
			t.Errorf("%q in %d columns is %d wide", c.text, c.width, widest(got))
		}
	}
}

// At no width is a line of a log wider, in colour or not, in any of its forms; and what matters most stays.
func TestLogFitsAnyTerminal(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	s := &journal.Session{ID: 1, Number: 1, Remote: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", Local: "l", Opened: at, Closed: at.Add(time.Hour), Reason: "first_byte_timeout",
		About: journal.About{Framing: "frame:0b:1c0d", Upstream: "redis.internal.example.org:6379"}, TLSVersion: "TLS 1.3", TLSName: strings.Repeat("n", 200), Proxied: "10.0.0.1:5080", Requests: 1e9, BytesIn: 1e12}
	x := &journal.Exchange{ID: 1, Session: 1, Seq: 123456, Received: at, Took: 12345678 * time.Nanosecond, Request: []byte(strings.Repeat("日本 ", 100)), Reply: []byte("short\x1b[2J")}
	events := append([]journal.Event{
		{Kind: parley.Opened, Time: at, Session: s},
		{Kind: parley.Received, Time: at, Session: s, Exchange: x},
		{Kind: parley.Faulted, Time: at, Session: s, Fault: &journal.Fault{Fault: strings.Repeat("delay ", 30)}},
		{Kind: parley.Replied, Time: at, Session: s, Exchange: x},
		{Kind: parley.Closed, Time: at, Session: s},
	}, logStory()...)
	row := &tally.Row{Shape: strings.Repeat("shape ", 50), Peer: s.Remote, Session: &tally.Session{Number: 1, Remote: s.Remote, Ended: s.Reason}, From: at, Exchanges: 1e8, Errors: 1e8, RequestBytes: 1e12}
	for _, style := range []Style{{}, Coloured()} {
		for width := 20; width < 200; width += 1 + max(0, width-80)/20 { // fewer of those that are wide
			shown := map[string]string{}
			for _, format := range []string{"narrative", "table"} {
				shown[format] = viewedWith(t, format, LogOptions{Width: width, Style: style}, events)
				shown[format+" and dumps"] = viewedWith(t, format, LogOptions{Width: width, Style: style, Hex: true}, events)
			}
			shown["sessions"] = coloured(t, func(out *bytes.Buffer) error {
				l, err := NewSessionList("table", out, width, style, false)
				if err != nil {
					return err
				}
				return l.Show(s)
			})
			for _, by := range []tally.By{tally.ByShape, tally.BySession, tally.ByPeer, tally.ByTime} {
				rows := []*tally.Row{row}
				for range statsShown + 1 {
					rows = append(rows, row)
				}
				shown["by "+string(by)] = coloured(t, func(out *bytes.Buffer) error {
					return WriteStats("table", out, width, style, &tally.Result{By: by, Rows: rows, Ends: map[string]int64{s.Reason: 1e12}})
				})
			}
			shown["an answer"] = coloured(t, func(out *bytes.Buffer) error {
				a := NewAnswer("table", out, width)
				var names []string
				var values []any
				for n := range 20 {
					names, values = append(names, fmt.Sprintf("a long name %d", n)), append(values, int64(1e15), strings.Repeat("x", 50))[:n+1]
				}
				a.Head(names)
				a.Row(values)
				return a.End()
			})
			for what, text := range shown {
				if widest(text) > width {
					t.Errorf("in %d columns %s is %d wide:\n%s", width, what, widest(text), text)
				}
				if style == (Style{}) && strings.Contains(text, "\x1b") {
					t.Errorf("%s has a style: %q", what, text)
				}
			}
			bare := sequence.ReplaceAllString(shown["narrative"], "")
			for _, want := range []string{"日本", "sho", "#1", "#?"} { // what was said, and in which session
				if !strings.Contains(bare, want) {
					t.Errorf("in %d columns the narrative lacks %q:\n%s", width, want, bare)
				}
			}
			for what, want := range map[string]string{"sessions": "first_byte", "table": "unknown", "by shape": "shape", "by session": "100000000", "by peer": "2001:", "by time": "08:00:00"} {
				if !strings.Contains(shown[what], want) {
					t.Errorf("in %d columns %s lacks %q:\n%s", width, what, want, shown[what])
				}
			}
		}
	}
}

// What is known of a session's TLS has room where there is some.
func TestSecurityOfSessionsTakesWhatRoomThereIs(t *testing.T) {
	s := &journal.Session{Number: 1, Remote: "10.0.0.1:12345", Opened: time.Unix(0, 0), Closed: time.Unix(1, 0), Reason: "eof", TLSVersion: "TLS 1.3", Proxied: "10.9.9.9:5080", TLSName: "alice.example.org"}
	for width, want := range map[int]string{180: "TLS 1.3, by proxy 10…", 230: "TLS 1.3, by proxy 10.9.9.9:5080, alice.example.org"} {
		got := coloured(t, func(out *bytes.Buffer) error {
			l, err := NewSessionList("table", out, width, Style{}, false)
			if err != nil {
				return err
			}
			return l.Show(s)
		})
		if !strings.Contains(got, want) {
			t.Errorf("in %d columns it lacks %q:\n%s", width, want, got)
		}
	}
}

// The terminals of a transcript stand side by side, or one below the other; nothing is cut, and lines come
// in the order of time.
func TestPanes(t *testing.T) {
	table := NewTranscript("Left Terminal", "Right Terminal")
	table.Say(0, "$ first")
	table.Say(1, "second: a line that is longer than its pane")
	table.Say(0, "\x1b[0;36mthird\x1b[0m 日本語")
	for _, style := range []Style{{}, Coloured()} {
		for width := 20; width < 130; width++ {
			got := coloured(t, func(out *bytes.Buffer) error { return table.PrintPanes(out, width, style) })
			if widest(got) > width {
				t.Errorf("in %d columns it is %d wide:\n%s", width, widest(got), got)
			}
			bare := sequence.ReplaceAllString(got, "")
			beside := strings.Contains(bare, "│")
			if beside != (width >= 2*leastPane+3) {
				t.Errorf("in %d columns they stand beside each other: %v", width, beside)
			}
			words := strings.Join(strings.Fields(strings.NewReplacer("│", "", "─", "", "┼", "").Replace(bare)), " ")
			want := "Left Terminal Right Terminal $ first second: a line that is longer than its pane third 日本語"
			if !beside {
				want = "Left Terminal $ first third 日本語 Right Terminal second: a line that is longer than its pane"
			}
			if words != want {
				t.Errorf("in %d columns it says\n%s\nwant %s", width, got, want)
			}
		}
	}
	got := coloured(t, func(out *bytes.Buffer) error { return table.PrintPanes(out, 47, Style{}) })
	want := `Left Terminal          │ Right Terminal
───────────────────────┼───────────────────────
$ first                │ 
                       │ second: a line that is
                       │   longer than its pane
` + "\x1b[0;36mthird\x1b[0m 日本語           │ \n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// On a terminal the lines of a difference fit, and have what differs.
func TestDifferencesFit(t *testing.T) {
	same := strings.Repeat("the same again, ", 20)
	for width := 40; width < 200; width++ {
		for _, prefix := range []string{"", "the same ", same, strings.Repeat("\x00", 50), strings.Repeat("日本語", 50)} {
			got := coloured(t, func(out *bytes.Buffer) error {
				d := NewReplayDiff(out, width, Style{})
				d.Differs("", 1, 2, []byte(prefix+"L and more "+same), []byte(prefix+"R and more"), "")
				d.Differs("", 1, 3, nil, nil, strings.Repeat("why ", 50))
				return d.Err()
			})
			lines := strings.Split(got, "\n")
			if widest(got) > width || !strings.Contains(lines[0], "L") || !strings.Contains(lines[1], "R") {
				t.Fatalf("in %d columns the difference behind %.10q is\n%s", width, prefix, got)
			}
		}
	}
}
