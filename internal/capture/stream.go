package capture

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/parley-tcp/parley/internal/tap"
)

const (
	maxStream = 8 << 20 // bytes of one side that wait for others before them
	maxAhead  = 1 << 30 // as far as any window of TCP goes

	// missingAfter is for how long what was acknowledged may still come: captures have packets of
	// several queues a little out of order.
	missingAfter = time.Second

	// heldSegment is what a piece counts for beside its data. It bounds their number too.
	heldSegment = 1 << 10
)

// A stream is what one side says. Places in it count from its first byte, from 0.
type stream struct {
	known bool   // where it begins
	first uint32 // the sequence number of its first byte
	seen  bool   // there was a segment of it
	next  int64  // the place behind what was told
	said  bool   // something of it was told
	ended bool   // its end was

	acked int64     // up to where its peer has it
	since time.Time // since when something before that is waited for

	waiting []piece // in the order of their places
	held    int     // bytes
}

// A piece is what a segment brings.
type piece struct {
	at      int64
	data    []byte
	missing int // bytes behind data
	end     bool
	needs   int64 // up to where its sender had its peer's stream
	when    time.Time
}

func (p *piece) to() int64 { return p.at + int64(len(p.data)) + int64(p.missing) }

func (s *stream) isFirst(seq uint32) bool { return s.known && s.first == seq }

// begin has the stream begin at a sequence number, unless that is known.
func (s *stream) begin(seq uint32) {
	if !s.known {
		s.known, s.first = true, seq
	}
}

// place is that of a sequence number, the nearest to what was told.
func (s *stream) place(seq uint32) int64 {
	return s.next + int64(int32(seq-(s.first+uint32(s.next))))
}

// insert keeps a piece until what is before it was told.
func (s *stream) insert(p piece) {
	p.data = bytes.Clone(p.data)
	i, _ := slices.BinarySearchFunc(s.waiting, p, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.at, b.at), -1) // behind those at the same place
	})
	s.waiting = slices.Insert(s.waiting, i, p)
	s.held += len(p.data) + heldSegment
}

// take takes the first piece off.
func (s *stream) take() piece {
	p := s.waiting[0]
	s.waiting[0] = piece{}
	s.waiting = s.waiting[1:]
	s.held -= len(p.data) + heldSegment
	return p
}

func (s *stream) drop() { s.waiting, s.held = nil, 0 }

// late says whether something that its peer has, or that nobody will ever acknowledge in this
// capture, was not told.
func (s *stream) late(peer *stream) bool {
	return s.next < s.acked || !peer.seen && len(s.waiting) > 0
}

// take looks at a segment of a connection that is not over.
func (r *reader) take(c *connection, from tap.Side, s *segment) {
	own, peer := &c.streams[from], &c.streams[1-from]
	if c.onlooker == nil {
		r.Repeated++
		return
	}
	if s.syn {
		own.begin(s.seq + 1)
		s.seq++
	}
	if s.rst {
		r.reset(c, from)
		return
	}
	own.seen = true
	c.answered = c.answered || from == tap.Server
	own.begin(s.seq)
	p := piece{at: own.place(s.seq), data: s.data, missing: s.missing, end: s.fin, when: r.now}
	if s.hasAck {
		peer.begin(s.ack)
		p.needs = r.acknowledge(c, from, peer, s.ack)
	}
	switch {
	case len(s.data)+s.missing == 0 && !s.fin:
	case p.at > own.next+maxAhead || p.at < own.next-maxAhead:
		r.Outside++
	case p.to() < own.next || p.to() == own.next && (!s.fin || own.ended):
		r.Repeated++
	default:
		before := own.held
		own.insert(p)
		r.held += own.held - before
	}
	r.deliver(c)
}

// acknowledge notes up to where a side has its peer's stream, and returns that.
func (r *reader) acknowledge(c *connection, from tap.Side, peer *stream, ack uint32) int64 {
	to := peer.place(ack)
	if to > peer.next+maxAhead || to < peer.next {
		return 0
	}
	if peer.acked = max(peer.acked, to); !peer.seen && peer.next < to { // nor will it be
		r.miss(c, 1-from, to)
	}
	return to
}

