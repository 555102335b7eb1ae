package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/natsconn"
	"github.com/parley-tcp/parley/internal/natstest"
	"github.com/parley-tcp/parley/parleytest"
)

// record makes a journal of a node that has answered some requests.
func record(t *testing.T, node string, requests ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "journal")
	w, err := journal.Create(file, journal.Options{About: journal.About{Node: node, Role: "server", Framing: "line"}})
	if err != nil {
		t.Fatal(err)
	}
	srv := &parley.Server{
		Handler:  parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil }),
		Observer: w, Gate: w,
	}
	client, err := (&parley.Dialer{}).Dial(t.Context(), parleytest.Start(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests {
		if _, err := client.Do(t.Context(), []byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	srv.Close()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return file
}

// notes collects what an operator is told.
type notes struct {
	mu   sync.Mutex
	text strings.Builder
}

func (n *notes) Printf(format string, a ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, format+"\n", a...)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// ship ships a journal until stop is called.
func ship(t *testing.T, file string, opt ShipOptions) (s *Shipper, stop func() error) {
	t.Helper()
	s, err := NewShipper(file, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return s, stop
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is still not so that %s", what)
		}
	}
}

// What strangers publish, claim and ask changes nothing: of the journal of all nodes, and of what the shipper's
// node gives away.
func TestStrangersChangeNothing(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 1, "").Start()
	nc := c.Connect().Conn()
	const bound = 20
	var requests []string
	for i := range bound {
		requests = append(requests, fmt.Sprint("request ", i))
	}
	file := record(t, "web-1", requests...)
	way := natsconn.Options{URLs: c.URL()}
	s, stop := ship(t, file, ShipOptions{NATS: way, Drain: time.Minute, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })

	// In the stream: no block, parts that never end, somebody else's block under a node's name.
	other := record(t, "web-2", "of web-2")
	f, err := journal.Follow(other)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block, err := f.Next(t.Context(), journal.Position{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := block.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(msg *nats.Msg) {
		t.Helper()
		if _, err := nc.RequestMsg(msg, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for _, msg := range messages(recordsOf("web-1"), foreign, 1<<20) { // on the subject of another node
		publish(msg)
	}
	for i := range 3 * maxPuzzles {
		msg := nats.NewMsg(recordsOf("web-1"))
		msg.Header[nats.MsgIdHdr] = []string{fmt.Sprintf("%032x.1.2", i)}
		msg.Data = []byte("junk")
		publish(msg)
	}
	publish(&nats.Msg{Subject: recordsOf("web-1"), Data: []byte("no part")})
	for _, msg := range messages(recordsOf("web-1"), []byte("no block"), 1<<20) {
		publish(msg)
	}

	// To the shipper: questions of all kinds, more than it wants to answer. To the collector: claims.
	far := journal.Position{Exchange: math.MaxInt64, Ended: math.MaxInt64, Opened: math.MaxInt64, Refused: math.MaxInt64, Fault: math.MaxInt64, Gap: math.MaxInt64}
	near := journal.Position{Exchange: math.MinInt64, Ended: -1}
	for i := range 1000 {
		text, _ := json.Marshal(question{s.journal, []journal.Position{{}, far, near}[i%3]})
		nc.PublishRequest(askOf("web-1"), nats.NewInbox(), [][]byte{text, nil, []byte("{"), make([]byte, maxLetter+1)}[i%4])
	}
	if _, err := nc.Subscribe(census, func(msg *nats.Msg) {
		for _, text := range []string{"", "{", `{"journal":"x","node":"\u001b[31mred"}`, strings.Repeat("x", maxLetter+1)} {
			msg.Respond([]byte(text))
		}
		lie, _ := json.Marshal(claim{Node: "web-1", Journal: s.journal, Shipped: far})
		msg.Respond(lie)
		lie, _ = json.Marshal(claim{Node: strings.Repeat(".", 3000), Journal: strings.Repeat("1", 32), Shipped: far})
		msg.Respond(lie)
		lie, _ = json.Marshal(claim{Node: "web-3", Journal: strings.Repeat("0", 32), Shipped: far})
		msg.Respond(lie)
	}); err != nil {
		t.Fatal(err)
	}

	all := filepath.Join(t.TempDir(), "all.journal")
	var told notes
	collection, err := NewCollection(all, CollectOptions{NATS: way, Note: told.Printf})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- collection.Run(ctx) }()
	eventually(t, "all is collected", func() bool { return collection.position(s.journal).Covers(s.Shipped()) })
	last, err := c.Connect().Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a claim is heard", func() bool {
		collection.mu.Lock()
		defer collection.mu.Unlock()
		return collection.workers["web-3"] != nil
	})
	eventually(t, "the stream is read to its end", func() bool {
		return collection.worker(ctx, "web-1", nil, nil).isPast(last.CachedInfo().State.LastSeq)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for name := range collection.workers {
		if len(name) > maxToken {
			t.Errorf("somebody works for a node whose name takes %d bytes of a subject", len(name))
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, n := range collection.Count() {
		if n.Journal == s.journal && n.Position.Exchange != bound || n.Journal != s.journal && n.Records != 0 {
			t.Errorf("collected are %+v, want %d exchanges of web-1 alone", n, bound)
		}
	}
	if strings.Contains(told.String(), "given up") || strings.Contains(told.String(), "waits") {
		t.Errorf("the operator is told:\n%s", told.String())
	}
}

// A shipper answers who asks, and does not publish for strangers what they may not publish themselves.
func TestAnswersGoToWhoAsks(t *testing.T) {
	c := natstest.New(t, 1, "").Start()
	nc := c.Connect().Conn()
	s, _ := ship(t, record(t, "web-1", "a"), ShipOptions{NATS: natsconn.Options{URLs: c.URL()}, Drain: time.Minute, Note: t.Logf})
	eventually(t, "all is shipped", func() bool { return s.Count().Blocks > 0 && s.Count().Left == 0 })
	elsewhere, err := nc.SubscribeSync("$JS.API.STREAM.DELETE." + streamName)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []journal.Position{{}, s.Shipped()} { // a block, and nothing
		text, _ := json.Marshal(question{s.journal, at})
		nc.PublishRequest(askOf("web-1"), elsewhere.Subject, text)
	}
	nc.PublishRequest(census, elsewhere.Subject, nil)
	if _, err := nc.Request(census, nil, 5*time.Second); err != nil { // answered behind those
		t.Fatal(err)
	}
	if n, _, _ := elsewhere.Pending(); n != 0 {
		t.Errorf("%d answers go to %s", n, elsewhere.Subject)
	}
	if _, err := c.Connect().Stream(t.Context(), streamName); err != nil {
		t.Errorf("the stream: %v", err)
	}
}
