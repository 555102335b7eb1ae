//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/console"
)

// Within a second a signal is the same request delivered again; later it is another, and ends the
// process even if nobody acts on it.
func TestOnlyALaterSignalIsASecondOne(t *testing.T) {
	for _, c := range []struct {
		name           string
		after          []time.Duration // the signals behind the first
		again, exit    time.Duration   // since the first; 0 is never
		remindedBefore bool            // the last of them
	}{
		{"one", nil, 0, 0, false},
		{"one delivered three times", []time.Duration{time.Millisecond, 20 * time.Millisecond}, 0, 0, false},
		{"just before the second is over", []time.Duration{sameStop - 1}, 0, 0, false},
		{"a second", []time.Duration{sameStop + 1}, sameStop + 1, sameStop + 1 + lastGrace, true},
		{"a second, and a third for the impatient", []time.Duration{3 * time.Second, 3*time.Second + 1}, 3 * time.Second, 3*time.Second + 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 1)
				r, begin := newStopRequest(), time.Now()
				var reminded, again, exit time.Duration
				ended := make(chan struct{})
				go r.watch(signals, func() { reminded = time.Since(begin) }, lastGrace, func(code int) {
					if exit = time.Since(begin); code != exitNetwork {
						t.Errorf("exit code %d, want %d", code, exitNetwork)
					}
					close(ended)
				})
				go func() {
					<-r.again
					again = time.Since(begin)
				}()
				signals <- syscall.SIGTERM
				for _, after := range c.after {
					time.Sleep(after - time.Since(begin))
					signals <- syscall.SIGTERM
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if again != c.again || exit != c.exit || reminded != sameStop {
					t.Errorf("again after %v, exit after %v, reminded after %v; want %v, %v, %v", again, exit, reminded, c.again, c.exit, sameStop)
				}
				if <-r.first; r.code != 143 {
					t.Errorf("cut short with %d, want 143", r.code)
				}
				if c.exit == 0 { // the watcher lives as long as the process, here as the test
					signals <- syscall.SIGTERM
				}
				<-ended
			})
		})
	}
}

// Where there is something to reload a hangup asks for that, however many there are, until the
// first that asks for an end: from then on it is as any other.
func TestAHangupReloadsUntilTheEndHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 1)
		r := newStopRequest()
		r.reload = make(chan struct{}, 1)
		ended := make(chan struct{})
		go r.watch(signals, func() {}, 0, func(int) { close(ended) })
		for range 3 { // of which nobody takes notice
			signals <- syscall.SIGHUP
			synctest.Wait()
		}
		<-r.reload
		select {
		case <-r.reload:
			t.Error("one that had not begun was asked for again")
		case <-r.first:
			t.Error("a hangup asked for an end")
		default:
		}
		signals <- syscall.SIGHUP
		<-r.reload
		signals <- syscall.SIGTERM
		if <-r.first; r.code != 143 {
			t.Errorf("cut short with %d, want 143", r.code)
		}
		time.Sleep(sameStop + 1)
		signals <- syscall.SIGHUP
		<-r.again
		<-ended
	})
}

