//go:build linux && simulate

package simulation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
)

const (
	firstPort = 1000
	mostPeers = 8           // at once
	linger    = time.Second // as the server has it
	milestone = 4 << 10     // bytes, by which it may count too few
	tick      = 100 * time.Millisecond
	maxLate   = time.Second // the pause of the process that counts for its peers
)

// settings are what a seed has chosen for a history.
type settings struct {
	seed                    uint64
	engine                  parley.Engine
	framing                 parley.Framing
	observes                int // everything, not each reply, nothing
	gate                    bool
	keepBlank               bool
	waits                   bool // some handlers wait
	maxRequest, maxUnsent   int
	maxSessions             int
	large                   int // a large reply
	receive, send, window   int // room in sockets, and in those of peers
	first, idle, req, write time.Duration
	ending                  int // what comes at the end

	// Of a journal.
	sync, serves bool // its options Sync and ServeOnError
	maySync      bool // a sync may fail, by which all is over

	processors int   // as many loops
	maxHeld    int64 // -1 is no limit
	speaks     bool  // the handler does
}

func settingsOf(seed uint64) *settings {
	r := rand.New(rand.NewPCG(seed, 1))
	oneOf := func(n ...int) int { return n[r.IntN(len(n))] }
	s := &settings{
		seed:        seed,
		engine:      []parley.Engine{parley.Goroutines, parley.Loops}[seed%2],
		framing:     []parley.Framing{parley.Lines, parley.Lines, parley.Netstring, parley.Length{Bytes: 2}}[r.IntN(4)],
		observes:    r.IntN(3),
		gate:        r.IntN(2) == 0,
		keepBlank:   r.IntN(2) == 0,
		maxRequest:  oneOf(40, 100, 1000),
		maxUnsent:   oneOf(1, 100, 1000, 256<<10),
		maxSessions: oneOf(2, 5, 100, 100),
		large:       oneOf(200, 3000),
		receive:     oneOf(20, 200, 5000),
		send:        oneOf(20, 200, 5000),
		window:      oneOf(20, 200, 5000),
		first:       10 * time.Second,
		idle:        20 * time.Second,
		req:         8 * time.Second,
		write:       time.Duration(oneOf(1, 5, 5)) * time.Second,
		ending:      r.IntN(4),
	}
	s.sync, s.serves, s.maySync = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(8) == 0
	s.processors = oneOf(1, 1, 2, 3)
	if s.maxHeld = int64(oneOf(-1, -1, 600, 10000)); s.observes == 2 {
		s.maxHeld = -1 // nobody would say who was ended for it
	}
	s.speaks = r.IntN(4) == 0
	s.waits = s.engine == parley.Goroutines && r.IntN(3) > 0 // a loop's must not
	return s
}

// A world is a server, its kernel and its peers. What they do is written down here, and looked at.
type world struct {
	*settings
	diary
	k       *simkernel.Kernel
	srv     *parley.Server
	journal *recording // nil if nothing is recorded

	served chan error // by Serve
	stops  sync.WaitGroup

	mu       sync.Mutex
	peers    []*peer
	holding  []*peer         // by the gate, in order
	slow     []chan struct{} // handlers
	stopping bool
	cutting  bool      // Close was called, or the time of Shutdown is over
	settling bool      // nothing goes wrong any more
	acceptEx bool      // accept4 or the listener failed
	thawed   time.Time // when the last pause was over
}

func serverWorld(s *settings, seen *strings.Builder) inhabited {
	w := newWorld(s, seen)
	w.serve()
	return w
}

