package tap

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
)

// A porter is a gate that keeps what it is asked about, and holds for as long as it is told
// to.
type porter struct {
	mu    sync.Mutex
	holds bool
	held  []*parley.Session
	lines []string
	up    []byte // all requests
	down  []byte // all replies
}

func (p *porter) Pass(s *parley.Session, batch []parley.Exchange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range batch {
		line := fmt.Sprintf("%d.%d %s %s", s.Number(), x.Seq, spelled(x.Request, x.RequestCut), spelled(x.Reply, x.ReplyCut))
		if x.Request == nil && x.RawRequest.Bytes != nil {
			line += fmt.Sprintf(" up %d: %q", x.RawRequest.At, x.RawRequest.Bytes)
		}
		if x.Reply == nil && x.RawReply.Bytes != nil {
			line += fmt.Sprintf(" down %d: %q", x.RawReply.At, x.RawReply.Bytes)
		}
		if x.Secret {
			line += " (secret)"
		}
		p.lines = append(p.lines, line)
		p.up, p.down = append(p.up, x.Request...), append(p.down, x.Reply...)
	}
	if p.holds {
		p.held = append(p.held, s)
	}
	return !p.holds
}

func (p *porter) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

func spelled(body []byte, cut uint64) string {
	if body == nil {
		return "-"
	}
	return strings.TrimSuffix(fmt.Sprintf("%q+%d", body, cut), "+0")
}

// release releases those that are held, and holds nobody from then on if that is asked for.
func (p *porter) release(holds bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = holds
	for _, s := range p.held {
		s.Release()
	}
	p.held = nil
}

