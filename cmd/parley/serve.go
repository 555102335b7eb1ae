package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/metrics"
	"github.com/parley-tcp/parley/internal/systemd"
	"github.com/parley-tcp/parley/internal/web"
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
	shipping *shipping       // of what is kept; nil if it is not shipped
	stop     *stopRequest
	lost     lostListener
	in       *inFlags         // what of them can be reloaded
	manager  *systemd.Service // that has started the process; nil if it does not ask
	admin    *adminSite       // for operators; nil if there is none
	delay    time.Duration    // from the signal to the drain
	phase    atomic.Int32
}

// The phases of a serving. Only in the second is it to be sent connections.
const (
	starting = iota
	accepting
	stopping
)

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
func newServing(cmd *cobra.Command, in *inFlags, page *webOptions, admin *adminOptions, opt console.OutputOptions, drain time.Duration, waiting func() string) *serving {
	// A reader of ours that goes away must not take the server with it.
	signal.Ignore(syscall.SIGPIPE)
	opt.Style, opt.Columns = styleOf(cmd, cmd.OutOrStdout()), widthOf(cmd.OutOrStdout())
	s := &serving{Output: console.NewOutput(cmd.OutOrStdout(), cmd.ErrOrStderr(), opt), drain: drain, delay: admin.delay, in: in}
	s.lost = make(lostListener, 1)
	s.observer = parley.Observers(s.Output.Observer(), s.lost)
	// No terminal closes on a service: there a SIGHUP asks for a reload, also where there is nothing to reload.
	reloads := in.reloads() || page.reloads() || admin.reloads() || systemd.Supervised()
	s.stop = watchSignals(reloads, func() { s.Notes.Printf(reminder, waiting()) }, lastGrace)
	return s
}

// record has the service that listens there kept in a journal, whose gate it returns, that shipped, and all
// shown on a live page under the first of its addresses, as far as that is wanted.
func (s *serving) record(ctx context.Context, kept *journalOptions, ship *shipOptions, page webOptions, open listeners) (gate parley.Gate, err error) {
	s.journal = kept
	if s.kept, err = kept.open(s.Notes.Printf, open.recorded()); err != nil {
		return nil, err
	}
	if s.kept != nil {
		gate, s.observer = s.kept, parley.Observers(s.kept, s.observer)
	}
	if s.shipping, err = ship.start(kept.file, s.drain, s.Notes.Printf); err != nil {
		return nil, err
	}
	show := func(page *web.Options) {
		kept.show(page, s.kept)
		s.shipping.show(page)
	}
	if s.page, err = openPage(ctx, page, open.addresses()[0], show, s.Notes); err != nil {
		return nil, err
	}
	if s.page != nil {
		s.observer = parley.Observers(s.observer, s.page)
		s.Notes.Printf("live page at %s", s.page.url)
	}
	return gate, nil
}

// supervise has the service manager told how the service is, if it asks, and operators who do.
func (s *serving) supervise(ctx context.Context, admin *adminOptions, open listeners) (err error) {
	told := metrics.Options{Ready: s.isReady, Counts: metrics.NewCounts(), Gauges: s.gauges()}
	if s.admin, err = admin.open(ctx, told, s.Notes); err != nil {
		return err
	}
	if s.admin != nil {
		s.observer = parley.Observers(s.observer, told.Counts)
	}
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

// isReady says why nobody should be sent here, nil if that is fine.
func (s *serving) isReady() error {
	switch s.phase.Load() {
	case starting:
		return errors.New("not listening yet")
	case stopping:
		return errors.New("stopping: connect elsewhere")
	}
	if s.kept != nil && s.journal.onError == "stop" && s.kept.Backlog().Failing {
		return errors.New("nobody is answered while the journal cannot be written")
	}
	return nil
}

// A service is what serves until it is stopped: a *parley.Server or a *tap.Tap.
type service interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
	Sessions() []*parley.Session
}

// announce says that there is somebody to talk to, and who may.
func (s *serving) announce(open listeners) {
	open.announce(s.Notes)
	for _, l := range open {
		s.Started(l.Net.Addr())
	}
	s.phase.Store(accepting)
	s.manager.Ready()
}

// run serves all that is open until a signal, or until one of it is lost, and says what was done and, if the end was not in good order, what was cut or is not recorded. It returns the
// exit code's error, of which all is said.
func (s *serving) run(srv service, open listeners) error {
	served := make(chan error, len(open))
	for _, l := range open {
		go func() { served <- srv.Serve(l.Net) }()
	}
	defer onRequest(func() { s.report(srv) })()
	code, left := s.await(served, len(open))
	s.phase.Store(stopping)
	s.manager.Stopping()
	if code == 0 {
		code, left = s.goOn(served, left)
	}
	if inOrder := s.end(srv); inOrder {
		for range left {
			<-served
		}
	} else {
		code = cmp.Or(code, exitNetwork)
	}
	s.Sum()
	s.page.letGo()
	unkept := s.journal.close(context.Background(), s.kept, s.Notes.Printf)
	unshipped := s.shipping.end(s.Notes.Printf)
	switch {
	case unkept != nil: // worse than that somebody was cut off, and what goes with that
		return unkept
	case code == 0:
		return unshipped
	}
	return &exitError{code: code}
}

// report says what was done so far, and who is busiest.
func (s *serving) report(srv service) {
	s.Report(srv.Sessions(), time.Now())
	if s.shipping != nil {
		s.Notes.Printf("%s", shipped(s.shipping.Count()))
	}
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

// goOn keeps accepting for the delay that whoever sends connections here needs to notice that the end has
// begun, or until there is a reason to end it. It returns what await does.
func (s *serving) goOn(served <-chan error, listeners int) (code, left int) {
	if s.delay == 0 {
		return 0, listeners
	}
	s.Notes.Printf("stopping in %v; until then connections are accepted, and /readyz is 503", s.delay)
	over := time.NewTimer(s.delay)
	defer over.Stop()
	select {
	case <-over.C:
	case <-s.stop.again:
	case err := <-s.lost:
		return s.cannotGoOn(err, listeners), listeners
	case err := <-served:
		return s.cannotGoOn(err, listeners), listeners - 1
	}
	return 0, listeners
}

// reload reads again what the ways in and the page go by.
func (s *serving) reload() {
	s.manager.Reloading()
	s.in.reload(s.Notes.Printf)
	if s.page != nil && s.page.reload != nil {
		s.page.reload()
	}
	if s.admin != nil && s.admin.reload != nil {
		s.admin.reload()
	}
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
	s.admin.close()
	s.shipping.end(s.Notes.Printf) // again, mostly
	s.manager.Close()
	s.Output.Close()
}
