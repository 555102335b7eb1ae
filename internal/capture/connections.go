package capture

import (
	"container/list"
	"net/netip"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tap"
)

const (
	maxConnections = 1 << 15   // that are kept in mind; the one that was silent for longest is given up for another
	maxServers     = 1 << 14   // the same of who is known to be a server
	maxHeld        = 128 << 20 // bytes that wait in all connections for others before them
	forgetAfter    = time.Minute
)

// A pair is both ends of a connection, the lower one first.
type pair [2]netip.AddrPort

func pairOf(a, b netip.AddrPort) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// A connection is one of TCP.
type connection struct {
	client, server netip.AddrPort
	streams        [2]stream // of the client and of the server
	session        *parley.Session
	onlooker       *tap.Onlooker // nil once it is over
	answered       bool          // by the server, other than with a reset
	over           time.Time     // when it ended
	place          *list.Element
}

// connections are those that there are.
type connections struct {
	all     map[pair]*connection
	recent  *list.List // of *connection, the one with the latest packet first
	servers map[netip.AddrPort]bool
	held    int // bytes in their streams
	limits
}

// limits are the constants above, and others in tests.
type limits struct{ connections, held, stream int }

func newConnections() connections {
	return connections{
		all: make(map[pair]*connection), recent: list.New(), servers: make(map[netip.AddrPort]bool),
		limits: limits{maxConnections, maxHeld, maxStream},
	}
}

// segment looks at one segment.
func (r *reader) segment(s segment) {
	c := r.connectionOf(&s)
	if c == nil {
		return
	}
	r.recent.MoveToFront(c.place)
	from := tap.Client
	if s.from != c.client {
		from = tap.Server
	}
	r.take(c, from, &s)
}

// connectionOf is the connection that a segment belongs to; nil if it is of none that has anything to say.
func (r *reader) connectionOf(s *segment) *connection {
	c := r.all[pairOf(s.from, s.to)]
	switch {
	case s.syn && !s.hasAck:
		if c != nil && c.client == s.from && c.streams[tap.Client].isFirst(s.seq+1) {
			return c // once more
		}
		return r.begin(c, s.from, s.to)
	case s.syn:
		if c != nil && c.isAnswer(s) {
			return c
		}
		return r.begin(c, s.to, s.from)
	case c != nil && c.onlooker != nil:
		return c
	case len(s.data)+s.missing == 0 || c != nil && r.now.Sub(c.over) < forgetAfter:
		return nil
	}
	r.Midway++
	if r.isServer(s.from, s.to) {
		return r.begin(c, s.to, s.from)
	}
	return r.begin(c, s.from, s.to)
}

// isAnswer reports whether a server's first segment is that of the connection. The client's first may
// have had data.
func (c *connection) isAnswer(s *segment) bool {
	client, server := &c.streams[tap.Client], &c.streams[tap.Server]
	if server.known {
		return server.first == s.seq+1
	}
	return client.known && s.ack-client.first < 1<<16
}

// isServer says which of two ends is likely the server, of a connection whose beginning nobody has
// seen: the one that was a server before, or has the lower port, or else is spoken to first.
func (r *reader) isServer(speaker, other netip.AddrPort) bool {
	if a, b := r.servers[speaker], r.servers[other]; a != b {
		return a
	}
	return speaker.Port() < other.Port()
}

// begin begins a connection where there may have been one before.
func (r *reader) begin(before *connection, client, server netip.AddrPort) *connection {
	if before != nil {
		r.forget(before)
	}
	if len(r.all) >= r.limits.connections {
		r.forget(r.recent.Back().Value.(*connection))
	}
	if len(r.servers) < maxServers {
		r.servers[server] = true
	}
	c := &connection{client: client, server: server}
	c.session = r.session(c)
	c.onlooker = r.tap.Onlook(r.ctx, c.session)
	c.place = r.recent.PushFront(c)
	r.all[pairOf(client, server)] = c
	return c
}

// forget forgets a connection, which goes on without anybody looking if it is not over.
func (r *reader) forget(c *connection) {
	r.leave(c)
	r.recent.Remove(c.place)
	delete(r.all, pairOf(c.client, c.server))
}

// leave has a connection be one whose end nobody sees.
func (r *reader) leave(c *connection) {
	if c.onlooker == nil {
		return
	}
	if r.ctx.Err() == nil {
		r.deliverAll(c)
	}
	if c.onlooker != nil { // its end may have been there
		r.Open++
		c.onlooker.Leave(r.now)
		r.end(c)
	}
}

func (r *reader) leaveAll() {
	for at := r.recent.Back(); at != nil; at = at.Prev() {
		r.leave(at.Value.(*connection))
	}
}

// end notes that a connection is over. It is kept in mind, since some segments may come late.
func (r *reader) end(c *connection) {
	c.onlooker, c.over = nil, r.now
	for i := range c.streams {
		r.held -= c.streams[i].held
		c.streams[i].drop()
	}
}
