package web

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/tally"
)

const (
	statsBatch  = 1000 // exchanges that are read together
	maxGroups   = 1000 // and so many at most come in one answer: more come with the next, and no batch is told in part
	maxMoments  = 2000 // the same of the chart's
	minInterval = time.Millisecond
)

// Counts are of exchanges. Two of the same can be added, which a browser does: each answer is
// of a part of the journals.
type counts struct {
	Count  uint64        `json:"count"`
	Errors uint64        `json:"errors"` // as internal/tally has them
	In     uint64        `json:"in"`     // bytes of requests
	Out    uint64        `json:"out"`
	Max    time.Duration `json:"max"`   // ns
	Times  [][2]int      `json:"times"` // of a histogram: bucket, and how many replies took so long
	times  map[int]int   // the same, while it grows
}

// add counts an exchange, of an unasked message only its bytes.
func (t *counts) add(x *journal.Exchange, failed bool) {
	t.In += uint64(len(x.Request)) + x.RequestCut
	t.Out += uint64(len(x.Reply)) + x.ReplyCut
	if x.Request == nil {
		return
	}
	t.Count++
	if failed {
		t.Errors++
	}
	if x.Reply != nil {
		t.took(x.Took)
	}
}

func (t *counts) took(d time.Duration) {
	if t.times == nil {
		t.times = make(map[int]int)
	}
	t.times[bucketOf(d)]++
	t.Max = max(t.Max, d)
}

