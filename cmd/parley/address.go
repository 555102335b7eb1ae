package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"
)

const defaultPort = "6969"

// An address is what the first word of a command names.
type address struct {
	network string // tcp or unix
	host    string // as typed; empty if it was not
	port    string // a number or a service name
	path    string // of a Unix socket
}

// addressOf reads the first of a command's words, and looks at the second only for a
// better error. No word at all is port 6969.
func addressOf(args []string) (address, error) {
	word, next := "", ""
	if len(args) > 0 {
		if word = args[0]; word == "" {
			return address{}, usageError("the address is empty; leave it out for port %s", defaultPort)
		}
	}
	if len(args) > 1 {
		next = args[1]
	}
	return parseAddress(word, next)
}

// parseAddress reads 6969, :6969, host:port, [v6]:port or unix:PATH. No word at all
// is port 6969. next is the word behind it, if there is one, for a better error.
func parseAddress(word, next string) (address, error) {
	if path, ok := strings.CutPrefix(word, "unix:"); ok {
		if path == "" {
			return address{}, usageError("address %q: a path is missing; write unix:/run/parley.sock", word)
		}
		return address{network: "unix", path: path}, nil
	}
	if word == "" {
		return address{network: "tcp", port: defaultPort}, nil
	}
	if isNumber(word) {
		return checkPort(word, address{network: "tcp", port: word})
	}
	host, port, err := net.SplitHostPort(word)
	switch {
	case err == nil && port == "":
		return address{}, usageError("address %q: the port is missing; write %s", word, net.JoinHostPort(host, defaultPort))
	case err == nil:
		return checkPort(word, address{network: "tcp", host: host, port: port})
	case isNumber(next):
		return address{}, usageError("address %q has no port; did you mean %s?", word, net.JoinHostPort(bare(word), next))
	default:
		return address{}, usageError("address %q has no port; write %s", word, net.JoinHostPort(bare(word), defaultPort))
	}
}

// bare takes off the brackets that an IPv6 address may have been typed in.
func bare(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func checkPort(word string, a address) (address, error) {
	if !isNumber(a.port) {
		if _, err := net.LookupPort("tcp", a.port); err != nil {
			return address{}, usageError("address %q: no service is called %q; use a port number", word, a.port)
		}
		return a, nil
	}
	if n, err := strconv.Atoi(a.port); err != nil || n > 65535 {
		return address{}, usageError("address %q: port %s is out of range; ports go from 0 to 65535", word, a.port)
	}
	return a, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// listen opens the address for a server: all addresses, IPv6 and IPv4, if no host
// was typed.
func (a address) listen(ctx context.Context) (net.Listener, error) {
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // costs each connection CPU, and hardly a peer asks for it
	at := a.path
	if a.network == "tcp" {
		at = net.JoinHostPort(a.host, a.port)
	}
	return config.Listen(ctx, a.network, at)
}

// target is the address to dial, as it is shown: the host as it was typed.
func (a address) target() string {
	if a.network == "unix" {
		return "unix:" + a.path
	}
	host := a.host
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, a.port)
}

// A dialer connects as a person expects: localhost is tried over IPv4 first.
type dialer struct {
	family  string // "4" or "6" for one only, "" for any
	timeout time.Duration
}

func (d dialer) dial(ctx context.Context, network, at string) (net.Conn, error) {
	plain := net.Dialer{Timeout: d.timeout}
	if network == "unix" {
		return plain.DialContext(ctx, network, at)
	}
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	if host != "localhost" || d.family != "" {
		return plain.DialContext(ctx, network+d.family, at)
	}
	conn, err := plain.DialContext(ctx, network+"4", at)
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	conn, err6 := plain.DialContext(ctx, network+"6", at)
	if err6 != nil {
		// The first failure is the telling one: IPv6 may just not be there.
		return nil, err
	}
	return conn, nil
}

// explainDial says in words why a connection could not be made.
func explainDial(target string, timeout time.Duration, err error) error {
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return networkError("cannot connect to %s: unknown host %q", target, dns.Name)
	case errors.As(err, &dns):
		return networkError("cannot connect to %s: the name could not be looked up: %v", target, dns.Err)
	case errors.As(err, &netErr) && netErr.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return networkError("cannot connect to %s: no answer within %v", target, timeout)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return networkError("cannot connect to %s: %v", target, plainly(err))
}
