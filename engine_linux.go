//go:build !386

package parley

import (
	"cmp"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/epoll"
)

const (
	// loopTick is how late the clocks of a loop's sessions may be.
	loopTick = 100 * time.Millisecond

	// loopShare is how long a loop works before it lets the other goroutines of its
	// CPU have a turn: its system calls do not.
	loopShare = time.Millisecond

	// spareOutboxes is how many outboxes a loop keeps, for as many sockets as may be
	// ready at once.
	spareOutboxes = 256
)

// loops are the event loops of a server. They run while a call of Serve needs them.
type loops struct {
	mu      sync.Mutex
	users   int // calls of Serve
	all     []*loop
	next    int // gets the next connection
	running sync.WaitGroup
}

// hire starts the loops unless they run already.
func (ls *loops) hire(s *Server) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.users == 0 {
		for range runtime.GOMAXPROCS(0) {
			l, err := newLoop(s)
			if err != nil {
				ls.stop()
				return err
			}
			ls.all = append(ls.all, l)
			ls.running.Go(l.run)
		}
	}
	ls.users++
	return nil
}

// release stops the loops when nobody needs them any more.
func (ls *loops) release() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.users--; ls.users == 0 {
		ls.stop()
	}
}

func (ls *loops) stop() {
	for _, l := range ls.all {
		l.post(letter{about: stopLoop})
	}
	ls.running.Wait()
	for _, l := range ls.all {
		l.set.Free() // not before: stop may still be ringing
	}
	ls.all = nil
}

// posts are those of one acceptor, one a loop.
func (ls *loops) posts() []*post {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var all []*post
	for _, l := range ls.all {
		all = append(all, &post{loop: l})
	}
	return all
}

// inTurn is the post for the next connection, whichever acceptor's it is.
func (ls *loops) inTurn(posts []*post) *post {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.next++
	return posts[ls.next%len(posts)]
}

// loopsCanServe: only the types themselves will do. Something that embeds one may
// accept differently.
func loopsCanServe(l net.Listener) bool {
	switch l := l.(type) {
	case *net.TCPListener:
		return true
	case *net.UnixListener:
		return l.Addr().Network() == "unix" // "unixpacket" is no stream
	}
	return false
}

// A post is where the connections of one acceptor come to one loop.
type post struct {
	loop  *loop
	conns sync.WaitGroup
}

// A talk is one conversation that a loop drives. Only its loop touches it.
type talk struct {
	conversation
	*post
	in  *inbox  // nil unless bytes of an unfinished request are held
	out *outbox // nil unless there are replies to write; while there are, nothing is read
	fd  int32
	id  uint32 // in the loop's set

	eof       bool
	adopted   bool // is in the loop's set
	waiting   bool // for room to write
	held      bool // by the gate
	deaf      bool // no events are wanted while it is
	ended     bool // was told as closed
	refused   bool
	lingering bool
	closed    bool
	discarded int32         // bytes, while lingering
	armed     time.Duration // for when its clocks are to be looked at, since opened; 0 is not at all
}

func (t *talk) about() *Session { return t.session }

func (t *talk) wake() { t.loop.post(letter{talk: t, about: look}) }

func (t *talk) release() { t.loop.post(letter{talk: t, about: goOn}) }

func (t *talk) cut(reason CloseReason) {
	t.session.end(cutErrors[reason])
	t.loop.post(letter{talk: t, about: errand(reason)})
}

// A letter is how other goroutines reach a loop.
type letter struct {
	talk  *talk
	about errand
	door  *loopAcceptor // of watch and unwatch
}

// An errand is what is to be done with a talk. Those up to PerIP are to cut it for
// that CloseReason.
type errand uint8

const (
	adopt    errand = 255 - iota // drive it from now on
	look                         // the server is stopping
	goOn                         // the gate has released it
	watch                        // wait at the listener of an acceptor
	unwatch                      // it is closed
	stopLoop                     // all is done
)

