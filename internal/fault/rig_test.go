package fault_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/fault"
	"github.com/parley-tcp/parley/internal/tap"
	"github.com/parley-tcp/parley/parleytest"
)

// upper answers in capitals.
var upper = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	return append(dst, bytes.ToUpper(req.Body)...), nil
})

// A lingerer is an end in memory that can be reset as a socket can.
type lingerer struct {
	*parleytest.Conn
	resets bool
}

func (l *lingerer) SetLinger(int) error { l.resets = true; return nil }

func (l *lingerer) Close() error {
	if l.resets {
		l.Reset()
	}
	return l.Conn.Close()
}

// ends is a listener whose connections are in memory.
type ends struct {
	conns chan net.Conn
	stop  chan struct{}
	once  sync.Once
}

func newEnds() *ends { return &ends{conns: make(chan net.Conn), stop: make(chan struct{})} }

func (e *ends) dial() *parleytest.Conn {
	client, server := parleytest.ConnPair()
	e.conns <- &lingerer{Conn: server}
	return client
}

func (e *ends) Accept() (net.Conn, error) {
	select {
	case conn := <-e.conns:
		return conn, nil
	case <-e.stop:
		return nil, net.ErrClosed
	}
}

func (e *ends) Close() error   { e.once.Do(func() { close(e.stop) }); return nil }
func (e *ends) Addr() net.Addr { return parleytest.Addr("here") }

// A record is what an observer is told, as far as it concerns faults. It fails the test if two
// events of a session come at once, or one behind its end.
type record struct {
	t      *testing.T
	mu     sync.Mutex
	lines  map[uint64][]string
	at     map[uint64]bool
	closed map[uint64]bool
}

func newRecord(t *testing.T) *record {
	return &record{t: t, lines: map[uint64][]string{}, at: map[uint64]bool{}, closed: map[uint64]bool{}}
}

func (r *record) Observe(e *parley.Event) {
	number := e.Session.Number()
	r.mu.Lock()
	if r.at[number] && number > 0 {
		r.t.Errorf("session %d: %v is told beside another event", number, e.Kind)
	}
	if r.closed[number] {
		r.t.Errorf("session %d: %v is told behind its end", number, e.Kind)
	}
	r.at[number], r.closed[number] = true, e.Kind == parley.Closed
	r.mu.Unlock()
	runtime.Gosched() // and here another would come between
	line := ""
	switch e.Kind {
	case parley.Faulted:
		line = fmt.Sprintf("%d %s", e.Seq, e.Fault)
		if e.Body != nil {
			line += fmt.Sprintf(" %q", e.Body)
		}
	case parley.Received, parley.Replied:
		if e.Fault != "" {
			line = fmt.Sprintf("%d %v (%s)", e.Seq, e.Kind, e.Fault)
		}
	case parley.Closed, parley.Refused:
		line = e.Kind.String() + " " + e.Reason.String()
		if e.Fault != "" {
			line += fmt.Sprintf(" (%s: %v)", e.Fault, e.Err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[number] = false
	if line != "" {
		r.lines[number] = append(r.lines[number], line)
	}
}

func (r *record) of(session uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines[session], "\n")
}

// A rig is a server or a tap with faults over it.
type rig struct {
	layer  *fault.Layer
	told   *record
	in     *ends
	server interface {
		Serve(net.Listener) error
		Shutdown(context.Context) error
		Close() error
	}
}

// newRig serves, until the test ends, with upper behind it.
func newRig(t *testing.T, kind, list string, framing parley.Framing) *rig {
	t.Helper()
	plan, err := fault.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{told: newRecord(t), in: newEnds()}
	r.layer = &fault.Layer{Plan: plan, Framing: framing, Tap: kind == "tap"}
	observer := r.layer.Observer(r.told)
	quiet := &parley.Server{Handler: upper, Framing: framing}
	var serving sync.WaitGroup
	if kind == "tap" {
		r.server = &tap.Tap{Framing: framing, Observer: observer, Dial: func(context.Context, *parley.Session) (net.Conn, error) {
			ours, theirs := parleytest.ConnPair()
			serving.Go(func() { quiet.ServeConn(theirs) })
			return r.layer.Upstream(&lingerer{Conn: ours}), nil
		}}
	} else {
		r.server = &parley.Server{Handler: upper, Framing: framing, Observer: observer}
	}
	serving.Go(func() { r.server.Serve(r.layer.Listener(r.in)) })
	t.Cleanup(func() {
		r.server.Close()
		quiet.Close()
		serving.Wait()
	})
	return r
}

// ask sends lines, one after the other's answer, and says when what came of each: nothing within
// 10 s, or the end.
func (r *rig) ask(lines ...string) string {
	client := r.in.dial()
	defer client.Close()
	var came []string
	replies := bufio.NewReader(client)
	begun := time.Now()
	for _, line := range lines {
		io.WriteString(client, line+"\n") // of an error the reader tells too
		client.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, err := replies.ReadString('\n')
		after := time.Since(begun).String()
		begun = time.Now()
		if answer != "" {
			came = append(came, after+" "+strings.TrimSuffix(answer, "\n"))
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			came = append(came, "nothing")
		case err != nil:
			return strings.Join(append(came, err.Error()), "; ")
		}
	}
	return strings.Join(came, "; ")
}

// in a bubble, where time is what passes and no more.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}
