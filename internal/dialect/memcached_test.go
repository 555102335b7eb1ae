package dialect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

func TestMemcachedRepliesArePairedWithTheirCommands(t *testing.T) {
	for name, test := range map[string]struct{ dialogue, want []string }{
		"one by one": {
			[]string{">set k 0 60 5\r\nhello\r\n", "<STORED\r\n", ">get k nope\r\n", "<VALUE k 0 5\r\nhello\r\nEND\r\n", ">get nope\r\n", "<END\r\n",
				">gets k l\r\n", "<VALUE k 0 5 7\r\nhello\r\nVALUE l 1 5 8\r\nEND\r\n\r\nEND\r\n",
				">incr n 1\r\n", "<4\r\n", ">version\r\n", "<VERSION 1.6.18\r\n", ">touch k 1\r\n", "<TOUCHED\r\n", ">flush_all\n", "<OK\n"},
			[]string{"set k 0 60 [5 bytes] hello = STORED", "get k nope = VALUE k 0 [5 bytes] hello", "get nope = END",
				`gets k l = VALUE k 0 [5 bytes] 7 hello; VALUE l 1 [5 bytes] 8 END\r\n`,
				"incr n 1 = 4", "version = VERSION 1.6.18", "touch k 1 = TOUCHED", "flush_all = OK"},
		},
		"data that looks like commands": {
			[]string{">set k 0 0 7\r\nget a\r\n\r\nget k\r\n", "<STORED\r\nVALUE k 0 7\r\nget a\r\n\r\nEND\r\n"},
			[]string{`set k 0 0 [7 bytes] get a\r\n = STORED`, `get k = VALUE k 0 [7 bytes] get a\r\n`},
		},
		"large numbers": {
			[]string{">set k 4294967295 99999999999 2\r\nmn\r\nset k 0 -2147483649 +2\r\nmn\r\ncas k 0 0 2 18446744073709551615\r\nmn\r\nset k 0 0 2147483646\r\ncas k 0 0 2 18446744073709551616\r\nms k 2147483646\r\nset k -1 0 2\r\nms k +2\r\nmn\r\n",
				"<STORED\r\nSTORED\r\nNOT_FOUND\r\nCLIENT_ERROR x\r\nCLIENT_ERROR x\r\nCLIENT_ERROR x\r\nCLIENT_ERROR x\r\nHD\r\n"},
			[]string{"set k 4294967295 99999999999 [2 bytes] mn = STORED", "set k 0 -2147483649 [2 bytes] mn = STORED", "cas k 0 0 [2 bytes] 18446744073709551615 mn = NOT_FOUND",
				"set k 0 0 2147483646 = CLIENT_ERROR x", "cas k 0 0 2 18446744073709551616 = CLIENT_ERROR x", "ms k 2147483646 = CLIENT_ERROR x", "set k -1 0 2 = CLIENT_ERROR x", "ms k [2 bytes] mn = HD"},
		},
		"noreply": {
			[]string{">set a 0 0 1 noreply\r\nx\r\ncas a 0 0 1 7 noreply\r\ny\r\ndelete a noreply\r\nincr n 1 noreply\r\nflush_all noreply\r\nset k 0 0 noreply\r\nset k noreply\r\nget noreply\r\ndelete noreply\r\n",
				"<ERROR\r\nEND\r\nNOT_FOUND\r\n"},
			[]string{"set a 0 0 [1 bytes] noreply x", "cas a 0 0 [1 bytes] 7 noreply y", "delete a noreply", "incr n 1 noreply", "flush_all noreply",
				"set k 0 0 noreply", "set k noreply = ERROR", "get noreply = END", "delete noreply = NOT_FOUND"},
		},
		"errors in a batch": {
			[]string{">set k 0 0 3\r\nhello\r\nget k\r\nset k 0 0 -1\r\nget k\r\nbogus\r\nget k\r\nset k 0 0\r\n\r\nset " + strings.Repeat("k", 251) + " 0 0 2\r\nmn\r\ncas k 0 0 2 x\r\nmn\r\n",
				"<CLIENT_ERROR bad data chunk\r\nERROR\r\nEND\r\nCLIENT_ERROR bad command line format\r\nSERVER_ERROR out of memory\r\nERROR\r\nVALUE k 0 1\r\nx\r\nSERVER_ERROR out of memory\r\nERROR\r\nERROR\r\nCLIENT_ERROR x\r\nMN\r\nCLIENT_ERROR x\r\nMN\r\n"},
			[]string{"set k 0 0 [3 bytes] hel = CLIENT_ERROR bad data chunk", " = ERROR", "get k = END", "set k 0 0 -1 = CLIENT_ERROR bad command line format",
				"get k = SERVER_ERROR out of memory", "bogus = ERROR", "get k = VALUE k 0 [1 bytes] x; SERVER_ERROR out of memory", "set k 0 0 = ERROR", " = ERROR",
				"set " + strings.Repeat("k", 251) + " 0 0 2 = CLIENT_ERROR x", "mn = MN", "cas k 0 0 2 x = CLIENT_ERROR x", "mn = MN"},
		},
		"statistics": {
			[]string{">stats\r\nstats reset\r\nstats items\r\nstats cachedump 1 2\r\nlru_crawler metadump all\r\nlru_crawler mgdump all\r\nstats detail dump\r\n",
				"<STAT pid 1\r\nSTAT version 1.6.18\r\nEND\r\nRESET\r\nEND\r\nITEM a [1 b; 0 s]\r\nEND\r\nkey=a exp=-1\r\nkey=b exp=-1\r\nEND\r\nmg a\r\nmg b\r\nEN\r\nPREFIX a get 1\r\nEND\r\n"},
			[]string{"stats = STAT pid 1; STAT version 1.6.18", "stats reset = RESET", "stats items = END", "stats cachedump 1 2 = ITEM a [1 b; 0 s]",
				"lru_crawler metadump all = key=a exp=-1; key=b exp=-1", "lru_crawler mgdump all = mg a; mg b", "stats detail dump = PREFIX a get 1"},
		},
		"quit": {[]string{">quit\r\n"}, []string{"quit"}},
		"watch": {
			[]string{">watch fetchers\r\n", "<OK\r\n", "<ts=1.2 gid=1 type=item_get key=a\r\n", ">get a\r\n", "<ts=1.3 gid=2 type=item_get key=a\r\n"},
			[]string{"watch fetchers = OK", "= ts=1.2 gid=1 type=item_get key=a", "get a", "= ts=1.3 gid=2 type=item_get key=a"},
		},
		"commands behind a watch": {
			[]string{">watch fetchers\r\nget a\r\n", "<OK\r\nts=1.2 gid=1 type=item_get key=a\r\n"},
			[]string{"watch fetchers = OK", "get a = ?", "= ts=1.2 gid=1 type=item_get key=a"},
		},
		"a watch that is refused": {
			[]string{">watch x\r\nget a\r\n", "<ERROR\r\nEND\r\n"},
			[]string{"watch x = ERROR", "get a = END"},
		},
		"meta commands": {
			[]string{">mg k\r\nmg k v t\r\nmg nope\r\nms k 2 T60\r\nhi\r\nmd k\r\nma n\r\nma n v\r\nme k\r\nmn\r\n",
				"<HD\r\nVA 5 t60\r\nhello\r\nEN\r\nHD\r\nNF\r\nHD\r\nVA 1\r\n5\r\nME k exp=-1\r\nMN\r\n"},
			[]string{"mg k = HD", "mg k v t = VA [5 bytes] t60 hello", "mg nope = EN", "ms k [2 bytes] T60 hi = HD", "md k = NF", "ma n = HD",
				"ma n v = VA [1 bytes] 5", "me k = ME k exp=-1", "mn = MN"},
		},
		"quiet ones are answered by the no-op": {
			[]string{">mg a v q\r\nmg b v q\r\nms c 1 q\r\nx\r\nmn\r\nget k\r\n", "<VA 1\r\nA\r\nNS\r\nSERVER_ERROR busy\r\nMN\r\nEND\r\n"},
			[]string{"mg a v q", "mg b v q", "ms c [1 bytes] q x", "mn = MN", "get k = END", "= VA [1 bytes] A", "= NS", "= SERVER_ERROR busy"},
		},
		"quiet ones before others": {
			[]string{">mg a v q\r\nget k\r\n", "<VA 1\r\nA\r\nEND\r\n", ">mg a v q O1\r\nmg b v O2\r\nmd c q\r\nmg d v\r\n", "<VA 1 O1\r\nA\r\nVA 1 O2\r\nB\r\nNF O9\r\nHD\r\n",
				">md c q\r\nset d 0 0 1\r\nx\r\n", "<CLIENT_ERROR no\r\n"},
			[]string{"mg a v q", "get k = END", "= VA [1 bytes] A", "mg a v q O1", "mg b v O2 = VA [1 bytes] O2 B", "md c q", "mg d v = HD",
				"= VA [1 bytes] O1 A", "= NF O9", "md c q", "set d 0 0 [1 bytes] x = CLIENT_ERROR no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, memcached, test.dialogue, test.want...)
		})
	}
}