// A loop drives many conversations in one goroutine, in rounds: read and answer
// whatever is ready, publish the events, write the replies, close what is over.
type loop struct {
	settings // the server's, with an observer of the loop's own
	srv      *Server
	publish  func() // flushes the observer; nil if nothing needs to be
	fire     func(id uint32) time.Time
	set      *epoll.Set
	wheel    *epoll.Wheel
	talks    epoll.Table[*talk] // by their number in the set
	doors    map[uint32]*loopAcceptor
	arrived  inbox     // the last read; a talk keeps only what is left of it
	spare    []*outbox // to be lent again

	now     time.Time // when this round began
	anchor  time.Time // of the clock
	last    time.Time // that the clock was read
	rested  time.Time // when other goroutines last had a turn
	due     []*talk   // have replies to write
	over    []*talk   // are to be hung up on
	again   []*talk   // hold whole requests that the last outbox had no room for
	stopped bool

	mu   sync.Mutex
	mail []letter
	read []letter // mail is swapped with it
}

func newLoop(s *Server) (*loop, error) {
	set, err := epoll.NewSet()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	l := &loop{settings: s.settings, srv: s, set: set, wheel: epoll.NewWheel(now, loopTick), anchor: now, last: now}
	l.observer, l.publish = fork(s.Observer)
	l.arrived.size = l.readSize
	l.fire = l.expire
	return l, nil
}

// post leaves a letter. Any goroutine may.
func (l *loop) post(m letter) {
	l.mu.Lock()
	l.mail = append(l.mail, m)
	l.mu.Unlock()
	l.set.Ring()
}

func (l *loop) run() {
	for !l.stopped {
		l.wait()
		l.wheel.Advance(l.now, l.fire)
		if l.set.Rung() {
			l.readMail()
		}
		l.finishRound()
	}
}

// wait waits for sockets that are ready, and has them read and answered.
func (l *loop) wait() {
	timeout := time.Duration(-1)
	if len(l.again) > 0 {
		timeout = 0
	} else if next := l.wheel.Next(); next != epoll.Never {
		timeout = max(0, next.Sub(l.last))
	}
	n, err := l.set.Wait(timeout)
	if err != nil {
		panic("parley: " + err.Error()) // somebody closed what is not theirs
	}
	l.now = l.clock()
	if l.now.Sub(l.rested) > loopShare {
		runtime.Gosched()
		l.now = time.Now()
		l.anchor, l.rested = l.now, l.now
	}
	again := l.again
	l.again = nil
	for _, t := range again {
		l.answer(t)
	}
	knocked := false
	for i := range n {
		id, events := l.set.Event(i)
		switch {
		case events == 0:
		case id < l.talks.Len() && *l.talks.At(id) != nil:
			l.ready(*l.talks.At(id))
		default:
			l.doors[id].knocks(nil)
			knocked = true
		}
	}
	if knocked {
		runtime.Gosched() // the acceptor has its turn, and we its letters in this round
	}
}

// watch waits at the listener of an acceptor.
func (l *loop) watch(a *loopAcceptor) {
	var id uint32
	var err error
	ctl := a.raw.Control(func(fd uintptr) { id, err = l.set.Add(int(fd), epoll.In|epoll.Edge) })
	if err = cmp.Or(ctl, err); err != nil {
		a.knocks(err)
		return
	}
	if l.doors == nil {
		l.doors = make(map[uint32]*loopAcceptor)
	}
	l.doors[id] = a
}

// unwatch forgets a listener that is closed.
func (l *loop) unwatch(a *loopAcceptor) {
	for id, door := range l.doors {
		if door == a {
			delete(l.doors, id)
			l.set.Forget(id)
		}
	}
}

// clock is the time, for half the price of time.Now: the wall clock is read once a
// millisecond and the monotonic one added.
func (l *loop) clock() time.Time {
	l.last = l.anchor.Add(time.Since(l.anchor))
	return l.last
}

// ready has a talk read or write, whatever the events are: an error shows in either.
func (l *loop) ready(t *talk) {
	switch {
	case t.lingering:
		l.discard(t)
	case t.held:
		l.deafen(t)
	case t.waiting:
		l.due = append(l.due, t)
	case t.out == nil && t.phase == needsInput: // if it needs room, it is to be answered again
		l.receive(t)
	}
}

// receive reads once and has it answered.
func (l *loop) receive(t *talk) {
	in := l.inboxOf(t)
	n, err := epoll.Read(int(t.fd), in.space())
	switch {
	case err == syscall.EAGAIN:
		return
	case err != nil:
		l.broke(t, os.NewSyscallError("recv", err))
		return
	}
	in.w += n
	t.eof = n == 0
	t.read(n, l.now)
	l.answer(t)
}

