package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/systemd"
)

const (
	// sameStop is how long further signals are the same request to stop: GNU timeout, npm and
	// a terminal's process group deliver one twice.
	sameStop = time.Second

	// lastGrace is how long a server that is to stop at once may take to say what it did, with a
	// standard output that takes nothing.
	lastGrace = 2 * time.Second

	// reminder is what is said once sameStop is over, with what is being waited for.
	reminder = "%s; signal again to stop at once"
)

// A stopRequest is what the process's signals ask for.
type stopRequest struct {
	first chan struct{} // closed by the first signal: end in good order
	again chan struct{} // closed by one that comes later than sameStop: stop at once
	code  int           // the exit code of what the first signal cuts short; set before first is closed

	reload chan struct{} // told of each SIGHUP before the first, which is no stop then; nil if there is nothing to reload
}

// watchSignals watches for signals that ask for an end until the process ends, whatever hangs by
// then: after the second request the process is ended within grace. remind is called once another
// signal would stop it at once; it may block. Where there is something to reload, a SIGHUP asks for
// that.
func watchSignals(reloads bool, remind func(), grace time.Duration) *stopRequest {
	stopping := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		stopping = append(stopping, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, stopping...)
	r := newStopRequest()
	if reloads {
		r.reload = make(chan struct{}, 1)
	}
	go r.watch(signals, remind, grace, exitAtOnce)
	return r
}

// beforeExit is what has to be done even where all else hangs: to give the terminal back. Nil for nothing.
var beforeExit atomic.Pointer[func()]

func exitAtOnce(code int) {
	if last := beforeExit.Load(); last != nil {
		(*last)()
	}
	os.Exit(code)
}

func newStopRequest() *stopRequest {
	return &stopRequest{first: make(chan struct{}), again: make(chan struct{})}
}

func (r *stopRequest) watch(signals <-chan os.Signal, remind func(), grace time.Duration, exit func(code int)) {
	first := <-signals
	for r.reload != nil && first == syscall.SIGHUP {
		select {
		case r.reload <- struct{}{}:
		default: // one that is to begin will do for both
		}
		first = <-signals
	}
	r.code = codeOf(first)
	begin := time.Now()
	close(r.first)
	reminder := time.After(sameStop)
	for second := false; !second; {
		select {
		case <-reminder:
			go remind()
		case <-signals:
			second = time.Since(begin) >= sameStop
		}
	}
	close(r.again)
	select {
	case <-time.After(grace):
	case <-signals:
	}
	exit(exitNetwork)
}

// codeOf is the exit code of a process that a signal cut short.
func codeOf(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitNetwork
}

// untilSignal is ctx until a signal asks for an end. A second one ends the process.
func untilSignal(ctx context.Context) (context.Context, func()) { return untilSignalOr(ctx, nil) }

// untilSignalOr is untilSignal where a SIGHUP asks for a reload, if there is something to reload. A service
// manager that has started the command is told that it runs, and there a SIGHUP never asks for an end.
func untilSignalOr(ctx context.Context, reload func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if systemd.Supervised() && reload == nil {
		reload = func() {}
	}
	manager, err := systemd.Open(func() string { return "running" }, func() bool { return true })
	if err != nil {
		fmt.Fprintf(os.Stderr, "parley: %v\n", err)
	}
	stop := watchSignals(reload != nil, func() { fmt.Fprintf(os.Stderr, "parley: "+reminder+"\n", "stopping") }, 0)
	watched := make(chan struct{})
	manager.Ready()
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop.reload:
				manager.Reloading()
				reload()
				manager.Ready()
				continue
			case <-stop.first:
				manager.Stopping()
				cancel(&exitError{code: stop.code})
			case <-ctx.Done():
			}
			return
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-watched
		manager.Close()
	}
}

// signalled is the exit that a signal asked for, or nil.
func signalled(ctx context.Context) error {
	var exit *exitError
	if errors.As(context.Cause(ctx), &exit) {
		return exit
	}
	return nil
}
