package console

import (
	"cmp"
	"context"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// maxName is how much of a name that a peer has chosen the narrative shows, in characters.
const maxName = 64

// A security is what there is to say of a connection beside its addresses. All of it but the
// proxy's address may be the peer's own words.
type security struct {
	TLSVersion string // such as TLS 1.3; empty in plain
	TLSName    string // what the client is called in its certificate
	ServerName string // what it asked for
	Proxy      string // the address of the proxy that handed the connection on
}

// securityOf is that of a session; nothing of nearly all of them.
func securityOf(s *parley.Session) security {
	return security{s.TLSVersion(), s.TLSName(), s.ServerName(), s.Proxy()}
}

// recordedSecurity is that of a session in a journal.
func recordedSecurity(s *journal.Session) security {
	return security{TLSVersion: s.TLSVersion, TLSName: s.TLSName, Proxy: s.Proxied}
}

// appendTo appends it in brackets, such as " (TLS 1.3, by proxy 10.0.0.1:80, alice)", and nothing
// if there is none of it. The name is the last, since it may be anything.
func (s *security) appendTo(dst []byte) []byte {
	const before = " ("
	listed := s.appendList(append(dst, before...))
	if len(listed) == len(dst)+len(before) {
		return dst
	}
	return append(listed, ')')
}

func (s *security) appendList(dst []byte) []byte {
	separator := ""
	for _, part := range [...]struct{ label, text string }{{"", s.TLSVersion}, {"by proxy ", s.Proxy}, {"", s.TLSName}} {
		if part.text != "" {
			dst = AppendBrief(append(append(dst, separator...), part.label...), []byte(part.text), maxName)
			separator = ", "
		}
	}
	return dst
}

// appendFields appends it in JSON, whole.
func (s *security) appendFields(dst []byte) []byte {
	dst = appendName(appendName(dst, "tls_version", s.TLSVersion), "tls_name", s.TLSName)
	return appendName(appendName(dst, "server_name", s.ServerName), "proxy", s.Proxy)
}

// defaultHandshake is how long a handshake may take if nothing else is said.
const defaultHandshake = 5 * time.Second

// explainHandshake says in words why a handshake came to nothing.
func (l *Limits) explainHandshake(reason parley.CloseReason, err error) string {
	switch {
	case reason == parley.NoRequest:
		return "nothing was sent"
	case reason == parley.Full:
		return "too many handshakes at once"
	case reason == parley.HandshakeTimeout && err == context.DeadlineExceeded: // others say what was waited for
		return "no handshake within " + cmp.Or(l.Handshake, defaultHandshake).String()
	}
	return escapedError(err)
}
