// Package tally counts what is in a journal: by the shapes of requests, by sessions, by peers, or
// over time.
package tally

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"time"
	"unique"

	"github.com/parley-tcp/parley/internal/dialect"
	"github.com/parley-tcp/parley/internal/journal"
	"github.com/parley-tcp/parley/internal/shape"
)

// Options say what is counted together. The zero value counts by shape.
type Options struct {
	By      By
	Every   time.Duration   // of ByTime
	Framing dialect.Framing // of sessions of which the journal does not say
	Secrets bool            // credentials are shown in shapes
}

// By is what is counted together.
type By string

const (
	ByShape   By = "shape" // of the request in the words of its protocol; of the message where nobody asked
	BySession By = "session"
	ByPeer    By = "peer" // the remote address without its port
	ByNode    By = "node" // where it was recorded
	ByTime    By = "time"
)

const (
	maxRows    = 100_000 // what comes first has a row of its own
	maxBuckets = 10_000  // of time
	shapeBytes = 512     // of a message, by which it is told from others
)

// A Result is what was counted.
type Result struct {
	By        By
	Rows      []*Row           // of time in its order, empty ones included; others from the most exchanges down
	Rest      *Row             // all beyond the first 100,000 rows; nil if there is none
	Ends      map[string]int64 // why sessions ended, journal.ReasonOpen among it
	Exchanges int64            // in all rows, what nobody asked for not counted
}

// A Row is what was counted together.
type Row struct {
	Shape   string    // of ByShape; any bytes
	Unasked bool      // the same: it is the shape of messages that nobody asked for
	Framing string    // of ByShape; empty if it is not known
	Session *Session  // of BySession
	Peer    string    // of ByPeer, and the node of ByNode; empty if it is not known
	From    time.Time // of ByTime: the first moment of the bucket

	Exchanges                int64 // requests; messages if they were unasked
	Errors                   int64 // of these: not replied to, or the reply did not get out, or it says that it failed
	RequestBytes, ReplyBytes int64 // of messages, without their framing
	Took                     Times // of those that were replied to

	Sessions int64            // of ByPeer and ByNode
	Ends     map[string]int64 // the same
}

// A Session is one that has a row of its own.
type Session struct {
	ID     int64  // the journal's
	Number uint64 // as the server counted it
	Node   string // where it was recorded; empty if that is not known
	Lost   bool   // the journal has exchanges of it and not its own record: the rest is zero
	Remote string
	Opened time.Time
	Ended  string // why, as docs/events.md names it, or journal.ReasonOpen
}

// A TooMany is that a journal has more buckets of time than can be shown.
type TooMany struct {
	Every   time.Duration
	Buckets int64
	Span    time.Duration
}

func (e *TooMany) Error() string {
	return fmt.Sprintf("%d rows of %v, which are more than %d; use %v or longer, or --since and --until", e.Buckets, e.Every, maxBuckets, e.enough())
}

// enough is a round time by which the buckets are few.
func (e *TooMany) enough() time.Duration {
	for _, d := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour} {
		if int64(e.Span/d) < maxBuckets/10 {
			return d
		}
	}
	return 365 * 24 * time.Hour
}

// Of counts what the filter selects. The error is a *TooMany, or of the journal.
func Of(ctx context.Context, r *journal.Reader, f journal.Filter, opt Options) (*Result, error) {
	t := &tally{
		Options: opt, ctx: ctx, reader: r, result: &Result{By: opt.By, Ends: make(map[string]int64)},
		sessions: make(map[int64]*session), rows: make(map[key]*Row), waiting: make(map[place]*Row), framings: make(map[string]dialect.Framing),
	}
	selects := f
	// With a limit none are looked for that are lost, which would take a look at each exchange: the
	// exchanges tell of them.
	selects.Text, selects.Regexp, selects.Slower, selects.Limit = nil, nil, 0, math.MaxInt
	for s, err := range r.Sessions(ctx, selects) {
		if err != nil {
			return nil, err
		}
		t.keep(&s)
	}
	for x, err := range r.Exchanges(ctx, f) {
		if err != nil {
			return nil, err
		}
		if err := t.add(&x); err != nil {
			return nil, err
		}
	}
	if t.buckets() > maxBuckets {
		return nil, &TooMany{opt.Every, t.buckets(), time.Duration(t.last-t.first) * opt.Every}
	}
	t.end(len(f.Text) > 0 || f.Regexp != nil || f.Slower > 0 || f.Limit > 0)
	return t.result, nil
}

