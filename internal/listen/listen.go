// Package listen opens the ways into a server: TCP addresses, Unix sockets, and listeners that
// whoever started the process has opened already, each in plain or with what stands before a
// session there, TLS or a proxy's header.
//
// A way in plain has a listener that is exactly a *net.TCPListener or *net.UnixListener, which
// event loops can serve. The connections of the others have a HandshakeContext: see
// internal/accept.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Options are what ways need to be opened, beside their addresses.
type Options struct {
	// UnixMode is that of sockets in the file system, from their first moment on; as the
	// process's umask has it if zero.
	UnixMode fs.FileMode

	// Activated is what systemd has passed to the process by a name, at least one socket.
	Activated func(name string) ([]*os.File, error)

	TLS    *tls.Config        // of the ways that have TLS
	Reason func(error) string // says a failure of TLS in words, "" if it is none

	Trust *Trust                // of the ways that begin with a PROXY header: whose is believed
	Allow func(netip.Addr) bool // asked before TLS with the client's IP; everybody is let in if nil
}

// A Listener is a way in that is open.
type Listener struct {
	Way Way
	Net net.Listener // to be served, and closed by that

	raw    net.Listener // below what stands before a session
	socket fs.FileInfo  // in the file system; nil if it is not there, or others have made it
}

// The ends of a start that are not the system's.
var (
	// ErrAlive is that of a Unix socket which somebody serves.
	ErrAlive = errors.New("a server is listening there already")

	// ErrForeign is that of a path at which there is something that no server leaves behind.
	ErrForeign = errors.New("something that is no socket has that name; choose another")

	// ErrStarting is that of a Unix socket whose lock file another process keeps.
	ErrStarting = errors.New("another server is starting there")
)

// An Error is why a way could not be opened.
type Error struct {
	Way Way
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("cannot listen on %v: %v", e.Way, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Open opens all of the ways, or none: then the error is an *Error. The listeners are in the
// order of the ways; one of systemd may have several. Whoever has served them closes each.
func Open(ctx context.Context, ways []Way, opt Options) (listeners []*Listener, err error) {
	opened := make([][]*Listener, len(ways))
	for _, i := range inheritedFirst(ways) {
		if opened[i], err = open(ctx, ways[i], &opt); err != nil {
			closeAll(opened)
			return nil, &Error{ways[i], err}
		}
	}
	for _, of := range opened {
		listeners = append(listeners, of...)
	}
	return listeners, nil
}

// inheritedFirst is the order in which ways are opened: what this process opens takes numbers
// of descriptors, and is not to be taken for what was passed to it.
func inheritedFirst(ways []Way) (order []int) {
	for _, first := range []string{"fd", "systemd", ""} {
		for i, w := range ways {
			isInherited := w.Network == "fd" || w.Network == "systemd"
			if w.Network == first || first == "" && !isInherited {
				order = append(order, i)
			}
		}
	}
	return order
}

func closeAll(opened [][]*Listener) {
	for _, of := range opened {
		for _, l := range of {
			l.Net.Close()
			l.Close()
		}
	}
}

func open(ctx context.Context, w Way, opt *Options) ([]*Listener, error) {
	raw, socket, err := openRaw(ctx, w, opt)
	if err != nil {
		return nil, err
	}
	var listeners []*Listener
	for _, l := range raw {
		listeners = append(listeners, &Listener{Way: w, Net: opt.over(l, w), raw: l, socket: socket})
	}
	return listeners, nil
}

// openRaw opens a way's listeners without what stands before a session there; socket is what it
// has made in the file system.
func openRaw(ctx context.Context, w Way, opt *Options) (raw []net.Listener, socket fs.FileInfo, err error) {
	var l net.Listener
	switch w.Network {
	case "unix":
		l, socket, err = listenUnix(ctx, w.Path, opt.UnixMode)
	case "fd":
		l, err = inherited(w.FD)
	case "systemd":
		raw, err = activated(w.Name, opt)
		return raw, nil, err
	default:
		l, err = config().Listen(ctx, "tcp", net.JoinHostPort(w.Host, w.Port))
	}
	if err != nil {
		return nil, nil, err
	}
	return []net.Listener{l}, socket, nil
}

func config() *net.ListenConfig {
	config := new(net.ListenConfig)
	config.SetMultipathTCP(false) // costs each connection CPU, and hardly a peer asks for it
	return config
}

// activated are the sockets that systemd passed by a name.
func activated(name string, opt *Options) (listeners []net.Listener, err error) {
	if opt.Activated == nil {
		return nil, errors.New("there is no systemd here")
	}
	files, err := opt.Activated(name)
	for _, f := range files {
		if err == nil {
			var l net.Listener
			if l, err = listenerOf(f); err == nil {
				listeners = append(listeners, l)
			}
		}
		f.Close() // the listener has a copy
	}
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return nil, err
	}
	return listeners, nil
}

// over is a listener with what stands before a session on a way.
func (opt *Options) over(l net.Listener, w Way) net.Listener {
	switch {
	case w.Proxy && w.TLS:
		return (&Proxies{Trust: opt.Trust, Allow: opt.Allow, TLS: opt.TLS, Reason: opt.Reason}).Listen(l)
	case w.Proxy:
		return (&Proxies{Trust: opt.Trust, Allow: opt.Allow}).Listen(l)
	case w.TLS:
		return &tlsListener{l, opt}
	}
	return l
}

// Waiting says whether a peer waits to be accepted.
func (l *Listener) Waiting() bool {
	conn, ok := l.raw.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	waits := false
	raw.Control(func(fd uintptr) { waits = isReadable(fd) }) // which does nothing once it is closed
	return waits
}

// Close removes the socket in the file system, if the way has one and it is still its own:
// another server may have replaced it. Net must be closed.
func (l *Listener) Close() error {
	if l.socket == nil {
		return nil
	}
	return removeUnix(l.Way.Path, l.socket)
}
