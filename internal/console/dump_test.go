package console_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/console"
)

func TestDump(t *testing.T) {
	got := string(console.AppendDump(nil, "> ", []byte("0123456789abcdef\x00\x1b[2J\xff~\x7f"), 0))
	want := `> 00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|
> 00000010  00 1b 5b 32 4a ff 7e 7f                           |..[2J.~.|
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestDumpFits(t *testing.T) {
	for columns := 20; columns < 100; columns++ {
		for line := range strings.Lines(string(console.AppendDump(nil, "", bytes.Repeat([]byte("x"), 40), columns))) {
			if len(line)-1 > columns {
				t.Errorf("a line of a dump for %d columns has %d: %q", columns, len(line)-1, line)
			}
		}
	}
}

func TestDumpIsCut(t *testing.T) {
	for size, last := range map[int]string{4095: "|xxxxxxxxxxxxxxx|\n", 4096: "|xxxxxxxxxxxxxxxx|\n", 4097: "…(4097 bytes)\n"} {
		got := string(console.AppendDump(nil, "", bytes.Repeat([]byte("x"), size), 0))
		if !strings.HasSuffix(got, last) || strings.Count(got, "\n") > 257 {
			t.Errorf("a dump of %d bytes ends in %q, want %q", size, got[max(0, len(got)-30):], last)
		}
	}
}
