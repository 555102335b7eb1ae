package fault

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

// A Conn is a connection with the layer over it. Until it has joined a session, all passes.
type Conn struct {
	net.Conn
	layer         *Layer
	reads, writes *of // what is faulted; nil if nothing is
	stalls        bool
	link          atomic.Pointer[link]

	readUntil, writeUntil deadline
	closing               sync.Once
	closed                chan struct{}
	ended                 atomic.Pointer[Ended] // nil if no fault has ended it
	finished              atomic.Bool           // nothing more is written: what comes is for nobody

	reading sync.Mutex // one at a time; guards what follows
	in      []step     // of what was read and is not taken yet
	readAt  time.Time  // when the next bytes may pass at the rate

	writing sync.Mutex // likewise
	out     []step     // of what a write was to do that was cut off
	owed    []byte     // what it did not write
	writeAt time.Time
}

// of is which direction passes there.
type of struct{ direction }

func newConn(l *Layer, conn net.Conn) *Conn {
	return &Conn{Conn: conn, layer: l, closed: make(chan struct{})}
}

// Join has a session's faults befall what passes from now on. The connection below is told too.
func (c *Conn) Join(s *parley.Session) {
	s.Join(c.Conn)
	c.link.Store(c.layer.join(s))
}

// NetConn is the connection of the system below, and below TLS.
func (c *Conn) NetConn() net.Conn { return socketOf(c.Conn) }

