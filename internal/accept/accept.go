// Package accept is the rule by which a listener's connections are accepted: which errors
// end it, and how the others are waited out.
package accept

import (
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Loop calls accept again and again, until stop is closed or the listener is lost for
// good. It returns nil when stopped, which includes whatever error a listener gives that was
// closed after stop, and otherwise the final error. The errors that may pass are handed to
// failed.
//
// After one of those Loop waits 5 ms, and twice as long after each further one in
// a row, up to 1 s. Closing stop ends the wait at once. It does not end a call of accept:
// whoever stops closes the listener.
func Loop(accept func() error, stop <-chan struct{}, failed func(error)) error {
	pause := time.Duration(0)
	for {
		err := accept()
		if err == nil {
			pause = 0
			continue
		}
		select {
		case <-stop:
			return nil
		default:
		}
		if final(err) {
			return err
		}
		failed(err)
		pause = min(max(2*pause, minPause), maxPause)
		select {
		case <-time.After(pause):
		case <-stop:
			return nil
		}
	}
}

// final reports whether an error of accept is about the listener itself. accept(2) names
// these few; all others are about one connection, such as EPROTO, or about the moment, such
// as EMFILE, and which of those there are differs between systems and firewalls.
func final(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EBADF) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSOCK)
}
