package parley

import (
	"bytes"
	"errors"
	"math"
	"strconv"
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
		case err == ErrStray && 0 < n && n <= len(buf):
			buf, scanned = buf[n:], 0
			continue
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
		{"length of 1 byte", Length{Bytes: 1}, "\x02ab\x00\x01c", []string{"ab", "", "c"}, 0},
		{"length of 2 bytes", Length{Bytes: 2}, "\x00\x02ab\x00\x40", []string{"ab"}, 2},
		{"length, little-endian", Length{Bytes: 2, Little: true}, "\x02\x00ab", []string{"ab"}, 0},
		{"length of 8 bytes", Length{Bytes: 8}, "\x00\x00\x00\x00\x00\x00\x00\x01a", []string{"a"}, 0},
		{"length of 8 bytes, little-endian", Length{Bytes: 8, Little: true}, "\x01\x00\x00\x00\x00\x00\x00\x00a", []string{"a"}, 0},
		{"length that counts itself", Length{Bytes: 2, Inclusive: true}, "\x00\x04ab\x00\x02", []string{"ab", ""}, 0},
		{"length, the zero value", Length{}, "\x00\x00\x00\x01a", []string{"a"}, 0},
		{"several bytes", Delimited('\r', '\n', '\r', '\n'), "a\r\nb\r\n\r\n\r\n\r\nc\r\n", []string{"a\r\nb", "", "c\r\n"}, 0},
		{"bytes that repeat", Delimited('a', 'a', 'b'), "aaab|ab", []string{"a", "|ab"}, 0},
		{"framed", Framed([]byte("<<"), []byte(">>")), "<<a>><<<>b>><<>>", []string{"a", "<>b", ""}, 0},
		{"framed, with bytes outside", Framed([]byte("<<"), []byte(">>")), "x<a<<b>>\r\n>><<<>>y", []string{"b", "<"}, 0},
		{"framed, cut in the body", Framed([]byte("<<"), []byte(">>")), "<<a>", nil, 4},
		{"framed, cut in the start", Framed([]byte("<<"), []byte(">>")), "<<a>>x<", []string{"a"}, 1},
		{"framed, an end that is in the start", Framed([]byte("ab"), []byte("b")), "abb", []string{""}, 0},
		{"MLLP", Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), "\x0bMSH\x1c\x1c\r\n\x0bPID\r\x1c\r", []string{"MSH\x1c", "PID\r"}, 0},
		{"octets", OctetCounted, "1 a12 <1>b\nc 3 d e2", []string{"a", "<1>b\nc 3 d e"}, 1},
		{"octets, cut in the body", OctetCounted, "3 ab", nil, 4},
		{"netstring", Netstring, "5:hello,0:,2:,:,", []string{"hello", "", ",:"}, 0},
		{"netstring, cut before its comma", Netstring, "5:hello", nil, 7},
		{"until close", UntilClose, "a\nb", []string{"a\nb"}, 0},
		{"no replies", NoReplies, "a\nb", nil, 0},
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
	for name, framing := range allFramings {
		if framing == Chunks || framing == NoReplies {
			continue
		}
		for n, want := range map[int]error{max - 1: nil, max: nil, max + 1: ErrTooLong} {
			for _, piece := range []int{1, 7, 1000} {
				got, _, err := readAll(t, framing, max, piece, message(framing, n))
				if err != want || err == nil && (len(got) != 1 || len(got[0]) != n) {
					t.Errorf("%s, %d bytes in reads of %d: %d messages, %v; want %v", name, n, piece, len(got), err, want)
				}
			}
		}
	}
	// Without an ending the limit is passed at the first byte too many, not at the end. What may
	// be the beginning of the ending does not count.
	for name, c := range map[string]struct {
		framing    Framing
		start, end string
	}{
		"lines": {Lines, "", "\r"}, "delimited": {Delimited(';'), "", ""}, "delimited by several": {Delimited('a', 'a', 'b'), "", "aa"},
		"framed": {Framed([]byte("<"), []byte(">>")), "<", ">"}, "until close": {UntilClose, "", ""},
	} {
		atLimit := append([]byte(c.start), make([]byte, max)...)
		if n, _, err := c.framing.Next(append(atLimit, c.end...), 0, max, false); n != 0 || err != nil {
			t.Errorf("%s: %d, %v for max bytes without their ending, want to wait for it", name, n, err)
		}
		if _, _, err := c.framing.Next(append(atLimit, 0), 0, max, false); err != ErrTooLong {
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

// allFramings are those of the package, and some that can be made with it.
var allFramings = map[string]Framing{
	"line": Lines, "crlf": LinesCRLF, "chunk": Chunks, "delim": Delimited(';'), "delim of two": Delimited('\r', '\n'),
	"delim that repeats": Delimited('a', 'a', 'b'), "length": LengthPrefixed, "length:1": Length{Bytes: 1}, "length:2le": Length{Bytes: 2, Little: true},
	"length:8": Length{Bytes: 8}, "length:4leincl": Length{Little: true, Inclusive: true}, "length:8incl": Length{Bytes: 8, Inclusive: true},
	"frame": Framed([]byte("<<"), []byte(">>")), "mllp": Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), "stx": Framed([]byte{2}, []byte{3}),
	"octets": OctetCounted, "netstring": Netstring, "close": UntilClose, "none": NoReplies,
}

// A length over the limit is refused as soon as it is known, and costs nothing.
func TestLengthIsRefusedByItsHeader(t *testing.T) {
	forty := strings.Repeat("9", 40)
	for _, c := range []struct {
		name    string
		framing Framing
		header  string // at its last byte it is known
		max     int
	}{
		{"65", LengthPrefixed, "\x00\x00\x00\x41", 64},
		{"2 GiB", LengthPrefixed, "\x80\x00\x00\x00", 64},
		{"4 GiB - 1", LengthPrefixed, "\xff\xff\xff\xff", 64},
		{"256 in a byte more", Length{Bytes: 2, Little: true}, "\x00\x01", 255},
		{"2^63", Length{Bytes: 8}, "\x80\x00\x00\x00\x00\x00\x00\x00", math.MaxInt},
		{"2^64 - 1", Length{Bytes: 8, Little: true}, "\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxInt},
		{"2^64 - 1 with its own", Length{Bytes: 8, Inclusive: true}, "\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxInt},
		{"65 with its own", Length{Inclusive: true}, "\x00\x00\x00\x45", 64},
		{"octets of two digits", OctetCounted, "65", 64},
		{"octets of three digits", OctetCounted, "640", 64},
		{"octets of many digits", OctetCounted, forty[:2], 64},
		{"octets of 19 digits and no limit", OctetCounted, forty[:19], math.MaxInt},
		{"octets one over the largest number", OctetCounted, "9223372036854775808", math.MaxInt},
		{"a digit over the limit", Netstring, "7", 6},
		{"a netstring of many digits", Netstring, forty[:2], 64},
	} {
		if strconv.IntSize == 32 && c.max == math.MaxInt {
			continue
		}
		before := []byte(c.header[:len(c.header)-1])
		if n, _, err := c.framing.Next(before, 0, c.max, false); n != 0 || err != nil {
			t.Errorf("%s: %d, %v before the byte that says it", c.name, n, err)
		}
		header := []byte(c.header)
		allocs := testing.AllocsPerRun(10, func() {
			if _, _, err := c.framing.Next(header, 0, c.max, false); err != ErrTooLong {
				t.Errorf("%s: %v, want ErrTooLong", c.name, err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s made %v allocations, want none", c.name, allocs)
		}
	}
}

// What can be no message is found at its first byte that shows so, and not before.
func TestFramingsRefuseWhatCanBeNoMessage(t *testing.T) {
	for _, c := range []struct {
		framing Framing
		stream  string // at its last byte it is known
	}{
		{Length{Bytes: 1, Inclusive: true}, "\x00"},
		{Length{Bytes: 2, Inclusive: true}, "\x00\x01"},
		{Length{Inclusive: true}, "\x00\x00\x00\x03"},
		{Length{Bytes: 8, Little: true, Inclusive: true}, "\x07\x00\x00\x00\x00\x00\x00\x00"},
		{OctetCounted, "<"}, {OctetCounted, " "}, {OctetCounted, "0"}, {OctetCounted, "12x"}, {OctetCounted, "+"},
		{Netstring, "x"}, {Netstring, ":"}, {Netstring, "00"}, {Netstring, "01"}, {Netstring, "5 "},
		{Netstring, "5:hello;"}, {Netstring, "0:x"},
	} {
		for n := range len(c.stream) {
			if n, _, err := c.framing.Next([]byte(c.stream[:n]), 0, 64, false); n != 0 || err != nil {
				t.Errorf("%T: %q is %d, %v; want to wait", c.framing, c.stream[:n], n, err)
			}
		}
		for _, eof := range []bool{false, true} {
			if n, _, err := c.framing.Next([]byte(c.stream), 0, 64, eof); n != 0 || !errors.Is(err, ErrMalformed) {
				t.Errorf("%T: %q is %d, %v; want ErrMalformed", c.framing, c.stream, n, err)
			}
		}
	}
}

// Bytes outside of a frame are told one after the other, and each once.
func TestFramedTellsWhatIsOutside(t *testing.T) {
	framing := Framed([]byte("<<"), []byte(">>"))
	for _, c := range []struct {
		buf string
		n   int
		err error
	}{
		{"", 0, nil}, {"<", 0, nil}, {"x", 1, ErrStray}, {"x<", 1, ErrStray}, {"xx<<", 2, ErrStray}, {"<x", 2, ErrStray},
		{"<x<", 2, ErrStray}, {">><<a>>", 2, ErrStray}, {"<<a>>x", 5, nil},
	} {
		if n, _, err := framing.Next([]byte(c.buf), 0, 64, false); n != c.n || err != c.err {
			t.Errorf("Next(%q) = %d, %v; want %d, %v", c.buf, n, err, c.n, c.err)
		}
	}
}

// A Framing is compared with Chunks, UntilClose and NoReplies.
func TestFramingsCanBeCompared(t *testing.T) {
	for name, framing := range allFramings {
		for other, another := range allFramings {
			if (framing == another) != (name == other) {
				t.Errorf("%s == %s is %v", name, other, framing == another)
			}
		}
	}
	if Delimited(1, 2) != Delimited(1, 2) || Framed([]byte{1}, []byte{2}) != Framed([]byte{1}, []byte{2}) {
		t.Error("a framing that is made twice is not the same")
	}
}

func TestFramingsWithoutAnEndAreRefused(t *testing.T) {
	for name, make := range map[string]func(){
		"Delimited": func() { Delimited() }, "Framed without a start": func() { Framed(nil, []byte{1}) }, "Framed without an end": func() { Framed([]byte{1}, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			make()
		}()
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
		{Delimited('\r', '\n'), "a\r", true}, {Delimited('\r', '\n'), "a\n\r", true}, {Delimited('\r', '\n'), "a\r\nb", false},
		{Delimited('a', 'a', 'b'), "xaab", false}, {Delimited('a', 'a', 'b'), "xa", true}, {Delimited('a', 'b', 'a'), "xab", false},
		{Delimited('\r', '\n', '\r', '\n'), "a\r\n", false}, {Delimited('\r', '\n', '\r', '\n'), "a\r", true},
		{Framed([]byte("<<"), []byte(">>")), "<<", true}, {Framed([]byte("<<"), []byte(">>")), "a>>", false},
		{Framed([]byte("<<"), []byte(">>")), "a>", false}, {Framed([]byte("ab"), []byte("b")), "", true},
		{Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), "a\x1c", true}, {Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), "a\x1c\x0d", false},
		{Length{Bytes: 1}, strings.Repeat("x", 255), true}, {Length{Bytes: 1}, strings.Repeat("x", 256), false},
		{Length{Bytes: 1, Inclusive: true}, strings.Repeat("x", 254), true}, {Length{Bytes: 1, Inclusive: true}, strings.Repeat("x", 255), false},
		{Length{Bytes: 2}, strings.Repeat("x", 1<<16-1), true}, {Length{Bytes: 2, Little: true}, strings.Repeat("x", 1<<16), false},
		{Length{Bytes: 8}, "", true}, {OctetCounted, "1 ", true}, {OctetCounted, "", false}, {Netstring, ",", true}, {Netstring, "", true},
		{UntilClose, "a\nb", true}, {NoReplies, "", false},
	} {
		_, err := c.framing.End(append(c.framing.Begin(nil), c.body...), 0)
		if (err == nil) != c.ok {
			t.Errorf("%#v.End(%.20q, %d bytes) = %v, want ok %v", c.framing, c.body, len(c.body), err, c.ok)
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
	for _, ending := range []string{"\n", "\r\n\r\n"} {
		framing := &countingFraming{Framing: Lines}
		if len(ending) > 1 {
			framing.Framing = Delimited([]byte(ending)...)
		}
		c, out := newTestConversation(&settings{framing: framing, maxRequest: n, handler: echo}), new(writeBuffer)
		var in []byte
		for range n {
			in = append(in, 'x')
			c.answer(c.handler, out, in, false)
		}
		c.answer(c.handler, out, append(in, ending...), false)
		if len(out.buf) != n+len(ending) || framing.looked > 2*n {
			t.Errorf("%d bytes looked at for a message of %d and a reply of %d, want each once", framing.looked, n, len(out.buf))
		}
	}
}

// What was looked at is not looked at again, but for what may be a part of the ending: that is
// found however it is split.
func TestEndingsAreFoundWhereverTheyAreSplit(t *testing.T) {
	end := "aabaa"
	for name, c := range map[string]struct {
		framing Framing
		start   string
	}{"delimited": {Delimited([]byte(end)...), ""}, "framed": {Framed([]byte("aab"), []byte(end)), "aab"}} {
		for _, body := range []string{"", "x", "xaa", "xa", "xaab", "xaabxaa", "aaxab", strings.Repeat("x", 50)} {
			whole := appendMessage(nil, c.framing, []byte(body))
			if len(whole) == 0 {
				continue // with the end behind it it would end sooner
			}
			for n := range len(whole) {
				if got, _, err := c.framing.Next(whole[:n], 0, 64, false); got != 0 || err != nil {
					t.Errorf("%s: %q is %d, %v; want to wait", name, whole[:n], got, err)
				}
				got, text, err := c.framing.Next(whole, n, 64, false)
				if got != len(whole) || string(text) != body || err != nil {
					t.Errorf("%s: %q split at %d is %q, %v", name, whole, n, text, err)
				}
			}
		}
		// The end is not looked for where it was looked for: one that is there is not found.
		buf := []byte(c.start + end + strings.Repeat("x", 20))
		if n, _, _ := c.framing.Next(buf, len(buf), 64, false); n != 0 {
			t.Errorf("%s: what was scanned is scanned again", name)
		}
	}
}

func fuzzFraming(f *testing.F, framing Framing, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed), uint8(3), uint8(20))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece, max uint8) {
		whole, restWhole, errWhole := readAll(t, framing, int(max), len(stream)+1, stream)
		split, restSplit, errSplit := readAll(t, framing, int(max), int(piece)+1, stream)
		if strings.Join(whole, "\x00|") != strings.Join(split, "\x00|") || kindOf(errSplit) != kindOf(errWhole) {
			t.Errorf("at once %q, %v; split %q, %v", whole, errWhole, split, errSplit)
		}
		if errWhole == nil && restWhole != restSplit {
			t.Errorf("%d bytes are left at once, %d when split", restWhole, restSplit)
		}
		// Writing what was read and reading it again is the identity.
		var again []byte
		for i, body := range whole {
			start := len(again)
			message, err := framing.End(append(framing.Begin(again), body...), start)
			if err != nil && i == len(whole)-1 && countsUnfinished(framing) {
				whole = whole[:i] // it had no ending, and would get one too early
				break
			}
			if err != nil {
				t.Fatalf("a body that was read cannot be written: %q: %v", body, err)
			}
			again = message
		}
		back, _, err := readAll(t, framing, int(max)+1, len(again)+1, again)
		if strings.Join(back, "\x00|") != strings.Join(withoutLastCR(framing, whole), "\x00|") || err != nil {
			t.Errorf("%q came back as %q, %v", whole, back, err)
		}
		fuzzSkip(t, framing, int(piece)+1, stream)
	})
}

// kindOf is which of the framings' errors one is.
func kindOf(err error) error {
	for _, kind := range []error{ErrTooLong, ErrMalformed} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// countsUnfinished reports whether a message without its ending, of several bytes, counts.
func countsUnfinished(framing Framing) bool {
	d, ok := framing.(delimited)
	return ok && len(d.end) > 1
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

// fuzzSkip: the messages of a stream that are skipped are where Next finds them.
func fuzzSkip(t *testing.T, framing Framing, piece int, stream []byte) {
	t.Helper()
	for len(stream) > 0 {
		n, body, err := framing.Next(stream, 0, math.MaxInt, true)
		if err == ErrStray {
			stream = stream[n:]
			continue
		}
		skipped, of, done, skipErr := skipAll(t, framing, piece, stream)
		switch {
		case err != nil:
			if done || errors.Is(err, ErrMalformed) && !errors.Is(skipErr, ErrMalformed) {
				t.Errorf("%q is %v, skipped it is %v", stream, err, skipErr)
			}
			return
		case n == 0:
			if done || skipErr != nil {
				t.Errorf("%q has no end, and one when skipped, or %v", stream, skipErr)
			}
			return
		case skipErr != nil || !done || skipped != n || of != len(body):
			t.Fatalf("%q: %d bytes are skipped of a message of %d, %d for a body of %d; the end %v, %v", stream, skipped, n, of, len(body), done, skipErr)
		}
		stream = stream[n:]
	}
}

// skipAll skips the message at the start of a stream that comes in pieces, and says how long it
// was and its body.
func skipAll(t *testing.T, framing Framing, piece int, stream []byte) (skipped, body int, done bool, err error) {
	t.Helper()
	skip := framing.(Skipper).Skip()
	var buf []byte
	for eof := false; ; {
		n, head, tail, done, err := skip(buf, eof)
		if n < head+tail || n > len(buf) || head < 0 || tail < 0 {
			t.Fatalf("of %q are done %d, framing %d and %d", buf, n, head, tail)
		}
		skipped, body, buf = skipped+n, body+n-head-tail, buf[n:]
		if done || err != nil || eof {
			return skipped, body, done, err
		}
		k := min(piece, len(stream))
		buf, stream = append(buf, stream[:k]...), stream[k:]
		eof = k == 0
	}
}

// A message that is skipped ends where it would end, and what is counted is its body, however
// it comes.
func TestSkipFindsTheEndThatNextFinds(t *testing.T) {
	for name, framing := range allFramings {
		if framing == Chunks || framing == NoReplies {
			continue
		}
		for _, body := range []string{"x", "x\r", "\r\r", "aa", "<<a>x", "x\x1c\x1c", strings.Repeat("xaa\r<>", 60)[:254]} {
			message := appendMessage(nil, framing, []byte(body))
			if len(message) == 0 {
				continue // it cannot carry that
			}
			for _, behind := range []string{"", "<<more", "\n", "1 x"} {
				stream := append(bytes.Clone(message), behind...)
				for piece := 1; piece <= len(stream); piece++ {
					fuzzSkip(t, framing, piece, stream)
				}
			}
			skipped, n, done, err := skipAll(t, framing, 7, message)
			if framing == Lines {
				n += len(body) - len(strings.TrimSuffix(body, "\r"))
			}
			if skipped != len(message) || n != len(body) || !done || err != nil {
				t.Errorf("%s: %d of %d bytes of %.20q are skipped, %d of its body; the end %v, %v", name, skipped, len(message), message, n, done, err)
			}
		}
	}
	n, head, tail, done, err := Chunks.(Skipper).Skip()([]byte("ab\r\n"), false)
	if n != 4 || head != 0 || tail != 2 || !done || err != nil {
		t.Errorf("a chunk: %d, %d, %d, %v, %v", n, head, tail, done, err)
	}
	if n, _, _, _, err := NoReplies.(Skipper).Skip()([]byte("ab"), false); n != 2 || err != ErrStray {
		t.Errorf("where nothing should come: %d, %v; want ErrStray", n, err)
	}
	// What no memory holds is counted down all the same, and what no number can say is no length.
	skip := Length{Bytes: 8}.Skip()
	if n, head, _, done, err := skip([]byte("\x80\x00\x00\x00\x00\x00\x00\x00abc"), false); n != 11 || head != 8 || done || err != nil {
		t.Errorf("2^63 bytes: %d, %d, %v, %v", n, head, done, err)
	}
	if _, _, _, _, err := OctetCounted.(Skipper).Skip()([]byte(strings.Repeat("9", 40)), false); !errors.Is(err, ErrMalformed) {
		t.Errorf("a count of 40 digits: %v, want ErrMalformed", err)
	}
}

func FuzzLines(f *testing.F)     { fuzzFraming(f, Lines, "a\nb\r\nc", "\r\r\n\n\r", "x\r") }
func FuzzLinesCRLF(f *testing.F) { fuzzFraming(f, LinesCRLF, "a\nb\r\nc", "\r\r\n\n\r") }
func FuzzDelimited(f *testing.F) { fuzzFraming(f, Delimited(';'), "a;b;;c") }
func FuzzDelimitedBySeveral(f *testing.F) {
	fuzzFraming(f, Delimited('a', 'a', 'b'), "aaab|ab", "aabaab", "xaa")
}
func FuzzDelimitedByItself(f *testing.F) { // of which a part may overlap another
	fuzzFraming(f, Delimited('\r', '\n', '\r', '\n'), "a\r\nb\r\n\r\n\r\n\r\nc\r\n", "\r\n\r\r\n\r\n")
}
func FuzzLengthPrefixed(f *testing.F) {
	fuzzFraming(f, LengthPrefixed, "\x00\x00\x00\x01a\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x05ab")
}
func FuzzLengthOfOne(f *testing.F) { fuzzFraming(f, Length{Bytes: 1}, "\x01a\x00", "\xff") }
func FuzzLengthOfTwo(f *testing.F) {
	fuzzFraming(f, Length{Bytes: 2, Little: true, Inclusive: true}, "\x03\x00a\x02\x00", "\x01\x00")
}
func FuzzLengthOfEight(f *testing.F) {
	fuzzFraming(f, Length{Bytes: 8}, "\x00\x00\x00\x00\x00\x00\x00\x01a", "\x80\x00\x00\x00\x00\x00\x00\x00")
}
func FuzzFramed(f *testing.F) {
	fuzzFraming(f, Framed([]byte("<<"), []byte(">>")), "x<a<<b>>\r\n>><<<>>y", "<<<<>>>>>", "<<a>")
}
func FuzzFramedByOverlaps(f *testing.F) {
	fuzzFraming(f, Framed([]byte("aab"), []byte("aba")), "aabaabaabxaba", "aaaabababa")
}
func FuzzOctetCounted(f *testing.F) {
	fuzzFraming(f, OctetCounted, "1 a12 <1>b\nc 3 d e", "0 ", "99999999999999999999999999999999999999999 ")
}
func FuzzNetstring(f *testing.F) {
	fuzzFraming(f, Netstring, "5:hello,0:,2:,:,", "00:", "1:a;", "99999999999999999999999999999999999999999:")
}
func FuzzUntilClose(f *testing.F) { fuzzFraming(f, UntilClose, "a\nb") }

func FuzzChunks(f *testing.F) {
	f.Add([]byte("a\r\n"))
	f.Fuzz(func(t *testing.T, read []byte) {
		n, body, err := Chunks.Next(read, 0, len(read), false)
		if n != len(read) || err != nil || !bytes.HasPrefix(read, body) || len(read)-len(body) > 2 {
			t.Errorf("Next(%q) = %d, %q, %v", read, n, body, err)
		}
		skipped, _, tail, done, err := Chunks.(Skipper).Skip()(read, false)
		if skipped != n || n-tail != len(body) || !done || err != nil {
			t.Errorf("%q: %d bytes are skipped, %d at the end, %v", read, skipped, tail, err)
		}
	})
}
