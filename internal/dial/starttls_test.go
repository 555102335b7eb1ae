package dial

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// certificate is one for these names, and for whom to trust so as to trust it.
func certificate(t testing.TB, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// played connects to a server that plays its part, and to nothing once more.
func played(t *testing.T, play func(server *parleytest.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := parleytest.ConnPair()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer server.Close()
			play(server)
		}()
		t.Cleanup(func() {
			client.Close()
			<-done
		})
		return client, nil
	}
}

// part plays a server: it says the lines that begin with <, and hears those that begin with >.
func part(t *testing.T, conn io.ReadWriter, lines string) {
	in := bufio.NewReader(oneByte{conn})
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		line = strings.TrimSpace(line)
		if say, is := strings.CutPrefix(line, "< "); is {
			fmt.Fprintf(conn, "%s\r\n", say)
			continue
		}
		heard, err := in.ReadString('\n')
		if want := strings.TrimPrefix(line, "> ") + "\r\n"; heard != want {
			t.Errorf("the server heard %q, %v, want %q", heard, err, want)
			return
		}
	}
}

// oneByte reads no further than is asked for.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }

// hangUp ends the server's part only once the client has.
func hangUp(conn io.Reader) { io.Copy(io.Discard, conn) }

var startTLSDialogues = []struct{ name, protocol, dialogue string }{
	{"smtp", "smtp", `
		< 220 mx.test ESMTP
		> EHLO localhost
		< 250-mx.test
		< 250-SIZE 1000
		< 250-starttls
		< 250 HELP
		> STARTTLS
		< 220 go ahead`},
	{"smtp, greeting of several lines, last extension", "smtp", `
		< 220-mx.test ESMTP
		< 220 no spam
		> EHLO localhost
		< 250-mx.test
		< 250 STARTTLS
		> STARTTLS
		< 220-go
		< 220 ahead`},
	{"imap", "imap", `
		< * OK [CAPABILITY IMAP4rev1] ready
		> a1 CAPABILITY
		< * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED
		< a1 OK done
		> a2 STARTTLS
		< * 3 EXISTS
		< a2 ok begin`},
	{"pop3", "pop3", `
		< +OK ready
		> STLS
		< +OK`},
	{"ftp", "ftp", `
		< 120 in a minute
		< 220-welcome
		<  to this
		< 220 server
		> AUTH TLS
		< 234 proceed`},
	{"nntp", "nntp", `
		< 201 no posting
		> STARTTLS
		< 382 continue`},
}

// TLS follows the go-ahead of each protocol, and each step has its time.
func TestSTARTTLS(t *testing.T) {
	for _, c := range startTLSDialogues {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cert, roots := certificate(t, "mail.test")
				d := Dialer{
					Network: "tcp", Host: "mail.test", Port: "25", Timeout: time.Second, LookupAddrs: names(0, "10.0.0.1"),
					StartTLS: c.protocol, TLS: &tls.Config{RootCAs: roots},
					Connect: played(t, func(server *parleytest.Conn) {
						time.Sleep(2 * ms)
						part(t, server, c.dialogue)
						time.Sleep(3 * ms)
						secured := tlsconn.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}})
						io.Copy(secured, secured)
						secured.CloseWrite()
					}),
				}
				conn, steps, err := d.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if want := (Steps{Address: "10.0.0.1:25", StartTLS: 2 * ms, TLS: 3 * ms}); steps != want {
					t.Errorf("%+v, want %+v", steps, want)
				}
				secured, is := conn.(*tlsconn.Conn)
				if !is {
					t.Fatalf("the connection is a %T", conn)
				}
				if name := secured.ConnectionState().ServerName; name != "mail.test" {
					t.Errorf("the server was asked for %q", name)
				}
				fmt.Fprint(secured, "hello")
				secured.CloseWrite()
				if echo, err := io.ReadAll(secured); string(echo) != "hello" || err != nil {
					t.Errorf("%q, %v", echo, err)
				}
			})
		})
	}
}

