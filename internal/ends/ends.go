// Package ends puts together what several have recorded of one connection: its client, its server, taps
// between them. Each message has the time by each one's clock, and how far these are apart is estimated.
package ends

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/parley-tcp/parley/internal/journal"
)

// An End is what one of them has recorded.
type End struct {
	Session   journal.Session
	Exchanges []journal.Exchange
}

// A Connection is one as several have recorded it.
type Connection struct {
	Ends     []End     // from the client to the server
	Clocks   []Clock   // of each
	Messages []Message // in the order of time, as far as the clocks can be compared
}

// A Clock is how far an end's clock is ahead of that of the first end: an estimate, as NTP's. An exchange
// has four times: its request's and its reply's at both. Were both as long on the way, the clock would be
// ahead by the mean of what the two times of the request and those of the reply differ by; at most it is
// wrong by half of the time that both were on the way. It is taken of the exchange for which that is least.
type Clock struct {
	Ahead  time.Duration
	Within time.Duration // the estimate is wrong by this at most, if neither clock was set meanwhile
	Seq    uint64        // of the exchange that it is taken of
	Of     int           // how many exchanges have all four times; 0 if there is no estimate
}

// A Message is a request, a reply, or one that came unasked.
type Message struct {
	Seq      uint64            // of its request; 0 of one that came unasked
	ToServer bool              // it is a request
	At       []time.Time       // by the clock of each end; zero where the end has no record of it
	Exchange *journal.Exchange // of the first end that has it
	End      int               // which that is
}

// Join puts together what was recorded of a connection.
func Join(recorded []End) *Connection {
	c := &Connection{Ends: slices.Clone(recorded)}
	slices.SortStableFunc(c.Ends, func(a, b End) int { return cmp.Compare(place(&a.Session), place(&b.Session)) })
	c.collect()
	c.Clocks = make([]Clock, len(c.Ends))
	for i := 1; i < len(c.Ends); i++ {
		c.Clocks[i] = c.compare(i)
	}
	slices.SortStableFunc(c.Messages, func(a, b Message) int { return c.begun(&a).Compare(c.begun(&b)) })
	return c
}

// place is where an end stands between the client and the server.
func place(s *journal.Session) int {
	switch {
	case s.Role == journal.RoleClient:
		return 0
	case s.LooksOn():
		return 1
	}
	return 2
}

// collect makes the messages of what the ends have.
func (c *Connection) collect() {
	type key struct {
		seq      uint64
		toServer bool
		unasked  int // which of them
	}
	found := make(map[key]int)
	for end := range c.Ends {
		unasked := 0
		add := func(k key, at time.Time, x *journal.Exchange) {
			i, there := found[k]
			if !there {
				i = len(c.Messages)
				found[k] = i
				c.Messages = append(c.Messages, Message{Seq: k.seq, ToServer: k.toServer, At: make([]time.Time, len(c.Ends)), Exchange: x, End: end})
			}
			c.Messages[i].At[end] = at
		}
		for i := range c.Ends[end].Exchanges {
			x := &c.Ends[end].Exchanges[i]
			if x.Request != nil {
				add(key{seq: x.Seq, toServer: true}, x.Received, x)
			}
			switch {
			case x.Reply == nil:
			case x.Seq == 0:
				unasked++
				add(key{unasked: unasked}, x.Received, x)
			default:
				add(key{seq: x.Seq}, x.Received.Add(x.Took), x)
			}
		}
	}
}

// compare estimates the clock of an end.
func (c *Connection) compare(end int) (best Clock) {
	requests := make(map[uint64]*Message)
	for i := range c.Messages {
		if m := &c.Messages[i]; m.ToServer {
			requests[m.Seq] = m
		}
	}
	for i := range c.Messages {
		reply := &c.Messages[i]
		request := requests[reply.Seq]
		if reply.ToServer || reply.Seq == 0 || request == nil || !request.isAt(0, end) || !reply.isAt(0, end) {
			continue
		}
		there, back := request.At[end].Sub(request.At[0]), reply.At[end].Sub(reply.At[0])
		onTheWay := max(there-back, 0) // in both directions
		if best.Of++; best.Of == 1 || onTheWay/2 < best.Within {
			best.Ahead, best.Within, best.Seq = (there+back)/2, onTheWay/2, reply.Seq
		}
	}
	return best
}

