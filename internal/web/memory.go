package web

import (
	"cmp"
	"container/list"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/journal"
)

// How much the memory of a page holds.
const (
	maxExchanges = 2000
	maxOver      = 500 // sessions that are over
	maxPoints    = 300 // seconds in the charts
	maxBody      = 1 << 10
	maxStoryBody = 16 << 10 // of what a History remembers
)

// How much of it a browser is told at once: more is too much to read.
const (
	toldExchanges = 200
	toldOpen      = 100
	toldOver      = 20
	toldStory     = 500 // exchanges of one session
)

// A body is a message: its first bytes, and how many it has.
type body struct {
	Bytes int    `json:"bytes"`
	Start []byte `json:"start"`
}

// bodyOf keeps the first bytes of p, which may leave out some itself, and nothing of no
// message.
func bodyOf(p []byte, cut uint64, most int) *body {
	if p == nil {
		return nil
	}
	return &body{len(p) + int(cut), append([]byte{}, p[:min(len(p), most)]...)}
}

// An exchange is one request and its reply.
type exchange struct {
	Session uint64        `json:"session"`
	Seq     uint64        `json:"seq"`
	At      int64         `json:"at"`      // µs since 1970, when the request was there
	Took    time.Duration `json:"took"`    // ns
	Request *body         `json:"request"` // null if there was none
	Reply   *body         `json:"reply"`   // null if there was none
}

// A session is one conversation. What it counts is exact.
type session struct {
	Number   uint64 `json:"number"`
	Remote   string `json:"remote"`
	Local    string `json:"local"`
	Opened   int64  `json:"opened"` // µs since 1970
	Closed   int64  `json:"closed"` // 0 while it is open
	Last     int64  `json:"last"`   // when something came or went
	Reason   string `json:"reason"`
	Requests uint64 `json:"requests"`
	In       uint64 `json:"in"` // bytes of requests; once it is closed, of all that was read
	Out      uint64 `json:"out"`

	place *list.Element // among the open ones
}

// totals count from the start.
type totals struct {
	Open     int    `json:"open"`
	Sessions uint64 `json:"sessions"`
	Requests uint64 `json:"requests"`
	Replies  uint64 `json:"replies"`
	Refused  uint64 `json:"refused"`
	LeftOut  uint64 `json:"left_out"` // requests that were counted and not kept
}

// A point is one second in the charts.
type point struct {
	At       int64         `json:"at"` // s since 1970
	Requests uint64        `json:"requests"`
	P50      time.Duration `json:"p50"` // ns; 0 if there was no reply, like the other two
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
}

// A memory is what a page has seen: all of it counted, the last of it kept.
type memory struct {
	totals   totals
	sessions map[uint64]*session // open, and over lately
	open     *list.List          // of *session, the newest last
	over     []*session          // the newest last

	exchanges []*exchange // a ring once it is full
	oldest    int         // where it begins

	took    histogram   // of this second's replies
	second  uint64      // requests before this second
	points  []point     // the newest last
	fresh   []*exchange // since the last tick
	leftOut uint64      // before the last tick
	told    uint64      // requests before the last tick
	moved   bool        // sessions came or went since then
}

func newMemory() memory {
	return memory{sessions: make(map[uint64]*session), open: list.New()}
}

// opened begins a session.
func (m *memory) opened(e *parley.Event) {
	s := &session{
		Number: e.Session.Number(),
		Remote: string(e.Session.AppendRemote(nil)),
		Local:  string(e.Session.AppendLocal(nil)),
		Opened: e.Time.UnixMicro(),
		Last:   e.Time.UnixMicro(),
	}
	s.place = m.open.PushBack(s)
	m.sessions[s.Number] = s
	m.totals.Open++
	m.totals.Sessions++
	m.moved = true
}

// add counts what came and went.
func (m *memory) add(t *tally) {
	m.totals.Requests += t.requests
	m.totals.Replies += t.replies
	s := m.sessions[t.session.Number()]
	s.Requests += t.requests
	s.In += t.in
	s.Out += t.out
	s.Last = t.last.UnixMicro()
}

