package journal

import (
	"bytes"
	"context"
	"database/sql"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/parley-tcp/parley"
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

func (c *conditions) either(term string, arg any, column string, ids []int64) {
	c.add("("+term+" OR "+column+" IN (SELECT value FROM json_each(?)))", arg, list(ids))
}

func (c *conditions) clause() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// ofSessions is about sessions s, but for the times.
func (f *Filter) ofSessions() *conditions {
	c := new(conditions)
	if f.Session != 0 {
		c.add("s.id = ?", f.Session)
	}
	if f.Number != 0 {
		c.add("s.number = ?", int64(f.Number))
	}
	if f.Address != "" { // an IPv6 address stands in brackets
		c.add("(instr(s.remote, ?) = 1 OR instr(s.remote, '[' || ?) = 1)", f.Address, f.Address)
	}
	switch f.Reason {
	case "":
	case ReasonOpen:
		c.add("s.closed_ns IS NULL")
	default:
		c.add("s.reason = ?", f.Reason)
	}
	return c
}

// overlap adds that a session was open at some time between Since and Until.
func (c *conditions) overlap(f *Filter) {
	if !f.Since.IsZero() {
		c.add("(s.closed_ns IS NULL OR s.closed_ns >= ?)", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		c.add("s.opened_ns < ?", f.Until.UnixNano())
	}
}

// ofExchanges is about exchanges e, but for their bytes.
func (f *Filter) ofExchanges() *conditions {
	c := new(conditions)
	if sessions := f.ofSessions(); len(sessions.terms) > 0 {
		c.add("e.session IN (SELECT s.id FROM sessions s"+sessions.clause()+")", sessions.args...)
	}
	if !f.Since.IsZero() {
		c.add("e.received_ns >= ?", f.Since.UnixNano())
	}
	if !f.Until.IsZero() {
		c.add("e.received_ns < ?", f.Until.UnixNano())
	}
	if f.Slower > 0 {
		c.add("e.took_ns >= ?", int64(f.Slower))
	}
	return c
}

// A hit is an exchange that was selected, without its bytes.
type hit struct {
	exchange, session, received, took int64
}

func (h hit) moments() (received, replied moment) {
	return moment{h.received, h.session, h.exchange, parley.Received},
		moment{h.received + h.took, h.session, h.exchange, parley.Replied}
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
	if index := r.index.Load(); index != nil && behind == fromTheStart && len(f.Text) >= gram {
		hits, err = index.find(ctx, tx, f, limit)
	} else {
		where := f.ofExchanges()
		where.add("e.id > ?", behind)
		hits, err = appendHits(ctx, tx, nil, f, where, limit)
	}
	slices.Reverse(hits)
	return hits, err
}

// appendHits selects from the exchanges that meet the conditions, the newest first, until
// there are as many as the limit, if it is not 0.
func appendHits(ctx context.Context, tx *sql.Tx, hits []hit, f *Filter, where *conditions, limit int) ([]hit, error) {
	bytesOrNot := "NULL, NULL"
	if f.readsBytes() {
		bytesOrNot = "e.request, e.reply"
	}
	rows, err := tx.QueryContext(ctx, "SELECT e.id, e.session, e.received_ns, e.took_ns, "+bytesOrNot+
		" FROM exchanges e"+where.clause()+" ORDER BY e.id DESC", where.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for (limit == 0 || len(hits) < limit) && rows.Next() {
		var h hit
		var request, reply blob
		if err := rows.Scan(&h.exchange, &h.session, &h.received, &h.took, &request, &reply); err != nil {
			return nil, err
		}
		if f.matches(request, reply) {
			hits = append(hits, h)
		}
	}
	return hits, rows.Err()
}
