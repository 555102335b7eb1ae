package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dial"
	"github.com/parley-tcp/parley/internal/expect"
	"github.com/parley-tcp/parley/parleytest"
)

// serveSockets has a service of real sockets, and returns how they are dialled.
func serveSockets(t *testing.T, serve func(conn *net.TCPConn)) dial.Dialer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { l.Close() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return dial.Dialer{Network: "tcp", Host: host, Port: port, Timeout: 30 * time.Second}
}

// answerLines serves line by line, until answer returns false.
func answerLines(answer func(line string, conn *net.TCPConn) (more bool)) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		for in := bufio.NewScanner(conn); in.Scan() && answer(in.Text(), conn); {
		}
	}
}

func runOver(t *testing.T, ctx context.Context, dialer dial.Dialer, plan Plan) *Result {
	t.Helper()
	if plan.Dial == nil {
		plan.Dial = dialer.Dial
	}
	if plan.Messages == nil {
		plan.Messages = ParseMessages([]byte("{n}"))
	}
	plan.Expect, _ = expect.Parse("contains")
	r, err := plan.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Over sockets, with both engines' reading and writing, thousands of requests come back
// right whatever the mode.
func TestRunsOverSockets(t *testing.T) {
	srv := &parley.Server{Handler: parley.HandlerFunc(echo), Engine: parley.LoopsIfPossible}
	tcp := parleytest.Start(t, srv)
	host, port, _ := net.SplitHostPort(tcp)
	path := t.TempDir() + "/socket"
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	parleytest.Serve(t, &parley.Server{Handler: parley.HandlerFunc(echo)}, unix)
	exact, _ := expect.Parse("exact")
	for _, dialer := range []dial.Dialer{{Network: "tcp", Host: host, Port: port}, {Network: "unix", Path: path}} {
		for _, plan := range []Plan{
			{Connections: 8}, {Connections: 8, InFlight: 16}, {Connections: 8, Rate: 20000}, {Connections: 8, InFlight: 8, Rate: 50000},
			{Connections: 8, ConnectEach: true},
		} {
			plan.Dial, plan.Messages, plan.Expect, plan.Requests = dialer.Dial, ParseMessages([]byte("{n}/{conn}")), exact, 2000
			r, err := plan.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Replies != 2000 || r.Failed() || len(r.Errors) > 0 {
				t.Errorf("%s, %d connections, %d in flight, rate %v: %d replies, %d mismatched, %d missing, %d late, %d extra, errors %v", dialer.Network,
					plan.Connections, plan.InFlight, plan.Rate, r.Replies, r.Mismatched, r.Missing, r.Late, r.Extra, r.Errors)
			}
		}
	}
}

// What goes wrong is told apart over sockets as it is in memory.
func TestEveryReplyIsJudgedOverSockets(t *testing.T) {
	dialer := serveSockets(t, answerLines(func(line string, conn *net.TCPConn) bool {
		reply := "re " + line + "\n"
		switch line[len(line)-1] {
		case '2':
			reply = "something else\n"
		case '4':
			reply += "and more\n"
		case '6': // in pieces
			io.WriteString(conn, reply[:2])
			reply = reply[2:]
		case '8':
			return false
		case '9':
			io.Copy(io.Discard, conn) // until we are given up
			return false
		}
		io.WriteString(conn, reply)
		return true
	}))
	r := runOver(t, t.Context(), dialer, Plan{Requests: 20, Timeout: time.Second})
	if r.Requests != 20 || r.Replies != 14 || r.Mismatched != 2 || r.Extra != 2 || r.Late != 0 || r.Missing != 4 {
		t.Errorf("%d requests, %d replies, %d mismatched, %d extra, %d late, %d missing; want 20, 14, 2, 2, 0, 4",
			r.Requests, r.Replies, r.Mismatched, r.Extra, r.Late, r.Missing)
	}
	if r.Errors[dial.Closed] != 2 || r.Errors[dial.ReplyTimeout] != 2 || len(r.Errors) != 2 {
		t.Errorf("errors %v, want closed 2, reply_timeout 2", r.Errors)
	}
}

// A socket without room for what is in flight is written to when it has some.
func TestSocketsWithoutRoom(t *testing.T) {
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		conn.SetReadBuffer(4 << 10)
		io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}, make([]byte, 1<<10))
	})
	dial := func(ctx context.Context) (net.Conn, dial.Steps, error) {
		conn, steps, err := dialer.Dial(ctx)
		if err == nil {
			conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
		return conn, steps, err
	}
	plan := Plan{Dial: dial, Connections: 2, InFlight: 16, Messages: SizedMessages(4000), Requests: 64}
	if r := runOver(t, t.Context(), dialer, plan); r.Replies != plan.Requests || r.Failed() {
		t.Errorf("%+v", r)
	}
}

