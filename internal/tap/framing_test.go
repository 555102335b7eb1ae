package tap

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// newTestSession is a session without connections, for what is told of its bytes.
func newTestSession(tap *Tap) *session {
	s := newSession(tap, nil)
	s.public = parley.NewSession(1, nil, nil, time.Now())
	return s
}

func (s *session) say(d *direction, text string) { s.inspect(d, []byte(text), false) }

// end has both sides end in good order.
func (s *session) finish() {
	s.inspect(&s.requests, nil, true)
	s.inspect(&s.replies, nil, true)
	s.tellClosed(&ending{reason: parley.EndOfFile}, time.Now())
}

// A picky is a framing of lines as others may have it: ! is a stray, ? can begin no message,
// and it finds no end of what it does not hold.
type picky struct{}

func (picky) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	switch i := bytes.IndexByte(buf, '\n'); {
	case len(buf) > 0 && buf[0] == '!':
		return 1, nil, parley.ErrStray
	case len(buf) > 0 && buf[0] == '?':
		return 0, nil, fmt.Errorf("%w: it begins with a question", parley.ErrMalformed)
	case i < 0 && len(buf) > max:
		return 0, nil, parley.ErrTooLong
	case i < 0:
		return 0, nil, nil
	default:
		return i + 1, buf[:i], nil
	}
}

func (picky) Begin(dst []byte) []byte               { return dst }
func (picky) End(dst []byte, _ int) ([]byte, error) { return append(dst, '\n'), nil }

// A noted is a protocol of lines of which some have notes: a request "quiet …" is not replied
// to, a message "push …" is no reply, and "auth …" is secret.
type noted struct{ parley.Framing }

func (n noted) Open() (requests, replies parley.Framing) {
	return &notedSide{Framing: n.Framing}, &notedSide{Framing: n.Framing}
}

type notedSide struct {
	parley.Framing
	note parley.Note
}

func (n *notedSide) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	k, body, err := n.Framing.Next(buf, scanned, max, eof)
	word, _, _ := strings.Cut(string(body), " ")
	n.note = parley.Note{Alone: word == "quiet" || word == "push", Secret: word == "auth"}
	return k, body, err
}

func (n *notedSide) Note() parley.Note { return n.note }

// Bytes of no message are told of once, with their side, counted, and recorded where they were.
func TestStraysAreToldOnceAndCounted(t *testing.T) {
	told, gate := newRecord(), new(porter)
	s := newTestSession(&Tap{Observer: told, Gate: gate, Framing: picky{}})
	s.say(&s.requests, "a\n")
	s.say(&s.replies, "!!A\n")
	s.say(&s.requests, "!b\n!")
	s.finish()
	told.check(t, `1 received 1 "a"`,
		`1 stray "!" of 1: the server's byte 0: what comes there belongs to no message`,
		`1 replied 1 "A"`, `1 received 2 "b"`, "1 closed 2 eof, 4 stray")
	gate.check(t, "1.0 - - down 0: \"!!\"", `1.1 "a" "A"`, "1.0 - - up 2: \"!\"", "1.0 - - up 5: \"!\"", `1.2 "b" -`)
}

// Where a framing is broken the bytes are told as they come, and what they answer, or what
// answers them, is not guessed at.
func TestABrokenFramingFallsToChunks(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing parley.Framing
		max     int
		say     func(s *session)
		want    []string
	}{
		{"of the client", picky{}, 8, func(s *session) {
			s.say(&s.requests, "a\nb\n?\nc\n")
			s.say(&s.replies, "A\nB\nC\n")
			s.say(&s.requests, "d")
			s.say(&s.requests, "!\n0123456789")
			s.say(&s.replies, "D\n")
		}, []string{`1 received 1 "a"`, `1 received 2 "b"`,
			"1 framing_lost: the client's byte 4: malformed message: it begins with a question; from there its bytes are shown as they come",
			`1 received 3 "?\nc\n"`, `1 replied 1 "A"`, `1 replied 2 "B"`, `1 message 0 "C"`, `1 received 4 "d"`,
			`1 received 5 "!\n012345" and 4 more`, `1 message 0 "D"`, "1 closed 5 eof"}},
		{"of the server", picky{}, 8, func(s *session) {
			s.say(&s.requests, "a\nb\n")
			s.say(&s.replies, "A\n?\n")
			s.say(&s.requests, "c\n")
			s.say(&s.replies, "C\n")
		}, []string{`1 received 1 "a"`, `1 received 2 "b"`, `1 replied 1 "A"`,
			"1 framing_lost: the server's byte 2: malformed message: it begins with a question; from there its bytes are shown as they come",
			`1 message 0 "?\n"`, `1 received 3 "c"`, `1 message 0 "C\n"`, "1 closed 3 eof"}},
		{"by a message whose end cannot be found", picky{}, 2, func(s *session) {
			s.say(&s.requests, "a\nbc")
			s.say(&s.requests, "d")
			s.say(&s.replies, "A\n")
		}, []string{`1 received 1 "a"`,
			"1 framing_lost: the client's byte 2: a message over the limit, of which this framing cannot find the end; from there its bytes are shown as they come",
			`1 received 2 "bc" and 1 more`, `1 replied 1 "A"`, "1 closed 2 eof"}},
		{"inside a message that is not held", parley.Netstring, 8, func(s *session) {
			s.say(&s.requests, "1:a,12:01234567")
			s.say(&s.requests, "89abX3:cde,")
		}, []string{`1 received 1 "a"`, `1 received 2 "01234567" and 4 more`,
			`1 framing_lost: the client's byte 19: malformed message: no "," behind as many bytes as its length says; from there its bytes are shown as they come`,
			`1 received 3 "X3:cde,"`, "1 closed 3 eof"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := newRecord()
			s := newTestSession(&Tap{Observer: told, Framing: c.framing, MaxMessage: c.max})
			c.say(s)
			s.finish()
			told.check(t, c.want...)
		})
	}
}

// While the replies of a server that has broken its framing are not known, the requests that wait
// for them are recorded alone, at once, and those that follow too.
func TestRequestsToAServerThatBreaksItsFraming(t *testing.T) {
	gate := new(porter)
	s := newTestSession(&Tap{Gate: gate, Framing: picky{}})
	s.say(&s.requests, "a\nb\n")
	s.say(&s.replies, "A\n?\n")
	s.say(&s.requests, "c\n")
	gate.check(t, `1.1 "a" "A"`, `1.2 "b" -`, `1.0 - "?\n"`, `1.3 "c" -`)
}

// A hoarder is a framing that never finds an end, and does not look at the limit; of another that
// does it is Skip that holds back. An idle one leaves out nothing, again and again.
type hoarder struct{ picky }

func (hoarder) Next(_ []byte, _, _ int, _ bool) (int, []byte, error) { return 0, nil, nil }

type hoardingSkipper struct{ picky }

func (hoardingSkipper) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func([]byte, bool) (n, head, tail int, done bool, err error) { return 0, 0, 0, false, nil }
}

type idler struct{ picky }

func (idler) Next(_ []byte, _, _ int, _ bool) (int, []byte, error) { return 0, nil, parley.ErrStray }

// No framing can make the tap hold more than the limit and what stands around a message.
func TestFramingsThatHoldBack(t *testing.T) {
	const max, most = 8, 8 + headroom
	for name, framing := range map[string]parley.Framing{"hoarder": hoarder{}, "one that skips": hoardingSkipper{}} {
		s := newTestSession(&Tap{Framing: framing, MaxMessage: max})
		s.say(&s.requests, strings.Repeat("x", most))
		if s.requests.scanner.lost || len(s.requests.scanner.buf) != most {
			t.Errorf("%s: of %d bytes %d are held", name, most, len(s.requests.scanner.buf))
		}
		s.say(&s.requests, "x")
		if !s.requests.scanner.lost || len(s.requests.scanner.buf) != 0 || s.seq != 1 {
			t.Errorf("%s: of one more %d are held, %d messages are told", name, len(s.requests.scanner.buf), s.seq)
		}
	}
	s := newTestSession(&Tap{Framing: idler{}})
	s.say(&s.requests, "x")
	if !s.requests.scanner.lost || s.seq != 1 {
		t.Errorf("a framing that leaves out nothing is asked for ever")
	}
}

