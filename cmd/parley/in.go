package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley/internal/listen"
	"github.com/parley-tcp/parley/internal/secure"
	"github.com/parley-tcp/parley/internal/systemd"
)

// inFlags are the ways into a server or a tap, beside the one that its first word may name.
type inFlags struct {
	listen listFlag
	mode   modeFlag
	tls    tlsServerFlags
	proxy  proxyFlags
	filter filterFlags

	startTLS bool   // TLS begins inside of sessions, whose ways are in plain
	bareHost string // where a port alone listens; on all addresses if empty
	flags    *pflag.FlagSet

	trust    *listen.Trust    // whose PROXY header is believed; nil if nobody sends one
	allowed  *listen.Filter   // who may connect; nil if everybody may
	identity *secure.Identity // nil without TLS
}

func (f *inFlags) add(cmd *cobra.Command) {
	f.flags = cmd.Flags()
	ways := heading(f.flags, ofWaysIn)
	f.listen = listFlag{check: func(string) error { return nil }, kind: "ADDRESS,..."}
	f.flags.Var(&f.listen, "listen", "listen at these addresses too, each with its prefix: tcp: (plain), tls:, proxy: or proxy+tls:; without one as the other flags have it")
	f.flags.Var(&f.mode, "unix-mode", "mode of Unix sockets, such as 0660 (default as the umask has it)")
	f.proxy.add(cmd)
	f.filter.add(cmd)
	ways()
	f.tls.add(cmd)
}

// ways are those that the words, one at most, and the flags name. next is the word behind that,
// if there is one, for a better error.
func (f *inFlags) ways(words []string, next string) ([]listen.Way, error) {
	var ways []listen.Way
	for _, word := range words {
		way, err := f.way(word, next)
		if err != nil {
			return nil, err
		}
		ways = append(ways, way)
	}
	for _, word := range f.listen.items {
		way, err := f.way(word, "")
		if err != nil {
			return nil, usageError("--listen: %w", err)
		}
		ways = append(ways, way)
	}
	return ways, f.resolve(ways)
}

// way reads such as 6969, tls:0.0.0.0:7443, unix:/run/parley.sock, fd://3 or systemd:web.
func (f *inFlags) way(word, next string) (listen.Way, error) {
	over, rest, err := listen.Prefix(word, listen.Way{Proxy: f.proxy.on, TLS: f.tls.on() && !f.startTLS})
	if err != nil {
		return listen.Way{}, usageError("%w", err)
	}
	at, ok, err := listen.Inherited(rest)
	switch {
	case err != nil:
		return listen.Way{}, usageError("%w", err)
	case !ok:
		named, err := parseAddress(rest, next)
		if err != nil {
			return listen.Way{}, err
		}
		at = f.wayTo(named, rest)
	}
	at.Proxy, at.TLS = over.Proxy, over.TLS
	return at, nil
}

// wayTo is the way in at an address, as it was typed.
func (f *inFlags) wayTo(at address, word string) listen.Way {
	w := listen.Way{Network: at.network, Host: at.host, Port: at.port, Path: at.path}
	w.Bare = w.Network == "tcp" && w.Host == ""
	if isNumber(word) {
		w.Host = f.bareHost
	}
	return w
}

// resolve makes what the flags say of the ways, or says which of them do not go together.
func (f *inFlags) resolve(ways []listen.Way) (err error) {
	if err := f.check(ways); err != nil {
		return err
	}
	isProxied := func(w listen.Way) bool { return w.Proxy }
	if f.trust, err = f.proxy.resolve(slices.ContainsFunc(ways, isProxied)); err != nil {
		return err
	}
	f.allowed, err = f.filter.resolve()
	return err
}