func TestMemcachedBreaches(t *testing.T) {
	for _, test := range []struct {
		of     side
		stream string
		broken bool
	}{
		{requests, "\x80\x00\x00\x03", true},
		{requests, "\x16\x03\x01", true},
		{requests, "set k 0 0 5\r\nhelloxx", false}, // an error that memcached tells
		{requests, "HTTP\r\n", false},
		{replies, "\x81\x00", true},
		{replies, "VALUE k 0 5\r\nhelloxx", true},
		{replies, "VALUE k 0 5\r\nhello\rx", true},
		{replies, "VALUE k 0 x\r\n", true},
		{replies, "VALUE k 0\r\n", true},
		{replies, "VALUE k 0 1\r\nx\r\nSTORED\r\n", true},
		{replies, "VA x\r\n", true},
		{replies, "VA\r\n", true},
		{replies, "VALUE k 0 99999999999\r\n", true},
	} {
		for _, piece := range []int{1, 1 << 20} {
			p := newPairing(memcached, piece, 1<<20)
			p.feed(test.of, []byte(test.stream))
			if err := p.sides[test.of].err; errors.Is(err, parley.ErrMalformed) != test.broken || (err != nil) != test.broken {
				t.Errorf("%q in pieces of %d: %v", test.stream, piece, err)
			}
		}
	}
}

