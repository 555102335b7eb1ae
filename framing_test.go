package parley

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// readAll takes the messages of a stream that comes in pieces of the given size.
func readAll(t testing.TB, framing Framing, max, piece int, stream []byte) (bodies []string, rest int, err error) {
	t.Helper()
	var buf []byte
	scanned := 0
	for eof := false; ; {
		n, body, err := framing.Next(buf, scanned, max, eof)
		switch {
		case err != nil:
			return bodies, len(buf), err
		case n > 0:
			if len(body) > max {
				t.Fatalf("a body of %d bytes, over the limit of %d", len(body), max)
			}
			bodies = append(bodies, string(body))
			buf, scanned = buf[n:], 0
			continue
		case eof:
			return bodies, len(buf), nil
		}
		scanned = len(buf)
		k := min(piece, len(stream))
		buf, stream = append(buf, stream[:k]...), stream[k:]
		eof = k == 0
	}
}

func TestFramingsFindTheirMessages(t *testing.T) {
	nul := Delimited(0)
	for _, c := range []struct {
		name    string
		framing Framing
		stream  string
		want    []string
		rest    int
	}{
		{"LF", Lines, "a\nb\n", []string{"a", "b"}, 0},
		{"CRLF is the same", Lines, "a\r\nb\r\n", []string{"a", "b"}, 0},
		{"both, mixed", Lines, "a\r\nb\nc\r\n", []string{"a", "b", "c"}, 0},
		{"a lone CR is data", Lines, "a\rb\n\r\r\n", []string{"a\rb", "\r"}, 0},
		{"blank lines", Lines, "\n\r\n\n", []string{"", "", ""}, 0},
		{"the last line needs no LF", Lines, "a\nb", []string{"a", "b"}, 0},
		{"a CR before the end of file is data", Lines, "a\r", []string{"a\r"}, 0},
		{"any other byte is data", Lines, "\x00\xff\xfe\xc0\x80\n", []string{"\x00\xff\xfe\xc0\x80"}, 0},
		{"NUL", nul, "a\x00\n\x00\x00b", []string{"a", "\n", "", "b"}, 0},
		{"length", LengthPrefixed, "\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01\n", []string{"ab", "", "\n"}, 0},
		{"length, cut in the body", LengthPrefixed, "\x00\x00\x00\x02a", nil, 5},
		{"length, cut in the header", LengthPrefixed, "\x00\x00\x00", nil, 3},
		{"nothing", Lines, "", nil, 0},
	} {
		for _, piece := range []int{1, 2, 3, 1000} {
			got, rest, err := readAll(t, c.framing, 100, piece, []byte(c.stream))
			if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) || rest != c.rest || err != nil {
				t.Errorf("%s, %d bytes a read: %q, %d left, %v; want %q, %d left", c.name, piece, got, rest, err, c.want, c.rest)
			}
		}
	}
}

func TestChunksDropOneEnding(t *testing.T) {
	for read, want := range map[string]string{"a": "a", "a\n": "a", "a\r\n": "a", "a\n\n": "a\n", "a\r": "a\r", "\n": "", "a\nb": "a\nb"} {
		n, body, err := Chunks.Next([]byte(read), 0, 10, false)
		if n != len(read) || string(body) != want || err != nil {
			t.Errorf("Next(%q) = %d, %q, %v; want %d, %q", read, n, body, err, len(read), want)
		}
	}
}

func TestFramingsHoldTheLimit(t *testing.T) {
	const max = 64
	message := func(framing Framing, n int) []byte {
		return appendMessage(nil, framing, bytes.Repeat([]byte("x"), n))
	}
	for name, framing := range map[string]Framing{"lines": Lines, "crlf": LinesCRLF, "delimited": Delimited(';'), "length": LengthPrefixed} {
		for n, want := range map[int]error{max - 1: nil, max: nil, max + 1: ErrTooLong} {
			for _, piece := range []int{1, 7, 1000} {
				got, _, err := readAll(t, framing, max, piece, message(framing, n))
				if err != want || err == nil && (len(got) != 1 || len(got[0]) != n) {
					t.Errorf("%s, %d bytes in reads of %d: %d messages, %v; want %v", name, n, piece, len(got), err, want)
				}
			}
		}
	}
	// Without an ending the limit is passed at the first byte too many, not at the end.
	for name, framing := range map[string]Framing{"lines": Lines, "delimited": Delimited(';')} {
		if _, _, err := framing.Next(make([]byte, max+1), 0, max, false); err != ErrTooLong {
			t.Errorf("%s: %v for max+1 bytes without an ending, want ErrTooLong", name, err)
		}
	}
	// A CR at the limit may be half of the ending.
	if n, _, err := Lines.Next(append(make([]byte, max), '\r'), 0, max, false); n != 0 || err != nil {
		t.Errorf("max bytes and a CR: %d, %v; want to wait for the LF", n, err)
	}
	if _, _, err := Lines.Next(append(make([]byte, max), '\r'), 0, max, true); err != ErrTooLong {
		t.Errorf("max bytes and a CR at end of file: %v, want ErrTooLong", err)
	}
}

