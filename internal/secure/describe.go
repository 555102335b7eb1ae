package secure

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Report is what there is to know of a TLS connection and of the peer's certificate. Its texts
// are the peer's own.
type Report struct {
	Version string // TLS 1.3
	Cipher  string // TLS_AES_128_GCM_SHA256
	ALPN    string // the protocol that was agreed on, none if empty
	Resumed bool   // the session was that of a connection before: nothing was verified again

	// Of the peer's certificate; empty if it has none.
	Names               []string // hosts, IP addresses, URIs, mail addresses
	Subject, Issuer     string   // CN=db.example.com,O=Example
	NotBefore, NotAfter time.Time
	DaysLeft            int    // whole days until NotAfter; negative once it has passed
	Chain               int    // how many certificates the peer sent, its own included
	Key                 string // ECDSA P-256, RSA 2048, Ed25519
	Fingerprint         string // SHA-256, as openssl prints it
}

// Describe says what there is to know of a connection whose handshake is done.
func Describe(state tls.ConnectionState, now time.Time) Report {
	r := Report{
		Version: tls.VersionName(state.Version),
		Cipher:  tls.CipherSuiteName(state.CipherSuite),
		ALPN:    state.NegotiatedProtocol,
		Resumed: state.DidResume,
		Chain:   len(state.PeerCertificates),
	}
	if r.Chain == 0 {
		return r
	}
	c := state.PeerCertificates[0]
	r.Names = namesOf(c)
	r.Subject, r.Issuer = c.Subject.String(), c.Issuer.String()
	r.NotBefore, r.NotAfter = c.NotBefore, c.NotAfter
	r.DaysLeft = daysLeft(c.NotAfter, now)
	r.Key = keyKind(c)
	r.Fingerprint = fingerprintOf(c)
	return r
}

// daysLeft rounds down, also below zero: a certificate that expired an hour ago has -1.
func daysLeft(end, now time.Time) int {
	left := end.Sub(now)
	days := int(left / day)
	if left < 0 && left%day != 0 {
		days--
	}
	return days
}

// Verify says whether a client may trust the peer of a connection that it did not verify: its
// certificate leads to one of the roots (the system's if nil), names name, and is valid at now.
// Reason says in words why not.
func Verify(state tls.ConnectionState, roots *x509.CertPool, name string, now time.Time) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("tls: the server has no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// namesOf are whom a certificate is for: the names that count, which the subject does not.
func namesOf(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	return append(names, c.EmailAddresses...)
}

const (
	mostNames = 5   // that are shown of a certificate
	longest   = 100 // bytes of one name
)

// JoinNames is a list that is short, however long it is: a, b, c, d, e and 995 more.
func JoinNames(names []string) string {
	if len(names) == 0 {
		return "no name"
	}
	var shown []string
	for _, name := range names[:min(len(names), mostNames)] {
		shown = append(shown, cut(name, longest))
	}
	text := strings.Join(shown, ", ")
	if more := len(names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// cut is the beginning of a text, in one line.
func cut(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func dateOf(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func keyKind(c *x509.Certificate) string {
	switch key := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}

func fingerprintOf(c *x509.Certificate) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(c.Raw)), " ", ":")
}