func TestMemcachedLimits(t *testing.T) {
	for _, test := range []struct {
		of    side
		whole string
		early string // as much of it as it takes to know that it is too long
	}{
		{requests, "set k 0 0 100\r\n" + strings.Repeat("x", 100) + "\r\n", "set k 0 0 100\r\n"},
		{requests, "get " + strings.Repeat("x", 100) + "\r\n", ""},
		{replies, "VA 100\r\n" + strings.Repeat("x", 100) + "\r\n", "VA 100\r\n"},
		{replies, "VALUE k 0 100\r\n" + strings.Repeat("x", 100) + "\r\nEND\r\n", ""},
		{replies, "VERSION " + strings.Repeat("x", 100) + "\r\n", ""},
	} {
		next := func(stream string, limit int) (int, error) {
			n, _, err := newPairing(memcached, 1, 0).sides[test.of].framing.Next([]byte(stream), 0, limit, false)
			return n, err
		}
		size := len(test.whole)
		for _, limit := range []int{size, size + 1} {
			if n, err := next(test.whole, limit); n != size || err != nil {
				t.Errorf("%.20q of %d bytes under a limit of %d: %d, %v", test.whole, size, limit, n, err)
			}
		}
		if _, err := next(test.whole, size-1); err != parley.ErrTooLong {
			t.Errorf("%.20q of %d bytes under a limit of %d: %v", test.whole, size, size-1, err)
		}
		if test.early == "" {
			continue
		}
		if _, err := next(test.early, size); err != nil {
			t.Errorf("%q under a limit that it keeps: %v", test.early, err)
		}
		if _, err := next(test.early, size-1); err != parley.ErrTooLong {
			t.Errorf("%q under a limit that it cannot keep: %v", test.early, err)
		}
	}
}

