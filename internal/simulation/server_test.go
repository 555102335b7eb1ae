//go:build linux && simulate

package simulation

import (
	"bytes"
	"context"
	"errors"
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
		write:       5 * time.Second,
		ending:      r.IntN(4),
	}
	s.waits = s.engine == parley.Goroutines && r.IntN(3) > 0 // a loop's must not
	return s
}

// A world is a server, its kernel and its peers. What they do is written down here, and looked at.
type world struct {
	*settings
	diary
	k   *simkernel.Kernel
	srv *parley.Server

	served  chan error // by Serve
	stops   sync.WaitGroup
	stopErr error // of Shutdown

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
	w := &world{settings: s, diary: diary{seen: seen, began: time.Now()}, served: make(chan error, 1)}
	w.k = simkernel.New(w, s.receive, s.send, s.window)
	w.srv = &parley.Server{
		Handler: w, Framing: s.framing, Engine: s.engine, KeepBlank: s.keepBlank,
		MaxRequest: s.maxRequest, MaxUnsent: s.maxUnsent, MaxSessions: s.maxSessions, MaxHeld: -1,
		FirstByteTimeout: s.first, IdleTimeout: s.idle, RequestTimeout: s.req, WriteTimeout: s.write,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
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
	l := w.k.Listen()
	go func() { w.served <- w.srv.Serve(l) }()
	synctest.Wait()
	return w
}

func (w *world) peerAt(port int) *peer { return w.peers[port-firstPort] }

func (w *world) peerOf(s *parley.Session) *peer {
	var port int
	fmt.Sscanf(string(s.AppendRemote(nil)), "10.0.0.2:%d", &port)
	return w.peerAt(port)
}

// Received is called when the server has read.
func (w *world) Received(port, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peerAt(port)
	w.sees("%d: %d bytes are read", port, n)
	isOver := p.isOver() || p.over || w.stopping || p.excuse != ""
	switch {
	case !isOver && p.held > 0:
		w.isWrong("peer %d is read while the gate holds it", port)
	case !isOver && p.made > p.wrote:
		w.isWrong("peer %d is read while it is owed %d bytes", port, p.made-p.wrote)
	}
	p.quiet = max(p.quiet, p.isQuiet())
	p.slow = max(p.slow, p.isSlow())
	before := p.read
	p.read += n
	p.lastRead = time.Now()
	switch boundary := p.boundary(); {
	case boundary == p.read:
		p.began = time.Time{}
	case boundary >= before:
		p.began = p.lastRead
	}
}

// Sent is called when the server has written.
func (w *world) Sent(port int, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peerAt(port)
	w.sees("%d: %d bytes are written", port, len(b))
	from := p.wrote
	p.wrote += len(b)
	p.lastSent = time.Now()
	if p.session == nil && w.refuses(from, b) {
		p.refused, p.excuse = true, "it was refused"
		return
	}
	for i := range p.requests {
		r := &p.requests[i]
		if r.stop <= from || r.start >= p.wrote {
			continue
		}
		lo, hi := max(r.start, from), min(r.stop, p.wrote)
		if string(b[lo-from:hi-from]) != string(r.reply[lo-r.start:hi-r.start]) {
			w.isWrong("peer %d gets %q, which is not %q, of the reply to its request %d", port, b[lo-from:hi-from], r.reply[lo-r.start:hi-r.start], i+1)
		}
		isText := r.why == parley.TooLong
		switch {
		case r.due > p.read:
			w.isWrong("peer %d gets a reply to its request %d, of which %d of %d bytes were read", port, i+1, p.read-r.from, r.end-r.from)
		case w.observes < 2 && !isText && p.public < i+1:
			w.isWrong("peer %d gets the reply to its request %d, and nobody was told of that", port, i+1)
		case w.gate && !isText && p.passed < i+1:
			w.isWrong("peer %d gets the reply to its request %d, and the gate was not asked", port, i+1)
		case w.gate && p.held > 0:
			w.isWrong("peer %d gets a reply to its request %d, and the gate holds it", port, i+1)
		}
	}
	if n := len(p.requests); n == 0 || p.requests[n-1].stop < p.wrote {
		w.isWrong("peer %d gets %q, which is no reply to what it has said", port, b)
	}
}

// refuses reports whether these are the bytes from there on of the text to whom there is no room for.
func (w *world) refuses(from int, b []byte) bool {
	text := frame(w.framing, fmt.Sprintf("Error: server is full (%d sessions)", w.maxSessions))
	return from <= len(text) && bytes.HasPrefix(text[from:], b)
}

// Hung is called when the server is about to hang up.
func (w *world) Hung(port int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees("%d: it is hung up on", port)
	p := w.peerAt(port)
	if w.observes < 2 && p.session != nil && !p.overTold && !w.cutting { // who is cut is so before it can be told
		w.isWrong("peer %d is hung up on, and nobody was told", port)
	}
}

// Failed is called when a system call fails as planned.
func (w *world) Failed(port int, f simkernel.Failure) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sees("%d: %s fails: %v", port, f.Call, f.Errno)
	switch {
	case f.Call == simkernel.AcceptCall:
		w.acceptEx = true
		return
	case f.Errno == 0 || f.Errno == syscall.EINTR || f.Errno == syscall.EAGAIN:
		return
	}
	if port != 0 {
		w.peerAt(port).excuse = fmt.Sprintf("%s failed: %v", f.Call, f.Errno)
	}
}