// What a protocol knows of a message goes before the order.
func TestNotesOfMessages(t *testing.T) {
	told, gate := newRecord(), new(porter)
	s := newTestSession(&Tap{Observer: told, Gate: gate, Framing: noted{parley.Lines}})
	s.say(&s.requests, "a\nquiet b\nauth c\n")
	gate.check(t, `1.2 "quiet b" -`) // at once
	s.say(&s.replies, "push x\nA\n")
	s.say(&s.requests, "d\n")
	s.say(&s.replies, "C\npush y\nD\nauth z\n")
	s.finish()
	told.check(t, `1 received 1 "a"`, `1 received 2 "quiet b"`, `1 received 3 "auth c" (secret)`,
		`1 message 0 "push x"`, `1 replied 1 "A"`, `1 received 4 "d"`, `1 replied 3 "C"`, `1 message 0 "push y"`,
		`1 replied 4 "D"`, `1 message 0 "auth z" (secret)`, "1 closed 4 eof")
	gate.check(t, `1.2 "quiet b" -`, `1.0 - "push x"`, `1.1 "a" "A"`, `1.3 "auth c" "C" (secret)`, `1.0 - "push y"`,
		`1.4 "d" "D"`, `1.0 - "auth z" (secret)`)
}

// Under none no request waits for a reply, and what the server says all the same is stray.
func TestNoReplies(t *testing.T) {
	told, gate := newRecord(), new(porter)
	s := newTestSession(&Tap{Observer: told, Gate: gate, Replies: parley.NoReplies})
	s.say(&s.requests, "a\nb\n")
	gate.check(t, `1.1 "a" -`, `1.2 "b" -`)
	s.say(&s.replies, "What?\n")
	s.finish()
	told.check(t, `1 received 1 "a"`, `1 received 2 "b"`,
		`1 stray "What?\n" of 6: the server's byte 0: what comes there belongs to no message`, "1 closed 2 eof, 6 stray")
}

// Of requests that wait, with others between them that do not, no more is kept than of others;
// where that is not enough to know which request is answered, nothing is claimed.
func TestGapsBetweenRequestsThatWait(t *testing.T) {
	const more = 3
	told, gate := newRecord(), new(porter)
	s := newTestSession(&Tap{Observer: told, Gate: gate, Framing: noted{parley.Lines}})
	for range maxArrivals + more {
		s.say(&s.requests, "a\nquiet\n")
	}
	if n := len(s.inFlight); n > maxArrivals+1 {
		t.Errorf("%d groups wait, want %d at most", n, maxArrivals+1)
	}
	told.lines, gate.lines = nil, nil
	for range maxArrivals + more {
		s.say(&s.replies, "A\n")
	}
	s.say(&s.requests, "b\n")
	s.say(&s.replies, "B\n")
	var want []string
	for i := range maxArrivals {
		want = append(want, fmt.Sprintf(`1 replied %d "A"`, 2*i+1))
	}
	want = append(want, slices.Repeat([]string{`1 message 0 "A"`}, more)...)
	last := 2*(maxArrivals+more) + 1
	told.check(t, append(want, fmt.Sprintf(`1 received %d "b"`, last), fmt.Sprintf(`1 replied %d "B"`, last))...)
	if got, want := gate.lines[len(gate.lines)-1], fmt.Sprintf(`1.%d "b" "B"`, last); got != want {
		t.Errorf("the gate was last asked about %s, want %s", got, want)
	}
}

// names are of framings of each kind that dialect has.
var names = func() (names []string) {
	for _, n := range dialect.Names {
		kind, _, made := strings.Cut(n.Name, ":")
		if !made {
			names = append(names, n.Name)
			continue
		}
		for _, example := range []string{"delim:3b", "delim:0d0a", "frame:0b:1c0d", "length:2le"} {
			if strings.HasPrefix(example, kind+":") {
				names = append(names, example)
			}
		}
	}
	return slices.DeleteFunc(append(names, "line/chunk", "line/close", "line/none"), func(name string) bool {
		_, err := dialect.Parse(name)
		return err != nil
	})
}()

func TestAllFramingsAreTried(t *testing.T) {
	for _, n := range dialect.Names {
		kind, _, _ := strings.Cut(n.Name, ":")
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, kind) || strings.HasSuffix(name, "/"+kind) }) {
			t.Errorf("%s is not among those that are tried", n.Name)
		}
	}
}

