//go:build linux && simulate

package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
	"github.com/parley-tcp/parley/internal/tap"
)

// taps are a world of one tap, with clients and servers on its sides that say lines whenever they like.
type taps struct {
	*settings
	diary
	k      *simkernel.Kernel
	tap    *tap.Tap
	rand   *rand.Rand
	served chan error

	journal *recording // nil if nothing is recorded

	mu       sync.Mutex
	sides    []*side // each client, and behind it the server that it is connected to
	holding  []*parley.Session
	settling bool
}

// A side is one of the two peers of a session, and what the tap has of it.
type side struct {
	*simkernel.Peer
	other  *side
	port   int
	name   string
	said   []byte // all that it has sent
	lines  int    // in it
	told   int    // of them, by the tap
	at     int    // where the next one begins
	passed int    // whole, by the tap
	shown  int    // of a server's, to the gate
	clear  int    // of them, those that it does not hold
	wrote  int    // bytes of the other's, by the tap
	got    int
	ended  bool
	excuse *bool // the session's: it was made to fail
	held   *int  // batches of the session, by the gate
	opened bool
	over   bool
}

func tapWorld(s *settings, seen *strings.Builder) inhabited {
	w := newTaps(s, seen)
	w.serve()
	return w
}

// newTaps makes one whose tap does not serve yet.
func newTaps(s *settings, seen *strings.Builder) *taps {
	w := &taps{settings: s, diary: diary{seen: seen, began: simkernel.Now()}, rand: rand.New(rand.NewPCG(s.seed, 7)), served: make(chan error, 1)}
	w.k = simkernel.New(w, s.receive, s.send, s.window)
	w.k.SetProcessors(s.processors)
	w.tap = &tap.Tap{Dial: w.dial, Observer: parley.ObserverFunc(w.observe), MaxSessions: 100, WriteTimeout: s.write, HalfCloseTimeout: s.idle}
	if s.gate {
		w.tap.Gate = w
	}
	return w
}

func (w *taps) serve() {
	l := w.k.Listen()
	go func() { w.served <- w.tap.Serve(l) }()
	synctest.Wait()
}

func (w *taps) dial(_ context.Context, s *parley.Session) (net.Conn, error) {
	w.mu.Lock()
	server := w.clientOf(s).other
	w.mu.Unlock()
	conn := server.Call()
	if w.journal != nil {
		w.journal.PassedOn(s, conn)
	}
	return conn, nil
}

func (w *taps) clientOf(s *parley.Session) *side {
	var port int
	fmt.Sscanf(string(s.AppendRemote(nil)), "10.0.0.2:%d", &port)
	return w.sides[port-firstPort]
}

func (w *taps) Received(int, int) {}

// Sent is called when the tap has passed something on.
func (w *taps) Sent(port int, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.sides[port-firstPort]
	from := to.other
	w.sees("%s %d: %d bytes are passed on to it", to.name, port, len(b))
	if end := to.wrote + len(b); end > len(from.said) || !bytes.Equal(from.said[to.wrote:end], b) {
		w.isWrong("the %s at %d gets %q, which nobody has said", to.name, port, b)
	}
	to.wrote += len(b)
	from.passed += bytes.Count(b, []byte("\n"))
	switch {
	case from.passed > from.told:
		w.isWrong("the %s at %d gets message %d, and %d were told", to.name, port, from.passed, from.told)
	case w.gate && from.name == "server" && from.passed > from.clear && !*to.excuse:
		w.isWrong("the client at %d gets reply %d, and the gate has let %d through", port, from.passed, from.clear)
	}
}

// Hung is called when the tap is about to hang up, or to pass an end of file on.
func (w *taps) Hung(port int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sides[port-firstPort]
	w.sees("%s %d: it is hung up on", s.name, port)
	if !*s.excuse && !w.settling && !s.over && !(s.other.ended && s.wrote == len(s.other.said)) {
		w.isWrong("the %s at %d sees an end that nobody has made, behind %d of %d bytes", s.name, port, s.wrote, len(s.other.said))
	}
}

