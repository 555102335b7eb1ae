//go:build !linux || 386

package load

// A poller is there for none: each lane waits for itself.
type poller struct{}

func (*run) hirePollers() (dismiss func()) { return func() {} }

func (*poller) drive(*lane) (ok bool, err error) { return false, nil }