// owed is a connection whose peer is owed megabytes of replies to all that it has sent, which the
// server has read.
func owed(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn := connect(t, addr)
	if _, err := conn.Write(bytes.Repeat(append(bytes.Repeat([]byte("x"), 999), '\n'), 60)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// bigReply makes more of these requests than sockets hold.
var bigReply = strings.Repeat("{message}", 250)

// GNU timeout, npm and a terminal's process group deliver one stop twice: it is one, and whoever
// is owed replies gets them.
func TestAStopDeliveredTwiceDrains(t *testing.T) {
	for sig, gaps := range map[syscall.Signal][]time.Duration{
		syscall.SIGTERM: {time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond}, syscall.SIGHUP: {time.Millisecond},
	} {
		for _, gap := range gaps {
			s := startServer(t, "-q", "--reply", bigReply)
			conn := owed(t, s.addr)
			s.Process.Signal(sig)
			time.Sleep(gap) // is what is tested
			s.Process.Signal(sig)
			rest, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("%v, %v apart: %v after %d bytes", sig, gap, err, len(rest))
			}
			if code := s.exit(t); code != 0 {
				t.Errorf("%v, %v apart: exit code %d, want 0", sig, gap, code)
			}
			replies, bytesOut := bytes.Count(rest, []byte("\n")), len(rest)+1
			requests, written := fmt.Sprintf(" %d requests, ", replies), fmt.Sprintf(" %d bytes out\n", bytesOut)
			if got := s.stderr.String(); replies < 2 || !strings.Contains(got, requests) || !strings.HasSuffix(got, written) {
				t.Errorf("%v, %v apart: stderr %q, want%sand%q in it", sig, gap, got, requests, written)
			}
		}
	}
}

// A second signal stops at once, and the figures are true all the same.
func TestSecondSignalStopsAtOnceWith1(t *testing.T) {
	s := startServer(t, "--json", "--drain-timeout", "1h", "--reply", bigReply)
	owed(t, s.addr)
	if err := s.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.stderr.await(t, "parley: stopping, with up to 1h0m0s for what is owed; signal again to stop at once\n")
	if code := s.stop(t, syscall.SIGTERM); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	requests := len(payloads(t, s.stdout.String(), "received"))
	want := fmt.Sprintf("stopped at once by a second signal\nparley: 1 session, 0 probes, %d requests, ", requests)
	if requests < 2 || !strings.Contains(s.stderr.String(), want) {
		t.Errorf("stderr %q, want %q in it", s.stderr, want)
	}
}

// Every command takes a hangup, even one delivered twice, as it takes an interrupt: in good order.
func TestEveryCommandEndsInGoodOrderAtAHangup(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "journal")
	converse(t, startServer(t, "-q", "--journal", kept).addr, "a\n")
	addr := filepath.Join(t.TempDir(), "addr")
	recording := filepath.Join(t.TempDir(), "slow.jsonl")
	const at = `{"event":%q,"time":"2026-01-01T%s:00:00Z","side":"server","session":1,"seq":%d,"remote":"a:1","local":"b:1","bytes":1,"payload":"a"}`
	if err := os.WriteFile(recording, fmt.Appendf(nil, at+"\n"+at+"\n"+at+"\n", "received", "08", 1, "replied", "08", 1, "received", "09", 2), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		await string // on either output: it is in the midst of it; if empty, SERVER has replied, to bench twice, so that one is counted
		code  int
		says  string
	}{
		{[]string{"server", "127.0.0.1:0"}, "started on port", 0, "0 sessions, 0 probes"},
		{[]string{"tap", "127.0.0.1:0", "SERVER"}, "Tap: started on", 0, "0 sessions, 0 probes"},
		{[]string{"client", "SERVER"}, "Connected to", 129, ""},
		{[]string{"check", "SERVER", "hello", "-c", "1000", "-i", "1h"}, "hello", 0, " 1 of 1 held"},
		{[]string{"bench", "SERVER", "-d", "1h", "-c", "1", "--warmup", "0s"}, "", 0, "interrupted"},
		{[]string{"log", "-f", kept}, "incoming data", 0, ""},
		{[]string{"demo", "--web"}, "ends the demo", 0, ""},
		{[]string{"replay", "--speed", "1x", recording, "SERVER"}, "", 129, ""},
	} {
		t.Run(c.args[0], func(t *testing.T) {
			stdin, held, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			defer stdin.Close()
			s := startServer(t, "--json")
			for i, arg := range c.args {
				c.args[i] = strings.Replace(arg, "SERVER", s.addr, 1)
			}
			replied := 0
			if c.args[0] == "bench" {
				replied++
			}
			cmd := program(t, c.args...)
			cmd.Env = append(os.Environ(), "PARLEY_ADDR_FILE="+addr)
			cmd.Stdin = stdin
			p := start(t, cmd)
			eventually(t, "it has begun", func() bool {
				if c.await == "" {
					return strings.Count(s.stdout.String(), `"replied"`) > replied
				}
				return strings.Contains(p.stdout.String()+p.stderr.String(), c.await)
			})
			p.Process.Signal(syscall.SIGHUP)
			p.Process.Signal(syscall.SIGHUP) // it may have ended already
			if code := p.exit(t); code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, p.stderr)
			}
			if got := p.stdout.String() + p.stderr.String(); !strings.Contains(got, c.says) {
				t.Errorf("%q is not in %q", c.says, got)
			}
		})
	}
}

