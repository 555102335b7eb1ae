// Package simkernel is a kernel and a network that are made up, for simulations: sockets with small buffers,
// epoll, and system calls that fail when they are told to. There is one at a time, which is Use'd; it keeps
// its files in memory, takes its time from package time, so that it runs in the bubbles of testing/synctest,
// and decides nothing by chance.
//
// It is no kinder than TCP can be: a reset discards what its receiver has not read (RFC 2525, section 2.17),
// and a socket that is closed with bytes unread sends one.
package simkernel

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Kernel is one that is made up. Its zero value is of no use, see New.
type Kernel struct {
	watch Watcher
	limits
	processors int

	mu       sync.Mutex
	files    map[int]any // *Socket, *listening, *epoll or *event, by descriptor
	last     int         // the descriptor that was given out last
	free     []int       // those that were closed, to be given out again
	frozen   bool        // the process is stopped: no wait ends
	calls    int         // since Step
	failures []Failure
	sets     []*epoll
	conns    []*Conn
	listener *listening
	alarms   []*alarm
	clock    *time.Timer // of the next of them
	rings    time.Time   // when it does
	disk     disk
}

type limits struct{ receive, send, window int }

// A Watcher is told what the process does with its sockets, while the kernel is locked: it must not call it.
// Port is the peer's.
type Watcher interface {
	Received(port, n int)       // the process has read n bytes
	Sent(port int, p []byte)    // and written these
	Hung(port int)              // is about to close its end, or half of it
	Failed(port int, f Failure) // one that was planned has come; port is 0 if it is no connection's
	Misused(what string)        // a call that no right program makes
}

// A Call is a kind of system call.
type Call string

const (
	RecvCall    Call = "recv"
	SendCall    Call = "send"
	AcceptCall  Call = "accept4"
	ControlCall Call = "epoll_ctl"
	WaitCall    Call = "epoll_wait"
	HalfCall    Call = "shutdown"
	EpollCall   Call = "epoll_create1"
	EventCall   Call = "eventfd2"

	// UserTimeout is no call: TCP_USER_TIMEOUT has run out, which is told as a failure.
	UserTimeout Call = "TCP_USER_TIMEOUT"
)

// A Failure is of the call that comes after so many of its kind. With no error it is one that does less than
// it could: a byte only.
type Failure struct {
	Call  Call
	Errno syscall.Errno
	After int
}

// mostCalls is how many calls one step may take: more are made by a program that spins.
const mostCalls = 20000

// firstDescriptor is far from those of the system, which would be harmed by what is meant for ours.
const firstDescriptor = 1 << 20

var current *Kernel

// New makes a kernel with sockets that hold so many bytes received, and sent, and peers' that hold so many
// received, and has the calls go to it.
func New(watch Watcher, receive, send, window int) *Kernel {
	k := &Kernel{watch: watch, limits: limits{receive, send, window}, files: make(map[int]any), last: firstDescriptor, processors: 1}
	k.disk.waiting = make(chan struct{}, 1)
	current = k
	ahead.Store(0)
	return k
}

// SetProcessors has it have so many processors; New gives it one.
func (k *Kernel) SetProcessors(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.processors = n
}

// Processors is how many there are.
func Processors() int {
	current.mu.Lock()
	defer current.mu.Unlock()
	return current.processors
}

// Fail plans a failure.
func (k *Kernel) Fail(f Failure) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures = append(k.failures, f)
}

// Mend forgets the failures that have not come.
func (k *Kernel) Mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failures = nil
}

// Step begins to count the calls anew.
func (k *Kernel) Step() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = 0
}

// Freeze stops the process: waits do not end before Thaw, whatever comes and however late it is.
func (k *Kernel) Freeze() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = true
}

// Thaw has it go on.
func (k *Kernel) Thaw() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = false
	for _, e := range k.sets {
		e.wake()
	}
	for _, c := range k.conns {
		c.wakeAll()
	}
	if k.listener != nil {
		wake(k.listener.waiting)
	}
	wake(k.disk.waiting)
}