// Misused is called when the server makes a call that no right program does.
func (w *world) Misused(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isWrong("a wrong system call: %s", what)
}

// Reply answers a request.
func (w *world) Reply(dst []byte, req *parley.Request) ([]byte, error) {
	w.mu.Lock()
	p := w.peerOf(req.Session)
	p.handled++
	if req.Seq != uint64(p.handled) {
		w.isWrong("the handler is asked for request %d of peer %d, behind %d", req.Seq, p.port, p.handled-1)
	}
	body := string(req.Body)
	if p.handled > len(p.requests) || p.requests[p.handled-1].body != body {
		w.isWrong("request %d of peer %d is %q to the handler, which it has not said", req.Seq, p.port, body)
		w.mu.Unlock()
		return dst, nil
	}
	if unsent := p.made - p.wrote; unsent >= w.maxUnsent {
		w.isWrong("peer %d is owed %d bytes and a reply more is made", p.port, unsent)
	}
	var slow chan struct{}
	if kind := kindOf(body); kind == 's' || kind == 'w' {
		slow = make(chan struct{})
		w.slow = append(w.slow, slow)
	}
	if p.made == p.wrote {
		p.owing = time.Now()
	}
	p.made += len(p.requests[p.handled-1].reply)
	w.mu.Unlock()
	switch kindOf(body) {
	case 's':
		<-slow
	case 'w':
		select {
		case <-slow:
		case <-req.Session.Context().Done():
		}
	case 'p':
		panic("as told")
	}
	text, err := answer(body, w.large)
	return append(dst, text...), err
}

// Pass is asked by the gate.
func (w *world) Pass(s *parley.Session, batch []parley.Exchange) bool {
	w.mu.Lock()
	p := w.peerOf(s)
	p.session = s
	last, replies := uint64(0), false
	for _, x := range batch {
		replies = replies || x.Reply != nil
		if x.Reply != nil && p.held > 0 { // what has no reply is shown at once
			w.isWrong("the gate is asked about a reply to peer %d while it holds another", p.port)
		}
		if x.Seq == 0 {
			continue
		}
		last = x.Seq
		p.passed++
		if x.Seq != uint64(p.passed) {
			w.isWrong("the gate is asked about request %d of peer %d, behind %d", x.Seq, p.port, p.passed-1)
			break
		}
		r := &p.requests[x.Seq-1]
		if x.Reply != nil && string(frame(w.framing, string(x.Reply))) != string(r.reply) || string(x.Request) != r.body {
			w.isWrong("the gate is shown %q and %q as request %d of peer %d", x.Request, x.Reply, x.Seq, p.port)
		}
	}
	hold := replies && (uint64(p.port)*7+last)%3 == 0 && !w.settling
	early := hold && last%2 == 1
	w.sees("%d: the gate sees %d exchanges up to %d, and holds them: %v", p.port, len(batch), last, hold)
	if hold && !early {
		p.held++
		w.holding = append(w.holding, p)
	}
	w.mu.Unlock()
	if early { // before it is told to hold
		s.Release()
	}
	return !hold
}

// An observer is told of events: of a loop, once it is flushed.
type observer struct {
	w      *world
	wants  func(parley.EventKind) bool
	looped bool
	told   []*peer
}

func (o *observer) Wants(kind parley.EventKind) bool { return o.wants(kind) }

func (o *observer) Fork() parley.Observer { return &observer{w: o.w, wants: o.wants, looped: true} }

func (o *observer) Flush() {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	for _, p := range o.told {
		p.public, p.overTold = p.told, p.over
	}
	o.told = o.told[:0]
}

