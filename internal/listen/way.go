package listen

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A Way is one way in: where to listen, and what stands before a session there.
type Way struct {
	Network    string // "tcp", "unix", "fd" or "systemd"
	Host, Port string // of tcp; without a host it is all addresses
	Bare       bool   // no host was typed, whatever it is
	Path       string // of unix; one that begins with @ is in no file system (Linux)
	FD         int    // the number of a descriptor
	Name       string // by which systemd knows sockets

	Proxy bool // a PROXY header comes first
	TLS   bool // then TLS is spoken
}

// String is the way as it can be typed, but for a prefix.
func (w Way) String() string {
	switch w.Network {
	case "unix":
		return "unix:" + w.Path
	case "fd":
		return "fd://" + strconv.Itoa(w.FD)
	case "systemd":
		return "systemd:" + w.Name
	}
	if w.Host == "" {
		return "port " + w.Port
	}
	return net.JoinHostPort(w.Host, w.Port)
}

// layers are by their prefixes what stands before a session.
var layers = map[string]Way{
	"tcp":       {},
	"tls":       {TLS: true},
	"proxy":     {Proxy: true},
	"proxy+tls": {Proxy: true, TLS: true},
}

// Layers is the prefix of what stands before a session, such as "tls:"; empty if nothing does.
func (w Way) Layers() string {
	switch {
	case w.Proxy && w.TLS:
		return "proxy+tls:"
	case w.Proxy:
		return "proxy:"
	case w.TLS:
		return "tls:"
	}
	return ""
}

const thePrefixes = "tcp:, tls:, proxy: and proxy+tls:"

// Prefix cuts off the prefix that says what stands before a session, such as "tls:". If there is
// none, it is what plain has.
func Prefix(word string, plain Way) (w Way, rest string, err error) {
	name, rest, isLonger := strings.Cut(word, ":")
	w, known := layers[name]
	known = known && isLonger // else it is the name of a host
	again, _, hasMore := strings.Cut(rest, ":")
	_, isTwice := layers[again]
	switch {
	case !known && isUnknownPrefix(name, rest):
		return Way{}, "", fmt.Errorf("address %q: %q is no prefix; there are %s", word, name+":", thePrefixes)
	case !known:
		return Way{Proxy: plain.Proxy, TLS: plain.TLS}, word, nil
	case hasMore && isTwice:
		return Way{}, "", fmt.Errorf("address %q has two prefixes; there are %s", word, thePrefixes)
	}
	return w, rest, nil
}

// isUnknownPrefix says whether a word that begins so was meant to have a prefix: a host is
// followed by its port alone.
func isUnknownPrefix(name, rest string) bool {
	_, port, err := net.SplitHostPort(rest)
	isAddress := err == nil && port != "" && strings.Trim(rest[:1], ":/") != "" || strings.HasPrefix(rest, "unix:") || strings.HasPrefix(rest, "systemd:") || strings.HasPrefix(rest, "fd://")
	isName := name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz+") == ""
	return isAddress && isName && name != "unix" && name != "systemd" && name != "fd"
}

// Inherited is the way that fd://N or systemd:NAME is; ok is false if word is neither.
func Inherited(word string) (w Way, ok bool, err error) {
	if name, ok := strings.CutPrefix(word, "systemd:"); ok {
		if name == "" {
			return Way{}, true, fmt.Errorf("address %q: a name is missing, that of FileDescriptorName= or of the .socket unit; write systemd:parley.socket", word)
		}
		return Way{Network: "systemd", Name: name}, true, nil
	}
	number, ok := strings.CutPrefix(word, "fd:")
	if !ok {
		return Way{}, false, nil
	}
	digits, _ := strings.CutPrefix(number, "//")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !strings.HasPrefix(number, "//") || err != nil {
		return Way{}, true, fmt.Errorf("address %q: write fd:// and the number of a descriptor, such as fd://3", word)
	}
	return Way{Network: "fd", FD: int(n)}, true, nil
}

// Twice is an error that names a way that is among the ways twice: two listeners cannot share an
// address.
func Twice(ways []Way) error {
	seen := make(map[Way]bool)
	for _, w := range ways {
		if w.Network == "tcp" && w.Port == "0" {
			continue // a free one each
		}
		w.Bare, w.Proxy, w.TLS = false, false, false
		if seen[w] {
			return fmt.Errorf("%v is listened on twice; give each way in an address of its own", w)
		}
		seen[w] = true
	}
	return nil
}
