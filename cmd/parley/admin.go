package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/guard"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/metrics"
	"github.com/parley-tcp/parley/internal/secure"
)

// adminOptions are the flags of the address for operators; there is none if at is empty.
type adminOptions struct {
	at, token string
	tls       httpTLSFlags
	pprof     bool
	delay     time.Duration // of a server or a tap: from the signal to the drain
}

// addFlags adds them.
func (opt *adminOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofOperators)()
	flags.StringVar(&opt.at, "admin", "", "answer /metrics (for Prometheus), /healthz and /readyz at `[HOST:]PORT` or unix:PATH; of this host only unless another address is named")
	flags.StringVar(&opt.token, "admin-token", "", "the `TOKEN` that whoever asks there must know, 16 characters or more (better in PARLEY_ADMIN_TOKEN: others can see flags)")
	flags.SetAnnotation("admin-token", goesWith, []string{"admin"})
	opt.tls.add(cmd, "admin", "that address")
	opt.tls.addClientCA(cmd)
	flags.BoolVar(&opt.pprof, "pprof", false, "have Go's profiles there too, at /debug/pprof/")
	flags.SetAnnotation("pprof", goesWith, []string{"admin"})
}

// addDelay adds the flag of what can be drained.
func (opt *adminOptions) addDelay(cmd *cobra.Command) {
	defer heading(cmd.Flags(), ofOperators)()
	cmd.Flags().DurationVar(&opt.delay, "drain-delay", 0, "how long a stop goes on accepting before it drains, with /readyz at 503 from its start, for a load balancer to notice")
}

// reloads says whether that address has files that can be read again.
func (opt *adminOptions) reloads() bool { return opt.at != "" && opt.tls.cert != "" }

// An adminSite is what answers at the address for operators, while the command runs.
type adminSite struct {
	reload func() // reads its certificate again; nil if that is in no file
	place  *httpPlace
	cancel context.CancelFunc
	served chan error
}

// open answers at the address, as it is told; it is nil if there is none. Close it at the end.
func (opt *adminOptions) open(ctx context.Context, told metrics.Options, notes *console.Notes) (*adminSite, error) {
	if opt.at == "" {
		return nil, nil
	}
	note := func(format string, args ...any) { notes.Printf("admin: "+format, args...) }
	if err := checkToken("admin-token", opt.token); err != nil {
		return nil, err
	}
	if err := opt.tls.open(note); err != nil {
		return nil, err
	}
	place, err := opt.tls.listen(ctx, opt.at)
	if err != nil {
		return nil, err
	}
	site := &adminSite{reload: opt.tls.reloader(note), place: place, served: make(chan error, 1)}
	if place.isOpen && opt.token == "" && opt.tls.clientCA == "" {
		site.shut()
		return nil, usageError("--admin %s: others can reach it there; give --admin-token, --admin-tls-client-ca or an address of this host alone", opt.at)
	}
	told.Guard = guard.Guard{Hosts: place.names, Certified: opt.tls.covers, Token: opt.token}
	if opt.tls.identity != nil {
		told.Gauges = append(told.Gauges, expiry("admin", opt.tls.identity))
	}
	told.Version, told.Pprof = shortVersion(), opt.pprof
	told.Warn = func(line string) { note("%s", line) }
	admin, err := metrics.New(told)
	if err != nil {
		site.shut()
		return nil, usageError("--admin: %w", err)
	}
	notes.Printf("admin at %s", place.url)
	ctx, site.cancel = context.WithCancel(ctx)
	go func() { site.served <- admin.Serve(ctx, place) }()
	return site, nil
}

// shut closes what nobody serves, or nobody serves any more.
func (s *adminSite) shut() {
	s.place.Close()
	s.place.close()
}

// close ends it, once whoever asked has been answered.
func (s *adminSite) close() {
	if s == nil {
		return
	}
	s.cancel()
	<-s.served
	s.shut()
}

// gauges are what is told there of a serving beside its counts.
func (s *serving) gauges() (all []metrics.Gauge) {
	if s.in.identity != nil {
		all = append(all, expiry("server", s.in.identity))
	}
	if s.kept == nil {
		return all
	}
	if s.shipping != nil {
		for _, g := range s.shipping.Gauges() {
			all = append(all, metrics.Gauge{Name: g.Name, Help: g.Help, Value: g.Value})
		}
	}
	ofJournal := func(name, help string, value func(journal.Backlog) float64) {
		all = append(all, metrics.Gauge{Name: "parley_journal_" + name, Help: help, Value: func() float64 { return value(s.kept.Backlog()) }})
	}
	ofJournal("queue_exchanges", "Exchanges that are not written to the journal yet.", func(b journal.Backlog) float64 { return float64(b.Exchanges) })
	ofJournal("queue_bytes", "Bytes of requests and replies that wait to be written to the journal.", func(b journal.Backlog) float64 { return float64(b.Bytes) })
	ofJournal("lag_seconds", "Age of the oldest exchange that is not written to the journal yet; 0 if there is none.", func(b journal.Backlog) float64 {
		if b.Oldest.IsZero() {
			return 0
		}
		return max(0, time.Since(b.Oldest).Seconds())
	})
	ofJournal("failing", "1 while the journal cannot be written, or else 0.", func(b journal.Backlog) float64 {
		if b.Failing {
			return 1
		}
		return 0
	})
	return all
}

// expiry is when a certificate expires, by what it is for.
func expiry(use string, id *secure.Identity) metrics.Gauge {
	return metrics.Gauge{
		Name: "parley_certificate_expiry_timestamp_seconds", Help: "When a certificate of this process expires, in seconds since 1970, by what it is for.",
		Labels: map[string]string{"use": use}, Value: func() float64 { return float64(id.Expires().Unix()) },
	}
}
