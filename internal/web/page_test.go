package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/parleytest"
)

var echo = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })

// onEachEngine runs a test of a page that watches a server.
func onEachEngine(t *testing.T, handler parley.Handler, test func(t *testing.T, p *Page, addr string)) {
	for _, engine := range []parley.Engine{parley.LoopsIfPossible, parley.Goroutines} {
		t.Run(engine.String(), func(t *testing.T) {
			p := New(Options{})
			test(t, p, parleytest.Start(t, &parley.Server{Handler: handler, Observer: p, Engine: engine}))
		})
	}
}

// say sends text, half-closes and reads until the end of file, so that all of it has been
// told to the page.
func say(t *testing.T, addr, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
	}()
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
}

// look calls f while nothing can change.
func look[T any](p *Page, f func(m *memory) T) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f(&p.memory)
}

func totalsOf(m *memory) totals { return m.totals }

func TestAConversationIsRemembered(t *testing.T) {
	onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
		before := time.Now().Add(-time.Millisecond).UnixMicro()
		say(t, addr, "session 1 msg 1\nsession 1 msg 2\n")
		say(t, addr, "")
		got, err := p.story(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		s := got.Session
		if s.Number != 1 || s.Requests != 2 || s.In != 32 || s.Out != 32 || s.Reason != "eof" || s.Local != addr || !strings.HasPrefix(s.Remote, "127.0.0.1:") {
			t.Errorf("the session is %+v", s)
		}
		if s.Opened < before || s.Closed < s.Opened || s.Last != s.Closed {
			t.Errorf("it was opened at %d after %d, and closed at %d; last seen at %d", s.Opened, before, s.Closed, s.Last)
		}
		if len(got.Exchanges) != 2 {
			t.Fatalf("%d exchanges, want 2", len(got.Exchanges))
		}
		for i, x := range got.Exchanges {
			want := fmt.Sprintf("session 1 msg %d", i+1)
			if x.Session != 1 || x.Seq != uint64(i+1) || string(x.Request.Start) != want || string(x.Reply.Start) != want || x.Request.Bytes != 15 || x.At < s.Opened || x.Took <= 0 {
				t.Errorf("exchange %d is %+v: %q, %q", i+1, x, x.Request.Start, x.Reply.Start)
			}
		}
		if got := look(p, totalsOf); got != (totals{Sessions: 2, Requests: 2, Replies: 2}) {
			t.Errorf("totals %+v", got)
		}
		if _, err := p.story(t.Context(), 3); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the story of a session that was not = %v", err)
		}
	})
}

// However much comes, all of it is counted and no more than a sample is kept.
func TestCountsStayExactWhateverIsLeftOut(t *testing.T) {
	const peers, requests = 8, 5000
	onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
		stop, ticking := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ticking)
			for at := time.Now(); ; at = at.Add(tick) {
				select {
				case <-stop:
					return
				default:
					p.tick(at, false)
				}
			}
		}()
		var talking sync.WaitGroup
		for range peers {
			talking.Go(func() { say(t, addr, strings.Repeat("ping\n", requests)) })
		}
		talking.Wait()
		close(stop)
		<-ticking
		got := look(p, totalsOf)
		if got.Requests != peers*requests || got.Replies != peers*requests || got.Sessions != peers || got.Open != 0 {
			t.Errorf("totals %+v, want %d requests and replies of %d sessions", got, peers*requests, peers)
		}
		for number := range uint64(peers) {
			if s := look(p, func(m *memory) session { return *m.sessions[number+1] }); s.Requests != requests {
				t.Errorf("session %d has %d requests, want %d", number+1, s.Requests, requests)
			}
		}
		var timed uint64
		for _, n := range look(p, func(m *memory) histogram { return m.took }) {
			timed += uint64(n)
		}
		if timed != peers*requests {
			t.Errorf("%d replies were timed, want %d", timed, peers*requests)
		}
	})
}

// With no tick nothing is let in but what a quiet time allows: the rest is left out, and
// both together are all.
func TestOnlySoMuchIsKept(t *testing.T) {
	for _, requests := range []int{burst - 1, burst, burst + 1, burst + 1000} {
		onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
			say(t, addr, strings.Repeat("ping\n", requests))
			kept, out := look(p, func(m *memory) int { return len(m.exchanges) }), int(look(p, totalsOf).LeftOut)
			if want := min(requests, burst); kept != want || out != requests-want {
				t.Errorf("of %d requests %d are kept and %d left out, want %d and %d", requests, kept, out, want, requests-want)
			}
		})
	}
}

// What is kept of a flood is not only its first sessions' words.
func TestASampleIsOfAllSessions(t *testing.T) {
	const sessions, requests = 20, 100
	onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
		say(t, addr, strings.Repeat("ping\n", refill*requests))
		p.tick(time.Now(), false) // from now on one of 100
		for range sessions {
			say(t, addr, strings.Repeat("ping\n", requests))
		}
		kept := make(map[uint64]int)
		for _, x := range look(p, func(m *memory) []*exchange { return m.exchanges[burst:] }) {
			kept[x.Session]++
		}
		if len(kept) != sessions {
			t.Errorf("exchanges of %d sessions are kept, want of %d: %v", len(kept), sessions, kept)
		}
	})
}

func TestRoomComesBackWithTime(t *testing.T) {
	p := New(Options{})
	p.room.Store(-3)
	for n := 1; n <= burst/refill+2; n++ {
		p.tick(time.Now(), false)
		if got, want := p.room.Load(), int64(min(burst, n*refill)); got != want {
			t.Errorf("after %d ticks there is room for %d, want %d", n, got, want)
		}
	}
}

func TestARequestWithoutAReplyIsShown(t *testing.T) {
	fails := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if req.Seq == 2 {
			return nil, errors.New("no")
		}
		return append(dst, "yes"...), nil
	})
	onEachEngine(t, fails, func(t *testing.T, p *Page, addr string) {
		say(t, addr, "a\nb\nc\n")
		got, err := p.story(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got.Session.Reason != "handler_error" || len(got.Exchanges) != 2 || got.Exchanges[0].Reply == nil || got.Exchanges[1].Reply != nil {
			t.Errorf("the story is %+v", got)
		}
	})
}

func TestWhatIsKeptOfAMessage(t *testing.T) {
	for _, n := range []int{0, 1, maxBody - 1, maxBody, maxBody + 1} {
		p := bytes.Repeat([]byte("x"), n)
		got := bodyOf(p, 0, maxBody)
		if got.Bytes != n || len(got.Start) != min(n, maxBody) || got.Start == nil {
			t.Errorf("of %d bytes %d are kept, and %d said", n, len(got.Start), got.Bytes)
		}
		if n > 0 && &got.Start[0] == &p[0] {
			t.Error("they are not a copy")
		}
	}
	if got := bodyOf(nil, 0, maxBody); got != nil {
		t.Errorf("no message is kept as %+v", got)
	}
}

// event puts an event together that a server could have told.
func event(kind parley.EventKind, s *parley.Session, seq uint64) *parley.Event {
	return &parley.Event{Kind: kind, Time: time.Now(), Session: s, Seq: seq, Body: []byte("x"), Reason: parley.EndOfFile}
}

// What peers can do does not make memory grow: neither sessions that come and go, nor
// requests without end, nor replies that nobody reads.
func TestMemoryIsBounded(t *testing.T) {
	t.Run("sessions", func(t *testing.T) {
		onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
			for range maxOver + 10 {
				say(t, addr, "")
			}
			if n := look(p, func(m *memory) int { return len(m.sessions) + len(m.over) + m.open.Len() }); n != 2*maxOver {
				t.Errorf("%d sessions are remembered twice, want %d", n, 2*maxOver)
			}
			if _, err := p.story(t.Context(), 10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the oldest is still there: %v", err)
			}
			if _, err := p.story(t.Context(), 11); err != nil {
				t.Errorf("the oldest but those: %v", err)
			}
		})
	})
	t.Run("exchanges", func(t *testing.T) {
		m := newMemory()
		for n := range uint64(maxExchanges + 7) {
			m.keep(&exchange{Seq: n})
		}
		all := m.last(2*maxExchanges, func(*exchange) bool { return true })
		if len(all) != maxExchanges || all[0].Seq != 7 || all[maxExchanges-1].Seq != maxExchanges+6 {
			t.Errorf("%d are kept, from %d to %d", len(all), all[0].Seq, all[len(all)-1].Seq)
		}
	})
	t.Run("points", func(t *testing.T) {
		m := newMemory()
		for n := range maxPoints + 7 {
			m.endSecond(time.Unix(int64(n), 0))
		}
		if len(m.points) != maxPoints || m.points[0].At != 7 || m.points[maxPoints-1].At != maxPoints+6 {
			t.Errorf("%d points from %d", len(m.points), m.points[0].At)
		}
	})
	t.Run("replies that wait", func(t *testing.T) {
		p := New(Options{})
		p.room.Store(3 * maxHalf)
		r := p.Fork().(*recorder)
		s := new(parley.Session)
		r.Observe(event(parley.Opened, s, 0))
		for n := range uint64(maxHalf + 5) {
			r.Observe(event(parley.Received, s, n+1))
		}
		r.Flush()
		if out := look(p, totalsOf).LeftOut; r.waiting != maxHalf || out != 5 {
			t.Errorf("%d wait and %d are left out, want %d and 5", r.waiting, out, maxHalf)
		}
		for n := range uint64(maxHalf + 5) {
			r.Observe(event(parley.Replied, s, n+1))
		}
		r.Observe(event(parley.Closed, s, maxHalf+5))
		r.Flush()
		if r.waiting != 0 || len(r.half) != 0 || look(p, func(m *memory) int { return len(m.exchanges) }) != maxHalf {
			t.Errorf("%d still wait", r.waiting)
		}
	})
}

