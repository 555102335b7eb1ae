package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/agent"
	"github.com/parley-tcp/parley/internal/load"
	"github.com/parley-tcp/parley/internal/natsconn"
)

// benchAgents have other machines put the load on.
type benchAgents struct {
	number int
	urls   string
	nats   natsFlags
}

func (f *benchAgents) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	end := heading(flags, ofMachines)
	flags.IntVar(&f.number, "agents", 0, "have `N` machines put the load on together that run parley agent; connections and rate are those of all")
	flags.StringVar(&f.urls, "nats", "", "the NATS `SERVERS` where they wait for work, such as nats://a:4222,b:4222")
	flags.SetAnnotation("agents", goesWith, []string{"nats"})
	flags.SetAnnotation("nats", goesWith, []string{"agents"})
	end()
	f.nats.add(cmd)
	for _, name := range []string{"nats-creds", "nats-ca", "nats-cert"} {
		flags.SetAnnotation(name, goesWith, []string{"nats"})
	}
}

// A team is the agents of a bench, and the connection to them.
type team struct {
	*agent.Team
	conn *nats.Conn
}

// checkAgents refuses what cannot be had of other machines.
func (b *bench) checkAgents() error {
	opt := b.opt
	flags := opt.out.cmd.Flags()
	switch {
	case isGiven(flags.Lookup("agents")) && opt.agents.number < 1:
		return usageError("--agents %d: it must be at least 1", opt.agents.number)
	case opt.agents.number == 0:
		return nil
	case opt.agents.urls == "":
		return usageError("--nats is missing: the NATS servers where the agents wait for work")
	case isGiven(flags.Lookup("via")):
		return usageError("--via goes without --agents: each goes its own way")
	case isGiven(flags.Lookup("keylog")):
		return usageError("--keylog goes without --agents: the keys are on their machines")
	}
	switch n := opt.agents.number; {
	case opt.connections < n:
		return usageError("--agents %d: each needs a connection, and there %s; --connections takes more", n, isOrAre(opt.connections))
	case opt.requests > 0 && opt.requests < uint64(n):
		return usageError("--agents %d: each needs a request, and there %s; --requests takes more", n, isOrAre(int(opt.requests)))
	}
	for _, at := range b.targets {
		if at.network == "unix" {
			return usageError("--agents: %s is a socket of one machine; name an address that theirs can reach", at.target())
		}
	}
	_, err := b.load(0, &b.plan)
	return err
}

func isOrAre(n int) string {
	if n == 1 {
		return "is 1"
	}
	return fmt.Sprintf("are %d", n)
}

// gather reserves the agents, if any are to put the load on.
func (b *bench) gather(ctx context.Context) error {
	f := &b.opt.agents
	if f.number == 0 {
		return nil
	}
	options := f.nats.options(f.urls, "parley bench")
	options.Told = func(what string) { b.note("%s", what) }
	conn, err := options.Connect(ctx)
	if err != nil {
		if signalled(ctx) != nil {
			return networkError("nothing was counted: it was interrupted while it connected to NATS")
		}
		return networkError("%w", err)
	}
	if _, err := conn.TLSConnectionState(); err != nil && b.opt.out.tls.key != "" {
		b.note("--key: this key goes to the agents through NATS, and the connection to it has no TLS: who listens there has the key")
	}
	gathered, err := agent.Gather(ctx, conn, agent.TeamOptions{
		Agents: f.number, Wait: b.opt.timeout, Version: shortVersion(), Bench: hostName(), Told: b.progress.Say,
	})
	if err != nil {
		conn.Close()
		if signalled(ctx) != nil {
			return networkError("nothing was counted: it was interrupted while it waited for agents")
		}
		return networkError("--agents: %w, at NATS on %s", err, natsconn.Shown(f.urls))
	}
	b.team = &team{gathered, conn}
	return nil
}

func (b *bench) release() {
	if b.team != nil {
		b.team.Close()
		b.team.conn.Close()
	}
}

// elsewhere has the agents put the load of a plan on one of the targets.
func (b *bench) elsewhere(target int) func(context.Context, *load.Plan) (*load.Result, error) {
	return func(ctx context.Context, p *load.Plan) (*load.Result, error) {
		l, err := b.load(target, p)
		if err != nil {
			return nil, err
		}
		measured, err := b.team.Run(ctx, l, p)
		if err != nil {
			return nil, networkError("%w", err)
		}
		if lost := measured.Lost(); len(lost) > 0 && (b.opt.slo != "" || b.opt.compare) {
			return nil, networkError("agent %s was lost: %s; it ends here, since what comes would be another load", lost[0].Machine, lost[0].Lost)
		}
		return measured, nil
	}
}

// load is a plan as it travels to agents, with what the files say that were named.
func (b *bench) load(target int, p *load.Plan) (*agent.Load, error) {
	opt, at := b.opt, b.targets[target]
	port, err := net.LookupPort("tcp", at.port)
	if err != nil {
		return nil, usageError("address %s: %w", at.target(), err)
	}
	l := &agent.Load{
		Host: at.dialled(), Port: strconv.Itoa(port), Family: family(opt.only4, opt.only6),
		SendProxy: int(opt.out.sendProxy), StartTLS: string(opt.out.startTLS), TLSInside: opt.out.inDialogue,
		Framing: opt.framing.Name, Greeted: opt.out.startTLS != "", Banner: opt.greeting.asked(), BannerUntil: opt.greeting.until,
		Messages: p.Messages, Expect: opt.expect,
		Connections: p.Connections, InFlight: p.InFlight, Rate: p.Rate, ConnectEach: p.ConnectEach,
		Warmup: p.Warmup, Duration: p.Duration, Requests: p.Requests, MaxReply: p.ReplyLimit(), Timeout: p.Timeout,
	}
	if d := opt.script.dialogue; d != nil {
		l.Script = &agent.Script{File: d.File, Text: d.Append(nil)}
	}
	if opt.out.secure != nil {
		flags := &opt.out.tls
		l.TLS = &agent.TLS{ServerName: flags.serverName, Insecure: flags.insecure, ALPN: flags.alpn, Resume: flags.resume}
		for _, file := range []struct {
			flag, name string
			to         *[]byte
		}{{"ca", flags.ca, &l.TLS.CA}, {"cert", flags.cert, &l.TLS.Cert}, {"key", flags.key, &l.TLS.Key}} {
			if file.name == "" {
				continue
			}
			if *file.to, err = os.ReadFile(file.name); err != nil {
				return nil, usageError("--%s %s: %w", file.flag, file.name, inWords(err, aFileToRead))
			}
		}
	}
	return l, nil
}

// A targetsFlag is --allow-target: where an agent lets loads go.
type targetsFlag struct {
	words   []string
	allowed agent.Allowed
}

func (f *targetsFlag) String() string { return strings.Join(f.words, ",") }
func (f *targetsFlag) Type() string   { return "TARGET" }

func (f *targetsFlag) Set(s string) error {
	for word := range strings.SplitSeq(s, ",") {
		allowed, err := agent.ParseAllowed(word)
		if err != nil {
			if word != s {
				err = fmt.Errorf("%s: %w", word, err)
			}
			return err
		}
		f.words, f.allowed = append(f.words, word), append(f.allowed, allowed...)
	}
	return nil
}
