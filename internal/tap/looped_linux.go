//go:build !386

package tap

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/epoll"
)

// restPause is how often it is looked whether a peer has taken the last of what the other had said. It may be
// late by a loopTick.
const restPause = loopTick

// A looped session is one that a loop passes on. Only its loop touches it, but for wake.
type looped struct {
	*session
	loop     *loop
	up, down flow // of the client, of the server
	phase    phase
	waited   time.Duration // while resting
	looked   time.Duration // when that was counted, since the loop began
}

type phase uint8

const (
	beginning phase = iota // is not in the loop's set yet
	passing
	resting // the connection of one has broken, and what it had said is passed on
	hearing // and told, though the other takes nothing any more
	over    // Closed was told
	hungUp  // and its sockets are closed; its last records may wait
	left
)

// A flow is a direction of a looped session. What its peer does not take is kept, and nothing is read
// meanwhile: that is how the other is held back.
type flow struct {
	*direction
	t      *looped
	id     uint32 // in the loop's set, of the socket that it comes from
	events uint32 // that this one is waited for
	kept   []byte // nil if there is none
	taken  int32  // bytes of kept
	eof    bool   // or an error: nothing more is to be read
	back   bool   // kept, or the end of file, is held back by the gate
}

// takeOver takes the sockets of a session out of the hands of package net and its poller: their events
// would wake both. It reports whether they are sockets that a loop can have.
func takeOver(s *session) bool {
	client, ok := duplicate(s.client.conn)
	if !ok {
		return false
	}
	server, ok := duplicate(s.server.conn)
	if !ok {
		epoll.CloseFD(client)
		return false
	}
	s.tap.mu.Lock()
	s.looped = true
	s.tap.mu.Unlock()
	s.client.handOver(client)
	s.server.handOver(server)
	return true
}

// duplicate is another descriptor of a socket. Only the types themselves will do: what embeds one may
// read and write differently.
func duplicate(conn net.Conn) (fd int, ok bool) {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		if c.LocalAddr().Network() != "unix" { // the others are no streams
			return 0, false
		}
		raw, err = c.SyscallConn()
	default:
		return 0, false
	}
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(of uintptr) {
		own, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, of, syscall.F_DUPFD_CLOEXEC, 3) // 0 is none
		fd, ok = int(own), errno == 0
	})
	return fd, ok && err == nil
}

func (p *peer) handOver(fd int) {
	p.conn.Close()
	p.link, p.fd = nil, int32(fd)
}

func newLooped(s *session, l *loop) *looped {
	t := &looped{session: s, loop: l}
	t.up = flow{direction: &s.requests, t: t}
	t.down = flow{direction: &s.replies, t: t}
	s.teller = &l.teller
	if s.records != nil {
		s.released = t.wake
	}
	s.endContext()
	l.mailbox.Send(command{look: t})
	return t
}

func (t *looped) wake() { t.loop.mailbox.Send(command{look: t}) }

func (f *flow) opposite() *flow {
	if f == &f.t.up {
		return &f.t.down
	}
	return &f.t.up
}

// reads reports whether anything of a flow is to be read now.
func (f *flow) reads() bool {
	return !f.eof && len(f.kept) == 0 && !f.t.isHeld && passing <= f.t.phase && f.t.phase < over
}

// waits reports whether a flow waits for its peer to take bytes.
func (f *flow) waits() bool { return len(f.kept) > 0 && !f.back }

// done reports whether nothing more of a flow is to come.
func (f *flow) done() bool { return f.eof && !f.back && len(f.kept) == 0 }

// look looks at a session that is new, that the gate may have released, that is to end, or that is cut.
func (l *loop) look(t *looped) {
	if t.phase == beginning {
		l.begin(t)
	}
	if t.isHeld && !t.public.IsHeld() {
		t.isHeld = false
		l.resume(&t.up)
		l.resume(&t.down)
	}
	end := t.end.Load()
	switch {
	case end == nil || t.phase == over || t.phase == left:
	case t.phase == hungUp:
		l.leaveOnceRecorded(t)
	case end.peer == nil || t.wasCut():
		l.finish(t)
	case t.phase == passing:
		l.startRest(t)
	}
}

// begin begins to pass a session on.
func (l *loop) begin(t *looped) {
	t.phase = passing
	for _, f := range []*flow{&t.up, &t.down} {
		f.events = epoll.In
		id, err := l.set.Add(int(f.from.fd), f.events)
		if err != nil {
			f.events = 0
			t.endWith(&ending{reason: parley.IOError, err: err})
			return
		}
		f.id = id
		l.flows.Grow(id)
		*l.flows.At(id) = f
		t.note(f.direction, reading)
	}
}

