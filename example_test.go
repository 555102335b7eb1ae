package parley_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"github.com/parley-tcp/parley"
)

// serveExample serves on a free port; stop closes.
func serveExample(srv *parley.Server) (addr string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }()
	return l.Addr().String(), func() {
		srv.Shutdown(context.Background())
		<-served
	}
}

// The seed's conversation.
func ExampleParseTemplate() {
	seed, err := parley.ParseTemplate(parley.DefaultReply, nil)
	if err != nil {
		panic(err)
	}
	addr, stop := serveExample(&parley.Server{Handler: seed})
	defer stop()

	ctx := context.Background()
	client, err := parley.Dial(ctx, addr)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, request := range []string{"session 1 msg 1", "session 1 msg 2"} {
		reply, err := client.Do(ctx, []byte(request))
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", reply)
	}
	// Output:
	// Request #1 - session 1 msg 1 ...
	// Request #1 - session 1 msg 2 ...
}

// A server that speaks TLS, and greets its clients by the name in their certificates.
func ExampleNewTLSListener() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	srv := &parley.Server{Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		return fmt.Appendf(dst, "Hello %q over %s", req.Session.TLSName(), req.Session.TLSVersion()), nil
	})}
	served := make(chan error)
	go func() {
		served <- srv.Serve(parley.NewTLSListener(l, &tls.Config{Certificates: []tls.Certificate{certificate()}}))
	}()

	ctx := context.Background()
	dialer := parley.Dialer{TLS: &tls.Config{InsecureSkipVerify: true}} // in earnest: RootCAs
	client, err := dialer.Dial(ctx, l.Addr().String())
	if err != nil {
		panic(err)
	}
	reply, err := client.Do(ctx, []byte("hello"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", reply)
	client.Close()
	srv.Shutdown(ctx)
	<-served
	// Output: Hello "" over TLS 1.3
}

// Several requests are sent before the first reply is read.
func ExampleClient_Send() {
	addr, stop := serveExample(&parley.Server{Handler: echo})
	defer stop()

	ctx := context.Background()
	client, err := parley.Dial(ctx, addr)
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, request := range []string{"a", "b", "c"} {
		client.Send(ctx, []byte(request))
	}
	client.CloseWrite()
	for {
		reply, err := client.Receive(ctx)
		if err == io.EOF {
			break
		}
		fmt.Printf("%s\n", reply)
	}
	// Output:
	// a
	// b
	// c
}

// An observer sees how each conversation ended.
func ExampleObserverFunc() {
	ended := make(chan string)
	addr, stop := serveExample(&parley.Server{Handler: echo, Observer: parley.ObserverFunc(func(e *parley.Event) {
		if e.Kind == parley.Closed {
			ended <- fmt.Sprintf("session %d: %d requests, %v", e.Session.Number(), e.Seq, e.Reason)
		}
	})})
	defer stop()

	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "one\ntwo\n\n") // a blank line ends the conversation
	fmt.Println(<-ended)
	// Output: session 1: 2 requests, blank
}
