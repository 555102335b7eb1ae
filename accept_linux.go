//go:build !386

package parley

import (
	"net"
	"os"
	"syscall"
	"time"
	"unique"

	"github.com/parley-tcp/parley/internal/epoll"
	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	// acceptBatch is how many connections are accepted before the loops are told.
	acceptBatch = 64

	// acceptLook is how often an acceptor looks whether its listener was closed by
	// others, which epoll does not tell.
	acceptLook = time.Second
)

// loopAcceptor accepts for the loops, in the goroutine of Serve. One loop watches the
// listener beside its sockets and wakes the acceptor: a thread that waits there alone would
// take turns with the loop's own for every connection. The listener stays Go's own: its
// descriptor is used within RawConn.Control only.
type loopAcceptor struct {
	srv     *Server
	l       net.Listener
	raw     syscall.RawConn
	watcher *loop        // waits at the listener beside its sockets
	ready   chan error   // somebody may be waiting to be accepted, or nobody can be waited for; room for one
	look    *time.Ticker // whether the listener was closed by others, which epoll does not tell
	more    bool         // others may be waiting too
	watched bool         // the watcher was told to, and has not failed
	routes  []*route
	fixed   bool                    // all connections have the listener's own address
	local   unique.Handle[endpoint] // of the last connection, or of all
	some    func(listener uintptr)
	batch   []accepted
	err     error // what ended the batch

	tcp        bool
	mayInherit bool // connections have their options from the listener
	inherit    bool // also those that waited before it had them
}

// An accepted connection is one that no loop drives yet.
type accepted struct {
	fd     int
	remote epoll.Address
}

func newLoopAcceptor(s *Server, l net.Listener) (acceptor, error) {
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	a := &loopAcceptor{srv: s, l: l, raw: raw, ready: make(chan error, 1)}
	a.some = a.acceptSome
	a.local, a.fixed = unique.Make(*endpointOf(l.Addr())), true
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		a.tcp = true
		err = raw.Control(func(fd uintptr) {
			a.mayInherit = a.setOptions(fd) == nil // a listener of MPTCP does not have all of them
			a.fixed = !tcp.IP.IsUnspecified() && !epoll.Transparent(int(fd))
		})
	}
	if err == nil {
		err = s.loops.acquire(s)
	}
	if err != nil {
		return nil, err
	}
	a.look = time.NewTicker(acceptLook)
	a.routes = s.loops.routes()
	a.watcher = s.loops.nextRoute(a.routes).loop
	return a, nil
}

// setOptions sets what package net and the goroutine engine set on a TCP connection.
func (a *loopAcceptor) setOptions(fd uintptr) error {
	epoll.SetOptions(int(fd))
	if timeout := a.srv.settings.userTimeout(); timeout > 0 {
		return setUserTimeout(fd, timeout)
	}
	return nil
}

func (a *loopAcceptor) accept() error {
	if !a.watched {
		a.watched = true
		a.watcher.mailbox.Send(command{acceptor: a, action: watchListener})
	}
	if !a.more {
		select {
		case err := <-a.ready:
			if err != nil {
				a.watched = false
				return err
			}
		case <-a.look.C:
		}
	}
	a.more = true // until it is seen that nobody is: an edge is told of once
	// Nothing may wait within Control: the listener's Close waits for its end.
	a.batch, a.err = a.batch[:0], nil
	if err := a.raw.Control(a.some); err != nil {
		return err
	}
	for _, c := range a.batch {
		a.admit(c)
	}
	if a.err == syscall.EAGAIN {
		a.more, a.inherit = false, a.mayInherit
		return nil
	}
	return a.err
}

// wakeUp has accept look whether somebody is waiting, unless it is about to.
func (a *loopAcceptor) wakeUp(err error) {
	select {
	case a.ready <- err:
	default:
	}
}

// acceptSome accepts until nobody is waiting, or others should have a turn.
func (a *loopAcceptor) acceptSome(listener uintptr) {
	for range acceptBatch {
		fd, remote, err := epoll.Accept(int(listener))
		if err != nil {
			a.err = err
			if err != syscall.EAGAIN {
				a.err = &net.OpError{Op: "accept", Net: a.l.Addr().Network(), Addr: a.l.Addr(), Err: os.NewSyscallError("accept4", err)}
			}
			return
		}
		a.batch = append(a.batch, accepted{fd, remote})
	}
}

func (a *loopAcceptor) admit(c accepted) {
	if a.tcp && !a.inherit {
		a.setOptions(uintptr(c.fd))
	}
	fd, session := c.fd, &Session{opened: kernel.Now(), remote: endpoint{ip: c.remote.IP}}
	if !c.remote.IP.IsValid() {
		session.remote = *endpointOf(&net.UnixAddr{Name: c.remote.Path, Net: "unix"})
	} else if !a.fixed {
		if local := epoll.Local(fd); a.local.Value().ip != local.IP {
			a.local = unique.Make(endpoint{ip: local.IP})
		}
	}
	session.local = a.local
	t := &loopConn{route: a.srv.loops.nextRoute(a.routes), fd: int32(fd)}
	t.conversation = conversation{settings: &t.loop.settings, session: session}
	switch reason := a.srv.enter(t); reason {
	case 0:
	case ServerClosed:
		epoll.CloseFD(fd)
		return
	default:
		text, patient := a.srv.refuse(t, reason)
		if len(text) > 0 { // a new socket has room for it
			epoll.Write(fd, text)
		}
		if !patient || epoll.CloseWrite(fd) != nil {
			epoll.CloseFD(fd)
			if patient {
				a.srv.forget(t, true)
			}
			return
		}
		t.refused, t.lingering = true, true
	}
	t.conns.Add(1)
	t.loop.mailbox.Send(command{conn: t, action: register})
}

func (a *loopAcceptor) close() {
	a.raw.Control(func(fd uintptr) { a.watcher.set.Leave(int(fd)) }) // somebody may have a copy of it
	a.l.Close()
	a.wakeUp(nil)
}

func (a *loopAcceptor) wait() {
	for _, p := range a.routes {
		p.conns.Wait()
	}
	a.look.Stop()
	a.watcher.mailbox.Send(command{acceptor: a, action: unwatchListener})
	a.srv.loops.release()
}
