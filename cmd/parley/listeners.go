package main

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/listen"
)

// listeners are the ways in that are open.
type listeners []*listen.Listener

// addresses are where they listen, as it can be typed.
func (ls listeners) addresses() (all []string) {
	for _, l := range ls {
		all = append(all, boundAddress(l.Net.Addr()))
	}
	return all
}

func (ls listeners) String() string { return strings.Join(ls.addresses(), ", ") }

// recorded is where they listen as a journal has it: with what stands before a session there.
func (ls listeners) recorded() string {
	all := ls.addresses()
	for i, l := range ls {
		all[i] = l.Way.Layers() + all[i]
	}
	return strings.Join(all, ", ")
}

// withEach names the engine of each: of several with its address.
func (ls listeners) withEach(engines []parley.Engine) string {
	if len(ls) == 1 {
		return engines[0].String()
	}
	var each []string
	for i, l := range ls {
		each = append(each, engines[i].String()+" at "+boundAddress(l.Net.Addr()))
	}
	return strings.Join(each, ", ")
}

// close ends them, also those that nobody serves.
func (ls listeners) close() {
	for _, l := range ls {
		l.Net.Close()
		l.Close()
	}
}

// announce says who can connect, as far as nobody has said that himself by naming a host, and
// what is spoken there.
func (ls listeners) announce(notes *console.Notes) {
	for _, l := range ls {
		if text, isNews := banner(l); isNews || len(ls) > 1 {
			notes.Printf("listening on %s", text)
		}
	}
}

// banner is where a way listens; it is news if that was not typed so.
func banner(l *listen.Listener) (text string, isNews bool) {
	w := l.Way
	switch at, isTCP := l.Net.Addr().(*net.TCPAddr); {
	case w.Network == "unix":
		text = w.String()
	case w.Network != "tcp":
		text, isNews = w.String()+", "+boundAddress(l.Net.Addr()), true
	case isTCP && w.Host == "":
		text, isNews = "all addresses, port "+strconv.Itoa(at.Port), true
	case isTCP && w.Bare:
		text, isNews = w.Host+" alone, port "+strconv.Itoa(at.Port), true
	default:
		text = net.JoinHostPort(w.Host, strconv.Itoa(at.Port))
	}
	switch {
	case w.Proxy && w.TLS:
		return text + " with a PROXY header and TLS", true
	case w.Proxy:
		return text + " with a PROXY header", true
	case w.TLS:
		return text + " with TLS", true
	}
	return text, isNews
}

// engines says which engine has each, or which of them cannot have the one that is asked for.
func (ls listeners) engines(asked parley.Engine) (engines []parley.Engine, err error) {
	for _, l := range ls {
		engine, err := asked.For(l.Net)
		switch {
		case err != nil && (l.Way.TLS || l.Way.Proxy):
			return nil, usageError("--engine loops: they are for ways in plain, which %v is not; use goroutines or auto", l.Way)
		case err != nil:
			return nil, usageError("--engine loops: they are for Linux only; use goroutines or auto")
		}
		engines = append(engines, engine)
	}
	return engines, nil
}

// boundAddress is where something listens, as it can be typed.
func boundAddress(bound net.Addr) string {
	if bound.Network() == "unix" {
		return "unix:" + bound.String()
	}
	return bound.String()
}

// writeAddresses puts the bound addresses in a file, one a line, whole or not at all: a script
// may be waiting for it to appear. No file is asked for by no name.
func (ls listeners) writeAddresses(file string) error {
	if file == "" {
		return nil
	}
	return writeWhole("addr-file", file, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(ls.addresses(), "\n")+"\n")
		return err
	})
}

// writeWhole writes the file that a flag names, whole or not at all.
func writeWhole(flag, file string, write func(io.Writer) error) error {
	f, err := createWhole(file)
	if err == nil {
		defer f.discard()
		err = errors.Join(write(f), f.keep())
	}
	if err != nil {
		return usageError("--%s %s: %w", flag, file, inWords(err, aFileToWrite))
	}
	return nil
}
