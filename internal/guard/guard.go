// Package guard is what stands before an HTTP server of ours that shows things to people or programs
// of this host: whom it answers, and how much of it they can take up.
package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Guard says who is answered. Its zero value lets in whoever asks for an IP address or localhost.
type Guard struct {
	Hosts     []string               // names by which the server may be asked for, beside localhost and IP addresses
	Certified func(name string) bool // whether the server's certificate is for a name, which it may be asked for by then; nil without TLS
	Token     string                 // what whoever asks has to know; nothing if empty
}

// Refuses answers who cannot be answered whatever he asks for, and reports whether it did: a request with a
// body, unless it may have one; for a name that is not the server's; or by another site's page.
func (g *Guard) Refuses(w http.ResponseWriter, r *http.Request, mayHaveBody bool) bool {
	switch {
	case r.ContentLength != 0 && !mayHaveBody:
		// Or net/http waits for the body before it lets the answer out.
		http.NewResponseController(w).SetReadDeadline(time.Now())
		http.Error(w, "nothing here takes a request body", http.StatusRequestEntityTooLarge)
	case !g.GoesBy(r.Host) && !hasNoHost(r):
		http.Error(w, "this goes by an IP address or localhost, not by the name it was asked for", http.StatusMisdirectedRequest)
	case isForeign(r):
		http.Error(w, "this is not for other sites", http.StatusForbidden)
	default:
		return false
	}
	return true
}

// hasNoHost reports whether the request is of HTTP/1.0 and names no host, as load balancers' checks do. No
// browser asks so.
func hasNoHost(r *http.Request) bool { return r.Host == "" && !r.ProtoAtLeast(1, 1) }

// GoesBy reports whether the server goes by the host that it was asked for. A name of
// somebody else's that resolves to this host (DNS rebinding) would make what is here its own.
func (g *Guard) GoesBy(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Zone() == "" || strings.EqualFold(host, "localhost") || g.Certified != nil && g.Certified(host) ||
		slices.ContainsFunc(g.Hosts, func(name string) bool { return strings.EqualFold(host, name) })
}

// isForeign reports whether another site's page asks.
func isForeign(r *http.Request) bool {
	if new(http.CrossOriginProtection).Check(r) != nil {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

// Bearer reports whether a request has an Authorization of that kind, and with the guard's token.
func (g *Guard) Bearer(r *http.Request) (has, right bool) {
	token, has := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return has, has && Same(token, g.Token)
}

// Same compares in a time that does not tell where two secrets differ, nor how long they are.
func Same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
