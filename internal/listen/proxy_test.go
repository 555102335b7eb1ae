package listen_test

import (
	"context"
	"net"
	"testing"

	"github.com/parley-tcp/parley/internal/accept"
	"github.com/parley-tcp/parley/internal/listen"
)

func TestHeaderNamesTheClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	trust, err := listen.NewTrust([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	behind := (&listen.Proxies{Trust: trust}).Listen(l)
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	peer.Write([]byte("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\nhello\n"))
	conn, err := behind.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(accept.Handshaker).HandshakeContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := conn.RemoteAddr().String(); got != "203.0.113.7:4711" {
		t.Errorf("RemoteAddr = %v", got)
	}
	buf := make([]byte, 100)
	n, _ := conn.Read(buf)
	if got := string(buf[:n]); got != "hello\n" {
		t.Errorf("behind the header: %q", got)
	}
}
