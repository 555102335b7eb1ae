//go:build unix

package child

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// Possible says whether programs can be run here.
const Possible = true

// A process is a program that was started, in a group of its own.
type process struct {
	pid    int
	exited chan struct{}      // closed when it has ended, and there is nothing left to wait for
	status syscall.WaitStatus // set before

	mu     sync.Mutex
	reaped bool // its number may be another's by now
	empty  bool // the group: its number may be
}

// fork starts a process. It has the environment and the three files, and nothing else of ours.
func fork(c *Command, env []string, pipes *pipes) (*process, error) {
	handle := -1
	var files []uintptr
	for _, f := range pipes.theirs {
		files = append(files, f.Fd())
	}
	pid, err := syscall.ForkExec(c.file, c.words, &syscall.ProcAttr{Env: env, Files: files, Sys: attributes(&handle)})
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, exited: make(chan struct{})}
	go func() {
		p.awaitExit(handle)
		p.look()
		close(p.exited)
	}()
	return p, nil
}

// wait waits in the calling thread for the end of the process.
func (p *process) wait() {
	for {
		if _, err := syscall.Wait4(p.pid, &p.status, 0, nil); err != syscall.EINTR {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
}

// look looks whether there is anything left of the group, of which it reaps what has become our child: of
// process 1 that is whatever lost its parent. The first look is right behind the end of the process
// itself; as long as others are left the number of the group cannot be given to another one.
func (p *process) look() (empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.empty {
		return true
	}
	for {
		if pid, err := syscall.Wait4(-p.pid, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
			break
		}
	}
	p.empty = syscall.Kill(-p.pid, 0) == syscall.ESRCH
	return p.empty
}

// signal sends a signal to all of the group, and to the process, which may have left it.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		syscall.Kill(p.pid, sig)
	}
	if !p.empty {
		syscall.Kill(-p.pid, sig)
	}
}

// kill ends all of the group at once.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

// end ends all of the group: by SIGTERM, and if something is left after a grace, which is over when
// hurry is closed, by SIGKILL. It returns when that is done, and the process has ended.
func (p *process) end(grace time.Duration, hurry <-chan struct{}) {
	if p.isOver() {
		return
	}
	p.signal(syscall.SIGTERM)
	if p.awaitEmpty(time.After(grace), hurry) {
		return
	}
	p.kill()
	select {
	case <-p.exited:
	case <-time.After(killTime): // it hangs in the system
	}
}

// isOver reports whether the process has ended and has left nothing of its group.
func (p *process) isOver() bool { return p.hasEnded() && p.look() }

func (p *process) hasEnded() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

const (
	killTime = 5 * time.Second // how long is waited for a process that was killed

	// Only the process itself can be waited for. What else is of its group is looked for, ever less often.
	firstLook, rarestLook = time.Millisecond, 50 * time.Millisecond
)

// awaitEmpty waits until nothing is left of the group, or time is up.
func (p *process) awaitEmpty(timeout <-chan time.Time, hurry <-chan struct{}) bool {
	select {
	case <-p.exited:
	case <-timeout:
		return false
	case <-hurry:
		return false
	}
	for pause := firstLook; !p.look(); pause = min(2*pause, rarestLook) {
		select {
		case <-time.After(pause):
		case <-timeout:
			return false
		case <-hurry:
			return false
		}
	}
	return true
}

// failure says how a process that has ended did so, such as "exit status 3"; "" is in good order.
func (p *process) failure() string {
	switch {
	case p.status.Signaled():
		return fmt.Sprintf("ended by signal %d (%v)", p.status.Signal(), p.status.Signal())
	case p.status.ExitStatus() != 0:
		return fmt.Sprintf("exit status %d", p.status.ExitStatus())
	}
	return ""
}

// openTerminal opens a pseudo-terminal that changes nothing of what is written to it.
func openTerminal() (ours, theirs *os.File, err error) {
	if ours, theirs, err = pty.Open(); err != nil {
		return nil, nil, err
	}
	if _, err = term.MakeRaw(int(theirs.Fd())); err != nil {
		ours.Close()
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
