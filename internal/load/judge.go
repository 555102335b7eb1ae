package load

import (
	"errors"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/dialogue"
)

// judge counts a reply.
func (w *worker) judge(reply []byte, now time.Duration) {
	req, ok := w.oldestRequest()
	if !ok {
		w.countExtra(reply, now)
		return
	}
	w.count(req, reply, now)
	w.finish()
}

// countExtra counts a message that no request had asked for.
func (w *worker) countExtra(message []byte, now time.Duration) {
	if now >= w.from {
		w.recorder.count(func(s *stats) {
			s.extra++
			if s.examples[Extra] == nil {
				s.examples[Extra] = &Example{At: now, Reply: newExcerpt(message)}
			}
		})
	}
}

// count counts the reply to a request.
func (w *worker) count(req *request, reply []byte, now time.Duration) {
	held := w.Expect.Holds(req.body, reply)
	service := now - req.sent
	late := service > w.lateAfter
	w.recorder.mu.Lock()
	defer w.recorder.mu.Unlock()
	s := w.recorder.stats
	if held && !late && now >= w.from && (w.until == 0 || now <= w.until) {
		s.within++
	}
	if !req.counted {
		return
	}
	s.requests++
	s.last = max(s.last, now)
	switch {
	case late:
		s.late++
		s.examples.note(Late, req, reply, now)
	case !held:
		s.mismatched++
		s.examples.note(Mismatched, req, reply, now)
	default:
		s.replies++
		record(s.service, service)
		if w.Rate > 0 {
			record(s.response, now-req.due)
			record(s.lag, req.lag)
		}
		if w.ConnectEach && !w.Silent() && w.Script == nil {
			record(s.first, now-w.connected)
		}
	}
}

// connectionLost ends a connection that failed: what waits for a reply gets none. A dialogue in which
// something else came than expected ends its connection too, though that has not failed.
func (w *worker) connectionLost(err error) {
	w.hangUp()
	now, unanswered := w.now(), uint64(0)
	var example *Example
	for req, ok := w.oldestRequest(); ok; req, ok = w.oldestRequest() {
		if req.counted {
			if unanswered++; example == nil {
				example = w.missing(req, err, now)
			}
		}
		w.unfinished = nil // it was of the oldest request, whether that is counted or not
		w.finish()
	}
	if w.waiting.Err() != nil {
		return // nobody waited for them
	}
	w.recorder.count(func(s *stats) {
		if unanswered > 0 {
			s.last = max(s.last, now)
		}
		s.requests += unanswered
		if isMismatch(err) {
			s.mismatched += unanswered
			s.examples.add(Mismatched, example)
			return
		}
		s.fail(err)
		s.missing += unanswered
		s.examples.add(Missing, example)
	})
}

// missing is the example of a request whose reply did not come, or not whole, or of a dialogue that
// was not played to its end.
func (w *worker) missing(req *request, err error, now time.Duration) *Example {
	e := newExample(req, w.unfinished, now)
	var failure *dialogue.Failure
	if errors.As(err, &failure) {
		e.Reply = newExcerpt(append(failure.Got, failure.Unfinished...)) // one of them, or none
		e.Failed = &FailedStep{failure.Index, failure.Step.Line, failure.Want, failure.Error()}
	}
	if !isMismatch(err) {
		e.Cause = kindOf(err)
	}
	if e.Reply.Size > 0 && e.Failed == nil && w.Lacks != nil && e.Cause != dial.TooLong {
		e.Lacks, e.Advice = w.Lacks(w.unfinished)
	}
	return e
}
