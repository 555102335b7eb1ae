package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/accept"
)

func TestPlainWaysAreForLoops(t *testing.T) {
	trust := mustTrust(t, "127.0.0.1")
	cert, _ := certificate(t)
	opt := Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Trust: trust}
	for _, c := range []struct {
		way   Way
		plain bool
	}{
		{Way{}, true}, {Way{TLS: true}, false}, {Way{Proxy: true}, false}, {Way{Proxy: true, TLS: true}, false},
	} {
		c.way.Network, c.way.Host, c.way.Port = "tcp", "127.0.0.1", "0"
		open, err := Open(t.Context(), []Way{c.way}, opt)
		if err != nil {
			t.Fatal(err)
		}
		l := open[0]
		engine, _ := parley.LoopsIfPossible.For(l.Net)
		_, exact := l.Net.(*net.TCPListener)
		if exact != c.plain || c.plain && engine != mostOf(t) || !c.plain && engine != parley.Goroutines {
			t.Errorf("%+v has a %T, which is for %v", c.way, l.Net, engine)
		}
		if waits := l.Waiting(); waits {
			t.Errorf("%+v: somebody waits, and nobody has come", c.way)
		}
		conn, err := net.Dial("tcp", l.Net.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if !l.Waiting() {
			t.Errorf("%+v: nobody waits, and somebody does", c.way)
		}
		accepted, err := l.Net.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, shakes := accepted.(accept.Handshaker); shakes == c.plain {
			t.Errorf("%+v has a %T", c.way, accepted)
		}
		accepted.Close()
		conn.Close()
		l.Net.Close()
		if l.Waiting() {
			t.Errorf("%+v: somebody waits at a closed listener", c.way)
		}
	}
}

// mostOf is the engine of a plain listener here.
func mostOf(t *testing.T) parley.Engine {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	engine, _ := parley.LoopsIfPossible.For(l)
	return engine
}

// If one way cannot be opened none is, and nothing stays behind.
func TestAllWaysOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	path := filepath.Join(t.TempDir(), "s")
	ways := []Way{{Network: "unix", Path: path}, {Network: "tcp", Host: "127.0.0.1", Port: port}}
	open, err := Open(t.Context(), ways, Options{})
	var failed *Error
	if open != nil || !errors.As(err, &failed) || failed.Way != ways[1] || !strings.HasPrefix(err.Error(), "cannot listen on 127.0.0.1:"+port+": ") {
		t.Errorf("Open = %v, %v", open, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket of the other way is still there")
	}
}

func TestWaysAreOpenInTheirOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ways := []Way{{Network: "tcp", Host: "127.0.0.1", Port: "0"}, {Network: "unix", Path: path}, {Network: "tcp", Port: "0"}}
	open, err := Open(t.Context(), ways, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range open {
		if l.Way != ways[i] {
			t.Errorf("%d is %v, want %v", i, l.Way, ways[i])
		}
		l.Net.Close()
		l.Close()
	}
	want := []int{1, 2, 0, 3}
	got := inheritedFirst([]Way{{Network: "tcp"}, {Network: "fd"}, {Network: "systemd"}, {Network: "unix"}})
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("they are opened in the order %v, want %v", got, want)
		}
	}
}

// A handshake fails in the words of Reason, and is still known for what it is.
func TestHandshakesFailInWords(t *testing.T) {
	cert, _ := certificate(t)
	opt := Options{
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
		Reason: func(err error) string {
			if errors.As(err, new(tls.RecordHeaderError)) {
				return "plain bytes on the TLS port"
			}
			return "something else" // which a peer that says nothing is not
		},
	}
	l := openOne(t, Way{Network: "tcp", Host: "127.0.0.1", Port: "0", TLS: true}, opt)
	for _, c := range []struct {
		send, want string
		is         error
	}{
		{"GET / HTTP/1.0\r\n\r\n", "plain bytes on the TLS port", nil},
		{"", "EOF", io.EOF},
	} {
		conn, err := net.Dial("tcp", l.Net.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, c.send)
		conn.(*net.TCPConn).CloseWrite()
		accepted, err := l.Net.Accept()
		if err != nil {
			t.Fatal(err)
		}
		err = accepted.(accept.Handshaker).HandshakeContext(t.Context())
		if err == nil || err.Error() != c.want || c.is != nil && err != c.is || c.is == nil && !errors.As(err, new(tls.RecordHeaderError)) {
			t.Errorf("%q: %v, want %s", c.send, err, c.want)
		}
		accepted.Close()
		conn.Close()
	}
}

// openOne opens one way, and closes it at the end of the test.
func openOne(t *testing.T, w Way, opt Options) *Listener {
	t.Helper()
	open, err := Open(t.Context(), []Way{w}, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open[0].Net.Close(); open[0].Close() })
	return open[0]
}

// Whom nobody lets in is told so before TLS.
func TestTheDeniedGetNoTLS(t *testing.T) {
	cert, _ := certificate(t)
	opt := Options{
		TLS:   &tls.Config{Certificates: []tls.Certificate{cert}},
		Allow: func(ip netip.Addr) bool { return !ip.IsLoopback() },
	}
	l := openOne(t, Way{Network: "tcp", Host: "127.0.0.1", Port: "0", TLS: true}, opt)
	conn, err := net.Dial("tcp", l.Net.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Net.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := accepted.(accept.Handshaker).HandshakeContext(t.Context()); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("the handshake ends with %v, want ErrDenied", err)
	}
}
