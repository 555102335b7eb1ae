package tap

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
)

const readSize = 32 << 10 // of one read; a pair has two buffers

// A pair of goroutines passes a session on, one each direction. Any connection will do, and
// whoever is told may block.
type pair struct {
	*session
	ending     chan struct{} // closed when it is decided why the session ends
	endOnce    sync.Once
	inspecting chan struct{} // taken by the direction whose bytes are told and recorded
}

func newPair(s *session) *pair {
	s.requests.done, s.replies.done = make(chan struct{}), make(chan struct{})
	return &pair{session: s, ending: make(chan struct{}), inspecting: make(chan struct{}, 1)}
}

func (p *pair) wake() {
	if p.end.Load() != nil {
		p.endOnce.Do(func() { close(p.ending) })
	}
}

// passBoth passes both directions on until the session has ended, one way or the other.
func (p *pair) passBoth() {
	p.drivenBy(p)
	var passing sync.WaitGroup
	passing.Go(func() { p.pass(&p.requests) })
	passing.Go(func() { p.pass(&p.replies) })
	if program := p.program.Load(); program != nil {
		passing.Go(func() { p.awaitProgram(*program) })
	}
	<-p.ending
	end := p.end.Load()
	if end.peer != nil {
		p.passRest(end)
	}
	if end.last == nil {
		p.client.conn.SetDeadline(longAgo)
		p.server.conn.SetDeadline(longAgo)
	}
	passing.Wait()
}

// awaitProgram ends the session when the program has, and all that it said is passed on.
func (p *pair) awaitProgram(program Program) {
	for _, over := range []<-chan struct{}{p.replies.done, program.Ended()} {
		select {
		case <-over:
		case <-p.ending:
			return
		}
	}
	reason := parley.HangUp
	if p.tap.stopped() {
		reason = parley.Draining
	}
	p.endWith(&ending{reason: reason, order: true})
}

// pass passes one direction on. Its bytes are looked at before they are passed on, so
// that a request is told of before its reply can be. When nobody takes them any more, they
// are still read and told of, until there are no more or the session ends.
func (p *pair) pass(d *direction) {
	defer close(d.done)
	defer p.note(d, ended)
	buf := make([]byte, readSize)
	for {
		p.note(d, reading)
		n, err := d.from.conn.Read(buf)
		p.note(d, working)
		if n > 0 {
			p.inspectInTurn(d, buf[:n], false)
			p.write(d, buf[:n])
		}
		if err != nil {
			p.stopReading(d, err)
			return
		}
	}
}

// inspectInTurn inspects bytes of one direction while nothing of the other is.
func (p *pair) inspectInTurn(d *direction, b []byte, eof bool) {
	p.inspecting <- struct{}{}
	p.inspect(d, b, eof)
	<-p.inspecting
}

// stopReading ends a direction of which nothing more is to be had. What TLS has announced is an
// end whatever becomes of the connection: many close it with bytes unread that TLS has sent.
func (p *pair) stopReading(d *direction, err error) {
	d.cutShort = errors.Is(err, parley.ErrTruncated) || d.from.complains(err)
	isEnd := err == io.EOF || d.cutShort
	isAnnounced := d.from.secure && !d.cutShort
	isStopped := d == &p.requests && errors.Is(err, os.ErrDeadlineExceeded) && p.tap.stopped()
	switch {
	case isStopped && p.program.Load() != nil && p.end.Load() == nil:
		p.passEnd(d)
	case isEnd && !isAnnounced && d.from.isReset():
		p.breakBy(d.from, syscall.ECONNRESET)
	case isEnd:
		p.endDirection(d)
	default:
		p.breakBy(d.from, err)
	}
}

func (p *pair) write(d *direction, b []byte) {
	if d.stopped {
		return
	}
	p.note(d, writing)
	d.to.sent.Store(true)
	if _, err := d.to.conn.Write(b); err != nil {
		d.stopped = true
		p.breakBy(d.to, err)
		return
	}
	p.notePassed(d)
}

// endDirection passes an end of file on. The second one ends the session, which is told
// before anybody can see it.
func (p *pair) endDirection(d *direction) {
	p.inspectInTurn(d, nil, true)
	p.notePassed(d)
	switch end := p.countEnd(d); {
	case end != nil:
		p.endWith(end)
	case p.end.Load() == nil:
		if err := p.passEnd(d); err != nil && d.to.secure {
			p.breakBy(d.to, err)
		}
	}
}

// passEnd passes the end of a direction on as it came. What TLS has not announced it is not to
// announce to the other either.
func (p *pair) passEnd(d *direction) error {
	d.to.halfClosed.Store(true)
	if d.cutShort {
		d.to.cutOff.Store(true)
		return closeWrite(d.to.socket)
	}
	if d.to.secure {
		p.note(d, writing)
		if err := awaitRoom(d.to.socket); err != nil {
			return err
		}
	}
	return closeWrite(d.to.conn)
}

// passRest waits until all that the peer whose connection broke had said is told, and, for as
// long as a second, until the other has taken it. While the gate holds the session the
// second stands still.
func (p *pair) passRest(end *ending) {
	d := p.rest(end)
	to := d.to
	end.peer.conn.SetWriteDeadline(longAgo) // it is sent nothing any more
	done := d.done
	pause := time.Millisecond
	for waited := time.Duration(0); waited < restTime && (done != nil || to.unsent() > 0); {
		pause = min(pause, restTime-waited)
		select {
		case <-done:
			done = nil
			continue
		case <-time.After(pause):
		case <-p.ctx.Done():
			return
		}
		if doing, _ := d.activity.get(); doing != working {
			waited += pause
		}
		pause = min(2*pause, maxRestPause)
	}
	to.conn.SetWriteDeadline(longAgo)
	if !end.isGone() {
		end.peer.conn.SetReadDeadline(longAgo) // it may be alive, and have more to say
	}
	select {
	case <-d.done:
	case <-p.ctx.Done():
	}
}
