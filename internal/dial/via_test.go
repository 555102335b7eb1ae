package dial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley/parleytest"
)

// over is the proxy's URL.
func over(t testing.TB, proxy string) *url.URL {
	t.Helper()
	u, err := ParseProxy(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const patience = 30 * time.Second

const greeting = "220 from the target\r\n"

// connectProxy is an HTTP proxy that answers so, in one write with what the target says first.
func connectProxy(t *testing.T, want, answer string) func(server *parleytest.Conn) {
	return func(server *parleytest.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			t.Error(err)
			return
		}
		if got := fmt.Sprint(request.Method, " ", request.RequestURI, " ", request.Host, " ", request.Header.Get("Proxy-Authorization")); got != want {
			t.Errorf("the proxy was asked for %q, want %q", got, want)
		}
		io.WriteString(server, answer+greeting)
		hangUp(server)
	}
}

// What a proxy says to CONNECT, and how its refusal is told.
func TestThroughHTTPProxy(t *testing.T) {
	secret := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:sec ret"))
	for _, c := range []struct {
		proxy, auth, answer string
		want                string // "" if the target is reached
		kind                Kind
	}{
		{"http://proxy.test:3128", "", "HTTP/1.1 200 Connection established\r\n\r\n", "", ""},
		{"http://me:sec%20ret@proxy.test:3128", secret, "HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", "", ""},
		{"http://proxy.test:3128", "", "HTTP/1.1 204 OK\n\n", "", ""},
		{"http://proxy.test:3128", "", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "", ""}, // to be ignored
		{"http://proxy.test:3128", "", "HTTP/1.1 407 x\r\n\r\n", "the proxy proxy.test:3128 refuses us: it wants a user and a password", ProxyFailed},
		{"http://me:sec%20ret@proxy.test:3128", secret, "HTTP/1.1 407 x\r\n\r\n", "the proxy proxy.test:3128 refuses us: it does not take that user and password", ProxyFailed},
		{"http://proxy.test:3128", "", "HTTP/1.1 403 Forbidden\r\n\r\n", `the proxy proxy.test:3128 refuses us: "403 Forbidden"`, ProxyFailed},
		{"http://proxy.test:3128", "", "HTTP/1.1 502 Bad\x1b\r\n\r\n", `the proxy proxy.test:3128 cannot connect: "502 Bad\x1b"`, Unreachable},
		{"http://proxy.test:3128", "", "HTTP/1.1 503 x\r\n\r\n", `the proxy proxy.test:3128 cannot connect: "503 x"`, Unreachable},
		{"http://proxy.test", "", "\x05\xff\r\n", "the proxy proxy.test:80: it does not speak HTTP", ProxyFailed},
	} {
		want := "CONNECT db.test:7000 db.test:7000 " + c.auth
		d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Timeout: patience, Via: over(t, c.proxy),
			LookupAddrs: func(ctx context.Context, network, host string) ([]netip.Addr, error) {
				if host != "proxy.test" {
					t.Errorf("%s is looked up; it is the proxy's to do", host)
				}
				return names(0, "10.0.0.1")(ctx, network, host)
			},
			Connect: played(t, connectProxy(t, want, c.answer))}
		conn, steps, err := d.Dial(t.Context())
		got := ""
		if err != nil {
			got = strings.TrimPrefix(WhyNotConnected("x", time.Second, err), "cannot connect to x: ")
		}
		if got != c.want || KindOf(err) != c.kind || steps.Address != "db.test:7000" {
			t.Errorf("%q: %q (%s), %+v, want %q (%s)", c.answer, got, KindOf(err), steps, c.want, c.kind)
		}
		if err != nil {
			if strings.Contains(fmt.Sprint(err), "sec") {
				t.Errorf("the error has the password: %v", err)
			}
			continue
		}
		conn.SetDeadline(time.Now().Add(patience))
		first := make([]byte, len(greeting))
		if _, err := io.ReadFull(conn, first); err != nil || string(first) != greeting {
			t.Errorf("behind %q came %q, %v", c.answer, first, err)
		}
		if _, is := conn.(*parleytest.Conn); !is {
			t.Errorf("the connection is a %T", conn)
		}
	}
}

// socksProxy is a SOCKS5 proxy that takes a user and a password, says such a code, and then what the
// target does.
func socksProxy(t *testing.T, auth bool, code byte) func(server *parleytest.Conn) {
	return func(server *parleytest.Conn) {
		hear := func(want string) bool {
			got := make([]byte, len(want))
			_, err := io.ReadFull(server, got)
			if string(got) != want {
				t.Errorf("the proxy heard %q, %v, want %q", got, err, want)
			}
			return string(got) == want
		}
		if auth && !(hear("\x05\x02\x00\x02") && say(server, "\x05\x02") && hear("\x01\x02me\x07sec ret") && say(server, "\x01\x00")) {
			return
		}
		if !auth && !(hear("\x05\x01\x00") && say(server, "\x05\x00")) {
			return
		}
		if hear("\x05\x01\x00\x03\x07db.test\x1b\x58") {
			say(server, "\x05"+string(code)+"\x00\x01\x7f\x00\x00\x01\x00\x01"+greeting)
			hangUp(server)
		}
	}
}

