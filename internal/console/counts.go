package console

import (
	"strconv"
	"sync/atomic"

	"github.com/parley-tcp/parley"
)

// Counts is an observer that counts what a server did, for one line at its end. Its
// zero value is ready.
type Counts struct {
	sessions, probes, requests, in, out, refused, cut atomic.Int64
}

// Observe counts.
func (c *Counts) Observe(e *parley.Event) {
	switch e.Kind {
	case parley.Opened:
		c.sessions.Add(1)
	case parley.Received:
		c.requests.Add(1)
		c.in.Add(int64(len(e.Body)))
	case parley.Replied:
		c.out.Add(int64(len(e.Body)))
	case parley.Refused:
		c.refused.Add(1)
	case parley.Closed:
		switch e.Reason {
		case parley.NoRequest, parley.FirstByteTimeout:
			c.probes.Add(1)
		case parley.DrainCut:
			c.cut.Add(1)
		}
	}
}

// String is such as "2 sessions, 0 probes, 4 requests, 60 bytes in, 132 bytes out".
// Bytes are those of requests and of replies that were written, without endings. What
// was refused or cut is named if there was any.
func (c *Counts) String() string {
	text := plural(c.sessions.Load(), "session") + ", " + plural(c.probes.Load(), "probe") + ", " +
		plural(c.requests.Load(), "request") + ", " + plural(c.in.Load(), "byte") + " in, " +
		plural(c.out.Load(), "byte") + " out"
	if n := c.refused.Load(); n > 0 {
		text += ", " + strconv.FormatInt(n, 10) + " refused"
	}
	if n := c.cut.Load(); n > 0 {
		text += ", " + strconv.FormatInt(n, 10) + " cut"
	}
	return text
}

func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}
