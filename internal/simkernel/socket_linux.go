package simkernel

import (
	"cmp"
	"syscall"
	"time"
	"unsafe"
)

// A Socket is the process's end of a connection; the other one is its Peer.
type Socket struct {
	k    *Kernel
	peer *Peer

	in     []byte // received, and not read
	gotEnd bool   // so was the peer's end of file, behind that
	out    []byte // written, and not sent
	flight []byte // sent, and not acknowledged
	ended  bool   // an end of file is behind that
	aborts bool   // to close it is to reset it
	closed bool   // the process has closed it; the system goes on
	broken bool   // the connection is no more
	err    syscall.Errno

	userTimeout time.Duration // for how long the peer may acknowledge nothing; 0 is for ever
	since       time.Time     // since when it has not; zero if there is nothing to acknowledge
	giveUp      *alarm        // once that is too long; nil if it is not to come
	lost        [2]int        // the backlog when the connection broke

	conn *Conn // of the runtime, if there is one
}

// A Peer is the other end of a connection, as a program there sees it.
type Peer struct {
	Port int

	s       *Socket
	wire    []byte // sent, and not received
	end     bool   // an end of file is behind that
	reset   bool   // or a reset
	stalled bool   // the network lets nothing through, either way
	unread  []byte // received, and not read
	gotEnd  bool   // the end of file behind that
	gone    bool   // closed, or reset by either
	cut     bool   // it was reset by the other end, or refused
	closed  bool
}

// NewPeer makes one that has not dialled.
func (k *Kernel) NewPeer(port int) *Peer {
	p := &Peer{Port: port}
	p.s = &Socket{k: k, peer: p}
	return p
}

// Dial connects to the listener: the connection waits there to be accepted.
func (p *Peer) Dial() {
	k := p.s.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listener == nil || k.listener.closed {
		p.gone, p.cut, p.s.closed = true, true, true
		return
	}
	p.s.userTimeout = k.listener.userTimeout
	k.listener.backlog = append(k.listener.backlog, p.s)
	k.notify(k.listener)
}

// Send sends bytes.
func (p *Peer) Send(b []byte) {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	if !p.gone && !p.end {
		p.wire = append(p.wire, b...)
		p.s.flow()
	}
}

// CloseWrite sends an end of file.
func (p *Peer) CloseWrite() {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	p.end = true
	p.s.flow()
}

// Reset ends the connection at once.
func (p *Peer) Reset() {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	p.reset, p.gone, p.unread = true, true, nil
	p.s.flow()
}

// Close closes it: with bytes unread, and at the next that come, that is a reset.
func (p *Peer) Close() {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	p.closed, p.end = true, true
	p.reset = p.reset || len(p.unread) > 0
	p.unread = nil
	p.s.flow()
}

// Stall has the network let nothing through until it is ended.
func (p *Peer) Stall(stalled bool) {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	p.stalled = stalled
	p.s.flow()
}

// Read takes what has come, at most n bytes.
func (p *Peer) Read(n int) []byte {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	n = min(n, len(p.unread))
	read := p.unread[:n:n]
	p.unread = p.unread[n:]
	p.s.flow()
	return read
}

// State is whether the end of file has come, and been read, or the connection was reset by the other end.
func (p *Peer) State() (ended, cut bool) {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	return p.gotEnd && len(p.unread) == 0, p.cut
}

// Backlog is how many bytes the process has written that are not sent, and not acknowledged.
func (p *Peer) Backlog() (unsent, untaken int) {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	return p.s.backlog()
}

// Unacknowledged is for how long the peer has acknowledged nothing of what was written.
func (p *Peer) Unacknowledged() time.Duration {
	p.s.k.mu.Lock()
	defer p.s.k.mu.Unlock()
	if p.s.since.IsZero() {
		return 0
	}
	return Since(p.s.since)
}

// flow has the network bring what it can.
func (s *Socket) flow() {
	before := len(s.out) + len(s.flight)
	s.bring()
	if now := len(s.out) + len(s.flight); now == 0 || now < before || s.since.IsZero() {
		s.awaitAcknowledgement(now > 0)
	}
	s.k.notify(s)
}

// awaitAcknowledgement begins to wait for one, or ends that.
func (s *Socket) awaitAcknowledgement(awaited bool) {
	s.k.forget(s.giveUp)
	s.since, s.giveUp = time.Time{}, nil
	if !awaited {
		return
	}
	s.since = Now()
	if s.userTimeout > 0 {
		s.giveUp = s.k.setAlarm(s.since.Add(s.userTimeout), s.timeOut)
	}
}

