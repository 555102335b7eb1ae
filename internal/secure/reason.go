package secure

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// Reason says in words why a client's handshake failed, or what broke its TLS connection, and
// what helps; it is empty for an error that has nothing to do with TLS. It is one line, however
// long the peer's texts in it are.
func Reason(err error) string { return ofClient.reason(err) }

// ServerReason is that for a server's handshake or connection.
func ServerReason(err error) string { return ofServer.reason(err) }

// A view is how one side speaks of the other and its certificate.
type view struct {
	peer, certificate string
	notTLS, unknownCA string
	wrongUsage        string
	alerts            map[tls.AlertError]string // what the other side may have refused
}

var ofClient = &view{
	peer:        "the server",
	certificate: "its certificate",
	notTLS:      "the server does not speak TLS on this port",
	unknownCA:   "its certificate is signed by nobody we trust%s; --ca FILE names who",
	wrongUsage:  "its certificate is not one for servers (extended key usage)",
	alerts: map[tls.AlertError]string{
		alertHandshakeFailure:       "the server agrees to none of our ciphers and key exchanges, or wants a client certificate (--cert and --key)",
		alertBadCertificate:         "the server rejects our client certificate, or that there is none; --cert and --key name one",
		alertUnsupportedCertificate: "the server rejects our client certificate: it does not support its kind",
		alertCertificateRevoked:     "the server rejects our client certificate: it has been revoked",
		alertCertificateExpired:     "the server rejects our client certificate: it has expired",
		alertCertificateUnknown:     "the server rejects our client certificate",
		alertUnknownCA:              "the server rejects our client certificate: it does not trust who signed it",
		alertAccessDenied:           "the server accepts our client certificate, but not us",
		alertCertificateRequired:    "the server wants a client certificate; --cert and --key name one",
		alertProtocolVersion:        "no common version: the server speaks neither TLS 1.2 nor 1.3",
		alertNoApplicationProtocol:  "no common protocol: the server speaks none of those of --alpn",
		alertUnrecognizedName:       "the server does not know the name that it was asked for; --server-name gives another",
	},
}

var ofServer = &view{
	peer:        "client",
	certificate: "client's certificate",
	notTLS:      "plain bytes on the TLS port",
	unknownCA:   "client's certificate is not signed by our --tls-client-ca%s",
	wrongUsage:  "client's certificate is not one for clients (extended key usage)",
	alerts: map[tls.AlertError]string{
		alertHandshakeFailure:       "client agrees to no cipher or key exchange of ours",
		alertBadCertificate:         "client does not trust our certificate",
		alertUnsupportedCertificate: "client does not support our kind of certificate",
		alertCertificateRevoked:     "client does not trust our certificate: it has been revoked",
		alertCertificateExpired:     "client does not trust our certificate: it has expired",
		alertCertificateUnknown:     "client does not trust our certificate",
		alertUnknownCA:              "client does not trust our certificate",
		alertProtocolVersion:        "no common version: client speaks neither TLS 1.2 nor 1.3",
		alertNoApplicationProtocol:  "no common protocol",
		alertUserCanceled:           "client gave up",
	},
}

// RFC 8446, section 6.
const (
	alertHandshakeFailure       tls.AlertError = 40
	alertBadCertificate         tls.AlertError = 42
	alertUnsupportedCertificate tls.AlertError = 43
	alertCertificateRevoked     tls.AlertError = 44
	alertCertificateExpired     tls.AlertError = 45
	alertCertificateUnknown     tls.AlertError = 46
	alertUnknownCA              tls.AlertError = 48
	alertAccessDenied           tls.AlertError = 49
	alertProtocolVersion        tls.AlertError = 70
	alertUserCanceled           tls.AlertError = 90
	alertNoRenegotiation        tls.AlertError = 100
	alertUnrecognizedName       tls.AlertError = 112
	alertCertificateRequired    tls.AlertError = 116
	alertNoApplicationProtocol  tls.AlertError = 120
)