// CloseWrite half-closes the connection below.
func (c *Conn) CloseWrite() error {
	c.finished.Store(true)
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close ends whatever waits.
func (c *Conn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *Conn) SetDeadline(t time.Time) error {
	c.readUntil.set(t)
	c.writeUntil.set(t)
	return c.Conn.SetDeadline(t)
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readUntil.set(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeUntil.set(t)
	return c.Conn.SetWriteDeadline(t)
}

// flow is that of a direction; nil if none is faulted there.
func (k *link) flow(of *of) *flow {
	switch {
	case of == nil:
		return nil
	case of.direction == requests:
		return &k.requests
	}
	return &k.replies
}

// Write writes what becomes of p. What waits for a delay when the deadline comes is not written,
// and not counted: to write the rest goes on there.
func (c *Conn) Write(p []byte) (n int, err error) {
	k := c.link.Load()
	if k == nil {
		return c.Conn.Write(p)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if !bytes.HasPrefix(p, c.owed) { // the rest of what was cut off is given up
		c.out, c.owed = nil, nil
	}
	c.out = append(c.out, k.flow(c.writes).feed(bytes.Clone(p[len(c.owed):]), time.Now())...)
	n, err = c.writeSteps(k)
	n = min(n, len(p))
	c.owed = bytes.Clone(p[n:])
	return n, err
}

func (c *Conn) writeSteps(k *link) (n int, err error) {
	for len(c.out) > 0 {
		if ended := c.ended.Load(); ended != nil {
			return n, ended
		}
		written, err := c.writeStep(k, &c.out[0])
		if n += written; err != nil {
			return n, err
		}
		c.out = c.out[1:]
	}
	if ended := c.ended.Load(); ended != nil {
		return n, ended
	}
	return n, nil
}

// writeStep does a step, and takes off it what is done.
func (c *Conn) writeStep(k *link, s *step) (n int, err error) {
	if err := c.begin(k, c.writes.direction, s, &c.writeUntil); err != nil {
		return 0, err
	}
	for len(s.p) > 0 {
		piece := s.piece()
		if err := c.pace(s, &c.writeAt, len(piece), &c.writeUntil); err != nil {
			return n, err
		}
		written, err := c.Conn.Write(piece)
		s.took(written)
		n += written
		if err != nil {
			return n, err
		}
	}
	n += s.taken // of what is left out
	s.taken = 0
	if s.end != nil {
		return n, c.endBy(s.end)
	}
	return n, nil
}

// Read reads what becomes of what the connection below has.
func (c *Conn) Read(p []byte) (int, error) {
	k := c.link.Load()
	if k == nil || c.reads == nil && (!c.stalls || c.layer.Plan.Stall == 0) {
		return c.readBelow(p)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.finished.Load() && c.ended.Load() != nil || len(p) == 0 {
			return c.readBelow(p)
		}
		if ended := c.ended.Load(); ended != nil {
			return 0, ended
		}
		if len(c.in) == 0 {
			buf := make([]byte, len(p))
			n, err := c.Conn.Read(buf)
			if n == 0 {
				return 0, err
			}
			if flow := k.flow(c.reads); flow != nil {
				c.in = flow.feed(buf[:n], time.Now())
			} else {
				c.in = []step{{p: buf[:n], taken: n}}
			}
			continue // an error comes again
		}
		n := 0
		for n < len(p) && len(c.in) > 0 && (n == 0 || c.in[0].isDue()) {
			read, err := c.readStep(k, &c.in[0], p[n:])
			if n += read; err != nil {
				return n, err
			}
			if len(c.in[0].p) > 0 {
				break // a read of its own for each piece
			}
			if end := c.in[0].end; end != nil {
				if n > 0 {
					return n, nil
				}
				return 0, c.endBy(end)
			}
			c.in = c.in[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
}

// readBelow reads for who is told of the end of a connection that a fault has ended, and then
// waits for that of its peer.
func (c *Conn) readBelow(p []byte) (int, error) {
	if ended := c.ended.Load(); ended != nil && !c.finished.Load() {
		return 0, ended
	}
	return c.Conn.Read(p)
}

// readStep takes some of a step into p.
func (c *Conn) readStep(k *link, s *step, p []byte) (n int, err error) {
	of := requests // of a tap, where nothing but a stall befalls them here
	if err := c.begin(k, of, s, &c.readUntil); err != nil || len(s.p) == 0 {
		return 0, err
	}
	piece := s.piece()
	piece = piece[:min(len(piece), len(p))]
	if err := c.pace(s, &c.readAt, len(piece), &c.readUntil); err != nil {
		return 0, err
	}
	n = copy(p, piece)
	s.took(n)
	return n, nil
}

// begin waits until a step may be taken, and tells of its faults.
func (c *Conn) begin(k *link, of direction, s *step, until *deadline) error {
	if len(s.faults) > 0 {
		k.tell(of, s.faults, s.message)
		s.faults = nil
	}
	if err := c.wait(s.at, until); err != nil {
		return err
	}
	if c.stalls && s.taken > 0 {
		return c.wait(k.stall(time.Now()), until)
	}
	return nil
}

// isDue reports whether what of a step passes does so at once, and as it is.
func (s *step) isDue() bool {
	return !s.at.After(time.Now()) && s.split == 0 && s.rate == 0
}

// piece is what of a step passes next, in one write.
func (s *step) piece() []byte {
	n := len(s.p)
	if s.split > 0 {
		n = min(n, s.split)
	}
	const pieces = 20 // a second
	if s.rate > 0 {
		n = min(n, max(1, s.rate/pieces))
	}
	return s.p[:n]
}

func (s *step) took(n int) {
	s.p = s.p[n:]
	s.taken -= n
}

// pace waits until bytes may pass at the step's rate.
func (c *Conn) pace(s *step, next *time.Time, bytes int, until *deadline) error {
	if s.rate == 0 {
		return nil
	}
	now := time.Now()
	if next.Before(now) {
		*next = now
	}
	takes := time.Duration(int64(bytes) * int64(time.Second) / int64(s.rate))
	if err := c.wait(next.Add(takes), until); err != nil {
		return err
	}
	*next = next.Add(takes)
	return nil
}

// endBy ends the connection: whoever drives it is to close it.
func (c *Conn) endBy(end *Ended) error {
	c.ended.CompareAndSwap(nil, end)
	if end.reset {
		resetAtClose(c.NetConn())
	}
	return end
}

func endOf(err error) *Ended {
	var ended *Ended
	errors.As(err, &ended)
	return ended
}
