package dialect

import "math"

// maxRuns bounds what is remembered of requests whose replies do not come.
const maxRuns = 1024

// owed are requests whose replies have not come, oldest first, by what their protocol has to
// know of each. Equal ones in a row are only counted. Past maxRuns what comes is counted as
// of the zero value: a peer that is never answered takes up no memory, and only what would
// have been known of those requests is lost.
type owed[T comparable] struct {
	runs []run[T]
	head int // runs before it are answered
}

type run[T comparable] struct {
	what  T
	count uint64
}

func (o *owed[T]) push(what T) {
	n := len(o.runs)
	switch {
	case n > o.head && o.runs[n-1].what == what && o.runs[n-1].count < math.MaxUint64:
		o.runs[n-1].count++
		return
	case n-o.head == maxRuns:
		var zero T
		o.runs[n-1].what = zero
		o.runs[n-1].count++
		return
	case n == cap(o.runs) && 2*o.head >= n:
		o.runs = o.runs[:copy(o.runs, o.runs[o.head:])]
		o.head = 0
	}
	o.runs = append(o.runs, run[T]{what, 1})
}

// full reports whether what is pushed may be forgotten.
func (o *owed[T]) full() bool { return len(o.runs)-o.head == maxRuns }

// first is the request that the next reply answers.
func (o *owed[T]) first() (what T, ok bool) {
	if o.head == len(o.runs) {
		return what, false
	}
	return o.runs[o.head].what, true
}

// second is what comes behind all that are equal to the first.
func (o *owed[T]) second() (what T, ok bool) {
	if o.head+1 >= len(o.runs) {
		return what, false
	}
	return o.runs[o.head+1].what, true
}

func (o *owed[T]) pop() {
	if o.runs[o.head].count--; o.runs[o.head].count == 0 {
		o.drop()
	}
}

// drop takes off the first and all that are equal to it.
func (o *owed[T]) drop() {
	if o.head++; o.head == len(o.runs) {
		o.runs, o.head = o.runs[:0], 0
	}
}
