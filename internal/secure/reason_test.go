package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// What goes wrong is said on both sides.
func TestWhatGoesWrongIsSaidInWords(t *testing.T) {
	ca, other := newSigner(t, "our CA"), newSigner(t, "another CA")
	namesake, oldCA := newSigner(t, "our CA"), newSigner(t, "old CA", expired)
	good := func(o *ServerOptions) { o.Cert, o.Key = ca.pair(t) }
	with := func(change ...func(*x509.Certificate)) func(o *ServerOptions) {
		return func(o *ServerOptions) { o.Cert, o.Key = ca.pair(t, change...) }
	}
	mutual := func(o *ServerOptions) { good(o); o.ClientCA = ca.file }
	old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	pairOf := func(s *signer, change ...func(*x509.Certificate)) func(o *ClientOptions) {
		return func(o *ClientOptions) { o.Cert, o.Key = s.pair(t, change...) }
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("host-%d.%s", i, strings.Repeat("x", 200)))
	}
	manyShown := strings.Repeat("x", 93)
	const distrust = "client does not trust our certificate"
	for _, test := range []struct {
		name           string
		server         func(*ServerOptions)
		client         func(*ClientOptions)
		change         func(*tls.Config) // of the client's
		atClient, here string            // what each side says
	}{
		{"nothing", good, nil, nil, "", ""},
		{"unknown authority", good, func(o *ClientOptions) { o.CA = other.file }, nil,
			"its certificate is signed by nobody we trust, but by CN=our CA; --ca FILE names who", distrust},
		{"the system's authorities", good, func(o *ClientOptions) { o.CA = "" }, nil,
			"its certificate is signed by nobody we trust, but by CN=our CA; --ca FILE names who", distrust},
		{"another of the same name", good, func(o *ClientOptions) { o.CA = namesake.file }, nil,
			"its certificate is signed by nobody we trust, but by another CN=our CA with the same name; --ca FILE names who", distrust},
		{"expired authority", func(o *ServerOptions) { o.Cert, o.Key = oldCA.pair(t) }, func(o *ClientOptions) { o.CA = oldCA.file }, nil,
			"the certificate of CN=old CA, which signed it, expired on 2020-01-02 03:04 UTC", distrust},
		{"self-signed", func(o *ServerOptions) {
			alone := newSigner(t, "alone", named("localhost"))
			text, err := keyPEM(alone.key)
			if err != nil {
				t.Fatal(err)
			}
			o.Cert, o.Key = alone.file, write(t, "key.pem", text)
		}, nil, nil, "its certificate is signed by nobody we trust: it is self-signed; --ca FILE names who", distrust},
		{"wrong name", good, func(o *ClientOptions) { o.ServerName = "db.internal" }, nil,
			"the certificate is for localhost, 127.0.0.1, not for db.internal; --server-name NAME says whom to expect", distrust},
		{"a thousand names", with(named(many...)), nil, nil,
			"the certificate is for host-0." + manyShown + "…, host-1." + manyShown + "…, host-2." + manyShown + "…, host-3." + manyShown + "…, host-4." + manyShown +
				"… and 995 more, not for localhost; --server-name NAME says whom to expect", distrust},
		{"no name", with(forNobody), nil, nil,
			"the certificate names no host, so it is not for localhost either; only subject alternative names count, not its subject CN=a leaf", distrust},
		{"expired", with(expired), nil, nil, "its certificate expired on 2020-01-02 03:04 UTC", distrust},
		{"not yet valid", with(notYet), nil, nil, "its certificate is not valid before 2100-01-02 03:04 UTC; is the clock right?", distrust},
		{"for clients", with(forClients), nil, nil, "its certificate is not one for servers (extended key usage)", distrust},
		{"old client", good, nil, old, "no common version: the server speaks neither TLS 1.2 nor 1.3", "no common version: client speaks TLS 1.1 at most, and TLS 1.2 is the least"},
		{"no common cipher", good, nil, func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}, "the server agrees to none of our ciphers and key exchanges, or wants a client certificate (--cert and --key)", "no common cipher"},
		{"no common protocol", func(o *ServerOptions) { good(o); o.ALPN = []string{"h2"} }, func(o *ClientOptions) { o.ALPN = []string{"imap", "x\n"} }, nil,
			"no common protocol: the server speaks none of those of --alpn", `no common protocol: client speaks only "imap" "x\n"`},
		{"protocol of the client only", good, func(o *ClientOptions) { o.ALPN = []string{"imap"} }, nil, "", ""},
		{"protocol of the server only", func(o *ServerOptions) { good(o); o.ALPN = []string{"h2"} }, nil, nil, "", ""},
		{"both have certificates", mutual, pairOf(ca), nil, "", ""},
		{"no client certificate", mutual, nil, nil, "the server wants a client certificate; --cert and --key name one", "client sent no certificate"},
		{"no client certificate, TLS 1.2", mutual, nil, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
			"the server agrees to none of our ciphers and key exchanges, or wants a client certificate (--cert and --key)", "client sent no certificate"},
		{"client certificate of another CA", mutual, pairOf(other), nil,
			"the server rejects our client certificate: it does not trust who signed it", "client's certificate is not signed by our --tls-client-ca, but by CN=another CA"},
		{"expired client certificate", mutual, pairOf(ca, expired), nil,
			"the server rejects our client certificate: it has expired", "client's certificate expired on 2020-01-02 03:04 UTC"},
		{"client certificate for servers", mutual, pairOf(ca, forServers), nil,
			"the server rejects our client certificate, or that there is none; --cert and --key name one", "client's certificate is not one for clients (extended key usage)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var server ServerOptions
			client := ClientOptions{CA: ca.file}
			test.server(&server)
			if test.client != nil {
				test.client(&client)
			}
			config := openClient(t, client)
			if test.change != nil {
				test.change(config)
			}
			s := serve(t, open(t, server).Config())
			_, err := converse(s.addr, config)
			end := s.why(t)
			if got := Reason(err); got != test.atClient || (err == nil) != (test.atClient == "") {
				t.Errorf("the client says %q\nwant            %q\nof %v", got, test.atClient, err)
			}
			if got := ServerReason(end); got != test.here || (end == nil) != (test.here == "") {
				t.Errorf("the server says %q\nwant            %q\nof %v", got, test.here, end)
			}
			if test.name != "a thousand names" {
				inManual(t, test.atClient)
				inManual(t, test.here)
			}
		})
	}
}