// newWorld makes one whose server does not serve yet.
func newWorld(s *settings, seen *strings.Builder) *world {
	w := &world{settings: s, diary: diary{seen: seen, began: simkernel.Now()}, served: make(chan error, 1)}
	w.k = simkernel.New(w, s.receive, s.send, s.window)
	w.k.SetProcessors(s.processors)
	w.srv = &parley.Server{
		Handler: w, Framing: s.framing, Engine: s.engine, KeepBlank: s.keepBlank,
		MaxRequest: s.maxRequest, MaxUnsent: s.maxUnsent, MaxSessions: s.maxSessions, MaxHeld: s.maxHeld,
		FirstByteTimeout: s.first, IdleTimeout: s.idle, RequestTimeout: s.req, WriteTimeout: s.write,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if s.speaks {
		w.srv.Handler = speaker{w}
	}
	switch s.observes {
	case 0:
		w.srv.Observer = &observer{w: w, wants: func(parley.EventKind) bool { return true }}
	case 1:
		w.srv.Observer = &observer{w: w, wants: func(k parley.EventKind) bool { return k != parley.Replied }}
	}
	if s.gate {
		w.srv.Gate = w
	}
	return w
}

func (w *world) serve() {
	l := w.k.Listen()
	go func() { w.served <- w.srv.Serve(l) }()
	synctest.Wait()
}

func (w *world) peerAt(port int) *peer { return w.peers[port-firstPort] }

func (w *world) peerOf(s *parley.Session) *peer {
	var port int
	fmt.Sscanf(string(s.AppendRemote(nil)), "10.0.0.2:%d", &port)
	return w.peerAt(port)
}

// do has a step happen, and all that comes of it at once.
func (w *world) do(s step) {
	time.Sleep(time.Nanosecond) // timers that ring at the same time do so in an order that is left to chance
	w.mu.Lock()
	w.sees("step %v", s)
	w.mu.Unlock()
	w.k.Step()
	w.act(s)
	synctest.Wait()
	w.look()
}

func (w *world) act(s step) {
	if w.actOnServer(s) {
		return
	}
	here := w.here()
	if s.act == connect && len(here) < mostPeers || len(here) == 0 {
		w.connect()
		return
	}
	p := here[s.who%len(here)]
	switch s.act {
	case send:
		p.speak(1 + s.much%30)
	case flood:
		p.speak(1 + s.much%4000)
	case read:
		p.got += len(p.Read(1 + s.much%50))
	case readAll:
		p.got += len(p.Read(1 << 20))
	case halfClose:
		p.end()
	case reset:
		w.excuse(p, "it has reset")
		p.closed, p.gone = true, true
		p.Reset()
	case hangUp:
		w.excuse(p, "it has closed")
		p.end()
		p.gone = true
		p.Close()
	case stall, unstall:
		p.Stall(s.act == stall)
	}
}

// here are the peers that have not gone, or been hung up on.
func (w *world) here() (here []*peer) {
	for _, p := range w.peers {
		if ended, cut := p.State(); !ended && !cut && !p.gone {
			here = append(here, p)
		}
	}
	return here
}

func (w *world) excuse(p *peer, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.excuse == "" {
		p.excuse = why
	}
}

func (w *world) connect() {
	w.mu.Lock()
	port := firstPort + len(w.peers)
	p := &peer{mu: &w.mu, settings: w.settings, port: port, rand: rand.New(rand.NewPCG(w.seed, uint64(port))), opened: simkernel.Now()}
	p.lastRead, p.lastSent = p.opened, p.opened
	p.Peer = w.k.NewPeer(port)
	w.peers = append(w.peers, p)
	w.mu.Unlock()
	p.Dial()
}

var failures = []simkernel.Failure{
	{Call: simkernel.RecvCall}, {Call: simkernel.SendCall},
	{Call: simkernel.RecvCall, Errno: syscall.EINTR}, {Call: simkernel.RecvCall, Errno: syscall.EAGAIN},
	{Call: simkernel.RecvCall, Errno: syscall.ECONNRESET}, {Call: simkernel.RecvCall, Errno: syscall.ETIMEDOUT},
	{Call: simkernel.RecvCall, Errno: syscall.ENOMEM}, {Call: simkernel.RecvCall, Errno: syscall.EHOSTUNREACH},
	{Call: simkernel.SendCall, Errno: syscall.EINTR}, {Call: simkernel.SendCall, Errno: syscall.EAGAIN},
	{Call: simkernel.SendCall, Errno: syscall.ECONNRESET}, {Call: simkernel.SendCall, Errno: syscall.EPIPE},
	{Call: simkernel.SendCall, Errno: syscall.ETIMEDOUT}, {Call: simkernel.SendCall, Errno: syscall.ENOBUFS},
	{Call: simkernel.AcceptCall, Errno: syscall.EINTR}, {Call: simkernel.AcceptCall, Errno: syscall.EAGAIN},
	{Call: simkernel.AcceptCall, Errno: syscall.ECONNABORTED}, {Call: simkernel.AcceptCall, Errno: syscall.EMFILE},
	{Call: simkernel.AcceptCall, Errno: syscall.ENFILE}, {Call: simkernel.AcceptCall, Errno: syscall.ENOBUFS},
	{Call: simkernel.AcceptCall, Errno: syscall.ENOMEM}, {Call: simkernel.AcceptCall, Errno: syscall.EPROTO},
	{Call: simkernel.AcceptCall, Errno: syscall.EPERM},
	{Call: simkernel.ControlCall, Errno: syscall.ENOMEM}, {Call: simkernel.ControlCall, Errno: syscall.ENOSPC},
	{Call: simkernel.WaitCall, Errno: syscall.EINTR},
	{Call: simkernel.HalfCall, Errno: syscall.ENOTCONN},
}

var times = [...]time.Duration{time.Millisecond, 20 * time.Millisecond, 120 * time.Millisecond, 700 * time.Millisecond, 2500 * time.Millisecond,
	6 * time.Second, 11 * time.Second, 25 * time.Second}

// clocks are by how much the wall clock may be ahead.
var clocks = [...]time.Duration{0, time.Second, -time.Second, 30 * time.Second, -30 * time.Second, time.Hour, -time.Hour, 20 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour}

func clockOf(s step) time.Duration { return clocks[s.much%len(clocks)] }

// timeOf is mostly short.
func timeOf(s step) time.Duration { return times[min(s.who%len(times), s.much%len(times))] }

// actOnServer does what is no peer's.
func (w *world) actOnServer(s step) bool {
	switch s.act {
	case connect:
	case fail:
		f := failures[s.much%len(failures)]
		f.After = s.who % 4
		w.k.Fail(f)
	case pass:
		time.Sleep(timeOf(s))
	case setClock:
		w.k.SetClock(clockOf(s))
	case pause:
		froze := simkernel.Now()
		w.mu.Lock()
		for _, p := range w.peers {
			p.late = w.ranOut(p)
		}
		w.mu.Unlock()
		w.k.Freeze()
		for _, p := range w.peers {
			_, p.untaken = p.Backlog()
			if s.who&1 == 1 {
				p.speak(1 + s.much%30)
				p.got += len(p.Read(s.who))
			}
		}
		time.Sleep(times[s.much%len(times)])
		w.thaw(froze)
		w.k.Thaw()
	case release:
		w.release(s.who)
	case finish:
		w.finish(s.who)
	case shutdown:
		w.stop(false, time.Duration(1+s.much%10)*time.Second)
	case closeServer:
		w.stop(true, 0)
	default:
		return false
	}
	return true
}

// thaw notes whose clocks have run out while the process stood still, for long enough to be noticed by that:
// they are to begin anew, once. It is known of those that only wait for their peers, and have since the last
// pause.
func (w *world) thaw(froze time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		since, limit := p.lastRead, w.idle
		switch {
		case !p.began.IsZero():
			since, limit = p.began, w.req
		case p.read == 0:
			since, limit = p.opened, w.first
		case p.lastSent.After(since):
			since = p.lastSent
		}
		ranOut := since.Add(limit)
		if p.session != nil && !p.over && !p.late && p.made == p.wrote && p.untaken == 0 && !w.waits && !w.gate && since.After(w.thawed) &&
			ranOut.After(froze) && simkernel.Since(ranOut) > maxLate+tick {
			p.thawed = simkernel.Now()
		}
	}
	w.thawed = simkernel.Now()
}