// ready has the socket that a flow comes from read, and written.
func (l *loop) ready(f *flow, events uint32) {
	if f.t.phase >= over { // in this round
		return
	}
	if back := f.opposite(); back.waits() && events&^epoll.In != 0 {
		l.goOn(back)
	}
	switch {
	case events == epoll.Out:
	case f.reads():
		l.receive(f)
	default:
		l.watch(f) // else it would be told of again and again
		// While its bytes are not taken nobody would see that it has gone.
		if f.waits() && events&(epoll.Err|epoll.HangUp) != 0 && f.from.isReset() {
			f.t.breakBy(f.from, syscall.ECONNRESET)
		}
	}
}

// receive reads once, tells what that brings, and passes it on. What there is of a message is put together with
// the rest in front of what is read.
func (l *loop) receive(f *flow) {
	begun := len(f.scanner.buf)
	if begun > readSize { // a long message has a copy more
		begun = 0
	}
	space := l.space(begun)
	p := space[begun:]
	n, err := epoll.Read(int(f.from.fd), p)
	switch {
	case err == syscall.EAGAIN:
	case err != nil:
		l.stopReading(f, os.NewSyscallError("recv", err))
	case n == 0:
		l.stopReading(f, io.EOF)
	default:
		if begun > 0 {
			l.room = space[:begun+n]
			f.scanner.room = &l.room
		}
		l.inspect(f, p[:n])
		f.scanner.room = nil
		if l.publish != nil {
			l.used += begun + n
		}
	}
}

// inspect tells what was read, and passes it on unless the gate holds it.
func (l *loop) inspect(f *flow, p []byte) {
	t := f.t
	t.tellMessages(f.direction, p, false, l.now)
	if t.isUnfinished() && !t.unfinishedTold {
		l.wheel.Arm(t.up.id, t.unfinishedSince.Add(unfinishedAfter))
	}
	if !t.isHeld {
		l.deliver(f, p)
		return
	}
	t.note(f.direction, working)
	l.keep(f, p)
	f.back = true
}

// stopReading ends a flow of which nothing more is to be had.
func (l *loop) stopReading(f *flow, err error) {
	f.eof = true
	switch {
	case err != io.EOF:
		f.t.breakBy(f.from, err)
	case f.from.isReset():
		f.t.breakBy(f.from, syscall.ECONNRESET)
	default:
		l.endFlow(f)
	}
	if !f.back {
		f.t.note(f.direction, ended)
	}
	l.lookAtRest(f.t)
}

// endFlow tells an end of file, and passes it on unless the gate holds it.
func (l *loop) endFlow(f *flow) {
	t := f.t
	t.tellMessages(f.direction, nil, true, l.now)
	if t.isHeld {
		t.note(f.direction, working)
		f.back = true
		return
	}
	l.endTold(f)
}

// endTold passes an end of file on that was told. The second one ends the session.
func (l *loop) endTold(f *flow) {
	t := f.t
	t.notePassed(f.direction)
	switch end := t.countEnd(f.direction); {
	case end != nil:
		t.endWith(end)
	case t.end.Load() == nil:
		l.deliver(f, nil)
	}
}

// passEnd passes the end of a flow on.
func (f *flow) passEnd() {
	f.to.halfClosed.Store(true)
	epoll.CloseWrite(int(f.to.fd))
}

// resume goes on with a flow, now that the gate does not hold the session.
func (l *loop) resume(f *flow) {
	if f.t.phase >= over {
		return
	}
	if f.back {
		f.back = false
		if f.kept != nil {
			f.t.note(f.direction, writing)
			l.goOn(f)
		} else {
			f.t.note(f.direction, ended)
			l.endTold(f)
		}
		l.lookAtRest(f.t)
	}
	l.watch(f)
}

// write passes bytes on, and keeps those that there is no room for.
func (l *loop) write(f *flow, p []byte) {
	if f.stopped {
		return
	}
	f.to.sent.Store(true)
	n, err := epoll.Write(int(f.to.fd), p)
	switch {
	case err != nil && err != syscall.EAGAIN:
		l.stopWriting(f, os.NewSyscallError("send", err))
	case n == len(p):
		l.passed(f)
	default:
		l.keep(f, p[n:])
		f.t.note(f.direction, writing)
		l.watch(f.opposite())
	}
}

// keep keeps bytes that are passed on later.
func (l *loop) keep(f *flow, p []byte) {
	if len(p) < readSize/8 {
		f.kept = bytes.Clone(p)
		return
	}
	var buf []byte
	if n := len(l.spare); n > 0 {
		buf, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		buf = make([]byte, readSize)
	}
	f.kept = buf[:copy(buf, p)]
}

// drop lets go of what is kept.
func (l *loop) drop(f *flow) {
	if cap(f.kept) == readSize && len(l.spare) < maxSpare {
		l.spare = append(l.spare, f.kept[:readSize])
	}
	f.kept, f.taken = nil, 0
}

