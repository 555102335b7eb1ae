package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/listen"
	"github.com/parley-tcp/parley/internal/web"
)

// webOptions are the flags of the live page; there is none if at is empty.
type webOptions struct {
	at, token string
	upstream  string // of a tap: the address behind it
	framing   dialect.Framing
	secrets   bool // credentials are shown
}

func (opt *webOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&opt.at, "web", "", "show a live page at `[HOST:]PORT`; of this host only unless another address is named")
	flags.StringVar(&opt.token, "web-token", "", "the `TOKEN` that a browser must know, 16 characters or more (better in PARLEY_WEB_TOKEN: others can see flags)")
	flags.SetAnnotation("web-token", goesWith, []string{"web"})
}

const minToken = 16 // characters: guessing is hopeless without any counting of failures

// A livePage is the page of a command, while it runs.
type livePage struct {
	*web.Page
	url    string
	cancel context.CancelFunc
	served chan error
}

// openPage serves a live page at the address that opt names; it is nil if that is none.
// watched is where the server that it shows listens, history what remembers more than the page; nil if
// nothing does. What the page's own HTTP server has to say goes to notes.
func openPage(ctx context.Context, opt webOptions, watched string, history web.History, notes *console.Notes) (*livePage, error) {
	if opt.at == "" {
		return nil, nil
	}
	place, err := opt.listen(ctx)
	if err != nil {
		return nil, err
	}
	page := &livePage{
		Page: web.New(web.Options{
			Server: watched, Upstream: opt.upstream, Framing: opt.framing, Secrets: opt.secrets, Hosts: place.names, Token: opt.token, History: history,
			Warn: func(line string) { notes.Printf("live page: %s", line) },
		}),
		url:    place.url,
		served: make(chan error, 1),
	}
	ctx, page.cancel = context.WithCancel(ctx)
	go func() { page.served <- page.Serve(ctx, place.Listener) }()
	return page, nil
}

// A webPlace is where a page is.
type webPlace struct {
	net.Listener
	names []string // by which it may be asked for
	url   string   // for a browser on this host
}

// listen listens at the address that opt names, if whoever can reach it may see what the page shows.
func (opt *webOptions) listen(ctx context.Context) (*webPlace, error) {
	at, err := parseAddress(opt.at, "")
	switch {
	case err != nil:
		return nil, usageError("--web: %w", err)
	case at.network == "unix":
		return nil, usageError("--web %s: a browser cannot open a Unix socket; use a port", opt.at)
	case opt.token != "" && len(opt.token) < minToken:
		return nil, usageError("--web-token: too short to be safe; use %d characters or more", minToken)
	case at.host == "":
		at.host = "127.0.0.1"
	}
	ways := []listen.Way{{Network: "tcp", Host: at.host, Port: at.port}}
	opened, err := listen.Open(ctx, ways, listen.Options{})
	if err != nil {
		return nil, usageError("--web: %w", explainWay(err, nil))
	}
	l := opened[0].Net
	bound := l.Addr().(*net.TCPAddr)
	if !bound.IP.IsLoopback() && opt.token == "" {
		l.Close()
		return nil, usageError("--web %s: others could read all that is said; set PARLEY_WEB_TOKEN, or use 127.0.0.1:%s and a tunnel", opt.at, at.port)
	}
	return &webPlace{l, namesOf(at.host), fmt.Sprintf("http://%s/", net.JoinHostPort(hostOf(at, bound), fmt.Sprint(bound.Port)))}, nil
}

// namesOf is by which names the page goes: the one that was typed, if it was one.
func namesOf(host string) []string {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	return []string{host}
}

// hostOf is what a browser on this host is to ask for.
func hostOf(at address, bound *net.TCPAddr) string {
	if bound.IP.IsUnspecified() {
		return "localhost"
	}
	return at.host
}

// close ends the page, once its browsers have been told the last.
func (p *livePage) close() {
	p.cancel()
	<-p.served
}
