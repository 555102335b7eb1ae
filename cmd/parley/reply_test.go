package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// However a reply is split on its way, it ends where --lines and --until say.
func TestRepliesOfSeveralLines(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply replyFlags
		text  string
		want  []string
		end   error
	}{
		{"lines", replyFlags{lines: 2}, "$3\r\nabc\r\n$-1\r\nx\r\n", []string{"$3\r\nabc", "$-1\r\nx"}, io.EOF},
		{"lines, cut short", replyFlags{lines: 2}, "a\nb\nc\n", []string{"a\nb"}, io.ErrUnexpectedEOF},
		{"lines, the last unfinished", replyFlags{lines: 2}, "a\nb", []string{"a\nb"}, io.EOF},
		{"until", replyFlags{lines: 1, until: `^\d+ `}, "250-a\r\n250-b\r\n250 c\r\n220 d\r\n", []string{"250-a\r\n250-b\r\n250 c", "220 d"}, io.EOF},
		{"until, blank lines too", replyFlags{lines: 1, until: `^\.$`}, "\n\n.\n.\n", []string{"\n\n.", "."}, io.EOF},
		{"until the blank line", replyFlags{lines: 1, until: `^$`}, "a\nb\n\nc\n\n", []string{"a\nb\n", "c\n"}, io.EOF},
		{"until, cut short", replyFlags{lines: 1, until: `^\.$`}, "a\n.\nb\n", []string{"a\n."}, io.ErrUnexpectedEOF},
		{"until, the last unfinished", replyFlags{lines: 1, until: `^\.$`}, "a\n.", []string{"a\n."}, io.EOF},
		{"until, the CR is not the line's", replyFlags{lines: 1, until: `x$`}, "a\r\nx\r\n", []string{"a\r\nx"}, io.EOF},
	} {
		framing, err := c.reply.of(newFramingFlag())
		if err != nil {
			t.Fatal(err)
		}
		for piece := 1; piece <= len(c.text); piece++ {
			ours, theirs := parleytest.ConnPair()
			client := parley.NewClient(ours, framing.OfReplies())
			got := make(chan error)
			var replies []string
			go func() {
				for {
					reply, err := client.Receive(t.Context())
					if err != nil {
						got <- err
						return
					}
					replies = append(replies, string(reply))
				}
			}()
			for rest := c.text; rest != ""; rest = rest[min(piece, len(rest)):] {
				io.WriteString(theirs, rest[:min(piece, len(rest))])
			}
			theirs.Close()
			if err := <-got; !errors.Is(err, c.end) || strings.Join(replies, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s, in pieces of %d: %q, then %v; want %q, then %v", c.name, piece, replies, err, c.want, c.end)
			}
		}
	}
}

// The limit is that of the whole reply, and is found out before its end.
func TestLimitOfAReplyOfSeveralLines(t *testing.T) {
	for _, reply := range []replyFlags{{lines: 3}, {lines: 1, until: "^c"}} {
		framing, err := reply.of(newFramingFlag())
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]error{"a\nb\ncc\n": nil, "a\nb\nccc\n": nil, "a\nb\ncccc\n": parley.ErrTooLong} {
			if n, _, err := framing.OfReplies().Next([]byte(text), 0, len("a\nb\nccc"), false); err != want || (n == len(text)) != (want == nil) {
				t.Errorf("%+v: %q: %d, %v, want %v", reply, text, n, err, want)
			}
		}
	}
	until, _ := (&replyFlags{lines: 1, until: "^c"}).of(newFramingFlag())
	if _, _, err := until.OfReplies().Next([]byte("a\nb\nd\n"), 0, 3, false); err != parley.ErrTooLong {
		t.Errorf("an unfinished reply over the limit: %v, want ErrTooLong", err)
	}
}

// What was looked at is not looked at again.
func TestUntilDoesNotScanTwice(t *testing.T) {
	until, _ := (&replyFlags{lines: 1, until: "^end"}).of(newFramingFlag())
	text := []byte("a\nend of it\nb\nend\n")
	scanned := len("a\nend of it\nb\n") // says, wrongly, that no end was in there
	if n, body, err := until.OfReplies().Next(text, scanned, 100, false); n != len(text) || string(body) != "a\nend of it\nb\nend" || err != nil {
		t.Errorf("%d, %q, %v, want all of it", n, body, err)
	}
}
