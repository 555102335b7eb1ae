package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// An Allowed is a set of targets that loads may be put on. A name allows that name only, and not its
// addresses under another; an address or a range allows whatever name leads there.
type Allowed []rule

type rule struct {
	name string       // "" of a range
	cidr netip.Prefix // of a name invalid
	port uint16       // 0 is any
}

// ParseAllowed reads host:port, host:*, an address in place of a host, or CIDR:port; IPv6 in brackets.
func ParseAllowed(text string) (Allowed, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" || port == "" {
		return nil, errors.New("write host:port, host:* or CIDR:port, such as db.internal:5432, 10.0.0.0/8:6969 or [2001:db8::/32]:*")
	}
	r := rule{}
	if port != "*" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("port %s: use a number from 1 to 65535, or * for any", port)
		}
		r.port = uint16(n)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		r.cidr = netip.PrefixFrom(ip, ip.BitLen())
		return Allowed{r}, nil
	}
	if strings.Contains(host, "/") {
		if r.cidr, err = netip.ParsePrefix(host); err != nil {
			return nil, fmt.Errorf("%s is no range of addresses; write such as 10.0.0.0/8:%s or [2001:db8::/32]:%[2]s", host, port)
		}
		if r.cidr.Addr().Is4In6() {
			return nil, fmt.Errorf("%s: write a range of IPv4 addresses as such", host)
		}
		return Allowed{r}, nil
	}
	if strings.ContainsAny(host, "*[] ") {
		return nil, fmt.Errorf("%s is no host; a name stands for itself alone", host)
	}
	r.name = strings.ToLower(host)
	return Allowed{r}, nil
}

// connects is the Connect of a dialer to host: it connects only where that is allowed. It looks at the
// address that is connected to, each time: what a name meant before is of no account.
func (a Allowed) connects(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := a.check(host, address); err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

// A notAllowedError is why no load may be put there.
type notAllowedError struct{ host, address string }

func (e *notAllowedError) Error() string {
	shown := e.address
	if ip, _, _ := net.SplitHostPort(e.address); ip != e.host {
		shown = e.host + ", which is " + e.address + " there,"
	}
	return "no --allow-target of it allows " + shown
}

// check says whether an address, to which the name host has led, may be connected to.
func (a Allowed) check(host, address string) error {
	at, err := netip.ParseAddrPort(address)
	ip := at.Addr().Unmap().WithZone("")
	if err != nil || !slices.ContainsFunc(a, func(r rule) bool { return r.allows(strings.ToLower(host), ip, at.Port()) }) {
		return &notAllowedError{host, address}
	}
	return nil
}

func (r rule) allows(host string, ip netip.Addr, port uint16) bool {
	if r.port != 0 && r.port != port {
		return false
	}
	if r.name == "" {
		return r.cidr.Contains(ip)
	}
	// Whoever answers for the name must not make it mean this machine, or its neighbours that nobody names.
	local := ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast()
	return r.name == host && (!local || host == "localhost" && ip.IsLoopback())
}

func (a Allowed) String() string {
	var all []string
	for _, r := range a {
		host, port := r.name, "*"
		if host == "" {
			host = r.cidr.String()
			if r.cidr.IsSingleIP() {
				host = r.cidr.Addr().String()
			}
		}
		if r.port != 0 {
			port = strconv.Itoa(int(r.port))
		}
		all = append(all, net.JoinHostPort(host, port))
	}
	return strings.Join(all, ", ")
}
