package answer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/replay"
)

// NoAnswer is the reply to what a recording has no answer for. A protocol has its own form for it.
const NoAnswer = "Error: no recorded answer"

// RecordingOptions say how requests are matched and answered.
type RecordingOptions struct {
	// Framing is that of the sessions to answer from, those that do not say included. With an empty
	// Name it is theirs, which has to be the same for all, or Default if none says.
	Framing, Default dialect.Framing

	Match Matcher // which requests are the same; those of the same bytes if nil
	Pace  bool    // replies take as long as they did: the handler blocks then

	// Unknown is told of each request that has no answer the first time, in words, for up to
	// MostTold of them; may be nil. It is called from any goroutine.
	Unknown func(s *parley.Session, request string)
	Conceal func(request []byte) []byte // has what is told of a request be without what is nobody's to see; may be nil
}

// A Recording is a Handler that answers from what was recorded: the same request gets its recorded
// replies, in the order in which they were recorded, whatever the sessions, and the last one again
// and again. It is a Speaker of what was said unasked: before the first reply of a session when it is
// opened, the first session that of the first recorded one and so on; and what followed a reply
// behind that reply.
//
// It holds the bytes of all replies, equal ones in a row once.
type Recording struct {
	framing dialect.Framing
	crlf    bool
	match   Matcher
	pace    bool
	unanswered

	mu       sync.Mutex
	answers  map[string]*answers
	openings []opening
	opened   int // sessions

	requests int // recorded
	unusable int // replies that are not there as they were
}

// answers are those to equal requests.
type answers struct {
	all  []answer
	next int
	used int // times that all[next] was given
}

// An answer is a reply, and what was said behind it until the next.
type answer struct {
	reply  []byte // nil if there was none
	took   time.Duration
	behind []later
	times  int // in a row that it was given
}

// A later message is said so long after what it follows.
type later struct {
	message []byte
	after   time.Duration
}

// An opening is what a session begins with.
type opening []later

// ErrNoReplies is returned for a recording that has nothing to answer with.
var ErrNoReplies = errors.New("it has no replies, so there is nothing to answer with")

// NewRecording makes the handler of what was recorded.
func NewRecording(recorded *replay.Recording, opt RecordingOptions) (*Recording, error) {
	framing, err := framingOf(recorded, &opt)
	if err != nil {
		return nil, err
	}
	r := &Recording{framing: framing, match: opt.Match, pace: opt.Pace, answers: make(map[string]*answers)}
	r.unanswered = unanswered{words: framing.Words, tell: opt.Unknown, conceal: opt.Conceal}
	var all []timed
	bare := false
	for _, session := range recorded.Sessions {
		if session.Framing.Name != "" && session.Framing.Name != framing.Name {
			continue
		}
		begun, found := r.read(session)
		r.openings = append(r.openings, begun)
		all = append(all, found...)
		for _, x := range session.Exchanges {
			r.crlf = r.crlf || bytes.HasSuffix(x.RawReply, []byte("\r\n"))
			bare = bare || x.RawReply != nil && !bytes.HasSuffix(x.RawReply, []byte("\r\n"))
		}
	}
	r.crlf = r.crlf && !bare && framing.Requests == parley.Lines
	slices.SortStableFunc(all, func(a, b timed) int { return a.at.Compare(b.at) })
	replies := 0
	answered := make(map[string]bool)
	for _, one := range all {
		if one.reply != nil {
			answered[one.key] = true
			replies++
		}
	}
	for _, one := range all {
		if one.reply != nil || !answered[one.key] { // else its session only ended before
			r.add(one.key, one.answer)
		}
	}
	said := slices.ContainsFunc(r.openings, func(o opening) bool { return len(o) > 0 })
	if replies == 0 && !said && r.unusable == 0 {
		return nil, ErrNoReplies
	}
	return r, nil
}

// framingOf is the framing that the recording is answered in.
func framingOf(recorded *replay.Recording, opt *RecordingOptions) (dialect.Framing, error) {
	framing := opt.Default
	names := recorded.Framings()
	slices.Sort(names)
	switch fits := slices.Contains(names, "") || slices.Contains(names, opt.Framing.Name); {
	case opt.Framing.Name != "" && !fits && len(names) > 0:
		return framing, fmt.Errorf("no session of it was recorded with --framing %s, but with %s", opt.Framing.Name, strings.Join(names, ", "))
	case opt.Framing.Name != "":
		return opt.Framing, nil
	}
	if names = slices.DeleteFunc(names, func(name string) bool { return name == "" }); len(names) > 1 {
		return framing, fmt.Errorf("it has sessions in several framings, %s; --framing NAME answers from those of one", strings.Join(names, ", "))
	}
	for _, session := range recorded.Sessions {
		if session.Framing.Name != "" {
			framing = session.Framing
		}
	}
	return framing, nil
}

// A timed answer is that to a request that came at a time.
type timed struct {
	at  time.Time
	key string
	answer
}

// A said message is one of the server, in a session.
type said struct {
	exchange *replay.Exchange
	at       time.Time
	unasked  bool
}

