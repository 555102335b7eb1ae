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
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	// loopTick is how late the clocks of a loop's sessions may be.
	loopTick = 100 * time.Millisecond

	// maxTurn is how long a loop works before it lets the other goroutines of its
	// CPU have a turn: its system calls do not.
	maxTurn = time.Millisecond

	// forEver is how long a loop sleeps that has no clock to look at.
	forEver = 1 << 62 * time.Nanosecond

	// maxSpareBuffers is how many write buffers a loop keeps, for as many sockets as may be
	// ready at once.
	maxSpareBuffers = 256
)

// loops are the event loops of a server. They run while a call of Serve needs them.
type loops struct {
	mu      sync.Mutex
	users   int // calls of Serve
	all     []*loop
	next    int // gets the next connection
	running sync.WaitGroup
}

// acquire starts the loops unless they run already.
func (ls *loops) acquire(s *Server) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.users == 0 {
		for range kernel.Processors() {
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
		l.mailbox.Send(command{action: stopLoop})
	}
	ls.running.Wait()
	for _, l := range ls.all {
		l.set.Free() // not before: a send may still be waking it
	}
	ls.all = nil
}

// routes are those of one acceptor, one to each loop.
func (ls *loops) routes() []*route {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var all []*route
	for _, l := range ls.all {
		all = append(all, &route{loop: l})
	}
	return all
}

// nextRoute is where the next connection goes, whichever acceptor it comes from.
func (ls *loops) nextRoute(routes []*route) *route {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.next++
	return routes[ls.next%len(routes)]
}

// loopsCanServe: only the types themselves will do. Something that embeds one may
// accept differently.
func loopsCanServe(l net.Listener) bool {
	switch l := l.(type) {
	case *kernel.TCPListener:
		return true
	case *net.UnixListener:
		return l.Addr().Network() == "unix" // "unixpacket" is no stream
	}
	return false
}

// A route is how the connections of one acceptor come to one loop. Each connection keeps
// one pointer to it, instead of one to either.
type route struct {
	loop  *loop
	conns sync.WaitGroup
}

// A loopConn is one connection that a loop drives. Only its loop touches it.
type loopConn struct {
	conversation
	*route
	in  *readBuffer  // nil unless bytes of an unfinished request are held
	out *writeBuffer // nil unless there are replies to write; while there are, nothing is read
	fd  int32
	id  uint32 // in the loop's set

	eof        bool
	registered bool // is in the loop's set
	waiting    bool // for room to write
	taking     bool // is over, and its peer has not taken all that it is owed
	held       bool // by the gate
	notReading bool // no events are wanted while it is
	ended      bool // was told as closed
	refused    bool
	queued     bool // is in the loop's list of those to be answered again
	lingering  bool
	closed     bool
	discarded  int32         // bytes, since nothing is answered any more
	armed      time.Duration // for when its clocks are to be looked at, since opened; 0 is not at all
}

func (t *loopConn) describe() *Session { return t.session }

func (t *loopConn) wake() { t.loop.mailbox.Send(command{conn: t, action: lookWhetherStopping}) }

func (t *loopConn) release() { t.loop.mailbox.Send(command{conn: t, action: resume}) }

func (t *loopConn) evict() { t.loop.mailbox.Send(command{conn: t, action: evict}) }

func (t *loopConn) cut(reason CloseReason) net.Conn {
	t.session.end(cutErrors[reason])
	t.loop.mailbox.Send(command{conn: t, action: action(reason)})
	return nil
}

// A command is how other goroutines reach a loop, through its mailbox.
type command struct {
	action   action
	conn     *loopConn     // nil for those about a listener or the loop
	acceptor *loopAcceptor // of watchListener and unwatchListener
}

// An action is what a command asks for. Those up to PerIP are to cut the connection for
// that CloseReason.
type action uint8