func (w *taps) Failed(port int, f simkernel.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees("%d: %s fails: %v", port, f.Call, f.Errno)
	if f.Call == simkernel.SyncCall {
		w.journal.gone = true
	}
	if port != 0 && f.Errno != 0 && f.Errno != syscall.EINTR && f.Errno != syscall.EAGAIN {
		*w.sides[port-firstPort].excuse = true
	}
}

func (w *taps) Misused(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isWrong("a wrong system call: %s", what)
}

func (w *taps) observe(e *parley.Event) {
	if e.Session == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	client := w.clientOf(e.Session)
	w.sees("%d: %v %d %q %v", client.port, e.Kind, e.Seq, e.Body, e.Reason)
	if client.over {
		w.isWrong("%d: %v behind its end", client.port, e.Kind)
	}
	switch e.Kind {
	case parley.Opened:
		client.opened = true
	case parley.Received:
		client.isTold(w, e.Body)
		if e.Seq != uint64(client.told) {
			w.isWrong("%d: request %d is told as %d", client.port, client.told, e.Seq)
		}
	case parley.Replied, parley.Unasked:
		client.other.isTold(w, e.Body)
		if e.Kind == parley.Replied && e.Seq > uint64(client.told) {
			w.isWrong("%d: a reply to %d, of %d requests", client.port, e.Seq, client.told)
		}
	case parley.Closed:
		client.over, client.other.over = true, true
		if mayEnd := *client.excuse || e.Reason == parley.WriteTimeout || e.Reason == parley.IdleTimeout || client.ended || client.other.ended || w.settling; !mayEnd {
			w.isWrong("%d: it ends by %v for no reason (%v)", client.port, e.Reason, e.Err)
		}
		if e.Reason == parley.WriteTimeout || e.Reason == parley.IdleTimeout {
			*client.excuse = true
		}
	}
}

// isTold looks whether a message is the next one that was said. The last of a session may be unfinished.
func (s *side) isTold(w *taps, body []byte) {
	from := s.at
	s.told++
	s.at += len(body) + 1
	if s.at > len(s.said)+1 || !bytes.Equal(s.said[from:s.at-1], body) || from > 0 && s.said[from-1] != '\n' {
		w.isWrong("the %s at %d is told to say %q as message %d", s.name, s.port, body, s.told)
	}
}

// Pass is asked by the gate.
func (w *taps) Pass(s *parley.Session, batch []parley.Exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	client := w.clientOf(s)
	for _, x := range batch {
		if x.Reply != nil {
			client.other.shown++
		}
	}
	hold := w.rand.IntN(3) == 0 && !w.settling
	w.sees("%d: the gate sees %d exchanges, and holds them: %v", client.port, len(batch), hold)
	if hold {
		*client.held++
		w.holding = append(w.holding, s)
	}
	client.letThrough()
	return !hold
}

// letThrough notes which of its server's messages may go on.
func (s *side) letThrough() {
	if *s.held == 0 {
		s.other.clear = s.other.shown
	}
}

func (w *taps) do(s step) {
	time.Sleep(time.Nanosecond)
	w.mu.Lock()
	w.sees("step %v", s)
	w.mu.Unlock()
	w.k.Step()
	w.act(s)
	synctest.Wait()
}

func (w *taps) act(s step) {
	here := w.here()
	switch {
	case s.act == fail:
		f := failures[s.much%len(failures)]
		f.After = s.who % 4
		w.k.Fail(f)
		return
	case s.act == pass:
		time.Sleep(timeOf(s))
		return
	case s.act == setClock:
		w.k.SetClock(clockOf(s))
		return
	case s.act == release:
		w.release(s.who)
		return
	case s.act == connect && len(here) < mostPeers || len(here) == 0:
		w.connect()
		return
	}
	p := here[s.who%len(here)]
	switch s.act {
	case send:
		w.say(p, 1+s.much%30)
	case flood:
		w.say(p, 1+s.much%4000)
	case read:
		p.got += len(p.Read(1 + s.much%50))
	case readAll:
		p.got += len(p.Read(1 << 20))
	case halfClose:
		w.finish(p)
	case reset:
		w.fails(p)
		p.Reset()
	case hangUp:
		w.fails(p)
		p.Close()
	case stall, unstall:
		p.Stall(s.act == stall)
	}
}

