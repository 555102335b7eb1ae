// Package natsconn connects to NATS for all commands that do: the servers that may be named, who we are
// to them, what happens when one goes away, and what of it is told. No secret is in any of its words.
package natsconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/secure"
)

// Options say which servers there are and who we are to them.
type Options struct {
	URLs  string // as typed: nats://a,b:4222 or tls://user:password@a; a port is 4222 if left out
	Creds string // file of credentials (JWT and seed); none if empty

	// PEM files: of who signs the servers' certificates, the system's if empty; our own certificate and
	// its key, for servers that want one. Any of them has the connection go over TLS, as tls:// does.
	CA, Cert, Key string

	Name string // of the connection, as the server lists it
	Wait bool   // Connect does not fail because no server is there yet: it is tried again for ever

	// Told, if not nil, is told in words when the connection is lost, is back, or was told of an error. It
	// is called by goroutines of the connection, one at a time.
	Told func(what string)
}

// How a connection that was lost is made again: for ever, since whoever operates a machine restarts NATS
// and not us.
const (
	connectWithin = 5 * time.Second
	wait          = time.Second
	jitter        = 500 * time.Millisecond
	pingEvery     = 10 * time.Second
	pingsMissed   = 2
)

// schemes are those of a URL.
var schemes = []string{"nats", "tls", "ws", "wss"}

// Connect connects, and keeps connecting when the connection is lost. What is published meanwhile fails at
// once (nats.ErrReconnectBufExceeded): nothing is held back in memory. The error says in words why there is
// no connection, without a secret. ctx ends the first try, with its error; the connection is closed by Close.
func (o Options) Connect(ctx context.Context) (*nats.Conn, error) {
	servers, options, err := o.prepare()
	if err != nil {
		return nil, err
	}
	first := &dialer{ctx: ctx}
	conn, err := nats.Connect(strings.Join(servers, ","), append(options, nats.SetCustomDialer(first), nats.SkipHostLookup())...)
	first.over()
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot connect to NATS at %s: %s", Shown(o.URLs), Reason(err))
	}
	return conn, nil
}

// Check is what Connect would say of the options, without connecting.
func (o Options) Check() error {
	_, _, err := o.prepare()
	return err
}

// prepare reads the options, and the files that they name.
func (o Options) prepare() (servers []string, options []nats.Option, err error) {
	if servers, err = parse(o.URLs); err != nil {
		return nil, nil, err
	}
	options = append(o.telling(),
		nats.Name(o.Name), nats.Timeout(connectWithin), nats.NoEcho(),
		nats.MaxReconnects(-1), nats.ReconnectWait(wait), nats.ReconnectJitter(jitter, jitter), nats.ReconnectBufSize(-1),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsMissed),
		nats.IgnoreAuthErrorAbort(), // credentials that have run out may be renewed
		nats.RetryOnFailedConnect(o.Wait),
	)
	if o.Creds != "" {
		if _, err := os.Stat(o.Creds); err != nil {
			return nil, nil, fmt.Errorf("credentials %s: %w", o.Creds, withoutPath(err))
		}
		options = append(options, nats.UserCredentials(o.Creds))
	}
	if o.CA+o.Cert != "" {
		client, err := secure.ClientOptions{CA: o.CA, Cert: o.Cert, Key: o.Key}.Open()
		if err != nil {
			return nil, nil, err
		}
		defer client.Close()
		options = append(options, nats.Secure(client.Config))
	}
	return servers, options, nil
}

// IsInbox reports whether a subject is one that answers go to, as those have it who ask, their servers for them
// (_R_ between accounts, _GR_ between clusters). An answer goes nowhere else: who asks might have us publish what
// he himself may not, such as the message that deletes a stream.
func IsInbox(subject string) bool {
	for _, prefix := range []string{nats.InboxPrefix, "_R_.", "_GR_."} {
		if strings.HasPrefix(subject, prefix) {
			return true
		}
	}
	return false
}

// telling has the connection's events told in words, and nowhere else: the library writes some to
// standard error by itself.
func (o Options) telling() []nats.Option {
	tell := func(format string, args ...any) {
		if o.Told != nil {
			o.Told(fmt.Sprintf(format, args...))
		}
	}
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				tell("the connection to NATS is lost: %s; connecting again", Reason(err))
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { tell("connected to NATS again, at %s", c.ConnectedAddr()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { tell("NATS: %s", Reason(err)) }),
	}
}

// parse splits the servers, and says which of them is none without repeating what may have a password.
func parse(urls string) (servers []string, err error) {
	scheme := ""
	for i, server := range strings.Split(urls, ",") {
		server = strings.TrimSpace(server)
		if s, _, has := strings.Cut(server, "://"); has {
			scheme = s
		} else if scheme != "" {
			server = scheme + "://" + server
		} else {
			server = "nats://" + server
		}
		at, err := url.Parse(server)
		if err != nil || at.Hostname() == "" || at.Path != "" && at.Path != "/" {
			return nil, fmt.Errorf("server %d of the list is no address of NATS; write such as nats://host:4222,other:4222", i+1)
		}
		if !slices.Contains(schemes, at.Scheme) {
			return nil, fmt.Errorf("%s:// is not for NATS; write such as nats://%s", at.Scheme, at.Host)
		}
		if _, err := strconv.ParseUint(cmp.Or(at.Port(), "4222"), 10, 16); err != nil {
			return nil, fmt.Errorf("server %d of the list has no port that can be: use a number from 1 to 65535", i+1)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// Shown are the servers as a message may show them: hosts and ports alone.
func Shown(urls string) string {
	servers, err := parse(urls)
	if err != nil {
		return "the servers given"
	}
	for i, server := range servers {
		at, _ := url.Parse(server)
		servers[i] = net.JoinHostPort(at.Hostname(), cmp.Or(at.Port(), "4222"))
	}
	return strings.Join(servers, ", ")
}

// Reason says in words what an error of NATS is.
func Reason(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{nats.ErrNoServers, "connection refused; is nats-server running there?"},
		{nats.ErrAuthorization, "it does not let us in (authorization violation); are the credentials right?"},
		{nats.ErrAuthExpired, "our credentials have expired"},
		{nats.ErrSecureConnRequired, "it wants TLS; write tls:// or name its CA"},
		{nats.ErrSecureConnWanted, "it speaks no TLS, and we want it"},
		{nats.ErrNoResponders, "nobody there answers to that"},
		{nats.ErrTimeout, "no answer in time"},
		{nats.ErrReconnectBufExceeded, "the connection is lost"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return ourFlags.Replace(strings.TrimPrefix(dial.Reason(err), "nats: "))
}

// ourFlags has an error's advice name the flags that are for NATS, not those for the service of a command.
var ourFlags = strings.NewReplacer("--cert and --key", "--nats-cert and --nats-key", "--ca ", "--nats-ca ")

func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