const (
	register            action = 255 - iota // drive the connection from now on
	lookWhetherStopping                     // the server is
	resume                                  // the gate has released it
	evict                                   // end the conversation for Memory
	watchListener                           // wait at the listener of an acceptor
	unwatchListener                         // it is closed
	stopLoop                                // all is done
)

// A loop drives many conversations in one goroutine, in rounds: read and answer
// whatever is ready, publish the events, write the replies, close what is over.
type loop struct {
	settings  // the server's, with an observer of the loop's own
	srv       *Server
	publish   func() // flushes the observer; nil if nothing needs to be
	fire      func(id uint32) time.Time
	command   func(command)
	set       *epoll.Set
	mailbox   *epoll.Mailbox[command]
	wheel     *epoll.Wheel
	conns     epoll.Table[*loopConn] // by their number in the set
	listeners map[uint32]*loopAcceptor
	arrived   readBuffer     // the last read; a connection keeps only what is left of it
	spare     []*writeBuffer // to be used again
	event     Event          // that is told of a session's beginning or end

	now     time.Time     // when this round began
	anchor  time.Time     // of the clock
	last    time.Time     // that the clock was read
	asleep  time.Duration // how long after that it may be read again at the latest
	yielded time.Time     // when other goroutines last had a turn
	due     []*loopConn   // have replies to write
	over    []*loopConn   // are to be hung up on
	again   []*loopConn   // hold whole requests that the last write buffer had no room for
	stopped bool
}

func newLoop(s *Server) (*loop, error) {
	set, err := epoll.NewSet()
	if err != nil {
		return nil, err
	}
	now := kernel.Now()
	l := &loop{settings: s.settings, srv: s, set: set, mailbox: epoll.NewMailbox[command](set), wheel: epoll.NewWheel(now, loopTick), anchor: now, last: now}
	l.observer, l.publish = fork(s.Observer)
	l.arrived.size = l.readSize
	l.fire, l.command = l.expire, l.execute
	return l, nil
}