func TestMemcachedRemembersLittleOfWhatIsNotAnswered(t *testing.T) {
	g := new(memcachedGrammar)
	f, _ := (&protocol{func() grammar { return g }}).Open()
	for i := range 100_000 {
		for rest := fmt.Appendf(nil, "mg a O%d\r\nmg a q\r\nmn\r\n", i); len(rest) > 0; {
			n, _, err := f.Next(rest, 0, 1<<20, false)
			if n == 0 {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	if got := cap(g.owed.runs); got > 2*maxRuns {
		t.Errorf("they take up %d runs", got)
	}
	owed := uint64(0)
	for _, r := range g.owed.runs[g.owed.head:] {
		if r.what.kind != memcachedQuiet {
			owed += r.count
		}
	}
	if owed != 200_000 {
		t.Errorf("%d replies are owed, want 200000", owed)
	}
}

func TestMemcachedWords(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for _, test := range []struct {
		of         side
		body, want string
		cut        uint64
	}{
		{requests, "set k 0 60 5\r\nhe\x00\r\n\r\n", `set k 0 60 [5 bytes] he\x00\r\n`, 0},
		{requests, "set k 0 0 1048576\r\n" + big + "\r\n", "set k 0 0 [1048576 bytes] " + big[:256] + "…", 0},
		{requests, "ms k 1048576 T0\r\n" + big[:5], "ms k [1048576 bytes] T0 xxxxx…", 1 << 20},
		{requests, "set k 0 60 5", "set k 0 60 5…", 9},
		{requests, "get " + big + "\r\n", "get " + big[:maxText-4] + "…", 0},
		{requests, "get \x1bé\r\n", `get \x1bé`, 0},
		{replies, "VALUE k 0 5\r\nhel", "VALUE k 0 [5 bytes] hel…", 9},
		{replies, "VALUE k 0 5\r\nhello\r\n", "VALUE k 0 [5 bytes] hello", 5},
		{replies, "VALUE k 0 5\r\nhello\r\nEN", "VALUE k 0 [5 bytes] hello; EN…", 3},
		{replies, "VALUE k 0 x\r\nhello\r\n", "VALUE k 0 x; hello", 0},
		{replies, strings.Repeat("STAT abc 1234\r\n", 100_000) + "END\r\n", strings.Repeat("STAT abc 1234; ", 69) + "…", 0},
		{replies, "\x81\x00\n", `\x81\x00`, 0},
		{replies, "", "", 0},
	} {
		words := memcached.Words.AppendRequest
		if test.of == replies {
			words = memcached.Words.AppendReply
		}
		if got := string(words([]byte("before "), Message{Body: []byte(test.body), Cut: test.cut})); got != "before "+test.want {
			t.Errorf("%.60q is shown as\n%s, want\n%s", test.body, got, test.want)
		}
	}
}

func TestMemcachedMakesMessagesOfTexts(t *testing.T) {
	for _, test := range []struct {
		of              side
		text, want, err string
	}{
		{requests, "get a b", "get a b\r\n", ""},
		{requests, "get a\n", "get a\n", ""},
		{requests, "", "\r\n", ""},
		{requests, "set k 0 0 5", "", parley.ErrUnfinished.Error()},
		{requests, "set k 0 0 5\nhell", "", parley.ErrUnfinished.Error()},
		{requests, "set k 0 0 5\nhello", "set k 0 0 5\r\nhello\r\n", ""},
		{requests, "set k 0 0 5\r\nhello", "set k 0 0 5\r\nhello\r\n", ""},
		{requests, "set k 0 0 5\nhello\n", "set k 0 0 5\r\nhello\r\n", ""},
		{requests, "set k 0 0 5 noreply\nhello", "set k 0 0 5 noreply\r\nhello\r\n", ""},
		{requests, "set k 0 0 3\na\nb", "set k 0 0 3\r\na\nb\r\n", ""},
		{requests, "ms k 3 T0\na\nb", "ms k 3 T0\r\na\nb\r\n", ""},
		{requests, "set k 0 0 0", "set k 0 0 0\r\n\r\n", ""},
		{requests, "set k 0 0 5\nhello world", "", "its data is longer than 5 bytes"},
		{requests, "get a\nget b", "", "a newline at byte 5 would end the command early"},
		{requests, "set k", "set k\r\n", ""},
		{requests, "set k 0 0 5\r\nhello\r\n", "set k 0 0 5\r\nhello\r\n", ""},
		{replies, "STORED", "STORED\r\n", ""},
		{replies, "", "\r\n", ""},
		{replies, "VALUE k 0 5\r\nhello\r\nEND", "VALUE k 0 5\r\nhello\r\nEND\r\n", ""},
		{replies, "VALUE k 0 5\r\nhello\r\nEND\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n", ""},
		{replies, "Request #1 - set k 0 0 5\r\nhello\r\n ...", "Request #1 - set k 0 0 5  hello   ...\r\n", ""},
		{replies, "Error: request longer than 65536 bytes", "SERVER_ERROR request longer than 65536 bytes\r\n", ""},
		{replies, "VALUE", "", parley.ErrUnfinished.Error()},
	} {
		framings := [2]parley.Framing{}
		framings[requests], framings[replies] = parley.OpenFraming(memcached.Requests, nil)
		got, err := framings[test.of].End([]byte("before"+test.text), len("before"))
		if fmt.Sprint(err) != cmp.Or(test.err, "<nil>") {
			t.Errorf("%q: %v, want %s", test.text, err, test.err)
		}
		if err == nil && string(got) != "before"+test.want {
			t.Errorf("%q becomes %q, want %q", test.text, got, test.want)
		}
	}
}

func TestMemcachedComposesCommandsOfWords(t *testing.T) {
	for _, test := range []struct{ words, want string }{
		{"get a b", "get a b\r\n"},
		{"set k 0 0 5 hello", "set k 0 0 5\r\nhello\r\n"},
		{"set k 0 0 11 noreply hello world", "set k 0 0 11 noreply\r\nhello world\r\n"},
		{"cas k 0 0 1 7 x", "cas k 0 0 1 7\r\nx\r\n"},
		{"set k 0 0", "set k 0 0\r\n"},
	} {
		framing, _ := parley.OpenFraming(memcached.Requests, nil)
		got, err := framing.End(memcached.Compose(strings.Fields(test.words)), 0)
		if err != nil || string(got) != test.want {
			t.Errorf("%s becomes %q, %v, want %q", test.words, got, err, test.want)
		}
	}
}

// memcachedStream makes valid messages of a side, and tells each.
func memcachedStream(r *rand.Rand, of side) (stream []byte, messages []string) {
	for range r.IntN(8) {
		message := memcachedCommandAt(r)
		if of == replies {
			message = memcachedReplyAt(r)
		}
		stream, messages = append(stream, message...), append(messages, message)
	}
	return stream, messages
}

func pick(r *rand.Rand, some ...string) string { return some[r.IntN(len(some))] }

func memcachedCommandAt(r *rand.Rand) string {
	data := pick(r, "", "x", "\r\n", "END\r\n", "get a\r\n", "\x00\xff")
	noreply := pick(r, "", "", " noreply")
	end := pick(r, "\r\n", "\r\n", "\n")
	switch r.IntN(4) {
	case 0:
		return fmt.Sprintf("%s k 0 -1 %d%s%s%s\r\n", pick(r, "set", "add", "append"), len(data), noreply, end, data)
	case 1:
		return fmt.Sprintf("cas  k 7 0 %d 12%s%s%s\r\n", len(data), noreply, end, data)
	case 2:
		return fmt.Sprintf("ms k %d%s%s%s\r\n", len(data), pick(r, "", " q", " Oabc T60 "), end, data)
	}
	return pick(r, "get a b", "", "mn", "mg a v q", "mg a Ox", "me a", "watch x", "quit", "delete a"+noreply, "flush_all"+noreply, "set k 0 0 -1", "set k x 0 5", "bogus \xff") + end
}

func memcachedReplyAt(r *rand.Rand) string {
	value := func() string {
		data := pick(r, "", "x", "\r\n", "END\r\n", "\x00\xff")
		return fmt.Sprintf("%d%s\r\n%s\r\n", len(data), pick(r, "", " 12"), data)
	}
	end := pick(r, "END\r\n", "END\r\n", "SERVER_ERROR out of memory\r\n")
	switch r.IntN(5) {
	case 0:
		s := ""
		for range 1 + r.IntN(3) {
			s += "VALUE k 0 " + value()
		}
		return s + end
	case 1:
		return "VA " + value()
	case 2:
		return strings.Repeat(pick(r, "STAT a 1\r\n", "ITEM a [1 b; 0 s]\r\n", "key=a\r\n"), 1+r.IntN(3)) + end
	case 3:
		return strings.Repeat("mg a\r\n", 1+r.IntN(3)) + "EN\r\n"
	}
	return pick(r, "STORED", "END", "OK", "ERROR", "CLIENT_ERROR x", "HD Ox", "MN", "12", "ts=1 gid=2", "") + "\r\n"
}

func FuzzMemcachedGrammar(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, piece uint8) {
		for _, of := range []side{requests, replies} {
			stream, want := memcachedStream(rand.New(rand.NewPCG(seed, 1)), of)
			got, err := testGrammar(t, memcached, of, stream, int(piece)+1)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%q is %q, %v, want %q", stream, got, err, want)
			}
		}
	})
}

