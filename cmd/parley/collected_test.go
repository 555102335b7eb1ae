package main

import (
	"context"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/parley-tcp/parley/internal/journal"
)

// collect makes one journal of what several have: collect INTO FILE...
func collect(ts *testscript.TestScript, _ bool, args []string) {
	var files []string
	for _, file := range args[1:] {
		files = append(files, ts.MkAbs(file))
	}
	ts.Check(collectJournals(context.Background(), ts.MkAbs(args[0]), files...))
}

// collectJournals adds all that is in files to a journal of many nodes.
func collectJournals(ctx context.Context, into string, files ...string) error {
	c, err := journal.Collect(into, journal.CollectOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	for _, file := range files {
		if err := collectJournal(ctx, c, file); err != nil {
			return err
		}
	}
	return nil
}

func collectJournal(ctx context.Context, c *journal.Collector, file string) error {
	f, err := journal.Follow(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var from journal.Position
	for {
		b, err := f.Next(ctx, from, 1<<20)
		if err != nil || b == nil {
			return err
		}
		if _, err := c.Add(b, 0); err != nil {
			return err
		}
		from = b.To
	}
}