func (m *Message) isAt(ends ...int) bool {
	return !slices.ContainsFunc(ends, func(end int) bool { return m.At[end].IsZero() })
}

// begun is when a message was begun to be sent, as far as it is known, by the first end's clock.
func (c *Connection) begun(m *Message) time.Time {
	for i := range m.At {
		end := i
		if !m.ToServer {
			end = len(m.At) - 1 - i
		}
		if m.isAt(end) {
			return c.at(m, end)
		}
	}
	return time.Time{}
}

// at is when a message was at an end, by the first end's clock.
func (c *Connection) at(m *Message, end int) time.Time { return m.At[end].Add(-c.Clocks[end].Ahead) }

// OnTheWay estimates how long a message was on the way from one end to the other. known is false where
// there is no estimate.
func (c *Connection) OnTheWay(m *Message) (took time.Duration, known bool) {
	from, to := 0, len(c.Ends)-1
	if !m.ToServer {
		from, to = to, from
	}
	if !m.isAt(from, to) || c.Clocks[len(c.Ends)-1].Of == 0 {
		return 0, false
	}
	return c.at(m, to).Sub(c.at(m, from)), true
}

// mostLooked is how many exchanges of another end are looked through for those that are wanted.
const mostLooked = 10_000

// Of is the connection of a session of which these exchanges are shown, all or some that follow each
// other. It is nil if nobody else has recorded it.
func Of(ctx context.Context, r *journal.Reader, s journal.Session, exchanges []journal.Exchange) (*Connection, error) {
	others, err := othersOf(ctx, r, s.ID)
	if err != nil || len(others) == 0 {
		return nil, err
	}
	first, last := rangeOf(exchanges)
	if s.Requests <= last {
		last = math.MaxUint64 // what comes behind, others alone have
	}
	recorded := []End{{Session: s, Exchanges: exchanges}}
	for _, other := range others {
		of, from, err := newest(ctx, r, other.ID, first)
		if err != nil {
			return nil, err
		}
		first = max(first, from)
		recorded = append(recorded, End{Session: other, Exchanges: of})
	}
	for i := range recorded {
		recorded[i].Exchanges = slices.DeleteFunc(slices.Clone(recorded[i].Exchanges), func(x journal.Exchange) bool {
			return x.Seq == 0 && first > 1 || x.Seq > 0 && (x.Seq < first || x.Seq > last)
		})
	}
	return Join(recorded), nil
}

// mostEnds are as many as are looked for: a client, a server, and taps between them.
const mostEnds = 8

// othersOf are the other ends of a session, and theirs: a server knows the tap before it, and that the client.
func othersOf(ctx context.Context, r *journal.Reader, id int64) (found []journal.Session, err error) {
	ids := []int64{id}
	for i := 0; i < len(ids) && len(ids) < mostEnds; i++ {
		next, err := r.OtherEnds(ctx, ids[i])
		if err != nil {
			return nil, err
		}
		for _, s := range next {
			if !slices.Contains(ids, s.ID) {
				ids, found = append(ids, s.ID), append(found, s)
			}
		}
	}
	return found, nil
}

// rangeOf are the first and the last number among exchanges; all if there are none.
func rangeOf(exchanges []journal.Exchange) (first, last uint64) {
	first = math.MaxUint64
	for i := range exchanges {
		if seq := exchanges[i].Seq; seq > 0 {
			first, last = min(first, seq), max(last, seq)
		}
	}
	if last == 0 {
		return 1, 0
	}
	return first, last
}

// newest are the exchanges of a session in order, from the number first on or, if there are too many,
// from the number from on.
func newest(ctx context.Context, r *journal.Reader, id int64, first uint64) (found []journal.Exchange, from uint64, err error) {
	lowest := uint64(math.MaxUint64)
	for before := int64(0); ; {
		page, next, err := r.NewestExchanges(ctx, journal.Filter{Session: id}, journal.Span{Before: before, Most: 1000, Within: time.Second})
		if err != nil {
			return nil, 0, err
		}
		found = append(found, page...)
		for i := range page {
			if page[i].Seq > 0 {
				lowest = min(lowest, page[i].Seq)
			}
		}
		switch before = next; {
		case next == 0 || first > 1 && lowest <= first:
			slices.Reverse(found)
			return found, first, nil
		case len(found) >= mostLooked || ctx.Err() != nil:
			slices.Reverse(found)
			return found, lowest, ctx.Err()
		}
	}
}
