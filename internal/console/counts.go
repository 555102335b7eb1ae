package console

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/parley-tcp/parley"
)

// Counts is an observer that counts what a server did, for one line at its end. Its
// zero value is ready.
type Counts struct {
	sessions, probes, requests, in, out, stray, refused, failed, cut atomic.Int64

	mu     sync.Mutex
	faults map[string]int64 // by what stands before the =
}

// Observe counts.
func (c *Counts) Observe(e *parley.Event) {
	switch e.Kind {
	case parley.Opened:
		c.sessions.Add(1)
	case parley.Refused:
		c.refused.Add(1)
		if e.Fault != "" {
			c.countFault(e.Fault)
		}
	case parley.Faulted:
		c.countFault(e.Fault)
	case parley.HandshakeFailed:
		if e.Reason == parley.NoRequest {
			c.probes.Add(1)
		} else {
			c.failed.Add(1)
		}
	case parley.Closed:
		c.requests.Add(int64(e.Seq))
		c.in.Add(int64(e.In))
		c.out.Add(int64(e.Out))
		c.stray.Add(int64(e.Stray))
		switch e.Reason {
		case parley.NoRequest, parley.FirstByteTimeout:
			c.probes.Add(1)
		case parley.DrainCut:
			c.cut.Add(1)
		}
	}
}

func (c *Counts) countFault(fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, _, _ := strings.Cut(fault, "=")
	if c.faults == nil {
		c.faults = make(map[string]int64)
	}
	c.faults[name]++
}

// Wants beginnings and ends, so that counting costs nothing in between; and what is done on purpose.
func (c *Counts) Wants(kind parley.EventKind) bool {
	switch kind {
	case parley.Opened, parley.Refused, parley.HandshakeFailed, parley.Closed, parley.Faulted:
		return true
	}
	return false
}

// String is such as "2 sessions, 0 probes, 4 requests, 60 bytes in, 132 bytes out".
// Requests and bytes are those of sessions that are over; bytes are as they were read and
// written, endings and all. What belonged to no message, was refused, failed or cut is named if
// there was any. Who never sent a byte is a probe, also where a handshake is to come first.
func (c *Counts) String() string { return c.with(parley.Progress{}) }

// with is String where so much is done in sessions that are not over.
func (c *Counts) with(open parley.Progress) string {
	text := plural(c.sessions.Load(), "session") + ", " + plural(c.probes.Load(), "probe") + ", " +
		plural(c.requests.Load()+int64(open.Requests), "request") + ", " + plural(c.in.Load()+int64(open.In), "byte") + " in, " +
		plural(c.out.Load()+int64(open.Out), "byte") + " out"
	if n := c.stray.Load(); n > 0 {
		text += " (" + plural(n, "byte") + " of no message)"
	}
	if n := c.refused.Load(); n > 0 {
		text += ", " + strconv.FormatInt(n, 10) + " refused"
	}
	if n := c.failed.Load(); n > 0 {
		text += ", " + plural(n, "handshake") + " failed"
	}
	if n := c.cut.Load(); n > 0 {
		text += ", " + strconv.FormatInt(n, 10) + " cut"
	}
	return text + c.faulted()
}

// faulted is such as ", 12 faults: 5 reply.delay, 7 reply.drop"; "" if there were none.
func (c *Counts) faulted() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	total, each := int64(0), []string(nil)
	for _, name := range slices.Sorted(maps.Keys(c.faults)) {
		total += c.faults[name]
		each = append(each, strconv.FormatInt(c.faults[name], 10)+" "+name)
	}
	if total == 0 {
		return ""
	}
	return ", " + plural(total, "fault") + ": " + strings.Join(each, ", ")
}

func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}
