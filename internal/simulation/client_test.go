//go:build linux && simulate

package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
)

// mostClients is how many there are at once.
const mostClients = 4

// maxReply is the longest reply that a client takes.
const maxReply = 4000

// clients are a world of clients, each of which asks a peer that answers as it likes.
type clients struct {
	*settings
	diary
	k    *simkernel.Kernel
	rand *rand.Rand

	mu  sync.Mutex
	all []*caller
}

// A caller is a client and the server that it asks.
type caller struct {
	*simkernel.Peer
	port   int
	client *parley.Client

	sent    []byte // what has come out of the client
	asked   int    // requests that it was given
	begun   []byte // the bytes of those of which any has come out, and of the last one
	asking  bool
	cancel  context.CancelFunc
	heard   []byte // by the server
	replies []byte // made, and not sent
	early   bool   // a message that nobody asked for is there
	misled  bool   // it was told that it is not
	failed  int    // requests
	broken  error  // what the first request that was not answered had; no other is to be
	excuse  bool   // the connection was made to fail
	closed  bool
}

func clientWorld(s *settings, seen *strings.Builder) inhabited {
	w := &clients{settings: s, diary: diary{seen: seen, began: simkernel.Now()}, rand: rand.New(rand.NewPCG(s.seed, 5))}
	w.k = simkernel.New(w, s.receive, s.send, s.window)
	return w
}

func (w *clients) Received(port, n int) { w.noted("%d: %d bytes are read", port, n) }

func (w *clients) Hung(port int) { w.noted("%d: it is hung up on", port) }

func (w *clients) noted(format string, about ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees(format, about...)
}

// Sent is called when a client has written: each request once, in order, and none behind one that is not whole.
func (w *clients) Sent(port int, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees("%d: %d bytes are written", port, len(b))
	c := w.all[port-firstPort]
	c.sent = append(c.sent, b...)
	if !bytes.HasPrefix(c.begun, c.sent) {
		w.isWrong("client %d sends %q, and was asked for %q", port, c.sent, c.begun)
	}
	if !c.asking {
		w.isWrong("client %d sends %q when nobody asks any more", port, b)
	}
}

func (w *clients) Failed(port int, f simkernel.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees("%d: %s fails: %v", port, f.Call, f.Errno)
	if port != 0 && f.Errno == syscall.EAGAIN && w.all[port-firstPort].early {
		w.all[port-firstPort].misled = true
	}
	if port != 0 && f.Errno != 0 && f.Errno != syscall.EINTR && f.Errno != syscall.EAGAIN {
		w.all[port-firstPort].excuse = true
	}
}

func (w *clients) Misused(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isWrong("a wrong system call: %s", what)
}

func (w *clients) do(s step) {
	time.Sleep(time.Nanosecond)
	w.noted("step %v", s)
	w.k.Step()
	w.act(s)
	synctest.Wait()
}

func (w *clients) act(s step) {
	switch s.act {
	case fail:
		f := failures[s.much%len(failures)]
		f.After = s.who % 4
		w.k.Fail(f)
		return
	case pass:
		time.Sleep(timeOf(s))
		return
	}
	var open []*caller
	for _, c := range w.all {
		if !c.closed {
			open = append(open, c)
		}
	}
	if s.act == connect && len(open) < mostClients || len(open) == 0 {
		w.connect()
		return
	}
	c := open[s.who%len(open)]
	w.mu.Lock()
	isOver := c.failed > 1
	w.mu.Unlock()
	if isOver {
		w.close(c)
		return
	}
	switch s.act {
	case ask:
		w.ask(c, timeOf(step{who: s.much >> 8, much: s.much & 255}))
	case cancel:
		w.mu.Lock()
		end := c.cancel
		w.mu.Unlock()
		if end != nil {
			end()
		}
	case read:
		w.serve(c, 1+s.much%50)
	case readAll:
		w.serve(c, 1<<20)
	case send:
		c.say(1 + s.much%30)
	case flood:
		c.say(1 << 20)
	case early:
		w.sayEarly(c)
	case halfClose:
		w.fails(c)
		c.CloseWrite()
	case hangUp:
		w.fails(c)
		c.Peer.Close()
	case reset:
		w.fails(c)
		c.Peer.Reset()
	case stall, unstall:
		c.Stall(s.act == stall)
	case closeServer:
		w.close(c)
	}
}

func (w *clients) fails(c *caller) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.excuse = true
}

