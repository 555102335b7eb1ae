package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/listen"
	"github.com/parley-tcp/parley/internal/systemd"
)

// inFlags are the ways into a server or a tap, beside the one that its first word may name.
type inFlags struct {
	listen []string
	mode   modeFlag

	bareHost string // where a port alone listens; on all addresses if empty
	flags    interface{ Changed(name string) bool }

	reloadable []reloadable // what a SIGHUP has read again
}

// A reloadable is what was read from files that may have others' contents by now.
type reloadable struct {
	what   string
	reload func() error // the old one stays if there is an error
}

func (f *inFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.flags = flags
	flags.StringSliceVar(&f.listen, "listen", nil, "listen at this `ADDRESS` too; again and again, or several with commas")
	flags.Var(&f.mode, "unix-mode", "mode of a Unix socket, such as 0660 (default as the umask has it)")
}

// ways are those that the words, one at most, and the flags name. next is the word behind that,
// if there is one, for a better error.
func (f *inFlags) ways(words []string, next string) ([]listen.Way, error) {
	if f.flags.Changed("listen") && len(f.listen) == 0 {
		return nil, usageError("--listen: its value is empty; leave the flag out if you do not want it")
	}
	var ways []listen.Way
	for _, word := range words {
		way, err := f.way(word, next)
		if err != nil {
			return nil, err
		}
		ways = append(ways, way)
	}
	for _, word := range f.listen {
		way, err := f.way(word, "")
		if err != nil {
			return nil, usageError("--listen: %w", err)
		}
		ways = append(ways, way)
	}
	if err := listen.Twice(ways); err != nil {
		return nil, usageError("%w", err)
	}
	return ways, f.check(ways)
}

// way reads such as 6969, tls:0.0.0.0:7443, unix:/run/parley.sock, fd://3 or systemd:web.
func (f *inFlags) way(word, next string) (listen.Way, error) {
	over, rest, err := listen.Prefix(word, listen.Way{})
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

// reloads says whether there is something that can be read again.
func (f *inFlags) reloads() bool { return false }

// check says which flag and which way do not go together.
func (f *inFlags) check(ways []listen.Way) error {
	hasSocket := false
	for _, w := range ways {
		hasSocket = hasSocket || w.Network == "unix" && !strings.HasPrefix(w.Path, "@")
	}
	if f.mode != 0 && !hasSocket && f.flags.Changed("unix-mode") {
		return usageError("--unix-mode goes with unix:PATH, and there is none")
	}
	return nil
}

// open opens the ways.
func (f *inFlags) open(ctx context.Context, ways []listen.Way) (listeners, error) {
	sockets := new(systemd.Sockets)
	opened, err := listen.Open(ctx, ways, listen.Options{
		UnixMode:  fs.FileMode(f.mode),
		Activated: sockets.Named,
	})
	if err != nil {
		return nil, explainWay(err, ways)
	}
	return opened, nil
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
