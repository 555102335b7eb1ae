package dialect

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// A pairing looks on at a connection and pairs replies with requests.
type pairing struct {
	framing Framing
	piece   int // bytes that come at a time
	max     int
	sides   [2]pairedSide
	open    []int    // of told: requests without a reply
	told    []string // request = reply, or = message of what came unasked, or request alone
	notes   []parley.Note
}

type pairedSide struct {
	framing parley.Framing
	held    []byte // of a message that is not whole
	scanned int
	skip    func(p []byte, eof bool) (n, head, tail int, done bool, err error)
	long    []byte // a message over the limit
	whole   []byte // all messages
	err     error
}

func newPairing(f Framing, piece, max int) *pairing {
	p := &pairing{framing: f, piece: piece, max: max}
	p.sides[requests].framing, p.sides[replies].framing = parley.OpenFraming(f.Requests, f.Replies)
	return p
}

// feed has bytes come of a side.
func (p *pairing) feed(of side, bytes []byte) {
	for len(bytes) > 0 && p.sides[of].err == nil {
		n := min(p.piece, len(bytes))
		s := &p.sides[of]
		s.held = append(s.held, bytes[:n]...)
		bytes = bytes[n:]
		p.scan(of, s, false)
	}
}

func (p *pairing) scan(of side, s *pairedSide, eof bool) {
	for len(s.held) > 0 {
		n, whole := 0, false
		if s.skip != nil {
			n, _, _, whole, s.err = s.skip(s.held, eof)
			s.long = append(s.long, s.held[:n]...)
			if whole {
				p.tell(of, s, s.long)
				s.long, s.skip = nil, nil
			} else if n < len(s.held) || s.err != nil {
				s.held = s.held[n:]
				return
			}
		} else {
			var body []byte
			n, body, s.err = s.framing.Next(s.held, s.scanned, p.max, eof)
			switch {
			case s.err == parley.ErrTooLong:
				s.err, s.scanned = nil, 0
				s.skip = s.framing.(parley.Skipper).Skip()
				continue
			case s.err != nil:
				return
			case n == 0:
				s.scanned = len(s.held)
				return
			}
			p.tell(of, s, body)
		}
		s.held, s.scanned = s.held[n:], 0
	}
}

func (p *pairing) tell(of side, s *pairedSide, body []byte) {
	s.whole = append(s.whole, body...)
	note := s.framing.(parley.Noter).Note()
	if of == requests {
		text := p.framing.Words.AppendRequest(nil, Message{Body: body, Secret: note.Secret})
		if !note.Alone {
			p.open = append(p.open, len(p.told))
			text = append(text, " = ?"...)
		}
		p.told, p.notes = append(p.told, string(text)), append(p.notes, note)
		return
	}
	text := string(p.framing.Words.AppendReply(nil, Message{Body: body}))
	if note.Alone || len(p.open) == 0 {
		p.told, p.notes = append(p.told, "= "+text), append(p.notes, note)
		return
	}
	request := &p.told[p.open[0]]
	p.open = p.open[1:]
	*request = strings.TrimSuffix(*request, "?") + text
}

// check compares what was told, and reports what is left over or lost.
func (p *pairing) check(t *testing.T, want ...string) {
	t.Helper()
	for of, s := range p.sides {
		if len(s.held) > 0 || s.err != nil {
			t.Errorf("of side %d %q is left, %v", of, s.held[:min(len(s.held), 100)], s.err)
		}
	}
	for i := range max(len(want), len(p.told)) {
		switch {
		case i >= len(want):
			t.Errorf("%d: %s, want nothing", i, p.told[i])
		case i >= len(p.told):
			t.Errorf("%d: nothing, want %s", i, want[i])
		case p.told[i] != want[i]:
			t.Errorf("%d: %s\n want %s", i, p.told[i], want[i])
		}
	}
}

// play reads a dialogue, of which what begins with > is the client's and with < the server's,
// in pieces of several sizes.
func play(t *testing.T, f Framing, dialogue []string, want ...string) {
	t.Helper()
	for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
		t.Run(fmt.Sprint("pieces of ", piece), func(t *testing.T) {
			t.Helper()
			p := newPairing(f, piece, 1<<20)
			var sent [2]string
			for _, step := range dialogue {
				of := requests
				if step[0] == '<' {
					of = replies
				}
				sent[of] += step[1:]
				p.feed(of, []byte(step[1:]))
			}
			p.check(t, want...)
			for of := range sent {
				if got := string(p.sides[of].whole); got != sent[of] {
					t.Errorf("the messages of side %d are %q, want %q", of, got, sent[of])
				}
			}
		})
	}
}

// installed is the path of a real peer's program. Where it may be missing its test is skipped;
// in CI nothing may be missing.
func installed(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed; scripts/install-test-tools installs it", name)
		}
		t.Skipf("%s is not installed; scripts/install-test-tools installs it", name)
	}
	return path
}

// testGrammar checks what holds for a side of a protocol whatever comes: messages are the bytes
// that came, none is over the limit, they do not depend on how they come, and who skips one ends
// where it ends. It returns the messages, and what there is instead of one.
func testGrammar(t *testing.T, f Framing, of side, stream []byte, piece int) (messages []string, err error) {
	t.Helper()
	const limit = 1 << 10
	read := func(piece, max int) *pairing {
		p := newPairing(f, piece, max)
		p.feed(of, stream)
		return p
	}
	whole, split, skipping := read(len(stream)+1, limit), read(piece, limit), read(piece, 0)
	for _, other := range []*pairing{split, skipping} {
		a, b := &whole.sides[of], &other.sides[of]
		if !slices.Equal(whole.told, other.told) || !slices.Equal(whole.notes, other.notes) || string(a.whole) != string(b.whole) {
			t.Fatalf("%q in pieces is\n%q %+v %q, and whole\n%q %+v %q", stream, other.told, other.notes, b.whole, whole.told, whole.notes, a.whole)
		}
		if (a.err == nil) != (b.err == nil) {
			t.Fatalf("%q in pieces ends with %v, and whole with %v", stream, b.err, a.err)
		}
	}
	s := &whole.sides[of]
	if s.err != nil && !errors.Is(s.err, parley.ErrMalformed) {
		t.Fatalf("%q ends with %v", stream, s.err)
	}
	if got := string(s.whole) + string(s.long) + string(s.held); s.err == nil && got != string(stream) {
		t.Fatalf("the messages of %q are %q", stream, got)
	}
	framing, ofReplies := parley.OpenFraming(f.Requests, f.Replies)
	if of == replies {
		framing = ofReplies
	}
	for rest := stream; ; {
		n, body, err := framing.Next(rest, 0, limit, false)
		if len(body) > limit || n != len(body) {
			t.Fatalf("a message of %d bytes, %d with its framing, the limit is %d", len(body), n, limit)
		}
		if n == 0 || err != nil {
			break
		}
		messages = append(messages, string(body))
		rest = rest[n:]
	}
	return messages, s.err
}
