package parley

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/epoll"
	"github.com/parley-tcp/parley/internal/kernel"
)

// A Server answers the requests of many peers at once. Its zero value with a
// Handler works. Set the fields before the first call of Serve or ServeConn and
// leave them alone from then on.
type Server struct {
	Handler  Handler  // answers each request; required: without one nothing is served, see Serve
	Framing  Framing  // where a request ends; Lines if nil. It may be a Protocol
	Replies  Framing  // where a reply ends; as Framing if nil, and with a Protocol
	Observer Observer // told of every event; nobody if nil
	Gate     Gate     // asked before replies are written; open if nil
	Engine   Engine   // what drives the sessions that Serve accepts; Goroutines if zero

	// Log gets what went wrong and no Observer hears of: a handler's error or panic, with its
	// stack, if none wants Closed, and an error of Accept, if none wants AcceptFailed.
	// slog.Default() if nil.
	Log *slog.Logger

	// KeepBlank has empty requests answered like any other. Otherwise one ends the
	// conversation.
	KeepBlank bool

	MaxRequest       int // longest request, in bytes; DefaultMaxRequest if zero; with Chunks 16 MiB at most
	MaxUnsent        int // bytes of unsent replies at which a peer is no longer read; 256 KiB if zero
	MaxSessions      int // sessions at once; if zero max(16, min(10000, (open files - 64) / 2))
	MaxSessionsPerIP int // sessions of one IPv4 address or IPv6 /64, and as many handshakes; no limit if zero

	// Allow says whose connections are served, by the peer's IP address, or the one that a
	// proxy names; everybody's if nil. The others are hung up on without a word. It is not
	// asked of peers without an IP.
	Allow func(ip netip.Addr) bool

	// MaxHeld is how many bytes all sessions may hold in memory together, for unfinished
	// requests and unsent replies; DefaultMaxHeld if zero, no limit if negative. Past it the
	// session that holds most is ended for Memory, and told so unless it does not read its
	// replies; the others notice nothing. What counts is buffers, which are up to twice as
	// long as what came, and as long as what is to be sent. The garbage collector lets them
	// take up as much again, unless GOMEMLIMIT is set: see docs/guarantees.md.
	MaxHeld int64

	// Clocks; the default if zero, off if negative, and at most 18 years. Those that wait
	// for the peer stand still while it is not read.
	FirstByteTimeout time.Duration // from the connection to its first byte; as IdleTimeout
	RequestTimeout   time.Duration // from a request's first byte to its last; 30 s
	IdleTimeout      time.Duration // with nothing owed and no request begun, whatever strays come; 5 min
	HandshakeTimeout time.Duration // for TLS, or what else has to be agreed before there is a session; 5 s
	WriteTimeout     time.Duration // while the peer takes not one byte; the oldest may wait six times that, also (Linux, TCP) to be acknowledged; 10 s

	prepare  sync.Once
	settings settings

	mu        sync.Mutex
	stop      chan struct{} // closed by Shutdown and Close
	shaking   accept.Handshakes
	cutShakes context.CancelFunc
	drained   chan struct{} // closed when stopped and nobody is left
	stopping  bool
	acceptors map[acceptor]struct{}
	sessions  connSet
	lingering connSet // hung up on, but the peer's end of file is not yet there
	refused   int     // how many of them were refused
	perIP     map[netip.Prefix]int
	numbered  uint64
	loops     loops

	held atomic.Int64 // by the sessions, in bytes
}

// An acceptor lets the connections of one listener in, to be driven by an engine.
type acceptor interface {
	accept() error // waits for connections, and has each served or refused
	close()        // closes the listener, which ends accept
	wait()         // until the last of its connections is closed
}

// A connection is what the server keeps of one, whatever its engine is. Its
// methods may be called from any goroutine.
type connection interface {
	describe() *Session
	wake()    // have it look whether the server is stopping
	release() // have it look whether the gate still holds it
	evict()   // have it look whether it is evicted

	// cut has the connection closed at once. One that it returns is the caller's to close,
	// which may take a while.
	cut(reason CloseReason) net.Conn
}