func (l *loop) run() {
	for !l.stopped {
		l.wait()
		l.wheel.Advance(l.now, l.fire)
		l.mailbox.Read(l.command)
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
	l.asleep = timeout
	if timeout < 0 {
		l.asleep = forEver
	}
	n, err := l.set.Wait(timeout)
	if err != nil {
		panic("parley: " + err.Error()) // somebody closed what is not theirs
	}
	l.now = l.clock()
	l.asleep = 0
	if l.now.Sub(l.yielded) > maxTurn {
		runtime.Gosched()
		l.now = kernel.Now()
		l.anchor, l.yielded = l.now, l.now
	}
	again := l.again
	l.again = nil
	accepting := false
	for i := range n {
		id, events := l.set.Event(i)
		switch {
		case events == 0:
		case id < l.conns.Len() && *l.conns.At(id) != nil:
			l.ready(*l.conns.At(id))
		default:
			l.listeners[id].wakeUp(nil)
			accepting = true
		}
	}
	for _, t := range again { // behind the others, of which none has had a turn in this round
		if t.queued = false; t.out == nil {
			l.answer(t)
		}
	}
	if accepting {
		runtime.Gosched() // the acceptor has its turn, and we its commands in this round
	}
}

// watchListener waits at the listener of an acceptor.
func (l *loop) watchListener(a *loopAcceptor) {
	var id uint32
	var err error
	ctl := a.raw.Control(func(fd uintptr) { id, err = l.set.Add(int(fd), epoll.In|epoll.Edge) })
	if err = cmp.Or(ctl, err); err != nil {
		a.wakeUp(err)
		return
	}
	if l.listeners == nil {
		l.listeners = make(map[uint32]*loopAcceptor)
	}
	l.listeners[id] = a
}

// unwatchListener forgets a listener that is closed.
func (l *loop) unwatchListener(a *loopAcceptor) {
	for id, acceptor := range l.listeners {
		if acceptor == a {
			delete(l.listeners, id)
			l.set.Forget(id)
		}
	}
}

// clock is the time, for half the price of kernel.Now: the wall clock is read once a
// millisecond and the monotonic one added.
func (l *loop) clock() time.Time {
	now := l.anchor.Add(kernel.Since(l.anchor))
	late := now.Sub(l.last)-l.asleep > maxLate
	l.last = now
	if late {
		l.restartClocks()
	}
	return now
}

// restartClocks is called after a time in which the process did not run.
func (l *loop) restartClocks() {
	for id := range l.conns.Len() {
		t := *l.conns.At(id)
		if t != nil && t.conversation.restartClocks(l.last) && t.lingering {
			t.armed = t.since(l.last) + lingerTime
		}
	}
}

// ready has a connection read or written, whatever the events are: an error shows in either.
func (l *loop) ready(t *loopConn) {
	switch {
	case t.lingering:
		l.discard(t)
	case t.taking:
		l.discard(t)
		l.finish(t)
	case t.held:
		l.stopReading(t)
	case t.waiting:
		if t.willNotRead() {
			l.discard(t)
		}
		l.due = append(l.due, t)
	case t.out == nil && t.phase == needsInput: // if it needs room, it is to be answered again
		l.receive(t)
	}
}

// receive reads once and has it answered.
func (l *loop) receive(t *loopConn) {
	in := l.readBufferOf(t)
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

// readBufferOf is the loop's own for a connection that holds nothing.
func (l *loop) readBufferOf(t *loopConn) *readBuffer {
	if t.in != nil {
		return t.in
	}
	return &l.arrived
}

// answer has the held bytes answered, and keeps what is left of them.
func (l *loop) answer(t *loopConn) {
	if t.ended {
		return
	}
	in, out := l.readBufferOf(t), l.getWriteBuffer()
	used := t.answer(l.handler, out, in.held(), t.eof && t.discarded == 0)
	t.held = l.gate != nil && t.ask(out, l.clock())
	in.drop(used)
	switch {
	case in == t.in && len(in.held()) == 0:
		t.in = nil
	case in == &l.arrived && len(in.held()) > 0:
		t.in = in.split()
	}
	l.owe(t, out)
}

// owe has what is in the write buffer written, once the gate does not hold it.
func (l *loop) owe(t *loopConn, out *writeBuffer) {
	if out.flushed() && !t.held {
		l.putWriteBuffer(out)
		l.settle(t)
		return
	}
	t.out = out
	switch {
	case t.held:
		l.account(t)
	case l.publish == nil:
		l.write(t) // nothing has to come first, and the peer can go on
	default:
		l.due = append(l.due, t)
	}
}

// stopReading has events of a held connection come no more: its input waits, and would be told
// of again and again. An error is told of once, and shows when it is released.
func (l *loop) stopReading(t *loopConn) {
	if t.notReading {
		return
	}
	t.notReading = true
	if err := l.set.Change(t.id, epoll.Edge); err != nil {
		l.broke(t, err)
	}
}

// resume has a connection written that the gate held, if it has released it.
func (l *loop) resume(t *loopConn) {
	if t.ended || !t.held || !t.session.released() {
		return
	}
	t.held = false
	l.due = append(l.due, t)
	if !t.notReading {
		return
	}
	t.notReading = false
	if err := l.set.Change(t.id, epoll.In); err != nil {
		l.broke(t, err)
	}
}

// settle says what a connection waits for once all its replies are written.
func (l *loop) settle(t *loopConn) {
	l.account(t)
	switch {
	case t.phase >= over:
		l.finish(t)
	case t.phase == needsRoom:
		l.queue(t)
	default:
		l.arm(t) // also of one that speaks at once: its other clocks go on
		if t.again != 0 && t.since(l.last) >= t.again {
			l.queue(t)
		}
	}
}

// queue has a connection answered again in the next round.
func (l *loop) queue(t *loopConn) {
	if !t.queued {
		t.queued = true
		l.again = append(l.again, t)
	}
}

// arm sees that the clocks of a connection are looked at in time. Mostly its deadline has
// moved into the future, and it is still armed for the one before.
func (l *loop) arm(t *loopConn) {
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
func (l *loop) write(t *loopConn) {
	if t.ended || t.out == nil {
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
	if t.wrote(t.out, n, l.clock()) {
		_, untaken := backlogOf(uintptr(t.fd))
		t.taken(untaken)
	}
	flushed := t.out.flushed()
	if flushed == t.waiting {
		t.waiting = !flushed
		l.changeEvents(t)
		if t.ended {
			return
		}
	}
	if !flushed {
		l.account(t)
		l.arm(t)
		return
	}
	l.putWriteBuffer(t.out)
	t.out = nil
	l.settle(t)
}

// willNotRead reports whether nothing that its peer sends now will be answered.
func (t *loopConn) willNotRead() bool { return t.phase == over || t.draining }

// changeEvents has a connection waited for as its state asks for.
func (l *loop) changeEvents(t *loopConn) {
	events := uint32(epoll.In)
	switch {
	case t.taking && t.eof:
		events = epoll.Edge // an error is told of once
	case t.waiting && t.willNotRead() && !t.eof:
		events = epoll.In | epoll.Out
	case t.waiting:
		events = epoll.Out
	}
	if err := l.set.Change(t.id, events); err != nil {
		l.broke(t, err)
	}
}

// expire acts on a deadline that has come, and returns the next one.
func (l *loop) expire(id uint32) time.Time {
	t := *l.conns.At(id)
	switch {
	case t.ended && !t.lingering: // in this round
		return epoll.Never
	case t.lingering && t.since(l.now) >= t.armed && !l.awaits(t):
		l.close(t)
		return epoll.Never
	case t.lingering:
		t.armed = max(t.armed, t.since(l.now)+1)
		return t.at(t.armed)
	case t.taking:
		t.armed = 0
		l.finish(t)
		return epoll.Never // finish has armed it again
	case t.held:
		t.armed = 0 // until it is released its clocks stand still
		return epoll.Never
	}
	if t.ranOut(l.now) {
		l.lookAgain(t)
	}
	if t.ended {
		return epoll.Never
	}
	if t.conversation.expire(l.readBufferOf(t).held(), l.now); t.phase >= over && (t.out == nil || t.phase == broken) {
		t.armed = 0
		l.finish(t)
		return epoll.Never // finish has armed it again, if its peer is to be waited for
	}
	if t.again != 0 && t.since(l.now) >= t.again && t.phase == needsInput && t.out == nil {
		t.armed = 0
		l.answer(t)
		return epoll.Never // settle arms it again
	}
	t.armed = t.due()
	return t.deadline()
}

// lookAgain reads or writes once more before a clock that has run out counts: what the peer
// has done by now it has done in time, since nobody looked sooner.
func (l *loop) lookAgain(t *loopConn) {
	switch {
	case t.waiting:
		l.write(t)
	case t.out == nil && t.phase == needsInput:
		l.receive(t)
	}
}

func (l *loop) execute(c command) {
	switch t := c.conn; {
	case c.action == stopLoop:
		l.stopped = true
	case c.action == watchListener:
		l.watchListener(c.acceptor)
	case c.action == unwatchListener:
		l.unwatchListener(c.acceptor)
	case t.closed:
	case c.action == register:
		l.register(t)
	case c.action == lookWhetherStopping:
		l.lookWhetherStopping(t)
	case c.action == resume:
		l.resume(t)
	case c.action == evict:
		l.evict(t)
	default:
		l.cut(t, CloseReason(c.action))
	}
}

// register begins to drive a connection.
func (l *loop) register(t *loopConn) {
	id, err := l.set.Add(int(t.fd), epoll.In)
	if err == nil {
		t.id, t.registered = id, true
		l.conns.Grow(id)
		*l.conns.At(id) = t
	}
	switch {
	case t.lingering && (err != nil || t.phase == broken):
		l.close(t)
	case t.lingering:
		l.linger(t)
	default:
		t.open(&l.event)
		if err != nil {
			t.fail(IOError, err)
		}
		if l.last.Sub(t.session.opened) > maxLate { // until now nobody could hear it
			t.conversation.restartClocks(l.last)
		}
		l.greet(t)
		l.lookWhetherStopping(t)
	}
}

// greet has the greeting written.
func (l *loop) greet(t *loopConn) {
	if !t.greets() || t.phase >= over {
		l.settle(t)
		return
	}
	out := l.getWriteBuffer()
	t.conversation.greet(l.handler, out)
	t.held = l.gate != nil && t.ask(out, l.clock())
	l.owe(t, out)
}

// cut closes a connection. One that is not registered yet, since commands may cross, is closed
// when it is.
func (l *loop) cut(t *loopConn, reason CloseReason) {
	t.fail(reason, nil)
	switch {
	case !t.registered:
	case t.lingering:
		l.close(t)
	default:
		l.end(t)
	}
}

// account says what a connection holds while it waits for its peer, or for the gate.
func (l *loop) account(t *loopConn) {
	bytes := 0
	if t.in != nil {
		bytes += t.in.memory()
	}
	if t.out != nil {
		bytes += t.out.memory()
	}
	l.srv.hold(t.session, bytes)
	t.tellProgress(t.out != nil || t.phase == needsRoom)
}

// evict ends a conversation that holds too much. Its peer is told, unless it does not take
// the replies, or may not have them yet.
func (l *loop) evict(t *loopConn) {
	switch {
	case t.ended || t.phase == needsRoom && t.out == nil: // that is answered again in any case
	case t.waiting || t.held:
		t.fail(Memory, nil)
		l.end(t)
	case t.out != nil:
		t.evict() // its replies are written at the end of this round
	default:
		l.answer(t)
	}
}

// lookWhetherStopping ends a conversation that waits for its peer while the server is stopping.
// It is also called on registration, since Shutdown may have come first.
func (l *loop) lookWhetherStopping(t *loopConn) {
	if !l.srv.stopped() || !t.registered || t.lingering || t.ended {
		return
	}
	t.drain()
	switch {
	case t.phase >= over && t.out == nil:
		l.finish(t)
	case t.waiting:
		l.changeEvents(t)
	}
}

// broke ends a conversation for an error of its socket. What the peer had sent before is told.
func (l *loop) broke(t *loopConn, err error) {
	if t.ended {
		return
	}
	if t.phase < over {
		l.hear(t)
	}
	if t.out != nil {
		t.countSent(t.out)
	}
	unsent, untaken := backlogOf(uintptr(t.fd))
	t.conversation.broke(err, untaken, unsent > 0 || t.out != nil && len(t.out.unsent()) > 0)
	l.end(t)
}

// hear has what the kernel still holds of a peer that has gone told as received: behind a
// failed write it can be read.
func (l *loop) hear(t *loopConn) {
	in, out := l.readBufferOf(t), l.getWriteBuffer()
	for heard := 0; heard < mostHeard; {
		used := t.hear(out, in.held())
		if l.gate != nil {
			t.ask(out, l.clock()) // is not waited for: there is no reply to hold back
		}
		in.drop(used)
		if t.phase >= over || t.discarded > 0 { // behind what was discarded begins no request
			break
		}
		n, _ := epoll.Read(int(t.fd), in.space())
		if n == 0 {
			break
		}
		in.w += n
		t.read(n, l.now)
		heard += n
	}
	t.recordLoose(in.held())
	in.drop(len(in.held()))
	t.in = nil
	l.putWriteBuffer(out)
}

// finish ends a conversation that is over and whose replies are written, once its peer has
// taken them, for as long as it takes some. A reset would discard what is not even sent, and
// at the end of a drain nobody could say what became of the rest.
func (l *loop) finish(t *loopConn) {
	if t.ended {
		return
	}
	stopping := l.srv.stopped()
	if t.phase != over || t.eof && !stopping { // no reset will come, and the system goes on
		l.end(t)
		return
	}
	unsent, untaken := backlogOf(uintptr(t.fd))
	if untaken == 0 || unsent == 0 && !stopping { // what is on its way arrives before a reset can
		l.end(t)
		return
	}
	switch why := brokenBy(uintptr(t.fd)); {
	case why != 0:
		l.broke(t, os.NewSyscallError("recv", why))
	case !t.awaits(untaken, l.clock()):
		t.fail(WriteTimeout, nil)
		l.end(t)
	default:
		if !t.taking {
			t.taking = true
			t.dropInput() // while it is waited for, it holds nothing
			l.account(t)
			l.changeEvents(t)
		}
		l.wheel.Arm(t.id, l.last.Add(loopTick))
	}
}

// dropInput lets go of what was read and will not be answered.
func (t *loopConn) dropInput() {
	if t.in != nil {
		t.recordLoose(t.in.held())
		t.in = nil
	}
}

// awaits reports whether a lingering connection's peer is still to be waited for: what is on
// its way may have to be sent again.
func (l *loop) awaits(t *loopConn) bool {
	_, untaken := backlogOf(uintptr(t.fd))
	return t.awaits(untaken, l.now)
}

// end tells that a conversation is over, and has its peer hung up on once that is
// published.
func (l *loop) end(t *loopConn) {
	if t.ended {
		return
	}
	t.ended, t.taking = true, false
	if t.out != nil {
		l.putWriteBuffer(t.out)
		t.out = nil
	}
	t.dropInput()
	if t.phase == broken {
		if unsent, untaken := backlogOf(uintptr(t.fd)); unsent > 0 || t.reason == DrainCut {
			t.lose(untaken) // otherwise what is on its way counts as taken
		}
	}
	t.conversation.close(&l.event, kernel.Now())
	l.over = append(l.over, t)
}

// hangUp closes the connection so that no reset eats a reply; see linger.
func (l *loop) hangUp(t *loopConn) {
	l.srv.leave(t)
	if t.phase == broken || t.eof || epoll.CloseWrite(int(t.fd)) != nil {
		l.close(t)
		return
	}
	t.lingering, t.discarded = true, 0
	l.linger(t)
}

func (l *loop) linger(t *loopConn) {
	t.armed = t.since(kernel.Now()) + lingerTime
	l.wheel.Arm(t.id, t.at(t.armed))
}

// discard reads what nobody waits for any more.
func (l *loop) discard(t *loopConn) {
	n, err := epoll.Read(int(t.fd), l.arrived.space())
	t.discarded = min(t.discarded+int32(n), lingerBytes)
	t.heard = t.heard || n > 0
	switch {
	case err == syscall.EAGAIN:
	case t.lingering:
		if n == 0 || t.discarded == lingerBytes && !l.awaits(t) {
			l.close(t)
		}
	case err != nil:
		l.broke(t, os.NewSyscallError("recv", err))
	case n == 0 && !t.eof:
		t.eof = true
		l.changeEvents(t)
	}
}

func (l *loop) close(t *loopConn) {
	t.closed = true
	if t.registered {
		l.wheel.Disarm(t.id)
		*l.conns.At(t.id) = nil
		l.set.Close(t.id)
	} else {
		epoll.CloseFD(int(t.fd))
	}
	l.srv.forget(t, t.refused)
	t.conns.Done()
}

// getWriteBuffer takes one of its own, or one of the pool.
func (l *loop) getWriteBuffer() *writeBuffer {
	n := len(l.spare)
	if n == 0 {
		return writeBuffers.Get().(*writeBuffer)
	}
	out := l.spare[n-1]
	l.spare = l.spare[:n-1]
	return out
}

// putWriteBuffer gives one back. What has grown large goes back to the pool, which is emptied
// in time.
func (l *loop) putWriteBuffer(out *writeBuffer) {
	if cap(out.buf) > 16<<10 || len(l.spare) == maxSpareBuffers {
		out.recycle()
		return
	}
	out.reset()
	l.spare = append(l.spare, out)
}
