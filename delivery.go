package parley

import (
	"math"
	"slices"
	"time"
)

// milestoneEvery is how many bytes are written between two notes of how many replies they are.
const milestoneEvery = 4 << 10

// A delivery is how far the peer has taken what was written to it: a system may hold
// megabytes that the peer does not take.
type delivery struct {
	replied    uint64      // the last request whose reply it has taken, as far as the milestones tell
	milestones []milestone // written and, when last looked, not taken
	untaken    int         // bytes of what is waited for, when last looked
}

// A milestone says up to which request the first bytes that were written are the replies.
type milestone struct{ bytes, replied uint64 }

// addMilestone notes that the reply ends here up to which requests are replied to. That is
// done before and behind each reply with which what is written comes to the next
// milestoneEvery bytes.
func (c *conversation) addMilestone(end uint64) {
	if c.delivery == nil {
		c.delivery = new(delivery)
	}
	d := c.delivery
	if n := len(d.milestones); n == 0 || d.milestones[n-1].bytes < end {
		d.milestones = append(d.milestones, milestone{end, c.replied})
	}
}

// taken notes that the peer has taken all but so many bytes of what was written.
func (c *conversation) taken(untaken int) {
	d := c.delivery
	if d == nil {
		return
	}
	n := 0
	for n < len(d.milestones) && d.milestones[n].bytes+uint64(untaken) <= c.out {
		d.replied = d.milestones[n].replied
		n++
	}
	d.milestones = slices.Delete(d.milestones, 0, n)
}

// awaits reports whether the peer, which has not taken so many bytes of what was written, is
// still to be waited for: while it takes some within WriteTimeout, as when it is written to.
func (c *conversation) awaits(untaken int, now time.Time) bool {
	if untaken == 0 {
		return false
	}
	at := c.since(now)
	if c.delivery == nil {
		c.delivery = new(delivery)
	}
	switch {
	case !c.stalled:
		c.stalled, c.stall, c.progress = true, at, at
	case untaken < c.delivery.untaken:
		c.progress = at
	}
	c.delivery.untaken = untaken
	limit, _ := c.limit()
	return limit == 0 || at < limit
}

// lose notes that the peer will not take so many bytes of what was written. The replies among
// them do not count as such, if it is known where they are.
func (c *conversation) lose(untaken int) {
	if untaken == 0 {
		return
	}
	c.taken(untaken)
	switch {
	case !c.marks:
	case c.delivery != nil:
		c.replied = c.delivery.replied
	default:
		c.replied = 0
	}
	c.out -= min(c.out, uint64(untaken))
}

// countSent counts the replies of a write buffer of which the rest will never be written. Without
// marks they are looked for. Where requests between them had no reply that is too low by as many.
func (c *conversation) countSent(out *writeBuffer) {
	if c.marks || out.replies == 0 {
		return
	}
	seq := out.before
	for rest := out.buf[:out.sent]; seq < out.last; seq++ {
		n, _, err := c.replies.Next(rest, 0, math.MaxInt, false)
		if n == 0 || err != nil {
			break
		}
		rest = rest[n:]
	}
	c.replied = max(c.replied, seq)
}
