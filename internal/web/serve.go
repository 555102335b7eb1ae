package web

import (
	"context"
	"net"
	"time"

	"github.com/parley-tcp/parley/internal/guard"
)

// maxConnections is how many browsers' connections there are at once. They and what they open must
// fit into the 64 descriptors that parley.DefaultMaxSessions leaves to everything but sessions.
const maxConnections = 24

// Serve answers browsers on l, which it closes, until ctx ends. No browser keeps it from
// returning. The error is the listener's; nil if it was ctx.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- guard.Serve(ctx, l, p, maxConnections, p.opt.Warn) }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-ticker.C:
			p.tick(now, n%ticksPerSecond == 0)
		case err := <-served:
			return err
		}
	}
}
