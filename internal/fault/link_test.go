package fault

import (
	"io"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// Behind the end of a session nothing is told of it, and nothing is kept.
func TestNothingIsToldBehindTheEnd(t *testing.T) {
	plan, err := Parse("delay=1ns")
	if err != nil {
		t.Fatal(err)
	}
	layer := &Layer{Plan: plan}
	told := 0
	observer := layer.Observer(parley.ObserverFunc(func(e *parley.Event) { told++ }))
	_, ours := parleytest.ConnPair()
	conn := layer.Client(ours)
	s := parley.NewSession(1, nil, nil, time.Now())
	s.Join(conn)
	io.WriteString(conn, "one\n")
	observer.Observe(&parley.Event{Kind: parley.Closed, Session: s})
	io.WriteString(conn, "two\n")
	if told != 2 {
		t.Errorf("%d events, want a fault and the end", told)
	}
	layer.links.Range(func(_, _ any) bool { t.Error("a session is kept that is over"); return true })
}

// What had seemed to begin a message, and turned out to be none, does not count as one.
func TestStrayBytesAreNotCounted(t *testing.T) {
	plan, err := Parse("drop=2")
	if err != nil {
		t.Fatal(err)
	}
	layer := &Layer{Plan: plan, Framing: parley.Framed([]byte{2, 2}, []byte{3})}
	layer.Observer(nil)
	peer, ours := parleytest.ConnPair()
	conn := layer.Client(ours)
	parley.NewSession(1, nil, nil, time.Now()).Join(conn)
	for _, text := range []string{"\x02", "stray", "\x02\x02a\x03", "\x02\x02b\x03", "\x02\x02c\x03"} {
		io.WriteString(conn, text)
	}
	conn.Close()
	if got, _ := io.ReadAll(peer); string(got) != "\x02stray\x02\x02a\x03\x02\x02c\x03" {
		t.Errorf("%q came", got)
	}
}
