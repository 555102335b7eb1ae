package web

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
)

// maxBad is how many sessions that ended badly are kept, apart from those that ended well.
const maxBad = 500

// toldEnded is how many sessions of one reason a browser is told.
const toldEnded = 100

// isBad reports whether something is wrong where a session ended so.
func isBad(reason parley.CloseReason) bool { return !console.IsOrderly(reason.String()) }

// An end is how many sessions ended for a reason since the start, or connections were refused.
type end struct {
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
	Bad     bool   `json:"bad,omitempty"`
	Refused bool   `json:"refused,omitempty"` // they became no session, so there is none to be looked at
}

// countEnd counts one. There are as many as there are reasons.
func (s *state) countEnd(reason parley.CloseReason, refused bool) {
	for i := range s.ends {
		if s.ends[i].Reason == reason.String() && s.ends[i].Refused == refused {
			s.ends[i].Count++
			return
		}
	}
	s.ends = append(s.ends, end{Reason: reason.String(), Count: 1, Bad: refused || isBad(reason), Refused: refused})
}

// over keeps a session that has ended, and forgets the oldest of its kind where there are too many.
func (s *state) over(of *session, reason parley.CloseReason) {
	list, most := &s.closed, maxClosed
	if isBad(reason) {
		list, most = &s.bad, maxBad
	}
	if *list = append(*list, of); len(*list) > most {
		delete(s.sessions, (*list)[0].Number)
		(*list)[0] = nil
		*list = (*list)[1:]
	}
}

// lastClosed are the newest sessions that ended well and the newest that did not, so many of each, the newest
// first.
func (s *state) lastClosed(most int) []session {
	var told []session
	for _, list := range [][]*session{s.closed, s.bad} {
		for _, closed := range list[max(0, len(list)-most):] {
			told = append(told, *closed)
		}
	}
	slices.SortStableFunc(told, byEnd)
	return told
}

// byEnd has the session come first that ended last.
func byEnd(a, b session) int {
	return cmp.Or(cmp.Compare(b.Closed, a.Closed), cmp.Compare(b.Number, a.Number))
}

// serveEnded tells the last sessions that ended for a reason, the newest first, as far as memory has them.
func (p *Page) serveEnded(w http.ResponseWriter, r *http.Request) {
	reason := r.URL.Query().Get("reason")
	told := []session{}
	p.mu.Lock()
	for _, list := range [][]*session{p.state.closed, p.state.bad} {
		for _, closed := range list {
			if closed.Reason == reason {
				told = append(told, *closed)
			}
		}
	}
	p.mu.Unlock()
	slices.SortStableFunc(told, byEnd)
	writeJSON(w, told[:min(len(told), toldEnded)])
}
