//go:build !386

package tap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

func (t *looped) do(f func()) { t.loop.mailbox.Send(command{do: f}) }

// The tests over loops are of loops: a session of plain sockets has one, and no goroutine.
func TestPlainSocketsHaveALoop(t *testing.T) {
	for engine, want := range map[parley.Engine]bool{parley.Goroutines: false, parley.Loops: true, parley.LoopsIfPossible: true} {
		tap := new(Tap)
		upstream := plain.startServer(t, func(conn end) { io.Copy(conn, conn) })
		client := transport{engine: engine}.dial(t, transport{engine: engine}.start(t, tap, upstream))
		io.WriteString(client, "a\n")
		io.ReadFull(client, make([]byte, 2))
		d := driverOf(theSession(tap))
		if _, is := d.(*looped); is != want {
			t.Errorf("with the engine %v it is passed on by %T", engine, d)
		}
	}
}

// pass has the tap's clock, which stands nearly still in a test of less than a second, say what a session's
// timeouts are looked at by.
func pass(s *session, now time.Duration) { inDriver(s, func() { s.checkTimeouts(now) }) }

// The clocks of looped sessions are the same as of others, but that it is the loop that looks at them.
func TestTimeoutsOfALoop(t *testing.T) {
	const timeout = time.Minute
	for _, c := range []struct {
		name   string
		tap    *Tap
		before func(st *stage)
		reason parley.CloseReason
		why    string
	}{
		{"nobody says anything", &Tap{IdleTimeout: timeout}, func(*stage) {}, parley.IdleTimeout, "nothing was said for 1m0s"},
		{"the server says nothing behind the client's end", &Tap{HalfCloseTimeout: timeout}, func(st *stage) { st.client.CloseWrite() },
			parley.IdleTimeout, "the client had ended and the server said nothing for 1m0s"},
		{"the client says nothing behind the server's end", &Tap{HalfCloseTimeout: timeout}, func(st *stage) { st.server.CloseWrite() },
			parley.IdleTimeout, "the server had ended and the client said nothing for 1m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			observer, closed := closings()
			c.tap.Observer = observer
			client, server := startLooped(t, c.tap)
			s := theSession(c.tap)
			c.before(&stage{client: client, server: server})
			for isEnded := c.name == "nobody says anything"; !isEnded; { // what is told first
				inDriver(s, func() {
					up, _ := s.requests.activity.get()
					down, _ := s.replies.activity.get()
					isEnded = up == ended || down == ended
				})
			}
			pass(s, timeout-1)
			if end := s.end.Load(); end != nil {
				t.Fatalf("ended too early: %v", end.err)
			}
			pass(s, timeout+patience) // the clock has gone on a little
			if end := awaitClosing(t, closed); end.Reason != c.reason || end.Err == nil || end.Err.Error() != c.why {
				t.Errorf("ended for %v, %v, want %v, %s", end.Reason, end.Err, c.reason, c.why)
			}
		})
	}
}

// The clocks stand still while the gate holds the session.
func TestTimeoutsOfALoopWaitForTheGate(t *testing.T) {
	gate := &porter{holds: true}
	observer, closed := closings()
	tap := &Tap{Observer: observer, Gate: gate, IdleTimeout: time.Minute, HalfCloseTimeout: time.Minute}
	client, server := startLooped(t, tap)
	s := theSession(tap)
	say(client, server, "a\n")
	io.WriteString(server, "A\n")
	for gate.asked() == 0 {
		time.Sleep(time.Millisecond)
	}
	pass(s, time.Hour)
	if end := s.end.Load(); end != nil {
		t.Fatalf("ended: %v", end.err)
	}
	gate.release(false)
	if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	pass(s, 2*time.Hour)
	if end := awaitClosing(t, closed); end.Reason != parley.IdleTimeout {
		t.Errorf("ended for %v, want idle_timeout", end.Reason)
	}
}