// inboxOf is the loop's own for a talk that holds nothing.
func (l *loop) inboxOf(t *talk) *inbox {
	if t.in != nil {
		return t.in
	}
	return &l.arrived
}

// answer has the held bytes answered, and keeps what is left of them.
func (l *loop) answer(t *talk) {
	if t.ended {
		return
	}
	in, out := l.inboxOf(t), l.lend()
	used := t.answer(l.handler, out, in.held(), t.eof)
	t.held = l.gate != nil && t.ask(out, l.clock())
	in.drop(used)
	switch {
	case in == t.in && len(in.held()) == 0:
		t.in = nil
	case in == &l.arrived && len(in.held()) > 0:
		t.in = in.split()
	}
	if out.flushed() && !t.held {
		l.takeBack(out)
		l.settle(t)
		return
	}
	t.out = out
	switch {
	case t.held:
	case l.publish == nil:
		l.write(t) // nothing has to come first, and the peer can go on
	default:
		l.due = append(l.due, t)
	}
}

// deafen has events of a held talk come no more: its input waits, and would be told of
// again and again. An error is told of once, and shows when the talk is released.
func (l *loop) deafen(t *talk) {
	if t.deaf {
		return
	}
	t.deaf = true
	if err := l.set.Change(t.id, epoll.Edge); err != nil {
		l.broke(t, err)
	}
}

// goOn has a talk written that the gate held, if it has released it.
func (l *loop) goOn(t *talk) {
	if t.ended || !t.held || !t.session.released() {
		return
	}
	t.held = false
	l.due = append(l.due, t)
	if !t.deaf {
		return
	}
	t.deaf = false
	if err := l.set.Change(t.id, epoll.In); err != nil {
		l.broke(t, err)
	}
}

// settle says what a talk waits for once all its replies are written.
func (l *loop) settle(t *talk) {
	switch {
	case t.phase >= over:
		l.end(t)
	case t.phase == needsRoom:
		l.again = append(l.again, t)
	default:
		l.arm(t)
	}
}

// arm sees that the clocks of a talk are looked at in time. Mostly its deadline has
// moved into the future, and it is still armed for the one before.
func (l *loop) arm(t *talk) {
	at := t.due()
	if at == 0 || t.armed != 0 && at >= t.armed {
		return
	}
	t.armed = at
	l.wheel.Arm(t.id, t.at(at))
}

// finishRound lets out what the round has brought. What a peer can have seen is
// published before.
func (l *loop) finishRound() {
	l.flush()
	for _, t := range l.due {
		l.write(t)
	}
	clear(l.due)
	l.due = l.due[:0]
	l.flush()
	if len(l.over) > 0 {
		for _, t := range l.over {
			l.hangUp(t)
		}
		clear(l.over)
		l.over = l.over[:0]
	}
}

func (l *loop) flush() {
	if l.publish != nil {
		l.publish()
	}
}

// write writes as much as there is room for.
func (l *loop) write(t *talk) {
	if t.ended {
		return
	}
	n := 0
	if p := t.out.unsent(); len(p) > 0 {
		var err error
		if n, err = epoll.Write(int(t.fd), p); err != nil && err != syscall.EAGAIN {
			l.broke(t, os.NewSyscallError("send", err))
			return
		}
	}
	t.wrote(t.out, n, l.clock())
	flushed := t.out.flushed()
	if flushed == t.waiting {
		t.waiting = !flushed
		events := uint32(epoll.In)
		if t.waiting {
			events = epoll.Out
		}
		if err := l.set.Change(t.id, events); err != nil {
			l.broke(t, err)
			return
		}
	}
	if !flushed {
		l.arm(t)
		return
	}
	l.takeBack(t.out)
	t.out = nil
	l.settle(t)
}

// expire acts on a deadline that has come, and returns the next one.
func (l *loop) expire(id uint32) time.Time {
	t := *l.talks.At(id)
	switch {
	case t.lingering && t.since(l.now) >= t.armed:
		l.close(t)
		return epoll.Never
	case t.lingering:
		return t.at(t.armed)
	case t.held:
		t.armed = 0 // until it is released its clocks stand still
		return epoll.Never
	}
	if t.conversation.expire(l.inboxOf(t).held(), l.now); t.phase >= over && (t.out == nil || t.phase == broken) {
		l.end(t)
	}
	t.armed = t.due()
	return t.deadline()
}

