package parley_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// certificate is one that nobody has signed but itself.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// A lateConn has its deadlines come late, as those of a process that did not run.
type lateConn struct {
	net.Conn
	late time.Duration
	set  *atomic.Int64 // how often deadlines were
}

func (c lateConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.later(t)) }

func (c lateConn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.later(t)) }

func (c lateConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.later(t)) }

func (c lateConn) later(t time.Time) time.Time {
	if c.set.Add(1) > 1000 { // made-up time stands still under who waits for nothing
		panic("a connection that fails is tried again and again")
	}
	if t.After(time.Now()) {
		return t.Add(c.late)
	}
	return t
}

// overTLS has srv serve one end of a connection in memory over TLS, in made-up time, and
// returns how that ended.
func overTLS(t *testing.T, srv *parley.Server, late time.Duration, client func(c net.Conn)) (end parley.Event) {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan parley.Event, 1)
		srv.Observer = parley.ObserverFunc(func(e *parley.Event) {
			if e.Kind == parley.Closed || e.Kind == parley.HandshakeFailed {
				ends <- *e
			}
		})
		near, far := parleytest.ConnPair()
		var served sync.WaitGroup
		served.Go(func() { srv.ServeConn(tls.Server(lateConn{far, late, new(atomic.Int64)}, config)) })
		client(near)
		end = <-ends
		near.Close()
		served.Wait()
	})
	return end
}

// A TLS connection of which a clock has cut off a write takes nothing more: that is not tried
// again and again, also if the clock was looked at late.
func TestTLSPeerThatDoesNotRead(t *testing.T) {
	for _, late := range []time.Duration{0, 10 * time.Second} {
		srv := &parley.Server{WriteTimeout: 10 * time.Second, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			return append(dst, make([]byte, 1<<20)...), nil
		})}
		end := overTLS(t, srv, late, func(c net.Conn) {
			io.WriteString(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), "x\n")
		})
		if want := 10*time.Second + late; end.Reason != parley.WriteTimeout || end.Took != want {
			t.Errorf("closed for %v, %v after %v; want write_timeout after %v", end.Reason, end.Err, end.Took, want)
		}
	}
}

// An answeringConn writes when it reads what begins with an m, as TLS answers some of what it
// reads, and there is no room for that.
type answeringConn struct {
	*parleytest.Conn
	cutOff chan struct{} // receives if a deadline has such a write end
}

func (c answeringConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && p[0] == 'm' {
		<-c.cutOff
	}
	return n, err
}

func (c answeringConn) SetDeadline(t time.Time) error {
	if t.Before(time.Now()) {
		c.cutOff <- struct{}{}
	}
	return c.Conn.SetDeadline(t)
}

// What a connection writes of its own while what it reads is discarded keeps no session for ever.
func TestConnThatAnswersWhatIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			return append(dst, make([]byte, 1<<20)...), parley.ErrHangUp
		})}
		near, far := parleytest.ConnPair()
		var served sync.WaitGroup
		served.Go(func() { srv.ServeConn(answeringConn{far, make(chan struct{}, 1)}) })
		io.WriteString(near, "x\n")
		synctest.Wait()
		io.WriteString(near, "more\n")
		synctest.Wait()
		if got := readToEnd(t, near); len(got) != 1<<20+1 {
			t.Errorf("%d bytes came, want a mebibyte and its newline", len(got))
		}
		near.Close()
		served.Wait()
	})
}

// Over TLS too who holds most is woken, told so and ended, and no other notices.
func TestTLSPeerEndedForMemoryIsTold(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	synctest.Test(t, func(t *testing.T) {
		srv := &parley.Server{Handler: echo, MaxHeld: 100 << 10}
		var served sync.WaitGroup
		dial := func(bytes int) *tls.Conn {
			near, far := parleytest.ConnPair()
			served.Go(func() { srv.ServeConn(tls.Server(far, config)) })
			c := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
			io.WriteString(c, strings.Repeat("x", bytes))
			synctest.Wait()
			return c
		}
		largest, other := dial(50000), dial(40000)
		if got := readToEnd(t, largest); got != outOfMemory {
			t.Errorf("who held most got %.60q, want the error text", got)
		}
		finish(t, other, 40000)
		largest.Close()
		other.Close()
		served.Wait()
		if held := srv.Held(); held != 0 {
			t.Errorf("%d bytes are held in the end", held)
		}
	})
}

// A fullConn writes a lot when it reads what begins with an m.
type fullConn struct{ *parleytest.Conn }

func (c fullConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && p[0] == 'm' {
		c.Conn.Write(make([]byte, 1<<20))
	}
	return n, err
}

// Nor does what it writes of its own while it is read.
func TestConnThatAnswersWhatIsRead(t *testing.T) {
	for name, text := range map[string]string{"first": "more", "later": "x\nmore"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := make(chan parley.Event, 1)
				srv := &parley.Server{Handler: echo, Observer: endings(ends), IdleTimeout: time.Minute, RequestTimeout: time.Minute}
				near, far := parleytest.ConnPair()
				var served sync.WaitGroup
				served.Go(func() { srv.ServeConn(fullConn{far}) })
				for part := range strings.Lines(text) {
					io.WriteString(near, part)
					synctest.Wait()
				}
				if end := <-ends; end.Took > 2*time.Minute {
					t.Errorf("closed for %v, %v after %v", end.Reason, end.Err, end.Took)
				}
				near.Close()
				served.Wait()
			})
		})
	}
}

// A TLS connection that takes nothing more is closed at once: that this is the end is not said to
// a peer that has no room for it.
func TestTLSPeerThatDoesNotReadIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed time.Time
		srv := &parley.Server{
			WriteTimeout: 10 * time.Second,
			Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				return append(dst, make([]byte, 1<<20)...), nil
			}),
			Observer: parley.ObserverFunc(func(e *parley.Event) {
				if e.Kind == parley.Closed {
					closed = time.Now()
				}
			}),
		}
		near, far := parleytest.ConnPair()
		defer near.Close()
		go io.WriteString(tls.Client(near, clientTLS), "x\n")
		srv.ServeConn(tls.Server(far, serverTLS))
		if held := time.Since(closed); closed.IsZero() || held > 0 {
			t.Errorf("the connection was held for %v after the session's end", held)
		}
	})
}