func say(w io.Writer, text string) bool {
	_, err := io.WriteString(w, text)
	return err == nil
}

func TestThroughSOCKSProxy(t *testing.T) {
	for _, c := range []struct {
		proxy string
		code  byte
		want  string
		kind  Kind
	}{
		{"socks5://proxy.test", 0, "", ""},
		{"socks5h://me:sec%20ret@proxy.test:9", 0, "", ""},
		{"socks5://proxy.test:9", 1, "the proxy proxy.test:9 cannot connect: general SOCKS server failure", ProxyFailed},
		{"socks5://me:sec%20ret@proxy.test:9", 2, "the proxy proxy.test:9 refuses us: connection not allowed by ruleset", ProxyFailed},
		{"socks5://proxy.test:9", 3, "the proxy proxy.test:9 cannot connect: network unreachable", Unreachable},
		{"socks5://proxy.test:9", 4, "the proxy proxy.test:9 cannot connect: host unreachable", Unreachable},
		{"socks5://proxy.test:9", 5, "the proxy proxy.test:9 cannot connect: connection refused", Refused},
		{"socks5://proxy.test:9", 9, "the proxy proxy.test:9 cannot connect: unknown code: 9", ProxyFailed},
	} {
		d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Timeout: patience, Via: over(t, c.proxy), LookupAddrs: names(0, "10.0.0.1"),
			Connect: played(t, socksProxy(t, strings.Contains(c.proxy, "@"), c.code))}
		conn, _, err := d.Dial(t.Context())
		got := ""
		if err != nil {
			got = strings.TrimPrefix(WhyNotConnected("x", time.Second, err), "cannot connect to x: ")
		}
		if got != c.want || KindOf(err) != c.kind {
			t.Errorf("%s, %d: %q (%s), want %q (%s)", c.proxy, c.code, got, KindOf(err), c.want, c.kind)
		}
		if err != nil {
			continue
		}
		conn.SetDeadline(time.Now().Add(patience))
		first := make([]byte, len(greeting))
		if _, err := io.ReadFull(conn, first); err != nil || string(first) != greeting {
			t.Errorf("the target said %q, %v", first, err)
		}
		if _, is := conn.(*parleytest.Conn); !is {
			t.Errorf("the connection is a %T", conn)
		}
	}
}

// A SOCKS proxy that does not let us in, or is none.
func TestSOCKSProxyRefusesUs(t *testing.T) {
	for _, c := range []struct{ proxy, says, want string }{
		{"socks5://proxy.test:9", "\x05\xff", " refuses us: it wants a user and a password"},
		{"socks5://me:secret@proxy.test:9", "\x05\xff", " refuses us: it does not take that user and password"},
		{"socks5://me:secret@proxy.test:9", "\x05\x02\x01\x01", " refuses us: it does not take that user and password"},
		{"socks5://proxy.test:9", "HTTP/1.1 400 Bad Request\r\n\r\n", ": it does not speak SOCKS5"},
		{"socks5://proxy.test:9", "\x05", ": the connection was closed"},
	} {
		d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Timeout: patience, Via: over(t, c.proxy), LookupAddrs: names(0, "10.0.0.1"),
			Connect: played(t, func(server *parleytest.Conn) {
				say(server, c.says)
				server.CloseWrite()
				hangUp(server)
			})}
		_, _, err := d.Dial(t.Context())
		if got, want := WhyNotConnected("x", 0, err), "cannot connect to x: the proxy proxy.test:9"+c.want; got != want || KindOf(err) != ProxyFailed {
			t.Errorf("%s says %q: %q (%s), want %q", c.proxy, c.says, got, KindOf(err), want)
		}
	}
}

