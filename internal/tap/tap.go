// Package tap stands between the clients and the server of any TCP service. It passes
// the bytes of both directions as they come, untouched, and tells a parley.Observer which
// messages it sees in them.
//
// A client's message is Received; a server's is Replied, with the Seq of the oldest
// request that has no reply yet, or Unasked if there is none. So whoever keeps exchanges
// pairs the bytes of the two by Session and Seq; a request that has no Replied when its
// session is Closed was not answered. Each is told before its bytes are passed on. A
// protocol may know better than the order: a request that its parley.Note calls Alone waits
// for no reply, and such a message of the server is none.
//
// Bytes that are of no message are counted, in Closed.Stray, and told of once a session. Where
// a peer breaks its framing, or sends a message over the limit under a framing that is no
// parley.Skipper, FramingLost is told, once a direction at most: from there on each read of
// that direction is a message, none of which is paired.
//
// Over TLS, on either side or both, what passes is what was said inside. An end of file is then
// a close_notify; one that TLS has not announced is passed on as what it is, without one, and the
// session ends as Truncated.
//
// A peer whose connection breaks is heard to its end: all that had arrived of it is told, and
// passed on as far as the other takes it within a second. Then the other is reset. An
// observer that blocks holds back its session, and no other; with event loops all sessions of
// its loop, see Tap.Engine.
//
// A Gate is asked about the same exchanges, each once it has its reply, has come unasked,
// or will have none, and about the bytes of no message: all that passed, but for what a Raw
// says was cut. While it holds a session nothing of either direction is passed on.
package tap

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/kernel"
)

// A Program is a server that is there for one client alone, as a process is. When it has ended, and
// what it said is passed on, the session is over whether the client has ended or not: it sees an
// end of file, and what it sends for another second is discarded. At a Shutdown no more is read of the client, and the
// program sees an end of file behind what was: it may answer that, and end.
type Program interface {
	net.Conn
	CloseWrite() error
	Ended() <-chan struct{} // closed when it has
}

// A Tap passes connections on. Set the fields before the first call of Serve and leave
// them alone from then on.
type Tap struct {
	// Dial connects to the server behind the tap for a client, once a session; required. ctx
	// ends with the session, or when a loop has it. A TLS connection's handshake is to be done. The server may be a
	// Program.
	Dial func(ctx context.Context, client *parley.Session) (net.Conn, error)

	// Engine is what passes the sessions on. Goroutines, if zero, is two a session, and an Observer that
	// blocks holds back its own session only. With Loops or LoopsIfPossible, on Linux, event loops do,
	// one a CPU that the process may use, wherever both connections are a *net.TCPConn or *net.UnixConn
	// themselves: that is faster, and a silent session takes up about a kilobyte, but an Observer, a Gate
	// or a Framing that blocks holds back all sessions of its loop. All others have goroutines in any case.
	Engine parley.Engine

	Framing     parley.Framing  // where a message ends, for the observer's eyes only; as of a parley.Server
	Replies     parley.Framing  // the same of what the server says
	MaxMessage  int             // longest message told whole, in bytes; parley.DefaultMaxRequest of its framing if zero
	Observer    parley.Observer // told of every event; nobody if nil
	Gate        parley.Gate     // asked about every exchange before its reply's end is passed on; open if nil
	MaxSessions int             // sessions at once; parley.DefaultMaxSessions if zero

	MaxSessionsPerIP int // sessions of one IPv4 address or IPv6 /64; no limit if zero

	// Refusal is what a client over a session limit is told, Full or PerIP, before it is hung up on. If
	// it is nil such a client is reset: a tap has nothing to say in the words of the service.
	Refusal func(reason parley.CloseReason) (body, sent []byte)

	ServerName string // what errors call the server; "server" if empty

	// Allow says whose connections are passed on, by the client's IP address, or the one that a
	// proxy names; everybody's if nil. The others are reset. It is not asked of clients without
	// an IP.
	Allow func(ip netip.Addr) bool

	// Clocks; the default if zero, off if negative. They may be late by an eighth of the
	// shortest, by 10 ms if that is more, and by 2 s at most; never early. Time in which the
	// process did not run counts for none of them.
	IdleTimeout      time.Duration // while neither peer says anything; off if zero, since a tap changes nothing
	WriteTimeout     time.Duration // while a peer takes not one byte, or acknowledges none; DefaultWriteTimeout if zero
	HalfCloseTimeout time.Duration // while one peer has ended and the other says nothing; DefaultHalfCloseTimeout if zero

	// HandshakeTimeout is for a client's TLS, or what else has to be agreed before there is a
	// session; 5 s if zero, off if negative.
	HandshakeTimeout time.Duration

	prepare   sync.Once
	stop      chan struct{} // closed by Shutdown and Close
	drained   chan struct{} // closed when stopped and no session is left
	mu        sync.Mutex
	shaking   accept.Handshakes
	cutShakes context.CancelFunc
	stopping  bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	perIP     map[netip.Prefix]int
	numbered  uint64
	refusing  atomic.Int64 // clients that are being told why they are hung up on
	answers   bool         // the observer wants Answered

	loops   loops
	clock   atomic.Int64 // a time.Duration: for how long the process has run while there were sessions
	ticker  *time.Timer  // nil before the first session
	ticked  time.Time    // when the clock was last set
	ticking bool         // there are sessions

	lastBegun, sinceGiven uint64
}

