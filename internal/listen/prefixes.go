package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// prefixes is a set of IP addresses, given by prefixes. IPv4 addresses that are mapped into IPv6
// are those of IPv4.
type prefixes struct {
	bits4, bits6 []int // which lengths there are
	all          map[netip.Prefix]struct{}
}

func newPrefixes() *prefixes { return &prefixes{all: make(map[netip.Prefix]struct{})} }

func (p *prefixes) add(prefix netip.Prefix) {
	p.all[prefix] = struct{}{}
	if bits := p.bitsOf(prefix.Addr()); !slices.Contains(*bits, prefix.Bits()) {
		*bits = append(*bits, prefix.Bits())
	}
}

func (p *prefixes) bitsOf(ip netip.Addr) *[]int {
	if ip.Is4() {
		return &p.bits4
	}
	return &p.bits6
}

// has takes as many looks as there are lengths, however many prefixes there are.
func (p *prefixes) has(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, bits := range *p.bitsOf(ip) {
		prefix, _ := ip.Prefix(bits)
		if _, found := p.all[prefix]; found {
			return true
		}
	}
	return false
}

// parsePrefix understands 10.0.0.0/8 and 2001:db8::/32, and an address alone.
func parsePrefix(s string) (netip.Prefix, error) {
	address, _, isPrefix := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		return netip.Prefix{}, errors.New("this is no address and no prefix, such as 10.0.0.5, 10.0.0.0/8 or 2001:db8::/32")
	}
	if !isPrefix {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("behind the / stands how many bits of the address count, 0 to %d", ip.BitLen())
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("the address has bits behind its first %d; is it %v, or %v alone", prefix.Bits(), prefix.Masked(), ip)
	}
	if ip.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(ip.Unmap(), prefix.Bits()-96)
	}
	return prefix, nil
}

// ipOf is the IP address of one end of a connection; none if it has none, as that of a Unix
// socket.
func ipOf(end net.Addr) (ip netip.Addr, ok bool) {
	tcp, ok := end.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return tcp.AddrPort().Addr().Unmap(), true
}
