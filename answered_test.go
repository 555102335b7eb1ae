package parley_test

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// An answeredOnly is told of Answered alone.
type answeredOnly struct {
	mu      sync.Mutex
	replies uint64
	last    uint64
	events  int
	longest time.Duration
}

func (*answeredOnly) Wants(kind parley.EventKind) bool { return kind == parley.Answered }

func (a *answeredOnly) Observe(e *parley.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replies += e.Replied
	a.last, a.longest = e.Seq, max(a.longest, e.Took)
	a.events++
}

// Who only counts is told once of replies that are written together, and of each reply once; who did not ask for
// that is not told.
func TestAnsweredCountsEachReplyOnce(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine.String(), func(t *testing.T) {
			counting, all := new(answeredOnly), make(chan parley.EventKind, 100)
			closed := make(chan struct{})
			addr := parleytest.Start(t, &parley.Server{Engine: engine, Handler: echo, Observer: parley.Observers(counting, parley.ObserverFunc(func(e *parley.Event) {
				all <- e.Kind
				if e.Kind == parley.Closed {
					close(closed)
				}
			}))})
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second))
			in := bufio.NewReader(conn)
			for range 3 {
				io.WriteString(conn, "one\ntwo\nthree\nfour\n")
				for range 4 {
					if _, err := in.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			conn.Close()
			<-closed
			counting.mu.Lock()
			defer counting.mu.Unlock()
			if counting.replies != 12 || counting.last != 12 || counting.events < 3 || counting.events > 12 || counting.longest <= 0 {
				t.Errorf("it is told of %d replies, the last of %d, in %d events, %v at most", counting.replies, counting.last, counting.events, counting.longest)
			}
			for len(all) > 0 {
				if kind := <-all; kind == parley.Answered {
					t.Error("who did not ask for it is told of Answered")
				}
			}
		})
	}
}
