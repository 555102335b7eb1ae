package tap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// An end is a peer's end of its connection with the tap.
type end interface {
	net.Conn
	CloseWrite() error
}

// A transport is which of the two peers TLS is spoken with, and what engine a tap is to have.
type transport struct {
	name             string
	client, upstream bool
	engine           parley.Engine
}

var (
	plain      = transport{name: "plain"}
	byLoops    = transport{name: "plain, loops", engine: parley.Loops}
	overTLS    = transport{name: "TLS on both sides", client: true, upstream: true}
	transports = append(bothEngines, transport{name: "TLS to the client", client: true}, transport{name: "TLS to the server", upstream: true}, overTLS)
)

// bothEngines are those of this system, or the one that it has.
var bothEngines = func() []transport {
	if !hasLoops {
		return []transport{plain}
	}
	return []transport{plain, byLoops}
}()

const hasLoops = runtime.GOOS == "linux" && runtime.GOARCH != "386"

func (tr transport) isPlain() bool { return !tr.client && !tr.upstream }

// overEach runs a test over every transport.
func overEach(t *testing.T, test func(t *testing.T, tr transport)) { overSome(t, transports, test) }

// overBoth is for tests that take their time, in which the two sides do the same.
func overBoth(t *testing.T, test func(t *testing.T, tr transport)) {
	overSome(t, append(bothEngines, overTLS), test)
}

// overEngines runs a test without TLS, over both engines.
func overEngines(t *testing.T, test func(t *testing.T, tr transport)) { overSome(t, bothEngines, test) }

func overSome(t *testing.T, some []transport, test func(t *testing.T, tr transport)) {
	for _, tr := range some {
		t.Run(tr.name, func(t *testing.T) { test(t, tr) })
	}
}

var (
	serverConfig = &tls.Config{Certificates: []tls.Certificate{makeCertificate()}, SessionTicketsDisabled: true}
	clientConfig = &tls.Config{InsecureSkipVerify: true}
)

// makeCertificate makes one that nobody is to trust.
func makeCertificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// asServer is the server's end of an accepted connection, with its handshake done.
func (tr transport) asServer(conn net.Conn) (end, error) {
	if !tr.upstream {
		return conn.(end), nil
	}
	secured := tlsconn.Server(conn, serverConfig)
	return secured, secured.HandshakeContext(context.Background())
}

// asClient is the client's end of a connection to the tap, with its handshake done.
func (tr transport) asClient(conn net.Conn) (end, error) {
	if !tr.client {
		return conn.(end), nil
	}
	secured := tlsconn.Client(conn, clientConfig)
	return secured, secured.HandshakeContext(context.Background())
}

// listener is what the tap is to serve.
func (tr transport) listener(l net.Listener) net.Listener {
	if !tr.client {
		return l
	}
	return parley.NewTLSListener(l, serverConfig)
}

// dialer is how the tap is to reach the server at upstream.
func (tr transport) dialer(by *net.Dialer, upstream string) func(context.Context, *parley.Session) (net.Conn, error) {
	return func(ctx context.Context, _ *parley.Session) (net.Conn, error) {
		conn, err := by.DialContext(ctx, "tcp", upstream)
		if err != nil || !tr.upstream {
			return conn, err
		}
		secured := tlsconn.Client(conn, clientConfig)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

// startServer has serve called for each connection of a server, until the test ends.
func (tr transport) startServer(t *testing.T, serve func(conn end)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			accepted, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer accepted.Close()
				accepted.SetDeadline(time.Now().Add(patience))
				conn, err := tr.asServer(accepted)
				if err != nil {
					return
				}
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// start starts a tap before the server at upstream until the test ends.
func (tr transport) start(t *testing.T, tap *Tap, upstream string) (addr string) {
	t.Helper()
	dial := tr.dialer(new(net.Dialer), upstream)
	tap.Dial = dial
	if told, ok := tap.Observer.(*record); ok {
		tap.Dial = func(ctx context.Context, client *parley.Session) (net.Conn, error) {
			defer func() { told.dialled <- struct{}{} }()
			return dial(ctx, client)
		}
	}
	return tr.listen(t, tap)
}

// listen starts a tap that has its Dial until the test ends.
func (tr transport) listen(t *testing.T, tap *Tap) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr.serve(t, tap, l)
	return l.Addr().String()
}

func (tr transport) serve(t *testing.T, tap *Tap, l net.Listener) {
	tap.Engine = tr.engine
	serve(t, tap, tr.listener(l))
}

// inDriver calls f, which looks at a session, where no other does so at the same time.
func inDriver(s *session, f func()) {
	d, loops := driverOf(s).(interface{ do(func()) })
	if !loops {
		f()
		return
	}
	done := make(chan struct{})
	d.do(func() { f(); close(done) })
	<-done
}

// driverOf is what passes a session on, nil if nothing does yet.
func driverOf(s *session) driver {
	s.deciding.Lock()
	defer s.deciding.Unlock()
	return s.driver
}

// theSession is that of a tap which has one, nil if it has none yet.
func theSession(tap *Tap) (one *session) {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	for one = range tap.sessions {
	}
	return one
}

func serve(t *testing.T, tap *Tap, l net.Listener) {
	tap.init() // which the test may look at before Serve does
	served := make(chan error, 1)
	go func() { served <- tap.Serve(l) }()
	t.Cleanup(func() {
		tap.Close()
		if err := <-served; err != parley.ErrServerClosed {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
}

// dial connects a client to a tap.
func (tr transport) dial(t *testing.T, addr string) end {
	t.Helper()
	client, err := tr.asClient(dial(t, addr))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// below is the TCP connection of an end.
func below(e end) *net.TCPConn {
	if secured, ok := e.(*tlsconn.Conn); ok {
		return secured.NetConn().(*net.TCPConn)
	}
	return e.(*net.TCPConn)
}

// breakOff resets a peer's connection.
func breakOff(e end) {
	below(e).SetLinger(0)
	below(e).Close()
}