// deliver tells what can be told of a connection, and gives up what has been waited for too long.
func (r *reader) deliver(c *connection) {
	r.deliverReady(c)
	for c.onlooker != nil && r.giveUp(c) {
		r.deliverReady(c)
	}
}

// deliverAll tells all that there is.
func (r *reader) deliverAll(c *connection) {
	r.deliverReady(c)
	for c.onlooker != nil && (r.advance(c, tap.Client) || r.advance(c, tap.Server)) {
		r.deliverReady(c)
	}
}

// giveUp gives up what one of the two streams has been waiting for, if it is time, and reports
// whether it did.
func (r *reader) giveUp(c *connection) bool {
	for side := range c.streams {
		s := &c.streams[side]
		tooMuch := s.held > r.limits.stream || r.held > r.limits.held && s.held > 0
		if !s.late(&c.streams[1-side]) && !tooMuch {
			s.since = time.Time{}
			continue
		}
		if s.since.IsZero() {
			s.since = r.now
		}
		if (tooMuch || r.now.Sub(s.since) >= missingAfter) && r.advance(c, tap.Side(side)) {
			s.since = time.Time{}
			return true
		}
	}
	return false
}

// deliverReady tells what follows what was told, each side no further than the other lets it.
func (r *reader) deliverReady(c *connection) {
	for told := true; told; {
		told = false
		for side := range c.streams {
			own, peer := &c.streams[side], &c.streams[1-side]
			for c.onlooker != nil && len(own.waiting) > 0 && own.waiting[0].at <= own.next && own.waiting[0].needs <= peer.next {
				r.tell(c, tap.Side(side))
				told = true
			}
		}
	}
}

// advance gives up what a stream waits for: bytes before what there is of it, or before what its
// peer has; or else something of its peer. It reports whether it waited.
func (r *reader) advance(c *connection, side tap.Side) bool {
	s := &c.streams[side]
	switch {
	case len(s.waiting) > 0 && s.waiting[0].at <= s.next:
		r.tell(c, side)
	case len(s.waiting) > 0 && (s.acked <= s.next || s.waiting[0].at <= s.acked):
		r.miss(c, side, s.waiting[0].at)
	case s.next < s.acked:
		r.miss(c, side, s.acked)
	default:
		return false
	}
	return true
}

// tell tells a side's first piece, of which what it begins with may have been told.
func (r *reader) tell(c *connection, side tap.Side) {
	s := &c.streams[side]
	before := s.held
	p := s.take()
	r.held += s.held - before
	known := s.next - p.at
	if data := p.data; known < int64(len(data)) {
		r.say(c, side, data[known:], p.when)
	}
	r.miss(c, side, p.to())
	if p.end && p.to() == s.next && !s.ended {
		s.ended = true
		s.next++ // as the sequence numbers do
		if c.onlooker.End(side, p.when) {
			r.end(c)
		}
	}
}

func (r *reader) say(c *connection, side tap.Side, data []byte, when time.Time) {
	s := &c.streams[side]
	if !s.said && r.opt.First != nil {
		r.opt.First(side == tap.Server, data)
	}
	s.said = true
	s.next += int64(len(data))
	c.onlooker.Say(side, data, when)
}

// miss has what is before a place be missing, unless it was told.
func (r *reader) miss(c *connection, side tap.Side, to int64) {
	s := &c.streams[side]
	n := to - s.next
	if n <= 0 {
		return
	}
	at := s.next
	s.next = to
	r.Gaps++
	r.Missing += uint64(n)
	c.onlooker.Miss(side, uint64(n), time.Time{}) // with what was said last
	if r.opt.Gap != nil {
		name := "client"
		if side == tap.Server {
			name = "server"
		}
		r.opt.Gap(c.session, fmt.Sprintf("%d bytes from the %s's byte %d on are missing", n, name, at))
	}
}

// reset ends a connection that one side has reset.
func (r *reader) reset(c *connection, by tap.Side) {
	r.deliverAll(c)
	switch {
	case c.onlooker == nil:
		return
	case by == tap.Server && !c.answered:
		c.onlooker.Unreachable(r.now)
	default:
		c.onlooker.Reset(by, r.now)
	}
	r.end(c)
}
