package web

import (
	"context"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/ends"
	"github.com/parley-tcp/parley/internal/journal"
)

// A connection is one as several have recorded it.
type connection struct {
	Ends     []connectionEnd     `json:"ends"` // from the client to the server
	Messages []connectionMessage `json:"messages"`
}

// A connectionEnd is one who has recorded it.
type connectionEnd struct {
	session
	Who   string `json:"who"`   // client, tap or server, and the session's name there: server web-2/17
	Clock string `json:"clock"` // how far its clock is ahead of the first one's, in words; empty of the first
}

// A connectionMessage is a request, a reply, or one that came unasked, with the times by the ends' clocks.
type connectionMessage struct {
	Seq      uint64   `json:"seq"`
	ToServer bool     `json:"to_server"`
	At       []int64  `json:"at"`       // µs since 1970; 0 where the end has no record of it
	Missing  []string `json:"missing"`  // what that means there; empty where the time is
	OnTheWay string   `json:"on_way"`   // an estimate, in words; empty where there is none
	Message  *message `json:"message"`  //
	Exchange int64    `json:"exchange"` // its ID
}

// connection is that of a session of which exchanges are told; nil if nobody else has recorded it.
func (p *Journals) connection(ctx context.Context, r *journal.Reader, s journal.Session, exchanges []journal.Exchange) (*connection, error) {
	limited, cancel := context.WithTimeout(ctx, 2*p.within)
	defer cancel()
	joined, err := ends.Of(limited, r, s, exchanges)
	if limited.Err() != nil && ctx.Err() == nil {
		return nil, nil // it takes too long to look for: the session is told alone
	}
	if joined == nil || err != nil {
		return nil, err
	}
	c := &connection{Messages: []connectionMessage{}}
	for i := range joined.Ends {
		of := &joined.Ends[i].Session
		end := connectionEnd{session: sessionOf(*of), Who: console.EndName(of)}
		if i > 0 {
			end.Clock = console.AboutClock(joined, i)
		}
		c.Ends = append(c.Ends, end)
	}
	said := wordingOf(p.framing(&s), p.opt.Secrets)
	for i := range joined.Messages {
		m := &joined.Messages[i]
		x := said.exchange(s.Number, *m.Exchange, maxMessage)
		told := connectionMessage{Seq: m.Seq, ToServer: m.ToServer, Message: x.Reply, Exchange: m.Exchange.ID, At: make([]int64, len(m.At)), Missing: make([]string, len(m.At))}
		if m.ToServer {
			told.Message = x.Request
		}
		for end, at := range m.At {
			if at.IsZero() {
				told.Missing[end] = console.Missing(joined, m, end)
			} else {
				told.At[end] = at.UnixMicro()
			}
		}
		if took, known := joined.OnTheWay(m); known {
			told.OnTheWay = console.SignedSpan(took)
		}
		c.Messages = append(c.Messages, told)
	}
	return c, nil
}
