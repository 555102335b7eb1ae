package accept

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Handshaker is a connection on which something has to be agreed, such as TLS, before there
// can be a session on it.
type Handshaker interface {
	net.Conn

	// HandshakeContext returns once that is agreed, or cannot be: then the connection is of no
	// further use. It is io.EOF if the peer ended and had not sent a byte.
	HandshakeContext(ctx context.Context) error
}

// PlainText is what a peer is told, in a line, that does not speak TLS where that is spoken.
const PlainText = "Error: this port speaks TLS, and what came is not TLS\n"

// ErrBusy is the end of a connection while as many others as may are at their handshakes.
var ErrBusy = errors.New("too many handshakes at once")

// ErrBusyFrom is that end while as many of its address as may are.
var ErrBusyFrom = errors.New("too many handshakes at once from its address")

// Handshakes are those that have begun and are not over. Set the fields before the first.
type Handshakes struct {
	Limit   int             // at once
	PerIP   int             // of those, from one address; as many as Limit if zero
	Timeout time.Duration   // of each; none if negative
	Context context.Context // whose end ends all of them

	mu      sync.Mutex
	pending int
	from    map[netip.Prefix]int // with PerIP, how many of them
}

// Shake shakes hands on a connection from an address, which is the zero Prefix if it counts as
// none. If there is an error it has closed the connection;
// context.DeadlineExceeded is that of the timeout, and context.Canceled that of a stop.
func (h *Handshakes) Shake(conn Handshaker, from netip.Prefix) error {
	if err := h.begin(from); err != nil {
		conn.Close()
		return err
	}
	defer h.end(from)
	ctx := h.Context
	if h.Timeout > 0 {
		timed, cancel := context.WithTimeout(ctx, h.Timeout)
		defer cancel()
		ctx = timed
	}
	err := conn.HandshakeContext(ctx)
	if err == nil {
		return nil
	}
	plain := tls.RecordHeaderError{}
	switch isPlain := errors.As(err, &plain) && plain.Conn != nil; {
	case ctx.Err() != nil:
		err = ctx.Err()
	case isPlain:
		hangUp(plain.Conn, PlainText)
	case err != io.EOF:
		hangUp(below(conn), "")
	}
	conn.Close()
	return err
}

// below is the connection of the system that others lie over.
func below(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}

// Pending is how many there are.
func (h *Handshakes) Pending() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending
}

func (h *Handshakes) begin(from netip.Prefix) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := h.PerIP > 0 && from.IsValid()
	switch {
	case h.pending >= h.Limit:
		return ErrBusy
	case counts && h.from[from] >= h.PerIP:
		return ErrBusyFrom
	case counts && h.from == nil:
		h.from = make(map[netip.Prefix]int)
	}
	h.pending++
	if counts {
		h.from[from]++
	}
	return nil
}

func (h *Handshakes) end(from netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending--
	if h.from[from] > 1 {
		h.from[from]--
	} else {
		delete(h.from, from)
	}
}

const (
	hangUpTime  = time.Second
	hangUpBytes = 1 << 20
)

// hangUp tells a peer something, and waits for it to have read that, and the alert that TLS has
// sent: what it sent and nobody reads would turn the end into a reset, which eats both.
func hangUp(conn net.Conn, text string) {
	conn.SetDeadline(time.Now().Add(hangUpTime))
	if _, err := io.WriteString(conn, text); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	io.Copy(io.Discard, io.LimitReader(conn, hangUpBytes))
}
