package journal

import (
	"testing"

	"github.com/parley-tcp/parley"
)

// A session is held from the bound of the queue on, not before. Openings and ends are
// taken beyond it, up to a bound of their own.
func TestQueueIsBounded(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	s := new(parley.Session)
	one := []parley.Exchange{{Seq: 1, Request: []byte("a"), Reply: []byte("b")}}
	for i := range queueBound * batchRows {
		if !w.Pass(s, one) {
			t.Fatalf("held at exchange %d, want at %d", i, queueBound*batchRows)
		}
	}
	if w.Pass(s, one) {
		t.Errorf("exchange %d passed", queueBound*batchRows)
	}
	large := []parley.Exchange{{Seq: 2, Request: make([]byte, batchBytes)}}
	if w.Pass(s, large); len(w.queue) != queueBound+1 {
		t.Errorf("%d batches, want the last one to take what is large", len(w.queue))
	}
	for _, c := range []struct{ queued, counted int64 }{{sessionsBound - 1, 0}, {sessionsBound, 0}, {sessionsBound + 1, 1}} {
		w := &Writer{wake: make(chan struct{}, 1), queue: make([]*batch, c.queued)}
		w.queue[c.queued-1] = new(batch)
		if w.Observe(&parley.Event{Kind: parley.Opened, Session: s}); w.gap.sessions != c.counted {
			t.Errorf("with %d batches %d openings are counted only, want %d", c.queued, w.gap.sessions, c.counted)
		}
	}
}

// A batch is as large as it may be.
func TestBatchesAreFull(t *testing.T) {
	w := &Writer{wake: make(chan struct{}, 1)}
	s := new(parley.Session)
	w.Pass(s, make([]parley.Exchange, 2*batchRows+1))
	for i, want := range []int{batchRows, batchRows, 1} {
		if n := len(w.queue[i].exchanges); n != want {
			t.Errorf("batch %d has %d exchanges, want %d", i, n, want)
		}
	}
}
