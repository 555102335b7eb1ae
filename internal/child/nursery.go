package child

import (
	"os"
	"runtime"
	"sync"
)

// A nursery is the thread that starts all processes. On Linux the signal that is sent to a process
// when its parent dies is sent when the thread that started it does, and Go's threads come and go.
type nursery struct {
	births  chan func()
	closed  chan struct{}
	closing sync.Once
}

func newNursery() *nursery {
	n := &nursery{births: make(chan func()), closed: make(chan struct{})}
	go n.run()
	return n
}

func (n *nursery) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the nursery
	for {
		select {
		case birth := <-n.births:
			birth()
		case <-n.closed:
			return
		}
	}
}

// start starts a process of the command.
func (n *nursery) start(c *Command, env []string, pipes *pipes) (p *process, err error) {
	done := make(chan struct{})
	birth := func() {
		defer close(done)
		p, err = fork(c, env, pipes)
	}
	select {
	case n.births <- birth:
		<-done
		return p, err
	case <-n.closed:
		return nil, os.ErrClosed
	}
}

// close ends the thread, when no process is left.
func (n *nursery) close() { n.closing.Do(func() { close(n.closed) }) }
