package dial

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/parley-tcp/parley/parleytest"
)

// The header is the first that is sent, and has the connection's own addresses unless others are given.
func TestSendProxy(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	client4, client6, server4, server6 := tcp("192.0.2.1:1000"), tcp("[2001:db8::1]:1000"), tcp("192.0.2.2:80"), tcp("[2001:db8::2]:80")
	for _, c := range []struct {
		network, host       string
		source, destination net.Addr
		v1, v2              string // of v2 both addresses, as it is read
	}{
		{"tcp", "127.0.0.1", nil, nil, "PROXY TCP4 LOCAL REMOTE", "PROXY LOCAL REMOTE"},
		{"tcp", "::1", nil, nil, "PROXY TCP6 LOCAL REMOTE", "PROXY LOCAL REMOTE"},
		{"tcp", "127.0.0.1", client4, server4, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80", "PROXY 192.0.2.1:1000 192.0.2.2:80"},
		{"tcp", "127.0.0.1", client6, server6, "PROXY TCP6 2001:db8::1 2001:db8::2 1000 80", "PROXY [2001:db8::1]:1000 [2001:db8::2]:80"},
		{"tcp", "127.0.0.1", client4, server6, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1000 80", "PROXY 192.0.2.1:1000 [2001:db8::2]:80"},
		{"tcp", "127.0.0.1", &net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{Name: "/s", Net: "unix"}, "PROXY UNKNOWN", "LOCAL"},
		{"unix", "", nil, nil, "PROXY UNKNOWN", "LOCAL"},
		{"unix", "", client4, server4, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80", "PROXY 192.0.2.1:1000 192.0.2.2:80"},
	} {
		for version, want := range map[int]string{1: c.v1, 2: c.v2} {
			path := filepath.Join(t.TempDir(), "s")
			at := path
			if c.network == "tcp" {
				at = net.JoinHostPort(c.host, "0")
			}
			l, err := net.Listen(c.network, at)
			if err != nil {
				t.Fatal(err)
			}
			_, port, _ := net.SplitHostPort(l.Addr().String())
			d := Dialer{Network: c.network, Host: c.host, Port: port, Path: path, Timeout: patience, SendProxy: version, Source: c.source, Destination: c.destination}
			conn, _, err := d.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			say(conn, "hello\n")
			conn.Close()
			server.SetDeadline(time.Now().Add(patience))
			in := bufio.NewReader(server)
			got := ""
			if version == 1 {
				got, err = in.ReadString('\n')
				got = strings.TrimSuffix(got, "\r\n")
				if local, is := conn.LocalAddr().(*net.TCPAddr); is {
					remote := conn.RemoteAddr().(*net.TCPAddr)
					want = strings.Replace(want, "LOCAL REMOTE", fmt.Sprint(local.IP, " ", remote.IP, " ", local.Port, " ", remote.Port), 1)
				}
			} else {
				var header *proxyproto.Header
				if header, err = proxyproto.Read(in); err == nil {
					got = "LOCAL"
					if header.Command == proxyproto.PROXY {
						got = fmt.Sprint("PROXY ", header.SourceAddr, " ", header.DestinationAddr)
					}
				}
				want = strings.Replace(want, "LOCAL REMOTE", fmt.Sprint(conn.LocalAddr(), " ", conn.RemoteAddr()), 1)
			}
			rest, _ := io.ReadAll(in)
			if got != want || err != nil || string(rest) != "hello\n" {
				t.Errorf("%s %s, v%d from %v: %q, %v, and behind it %q, want %q", c.network, c.host, version, c.source, got, err, rest, want)
			}
			server.Close()
			l.Close()
		}
	}
}

// Before it comes only what is said to a proxy, whose addresses are not those of the connection.
func TestSendProxyThroughAProxy(t *testing.T) {
	for version, want := range map[int]string{1: "PROXY UNKNOWN\r\n", 2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", SendProxy: version, StartTLS: "pop3", TLS: &tls.Config{}, Via: over(t, "http://proxy.test"), LookupAddrs: names(0, "10.0.0.1"),
			Connect: played(t, func(server *parleytest.Conn) {
				in := bufio.NewReader(server)
				for line, err := in.ReadString('\n'); line != "\r\n"; line, err = in.ReadString('\n') {
					if err != nil {
						t.Error(err)
						return
					}
				}
				say(server, "HTTP/1.1 200 OK\r\n\r\n")
				got := make([]byte, len(want))
				if _, err := io.ReadFull(in, got); string(got) != want || err != nil {
					t.Errorf("v%d: %q, %v, want %q", version, got, err, want)
				}
				part(t, struct {
					io.Reader
					io.Writer
				}{in, server}, "< +OK\n> STLS\n< -ERR")
				hangUp(server)
			})}
		if _, _, err := d.Dial(t.Context()); KindOf(err) != TLSFailed {
			t.Errorf("v%d: %v", version, err)
		}
	}
}