// A connSet is a set of connections, each of which is in one at most and keeps its place
// there: it needs less than a map, and leaves no garbage when it grows.
type connSet struct {
	conns epoll.Table[connection]
	size  uint32
}

func (r *connSet) add(p connection) {
	p.describe().place = r.size
	r.conns.Grow(r.size)
	*r.conns.At(r.size) = p
	r.size++
}

func (r *connSet) remove(p connection) {
	r.size--
	last, place := r.conns.At(r.size), p.describe().place
	*r.conns.At(place) = *last
	(*last).describe().place = place
	*last = nil
}

func (r *connSet) all(yield func(connection) bool) {
	for i := range r.size {
		if !yield(*r.conns.At(i)) {
			return
		}
	}
}

// settings are a server's fields with the defaults filled in.
type settings struct {
	handler           Handler
	framing, replies  Framing
	observer          Observer
	wanted            kindSet // by the observer
	gate              Gate    // nil if it is open
	log               *slog.Logger
	keepBlank         bool
	silent            bool             // there are no replies
	closesBehindReply bool             // which ends there
	movesBody         bool             // the framing of replies does, see Framing.End
	marks             bool             // it is noted where each reply lies: somebody wants to know when it is written, or the bytes alone do not tell
	speaks            bool             // the handler is a Speaker, and there are replies
	now               func() time.Time // asked if it speaks
	maxRequest        int
	maxUnsent         int
	maxSessions       int
	maxSessionsPerIP  int
	maxHeld           int64
	readSize          int        // room for one read
	readBuffers       *sync.Pool // of *[]byte of that size

	firstByteTimeout, requestTimeout, idleTimeout, writeTimeout time.Duration // none if negative
}

// userTimeout is for how many milliseconds a system may hold bytes for a peer that does not
// acknowledge them: as long as the oldest unsent byte may wait, since the system measures the
// same and looks at no progress. 0 is for ever.
func (set *settings) userTimeout() int {
	if set.writeTimeout <= 0 {
		return 0
	}
	const most = math.MaxInt32 / unsentAge * time.Millisecond
	return int(max(unsentAge*min(set.writeTimeout, most), time.Millisecond).Milliseconds())
}

const (
	maxLingeringRefused = 64
	lingerTime          = time.Second
	lingerBytes         = 1 << 20
	cutGrace            = time.Second // for sessions that were cut to notice

	// Who writes never may write the largest number there is, which nothing can be added to.
	maxTimeout = math.MaxInt64 / 16 * time.Nanosecond
	maxChunk   = 16 << 20 // no socket's buffer gives more to one read
)

// The texts a refused peer is sent.
const (
	fullFmt  = "Error: server is full (%d sessions)"
	perIPFmt = "Error: too many sessions from your address (%d)"
)

func (s *Server) init() {
	s.prepare.Do(func() {
		idle := cmp.Or(s.IdleTimeout, 5*time.Minute)
		set := &s.settings
		*set = settings{
			handler:          s.Handler,
			now:              kernel.Now,
			observer:         s.Observer,
			wanted:           wantedKinds(s.Observer),
			gate:             s.Gate,
			log:              cmp.Or(s.Log, slog.Default()),
			keepBlank:        s.KeepBlank,
			maxUnsent:        cmp.Or(s.MaxUnsent, 256<<10),
			maxSessions:      cmp.Or(s.MaxSessions, DefaultMaxSessions()),
			maxSessionsPerIP: s.MaxSessionsPerIP,
			maxHeld:          s.MaxHeld,
			readSize:         64 << 10,
			firstByteTimeout: min(cmp.Or(s.FirstByteTimeout, idle), maxTimeout),
			requestTimeout:   min(cmp.Or(s.RequestTimeout, 30*time.Second), maxTimeout),
			idleTimeout:      min(idle, maxTimeout),
			writeTimeout:     min(cmp.Or(s.WriteTimeout, 10*time.Second), maxTimeout),
		}
		set.setFramings(s.Framing, s.Replies)
		set.maxRequest = cmp.Or(s.MaxRequest, DefaultMaxRequest(set.framing))
		if set.framing == Chunks {
			// A read is a request, so it has room for exactly the limit.
			set.maxRequest = min(set.maxRequest, maxChunk)
			set.readSize = set.maxRequest
		}
		switch {
		case set.maxHeld == 0:
			set.maxHeld = DefaultMaxHeld()
		case set.maxHeld < 0:
			set.maxHeld = math.MaxInt64
		}
		set.readBuffers = &sync.Pool{New: func() any { b := make([]byte, set.readSize); return &b }}
		s.stop = make(chan struct{})
		s.shaking = accept.Handshakes{Limit: set.maxSessions, PerIP: max(0, set.maxSessionsPerIP), Timeout: cmp.Or(s.HandshakeTimeout, 5*time.Second)}
		s.shaking.Context, s.cutShakes = context.WithCancel(context.Background())
		s.drained = make(chan struct{})
		s.acceptors = make(map[acceptor]struct{})
		s.perIP = make(map[netip.Prefix]int)
	})
}

