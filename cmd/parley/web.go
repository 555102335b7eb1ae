package main

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/web"
)

// webOptions are the flags of the live page; there is none if at is empty.
type webOptions struct {
	at, token   string
	tls         httpTLSFlags
	upstream    string // of a tap: the address behind it
	upstreamTLS bool   // that is spoken to over TLS
	framing     dialect.Framing
	secrets     bool // credentials are shown
}

func (opt *webOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofPage)()
	flags.StringVar(&opt.at, "web", "", "show a live page at `[HOST:]PORT`; of this host only unless another address is named")
	flags.StringVar(&opt.token, "web-token", "", "the `TOKEN` that a browser must know, 16 characters or more (better in PARLEY_WEB_TOKEN: others can see flags; default one that is made and printed where others can reach the page)")
	flags.SetAnnotation("web-token", goesWith, []string{"web"})
	opt.tls.add(cmd, "web", "the page")
}

// reloads says whether the page has files that can be read again.
func (opt *webOptions) reloads() bool { return opt.at != "" && opt.tls.cert != "" }

// A livePage is the page of a command, while it runs.
type livePage struct {
	*web.Page
	journal *web.Journals // of what it shows; nil if that is not kept
	url     string
	reload  func() // reads its certificate again; nil if that is in no file
	cancel  context.CancelFunc
	served  chan error
}

// openPage serves a live page at the address that opt names; it is nil if that is none.
// watched is where the server that it shows listens; kept, if not nil, adds what remembers more than the page.
// What the page's own HTTP server has to say goes to notes.
func openPage(ctx context.Context, opt webOptions, watched string, kept func(*web.Options), notes *console.Notes) (*livePage, error) {
	if opt.at == "" {
		return nil, nil
	}
	note := func(format string, args ...any) { notes.Printf("live page: "+format, args...) }
	if err := opt.tls.open(note); err != nil {
		return nil, err
	}
	place, err := opt.listen(ctx)
	if err != nil {
		return nil, err
	}
	options := web.Options{
		Server: watched, Upstream: opt.upstream, UpstreamTLS: opt.upstreamTLS, Framing: opt.framing, Secrets: opt.secrets,
		Hosts: place.names, Certified: opt.tls.covers, Token: place.token,
		Warn: func(line string) { note("%s", line) },
	}
	if kept != nil {
		kept(&options)
	}
	page := &livePage{Page: web.New(options), journal: options.Journal, url: place.url, reload: opt.tls.reloader(note), served: make(chan error, 1)}
	ctx, page.cancel = context.WithCancel(ctx)
	go func() { page.served <- page.Serve(ctx, place.Listener) }()
	return page, nil
}

// A webPlace is where a page is.
type webPlace struct {
	*httpPlace
	token string // that a browser must know; empty if none
	url   string // for a browser, with the token if that was made here
}

// listen listens at the address that opt names. If others can reach it there, whoever can may see what the
// page shows only with a token.
func (opt *webOptions) listen(ctx context.Context) (*webPlace, error) {
	if strings.HasPrefix(opt.at, "unix:") {
		return nil, usageError("--web %s: a browser cannot open a Unix socket; use a port", opt.at)
	}
	if err := checkToken("web-token", opt.token); err != nil {
		return nil, err
	}
	at, err := opt.tls.listen(ctx, opt.at)
	if err != nil {
		return nil, err
	}
	place := &webPlace{httpPlace: at, token: opt.token, url: at.url}
	if at.isOpen && opt.token == "" {
		place.token = rand.Text() // 130 bits
		place.url += "?token=" + place.token
	}
	return place, nil
}

// letGo has the page read the journal no more: who writes it is to be the last that has it open, and clears up.
func (p *livePage) letGo() {
	if p != nil && p.journal != nil {
		p.journal.Close()
	}
}

// close ends the page, once its browsers have been told the last.
func (p *livePage) close() {
	p.letGo()
	p.cancel()
	<-p.served
}
