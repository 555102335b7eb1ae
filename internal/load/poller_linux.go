//go:build !386

package load

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/epoll"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	pollerTick  = 50 * time.Millisecond // how late a deadline may be
	pollerShare = time.Millisecond      // of work before the other goroutines of its CPU have a turn
)

// A poller does the work of many closed loops in one goroutine: what a goroutine for each
// spends on being woken is as much as all the rest of its work.
type poller struct {
	set     *epoll.Set
	file    *os.File // the set's
	raw     syscall.RawConn
	poll    func(uintptr) (done bool)
	ready   int // sockets at the last poll
	err     error
	wheel   *epoll.Wheel
	waking  time.Time            // the file's deadline
	sockets epoll.Table[*socket] // by number in the set
	yielded time.Time            // when other goroutines last had a turn
	mailbox *epoll.Mailbox[func()]
	stopped bool
}

// startPollers starts a poller for each recorder, if there are sockets for them. Without any
// each worker waits for itself.
func (r *run) startPollers() (stop func()) {
	var running sync.WaitGroup
	var all []*poller
	if slices.ContainsFunc(r.workers, func(w *worker) bool { return kernel.Socket(w.conn) != nil }) {
		for i := range r.recorders {
			p, err := newPoller()
			if err != nil {
				break
			}
			all = append(all, p)
			running.Go(p.run)
			for j := i; j < len(r.workers); j += len(r.recorders) {
				r.workers[j].poller = p
			}
		}
	}
	return func() {
		for _, p := range all {
			p.stop()
		}
		running.Wait()
		for _, p := range all {
			p.free() // only now will nobody wake
		}
	}
}

func newPoller() (*poller, error) {
	set, err := epoll.NewSet()
	if err != nil {
		return nil, err
	}
	p := &poller{set: set, mailbox: epoll.NewMailbox[func()](set), wheel: epoll.NewWheel(time.Now(), pollerTick)}
	p.poll = func(uintptr) bool {
		p.ready, p.err = set.Wait(0)
		return p.ready > 0 || p.err != nil
	}
	if p.file, err = set.File(); err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

func (p *poller) free() {
	if p.file != nil {
		p.file.Close()
	}
	p.set.Free()
}

// serve has the poller do the work of a worker until that has half-closed or lost its
// connection, which the poller takes over. ok is false if that is no socket.
func (p *poller) serve(w *worker) (ok bool, err error) {
	s := p.takeOver(w)
	if s == nil {
		return false, nil
	}
	p.mailbox.Send(func() { p.begin(s) })
	return true, <-s.over
}

// stop ends run. No worker may be served any more.
func (p *poller) stop() {
	p.mailbox.Send(func() { p.stopped = true })
}

func (p *poller) run() {
	for !p.stopped {
		p.wait()
		for i := range p.ready {
			if id, events := p.set.Event(i); events != 0 {
				(*p.sockets.At(id)).ready(events)
			}
		}
		p.mailbox.Read(func(do func()) { do() })
		now := time.Now()
		p.wheel.Advance(now, p.expire)
		if now.Sub(p.yielded) > pollerShare {
			time.Sleep(time.Nanosecond) // unlike runtime.Gosched it has the runtime look for events too
			p.yielded = time.Now()
		}
	}
}

// wait waits for sockets that are ready, or for a deadline.
func (p *poller) wait() {
	if next := p.wheel.Next(); next != p.waking {
		p.waking = next
		p.file.SetReadDeadline(next)
	}
	p.ready = 0
	if err := p.raw.Read(p.poll); p.err != nil || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		panic(fmt.Sprint("load: ", cmp.Or(p.err, err))) // somebody closed what is not theirs
	}
}

func (p *poller) begin(s *socket) {
	id, err := p.set.Add(s.fd, epoll.In)
	if err != nil {
		s.over <- err
		return
	}
	s.id = id
	p.sockets.Grow(id)
	*p.sockets.At(id) = s
	s.proceed(s.worker.send(s.worker.now()))
	s.lookIfOverdue() // an interrupt may have come first
}

func (p *poller) expire(id uint32) time.Time {
	s := *p.sockets.At(id)
	s.overdue.Store(true)
	s.ready(epoll.In)
	return epoll.Never
}