// Under nohup a hangup stays ignored.
func TestAHangupThatIsIgnoredStaysIgnored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "addr")
	p := start(t, command(t, "sh", "-c", `trap "" HUP; exec "$0" server 127.0.0.1:0 --addr-file "$1"`, program(t).Path, file))
	addr := awaitAddr(t, file)
	for range 3 {
		p.Process.Signal(syscall.SIGHUP)
		if got := converse(t, addr, "a\n"); !strings.HasSuffix(got, " - a ...\n") {
			t.Errorf("got %q, want a reply", got)
		}
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(p.stderr.String(), "3 sessions, 0 probes, 3 requests") {
		t.Errorf("exit code %d, %s", code, p.stderr)
	}
}

// Whatever a process hangs in once it has been asked to stop, a second signal ends it.
func TestASecondSignalEndsWhatHangs(t *testing.T) {
	s := startServer(t, "--json")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fillPipe(t, w)
	cmd := program(t, "client", s.addr, "hello")
	cmd.Stdout = w
	p := start(t, cmd)
	w.Close()
	s.stdout.await(t, `"opened"`) // the next that it does is to say so, which it cannot
	eventually(t, "it hangs in a write", func() bool { return hangsInAPipe(p.Process.Pid) })
	insist(t, p)
}

// hangsInAPipe reports whether a thread of a process waits for room in a pipe, as far as the system tells.
func hangsInAPipe(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	told := false
	for _, thread := range threads {
		where, _ := os.ReadFile(thread)
		if bytes.Contains(where, []byte("pipe_write")) {
			return true
		}
		told = told || len(where) > 1 // and no 0
	}
	return !told
}

// insist sends signals until the process ends, and wants its exit code to be 1.
func insist(t *testing.T, p *process) {
	t.Helper()
	eventually(t, "it has ended", func() bool {
		p.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	if code := p.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1\n%s", code, p.stderr)
	}
}

// Once there is nothing to accept from any more, a service answers what it owes and ends with 2.
func TestLostListenerEndsTheService(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stderr := newOutput()
	s := &serving{in: new(inFlags), Output: console.NewOutput(io.Discard, stderr, console.OutputOptions{}), drain: patience, stop: newStopRequest()}
	srv := &parley.Server{Observer: s.Output.Observer(), Handler: parley.HandlerFunc(
		func(dst []byte, req *parley.Request) ([]byte, error) { return append(dst, req.Body...), nil })}
	ended := make(chan error, 1)
	go func() { ended <- s.run(srv, listeners{{Net: l}}) }()
	conn := connect(t, l.Addr().String())
	fmt.Fprintln(conn, "a")
	if got, _ := bufio.NewReader(conn).ReadString('\n'); got != "a\n" {
		t.Errorf("got %q", got)
	}
	conn.Close()
	l.Close()
	var exit *exitError
	if err := <-ended; !errors.As(err, &exit) || exit.code != exitUsage {
		t.Errorf("it ended with %v, want exit code 2", err)
	}
	s.close()
	got := stderr.String()
	if !strings.Contains(got, "parley: nobody can connect any more, the listener is lost: ") || !strings.HasSuffix(got, "parley: 1 session, 0 probes, 1 request, 2 bytes in, 2 bytes out\n") {
		t.Errorf("stderr %q", got)
	}
}

// A context that signals end says which, and is not confused with one that ends by itself.
func TestUntilSignalEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ctx, stop := untilSignal(ctx)
	cancel()
	<-ctx.Done()
	stop()
	if cause := signalled(ctx); cause != nil {
		t.Errorf("signalled is %v, want nil", cause)
	}
}
