package parley_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/parleytest"
)

// What a peer had sent before it went is told and handed to the gate to the last whole
// request, though the first write finds the peer gone. How it went makes no difference: by a
// reset of its own or by a close with a reply unread.
func TestPeerThatHasGoneIsHeardOut(t *testing.T) {
	const requests = 20000
	for name, leave := range map[string]func(c *net.TCPConn){
		"reset":                 func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"close, a reply unread": func(c *net.TCPConn) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			overEngines(t, func(t *testing.T, engine parley.Engine) {
				noLeaks(t)
				gate, w := new(porter), new(witness)
				held := make(chan struct{})
				srv := &parley.Server{Engine: engine, Gate: gate, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
					if string(req.Body) == "hold" {
						held <- struct{}{} // all of the rest is sent while the handler is at work
						<-held
					}
					return append(dst, req.Body...), nil
				})}
				ends := make(chan parley.Event, 1)
				srv.Observer = parley.Observers(w, endings(ends))
				c := transports[socketOf[engine]](t, srv)().(*net.TCPConn)
				io.WriteString(c, "first\n")
				eventually(t, "a reply is there", func() bool { return w.count(parley.Replied) == 1 })
				io.WriteString(c, "hold\n")
				<-held
				text := numbered(requests) + "unfinished"
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
				leave(c)
				held <- struct{}{}
				end := <-ends
				if end.Reason != parley.Reset || end.Seq != requests+2 || end.In != uint64(len("first\nhold\n")+len(text)) {
					t.Errorf("closed for %v, %v after %d requests and %d bytes, want reset after %d and %d",
						end.Reason, end.Err, end.Seq, end.In, requests+2, len("first\nhold\n")+len(text))
				}
				if end.Replied != 1 {
					t.Errorf("%d requests count as answered, want 1", end.Replied)
				}
				if !errors.Is(end.Err, parley.ErrRepliesUnread) || !errors.Is(end.Err, syscall.ECONNRESET) && !errors.Is(end.Err, syscall.EPIPE) {
					t.Errorf("closed with %v, want that replies are unread, by a reset", end.Err)
				}
				var told []string
				for _, e := range w.all() {
					if e.kind == parley.Received {
						told = append(told, fmt.Sprintf("%d %s", e.seq, e.body))
					}
				}
				kept := gate.exchanges()
				if len(told) != requests+2 || len(kept) != requests+2 {
					t.Fatalf("%d requests were told and %d handed to the gate, want %d", len(told), len(kept), requests+2)
				}
				for i := range requests {
					if want := fmt.Sprintf("%d %d", i+3, i+1); told[i+2] != want {
						t.Fatalf("told %q, want %q", told[i+2], want)
					}
					e := kept[i+2]
					if e.seq != uint64(i+3) || e.request != fmt.Sprint(i+1) || e.reply != "none" && e.reply != e.request {
						t.Fatalf("the gate was asked about %d: %q, %q", e.seq, e.request, e.reply)
					}
				}
				if last := kept[len(kept)-1]; last.reply != "none" {
					t.Errorf("the last request has the reply %q, want none", last.reply)
				}
			})
		})
	}
}

// numbered is as many requests, each its number.
func numbered(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%d\n", i+1)
	}
	return text.String()
}

// Behind an empty request nothing is one, also of a peer that has gone.
func TestNothingIsARequestBehindABlankLine(t *testing.T) {
	overEngines(t, func(t *testing.T, engine parley.Engine) {
		noLeaks(t)
		w := new(witness)
		var once sync.Once
		held := make(chan struct{})
		srv := &parley.Server{Engine: engine, Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			once.Do(func() { held <- struct{}{}; <-held })
			return append(dst, req.Body...), nil
		})}
		c := transports[socketOf[engine]](t, srv)().(*net.TCPConn)
		io.WriteString(c, "a\n")
		<-held
		io.WriteString(c, "b\nc\n\n"+strings.Repeat("no request\n", 10000))
		c.SetLinger(0)
		c.Close()
		held <- struct{}{}
		if end := w.closed(t, 1); end.seq != 3 || end.reason != parley.Reset {
			t.Errorf("closed for %v after %d requests, want reset after 3", end.reason, end.seq)
		}
	})
}