// keep remembers an exchange in the place of the oldest one.
func (m *memory) keep(x *exchange) {
	if len(m.exchanges) < maxExchanges {
		m.exchanges = append(m.exchanges, x)
	} else {
		m.exchanges[m.oldest] = x
		m.oldest = (m.oldest + 1) % maxExchanges
	}
	m.fresh = append(m.fresh, x)
}

// ended closes a session, or counts one that was refused.
func (m *memory) ended(e *parley.Event) {
	if e.Kind == parley.Refused {
		m.totals.Refused++
		return
	}
	s := m.sessions[e.Session.Number()]
	s.Closed = e.Time.UnixMicro()
	s.Last, s.Reason = s.Closed, e.Reason.String()
	s.In, s.Out = e.In, e.Out
	m.open.Remove(s.place)
	m.totals.Open--
	m.moved = true
	if m.over = append(m.over, s); len(m.over) > maxOver {
		delete(m.sessions, m.over[0].Number)
		m.over[0] = nil
		m.over = m.over[1:]
	}
}

// last returns the last most exchanges that are wanted, in order.
func (m *memory) last(most int, wanted func(*exchange) bool) []*exchange {
	found := []*exchange{}
	for i := len(m.exchanges) - 1; i >= 0 && len(found) < most; i-- {
		if x := m.exchanges[(m.oldest+i)%len(m.exchanges)]; wanted(x) {
			found = append(found, x)
		}
	}
	slices.Reverse(found)
	return found
}

// beforeNews returns the last most exchanges without those that are still to be told.
func (m *memory) beforeNews(most int) []*exchange {
	fresh := len(m.fresh)
	return m.last(most, func(*exchange) bool { fresh--; return fresh < 0 })
}

// lastSessions returns the newest of the open ones and of those that are over, the newest
// first.
func (m *memory) lastSessions() []session {
	told := make([]session, 0, toldOpen+toldOver)
	for at := m.open.Back(); at != nil && len(told) < toldOpen; at = at.Prev() {
		told = append(told, *at.Value.(*session))
	}
	// Loops tell of their sessions in turn: that is only nearly the order of their numbers.
	slices.SortFunc(told, func(a, b session) int { return cmp.Compare(b.Number, a.Number) })
	for _, s := range slices.Backward(m.over[max(0, len(m.over)-toldOver):]) {
		told = append(told, *s)
	}
	return told
}

// endSecond adds a point to the charts.
func (m *memory) endSecond(now time.Time) *point {
	p := point{At: now.Unix(), Requests: m.totals.Requests - m.second}
	p.P50, p.P99, p.Max = m.took.quantiles()
	m.took, m.second = histogram{}, m.totals.Requests
	if len(m.points) == maxPoints {
		m.points = append(m.points[:0], m.points[1:]...)
	}
	m.points = append(m.points, p)
	return &p
}

// A story is one session with its exchanges, as far as they are remembered.
type story struct {
	Session   session     `json:"session"`
	Exchanges []*exchange `json:"exchanges"`
}

func (m *memory) story(number uint64) (story, error) {
	s, known := m.sessions[number]
	if !known {
		return story{}, fmt.Errorf("session %d: %w", number, fs.ErrNotExist)
	}
	return story{*s, m.last(toldStory, func(x *exchange) bool { return x.Session == number })}, nil
}

// storyOf is the story that a History tells.
func storyOf(s journal.Session, exchanges []journal.Exchange) story {
	told := story{Session: session{
		Number: s.Number, Remote: s.Remote, Local: s.Local, Opened: s.Opened.UnixMicro(),
		Reason: s.Reason, Requests: s.Requests, In: s.BytesIn, Out: s.BytesOut,
	}}
	if !s.Closed.IsZero() {
		told.Session.Closed = s.Closed.UnixMicro()
	}
	for _, x := range exchanges {
		told.Exchanges = append(told.Exchanges, &exchange{
			Session: s.Number, Seq: x.Seq, At: x.Received.UnixMicro(), Took: x.Took,
			Request: bodyOf(x.Request, x.RequestCut, maxStoryBody), Reply: bodyOf(x.Reply, x.ReplyCut, maxStoryBody),
		})
	}
	return told
}
