// Package dial makes connections as a person expects, and says in words and for programs why
// one could not be made or why no reply came over it.
package dial

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A Dialer connects as a person expects, and says what each step took: the name is looked
// up, its addresses are tried in turn, those of localhost over IPv4 first. On the first
// connection that is made goes what is to come before the conversation: the way through a proxy,
// the header of the PROXY protocol, STARTTLS and TLS, in this order.
type Dialer struct {
	Network string        // tcp or unix
	Host    string        // a name or an IP address; of a Unix socket the name that its certificate has
	Port    string        // a number or the name of a service
	Path    string        // of a Unix socket
	Family  string        // "4" or "6" for one only, "" for any; with Via that of the way to the proxy
	Timeout time.Duration // for all of it together; none if zero

	// Via is a proxy that connects to Host and looks up its name: a URL with the scheme socks5,
	// socks5h (which is the same), http or https, and a user and a password if it wants them. Nil
	// for none.
	Via *url.URL

	// SendProxy is the version of the PROXY protocol, 1 or 2, whose header is sent first; 0 for
	// none. It says that the connection comes from Source and is for Destination, which are its
	// own addresses if nil.
	SendProxy           int
	Source, Destination net.Addr

	// StartTLS is the protocol, one of StartTLSProtocols, in whose words the server is asked to go on
	// with TLS, if it does not begin with it; "" if it does. It needs TLS.
	StartTLS string

	// TLS has the connection made a *tlsconn.Conn; nil for plain. If it has no ServerName it is Host.
	TLS *tls.Config

	// LookupAddrs finds a name's addresses, in the order to try them; the system's
	// resolver if nil. Its network is ip, ip4 or ip6.
	LookupAddrs func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Connect makes a connection; that of a net.Dialer if nil.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// Steps are what it took to connect.
type Steps struct {
	Address  string        // the one that answered, else the first that was tried; host:port or unix:PATH
	Lookup   time.Duration // finding the name's addresses; 0 for an address, and with Via
	Connect  time.Duration // connecting to Address alone; with Via all that it took
	StartTLS time.Duration // asking for TLS; 0 if it was not asked for
	TLS      time.Duration // the handshake; 0 if there was none
}

// headStart is what each address has before the next is tried beside it: an address
// that is dead costs that much, not the timeout (RFC 8305, section 5).
const headStart = 250 * time.Millisecond

// Dial connects to the first address that answers. If none does the error is that of
// the first.
func (d *Dialer) Dial(ctx context.Context) (net.Conn, Steps, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	addresses, lookup, err := d.Addresses(ctx)
	if err != nil {
		return nil, Steps{Lookup: lookup}, err
	}
	won := d.reach(ctx, addresses)
	won.steps.Lookup = lookup
	return d.open(ctx, won)
}

// Addresses are those that Dial would try, and how long it took to look them up.
func (d *Dialer) Addresses(ctx context.Context) ([]string, time.Duration, error) {
	switch {
	case d.Network == "unix":
		return []string{d.Path}, 0, nil
	case d.Via != nil:
		return []string{net.JoinHostPort(d.Host, d.Port)}, 0, nil
	}
	return d.addresses(ctx, d.Host, d.Port)
}

func (d *Dialer) addresses(ctx context.Context, host, port string) ([]string, time.Duration, error) {
	if ip, err := netip.ParseAddr(host); err == nil && (d.Family == "" || (d.Family == "4") == ip.Unmap().Is4()) {
		return []string{net.JoinHostPort(ip.Unmap().String(), port)}, 0, nil
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	begin := time.Now()
	ips, err := d.lookup(ctx, host)
	took := time.Since(begin)
	if err != nil {
		return nil, took, err
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = net.JoinHostPort(ip.Unmap().String(), port)
	}
	return addresses, took, nil
}

// DialAddress connects to one of Addresses.
func (d *Dialer) DialAddress(ctx context.Context, address string) (net.Conn, Steps, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	return d.open(ctx, d.reach(ctx, []string{address}))
}

func (d *Dialer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.Timeout)
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	find := d.LookupAddrs
	if find == nil {
		find = net.DefaultResolver.LookupNetIP
	}
	ips, err := find(ctx, "ip"+d.Family, host)
	if host == "localhost" {
		if err != nil {
			ips, err = d.loopback(), nil
		}
		slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.Unmap().BitLen() - b.Unmap().BitLen() })
	}
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, err
}

// loopback is localhost where no file and no server says so, such as in a scratch image
// (RFC 6761, section 6.3).
func (d *Dialer) loopback() []netip.Addr {
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	switch d.Family {
	case "4":
		return []netip.Addr{v4}
	case "6":
		return []netip.Addr{v6}
	}
	return []netip.Addr{v4, v6}
}

// An attempt is how connecting to one address went.
type attempt struct {
	turn  int // of its address
	conn  net.Conn
	steps Steps
	err   error
}

func (d *Dialer) attempt(ctx context.Context, address string) attempt {
	connect := d.Connect
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	begin := time.Now()
	conn, err := connect(ctx, d.Network, address)
	took := time.Since(begin)
	if d.Network == "unix" {
		address = "unix:" + address
	}
	return attempt{conn: conn, steps: Steps{Address: address, Connect: took}, err: err}
}

// reach connects to one of the addresses, or through the proxy to the only one.
func (d *Dialer) reach(ctx context.Context, addresses []string) attempt {
	if d.Via != nil && d.Network != "unix" {
		return d.through(ctx, addresses[0])
	}
	return d.race(ctx, addresses)
}

// open does on a connection that was made what is to come before the conversation.
func (d *Dialer) open(ctx context.Context, made attempt) (net.Conn, Steps, error) {
	if made.err != nil {
		return nil, made.steps, made.err
	}
	conn, err := d.prepare(ctx, made.conn, &made.steps)
	if err != nil {
		made.conn.Close()
		return nil, made.steps, err
	}
	return conn, made.steps, nil
}

func (d *Dialer) prepare(ctx context.Context, conn net.Conn, steps *Steps) (net.Conn, error) {
	if d.SendProxy > 0 {
		if err := d.sendProxy(ctx, conn); err != nil {
			return nil, err
		}
	}
	if d.TLS == nil {
		return conn, nil
	}
	if d.StartTLS != "" {
		begin := time.Now()
		err := startTLS(ctx, conn, d.StartTLS)
		if steps.StartTLS = time.Since(begin); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	secured, err := d.Handshake(ctx, conn)
	if steps.TLS = time.Since(begin); err != nil {
		return nil, err
	}
	return secured, nil
}

// race tries the addresses in turn: the next is tried beside the others once the last
// has had its head start, and at once when one has failed.
func (d *Dialer) race(ctx context.Context, addresses []string) attempt {
	if len(addresses) == 1 { // needs no goroutine
		return d.attempt(ctx, addresses[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan attempt, len(addresses))
	var running sync.WaitGroup
	defer func() {
		cancel()
		running.Wait()
		close(ended)
		for late := range ended {
			if late.conn != nil {
				late.conn.Close()
			}
		}
	}()

	var first attempt
	next := time.NewTimer(0)
	defer next.Stop()
	for started, failed := 0, 0; ; {
		select {
		case <-next.C:
		case a := <-ended:
			if a.err == nil {
				return a
			}
			if a.turn == 0 {
				first = a
			}
			if failed++; failed == len(addresses) {
				return first
			}
		}
		if started < len(addresses) {
			turn := started
			started++
			running.Go(func() {
				a := d.attempt(ctx, addresses[turn])
				a.turn = turn
				ended <- a
			})
			next.Reset(headStart)
		}
	}
}