// goOn goes on with what is kept.
func (l *loop) goOn(f *flow) {
	if f.stopped {
		l.drop(f)
		f.t.note(f.direction, reading)
		return
	}
	f.to.sent.Store(true)
	n, err := epoll.Write(int(f.to.fd), f.kept[f.taken:])
	f.taken += int32(n)
	switch {
	case err != nil && err != syscall.EAGAIN:
		l.stopWriting(f, os.NewSyscallError("send", err))
	case int(f.taken) == len(f.kept):
		l.drop(f)
		l.passed(f)
	case n > 0:
		f.t.note(f.direction, writing)
	}
	l.watch(f)
	l.watch(f.opposite())
	l.lookAtRest(f.t)
}

// passed notes that all that was read of a flow is passed on.
func (l *loop) passed(f *flow) {
	f.t.note(f.direction, reading)
	f.t.notePassed(f.direction)
}

// stopWriting ends the session because a peer takes nothing any more.
func (l *loop) stopWriting(f *flow, err error) {
	f.stopped = true
	l.drop(f)
	f.t.note(f.direction, reading)
	f.t.breakBy(f.to, err)
}

// watch has the socket that a flow comes from waited for as its state asks for.
func (l *loop) watch(f *flow) {
	events := uint32(0)
	if f.reads() {
		events |= epoll.In
	}
	if f.opposite().waits() {
		events |= epoll.Out
	}
	if events == 0 {
		events = epoll.Edge // an error is told of once
	}
	if events == f.events {
		return
	}
	f.events = events
	if err := l.set.Change(f.id, events); err != nil {
		f.t.breakBy(f.from, err)
	}
}

// startRest begins to pass on what the peer whose connection broke had said.
func (l *loop) startRest(t *looped) {
	t.phase, t.looked = resting, l.now.Sub(l.began)
	f := t.restFlow()
	back := f.opposite()
	back.stopped = true // that peer is sent nothing any more
	if back.kept != nil {
		l.drop(back)
		back.back = false
		l.watch(back)
		l.watch(f)
	}
	l.lookAtRest(t)
}

func (t *looped) restFlow() *flow {
	if t.rest(t.end.Load()) == &t.replies {
		return &t.down
	}
	return &t.up
}

// lookAtRest ends a session whose one connection broke, once all that its peer had said is told, and the other
// has taken it or had a second for that. While the gate holds the session the second stands still.
func (l *loop) lookAtRest(t *looped) {
	if t.phase != resting && t.phase != hearing {
		return
	}
	f := t.restFlow()
	if t.phase == resting {
		if t.waited < restTime && !(f.done() && f.to.unsent() == 0) {
			l.wheel.Arm(t.up.id, l.now.Add(restPause))
			return
		}
		t.phase = hearing
		f.stopped = true
		if !f.back {
			l.drop(f)
		}
		if !t.end.Load().isGone() {
			f.eof = true // it may be alive, and have more to say
		}
	}
	if f.done() {
		l.finish(t)
	} else {
		l.watch(f)
		l.watch(f.opposite())
	}
}

// expire does what was put off until now, and returns when there is more to do.
func (l *loop) expire(id uint32) time.Time {
	t := (*l.flows.At(id)).t
	if t.phase >= over { // in this round
		return epoll.Never
	}
	if t.phase == resting {
		if !t.isHeld {
			t.waited += min(l.now.Sub(l.began)-t.looked, restPause+loopTick) // while the process ran
		}
		t.looked = l.now.Sub(l.began)
		l.lookAtRest(t)
	}
	if !t.isUnfinished() || t.unfinishedTold {
		return epoll.Never
	}
	if at := t.unfinishedSince.Add(unfinishedAfter); l.now.Before(at) {
		return at
	}
	t.tellUnfinished(l.now)
	return epoll.Never
}

// finish tells that a session is over. Its peers see it once that is published.
func (l *loop) finish(t *looped) {
	t.phase = over
	t.tellClosed(t.end.Load(), l.now)
	l.over = append(l.over, t)
}

// hangUp closes the sockets: in good order if both peers have ended, and otherwise by a reset, since an end of
// file would be a lie.
func (l *loop) hangUp(t *looped) {
	t.phase = hungUp
	first, second := &t.up, &t.down
	switch end := t.end.Load(); end.last {
	case nil:
		resetAtClose(first.from)
		resetAtClose(second.from)
	case &t.replies: // whose end the client has not seen
		first, second = second, first
	}
	l.close(first)
	l.close(second)
	l.leaveOnceRecorded(t)
}

func resetAtClose(p *peer) {
	syscall.SetsockoptLinger(int(p.fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}

func (l *loop) close(f *flow) {
	if f.events == 0 { // it never came into the set
		epoll.CloseFD(int(f.from.fd))
	} else {
		l.wheel.Disarm(f.id)
		*l.flows.At(f.id) = nil
		l.set.Close(f.id)
	}
	f.from.fd = 0
	l.drop(f)
}

// leaveOnceRecorded makes room for another session, once the last records of this one are made: so there are
// never more of those than there may be sessions.
func (l *loop) leaveOnceRecorded(t *looped) {
	if t.isHeld && !t.wasCut() {
		return
	}
	t.phase = left
	t.leave()
	t.serving.Done()
}