// A keeper is a gate that keeps what of each direction it is asked about.
type keeper struct{ up, down []parley.Raw }

func (k *keeper) Pass(_ *parley.Session, batch []parley.Exchange) bool {
	for _, x := range batch {
		k.up, k.down = keepRaw(k.up, x.RawRequest, x.Request, x.RequestCut), keepRaw(k.down, x.RawReply, x.Reply, x.ReplyCut)
	}
	return true
}

func keepRaw(all []parley.Raw, raw parley.Raw, body []byte, cut uint64) []parley.Raw {
	if raw.Bytes == nil {
		return all
	}
	if body != nil && !bytes.HasPrefix(raw.Bytes[raw.Body:], body) {
		panic(fmt.Sprintf("%q does not begin at byte %d of %q", body, raw.Body, raw.Bytes))
	}
	if cut > raw.Cut {
		panic(fmt.Sprintf("%d bytes of a body are cut, and %d of all", cut, raw.Cut))
	}
	raw.Bytes = bytes.Clone(raw.Bytes)
	return append(all, raw)
}

// check puts a direction together again: nothing is missing but what was cut.
func (k *keeper) check(t *testing.T, name string, got []parley.Raw, want []byte) {
	t.Helper()
	slices.SortFunc(got, func(a, b parley.Raw) int { return int(a.At) - int(b.At) })
	at := uint64(0)
	for _, raw := range got {
		end := at + uint64(len(raw.Bytes))
		if raw.At != at || end > uint64(len(want)) || !bytes.Equal(raw.Bytes, want[at:end]) {
			t.Fatalf("%s: %q at %d, where %d bytes were recorded before, of %q", name, raw.Bytes, raw.At, at, want)
		}
		at = end + raw.Cut
	}
	if at != uint64(len(want)) {
		t.Fatalf("%s: %d bytes were recorded, with what was cut, of %d", name, at, len(want))
	}
}

// Whatever two peers say, under whatever framing it is looked at: no byte of it is changed,
// the records are all that was said, and the memory that it takes is bounded.
func FuzzEveryByteIsRecorded(f *testing.F) {
	up := []string{"a\r\nbb\n\nlonger than eight\r\rx\nrest\r", "\x00\x00\x00\x02ab\x00\x00\x00\x0aabcdefghij\x00",
		"a;b;;ccccccccccc;", "600000000", "1:a,12:0123456789abX3:cde,", "*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\nDATA\r\n", "set a 0 0 1\r\nx\r\nget a\r\n"}
	for which := range names {
		for _, s := range up {
			f.Add([]byte(s), []byte(s), uint64(0x123456789abcdef), uint8(which), true)
		}
	}
	f.Fuzz(func(t *testing.T, up, down []byte, splits uint64, which uint8, short bool) {
		name := names[int(which)%len(names)]
		framing, err := dialect.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		max := 100
		if short {
			max = 8
		}
		for _, f := range []dialect.Framing{framing, framing.Onlooker()} {
			gate := new(keeper)
			s := newTestSession(&Tap{Framing: f.Requests, Replies: f.Replies, Gate: gate, MaxMessage: max})
			restUp, restDown := bytes.Clone(up), bytes.Clone(down)
			for splits := splits; len(restUp)+len(restDown) > 0; splits = splits<<7 | splits>>57 {
				d, rest, all := &s.requests, &restUp, up
				if splits&1 == 0 {
					d, rest, all = &s.replies, &restDown, down
				}
				n := min(int(splits>>1&63), len(*rest))
				if n == 0 {
					n = len(*rest)
				}
				piece := (*rest)[:n]
				*rest = (*rest)[n:]
				s.inspect(d, piece, false)
				if !bytes.Equal(piece, all[len(all)-len(*rest)-n:][:n]) {
					t.Fatalf("%s: a piece has become %q", name, piece)
				}
				if held := len(d.scanner.buf); held > max+headroom+n {
					t.Fatalf("%s: %d bytes of a message are held", name, held)
				}
			}
			s.finish()
			gate.check(t, name+" up", gate.up, up)
			gate.check(t, name+" down", gate.down, down)
		}
	})
}