// A tally is a count under way.
type tally struct {
	Options
	ctx         context.Context
	reader      *journal.Reader
	result      *Result
	sessions    map[int64]*session
	rows        map[key]*Row
	waiting     map[place]*Row // of requests that a tap has kept alone
	framings    map[string]dialect.Framing
	first, last int64 // the buckets of time
	words, text []byte
}

// A session is what has to be known of one, of which there may be millions.
type session struct {
	number, repliedUpTo   uint64
	opened                int64 // ns since 1970
	closed, lost, counted bool
	remote, node          string // of ByPeer, the node for ByNode, and both of BySession
	framing, reason       string
	row                   *Row // of BySession, ByPeer and ByNode, once there is one
}

// keep keeps that of a session.
func (t *tally) keep(s *journal.Session) *session {
	one := &session{
		number: s.Number, repliedUpTo: s.RepliedUpTo, opened: s.Opened.UnixNano(), closed: !s.Closed.IsZero(), lost: s.Lost,
		framing: unique.Make(s.Framing).Value(), reason: unique.Make(cmp.Or(s.Reason, journal.ReasonOpen)).Value(),
	}
	switch t.By {
	case BySession:
		one.remote, one.node = s.Remote, unique.Make(s.Node).Value()
	case ByPeer:
		one.remote = unique.Make(peerOf(s.Remote)).Value()
	case ByNode:
		one.remote = unique.Make(s.Node).Value()
	}
	t.sessions[s.ID] = one
	return one
}

// rowOf is the row of a session, or of its peer or node.
func (t *tally) rowOf(id int64, s *session) *Row {
	if s.row != nil {
		return s.row
	}
	if t.By == BySession {
		of := &Session{ID: id, Number: s.number, Lost: s.lost}
		if !s.lost {
			of.Remote, of.Node, of.Opened, of.Ended = s.remote, s.node, time.Unix(0, s.opened).UTC(), s.reason
		}
		s.row = t.put(key{number: id}, &Row{Session: of})
		return s.row
	}
	k := key{text: s.remote}
	if s.row = t.rows[k]; s.row == nil {
		s.row = t.put(k, &Row{Peer: k.text, Ends: make(map[string]int64)})
	}
	return s.row
}

// A key is what a row is found by.
type key struct {
	text, framing string
	number        int64
	unasked       bool
}

type place struct {
	session int64
	seq     uint64
}

// maxWaiting is of how many requests that were kept alone the replies are waited for.
const maxWaiting = 100_000

func (t *tally) add(x *journal.Exchange) error {
	s, err := t.session(x.Session)
	if err != nil {
		return err
	}
	s.counted = true
	at := place{x.Session, x.Seq}
	replies := int64(len(x.Reply)) + int64(x.ReplyCut)
	framing := t.framing(s.framing)
	if row := t.waiting[at]; row != nil && x.Request == nil && x.Seq > 0 {
		delete(t.waiting, at)
		row.ReplyBytes += replies
		row.Took.add(x.Took)
		row.Errors--
		if t.failed(s, x, framing) {
			row.Errors++
		}
		return nil
	}
	row := t.row(s, x, framing)
	if row == nil {
		return nil
	}
	unasked := x.Request == nil
	if unasked && t.By != ByShape {
		row.ReplyBytes += replies
		return nil
	}
	row.Exchanges++
	row.RequestBytes += int64(len(x.Request)) + int64(x.RequestCut)
	row.ReplyBytes += replies
	if t.failed(s, x, framing) {
		row.Errors++
	}
	switch {
	case unasked:
	case x.Reply != nil:
		row.Took.add(x.Took)
		t.result.Exchanges++
	default:
		t.result.Exchanges++
		if framing.WantsReply(x.Request) && len(t.waiting) < maxWaiting {
			t.waiting[at] = row
		}
	}
	return nil
}

// session is what is known of one. One that began meanwhile is looked up.
func (t *tally) session(id int64) (*session, error) {
	if s := t.sessions[id]; s != nil {
		return s, nil
	}
	found, err := t.reader.SessionsOf(t.ctx, []int64{id})
	if err != nil && t.ctx.Err() != nil {
		return nil, err
	}
	return t.keep(cmp.Or(found[id], &journal.Session{ID: id, Lost: true})), nil
}

func (t *tally) framing(name string) dialect.Framing {
	if name == "" {
		return t.Framing
	}
	f, known := t.framings[name]
	if !known {
		f, _ = dialect.Parse(name) // a newer parley may know others: their bytes are shown
		t.framings[name] = f
	}
	return f
}

