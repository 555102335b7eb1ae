package journal

import (
	"bytes"
	"context"
	"database/sql"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ReasonOpen, in a Filter, is that of sessions that have none: nobody saw them end.
const ReasonOpen = "open"

// A Filter selects sessions and exchanges. Its zero value selects all of them; what is set
// must all be so.
type Filter struct {
	Session int64     // the journal's number of the session
	Number  uint64    // the session's number as its server counted; several may have it
	Seq     uint64    // the number of the request in its session
	Address string    // what the remote address begins with, such as 10.0. or unix:/run/
	Reason  string    // why the session ended, as docs/events.md names it, or ReasonOpen
	Nodes   []string  // exactly the machine that recorded it is one of these; none is any
	Since   time.Time // at this time or later
	Until   time.Time // before this time

	Text   []byte         // bytes in the request or the reply, exactly
	Regexp *regexp.Regexp // matches the request or the reply
	Slower time.Duration  // it took this long or longer
	Limit  int            // only the newest so many

	// Accepts is asked of what all else selects, with the name of its session's framing, empty if
	// the journal does not say. Of x there are Session, Request, Reply, what was cut off them, and
	// Secret, valid during the call. Nil accepts all.
	Accepts func(framing string, x *Exchange) bool

	// Loose has Events tell of bytes too that belong to no message, as events of the kind
	// parley.Stray, with an Exchange that has RawRequest or RawReply alone. Text and Regexp do
	// not look at them.
	Loose bool
}

// looksAtExchanges says whether a session without exchanges is none of those selected.
func (f *Filter) looksAtExchanges() bool {
	return len(f.Text) > 0 || f.Regexp != nil || f.Slower > 0 || f.Limit > 0 || f.Seq > 0 || f.Accepts != nil
}

func (f *Filter) readsBytes() bool { return len(f.Text) > 0 || f.Regexp != nil || f.Accepts != nil }

// isOfSessions says whether an exchange is selected by its session alone.
func (f *Filter) isOfSessions() bool {
	return !f.readsBytes() && f.Slower == 0 && f.Seq == 0 && f.Since.IsZero() && f.Until.IsZero()
}

// matches looks at the bytes.
func (f *Filter) matches(request, reply []byte) bool {
	if len(f.Text) > 0 && !bytes.Contains(request, f.Text) && !bytes.Contains(reply, f.Text) {
		return false
	}
	return f.Regexp == nil || request != nil && f.Regexp.Match(request) || reply != nil && f.Regexp.Match(reply)
}

// covers says whether a time is between Since and Until.
func (f *Filter) covers(ns int64) bool {
	return (f.Since.IsZero() || ns >= inNanoseconds(f.Since)) && (f.Until.IsZero() || ns < inNanoseconds(f.Until))
}

// inNanoseconds is a time as the journal counts it. One that it cannot count to is as far away as can be.
func inNanoseconds(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// conditions are those of a WHERE clause.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *conditions) in(column string, ids []int64) {
	c.add(column+" IN (SELECT value FROM json_each(?))", list(ids))
}

func (c *conditions) clause() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// ofSessions is about sessions, but for the times.
func (r *Reader) ofSessions(f *Filter) *conditions {
	c := new(conditions)
	if f.Session != 0 {
		c.add("id = ?", f.Session)
	}
	if f.Number != 0 {
		c.add("number = ?", int64(f.Number))
	}
	if f.Address != "" { // an IPv6 address stands in brackets
		c.add("(instr(remote, ?) = 1 OR instr(remote, '[' || ?) = 1)", f.Address, f.Address)
	}
	switch {
	case len(f.Nodes) == 0:
	case r.version.Load() < 3: // nobody knows
		c.add("0")
	default:
		nodes := make([]any, len(f.Nodes))
		for i, node := range f.Nodes {
			nodes[i] = node
		}
		c.add("origin IN (SELECT id FROM origins WHERE node IN (?"+strings.Repeat(",?", len(nodes)-1)+"))", nodes...)
	}
	switch f.Reason {
	case "":
	case ReasonOpen:
		c.add("closed_ns IS NULL")
	default:
		c.add("reason = ?", f.Reason)
	}
	return c
}

// overlap adds that a session was open at some time between Since and Until.
func (c *conditions) overlap(f *Filter) {
	if !f.Since.IsZero() {
		c.add("(closed_ns IS NULL OR closed_ns >= ?)", inNanoseconds(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("opened_ns < ?", inNanoseconds(f.Until))
	}
}

// ofExchanges is about exchanges, but for their bytes. What it says of their sessions is
// looked up first; sessions are those that they must be of, nil if it does not say.
func (r *Reader) ofExchanges(ctx context.Context, tx *sql.Tx, f *Filter) (c *conditions, sessions []int64, err error) {
	c = new(conditions)
	if f.Session != 0 { // also if that has no record of its own
		c.add("session = ?", f.Session)
		sessions = []int64{f.Session}
	}
	others := *f
	others.Session = 0
	if where := r.ofSessions(&others); len(where.terms) > 0 {
		ids, err := r.sessionsWhere(ctx, tx, where, 0)
		if err != nil {
			return nil, nil, err
		}
		c.in("session", ids)
		if f.Session == 0 {
			sessions = append([]int64{}, ids...)
		}
	}
	if !f.Loose && r.version.Load() >= 3 {
		c.add(notLoose)
	}
	if !f.Since.IsZero() {
		c.add("received_ns >= ?", inNanoseconds(f.Since))
	}
	if !f.Until.IsZero() {
		c.add("received_ns < ?", inNanoseconds(f.Until))
	}
	if f.Slower > 0 {
		c.add("took_ns >= ?", int64(f.Slower))
	}
	if f.Seq > 0 {
		c.add("seq = ?", int64(f.Seq))
	}
	return c, sessions, nil
}

// notLoose is that an exchange is more than bytes that belong to no message.
const notLoose = "(parts IS NULL OR parts >> 30 & 1 = 0)"

// refusals says whether refused connections can be among what is selected.
func (f *Filter) refusals() bool {
	return f.Session == 0 && f.Number == 0 && f.Slower == 0 && f.Limit == 0 && f.Seq == 0 && f.Accepts == nil
}

// selects says whether a refusal is.
func (f *Filter) selects(r *Refusal) bool {
	return (f.Reason == "" || f.Reason == r.Reason) && (len(f.Nodes) == 0 || slices.Contains(f.Nodes, r.Node)) && f.covers(r.At.UnixNano()) && f.matches(nil, r.Text) &&
		(strings.HasPrefix(r.Remote, f.Address) || strings.HasPrefix(r.Remote, "["+f.Address))
}

// accepts asks Filter.Accepts of the exchanges that one question looks at, in a transaction.
func (r *Reader) accepts(ctx context.Context, tx *sql.Tx, f *Filter) func(session int64, row *exchangeRow, request, reply []byte) bool {
	if f.Accepts == nil {
		return func(int64, *exchangeRow, []byte, []byte) bool { return true }
	}
	const most = 10_000 // sessions that are remembered
	known := make(map[int64]string)
	return func(session int64, row *exchangeRow, request, reply []byte) bool {
		framing, is := known[session]
		if !is {
			if len(known) == most {
				clear(known)
			}
			framing = r.framingOf(ctx, tx, session)
			known[session] = framing
		}
		return f.Accepts(framing, &Exchange{Session: session, Request: request, Reply: reply,
			RequestCut: row.requestCut, ReplyCut: row.replyCut, Secret: row.secret})
	}
}

// framingOf is that of a session; empty if the journal does not say.
func (r *Reader) framingOf(ctx context.Context, tx *sql.Tx, session int64) string {
	if r.version.Load() < 3 {
		return ""
	}
	var origin sql.NullInt64
	if tx.QueryRowContext(ctx, "SELECT origin FROM sessions WHERE id = ?", session).Scan(&origin) != nil {
		return "" // it is lost, or damaged
	}
	about, _ := r.origin(ctx, tx, origin.Int64)
	return about.Framing
}

// A hit is an exchange that was selected, without its bytes.
type hit struct {
	exchange, session, received, took int64
	unasked                           bool  // it has no request
	loose                             bool  // it is bytes of no message
	requestAt, replyAt                int64 // where they lie in the streams; -1 if that is not known
}

// hits walks over hitRows in one transaction. What a message is is read only if it is to be looked at, and where
// replies lie only if there are loose bytes among them. What conditions look at is read in any case: a walk leaps over
// damage where its columns cannot be read.
func (r *Reader) hits(ctx context.Context, q querier, bytes, loose bool) walk {
	linked := "coalesce(parts, ''), coalesce(request_at, ''), coalesce(reply_at, '')"
	switch {
	case r.version.Load() < 3:
		linked = "'', '', ''"
	case !bytes && !loose:
		linked = "coalesce(parts, ''), coalesce(request_at, ''), ''"
	}
	columns := "id, concat_ws(',', session, received_ns, took_ns, exchanges.request IS NULL, " + linked
	if !bytes {
		return walk{table: "exchanges", columns: columns + ")"}
	}
	rare, join := r.rareIn(ctx, q)
	return walk{table: "exchanges", join: join, columns: columns + ", " + rare + "), exchanges.request, exchanges.reply"}
}

type hitRow struct {
	hit
	exchangeRow
	bytes bool // they are read too
}

func (r *hitRow) id() int64 { return r.hit.exchange }
func (r *hitRow) columns() []any {
	columns := []any{(*number)(&r.hit.exchange), (*hitNumbers)(r)}
	if r.bytes {
		columns = append(columns, &r.requestBytes, &r.replyBytes)
	}
	return columns
}

// hitNumbers are all but the bytes.
type hitNumbers hitRow

func (r *hitNumbers) Scan(column any) error {
	n := numbersOf(column)
	r.hit.session, r.hit.received, r.hit.took, r.unasked = n.next(), n.next(), n.next(), n.next() != 0
	r.partsColumn, r.requestPlace, r.replyPlace = n.orNull(), n.orNull(), n.orNull()
	r.rare = n.rare()
	return n.end()
}

// found is the hit that the row is.
func (r *hitRow) found() hit {
	h := r.hit
	h.requestAt, h.replyAt = placeOf(r.requestPlace), placeOf(r.replyPlace)
	h.loose = r.partsColumn.Int64>>looseAt&1 != 0
	return h
}

// fromTheStart is the exchange behind which all others lie.
const fromTheStart = -1

// maxSessionsLinked is of how many sessions the exchanges are looked up one by one.
const maxSessionsLinked = 64

// find selects exchanges behind one of them, in the order of recording. Only from the start
// is there a limit.
func (r *Reader) find(ctx context.Context, tx *sql.Tx, f *Filter, behind int64) (hits []hit, err error) {
	limit := 0
	if behind == fromTheStart {
		limit = f.Limit
	}
	where, sessions, err := r.ofExchanges(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	switch index := r.index.Load(); {
	case sessions != nil && len(sessions) <= maxSessionsLinked && behind == fromTheStart && r.version.Load() >= 3:
		hits, err = r.findLinked(ctx, tx, sessions, f, where, limit)
	case index != nil && behind == fromTheStart && len(f.Text) >= gram:
		hits, err = r.findIndexed(ctx, tx, index, f, where, limit)
	default:
		hits, err = r.appendHits(ctx, tx, nil, f, where, behind+1, math.MaxInt64, limit)
	}
	slices.Reverse(hits)
	return hits, err
}

// findLinked is find for a few sessions, the newest first.
func (r *Reader) findLinked(ctx context.Context, tx *sql.Tx, sessions []int64, f *Filter, where *conditions, limit int) (hits []hit, err error) {
	enough := limit
	if !f.isOfSessions() {
		enough = 0
	}
	var ids []int64
	rest := int64(0)
	for _, session := range sessions {
		found, restOf, err := r.linked(ctx, tx, session, enough)
		if err != nil {
			return nil, err
		}
		ids, rest = append(ids, found...), max(rest, restOf)
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	for page := range slices.Chunk(ids, linkedAtOnce) {
		among := conditions{slices.Clone(where.terms), slices.Clone(where.args)}
		among.in("id", page)
		if hits, err = r.appendHits(ctx, tx, hits, f, &among, max(page[len(page)-1], rest+1), page[0], limit); err != nil {
			return nil, err
		}
	}
	switch index := r.index.Load(); {
	case rest == 0:
		return hits, nil
	case index != nil && len(f.Text) >= gram: // which takes less than a look at the rest
		return r.findIndexed(ctx, tx, index, f, where, limit)
	}
	return r.appendHits(ctx, tx, hits, f, where, 1, rest, limit)
}

const linkedAtOnce = 4096 // exchanges that are looked at together

// appendHits selects from the exchanges from one to another that meet the conditions, the newest
// first, until there are as many as the limit, if it is not 0.
func (r *Reader) appendHits(ctx context.Context, tx *sql.Tx, hits []hit, f *Filter, where *conditions, from, to int64, limit int) ([]hit, error) {
	messages := 0
	for _, h := range hits {
		messages += int(bit(!h.loose))
	}
	if limit != 0 && messages >= limit {
		return hits, nil
	}
	accepts := r.accepts(ctx, tx, f)
	row := hitRow{bytes: f.readsBytes()}
	w := r.hits(ctx, tx, row.bytes, f.Loose)
	w.where, w.from, w.to, w.newestFirst = *where, from, to, true
	err := r.walk(ctx, tx, w, &row, func() bool {
		h := row.found()
		request, reply := row.messages()
		if !f.matches(request, reply) || !accepts(h.session, &row.exchangeRow, request, reply) { // of what is loose there is neither
			return true
		}
		hits = append(hits, h)
		messages += int(bit(!h.loose))
		return limit == 0 || messages < limit
	})
	return hits, err
}