// timeOut ends a connection whose peer acknowledges nothing.
func (s *Socket) timeOut() {
	s.k.watch.Failed(s.peer.Port, Failure{Call: UserTimeout, Errno: syscall.ETIMEDOUT})
	s.lost[0], s.lost[1] = s.backlog()
	s.err = syscall.ETIMEDOUT
	s.cutPeer()
	s.awaitAcknowledgement(false)
	s.k.notify(s)
}

// SetUserTimeout is setsockopt(2) of TCP_USER_TIMEOUT. Connections have that of their listener.
func SetUserTimeout(fd int, d time.Duration) {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	switch file := k.files[fd].(type) {
	case *Socket:
		file.userTimeout = d
	case *listening:
		file.userTimeout = d
	default:
		k.watch.Misused("setsockopt of what is no open socket")
	}
}

func (s *Socket) bring() {
	p := s.peer
	if !p.stalled && !s.broken {
		s.arrive()
	}
	if room := s.k.window - len(p.unread) - len(s.flight); room > 0 && !s.broken {
		n := min(room, len(s.out))
		s.flight = append(s.flight, s.out[:n]...)
		s.out = s.out[n:]
	}
	if !p.stalled && !s.broken {
		switch {
		case p.closed && len(s.flight) > 0:
			s.breakBy(syscall.ECONNRESET)
		default:
			p.unread = append(p.unread, s.flight...)
			s.flight = s.flight[:0]
			p.gotEnd = p.gotEnd || s.ended && len(s.out) == 0
		}
	}
}

// arrive brings what the peer has sent.
func (s *Socket) arrive() {
	p := s.peer
	if s.closed {
		if len(p.wire) > 0 { // nobody will read it
			s.cutPeer()
		}
	} else if n := min(len(p.wire), s.k.receive-len(s.in)); n > 0 {
		s.in = append(s.in, p.wire[:n]...)
		p.wire = p.wire[n:]
	}
	switch {
	case p.reset:
		s.breakBy(syscall.ECONNRESET)
	case p.end && len(p.wire) == 0:
		s.gotEnd = true
	}
}

// breakBy ends the connection on the side of the process, which can read what has come before.
func (s *Socket) breakBy(errno syscall.Errno) {
	if s.gotEnd && errno == syscall.ECONNRESET {
		errno = syscall.EPIPE // as Linux has it
	}
	s.broken, s.err = true, errno
	s.out, s.flight, s.peer.wire = nil, nil, nil
}

// cutPeer resets the peer.
func (s *Socket) cutPeer() {
	p := s.peer
	s.broken = true
	s.out, s.flight, p.wire = nil, nil, nil
	if !p.gone {
		p.gone, p.cut, p.unread = true, true, nil
	}
}

func (s *Socket) close() {
	s.closed = true
	if (s.aborts || len(s.in) > 0) && !s.broken {
		s.cutPeer()
	}
	s.in, s.ended = nil, true
	s.flow()
}

func (s *Socket) room() int { return s.k.send - len(s.out) - len(s.flight) }

// events are what epoll says of it.
func (s *Socket) events() (events uint32) {
	if len(s.in) > 0 || s.gotEnd || s.broken {
		events |= syscall.EPOLLIN
	}
	if s.broken || s.ended || s.room() > s.k.send/3 {
		events |= syscall.EPOLLOUT
	}
	if s.err != 0 {
		events |= syscall.EPOLLERR
	}
	if s.broken || s.gotEnd && s.ended {
		events |= syscall.EPOLLHUP
	}
	return events
}

// takeErr is the error of a socket, which is told once.
func (s *Socket) takeErr() syscall.Errno {
	err := s.err
	s.err = 0
	return err
}