// Who sends more than was asked for, without end, does not keep a run from its own.
func TestAFloodIsReadAndEnds(t *testing.T) {
	flood := bytes.Repeat([]byte("x\n"), 64<<10)
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		for {
			if _, err := conn.Write(flood); err != nil {
				return
			}
		}
	})
	r := runOver(t, t.Context(), dialer, Plan{Connections: 2, Requests: 100, Timeout: 200 * time.Millisecond})
	// On a busy machine the odd one is late.
	if r.Requests != 100 || r.Mismatched+r.Late != 100 || r.Extra == 0 {
		t.Errorf("%d requests, %d mismatched, %d late, %d extra; want 100, 100 of both, some", r.Requests, r.Mismatched, r.Late, r.Extra)
	}
}

func TestAnInterruptOverSockets(t *testing.T) {
	asked := make(chan bool, 3)
	dialer := serveSockets(t, answerLines(func(_ string, conn *net.TCPConn) bool {
		asked <- true
		return true
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer cancel()
		for range cap(asked) {
			<-asked
		}
	}()
	r := runOver(t, ctx, dialer, Plan{Connections: cap(asked), Timeout: time.Hour, Duration: time.Hour})
	if !r.Interrupted || r.Requests != 0 || r.Failed() {
		t.Errorf("%+v; want an interrupted run in which nothing failed", r)
	}
}

// A service that does not close when we have left is not waited for.
func TestAServiceThatDoesNotClose(t *testing.T) {
	done := make(chan struct{})
	dialer := serveSockets(t, func(conn *net.TCPConn) {
		answerLines(func(line string, conn *net.TCPConn) bool { fmt.Fprintln(conn, line); return true })(conn)
		<-done
	})
	defer close(done)
	r := runOver(t, t.Context(), dialer, Plan{Connections: 4, Requests: 100, Timeout: 5 * time.Second})
	if r.Replies != 100 || r.Failed() {
		t.Errorf("%+v", r)
	}
}

// A service that accepts and closes is asked again after a pause, as one that is away.
func TestAServiceThatOnlyAccepts(t *testing.T) {
	dialer := serveSockets(t, func(*net.TCPConn) {})
	r := runOver(t, t.Context(), dialer, Plan{Duration: 500 * time.Millisecond})
	if r.Replies != 0 || r.Connects == 0 || r.Connects > 10 { // after 0, 10, 30, 70, 150, 310 ms
		t.Errorf("%d connections made in half a second, %d replies; want a few and none", r.Connects, r.Replies)
	}
}

func TestARunLeavesNoFilesOpen(t *testing.T) {
	count := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			if runtime.GOOS == "linux" {
				t.Fatal(err)
			}
			t.Skip("open files cannot be counted here: ", err)
		}
		return len(open)
	}
	dialer := serveSockets(t, answerLines(func(line string, conn *net.TCPConn) bool {
		fmt.Fprintln(conn, line)
		return line[len(line)-1] != '0'
	}))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))                      // it would close what was forgotten
	runOver(t, t.Context(), dialer, Plan{Connections: 10, Requests: 100}) // what the runtime opens once
	before := count()
	runOver(t, t.Context(), dialer, Plan{Connections: 10, Requests: 1000})
	for deadline := time.Now().Add(10 * time.Second); count() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) { // the service closes its own when it sees our end
			t.Fatalf("%d files are open, %d before the run", count(), before)
		}
	}
}