// A server hears all sorts of things that are no TLS.
func TestWhatIsNoTLSIsSaidByTheServer(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	s := serve(t, open(t, ServerOptions{Cert: cert, Key: key}).Config())
	for sent, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "plain bytes on the TLS port",
		"x\n":                    "plain bytes on the TLS port",
		"\x16\x61\x62\x63\x64":   "plain bytes on the TLS port",
		"":                       "client closed the connection during the TLS handshake",
		"\x16\x03\x01\x00\x05ab": "client closed the connection during the TLS handshake",
		"\x80\x2e\x01\x00\x02" + strings.Repeat("\x00", 41): "no common version: client began with SSL 2.0",
		"\x16\x03\x01\xff\xff":                              "what client sent breaks the rules of TLS: oversized record received with length 65535",
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00":          "what client sent breaks the rules of TLS: error decoding message",
		"\x16\x03\x01\x00\x04\x02\x00\x00\x00":              "what client sent breaks the rules of TLS: error decoding message",
		"\x15\x03\x01\x00\x02\x02\x28":                      "client agrees to no cipher or key exchange of ours",
		"\x15\x03\x01\x00\x02\x02\x0a":                      "client ended the handshake or the session: unexpected message",
		"\x15\x03\x01\x00\x02\x02\xfe":                      "client ended the handshake or the session: alert(254)",
		string(hello(0x0300)):                               "no common version: client speaks none that we know, and TLS 1.2 is the least",
		string(hello(0x0302)):                               "no common version: client speaks TLS 1.1 at most, and TLS 1.2 is the least",
	} {
		raw, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(raw, sent)
		raw.(*net.TCPConn).CloseWrite()
		end := s.why(t)
		raw.Close()
		if got := ServerReason(end); got != want {
			t.Errorf("of %q the server says %q, want %q, of %v", sent, got, want, end)
		}
		if !strings.Contains(want, "breaks the rules") && !strings.Contains(want, "ended the handshake") && !strings.Contains(want, "agrees to no") {
			inManual(t, want)
		}
	}
}

