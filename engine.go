package parley

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/kernel"
)

// takenLook is how often is looked how much the peer has taken of what it is owed.
const takenLook = 20 * time.Millisecond

// mostHeard is how many bytes of a peer that has gone are read: more than systems hold.
const mostHeard = 64 << 20

// longAgo is a deadline that wakes whoever waits.
var longAgo = time.Unix(1, 0)

// An Engine is what drives the conversations of a listener's connections. But for
// speed, and for handlers that may block, they cannot be told apart.
type Engine uint8

const (
	// Goroutines is one goroutine a session: any listener, any system, and handlers
	// and observers may block.
	Goroutines Engine = iota
	// Loops is a few event loops, one a CPU that the process may use (GOMAXPROCS),
	// each of which has its sessions to itself. It is faster and an idle session
	// takes up about half a kilobyte, but a handler or observer that blocks holds up
	// every session of its loop. Linux only, and only for listeners that are
	// a *net.TCPListener or *net.UnixListener themselves.
	Loops
	// LoopsIfPossible is Loops where it can be, Goroutines elsewhere.
	LoopsIfPossible
)

// For is the engine that serves l: Goroutines or Loops. It is ErrNoLoops if Loops are
// asked for and cannot be.
func (e Engine) For(l net.Listener) (Engine, error) {
	switch possible := loopsCanServe(l); {
	case e == Loops && !possible:
		return Loops, ErrNoLoops
	case e != Goroutines && possible:
		return Loops, nil
	}
	return Goroutines, nil
}

var engineNames = [...]string{Goroutines: "goroutines", Loops: "loops", LoopsIfPossible: "loops if possible"}

// String is such as "loops".
func (e Engine) String() string { return nameOf(engineNames[:], int(e)) }

// goroutineAcceptor has each connection served in a goroutine of its own.
type goroutineAcceptor struct {
	srv      *Server
	l        net.Listener
	sessions sync.WaitGroup
}

func (a *goroutineAcceptor) accept() error {
	conn, err := a.l.Accept()
	switch _, shakes := conn.(accept.Handshaker); {
	case err != nil:
		return err
	case shakes: // which may take its time
		a.sessions.Go(func() { a.srv.serveConn(conn) })
	default:
		a.srv.converse(conn, a.sessions.Go)
	}
	return nil
}

func (a *goroutineAcceptor) close() { a.l.Close() }

func (a *goroutineAcceptor) wait() { a.sessions.Wait() }

// serveConn has one conversation over conn in the calling goroutine, behind the handshake if
// there has to be one.
func (s *Server) serveConn(conn net.Conn) error {
	if shaker, ok := conn.(accept.Handshaker); ok {
		if err := s.shakeHands(shaker); err != nil {
			return err
		}
	}
	return s.converse(conn, func(serve func()) { serve() })
}

// converse makes a session of conn and has it served through run, or refuses it.
func (s *Server) converse(conn net.Conn, run func(serve func())) error {
	d := newGoroutineConn(s, conn, SessionOf(0, conn, kernel.Now()))
	switch reason := s.enter(d); reason {
	case 0:
		d.session.Join(conn)
		run(func() {
			d.converse()
			s.leave(d)
			_, inOrder := onPurpose(d.err)
			switch {
			case d.phase == broken && !inOrder:
				d.abandon()
			case d.in.eof:
				conn.Close()
			default:
				d.linger()
			}
			s.forget(d, false)
		})
		return nil
	case ServerClosed:
		conn.Close()
		return ErrServerClosed
	default:
		d.refuse(reason, run)
		return fmt.Errorf("%w: %v", ErrRefused, reason)
	}
}

// A goroutineConn drives one conversation over one connection, in one goroutine. Others
// are at work only while a handler runs: a timer that flushes the replies made before it; and
// at the end, while the peer is slow to take what it is owed: one that discards what it sends.
type goroutineConn struct {
	conversation
	srv    *Server
	conn   net.Conn
	socket syscall.RawConn // of the system, below whatever conn is; nil if there is none
	io     connIO
	in     readBuffer
	out    *writeBuffer  // of the pool, while there is something to answer
	armed  time.Time     // the read deadline that is set
	cutFor atomic.Uint32 // the CloseReason for which the connection was closed under us
	stuck  atomic.Bool   // a write waits for the peer
	left   atomic.Int64  // bytes that the peer had not taken then

	gone       bool          // the peer, before all that it had sent was told
	discarding chan struct{} // what the peer sends is discarded; closed when no more is
	enough     atomic.Bool   // no more is to be
	sawEnd     bool          // the peer's end of file was
	dropped    bool          // anything was

	released chan struct{} // the gate has called Release; nil if there is none

	late     *time.Timer    // flushes behind a slow handler
	awaited  bool           // it was set and has not been seen to come
	lateDone sync.WaitGroup // it has come, or was stopped
	lending  atomic.Uint32  // who has the write buffer: one of the constants in late.go
}