func FuzzMemcachedBytes(f *testing.F) {
	for _, seed := range []string{"set k 0 0 5\r\nhello\r\nget k\r\n", "ms k 1 q\r\nx\r\nmn\r\n", "VALUE k 0 5\r\nhello\r\nEND\r\n", "VA 1 Ox\r\nx\r\n", "STAT a 1\r\nEND\r\n", "\x80\x00",
		"set k 0 0 4294967296\r\n", "cas k 0 0 1 1 noreply\r\n"} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		for _, of := range []side{requests, replies} {
			testGrammar(t, memcached, of, stream, int(piece)+1)
		}
		for _, m := range []Message{{Body: stream}, {Body: stream, Cut: 1}} {
			for _, text := range [][]byte{memcached.Words.AppendRequest(nil, m), memcached.Words.AppendReply(nil, m)} {
				if len(text) > 4*(2*maxText+8*maxTextWord)+3*maxMemcachedLine || bytes.ContainsAny(text, "\r\n\x00\x1b") {
					t.Fatalf("%q is shown as %q", stream, text)
				}
			}
		}
		asked, answered := parley.OpenFraming(memcached.Requests, nil)
		for _, framing := range []parley.Framing{asked, answered} {
			message, err := framing.End(bytes.Clone(stream), 0)
			if err != nil {
				continue
			}
			n, body, err := framing.Next(message, 0, len(message), false)
			if err != nil || n != len(message) || !bytes.Equal(body, message) {
				t.Fatalf("%q is sent as %q, which is read as %q, %v", stream, message, body, err)
			}
		}
	})
}