func (w *clients) connect() {
	c := &caller{port: firstPort + len(w.all)}
	c.Peer = w.k.NewPeer(c.port)
	w.mu.Lock()
	w.all = append(w.all, c)
	w.mu.Unlock()
	dialer := parley.Dialer{Framing: w.framing, MaxReply: maxReply, NetDial: func(context.Context, string, string) (net.Conn, error) {
		return c.Call(), nil
	}}
	c.client, _ = dialer.Dial(context.Background(), "server:7000")
}

// ask has a client asked one thing, if it is at leisure, and looks at what it says.
func (w *clients) ask(c *caller, within time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.asking {
		return
	}
	c.asked++
	request := fmt.Sprintf("r%d.%d", c.port, c.asked)
	if w.rand.IntN(8) == 0 {
		request += pad(w.rand.IntN(3000))
	}
	framed := frame(w.framing, request)
	whole := len(c.begun)
	if c.broken == nil {
		c.begun = append(c.begun, framed...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	c.asking, c.cancel = true, cancel
	go func() {
		defer cancel()
		reply, err := c.client.Do(ctx, []byte(request))
		w.mu.Lock()
		defer w.mu.Unlock()
		c.asking, c.cancel = false, nil
		isEarly := c.early && !c.excuse && !c.misled
		w.sees("%d: %.20q gets %.20q, %v", c.port, request, reply, err)
		switch {
		case err == nil && (c.broken != nil || isEarly):
			w.isWrong("client %d is out of step, and gets a reply to %q", c.port, request)
		case err == nil && c.misled:
			return
		case err == nil && w.framing == parley.Lines && c.excuse && strings.HasPrefix(w.replyTo(request), string(reply)): // unfinished at the end of file
		case err == nil && string(reply) != w.replyTo(request):
			w.isWrong("client %d gets %q as the reply to %q", c.port, reply, request)
		case err == nil:
			return
		case isEarly && len(c.sent) > whole:
			w.isWrong("client %d sends %q, and what came before cannot be its reply", c.port, request)
		}
		late := ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
		mayFail := c.excuse || c.closed || late || c.failed > 0 || isEarly || c.misled || errors.Is(err, parley.ErrTooLong) && len(w.replyTo(request)) > maxReply
		if !mayFail {
			w.isWrong("client %d fails for no reason: %v", c.port, err)
		}
		c.failed++
		switch {
		case c.broken != nil:
		case len(c.sent) == whole && !errors.Is(err, parley.ErrOutOfStep):
			c.begun = c.begun[:whole] // nothing of it has left: the next may go well
		default:
			c.broken = err
		}
	}()
}

// replyTo is the reply to a request. Some are longer than a client takes.
func (w *clients) replyTo(request string) string {
	if len(request) > 2900 {
		return "long " + pad(maxReply+len(request)-2900)
	}
	return "re:" + request
}

// serve has the server read, and make replies of what it has.
func (w *clients) serve(c *caller, n int) {
	c.heard = append(c.heard, c.Read(n)...)
	rest := c.heard
	for {
		n, body, err := w.framing.Next(rest, 0, 1<<20, false)
		if n == 0 || err != nil {
			break
		}
		c.replies = append(c.replies, frame(w.framing, w.replyTo(string(body)))...)
		rest = rest[n:]
	}
	c.heard = rest
}

// say sends some of the replies.
func (c *caller) say(n int) {
	n = min(n, len(c.replies))
	c.Send(c.replies[:n])
	c.replies = c.replies[n:]
}

// sayEarly has the server say what nobody has asked for, if that is known to be there when the next request comes.
func (w *clients) sayEarly(c *caller) {
	w.mu.Lock()
	quiet := !c.asking && !c.excuse && c.broken == nil && len(c.replies) == 0 && len(c.heard) == 0
	c.early = c.early || quiet
	w.mu.Unlock()
	if quiet {
		c.Stall(false)
		c.Send(frame(w.framing, "oh"))
	}
}

func (w *clients) close(c *caller) {
	w.mu.Lock()
	c.closed = true
	w.mu.Unlock()
	c.client.Close()
}

// end has everything go well for a while, and then looks that nothing is left.
func (w *clients) end() {
	w.k.Step()
	w.k.Mend()
	for _, c := range w.all {
		c.Stall(false)
	}
	for range 500 { // in pieces as small as sockets are
		synctest.Wait()
		for _, c := range w.all {
			w.serve(c, 1<<20)
			c.say(1 << 20)
		}
	}
	time.Sleep(30 * time.Second)
	synctest.Wait()
	for _, c := range w.all {
		if !c.closed {
			w.close(c)
		}
	}
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.all {
		if c.asking {
			w.isWrong("client %d asks for ever", c.port)
		}
	}
	if n := w.k.Open(); n > 0 {
		w.isWrong("%d descriptors are left open", n)
	}
}