// A request that waits for its rest is told of, once, by a loop too.
func TestUnfinishedIsToldByALoop(t *testing.T) {
	unfinished := make(chan parley.Event, 10)
	tap := &Tap{Observer: parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Unfinished {
			e.Body = bytes.Clone(e.Body)
			unfinished <- *e
		}
	})}
	client, server := startLooped(t, tap)
	begun := time.Now()
	say(client, server, "a\nb")
	say(client, server, "c")
	if e := awaitEvent(t, unfinished); e.Seq != 2 || string(e.Body) != "bc" || e.Time.Sub(begun) < unfinishedAfter {
		t.Errorf("told of %d %q after %v, want 2 %q after %v", e.Seq, e.Body, e.Time.Sub(begun), "bc", unfinishedAfter)
	}
	say(client, server, "\nd")
	s := theSession(tap)
	inDriver(s, func() { s.tellUnfinished(time.Now().Add(time.Hour)) })
	if len(unfinished) > 0 {
		t.Error("told of twice")
	}
}

// A publisher's forks keep what they are told until they are flushed.
type publisher struct {
	mu        sync.Mutex
	published []string
}

func (p *publisher) Observe(*parley.Event) {}
func (p *publisher) Fork() parley.Observer { return &publisherFork{public: p} }

type publisherFork struct {
	public *publisher
	kept   []string
}

func (f *publisherFork) Observe(e *parley.Event) {
	f.kept = append(f.kept, fmt.Sprintf("%v %s", e.Kind, e.Body))
}

func (f *publisherFork) Flush() {
	f.public.mu.Lock()
	defer f.public.mu.Unlock()
	f.public.published = append(f.public.published, f.kept...)
	f.kept = nil
}

// What a peer has seen, the end included, was published before.
func TestWhatAPeerHasSeenIsPublished(t *testing.T) {
	p := new(publisher)
	client, server := startLooped(t, &Tap{Observer: p})
	check := func(what string) {
		t.Helper()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !slices.Contains(p.published, what) {
			t.Errorf("%q is not published; %q is", what, p.published)
		}
	}
	for i := range 100 {
		say(client, server, fmt.Sprintf("a%d\n", i))
		check(fmt.Sprintf("received a%d", i))
		say(server, client, fmt.Sprintf("A%d\n", i))
		check(fmt.Sprintf("replied A%d", i))
	}
	io.WriteString(client, "rest") // whose end is that of the file
	client.CloseWrite()
	io.ReadAll(server)
	check("received rest")
	server.CloseWrite()
	io.ReadAll(client)
	check("closed ")
}

// A flow that waits for room, or for its record, keeps its bytes and its place, whatever the other does.
func TestHoldsAndStallsLoseNothing(t *testing.T) {
	const size = 4 << 20
	var releasing sync.WaitGroup
	released := make(chan *parley.Session, 1<<16)
	gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
		if len(batch)%3 == 0 {
			return true
		}
		released <- s
		return false
	})
	releasing.Go(func() {
		for s := range released {
			s.Release()
		}
	})
	overEngines(t, func(t *testing.T, tr transport) {
		told := newRecord()
		closed := parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Closed {
				told.Observe(e)
				if e.In != size || e.Out != size {
					t.Errorf("told of %d bytes in and %d out, want %d", e.In, e.Out, size)
				}
			}
		})
		tap := &Tap{Observer: closed, Gate: gate}
		client, server := tr.startSmall(t, tap, "client")
		s := theSession(tap)
		inDriver(s, func() { // less than what is kept, so that it is taken in parts
			if s.server.link == nil {
				syscall.SetsockoptInt(int(s.server.fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4<<10)
			}
		})
		var sending sync.WaitGroup
		sending.Go(func() { send(client, random(1, size)) })
		sending.Go(func() { send(server, random(2, size)) })
		atServer := make(chan [32]byte, 1)
		sending.Go(func() { atServer <- hashOf(t, slowly{server}) })
		if got := hashOf(t, client); got != hashOf(t, random(2, size)) {
			t.Error("other bytes came to the client")
		}
		if <-atServer != hashOf(t, random(1, size)) {
			t.Error("other bytes came to the server")
		}
		sending.Wait()
		told.awaitClosed(t, 1)
	})
	close(released)
	releasing.Wait()
}

