package main

import (
	"context"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
)

// A signal cuts the demo short, wherever it is: that is never taken for its end.
func TestDemoEndsWithItsContext(t *testing.T) {
	table := console.NewTranscript(terminals...)
	if err := playDemo(t.Context(), table, parley.DefaultReply, console.Style{}); err != nil {
		t.Fatal(err)
	}
	lines := table.Lines(serverColumn)
	for n := range lines + 1 {
		ctx, cancel := context.WithCancel(t.Context())
		table := console.NewTranscript(terminals...)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			table.Await(t.Context(), serverColumn, n)
			cancel()
		}()
		err := playDemo(ctx, table, parley.DefaultReply, console.Style{})
		<-watched
		if err == nil && table.Lines(serverColumn) < lines {
			t.Errorf("cut after %d lines of the server it ended in order after %d of %d", n, table.Lines(serverColumn), lines)
		}
	}
}
