package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/secure"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

const tlsHandshake = "TLS handshake"

// Handshake makes a connection one of TLS.
func (d *Dialer) Handshake(ctx context.Context, conn net.Conn) (net.Conn, error) {
	config := d.TLS
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = nameToVerify(d.Host)
	}
	secured := tlsconn.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, &stepError{TLSFailed, tlsHandshake, err}
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

// isOfTLS reports whether an error is one of TLS itself, and not of the connection below. An alert
// may also come behind the handshake: with TLS 1.3 a server refuses our certificate then.
func isOfTLS(err error) bool {
	var op *net.OpError
	var header tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	isOp := errors.As(err, &op)
	return isOp && (op.Op == "remote error" || op.Op == "local error") || errors.As(err, &header) || errors.As(err, &certificate)
}

// whyNoTLS says in words why a handshake failed.
func whyNoTLS(timeout time.Duration, err error) string {
	if isTimeout(err) {
		return fmt.Sprintf("the TLS handshake was not done within %v", timeout)
	}
	return reasonOfTLS(err)
}

func reasonOfTLS(err error) string { return cmp.Or(secure.Reason(err), err.Error()) }

// whyNoProxy says in words why the handshake with a proxy failed. What flags help with a server is no
// help here.
func whyNoProxy(err error) string {
	why, help, _ := strings.Cut(reasonOfTLS(err), "; --")
	if strings.HasPrefix(help, "ca ") {
		why += "; the system has to trust a proxy (SSL_CERT_FILE): --ca is about the server"
	}
	return why
}
