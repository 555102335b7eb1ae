// Package parleytest serves for the time of a test, as net/http/httptest does.
package parleytest

import (
	"errors"
	"net"
	"testing"

	"github.com/parley-tcp/parley"
)

// Start serves srv on a free port of the loopback interface until the test ends, and
// returns its address.
func Start(t testing.TB, srv *parley.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, srv, l)
	return l.Addr().String()
}

// Serve serves srv on l until the test ends.
func Serve(t testing.TB, srv *parley.Server, l net.Listener) {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; !errors.Is(err, parley.ErrServerClosed) {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
}

// Pipe has srv serve one connection in memory until the test ends, and returns the
// client's end. It works inside a testing/synctest bubble.
func Pipe(t testing.TB, srv *parley.Server) *Conn {
	client, server := ConnPair()
	served := make(chan error, 1)
	go func() { served <- srv.ServeConn(server) }()
	t.Cleanup(func() {
		client.Close()
		if err := <-served; err != nil {
			t.Errorf("ServeConn = %v, want nil", err)
		}
	})
	return client
}
