package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/systemd"
)

// A serving is what a server and a tap have in common while they run: what they say, what they
// keep, and how they are stopped.
type serving struct {
	*console.Output
	observer parley.Observer
	drain    time.Duration
	journal  *journalOptions
	kept     *journal.Writer // nil if there is no journal
	page     *livePage       // nil if there is none
	stop     *stopRequest
	lost     lostListener
	in       *inFlags         // what of them can be reloaded
	manager  *systemd.Service // that has started the process; nil if it does not ask
}

// A lostListener receives why the first listener was lost, of whose sessions some may go on.
type lostListener chan error

func (l lostListener) Wants(kind parley.EventKind) bool { return kind == parley.ListenerLost }

func (l lostListener) Observe(e *parley.Event) {
	if !l.Wants(e.Kind) {
		return
	}
	select {
	case l <- e.Err:
	default: // the first one ends all
	}
}

// newServing starts to write to the command's streams, and to watch for signals. waiting says
// what a drain is waiting for.
func newServing(cmd *cobra.Command, in *inFlags, opt console.OutputOptions, drain time.Duration, waiting func() string) *serving {
	// A reader of ours that goes away must not take the server with it.
	signal.Ignore(syscall.SIGPIPE)
	s := &serving{Output: console.NewOutput(cmd.OutOrStdout(), cmd.ErrOrStderr(), opt), drain: drain, in: in}
	s.lost = make(lostListener, 1)
	s.observer = parley.Observers(s.Output.Observer(), s.lost)
	s.stop = watchSignals(in.reloads(), func() { s.Notes.Printf(reminder, waiting()) }, lastGrace)
	return s
}

// record has the service that listens there kept in a journal, whose gate it returns, and shown
// on a live page under the first of its addresses, as far as that is wanted.
func (s *serving) record(ctx context.Context, kept *journalOptions, page webOptions, open listeners) (gate parley.Gate, err error) {
	s.journal = kept
	if s.kept, err = kept.open(s.Notes, open.recorded()); err != nil {
		return nil, err
	}
	if s.kept != nil {
		gate, s.observer = s.kept, parley.Observers(s.kept, s.observer)
	}
	if s.page, err = openPage(ctx, page, open.addresses()[0], kept.history(s.kept), s.Notes); err != nil {
		return nil, err
	}
	if s.page != nil {
		s.observer = parley.Observers(s.observer, s.page)
		s.Notes.Printf("live page at %s", s.page.url)
	}
	return gate, nil
}

// supervise has the service manager told how the service is, if it asks.
func (s *serving) supervise(open listeners) (err error) {
	pulse := new(systemd.Pulse)
	for _, l := range open {
		pulse.Waiting = append(pulse.Waiting, l.Waiting)
	}
	if s.manager, err = systemd.Open(pulse.Status, pulse.Alive); err != nil {
		return usageError("%w", err)
	}
	if s.manager != nil {
		s.observer = parley.Observers(s.observer, pulse)
	}
	return nil
}

// A service is what serves until it is stopped: a *parley.Server or a *tap.Tap.
type service interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// announce says that there is somebody to talk to, and who may.
func (s *serving) announce(open listeners) {
	open.announce(s.Notes)
	for _, l := range open {
		s.Started(l.Net.Addr())
	}
	s.manager.Ready()
}

// run serves all that is open until a signal, or until one of it is lost, and says what was done and, if the end was not in good order, what was cut or is not recorded. It returns the
// exit code's error, of which all is said.
func (s *serving) run(srv service, open listeners) error {
	served := make(chan error, len(open))
	for _, l := range open {
		go func() { served <- srv.Serve(l.Net) }()
	}
	code, left := s.await(served, len(open))
	s.manager.Stopping()
	if inOrder := s.end(srv); inOrder {
		for range left {
			<-served
		}
	} else {
		code = cmp.Or(code, exitNetwork)
	}
	s.Sum()
	if unkept := s.journal.close(context.Background(), s.kept, s.Notes); code == 0 {
		return unkept
	}
	return &exitError{code: code}
}

// await waits for a reason to end, and reloads what is to be reloaded until then. It returns the
// exit code of that reason, and how many listeners are still served.
func (s *serving) await(served <-chan error, listeners int) (code, left int) {
	for {
		select {
		case <-s.stop.reload:
			s.reload()
		case <-s.stop.first:
			return 0, listeners
		case err := <-s.lost:
			return s.cannotGoOn(err, listeners), listeners
		case err := <-served:
			return s.cannotGoOn(err, listeners), listeners - 1
		}
	}
}

// reload reads again what the ways in go by.
func (s *serving) reload() {
	s.manager.Reloading()
	s.in.reload(s.Notes.Printf)
	s.manager.Ready()
}

// cannotGoOn says why one of so many listeners cannot be served, and is the exit code of that.
func (s *serving) cannotGoOn(err error, listeners int) (code int) {
	var op *net.OpError
	text := "nobody can connect any more, the listener is lost"
	if errors.As(err, &op) {
		err = op.Err
		if listeners > 1 && op.Addr != nil {
			text = "the listener at " + boundAddress(op.Addr) + " is lost, and the others end with it"
		}
	}
	s.Notes.Printf("%s: %v", text, err)
	return exitUsage
}

// end drains srv, and says what it had to cut; a second signal stops it at once.
func (s *serving) end(srv service) (inOrder bool) {
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- srv.Shutdown(ctx) }()
	select {
	case err := <-drained:
		var cut *parley.DrainError
		if errors.As(err, &cut) {
			s.Cut(cut.Cut, s.drain)
		}
		return err == nil
	case <-s.stop.again:
		s.Notes.Printf("stopped at once by a second signal")
		srv.Close()
		select {
		case <-drained: // so all sessions have ended, and are in the figures
		case <-time.After(lastGrace / 4):
		}
		return false
	}
}

// close ends the page and lets the journal, the manager and the outputs take what is queued.
func (s *serving) close() {
	if s.page != nil {
		s.page.close()
	}
	if s.kept != nil {
		s.kept.Close(context.Background()) // again, mostly
	}
	s.manager.Close()
	s.Output.Close()
}
