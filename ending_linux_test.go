package parley_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// A peer that is slow to take what it is owed: its receive buffer is small, so that the
// server's system holds megabytes of replies.
func slowPeer(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10) })
	}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// thick answers with a kilobyte that begins with the request, and hangs up at "bye".
var thick = parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
	dst = append(append(dst, req.Body...), ' ')
	dst = append(dst, dots[:max(0, 1000-len(dst))]...)
	if bytes.HasPrefix(req.Body, []byte("bye")) {
		return dst, parley.ErrHangUp
	}
	return dst, nil
})

var dots = bytes.Repeat([]byte("."), 1000)

// replies counts the whole ones that come until the end, which it returns; each has to be that
// of the next request.
func replies(t *testing.T, in *bufio.Reader) (n int, last string, err error) {
	t.Helper()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return n, last, err
		}
		last = line
		if strings.HasPrefix(line, "Error: ") {
			continue
		}
		n++
		if !strings.HasPrefix(line, fmt.Sprintf("%d ", n)) && !strings.HasPrefix(line, "bye ") {
			t.Fatalf("reply %d is %.20q", n, line)
		}
	}
}

// drain begins to shut a server down, and tells of its end.
func drain(t *testing.T, srv *parley.Server) (end <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- srv.Shutdown(context.Background()) }()
	eventually(t, "the server stops", srv.Stopping)
	return ended
}

// finals keep the last events of sessions.
func finals(srv *parley.Server, w *witness) <-chan parley.Event {
	ends := make(chan parley.Event, 10)
	srv.Observer = parley.Observers(w, endings(ends))
	return ends
}

// However the server ends it, a peer with a small buffer that has megabytes to send first and
// reads then gets what it is owed.
func TestOwedMegabytesSurviveEveryClose(t *testing.T) {
	const requests = 1500
	more := strings.Repeat("more\n", 3<<20/5)
	for _, c := range []struct {
		name, last string
		replies    int
		text       string
		reason     parley.CloseReason
	}{
		{"blank line", "\n", requests, "", parley.Blank},
		{"hang-up", "bye\n", requests + 1, "", parley.HangUp},
		{"too long", strings.Repeat("x", 200), requests, "Error: request longer than 100 bytes\n", parley.TooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				noLeaks(t)
				srv := &parley.Server{Engine: engine, Handler: thick, MaxRequest: 100}
				ends := finals(srv, new(witness))
				peer := slowPeer(t, parleytest.Start(t, srv))
				if _, err := io.WriteString(peer, numbered(requests)+c.last+more); err != nil {
					t.Fatal(err)
				}
				n, last, err := replies(t, bufio.NewReader(peer))
				if n != c.replies || err != io.EOF || c.text != "" && last != c.text {
					t.Errorf("the peer got %d replies, %v, and %.50q at last; want %d, the end of file, and %q", n, err, last, c.replies, c.text)
				}
				if end := <-ends; end.Reason != c.reason || end.Replied != uint64(c.replies) {
					t.Errorf("closed for %v with %d replied, want %v with %d", end.Reason, end.Replied, c.reason, c.replies)
				}
			})
		})
	}
}

// A peer that keeps sending through a drain, and is slow to read, gets a reply to each request
// that was read.
func TestDrainWaitsForPeersThatAreSlowToTake(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(peer io.Reader) io.Reader
	}{
		{"a peer that keeps sending", func(peer io.Reader) io.Reader { return peer }},
		{"a peer that reads slowly", func(peer io.Reader) io.Reader { return slowReader{peer} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				noLeaks(t)
				w := new(witness)
				srv := &parley.Server{Handler: thick}
				ends := finals(srv, w)
				peer := tight[socketOf[engine]](t, srv)()
				peer.SetDeadline(time.Now().Add(patience))
				var sender sync.WaitGroup
				defer sender.Wait()
				defer peer.Close()
				sender.Go(func() {
					var some []byte
					for n := 1; ; n++ {
						some = fmt.Appendln(some, n)
						if n%100 != 0 {
							continue
						}
						if _, err := peer.Write(some); err != nil {
							return
						}
						some = some[:0]
						time.Sleep(time.Millisecond) // what comes behind the drain is discarded as fast as it is sent
					}
				})
				eventually(t, "much is owed", func() bool { return w.count(parley.Replied) > 100 })
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				drained := make(chan error, 1)
				go func() { drained <- srv.Shutdown(ctx) }()
				n, _, err := replies(t, bufio.NewReaderSize(c.read(peer), 10000))
				if want := w.count(parley.Received); n != want {
					t.Errorf("the peer got %d replies, then %v; want %d", n, err, want)
				}
				if end := <-ends; end.Reason != parley.Draining || end.Replied != uint64(n) {
					t.Errorf("closed for %v with %d replied, want shutdown with %d", end.Reason, end.Replied, n)
				}
				if err := <-drained; err != nil {
					t.Errorf("Shutdown = %v", err)
				}
			})
		})
	}
}

