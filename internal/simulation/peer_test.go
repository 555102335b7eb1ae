//go:build linux && simulate

package simulation

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/simkernel"
)

// A peer is one that talks to the server, with all that it may expect.
type peer struct {
	*simkernel.Peer
	mu       *sync.Mutex // the world's, which the kernel takes
	settings *settings
	port     int
	rand     *rand.Rand

	// What it says.
	pending  []byte // made up, and not sent
	sent     int    // bytes
	requests []request
	closed   bool // its writing half

	// What it has, and what became of it.
	got       int
	excuse    string // why it may get less than it is owed; "" if it may not
	gone      bool   // closed or reset by itself
	wasCut    bool
	refused   bool
	session   *parley.Session
	read      int // by the server, of what was sent
	wrote     int // by the server
	made      int // bytes of replies, by its handler, and of words
	words     []word
	asked     int       // how often the handler was asked for words
	again     time.Time // when it wants to be next; zero if not
	nothing   bool      // it had none, and no reply has come since
	handled   int       // requests, by its handler
	told      int       // as received
	public    int       // of them, those whose events were flushed
	replied   int       // the last one told as replied
	passed    int       // that the gate was asked about
	held      int       // batches, by the gate
	over      bool      // told as closed
	overTold  bool      // and that was flushed
	reason    parley.CloseReason
	opened    time.Time
	lastRead  time.Time // by the server
	firstRead time.Time
	lastSent  time.Time
	owing     time.Time     // since when it is owed something
	began     time.Time     // when it read the first byte of a request that is not whole; zero if there is none
	quiet     time.Duration // how long nothing was read and written at most: a conversation may be over before that is told
	slow      time.Duration // how long a request was not whole
	ended     time.Time     // when it was told as closed
	untaken   int           // bytes that it had not taken when the process was stopped last
	late      bool          // one of its clocks may have run out before the last pause
	thawed    time.Time     // when a pause of the process was over by which its clocks had run out
	toldStop  int           // bytes of replies that it was owed when the server was stopped
}

// A word is what the handler has said unasked.
type word struct {
	start int // in all that is to be got
	text  []byte
}

// spoke is where its last word stops.
func (p *peer) spoke() int {
	if len(p.words) == 0 {
		return 0
	}
	last := p.words[len(p.words)-1]
	return last.start + len(last.text)
}

// hears notes a word, which comes before the replies to all that was not handled.
func (p *peer) hears(text []byte) {
	p.words = append(p.words, word{p.made, text})
	p.made += len(text)
	for i := p.handled; i < len(p.requests); i++ {
		p.requests[i].start += len(text)
		p.requests[i].stop += len(text)
	}
}

// A request is one of a peer, with the reply that it has to get.
type request struct {
	body  string
	from  int // where it begins in what is sent
	end   int // and ends
	due   int // with how much of it read it may be answered
	reply []byte
	start int // of the reply, in all that is to be got
	stop  int
	cut   bool // the end of file ends it
	last  bool // the conversation is over behind it
	why   parley.CloseReason
}

// answer is what the handler says to a request, and how.
func answer(body string, most int) (text string, err error) {
	switch kind := kindOf(body); kind {
	case 'q':
		return "", parley.ErrNoReply
	case 'h':
		return "bye " + body, parley.ErrHangUp
	case 'e':
		return "", errHandler
	case 'l':
		return fmt.Sprintf("%s:%0*d", body, most, 7), nil
	default:
		return "re:" + body, nil
	}
}

func kindOf(body string) byte {
	if body == "" {
		return 0
	}
	return body[0]
}

var errHandler = fmt.Errorf("the handler fails")

// say makes a request up and appends it to what is to be sent.
func (p *peer) say() {
	s := p.settings
	kinds := "nnnnnnnnnnnnnnnnllqq"
	if s.waits {
		kinds += "ssww" // slow ones
	}
	body := fmt.Sprintf("%c%d.%d", kinds[p.rand.IntN(len(kinds))], p.port, len(p.requests)+1)
	switch p.rand.IntN(100) {
	case 0:
		body = "h" + body
	case 1:
		body = "e" + body
	case 2:
		body = "p" + body // panics
	case 3:
		body = "" // blank
	case 4:
		body += pad(s.maxRequest + 1 - len(body))
	case 5, 6, 7, 8:
		body += pad(s.maxRequest - len(body)) // the longest there may be
	case 9, 10, 11, 12, 13, 14, 15:
		body += pad(p.rand.IntN(s.maxRequest - len(body)))
	}
	p.pending = append(p.pending, frame(s.framing, body)...)
	p.add(body, p.sent+len(p.pending))
}

