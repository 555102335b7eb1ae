package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parley-tcp/parley/internal/console"
	"github.com/parley-tcp/parley/internal/journal"
)

// logSQL is parley log --sql.
type logSQL struct {
	query   string
	timeout time.Duration
}

func (s *logSQL) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	defer heading(flags, ofCounts)()
	flags.StringVar(&s.query, "sql", "", "ask the journal by this `SELECT` statement; it has the views v_exchange and v_session")
	flags.DurationVar(&s.timeout, "timeout", 30*time.Second, "with --sql: give up after this long; 0 never does")
	flags.SetAnnotation("timeout", goesWith, []string{"sql"})
}

// errLate is that a question was given up.
var errLate = errors.New("it took too long")

// run asks and writes the answer.
func (s *logSQL) run(ctx context.Context, r *journal.Reader, file, format string, out *logOutput) error {
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.timeout, errLate)
		defer cancel()
	}
	if format == "narrative" {
		format = "table"
	}
	answer := console.NewAnswer(format, out, out.width)
	err := r.Query(ctx, s.query, answer.Head, answer.Row)
	if err == nil || errors.Is(err, errLate) {
		err = errors.Join(answer.End(), err)
	}
	return s.explain(ctx, file, errors.Join(err, out.Close()))
}

func (s *logSQL) explain(ctx context.Context, file string, err error) error {
	var of *journal.QueryError
	var path *fs.PathError
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return nil
	case signalled(ctx) != nil:
		return signalled(ctx)
	case errors.Is(err, errLate):
		return networkError("--sql: no answer within %v, and it was given up; ask for less, or allow more with --timeout", s.timeout)
	case errors.As(err, &of):
		return usageError("--sql: %w; docs/journal.md has the columns of v_exchange and v_session", err)
	case errors.Is(err, journal.ErrOnlyReads), errors.Is(err, journal.ErrOneQuestion), errors.Is(err, journal.ErrNoQuestion):
		return usageError("--sql: %w; use one SELECT", err)
	case errors.As(err, &path):
		return cannotWrite(path.Err)
	}
	return networkError("%s cannot be read to the end: %w; 'parley log --verify' tells what is damaged", file, err)
}