// setFramings sets those of requests and replies; a Protocol is both. What the observer wants, the
// handler and the gate are known.
func (set *settings) setFramings(framing, replies Framing) {
	if framing == nil {
		framing = Lines
	}
	_, both := framing.(Protocol)
	if both || replies == nil {
		replies = framing
	}
	set.framing, set.replies = framing, replies
	set.silent = replies == NoReplies
	set.closesBehindReply = replies == UntilClose
	set.movesBody = movesBody(replies)
	_, speaker := set.handler.(Speaker)
	set.speaks = speaker && !set.silent
	set.marks = set.tells(Replied) || set.gate != nil || both || replies == Chunks || set.speaks
}

// movesBody reports whether a framing's End puts something before the body.
func movesBody(framing Framing) bool {
	const body = "body"
	begun := framing.Begin(nil)
	whole, err := framing.End(append(begun, body...), 0)
	return err == nil && !bytes.HasPrefix(whole[len(begun):], []byte(body))
}

// tells reports whether somebody wants to know of such events.
func (set *settings) tells(kind EventKind) bool { return set.wanted&(1<<kind) != 0 }

// tell has the observer told of an event of no session, if it wants to know.
func (s *Server) tell(e *Event) {
	if s.settings.tells(e.Kind) {
		s.Observer.Observe(e)
	}
}

// DefaultMaxSessions is what MaxSessions is when left at zero: as many as the
// process may have open files for, 10,000 at most.
func DefaultMaxSessions() int { return max(16, min(10000, (maxOpenFiles()-64)/2)) }

// DefaultMaxRequest is what MaxRequest is when left at zero, in bytes: 64 KiB with Lines,
// LinesCRLF, Chunks, Delimited and a framing of one's own; 1 MiB with Length, OctetCounted,
// Netstring, Framed, UntilClose and a Protocol, whose messages are documents.
func DefaultMaxRequest(framing Framing) int {
	switch framing.(type) {
	case Length, octetCounted, netstring, framed, untilClose, Protocol:
		return 1 << 20
	}
	return 64 << 10
}

// ListenAndServe answers the requests of lines that come to a TCP address, such as ":6969", by h: it is a
// Server with that Handler and defaults for all else. It does not return before an error, which is never
// nil. A program that wants to stop in good order, other limits or another framing makes a Server.
func ListenAndServe(addr string, h Handler) error {
	return (&Server{Handler: h}).ListenAndServe(addr)
}

