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
	Address string    // what the remote address begins with, such as 10.0. or unix:/run/
	Reason  string    // why the session ended, as docs/events.md names it, or ReasonOpen
	Since   time.Time // at this time or later
	Until   time.Time // before this time

	Text   []byte         // bytes in the request or the reply, exactly
	Regexp *regexp.Regexp // matches the request or the reply
	Slower time.Duration  // it took this long or longer
	Limit  int            // only the newest so many

	// Loose has Events tell of bytes too that belong to no message, as events of the kind
	// parley.Stray, with an Exchange that has RawRequest or RawReply alone. Text and Regexp do
	// not look at them.
	Loose bool
}

// looksAtExchanges says whether a session without exchanges is none of those selected.
func (f *Filter) looksAtExchanges() bool {
	return len(f.Text) > 0 || f.Regexp != nil || f.Slower > 0 || f.Limit > 0
}

func (f *Filter) readsBytes() bool { return len(f.Text) > 0 || f.Regexp != nil }

// matches looks at the bytes.
func (f *Filter) matches(request, reply []byte) bool {
	if len(f.Text) > 0 && !bytes.Contains(request, f.Text) && !bytes.Contains(reply, f.Text) {
		return false
	}
	return f.Regexp == nil || request != nil && f.Regexp.Match(request) || reply != nil && f.Regexp.Match(reply)
}

// covers says whether a time is between Since and Until.
func (f *Filter) covers(ns int64) bool {
	return (f.Since.IsZero() || ns >= f.Since.UnixNano()) && (f.Until.IsZero() || ns < f.Until.UnixNano())
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
func (f *Filter) ofSessions() *conditions {
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
		c.add("(closed_ns IS NULL OR closed_ns >= ?)", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		c.add("opened_ns < ?", f.Until.UnixNano())
	}
}

// ofExchanges is about exchanges, but for their bytes. What it says of their sessions is
// looked up first.
func (r *Reader) ofExchanges(ctx context.Context, tx *sql.Tx, f *Filter) (*conditions, error) {
	c := new(conditions)
	if f.Session != 0 { // also if that has no record of its own
		c.add("session = ?", f.Session)
	}
	others := *f
	others.Session = 0
	if sessions := others.ofSessions(); len(sessions.terms) > 0 {
		ids, err := r.sessionsWhere(ctx, tx, sessions)
		if err != nil {
			return nil, err
		}
		c.in("session", ids)
	}
	if !f.Since.IsZero() {
		c.add("received_ns >= ?", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		c.add("received_ns < ?", f.Until.UnixNano())
	}
	if f.Slower > 0 {
		c.add("took_ns >= ?", int64(f.Slower))
	}
	return c, nil
}

// refusals says whether refused connections can be among what is selected.
func (f *Filter) refusals() bool {
	return f.Session == 0 && f.Number == 0 && f.Slower == 0 && f.Limit == 0
}

// selects says whether a refusal is.
func (f *Filter) selects(r *Refusal) bool {
	return (f.Reason == "" || f.Reason == r.Reason) && f.covers(r.At.UnixNano()) && f.matches(nil, r.Text) &&
		(strings.HasPrefix(r.Remote, f.Address) || strings.HasPrefix(r.Remote, "["+f.Address))
}

// A hit is an exchange that was selected, without its bytes.
type hit struct {
	exchange, session, received, took int64
	unasked                           bool // it has no request
}

// hitColumns are those of a hitRow. What a message is is read only if it is to be looked at.
const (
	hitColumns        = "id, session, received_ns, took_ns, request IS NULL, NULL, NULL"
	hitColumnsOfBytes = "id, session, received_ns, took_ns, request IS NULL, request, reply"
)

type hitRow struct {
	hit
	request, reply blob
}

func (r *hitRow) id() int64 { return r.exchange }
func (r *hitRow) columns() []any {
	return []any{&r.exchange, &r.session, &r.received, &r.took, &r.unasked, &r.request, &r.reply}
}

// fromTheStart is the exchange behind which all others lie.
const fromTheStart = -1

// find selects exchanges behind one of them, in the order of recording. Only from the start
// is there a limit.
func (r *Reader) find(ctx context.Context, tx *sql.Tx, f *Filter, behind int64) (hits []hit, err error) {
	limit := 0
	if behind == fromTheStart {
		limit = f.Limit
	}
	where, err := r.ofExchanges(ctx, tx, f)
	if err != nil {
		return nil, err
	}
	if index := r.index.Load(); index != nil && behind == fromTheStart && len(f.Text) >= gram {
		hits, err = r.findIndexed(ctx, tx, index, f, where, limit)
	} else {
		hits, err = r.appendHits(ctx, tx, nil, f, where, behind, limit)
	}
	slices.Reverse(hits)
	return hits, err
}

// appendHits selects from the exchanges behind one that meet the conditions, the newest
// first, until there are as many as the limit, if it is not 0.
func (r *Reader) appendHits(ctx context.Context, tx *sql.Tx, hits []hit, f *Filter, where *conditions, behind int64, limit int) ([]hit, error) {
	columns := hitColumns
	if f.readsBytes() {
		columns = hitColumnsOfBytes
	}
	if limit != 0 && len(hits) >= limit {
		return hits, nil
	}
	var row hitRow
	w := walk{table: "exchanges", columns: columns, where: *where, from: behind + 1, to: math.MaxInt64, newestFirst: true}
	err := r.walk(ctx, tx, w, &row, func() bool {
		if f.matches(row.request, row.reply) {
			hits = append(hits, row.hit)
		}
		return limit == 0 || len(hits) < limit
	})
	return hits, err
}
