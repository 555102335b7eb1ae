package fault

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-tcp/parley"
)

// A Layer lies over the connections of one server or tap. Set the fields, and call Observer,
// before the first connection, and leave them alone from then on.
type Layer struct {
	Plan       *Plan          // required
	Framing    parley.Framing // of requests, as of a parley.Server
	Replies    parley.Framing
	MaxMessage int  // longest message that an event has whole, in bytes; parley.DefaultMaxRequest of its framing if zero
	Tap        bool // requests are faulted on their way to Upstream, and told of before; else as they are read

	told     observer
	accepted atomic.Uint64
	links    sync.Map // of *parley.Session to *link, of those that are open
}

func (l *Layer) framing() parley.Framing { return cmp.Or(l.Framing, parley.Lines) }

func (l *Layer) repliesFraming() parley.Framing { return cmp.Or(l.Replies, l.framing()) }

func (l *Layer) most(framing parley.Framing) int {
	return cmp.Or(l.MaxMessage, parley.DefaultMaxRequest(framing))
}

// Observer is what the server or tap is to tell: it tells inner of the same events, naming the
// faults that befell what they tell of, and of faults as Faulted. inner may be nil.
func (l *Layer) Observer(inner parley.Observer) parley.Observer {
	l.told = observer{l, inner}
	return &l.told
}

type observer struct {
	layer *Layer
	inner parley.Observer
}

func (o *observer) wants(kind parley.EventKind) bool {
	chooser, chooses := o.inner.(interface{ Wants(parley.EventKind) bool })
	return o.inner != nil && (chooses && chooser.Wants(kind) || !chooses && kind != parley.Answered)
}

// Wants what inner does, and the ends of sessions.
func (o *observer) Wants(kind parley.EventKind) bool {
	return kind == parley.Closed || o.wants(kind)
}

func (o *observer) Observe(e *parley.Event) {
	if e.Session != nil {
		if k, isOpen := o.layer.links.Load(e.Session); isOpen {
			k.(*link).observe(e)
			return
		}
	}
	if o.wants(e.Kind) {
		o.inner.Observe(e)
	}
}

// Listener lays the layer over the connections of the peers that l accepts, which are to be
// joined to their sessions. Those that are refused it resets.
func (l *Layer) Listener(inner net.Listener) net.Listener { return &listener{inner, l} }

type listener struct {
	net.Listener
	layer *Layer
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.layer.Plan.refuses(l.layer.accepted.Add(1)) {
			return l.layer.Client(conn), nil
		}
		l.layer.refuse(conn)
	}
}

// errRefused is the error of a connection that Plan.Refuse has hit.
var errRefused = errors.New("refused on purpose")

func (l *Layer) refuse(conn net.Conn) {
	if l.told.wants(parley.Refused) {
		now := time.Now()
		l.told.inner.Observe(&parley.Event{
			Kind: parley.Refused, Time: now, Session: parley.NewSession(0, conn.RemoteAddr(), conn.LocalAddr(), now),
			Reason: parley.Fault, Fault: "refuse", Err: errRefused,
		})
	}
	socket := socketOf(conn)
	resetAtClose(socket)
	socket.Close()
}

// Client lays the layer over a peer's connection: replies are faulted as they are written and, but
// of a tap, requests as they are read.
func (l *Layer) Client(conn net.Conn) net.Conn {
	c := newConn(l, conn)
	c.writes, c.stalls = &of{replies}, true
	if !l.Tap {
		c.reads = &of{requests}
	}
	return dressed(c)
}

// Upstream lays the layer over a tap's connection to the server: requests are faulted as they are
// written.
func (l *Layer) Upstream(conn net.Conn) net.Conn {
	c := newConn(l, conn)
	c.writes = &of{requests}
	return dressed(c)
}

// join is the link of a session.
func (l *Layer) join(s *parley.Session) *link {
	if k, ok := l.links.Load(s); ok {
		return k.(*link)
	}
	k, _ := l.links.LoadOrStore(s, newLink(l, s))
	return k.(*link)
}

// What a connection may have beside the methods of a net.Conn, and who looks at it goes by.
type (
	shaker    interface{ HandshakeContext(context.Context) error }
	secured   interface{ ConnectionState() tls.ConnectionState }
	forwarded interface{ Forwarded() *parley.Forwarded }
)

// dressed is a connection with the methods that the one below has.
func dressed(c *Conn) net.Conn {
	h, shakes := c.Conn.(shaker)
	s, isSecure := c.Conn.(secured)
	f, isForwarded := c.Conn.(forwarded)
	switch {
	case shakes && isSecure && isForwarded:
		return &struct {
			*Conn
			shaker
			secured
			forwarded
		}{c, h, s, f}
	case shakes && isSecure:
		return &struct {
			*Conn
			shaker
			secured
		}{c, h, s}
	case shakes && isForwarded:
		return &struct {
			*Conn
			shaker
			forwarded
		}{c, h, f}
	case shakes:
		return &struct {
			*Conn
			shaker
		}{c, h}
	}
	return c
}

// socketOf is the connection of the system that lies below one, or that it is.
func socketOf(conn net.Conn) net.Conn {
	for {
		over, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = over.NetConn()
	}
}

// resetAtClose has the peer see a reset when a connection is closed, where its kind can.
func resetAtClose(socket net.Conn) {
	if tcp, ok := socket.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
}
