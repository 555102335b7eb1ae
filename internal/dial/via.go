package dial

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/parley-tcp/parley/internal/tlsconn"
)

// proxyPorts are the schemes of proxies, with the ports that they have if the URL says none.
var proxyPorts = map[string]string{"socks5": "1080", "socks5h": "1080", "http": "80", "https": "443"}

// ParseProxy reads the URL of a proxy. Its error has nothing of what the URL says, since that may be a
// password.
func ParseProxy(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("that is no URL; write one such as socks5://proxy.internal:1080 or http://user:password@proxy.internal:3128")
	}
	switch {
	case proxyPorts[u.Scheme] == "":
		return nil, errors.New("a proxy's URL begins with socks5://, http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.Port() != "" && !isPort(u.Port()):
		return nil, errors.New("its port is out of range; ports go from 0 to 65535")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("a proxy's URL ends with its host and port")
	}
	return u, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// through connects to target by the proxy.
func (d *Dialer) through(ctx context.Context, target string) attempt {
	begin := time.Now()
	conn, err := d.tunnel(ctx, target)
	return attempt{conn: conn, steps: Steps{Address: target, Connect: time.Since(begin)}, err: err}
}

func (d *Dialer) tunnel(ctx context.Context, target string) (net.Conn, error) {
	target, err := numericPort(ctx, target)
	if err != nil {
		return nil, err
	}
	host, port := d.Via.Hostname(), cmp.Or(d.Via.Port(), proxyPorts[d.Via.Scheme])
	name := "the proxy " + net.JoinHostPort(host, port)
	conn, err := d.toProxy(ctx, host, port)
	switch {
	case KindOf(err) == NoRoom: // which is this machine's own affair
		return nil, err
	case err != nil:
		return nil, &stepError{ProxyFailed, name + " cannot be reached", err}
	}
	ask := askSOCKS
	if strings.HasPrefix(d.Via.Scheme, "http") {
		ask = askHTTP
	}
	if err := ask(ctx, conn, d.Via.User, target); err != nil {
		conn.Close()
		return nil, asStep(name, err)
	}
	return conn, nil
}

// asStep is the error of asking a proxy, with the proxy's name.
func asStep(name string, err error) error {
	var refused *refusal
	if errors.As(err, &refused) {
		return &stepError{refused.kind, name + " " + refused.what, errors.New(refused.why)}
	}
	return &stepError{ProxyFailed, name, err}
}

// A refusal is a proxy's answer of no.
type refusal struct {
	kind      Kind
	what, why string
}

func (r *refusal) Error() string { return r.what + ": " + r.why }

// What a proxy does when it says no.
const (
	refusesUs     = "refuses us"
	cannotConnect = "cannot connect"
)

// numericPort is an address with its port as a number, as proxies want it.
func numericPort(ctx context.Context, address string) (string, error) {
	host, service, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return "", err
	case strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f }): // it would end a request early
		return "", &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	return net.JoinHostPort(host, fmt.Sprint(port)), err
}

// toProxy connects to the proxy itself.
func (d *Dialer) toProxy(ctx context.Context, host, port string) (net.Conn, error) {
	addresses, _, err := d.addresses(ctx, host, port)
	if err != nil {
		return nil, err
	}
	won := d.race(ctx, addresses)
	if won.err != nil || d.Via.Scheme != "https" {
		return won.conn, won.err
	}
	secured := tlsconn.Client(won.conn, &tls.Config{ServerName: nameToVerify(host)})
	if err := secured.HandshakeContext(ctx); err != nil {
		won.conn.Close()
		return nil, err
	}
	return tunnel{secured, secured}, nil
}

// A tunnel is a connection to a proxy over TLS. That this is TLS is nothing to who uses it.
type tunnel struct {
	net.Conn
	halfCloser
}

type halfCloser interface{ CloseWrite() error }

// askSOCKS has a SOCKS5 proxy connect to target (RFC 1928).
func askSOCKS(ctx context.Context, conn net.Conn, user *url.Userinfo, target string) error {
	var auth *proxy.Auth
	if user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", conn.RemoteAddr().String(), auth, nil)
	if err != nil {
		return err
	}
	_, err = dialer.(interface {
		DialWithConn(ctx context.Context, conn net.Conn, network, address string) (net.Addr, error)
	}).DialWithConn(ctx, conn, "tcp", target)
	return socksRefusal(err, user != nil)
}

// socksRefusal makes of an error what the proxy said, which it has as a text alone.
func socksRefusal(err error, withUser bool) error {
	var op *net.OpError
	if !errors.As(err, &op) {
		return err
	}
	text := op.Err.Error()
	reply, isReply := strings.CutPrefix(text, "unknown error ")
	switch {
	case text == "no acceptable authentication methods" && !withUser:
		return &refusal{ProxyFailed, refusesUs, "it wants a user and a password"}
	case text == "no acceptable authentication methods", text == "username/password authentication failed":
		return &refusal{ProxyFailed, refusesUs, "it does not take that user and password"}
	case reply == "connection not allowed by ruleset":
		return &refusal{ProxyFailed, refusesUs, reply}
	case reply == "connection refused":
		return &refusal{Refused, cannotConnect, reply}
	case reply == "network unreachable", reply == "host unreachable", reply == "TTL expired":
		return &refusal{Unreachable, cannotConnect, reply}
	case isReply:
		return &refusal{ProxyFailed, cannotConnect, reply}
	case strings.HasPrefix(text, "unexpected protocol version"):
		return errors.New("it does not speak SOCKS5")
	}
	return op.Err
}

// askHTTP has an HTTP proxy connect to target (RFC 9110, section 9.3.6).
func askHTTP(ctx context.Context, conn net.Conn, user *url.Userinfo, target string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": {"parley"}}}
	if user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	return within(ctx, conn, func() error {
		if err := request.Write(conn); err != nil {
			return err
		}
		return connectAnswer(conn, user != nil)
	})
}

// connectAnswer reads what a proxy says to CONNECT, and not one byte of what follows: that is the
// target's.
func connectAnswer(conn io.Reader, withUser bool) error {
	in := &bounded{Reader: conn, step: 1}
	response, err := http.ReadResponse(bufio.NewReader(in), &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil && in.read == maxDialogue:
		return errTooMuch
	case err != nil && strings.HasPrefix(err.Error(), "malformed"):
		return errors.New("it does not speak HTTP")
	case err != nil:
		return err
	}
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code == http.StatusProxyAuthRequired && !withUser:
		return &refusal{ProxyFailed, refusesUs, "it wants a user and a password"}
	case code == http.StatusProxyAuthRequired:
		return &refusal{ProxyFailed, refusesUs, "it does not take that user and password"}
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return &refusal{Unreachable, cannotConnect, quoted(response.Status)}
	}
	return &refusal{ProxyFailed, refusesUs, quoted(response.Status)}
}
