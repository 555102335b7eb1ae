package parley

import (
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// NewTLSListener has TLS spoken on the connections of l. Serve takes a listener of crypto/tls as
// well, whose connections differ in one thing: an end of file that TLS has not announced, which
// may be an attacker's, is an orderly end there, and Truncated here (RFC 8446, section 6.1).
func NewTLSListener(l net.Listener, config *tls.Config) net.Listener {
	return &tlsListener{l, config}
}

type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tlsconn.Server(conn, l.config), nil
}

// Forwarded is what a proxy says of a connection that it hands on, by the PROXY protocol. The
// texts are the proxy's, or its client's: they may hold anything.
type Forwarded struct {
	Proxy      net.Addr // the proxy's own address
	TLSVersion string   // as the proxy calls it, such as "TLSv1.3"; "" if it says nothing
	TLSName    string   // the client's, by its certificate; "" if there is none
	ServerName string   // what the client asked for; "" if it is not known
}

// A security is what there is to know of a session beside its addresses.
type security struct {
	tls       *tls.ConnectionState // nil in plain
	forwarded *Forwarded           // nil if no proxy forwarded it
}

// securityOf is that of a connection whose handshake is done; nil if there is nothing.
func securityOf(conn net.Conn) *security {
	var s security
	if secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		if state := secure.ConnectionState(); state.HandshakeComplete {
			s.tls = &state
		}
	}
	if forwarded, ok := conn.(interface{ Forwarded() *Forwarded }); ok {
		s.forwarded = forwarded.Forwarded()
	}
	if s == (security{}) {
		return nil
	}
	return &security{s.tls, s.forwarded} // so that a plain connection costs nothing
}

// TLS is the state of the session's TLS connection as it was after the handshake; nil in plain.
func (s *Session) TLS() *tls.ConnectionState {
	if s.security == nil {
		return nil
	}
	return s.security.tls
}

// Forwarded is what the proxy said that handed the connection on; nil if none did. RemoteAddr
// and LocalAddr are those that it named.
func (s *Session) Forwarded() *Forwarded {
	if s.security == nil {
		return nil
	}
	return s.security.forwarded
}

// TLSVersion is such as "TLS 1.3"; "" if the client spoke plain.
func (s *Session) TLSVersion() string {
	if state := s.TLS(); state != nil {
		return tls.VersionName(state.Version)
	}
	if forwarded := s.Forwarded(); forwarded != nil {
		return forwarded.TLSVersion
	}
	return ""
}

// TLSName is what the client is called in the certificate that it showed, here or to the proxy:
// its common name, or the first of the others. It is "" if it showed none. It is verified if
// the configuration of TLS has that done.
func (s *Session) TLSName() string {
	if state := s.TLS(); state != nil && len(state.PeerCertificates) > 0 {
		return nameOfCertificate(state.PeerCertificates[0])
	}
	if forwarded := s.Forwarded(); forwarded != nil {
		return forwarded.TLSName
	}
	return ""
}

// ServerName is what the client asked for, here or at the proxy; "" if it is not known.
func (s *Session) ServerName() string {
	if state := s.TLS(); state != nil && state.ServerName != "" {
		return state.ServerName
	}
	if forwarded := s.Forwarded(); forwarded != nil {
		return forwarded.ServerName
	}
	return ""
}

// Proxy is the address of the proxy that handed the connection on, as AppendRemote has it; "" if
// none did.
func (s *Session) Proxy() string {
	forwarded := s.Forwarded()
	if forwarded == nil || forwarded.Proxy == nil {
		return ""
	}
	return string(endpointOf(forwarded.Proxy).appendTo(nil))
}

func nameOfCertificate(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	}
	return ""
}
