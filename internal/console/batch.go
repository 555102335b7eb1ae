package console

import "github.com/parley-tcp/parley"

// A format makes lines of events.
type format interface {
	Wants(parley.EventKind) bool
	appendEvent(dst []byte, e *parley.Event) []byte
}

// A batch is the observer of one event loop: it puts the lines of a round together in
// memory of its own and queues them at once.
type batch struct {
	format
	out   *Writer
	lines []byte
}

// batchSize is what a batch brings together before it queues it within a round: a round
// may have thousands of lines, and memory for all of them would be made anew each time. With
// the line that passes it, it is a piece as a rule, which is not copied.
const batchSize = piece - 8<<10

// Observe adds the event's line.
func (b *batch) Observe(e *parley.Event) {
	if !b.Wants(e.Kind) {
		return
	}
	if b.lines = b.appendEvent(b.lines, e); len(b.lines) > batchSize {
		b.Flush()
	}
}

// Flush queues what has come together.
func (b *batch) Flush() {
	if len(b.lines) == 0 {
		return
	}
	b.lines = b.out.Hand(b.lines)
	if cap(b.lines) > piece { // a line can be long
		b.lines = nil
	}
}
