package simkernel

import (
	"slices"
	"syscall"
	"time"
)

// An epoll is a set of files of which somebody waits for the ready ones.
type epoll struct {
	k       *Kernel
	items   []*item
	waiting chan struct{}
}

type item struct {
	fd    int
	file  any
	event syscall.EpollEvent
	edge  bool // something has come that an edge-triggered one was not told of
}

const edgeTriggered = 1 << 31

// An event is one of eventfd(2) that nobody reads.
type event struct{ count int }

func (e *event) events() (events uint32) {
	if e.count > 0 {
		events = syscall.EPOLLIN
	}
	return events
}

// NewEpoll is epoll_create1(2).
func NewEpoll() (int, syscall.Errno) {
	k, f, failed := enter(EpollCall, nobody)
	defer k.mu.Unlock()
	if failed {
		return -1, f.Errno
	}
	e := &epoll{k: k, waiting: make(chan struct{}, 1)}
	k.sets = append(k.sets, e)
	return k.open(e), 0
}

// NewEvent is eventfd(2).
func NewEvent() (int, syscall.Errno) {
	k, f, failed := enter(EventCall, nobody)
	defer k.mu.Unlock()
	if failed {
		return -1, f.Errno
	}
	return k.open(new(event)), 0
}

// Signal adds one to an event.
func Signal(fd int) {
	k := current
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.files[fd].(*event)
	if !ok {
		k.watch.Misused("write to what is no event")
		return
	}
	e.count++
	k.notify(e)
}

// notify tells whoever waits for a file that something has come.
func (k *Kernel) notify(file any) {
	for _, e := range k.sets {
		for _, i := range e.items {
			if i.file == file {
				i.edge = true
				e.wake()
			}
		}
	}
	switch file := file.(type) {
	case *Socket:
		if file.conn != nil {
			file.conn.wakeAll()
		}
	case *listening:
		wake(file.waiting)
	}
}

func (e *epoll) wake() { wake(e.waiting) }

func (e *epoll) remove(fd int) {
	e.items = slices.DeleteFunc(e.items, func(i *item) bool { return i.fd == fd })
}

// Control is epoll_ctl(2).
func Control(epfd, op, fd int, ev *syscall.EpollEvent) syscall.Errno {
	k, f, failed := enter(ControlCall, portOf(fd))
	defer k.mu.Unlock()
	e, ok := k.files[epfd].(*epoll)
	file := k.files[fd]
	switch {
	case !ok || file == nil:
		if op != syscall.EPOLL_CTL_DEL { // a listener's owner may have closed it
			k.watch.Misused("epoll_ctl of what is not open")
		}
		return syscall.EBADF
	case failed:
		return f.Errno
	}
	at := slices.IndexFunc(e.items, func(i *item) bool { return i.fd == fd })
	switch {
	case op == syscall.EPOLL_CTL_ADD && at >= 0:
		return syscall.EEXIST
	case op == syscall.EPOLL_CTL_ADD:
		e.items = append(e.items, &item{fd, file, *ev, true})
	case at < 0:
		return syscall.ENOENT
	case op == syscall.EPOLL_CTL_MOD:
		e.items[at].event, e.items[at].edge = *ev, true
	default:
		e.remove(fd)
	}
	e.wake()
	return 0
}

// Wait is epoll_wait(2).
func Wait(fd int, events []syscall.EpollEvent, milliseconds int) (int, syscall.Errno) {
	k, f, failed := enter(WaitCall, nobody)
	defer k.mu.Unlock()
	e, ok := k.files[fd].(*epoll)
	switch {
	case !ok:
		k.watch.Misused("epoll_wait of what is none")
		return 0, syscall.EBADF
	case failed:
		return 0, f.Errno
	}
	var until time.Time
	if milliseconds > 0 {
		until = Now().Add(time.Duration(milliseconds) * time.Millisecond)
	}
	for {
		late := milliseconds == 0 || milliseconds > 0 && !Now().Before(until)
		if !k.frozen {
			if n := e.collect(events); n > 0 || late {
				return n, 0
			}
		}
		if late { // the process is stopped
			until = time.Time{}
		}
		k.await(e.waiting, until)
	}
}

// collect puts down what is ready.
func (e *epoll) collect(events []syscall.EpollEvent) (n int) {
	for _, i := range e.items {
		wanted := i.event.Events | syscall.EPOLLERR | syscall.EPOLLHUP
		ready := i.file.(interface{ events() uint32 }).events() & wanted
		if ready == 0 || i.event.Events&edgeTriggered != 0 && !i.edge || n == len(events) {
			continue
		}
		i.edge = false
		events[n] = i.event
		events[n].Events = ready
		n++
	}
	return n
}