// end makes what is told.
func (t *counts) end() {
	t.Times = make([][2]int, 0, len(t.times))
	for bucket, n := range t.times {
		t.Times = append(t.Times, [2]int{bucket, n})
	}
	slices.SortFunc(t.Times, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
}

// A group is what has the same shape, or is of one session, one peer, one node, or one reason of ending.
type group struct {
	key     string        // what tells it from others
	Name    []byte        `json:"name"`              // what to show of it
	Session *foundSession `json:"session,omitempty"` // if it is one
	Unasked bool          `json:"unasked,omitempty"` // the shape of messages that nobody asked for; Count is of these
	counts
}

// A moment is what came between two times of the chart.
type moment struct {
	At int64 `json:"at"` // µs since 1970, when it begins
	counts
}

// A statsAnswer is a part of the statistics; a browser adds them up.
type statsAnswer struct {
	Groups   []*group  `json:"groups"`
	Moments  []*moment `json:"moments"`
	Next     string    `json:"next"` // to go on with, as before; empty if this was the last part
	Problems []problem `json:"problems,omitempty"`
}

// A counting is an answer in the making.
type counting struct {
	by      string
	every   time.Duration // width of a moment
	groups  map[string]*group
	moments map[int64]*moment

	framings map[string]dialect.Framing
	alone    map[place]*journal.Exchange // replies whose requests were kept alone
}

// A place is that of an exchange.
type place struct {
	file    int
	session int64
	seq     uint64
}

func (c *counting) framing(name string) dialect.Framing {
	f, known := c.framings[name]
	if !known {
		f, _ = dialect.Parse(name) // of one that is not known the bytes are shown
		c.framings[name] = f
	}
	return f
}

// stats counts what a question selects, in groups by shape, session, peer or end, and over
// time, for as long as an answer may take.
func (p *Journals) stats(ctx context.Context, q question, v url.Values) (a statsAnswer, err error) {
	c := counting{by: cmp.Or(v.Get("by"), "shape"), groups: make(map[string]*group), moments: make(map[int64]*moment),
		framings: make(map[string]dialect.Framing), alone: make(map[place]*journal.Exchange)}
	if !slices.Contains([]string{"shape", "session", "peer", "node", "end"}, c.by) {
		return a, fmt.Errorf("by %q: there are shape, session, peer, node and end", c.by)
	}
	ms, err := strconv.ParseInt(cmp.Or(v.Get("every"), "60000"), 10, 32)
	if c.every = time.Duration(ms) * time.Millisecond; err != nil || c.every < minInterval {
		return a, fmt.Errorf("every %q: use milliseconds, 1 or more", v.Get("every"))
	}
	deadline := time.Now().Add(p.within)
	for {
		var problems []problem
		var next cursors
		if c.by == "end" {
			next, problems = p.countEnds(ctx, q, &c)
		} else if next, problems, err = p.countExchanges(ctx, q, &c); err != nil {
			return a, err
		}
		a.Problems = append(a.Problems, problems...)
		if q.before = next; next.isDone() || ctx.Err() != nil || time.Now().After(deadline) || len(c.groups) >= maxGroups || len(c.moments) >= maxMoments {
			break
		}
	}
	a.Groups, a.Moments = c.told()
	if !q.before.isDone() {
		a.Next = q.before.String()
	}
	return a, nil
}

func (p *Journals) countExchanges(ctx context.Context, q question, c *counting) (cursors, []problem, error) {
	found, next, problems := newest(ctx, p, q, statsBatch, (*journal.Reader).NewestExchanges, func(x *journal.Exchange) (int64, time.Time) { return x.ID, x.Received })
	of, err := p.sessionsOf(ctx, found)
	if err != nil {
		return next, problems, err
	}
	for i := range found {
		file, x := found[i].file, &found[i].one
		s := of[file][x.Session]
		if s == nil {
			s = &journal.Session{ID: x.Session, Lost: true}
		}
		at := place{file, x.Session, x.Seq}
		if x.Request == nil && x.Seq > 0 { // a tap has kept the request alone, before this
			c.alone[at] = x
			continue
		}
		if reply := c.alone[at]; reply != nil && x.Reply == nil {
			x.Reply, x.ReplyCut, x.Took = reply.Reply, reply.ReplyCut, reply.Took
			delete(c.alone, at)
		}
		p.count(c, file, s, x)
	}
	return next, problems, nil
}

// count counts an exchange with its group and its moment.
func (p *Journals) count(c *counting, file int, s *journal.Session, x *journal.Exchange) {
	framing := c.framing(p.framing(s))
	failed := tally.Failed(s, x, framing)
	c.moment(x.Received).add(x, failed)
	var g *group
	switch c.by {
	case "shape":
		shape := tally.AppendShape(nil, x, framing, p.opt.Secrets)
		if g = c.group(fmt.Sprint(x.Request == nil, string(shape)), shape); x.Request == nil {
			g.Unasked = true
			g.Count++
		}
	case "session":
		of := p.foundSession(file, s)
		g = c.group(keyOf(file, s.ID), []byte(of.Remote))
		g.Session = &of
	case "node":
		g = c.group(s.Node, []byte(s.Node))
	case "peer":
		peer := tally.PeerOf(s.Remote)
		g = c.group(peer, []byte(peer))
	}
	g.add(x, failed)
}

// countEnds counts sessions by why they ended, and how long they lasted.
func (p *Journals) countEnds(ctx context.Context, q question, c *counting) (cursors, []problem) {
	found, next, problems := newest(ctx, p, q, statsBatch, (*journal.Reader).NewestSessions, func(s *journal.Session) (int64, time.Time) { return s.ID, s.Opened })
	for i := range found {
		s := &found[i].one
		reason := cmp.Or(s.Reason, journal.ReasonOpen)
		for _, t := range []*counts{&c.group(reason, []byte(reason)).counts, c.moment(s.Opened)} {
			t.Count++
			t.In += s.BytesIn
			t.Out += s.BytesOut
			if !s.Closed.IsZero() {
				t.took(s.Closed.Sub(s.Opened))
			}
		}
	}
	return next, problems
}

func (c *counting) group(key string, name []byte) *group {
	g := c.groups[key]
	if g == nil {
		g = &group{key: key, Name: name}
		c.groups[key] = g
	}
	return g
}

// moment is where the chart has a time.
func (c *counting) moment(at time.Time) *counts {
	width := c.every.Microseconds()
	begin := at.UnixMicro() - at.UnixMicro()%width
	m := c.moments[begin]
	if m == nil {
		m = &moment{At: begin}
		c.moments[begin] = m
	}
	return &m.counts
}

func (c *counting) told() (groups []*group, moments []*moment) {
	groups, moments = []*group{}, []*moment{}
	for _, g := range c.groups {
		g.end()
		groups = append(groups, g)
	}
	for _, m := range c.moments {
		m.end()
		moments = append(moments, m)
	}
	slices.SortFunc(groups, func(a, b *group) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.key, b.key)) })
	slices.SortFunc(moments, func(a, b *moment) int { return cmp.Compare(a.At, b.At) })
	return groups, moments
}