func pad(n int) string {
	text := make([]byte, max(0, n))
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	return string(text)
}

func frame(f parley.Framing, body string) []byte {
	framed, err := f.End(append(f.Begin(nil), body...), 0)
	if err != nil {
		panic(err)
	}
	return framed
}

// add works out what a request is to get.
func (p *peer) add(body string, end int) {
	from, start, over := 0, 0, false
	if n := len(p.requests); n > 0 {
		before := &p.requests[n-1]
		from, start, over = before.end, before.stop, before.last
	}
	start = max(start, p.spoke())
	r := request{body: body, from: from, end: end, due: end, start: start, stop: start}
	framed := func(text string) {
		r.reply = frame(p.settings.framing, text)
		r.stop += len(r.reply)
	}
	switch {
	case over:
		r.last, r.due, r.why = true, 1<<62, p.requests[len(p.requests)-1].why
	case len(body) > p.settings.maxRequest:
		framed(fmt.Sprintf("Error: request longer than %d bytes", p.settings.maxRequest))
		r.due, r.last, r.why = from+1, true, parley.TooLong
	case body == "" && !p.settings.keepBlank:
		r.last, r.why = true, parley.Blank
	default:
		text, err := answer(body, p.settings.large)
		switch {
		case kindOf(body) == 'p' || err == errHandler:
			r.last, r.why = true, parley.HandlerError
		case err == parley.ErrNoReply:
		case err == parley.ErrHangUp:
			framed(text)
			r.last, r.why = true, parley.HangUp
		default:
			framed(text)
		}
	}
	p.requests = append(p.requests, r)
}

// speak sends n bytes.
func (p *peer) speak(n int) {
	if !p.closed {
		p.Send(p.prepare(n))
	}
}

func (p *peer) prepare(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.pending) < n {
		p.say()
	}
	said := p.pending[:n]
	p.pending = p.pending[n:]
	p.sent += n
	return said
}

// end sends its end of file. An unfinished line is a request by that.
func (p *peer) end() {
	if p.closed {
		return
	}
	p.Send(p.endsAt())
	p.closed = true
	p.CloseWrite()
}

// endsAt leaves off what it has not begun to say, and returns what it has to say before its end of file.
func (p *peer) endsAt() (last []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	unsent := len(p.requests)
	for unsent > 0 && p.requests[unsent-1].end > p.sent {
		unsent--
	}
	if unsent < len(p.requests) {
		cut := p.requests[unsent]
		if cut.why == parley.TooLong && p.settings.framing != parley.Lines && p.sent > cut.from {
			last = p.pending[:cut.end-p.sent] // it may be known for what it is already
			p.sent, cut.from = cut.end, cut.end
			unsent++
		}
		p.requests = p.requests[:unsent]
		if begun := p.sent - cut.from; begun > 0 && p.settings.framing == parley.Lines {
			p.add(cut.body[:min(begun, len(cut.body))], p.sent)
			p.requests[unsent].cut = true
		}
	}
	return last
}

// owed is how many bytes of replies it is to get for what the server has read so far, at the end of which it
// may have read the end of file.
func (p *peer) owed(atEnd bool) (bytes int) {
	for i := range p.requests {
		if p.requests[i].end <= p.read && (atEnd || !p.requests[i].cut) {
			bytes = p.requests[i].stop
		}
	}
	return bytes
}

// whole is how many requests of what was read so far are whole, and received as such. Of a peer that has
// gone the handler does not say where the conversation would have ended.
func (p *peer) whole() (n int) {
	for i := range p.requests {
		r := &p.requests[i]
		if r.end <= p.read && (r.due < 1<<62 || p.excuse != "") && r.why != parley.TooLong && r.why != parley.Blank {
			n++
		}
	}
	return n
}

// isOver reports whether the conversation is to end by what was said.
func (p *peer) isOver() bool {
	for i := range p.requests {
		if p.requests[i].last && p.requests[i].due <= p.read {
			return true
		}
	}
	return false
}

// boundary is where the last request ends that is whole.
func (p *peer) boundary() (end int) {
	for i := range p.requests {
		if p.requests[i].end <= p.read && !p.requests[i].cut {
			end = p.requests[i].end
		}
	}
	return end
}

// isQuiet is for how long nothing was read or written.
func (p *peer) isQuiet() time.Duration {
	return min(simkernel.Since(p.lastRead), simkernel.Since(p.lastSent))
}

// isSlow is for how long a request has not been whole.
func (p *peer) isSlow() time.Duration {
	if p.began.IsZero() {
		return 0
	}
	return simkernel.Since(p.began)
}