// longestReason is in bytes; the longest that is made here of a peer's longest texts is shorter.
const longestReason = 1000

func (v *view) reason(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	isOp := errors.As(err, &op)
	if isOp && op.Op == "dial" || errors.As(err, &dns) {
		return ""
	}
	var header tls.RecordHeaderError
	var text string
	switch {
	case errors.Is(err, tlsconn.ErrTruncated):
		text = "the connection ended without TLS saying so (close_notify): what came may be cut short"
	case isOp && op.Op == "remote error":
		text = v.ofRemoteAlert(op.Err)
	case isOp && op.Op == "local error":
		text = v.ofLocalAlert(op.Err)
	case errors.As(err, &header):
		text = v.ofHeader(header)
	default:
		text = cmp.Or(v.ofCertificate(err), v.ofText(err), v.ofEnd(err))
	}
	return cut(text, longestReason)
}

// alertOf is the alert of an error of crypto/tls, whose type is not exported.
func alertOf(err error) tls.AlertError {
	for code := range tls.AlertError(255) {
		if code.Error() == err.Error() {
			return code
		}
	}
	return 255
}

// ofRemoteAlert says what the peer has refused.
func (v *view) ofRemoteAlert(err error) string {
	if text := v.alerts[alertOf(err)]; text != "" {
		return text
	}
	return fmt.Sprintf("%s ended the handshake or the session: %s", v.peer, withoutPrefix(err))
}

// ofLocalAlert says what of the peer's we have refused.
func (v *view) ofLocalAlert(err error) string {
	if alertOf(err) == alertNoRenegotiation {
		return v.peer + " asked for a renegotiation, which is refused"
	}
	return fmt.Sprintf("what %s sent breaks the rules of TLS: %s", v.peer, withoutPrefix(err))
}

