package web

import (
	"cmp"
	"container/list"
	"fmt"
	"io/fs"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
)

// How much a page remembers.
const (
	maxExchanges       = 2000
	maxClosed          = 500 // sessions that are over and ended well; ends.go has the others
	maxMessage         = 1 << 10
	maxRecordedMessage = 16 << 10 // of a message that a History remembers
	maxName            = 256      // of what a client calls itself
)

// How much of it a browser is told at once: more is too much to read.
const (
	toldExchanges = 500
	toldOpen      = 100
	toldClosed    = 20
	toldEarlier   = 20  // sessions of earlier runs
	maxTranscript = 500 // exchanges of one session
)

// A message is the first bytes of a request or a reply, and how many it has.
type message struct {
	Bytes  int    `json:"bytes"`
	Start  []byte `json:"start"`            // null if there are credentials in it, which are not to be shown
	Text   string `json:"text,omitempty"`   // in the words of its protocol, the beginning of them
	Secret bool   `json:"secret,omitempty"` // Text is all there is to show
	Whole  int    `json:"whole,omitempty"`  // bytes before parts of it were replaced to conceal them
	Kept   int    `json:"kept,omitempty"`   // of a whole: bytes that can be asked for
}

// concealed notes how many bytes a message had before parts of it were replaced.
func (m *message) concealed(whole int) *message {
	if m != nil {
		m.Whole = whole
	}
	return m
}

// A wording is how messages are shown.
type wording struct {
	words   dialect.Words // nil if a message is its words
	secrets bool          // credentials are shown too
}

// request keeps the first most bytes of body, of which cut are left out already; nil if there
// is no message.
func (w wording) request(body []byte, cut uint64, secret bool, most int) *message {
	return w.message(body, cut, secret, most, func(dst []byte, m dialect.Message) []byte { return w.words.AppendRequest(dst, m) })
}

// reply is request of what a server says.
func (w wording) reply(body []byte, cut uint64, secret bool, most int) *message {
	return w.message(body, cut, secret, most, func(dst []byte, m dialect.Message) []byte { return w.words.AppendReply(dst, m) })
}

func (w wording) message(body []byte, cut uint64, secret bool, most int, appendWords func([]byte, dialect.Message) []byte) *message {
	if body == nil {
		return nil
	}
	m := &message{Bytes: len(body) + int(cut), Secret: secret && !w.secrets}
	if w.words != nil {
		m.Text = beginning(appendWords(nil, dialect.Message{Body: body, Cut: cut, Secret: m.Secret}), most)
	}
	switch {
	case !m.Secret:
		m.Start = append([]byte{}, body[:min(len(body), most)]...)
	case m.Text == "":
		m.Text = "(secret)"
	}
	return m
}

