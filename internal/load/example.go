package load

import (
	"bytes"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
)

// An Outcome is a way in which replies were not as they should be.
type Outcome string

// The outcomes.
const (
	Mismatched Outcome = "mismatched" // it was another than expected
	Missing    Outcome = "missing"    // it never came, or not whole
	Late       Outcome = "late"       // it came after the timeout
	Extra      Outcome = "extra"      // it came with no request open
)

// An Example is a request and its reply that shows an Outcome.
type Example struct {
	At      time.Duration // since the run began
	Request Excerpt       // none of an extra message
	Words   string        // what to show for a Request with credentials; "" if it has none
	Reply   Excerpt       // of a missing one what came of it, framing included
	Took    time.Duration // until the reply came, or was waited for no more
	Cause   dial.Kind     // why it is missing
	Lacks   string        // what Reply lacks to be whole, if it is missing and some of it came
	Advice  string        // what may help then

	Failed *FailedStep // of a dialogue, which has no Request; else nil
}

// A FailedStep is the step of a dialogue that was not as expected.
type FailedStep struct {
	Index int    // from 0
	Line  int    // of its file
	Want  string // what it wanted
	Why   string // which it is and why, in words
}

// An Excerpt is the beginning of a message.
type Excerpt struct {
	Bytes []byte // 4 KiB at most
	Size  int    // of the whole message, in bytes
}

const maxExcerpt = 4 << 10

func newExcerpt(message []byte) Excerpt {
	return Excerpt{bytes.Clone(message[:min(len(message), maxExcerpt)]), len(message)}
}

func newExample(req *request, reply []byte, now time.Duration) *Example {
	return &Example{At: now, Request: newExcerpt(req.body), Reply: newExcerpt(reply), Took: now - req.sent}
}

// examples are the first of each outcome.
type examples map[Outcome]*Example

// note keeps a request and its reply, unless there is an example from before.
func (e examples) note(outcome Outcome, req *request, reply []byte, now time.Duration) {
	if e[outcome] == nil {
		e[outcome] = newExample(req, reply, now)
	}
}

// add keeps the example, if there is one, unless there is one from before.
func (e examples) add(outcome Outcome, example *Example) {
	if first := e[outcome]; example != nil && (first == nil || example.At < first.At) {
		e[outcome] = example
	}
}
