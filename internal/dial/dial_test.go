package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
)

// A network is addresses that behave as told, in made-up time.
type network struct {
	behave map[string]behaviour // of each address

	mu    sync.Mutex
	tried []string // addresses, in the order of being tried
	open  int      // connections that were made and not closed
}

type behaviour struct {
	after time.Duration
	err   error
	late  bool // connects though the context has ended
}

func (n *network) connect(ctx context.Context, proto, address string) (net.Conn, error) {
	n.mu.Lock()
	n.tried = append(n.tried, address)
	n.mu.Unlock()
	b := n.behave[address]
	select {
	case <-time.After(b.after):
	case <-ctx.Done():
		if !b.late {
			return nil, &net.OpError{Op: "dial", Net: proto, Err: ctx.Err()}
		}
	}
	if b.err != nil {
		return nil, &net.OpError{Op: "dial", Net: proto, Err: b.err}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	client, server := net.Pipe()
	server.Close()
	return &counted{client, n}, nil
}

type counted struct {
	net.Conn
	n *network
}

func (c *counted) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return c.Conn.Close()
}

// names finds these addresses after some time.
func names(after time.Duration, addresses ...string) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(ctx context.Context, _, _ string) (list []netip.Addr, err error) {
		time.Sleep(after)
		for _, a := range addresses {
			list = append(list, netip.MustParseAddr(a))
		}
		return list, ctx.Err()
	}
}

const (
	ms    = time.Millisecond
	never = time.Hour
)

func TestAddressesAreTriedInTurn(t *testing.T) {
	refused, unreachable := error(syscall.ECONNREFUSED), error(syscall.EHOSTUNREACH)
	for _, c := range []struct {
		name    string
		behave  []behaviour // of 10.0.0.1, 10.0.0.2 and so on
		tried   int
		took    time.Duration // all in all
		address string
		connect time.Duration
		kind    Kind
	}{
		{"the first answers", []behaviour{{after: ms}, {after: ms}}, 1, ms, "10.0.0.1:7", ms, ""},
		{"slow, but within its head start", []behaviour{{after: 249 * ms}, {}}, 1, 249 * ms, "10.0.0.1:7", 249 * ms, ""},
		{"the first refuses", []behaviour{{after: ms, err: refused}, {after: 2 * ms}}, 2, 3 * ms, "10.0.0.2:7", 2 * ms, ""},
		{"the first is dead", []behaviour{{after: never}, {after: 2 * ms}}, 2, 252 * ms, "10.0.0.2:7", 2 * ms, ""},
		{"the first is slow and wins all the same", []behaviour{{after: 260 * ms}, {after: 20 * ms}}, 2, 260 * ms, "10.0.0.1:7", 260 * ms, ""},
		{"two are dead", []behaviour{{after: never}, {after: never}, {after: 2 * ms}}, 3, 502 * ms, "10.0.0.3:7", 2 * ms, ""},
		{"a failure does not wait", []behaviour{{after: never}, {after: ms, err: refused}, {after: ms}}, 3, 252 * ms, "10.0.0.3:7", ms, ""},
		{"all refuse", []behaviour{{after: ms, err: refused}, {after: ms, err: unreachable}}, 2, 2 * ms, "10.0.0.1:7", ms, Refused},
		{"the first error tells", []behaviour{{after: 300 * ms, err: unreachable}, {after: ms, err: refused}}, 2, 300 * ms, "10.0.0.1:7", 300 * ms, Unreachable},
		{"all are dead", []behaviour{{after: never}, {after: never}}, 2, 5 * time.Second, "10.0.0.1:7", 5 * time.Second, ConnectTimeout},
		{"none", nil, 0, 0, "", 0, UnknownHost},
		{"the late loser is closed", []behaviour{{after: never, late: true}, {after: ms}}, 2, 251 * ms, "10.0.0.2:7", ms, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{behave: make(map[string]behaviour)}
				var addresses []string
				for i, b := range c.behave {
					addresses = append(addresses, fmt.Sprintf("10.0.0.%d", i+1))
					n.behave[addresses[i]+":7"] = b
				}
				d := Dialer{Network: "tcp", Host: "many", Port: "7", Timeout: 5 * time.Second, LookupAddrs: names(0, addresses...), Connect: n.connect}
				begin := time.Now()
				conn, steps, err := d.Dial(t.Context())
				if took := time.Since(begin); took != c.took || len(n.tried) != c.tried {
					t.Errorf("%v and %d addresses tried, want %v and %d", took, len(n.tried), c.took, c.tried)
				}
				if want := (Steps{Address: c.address, Connect: c.connect}); steps != want || KindOf(err) != c.kind {
					t.Errorf("%+v, %v (%s), want %+v, %q", steps, err, KindOf(err), want, c.kind)
				}
				if (conn != nil) != (c.kind == "") {
					t.Errorf("connection %v", conn)
				}
				if conn != nil {
					conn.Close()
				}
				if n.open != 0 {
					t.Errorf("%d connections left open", n.open)
				}
			})
		})
	}
}