// here are the sides of which something can still come.
func (w *taps) here() (here []*side) {
	for _, p := range w.sides {
		ended, cut := p.State()
		w.mu.Lock()
		if !p.over && !(ended && p.ended) && !cut {
			here = append(here, p)
		}
		w.mu.Unlock()
	}
	return here
}

func (w *taps) connect() {
	w.mu.Lock()
	excuse, held := new(bool), new(int)
	port := firstPort + len(w.sides)
	client := &side{port: port, name: "client", excuse: excuse, held: held}
	server := &side{port: port + 1, name: "server", excuse: excuse, held: held, other: client}
	client.other = server
	client.Peer, server.Peer = w.k.NewPeer(port), w.k.NewPeer(port+1)
	w.sides = append(w.sides, client, server)
	w.mu.Unlock()
	client.Dial()
}

// say has a side say n bytes more, of lines that are not said twice.
func (w *taps) say(p *side, n int) {
	w.mu.Lock()
	from := len(p.said)
	for len(p.said) < from+n && !p.ended {
		p.said = fmt.Appendf(p.said, "%s %d.%d\n", p.name, p.port, p.lines)
		p.lines++
	}
	said := p.said[from:]
	piece := 1 + w.rand.IntN(n)
	w.mu.Unlock()
	for some := range slices.Chunk(said, piece) {
		p.Send(some)
	}
}

func (w *taps) finish(p *side) {
	w.mu.Lock()
	p.ended = true
	w.mu.Unlock()
	p.CloseWrite()
}

func (w *taps) fails(p *side) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*p.excuse, p.ended = true, true
}

func (w *taps) release(which int) {
	w.mu.Lock()
	if len(w.holding) == 0 {
		w.mu.Unlock()
		return
	}
	at := which % len(w.holding)
	s := w.holding[at]
	w.holding = append(w.holding[:at], w.holding[at+1:]...)
	client := w.clientOf(s)
	*client.held--
	client.letThrough()
	w.mu.Unlock()
	s.Release()
}

// end has everything go well, in one of two ways, and looks that nothing is left.
func (w *taps) end() {
	w.mu.Lock()
	w.settling = true
	w.mu.Unlock()
	w.k.Mend()
	for _, p := range w.sides {
		p.Stall(false)
	}
	w.settle()
	w.judge(false)
	if w.ending%2 == 0 {
		for _, p := range w.sides {
			w.finish(p)
		}
		w.settle()
		w.judge(true)
	}
	w.tap.Close()
	w.settle()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case err := <-w.served:
		if !errors.Is(err, parley.ErrServerClosed) {
			w.isWrong("Serve returns %v", err)
		}
	default:
		w.isWrong("Serve does not return")
	}
	if n := w.k.Open(); n > 0 {
		w.isWrong("%d descriptors are left open", n)
	}
	for _, p := range w.sides {
		if p.opened && !p.over {
			w.isWrong("the end of %d is never told", p.port)
		}
	}
}

func (w *taps) settle() {
	for range 5 {
		for more := true; more; {
			w.k.Step()
			synctest.Wait()
			more = false
			for len(w.holding) > 0 {
				w.release(0)
				synctest.Wait()
				more = true
			}
			for _, p := range w.sides {
				n := len(p.Read(1 << 20))
				p.got += n
				more = more || n > 0
			}
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// judge looks whether all that was said has come through.
func (w *taps) judge(atEnd bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.sides {
		client := p
		if p.name == "server" {
			client = p.other
		}
		ended, _ := p.State()
		switch {
		case *p.excuse || !client.opened:
		case p.got != len(p.other.said) && !p.over:
			w.isWrong("the %s at %d got %d bytes, of %d", p.name, p.port, p.got, len(p.other.said))
		case atEnd && !ended:
			w.isWrong("the %s at %d sees no end of file", p.name, p.port)
		}
	}
}