func newGoroutineConn(s *Server, conn net.Conn, session *Session) *goroutineConn {
	d := &goroutineConn{srv: s, conn: conn}
	d.conversation = conversation{settings: &s.settings, session: session}
	d.io = newConnIO(conn, &d.in, &s.settings)
	if d.socket = tcpSocket(conn); d.socket != nil && d.userTimeout() > 0 {
		d.socket.Control(func(fd uintptr) { setUserTimeout(fd, d.userTimeout()) })
	}
	if s.Gate != nil {
		d.released = make(chan struct{}, 1)
	}
	return d
}

// tcpSocket is the TCP socket of the system that a connection is, or that lies below it, as
// below a TLS connection; nil if there is none.
func tcpSocket(conn net.Conn) syscall.RawConn {
	for {
		switch c := conn.(type) {
		case *kernel.TCPConn:
			raw, err := c.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// backlog is backlogOf the connection's socket. Any goroutine may ask.
func (d *goroutineConn) backlog() (unsent, untaken int) {
	if d.socket != nil {
		d.socket.Control(func(fd uintptr) { unsent, untaken = backlogOf(fd) })
	}
	return unsent, untaken
}

// brokenBy is that of the connection's socket.
func (d *goroutineConn) brokenBy() (why syscall.Errno) {
	if d.socket != nil {
		d.socket.Control(func(fd uintptr) { why = brokenBy(fd) })
	}
	return why
}

func (d *goroutineConn) describe() *Session { return d.session }

// refuse tells the peer why it is hung up on.
func (d *goroutineConn) refuse(reason CloseReason, run func(serve func())) {
	text, patient := d.srv.refuse(d, reason)
	switch {
	case len(text) == 0 && !patient:
		d.conn.Close()
		return
	case !patient:
		// A new socket has room for the text; what is not one gets no time.
		if n, _ := d.io.write(text, false); n == 0 {
			d.conn.SetDeadline(kernel.Now().Add(time.Millisecond)) // TLS reads before it writes
			d.conn.Write(text)
		}
		d.conn.Close()
		return
	}
	run(func() {
		d.conn.SetDeadline(kernel.Now().Add(lingerTime))
		d.conn.Write(text)
		d.linger()
		d.srv.forget(d, true)
	})
}

// converse has the conversation from its opening to its end, but for the closing
// of the connection.
func (d *goroutineConn) converse() {
	d.open(nil)
	d.greet()
	for d.phase < over {
		switch {
		case d.phase == needsInput:
			d.listen()
		case d.again != 0 && d.srv.stopped(): // it might speak for ever to a peer that has half-closed
			d.drain()
		}
		d.out = writeBuffers.Get().(*writeBuffer)
		used := d.answer(d, d.out, d.in.held(), d.in.eof)
		d.stopLate()
		held := d.held()
		d.in.drop(used)
		d.flush(held)
		d.recycle()
		// Its turn is over. If it could go on at once, the others that can go first: the
		// scheduler would have it give way only every 10 ms.
		if d.phase == needsRoom || d.phase == needsInput && !d.io.waited() {
			runtime.Gosched()
		}
	}
	if d.gone {
		d.hearRest()
	}
	d.recordLoose(d.in.held())
	d.in.drop(len(d.in.held())) // while it is waited for, it holds nothing
	d.account()
	d.awaitTaken()
	d.stopDiscarding()
	if d.phase == broken {
		d.lose(d.untaken())
	}
	d.close(nil, kernel.Now())
}

// greet has the greeting written.
func (d *goroutineConn) greet() {
	if !d.greets() {
		return
	}
	d.out = writeBuffers.Get().(*writeBuffer)
	d.conversation.greet(d, d.out)
	d.stopLate()
	d.flush(d.held())
	d.recycle()
}

// listen waits for the peer, or for a clock.
func (d *goroutineConn) listen() {
	d.account()
	d.arm()
	// Look after arming: Shutdown's wake-up may have come first and been overwritten.
	if d.srv.stopped() {
		d.drain()
		return
	}
	if d.session.evicted() {
		return
	}
	armed := d.armed
	n, err := d.io.read(true)
	now := kernel.Now()
	if errors.Is(err, os.ErrDeadlineExceeded) && (d.overdue(now) || d.again != 0) {
		n, err = d.io.read(false)
	}
	switch {
	case n > 0:
		d.read(n, now)
	case err == io.EOF, err == ErrTruncated:
		d.in.eof, d.cutShort = true, err != io.EOF
		d.read(0, now)
	case errors.Is(err, os.ErrDeadlineExceeded) && (d.srv.stopped() || d.session.evicted() || !d.isLost(armed, now)):
		d.expire(d.in.held(), now)
	case err != nil:
		d.broke(err)
	}
}

// isLost is called when the connection fails for a deadline, and reports whether it has not
// come: then one before has put the connection out of action, as a TLS handshake or write that
// is cut off does, and to try again would be to do so for ever.
func (d *goroutineConn) isLost(deadline, now time.Time) bool {
	return now.Before(deadline) && !d.io.resumable()
}

// overdue is called when the read deadline has passed, and reports whether the peer is to be
// looked at once more before that counts: since then it may have been heard from.
func (d *goroutineConn) overdue(now time.Time) bool {
	armed := d.armed
	d.disarm()
	if armed.IsZero() || !now.After(armed) {
		return false // or it is a wake-up
	}
	if now.Sub(armed) > maxLate {
		d.restartClocks(now)
	}
	return true
}

// arm sets the read deadline. One that is earlier than need be is left alone, since
// most of the time it moves with each request and is never reached.
func (d *goroutineConn) arm() {
	want := d.deadline()
	if d.again != 0 {
		if now := kernel.Now(); want.Before(now) { // after a long write, which is no sign that the process stood still
			want = now
		}
	}
	if want.IsZero() || !d.armed.IsZero() && !want.Before(d.armed) {
		return
	}
	d.armed = want
	d.setReadDeadline(want)
	if d.again != 0 && !d.io.resumable() { // a write that it cuts off could not go on
		limit, _ := d.limit()
		d.conn.SetWriteDeadline(d.orNever(limit))
	}
}

// setReadDeadline sets the deadline of a socket's reads, and of all that anything else does
// meanwhile: TLS answers some of what it reads.
func (d *goroutineConn) setReadDeadline(at time.Time) {
	if d.io.resumable() {
		d.conn.SetReadDeadline(at)
	} else {
		d.conn.SetDeadline(at)
	}
}

// disarm takes off a deadline that has passed: left there, every read would fail.
func (d *goroutineConn) disarm() {
	d.armed = time.Time{}
	d.setReadDeadline(time.Time{})
}

// wake has it look whether the server is stopping.
func (d *goroutineConn) wake() {
	d.conn.SetReadDeadline(longAgo)
	if d.io.resumable() {
		d.conn.SetWriteDeadline(longAgo)
	}
}

func (d *goroutineConn) release() {
	select {
	case d.released <- struct{}{}:
	default: // it has not seen the one before, and will look
	}
}

// account says what it holds while it waits for its peer, or for the gate.
func (d *goroutineConn) account() {
	bytes := d.in.memory()
	owes := d.out != nil && !d.out.flushed()
	if owes {
		bytes += d.out.memory()
	}
	d.srv.hold(d.session, bytes)
	d.tellProgress(owes)
}

// evict has it end: from a wait for the peer, or for the gate.
func (d *goroutineConn) evict() {
	d.conn.SetReadDeadline(longAgo)
	if d.stuck.Load() {
		d.conn.SetWriteDeadline(longAgo)
	}
	d.release()
}

// failIfEvicted ends the conversation at once if it was evicted while it waits for room, or
// for the gate: its peer cannot be told.
func (d *goroutineConn) failIfEvicted() {
	if d.session.evicted() && d.reason != Memory {
		d.fail(Memory, nil)
	}
}

// cut has the conversation end for a reason when the connection is closed under it.
func (d *goroutineConn) cut(reason CloseReason) net.Conn {
	if unsent, untaken := d.backlog(); unsent > 0 || reason == DrainCut {
		d.left.Store(int64(untaken))
	}
	d.cutFor.CompareAndSwap(0, uint32(reason))
	d.session.end(cutErrors[reason])
	return d.conn
}

// untaken is how many bytes of what was written the peer will not take, now that the
// connection is to be closed. What is on its way counts as taken.
func (d *goroutineConn) untaken() int {
	if d.cutFor.Load() != 0 {
		return int(d.left.Load())
	}
	if unsent, untaken := d.backlog(); unsent > 0 {
		return untaken
	}
	return 0
}

// broke ends the conversation for an error of the connection.
func (d *goroutineConn) broke(err error) {
	if reason := CloseReason(d.cutFor.Load()); reason != 0 {
		d.fail(reason, nil)
		return
	}
	d.gone = d.gone || d.phase < over
	if d.out != nil {
		d.countSent(d.out)
	}
	unsent, untaken := d.backlog()
	d.conversation.broke(err, untaken, unsent > 0 || d.out != nil && len(d.out.unsent()) > 0)
}

// hearRest has what the system still holds of a peer that has gone told as received: behind a
// failed write it can be read.
func (d *goroutineConn) hearRest() {
	d.disarm()
	ended := d.phase
	d.phase = needsInput
	d.out = writeBuffers.Get().(*writeBuffer)
	for heard := 0; heard < mostHeard; {
		used := d.hear(d.out, d.in.held())
		d.held() // is not waited for: it has its record, and there is no reply to hold back
		d.in.drop(used)
		if d.phase >= over || d.discarding != nil { // behind what was discarded begins no request
			break
		}
		n, err := d.io.read(false)
		if n == 0 && err != nil {
			break
		}
		d.read(n, kernel.Now())
		heard += n
	}
	d.recycle()
	d.phase = ended
	d.wasHeard(d.heard)
}

// wasHeard notes whether a peer that has gone had sent anything after all.
func (d *goroutineConn) wasHeard(sent bool) {
	if d.reason == NoRequest && sent {
		d.reason = Reset
	}
}

// recycle gives the write buffer back.
func (d *goroutineConn) recycle() {
	d.out.recycle()
	d.out = nil
}

// held asks the gate, if there is one.
func (d *goroutineConn) held() bool { return d.gate != nil && d.ask(d.out, kernel.Now()) }

// awaitRelease waits until the gate lets the session go on, or it is cut.
func (d *goroutineConn) awaitRelease() {
	cut := d.session.Context().Done()
	d.account()
	for !d.session.released() {
		if d.failIfEvicted(); d.phase == broken {
			return
		}
		select {
		case <-d.released:
		case <-cut:
			d.broke(net.ErrClosed)
			return
		}
	}
}

// flush writes what is owed once the gate does not hold it, for as long as the peer takes
// some of it.
func (d *goroutineConn) flush(held bool) {
	if held {
		d.awaitRelease()
		if d.phase != broken && d.out.flushed() {
			d.written(0) // the clocks stood still
		}
	}
	if d.cutFor.Load() != 0 { // by which a handler was told; the connection may not be closed yet
		d.broke(net.ErrClosed)
	}
	waited := false
	for d.phase != broken && !d.out.flushed() {
		var deadline time.Time
		if waited {
			deadline = d.deadline()
			d.conn.SetWriteDeadline(deadline)
			// Look after arming, as in listen.
			if d.failIfEvicted(); d.phase == broken {
				break
			}
			if d.phase >= over || d.srv.stopped() { // nothing that comes now will be answered
				d.discard()
			}
		}
		n, err := d.io.write(d.out.unsent(), waited)
		d.written(n)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			d.conn.SetWriteDeadline(time.Time{})
			if waited && n == 0 {
				d.writeLate(deadline)
			}
		case err != nil:
			d.broke(err)
		}
		if d.phase != broken && !d.out.flushed() {
			waited = true
			d.stuck.Store(true)
			d.account()
		}
	}
	if waited {
		d.stuck.Store(false)
		d.conn.SetWriteDeadline(time.Time{})
		if !d.io.resumable() {
			d.armed = time.Time{} // it was for writing too
		}
	}
}

// written notes that the connection took n bytes.
func (d *goroutineConn) written(n int) {
	if d.wrote(d.out, n, kernel.Now()) {
		_, untaken := d.backlog()
		d.taken(untaken)
	}
}

// writeLate is called when the write deadline has passed, or at a wake-up. The peer may have
// taken some since.
func (d *goroutineConn) writeLate(deadline time.Time) {
	now := kernel.Now()
	if now.Sub(deadline) > maxLate && !deadline.IsZero() {
		d.restartClocks(now)
	}
	n, _ := d.io.write(d.out.unsent(), false) // an error shows again
	d.written(n)
	if n == 0 && (d.ranOut(now) || d.isLost(deadline, now)) {
		d.failIfEvicted() // which wakes it too
		d.fail(WriteTimeout, nil)
	}
}

// awaitTaken waits until the peer has taken what it is owed, for as long as it takes some. A
// reset would discard what is not even sent, and at the end of a drain nobody could say what
// became of the rest.
func (d *goroutineConn) awaitTaken() {
	for looked := kernel.Now(); d.phase == over; {
		if d.in.eof && !d.srv.stopped() {
			return // no reset will come, and the system goes on
		}
		unsent, untaken := d.backlog()
		if d.cutFor.Load() != 0 { // of a closed socket that says nothing
			d.broke(net.ErrClosed)
			return
		}
		if unsent == 0 && !d.srv.stopped() {
			return // what is on its way arrives before a reset can
		}
		if why := d.brokenBy(); why != 0 {
			d.broke(os.NewSyscallError("read", why))
			return
		}
		now := kernel.Now()
		if now.Sub(looked) > maxLate {
			d.restartClocks(now)
		}
		looked = now
		if !d.awaits(untaken, now) {
			if untaken > 0 {
				d.fail(WriteTimeout, nil)
			}
			return
		}
		d.discard()
		select {
		case <-time.After(takenLook):
		case <-d.session.Context().Done(): // it is cut
		}
	}
}

// discard begins to read and drop what the peer sends, unless that goes on already: a peer
// that sends all it has before it reads would not get to that.
func (d *goroutineConn) discard() {
	if d.discarding != nil || d.in.eof {
		return
	}
	d.discarding = make(chan struct{})
	go func() {
		defer close(d.discarding)
		buf := d.readBuffers.Get().(*[]byte)
		defer d.readBuffers.Put(buf)
		for {
			d.conn.SetReadDeadline(time.Time{})
			if d.enough.Load() { // after disarming: stopDiscarding may have come first
				return
			}
			n, err := d.conn.Read(*buf)
			d.dropped = d.dropped || n > 0
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				d.sawEnd = err == io.EOF
				return
			}
		}
	}()
}

func (d *goroutineConn) stopDiscarding() {
	if d.discarding == nil {
		return
	}
	d.enough.Store(true)
	d.conn.SetDeadline(longAgo) // for writing too: TLS answers some of what it reads
	<-d.discarding
	d.conn.SetWriteDeadline(time.Time{})
	d.in.eof = d.in.eof || d.sawEnd
	d.wasHeard(d.dropped)
}

// Reply stands before the server's handler: while it is at work, the replies that
// were made before it are flushed once they have waited for a millisecond.
func (d *goroutineConn) Reply(dst []byte, req *Request) ([]byte, error) {
	d.tellProgress(true)
	if !d.out.flushed() && d.lend() {
		defer d.takeBack()
	}
	return d.handler.Reply(dst, req)
}

// Speak is the same of a Speaker.
func (d *goroutineConn) Speak(dst []byte, s *Session, now time.Time) (message []byte, again time.Time, err error) {
	if !d.out.flushed() && d.lend() {
		defer d.takeBack()
	}
	return d.handler.(Speaker).Speak(dst, s, now)
}

var writeBuffers = sync.Pool{New: func() any { return new(writeBuffer) }}

// recycle returns it to the pool. A buffer that one large reply has blown up is dropped.
func (o *writeBuffer) recycle() {
	o.reset()
	o.req, o.event = Request{}, Event{}
	if cap(o.buf) > 1<<20 {
		o.buf = nil
	}
	writeBuffers.Put(o)
}

// A readBuffer holds the bytes that were read and not yet answered. Its first buffer
// comes from a pool where the connection can be waited for without one.
type readBuffer struct {
	buf    []byte
	r, w   int // buf[r:w] is held
	eof    bool
	size   int        // of the first buffer
	pool   *sync.Pool // of *[]byte of that size; nil if the buffer is kept
	pooled *[]byte    // buf, if it is the pool's
}

func (in *readBuffer) held() []byte { return in.buf[in.r:in.w] }

// space returns where the next read goes. Held bytes grow by doubling, so that a
// peer pays in sent bytes for what it takes up.
func (in *readBuffer) space() []byte {
	switch {
	case in.buf == nil && in.pool != nil:
		in.pooled = in.pool.Get().(*[]byte)
		in.buf = *in.pooled
	case in.buf == nil:
		in.buf = make([]byte, in.size)
	case in.w == len(in.buf):
		in.move(make([]byte, 2*len(in.buf)))
	}
	return in.buf[in.w:]
}

// drop takes n answered bytes off. A pooled buffer goes back, and what is still
// held moves to one of its own size.
func (in *readBuffer) drop(n int) {
	in.r += n
	held := in.w - in.r
	switch {
	case held > 0 && in.pooled != nil:
		in.move(make([]byte, max(512, 2*held)))
	case held > 0 && n > 0:
		in.move(in.buf)
	case held == 0:
		in.r, in.w = 0, 0
		if in.pooled != nil {
			in.recycle()
		}
		if in.pool != nil || len(in.buf) != in.size {
			in.buf = nil
		}
	}
}

// split takes what is held off into a buffer of its own.
func (in *readBuffer) split() *readBuffer {
	held := in.held()
	rest := &readBuffer{buf: make([]byte, max(512, 2*len(held))), w: len(held), size: in.size}
	copy(rest.buf, held)
	in.drop(len(held))
	return rest
}

func (in *readBuffer) move(to []byte) {
	in.w = copy(to, in.held())
	in.r, in.buf = 0, to
	if in.pooled != nil {
		in.recycle()
	}
}

func (in *readBuffer) recycle() {
	in.pool.Put(in.pooled)
	in.pooled = nil
}

// A connIO reads and writes a connection for the goroutine engine.
type connIO interface {
	// read reads once into the read buffer. With wait it waits until something can be read,
	// without it fails with os.ErrDeadlineExceeded if nothing can.
	read(wait bool) (int, error)
	// write writes some of p. Without wait it takes what can be had at once, where
	// it can tell.
	write(p []byte, wait bool) (int, error)
	// resumable reports whether writing can go on after a deadline has cut it off.
	resumable() bool
	// waited reports whether the last read had to wait for the peer; false where it cannot
	// tell.
	waited() bool
}

// streamIO is that of any net.Conn. It waits inside Read, so an idle session
// holds its buffer.
type streamIO struct {
	conn net.Conn
	in   *readBuffer
}

const (
	streamBuffer = 4 << 10
	streamPiece  = 4 << 10 // what a peer must take in one WriteTimeout to be making progress
	streamLook   = time.Millisecond
)

func newStreamIO(conn net.Conn, in *readBuffer, set *settings) connIO {
	in.size = streamBuffer
	if set.framing == Chunks {
		in.size = set.readSize
	}
	return &streamIO{conn, in}
}

func (l *streamIO) read(wait bool) (int, error) {
	if !wait { // a deadline that has passed would hide what is there
		l.conn.SetReadDeadline(kernel.Now().Add(streamLook))
		defer l.conn.SetReadDeadline(time.Time{})
	}
	n, err := l.conn.Read(l.in.space())
	l.in.w += n
	return n, err
}

func (l *streamIO) resumable() bool { return false }
func (l *streamIO) waited() bool    { return false }

// write goes in pieces, since how much of a blocked Write has been taken, and when,
// cannot be seen, and a TLS connection is of no use after a Write was cut off.
func (l *streamIO) write(p []byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	return l.conn.Write(p[:min(len(p), streamPiece)])
}

// abandon closes the connection of a peer that takes nothing more: TLS would wait up to 5 s for
// room to say that this is the end, but for a connection below that is closed. Who cuts it has
// begun to close it, with a wait of his own.
func (d *goroutineConn) abandon() {
	if over, ok := d.conn.(interface{ NetConn() net.Conn }); ok && d.cutFor.Load() == 0 {
		over.NetConn().Close()
	}
	d.conn.Close()
}

// linger closes the connection so that no reset eats a reply: it says that nothing
// more will come, then reads and discards until the peer has seen that. (A socket
// closed with unread bytes sends a reset, and a reset discards what the peer has
// not read; RFC 2525, section 2.17.) What is still on its way is waited for.
func (d *goroutineConn) linger() {
	defer d.conn.Close()
	half, ok := d.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	for wait := lingerTime; ; wait = takenLook {
		d.conn.SetReadDeadline(kernel.Now().Add(wait))
		n, err := io.Copy(io.Discard, io.LimitReader(d.conn, lingerBytes))
		if n < lingerBytes && !errors.Is(err, os.ErrDeadlineExceeded) {
			return // the end of file, or an error
		}
		if _, untaken := d.backlog(); !d.awaits(untaken, kernel.Now()) {
			return
		}
	}
}
