package dial

import (
	"context"
	"net"
	"net/netip"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// handshake makes a connection one of TLS.
func (d *Dialer) handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config := d.TLS
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = nameToVerify(d.Host)
	}
	secured := tlsconn.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, &stepError{TLSFailed, "TLS handshake", err}
	}
	return secured, nil
}

// nameToVerify is the host as a certificate has it: an IP address without its zone, which is this
// machine's own affair.
func nameToVerify(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return host
}