func TestRefusalsAreCounted(t *testing.T) {
	p := New(Options{})
	p.Observe(&parley.Event{Kind: parley.Refused, Session: new(parley.Session), Reason: parley.Full})
	if got := look(p, totalsOf); got != (totals{Refused: 1}) {
		t.Errorf("totals %+v, want one refused", got)
	}
}

// A fakeHistory knows one session.
type fakeHistory struct{ err error }

func (h fakeHistory) Session(_ context.Context, number uint64, most int) (journal.Session, []journal.Exchange, error) {
	if h.err != nil {
		return journal.Session{}, nil, h.err
	}
	at := time.UnixMicro(1000)
	return journal.Session{ID: 70, Number: number, Remote: "r", Local: "l", Opened: at, Closed: at.Add(time.Second), Reason: "eof", Requests: 3, BytesIn: 9, BytesOut: 8},
		[]journal.Exchange{{Session: 70, Seq: 1, Received: at, Took: 5, Request: []byte("a"), Reply: bytes.Repeat([]byte("b"), maxStoryBody+1)}, {Seq: 2, Received: at, Request: []byte("c")}}, nil
}

func TestAHistoryRemembersMoreThanMemory(t *testing.T) {
	p := New(Options{History: fakeHistory{}})
	got, err := p.story(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := (session{Number: 1, Remote: "r", Local: "l", Opened: 1000, Closed: 1_001_000, Reason: "eof", Requests: 3, In: 9, Out: 8}); got.Session != want {
		t.Errorf("the session is %+v, want %+v", got.Session, want)
	}
	x := got.Exchanges
	if len(x) != 2 || x[0].Session != 1 || x[0].At != 1000 || x[0].Took != 5 || x[0].Reply.Bytes != maxStoryBody+1 || len(x[0].Reply.Start) != maxStoryBody || x[1].Reply != nil {
		t.Errorf("the exchanges are %+v", x)
	}
}

// A history may know an open session's beginning only: how many requests there were, memory
// knows.
func TestMemoryCountsForAHistory(t *testing.T) {
	p := New(Options{History: fakeHistory{}})
	say(t, parleytest.Start(t, &parley.Server{Handler: echo, Observer: p}), strings.Repeat("a\n", 7))
	if got, err := p.story(t.Context(), 1); err != nil || got.Session.Requests != 7 || len(got.Exchanges) != 2 {
		t.Errorf("the story is %+v, %v", got, err)
	}
}

// What the history does not know yet, memory does; a history that fails says so.
func TestAHistoryThatDoesNotKnow(t *testing.T) {
	p := New(Options{History: fakeHistory{fmt.Errorf("number 1: %w", fs.ErrNotExist)}})
	say(t, parleytest.Start(t, &parley.Server{Handler: echo, Observer: p}), "a\n")
	if got, err := p.story(t.Context(), 1); err != nil || len(got.Exchanges) != 1 {
		t.Errorf("the story is %+v, %v", got, err)
	}
	p = New(Options{History: fakeHistory{errors.New("disk on fire")}})
	if _, err := p.story(t.Context(), 1); err == nil || err.Error() != "disk on fire" {
		t.Errorf("the error is %v", err)
	}
}

// What a tap sees has messages that nobody asked for, and long ones of which it tells the
// beginning.
func TestATappedConversationIsRemembered(t *testing.T) {
	p := New(Options{})
	s := parley.NewSession(1, nil, nil, time.Now())
	for _, e := range []parley.Event{
		{Kind: parley.Opened},
		{Kind: parley.Unasked, Body: []byte("220 ready")},
		{Kind: parley.Received, Seq: 1, Body: []byte("HELO"), Cut: 6},
		{Kind: parley.Replied, Seq: 1, Body: []byte("250 o"), Cut: 1},
		{Kind: parley.Received, Seq: 2, Body: []byte("QUIT")},
		{Kind: parley.Closed, Seq: 2, Reason: parley.EndOfFile, In: 16, Out: 17},
	} {
		e.Time, e.Session = time.Now(), s
		if e.Kind == parley.Closed {
			if open := look(p, func(m *memory) session { return *m.sessions[1] }); open.In != 14 || open.Out != 15 {
				t.Errorf("%d bytes in and %d out, want 14 and 15", open.In, open.Out)
			}
		}
		p.Observe(&e)
	}
	told, err := p.story(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range told.Exchanges {
		line := fmt.Sprint(x.Seq)
		for _, b := range []*body{x.Request, x.Reply} {
			if b == nil {
				line += " -"
				continue
			}
			line += fmt.Sprintf(" %s/%d", b.Start, b.Bytes)
		}
		got = append(got, line)
	}
	if want := []string{"0 - 220 ready/9", "1 HELO/10 250 o/6", "2 QUIT/4 -"}; !slices.Equal(got, want) {
		t.Errorf("remembered %q, want %q", got, want)
	}
}