// ListenAndServe listens at a TCP address, host:port, and serves there. Without a host it is at all
// addresses of this machine, IPv6 and IPv4; with port 0 at any free port, which nobody is told of: to
// learn it, or to listen on anything else, call net.Listen and Serve. It returns what Serve does, or why
// it cannot listen.
func (s *Server) ListenAndServe(addr string) error {
	if s.Handler == nil {
		return errNoHandler
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// errNoHandler is that of a Server that cannot answer.
var errNoHandler = errors.New("parley: Server.Handler is nil")

// Serve accepts connections of l and answers their requests until Shutdown or
// Close is called, or l fails for good; it closes l. It returns ErrServerClosed or
// the listener's error, in either case after the last of its sessions has ended. A
// server may serve several listeners at once. With the engine Loops it returns
// ErrNoLoops for a listener that they cannot serve, and without a Handler an error: at once,
// before any connection is accepted.
//
// An error of Accept is told to the Observer and tried again after 5 ms, doubling to 1 s.
// Final are only those of the listener itself: a closed one, EBADF, EINVAL and ENOTSOCK.
func (s *Server) Serve(l net.Listener) error {
	if s.Handler == nil {
		l.Close()
		return errNoHandler
	}
	s.init()
	a, err := s.newAcceptor(l)
	if err != nil {
		l.Close()
		return err
	}
	return s.acceptFrom(a)
}

func (s *Server) acceptFrom(a acceptor) error {
	defer a.wait()
	defer a.close()
	if !s.addAcceptor(a) {
		return ErrServerClosed
	}
	defer s.removeAcceptor(a)
	err := accept.Loop(a.accept, s.stop, func(err error) {
		switch {
		case s.settings.tells(AcceptFailed):
			s.tell(&Event{Kind: AcceptFailed, Time: kernel.Now(), Err: err})
		case !errors.Is(err, net.ErrClosed): // which its owner knows, and is returned
			s.settings.log.Error("parley: cannot accept", "error", err)
		}
	})
	switch {
	case err == nil:
		return ErrServerClosed
	case !errors.Is(err, net.ErrClosed):
		s.tell(&Event{Kind: ListenerLost, Time: kernel.Now(), Err: err}) // Serve returns only after its sessions
	}
	return err
}

func (s *Server) newAcceptor(l net.Listener) (acceptor, error) {
	engine, err := s.Engine.For(l)
	switch {
	case err != nil:
		return nil, err
	case engine == Loops:
		return newLoopAcceptor(s, l)
	}
	return &goroutineAcceptor{srv: s, l: l}, nil
}

// ServeConn has one conversation over conn, which it closes, and returns when it
// is over: nil, however it ended, which the Observer is told; ErrServerClosed, ErrRefused
// or the handshake's error if it was not begun, and an error without a Handler. Whatever the Engine is, it is driven by the calling
// goroutine.
func (s *Server) ServeConn(conn net.Conn) error {
	if s.Handler == nil {
		conn.Close()
		return errNoHandler
	}
	s.init()
	return s.serveConn(conn)
}

// Shutdown stops the server in good order. It closes the listeners and the idle
// sessions at once; every request whose last byte had been read is answered, then
// its session closes once the peer's system has acknowledged the replies (Linux, TCP).
// Shutdown returns nil when all have. If ctx ends first it cuts the sessions that are left
// and returns a *DrainError that lists them; a handler that does not return keeps Serve, but
// not Shutdown, from returning.
func (s *Server) Shutdown(ctx context.Context) error {
	s.halt()
	s.mu.Lock()
	for p := range s.sessions.all {
		p.wake()
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
	}
	cut := s.cut(DrainCut)
	if len(cut) == 0 {
		return nil
	}
	select {
	case <-s.drained:
	case <-time.After(cutGrace):
	}
	return &DrainError{Cut: cut, Err: context.Cause(ctx)}
}

// Close stops the server at once: it closes the listeners and all connections.
// Requests that were being answered get no reply.
func (s *Server) Close() error {
	s.halt()
	s.cut(ServerClosed)
	return nil
}

// Sessions are those that there are now, in no order.
func (s *Server) Sessions() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Session, 0, s.sessions.size)
	for p := range s.sessions.all {
		all = append(all, p.describe())
	}
	return all
}

// halt lets nobody in any more.
func (s *Server) halt() {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	s.stopping = true
	close(s.stop)
	s.cutShakes()
	for a := range s.acceptors {
		a.close()
	}
	s.closeIfDrained()
}

// cut closes every connection and returns the sessions among them, by number.
func (s *Server) cut(reason CloseReason) []*Session {
	var cut []*Session
	var closing []net.Conn
	s.mu.Lock()
	for _, conns := range []*connSet{&s.sessions, &s.lingering} {
		for p := range conns.all {
			if conn := p.cut(reason); conn != nil {
				closing = append(closing, conn)
			}
			if conns == &s.sessions {
				cut = append(cut, p.describe())
			}
		}
	}
	s.mu.Unlock()
	closeAll(closing)
	slices.SortFunc(cut, func(a, b *Session) int { return cmp.Compare(a.number, b.number) })
	return cut
}

