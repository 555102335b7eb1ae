package tcpinfo_test

import (
	"io"
	"net"
	"testing"

	"github.com/parley-tcp/parley/internal/tcpinfo"
	"github.com/parley-tcp/parley/internal/tlsconn"
)

// Once bytes have gone both ways there is a round trip, also below TLS; what is no TCP has none.
func TestRoundTripIsKnown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := l.Accept(); err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "x")
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for name, over := range map[string]net.Conn{"plain": conn, "below TLS": tlsconn.Client(conn, nil)} {
		if info, ok := tcpinfo.Of(over); !ok || info.RoundTrip <= 0 || info.Variance <= 0 || info.Retransmits != 0 {
			t.Errorf("%s: %+v, %v; want a round trip and no retransmit", name, info, ok)
		}
	}
	one, other := net.Pipe()
	if info, ok := tcpinfo.Of(one); ok {
		t.Errorf("of a pipe: %+v, want that it is not known", info)
	}
	one.Close()
	other.Close()
	conn.Close()
	<-served
}