const (
	// DefaultWriteTimeout is less than the quarter of an hour that kernels give a peer which
	// has vanished, and more than a program that is only slow takes.
	DefaultWriteTimeout = 5 * time.Minute

	// DefaultHalfCloseTimeout leaves time for an answer that takes long to work out. Without
	// a bound, clients that go away before a server which never closes would use up
	// MaxSessions.
	DefaultHalfCloseTimeout = time.Hour

	defaultHandshakeTimeout = 5 * time.Second

	closeTime = time.Second // how long Close waits for sessions that it has cut

	maxRefusing = 64
)

func (t *Tap) framing() parley.Framing { return cmp.Or(t.Framing, parley.Lines) }

func (t *Tap) maxMessage(framing parley.Framing) int {
	return cmp.Or(t.MaxMessage, parley.DefaultMaxRequest(framing))
}

func (t *Tap) maxSessions() int { return cmp.Or(t.MaxSessions, parley.DefaultMaxSessions()) }

func (t *Tap) writeTimeout() time.Duration { return cmp.Or(t.WriteTimeout, DefaultWriteTimeout) }

func (t *Tap) halfCloseTimeout() time.Duration {
	return cmp.Or(t.HalfCloseTimeout, DefaultHalfCloseTimeout)
}

func (t *Tap) init() {
	t.prepare.Do(func() {
		t.stop = make(chan struct{})
		t.shaking = accept.Handshakes{Limit: t.maxSessions(), Timeout: cmp.Or(t.HandshakeTimeout, defaultHandshakeTimeout)}
		t.shaking.Context, t.cutShakes = context.WithCancel(context.Background())
		t.drained = make(chan struct{})
		t.listeners = make(map[net.Listener]struct{})
		t.sessions = make(map[*session]struct{})
		t.perIP = make(map[netip.Prefix]int)
		chooser, chooses := t.Observer.(interface{ Wants(parley.EventKind) bool })
		t.answers = chooses && chooser.Wants(parley.Answered)
	})
}