func TestRealMemcachedIsUnderstood(t *testing.T) {
	socket := filepath.Join(socketDir(t), "memcached")
	startPeer(t, exec.Command(installed(t, "memcached"), "-s", socket, "-u", "root", "-m", "64"))
	big := strings.Repeat("x", 1000<<10)
	t.Run("commands", func(t *testing.T) {
		p := talkTo(t, memcached, socket)
		p.send(4, "set a 0 0 5\r\nhello\r\nadd b 7 0 0\r\n\r\nget a b nope\r\nget nope\r\n")
		p.send(3, "set a 0 0 3\r\nhello\r\nset a 0 0 -1\r\n")
		p.send(6, "set k 4294967295 99999999999 2\r\nmn\r\nset k 0 -2147483649 2\r\nmn\r\ncas nope 0 0 2 18446744073709551615\r\nmn\r\n",
			"set k 0 0 2147483646\r\nms k 2147483646\r\nset k -1 0 2\r\n")
		p.send(2, "\r\nbogus\r\n")
		p.send(2, fmt.Sprintf("set big 0 0 %d\r\n%s\r\nget big\r\n", len(big), big))
		p.send(2, fmt.Sprintf("set big 0 0 2000000\r\n%s\r\nget big\r\n", strings.Repeat("x", 2000000)))
		p.send(1, "set a 0 0 1 noreply\r\n1\r\nincr a 4 noreply\r\ndelete b noreply\r\nflush_all 100 noreply\r\nverbosity 0 noreply\r\nget a b\r\n")
		p.send(4, "incr a 1\r\ndecr a 9\r\ntouch a 0\r\ndelete nope\r\n")
		p.send(7, "mg a v k O7\r\nmg nope\r\nms a 2\r\n12\r\nma a v\r\nmd nope\r\nmg a zz\r\nmn\r\n")
		p.send(2, "mg a v q\r\nmg nope v q\r\nms a 1 q\r\n5\r\nmn\r\n")
		p.send(3, "stats reset\r\nstats cachedump 99 1\r\ncache_memlimit 64\r\n")
		p.send(1, "version\r\n")
		version := p.told[len(p.told)-1]
		p.send(0, "quit\r\n")
		p.read(-1)
		p.check("set a 0 0 [5 bytes] hello = STORED", "add b 7 0 [0 bytes]  = STORED", "get a b nope = VALUE a 0 [5 bytes] hello; VALUE b 7 [0 bytes] ", "get nope = END",
			"set a 0 0 [3 bytes] hel = CLIENT_ERROR bad data chunk", " = ERROR", "set a 0 0 -1 = CLIENT_ERROR bad command line format",
			"set k 4294967295 99999999999 [2 bytes] mn = STORED", "set k 0 -2147483649 [2 bytes] mn = STORED", "cas nope 0 0 [2 bytes] 18446744073709551615 mn = NOT_FOUND",
			"set k 0 0 2147483646 = CLIENT_ERROR bad command line format", "ms k 2147483646 = CLIENT_ERROR bad command line format", "set k -1 0 2 = CLIENT_ERROR bad command line format",
			" = ERROR", "bogus = ERROR",
			"set big 0 0 [1024000 bytes] "+big[:256]+"… = STORED", "get big = VALUE big 0 [1024000 bytes] "+big[:256]+"…",
			"set big 0 0 [2000000 bytes] "+big[:256]+"… = SERVER_ERROR object too large for cache", "get big = END",
			"set a 0 0 [1 bytes] noreply 1", "incr a 4 noreply", "delete b noreply", "flush_all 100 noreply", "verbosity 0 noreply", "get a b = VALUE a 0 [1 bytes] 5",
			"incr a 1 = 6", "decr a 9 = 0", "touch a 0 = TOUCHED", "delete nope = NOT_FOUND",
			"mg a v k O7 = VA [1 bytes] ka O7 0", "mg nope = EN", "ms a [2 bytes] 12 = HD", "ma a v = VA [2 bytes] 13", "md nope = NF", "mg a zz = CLIENT_ERROR invalid flag", "mn = MN",
			"mg a v q", "mg nope v q", "ms a [1 bytes] q 5", "mn = MN", "= VA [2 bytes] 13",
			"stats reset = RESET", "stats cachedump 99 1 = CLIENT_ERROR Illegal slab id", "cache_memlimit 64 = OK", version, "quit")
		if !strings.HasPrefix(version, "version = VERSION ") {
			t.Error(version)
		}
	})
	t.Run("statistics", func(t *testing.T) {
		p := talkTo(t, memcached, socket)
		for _, command := range []string{"stats", "stats settings", "stats items", "stats slabs", "stats sizes", "stats conns", "stats cachedump 1 10", "stats detail on", "stats detail dump", "lru_crawler metadump all", "me a"} {
			p.send(1, command+"\r\n")
			if got := p.told[len(p.told)-1]; !strings.HasPrefix(got, command+" = ") || len(p.sides[replies].held) > 0 {
				t.Errorf("%s is told as %s, and %q is left", command, got, p.sides[replies].held)
			}
		}
		if got := p.sides[replies].whole; !bytes.Equal(got, p.sent[replies].Bytes()) {
			t.Error("the messages are not the bytes that came")
		}
	})
	t.Run("watch", func(t *testing.T) {
		p, other := talkTo(t, memcached, socket), talkTo(t, memcached, socket)
		p.send(1, "watch fetchers\r\n")
		other.send(1, "get a\r\n")
		p.read(1)
		if len(p.told) < 2 || p.told[0] != "watch fetchers = OK" || !strings.HasPrefix(p.told[1], "= ts=") {
			t.Errorf("told is %q", p.told)
		}
	})
}

func BenchmarkMemcachedPipelinedSets(b *testing.B) {
	commands := bytes.Repeat([]byte("set key:000000001234 0 0 20\r\nvalue of some length\r\n"), 64)
	answers := bytes.Repeat([]byte("STORED\r\n"), 64)
	requests, replies := parley.OpenFraming(memcached.Requests, nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(commands) + len(answers)))
	for b.Loop() {
		for _, s := range []struct {
			framing parley.Framing
			rest    []byte
		}{{requests, commands}, {replies, answers}} {
			for len(s.rest) > 0 {
				n, _, err := s.framing.Next(s.rest, 0, 1<<20, false)
				if n == 0 || err != nil {
					b.Fatal(n, err)
				}
				s.rest = s.rest[n:]
			}
		}
	}
}
