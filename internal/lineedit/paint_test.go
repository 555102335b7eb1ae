//go:build linux || darwin

package lineedit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
)

func plain(dst, p []byte) []byte { return append(dst, p...) }

// A piece of a long line is shown, with the cursor in it and no more than fits.
func TestWindowHasTheCursorAndFits(t *testing.T) {
	text := []byte(strings.Repeat("ab日é👍🏽", 30))
	for _, room := range []int{2, 7, 19, 68, 1000} {
		l := line{text: text}
		for {
			before, after := window(text, l.cursor, room, plain)
			if width := displaywidth.String(before + after); width > room {
				t.Fatalf("room %d, cursor %d: %q and %q take %d columns", room, l.cursor, before, after, width)
			}
			if !strings.HasSuffix(string(text[:l.cursor]), before) || !strings.HasPrefix(string(text[l.cursor:]), after) {
				t.Fatalf("room %d, cursor %d: %q and %q are not what stands there", room, l.cursor, before, after)
			}
			if room >= 7 && l.cursor > 0 && before == "" {
				t.Fatalf("room %d, cursor %d: nothing is shown before it", room, l.cursor)
			}
			if l.cursor == len(text) {
				break
			}
			l.cursor = l.after()
		}
	}
}

func TestBesideIsAtTheRightEdge(t *testing.T) {
	for _, c := range []struct {
		text, end string
		want      string
	}{
		{"short", "41 µs", "short                     41 µs\n"},
		{"日本", "41 µs", "日本                      41 µs\n"},
		{"\x1b[32mshort\x1b[m", "41 µs", "\x1b[32mshort\x1b[m                     41 µs\n"},
		{strings.Repeat("x", 24), "41 µs", strings.Repeat("x", 24) + "  41 µs\n"},
		{strings.Repeat("x", 25), "41 µs", strings.Repeat("x", 25) + "\n" + strings.Repeat(" ", 26) + "41 µs\n"},
		{strings.Repeat("x", 31), "41 µs", strings.Repeat("x", 31) + "\n" + strings.Repeat(" ", 26) + "41 µs\n"},
		{strings.Repeat("x", 33), "41 µs", strings.Repeat("x", 33) + strings.Repeat(" ", 24) + "41 µs\n"},
		{strings.Repeat("x", 30) + "日", "41 µs", strings.Repeat("x", 30) + "日" + strings.Repeat(" ", 24) + "41 µs\n"},
	} {
		if got := string(appendBeside(nil, c.text, c.end, 31)); got != c.want {
			t.Errorf("%q:\n%q, want\n%q", c.text, got, c.want)
		}
	}
}

// However long a line is, painting it looks at what is near the cursor only.
func TestLongLineIsPaintedQuickly(t *testing.T) {
	text := bytes.Repeat([]byte("é"), 1<<20)
	var before, after string
	allocations := testing.AllocsPerRun(1, func() { before, after = window(text, len(text), 79, plain) })
	if want := strings.Repeat("é", 79); before != want || after != "" {
		t.Errorf("shown is %q and %q, want %q", before, after, want)
	}
	if allocations > 20_000 {
		t.Errorf("it took %v allocations", allocations)
	}
}
