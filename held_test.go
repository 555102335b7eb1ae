package parley_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-tcp/parley"
)

const outOfMemory = "Error: server is out of memory for requests\n"

// hold sends what is no whole request, and waits until the server holds it.
func hold(t *testing.T, srv *parley.Server, c conn, bytes int) {
	t.Helper()
	before := srv.Held()
	io.WriteString(c, strings.Repeat("x", bytes))
	eventually(t, fmt.Sprintf("%d bytes more are held", bytes), func() bool { return srv.Held() >= before+int64(bytes) })
}

// finish completes a request, of which so many bytes are sent, and has it answered.
func finish(t *testing.T, c conn, bytes int) {
	t.Helper()
	io.WriteString(c, "\n")
	want := strings.Repeat("x", bytes) + "\n"
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); string(got) != want {
		t.Errorf("of a reply of %d bytes came %d, %v", len(want), n, err)
	}
}

// When all hold one byte more than MaxHeld, the session that holds most is told so and ended,
// and no other notices.
func TestSessionThatHoldsMostIsEnded(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		sizes := []int{2000, 9000, 3000}
		converse := func(max int64, bringOver func(srv *parley.Server, largest, last conn)) {
			w := new(witness)
			srv := &parley.Server{Handler: echo, Observer: w, MaxHeld: max}
			dial := serve(srv)
			idle, last := dial(), dial()
			exchange(t, idle, "x")
			var peers []conn
			for _, size := range sizes {
				c := dial()
				hold(t, srv, c, size)
				peers = append(peers, c)
			}
			bringOver(srv, peers[1], last)
			finish(t, peers[0], sizes[0])
			finish(t, peers[2], sizes[2])
			finish(t, last, 1000)
			if got := exchange(t, idle, "y"); got != "y\n" {
				t.Errorf("the idle one got %q", got)
			}
			eventually(t, "nothing is held", func() bool { return srv.Held() == 0 })
		}
		var all int64
		within := func(srv *parley.Server, largest, last conn) {
			hold(t, srv, last, 1000)
			all = srv.Held()
			finish(t, largest, sizes[1])
		}
		converse(-1, within)
		converse(all+1, within)
		converse(all, within)
		converse(all-1, func(srv *parley.Server, largest, last conn) {
			io.WriteString(last, strings.Repeat("x", 1000))
			if got := readToEnd(t, largest); got != outOfMemory {
				t.Errorf("who held most got %q, want the error text", got)
			}
			if held := srv.Held(); held < 6000 || held > all-9000 {
				t.Errorf("%d bytes are held, want those of the others", held)
			}
		})
	})
}

func TestEndForMemoryIsTold(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
		w := new(witness)
		srv := &parley.Server{Handler: echo, Observer: w, MaxHeld: 20000, MaxRequest: 1 << 20}
		dial := serve(srv)
		c := dial()
		io.WriteString(c, "a\n"+strings.Repeat("x", 50000)) // alone it is too much
		if got := readToEnd(t, c); got != "a\n"+outOfMemory {
			t.Errorf("got %q, want the reply that is owed and the error text", got)
		}
		if end := w.closed(t, 1); end.reason != parley.Memory || end.seq != 1 {
			t.Errorf("closed for %v after %d requests, want memory after 1", end.reason, end.seq)
		}
		all := w.all()
		if told := all[len(all)-2]; told.kind != parley.Unasked || told.body+"\n" != outOfMemory {
			t.Errorf("before the end is told %v %q, want the error text", told.kind, told.body)
		}
		if got := say(t, dial(), "b\n"); got != "b\n" {
			t.Errorf("the next one got %q", got)
		}
	})
}