// Serve accepts connections of l and passes each on until Shutdown or Close is called, or
// l is lost for good; it closes l. An error of Accept that may pass, such as too many open
// files, is told to the Observer and tried again after 5 ms, doubling to 1 s.
//
// After a Shutdown or Close it returns parley.ErrServerClosed, once the last of its sessions
// has ended. The final error of a listener is returned at once: the sessions go on, and a
// Shutdown waits for them.
func (t *Tap) Serve(l net.Listener) error {
	if t.Dial == nil {
		return errors.New("tap: Tap.Dial is nil")
	}
	t.init()
	defer l.Close()
	if !t.addListener(l) {
		return parley.ErrServerClosed
	}
	defer t.removeListener(l)
	if err := t.loops.acquire(t); err != nil {
		return err
	}
	var sessions sync.WaitGroup
	err := accept.Loop(func() error {
		client, err := l.Accept()
		switch shaker, shakes := client.(accept.Handshaker); {
		case err != nil:
			return err
		case shakes: // which may take its time
			sessions.Go(func() {
				if t.shakeHands(shaker) {
					t.admit(client, &sessions)
				}
			})
		default:
			t.admit(client, &sessions)
		}
		return nil
	}, t.stop, func(err error) {
		t.tell(&parley.Event{Kind: parley.AcceptFailed, Time: kernel.Now(), Err: err})
	})
	end := func() {
		sessions.Wait()
		t.loops.release()
	}
	if err == nil {
		end()
		return parley.ErrServerClosed
	}
	go end()
	if !errors.Is(err, net.ErrClosed) {
		t.tell(&parley.Event{Kind: parley.ListenerLost, Time: kernel.Now(), Err: err})
	}
	return err
}

// shakeHands has a client agree on what it has to before there can be a session, and reports
// whether it did. The observer is told of one that did not, unless the tap stops meanwhile.
func (t *Tap) shakeHands(client accept.Handshaker) bool {
	begun := kernel.Now()
	err := t.shaking.Shake(client, netip.Prefix{})
	switch reason := parley.HandshakeReason(err); reason {
	case 0:
		return true
	case parley.ServerClosed:
	case parley.Denied:
		t.tell(&parley.Event{Kind: parley.Refused, Time: begun, Session: parley.SessionOf(0, client, begun), Reason: reason, Err: err})
	default:
		now := kernel.Now()
		t.tell(&parley.Event{
			Kind: parley.HandshakeFailed, Time: now, Session: parley.SessionOf(0, client, begun),
			Reason: reason, Err: err, Took: now.Sub(begun),
		})
	}
	return false
}

// admit makes a session of a connection, or resets it: to those who are not let in there is
// nothing that a tap could say in the words of the service.
func (t *Tap) admit(client net.Conn, sessions *sync.WaitGroup) {
	s := newSession(t, client)
	switch reason := t.addSession(s); reason {
	case 0:
		s.serving = sessions
		sessions.Go(s.run)
		runtime.Gosched() // where many come at once each dials, and leaves the stack that it needs for that to the next
	case parley.Full, parley.PerIP, parley.Denied:
		t.refuse(s, reason, sessions)
	default:
		reset(client)
	}
}

// refuse hangs up on a client, which is told why if there are words for it. Past maxRefusing at once none is
// told: a flood of them must not use up the descriptors.
func (t *Tap) refuse(s *session, reason parley.CloseReason, sessions *sync.WaitGroup) {
	var body, sent []byte
	patient := t.refusing.Add(1) <= maxRefusing
	if t.Refusal != nil && reason != parley.Denied && patient {
		body, sent = t.Refusal(reason)
	}
	t.tell(&parley.Event{
		Kind: parley.Refused, Time: s.public.Opened(), Session: s.public, Reason: reason,
		Body: body, Raw: parley.Raw{Bytes: sent, Body: max(0, bytes.Index(sent, body))},
	})
	if len(sent) == 0 {
		t.refusing.Add(-1)
		reset(s.client.conn)
		return
	}
	sessions.Go(func() {
		defer t.refusing.Add(-1)
		s.client.conn.SetDeadline(kernel.Now().Add(closeTime))
		s.client.conn.Write(sent)
		s.linger(s.client.conn)
	})
}