// A peer that does not read before it has sent everything gets to reading, once nothing that
// it sends will be answered any more: the server reads on while it still writes.
func TestOwedReplyOfAPeerThatSendsEverythingFirst(t *testing.T) {
	const size = 3 * tightly // more than buffers take, of the reply and of what comes behind it
	more := make([]byte, size)
	large := parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "bye" {
			return append(dst, more...), parley.ErrHangUp
		}
		return append(dst, more...), nil
	})
	for _, c := range []struct {
		name, text string
		end        func(srv *parley.Server)
		reason     parley.CloseReason
	}{
		{"hang-up", "bye\n", func(*parley.Server) {}, parley.HangUp},
		{"drain", "a\n", func(srv *parley.Server) { drain(t, srv) }, parley.Draining},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				noLeaks(t)
				srv := &parley.Server{Handler: large, WriteTimeout: 3 * time.Second, MaxRequest: size}
				ends := finals(srv, new(witness))
				peer := tight[socketOf[engine]](t, srv)()
				peer.SetDeadline(time.Now().Add(patience))
				io.WriteString(peer, c.text)
				if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				c.end(srv)
				if _, err := peer.Write(more); err != nil {
					t.Fatalf("sending: %v", err)
				}
				if got, err := io.ReadAll(peer); len(got) != size || err != nil {
					t.Errorf("the peer got %d bytes more, %v; want %d", len(got), err, size)
				}
				if end := <-ends; end.Reason != c.reason || end.Replied != 1 {
					t.Errorf("closed for %v, %v with %d replied, want %v with 1", end.Reason, end.Err, end.Replied, c.reason)
				}
			})
		})
	}
}

// A slowReader takes at most 100 KB a second.
type slowReader struct{ r io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.r.Read(p[:min(len(p), 1000)])
}

// What a peer has not taken when the server gives up is told as cut, or as a write timeout,
// and not as replied.
func TestWhatWasNotTakenIsNotToldAsReplied(t *testing.T) {
	const requests = 1500
	for _, c := range []struct {
		name, last string
		timeout    time.Duration
		end        func(t *testing.T, srv *parley.Server)
		want       parley.CloseReason
	}{
		{"a drain that cuts", "", -1, func(t *testing.T, srv *parley.Server) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			var drain *parley.DrainError
			if err := srv.Shutdown(ctx); !errors.As(err, &drain) || len(drain.Cut) != 1 || drain.Cut[0].Number() != 1 {
				t.Errorf("Shutdown = %v, want a DrainError with the session", err)
			}
		}, parley.DrainCut},
		{"Close", "", -1, func(t *testing.T, srv *parley.Server) { srv.Close() }, parley.ServerClosed},
		{"a write timeout after a blank line", "\n", 400 * time.Millisecond, func(*testing.T, *parley.Server) {}, parley.WriteTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				noLeaks(t)
				w := new(witness)
				srv := &parley.Server{Engine: engine, Handler: thick, WriteTimeout: c.timeout}
				ends := finals(srv, w)
				peer := slowPeer(t, parleytest.Start(t, srv))
				in := bufio.NewReaderSize(peer, 16)
				io.WriteString(peer, numbered(requests)+c.last)
				for range 10 {
					if _, err := in.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "all is written", func() bool { return w.count(parley.Replied) == requests })
				c.end(t, srv)
				end := <-ends
				io.WriteString(peer, "more\n") // which is answered by a reset: no more will come
				read := uint64(10)
				for ; ; read++ {
					if _, err := in.ReadString('\n'); err != nil {
						break
					}
				}
				// Its system may have acknowledged one that it dropped at the reset.
				if end.Reason != c.want || end.Seq != requests || end.Replied < 10 || end.Replied > read+1 || read == requests {
					t.Errorf("closed for %v with %d of %d replied, and the peer got %d; want %v", end.Reason, end.Replied, end.Seq, read, c.want)
				}
				if end.Out > 1001*(read+8) {
					t.Errorf("%d bytes are told as written, and the peer got %d replies", end.Out, read)
				}
			})
		})
	}
}

// A peer that has closed for good while the server stops is not waited for: that it reset the
// connection no read tells, behind its end of file.
func TestResetBehindAnEndOfFileEndsADrain(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		stopping := make(chan struct{})
		srv := &parley.Server{Engine: engine, Observer: w, WriteTimeout: 3 * time.Second, Handler: parley.HandlerFunc(
			func(dst []byte, req *parley.Request) ([]byte, error) {
				<-stopping
				return append(dst, req.Body...), nil
			})}
		addr := parleytest.Start(t, srv)
		c := dialer(t, "tcp", addr)()
		io.WriteString(c, strings.Repeat("x", 60000)) // a request once its end of file is there
		c.Close()
		eventually(t, "it is received", func() bool { return w.count(parley.Received) == 1 })
		stopped := drain(t, srv)
		close(stopping)
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		for _, e := range w.events { // it is over
			if e.kind == parley.Closed && e.number == 1 && e.reason != parley.Reset {
				t.Errorf("the session ended for %v, %v; want reset", e.reason, e.err)
			}
		}
	})
}