// failed says whether an exchange is an error.
func (t *tally) failed(s *session, x *journal.Exchange, framing dialect.Framing) bool {
	switch {
	case x.Reply == nil:
		return framing.WantsReply(x.Request)
	case x.Seq > s.repliedUpTo && s.closed:
		return true
	}
	return framing.Failed(x.Reply)
}

// row is what an exchange is counted with; nil if it is of a bucket that is one too many.
func (t *tally) row(s *session, x *journal.Exchange, framing dialect.Framing) *Row {
	switch t.By {
	case BySession, ByPeer, ByNode:
		return t.rowOf(x.Session, s)
	case ByTime:
		return t.bucket(x.Received)
	}
	k := key{framing: s.framing, unasked: x.Request == nil}
	t.text = t.shape(t.text[:0], x, framing)
	// The compiler makes no string of the text for a look-up only.
	if row := t.rows[key{text: string(t.text), framing: k.framing, unasked: k.unasked}]; row != nil {
		return row
	}
	k.text = string(t.text)
	return t.put(k, &Row{Shape: k.text, Unasked: k.unasked, Framing: k.framing})
}

// put adds a row, while there are not too many.
func (t *tally) put(k key, row *Row) *Row {
	if len(t.rows) >= maxRows {
		if t.result.Rest == nil {
			t.result.Rest = new(Row)
		}
		return t.result.Rest
	}
	t.rows[k] = row
	return row
}

// shape appends what the exchange is counted by: in words, without credentials.
func (t *tally) shape(dst []byte, x *journal.Exchange, framing dialect.Framing) []byte {
	m := dialect.Message{Body: x.Request, Cut: x.RequestCut, Secret: x.Secret && !t.Secrets}
	if x.Request == nil {
		m.Body, m.Cut = x.Reply, x.ReplyCut
	}
	t.words = t.words[:0]
	if framing.Words != nil {
		if x.Request != nil {
			t.words = framing.Words.AppendRequest(t.words, m)
		} else {
			t.words = framing.Words.AppendReply(t.words, m)
		}
	}
	text := t.words
	switch {
	case len(text) == 0 && m.Secret:
		return append(dst, "(secret)"...)
	case len(text) == 0:
		text = m.Body
	}
	if len(text) > shapeBytes {
		return append(shape.Append(dst, text[:shapeBytes]), "…"...)
	}
	return shape.Append(dst, text)
}

// peerOf is an address without its port.
func peerOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

func (t *tally) bucket(at time.Time) *Row {
	n := at.UnixNano() / int64(t.Every)
	if len(t.rows) == 0 && t.first == 0 && t.last == 0 {
		t.first, t.last = n, n
	}
	t.first, t.last = min(t.first, n), max(t.last, n)
	if t.buckets() > maxBuckets {
		return nil // which is said once it is known how many there are
	}
	k := key{number: n}
	if t.rows[k] == nil {
		t.rows[k] = &Row{From: time.Unix(0, n*int64(t.Every)).UTC()}
	}
	return t.rows[k]
}

func (t *tally) buckets() int64 {
	if t.By != ByTime || len(t.rows) == 0 {
		return 0
	}
	return t.last - t.first + 1
}

// end puts the rows in their order, and counts why sessions ended: of those that have an exchange
// that was counted, if exchanges were selected.
func (t *tally) end(ofExchanges bool) {
	for id, s := range t.sessions {
		if ofExchanges && !s.counted || s.lost {
			continue
		}
		t.result.Ends[s.reason]++
		if t.By != BySession && t.By != ByPeer && t.By != ByNode {
			continue
		}
		if row := t.rowOf(id, s); row.Ends != nil {
			row.Sessions++
			row.Ends[s.reason]++
		}
	}
	rows := make([]*Row, 0, len(t.rows))
	if t.By == ByTime {
		for n := t.first; n <= t.last && len(t.rows) > 0; n++ {
			row := t.rows[key{number: n}]
			if row == nil {
				row = &Row{From: time.Unix(0, n*int64(t.Every)).UTC()}
			}
			rows = append(rows, row)
		}
		t.result.Rows = rows
		return
	}
	for _, row := range t.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b *Row) int {
		return cmp.Or(cmp.Compare(b.Exchanges, a.Exchanges), cmp.Compare(b.Took.Total, a.Took.Total), cmp.Compare(a.Shape, b.Shape),
			cmp.Compare(a.Framing, b.Framing), cmp.Compare(a.Peer, b.Peer), cmp.Compare(sessionID(a), sessionID(b)))
	})
	t.result.Rows = rows
}

func sessionID(row *Row) int64 {
	if row.Session == nil {
		return 0
	}
	return row.Session.ID
}