// hello is the first that a client of an old version sends.
func hello(version uint16) []byte {
	v := []byte{byte(version >> 8), byte(version)}
	body := append(append([]byte{}, v...), make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0, 0x2f, 1, 0)
	message := append([]byte{1, 0, 0, byte(len(body))}, body...)
	return append([]byte{0x16, v[0], v[1], 0, byte(len(message))}, message...)
}

// A client hears all sorts of things too.
func TestWhatIsNoTLSIsSaidByTheClient(t *testing.T) {
	const notTLS = "the server does not speak TLS on this port"
	for sent, want := range map[string]string{
		"220 mail.internal ESMTP\r\n":  notTLS,
		"HTTP/1.1 400 Bad Request\r\n": notTLS,
		"\x16\x03\x03\xff\xff":         notTLS,
		"":                             "the server closed the connection during the TLS handshake",
		"\x15\x03\x01\x00\x02\x02\x46": "no common version: the server speaks neither TLS 1.2 nor 1.3",
		"\x15\x03\x01\x00\x02\x02\x70": "the server does not know the name that it was asked for; --server-name gives another",
		"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x02" + strings.Repeat("r", 32) + "\x00\xc0\x2f\x00": "no common version: the server speaks TLS 1.1 at most, and TLS 1.2 is the least",
	} {
		near, far := net.Pipe()
		var answering sync.WaitGroup
		answering.Go(func() {
			far.Read(make([]byte, 4096)) // the hello
			io.WriteString(far, sent)
			far.Close()
		})
		err := tlsconn.Client(near, &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS12}).HandshakeContext(context.Background())
		near.Close()
		answering.Wait()
		if got := Reason(err); got != want {
			t.Errorf("of %q the client says %q, want %q, of %v", sent, got, want, err)
		}
		inManual(t, want)
	}
}

func TestReasonsOfHandshakesThatEnd(t *testing.T) {
	read := func(err error) error { return &net.OpError{Op: "read", Err: os.NewSyscallError("read", err)} }
	for _, test := range []struct {
		err                error
		atClient, atServer string
	}{
		{nil, "", ""},
		{io.EOF, "the server closed the connection during the TLS handshake", "client closed the connection during the TLS handshake"},
		{fmt.Errorf("a handshake: %w", io.ErrUnexpectedEOF), "the server closed the connection during the TLS handshake", "client closed the connection during the TLS handshake"},
		{read(syscall.ECONNRESET), "the server reset the connection during the TLS handshake", "client reset the connection during the TLS handshake"},
		{context.DeadlineExceeded, "the server did not finish the TLS handshake in time", "client did not finish the TLS handshake in time"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "the server did not finish the TLS handshake in time", "client did not finish the TLS handshake in time"},
		{fmt.Errorf("session 1: %w", tlsconn.ErrTruncated), "the connection ended without TLS saying so (close_notify): what came may be cut short", "the connection ended without TLS saying so (close_notify): what came may be cut short"},
		{&tls.CertificateVerificationError{Err: x509.SystemRootsError{}}, "the system has no list of CAs that can be read; --ca FILE names whom to trust", "the system has no list of CAs that can be read; --ca FILE names whom to trust"},
		{tls.RecordHeaderError{Msg: "tls: x", RecordHeader: [5]byte{'4', '2', '1', ' ', 'l'}}, `the server has left TLS: what came is plain ("421 l")`, `client has left TLS: what came is plain ("421 l")`},
		// What is about no TLS is left to others.
		{context.Canceled, "", ""},
		{errors.New("the weather"), "", ""},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "", ""},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNRESET)}, "", ""},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "", ""},
		{&net.DNSError{Err: "no answer", IsTimeout: true}, "", ""},
	} {
		if atClient, atServer := Reason(test.err), ServerReason(test.err); atClient != test.atClient || atServer != test.atServer {
			t.Errorf("%v is %q and %q, want %q and %q", test.err, atClient, atServer, test.atClient, test.atServer)
		}
		inManual(t, test.atClient)
		inManual(t, test.atServer)
	}
}