// The addresses of a proxy are raced as those of a server are; one that cannot be reached is told as
// the proxy, and the timeout is for all of it.
func TestProxyIsReachedAsAServerIs(t *testing.T) {
	refused := error(syscall.ECONNREFUSED)
	for _, c := range []struct {
		name   string
		behave map[string]behaviour
		took   time.Duration
		want   string
	}{
		{"one is dead and the other silent", map[string]behaviour{"10.0.0.1:1080": {after: never}, "10.0.0.2:1080": {after: ms}}, 5 * time.Second,
			"the proxy proxy.test:1080: no answer within 5s"},
		{"both are dead", map[string]behaviour{"10.0.0.1:1080": {after: never}, "10.0.0.2:1080": {after: never}}, 5 * time.Second,
			"the proxy proxy.test:1080 cannot be reached: no answer within 5s"},
		{"both refuse", map[string]behaviour{"10.0.0.1:1080": {after: ms, err: refused}, "10.0.0.2:1080": {after: ms, err: refused}}, 2 * ms,
			"the proxy proxy.test:1080 cannot be reached: connection refused; is a server listening there?"},
	} {
		for _, scheme := range []string{"socks5", "http"} {
			t.Run(c.name+", "+scheme, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &network{behave: c.behave}
					silent := played(t, func(server *parleytest.Conn) { hangUp(server) })
					d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Timeout: 5 * time.Second, Via: over(t, scheme+"://me:secret@proxy.test:1080"),
						LookupAddrs: names(0, "10.0.0.1", "10.0.0.2"),
						Connect: func(ctx context.Context, network, address string) (net.Conn, error) {
							conn, err := n.connect(ctx, network, address)
							if err != nil {
								return nil, err
							}
							conn.Close()
							return silent(ctx, network, address)
						}}
					begin := time.Now()
					_, steps, err := d.Dial(t.Context())
					took := time.Since(begin)
					if got := WhyNotConnected("x", 5*time.Second, err); took != c.took || got != "cannot connect to x: "+c.want || KindOf(err) != ProxyFailed {
						t.Errorf("after %v: %q (%s), want %v: %q", took, got, KindOf(err), c.took, c.want)
					}
					if want := (Steps{Address: "db.test:7000", Connect: took}); steps != want {
						t.Errorf("%+v, want %+v", steps, want)
					}
				})
			})
		}
	}
}

// A name nobody knows is the proxy's here.
func TestUnknownProxy(t *testing.T) {
	d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Via: over(t, "http://proxy.test:3128"), LookupAddrs: names(0)}
	_, _, err := d.Dial(t.Context())
	if got, want := WhyNotConnected("x", 0, err), `cannot connect to x: the proxy proxy.test:3128 cannot be reached: unknown host "proxy.test"`; got != want || KindOf(err) != ProxyFailed {
		t.Errorf("%q (%s), want %q", got, KindOf(err), want)
	}
}

func TestParseProxy(t *testing.T) {
	for _, bad := range []string{"", "proxy:1080", "//proxy:1080", "socks4://u:secret@p:1", "http://", "http://u:secret@", "http://u:secret@p/path", "http://u:secret@p?q", "http://u:secret@p#f",
		"http://u:sec%zzret@p", "http://u:sec ret@p:x", "socks5://u:secret@:1080", "http://p:1\r\n", "http://p:99999"} {
		u, err := ParseProxy(bad)
		if err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%q: %v, %v", bad, u, err)
		}
	}
	for _, good := range []string{"socks5://p", "socks5h://[::1]:1080", "http://u:p@p:3128/", "https://p"} {
		if _, err := ParseProxy(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

// That this machine has no room for a connection is not the proxy's fault.
func TestNoRoomForTheWayToAProxy(t *testing.T) {
	n := &network{behave: map[string]behaviour{"10.0.0.1:3128": {err: syscall.EMFILE}}}
	d := Dialer{Network: "tcp", Host: "db.test", Port: "7000", Via: over(t, "http://10.0.0.1:3128"), Connect: n.connect}
	if _, _, err := d.Dial(t.Context()); KindOf(err) != NoRoom {
		t.Errorf("%v is of kind %s", err, KindOf(err))
	}
}

// A host with which a header could be smuggled in is not asked for.
func TestHostsThatCannotBeAskedFor(t *testing.T) {
	for _, host := range []string{"a\r\nX: y", "a b", "\x7f"} {
		d := Dialer{Network: "tcp", Host: host, Port: "7000", Via: over(t, "http://proxy.test"), LookupAddrs: names(0)}
		_, _, err := d.Dial(t.Context())
		if got, want := WhyNotConnected("x", 0, err), fmt.Sprintf("cannot connect to x: unknown host %q", host); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A proxy may say so much, and no more.
func TestConnectAnswerIsBounded(t *testing.T) {
	const begin, end = "HTTP/1.1 200 OK\r\nA: ", "\r\n\r\n"
	for _, c := range []struct {
		length int
		err    error
	}{{maxDialogue - 1, nil}, {maxDialogue, nil}, {maxDialogue + 1, errTooMuch}} {
		header := begin + strings.Repeat("a", c.length-len(begin)-len(end)) + end
		if err := connectAnswer(strings.NewReader(header), false); err != c.err {
			t.Errorf("%d bytes: %v, want %v", len(header), err, c.err)
		}
	}
}

// Nothing behind the header is read, whatever the header is.
func FuzzConnectAnswer(f *testing.F) {
	for _, header := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200\n\n", "HTTP/1.1 407 x\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "\x05\x00"} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		in := bytes.NewReader(said)
		err := connectAnswer(in, false)
		read := said[:len(said)-in.Len()]
		var refused *refusal
		switch {
		case len(read) > maxDialogue:
			t.Errorf("%d bytes were read", len(read))
		case err == nil || errors.As(err, &refused):
			if end := bytes.ReplaceAll(read, []byte("\r"), nil); !bytes.HasSuffix(end, []byte("\n\n")) || bytes.Contains(bytes.TrimSuffix(end, []byte("\n")), []byte("\n\n")) {
				t.Errorf("of %q was read %q", said, read)
			}
		}
	})
}
