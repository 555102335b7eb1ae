// Package dial makes connections as a person expects, and says in words and for programs why
// one could not be made or why no reply came over it.
package dial

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A Dialer connects as a person expects, and says what each step took: the name is looked
// up, its addresses are tried in turn, those of localhost over IPv4 first.
type Dialer struct {
	Network string        // tcp or unix
	Host    string        // a name or an IP address
	Port    string        // a number or the name of a service
	Path    string        // of a Unix socket
	Family  string        // "4" or "6" for one only, "" for any
	Timeout time.Duration // for the lookup and the connection together; none if zero

	// LookupAddrs finds a name's addresses, in the order to try them; the system's
	// resolver if nil. Its network is ip, ip4 or ip6.
	LookupAddrs func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Connect makes a connection; that of a net.Dialer if nil.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
}

// Steps are what it took to connect.
type Steps struct {
	Address string        // the one that answered, else the first that was tried; host:port or unix:PATH
	Lookup  time.Duration // finding the name's addresses; 0 for an address
	Connect time.Duration // connecting to Address alone
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
	won := d.race(ctx, addresses)
	won.steps.Lookup = lookup
	return won.conn, won.steps, won.err
}

// Addresses are those that Dial would try, and how long it took to look them up.
func (d *Dialer) Addresses(ctx context.Context) ([]string, time.Duration, error) {
	if d.Network == "unix" {
		return []string{d.Path}, 0, nil
	}
	if ip, err := netip.ParseAddr(d.Host); err == nil && (d.Family == "" || (d.Family == "4") == ip.Unmap().Is4()) {
		return []string{net.JoinHostPort(ip.Unmap().String(), d.Port)}, 0, nil
	}
	ctx, cancel := d.limit(ctx)
	defer cancel()
	begin := time.Now()
	ips, err := d.lookup(ctx)
	took := time.Since(begin)
	if err != nil {
		return nil, took, err
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = net.JoinHostPort(ip.Unmap().String(), d.Port)
	}
	return addresses, took, nil
}

// DialAddress connects to one of Addresses.
func (d *Dialer) DialAddress(ctx context.Context, address string) (net.Conn, Steps, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	a := d.attempt(ctx, address)
	return a.conn, a.steps, a.err
}

func (d *Dialer) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.Timeout)
}

func (d *Dialer) lookup(ctx context.Context) ([]netip.Addr, error) {
	find := d.LookupAddrs
	if find == nil {
		find = net.DefaultResolver.LookupNetIP
	}
	ips, err := find(ctx, "ip"+d.Family, d.Host)
	if d.Host == "localhost" {
		if err != nil {
			ips, err = d.loopback(), nil
		}
		slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.Unmap().BitLen() - b.Unmap().BitLen() })
	}
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: d.Host, IsNotFound: true}
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

// race tries the addresses in turn: the next is tried beside the others once the last
// has had its head start, and at once when one has failed.
func (d *Dialer) race(ctx context.Context, addresses []string) attempt {
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
