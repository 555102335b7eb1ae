// Package child puts programs behind a server: one for each session, which has the client's
// bytes as its standard input and whose standard output is what the client gets, or one for each
// request.
//
// A program is started in a process group of its own, which is ended with what it was started for:
// by SIGTERM, and after a grace by SIGKILL. A process that holds its output and has left the group
// holds up nobody. On Linux the program is killed if the server dies, however that comes about; of
// other processes of the group only the system can know, such as systemd by its control group.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/cmdline"
)

// DefaultGrace is the time between SIGTERM and SIGKILL.
const DefaultGrace = 5 * time.Second

// A Command is what is run.
type Command struct {
	Name  string // what the program is called, such as cat
	file  string // found when the command was read
	words []string
}

// Parse reads a command: words as cmdline.Command has them, of which the first is a file, or the name of
// one in PATH; or with shell, all of it is for /bin/sh.
func Parse(text string, shell bool) (*Command, error) {
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("a NUL byte can be in no command")
	}
	words := []string{"/bin/sh", "-c", text}
	if !shell {
		var err error
		if words, err = cmdline.Command(text); err != nil {
			return nil, err
		}
	}
	if strings.TrimSpace(text) == "" || len(words) == 0 {
		return nil, errors.New("there is no command in it")
	}
	name := words[0]
	file, err := exec.LookPath(name)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("there is no program %s in PATH", name)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", name)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s is no program that may be run", name)
	case err != nil:
		return nil, err
	}
	return &Command{filepath.Base(name), file, words}, nil
}

// A Runner runs a command, for many sessions at once. Set the fields before its first use, and
// leave them alone from then on.
type Runner struct {
	Command  *Command
	Grace    time.Duration // between SIGTERM and SIGKILL; DefaultGrace if zero
	Max      int           // processes at once, of which some may be about to end; required
	Terminal bool          // standard output is a pseudo-terminal, so that it is not buffered

	// Say tells of a session's program: what it writes on standard error, a line at a time,
	// and an end that is no success. Nothing in it is escaped. Of each kind at most a hundred lines at once and ten a
	// second; how many were left out is told as well.
	Say func(s *parley.Session, text string)

	prepare  sync.Once
	slots    chan struct{} // a value for each process that there is
	env      []string      // that all have
	births   *nursery
	running  sync.WaitGroup
	hurry    chan struct{} // closed by Kill
	hurrying sync.Once
	speech   speech // what they say
	ends     speech // and how they end, which the loudest of them is not to hide
}

func (r *Runner) init() {
	r.prepare.Do(func() {
		if r.Grace == 0 {
			r.Grace = DefaultGrace
		}
		r.slots = make(chan struct{}, r.Max)
		r.env = inherited(os.Environ())
		r.births = newNursery()
		r.hurry = make(chan struct{})
	})
}

// Wait waits until no process is left, for as long as two graces once all that they are for is over.
// Nothing is to be started any more.
func (r *Runner) Wait() {
	r.init()
	r.running.Wait()
	r.births.close()
	r.speech.rest(r.Say)
	r.ends.rest(r.Say)
}

// Kill has no process wait for its grace from now on.
func (r *Runner) Kill() {
	r.init()
	r.hurrying.Do(func() { close(r.hurry) })
}

// room waits until there may be one more process.
func (r *Runner) room(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Runner) leave() { <-r.slots }

// start starts the program with its ends of what it reads and writes, which it closes here.
func (r *Runner) start(session *parley.Session, pipes *pipes) (*process, error) {
	defer pipes.closeTheirs()
	p, err := r.births.start(r.Command, append(r.env[:len(r.env):len(r.env)], environ(session)...), pipes)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", r.Command.Name, err)
	}
	return p, nil
}

// tell tells how a program ended, if that was no success.
func (r *Runner) tell(session *parley.Session, p *process) {
	if why := p.failure(); why != "" {
		r.ends.say(r.Say, session, r.Command.Name+": "+why)
	}
}
