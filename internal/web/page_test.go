package web

import (
	"bytes"
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
func look[T any](p *Page, f func(s *state) T) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f(&p.state)
}

func totalsOf(s *state) totals { return s.totals }

func TestAConversationIsRemembered(t *testing.T) {
	onEachEngine(t, echo, func(t *testing.T, p *Page, addr string) {
		before := time.Now().Add(-time.Millisecond).UnixMicro()
		say(t, addr, "session 1 msg 1\nsession 1 msg 2\n")
		say(t, addr, "")
		got, err := p.transcript(t.Context(), 1)
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
		if got := look(p, totalsOf); got != (totals{Sessions: 2, Requests: 2, Replies: 2, Probes: 1}) {
			t.Errorf("totals %+v", got)
		}
		if _, err := p.transcript(t.Context(), 3); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the transcript of a session that was not = %v", err)
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
			if s := look(p, func(s *state) session { return *s.sessions[number+1] }); s.Requests != requests {
				t.Errorf("session %d has %d requests, want %d", number+1, s.Requests, requests)
			}
		}
		var timed uint64
		for _, n := range look(p, func(s *state) histogram { return s.latencies }) {
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
			kept, out := look(p, func(s *state) int { return len(s.exchanges) }), int(look(p, totalsOf).LeftOut)
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
		for _, x := range look(p, func(s *state) []*exchange { return s.exchanges[burst:] }) {
			kept[x.Session]++
		}
		if len(kept) != sessions {
			t.Errorf("exchanges of %d sessions are kept, want of %d: %v", len(kept), sessions, kept)
		}
	})
}

func TestRoomComesBackWithTime(t *testing.T) {
	p := New(Options{})
	p.budget.Store(-3)
	for n := 1; n <= burst/refill+2; n++ {
		p.tick(time.Now(), false)
		if got, want := p.budget.Load(), int64(min(burst, n*refill)); got != want {
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
		got, err := p.transcript(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got.Session.Reason != "handler_error" || len(got.Exchanges) != 2 || got.Exchanges[0].Reply == nil || got.Exchanges[1].Reply != nil {
			t.Errorf("the transcript is %+v", got)
		}
	})
}

func TestWhatIsKeptOfAMessage(t *testing.T) {
	for _, n := range []int{0, 1, maxMessage - 1, maxMessage, maxMessage + 1} {
		p := bytes.Repeat([]byte("x"), n)
		got := (wording{}).request(p, 0, false, maxMessage)
		if got.Bytes != n || len(got.Start) != min(n, maxMessage) || got.Start == nil {
			t.Errorf("of %d bytes %d are kept, and %d said", n, len(got.Start), got.Bytes)
		}
		if n > 0 && &got.Start[0] == &p[0] {
			t.Error("they are not a copy")
		}
	}
	if got := (wording{}).request(nil, 0, false, maxMessage); got != nil {
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
			for range maxClosed + 10 {
				say(t, addr, "")
			}
			if n := look(p, func(s *state) int { return len(s.sessions) + len(s.closed) + s.open.Len() }); n != 2*maxClosed {
				t.Errorf("%d sessions are remembered twice, want %d", n, 2*maxClosed)
			}
			if _, err := p.transcript(t.Context(), 10); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the oldest is still there: %v", err)
			}
			if _, err := p.transcript(t.Context(), 11); err != nil {
				t.Errorf("the oldest but those: %v", err)
			}
		})
	})
	t.Run("exchanges", func(t *testing.T) {
		s := newState()
		for n := range uint64(maxExchanges + 7) {
			s.keep(&exchange{Seq: n})
		}
		all := s.last(2*maxExchanges, func(*exchange) bool { return true })
		if len(all) != maxExchanges || all[0].Seq != 7 || all[maxExchanges-1].Seq != maxExchanges+6 {
			t.Errorf("%d are kept, from %d to %d", len(all), all[0].Seq, all[len(all)-1].Seq)
		}
	})
	t.Run("replies that wait", func(t *testing.T) {
		p := New(Options{})
		p.budget.Store(3 * maxPending)
		r := p.Fork().(*recorder)
		s := new(parley.Session)
		r.Observe(event(parley.Opened, s, 0))
		for n := range uint64(maxPending + 5) {
			r.Observe(event(parley.Received, s, n+1))
		}
		r.Flush()
		if out := look(p, totalsOf).LeftOut; r.nPending != maxPending || out != 5 {
			t.Errorf("%d wait and %d are left out, want %d and 5", r.nPending, out, maxPending)
		}
		for n := range uint64(maxPending + 5) {
			r.Observe(event(parley.Replied, s, n+1))
		}
		r.Observe(event(parley.Closed, s, maxPending+5))
		r.Flush()
		if r.nPending != 0 || len(r.pending) != 0 || look(p, func(s *state) int { return len(s.exchanges) }) != maxPending {
			t.Errorf("%d still wait", r.nPending)
		}
	})
}

func TestWhatBecomesNoSessionIsCounted(t *testing.T) {
	p := New(Options{})
	for _, e := range []parley.Event{
		{Kind: parley.Refused, Reason: parley.Full}, {Kind: parley.Refused, Reason: parley.Denied},
		{Kind: parley.HandshakeFailed, Reason: parley.Handshake}, {Kind: parley.HandshakeFailed, Reason: parley.HandshakeTimeout},
		{Kind: parley.HandshakeFailed, Reason: parley.Full}, {Kind: parley.HandshakeFailed, Reason: parley.NoRequest},
	} {
		e.Session = new(parley.Session)
		if !p.Wants(e.Kind) {
			t.Errorf("%v is not wanted", e.Kind)
		}
		p.Observe(&e)
	}
	if got := look(p, totalsOf); got != (totals{Refused: 2, Failed: 3, Probes: 1}) {
		t.Errorf("totals %+v, want two refused, three failed and one probe", got)
	}
}

// A forwardedConn came by a proxy that says something of it.
type forwardedConn struct {
	net.Conn
	forwarded *parley.Forwarded
}

func (c *forwardedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99}
}
func (c *forwardedConn) LocalAddr() net.Addr          { return nil }
func (c *forwardedConn) Forwarded() *parley.Forwarded { return c.forwarded }

// What is known of TLS and of a proxy is told with the session; of a name that is longer than any
// honest one the beginning.
func TestSecurityIsTold(t *testing.T) {
	proxy := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}
	for name, want := range map[string]string{"": "", "alice": "alice", strings.Repeat("x", maxName): strings.Repeat("x", maxName),
		strings.Repeat("x", maxName+1): strings.Repeat("x", maxName) + "…", strings.Repeat("é", 32<<10): strings.Repeat("é", maxName/2) + "…"} {
		p := New(Options{})
		s := parley.SessionOf(1, &forwardedConn{nil, &parley.Forwarded{Proxy: proxy, TLSVersion: "TLSv1.3", TLSName: name}}, time.Now())
		p.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: time.Now()})
		got := p.snapshot(cursor{}, fineSpan).Sessions[0]
		if got.TLSVersion != "TLSv1.3" || got.TLSName != want || got.Proxy != "10.0.0.1:80" || got.Remote != "192.0.2.7:99" {
			t.Errorf("%.20q: the session is %+v", name, got)
		}
		if of := sessionOf(journal.Session{TLSVersion: "TLSv1.3", TLSName: name, Proxied: "10.0.0.1:80"}); of.TLSVersion != "TLSv1.3" || of.TLSName != want || of.Proxy != "10.0.0.1:80" {
			t.Errorf("%.20q: of the journal it is %+v", name, of)
		}
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
			if open := look(p, func(s *state) session { return *s.sessions[1] }); open.In != 14 || open.Out != 15 {
				t.Errorf("%d bytes in and %d out, want 14 and 15", open.In, open.Out)
			}
		}
		p.Observe(&e)
	}
	told, err := p.transcript(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range told.Exchanges {
		line := fmt.Sprint(x.Seq)
		for _, b := range []*message{x.Request, x.Reply} {
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

// What a server says of its own accord is told before the end of its session, and what it
// tells a connection that it refuses has none: both are shown, and neither is taken for a reply.
func TestErrorTextsAreShown(t *testing.T) {
	p := New(Options{})
	s := parley.NewSession(1, nil, nil, time.Now())
	refused := parley.NewSession(0, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 99}, nil, time.Now())
	for _, e := range []parley.Event{
		{Kind: parley.Opened, Session: s},
		{Kind: parley.Received, Session: s, Seq: 1, Body: []byte("a")},
		{Kind: parley.Replied, Session: s, Seq: 1, Body: []byte("b")},
		{Kind: parley.Unasked, Session: s, Body: []byte("Error: request longer than 9 bytes")},
		{Kind: parley.Closed, Session: s, Seq: 1, Reason: parley.TooLong},
		{Kind: parley.Refused, Session: refused, Reason: parley.Full, Body: []byte("Error: server is full (1 sessions)")},
		{Kind: parley.Refused, Session: refused, Reason: parley.PerIP},
	} {
		e.Time = time.Now()
		p.Observe(&e)
	}
	told := p.snapshot(cursor{}, fineSpan)
	if len(told.Exchanges) != 4 || told.Totals != (totals{Sessions: 1, Requests: 1, Replies: 1, Refused: 2}) {
		t.Fatalf("%d exchanges, totals %+v", len(told.Exchanges), told.Totals)
	}
	if x := told.Exchanges[1]; x.Session != 1 || x.Seq != 0 || x.Request != nil || string(x.Reply.Start) != "Error: request longer than 9 bytes" {
		t.Errorf("the error text is told as %+v", x)
	}
	if x := told.Exchanges[2]; x.Session != 0 || *x.Refused != (refusal{"192.0.2.7:99", "full"}) || string(x.Reply.Start) != "Error: server is full (1 sessions)" {
		t.Errorf("a refusal is told as %+v", x)
	}
	if x := told.Exchanges[3]; *x.Refused != (refusal{"192.0.2.7:99", "per_ip"}) || x.Reply != nil {
		t.Errorf("a refusal without a word is told as %+v", x)
	}
	if of, err := p.transcript(t.Context(), 1); err != nil || len(of.Exchanges) != 2 || of.Exchanges[1] != told.Exchanges[1] {
		t.Errorf("its session has %+v, %v", of.Exchanges, err)
	}

	// Whoever is refused again and again takes up no more than the budget.
	for range 2 * burst {
		p.Observe(&parley.Event{Kind: parley.Refused, Session: refused, Reason: parley.Full, Body: []byte("x")})
	}
	if kept := look(p, func(s *state) uint64 { return s.kept }); kept != burst {
		t.Errorf("%d exchanges are kept, want %d", kept, burst)
	}
}
