package capture

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
)

// sum counts what a gate is told of each direction.
type sum struct{ told, cut uint64 }

func (s *sum) Pass(_ *parley.Session, batch []parley.Exchange) bool {
	for _, x := range batch {
		s.told += uint64(len(x.RawRequest.Bytes) + len(x.RawReply.Bytes))
		s.cut += x.RawRequest.Cut + x.RawReply.Cut
	}
	return true
}

// Whatever a capture has, it is read to its end, and each session is told of in order: what is recorded is
// what was said, but for what is missing.
func FuzzImport(f *testing.F) {
	for _, data := range append(seeds(), ours(f)) {
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, redis bool) {
		name := "line"
		if redis {
			name = "redis"
		}
		framing, err := dialect.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		open, said := make(map[uint64]bool), uint64(0)
		recorded := new(sum)
		got, err := Read(t.Context(), bytes.NewReader(data), Options{Requests: framing.Requests, Replies: framing.Replies, Gate: recorded,
			Observer: parley.ObserverFunc(func(e *parley.Event) {
				n := e.Session.Number()
				switch {
				case e.Kind == parley.Opened:
					open[n] = true
				case !open[n]:
					t.Errorf("session %d: %v while it is not open", n, e.Kind)
				case e.Kind == parley.Closed:
					delete(open, n)
					said += e.In + e.Out
				}
			})})
		if err != nil {
			return
		}
		if len(open) != got.Open {
			t.Errorf("%d sessions are open, told %d", len(open), got.Open)
		}
		if got.Open == 0 && (recorded.told > said || recorded.told+got.Missing+recorded.cut < said) {
			t.Errorf("%d bytes said, %d of them missing; recorded %d and cut %d", said, got.Missing, recorded.told, recorded.cut)
		}
	})
}

// seeds are captures of a few kinds.
func seeds() (all [][]byte) {
	for _, link := range []layers.LinkType{layers.LinkTypeRaw, layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL2} {
		f := newFile(link)
		c := f.talk(clientAddr, serverAddr)
		c.open()
		c.say(0, "*1\r\n$4\r\nPING\r\n")
		c.say(1, "+PONG\r\n")
		c.send(0, c.seq[0]+4, c.seq[1], "A", "two\n")
		c.send(0, c.seq[0], c.seq[1]+5, "A", "one\n")
		c.send(1, 0, 0, "R", "")
		all = append(all, f.Bytes())
	}
	f := newFile(layers.LinkTypeRaw)
	c := f.talk("[fd00::1]:40000", "[fd00::2]:7000")
	c.open()
	c.say(0, "one\n")
	c.seq[0] += 7
	c.say(1, "2\n")
	c.close()
	return append(all, f.Bytes())
}
