package web

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxConnections is how many browsers' connections there are at once; more are closed
	// unanswered. They and what they open must fit into the 64 descriptors that
	// parley.DefaultMaxSessions leaves to everything but sessions.
	maxConnections = 24

	readWithin  = 5 * time.Second  // a request
	writeWithin = 10 * time.Second // an answer
	idleWithin  = 5 * time.Second  // a browser that looks asks four times a second
	endWithin   = time.Second      // answers that are under way at the end
)

// Serve answers browsers on l, which it closes, until ctx ends. No browser keeps it from
// returning. The error is the listener's; nil if it was ctx.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- answer(ctx, l, p, p.opt.Warn) }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-ticker.C:
			p.tick(now, n%ticksPerSecond == 0)
		case err := <-served:
			return err
		}
	}
}

// answer answers browsers with a page, as its Serve says.
func answer(ctx context.Context, l net.Listener, page http.Handler, warn func(line string)) error {
	var open atomic.Int32 // connections
	srv := &http.Server{
		ReadTimeout: readWithin, WriteTimeout: writeWithin, IdleTimeout: idleWithin, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(&warner{warn: warn}, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if open.Load() > maxConnections/2 {
				w.Header().Set("Connection", "close") // so that idle browsers leave room for others
			}
			page.ServeHTTP(w, r)
		}),
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if open.Add(1) > maxConnections {
					conn.Close()
				}
			case http.StateClosed:
				open.Add(-1)
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	if srv.Shutdown(patience) != nil {
		srv.Close()
	}
	<-served
	return nil
}

// A warner passes what net/http logs on, a line a second: a browser can have it log one with
// every request. log.Logger calls it one line at a time.
type warner struct {
	warn func(line string)
	next time.Time
	held int // lines since the last
}

func (w *warner) Write(line []byte) (int, error) {
	now := time.Now()
	switch {
	case w.warn == nil:
	case now.Before(w.next):
		w.held++
	default:
		text := strings.TrimSuffix(string(line), "\n")
		if w.held > 0 {
			text += fmt.Sprintf(" (and %d more before)", w.held)
		}
		w.next, w.held = now.Add(time.Second), 0
		w.warn(text)
	}
	return len(line), nil
}
