package fault

import (
	"net"
	"os"
	"sync"
	"time"
)

// A deadline is that of a connection, for who waits on purpose. Its zero value is none.
type deadline struct {
	mu      sync.Mutex
	at      time.Time     // zero is never
	changed chan struct{} // closed when at changes; nil if nobody waits
}

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = at
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *deadline) get() (at time.Time, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.at, d.changed
}

// wait waits until a time, which does not if it is zero. It fails once the deadline has passed, or
// the connection is closed.
func (c *Conn) wait(until time.Time, d *deadline) error {
	if until.IsZero() {
		return nil
	}
	for {
		end, changed := d.get()
		now := time.Now()
		wake := until
		switch {
		case !end.IsZero() && !now.Before(end):
			return os.ErrDeadlineExceeded
		case !now.Before(until):
			return nil
		case !end.IsZero() && end.Before(until):
			wake = end
		}
		timer := time.NewTimer(wake.Sub(now))
		select {
		case <-timer.C:
		case <-changed:
		case <-c.closed:
			timer.Stop()
			return net.ErrClosed
		}
		timer.Stop()
	}
}
