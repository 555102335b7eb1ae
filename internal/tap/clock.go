package tap

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/kernel"
)

// The timeouts go by a clock that the tap sets itself, once a tick, while it has sessions.
// A tick that comes late says that the process did not run, because it was stopped or its
// machine suspended. That time does not count, and nothing times out before one more tick, in
// which what had arrived meanwhile is read.

const (
	minTick = 5 * time.Millisecond
	maxTick = time.Second

	manySessions = 1000
)

// tickTime is a sixteenth of the shortest timeout, within bounds.
func (t *Tap) tickTime() time.Duration {
	tick := maxTick
	for _, timeout := range []time.Duration{t.IdleTimeout, t.writeTimeout(), t.halfCloseTimeout()} {
		if timeout > 0 {
			tick = min(tick, max(timeout/16, minTick))
		}
	}
	return tick
}

// startClock has the clock go on, with the lock held.
func (t *Tap) startClock() {
	switch {
	case t.ticking:
		return
	case t.ticker == nil:
		t.ticker = time.AfterFunc(t.tickTime(), t.tick)
	default:
		t.ticker.Reset(t.tickTime())
	}
	t.ticking, t.ticked = true, kernel.Now()
}

// tick sets the clock, and ends the sessions that have timed out. It waits for none of them.
func (t *Tap) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.sessions) == 0 {
		t.ticking = false
		return
	}
	now, every := kernel.Now(), t.tickTime()
	passed := now.Sub(t.ticked)
	t.ticked = now
	if passed <= 2*every {
		clock := time.Duration(t.clock.Add(int64(passed)))
		for s := range t.sessions {
			if !s.looped {
				// What a session notes is up to a tick older than it says.
				s.checkTimeouts(clock - every)
			}
		}
		t.loops.tick(clock - every)
	}
	t.giveBack()
	t.ticker.Reset(every)
}

// giveBack gives back the memory that connecting many sessions took, some kilobytes each, once no more of them
// come: else it would stay for as long as they are silent, since nothing new is needed that would have it collected.
func (t *Tap) giveBack() {
	begun := t.numbered - t.lastBegun
	t.lastBegun = t.numbered
	if t.sinceGiven += begun; begun == 0 && t.sinceGiven >= manySessions {
		t.sinceGiven = 0
		go debug.FreeOSMemory()
	}
}

// What a direction is doing.
const (
	working = iota // looking at bytes, or waiting for the gate
	reading        // waiting for bytes
	writing        // waiting for bytes to be taken
	ended
)

// An activity is what a direction is doing, and since when by the tap's clock.
type activity struct{ packed atomic.Int64 }

func (a *activity) set(doing, now int64) { a.packed.Store(now<<2 | doing) }

func (a *activity) get() (doing int64, since time.Duration) {
	packed := a.packed.Load()
	return packed & 3, time.Duration(packed >> 2)
}

// checkTimeouts ends the session if it has timed out.
func (s *session) checkTimeouts(now time.Duration) {
	if s.end.Load() != nil {
		return
	}
	s.checkWrite(&s.requests, now)
	s.checkWrite(&s.replies, now)
	s.checkSilence(now)
}

// checkWrite looks after a direction that waits for a peer to take bytes. It does not read
// meanwhile, and cannot see for itself that the peer which it reads from has gone. One of TLS may
// have announced its end before, behind what is still to be read: it has until the timeout.
func (s *session) checkWrite(d *direction, now time.Duration) {
	doing, since := d.activity.get()
	if doing != writing {
		return
	}
	// A write returns when there is much room again. The peer may take bytes long before.
	if n := int32(d.to.unsent()); n != d.unsent {
		d.unsent, d.progress = n, now
	}
	timeout := s.tap.writeTimeout()
	isOver := timeout > 0 && now-max(since, d.progress) >= timeout
	switch {
	case (isOver || !d.from.isSecure()) && d.from.isReset():
		s.breakBy(d.from, syscall.ECONNRESET)
	case isOver:
		s.endWith(&ending{reason: parley.WriteTimeout, peer: d.to, err: fmt.Errorf("the %s took nothing for %v", s.nameOf(d.to), timeout)})
	}
}

// checkSilence looks whether both peers have been silent for too long. That they are is only
// known while each direction waits for bytes.
func (s *session) checkSilence(now time.Duration) {
	up, upSince := s.requests.activity.get()
	down, downSince := s.replies.activity.get()
	if up != reading && up != ended || down != reading && down != ended {
		return
	}
	silence := now - max(upSince, downSince)
	idle, halfClose := s.tap.IdleTimeout, s.tap.halfCloseTimeout()
	switch {
	case idle > 0 && silence >= idle:
		s.endWith(&ending{reason: parley.IdleTimeout, err: fmt.Errorf("nothing was said for %v", idle)})
	case halfClose <= 0 || silence < halfClose:
	case up == ended && down == reading:
		s.endWith(&ending{reason: parley.IdleTimeout, err: fmt.Errorf("the client had ended and the server said nothing for %v", halfClose)})
	case up == reading && down == ended:
		s.endWith(&ending{reason: parley.IdleTimeout, err: fmt.Errorf("the server had ended and the client said nothing for %v", halfClose)})
	}
}
