package accept

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// asAccepted is an error number as a net.Listener returns it.
func asAccepted(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

func TestOnlyErrorsOfTheListenerItselfAreFinal(t *testing.T) {
	type row struct {
		name  string
		err   error
		final bool
	}
	rows := []row{
		{"closed listener", &net.OpError{Op: "accept", Err: net.ErrClosed}, true},
		{"an error that nobody knows", errors.New("the weather"), false},
		{"timeout", &net.OpError{Op: "accept", Err: os.ErrDeadlineExceeded}, false},
	}
	final := []syscall.Errno{syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK}
	known := append(final, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.ECONNRESET, syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP)
	for errno := range syscall.Errno(256) { // ENOSR, ENONET and such have no name on some systems
		if errno != 0 && !slices.Contains(known, errno) {
			known = append(known, errno)
		}
	}
	for _, errno := range known {
		rows = append(rows, row{fmt.Sprintf("%d %v", uintptr(errno), errno), asAccepted(errno), slices.Contains(final, errno)})
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				stop := make(chan struct{})
				var told []error
				err := Loop(func() error {
					if calls++; calls == 2 {
						close(stop)
					}
					return row.err
				}, stop, func(err error) { told = append(told, err) })
				switch {
				case row.final && (calls != 1 || err != row.err || told != nil):
					t.Errorf("%d calls, told %v, returned %v; want it to be final", calls, told, err)
				case !row.final && (calls != 2 || err != nil || !slices.Equal(told, []error{row.err})):
					t.Errorf("%d calls, told %v, returned %v; want it told once and waited out", calls, told, err)
				}
			})
		})
	}
}

func TestPausesDoubleToASecondAndASuccessResetsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		var pauses []time.Duration
		last := time.Now()
		calls := 0
		err := Loop(func() error {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			switch calls++; calls {
			case 11:
				return nil
			case 14:
				close(stop)
			}
			return asAccepted(syscall.EMFILE)
		}, stop, func(error) {})
		if err != nil {
			t.Errorf("Loop = %v, want nil once stopped", err)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 5 * ms, 10 * ms, 20 * ms, 40 * ms, 80 * ms, 160 * ms, 320 * ms, 640 * ms, 1000 * ms, 1000 * ms, 0, 5 * ms, 10 * ms}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses = %v, want %v", pauses, want)
		}
	})
}

func TestAStopEndsThePauseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		start := time.Now()
		time.AfterFunc(time.Millisecond, func() { close(stop) })
		calls := 0
		err := Loop(func() error { calls++; return asAccepted(syscall.ENFILE) }, stop, func(error) {})
		if err != nil || calls != 1 {
			t.Errorf("Loop = %v after %d calls, want nil after 1", err, calls)
		}
		if d := time.Since(start); d != time.Millisecond {
			t.Errorf("stopped after %v, want 1ms", d)
		}
	})
}

func TestAnErrorOfTheStopIsToldToNobody(t *testing.T) {
	stop := make(chan struct{})
	err := Loop(func() error { close(stop); return net.ErrClosed }, stop, func(err error) { t.Errorf("told %v", err) })
	if err != nil {
		t.Errorf("Loop = %v, want nil", err)
	}
}
