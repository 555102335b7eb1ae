package main

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/fault"
)

// A faultFlag is --fault: what goes wrong on purpose. Without it nothing of its methods does
// anything.
type faultFlag struct {
	text  string
	layer *fault.Layer // nil without the flag
}

func (f *faultFlag) String() string { return f.text }
func (f *faultFlag) Type() string   { return "LIST" }

// Set takes more faults: the flag again is as with a comma.
func (f *faultFlag) Set(s string) error {
	if f.text != "" {
		s = f.text + "," + s
	}
	plan, err := fault.Parse(s)
	if err != nil {
		return err
	}
	f.text, f.layer = s, &fault.Layer{Plan: plan}
	return nil
}

// add adds the flag, and its items to what a shell completes.
func (f *faultFlag) add(cmd *cobra.Command) {
	defer heading(cmd.Flags(), ofFaults)()
	cmd.Flags().Var(f, "fault", "have things go wrong on purpose, such as delay=50ms,drop=10%; of replies, or of requests with request. before a fault; docs/faults.md has all of them")
	cmd.RegisterFlagCompletionFunc("fault", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexAny(typed, ",.")+1]
		var items []string
		names, usages := fault.Names()
		for i, name := range names {
			item := before + name + "="
			if !strings.Contains(before, ",") { // which bash escapes, and then finds only what has no description
				item += "\t" + usages[i]
			}
			items = append(items, item)
		}
		return items, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// prepare says how messages are found, and whether the faults can be: write is the timeout of a
// write, 0 if there is none.
func (f *faultFlag) prepare(framing framingFlag, maxMessage int, write time.Duration) error {
	if f.layer == nil {
		return nil
	}
	if hold := f.layer.Plan.LongestHold(); write > 0 && hold >= write {
		return usageError("--fault %q: it may hold a message back for %v, and --write-timeout %v would end the session; give a longer one, or 0", f.text, hold, write)
	}
	f.layer.Framing, f.layer.Replies, f.layer.MaxMessage = framing.Requests, framing.Replies, maxMessage
	return nil
}

// prepareServer is prepare for a server.
func (f *faultFlag) prepareServer(opt *serverOptions) error {
	if f.layer != nil && opt.engine.engine == parley.Loops {
		return usageError("--engine loops: --fault needs goroutines; use goroutines or auto")
	}
	return f.prepare(opt.framing, int(opt.maxRequest), opt.write)
}

// prepareTap is prepare for a tap.
func (f *faultFlag) prepareTap(opt *tapOptions) error {
	if f.layer != nil {
		f.layer.Tap = true
	}
	framing := opt.framing
	framing.Framing = framing.Onlooker()
	return f.prepare(framing, int(opt.maxMessage), opt.write)
}

// lay lays the faults over all that listens.
func (f *faultFlag) lay(open listeners) {
	if f.layer == nil {
		return
	}
	for _, l := range open {
		l.Net = f.layer.Listener(l.Net)
	}
}

// observer is who is to be told of events, and of faults. That there are any it says at once.
func (f *faultFlag) observer(s *serving) parley.Observer {
	if f.layer == nil {
		return s.observer
	}
	s.Notes.Printf("things go wrong on purpose; to see the same again: --fault %v", f.layer.Plan)
	return f.layer.Observer(s.observer)
}

// A dialFunc is that of a tap.
type dialFunc = func(ctx context.Context, client *parley.Session) (net.Conn, error)

// dial is a tap's with the faults over what it dials.
func (f *faultFlag) dial(dial dialFunc) dialFunc {
	if f.layer == nil {
		return dial
	}
	return func(ctx context.Context, client *parley.Session) (net.Conn, error) {
		conn, err := dial(ctx, client)
		if err != nil {
			return nil, err
		}
		return f.layer.Upstream(conn), nil
	}
}
