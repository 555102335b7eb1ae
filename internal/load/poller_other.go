//go:build !linux || 386

package load

// A poller is there for none: each worker waits for itself.
type poller struct{}

func (*run) startPollers() (stop func()) { return func() {} }

func (*poller) serve(*worker) (ok bool, err error) { return false, nil }