type gateFunc func(*parley.Session, []parley.Exchange) bool

func (f gateFunc) Pass(s *parley.Session, batch []parley.Exchange) bool { return f(s, batch) }

// slowly reads little at a time, so that it is waited for.
type slowly struct{ io.Reader }

func (r slowly) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 1000)]) }

// Unix sockets have loops too. Theirs cannot be reset: a peer that leaves with something unread is seen to have
// done so, and the other is closed.
func TestUnixSocketsHaveALoop(t *testing.T) {
	told := newRecord()
	dir := t.TempDir()
	listenAt := func(name string) net.Listener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	dialAt := func(name string) end {
		conn, err := net.Dial("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		return conn.(end)
	}
	upstream, l := listenAt("server"), listenAt("tap")
	tap := &Tap{Engine: parley.Loops, Observer: told, Dial: func(context.Context, *parley.Session) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(dir, "server"))
	}}
	serve(t, tap, l)
	open := func() (client, server end) {
		client = dialAt("tap")
		accepted, err := upstream.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { accepted.Close() })
		accepted.SetDeadline(time.Now().Add(patience))
		say(client, accepted, "a\n")
		d := driverOf(theSession(tap))
		if _, is := d.(*looped); !is {
			t.Errorf("it is passed on by %T", d)
		}
		return client, accepted.(end)
	}

	client, server := open()
	client.CloseWrite()
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the server read %v, want the end of file", err)
	}
	say(server, client, "A\n")
	server.CloseWrite()
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %v, want the end of file", err)
	}
	told.awaitClosed(t, 1)

	client, server = open()
	say(server, client, "A\n")
	io.WriteString(server, "unread\n")
	awaitUnread(t, client)
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("the server can go on")
	}
	told.awaitClosed(t, 1)
	told.check(t, "1 opened", `1 received 1 "a"`, `1 replied 1 "A"`, "1 closed 1 eof",
		"2 opened", `2 received 1 "a"`, `2 replied 1 "A"`, `2 message 0 "unread"`, "2 closed 1 reset")
}

// A peer that takes nothing may be alive, and have more to say: that is not waited for. Over TCP its kernel would
// end the connection, a Unix socket has nobody who does.
func TestAUnixPeerThatTakesNothingIsCut(t *testing.T) {
	observer, closed := closings()
	dir := t.TempDir()
	upstream, err := net.Listen("unix", filepath.Join(dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	l, err := net.Listen("unix", filepath.Join(dir, "tap"))
	if err != nil {
		t.Fatal(err)
	}
	tap := &Tap{Engine: parley.Loops, Observer: observer, WriteTimeout: time.Hour, Dial: func(context.Context, *parley.Session) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(dir, "server"))
	}}
	serve(t, tap, l)
	client, err := net.Dial("unix", filepath.Join(dir, "tap"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := upstream.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var saying sync.WaitGroup
	saying.Go(func() { client.Write(make([]byte, 16<<20)) })
	defer saying.Wait()
	defer client.Close()
	awaitWriting(t, tap)
	s := theSession(tap)
	pass(s, time.Hour) // sees what is unsent
	pass(s, 3*time.Hour)
	if end := awaitClosing(t, closed); end.Reason != parley.WriteTimeout {
		t.Errorf("ended for %v (%v), want write_timeout", end.Reason, end.Err)
	}
}

func awaitUnread(t *testing.T, conn net.Conn) {
	t.Helper()
	for deadline := time.Now().Add(patience); unread(conn) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing arrives")
		}
	}
}
