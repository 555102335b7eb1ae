package fault

// An Ended is the error of a connection that a fault has ended.
type Ended struct {
	text  string
	fault string // such as reply.close-after=5
	reset bool
}

func (e *Ended) Error() string { return e.text }

// OnPurpose has who drives the connection tell its end as parley.Fault, and reports whether its
// peer is to see it closed in good order.
func (e *Ended) OnPurpose() (inOrder bool) { return !e.reset }
