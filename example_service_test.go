package parley_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"time"

	"github.com/parley-tcp/parley"
)

// dialExample connects to what serveExample serves.
func dialExample(d parley.Dialer, addr string) *parley.Client {
	client, err := d.Dial(context.Background(), addr)
	if err != nil {
		panic(err)
	}
	return client
}

// ask sends each request and prints its reply.
func ask(client *parley.Client, requests ...string) {
	for _, request := range requests {
		reply, err := client.Do(context.Background(), []byte(request))
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", reply)
	}
}

// The shortest server there is.
func ExampleListenAndServe() {
	upper := func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.ToUpper(req.Body)...), nil
	}
	log.Fatal(parley.ListenAndServe(":6969", parley.HandlerFunc(upper)))
}

// Each session has a sum of its own. Requests of one session come one after the other, so there is
// nothing to lock.
func ExampleSession_state() {
	sum := func(dst []byte, req *parley.Request) ([]byte, error) {
		total, _ := req.Session.Data.(int) // 0 at the first request
		var n int
		if _, err := fmt.Sscan(string(req.Body), &n); err != nil {
			return append(dst, "not a number"...), nil
		}
		total += n
		req.Session.Data = total
		return fmt.Append(dst, total), nil
	}
	addr, stop := serveExample(&parley.Server{Handler: parley.HandlerFunc(sum)})
	defer stop()

	first, second := dialExample(parley.Dialer{}, addr), dialExample(parley.Dialer{}, addr)
	defer first.Close()
	defer second.Close()
	ask(first, "1", "2")
	ask(second, "40")
	ask(first, "3")
	// Output:
	// 1
	// 3
	// 40
	// 6
}

// Clients show a certificate, and are called by the name in it.
func ExampleSession_TLSName() {
	server, alice := certificateFor("localhost"), certificateFor("alice")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return fmt.Appendf(dst, "Hello %s over %s", req.Session.TLSName(), req.Session.TLSVersion()), nil
	})}
	served := make(chan error)
	go func() {
		served <- srv.Serve(parley.NewTLSListener(l, &tls.Config{
			Certificates: []tls.Certificate{server},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    trusting(alice),
		}))
	}()

	client := dialExample(parley.Dialer{TLS: &tls.Config{
		Certificates: []tls.Certificate{alice},
		RootCAs:      trusting(server),
		ServerName:   "localhost",
	}}, l.Addr().String())
	ask(client, "hi")
	client.Close()
	srv.Shutdown(context.Background())
	<-served
	// Output: Hello alice over TLS 1.3
}

// certificateFor makes a certificate that vouches for itself; in earnest a CA does.
func certificateFor(name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func trusting(c tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Leaf)
	return pool
}

// Records is a framing of one's own: every message has this many bytes, filled up with blanks.
type Records int

// Next takes a record once all of it is there.
func (size Records) Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error) {
	switch {
	case int(size) > max:
		return 0, nil, parley.ErrTooLong
	case len(buf) < int(size):
		return 0, nil, nil // more bytes are to come
	}
	return int(size), bytes.TrimRight(buf[:size], " "), nil
}

// Begin has nothing to put before a record.
func (size Records) Begin(dst []byte) []byte { return dst }

// End fills the record up that begins at start.
func (size Records) End(dst []byte, start int) ([]byte, error) {
	lacks := int(size) - (len(dst) - start)
	if lacks < 0 {
		return dst, fmt.Errorf("longer than a record of %d bytes", size)
	}
	return append(dst, bytes.Repeat([]byte(" "), lacks)...), nil
}

// A framing of one's own, for both sides.
func ExampleFraming() {
	addr, stop := serveExample(&parley.Server{Framing: Records(8), Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return append(dst, bytes.ToUpper(req.Body)...), nil
	})})
	defer stop()

	client := dialExample(parley.Dialer{Framing: Records(8)}, addr)
	defer client.Close()
	ask(client, "one", "two")
	_, err := client.Do(context.Background(), []byte("a long one"))
	fmt.Println(err)
	// Output:
	// ONE
	// TWO
	// parley: this framing cannot carry the request: longer than a record of 8 bytes
}

// A Ledger keeps every exchange before its reply leaves. Meanwhile other sessions go on.
type Ledger struct{ kept chan string }

// Pass holds the session and has what it was asked about kept.
func (l *Ledger) Pass(s *parley.Session, batch []parley.Exchange) bool {
	var lines []string
	for _, e := range batch { // valid only until Pass returns
		lines = append(lines, fmt.Sprintf("kept: %s -> %s", e.Request, e.Reply))
	}
	go func() {
		for _, line := range lines {
			l.kept <- line // in earnest: write it, and wait until it is on disk
		}
		s.Release() // now the reply may go
	}()
	return false
}

// A gate holds each reply back until it has been kept.
func ExampleGate() {
	ledger := &Ledger{kept: make(chan string, 1)}
	addr, stop := serveExample(&parley.Server{Handler: echo, Gate: ledger})
	defer stop()

	client := dialExample(parley.Dialer{}, addr)
	defer client.Close()
	ask(client, "pay 5")
	fmt.Println(<-ledger.kept) // it was there before the reply
	// Output:
	// pay 5
	// kept: pay 5 -> pay 5
}

// A drain: who was being answered is answered, and nobody is let in any more.
func ExampleServer_Shutdown() {
	begun, finish := make(chan bool), make(chan bool)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		begun <- true
		<-finish
		return append(dst, "done"...), nil
	})}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()
	client := dialExample(parley.Dialer{}, l.Addr().String())
	defer client.Close()
	client.Send(context.Background(), []byte("work"))
	<-begun

	drained := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // then it cuts
		defer cancel()
		drained <- srv.Shutdown(ctx)
	}()
	close(finish)
	reply, err := client.Receive(context.Background())
	fmt.Printf("reply: %s, %v\n", reply, err)
	_, err = client.Receive(context.Background())
	fmt.Println("then:", err)
	fmt.Println("drained:", <-drained)
	fmt.Println("server closed:", errors.Is(<-served, parley.ErrServerClosed))
	// Output:
	// reply: done, <nil>
	// then: EOF
	// drained: <nil>
	// server closed: true
}
