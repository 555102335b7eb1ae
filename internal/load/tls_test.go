package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/internal/tlsconn"
	"github.com/parley-tcp/parley/parleytest"
)

// selfSigned is a certificate for 127.0.0.1, and who trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(signed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// serveTLS has an echo over TLS. The dialers are for it; closed waits for its sessions to end and
// says how they did.
func serveTLS(t *testing.T) (dialer func(*tls.Config) dial.Dialer, closed func() map[parley.CloseReason]int) {
	t.Helper()
	certificate, roots := selfSigned(t)
	var mu sync.Mutex
	reasons := map[parley.CloseReason]int{}
	open := 0
	srv := &parley.Server{MaxRequest: 1 << 20,
		Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }),
		Observer: parley.ObserverFunc(func(e *parley.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case parley.Opened:
				open++
			case parley.Closed:
				open--
				reasons[e.Reason]++
			}
		}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, srv, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	host, port, _ := net.SplitHostPort(l.Addr().String())
	dialer = func(config *tls.Config) dial.Dialer {
		config.RootCAs = roots
		return dial.Dialer{Network: "tcp", Host: host, Port: port, Timeout: 30 * time.Second, TLS: config}
	}
	return dialer, func() map[parley.CloseReason]int {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			if open == 0 || time.Now().After(deadline) {
				defer mu.Unlock()
				return reasons
			}
			mu.Unlock()
		}
	}
}

// Over TLS every mode counts right, each handshake is timed, and no connection is left without its
// end having been said.
func TestRunsOverTLS(t *testing.T) {
	dialer, closed := serveTLS(t)
	exact, _ := expect.Parse("exact")
	small, large := ParseMessages([]byte("{n}/{conn}")), SizedMessages(40_000)
	for version, plans := range map[uint16]map[string]Plan{
		tls.VersionTLS12: {
			"closed loop, pipelined": {Messages: small, Requests: 1000, InFlight: 16},
			"a connection each":      {Messages: small, Requests: 8, ConnectEach: true},
		},
		tls.VersionTLS13: {
			"closed loop":                  {Messages: small, Requests: 200},
			"closed loop, pipelined":       {Messages: small, Requests: 1000, InFlight: 16},
			"closed loop, large":           {Messages: large, Requests: 32, InFlight: 4},
			"open loop":                    {Messages: small, Requests: 200, Rate: 20000},
			"open loop, pipelined":         {Messages: small, Requests: 1000, Rate: 50000, InFlight: 8},
			"a connection each":            {Messages: small, Requests: 16, ConnectEach: true},
			"a connection each, large":     {Messages: SizedMessages(100_000), Requests: 5, ConnectEach: true},
			"a connection each, at a rate": {Messages: small, Requests: 16, ConnectEach: true, Rate: 1000},
		},
	} {
		for name, plan := range plans {
			d := dialer(&tls.Config{MinVersion: version, MaxVersion: version})
			plan.Dial, plan.Expect, plan.Connections = d.Dial, exact, 4
			r, err := plan.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Replies != plan.Requests || r.Failed() || len(r.Errors) > 0 {
				t.Errorf("%s, %s: %d replies of %d, %d mismatched, %d missing, %d late, %d extra, errors %v",
					tls.VersionName(version), name, r.Replies, plan.Requests, r.Mismatched, r.Missing, r.Late, r.Extra, r.Errors)
			}
			if r.Handshake.Count() != int64(r.Connects) || r.Handshake.Min() == 0 || r.Resumed != 0 {
				t.Errorf("%s, %s: %d connections, %d handshakes, the shortest of %v, %d resumed; want all, more than 0s, none",
					tls.VersionName(version), name, r.Connects, r.Handshake.Count(), r.Handshake.Min(), r.Resumed)
			}
		}
	}
	for reason, n := range closed() {
		if reason != parley.EndOfFile && reason != parley.NoRequest { // the latter of trying to connect
			t.Errorf("%d sessions ended with %v", n, reason)
		}
	}
}

