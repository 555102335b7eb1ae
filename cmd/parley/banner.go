package main

import (
	"bytes"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/expect"
)

// bannerFlags say that the server speaks first, and how far: --banner and --banner-until.
type bannerFlags struct {
	banner bool
	until  string

	single  dialect.Framing // of one message of the server
	framing dialect.Framing // of the greeting; without Requests if none is awaited, or a protocol has its own
}

func (b *bannerFlags) add(flags *pflag.FlagSet) {
	flags.BoolVarP(&b.banner, "banner", "b", false, "the server speaks first: wait for a line of it before anything is sent")
	flags.StringVar(&b.until, "banner-until", "", "the same, with a greeting that ends with the first line that matches this `REGEX`")
}

// resolve makes the framing of the greeting, by that of the conversation.
func (b *bannerFlags) resolve(f framingFlag) error {
	switch {
	case b.until != "" && f.IsProtocol():
		return usageError("--banner-until goes with lines; --framing %s knows where a greeting ends", f.Name)
	case b.banner && f.IsProtocol() && !f.SpeaksFirst:
		return usageError("--banner: with --framing %s a server does not speak first", f.Name)
	case f.IsProtocol():
		b.single = f.Framing
		return nil
	case !b.banner && b.until == "":
		return nil
	}
	b.single = f.OfGreeting()
	b.framing = b.single
	if b.until == "" {
		return nil
	}
	if b.single.Requests != parley.Lines && b.single.Requests != parley.LinesCRLF {
		return usageError("--banner-until goes with lines from the server, not with --framing %s", f.Name)
	}
	last, err := expect.Regexp(b.until)
	if err != nil {
		return usageError("--banner-until: %w", err)
	}
	b.framing.Requests = dialect.Until(b.single.Requests, func(line []byte) bool { return last.Holds(nil, line) })
	return nil
}

// asked says whether one of the flags was given.
func (b *bannerFlags) asked() bool { return b.banner || b.until != "" }

// awaited says whether a greeting is awaited.
func (b *bannerFlags) awaited(f framingFlag) bool { return b.framing.Requests != nil || f.SpeaksFirst }

// of is the framing with the greeting before the replies, as a Dialer takes it.
func (b *bannerFlags) of(f dialect.Framing) dialect.Framing {
	if b.framing.Requests != nil {
		f.Requests, f.Replies = dialect.Greeted(f.Requests, f.Replies, b.framing.Requests), nil
	}
	return f
}

// lacks says what a greeting of which only this came, framing included, lacks to be whole, and
// what may help.
func (b *bannerFlags) lacks(came []byte) (lacks, advice string) {
	if b.until != "" && bytes.Contains(came, []byte("\n")) {
		return fmt.Sprintf("none of its lines matches %#q, which would end it", b.until), ""
	}
	return b.single.Lacks(came)
}

// excerpt is the beginning of what came, as an error shows it.
func excerpt(came []byte) string {
	const most = 256
	if len(came) > most {
		return string(came[:most]) + "…"
	}
	return string(came)
}

// addressed is the framing for a server at an address, which some requests name.
func addressed(f dialect.Framing, at address) dialect.Framing {
	if f.For != nil {
		return f.For(f, at.target())
	}
	return f
}