// release lets a session go that the gate holds.
func (w *world) release(which int) {
	w.mu.Lock()
	if len(w.holding) == 0 {
		w.mu.Unlock()
		return
	}
	at := which % len(w.holding)
	p := w.holding[at]
	w.holding = append(w.holding[:at], w.holding[at+1:]...)
	p.held--
	session := p.session
	w.mu.Unlock()
	session.Release()
}

// finish lets a slow handler go on.
func (w *world) finish(which int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.slow); n > 0 {
		at := which % n
		close(w.slow[at])
		w.slow = append(w.slow[:at], w.slow[at+1:]...)
	}
}

// stop has the server stopped, in good order within a time or at once.
func (w *world) stop(atOnce bool, within time.Duration) {
	w.mu.Lock()
	for _, p := range w.peers {
		if !w.stopping && !p.over {
			p.toldStop = p.owed(false)
		}
	}
	w.stopping, w.cutting = true, w.cutting || atOnce
	w.mu.Unlock()
	w.stops.Go(func() {
		if atOnce {
			w.srv.Close()
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		over := time.AfterFunc(within, func() {
			w.mu.Lock()
			w.cutting = true // is known before the server can cut
			w.mu.Unlock()
			cancel()
		})
		defer over.Stop()
		w.srv.Shutdown(ctx)
	})
}

// settle has all go well from now on: what waits goes on, and peers read what they get.
func (w *world) settle() {
	w.k.Step()
	w.mu.Lock()
	w.settling = true
	w.mu.Unlock()
	w.k.Mend()
	for _, p := range w.peers {
		p.Stall(false)
	}
	for range 6 { // an acceptor that was told of nobody looks once a second
		for w.goesOn() {
		}
		time.Sleep(200 * time.Millisecond)
	}
	for w.goesOn() {
	}
	w.look()
}

// goesOn has peers read and handlers finish, and reports whether there was anything to do.
func (w *world) goesOn() (more bool) {
	w.k.Step()
	synctest.Wait()
	for len(w.holding) > 0 || len(w.slow) > 0 {
		w.release(0)
		w.finish(0)
		synctest.Wait()
		more = true
	}
	for _, p := range w.peers {
		n := len(p.Read(1 << 20))
		p.got += n
		more = more || n > 0
	}
	return more
}

// end ends the world, in one of several ways, and looks whether anything is left of it.
func (w *world) end() {
	w.settle()
	w.judge(false)
	switch w.ending {
	case 0: // every peer has said all
		for _, p := range w.peers {
			p.end()
		}
		w.settle()
		time.Sleep(3 * time.Second)
		w.settle()
		w.judge(true)
	case 1: // the server stops
		w.stop(false, 30*time.Second)
		w.settle()
		time.Sleep(3 * time.Second)
		w.settle()
		w.judge(true)
	case 2: // nobody says any more
		for range 20 {
			time.Sleep(6 * time.Second)
			w.settle()
		}
		w.judge(true)
	}
	w.stop(true, 0)
	w.settle()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	w.settle()
	w.atLast()
}