func (o *observer) Observe(e *parley.Event) {
	if e.Session == nil {
		return
	}
	o.w.mu.Lock()
	p := o.w.peerOf(e.Session)
	o.w.mu.Unlock()
	unsent, untaken := p.Backlog()
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.observe(p, e)
	if e.Kind == parley.Closed {
		o.w.judgeEnd(p, e)
		o.w.judgeReplied(p, e, unsent, untaken)
	}
	if o.looped {
		o.told = append(o.told, p)
	} else {
		p.public, p.overTold = p.told, p.over
	}
}

func (w *world) observe(p *peer, e *parley.Event) {
	w.sees("%d: %v %d %v", p.port, e.Kind, e.Seq, e.Reason)
	if p.over {
		w.isWrong("peer %d: %v behind its end", p.port, e.Kind)
	}
	switch e.Kind {
	case parley.Refused:
		p.refused, p.excuse = true, "it was refused"
		return
	case parley.Opened:
		if p.session != nil {
			w.isWrong("peer %d is opened twice", p.port)
		}
		p.session, p.opened = e.Session, time.Now()
	case parley.Received:
		p.told++
		switch {
		case e.Seq != uint64(p.told):
			w.isWrong("peer %d: request %d is received behind %d", p.port, e.Seq, p.told-1)
		case p.told > p.whole():
			w.isWrong("peer %d: request %d is received, of which there are %d", p.port, e.Seq, p.whole())
		case p.requests[e.Seq-1].body != string(e.Body):
			w.isWrong("peer %d: request %d is received as %q", p.port, e.Seq, e.Body)
		}
	case parley.Replied:
		for next := p.replied + 1; next <= p.told && uint64(next) < e.Seq; next++ {
			if p.requests[next-1].reply != nil {
				w.isWrong("peer %d: %d is replied to before %d", p.port, e.Seq, next)
			}
		}
		switch {
		case e.Seq <= uint64(p.replied) || e.Seq > uint64(p.told):
			w.isWrong("peer %d: %d is replied to behind %d, of %d", p.port, e.Seq, p.replied, p.told)
		case p.requests[e.Seq-1].stop > p.wrote:
			w.isWrong("peer %d: %d is told as replied to before it is written", p.port, e.Seq)
		}
		p.replied = int(e.Seq)
	case parley.Closed:
		p.over, p.reason, p.ended = true, e.Reason, time.Now()
	}
	if p.session == nil {
		w.isWrong("peer %d: %v before it is opened", p.port, e.Kind)
	}
}

// judgeEnd looks whether a conversation may end as it does.
func (w *world) judgeEnd(p *peer, e *parley.Event) {
	now := time.Now()
	since := func(t time.Time) time.Duration { return now.Sub(t) }
	why := parley.CloseReason(0)
	for i := range p.requests {
		if r := &p.requests[i]; r.last && r.due <= p.read {
			why = r.why
			break
		}
	}
	may := true
	switch e.Reason {
	case parley.EndOfFile, parley.Truncated:
		may = p.closed && p.read == p.sent
	case parley.NoRequest:
		may = p.read == 0 && (p.closed || p.excuse != "")
	case parley.Reset, parley.IOError:
		may = p.excuse != ""
	case parley.IdleTimeout:
		may = max(p.quiet, p.isQuiet()) >= w.idle && since(p.thawed) >= w.idle
	case parley.FirstByteTimeout:
		may = p.read == 0 && since(e.Session.Opened()) >= w.first && since(p.opened) >= w.first-maxLate && since(p.thawed) >= w.first
	case parley.RequestTimeout:
		may = max(p.slow, p.isSlow()) >= w.req && since(p.thawed) >= w.req
	case parley.WriteTimeout:
		may = since(p.lastSent) >= w.write || since(p.owing) >= 6*w.write || p.excuse != ""
	case parley.Blank, parley.TooLong, parley.HangUp, parley.HandlerError:
		may = why == e.Reason
	case parley.Draining:
		may = w.stopping
	case parley.DrainCut, parley.ServerClosed:
		may = w.cutting
	default:
		may = false
	}
	if !may {
		w.isWrong("peer %d: it ends by %v, for which there is no reason (%v)", p.port, e.Reason, e.Err)
	}
	switch e.Reason {
	case parley.Reset, parley.IOError, parley.WriteTimeout, parley.DrainCut, parley.ServerClosed, parley.NoRequest:
		if p.excuse == "" {
			p.excuse = e.Reason.String()
		}
	}
	if e.Seq != uint64(p.told) {
		w.isWrong("peer %d: it ends with %d requests, of which %d were told", p.port, e.Seq, p.told)
	}
	if e.Out > uint64(p.wrote) || e.In > uint64(p.read) {
		w.isWrong("peer %d: it ends with %d bytes read and %d written, of %d and %d", p.port, e.In, e.Out, p.read, p.wrote)
	}
	if p.excuse == "" && e.Out != uint64(p.wrote) {
		w.isWrong("peer %d: it ends with %d bytes written, of %d", p.port, e.Out, p.wrote)
	}
	if p.excuse == "" && p.wrote < p.answered(int(e.Seq)) {
		w.isWrong("peer %d: it ends by %v and the reply to %d is not written", p.port, e.Reason, e.Seq)
	}
}

