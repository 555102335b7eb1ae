package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/shape"
)

const (
	statsBatch  = 1000 // exchanges that are read together
	maxGroups   = 1000 // and so many at most come in one answer: more come with the next, and no batch is told in part
	maxMoments  = 2000 // the same of the chart's
	maxShape    = 200  // bytes of a message's that are shown
	minInterval = time.Millisecond
)

// A tally counts exchanges. Two of the same can be added, which a browser does: each answer is
// of a part of the journals.
type tally struct {
	Count  uint64        `json:"count"`
	Errors uint64        `json:"errors"` // requests without a reply, and replies that say error
	In     uint64        `json:"in"`     // bytes of requests
	Out    uint64        `json:"out"`
	Max    time.Duration `json:"max"`   // ns
	Times  [][2]int      `json:"times"` // of a histogram: bucket, and how many replies took so long
	counts map[int]int   // the same, while it grows
}

// add counts an exchange.
func (t *tally) add(x *journal.Exchange, framing *dialect.Framing) {
	t.Count++
	t.In += uint64(len(x.Request)) + x.RequestCut
	t.Out += uint64(len(x.Reply)) + x.ReplyCut
	if x.Request != nil && x.Reply == nil || isError(x.Reply, framing) {
		t.Errors++
	}
	if x.Reply != nil && x.Seq > 0 {
		t.took(x.Took)
	}
}

func (t *tally) took(d time.Duration) {
	if t.counts == nil {
		t.counts = make(map[int]int)
	}
	t.counts[bucketOf(d)]++
	t.Max = max(t.Max, d)
}

// end makes what is told.
func (t *tally) end() {
	t.Times = make([][2]int, 0, len(t.counts))
	for bucket, n := range t.counts {
		t.Times = append(t.Times, [2]int{bucket, n})
	}
	slices.SortFunc(t.Times, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
}

// isError reports whether a reply says so: an error text of Parley, a status of 400 and more, an error of redis
// or memcached.
func isError(reply []byte, framing *dialect.Framing) bool {
	if bytes.HasPrefix(reply, []byte("Error: ")) {
		return true
	}
	switch framing.Name {
	case "redis":
		return bytes.HasPrefix(reply, []byte("-")) || bytes.HasPrefix(reply, []byte("!"))
	case "memcached":
		return bytes.HasPrefix(reply, []byte("ERROR")) || bytes.HasPrefix(reply, []byte("CLIENT_ERROR ")) || bytes.HasPrefix(reply, []byte("SERVER_ERROR "))
	}
	if framing.Status == nil {
		return false
	}
	code, ok := framing.Status(reply)
	return ok && code >= "400"
}

// A group is what has the same shape, or is of one session, one peer, or one reason of ending.
type group struct {
	key     string        // what tells it from others
	Name    []byte        `json:"name"`              // what to show of it
	Session *foundSession `json:"session,omitempty"` // if it is one
	tally
}

// A moment is what came between two times of the chart.
type moment struct {
	At int64 `json:"at"` // µs since 1970, when it begins
	tally
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
}

// stats counts what a question selects, in groups by shape, session, peer or end, and over
// time, for as long as an answer may take.
func (p *Journals) stats(ctx context.Context, q question, v url.Values) (a statsAnswer, err error) {
	c := counting{by: cmp.Or(v.Get("by"), "shape"), groups: make(map[string]*group), moments: make(map[int64]*moment)}
	if !slices.Contains([]string{"shape", "session", "peer", "end"}, c.by) {
		return a, fmt.Errorf("by %q: there are shape, session, peer and end", c.by)
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
	framings := make(map[string]*dialect.Framing)
	for i := range found {
		x := &found[i]
		s := of[x.file][x.one.Session]
		if s == nil {
			s = &journal.Session{ID: x.one.Session, Lost: true}
		}
		name := p.framing(s)
		if framings[name] == nil {
			f, _ := dialect.Parse(name) // one that is not known has no words
			framings[name] = &f
		}
		c.moment(x.one.Received).add(&x.one, framings[name])
		switch c.by {
		case "shape":
			shown := p.shapeOf(&x.one, framings[name])
			c.group(string(shown), shown).add(&x.one, framings[name])
		case "session":
			of := p.foundSession(x.file, s)
			g := c.group(keyOf(x.file, s.ID), []byte(of.Remote))
			g.Session = &of
			g.add(&x.one, framings[name])
		case "peer":
			host := hostOf(s.Remote)
			c.group(host, []byte(host)).add(&x.one, framings[name])
		}
	}
	return next, problems, nil
}

// shapeOf is what the request has in common with others, in the words of its protocol.
func (p *Journals) shapeOf(x *journal.Exchange, framing *dialect.Framing) []byte {
	if x.Request == nil {
		return nil
	}
	text := x.Request[:min(len(x.Request), maxShape)]
	secret := x.Secret && !p.opt.Secrets
	switch {
	case framing.Words != nil:
		text = framing.Words.AppendRequest(nil, dialect.Message{Body: x.Request, Cut: x.RequestCut, Secret: secret})
		text = text[:min(len(text), maxShape)]
	case secret:
		return []byte("(secret)")
	}
	shown := shape.Append(nil, text)
	return shown[:min(len(shown), maxShape)]
}

// hostOf is a peer's address without its port.
func hostOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil && !strings.HasPrefix(remote, "unix:") {
		return host
	}
	return remote
}

// countEnds counts sessions by why they ended, and how long they lasted.
func (p *Journals) countEnds(ctx context.Context, q question, c *counting) (cursors, []problem) {
	found, next, problems := newest(ctx, p, q, statsBatch, (*journal.Reader).NewestSessions, func(s *journal.Session) (int64, time.Time) { return s.ID, s.Opened })
	for i := range found {
		s := &found[i].one
		reason := cmp.Or(s.Reason, journal.ReasonOpen)
		for _, t := range []*tally{&c.group(reason, []byte(reason)).tally, c.moment(s.Opened)} {
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
func (c *counting) moment(at time.Time) *tally {
	width := c.every.Microseconds()
	begin := at.UnixMicro() - at.UnixMicro()%width
	m := c.moments[begin]
	if m == nil {
		m = &moment{At: begin}
		c.moments[begin] = m
	}
	return &m.tally
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
