package parley_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A server listens by itself, ends as any other does, and says why it cannot.
func TestListenAndServe(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := taken.Addr().String()
	if err := parley.ListenAndServe(addr, echo); err == nil || !strings.Contains(err.Error(), "address already in use") && !strings.Contains(err.Error(), "Only one usage") {
		t.Errorf("at a port in use: %v", err)
	}
	if err := parley.ListenAndServe("nowhere", echo); err == nil || !strings.Contains(err.Error(), "missing port") {
		t.Errorf("without a port: %v", err)
	}
	taken.Close()
	srv := &parley.Server{Handler: echo}
	served := make(chan error)
	go func() { served <- srv.ListenAndServe(addr) }()
	var client *parley.Client
	for deadline := time.Now().Add(patience); client == nil; {
		if client, err = parley.Dial(t.Context(), addr); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer client.Close()
	if reply, err := client.Do(t.Context(), []byte("x")); string(reply) != "x" || err != nil {
		t.Errorf("the reply is %q, %v", reply, err)
	}
	srv.Shutdown(t.Context())
	if err := <-served; !errors.Is(err, parley.ErrServerClosed) {
		t.Errorf("it ended with %v", err)
	}
}

// Without a Handler nothing is served: the error says so, and nobody is left hanging.
func TestServerWithoutAHandler(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, server := parleytest.ConnPair()
	var srv parley.Server
	for name, err := range map[string]error{
		"Serve": srv.Serve(l), "ServeConn": srv.ServeConn(server), "ListenAndServe": srv.ListenAndServe("127.0.0.1:0"), "the function": parley.ListenAndServe("127.0.0.1:0", nil),
	} {
		if err == nil || !strings.Contains(err.Error(), "Handler is nil") {
			t.Errorf("%s says %v", name, err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is left open: %v", err)
	}
}

// An empty request ends the conversation, or is answered, as the server has it.
func TestDoWithAnEmptyRequest(t *testing.T) {
	for name, framing := range map[string]parley.Framing{"lines": parley.Lines, "length": parley.Length{}, "netstring": parley.Netstring, "delimited": parley.Delimited(0)} {
		for _, keep := range []bool{false, true} {
			srv := &parley.Server{Framing: framing, KeepBlank: keep, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
				return append(dst, "re"...), nil
			})}
			client := parley.NewClient(parleytest.Pipe(t, srv), framing)
			reply, err := client.Do(t.Context(), nil)
			if want := map[bool]string{false: "", true: "re"}[keep]; string(reply) != want || keep && err != nil || !keep && err != io.EOF {
				t.Errorf("%s, KeepBlank %v: got %q, %v", name, keep, reply, err)
			}
			client.Close()
		}
	}
	client := parley.NewClient(parleytest.Pipe(t, &parley.Server{Handler: echo}), parley.OctetCounted)
	defer client.Close()
	if _, err := client.Do(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "there is no empty message") {
		t.Errorf("with octets: %v", err)
	}
}