// closeAll closes connections side by side. TLS says so to its peer, and waits up to 5 s for
// room to write it: after cutGrace the connection below is closed too, which ends that.
func closeAll(conns []net.Conn) {
	var closing sync.WaitGroup
	for _, conn := range conns {
		closing.Go(func() {
			if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
				defer time.AfterFunc(cutGrace, func() { over.NetConn().Close() }).Stop()
			}
			conn.Close()
		})
	}
	closing.Wait()
}

func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *Server) addAcceptor(a acceptor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.acceptors[a] = struct{}{}
	return true
}

func (s *Server) removeAcceptor(a acceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.acceptors, a)
}

// enter makes a session of p and numbers it, unless there is a reason to refuse it:
// Denied, Full, PerIP, or ServerClosed.
func (s *Server) enter(p connection) (refused CloseReason) {
	session := p.describe()
	addr := session.remote.ip.Addr()
	if s.Allow != nil && addr.IsValid() && !s.Allow(addr) {
		return Denied
	}
	ip := prefixOf(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return ServerClosed
	case int(s.sessions.size) >= s.settings.maxSessions:
		return Full
	case s.settings.maxSessionsPerIP > 0 && s.perIP[ip] >= s.settings.maxSessionsPerIP && ip.IsValid():
		return PerIP
	}
	s.numbered++
	session.number = s.numbered
	if s.Gate != nil {
		session.hold = &hold{conn: p}
	}
	s.sessions.add(p)
	if s.settings.maxSessionsPerIP > 0 && ip.IsValid() {
		s.perIP[ip]++
	}
	return 0
}

// prefixOf is what counts as one address: an IPv4 address or an IPv6 /64, since a
// single host commonly has all of that. Peers without an IP are not counted.
func prefixOf(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}

// leave makes a lingering connection of a session that is over.
func (s *Server) leave(p connection) {
	s.hold(p.describe(), 0)
	ip := prefixOf(p.describe().remote.ip.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.remove(p)
	if s.perIP[ip] > 1 {
		s.perIP[ip]--
	} else {
		delete(s.perIP, ip)
	}
	s.lingering.add(p)
}

// forget takes a connection off that is closed.
func (s *Server) forget(p connection, refused bool) {
	p.describe().close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingering.remove(p)
	if refused {
		s.refused--
	}
	s.closeIfDrained()
}

func (s *Server) closeIfDrained() {
	if !s.stopping || s.sessions.size+s.lingering.size > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

// refuse tells the observer, and says what to tell the peer, if anything, and whether to linger
// for its end of file. Past 64 at once nobody is waited for: a flood of refused peers must
// not use up the descriptors.
func (s *Server) refuse(p connection, reason CloseReason) (text []byte, patient bool) {
	session := p.describe()
	if reason == Denied {
		s.tell(&Event{Kind: Refused, Time: session.opened, Session: session, Reason: reason})
		return nil, false
	}
	body := fmt.Appendf(nil, fullFmt, s.settings.maxSessions)
	if reason == PerIP {
		body = fmt.Appendf(nil, perIPFmt, s.settings.maxSessionsPerIP)
	}
	_, replies := OpenFraming(s.settings.framing, s.settings.replies)
	text = appendMessage(nil, replies, body)
	switch _, isProtocol := s.settings.framing.(Protocol); {
	case len(text) == 0:
		body = nil
	case isProtocol: // whose bodies are whole
		body = text
	}
	raw := Raw{Bytes: text, Body: max(0, bytes.Index(text, body))}
	s.tell(&Event{Kind: Refused, Time: session.opened, Session: session, Body: body, Raw: raw, Reason: reason})
	s.mu.Lock()
	defer s.mu.Unlock()
	patient = s.refused < maxLingeringRefused && !s.stopping
	if patient {
		s.refused++
		s.lingering.add(p)
	}
	return text, patient
}
