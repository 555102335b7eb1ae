//go:build linux && simulate

package simulation

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
)

// Received is called when the server has read.
func (w *world) Received(port, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peerAt(port)
	w.sees("%d: %d bytes are read", port, n)
	isOver := p.isOver() || p.over || w.stopping || p.excuse != "" || w.maxHeld > 0 // who is ended for memory
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
	p.lastRead = simkernel.Now()
	if before == 0 {
		p.firstRead = p.lastRead
	}
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
	p.lastSent = simkernel.Now()
	if p.session == nil && w.refuses(from, b) {
		p.refused, p.excuse = true, "it was refused"
		return
	}
	if n := w.isOutOfMemory(p, from, b); n > 0 {
		p.excuse = "it was ended for memory"
		if b = b[:len(b)-n]; len(b) == 0 {
			return
		}
	}
	to := from + len(b)
	for i := range p.requests {
		r := &p.requests[i]
		if r.stop <= from || r.start >= to {
			continue
		}
		lo, hi := max(r.start, from), min(r.stop, to)
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
		case w.journal != nil && !isText && !w.journal.mayAnswer(p, i+1):
			w.isWrong("peer %d gets a reply to its request %d, which is not recorded", port, i+1)
		}
	}
	stop := p.spoke()
	if n := len(p.requests); n > 0 {
		stop = max(stop, p.requests[n-1].stop)
	}
	for _, s := range p.words {
		lo, hi := max(s.start, from), min(s.start+len(s.text), to)
		if lo < hi && string(b[lo-from:hi-from]) != string(s.text[lo-s.start:hi-s.start]) {
			w.isWrong("peer %d gets %q, which is not %q, of a word", port, b[lo-from:hi-from], s.text[lo-s.start:hi-s.start])
		}
	}
	if to > stop {
		w.isWrong("peer %d gets %q, which is no reply to what it has said", port, b)
	}
}

// isOutOfMemory is how many of these bytes from there on are of the text to whom is ended for memory: it comes behind
// all replies that were made, and is not the other text that may come there.
func (w *world) isOutOfMemory(p *peer, from int, b []byte) int {
	text := frame(w.framing, "Error: server is out of memory for requests")
	part := b[min(len(b), max(0, p.made-from)):]
	at := max(0, from-p.made)
	if w.maxHeld < 0 || at+len(part) > len(text) || string(text[at:at+len(part)]) != string(part) {
		return 0
	}
	for i := range p.requests {
		if r := &p.requests[i]; r.why == parley.TooLong && r.start == p.made && r.due <= p.read && bytes.HasPrefix(r.reply[min(at, len(r.reply)):], part) {
			return 0
		}
	}
	return len(part)
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
	case f.Call == simkernel.SyncCall:
		w.journal.gone = true
	case f.Call == simkernel.AcceptCall:
		w.acceptEx = true
		return
	case f.Errno == 0 || f.Errno == syscall.EINTR || f.Errno == syscall.EAGAIN:
		return
	}
	if port != 0 && (f.Call != simkernel.UserTimeout || w.peerAt(port).excuse == "") {
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
	p.nothing = false
	if unsent := p.made - p.wrote; unsent >= w.maxUnsent && !w.speaks { // a request has a turn with what is said
		w.isWrong("peer %d is owed %d bytes and a reply more is made", p.port, unsent)
	}
	var slow chan struct{}
	if kind := kindOf(body); kind == 's' || kind == 'w' {
		slow = make(chan struct{})
		w.slow = append(w.slow, slow)
	}
	if p.made == p.wrote {
		p.owing = simkernel.Now()
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

// A speaker is a world whose handler says words too.
type speaker struct{ *world }

func (w speaker) Speak(dst []byte, s *parley.Session, now time.Time) (message []byte, again time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peerOf(s)
	chosen := rand.New(rand.NewPCG(uint64(p.port), uint64(p.asked)))
	p.asked++
	switch unsent := p.made - p.wrote; {
	case p.nothing && (p.again.IsZero() || simkernel.Now().Before(p.again)):
		w.isWrong("peer %d is to be told something at %v, which nobody asked for before %v", p.port, simkernel.Since(w.began), p.again.Sub(w.began))
	case unsent >= w.maxUnsent && (w.observes < 2 || w.gate):
		w.isWrong("peer %d is owed %d bytes and is to be told something more", p.port, unsent)
	}
	p.again, p.nothing = time.Time{}, chosen.IntN(3) > 0
	if chosen.IntN(3) == 0 {
		p.again = now.Add(times[chosen.IntN(6)])
	}
	if p.nothing {
		return nil, p.again, nil
	}
	text := fmt.Sprintf("word %d.%d", p.port, p.asked)
	if chosen.IntN(10) == 0 {
		text += pad(w.large)
	}
	if p.made == p.wrote {
		p.owing = simkernel.Now()
	}
	p.hears(frame(w.framing, text))
	w.sees("%d: it is told %.20q", p.port, text)
	return append(dst, text...), p.again, nil
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
	if w.journal != nil {
		defer w.mu.Unlock()
		return w.journal.pass(s, batch)
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
		p.session, p.opened = e.Session, simkernel.Now()
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
		p.over, p.reason, p.ended = true, e.Reason, simkernel.Now()
	}
	if p.session == nil {
		w.isWrong("peer %d: %v before it is opened", p.port, e.Kind)
	}
}