func TestLengthIsRefusedByItsHeader(t *testing.T) {
	for _, n := range []uint32{65, 1 << 31, 1<<32 - 1} {
		header := binary.BigEndian.AppendUint32(nil, n)
		allocs := testing.AllocsPerRun(10, func() {
			if _, _, err := LengthPrefixed.Next(header, 0, 64, false); err != ErrTooLong {
				t.Errorf("a length of %d: %v, want ErrTooLong", n, err)
			}
		})
		if allocs != 0 {
			t.Errorf("a length of %d made %v allocations, want none", n, allocs)
		}
	}
}

func TestEndRefusesItsOwnEnding(t *testing.T) {
	for _, c := range []struct {
		framing Framing
		body    string
		ok      bool
	}{
		{Lines, "a\nb", false}, {Lines, "a\r", true}, {LinesCRLF, "\n", false}, {Lines, "", true},
		{Delimited(0), "a\x00", false}, {Delimited(0), "a\n", true},
		{Chunks, "a\nb\n", true}, {LengthPrefixed, "a\nb\x00", true},
	} {
		_, err := c.framing.End(append(c.framing.Begin(nil), c.body...), 0)
		if (err == nil) != c.ok {
			t.Errorf("%T.End(%q) = %v, want ok %v", c.framing, c.body, err, c.ok)
		}
	}
}

// countingReader is a Framing that counts how many bytes a search looks at.
type countingFraming struct {
	Framing
	looked int
}

func (f *countingFraming) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	f.looked += len(buf) - scanned
	return f.Framing.Next(buf, scanned, max, eof)
}

func TestOneByteDripIsNotSearchedTwice(t *testing.T) {
	const n = 64 << 10
	framing := &countingFraming{Framing: Lines}
	c, out := newTestConversation(&settings{framing: framing, maxRequest: n, handler: echo}), new(writeBuffer)
	var in []byte
	for range n {
		in = append(in, 'x')
		c.answer(c.handler, out, in, false)
	}
	c.answer(c.handler, out, append(in, '\n'), false)
	if len(out.buf) != n+1 || framing.looked > 2*n {
		t.Errorf("%d bytes looked at for a line of %d and a reply of %d, want each once", framing.looked, n, len(out.buf))
	}
}

func fuzzFraming(f *testing.F, framing Framing, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed), uint8(3), uint8(20))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece, max uint8) {
		whole, restWhole, errWhole := readAll(t, framing, int(max), len(stream)+1, stream)
		split, restSplit, errSplit := readAll(t, framing, int(max), int(piece)+1, stream)
		if strings.Join(whole, "\x00|") != strings.Join(split, "\x00|") || !errors.Is(errSplit, errWhole) {
			t.Errorf("at once %q, %v; split %q, %v", whole, errWhole, split, errSplit)
		}
		if errWhole == nil && restWhole != restSplit {
			t.Errorf("%d bytes are left at once, %d when split", restWhole, restSplit)
		}
		// Writing what was read and reading it again is the identity.
		var again []byte
		for _, body := range whole {
			var err error
			start := len(again)
			if again, err = framing.End(append(framing.Begin(again), body...), start); err != nil {
				t.Fatalf("a body that was read cannot be written: %q: %v", body, err)
			}
		}
		back, _, err := readAll(t, framing, int(max)+1, len(again)+1, again)
		if strings.Join(back, "\x00|") != strings.Join(withoutLastCR(framing, whole), "\x00|") || err != nil {
			t.Errorf("%q came back as %q, %v", whole, back, err)
		}
	})
}

// withoutLastCR: a body that ends in CR cannot survive lines that end with LF alone,
// since CRLF is an ending too.
func withoutLastCR(framing Framing, bodies []string) []string {
	if framing != Lines {
		return bodies
	}
	cut := make([]string, len(bodies))
	for i, body := range bodies {
		cut[i] = strings.TrimSuffix(body, "\r")
	}
	return cut
}

func FuzzLines(f *testing.F)     { fuzzFraming(f, Lines, "a\nb\r\nc", "\r\r\n\n\r", "x\r") }
func FuzzLinesCRLF(f *testing.F) { fuzzFraming(f, LinesCRLF, "a\nb\r\nc", "\r\r\n\n\r") }
func FuzzDelimited(f *testing.F) { fuzzFraming(f, Delimited(';'), "a;b;;c") }
func FuzzLengthPrefixed(f *testing.F) {
	fuzzFraming(f, LengthPrefixed, "\x00\x00\x00\x01a\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x05ab")
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\n"))
	f.Fuzz(func(t *testing.T, read []byte) {
		n, body, err := Chunks.Next(read, 0, len(read), false)
		if n != len(read) || err != nil || !bytes.HasPrefix(read, body) || len(read)-len(body) > 2 {
			t.Errorf("Next(%q) = %d, %q, %v", read, n, body, err)
		}
	})
}