// Open is how many descriptors are.
func (k *Kernel) Open() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.files)
}

// enter is the begin of every call: k is locked, and planned failures come.
func enter(call Call, port func(k *Kernel) int) (k *Kernel, f Failure, failed bool) {
	k = current
	k.mu.Lock()
	if k.calls++; k.calls > mostCalls {
		k.watch.Misused("it spins: " + string(call) + " and others without end")
		k.mu.Unlock()
		select {} // the step ends by that
	}
	for i := range k.failures {
		f := &k.failures[i]
		if f.Call != call {
			continue
		}
		if f.After > 0 {
			f.After--
			continue
		}
		failure := *f
		k.failures = append(k.failures[:i], k.failures[i+1:]...)
		k.watch.Failed(port(k), failure)
		return k, failure, true
	}
	return k, Failure{}, false
}

func nobody(*Kernel) int { return 0 }

func portOf(fd int) func(*Kernel) int {
	return func(k *Kernel) int {
		if s, ok := k.files[fd].(*Socket); ok {
			return s.peer.Port
		}
		return 0
	}
}

// open gives a file the number of the one that was closed last, as systems do, so that who uses a number of
// the past is found out.
func (k *Kernel) open(file any) int {
	if n := len(k.free); n > 0 {
		fd := k.free[n-1]
		k.free = k.free[:n-1]
		k.files[fd] = file
		return fd
	}
	k.last++
	k.files[k.last] = file
	return k.last
}

// Close is close(2).
func Close(fd int) {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	switch file := k.files[fd].(type) {
	case nil:
		k.watch.Misused("close of what is not open")
		return
	case *Socket:
		k.watch.Hung(file.peer.Port)
		file.close()
	case *listening:
		file.close()
	}
	for _, e := range k.sets {
		e.remove(fd)
	}
	delete(k.files, fd)
	k.free = append(k.free, fd)
}

// wake ends the wait of whoever waits there, or the next one.
func wake(waiting chan struct{}) {
	select {
	case waiting <- struct{}{}:
	default:
	}
}

// An alarm does something at a time, with the kernel locked.
type alarm struct {
	at time.Time
	do func()
}

// await waits to be woken, or for a time, never if that is zero. The kernel is not locked meanwhile.
func (k *Kernel) await(waiting chan struct{}, until time.Time) {
	if !until.IsZero() {
		a := k.setAlarm(until, func() { wake(waiting) })
		defer k.forget(a)
	}
	k.mu.Unlock()
	<-waiting
	k.mu.Lock()
}

func (k *Kernel) setAlarm(at time.Time, do func()) *alarm {
	a := &alarm{at, do}
	k.alarms = append(k.alarms, a)
	k.setClock()
	return a
}

func (k *Kernel) forget(a *alarm) {
	k.alarms = slices.DeleteFunc(k.alarms, func(b *alarm) bool { return b == a })
}

// setClock has the next alarm ring. There is one clock for all: those of package time that ring at the same
// time do so in an order that is left to chance.
func (k *Kernel) setClock() {
	var next time.Time
	for _, a := range k.alarms {
		if next.IsZero() || a.at.Before(next) {
			next = a.at
		}
	}
	if next.IsZero() || next.Equal(k.rings) {
		return
	}
	if k.clock != nil {
		k.clock.Stop()
	}
	k.rings, k.clock = next, time.AfterFunc(next.Sub(Now()), k.ring)
}

func (k *Kernel) ring() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := Now()
	k.rings = time.Time{}
	var late []*alarm
	k.alarms = slices.DeleteFunc(k.alarms, func(a *alarm) bool {
		if now.Before(a.at) {
			return false
		}
		late = append(late, a)
		return true
	})
	for _, a := range late {
		a.do()
	}
	k.setClock()
}
