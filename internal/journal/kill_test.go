package journal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

const followedFile, collectedFile = "PARLEY_TEST_FOLLOWED", "PARLEY_TEST_COLLECTED"

// TestFollowingProcess is another program that follows one journal into another until it is killed, and
// says so of each block.
func TestFollowingProcess(t *testing.T) {
	file := os.Getenv(followedFile)
	if file == "" {
		return
	}
	f := follow(t, file)
	c := collectInto(t, os.Getenv(collectedFile))
	from, err := f.Cursor("test")
	if err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil {
		b, err := f.Next(t.Context(), from, 20_000)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			time.Sleep(time.Millisecond) // as who ships waits for more
			continue
		}
		if _, err := c.Add(b, uint64(b.To.Exchange)); err != nil {
			t.Fatal(err)
		}
		if err := f.Keep("test", b.To); err != nil {
			t.Fatal(err)
		}
		from = b.To
		fmt.Println("block")
	}
}

// Who follows a journal while it is written, and keeps its cursor in it, holds up nobody, and may be
// killed at any moment, as may who collects: nothing is missing afterwards, and nothing is there twice.
func TestFollowerAndCollectorMayBeKilled(t *testing.T) {
	file, into := filepath.Join(t.TempDir(), "j"), filepath.Join(t.TempDir(), "collected")
	w, err := Create(file, Options{About: About{Framing: "line", Role: "server", Node: "web-1"},
		Warn: func(text string) { t.Errorf("the writer warns: %s", text) }})
	if err != nil {
		t.Fatal(err)
	}
	var load sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer load.Wait()
	defer stop()
	load.Go(func() { serve(ctx, w) })
	for kill := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFollowingProcess$")
		cmd.Env = append(os.Environ(), followedFile+"="+file, collectedFile+"="+into)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 3+5*kill; n++ {
			if !lines.Scan() || lines.Text() != "block" {
				t.Fatalf("it says %q, %v", lines.Text(), lines.Err())
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	stop()
	load.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, c := follow(t, file), collectInto(t, into)
	from, err := f.Cursor("test")
	if err != nil || from == (Position{}) {
		t.Errorf("the cursor is at %+v, %v", from, err)
	}
	if have := c.Sources()[0]; !have.Position.Covers(from) || have.Mark == 0 {
		t.Errorf("the cursor is at %+v, and %+v is collected", from, have)
	}
	addAll(t, c, blocks(t, f, from, 50_000))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := entries(t, into), entries(t, file); got != want {
		t.Errorf("what is collected differs: %d bytes of %d", len(got), len(want))
	} else if n := strings.Count(want, "RawRequest"); n < 200 || strings.Contains(want, "gap") {
		t.Errorf("%d exchanges: %s", n, want[max(0, len(want)-300):])
	}
}

// serve has sessions come, speak and go until the context ends.
func serve(ctx context.Context, w *Writer) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(1); ctx.Err() == nil; n++ {
		now := time.Now()
		s := parley.NewSession(n, address(1, int(n%60000)), address(2, 7000), now)
		w.Observe(&parley.Event{Kind: parley.Opened, Session: s, Time: now})
		for i := range n % 5 {
			w.Pass(s, []parley.Exchange{{Seq: i + 1, Received: now, Request: fmt.Appendf(nil, "%d of %d", i, n), Reply: []byte("yes")}})
		}
		if n%9 > 0 {
			w.Observe(&parley.Event{Kind: parley.Closed, Session: s, Time: now, Reason: parley.EndOfFile, Seq: n % 5, Replied: n % 5})
		}
		<-tick.C
	}
}