// beginning is as much of a text as there is room for.
func beginning(text []byte, most int) string {
	if len(text) <= most {
		return string(text)
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return string(text[:most]) + "…"
}

// An exchange is one request and its reply, or what the server said unasked.
type exchange struct {
	Session uint64        `json:"session"`
	ID      int64         `json:"id,omitempty"`   // in the journal, if it is from there
	Kept    uint64        `json:"kept,omitempty"` // in memory, of what has no number: which one it was that was kept
	Seq     uint64        `json:"seq"`            // 0 of what was said unasked
	At      int64         `json:"at"`             // µs since 1970, when the request was there
	Took    time.Duration `json:"took"`           // ns
	Request *message      `json:"request"`        // null if there was none
	Reply   *message      `json:"reply"`          // null if there was none
	Refused *refusal      `json:"refused,omitempty"`
	Fault   string        `json:"fault,omitempty"` // what went wrong with it on purpose
}

// fault adds what went wrong on purpose with one side of an exchange.
func (x *exchange) fault(text string) {
	switch {
	case text == "" || len(x.Fault) > maxName:
	case x.Fault == "":
		x.Fault = text
	default:
		x.Fault += ", " + text
	}
}

// A refusal is a connection that became no session; its exchange has session 0 and, as the
// reply, what it was told.
type refusal struct {
	Remote string `json:"remote"`
	Reason string `json:"reason"`
}

// A session is one conversation. What it counts is exact.
type session struct {
	Number   uint64 `json:"number"`
	ID       int64  `json:"id,omitempty"` // in the history; 0 if it is not known to be there
	Remote   string `json:"remote"`
	Local    string `json:"local"`
	Opened   int64  `json:"opened"` // µs since 1970
	Closed   int64  `json:"closed"` // 0 while it is open
	Last     int64  `json:"last"`   // when something came or went
	Reason   string `json:"reason"`
	Requests uint64 `json:"requests"`
	In       uint64 `json:"in"` // bytes of requests; once it is closed, of all that was read
	Out      uint64 `json:"out"`
	Stray    uint64 `json:"stray,omitempty"`   // bytes that belong to no message; once it is closed
	Node     string `json:"node,omitempty"`    // of one in a journal: where it was recorded
	Role     string `json:"role,omitempty"`    // of one in a journal that a client has recorded
	Framing  string `json:"framing,omitempty"` // of a transcript's session, if it is known

	TLSVersion string `json:"tls_version,omitempty"`
	TLSName    string `json:"tls_name,omitempty"` // what the client is called in its certificate
	Proxy      string `json:"proxy,omitempty"`    // that handed the connection on

	Upstream    string `json:"upstream,omitempty"`     // of a transcript's session, if it is a tap's: what is behind it
	UpstreamTLS bool   `json:"upstream_tls,omitempty"` // that is spoken to over TLS; not known of one in a journal

	place *list.Element // among the open ones
}

// totals count from the start.
type totals struct {
	Open     int    `json:"open"`
	Sessions uint64 `json:"sessions"`
	Requests uint64 `json:"requests"`
	Replies  uint64 `json:"replies"`
	Refused  uint64 `json:"refused"`
	Failed   uint64 `json:"failed"`   // handshakes
	Probes   uint64 `json:"probes"`   // who never sent a byte, among the sessions or instead of a handshake
	Faults   uint64 `json:"faults"`   // on purpose, refusals among them
	LeftOut  uint64 `json:"left_out"` // requests that were counted and not kept
}

// A state is what a page has seen: all of it counted, the last of it kept.
type state struct {
	totals   totals
	sessions map[uint64]*session // open, and lately closed
	open     *list.List          // of *session, the newest last
	closed   []*session          // those that ended well, the newest last
	bad      []*session          // those that did not
	ends     []end               // counts since the start
	highest  uint64              // the highest number of a session
	changes  uint64              // how often sessions came or went, or somebody was turned away
	turned   []turned            // who was turned away, the newest last

	exchanges []*exchange // a ring once it is full
	oldest    int         // where it begins
	kept      uint64      // exchanges so far

	latencies   histogram // of the replies since the last second ended
	charts      timeline
	atSecond    totals // as they were when it ended
	secondEnded time.Time
	tickBefore  uint64 // requests at the last tick
}

func newState() state {
	return state{sessions: make(map[uint64]*session), open: list.New(), charts: newTimeline()}
}

// opened begins a session.
func (s *state) opened(e *parley.Event) {
	added := &session{
		Number: e.Session.Number(),
		Remote: string(e.Session.AppendRemote(nil)),
		Local:  string(e.Session.AppendLocal(nil)),
		Opened: e.Time.UnixMicro(),
		Last:   e.Time.UnixMicro(),
	}
	added.secure(e.Session.TLSVersion(), e.Session.TLSName(), e.Session.Proxy())
	added.place = s.open.PushBack(added)
	s.sessions[added.Number] = added
	s.highest = max(s.highest, added.Number)
	s.totals.Open++
	s.totals.Sessions++
	s.changes++
}

// secure notes what is known of TLS and of a proxy. Names may be as long as a certificate.
func (of *session) secure(version, name, proxy string) {
	of.TLSVersion, of.TLSName = beginning([]byte(version), maxName), beginning([]byte(name), maxName)
	of.Proxy = proxy
}

// add counts what came and went.
func (s *state) add(c *sessionCounts) {
	s.totals.Requests += c.requests
	s.totals.Replies += c.replies
	of := s.sessions[c.session.Number()]
	of.Requests += c.requests
	of.In += c.in
	of.Out += c.out
	of.Last = c.last.UnixMicro()
}

// keep remembers an exchange in the place of the oldest one.
func (s *state) keep(x *exchange) {
	s.kept++
	if x.Seq == 0 {
		x.Kept = s.kept
	}
	if len(s.exchanges) < maxExchanges {
		s.exchanges = append(s.exchanges, x)
		return
	}
	s.exchanges[s.oldest] = x
	s.oldest = (s.oldest + 1) % maxExchanges
}

// faulted counts a fault, and has the exchange say so that is told before it is: a tap's, of which
// the reply was shown. It is one of the newest; browsers may be reading it, so it is replaced.
func (s *state) faulted(e *parley.Event) {
	s.totals.Faults++
	const newest = 32
	for i := range min(newest, len(s.exchanges)) {
		at := (s.oldest + len(s.exchanges) - 1 - i) % len(s.exchanges)
		if x := s.exchanges[at]; e.Seq > 0 && x.Session == e.Session.Number() && x.Seq == e.Seq {
			marked := *x
			marked.fault(e.Fault)
			s.exchanges[at] = &marked
			return
		}
	}
}

// ended closes a session, or counts a connection that became none.
func (s *state) ended(e *parley.Event) {
	if e.Reason == parley.NoRequest || e.Reason == parley.FirstByteTimeout {
		s.totals.Probes++
	}
	if e.Kind != parley.Closed {
		s.turnAway(e)
	}
	switch {
	case e.Kind == parley.Refused:
		s.totals.Refused++
		s.countEnd(e.Reason, true)
		s.changes++
		if e.Fault != "" {
			s.totals.Faults++
		}
		return
	case e.Kind == parley.HandshakeFailed:
		if e.Reason != parley.NoRequest {
			s.totals.Failed++
		}
		return
	}
	over := s.sessions[e.Session.Number()]
	over.Closed = e.Time.UnixMicro()
	over.Last, over.Reason = over.Closed, e.Reason.String()
	over.In, over.Out, over.Stray = e.In, e.Out, e.Stray
	s.open.Remove(over.place)
	s.totals.Open--
	s.changes++
	s.countEnd(e.Reason, false)
	s.over(over, e.Reason)
}

// last returns the last most exchanges that are wanted, in order.
func (s *state) last(most int, wanted func(*exchange) bool) []*exchange {
	found := []*exchange{}
	for i := len(s.exchanges) - 1; i >= 0 && len(found) < most; i-- {
		if x := s.exchanges[(s.oldest+i)%len(s.exchanges)]; wanted(x) {
			found = append(found, x)
		}
	}
	slices.Reverse(found)
	return found
}

// lastSessions returns the newest of the open sessions and of the closed ones, the newest
// first.
func (s *state) lastSessions() []session {
	told := make([]session, 0, toldOpen+toldClosed)
	for at := s.open.Back(); at != nil && len(told) < toldOpen; at = at.Prev() {
		told = append(told, *at.Value.(*session))
	}
	// Event loops tell of their sessions in turn: that is only nearly the order of their numbers.
	slices.SortFunc(told, func(a, b session) int { return cmp.Compare(b.Number, a.Number) })
	return append(told, s.lastClosed(toldClosed)...)
}

// requestsOfTick is how many requests there were since it was last called.
func (s *state) requestsOfTick() uint64 {
	n := s.totals.Requests - s.tickBefore
	s.tickBefore = s.totals.Requests
	return n
}

// endSecond adds a second to the charts: what came since the last one, which is of several if that is long ago,
// as on a machine that was too busy to end them in time.
func (s *state) endSecond(now time.Time) {
	seconds := 1
	if since := now.Sub(s.secondEnded).Round(time.Second); since <= recentSeconds*time.Second {
		seconds = max(1, int(since/time.Second))
	}
	s.secondEnded = now
	s.charts.add(slot{
		at: now.Unix(), seconds: seconds, requests: s.totals.Requests - s.atSecond.Requests, replies: s.unplotted(), open: s.totals.Open, times: s.latencies.cells(),
	})
	s.latencies, s.atSecond = histogram{}, s.totals
}

// unplotted is how many replies are in no point yet.
func (s *state) unplotted() uint64 { return s.totals.Replies - s.atSecond.Replies }

// A transcript is one session with its exchanges, as far as they are remembered.
type transcript struct {
	Session   session     `json:"session"`
	Exchanges []*exchange `json:"exchanges"`
}

// isSession reports whether there is or was a session of that number.
func (s *state) isSession(number uint64) bool { return 0 < number && number <= s.highest }

func (s *state) transcript(number uint64) (transcript, error) {
	of := s.sessions[number]
	if of == nil {
		return transcript{}, fmt.Errorf("session %d: %w", number, fs.ErrNotExist)
	}
	return transcript{*of, s.last(maxTranscript, func(x *exchange) bool { return x.Session == number })}, nil
}

// transcriptOf is the transcript that a History has.
func transcriptOf(s journal.Session, exchanges []journal.Exchange, secrets bool) transcript {
	t := transcript{Session: sessionOf(s)}
	t.Session.Framing = s.Framing
	said := wordingOf(s.Framing, secrets)
	for _, x := range exchanges {
		if x.Request == nil && x.Reply == nil {
			continue // bytes that belong to no message
		}
		t.Exchanges = append(t.Exchanges, said.exchange(s.Number, x, maxRecordedMessage))
	}
	return t
}

// wordingOf is that of a framing; of one that is not known messages are their bytes.
func wordingOf(framing string, secrets bool) wording {
	said := wording{secrets: secrets}
	if f, err := dialect.Parse(framing); err == nil {
		said.words = f.Words
	}
	return said
}

// exchange is a recorded one of the session of that number.
func (w wording) exchange(session uint64, x journal.Exchange, most int) *exchange {
	return &exchange{
		Session: session, ID: x.ID, Seq: x.Seq, At: x.Received.UnixMicro(), Took: x.Took,
		Request: w.request(x.Request, x.RequestCut, x.Secret, most).concealed(x.RequestWhole),
		Reply:   w.reply(x.Reply, x.ReplyCut, x.Secret && x.Request == nil, most).concealed(x.ReplyWhole),
		Fault:   beginning([]byte(x.Fault), maxName),
	}
}

func sessionOf(s journal.Session) session {
	of := session{
		Number: s.Number, ID: s.ID, Remote: s.Remote, Local: s.Local, Opened: s.Opened.UnixMicro(),
		Reason: s.Reason, Requests: s.Requests, In: s.BytesIn, Out: s.BytesOut, Stray: s.Stray,
	}
	of.secure(s.TLSVersion, s.TLSName, s.Proxied)
	of.Node = s.Node
	switch s.Role {
	case "tap":
		of.Upstream = s.Upstream
	case journal.RoleClient: // whose peer is the server
		of.Role = s.Role
		of.Remote, of.Local = s.Ends()
	}
	if !s.Closed.IsZero() {
		of.Closed = s.Closed.UnixMicro()
	}
	return of
}