// An answer of no is told in the server's own words. None is taken for another step's failure.
func TestSTARTTLSRefused(t *testing.T) {
	for _, c := range []struct{ protocol, dialogue, want string }{
		{"smtp", "< 554 go away", `the server's greeting is none that STARTTLS can follow: "554 go away"`},
		{"smtp", "< 220 x\n> EHLO localhost\n< 250-x\n< 250 STARTTLSX", "the server does not offer it"},
		{"smtp", "< 220 x\n> EHLO localhost\n< 502 what?", `the server does not offer it: it says "502 what?"`},
		{"smtp", "< 220 x\n> EHLO localhost\n< 250-x\n< 250 STARTTLS\n> STARTTLS\n< 454 not now", `the server does not offer it: it says "454 not now"`},
		{"smtp", "< * OK IMAP", `the server does not speak smtp: it says "* OK IMAP"`},
		{"smtp", "< 22", `the server does not speak smtp: it says "22"`},
		{"imap", "< * PREAUTH welcome", `the server's greeting is none that STARTTLS can follow: "* PREAUTH welcome"`},
		{"imap", "< * BYE", `the server's greeting is none that STARTTLS can follow: "* BYE"`},
		{"imap", "< * OK\n> a1 CAPABILITY\n< * CAPABILITY IMAP4rev1 XSTARTTLS\n< a1 OK", "the server does not offer it"},
		{"imap", "< * OK\n> a1 CAPABILITY\n< * 1 STARTTLS\n< a1 OK", "the server does not offer it"},
		{"imap", "< * OK\n> a1 CAPABILITY\n< a1 BAD eh", `the server does not offer it: it says "BAD eh"`},
		{"imap", "< * OK\n> a1 CAPABILITY\n< * CAPABILITY STARTTLS\n< a1 OK\n> a2 STARTTLS\n< a2 NO", `the server does not offer it: it says "NO"`},
		{"pop3", "< -ERR busy", `the server's greeting is none that STARTTLS can follow: "-ERR busy"`},
		{"pop3", "< +OK\n> STLS\n< -ERR eh", `the server does not offer it: it says "-ERR eh"`},
		{"pop3", "< +OK\n> STLS\n< +OKAY", `the server does not offer it: it says "+OKAY"`},
		{"ftp", "< 421 closing", `the server's greeting is none that STARTTLS can follow: "421 closing"`},
		{"ftp", "< 220 x\n> AUTH TLS\n< 530 log in", `the server does not offer it: it says "530 log in"`},
		{"ftp", "< 220 x\n> AUTH TLS\n< 502-a\n< 50\n< 502 b", `the server does not offer it: it says "502-a…"`},
		{"nntp", "< 400 x", `the server's greeting is none that STARTTLS can follow: "400 x"`},
		{"nntp", "< 200 x\n> STARTTLS\n< 580 no", `the server does not offer it: it says "580 no"`},
		{"nntp", "< 200 " + strings.Repeat("x", 300) + "\n> STARTTLS\n< 580 " + strings.Repeat("\x1b", 300), `the server does not offer it: it says "580 ` + strings.Repeat(`\x1b`, 196) + `…"`},
	} {
		d := Dialer{Network: "tcp", Host: "10.0.0.1", Port: "25", StartTLS: c.protocol, TLS: &tls.Config{},
			Connect: played(t, func(server *parleytest.Conn) {
				part(t, server, c.dialogue)
				hangUp(server)
			})}
		conn, _, err := d.Dial(t.Context())
		got := ""
		if err != nil {
			got = WhyNotConnected("x:25", time.Second, err)
		}
		if want := "cannot connect to x:25: STARTTLS: " + c.want; conn != nil || got != want || KindOf(err) != TLSFailed {
			t.Errorf("%s, %q: %v, %q (%s), want %q", c.protocol, c.dialogue, conn, got, KindOf(err), want)
		}
	}
}

// What is behind the go-ahead in plain is not taken for the beginning of what came over TLS, nor for
// TLS (CVE-2011-0411).
func TestNothingIsInjectedBehindTheGoAhead(t *testing.T) {
	for _, c := range startTLSDialogues {
		for _, injected := range []string{"x", "250 OK\r\n", "\x16\x03\x01"} {
			d := Dialer{Network: "tcp", Host: "10.0.0.1", Port: "25", Timeout: patience, StartTLS: c.protocol, TLS: &tls.Config{InsecureSkipVerify: true},
				Connect: played(t, func(server *parleytest.Conn) {
					said, last := c.dialogue[:strings.LastIndex(c.dialogue, "<")], c.dialogue[strings.LastIndex(c.dialogue, "<")+2:]
					part(t, server, said)
					fmt.Fprintf(server, "%s\r\n%s", last, injected) // in one
					hangUp(server)
				})}
			_, _, err := d.Dial(t.Context())
			if got := WhyNotConnected("x", 0, err); got != "cannot connect to x: STARTTLS: "+errBehindGoAhead.Error() {
				t.Errorf("%s, with %q behind it: %s", c.name, injected, got)
			}
		}
	}
}