// Who does not read its replies, or may not have them yet, cannot be told.
func TestUnsentRepliesAreHeld(t *testing.T) {
	for name, gate := range map[string]parley.Gate{
		"not read":   nil,
		"not let go": gateFunc(func(_ *parley.Session, batch []parley.Exchange) bool { return string(batch[0].Request) != "large" }),
	} {
		t.Run(name, func(t *testing.T) {
			overEachTight(t, func(t *testing.T, serve func(*parley.Server) func() conn) {
				w := new(witness)
				srv := &parley.Server{Observer: w, Gate: gate, MaxHeld: 11 << 18, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
					if string(req.Body) == "large" {
						return append(dst, make([]byte, 8<<18)...), nil
					}
					return append(dst, req.Body...), nil
				}), MaxRequest: 4 << 18, WriteTimeout: -1}
				dial := serve(srv)
				owed, asking := dial(), dial()
				io.WriteString(owed, "large\n")
				eventually(t, "its reply is held", func() bool { return srv.Held() >= 8<<18 }) // and half a MiB at most of what its buffer has behind it
				request := strings.Repeat("x", 3<<18)
				var sent sync.WaitGroup
				sent.Go(func() { io.WriteString(asking, request) })
				if end := w.closed(t, 1); end.reason != parley.Memory || end.number != 1 && end.number != 2 {
					t.Errorf("closed for %v, want memory", end.reason)
				}
				if got, err := io.ReadAll(owed); len(got) > 8<<18 {
					t.Errorf("who was ended got %d bytes, %v; want less than its reply", len(got), err)
				}
				sent.Wait()
				finish(t, asking, 3<<18)
				eventually(t, "nothing is held", func() bool { return srv.Held() == 0 })
			})
		})
	}
}

// However sessions end, nothing of them is counted on.
func TestNothingIsHeldInTheEnd(t *testing.T) {
	const peers = 100
	overSome(t, []string{"memory", "tcp", "tcp, loops", "unix, loops"}, func(t *testing.T, serve func(*parley.Server) func() conn) {
		var later, clients sync.WaitGroup
		defer later.Wait()
		gate := gateFunc(func(s *parley.Session, batch []parley.Exchange) bool {
			if batch[0].Seq%3 != 0 {
				return true
			}
			later.Go(s.Release)
			return false
		})
		w := new(witness)
		srv := &parley.Server{Observer: w, Gate: gate, MaxHeld: 1 << 20, MaxRequest: 100 << 10, WriteTimeout: time.Second, Handler: parley.HandlerFunc(func(dst []byte, req *parley.Request) ([]byte, error) {
			return append(dst, bytes.Repeat(req.Body, 10)...), nil
		})}
		dial := serve(srv)
		const holding = 12 // peers with unfinished requests, which alone are too many
		for range holding {
			c := dial()
			defer c.Close()
			clients.Go(func() { io.WriteString(c, strings.Repeat("x", 95<<10)) })
		}
		clients.Wait()
		for n := range uint64(peers) {
			c := dial()
			clients.Go(func() {
				defer c.Close()
				random := rand.New(rand.NewPCG(n, 2))
				for range 1 + random.IntN(10) {
					text := strings.Repeat("y", random.IntN(30000))
					if random.IntN(3) > 0 {
						text += "\nz\nz"
					}
					if _, err := io.WriteString(c, text); err != nil {
						return
					}
					switch random.IntN(8) {
					case 0:
						c.CloseWrite()
						io.Copy(io.Discard, c)
						return
					case 1:
						if tcp, ok := c.(*net.TCPConn); ok {
							tcp.SetLinger(0)
						}
						return
					default: // some of what there is to read
						c.SetReadDeadline(time.Now().Add(time.Duration(random.IntN(2000)) * time.Microsecond))
						io.CopyN(io.Discard, c, random.Int64N(200000))
					}
				}
			})
		}
		clients.Wait()
		w.closed(t, peers)
		srv.Close()
		w.closed(t, peers+holding)
		eventually(t, "nothing is held", func() bool { return srv.Held() == 0 })
		reasons := map[parley.CloseReason]int{}
		for _, e := range w.all() {
			if e.kind == parley.Closed {
				reasons[e.reason]++
			}
		}
		if reasons[parley.Memory] == 0 || len(reasons) < 3 {
			t.Errorf("closed for %v, which is no mix", reasons)
		}
	})
}