func (p *porter) check(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := strings.Join(p.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the gate was asked about\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestGateIsAskedAboutEveryExchange(t *testing.T) {
	onStages(t, func(t *testing.T, open func(*Tap) *stage) {
		told, gate := newRecord(), new(porter)
		st := open(&Tap{Observer: told, Gate: gate, MaxMessage: 4})
		st.say(st.server, "hi\n")
		st.say(st.client, "a\nlong one\n")
		st.say(st.server, "A\n\nextra\n")
		st.say(st.client, "never answered\n")
		st.say(st.client, "nor whole")
		st.say(st.server, "bye")
		st.server.CloseWrite()
		st.rest()
		gate.check(t, `1.0 - "hi"`, `1.1 "a" "A"`, `1.2 "long"+4 ""`, `1.0 - "extr"+1`, `1.3 "neve"+10 "bye"`)
		st.client.CloseWrite()
		st.rest()
		gate.check(t, `1.0 - "hi"`, `1.1 "a" "A"`, `1.2 "long"+4 ""`, `1.0 - "extr"+1`, `1.3 "neve"+10 "bye"`, `1.4 "nor "+5 -`)
	})
}

// A closed session says how many replies were passed on whole.
func TestClosedSaysWhichRepliesWerePassedOn(t *testing.T) {
	onStages(t, func(t *testing.T, open func(*Tap) *stage) {
		observer, closed := closings()
		st := open(&Tap{Observer: observer})
		st.say(st.client, "a\nb\nc\n")
		io.WriteString(st.server, "A\nB") // whose end is that of the file
		st.server.CloseWrite()
		st.rest()
		st.client.Close()
		st.rest()
		if end := awaitClosing(t, closed); end.Replied != 2 {
			t.Errorf("replied up to %d, want 2", end.Replied)
		}
	})
}

// While the gate holds a session nothing of it is passed on, in either direction, nor is its
// end; then all is.
func TestHeldSessionIsHeldBackAndLosesNothing(t *testing.T) {
	onStages(t, func(t *testing.T, open func(*Tap) *stage) {
		told, gate := newRecord(), &porter{holds: true}
		st := open(&Tap{Observer: told, Gate: gate})
		client, server := st.client, st.server
		atClient, atServer := st.inboxOf(client), st.inboxOf(server)
		io.WriteString(client, "a\n")
		atServer.check(t, "a\n") // a request is not held back for its record: that needs the reply
		io.WriteString(server, "A\n")
		atClient.check(t, "")
		io.WriteString(client, "b\n")
		client.CloseWrite()
		atServer.check(t, "a\n")
		if st.inMemory {
			time.Sleep(time.Hour)
		}
		atServer.check(t, "a\n")
		gate.check(t, `1.1 "a" "A"`)

		gate.release(true)
		atClient.check(t, "A\n")
		atServer.check(t, "a\nb\n(EOF)")
		io.WriteString(server, "B")
		server.CloseWrite()
		atClient.check(t, "A\nB") // the end of the file ends the reply
		told.check(t, "1 opened", `1 received 1 "a"`, `1 replied 1 "A"`, `1 received 2 "b"`, `1 replied 2 "B"`)
		gate.release(false)
		atClient.check(t, "A\nB(EOF)")
		gate.check(t, `1.1 "a" "A"`, `1.2 "b" "B"`)
	})
}

// A session that is over and whose last records wait counts as one that is there: else
// clients that come and go would fill the memory while nothing can be recorded.
func TestLastRecordsAreWaitedFor(t *testing.T) {
	for _, end := range []string{"in good order", "by a reset"} {
		t.Run(end, func(t *testing.T) {
			onStages(t, func(t *testing.T, open func(*Tap) *stage) {
				told, gate := newRecord(), &porter{holds: true}
				tap := &Tap{Gate: gate, Observer: told}
				st := open(tap)
				st.say(st.client, "a\n")
				if end == "by a reset" {
					st.reset(st.client)
				} else {
					io.ReadFull(st.server, make([]byte, 2)) // else its end is a reset too
					st.client.Close()
					st.server.Close()
				}
				told.awaitClosed(t, 1)
				st.rest()
				gate.check(t, `1.1 "a" -`)
				st.awaitOpen(t, tap, 1)
				gate.release(false)
				st.awaitOpen(t, tap, 0)
				st.server.Close()
			})
		})
	}
}

// Each batch that the gate holds is waited for: the release of an earlier one is not that of
// the last records.
func TestEveryHeldBatchIsWaitedFor(t *testing.T) {
	onStages(t, func(t *testing.T, open func(*Tap) *stage) {
		gate := &porter{holds: true}
		tap := &Tap{Gate: gate}
		st := open(tap)
		st.say(st.client, "a\nb\n")
		st.say(st.server, "A\n")
		st.reset(st.client)
		gate.mu.Lock()
		gate.held[0].Release()
		gate.held = gate.held[1:]
		gate.mu.Unlock()
		st.rest()
		for deadline := time.Now().Add(patience); gate.asked() < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		}
		gate.check(t, `1.1 "a" "A"`, `1.2 "b" -`)
		st.awaitOpen(t, tap, 1)
		gate.release(false)
		st.awaitOpen(t, tap, 0)
		st.server.Close()
	})
}

// A gate that never releases does not keep a tap from closing, whatever its session is at.
func TestCloseDoesNotWaitForTheGate(t *testing.T) {
	onStages(t, func(t *testing.T, open func(*Tap) *stage) {
		gate := &porter{holds: true}
		tap := &Tap{Gate: gate}
		st := open(tap)
		st.say(st.client, "a\nb\n")
		st.say(st.server, "A\n")
		st.say(st.client, "c\n") // whose direction waits for its turn
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, isCut := tap.Shutdown(ctx).(*parley.DrainError); !isCut {
			t.Error("Shutdown did not cut the session")
		}
		if st.inMemory {
			synctest.Wait()
		}
		if n := tap.Open(); n != 0 {
			t.Errorf("%d sessions, want 0", n)
		}
		if st.inMemory { // a loop reads nothing of a session that is held
			gate.check(t, `1.1 "a" "A"`, `1.2 "b" -`, `1.3 "c" -`) // the last had been read
		} else {
			gate.check(t, `1.1 "a" "A"`, `1.2 "b" -`)
		}
		st.client.Close()
		st.server.Close()
	})
}

// Requests that nobody answers do not fill the memory: they are recorded alone, and the
// reply behind them if it comes. One long request is kept for its reply all the same.
func TestRequestsThatWaitForLongAreRecordedAlone(t *testing.T) {
	for _, c := range []struct {
		name, request string
		fit           int
	}{
		{"many", "x", maxUnanswered},
		{"large", strings.Repeat("x", maxUnansweredBytes/4-1), 4}, // and a newline
		{"one larger than all", strings.Repeat("x", maxUnansweredBytes+1), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate := new(porter)
			s := newSession(&Tap{Gate: gate, MaxMessage: 1 << 20}, nil)
			s.public = parley.NewSession(1, nil, nil, time.Now())
			for range c.fit {
				s.inspect(&s.requests, []byte(c.request+"\n"), false)
			}
			gate.check(t)
			s.inspect(&s.requests, []byte("last\n"), false)
			short := fmt.Sprintf("%q", c.request)
			gate.check(t, "1.1 "+short+" -")
			s.inspect(&s.replies, []byte("A\nB\n"), false)
			second := "1.2 " + short + ` "B"`
			if c.fit == 1 {
				second = `1.2 "last" "B"`
			}
			gate.check(t, "1.1 "+short+" -", `1.1 - "A"`, second)
		})
	}
}

// wholeReads are chunks of which nothing is taken off.
type wholeReads struct{ parley.Framing }

func (wholeReads) Next(buf []byte, _, _ int, _ bool) (int, []byte, error) {
	return len(buf), buf, nil
}

// A binary protocol a byte at a time: all bytes of both directions are recorded, in order.
func TestRecordedChunksAreAllBytes(t *testing.T) {
	overEngines(t, func(t *testing.T, tr transport) {
		const size = 20000
		gate, told := new(porter), newRecord()
		upstream := tr.startServer(t, func(conn end) {
			var sending sync.WaitGroup
			sending.Go(func() { send(conn, bytewise{random(2, size)}) })
			io.Copy(io.Discard, conn)
			sending.Wait()
		})
		client := dial(t, tr.start(t, &Tap{Observer: told, Gate: gate, Framing: wholeReads{parley.Chunks}}, upstream))
		go send(client, bytewise{random(1, size)})
		if got := hashOf(t, client); got != hashOf(t, random(2, size)) {
			t.Error("other bytes have arrived than were sent")
		}
		told.awaitClosed(t, 1)
		gate.mu.Lock()
		defer gate.mu.Unlock()
		if got := sha256.Sum256(gate.up); got != hashOf(t, random(1, size)) {
			t.Errorf("%d bytes of the client are recorded, not the %d that it sent", len(gate.up), size)
		}
		if got := sha256.Sum256(gate.down); got != hashOf(t, random(2, size)) {
			t.Errorf("%d bytes of the server are recorded, not the %d that it sent", len(gate.down), size)
		}
	})
}
