package web

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	maxStreams  = 32               // browsers at once
	streamQueue = 16               // messages that wait for a browser: four seconds
	writeWithin = 10 * time.Second // else the browser is hung up on; it comes again
	farewell    = time.Second      // for browsers to take what is under way at the end
	comeAgain   = "retry: 1000\n"  // ms after which a browser that lost the server looks for it
)

// A hello is what a browser is told first.
type hello struct {
	Server    string      `json:"server"`
	Started   int64       `json:"started"` // µs since 1970
	Totals    totals      `json:"totals"`
	Points    []point     `json:"points"`
	Exchanges []*exchange `json:"exchanges"`
	Sessions  []session   `json:"sessions"`
}

// News are what a browser is told then, once a tick at most.
type news struct {
	Totals    totals      `json:"totals"`
	Exchanges []*exchange `json:"exchanges,omitempty"`
	LeftOut   uint64      `json:"left_out,omitempty"` // since the last news
	Point     *point      `json:"point,omitempty"`    // of the second that has ended
	Sessions  []session   `json:"sessions,omitempty"` // all that are told
}

// A stream is one browser that is told what is new.
type stream struct {
	queue   chan message
	skipped uint64 // exchanges in the messages there was no room for
}

// A message is news in JSON.
type message struct {
	skipped uint64 // exchanges that are missing before it
	news    []byte
}

// Serve answers browsers on l, which it closes, until ctx ends. No browser keeps it from
// returning. The error is the listener's; nil if it was ctx.
func (p *Page) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: writeWithin, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case now := <-ticker.C:
			p.tick(now, n%ticksPerSecond == 0)
		case err := <-served:
			p.endStreams()
			return err
		case <-ctx.Done():
			p.endStreams()
			patience, cancel := context.WithTimeout(context.Background(), farewell)
			defer cancel()
			if srv.Shutdown(patience) != nil {
				srv.Close()
			}
			<-served
			return nil
		}
	}
}

// tick tells every browser what is new, and lets some more exchanges be kept.
func (p *Page) tick(now time.Time, second bool) {
	p.room.Store(min(burst, max(0, p.room.Load())+refill))
	p.mu.Lock()
	p.stride.Store(max(1, (p.memory.totals.Requests-p.memory.told)/refill))
	n, some := p.memory.news(now, second)
	var listeners []*stream
	for s := range p.streams {
		listeners = append(listeners, s)
	}
	p.mu.Unlock()
	if !some || len(listeners) == 0 {
		return
	}
	text, _ := json.Marshal(n) // numbers, strings and bytes: it cannot fail
	for _, s := range listeners {
		s.tell(text, uint64(len(n.Exchanges))+n.LeftOut)
	}
}

// tell queues news about so many exchanges; they are skipped where there is no room.
func (s *stream) tell(news []byte, exchanges uint64) {
	select {
	case s.queue <- message{s.skipped, news}:
		s.skipped = 0
	default:
		s.skipped += exchanges
	}
}

// news is what was remembered since the last time, if there is some.
func (m *memory) news(now time.Time, second bool) (n news, some bool) {
	n = news{Totals: m.totals, Exchanges: m.fresh, LeftOut: m.totals.LeftOut - m.leftOut}
	if second {
		n.Point = m.endSecond(now)
	}
	if second || m.moved {
		n.Sessions = m.lastSessions()
	}
	some = second || m.moved || len(n.Exchanges) > 0 || n.LeftOut > 0
	m.fresh, m.leftOut, m.told, m.moved = nil, m.totals.LeftOut, m.totals.Requests, false
	return n, some
}

// beginStream enters a browser, and returns what it is told first. It is nil if there is no
// room for one more.
func (p *Page) beginStream() (*stream, hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || len(p.streams) >= maxStreams {
		return nil, hello{}
	}
	s := &stream{queue: make(chan message, streamQueue)}
	p.streams[s] = struct{}{}
	m := &p.memory
	return s, hello{
		Server: p.opt.Server, Started: p.started.UnixMicro(), Totals: m.totals, Sessions: m.lastSessions(),
		Points: append([]point{}, m.points...), Exchanges: m.beforeNews(toldExchanges),
	}
}

func (p *Page) endStream(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams, s)
}

// endStreams hangs up on every browser.
func (p *Page) endStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.ending)
	}
}

// serveEvents tells a browser what is new until either of them goes: server-sent events.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	s, first := p.beginStream()
	if s == nil {
		http.Error(w, "too many browsers are watching", http.StatusServiceUnavailable)
		return
	}
	defer p.endStream(s)
	w.Header().Set("Content-Type", "text/event-stream")
	text, _ := json.Marshal(first)
	if r.Method == http.MethodHead || write(w, appendEvent([]byte(comeAgain), "hello", text)) != nil {
		return
	}
	for {
		select {
		case m := <-s.queue:
			var events []byte
			if m.skipped > 0 {
				events = appendEvent(events, "skipped", strconv.AppendUint(nil, m.skipped, 10))
			}
			if write(w, appendEvent(events, "news", m.news)) != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-p.ending:
			return
		}
	}
}

// appendEvent appends one event. JSON has no newline in it.
func appendEvent(dst []byte, name string, data []byte) []byte {
	dst = append(append(dst, "event: "...), name...)
	dst = append(append(dst, "\ndata: "...), data...)
	return append(dst, "\n\n"...)
}

// write sends to a browser at once, or finds that it does not read.
func write(w http.ResponseWriter, text []byte) error {
	c := http.NewResponseController(w)
	c.SetWriteDeadline(time.Now().Add(writeWithin)) // what has no deadlines is a test's
	if _, err := w.Write(text); err != nil {
		return err
	}
	return c.Flush()
}