// read finds the answers of a session, and what it begins with.
func (r *Recording) read(session replay.Session) (begins opening, found []timed) {
	var messages []said
	place := make(map[uint64]int) // of a request in found
	for _, x := range whole(session.Exchanges) {
		if x.Request != nil {
			r.requests++
			place[x.Seq] = len(found)
			key := ""
			if x.RequestCut == 0 && !x.Redacted {
				key = string(r.key(nil, x.Request))
			}
			found = append(found, timed{at: x.Received, key: key})
		}
		switch unasked := x.Seq == 0; {
		case x.Reply == nil:
		case x.ReplyCut > 0 || x.Redacted || x.RequestCut > 0:
			r.unusable++
			if i, asked := place[x.Seq]; asked {
				found[i].key = ""
			}
		case unasked && r.framing.Early != nil && r.framing.Early(x.Reply): // there is no place for it before its request is whole
		default:
			messages = append(messages, said{&x, x.Received.Add(x.Took), unasked})
		}
	}
	slices.SortStableFunc(messages, func(a, b said) int {
		return cmp.Or(cmp.Compare(a.exchange.SaidBefore, b.exchange.SaidBefore), a.at.Compare(b.at))
	})
	behind, since := &begins, session.Opened
	for _, m := range messages {
		i, asked := place[m.exchange.Seq]
		switch {
		case m.unasked || !asked:
			*behind = append(*behind, later{m.exchange.Reply, max(0, m.at.Sub(since))})
		default:
			one := &found[i].answer
			one.reply, one.took = m.exchange.Reply, max(0, m.exchange.Took)
			behind, since = (*opening)(&one.behind), m.at
		}
	}
	return begins, slices.DeleteFunc(found, func(one timed) bool { return one.key == "" })
}

// whole puts requests that were recorded alone together with their replies.
func whole(exchanges []replay.Exchange) (all []replay.Exchange) {
	alone := make(map[uint64]int)
	for _, x := range exchanges {
		i, waits := alone[x.Seq]
		switch {
		case x.Request == nil && x.Reply == nil: // bytes of no message
		case x.Request == nil && x.Seq > 0 && waits:
			first := &all[i]
			first.Took, first.Reply, first.ReplyCut, first.SaidBefore = x.Received.Add(x.Took).Sub(first.Received), x.Reply, x.ReplyCut, x.SaidBefore
			first.Redacted = first.Redacted || x.Redacted
			delete(alone, x.Seq)
		default:
			if x.Reply == nil {
				alone[x.Seq] = len(all)
			}
			all = append(all, x)
		}
	}
	return all
}

// add puts an answer behind the others to its request.
func (r *Recording) add(key string, one answer) {
	a := r.answers[key]
	if a == nil {
		a = new(answers)
		r.answers[key] = a
	}
	if n := len(a.all); n > 0 && a.all[n-1].same(&one, r.pace) {
		a.all[n-1].times++
		return
	}
	one.times = 1
	a.all = append(a.all, one)
}

// same reports whether two answers cannot be told apart.
func (a *answer) same(b *answer, pace bool) bool {
	return !pace && (a.reply == nil) == (b.reply == nil) && bytes.Equal(a.reply, b.reply) &&
		slices.EqualFunc(a.behind, b.behind, func(x, y later) bool { return bytes.Equal(x.message, y.message) })
}

// take is the next answer to a request; nil if there is none.
func (r *Recording) take(request []byte) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[string(r.key(nil, request))]
	if a == nil {
		return nil
	}
	one := &a.all[a.next]
	if a.used++; a.used >= one.times && a.next < len(a.all)-1 {
		a.next, a.used = a.next+1, 0
	}
	return one
}

func (r *Recording) key(dst, request []byte) []byte {
	if r.match == nil {
		return append(append(dst, 'b'), request...)
	}
	return r.match(dst, request)
}

// Framing is what is spoken. With crlf lines are to be sent with CRLF, as all that were recorded.
func (r *Recording) Framing() (f dialect.Framing, crlf bool) { return r.framing, r.crlf }

// About says what there is to answer with, in words.
func (r *Recording) About() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := "1 recorded request"
	if r.requests != 1 {
		text = fmt.Sprintf("%d recorded requests, %d of them different", r.requests, len(r.answers))
	}
	if r.unusable > 0 {
		text += fmt.Sprintf("; cut or redacted, and so not answered with: %d", r.unusable)
	}
	return text
}

// Reply gives the recorded reply.
func (r *Recording) Reply(dst []byte, req *parley.Request) ([]byte, error) {
	one := r.take(req.Body)
	if one == nil {
		r.unanswered.add(req)
		return append(dst, NoAnswer...), nil
	}
	state, now := r.of(req.Session), time.Time{}
	if state.isFull() {
		return nil, errMostWaiting
	}
	if r.pace {
		waitUntil(req.Time.Add(one.took), req.Session)
		now = time.Now()
	}
	before := len(state.queue)
	r.queue(state, one.behind, now)
	state.addedSince(before)
	if one.reply == nil {
		return nil, parley.ErrNoReply
	}
	return append(dst, one.reply...), nil
}

// Speak says what was said unasked.
func (r *Recording) Speak(dst []byte, s *parley.Session, now time.Time) ([]byte, time.Time, error) {
	return r.of(s).speak(dst, now)
}

// of is the state of a session. A new one has what is said at its opening.
func (r *Recording) of(s *parley.Session) *sayings {
	if s.Data == nil {
		state := new(sayings)
		s.Data = state
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(r.openings); n > 0 {
			begins := r.openings[min(r.opened, n-1)]
			r.queue(state, begins, s.Opened())
		}
		r.opened++
	}
	return s.Data.(*sayings)
}

// queue has messages said, after what was said at a time.
func (r *Recording) queue(to *sayings, messages []later, since time.Time) {
	for _, m := range messages {
		one := saying{message: m.message}
		if r.pace {
			one.due = since.Add(m.after)
		}
		to.add(one)
	}
}
