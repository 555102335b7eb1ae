// Package tap stands between the clients and the server of any TCP service. It passes
// the bytes of both directions as they come, untouched, and tells a parley.Observer which
// messages it sees in them.
//
// A client's message is Received; a server's is Replied, with the Seq of the oldest
// request that has no reply yet, or Unasked if there is none. So whoever keeps exchanges
// pairs the bytes of the two by Session and Seq; a request that has no Replied when its
// session is Closed was not answered. Each is told before its bytes are passed on. An
// observer that blocks holds back its session, and no other.
//
// A Gate is asked about the same exchanges, each once it has its reply, has come unasked,
// or will have none. While it holds a session nothing of either direction is passed on.
package tap

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
)

// A Tap passes connections on. Set the fields before the first call of Serve and leave
// them alone from then on.
type Tap struct {
	// Dial connects to the server behind the tap, once a session; required. ctx ends
	// with the session.
	Dial func(ctx context.Context) (net.Conn, error)

	Framing     parley.Framing  // where a message ends, for the observer's eyes only; Lines if nil
	MaxMessage  int             // longest message told whole, in bytes; 64 KiB if zero, with LengthPrefixed 1 MiB
	Observer    parley.Observer // told of every event; nobody if nil
	Gate        parley.Gate     // asked about every exchange before its reply's end is passed on; open if nil
	MaxSessions int             // sessions at once; parley.DefaultMaxSessions if zero

	prepare   sync.Once
	mu        sync.Mutex
	stop      chan struct{} // closed by Shutdown and Close
	quiet     chan struct{} // closed when stopped and nobody is left
	cutting   chan struct{} // closed when those that are left are cut
	stopping  bool
	isCut     bool
	listening map[net.Listener]struct{}
	sessions  map[*session]struct{}
	numbered  uint64
}

const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

func (t *Tap) framing() parley.Framing { return cmp.Or(t.Framing, parley.Lines) }

func (t *Tap) maxMessage() int {
	return cmp.Or(t.MaxMessage, parley.DefaultMaxRequest(t.framing()))
}

func (t *Tap) maxSessions() int { return cmp.Or(t.MaxSessions, parley.DefaultMaxSessions()) }

func (t *Tap) init() {
	t.prepare.Do(func() {
		t.stop = make(chan struct{})
		t.quiet = make(chan struct{})
		t.cutting = make(chan struct{})
		t.listening = make(map[net.Listener]struct{})
		t.sessions = make(map[*session]struct{})
	})
}

// Serve accepts connections of l and passes each on until Shutdown or Close is called,
// or l fails for good; it closes l. It returns parley.ErrServerClosed or the listener's
// error, in either case after the last of its sessions has ended.
func (t *Tap) Serve(l net.Listener) error {
	if t.Dial == nil {
		return errors.New("tap: Tap.Dial is nil")
	}
	t.init()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer l.Close()
	if !t.listen(l) {
		return parley.ErrServerClosed
	}
	defer t.unlisten(l)
	pause := time.Duration(0)
	for {
		client, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			t.admit(client, &sessions)
			continue
		case t.stopped():
			return parley.ErrServerClosed
		}
		t.tell(&parley.Event{Kind: parley.AcceptFailed, Time: time.Now(), Err: err})
		if !mayPass(err) {
			return err
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		select {
		case <-time.After(pause):
		case <-t.stop:
			return parley.ErrServerClosed
		}
	}
}

// mayPass reports whether an error of Accept is about the moment, such as a lack of
// descriptors, and not about the listener.
func mayPass(err error) bool {
	var passing interface{ Temporary() bool }
	return errors.As(err, &passing) && passing.Temporary()
}

// admit makes a session of a connection, or resets it: over the limit there is nothing
// that a tap could say in the words of the service.
func (t *Tap) admit(client net.Conn, sessions *sync.WaitGroup) {
	s := newSession(t, client)
	switch reason := t.enter(s); reason {
	case 0:
		sessions.Go(func() {
			s.run()
			t.leave(s)
		})
	case parley.Full:
		t.tell(&parley.Event{Kind: parley.Refused, Time: s.about.Opened(), Session: s.about, Reason: reason})
		reset(client)
	default:
		reset(client)
	}
}

// enter numbers a session, unless there is a reason to refuse it: Full or ServerClosed.
func (t *Tap) enter(s *session) (refused parley.CloseReason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := uint64(0)
	switch {
	case t.stopping:
		refused = parley.ServerClosed
	case len(t.sessions) >= t.maxSessions():
		refused = parley.Full
	default:
		t.numbered++
		number = t.numbered
		t.sessions[s] = struct{}{}
	}
	s.about = parley.NewSession(number, s.client.RemoteAddr(), s.client.LocalAddr(), time.Now())
	return refused
}

func (t *Tap) leave(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s)
	t.tellIfQuiet()
}

// Open is how many sessions there are.
func (t *Tap) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// Shutdown closes the listeners and waits for the sessions to end by themselves, which
// it returns nil for. If ctx ends first it cuts those that are left and returns a
// *parley.DrainError that lists them.
func (t *Tap) Shutdown(ctx context.Context) error {
	t.halt()
	select {
	case <-t.quiet:
		return nil
	case <-ctx.Done():
	}
	cut := t.cut(parley.DrainCut)
	if len(cut) == 0 {
		return nil
	}
	return &parley.DrainError{Cut: cut, Err: context.Cause(ctx)}
}

// Close stops the tap at once: it closes the listeners and resets all connections.
func (t *Tap) Close() error {
	t.halt()
	t.cut(parley.ServerClosed)
	return nil
}

// halt lets nobody in any more.
func (t *Tap) halt() {
	t.init()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return
	}
	t.stopping = true
	close(t.stop)
	for l := range t.listening {
		l.Close()
	}
	t.tellIfQuiet()
}

// cut ends every session and returns them by number.
func (t *Tap) cut(reason parley.CloseReason) []*parley.Session {
	t.mu.Lock()
	if !t.isCut {
		t.isCut = true
		close(t.cutting)
	}
	all := make([]*session, 0, len(t.sessions))
	for s := range t.sessions {
		all = append(all, s)
	}
	t.mu.Unlock()
	var cut []*parley.Session
	for _, s := range all {
		if s.abort(reason, nil) {
			cut = append(cut, s.about)
		}
	}
	slices.SortFunc(cut, func(a, b *parley.Session) int { return cmp.Compare(a.Number(), b.Number()) })
	return cut
}

func (t *Tap) stopped() bool {
	select {
	case <-t.stop:
		return true
	default:
		return false
	}
}

func (t *Tap) listen(l net.Listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopping {
		return false
	}
	t.listening[l] = struct{}{}
	return true
}

func (t *Tap) unlisten(l net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listening, l)
}

func (t *Tap) tellIfQuiet() {
	if !t.stopping || len(t.sessions) > 0 {
		return
	}
	select {
	case <-t.quiet:
	default:
		close(t.quiet)
	}
}

func (t *Tap) tell(e *parley.Event) {
	if t.Observer != nil {
		t.Observer.Observe(e)
	}
}
