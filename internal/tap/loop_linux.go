//go:build !386

package tap

import (
	"runtime"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/epoll"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	// loopTick is how late what a loop waits for may be.
	loopTick = 20 * time.Millisecond

	// maxTurn is how long a loop works before it lets the other goroutines of its
	// CPU have a turn: its system calls do not.
	maxTurn = time.Millisecond

	// roundSize is how much a round reads before it is let out.
	roundSize = 2 * readSize

	// maxSpare is how many buffers a loop keeps for what peers do not take.
	maxSpare = 16
)

// loops are the event loops of a tap. They run while a Serve or one of its sessions needs them.
type loops struct {
	mu      sync.Mutex
	users   int // calls of Serve
	all     []*loop
	next    int // gets the next session
	running sync.WaitGroup
}

// acquire starts the loops, if the tap is to have any, unless they run already.
func (ls *loops) acquire(t *Tap) error {
	if t.Engine == parley.Goroutines {
		return nil
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.users == 0 {
		for range kernel.Processors() {
			l, err := newLoop(t)
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
	if ls.users == 0 { // there are none
		return
	}
	if ls.users--; ls.users == 0 {
		ls.stop()
	}
}

func (ls *loops) stop() {
	for _, l := range ls.all {
		l.mailbox.Send(command{do: func() { l.stopped = true }})
	}
	ls.running.Wait()
	for _, l := range ls.all {
		l.set.Free() // not before: a send may still be waking it
	}
	ls.all = nil
}

// take has a loop pass a session on whose server is connected, and reports whether one can.
func (ls *loops) take(s *session) bool {
	ls.mu.Lock()
	var l *loop
	if n := len(ls.all); n > 0 {
		ls.next++
		l = ls.all[ls.next%n]
	}
	ls.mu.Unlock()
	if l == nil || !takeOver(s) {
		return false
	}
	s.serving.Add(1)
	s.drivenBy(newLooped(s, l))
	return true
}

// tick has the loops look for sessions that have timed out, by the tap's clock.
func (ls *loops) tick(now time.Duration) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.all {
		l.mailbox.Send(command{do: func() { l.checkTimeouts(now) }})
	}
}

// A command is how other goroutines reach a loop, through its mailbox.
type command struct {
	look *looped // at this session; or
	do   func()
}

// A loop passes many sessions on in one goroutine, in rounds: read and tell whatever is ready,
// publish what was told, pass it on, hang up on who is over.
type loop struct {
	teller  teller // of an observer of the loop's own
	publish func() // flushes that; nil if nothing needs to be
	set     *epoll.Set
	mailbox *epoll.Mailbox[command]
	wheel   *epoll.Wheel
	fire    func(id uint32) time.Time
	command func(command)
	flows   epoll.Table[*flow] // by the number in the set of the socket that they come from

	began   time.Time
	now     time.Time // when this round began
	yielded time.Time // when other goroutines last had a turn
	arrived []byte    // what this round has read; used of it
	room    []byte    // what was read last, with room in front of it for what there was of its message
	used    int
	due     []delivery
	spare   [][]byte  // of readSize, to be used again
	over    []*looped // are to be hung up on
	stopped bool
}

// A delivery is what a round has read of a flow, or its end of file, which is passed on once it is published.
type delivery struct {
	flow *flow
	p    []byte // nil at the end of file
}

func newLoop(t *Tap) (*loop, error) {
	set, err := epoll.NewSet()
	if err != nil {
		return nil, err
	}
	now := kernel.Now()
	l := &loop{set: set, mailbox: epoll.NewMailbox[command](set), wheel: epoll.NewWheel(now, loopTick), began: now, now: now, arrived: make([]byte, roundSize)}
	l.teller.observer, l.publish = fork(t.Observer)
	l.fire, l.command = l.expire, l.execute
	return l, nil
}

// fork is the observer for one loop, and what flushes it; nil if it has nothing to flush.
func fork(o parley.Observer) (parley.Observer, func()) {
	if forks, ok := o.(interface{ Fork() parley.Observer }); ok {
		o = forks.Fork()
	}
	if flushes, ok := o.(interface{ Flush() }); ok {
		return o, flushes.Flush
	}
	return o, nil
}

func (l *loop) run() {
	for !l.stopped {
		l.wait()
		l.wheel.Advance(l.now, l.fire)
		l.mailbox.Read(l.command)
		l.finishRound()
	}
}

// wait waits for sockets that are ready, and has them read and written.
func (l *loop) wait() {
	timeout := time.Duration(-1)
	if next := l.wheel.Next(); next != epoll.Never {
		timeout = max(0, next.Sub(l.now))
	}
	n, err := l.set.Wait(timeout)
	if err != nil {
		panic("tap: " + err.Error()) // somebody closed what is not theirs
	}
	l.now = kernel.Now()
	if l.now.Sub(l.yielded) > maxTurn {
		runtime.Gosched()
		l.now = kernel.Now()
		l.yielded = l.now
	}
	for i := range n {
		if id, events := l.set.Event(i); events != 0 {
			l.ready(*l.flows.At(id), events)
		}
	}
}

func (l *loop) execute(c command) {
	if c.look != nil {
		l.look(c.look)
	} else {
		c.do()
	}
}

// finishRound lets out what the round has brought. What a peer can see of it is published before.
func (l *loop) finishRound() {
	l.letOut()
	if len(l.over) == 0 {
		return
	}
	for _, t := range l.over {
		l.hangUp(t)
	}
	clear(l.over)
	l.over = l.over[:0]
}

// letOut passes on what was read.
func (l *loop) letOut() {
	l.flush()
	for _, d := range l.due {
		switch {
		case d.flow.t.phase == over:
		case d.p == nil:
			d.flow.passEnd()
		default:
			l.write(d.flow, d.p)
		}
	}
	clear(l.due)
	l.due, l.used = l.due[:0], 0
}

func (l *loop) flush() {
	if l.publish != nil {
		l.publish()
	}
}

// space is where the next read goes to, behind n bytes.
func (l *loop) space(n int) []byte {
	if len(l.arrived)-l.used < n+readSize {
		l.letOut()
	}
	return l.arrived[l.used : l.used+n+readSize]
}

// deliver passes on what was read last, or the end of file if p is nil: at once if nothing is to be published
// before, and the peer can go on.
func (l *loop) deliver(f *flow, p []byte) {
	switch {
	case f.stopped:
		f.t.note(f.direction, reading)
	case l.publish != nil:
		l.due = append(l.due, delivery{f, p})
	case p == nil:
		f.passEnd()
	default:
		l.write(f, p)
	}
}

// checkTimeouts ends the sessions that have timed out.
func (l *loop) checkTimeouts(now time.Duration) {
	for id := range l.flows.Len() {
		if f := *l.flows.At(id); f != nil && f == &f.t.up {
			f.t.checkTimeouts(now)
		}
	}
}