func (f *inFlags) check(ways []listen.Way) error {
	if err := listen.Twice(ways); err != nil {
		return usageError("%w", err)
	}
	hasSocket, hasTLS := false, false
	for _, w := range ways {
		hasSocket = hasSocket || w.Network == "unix" && !strings.HasPrefix(w.Path, "@")
		hasTLS = hasTLS || w.TLS
		if w.TLS && !f.tls.on() {
			return usageError("TLS at %v: the certificate is missing; give --tls-cert and --tls-key, or --tls-self-signed", w)
		}
	}
	switch {
	case !hasSocket && isGiven(f.flags.Lookup("unix-mode")):
		return usageError("--unix-mode goes with unix:PATH, which is not listened on")
	case !hasTLS && !f.startTLS && (isGiven(f.flags.Lookup("tls-cert")) || isGiven(f.flags.Lookup("tls-self-signed"))):
		return usageError("there is a certificate, and no address with TLS; leave tcp: or proxy: out, or write tls: or proxy+tls:")
	}
	return nil
}

// reloads says whether there is something that can be read again. A certificate of our own making
// is nobody's to change.
func (f *inFlags) reloads() bool {
	return f.tls.cert != "" || f.tls.clientCA != "" || f.allowed.HasFiles()
}

// reload reads again what was read from files, and notes what became of it.
func (f *inFlags) reload(note note) {
	if f.identity != nil {
		reloadTLS(f.identity, note)
	}
	if !f.allowed.HasFiles() {
		return
	}
	if err := f.allowed.Reload(); err != nil {
		note("not reloaded, who may connect stays as it was: %v", err)
		return
	}
	note("reloaded who may connect, by --allow and --deny")
}

// allow is the Allow of a server; nil if everybody is let in.
func (f *inFlags) allow() func(netip.Addr) bool {
	if f.allowed == nil {
		return nil
	}
	return f.allowed.Allows
}

// handshakeTimeout is how long one of TLS may take.
const handshakeTimeout = 5 * time.Second

// handshake is that limit where there is TLS, else 0.
func (f *inFlags) handshake() time.Duration {
	if f.tls.on() {
		return handshakeTimeout
	}
	return 0
}

// open opens the ways. Close it at the end.
func (f *inFlags) open(ctx context.Context, ways []listen.Way, note note) (open listeners, err error) {
	if f.identity, err = f.tls.open(f.flags, note); err != nil {
		return nil, err
	}
	sockets := new(systemd.Sockets)
	opt := listen.Options{
		UnixMode:  fs.FileMode(f.mode),
		Activated: sockets.Named,
		Reason:    secure.ServerReason,
		Trust:     f.trust,
		Allow:     f.allow(),
	}
	if f.identity != nil {
		opt.TLS = f.identity.Config()
	}
	opened, err := listen.Open(ctx, ways, opt)
	if err != nil {
		return nil, explainWay(err, ways)
	}
	if rest := sockets.Rest(); len(rest) > 0 {
		note("nobody is served at what else was passed to this process: %s", strings.Join(rest, ", "))
	}
	return opened, nil
}

// close closes what open has opened beside the listeners.
func (f *inFlags) close() {
	if f.identity != nil {
		f.identity.Close()
	}
}

// explainWay says in words why a way could not be opened.
func explainWay(err error, ways []listen.Way) error {
	var failed *listen.Error
	if !errors.As(err, &failed) {
		return usageError("%w", err)
	}
	w, why := failed.Way, failed.Err
	about := aPort
	if w.Network != "tcp" {
		about = aSocket
	}
	var dns *net.DNSError
	if errors.As(why, &dns) && dns.IsNotFound {
		return usageError("cannot listen on %v: unknown host %q", w, dns.Name)
	}
	if errors.Is(why, syscall.EADDRINUSE) {
		if other := samePort(w, ways); other != nil {
			return usageError("cannot listen on %v: the port is in use, by %v of this server or by another", w, other)
		}
	}
	return usageError("cannot listen on %v: %w", w, inWords(why, about))
}

// samePort is another way that may be why a port is in use; nil if there is none.
func samePort(w listen.Way, ways []listen.Way) *listen.Way {
	for _, other := range ways {
		if other != w && other.Network == "tcp" && other.Port == w.Port {
			return &other
		}
	}
	return nil
}

// A modeFlag is --unix-mode; 0 is the umask's.
type modeFlag fs.FileMode

func (f *modeFlag) Type() string { return "MODE" }

func (f *modeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return "0" + strconv.FormatUint(uint64(*f), 8)
}

func (f *modeFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return errors.New("use an octal mode, such as 0660")
	}
	*f = modeFlag(n)
	return nil
}
