package fleet

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/internal/natstest"
)

// The permissions of docs/fleet.md are enough to ship and to collect, also what the stream has lost, and not enough
// to ship as another node.
func TestPermissionsOfTheManual(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```nats-permissions\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatal("docs/fleet.md has no permissions")
	}
	conf := strings.NewReplacer("$WEB_1_PASSWORD", "one", "$COLLECTOR_PASSWORD", "two").Replace(string(found[1]))
	c := natstest.New(t, 1, conf).Start()
	as := func(user string) natsconn.Options {
		return natsconn.Options{URLs: strings.Replace(c.URL(), "nats://", "nats://"+user+"@", 1)}
	}
	s, _ := ship(t, record(t, "web-1", "a", "b", "c"), ShipOptions{NATS: as("web-1:one"), Drain: time.Second, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })

	var told notes
	stranger, _ := ship(t, record(t, "web-2", "a"), ShipOptions{NATS: as("web-1:one"), Note: told.Printf})
	eventually(t, "it is told why another node's records are not taken", func() bool {
		return strings.Contains(strings.ToLower(told.String()), "permissions violation")
	})
	if n := stranger.Count().Blocks; n != 0 {
		t.Errorf("%d blocks of web-2 were taken from web-1", n)
	}

	collected := func() int64 {
		t.Helper()
		collection, err := NewCollection(filepath.Join(t.TempDir(), "all.journal"), CollectOptions{NATS: as("collector:two"), Once: true, Note: t.Logf})
		if err != nil {
			t.Fatal(err)
		}
		if err := collection.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return collection.position(s.journal).Exchange
	}
	if n := collected(); n != 3 {
		t.Errorf("%d exchanges are collected, want 3", n)
	}
	c.Kill()
	c.Wipe()
	c.Start()
	eventually(t, "what was wiped is shipped again, and collected", func() bool { return collected() == 3 })
}
