package fleet

import (
	"slices"
	"time"
)

// An outage is a time in which NATS does not do what is asked of it; the zero value is none.
type outage struct {
	why   error // what was said last
	since time.Time
	told  []string // what the operator knows of it
}

// goesOn notes why nothing goes on, and reports whether that is news: the first reason often is that there is
// no connection yet, and hides another one.
func (o *outage) goesOn(why error) (news bool) {
	if o.why == nil {
		o.since = time.Now()
	}
	o.why = why
	if slices.Contains(o.told, why.Error()) {
		return false
	}
	o.told = append(o.told, why.Error())
	return true
}

// isOver ends it, and reports whether there was one.
func (o *outage) isOver() (was bool, since time.Time) {
	was, since = o.why != nil, o.since
	*o = outage{}
	return was, since
}
