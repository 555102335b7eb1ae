package probe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// ages is long after the tests.
var ages = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)

// A signer is a CA.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// sign makes a certificate of the template; without a signer it is self-signed.
func (s *signer) sign(t *testing.T, template x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(1), time.Unix(0, 0)
	if s == nil {
		s = &signer{&template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, s.certificate, &key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{made, key}
}

func newCA(t *testing.T) *signer {
	t.Helper()
	return (*signer)(nil).signer(t, "Root", ages)
}

// signer makes a CA that this one has signed.
func (s *signer) signer(t *testing.T, name string, until time.Time) *signer {
	t.Helper()
	return s.sign(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

// leaf makes a server's certificate.
func (s *signer) leaf(t *testing.T, until time.Time, names ...string) tls.Certificate {
	t.Helper()
	made := s.sign(t, x509.Certificate{DNSNames: names, NotAfter: until})
	return tls.Certificate{Certificate: [][]byte{made.certificate.Raw, s.certificate.Raw}, PrivateKey: made.key}
}

func (s *signer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.certificate)
	return pool
}

// secured is a Connect to a server in memory that serves over TLS as told, 3 ms after it was asked
// for; its part of the handshake takes 2 ms.
func secured(config *tls.Config, serve func(c *tlsconn.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return service(func(c *parleytest.Conn) {
		time.Sleep(2 * ms)
		s := tlsconn.Server(c, config)
		if s.HandshakeContext(context.Background()) == nil {
			serve(s)
			s.Close()
		}
	})
}

// echo serves a line.
func echo(c *tlsconn.Conn) {
	buf := make([]byte, 100)
	n, _ := c.Read(buf)
	c.Write(buf[:n])
}

// aCipher is one that is chosen by what this machine's CPU can do.
var aCipher = regexp.MustCompile(`TLS_[A-Z0-9_]+`)

// What a handshake showed stands below the verdict, whatever came of it.
func TestVerdictsOfTLS(t *testing.T) {
	ca := newCA(t)
	at := time.Date(2000, 1, 1, 0, 0, 0, 5e6, time.UTC) // the handshake, in made-up time
	good := ca.leaf(t, at.Add(9*24*time.Hour), "db.example", "*.db.example")
	many := strings.Split(strings.Repeat("a.example ", 7), " ")[:7]
	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		want   string // in words
		json   string // what it has between the steps and the message
	}{
		{"verified", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: ca.pool()},
			`10.0.0.1:7 answered: connect 3.00 ms, TLS 2.00 ms: a
  TLS 1.3, CIPHER
  certificate for db.example, *.db.example; issued by CN=Root; 8 days left (2000-01-10)
  verified for db.example
`, `"tls_version":"TLS 1.3","cipher":"CIPHER","resumed":false,"names":["db.example","*.db.example"],"issuer":"CN=Root","not_after":"2000-01-10T00:00:00Z","days_left":8,"verified":true,`},
		{"TLS 1.2 and a protocol", &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12, NextProtos: []string{"b"}},
			&tls.Config{RootCAs: ca.pool(), NextProtos: []string{"a", "b"}},
			`10.0.0.1:7 answered: connect 3.00 ms, TLS 2.00 ms: a
  TLS 1.2, CIPHER, ALPN b
  certificate for db.example, *.db.example; issued by CN=Root; 8 days left (2000-01-10)
  verified for db.example
`, `"tls_version":"TLS 1.2","cipher":"CIPHER","alpn":"b","resumed":false,"names":["db.example","*.db.example"],"issuer":"CN=Root","not_after":"2000-01-10T00:00:00Z","days_left":8,"verified":true,`},
		{"another's", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: ca.pool(), ServerName: "x.example"},
			`cannot connect to db.example:7 (10.0.0.1:7): the certificate is for db.example, *.db.example, not for x.example; --server-name NAME says whom to expect (connect 3.00 ms, TLS 2.00 ms)
  TLS 1.3, CIPHER
  certificate for db.example, *.db.example; issued by CN=Root; 8 days left (2000-01-10)
  not verified
`, `"verified":false,"verify_error":"the certificate is for db.example, *.db.example, not for x.example; --server-name NAME says whom to expect","held":false,"kind":"tls",`},
		{"expired", &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, at.Add(-time.Minute), "db.example")}}, &tls.Config{RootCAs: ca.pool()},
			`cannot connect to db.example:7 (10.0.0.1:7): its certificate expired on 1999-12-31 23:59 UTC (connect 3.00 ms, TLS 2.00 ms)
  TLS 1.3, CIPHER
  certificate for db.example; issued by CN=Root; expired (1999-12-31)
  not verified
`, `"days_left":-1,"verified":false,`},
		{"expired, and taken", &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, at.Add(-time.Minute), "db.example")}}, &tls.Config{RootCAs: ca.pool(), InsecureSkipVerify: true},
			`10.0.0.1:7 answered: connect 3.00 ms, TLS 2.00 ms: a
  TLS 1.3, CIPHER
  certificate for db.example; issued by CN=Root; expired (1999-12-31)
  not verified, and taken all the same: its certificate expired on 1999-12-31 23:59 UTC
`, `"verified":false,"verify_error":"its certificate expired on 1999-12-31 23:59 UTC","bytes":1,"payload":"a","held":true}`},
		{"of a stranger", &tls.Config{Certificates: []tls.Certificate{good}}, &tls.Config{RootCAs: newCA(t).pool()},
			`cannot connect to db.example:7 (10.0.0.1:7): its certificate is signed by nobody we trust, but by another CN=Root with the same name; --ca FILE names who (connect 3.00 ms, TLS 2.00 ms)
  TLS 1.3, CIPHER
  certificate for db.example, *.db.example; issued by CN=Root; 8 days left (2000-01-10)
  not verified
`, `"verified":false,`},
		{"for many, one of them hostile", &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, at.Add(36*time.Hour), append([]string{"db.example", "\x1b[2J"}, many...)...)}}, &tls.Config{RootCAs: ca.pool()},
			`10.0.0.1:7 answered: connect 3.00 ms, TLS 2.00 ms: a
  TLS 1.3, CIPHER
  certificate for db.example, \x1b[2J, a.example, a.example, a.example and 4 more; issued by CN=Root; 1 day left (2000-01-02)
  verified for db.example
`, `"names":["db.example","\u001b[2J","a.example",`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, asJSON := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					var out bytes.Buffer
					check := Check{Target: "db.example:7", Out: &out, JSON: asJSON, Probe: Probe{Timeout: time.Second, Request: []byte("a"),
						Dialer: dial.Dialer{Network: "tcp", Host: "db.example", Port: "7", LookupAddrs: names(0, "10.0.0.1"), Connect: secured(c.server, echo), TLS: c.client}}}
					if _, err := check.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					got := aCipher.ReplaceAllString(out.String(), "CIPHER")
					if !asJSON && got != c.want {
						t.Errorf("got\n%swant\n%s", got, c.want)
					}
					if asJSON && (!strings.Contains(got, c.json) || !strings.Contains(got, `"connect_ns":3000000,"tls_ns":2000000,"tls_version":`)) {
						t.Errorf("got\n%swant in it\n%s", got, c.json)
					}
				})
			}
		})
	}
}