// Certificates are what their peers made them.
func TestReasonsAreALineThatIsNotTooLong(t *testing.T) {
	hostile := strings.Repeat("a\nb\r\x1b[31m\xff ", 1000)
	ca := newSigner(t, strings.ToValidUTF8(hostile, "ä"))
	leaf := &x509.Certificate{DNSNames: []string{hostile, hostile, hostile, hostile, hostile, hostile}, Subject: ca.cert.Subject, Issuer: ca.cert.Subject, RawIssuer: []byte("x")}
	verification := func(err error) error {
		return fmt.Errorf("%s: %w", hostile, &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf}, Err: err})
	}
	for _, err := range []error{
		verification(x509.UnknownAuthorityError{Cert: leaf}),
		verification(x509.HostnameError{Certificate: leaf, Host: hostile}),
		verification(x509.HostnameError{Certificate: ca.cert, Host: hostile}),
		verification(x509.CertificateInvalidError{Cert: ca.cert, Reason: x509.Expired, Detail: hostile}),
		verification(x509.CertificateInvalidError{Cert: ca.cert, Reason: x509.CANotAuthorizedForThisName, Detail: hostile}),
		verification(errors.New(hostile)),
		errors.New("tls: " + hostile),
		errors.New("tls: client requested unsupported application protocols ([" + hostile + "])"),
		tls.RecordHeaderError{Msg: "tls: " + hostile},
	} {
		for _, text := range []string{Reason(err), ServerReason(err)} {
			if text == "" || len(text) > longestReason || strings.ContainsAny(text, "\r\n") || strings.HasSuffix(text, "…") && len(text) > 900 {
				t.Errorf("%T is %d bytes: %.100q…%.100q", errors.Unwrap(err), len(text), text, text[max(0, len(text)-100):])
			}
		}
	}
	if text := cut("ä", 1); text != "…" || !utf8.ValidString(text) {
		t.Errorf("half a letter is cut to %q", text)
	}
}

func TestTheClockOfTheVerificationCounts(t *testing.T) {
	ca := newSigner(t, "our CA")
	cert, key := ca.pair(t)
	pair, err := loadPair(os.ReadFile, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
	for _, test := range []struct {
		name string
		at   time.Duration
		want string
	}{
		{"localhost", 0, ""},
		{"127.0.0.1", 0, ""},
		{"example.com", 0, "the certificate is for localhost, 127.0.0.1, not for example.com; --server-name NAME says whom to expect"},
		{"localhost", 2 * time.Hour, "its certificate expired on " + dateOf(pair.Leaf.NotAfter)},
		{"localhost", -2 * time.Hour, "its certificate is not valid before " + dateOf(pair.Leaf.NotBefore) + "; is the clock right?"},
	} {
		err := Verify(state, roots, test.name, time.Now().Add(test.at))
		if got := Reason(err); got != test.want || (err == nil) != (test.want == "") {
			t.Errorf("%s at %v: %q, want %q, of %v", test.name, test.at, got, test.want, err)
		}
	}
	if err := Verify(tls.ConnectionState{}, roots, "x", time.Now()); Reason(err) != "the server has no certificate" {
		t.Errorf("without a certificate: %v", err)
	}
}