func (l *loop) readMail() {
	l.mu.Lock()
	l.mail, l.read = l.read[:0], l.mail
	l.mu.Unlock()
	for _, m := range l.read {
		switch t := m.talk; {
		case m.about == stopLoop:
			l.stopped = true
		case m.about == watch:
			l.watch(m.door)
		case m.about == unwatch:
			l.unwatch(m.door)
		case t.closed:
		case m.about == adopt:
			l.adopt(t)
		case m.about == look:
			l.look(t)
		case m.about == goOn:
			l.goOn(t)
		default:
			l.cut(t, CloseReason(m.about))
		}
	}
	clear(l.read)
}

// adopt begins to drive a talk.
func (l *loop) adopt(t *talk) {
	id, err := l.set.Add(int(t.fd), epoll.In)
	if err == nil {
		t.id, t.adopted = id, true
		l.talks.Reach(id)
		*l.talks.At(id) = t
	}
	switch {
	case t.lingering && (err != nil || t.phase == broken):
		l.close(t)
	case t.lingering:
		l.linger(t)
	default:
		t.open()
		if err != nil {
			t.fail(IOError, err)
		}
		l.settle(t)
		l.look(t)
	}
}

// cut closes the connection of a talk. One that is not adopted yet, since letters may
// cross, is closed when it is.
func (l *loop) cut(t *talk, reason CloseReason) {
	t.fail(reason, nil)
	switch {
	case !t.adopted:
	case t.lingering:
		l.close(t)
	default:
		l.end(t)
	}
}

// look ends a talk that waits for its peer while the server is stopping. It is also
// called on adoption, since Shutdown may have come first.
func (l *loop) look(t *talk) {
	if !l.srv.stopped() || !t.adopted || t.lingering {
		return
	}
	t.drain()
	if t.phase >= over && t.out == nil {
		l.end(t)
	}
}

// broke ends a conversation for an error of its socket.
func (l *loop) broke(t *talk, err error) {
	t.fail(brokenBy(err), err)
	l.end(t)
}

// end tells that a conversation is over, and has its peer hung up on once that is
// published.
func (l *loop) end(t *talk) {
	if t.ended {
		return
	}
	t.ended = true
	if t.out != nil {
		l.takeBack(t.out)
		t.out = nil
	}
	t.in = nil
	t.conversation.close(time.Now())
	l.over = append(l.over, t)
}

// hangUp closes the connection so that no reset eats a reply; see linger.
func (l *loop) hangUp(t *talk) {
	l.srv.leave(t)
	if t.phase == broken || t.eof || epoll.CloseWrite(int(t.fd)) != nil {
		l.close(t)
		return
	}
	t.lingering = true
	l.linger(t)
}

func (l *loop) linger(t *talk) {
	t.armed = t.since(time.Now()) + lingerTime
	l.wheel.Arm(t.id, t.at(t.armed))
}

// discard reads what nobody waits for any more.
func (l *loop) discard(t *talk) {
	n, err := epoll.Read(int(t.fd), l.arrived.space())
	t.discarded += int32(n)
	if n == 0 && err != syscall.EAGAIN || t.discarded >= lingerBytes {
		l.close(t)
	}
}

func (l *loop) close(t *talk) {
	t.closed = true
	if t.adopted {
		l.wheel.Disarm(t.id)
		*l.talks.At(t.id) = nil
		l.set.Close(t.id)
	} else {
		epoll.CloseFD(int(t.fd))
	}
	l.srv.forget(t, t.refused)
	t.conns.Done()
}

// lend lends an outbox.
func (l *loop) lend() *outbox {
	n := len(l.spare)
	if n == 0 {
		return outboxes.Get().(*outbox)
	}
	out := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return out
}

// takeBack ends a loan. What has grown large goes back to the pool, which is emptied
// in time.
func (l *loop) takeBack(out *outbox) {
	if cap(out.buf) > 16<<10 || len(l.spare) == spareOutboxes {
		out.giveBack()
		return
	}
	out.reset()
	l.spare = append(l.spare, out)
}