// A certificate that is valid until then is good enough, and one that ends a second before is not,
// whether it is the server's own or one that signed it.
func TestExpiryIsJudgedExactly(t *testing.T) {
	const want = 14 * 24 * time.Hour
	ca := newCA(t)
	then := time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC).Add(want)
	between := ca.signer(t, "Between", then)
	for name, c := range map[string]struct {
		certificate tls.Certificate
		tooEarly    string
	}{
		"its own":         {ca.leaf(t, then, "x"), "10.0.0.1:7 has a certificate that expires in 13 days (2000-01-15), want 14: "},
		"its signer's":    {between.leaf(t, ages, "x"), "10.0.0.1:7 has a certificate signed by CN=Between, whose own expires in 13 days (2000-01-15), want 14: "},
		"of both at once": {between.leaf(t, then, "x"), "10.0.0.1:7 has a certificate that expires in 13 days (2000-01-15), want 14: "},
	} {
		for _, off := range []time.Duration{-1, 0, 1} {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Second - 5*ms + off) // what it takes to connect
				var out bytes.Buffer
				check := Check{Target: "x:7", Out: &out, Probe: Probe{Timeout: time.Second, Expires: want, Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7",
					LookupAddrs: names(0, "10.0.0.1"), TLS: &tls.Config{RootCAs: ca.pool()},
					Connect: secured(&tls.Config{Certificates: []tls.Certificate{c.certificate}}, func(c *tlsconn.Conn) { io.Copy(io.Discard, c) })}}}
				summary, err := check.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if early := off > 0; summary.Lost() != 0 || (summary.Failed[Expiring] == 1) != early || strings.HasPrefix(out.String(), c.tooEarly) != early {
					t.Errorf("%s, %v behind the limit: %+v\n%s", name, off, summary, &out)
				}
			})
		}
	}
}

