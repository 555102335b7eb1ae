package probe

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/secure"
)

// Expiring is the kind of failure of a certificate that is to be trusted, but not for as long as
// it should be.
const Expiring dial.Kind = "expiring"

// A Secured is what a TLS handshake showed, also one that failed over the certificate.
type Secured struct {
	secure.Report
	Unverified error // why the certificate cannot be trusted; nil if it can
	Taken      bool  // it was taken all the same

	at    time.Time
	name  string              // whom it was to be for
	chain []*x509.Certificate // that the server sent, its own first
}

// verifying is a configuration like config that notes what a handshake shows before it is judged.
func (f *Finding) verifying(config *tls.Config, host string) *tls.Config {
	host, _, _ = strings.Cut(host, "%") // a zone is this machine's own affair
	name := cmp.Or(config.ServerName, host)
	noting := config.Clone()
	noting.InsecureSkipVerify = true
	noting.VerifyConnection = func(state tls.ConnectionState) error {
		now := time.Now()
		f.Secured = &Secured{
			Report: secure.Describe(state, now), Unverified: secure.Verify(state, config.RootCAs, name, now),
			Taken: config.InsecureSkipVerify, at: now, name: name, chain: state.PeerCertificates,
		}
		if f.Secured.Taken {
			return nil
		}
		return f.Secured.Unverified
	}
	return noting
}

// firstToExpire is one of the certificates, nil if the server sent none.
func (s *Secured) firstToExpire() *x509.Certificate {
	if len(s.chain) == 0 {
		return nil
	}
	return slices.MinFunc(s.chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
}

// expiry says which of the certificates is not valid for as long from now as is wanted; it is
// empty if none is.
func (s *Secured) expiry(want time.Duration) string {
	first := s.firstToExpire()
	if first == nil || !s.at.Add(want).After(first.NotAfter) {
		return ""
	}
	whose := "has a certificate that"
	if first != s.chain[0] {
		whose = fmt.Sprintf("has a certificate signed by %s, whose own", secure.JoinNames([]string{first.Subject.String()})) // which is cut
	}
	return whose + " " + expires(first.NotAfter, s.at, want)
}

const day = 24 * time.Hour

// expires is such as "expires in 9 days (2026-12-05), want 14".
func expires(end, now time.Time, want time.Duration) string {
	left, date, wanted := end.Sub(now), end.UTC().Format(time.DateOnly), want.String()
	if want%day == 0 {
		wanted = days(want)
	}
	switch {
	case left < 0:
		return fmt.Sprintf("expired on %s, want %s more", date, wanted)
	case left >= day && want%day == 0:
		return fmt.Sprintf("expires in %s (%s), want %d", days(left), date, want/day)
	}
	return fmt.Sprintf("expires in %v (%s), want %s", left.Truncate(time.Second), end.UTC().Format("2006-01-02 15:04:05 UTC"), wanted)
}

// days are the whole ones.
func days(d time.Duration) string {
	if d/day == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", d/day)
}

// sentences are what there is to know, each a line that is indented and escaped.
func (s *Secured) sentences() string {
	session := s.Version + ", " + s.Cipher
	if s.ALPN != "" {
		session += ", ALPN " + s.ALPN
	}
	if s.Resumed {
		session += ", resumed"
	}
	var b strings.Builder
	for _, line := range []string{session, s.certificate(), s.verification()} {
		b.WriteString("  ")
		b.Write(console.AppendEscaped(nil, []byte(line)))
		b.WriteByte('\n')
	}
	return b.String()
}

func (s *Secured) certificate() string {
	if len(s.chain) == 0 {
		return "no certificate"
	}
	left := days(s.NotAfter.Sub(s.at)) + " left"
	if s.at.After(s.NotAfter) {
		left = "expired"
	}
	return fmt.Sprintf("certificate for %s; issued by %s; %s (%s)",
		secure.JoinNames(s.Names), secure.JoinNames([]string{s.Issuer}), left, s.NotAfter.UTC().Format(time.DateOnly))
}

func (s *Secured) verification() string {
	switch {
	case s.Unverified == nil:
		return "verified for " + s.name
	case s.Taken:
		return "not verified, and taken all the same: " + s.why()
	}
	return "not verified" // the verdict says why
}

// why is why the certificate cannot be trusted.
func (s *Secured) why() string { return cmp.Or(secure.Reason(s.Unverified), s.Unverified.Error()) }

// describe adds it all to a verdict in JSON.
func (s *Secured) describe(o *console.Object) {
	o.Text("tls_version", s.Version)
	o.Text("cipher", s.Cipher)
	o.Text("alpn", s.ALPN)
	o.Truth("resumed", s.Resumed)
	if len(s.chain) > 0 {
		o.Texts("names", s.Names)
		o.Text("issuer", s.Issuer)
		o.Text("not_after", s.NotAfter.UTC().Format(time.RFC3339))
		o.Number("days_left", int64(s.DaysLeft))
	}
	o.Truth("verified", s.Unverified == nil)
	if s.Unverified != nil {
		o.Text("verify_error", s.why())
	}
}