// Of a peer in memory that closes with a reply unread the rest is told too.
func TestPeerThatHasGoneIsHeardOutInMemory(t *testing.T) {
	w := new(witness)
	held := make(chan struct{})
	srv := &parley.Server{Observer: w, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
		if string(req.Body) == "hold" {
			held <- struct{}{}
			<-held
		}
		return append(dst, req.Body...), nil
	})}
	c := transports["memory"](t, srv)()
	io.WriteString(c, "hold\n")
	<-held
	io.WriteString(c, "a\nb\nunfinished")
	c.Close()
	held <- struct{}{}
	if end := w.closed(t, 1); end.seq != 3 || end.reason != parley.Reset {
		t.Errorf("closed for %v after %d requests, want reset after 3", end.reason, end.seq)
	}
}

// How many requests of a peer that went were answered is known: if anybody wants to know of
// replies, how many it took, but for those in the last 4 KiB (see Closed).
func TestRepliesWrittenBeforeThePeerWent(t *testing.T) {
	const requests, size = 20000, 1000
	reply := strings.Repeat("x", size)
	for name, framing := range map[string]parley.Framing{"lines": parley.Lines, "length": parley.LengthPrefixed} {
		for _, wants := range []string{"ends", "all", "a gate"} {
			t.Run(name+", wanted "+wants, func(t *testing.T) {
				overEngines(t, func(t *testing.T, engine parley.Engine) {
					ends := make(chan parley.Event, 1)
					var asked atomic.Int64
					srv := &parley.Server{Engine: engine, Framing: framing, Observer: endings(ends),
						Handler: parley.HandlerFunc(func(dst []byte, _ *parley.Request) ([]byte, error) {
							asked.Add(1)
							return append(dst, reply...), nil
						})}
					switch wants {
					case "all":
						srv.Observer = parley.Observers(srv.Observer, new(witness))
					case "a gate":
						srv.Gate = new(porter)
					}
					c := transports[socketOf[engine]](t, srv)().(*net.TCPConn)
					one, err := framing.End(append(framing.Begin(nil), 'a'), 0)
					if err != nil {
						t.Fatal(err)
					}
					var sending sync.WaitGroup
					sending.Go(func() { io.WriteString(c, strings.Repeat(string(one), requests)) })
					eventually(t, "more is answered than one write takes", func() bool { return asked.Load() > 512 })
					c.SetLinger(0)
					c.Close()
					sending.Wait()
					end := <-ends
					framed := uint64(len(one)-1) + size
					known := end.Replied <= end.Out/framed && end.Replied+4<<10/framed >= end.Out/framed
					if wants == "ends" { // and so nobody knows where replies lie of which it took none
						known = end.Replied >= end.Out/framed && end.Replied <= uint64(asked.Load())
					}
					if end.Reason != parley.Reset || !known || end.Replied >= end.Seq {
						t.Errorf("closed for %v with %d of %d requests answered, %d by the %d bytes that it took", end.Reason, end.Replied, end.Seq, end.Out/framed, end.Out)
					}
				})
			})
		}
	}
}

// A peer that never sent a byte is a probe, whichever way it went and whoever speaks first; one
// that had sent something, though nobody had read it yet, is none.
func TestPeerThatNeverSentAByte(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		leave      func(c *net.TCPConn)
		reason     parley.CloseReason
	}{
		{"end of file", "", func(c *net.TCPConn) { c.Close() }, parley.NoRequest},
		{"reset", "", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, parley.NoRequest},
		{"reset behind a request", "NOOP\r\n", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, parley.Reset},
	} {
		for first, framing := range map[string]parley.Framing{"the client speaks": parley.Lines, "the server greets": smtpFraming(t)} {
			t.Run(c.name+", "+first, func(t *testing.T) {
				overEngines(t, func(t *testing.T, engine parley.Engine) {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					conn := dialer(t, "tcp", l.Addr().String())().(*net.TCPConn)
					io.WriteString(conn, c.sent)
					c.leave(conn) // before the server has let it in
					ends := make(chan parley.Event, 1)
					parleytest.Serve(t, &parley.Server{Engine: engine, Handler: echo, Framing: framing, Observer: endings(ends)}, l)
					if end := <-ends; end.Reason != c.reason {
						t.Errorf("closed for %v, %v; want %v", end.Reason, end.Err, c.reason)
					}
				})
			})
		}
	}
}
