package parley

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// A Server answers the requests of many peers at once. Its zero value with a
// Handler works. Set the fields before the first call of Serve or ServeConn and
// leave them alone from then on.
type Server struct {
	Handler  Handler  // answers each request; required
	Framing  Framing  // where a request ends; Lines if nil
	Observer Observer // told of every event; nobody if nil

	// KeepBlank has empty requests answered like any other. Otherwise one ends the
	// conversation.
	KeepBlank bool

	MaxRequest       int // longest request, in bytes; 64 KiB if zero, with LengthPrefixed 1 MiB
	MaxUnsent        int // bytes of unsent replies at which a peer is no longer read; 256 KiB if zero
	MaxSessions      int // sessions at once; if zero max(16, min(10000, (open files - 64) / 2))
	MaxSessionsPerIP int // sessions of one IPv4 address or IPv6 /64; no limit if zero

	// Clocks; the default if zero, off if negative. Those that wait for the peer
	// stand still while it is not read.
	FirstByteTimeout time.Duration // from the connection to its first byte; as IdleTimeout
	RequestTimeout   time.Duration // from a request's first byte to its last; 30 s
	IdleTimeout      time.Duration // with nothing owed and no request begun; 5 min
	WriteTimeout     time.Duration // while the peer takes not one byte; the oldest may wait six times that; 10 s

	prepare  sync.Once
	settings settings

	mu        sync.Mutex
	stop      chan struct{} // closed by Shutdown and Close
	quiet     chan struct{} // closed when stopped and nobody is left
	stopping  bool
	listeners map[net.Listener]struct{}
	sessions  map[*dialogue]struct{}
	lingering map[net.Conn]struct{} // hung up on, but the peer's end of file is not yet there
	refused   int                   // how many of them were refused
	perIP     map[netip.Prefix]int
	numbered  uint64
}

// settings are a server's fields with the defaults filled in.
type settings struct {
	handler          Handler
	framing          Framing
	observer         Observer
	keepBlank        bool
	maxRequest       int
	maxUnsent        int
	maxSessions      int
	maxSessionsPerIP int
	readSize         int        // room for one read
	readBuffers      *sync.Pool // of *[]byte of that size

	firstByteTimeout, requestTimeout, idleTimeout, writeTimeout time.Duration // none if negative
}

const (
	maxLingeringRefused = 64
	lingerTime          = time.Second
	lingerBytes         = 1 << 20
	minAcceptPause      = 5 * time.Millisecond
	maxAcceptPause      = time.Second
	cutGrace            = time.Second // for sessions that were cut to notice
)

// The texts a refused peer is sent.
const (
	fullFmt  = "Error: server is full (%d sessions)"
	perIPFmt = "Error: too many sessions from your address (%d)"
)

func (s *Server) init() {
	s.prepare.Do(func() {
		framing := s.Framing
		if framing == nil {
			framing = Lines
		}
		idle := cmp.Or(s.IdleTimeout, 5*time.Minute)
		set := &s.settings
		*set = settings{
			handler:          s.Handler,
			framing:          framing,
			observer:         s.Observer,
			keepBlank:        s.KeepBlank,
			maxRequest:       cmp.Or(s.MaxRequest, DefaultMaxRequest(framing)),
			maxUnsent:        cmp.Or(s.MaxUnsent, 256<<10),
			maxSessions:      cmp.Or(s.MaxSessions, DefaultMaxSessions()),
			maxSessionsPerIP: s.MaxSessionsPerIP,
			readSize:         64 << 10,
			firstByteTimeout: cmp.Or(s.FirstByteTimeout, idle),
			requestTimeout:   cmp.Or(s.RequestTimeout, 30*time.Second),
			idleTimeout:      idle,
			writeTimeout:     cmp.Or(s.WriteTimeout, 10*time.Second),
		}
		if framing == Chunks {
			// A read is a request, so it has room for exactly the limit.
			set.readSize = set.maxRequest
		}
		set.readBuffers = &sync.Pool{New: func() any { b := make([]byte, set.readSize); return &b }}
		s.stop = make(chan struct{})
		s.quiet = make(chan struct{})
		s.listeners = make(map[net.Listener]struct{})
		s.sessions = make(map[*dialogue]struct{})
		s.lingering = make(map[net.Conn]struct{})
		s.perIP = make(map[netip.Prefix]int)
	})
}

// DefaultMaxSessions is what MaxSessions is when left at zero: as many as the
// process may have open files for, 10,000 at most.
func DefaultMaxSessions() int { return max(16, min(10000, (maxOpenFiles()-64)/2)) }

// DefaultMaxRequest is what MaxRequest is when left at zero, in bytes.
func DefaultMaxRequest(framing Framing) int {
	if framing == LengthPrefixed {
		return 1 << 20
	}
	return 64 << 10
}

// Serve accepts connections of l and answers their requests until Shutdown or
// Close is called, or l fails for good; it closes l. It returns ErrServerClosed or
// the listener's error, in either case after the last of its sessions has ended. A
// server may serve several listeners at once.
//
// An error of Accept that may pass, such as too many open files, is told to the
// Observer and tried again after 5 ms, doubling to 1 s.
func (s *Server) Serve(l net.Listener) error {
	if s.Handler == nil {
		return errors.New("parley: Server.Handler is nil")
	}
	s.init()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer l.Close()
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer s.unlisten(l)
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(conn, sessions.Go)
			continue
		case s.stopped():
			return ErrServerClosed
		}
		if s.Observer != nil {
			s.Observer.Observe(&Event{Kind: AcceptFailed, Time: time.Now(), Err: err})
		}
		if !mayPass(err) {
			return err
		}
		pause = min(max(2*pause, minAcceptPause), maxAcceptPause)
		select {
		case <-time.After(pause):
		case <-s.stop:
			return ErrServerClosed
		}
	}
}