// Where nobody replies what is taken is counted over TLS too, and all of it arrives.
func TestTakenOverTLS(t *testing.T) {
	dialer, closed := serveTLS(t)
	d := dialer(&tls.Config{})
	for _, each := range []bool{false, true} {
		plan := Plan{Dial: d.Dial, Replies: parley.NoReplies, Messages: ParseMessages([]byte("{n}")), Requests: 20, Connections: 2, ConnectEach: each}
		r, err := plan.Run(t.Context())
		if err != nil || r.Taken != 20 || r.Failed() || len(r.Errors) > 0 || r.Write.Count() != 20 {
			t.Errorf("connect each %v: %+v, %v; want 20 taken", each, r, err)
		}
	}
	for reason, n := range closed() {
		if reason != parley.EndOfFile && reason != parley.NoRequest {
			t.Errorf("%d sessions ended with %v", n, reason)
		}
	}
}

// Sessions that were resumed are counted, and there are none without a cache for them.
func TestResumedSessionsAreCounted(t *testing.T) {
	dialer, _ := serveTLS(t)
	exact, _ := expect.Parse("exact")
	for _, c := range []struct {
		cache tls.ClientSessionCache
		want  uint64
	}{{nil, 0}, {tls.NewLRUClientSessionCache(0), 19}} { // all but the first
		d := dialer(&tls.Config{ClientSessionCache: c.cache})
		plan := Plan{Dial: d.Dial, Messages: ParseMessages([]byte("{n}")), Expect: exact, Requests: 20, ConnectEach: true}
		r, err := plan.Run(t.Context())
		if err != nil || r.Replies != 20 || r.Resumed != c.want || r.Handshake.Count() != 20 {
			t.Errorf("%d replies, %d resumed of %d handshakes, %v; want 20, %d", r.Replies, r.Resumed, r.Handshake.Count(), err, c.want)
		}
	}
}

// The poller of sockets would read and write below TLS.
func TestNoPollerOverTLS(t *testing.T) {
	dialer, _ := serveTLS(t)
	d := dialer(&tls.Config{})
	conn, _, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := newWorker(newRun(&Plan{Messages: ParseMessages(nil)}), 0)
	w.conn = conn
	w.workers = []*worker{w}
	defer w.startPollers()()
	if w.poller != nil {
		t.Error("there is a poller for a connection of TLS")
	}
}

// A connection is given up at once, though its peer takes nothing: not even that TLS ends.
func TestStuckTLSPeerIsLeftAtOnce(t *testing.T) {
	certificate, _ := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := parleytest.ConnPair()
		defer far.Close()
		client := tlsconn.Client(near, &tls.Config{InsecureSkipVerify: true})
		go tlsconn.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate}}).HandshakeContext(t.Context())
		if err := client.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		client.SetDeadline(time.Now().Add(time.Second))
		for err := error(nil); err == nil; {
			_, err = client.Write(make([]byte, 1<<20))
		}
		begin := time.Now()
		closeAtOnce(client)
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %v", took)
		}
		if _, err := near.Read(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it is not closed: %v", err)
		}
	})
}

// Why TLS failed is told in words, once: with TLS 1.3 a server says only after the handshake that it
// wants a certificate.
func TestWhyTLSFailedIsTold(t *testing.T) {
	certificate, roots := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })
	parleytest.Serve(t, &parley.Server{Handler: echo}, parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert}))
	host, port, _ := net.SplitHostPort(l.Addr().String())
	d := dial.Dialer{Network: "tcp", Host: host, Port: port, Timeout: 30 * time.Second, TLS: &tls.Config{RootCAs: roots}}
	for _, each := range []bool{false, true} {
		plan := Plan{Dial: d.Dial, Messages: ParseMessages([]byte("{n}")), Duration: 100 * time.Millisecond, ConnectEach: each}
		r, err := plan.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := "the server wants a client certificate; --cert and --key name one"; r.NoTLS != want || r.Errors[dial.TLSFailed] == 0 {
			t.Errorf("%q, errors %v; want %q", r.NoTLS, r.Errors, want)
		}
	}
}