func TestExpiryInWords(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		left, want time.Duration
		text       string
	}{
		{9*day + 5*time.Hour, 14 * day, "expires in 9 days (2026-12-05), want 14"},
		{day, 2 * day, "expires in 1 day (2026-11-27), want 2"},
		{day - time.Second, day, "expires in 23h59m59s (2026-11-27 11:59:59 UTC), want 1 day"},
		{30 * time.Hour, 36 * time.Hour, "expires in 30h0m0s (2026-11-27 18:00:00 UTC), want 36h0m0s"},
		{0, 14 * day, "expires in 0s (2026-11-26 12:00:00 UTC), want 14 days"},
		{-time.Second, 14 * day, "expired on 2026-11-26, want 14 days more"},
	} {
		if got := expires(now.Add(c.left), now, c.want); got != c.text {
			t.Errorf("%v left: %s, want %s", c.left, got, c.text)
		}
	}
}

// A certificate is shown once in a series, each address has its own, and a new one is shown again.
func TestCertificatesOfASeries(t *testing.T) {
	ca := newCA(t)
	configs := map[string]*tls.Config{}
	for address, name := range map[string]string{"10.0.0.1:7": "one", "10.0.0.2:7": "two"} {
		configs[address] = &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, ages, "x", name)}}
	}
	configs["10.0.0.3:7"] = configs["10.0.0.1:7"]
	renewed := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, ages, "x", "renewed")}}
	for _, c := range []struct {
		name  string
		quiet bool
		want  []string
	}{
		{"told", false, []string{"x, one", "x, two", "x, one", "x, renewed"}},
		{"quiet", true, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			check := Check{Target: "x:7", Count: 3, Interval: time.Second, Out: &out, Quiet: c.quiet, Probe: Probe{All: true, Timeout: time.Second, Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7",
				LookupAddrs: names(0, "10.0.0.1", "10.0.0.2", "10.0.0.3"), TLS: &tls.Config{RootCAs: ca.pool()},
				Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
					config := configs[address]
					if address == "10.0.0.2:7" && time.Now().Unix()%10 >= 2 {
						config = renewed
					}
					return secured(config, func(c *tlsconn.Conn) { io.Copy(io.Discard, c) })(ctx, network, address)
				}}}}
			if summary, err := check.Run(t.Context()); err != nil || summary.Held != 9 {
				t.Errorf("%s: %+v, %v; want 9 held", c.name, summary, err)
			}
			var shown []string
			for line := range strings.Lines(out.String()) {
				if names, is := strings.CutPrefix(line, "  certificate for "); is {
					names, _, _ = strings.Cut(names, ";")
					shown = append(shown, names)
				}
			}
			if strings.Join(shown, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s: certificates for %q, want %q\n%s", c.name, shown, c.want, &out)
			}
			if c.quiet == (out.Len() > 0) {
				t.Errorf("%s: %s", c.name, &out)
			}
		})
	}
}

// Whoever waits waits for a good certificate too.
func TestWaitForACertificate(t *testing.T) {
	ca := newCA(t)
	synctest.Test(t, func(t *testing.T) {
		old := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, time.Now().Add(-day), "x")}}
		renewed := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, ages, "x")}}
		begin := time.Now()
		var out, notes bytes.Buffer
		check := Check{Target: "x:7", Wait: time.Minute, Out: &out, Notes: &notes, Probe: Probe{Timeout: time.Second, Expires: day, Dialer: dial.Dialer{Network: "tcp", Host: "x", Port: "7",
			LookupAddrs: names(0, "10.0.0.1"), TLS: &tls.Config{RootCAs: ca.pool()},
			Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
				config := old
				if time.Since(begin) > 3*time.Second {
					config = renewed
				}
				return secured(config, func(c *tlsconn.Conn) { io.Copy(io.Discard, c) })(ctx, network, address)
			}}}}
		summary, err := check.Run(t.Context())
		if err != nil || summary.Held != 1 || strings.Count(notes.String(), "\n") != 1 || !strings.Contains(notes.String(), "its certificate expired on 1999-12-31") {
			t.Errorf("%+v, %v\n%s%s", summary, err, &notes, &out)
		}
	})
}

// A server that has not announced its end and of whose reply nothing came is not in the middle of it.
func TestEndThatTLSHasNotAnnounced(t *testing.T) {
	for came, want := range map[string]string{
		"":   "x closed the connection before it replied, without TLS's close_notify",
		"on": "x closed the connection inside its reply, without TLS's close_notify: no line's end: on",
	} {
		of := partial{}
		if came != "" {
			of = partial{bytes: []byte(came), lacks: "no line's end"}
		}
		if got := whyNone("reply", "before it replied", "x", time.Second, tlsconn.ErrTruncated, of); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
