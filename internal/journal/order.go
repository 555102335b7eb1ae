package journal

import (
	"cmp"
	"math"
	"slices"

	"github.com/parley-tcp/parley"
)

// An ordering has the moments of each session follow each other as they were recorded, whatever
// the clock was set to meanwhile: where a request is earlier than the one before it, the
// clock was set back, and what comes is put behind what was. It is told the openings and the faults first, then the
// exchanges as they were recorded, and the ends last, each of which it gives its place.
type ordering map[int64]*clock

func newOrdering(openings, faults []moment) ordering {
	o := make(ordering)
	for i := range openings {
		m := &openings[i]
		c := o.of(m.session)
		c.opened, c.request, c.last = m.ns, m.ns, m.ns
		m.order = m.ns
	}
	for i := range faults {
		m := &faults[i]
		c := o.of(m.session)
		m.order = max(m.ns, c.opened)
		c.fault = max(c.fault, m.order)
	}
	return o
}

// A clock is how far a session has been told, in the order of its moments.
type clock struct {
	opened         int64 // the least there is if that is not told
	ahead          int64 // what is to be added since the clock was set back
	request, reply int64 // the last ones
	requestAt      int64 // where the furthest request lies in its stream
	unasked        int64 // the last message that nobody asked for
	fault, last    int64 // the last fault, and the last of all else
}

func (o ordering) of(session int64) *clock {
	if o[session] == nil {
		const none = math.MinInt64
		o[session] = &clock{opened: none, request: none, reply: none, unasked: none, fault: none, last: none}
	}
	return o[session]
}

func (o ordering) placeEnd(m *moment) {
	c := o.of(m.session)
	m.order = max(m.ns, c.last, c.fault)
}

// exchanges are the moments of some. With streams, what a peer sent is
// in the order of its bytes, also where a part of it was recorded before what is earlier.
func (o ordering) exchanges(hits []hit, streams bool) (all []moment) {
	sortRequests(hits)
	all = make([]moment, 0, 2*len(hits))
	for _, h := range hits {
		c := o.of(h.session)
		received := h.received + c.ahead
		isBack := received < c.request // the clock was set back
		isNext := false                // it is behind the request before it
		switch {
		case h.unasked || h.loose: // it may be recorded before an earlier request
			if isBack {
				received = c.last
			}
			if !h.loose {
				received = max(received, c.unasked)
				c.unasked = received
			}
		case 0 <= h.requestAt && h.requestAt < c.requestAt: // it is an earlier one, and was read with others
			received = max(received, c.opened)
		default:
			if isBack {
				c.ahead += c.last - received
				received = c.last
			}
			isNext = true
			c.request, c.requestAt = received, max(c.requestAt, h.requestAt)
		}
		replied := received + h.took
		if isNext {
			replied = max(replied, c.reply) // else the clock was set back, by less than that took
			c.reply = replied
		}
		c.last = max(c.last, received, replied)
		if h.loose {
			all = append(all, moment{h.received, received, h.session, h.exchange, parley.Stray})
			continue
		}
		all = append(all, moment{h.received, received, h.session, h.exchange, parley.Received},
			moment{h.received + h.took, replied, h.session, h.exchange, parley.Replied})
	}
	if streams {
		for _, m := range inStreams(all, hits) {
			c := o.of(m.session)
			c.last = max(c.last, m.order)
		}
	}
	return all
}

// sortMoments puts them in the order of their places. Those of exchanges keep their order where these are the same.
func sortMoments(all []moment) { slices.SortStableFunc(all, moment.compare) }

func (m moment) compare(n moment) int {
	return cmp.Or(cmp.Compare(m.order, n.order), cmp.Compare(m.session, n.session), cmp.Compare(m.rank(), n.rank()))
}

// rank is what comes first of the moments of one time.
func (m moment) rank() int {
	switch m.kind {
	case parley.Opened:
		return 0
	case parley.Faulted:
		return 2
	case parley.Closed:
		return 3
	case parley.Refused:
		return 4
	}
	return 1
}

// merged are the moments of both, which are in their order; the first one's come first where it is the same.
func merged(a, b []moment) []moment {
	all := make([]moment, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].compare(b[0]) <= 0 {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// sortRequests has the requests of each session come in the order of their bytes, as far as that is
// known: one that nobody answers may be recorded before an earlier one that waits for its reply.
func sortRequests(hits []hit) {
	last, unsorted := make(map[int64]int64), make(map[int64][]int)
	for _, h := range hits {
		if h.requestAt >= 0 && h.requestAt < last[h.session] {
			unsorted[h.session] = nil
		}
		last[h.session] = max(last[h.session], h.requestAt)
	}
	for i, h := range hits {
		if places, is := unsorted[h.session]; is && h.requestAt >= 0 {
			unsorted[h.session] = append(places, i)
		}
	}
	for _, places := range unsorted {
		requests := make([]hit, len(places))
		for i, place := range places {
			requests[i] = hits[place]
		}
		slices.SortStableFunc(requests, func(a, b hit) int { return cmp.Compare(a.requestAt, b.requestAt) })
		for i, place := range places {
			hits[place] = requests[i]
		}
	}
}

// inStreams has the moments of the hits, which are in their order, come in the order of their
// bytes: one at least a nanosecond behind the other.
func inStreams(moments []moment, hits []hit) []moment {
	type part struct {
		session int64
		replies bool
		at      int64
		moment  *moment
	}
	parts := make([]part, 0, len(moments))
	i := 0
	for _, h := range hits {
		if h.requestAt >= 0 {
			parts = append(parts, part{h.session, false, h.requestAt, &moments[i]})
		}
		if !h.loose {
			i++
		}
		if h.replyAt >= 0 {
			parts = append(parts, part{h.session, true, h.replyAt, &moments[i]})
		}
		i++
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.session, b.session), cmp.Compare(bit(a.replies), bit(b.replies)), cmp.Compare(a.at, b.at))
	})
	for i := 1; i < len(parts); i++ {
		if p, before := &parts[i], &parts[i-1]; p.session == before.session && p.replies == before.replies {
			p.moment.order = max(p.moment.order, before.moment.order+1)
		}
	}
	return moments
}