// mayPass reports whether an error of Accept is about the moment, such as a lack
// of descriptors, and not about the listener.
func mayPass(err error) bool {
	for _, passing := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS,
		syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR} {
		if errors.Is(err, passing) {
			return true
		}
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// ServeConn has one conversation over conn, which it closes, and returns when it
// is over: nil, however it ended, which the Observer is told; ErrServerClosed or
// ErrRefused if it was not begun.
func (s *Server) ServeConn(conn net.Conn) error {
	if s.Handler == nil {
		return errors.New("parley: Server.Handler is nil")
	}
	s.init()
	return s.admit(conn, func(serve func()) { serve() })
}

// Shutdown stops the server in good order. It closes the listeners and the idle
// sessions at once; every request whose last byte had been read is answered, then
// its session closes. Shutdown returns nil when all have. If ctx ends first it cuts
// the sessions that are left and returns a *DrainError that lists them; a handler
// that does not return keeps Serve, but not Shutdown, from returning.
func (s *Server) Shutdown(ctx context.Context) error {
	s.halt()
	s.mu.Lock()
	for d := range s.sessions {
		d.wake()
	}
	s.mu.Unlock()
	select {
	case <-s.quiet:
		return nil
	case <-ctx.Done():
	}
	cut := s.cut(DrainCut)
	if len(cut) == 0 {
		return nil
	}
	select {
	case <-s.quiet:
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
	for l := range s.listeners {
		l.Close()
	}
	s.tellIfQuiet()
}

// cut closes every connection and returns the sessions among them, by number.
func (s *Server) cut(reason CloseReason) []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cut []*Session
	for d := range s.sessions {
		d.cut(reason)
		cut = append(cut, d.session)
	}
	for conn := range s.lingering {
		conn.Close()
	}
	sortSessions(cut)
	return cut
}

func (s *Server) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// admit makes a session of conn and has it served through run, or refuses it.
func (s *Server) admit(conn net.Conn, run func(serve func())) error {
	session := &Session{
		opened: time.Now(),
		remote: endpointOf(conn.RemoteAddr()),
		local:  endpointOf(conn.LocalAddr()),
	}
	ip := prefixOf(session.remote.ip.Addr())

	s.mu.Lock()
	switch {
	case s.stopping:
		s.mu.Unlock()
		conn.Close()
		return ErrServerClosed
	case len(s.sessions) >= s.settings.maxSessions:
		s.mu.Unlock()
		return s.refuse(conn, session, run, Full, fmt.Sprintf(fullFmt, s.settings.maxSessions))
	case s.settings.maxSessionsPerIP > 0 && s.perIP[ip] >= s.settings.maxSessionsPerIP && ip.IsValid():
		s.mu.Unlock()
		return s.refuse(conn, session, run, PerIP, fmt.Sprintf(perIPFmt, s.settings.maxSessionsPerIP))
	}
	s.numbered++
	session.number = s.numbered
	d := newDialogue(s, conn, session)
	s.sessions[d] = struct{}{}
	if ip.IsValid() {
		s.perIP[ip]++
	}
	s.mu.Unlock()

	run(func() {
		d.converse()
		s.leave(d, ip)
		if d.phase == broken || d.in.eof {
			conn.Close()
		} else {
			linger(conn)
		}
		s.forget(conn, false)
	})
	return nil
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
func (s *Server) leave(d *dialogue, ip netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, d)
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
	s.lingering[d.conn] = struct{}{}
}

func (s *Server) forget(conn net.Conn, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lingering, conn)
	if refused {
		s.refused--
	}
	s.tellIfQuiet()
}

func (s *Server) tellIfQuiet() {
	if !s.stopping || len(s.sessions)+len(s.lingering) > 0 {
		return
	}
	select {
	case <-s.quiet:
	default:
		close(s.quiet)
	}
}

// refuse tells the peer why it is hung up on. Past 64 at once it does not wait for
// their ends of file: a flood of refused peers must not use up the descriptors.
func (s *Server) refuse(conn net.Conn, session *Session, run func(serve func()), reason CloseReason, text string) error {
	if s.Observer != nil {
		s.Observer.Observe(&Event{Kind: Refused, Time: session.opened, Session: session, Reason: reason})
	}
	text = string(appendMessage(nil, s.settings.framing, []byte(text)))

	s.mu.Lock()
	patient := s.refused < maxLingeringRefused && !s.stopping
	if patient {
		s.refused++
		s.lingering[conn] = struct{}{}
	}
	s.mu.Unlock()

	if !patient {
		// A new socket has room for the text; what is not one gets no time.
		conn.SetWriteDeadline(time.Now().Add(time.Millisecond))
		conn.Write([]byte(text))
		conn.Close()
	} else {
		run(func() {
			conn.SetWriteDeadline(time.Now().Add(lingerTime))
			conn.Write([]byte(text))
			linger(conn)
			s.forget(conn, true)
		})
	}
	return fmt.Errorf("%w: %v", ErrRefused, reason)
}
