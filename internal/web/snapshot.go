package web

import (
	"fmt"
	"slices"
)

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
	Recent    recent      `json:"recent"`
	Every     int64       `json:"every"`  // seconds that a point is for
	Replot    bool        `json:"replot"` // the points are all there are of that width, not an addition
	Points    []point     `json:"points"` // one that is known already has grown
	Exchanges []*exchange `json:"exchanges"`
	Skipped   uint64      `json:"skipped"`            // exchanges that were kept and are not told: too many since the last question
	Sessions  []session   `json:"sessions,omitempty"` // all that are told; none if they are as they were
	Turned    []turned    `json:"turned,omitempty"`   // who was turned away, with Sessions
	Ends      []end       `json:"ends,omitempty"`     // all of them, with Sessions
	Run       int64       `json:"run"`                // which start this is
	Journal   bool        `json:"journal"`            // all that is kept can be looked through
	Lag       *Lag        `json:"lag,omitempty"`      // what of it is not shipped yet; none if it is not shipped
}

// A cursor is how much a browser knows already.
type cursor struct {
	started int64  // of which run
	kept    uint64 // state.kept
	every   int64  // seconds that its points are for
	second  int64  // the last that is in one
	changes uint64 // state.changes
}

func (c cursor) String() string {
	return fmt.Sprintf("%d-%d-%d-%d-%d", c.started, c.kept, c.every, c.second, c.changes)
}

// parseCursor reads what String wrote; anything else is a browser that knows nothing.
func parseCursor(text string) (c cursor) {
	if _, err := fmt.Sscanf(text, "%d-%d-%d-%d-%d", &c.started, &c.kept, &c.every, &c.second, &c.changes); err != nil {
		return cursor{}
	}
	return c
}

// snapshot is what a browser does not know yet, with the charts of the last span seconds; of all
// if that is 0.
func (p *Page) snapshot(known cursor, span int64) snapshot {
	told, slots := p.newSince(known, span)
	told.Points = pointsOf(slots) // which takes the time that the lock must not be held for
	if p.opt.Lag != nil {
		lag := p.opt.Lag()
		told.Lag = &lag
	}
	return told
}

// newSince is snapshot with the points still to be made.
func (p *Page) newSince(known cursor, span int64) (told snapshot, slots []slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.state
	whole := known.started != p.started || known.kept > s.kept
	if whole {
		known = cursor{}
	}
	charts := s.charts.reaching(span)
	told = snapshot{
		Whole: whole, Server: p.opt.Server, Upstream: p.opt.Upstream, History: p.opt.History != nil, Run: p.started, Journal: p.opt.Journal != nil,
		Totals: s.totals, Unplotted: s.unplotted(), Recent: s.charts.recent, Every: charts.width, Replot: known.every != charts.width,
	}
	fresh := s.kept - known.kept
	told.Exchanges = s.last(int(min(fresh, toldExchanges)), func(*exchange) bool { return true })
	if !whole {
		told.Skipped = fresh - uint64(len(told.Exchanges))
	}
	if whole || known.changes != s.changes || known.second != s.charts.last {
		told.Sessions, told.Turned, told.Ends = s.lastSessions(), s.lastTurned(), slices.Clone(s.ends)
	}
	if slots = charts.after(known.second); told.Replot {
		slots = charts.after(0)
	}
	told.Cursor = cursor{started: p.started, kept: s.kept, every: charts.width, second: s.charts.last, changes: s.changes}.String()
	return told, slots
}