// Recv is recv(2) of a non-blocking socket.
func Recv(fd int, p []byte) (int, syscall.Errno) {
	k, f, failed := enter(RecvCall, portOf(fd))
	defer k.mu.Unlock()
	s := k.socket(fd, RecvCall)
	switch {
	case s == nil:
		return 0, syscall.EBADF
	case failed && f.Errno != 0:
		return 0, s.fail(f.Errno)
	case failed:
		p = p[:1]
	}
	if len(s.in) > 0 {
		n := copy(p, s.in)
		s.in = append(s.in[:0], s.in[n:]...)
		k.watch.Received(s.peer.Port, n)
		s.flow()
		return n, 0
	}
	if s.gotEnd {
		return 0, 0
	}
	if err := s.takeErr(); err != 0 {
		return 0, err
	}
	if s.broken {
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

// Send is send(2) of a non-blocking socket.
func Send(fd int, p []byte) (int, syscall.Errno) {
	k, f, failed := enter(SendCall, portOf(fd))
	defer k.mu.Unlock()
	s := k.socket(fd, SendCall)
	switch {
	case s == nil:
		return 0, syscall.EBADF
	case failed && f.Errno != 0:
		return 0, s.fail(f.Errno)
	case failed:
		p = p[:1]
	}
	if s.broken || s.ended {
		return 0, cmp.Or(s.takeErr(), syscall.EPIPE)
	}
	n := min(len(p), s.room())
	if n <= 0 {
		return 0, syscall.EAGAIN
	}
	k.watch.Sent(s.peer.Port, p[:n])
	s.out = append(s.out, p[:n]...)
	s.flow()
	return n, 0
}

// fail has a call fail as planned. Errors that say so end the connection.
func (s *Socket) fail(errno syscall.Errno) syscall.Errno {
	switch errno {
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT:
		s.cutPeer()
		s.k.notify(s)
	}
	return errno
}

// socket is the one of a descriptor, nil if that is not one.
func (k *Kernel) socket(fd int, call Call) *Socket {
	s, ok := k.files[fd].(*Socket)
	if !ok {
		k.watch.Misused(string(call) + " of what is no open socket")
	}
	return s
}

// CloseWrite is shutdown(2) of the writing half.
func CloseWrite(fd int) syscall.Errno {
	k, f, failed := enter(HalfCall, portOf(fd))
	defer k.mu.Unlock()
	s := k.socket(fd, HalfCall)
	switch {
	case s == nil:
		return syscall.EBADF
	case failed:
		return f.Errno
	case s.broken:
		return syscall.ENOTCONN
	}
	k.watch.Hung(s.peer.Port)
	s.ended = true
	s.flow()
	return 0
}

// Backlog is how many bytes that were written are not sent, and not acknowledged.
func Backlog(fd int) (unsent, untaken int) {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.files[fd].(*Socket)
	if !ok {
		k.watch.Misused("ioctl of what is no open socket")
		return 0, 0
	}
	return s.backlog()
}

func (s *Socket) backlog() (unsent, untaken int) {
	return s.lost[0] + len(s.out), s.lost[1] + len(s.out) + len(s.flight)
}

// BrokenBy is why the connection is no more, 0 while it is.
func BrokenBy(fd int) syscall.Errno {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.files[fd].(*Socket)
	if !ok || !s.broken {
		return 0
	}
	return cmp.Or(s.takeErr(), syscall.ECONNRESET)
}

// listening is a socket that listens. There is one.
type listening struct {
	k       *Kernel
	backlog []*Socket
	closed  bool
	waiting chan struct{} // the runtime's wait

	userTimeout time.Duration
}

func (l *listening) events() (events uint32) {
	if len(l.backlog) > 0 {
		events = syscall.EPOLLIN
	}
	return events
}

func (l *listening) close() {
	l.closed = true
	for _, s := range l.backlog {
		s.closed = true
		s.cutPeer()
	}
	l.backlog = nil
}

// Accept is accept4(2) of a non-blocking socket.
func Accept(fd int, sa *syscall.RawSockaddrAny, size *uint32) (int, syscall.Errno) {
	k, f, failed := enter(AcceptCall, nobody)
	defer k.mu.Unlock()
	l, ok := k.files[fd].(*listening)
	switch {
	case !ok:
		k.watch.Misused("accept4 of what does not listen")
		return -1, syscall.EBADF
	case failed:
		if f.Errno == syscall.ECONNABORTED && len(l.backlog) > 0 {
			l.backlog[0].closed = true
			l.backlog[0].cutPeer()
			l.backlog = l.backlog[1:]
		}
		return -1, f.Errno
	case len(l.backlog) == 0:
		return -1, syscall.EAGAIN
	}
	s := l.backlog[0]
	l.backlog = l.backlog[1:]
	if sa != nil {
		address(sa, size, 2, s.peer.Port)
	}
	fd = k.open(s)
	s.flow()
	return fd, 0
}

// LocalName is getsockname(2).
func LocalName(_ int, sa *syscall.RawSockaddrAny, size *uint32) { address(sa, size, 1, listenPort) }

const listenPort = 7000

func address(sa *syscall.RawSockaddrAny, size *uint32, host byte, port int) {
	sa4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
	*sa4 = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: [4]byte{10, 0, 0, host}}
	*(*[2]byte)(unsafe.Pointer(&sa4.Port)) = [2]byte{byte(port >> 8), byte(port)}
	*size = syscall.SizeofSockaddrInet4
}