// judgeReplied looks how many requests a conversation says that it has replied to.
func (w *world) judgeReplied(p *peer, e *parley.Event, unsent, untaken int) {
	taken := p.wrote
	if e.Reason == parley.WriteTimeout && unsent > 0 && (w.observes == 0 || w.gate) { // else what was written counts
		taken -= untaken
	}
	most, least := uint64(0), uint64(0)
	for i := range p.requests[:min(len(p.requests), int(e.Seq))] {
		switch r := &p.requests[i]; {
		case r.reply == nil || r.stop > taken:
		case p.excuse == "" || r.stop <= taken-milestone && e.Reason == parley.WriteTimeout && w.observes == 0:
			most, least = uint64(i+1), uint64(i+1)
		default:
			most = uint64(i + 1)
		}
	}
	if e.Replied > most || e.Replied < least {
		w.isWrong("peer %d: it ends by %v with %d requests replied to, and was to with %d to %d", p.port, e.Reason, e.Replied, least, most)
	}
}

// answered is where the reply to request n stops.
func (p *peer) answered(n int) int {
	if n == 0 || n > len(p.requests) {
		return 0
	}
	return p.requests[n-1].stop
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
	p := &peer{mu: &w.mu, settings: w.settings, port: port, rand: rand.New(rand.NewPCG(w.seed, uint64(port))), opened: time.Now()}
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
	case pause:
		froze := time.Now()
		w.k.Freeze()
		for _, p := range w.peers {
			_, p.untaken = p.Backlog()
			if s.who&1 == 1 {
				p.speak(1 + s.much%30)
				p.got += len(p.Read(s.who))
			}
		}
		time.Sleep(timeOf(s))
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
		if p.session != nil && !p.over && p.made == p.wrote && p.untaken == 0 && !w.waits && !w.gate && since.After(w.thawed) &&
			ranOut.After(froze) && time.Since(ranOut) > maxLate+tick {
			p.thawed = time.Now()
		}
	}
	w.thawed = time.Now()
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
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		context.AfterFunc(ctx, func() {
			if ctx.Err() == context.DeadlineExceeded {
				w.mu.Lock()
				w.cutting = true
				w.mu.Unlock()
			}
		})
		err := w.srv.Shutdown(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stopErr = err
	})
}

// look is what is looked at behind each step.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		_, cut := p.State()
		if !cut || p.wasCut {
			continue
		}
		p.wasCut = true
		switch {
		case p.excuse != "" || w.cutting || p.session == nil:
		case !p.over && w.observes < 2:
			w.isWrong("peer %d is reset in the middle of its conversation", p.port)
		case w.observes < 2 && time.Since(p.ended) < linger && p.got < p.wrote:
			w.isWrong("peer %d is reset before it can have read its last replies", p.port)
		}
		if p.excuse == "" {
			p.excuse = "it was reset"
		}
	}
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

// judge looks at what peers have that read all that they got.
func (w *world) judge(atEnd bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		ended, _ := p.State()
		switch {
		case p.excuse != "" || w.cutting || p.session == nil && w.observes < 2 && (w.stopping || w.acceptEx):
		case w.observes == 2 && (w.stopping || atEnd): // nobody has said how it ended
		case w.stopping && p.reason == parley.Draining && p.got < p.toldStop:
			w.isWrong("peer %d got %d bytes of replies, and is owed %d to what was read before the server stopped", p.port, p.got, p.toldStop)
		case p.got < p.answered(p.told),
			!w.stopping && !p.over && w.observes < 2 && p.got < p.owed(true),
			!w.stopping && p.reason == parley.EndOfFile && p.got < p.owed(true):
			w.isWrong("peer %d got %d bytes of replies, and is owed %d", p.port, p.got, p.owed(true))
		case atEnd && !ended:
			w.isWrong("peer %d sees no end of file", p.port)
		}
		if p.got > p.wrote {
			w.isWrong("peer %d got %d bytes, of %d written", p.port, p.got, p.wrote)
		}
	}
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

// atLast looks at what is left.
func (w *world) atLast() {
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
	for _, p := range w.peers {
		if w.observes < 2 && p.session != nil && !p.over {
			w.isWrong("peer %d: its end is never told", p.port)
		}
	}
}
