//go:build linux && simulate

package simulation

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
)

// gaveUp is the excuse of who has acknowledged nothing for too long.
var gaveUp = fmt.Sprintf("%s failed: %v", simkernel.UserTimeout, syscall.ETIMEDOUT)

// judgeEnd looks whether a conversation may end as it does.
func (w *world) judgeEnd(p *peer, e *parley.Event) {
	now := simkernel.Now()
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
	case parley.Reset:
		may = p.excuse != ""
	case parley.IOError:
		may = p.excuse != "" && p.excuse != gaveUp
	case parley.IdleTimeout:
		may = max(p.quiet, p.isQuiet()) >= w.idle && since(p.thawed) >= w.idle
	case parley.FirstByteTimeout:
		// What comes behind that, while it has yet to take what it was told, is dropped.
		may = (p.read == 0 || p.firstRead.Sub(p.opened) >= w.first) && since(e.Session.Opened()) >= w.first && since(p.opened) >= w.first-maxLate && since(p.thawed) >= w.first
	case parley.RequestTimeout:
		may = max(p.slow, p.isSlow()) >= w.req && since(p.thawed) >= w.req
	case parley.WriteTimeout:
		may = since(p.lastSent) >= w.write || since(p.owing) >= 6*w.write || p.excuse != ""
	case parley.Blank, parley.TooLong, parley.HangUp, parley.HandlerError:
		may = why == e.Reason
	case parley.Memory:
		may = w.maxHeld > 0
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
	case parley.Reset, parley.IOError, parley.WriteTimeout, parley.Memory, parley.DrainCut, parley.ServerClosed, parley.NoRequest:
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
	if e.Reason == parley.WriteTimeout && w.cutting { // it may have been hung up on since: what it had not taken is gone
		return
	}
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

// look is what is looked at behind each step.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if least := w.held(); w.maxHeld > 0 && int64(least) > w.maxHeld {
		w.isWrong("%d bytes of requests and replies at least are held, of %d", least, w.maxHeld)
	}
	for _, p := range w.peers {
		if late := simkernel.Since(p.again); !p.again.IsZero() && late > 2*tick && simkernel.Since(w.thawed) > 2*tick && w.owesWords(p) {
			w.isWrong("peer %d is not told what it was to be %v ago", p.port, late)
		}
		if p.asked > 0 && !p.nothing && w.owesWords(p) && min(simkernel.Since(p.lastSent), simkernel.Since(w.thawed)) > 2*tick {
			w.isWrong("peer %d was told something, or replied to, and there may be more to tell", p.port)
		}
		if p.Unacknowledged() > 6*w.write+2*tick && w.observes < 2 && p.session != nil && !p.over && !w.gate && !w.waits && simkernel.Since(w.thawed) > 2*tick {
			w.isWrong("peer %d has acknowledged nothing for %v, and is not given up", p.port, p.Unacknowledged())
		}
		_, cut := p.State()
		if !cut || p.wasCut {
			continue
		}
		p.wasCut = true
		switch {
		case p.excuse != "" || w.cutting || p.session == nil:
		case !p.over && w.observes < 2:
			w.isWrong("peer %d is reset in the middle of its conversation", p.port)
		case w.observes < 2 && simkernel.Since(p.ended) < linger && p.got < p.wrote:
			w.isWrong("peer %d is reset before it can have read its last replies", p.port)
		}
		if p.excuse == "" {
			p.excuse = "it was reset"
		}
	}
}

// owesWords reports whether nothing is in the way of what the handler wants to say to a peer.
func (w *world) owesWords(p *peer) bool {
	return p.session != nil && w.observes < 2 && p.made == p.wrote && p.excuse == "" && !p.over && !p.isOver() && !p.closed && !w.gate && !w.waits && !w.stopping
}

// held is how much at least is held for peers: replies that are made, and requests that are not whole.
func (w *world) held() (bytes int) {
	for _, p := range w.peers {
		if p.session == nil || p.over || p.excuse != "" || w.waits || p.held > 0 || w.journal != nil { // by the gate, perhaps with its last text
			continue
		}
		bytes += max(0, p.made-p.wrote)
		if !p.isOver() && !p.isCut() && !w.ranOut(p) && !w.stopping {
			bytes += max(0, p.read-p.boundary())
		}
	}
	return bytes
}

// isCut says whether the last request was handled that the end of its bytes has ended.
func (p *peer) isCut() bool {
	last := len(p.requests) - 1
	return last >= 0 && p.requests[last].cut && p.handled > last
}

// ranOut says whether one of its clocks may have: what it says then is dropped, while it has yet to take what it was told.
func (w *world) ranOut(p *peer) bool {
	return max(p.slow, p.isSlow()) >= w.req || max(p.quiet, p.isQuiet()) >= w.idle || p.read > 0 && p.firstRead.Sub(p.opened) >= w.first
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
