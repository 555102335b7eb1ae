package parley_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// shortClock is each of the clocks of the server that is paused.
const shortClock = 1500 * time.Millisecond

// TestServeToBePaused is the server of TestPauseCountsForNobody, in a process of its own. It
// serves until its standard input ends.
func TestServeToBePaused(t *testing.T) {
	engine := os.Getenv("PARLEY_TEST_ENGINE")
	if engine == "" {
		return
	}
	srv := &parley.Server{
		Observer: parley.ObserverFunc(func(e *parley.Event) {
			switch {
			case e.Kind == parley.Closed:
				fmt.Println("closed", e.Reason)
			case e.Kind == parley.Replied && len(e.Body) == mediumReply:
				fmt.Println("written")
			}
		}),
		IdleTimeout: shortClock, FirstByteTimeout: shortClock, RequestTimeout: shortClock, WriteTimeout: shortClock,
		Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			switch string(req.Body) {
			case "large":
				return append(dst, make([]byte, largeReply)...), nil
			case "medium":
				return append(dst, make([]byte, mediumReply)...), nil
			}
			return append(dst, req.Body...), nil
		}),
	}
	if engine == parley.Loops.String() {
		srv.Engine = parley.Loops
	}
	listen := net.Listen
	if os.Getenv("PARLEY_TEST_BUFFERS") == "small" {
		listen = listenTight
	}
	l, err := listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	fmt.Println("serving", l.Addr())
	io.Copy(io.Discard, os.Stdin)
	srv.Close()
}

const (
	largeReply  = 3 * tightly // more than both ends' small buffers take
	mediumReply = 1 << 20     // as much as the server's alone do that are not limited
)

// pausable starts such a server and returns where it listens, and what it prints from then on.
func pausable(t *testing.T, engine parley.Engine, buffers string) (server *os.Process, addr string, out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServeToBePaused$")
	cmd.Env = append(os.Environ(), "PARLEY_TEST_ENGINE="+engine.String(), "PARLEY_TEST_BUFFERS="+buffers)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGCONT)
		stdin.Close()
		io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	out = bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, strings.TrimSpace(strings.TrimPrefix(line, "serving ")), out
}

// pause stops a process, and returns once it is stopped.
func pause(t *testing.T, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		_, state, _ := bytes.Cut(stat, []byte(") "))
		return err == nil && bytes.HasPrefix(state, []byte("T"))
	})
}

// While a server does not run its clocks go on, and its peers cannot be seen. Once it runs
// again, what has come is answered, and a peer that has taken all there was gets the rest. After
// a long pause also those are not cut that have done nothing meanwhile.
func TestPauseCountsForNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause time.Duration
		long  bool
	}{
		{"the clocks have just run out", shortClock + 300*time.Millisecond, false},
		{"for long", 2*shortClock + 500*time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				t.Parallel() // most of it is waiting
				server, addr, out := pausable(t, engine, "small")
				go io.Copy(io.Discard, out)
				dial := dialerWith(t, dialTight, "tcp", addr)
				asking, silent, slow := peersOfAPaused(t, server, dial)
				resumed := time.After(c.pause)
				var readers sync.WaitGroup
				for _, peer := range slow {
					peer.SetDeadline(time.Now().Add(patience))
					readers.Go(func() {
						if n, err := io.ReadFull(peer, make([]byte, largeReply)); err != nil { // its newline too
							t.Errorf("a peer that reads got %d bytes, %v; want %d", n, err, largeReply)
						}
					})
				}
				for _, peer := range asking {
					io.WriteString(peer, "b\n")
				}
				<-resumed
				if err := server.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
				for i, peer := range asking {
					peer.SetDeadline(time.Now().Add(patience))
					if got, err := bufio.NewReader(peer).ReadString('\n'); got != "b\n" {
						t.Fatalf("peer %d, whose request was there, got %q, %v", i, got, err)
					}
					if i > 0 {
						continue
					}
					for _, peer := range silent { // now that the server has looked at its clocks
						io.WriteString(peer, "c\n")
					}
				}
				for i, peer := range silent {
					if !c.long {
						break // their time was up
					}
					peer.SetDeadline(time.Now().Add(patience))
					if got, err := bufio.NewReader(peer).ReadString('\n'); got != "c\n" {
						t.Fatalf("peer %d, which had no time to say anything, got %q, %v", i, got, err)
					}
				}
				readers.Wait()
			})
		})
	}
}

// A peer that only has to take the rest has its time anew too.
func TestPauseCountsForNobodyWhoHasToTake(t *testing.T) {
	noLeaks(t)
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		t.Parallel() // most of it is waiting
		server, addr, out := pausable(t, engine, "")
		for range 20 {
			begun := time.Now()
			peer := slowPeer(t, addr)
			io.WriteString(peer, "medium\n\n")
			if line, err := out.ReadString('\n'); line != "written\n" {
				t.Fatalf("the server printed %q, %v", line, err)
			}
			time.Sleep(200 * time.Millisecond) // in which it begins to wait
			pause(t, server)
			inTime := time.Since(begun) < shortClock
			if inTime {
				time.Sleep(2*shortClock + 500*time.Millisecond)
			}
			server.Signal(syscall.SIGCONT)
			if !inTime { // the machine is busy: its clock may have run out before the pause
				peer.Close()
				out.ReadString('\n')
				continue
			}
			time.Sleep(200 * time.Millisecond) // in which the server looks at its clocks
			n, err := io.Copy(io.Discard, peer)
			if line, _ := out.ReadString('\n'); n != mediumReply+1 || line != "closed blank\n" {
				t.Errorf("the peer got %d bytes, %v; the server printed %q, want closed blank", n, err, line)
			}
			return
		}
		t.Fatal("in 20 attempts no pause has begun before the clock ran out")
	})
}

// peersOfAPaused pauses a server whose peers have spoken: some will ask, some keep silent, and
// some are slow to read a large reply.
func peersOfAPaused(t *testing.T, server *os.Process, dial func() conn) (asking, silent, slow []conn) {
	t.Helper()
	for range 20 {
		begun := time.Now()
		asking, silent, slow = nil, nil, nil
		for range 300 { // more than a loop looks at in a round
			asking = append(asking, dial())
		}
		for range 20 {
			silent = append(silent, dial())
		}
		for range 3 {
			slow = append(slow, dial())
		}
		for _, peer := range slices.Concat(asking, silent) {
			io.WriteString(peer, "a\n")
		}
		for _, peer := range slow {
			io.WriteString(peer, "large\n")
		}
		for _, peer := range slices.Concat(asking, silent) {
			io.ReadFull(peer, make([]byte, 2))
		}
		for _, peer := range slow {
			io.ReadFull(peer, make([]byte, 1))
		}
		pause(t, server)
		if time.Since(begun) < shortClock {
			return asking, silent, slow
		}
		// The machine is busy: clocks may have run out before the pause, and rightly so.
		server.Signal(syscall.SIGCONT)
		for _, peer := range slices.Concat(asking, silent, slow) {
			peer.Close()
		}
	}
	t.Fatal("in 20 attempts no pause has begun before the clocks ran out")
	return nil, nil, nil
}
