package main

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/listen"
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
	switch {
	case len(args) == 0:
		return address{network: "tcp", port: defaultPort}, nil
	case args[0] == "":
		return address{}, usageError("the address is empty; leave it out for port %s", defaultPort)
	case len(args) == 1:
		return parseAddress(args[0], "")
	}
	return parseAddress(args[0], args[1])
}

// parseAddress reads 6969, :6969, host:port, [v6]:port or unix:PATH. next is the word behind it,
// if there is one, for a better error.
func parseAddress(word, next string) (address, error) {
	if path, ok := strings.CutPrefix(word, "unix:"); ok {
		if path == "" {
			return address{}, usageError("address %q: a path is missing; write unix:/run/parley.sock", word)
		}
		if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > most {
			return address{}, usageError("address %q: the path of a socket can be %d bytes long at most; this one has %d", word, most, len(path))
		}
		return address{network: "unix", path: path}, nil
	}
	switch way, rest, err := listen.Prefix(word, listen.Way{}); {
	case word == "":
		return address{}, usageError("the address is empty; write one such as localhost:%s", defaultPort)
	case err == nil && rest != word && strings.Contains(rest, ":"): // else a host may be called so
		return address{}, usageError("address %q: %s is for where to listen; write %s%s", word, strings.TrimSuffix(word, rest), rest, flagsOfPrefix(way))
	case strings.Contains(word, "://"):
		return address{}, usageError("address %q is a URL; write its host and port alone, such as localhost:%s", word, defaultPort)
	case strings.Contains(word, "/"):
		return address{}, usageError("address %q looks like a path; write unix:%s for a socket there", word, word)
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
	case strings.Count(bare(word), ":") > 1 && !isIPv6(bare(word)):
		return address{}, usageError("address %q has too many colons; write host:port or [v6]:port", word)
	case isNumber(next):
		return address{}, usageError("address %q has no port; did you mean %s?", word, net.JoinHostPort(bare(word), next))
	default:
		return address{}, usageError("address %q has no port; write %s", word, net.JoinHostPort(bare(word), defaultPort))
	}
}

// flagsOfPrefix are the flags that do on the way out what a prefix does on the way in.
func flagsOfPrefix(way listen.Way) string {
	var flags []string
	if way.Proxy {
		flags = append(flags, "--send-proxy")
	}
	if way.TLS {
		flags = append(flags, "--tls (of tap --upstream-tls)")
	}
	if len(flags) == 0 {
		return ""
	}
	return ", with " + strings.Join(flags, " and ")
}

// bare takes off the brackets that an IPv6 address may have been typed in.
func bare(host string) string {
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func isIPv6(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Is6()
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

// target is the address to dial, as it is shown: the host as it was typed.
func (a address) target() string {
	if a.network == "unix" {
		return "unix:" + a.path
	}
	return net.JoinHostPort(a.dialled(), a.port)
}

// dialled is the host to dial: this one if none was typed.
func (a address) dialled() string { return cmp.Or(a.host, "localhost") }

// dialer connects to the address within the timeout, over "4" or "6" alone or over any.
func (a address) dialer(family string, timeout time.Duration) dial.Dialer {
	return dial.Dialer{Network: a.network, Host: a.dialled(), Port: a.port, Path: a.path, Family: family, Timeout: timeout}
}

// dial connects to the address; its error says so in words.
func (a address) dial(ctx context.Context, timeout time.Duration) (net.Conn, error) {
	dialer := a.dialer("", timeout)
	conn, _, err := dialer.Dial(ctx)
	if err != nil {
		return nil, explainDial(a.target(), timeout, err)
	}
	return conn, nil
}

// family is what --ipv4 and --ipv6 ask for.
func family(only4, only6 bool) string {
	switch {
	case only4:
		return "4"
	case only6:
		return "6"
	}
	return ""
}

// explainDial is the error of a connection that could not be made.
func explainDial(target string, timeout time.Duration, err error) error {
	return networkError("%s", dial.WhyNotConnected(target, timeout, err))
}
