package child

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
)

// notInherited are the names, and beginnings of names that end in _, of what a program does not
// get from our environment: our own options, among which may be secrets; what a service manager
// says to us; and what another server has said of another connection.
var notInherited = []string{
	"PARLEY_", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
	"PROTO", "TCPLOCALIP", "TCPLOCALPORT", "TCPLOCALHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEHOST", "TCPREMOTEINFO",
	"UNIXLOCALPATH", "UNIXREMOTEPATH", "TLS_",
}

// inherited is what of an environment programs get.
func inherited(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.ContainsFunc(notInherited, func(not string) bool {
			return name == not || strings.HasSuffix(not, "_") && strings.HasPrefix(name, not)
		})
	})
}

// environ says who is at the other end of a session: by the names of UCSPI, which tcpserver has
// made common; with no look-up of a host's name. What it says of TLS may be the peer's words.
func environ(s *parley.Session) []string {
	env := []string{"PARLEY_SESSION=" + strconv.FormatUint(s.Number(), 10)}
	set := func(name, value string) {
		if value != "" && !strings.ContainsFunc(value, isControl) {
			env = append(env, name+"="+value)
		}
	}
	if local, ok := s.LocalAddr().(*net.UnixAddr); ok {
		set("PROTO", "UNIX")
		set("UNIXLOCALPATH", local.Name)
	} else {
		set("PROTO", "TCP")
		setAddress(set, "TCPLOCAL", s.LocalAddr())
		setAddress(set, "TCPREMOTE", s.RemoteAddr())
	}
	if state := s.TLS(); state != nil {
		set("TLS_PROTOCOL", strings.Replace(tls.VersionName(state.Version), "TLS ", "TLSv", 1))
		set("TLS_CIPHER", tls.CipherSuiteName(state.CipherSuite))
		set("TLS_SERVER_NAME", state.ServerName)
		set("TLS_ALPN", state.NegotiatedProtocol)
	}
	set("TLS_CLIENT_NAME", s.TLSName())
	return env
}

// setAddress sets the two variables of an address.
func setAddress(set func(name, value string), side string, addr net.Addr) {
	if addr == nil {
		return
	}
	if at, err := netip.ParseAddrPort(addr.String()); err == nil {
		set(side+"IP", at.Addr().Unmap().String())
		set(side+"PORT", strconv.Itoa(int(at.Port())))
	}
}

// isControl is for what has no business in a variable: shells, logs and terminals take it for more
// than a character, as some do single bytes that are no UTF-8.
func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }
