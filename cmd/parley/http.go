package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/parley-tcp/parley/internal/listen"
	"github.com/parley-tcp/parley/internal/secure"
)

const minToken = 16 // characters: guessing is hopeless without any counting of failures

// checkToken says what is wrong with the token that a flag gives.
func checkToken(flag, token string) error {
	if token != "" && len(token) < minToken {
		return usageError("--%s: too short to be safe; use %d characters or more", flag, minToken)
	}
	return nil
}

// An httpPlace is where something listens for HTTP.
type httpPlace struct {
	net.Listener
	names  []string // by which it may be asked for
	isOpen bool     // others than this host can reach it
	url    string   // it for a browser
	close  func()   // takes a Unix socket out of the file system
}

// listen listens at an address, of this host only if none is named.
func (f *httpTLSFlags) listen(ctx context.Context, address string) (*httpPlace, error) {
	at, err := parseAddress(address, "")
	if err != nil {
		return nil, usageError("--%s: %w", f.of, err)
	}
	if at.network == "tcp" && at.host == "" {
		at.host = "127.0.0.1"
	}
	ways := []listen.Way{{Network: at.network, Host: at.host, Port: at.port, Path: at.path}}
	opened, err := listen.Open(ctx, ways, listen.Options{UnixMode: 0o600})
	if err != nil {
		return nil, usageError("--%s: %w", f.of, explainWay(err, nil))
	}
	place := &httpPlace{Listener: opened[0].Net, close: func() { opened[0].Close() }}
	scheme := "http"
	if f.identity != nil {
		scheme, place.Listener = "https", tls.NewListener(place.Listener, f.identity.Config())
	}
	bound, isTCP := place.Addr().(*net.TCPAddr)
	if !isTCP {
		place.url = boundAddress(place.Addr())
		return place, nil
	}
	host := at.host
	place.names = namesOf(host)
	if bound.IP.IsUnspecified() {
		machine, _ := os.Hostname() // a machine may have no name
		host = f.ownHost(bound, machine)
		place.names = namesOf(machine)
	}
	place.isOpen = !bound.IP.IsLoopback()
	place.url = fmt.Sprintf("%s://%s/", scheme, net.JoinHostPort(host, fmt.Sprint(bound.Port)))
	return place, nil
}

// namesOf is by which names a place goes: the host, if it is one.
func namesOf(host string) []string {
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return nil
	}
	return []string{host}
}

// ownHost is what a browser on another machine is to ask for, of what is at all addresses: the address
// from which this machine reaches others, or its name if the certificate is for that one alone.
func (f *httpTLSFlags) ownHost(bound *net.TCPAddr, machine string) string {
	var known []string
	if ip, ok := outboundIP(bound); ok {
		known = append(known, ip.String())
	}
	if secure.CheckName(machine) == nil {
		known = append(known, machine)
	}
	known = append(known, "localhost")
	if i := slices.IndexFunc(known, f.covers); i >= 0 {
		return known[i]
	}
	return known[0]
}

// outboundIP is the address from which packets to the rest of the world go. None is sent: connecting
// a socket of UDP only looks the route up.
func outboundIP(bound *net.TCPAddr) (netip.Addr, bool) {
	for _, far := range []struct{ network, addr string }{{"udp4", "192.0.2.1:9"}, {"udp6", "[2001:db8::1]:9"}} { // of documentation
		if far.network == "udp6" && bound.IP.To4() != nil {
			break
		}
		conn, err := net.Dial(far.network, far.addr)
		if err != nil {
			continue
		}
		ip := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		conn.Close()
		if ip.Zone() == "" {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
