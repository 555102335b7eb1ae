package web

import "fmt"

// A snapshot answers a browser that asks what is new: the figures of now, and what was added
// since its last snapshot. Browsers ask again and again, and hold no connection in between:
// they open no more than six to a host, which a stream for each tab would use up.
type snapshot struct {
	Cursor   string `json:"cursor"` // to be sent with the next question
	Whole    bool   `json:"whole"`  // it is all there is to tell, not an addition
	Server   string `json:"server"`
	Upstream string `json:"upstream,omitempty"`
	History  bool   `json:"history"` // sessions of earlier runs can be asked for

	Totals    totals      `json:"totals"`
	Unplotted uint64      `json:"unplotted"` // replies that are in no point yet
	Points    []point     `json:"points"`
	Exchanges []*exchange `json:"exchanges"`
	Skipped   uint64      `json:"skipped"`            // exchanges that were kept and are not told: too many since the last question
	Sessions  []session   `json:"sessions,omitempty"` // all that are told; none if they are as they were
}

// A cursor is how much a browser knows already.
type cursor struct {
	started int64  // of which run
	kept    uint64 // state.kept
	point   int64  // the last point's time
	changes uint64 // state.changes
}

func (c cursor) String() string {
	return fmt.Sprintf("%d-%d-%d-%d", c.started, c.kept, c.point, c.changes)
}

// parseCursor reads what String wrote; anything else is a browser that knows nothing.
func parseCursor(text string) (c cursor) {
	if _, err := fmt.Sscanf(text, "%d-%d-%d-%d", &c.started, &c.kept, &c.point, &c.changes); err != nil {
		return cursor{}
	}
	return c
}

// snapshot is what a browser does not know yet.
func (p *Page) snapshot(known cursor) snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.state
	whole := known.started != p.started || known.kept > s.kept
	if whole {
		known = cursor{}
	}
	told := snapshot{
		Whole: whole, Server: p.opt.Server, Upstream: p.opt.Upstream, History: p.opt.History != nil,
		Totals: s.totals, Unplotted: s.unplotted(), Points: s.pointsAfter(known.point),
	}
	fresh := s.kept - known.kept
	told.Exchanges = s.last(int(min(fresh, toldExchanges)), func(*exchange) bool { return true })
	if !whole {
		told.Skipped = fresh - uint64(len(told.Exchanges))
	}
	if whole || known.changes != s.changes || len(told.Points) > 0 {
		told.Sessions = s.lastSessions()
	}
	next := cursor{started: p.started, kept: s.kept, point: known.point, changes: s.changes}
	if n := len(s.points); n > 0 {
		next.point = s.points[n-1].At
	}
	told.Cursor = next.String()
	return told
}

// pointsAfter are the points of the seconds after one.
func (s *state) pointsAfter(second int64) []point {
	i := len(s.points)
	for i > 0 && s.points[i-1].At > second {
		i--
	}
	return append([]point{}, s.points[i:]...)
}
