package tap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

// A fakeProgram is a server that is there for one client, over a connection in whose other end it
// is played.
type fakeProgram struct {
	end
	ended chan struct{}
}

func (p *fakeProgram) Ended() <-chan struct{} { return p.ended }

// startPrograms has play called for each session of a tap, and gives what it is at.
func startPrograms(t *testing.T, tap *Tap, play func(stdio end)) (tr transport, addr string) {
	t.Helper()
	var playing sync.WaitGroup
	t.Cleanup(playing.Wait)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tap.Dial = func(context.Context, *parley.Session) (net.Conn, error) {
		ours, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		theirs, err := l.Accept()
		if err != nil {
			return nil, err
		}
		p := &fakeProgram{ours.(end), make(chan struct{})}
		playing.Go(func() {
			defer theirs.Close()
			play(theirs.(end))
			theirs.(end).CloseWrite()
			close(p.ended)
			io.Copy(io.Discard, theirs) // a process has nothing that could be reset
		})
		return p, nil
	}
	return plain, plain.listen(t, tap)
}

// A client that says nothing and stays is let go when its program has ended.
func TestASessionIsOverWithItsProgram(t *testing.T) {
	told := newRecord()
	tr, addr := startPrograms(t, &Tap{Observer: told}, func(stdio end) { io.WriteString(stdio, "bye\n") })
	client := tr.dial(t, addr)
	if got, err := io.ReadAll(client); string(got) != "bye\n" || err != nil {
		t.Errorf("got %q, %v, want what the program said and the end of file", got, err)
	}
	told.awaitClosed(t, 1)
	told.check(t, "1 opened", `1 message 0 "bye"`, "1 closed 0 hang_up")
}

// What a client goes on to send must not make a reset of the end, which would take with it what
// the client has not read.
func TestNoResetEatsTheLastWordsOfAProgram(t *testing.T) {
	const size = 2 << 20
	tr, addr := startPrograms(t, &Tap{}, func(stdio end) { stdio.Write(make([]byte, size)) })
	client := tr.dial(t, addr)
	client.(*net.TCPConn).SetReadBuffer(64 << 10) // so that the system holds much of it on the tap's side
	first := make([]byte, 1)
	if _, err := io.ReadFull(client, first); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range 20 { // for longer than a second, in which the client reads little
			if _, err := fmt.Fprintln(client, i); err != nil {
				return
			}
			io.CopyN(io.Discard, client, 64<<10)
			time.Sleep(75 * time.Millisecond)
		}
	})
	sending.Wait()
	n, err := io.Copy(io.Discard, client)
	if got := n + 1 + 20*64<<10; got != size || err != nil {
		t.Errorf("%d bytes arrived, %v, want %d", got, err, size)
	}
}

func TestAtAShutdownAProgramAnswersWhatWasRead(t *testing.T) {
	told := newRecord()
	heard := make(chan struct{})
	tap := &Tap{Observer: told}
	tr, addr := startPrograms(t, tap, func(stdio end) {
		line := make([]byte, 2)
		io.ReadFull(stdio, line)
		close(heard)
		rest, _ := io.ReadAll(stdio) // until the shutdown
		fmt.Fprintf(stdio, "%s%q\n", line, rest)
	})
	client := tr.dial(t, addr)
	io.WriteString(client, "a\n")
	<-heard
	if err := tap.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(client); string(got) != "a\n\"\"\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	told.check(t, "1 opened", `1 received 1 "a"`, `1 replied 1 "a"`, `1 message 0 "\"\""`, "1 closed 1 shutdown")
}

func TestAProgramThatDoesNotEndIsCut(t *testing.T) {
	told := newRecord()
	tap := &Tap{Observer: told}
	stop := make(chan struct{})
	tr, addr := startPrograms(t, tap, func(stdio end) {
		io.WriteString(stdio, "here\n")
		<-stop
	})
	client := tr.dial(t, addr)
	io.ReadFull(client, make([]byte, 5))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tap.Shutdown(ctx); err == nil {
		t.Error("the shutdown is said to have been in good order")
	}
	close(stop)
	told.check(t, "1 opened", `1 message 0 "here"`, "1 closed 0 drain_cut")
}

func TestClientsOverALimitAreToldSo(t *testing.T) {
	for _, c := range []struct {
		tap  *Tap
		want string
	}{
		{&Tap{MaxSessions: 1}, "full"},
		{&Tap{MaxSessionsPerIP: 1}, "per_ip"},
	} {
		told := newRecord()
		c.tap.Observer = told
		c.tap.Refusal = func(reason parley.CloseReason) (body, sent []byte) {
			return []byte(reason.String()), []byte(reason.String() + "\n")
		}
		tr, addr := startPrograms(t, c.tap, func(stdio end) { io.Copy(stdio, stdio) })
		first := tr.dial(t, addr)
		io.WriteString(first, "a\n")
		io.ReadFull(first, make([]byte, 2))
		for range 2 * maxRefusing {
			second := tr.dial(t, addr)
			got, err := io.ReadAll(second)
			second.Close()
			if string(got) != c.want+"\n" || err != nil {
				t.Fatalf("a client too many got %q, %v, want %s", got, err, c.want)
			}
		}
		first.CloseWrite()
		told.awaitClosed(t, 1)
		if !bytes.Contains([]byte(told.String()), []byte("0 refused "+c.want)) {
			t.Errorf("told\n%s", told)
		}
		third := tr.dial(t, addr)
		io.WriteString(third, "b\n")
		if _, err := io.ReadFull(third, make([]byte, 2)); err != nil {
			t.Errorf("once there is room again: %v", err)
		}
	}
}