// A server may say so much, and no more.
func TestSTARTTLSIsBounded(t *testing.T) {
	const end = "220 x\r\n250 STARTTLS\r\n220 x\r\n" // does not wait to be asked
	for _, c := range []struct {
		length int
		err    error
	}{{maxDialogue - 1, nil}, {maxDialogue, nil}, {maxDialogue + 1, errTooMuch}} {
		for _, filling := range []string{strings.Repeat("x", c.length), strings.Repeat("x\r\n", c.length)} {
			begin := "220-" + filling[:c.length-len(end)-6] + "\r\n"
			d := newDialogue("smtp", strings.NewReader(begin+end), io.Discard)
			if err := upgradeSMTP(d); err != c.err {
				t.Errorf("%d bytes: %v, want %v", len(begin+end), err, c.err)
			}
		}
	}
}

// The Dialer's timeout is for the dialogue too, wherever a server stops; and it can be cancelled.
func TestSTARTTLSEndsInTime(t *testing.T) {
	for _, c := range startTLSDialogues {
		lines := strings.Split(strings.TrimSpace(c.dialogue), "\n")
		for said := range lines {
			if said > 0 && !strings.Contains(lines[said], "<") {
				continue // it is waited for only once all has been heard
			}
			dialer := func(t *testing.T) *Dialer {
				return &Dialer{Network: "tcp", Host: "10.0.0.1", Port: "25", Timeout: 5 * time.Second, StartTLS: c.protocol, TLS: &tls.Config{InsecureSkipVerify: true},
					Connect: played(t, func(server *parleytest.Conn) {
						if said > 0 {
							part(t, server, strings.Join(lines[:said], "\n"))
						}
						hangUp(server)
					})}
			}
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				_, steps, err := dialer(t).Dial(t.Context())
				if took := time.Since(begin); took != 5*time.Second || steps.StartTLS != took {
					t.Errorf("%s, %d lines: it took %v, of which STARTTLS %v", c.name, said, took, steps.StartTLS)
				}
				if got, want := WhyNotConnected("x", 5*time.Second, err), "cannot connect to x: STARTTLS: no answer within 5s"; got != want || KindOf(err) != TLSFailed {
					t.Errorf("%s, %d lines: %q (%s), want %q", c.name, said, got, KindOf(err), want)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				if _, _, err := dialer(t).Dial(ctx); time.Since(begin) != time.Second || err == nil {
					t.Errorf("%s, %d lines: cancelled after 1s, it took %v: %v", c.name, said, time.Since(begin), err)
				}
			})
		}
	}
}

// A server that leaves in between is told with the step.
func TestSTARTTLSCutOff(t *testing.T) {
	for _, c := range []struct {
		play func(server *parleytest.Conn)
		want string
	}{
		{func(*parleytest.Conn) {}, "the connection was closed"},
		{func(server *parleytest.Conn) { part(t, server, "< 220-x") }, "the connection was closed"},
		{func(server *parleytest.Conn) { part(t, server, "< 220 x\n> EHLO localhost"); server.Reset() }, "connection reset by peer"},
	} {
		d := Dialer{Network: "tcp", Host: "10.0.0.1", Port: "25", StartTLS: "smtp", TLS: &tls.Config{}, Connect: played(t, c.play)}
		_, _, err := d.Dial(t.Context())
		if got, want := WhyNotConnected("x", 0, err), "cannot connect to x: STARTTLS: "+c.want; got != want || KindOf(err) != TLSFailed {
			t.Errorf("%q (%s), want %q", got, KindOf(err), want)
		}
	}
}

// Whatever a server says, the dialogue ends, and a go-ahead has nothing behind it.
func FuzzSTARTTLS(f *testing.F) {
	for i, c := range startTLSDialogues {
		var said []byte
		for line := range strings.SplitSeq(c.dialogue, "\n") {
			if text, is := strings.CutPrefix(strings.TrimSpace(line), "< "); is {
				said = append(append(said, text...), "\r\n"...)
			}
		}
		f.Add(i, said)
		f.Add(i, append(said, 'x'))
	}
	protocols := StartTLSProtocols()
	f.Fuzz(func(t *testing.T, protocol int, said []byte) {
		d := newDialogue(protocols[uint(protocol)%uint(len(protocols))], bytes.NewReader(said), io.Discard)
		if err := d.run(); err == nil && (len(said) > maxDialogue || said[len(said)-1] != '\n') {
			t.Errorf("%s is granted by %q", d.protocol, said)
		}
	})
}