func (v *view) ofHeader(err tls.RecordHeaderError) string {
	switch {
	case strings.Contains(err.Msg, "SSLv2"):
		return "no common version: " + v.peer + " began with SSL 2.0"
	case err.Conn != nil: // the first that came
		return v.notTLS
	case v == ofClient && strings.HasPrefix(err.Msg, "oversized"):
		return v.notTLS
	case !strings.ContainsFunc(string(err.RecordHeader[:]), func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Sprintf("%s has left TLS: what came is plain (%q)", v.peer, err.RecordHeader)
	}
	return fmt.Sprintf("what %s sent breaks the rules of TLS: %s", v.peer, withoutPrefix(err))
}

// ofCertificate says why the peer's certificate was refused.
func (v *view) ofCertificate(err error) string {
	var leaf *x509.Certificate
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) && len(verification.UnverifiedCertificates) > 0 {
		leaf = verification.UnverifiedCertificates[0]
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var roots x509.SystemRootsError
	switch {
	case errors.As(err, &roots):
		return "the system has no list of CAs that can be read; --ca FILE names whom to trust"
	case errors.As(err, &unknown):
		return fmt.Sprintf(v.unknownCA, ofIssuer(cmp.Or(leaf, unknown.Cert), unknown))
	case errors.As(err, &name):
		return ofName(name)
	case errors.As(err, &invalid):
		return v.ofInvalid(invalid, leaf)
	case verification != nil:
		return v.certificate + " is not valid: " + withoutPrefix(verification.Err)
	}
	return ""
}

// ofIssuer says who has signed a certificate instead of somebody who is trusted.
func ofIssuer(c *x509.Certificate, err x509.UnknownAuthorityError) string {
	if c == nil {
		return ""
	}
	issuer := cut(c.Issuer.String(), longest)
	switch {
	case strings.Contains(err.Error(), "candidate authority certificate"): // one has that name and another key
		return fmt.Sprintf(", but by another %s with the same name", issuer)
	case string(c.RawIssuer) == string(c.RawSubject):
		return ": it is self-signed"
	}
	return fmt.Sprintf(", but by %s", issuer)
}

func ofName(err x509.HostnameError) string {
	names := namesOf(err.Certificate)
	if len(names) == 0 {
		return fmt.Sprintf("the certificate names no host, so it is not for %s either; only subject alternative names count, not its subject %s",
			cut(err.Host, longest), cut(err.Certificate.Subject.String(), longest))
	}
	return fmt.Sprintf("the certificate is for %s, not for %s; --server-name NAME says whom to expect", JoinNames(names), cut(err.Host, longest))
}

func (v *view) ofInvalid(err x509.CertificateInvalidError, leaf *x509.Certificate) string {
	whose := v.certificate
	if leaf != nil && err.Cert != nil && !err.Cert.Equal(leaf) {
		whose = fmt.Sprintf("the certificate of %s, which signed it,", cut(err.Cert.Subject.String(), longest))
	}
	switch err.Reason {
	case x509.Expired:
		if strings.Contains(err.Detail, " is before ") {
			return fmt.Sprintf("%s is not valid before %s; is the clock right?", whose, dateOf(err.Cert.NotBefore))
		}
		return fmt.Sprintf("%s expired on %s", whose, dateOf(err.Cert.NotAfter))
	case x509.IncompatibleUsage:
		return v.wrongUsage
	}
	return whose + " is not valid: " + withoutPrefix(err)
}

// ofText says in other words what crypto/tls has only a text for.
func (v *view) ofText(err error) string {
	text := tlsText(err)
	if text == "" {
		return ""
	}
	begins := func(prefix string) (rest string, ok bool) { return strings.CutPrefix(text, prefix) }
	if versions, ok := begins("client offered only unsupported versions: "); ok {
		return "no common version: client speaks " + newest(versions) + ", and TLS 1.2 is the least"
	}
	if version, ok := begins("server selected unsupported protocol version "); ok {
		return "no common version: the server speaks " + newest(version) + ", and TLS 1.2 is the least"
	}
	if protocols, ok := begins("client requested unsupported application protocols "); ok {
		return "no common protocol: client speaks only " + cut(strings.Trim(protocols, "()[]"), 3*longest)
	}
	if _, ok := begins("no cipher suite supported by both"); ok {
		return "no common cipher"
	}
	switch text {
	case "received unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.helloRequestMsg":
		return "client asked for a renegotiation, which is refused"
	case "no key exchanges supported by both client and server", "no supported elliptic curves offered":
		return "no common key exchange"
	case "peer doesn't support any of the certificate's signature algorithms":
		return v.peer + " does not support our kind of certificate"
	case "client didn't provide a certificate":
		return "client sent no certificate"
	case "client using inappropriate protocol fallback":
		return "client fell back to an older version than it has in common with us"
	}
	return cut(text, 3*longest)
}

// tlsText is the text of the first error in err that is one of crypto/tls, without its "tls: ".
func tlsText(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if text, ok := strings.CutPrefix(err.Error(), "tls: "); ok {
			return text
		}
	}
	return ""
}

// newest is the newest version of a list such as [302 301], as crypto/tls prints it.
func newest(list string) string {
	newest := uint64(0)
	for _, field := range strings.Fields(strings.Trim(list, "[]")) {
		if n, err := strconv.ParseUint(field, 16, 16); err == nil && n <= tls.VersionTLS13 {
			newest = max(newest, n)
		}
	}
	if newest == 0 {
		return "none that we know" // SSL 3.0 is left out of the list
	}
	return tls.VersionName(uint16(newest)) + " at most"
}

// ofEnd says how a handshake ended of which no more is known.
func (v *view) ofEnd(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return v.peer + " did not finish the TLS handshake in time"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return v.peer + " reset the connection during the TLS handshake"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return v.peer + " closed the connection during the TLS handshake"
	}
	return ""
}

// withoutPrefix is an error of crypto/tls or crypto/x509 without saying so.
func withoutPrefix(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: "), "x509: ")
	return cut(text, 3*longest)
}
