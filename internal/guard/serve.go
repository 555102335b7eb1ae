package guard

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	ReadWithin  = 5 * time.Second  // a request
	WriteWithin = 10 * time.Second // an answer
	IdleWithin  = 5 * time.Second  // from one request of a connection to the next
	endWithin   = time.Second      // answers that are under way at the end
)

// Serve has h answer what comes to l, which it closes, until ctx ends. No peer keeps it from
// returning. There are so many connections at once: a further one takes the place of that which has asked
// for nothing for the longest, and is closed unanswered if all are being answered. Where half of them are
// open, each ends with its answer. What net/http has to say is told to warn, at most once
// a second; warn must not block and may be nil. The error is the listener's; nil if it was ctx.
func Serve(ctx context.Context, l net.Listener, h http.Handler, connections int, warn func(line string)) error {
	r := room{most: connections}
	srv := &http.Server{
		ReadTimeout: ReadWithin, WriteTimeout: WriteWithin, IdleTimeout: IdleWithin, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(&warner{warn: warn}, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			conn := req.Context().Value(connKey{}).(net.Conn)
			if r.busy(conn) > connections/2 {
				w.Header().Set("Connection", "close") // so that idle ones leave room for others
			}
			defer r.idle(conn)
			h.ServeHTTP(w, req)
		}),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				r.enter(conn)
			case http.StateClosed:
				r.leave(conn)
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

// connKey is of a request's connection, in its context.
type connKey struct{}

// A room has the connections that are open.
type room struct {
	most int

	mu       sync.Mutex
	waiting  []net.Conn // for a request, those first that have for the longest
	answered int        // how many others have one that is being answered
}

// enter takes one in, and closes another, or it, if there is no room.
func (r *room) enter(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, conn)
	if len(r.waiting)+r.answered <= r.most {
		return
	}
	oldest := r.waiting[0]
	r.waiting = slices.Delete(r.waiting, 0, 1)
	if secure, ok := oldest.(interface{ NetConn() net.Conn }); ok {
		oldest = secure.NetConn() // which has nobody to say good-bye to
	}
	oldest.Close()
}

// leave is called for those too that had to leave.
func (r *room) leave(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.DeleteFunc(r.waiting, func(c net.Conn) bool { return c == conn })
}

// busy is that a request of the connection is being answered, and returns how many are open.
func (r *room) busy(conn net.Conn) (open int) {
	r.leave(conn)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered++
	return len(r.waiting) + r.answered
}

// idle is that it has been.
func (r *room) idle(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered--
	r.waiting = append(r.waiting, conn)
}

// A warner passes what net/http logs on, a line a second: a peer can have it log one with
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
