package fleet

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/parley-tcp/parley/internal/leaks"
	"github.com/parley-tcp/parley/internal/natstest"
)

// No test may leave a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	natstest.Main()
	os.Exit(leaks.Run(m))
}

// A node may be called anything: two of them never share a subject, and none is a wildcard.
func TestEveryNodeHasASubjectOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	for node, want := range map[string]string{
		"web-1": "web-1", "web_1": "web_1", "web.1": "web=2E1", "*": "=2A", ">": "=3E", "": "=", "=": "=3D", "a b": "a=20b", "é": "=C3=A9", "a\n": "a=0A",
	} {
		got := token(node)
		if got != want {
			t.Errorf("token(%q) = %q, want %q", node, got, want)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q are both %q", node, other, got)
		}
		seen[got] = node
		if back := tokenOf(recordsOf(node)); back != got {
			t.Errorf("tokenOf(%q) = %q, want %q", recordsOf(node), back, got)
		}
	}
	for _, subject := range []string{"parley.a.ask", "parley.census", "other.a.records", "parley.a.b.records", ""} {
		if got := tokenOf(subject); got != "" {
			t.Errorf("tokenOf(%q) = %q, want none", subject, got)
		}
	}
}

// A block of any length comes back from its parts, of which none is longer than NATS takes, with its header.
func TestABlockIsWholeAgain(t *testing.T) {
	const limit = 4096
	for _, size := range []int{1, limit - headerRoom, limit - headerRoom + 1, 10 * limit} {
		block := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		msgs := messages(recordsOf("web-1"), block, limit)
		var z puzzle
		for i, m := range msgs {
			if m.Size() > limit {
				t.Errorf("%d bytes: a message has %d, more than %d", size, m.Size(), limit)
			}
			p, ok := partOf(m.Header)
			if !ok {
				t.Fatalf("%d bytes: part %d has no name: %v", size, i, m.Header)
			}
			whole, ok := z.join(p, m.Data)
			if !ok || whole != (i == len(msgs)-1) {
				t.Fatalf("%d bytes: part %d of %d: whole %v, ok %v", size, i+1, len(msgs), whole, ok)
			}
			if i < len(msgs)-1 { // it may come twice
				if whole, ok := z.join(p, m.Data); whole || !ok {
					t.Fatalf("%d bytes: part %d again: whole %v, ok %v", size, i+1, whole, ok)
				}
			}
		}
		if !bytes.Equal(z.bytes, block) {
			t.Errorf("%d bytes: %d others came back", size, len(z.bytes))
		}
	}
}

// A block is not made of parts that are not one after the other, nor of others' bytes.
func TestPartsThatDoNotFit(t *testing.T) {
	msgs := messages("s", bytes.Repeat([]byte("x"), 10_000), 4096)
	named := func(i int) part {
		p, _ := partOf(msgs[i].Header)
		return p
	}
	var z puzzle
	if _, ok := z.join(named(1), msgs[1].Data); ok {
		t.Error("the second part came first, and was taken")
	}
	z = puzzle{}
	z.join(named(0), msgs[0].Data)
	if _, ok := z.join(named(2), msgs[2].Data); ok {
		t.Error("the third part came behind the first, and was taken")
	}
	z = puzzle{}
	for i := range msgs {
		data := msgs[i].Data
		if i == 1 {
			data = bytes.ToUpper(data)
		}
		if whole, ok := z.join(named(i), data); whole || i == len(msgs)-1 && ok {
			t.Error("a block with a part of somebody else's was taken")
		}
	}
	for _, id := range []string{"", "x", "x.1.1", strings.Repeat("a", 32) + ".0.1", strings.Repeat("a", 32) + ".2.1", strings.Repeat("a", 32) + ".1.99999999", strings.Repeat("a", 32) + ".1"} {
		if p, ok := partOf(map[string][]string{"Nats-Msg-Id": {id}}); ok {
			t.Errorf("%q is part %v", id, p)
		}
	}
}