// addSession numbers a session, unless there is a reason to refuse it: Denied, Full or
// ServerClosed.
func (t *Tap) addSession(s *session) (refused parley.CloseReason) {
	client := s.client.conn
	address := prefixOf(client.RemoteAddr())
	denied := t.Allow != nil && !t.allows(client.RemoteAddr())
	t.mu.Lock()
	defer t.mu.Unlock()
	number := uint64(0)
	switch {
	case t.stopping:
		refused = parley.ServerClosed
	case denied:
		refused = parley.Denied
	case len(t.sessions) >= t.maxSessions():
		refused = parley.Full
	case t.MaxSessionsPerIP > 0 && address.IsValid() && t.perIP[address] >= t.MaxSessionsPerIP:
		refused = parley.PerIP
	default:
		t.perIP[address]++
		t.numbered++
		number = t.numbered
		t.sessions[s] = struct{}{}
		t.startClock()
	}
	s.public = parley.SessionOf(number, client, kernel.Now())
	return refused
}

func (t *Tap) allows(client net.Addr) bool {
	tcp, ok := client.(*net.TCPAddr)
	return !ok || t.Allow(tcp.AddrPort().Addr().Unmap())
}

// prefixOf is what counts as one address: an IPv4 address or an IPv6 /64, since a single host
// commonly has all of that. A client without an IP has none, and is not counted.
func prefixOf(client net.Addr) netip.Prefix {
	tcp, ok := client.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

func (t *Tap) removeSession(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
	address := prefixOf(s.public.RemoteAddr())
	if t.perIP[address]--; t.perIP[address] == 0 {
		delete(t.perIP, address)
	}
	t.noteDrained()
}

// Sessions are those that there are now, in no order.
func (t *Tap) Sessions() []*parley.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*parley.Session, 0, len(t.sessions))
	for s := range t.sessions {
		all = append(all, s.public)
	}
	return all
}

// Open is how many sessions there are.
func (t *Tap) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// Shutdown closes the listeners and waits for the sessions to end by themselves, those of a Program once that
// has seen an end of file, which it returns nil for. If ctx ends first it cuts those that are left, as Close does, and
// returns a *parley.DrainError that lists them.
func (t *Tap) Shutdown(ctx context.Context) error {
	t.stopAccepting()
	select {
	case <-t.drained:
		return nil
	case <-ctx.Done():
	}
	cut := t.cut(parley.DrainCut)
	if len(cut) == 0 {
		return nil
	}
	return &parley.DrainError{Cut: cut, Err: context.Cause(ctx)}
}

// Close stops the tap at once: it closes the listeners and resets all connections. It
// waits a second at most for that to be done: an observer or a connection's Close that
// blocks keeps Serve, but not Close, from returning.
func (t *Tap) Close() error {
	t.stopAccepting()
	t.cut(parley.ServerClosed)
	return nil
}

// stopAccepting closes the listeners, outside the lock: a Close may take its time.
func (t *Tap) stopAccepting() {
	t.init()
	for _, l := range t.startStopping() {
		l.Close()
	}
}

func (t *Tap) startStopping() (listeners []net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return nil
	}
	t.stopping = true
	close(t.stop)
	t.cutShakes()
	for s := range t.sessions {
		s.stopRequests()
	}
	t.noteDrained()
	return slices.Collect(maps.Keys(t.listeners))
}

// cut ends every session and returns those that had not ended by themselves, by number.
func (t *Tap) cut(reason parley.CloseReason) []*parley.Session {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.sessions))
	t.mu.Unlock()
	var cut []*parley.Session
	for _, s := range all {
		if s.cut(reason) {
			cut = append(cut, s.public)
		}
	}
	select {
	case <-t.drained:
	case <-time.After(closeTime):
	}
	slices.SortFunc(cut, func(a, b *parley.Session) int { return cmp.Compare(a.Number(), b.Number()) })
	return cut
}

func (t *Tap) addListener(l net.Listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return false
	}
	t.listeners[l] = struct{}{}
	return true
}

func (t *Tap) removeListener(l net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, l)
}

// stopped reports whether the tap is stopping.
func (t *Tap) stopped() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

func (t *Tap) noteDrained() {
	if !t.stopping || len(t.sessions) > 0 {
		return
	}
	select {
	case <-t.drained:
	default:
		close(t.drained)
	}
}

func (t *Tap) tell(e *parley.Event) {
	if t.Observer != nil {
		t.Observer.Observe(e)
	}
}
