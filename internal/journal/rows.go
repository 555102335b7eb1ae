package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// unique returns each of the numbers once. 0 is none.
func unique[T any](all []T, of func(T) int64) []int64 {
	ids := make([]int64, 0, len(all))
	for _, one := range all {
		if id := of(one); id != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// pageSize is how many rows are read at once; what they say is in memory together.
const pageSize = 64

// among reads the rows of some ids.
func (r *Reader) among(ctx context.Context, ids []int64, w walk, row row, use func()) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := r.limit(ctx)
	defer cancel()
	w.from, w.to = ids[0], ids[len(ids)-1]
	w.where.in("id", ids)
	return inTime(ctx, r.walk(ctx, r.db, w, row, func() bool {
		use()
		return true
	}))
}

// A sessionRow is a row of sessions.
type sessionRow struct {
	Session
	opened             int64
	closed, ended, sum sql.NullInt64
	reason             sql.NullString
}

func (s *sessionRow) id() int64 { return s.ID }
func (s *sessionRow) columns() []any {
	return []any{&s.ID, &s.Number, &s.Remote, &s.Local, &s.opened, &s.closed, &s.reason, &s.Requests, &s.RepliedUpTo, &s.BytesIn, &s.BytesOut, &s.ended, &s.sum}
}

// session is what the row says; nil, and reported, if that is not what was written.
func (s *sessionRow) session(r *Reader) *Session {
	one := s.Session
	one.Opened, one.Closed, one.Reason = time.Unix(0, s.opened).UTC(), time.Time{}, s.reason.String
	if s.closed.Valid {
		one.Closed = time.Unix(0, s.closed.Int64).UTC()
	}
	if s.sum.Valid && s.sum.Int64 != new(checksummer).session(&one, s.ended.Int64) {
		r.report(Damage{"sessions", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) sessionColumns() string {
	const columns = "id, number, remote, local, opened_ns, closed_ns, reason, requests, replied_upto, bytes_in, bytes_out, "
	if r.version == 1 {
		return columns + "NULL, NULL"
	}
	return columns + "ended, sum"
}

func (r *Reader) sessions(ctx context.Context, ids []int64) (map[int64]*Session, error) {
	found := make(map[int64]*Session, len(ids))
	var row sessionRow
	err := r.among(ctx, ids, walk{table: "sessions", columns: r.sessionColumns()}, &row, func() {
		if s := row.session(r); s != nil {
			found[s.ID] = s
		}
	})
	return found, err
}

// An exchangeRow is a row of exchanges, and what cuts has of it.
type exchangeRow struct {
	Exchange
	received       int64
	request, reply blob
	sum            sql.NullInt64
}

func (x *exchangeRow) id() int64 { return x.ID }
func (x *exchangeRow) columns() []any {
	return []any{&x.ID, &x.Session, &x.Seq, &x.received, &x.Took, &x.request, &x.reply, &x.RequestCut, &x.ReplyCut, &x.sum}
}

// exchange is what the row says; nil, and reported, if that is not what was written.
func (x *exchangeRow) exchange(r *Reader) *Exchange {
	one := x.Exchange
	one.Received, one.Request, one.Reply = time.Unix(0, x.received).UTC(), x.request, x.reply
	sum := new(checksummer).exchange(one.ID, one.Session, int64(one.Seq), x.received, int64(one.Took),
		int64(one.RequestCut), int64(one.ReplyCut), one.Request, one.Reply)
	if x.sum.Valid && x.sum.Int64 != sum {
		r.report(Damage{"exchanges", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

const joinCuts = " LEFT JOIN cuts ON cuts.exchange = exchanges.id"

func (r *Reader) exchangeColumns() string {
	const columns = "id, session, seq, received_ns, took_ns, exchanges.request, exchanges.reply, coalesce(cuts.request, 0), coalesce(cuts.reply, 0), "
	if r.version == 1 {
		return columns + "NULL"
	}
	return columns + "sum"
}

func (r *Reader) exchanges(ctx context.Context, ids []int64) (map[int64]*Exchange, error) {
	found := make(map[int64]*Exchange, len(ids))
	var row exchangeRow
	err := r.among(ctx, ids, walk{table: "exchanges", join: joinCuts, columns: r.exchangeColumns()}, &row, func() {
		if x := row.exchange(r); x != nil {
			found[x.ID] = x
		}
	})
	return found, err
}

// A refusalRow is a row of refused.
type refusalRow struct {
	Refusal
	at   int64
	told blob
	sum  sql.NullInt64
}

const refusalColumns = "id, at_ns, remote, local, reason, told, sum"

func (x *refusalRow) id() int64 { return x.ID }
func (x *refusalRow) columns() []any {
	return []any{&x.ID, &x.at, &x.Remote, &x.Local, &x.Reason, &x.told, &x.sum}
}

// refusal is what the row says; nil, and reported, if that is not what was written.
func (x *refusalRow) refusal(r *Reader) *Refusal {
	one := x.Refusal
	one.At, one.Text = time.Unix(0, x.at).UTC(), x.told
	if x.sum.Valid && x.sum.Int64 != new(checksummer).refusal(&one) {
		r.report(Damage{"refused", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) refusals(ctx context.Context, ids []int64) (map[int64]*Refusal, error) {
	found := make(map[int64]*Refusal, len(ids))
	var row refusalRow
	err := r.among(ctx, ids, walk{table: "refused", columns: refusalColumns}, &row, func() {
		if one := row.refusal(r); one != nil {
			found[one.ID] = one
		}
	})
	return found, err
}

// A blob is a column of bytes in which nothing and no bytes are two things.
type blob []byte

func (b *blob) Scan(column any) error {
	switch v := column.(type) {
	case nil:
		*b = nil
	case []byte:
		*b = append([]byte{}, v...)
	case string:
		*b = []byte(v)
	default:
		return fmt.Errorf("%T where bytes are expected", v)
	}
	return nil
}

// list is numbers as SQLite's json_each takes them: one parameter, however many there are.
func list(ids []int64) string {
	text, _ := json.Marshal(ids) // numbers cannot fail
	return string(text)
}
