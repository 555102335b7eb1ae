// Package answer has the handlers that stand in for a server that is not there: one that answers
// from a recording, and one that plays the server's side of a dialogue. Each session's state is its
// Data.
package answer

import (
	"fmt"
	"time"

	"github.com/parley-tcp/parley"
)

// A saying is what a mock has to say unasked.
type saying struct {
	message []byte
	due     time.Time // zero is at once
	nothing bool      // it is only to hang up
	last    bool      // and hang up behind it
	first   bool      // of those behind one request
}

// sayings are those of one session, in order. A session asks about them one call at a time.
type sayings struct {
	queue    []saying
	requests int // behind which something of it is
}

// mostWaiting is how many requests a peer may have made behind which there is something to say and
// its time has not come: what waits for that takes up memory, and nothing holds the peer back.
const mostWaiting = 1024

var errMostWaiting = fmt.Errorf("%d requests have something to be said later, and the peer sends more", mostWaiting)

func (s *sayings) add(one saying) { s.queue = append(s.queue, one) }

// addedSince notes that what was added since the queue had a length is said behind one request.
func (s *sayings) addedSince(before int) {
	if len(s.queue) > before {
		s.queue[before].first = true
		s.requests++
	}
}

func (s *sayings) isFull() bool { return s.requests >= mostWaiting }

// speak is parley.Speaker's Speak.
func (s *sayings) speak(dst []byte, now time.Time) (message []byte, again time.Time, err error) {
	if len(s.queue) == 0 {
		return nil, time.Time{}, nil
	}
	one := s.queue[0]
	if now.Before(one.due) {
		return nil, one.due, nil
	}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	if one.first {
		s.requests--
	}
	if one.last {
		err = parley.ErrHangUp
	}
	if one.nothing {
		return nil, time.Time{}, err
	}
	return append(dst, one.message...), time.Time{}, err
}

// waitUntil waits, as a handler may that no loop calls, or until the session is over.
func waitUntil(at time.Time, s *parley.Session) {
	wait := time.Until(at)
	if wait <= 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.Context().Done():
	}
}
