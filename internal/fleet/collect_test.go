package fleet

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/internal/natstest"
)

// collect collects what there is, and returns the requests that are recorded then and how many exchanges the journal
// says are missing.
func collect(t *testing.T, all string, opt CollectOptions) (requests []string, missing int64) {
	t.Helper()
	opt.Once = true
	c, err := NewCollection(all, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Open(all)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for x, err := range r.Exchanges(t.Context(), journal.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, string(x.Request))
	}
	if missing, err = r.Missing(t.Context()); err != nil {
		t.Fatal(err)
	}
	return requests, missing
}

// What neither the stream nor a shipper has is given up, and the journal says how much that was. It is left out
// when it comes after all, and what comes behind it is recorded once.
func TestWhatIsMissingIsGivenUp(t *testing.T) {
	t.Parallel()
	nats1 := natstest.New(t, 1, "").Start()
	way := natsconn.Options{URLs: nats1.URL()}
	js := nats1.Connect()
	file := record(t, "web-1", "a", "b", "c", "d")
	f, err := journal.Follow(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var msgs []*nats.Msg
	for at := (journal.Position{}); ; {
		block, err := f.Next(t.Context(), at, 1) // one record each
		if err != nil {
			t.Fatal(err)
		}
		if block == nil {
			break
		}
		msgs, at = append(msgs, inParts(t, block, 1<<20)...), block.To
	}
	if err := (Stream{Replicas: 1}).ensure(t.Context(), &link{nc: js.Conn(), js: js, named: 1}); err != nil {
		t.Fatal(err)
	}
	for _, msg := range slices.Delete(slices.Clone(msgs), 1, 3) { // b and c are lost
		if _, err := js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}

	var told notes
	all := filepath.Join(t.TempDir(), "all.journal")
	opt := CollectOptions{NATS: way, Wait: -1, Note: told.Printf}
	requests, missing := collect(t, all, opt)
	if want := []string{"a", "d"}; !slices.Equal(requests, want) || missing != 2 {
		t.Errorf("recorded are %q, with %d missing; want %q, with 2", requests, missing, want)
	}
	if n := strings.Count(told.String(), "given up"); n != 1 || !strings.Contains(told.String(), ": 2 records\n") {
		t.Errorf("the operator is told %d times that 2 records are given up:\n%s", n, told.String())
	}

	s, _ := ship(t, file, ShipOptions{NATS: way, Drain: time.Minute, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })
	requests, missing = collect(t, all, opt)
	if want := []string{"a", "d"}; !slices.Equal(requests, want) || missing != 2 {
		t.Errorf("later, recorded are %q, with %d missing; want %q, with 2", requests, missing, want)
	}
}

// A record that is longer than NATS takes comes in parts: from the stream, and from the shipper when the stream
// has lost it (FAULTS N12).
func TestARecordIsLongerThanNATSTakes(t *testing.T) {
	t.Parallel()
	nats1 := natstest.New(t, 1, "max_payload: 4096").Start()
	way := natsconn.Options{URLs: nats1.URL()}
	want := []string{"short", strings.Repeat("0123456789", 3000), "short again"}
	s, _ := ship(t, record(t, "web-1", want...), ShipOptions{NATS: way, Drain: time.Minute, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })
	for _, from := range []string{"the stream", "the shipper"} {
		requests, missing := collect(t, filepath.Join(t.TempDir(), "all.journal"), CollectOptions{NATS: way, Note: t.Logf})
		if !slices.Equal(requests, want) || missing != 0 {
			t.Errorf("from %s came %d requests, with %d missing; want those %d that were recorded", from, len(requests), missing, len(want))
		}
		stream, err := nats1.Connect().Stream(t.Context(), streamName)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Count().Answers == 0 {
		t.Error("nothing was asked for")
	}
}

// Who wants only what there is does not take it for nothing while NATS is not there, nor while JetStream does not
// answer; and is told of the one as of the other.
func TestOnceIsNotOverWithoutJetStream(t *testing.T) {
	conf := `accounts { NONE { users: [ { user: u, password: p } ] }, ALL { jetstream: enabled, users: [ { user: a, password: p } ] } }`
	c := natstest.New(t, 1, conf)
	way := natsconn.Options{URLs: strings.Replace(c.URL(), "nats://", "nats://u:p@", 1)}
	var told notes
	collection, err := NewCollection(filepath.Join(t.TempDir(), "all.journal"), CollectOptions{NATS: way, Once: true, Note: told.Printf})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- collection.Run(ctx) }()
	waits := func(why string) {
		t.Helper()
		eventually(t, "it waits", func() bool {
			select {
			case err := <-ended:
				t.Fatalf("it is over: %v", err)
			default:
			}
			return strings.Contains(told.String(), "waits: "+why)
		})
	}
	waits("there is no connection")
	c.Start()
	waits("JetStream not enabled")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A collector that ends between the parts of a block has that block when its last part has come, and no record twice;
// nor if two ship the same journal at once.
func TestCollectingEndsBetweenParts(t *testing.T) {
	t.Parallel()
	nats1 := natstest.New(t, 1, "").Start()
	way := natsconn.Options{URLs: nats1.URL()}
	js := nats1.Connect()
	if err := (Stream{Replicas: 1}).ensure(t.Context(), &link{nc: js.Conn(), js: js, named: 1}); err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "b", strings.Repeat("c", 1000), "d"}
	file := record(t, "web-1", want...)
	block := blockOf(t, file)
	parts := inParts(t, block, 2*headerRoom)
	if len(parts) < 3 {
		t.Fatalf("the block has %d parts, want more", len(parts))
	}
	publish := func(msgs []*nats.Msg) {
		t.Helper()
		for _, msg := range msgs {
			if _, err := js.PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := filepath.Join(t.TempDir(), "all.journal")
	opt := CollectOptions{NATS: way, Wait: -1, Note: t.Logf}
	publish(parts[:2])
	publish(inParts(t, blockOf(t, record(t, "web-1", "of another journal")), 1<<20))
	if requests, missing := collect(t, all, opt); len(requests) != 1 || missing != 0 {
		t.Errorf("of two parts, and another block behind them, %q are recorded, with %d missing", requests, missing)
	}
	want = append([]string{"of another journal"}, want...)
	publish(parts[2:])
	for _, when := range []string{"behind the last part", "behind two shippers"} {
		if requests, missing := collect(t, all, opt); !slices.Equal(requests, want) || missing != 0 {
			t.Errorf("%s %d records are there, with %d missing; want %d", when, len(requests), missing, len(want))
		}
		var both []*Shipper
		for range 2 {
			s, stop := ship(t, file, ShipOptions{NATS: way, Drain: time.Minute, Note: t.Logf})
			defer stop()
			both = append(both, s)
		}
		for _, s := range both {
			eventually(t, "all is shipped", func() bool { return s.Shipped().Covers(block.To) })
		}
	}
}

// blockOf is all that a journal has.
func blockOf(t *testing.T, file string) *journal.Block {
	t.Helper()
	f, err := journal.Follow(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block, err := f.Next(t.Context(), journal.Position{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

// inParts are the messages of a block, for a NATS that takes so many bytes.
func inParts(t *testing.T, block *journal.Block, limit int64) []*nats.Msg {
	t.Helper()
	encoded, err := block.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return messages(recordsOf(block.Node), encoded, limit)
}
