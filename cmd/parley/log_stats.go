package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/suggest"
	"github.com/parley-tcp/parley/internal/tally"
)

// logStats is parley log --stats.
type logStats struct {
	on    bool
	by    string
	every time.Duration
}

func (s *logStats) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofCounts)()
	flags.BoolVar(&s.on, "stats", false, "count by the shape of requests: errors, bytes, p50 p90 p99 max, and why sessions ended")
	flags.StringVar(&s.by, "by", "shape", "with --stats: count by `WHAT`: shape, session, peer or node")
	flags.DurationVar(&s.every, "every", 0, "with --stats: count over time, a row for each so long, such as 1m")
	flags.SetAnnotation("by", goesWith, []string{"stats"})
	flags.SetAnnotation("every", goesWith, []string{"stats"})
	cmd.MarkFlagsMutuallyExclusive("by", "every")
}

// groupings are those of --by.
var groupings = []string{string(tally.ByShape), string(tally.BySession), string(tally.ByPeer), string(tally.ByNode)}

// options are what the flags say.
func (s *logStats) options(cmd *cobra.Command, opt *logOptions) (tally.Options, error) {
	o := tally.Options{By: tally.By(s.by), Framing: opt.framing.Framing, Secrets: opt.showSecrets}
	switch o.By {
	case tally.ByShape, tally.BySession, tally.ByPeer, tally.ByNode:
	default:
		return o, usageError("--by %s: use shape, session, peer or node; --every 1m counts over time%s", s.by, suggest.DidYouMean(s.by, "", groupings))
	}
	if cmd.Flags().Changed("every") {
		if s.every < time.Millisecond {
			return o, usageError("--every %v: use 1ms or longer, such as 1m", s.every)
		}
		o.By, o.Every = tally.ByTime, s.every
	}
	return o, nil
}

// print counts, and returns how much was counted.
func (s *logStats) print(ctx context.Context, r *journal.Reader, f journal.Filter, o tally.Options, format string, out *logOutput) (shown int, err error) {
	if format == "narrative" {
		format = "table"
	}
	t, err := tally.Of(ctx, r, f, o)
	var many *tally.TooMany
	switch {
	case errors.As(err, &many):
		return 0, usageError("--every %v: %w", o.Every, err)
	case err != nil:
		return 0, err
	}
	return len(t.Rows) + len(t.Ends), console.WriteStats(format, out, out.width, out.style, t)
}