// The timeout is for the lookup and the connection together.
func TestLookupTakesOfTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{behave: map[string]behaviour{"10.0.0.1:7": {after: never}}}
		d := Dialer{Network: "tcp", Host: "slow", Port: "7", Timeout: 5 * time.Second, LookupAddrs: names(3*time.Second, "10.0.0.1"), Connect: n.connect}
		_, steps, err := d.Dial(t.Context())
		want := Steps{Address: "10.0.0.1:7", Lookup: 3 * time.Second, Connect: 2 * time.Second}
		if steps != want || KindOf(err) != ConnectTimeout {
			t.Errorf("%+v, %v, want %+v and a timeout", steps, err, want)
		}
	})
}

func TestACancelledDialEndsAtOnceAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{behave: map[string]behaviour{"10.0.0.1:7": {after: never}, "10.0.0.2:7": {after: never, late: true}}}
		d := Dialer{Network: "tcp", Host: "many", Port: "7", LookupAddrs: names(0, "10.0.0.1", "10.0.0.2"), Connect: n.connect}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		conn, _, err := d.Dial(ctx)
		if time.Since(begin) != time.Second {
			t.Errorf("after %v, want 1s", time.Since(begin))
		}
		if conn != nil { // the late one may have come first
			conn.Close()
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cancelled", err)
		}
		if n.open != 0 {
			t.Errorf("%d connections left open", n.open)
		}
	})
}

func TestLocalhostIsTriedOverIPv4First(t *testing.T) {
	notFound := func(context.Context, string, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	for _, c := range []struct {
		name, host, family string
		lookup             func(context.Context, string, string) ([]netip.Addr, error)
		want               []string
	}{
		{"sorted", "localhost", "", names(0, "::1", "127.0.0.1"), []string{"127.0.0.1:7", "[::1]:7"}},
		{"other names are not", "other", "", names(0, "::1", "127.0.0.1"), []string{"[::1]:7", "127.0.0.1:7"}},
		{"mapped", "localhost", "", names(0, "::1", "::ffff:127.0.0.1"), []string{"127.0.0.1:7", "[::1]:7"}},
		{"known to nobody", "localhost", "", notFound, []string{"127.0.0.1:7", "[::1]:7"}},
		{"known to nobody, IPv4", "localhost", "4", notFound, []string{"127.0.0.1:7"}},
		{"known to nobody, IPv6", "localhost", "6", notFound, []string{"[::1]:7"}},
		{"a name known to nobody", "other", "", notFound, nil},
		{"a literal with a zone", "fe80::1%eth0", "", nil, []string{"[fe80::1%eth0]:7"}},
		{"a literal of the other family", "127.0.0.1", "6", nil, nil},
	} {
		d := Dialer{Network: "tcp", Host: c.host, Port: "7", Family: c.family, LookupAddrs: c.lookup}
		got, _, err := d.Addresses(t.Context())
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestKindsOfErrors(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	read := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
	wrap := func(err error) error { return fmt.Errorf("parley: receive, server x: %w", err) }
	call := func(errno syscall.Errno) error { return os.NewSyscallError("connect", errno) }
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, ""},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, UnknownHost},
		{dial(&net.DNSError{Err: "no such host", IsNotFound: true}), UnknownHost},
		{&net.AddrError{Err: "no suitable address found", Addr: "127.0.0.1"}, UnknownHost},
		{&net.DNSError{Err: "server misbehaving"}, LookupFailed},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, LookupFailed},
		{dial(call(syscall.ECONNREFUSED)), Refused},
		{dial(call(syscall.EHOSTUNREACH)), Unreachable},
		{dial(call(syscall.ENETUNREACH)), Unreachable},
		{dial(call(syscall.ENOENT)), Unreachable},
		{dial(call(syscall.ETIMEDOUT)), ConnectTimeout},
		{dial(os.ErrDeadlineExceeded), ConnectTimeout},
		{dial(context.DeadlineExceeded), ConnectTimeout},
		{context.DeadlineExceeded, ReplyTimeout},
		{wrap(context.DeadlineExceeded), ReplyTimeout},
		{read(os.ErrDeadlineExceeded), ReplyTimeout},
		{io.EOF, Closed},
		{wrap(io.ErrUnexpectedEOF), Closed},
		{read(call(syscall.ECONNRESET)), Reset},
		{dial(call(syscall.ECONNRESET)), Reset},
		{wrap(syscall.EPIPE), Reset},
		{wrap(syscall.ENOTCONN), Reset},
		{parley.ErrOutOfStep, Mismatch},
		{wrap(parley.ErrTooLong), TooLong},
		{wrap(parley.ErrMalformed), Malformed},
		{dial(call(syscall.EADDRNOTAVAIL)), NoRoom},
		{dial(call(syscall.EMFILE)), NoRoom},
		{context.Canceled, IOError},
		{errors.New("other"), IOError},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("%v is of kind %q, want %q", c.err, got, c.want)
		}
	}
}
