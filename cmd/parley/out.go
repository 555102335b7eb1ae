package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpproxy"

	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/secure"
	"github.com/parley-tcp/parley/internal/suggest"
)

// outFlags say what comes before the conversation on the way out: a proxy, the header of the PROXY
// protocol, STARTTLS and TLS.
type outFlags struct {
	tls       tlsClientFlags
	startTLS  startTLSFlag
	sendProxy sendProxyFlag
	via       string

	cmd    *cobra.Command
	secure *secure.Client // nil for plain

	inDialogue bool     // TLS begins in a dialogue, and not with the connection
	proxy      *url.URL // of --via
}

// add adds the flags of a command that talks itself.
func (f *outFlags) add(cmd *cobra.Command) {
	f.tls.add(cmd)
	over := heading(cmd.Flags(), ofTLS)
	cmd.Flags().Var(&f.startTLS, "starttls", "begin in plain and ask for TLS as in "+strings.Join(dial.StartTLSProtocols(), " ")+"; that reads the greeting, and no other is awaited")
	over()
	f.addWays(cmd)
}

// addUpstream adds those of a tap. It has no --starttls: its clients await the greeting.
func (f *outFlags) addUpstream(cmd *cobra.Command, server *tlsServerFlags) {
	defer heading(cmd.Flags(), ofUpstream)()
	f.tls.addUpstream(cmd, server)
	f.addWays(cmd)
}

func (f *outFlags) addWays(cmd *cobra.Command) {
	f.cmd = cmd
	flags := cmd.Flags()
	defer heading(flags, ofWayOut)()
	flags.Var(&f.sendProxy, "send-proxy", "send the header of the PROXY protocol first: v1 or v2")
	flags.StringVar(&f.via, "via", "", "go through the proxy at this `URL`: socks5://, http:// or https://, with user:password@ if need be (default ALL_PROXY, but not to loopback and NO_PROXY)")
}

// open reads the files that the flags name, and says what is wrong with the flags on the way to
// these targets. Close is for the end.
func (f *outFlags) open(targets ...address) (err error) {
	if f.via != "" {
		if f.proxy, err = dial.ParseProxy(f.via); err != nil {
			return usageError("--via: %w", err)
		}
	}
	for _, at := range targets {
		if at.network == "unix" && isGiven(f.cmd.Flags().Lookup("via")) {
			return usageError("--via: no proxy leads to %s, which is a socket of this host; leave the flag out", at.target())
		}
		if _, err := f.proxyTo(at); err != nil {
			return err
		}
	}
	f.tls.on = f.tls.on || f.startTLS != "" || f.inDialogue
	f.secure, err = f.tls.open(f.cmd.Flags(), notesOn(f.cmd))
	return err
}

func (f *outFlags) close() {
	if f.secure != nil {
		f.secure.Close()
	}
}

// dialer connects to one of the targets within the timeout, over "4" or "6" alone or over any.
func (f *outFlags) dialer(at address, family string, timeout time.Duration) dial.Dialer {
	d := at.dialer(family, timeout)
	d.Via, _ = f.proxyTo(at) // open has looked
	d.SendProxy, d.StartTLS = int(f.sendProxy), string(f.startTLS)
	if f.secure != nil && !f.inDialogue {
		d.TLS = f.secure.Config
	}
	return d
}

// dial connects to one of the targets; its error says so in words.
func (f *outFlags) dial(ctx context.Context, at address, timeout time.Duration) (net.Conn, error) {
	dialer := f.dialer(at, "", timeout)
	conn, _, err := dialer.Dial(ctx)
	if err != nil {
		return nil, explainDial(at.target(), timeout, err)
	}
	return conn, nil
}

// proxyTo is the proxy on the way to an address, nil if there is none. No error and no log has its
// URL, which may have a password.
func (f *outFlags) proxyTo(at address) (*url.URL, error) {
	switch {
	case at.network == "unix":
		return nil, nil
	case f.proxy != nil:
		return f.proxy, nil
	}
	name, all := "ALL_PROXY", os.Getenv("ALL_PROXY")
	if all == "" {
		name, all = "all_proxy", os.Getenv("all_proxy")
	}
	if all == "" || !isProxied(at) {
		return nil, nil
	}
	if !strings.Contains(all, "://") {
		all = "http://" + all // as for other programs
	}
	proxy, err := dial.ParseProxy(all)
	if err != nil {
		return nil, usageError("%s: %w; NO_PROXY=%s goes without it", name, err, at.dialled())
	}
	return proxy, nil
}

// isProxied reports whether NO_PROXY lets an address be reached through a proxy. No loopback
// address is.
func isProxied(at address) bool {
	const some = "http://proxy"
	config := httpproxy.Config{HTTPProxy: some, NoProxy: cmp.Or(os.Getenv("NO_PROXY"), os.Getenv("no_proxy"))}
	proxy, err := config.ProxyFunc()(&url.URL{Scheme: "http", Host: net.JoinHostPort(at.dialled(), at.port)})
	return proxy != nil && err == nil
}

// conversation makes the framing of a conversation behind STARTTLS, where no greeting comes, and
// refuses what does not go with it.
func (f *outFlags) conversation(framing *framingFlag, awaitsBanner bool) error {
	switch {
	case f.startTLS == "":
		return nil
	case awaitsBanner:
		return usageError("--banner goes without --starttls, which has read the greeting: no other comes")
	case framing.IsProtocol() && !slices.Contains(speaking[framing.Name], string(f.startTLS)):
		return usageError("--starttls %s does not go with --framing %s", f.startTLS, framing.Name)
	}
	framing.Framing = framing.BehindGreeting()
	return nil
}

// speaking are the protocols of --starttls that a framing reads.
var speaking = map[string][]string{"smtp": {"smtp", "ftp", "nntp"}}

// A startTLSFlag is --starttls: the protocol in whose words TLS is asked for, "" for none.
type startTLSFlag string

func (f *startTLSFlag) String() string { return string(*f) }
func (f *startTLSFlag) Type() string   { return "PROTOCOL" }

func (f *startTLSFlag) Set(s string) error {
	protocols := dial.StartTLSProtocols()
	if !slices.Contains(protocols, s) {
		last := len(protocols) - 1
		return errors.New("use " + strings.Join(protocols[:last], ", ") + " or " + protocols[last] + suggest.DidYouMean(s, "", protocols))
	}
	*f = startTLSFlag(s)
	return nil
}

// A sendProxyFlag is --send-proxy: the version of the PROXY protocol, 0 for none.
type sendProxyFlag int

func (f *sendProxyFlag) Type() string { return "VERSION" }

func (f *sendProxyFlag) String() string {
	if *f == 0 {
		return ""
	}
	return "v" + string('0'+rune(*f))
}

func (f *sendProxyFlag) Set(s string) error {
	versions := map[string]sendProxyFlag{"v1": 1, "v2": 2}
	if versions[s] == 0 {
		return errors.New("use v1 or v2")
	}
	*f = versions[s]
	return nil
}

// concealProxy is a command line without the user and the password of --via.
func concealProxy(args []string) []string {
	shown := slices.Clone(args)
	for i, arg := range shown {
		value, is := strings.CutPrefix(arg, "--via=")
		switch {
		case is:
			shown[i] = "--via=" + withoutUser(value)
		case i > 0 && shown[i-1] == "--via":
			shown[i] = withoutUser(arg)
		}
	}
	return shown
}

func withoutUser(proxy string) string {
	scheme, rest, _ := strings.Cut(proxy, "://")
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		return scheme + "://" + rest[at+1:]
	}
	return proxy
}
