package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-tcp/parley"
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
func (r *Reader) among(ctx context.Context, q querier, ids []int64, w walk, row row, use func()) error {
	if len(ids) == 0 {
		return nil
	}
	w.from, w.to = ids[0], ids[len(ids)-1]
	w.where.in("id", ids)
	return r.walk(ctx, q, w, row, func() bool {
		use()
		return true
	})
}

// A sessionRow is a row of sessions.
type sessionRow struct {
	Session
	opened                       int64
	closed, ended, sum           sql.NullInt64
	reason                       sql.NullString
	origin, last, stray          sql.NullInt64 // NULL in versions before 3
	tlsVersion, tlsName, through sql.NullString
	outLocal, outRemote          sql.NullString // NULL in versions before 5
}

func (s *sessionRow) id() int64 { return s.ID }
func (s *sessionRow) columns() []any {
	return []any{&s.ID, &s.Number, &s.Remote, &s.Local, &s.opened, &s.closed, &s.reason, &s.Requests, &s.RepliedUpTo, &s.BytesIn, &s.BytesOut, &s.ended, &s.sum,
		&s.origin, &s.last, &s.stray, &s.tlsVersion, &s.tlsName, &s.through, &s.outLocal, &s.outRemote}
}

// session is what the row says; nil, and reported, if that is not what was written.
func (s *sessionRow) session(r *Reader) *Session {
	one := s.Session
	one.Opened, one.Closed, one.Reason = time.Unix(0, s.opened).UTC(), time.Time{}, s.reason.String
	if s.closed.Valid {
		one.Closed = time.Unix(0, s.closed.Int64).UTC()
	}
	one.Stray, one.TLSVersion, one.TLSName, one.Proxied = uint64(s.stray.Int64), s.tlsVersion.String, s.tlsName.String, s.through.String
	one.OutLocal, one.OutRemote = s.outLocal.String, s.outRemote.String
	if s.sum.Valid && s.sum.Int64 != new(checksummer).session(&one, s.ended.Int64, s.origin.Int64, s.last.Int64) {
		r.report(Damage{"sessions", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) sessionColumns() string {
	const columns = "id, number, remote, local, opened_ns, closed_ns, reason, requests, replied_upto, bytes_in, bytes_out, "
	switch r.version.Load() {
	case 1:
		return columns + "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
	case 2:
		return columns + "ended, sum, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
	case 3, 4:
		return columns + "ended, sum, origin, last, stray, tls_version, tls_name, proxied, NULL, NULL"
	}
	return columns + "ended, sum, origin, last, stray, tls_version, tls_name, proxied, out_local, out_remote"
}

func (r *Reader) sessions(ctx context.Context, ids []int64) (map[int64]*Session, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make(map[int64]*Session, len(ids))
	err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		origins := make(map[int64]int64, len(ids))
		var row sessionRow
		if err := r.among(ctx, tx, ids, walk{table: "sessions", columns: r.sessionColumns()}, &row, func() {
			if s := row.session(r); s != nil {
				found[s.ID], origins[s.ID] = s, row.origin.Int64
			}
		}); err != nil {
			return err
		}
		for id, s := range found {
			about, err := r.origin(ctx, tx, origins[id])
			if err != nil {
				return err
			}
			s.About = about
		}
		return nil
	})
	return found, err
}

// origins are what the table of that name says.
type origins struct {
	mu  sync.Mutex
	all map[int64]About
}

// origin is what is known of how something came to be; 0 is nothing.
func (r *Reader) origin(ctx context.Context, q querier, id int64) (About, error) {
	r.origins.mu.Lock()
	defer r.origins.mu.Unlock()
	if about, known := r.origins.all[id]; known || id == 0 {
		return about, nil
	}
	if r.origins.all == nil {
		r.origins.all = make(map[int64]About)
	}
	r.origins.all[id] = About{} // unless it can be read
	var row originRow
	err := r.walk(ctx, q, walk{table: "origins", columns: originColumns, from: 1, to: math.MaxInt64}, &row, func() bool {
		if about := row.about(r); about != nil {
			r.origins.all[row.ID] = *about
		}
		return true
	})
	if err != nil { // such as that nobody wants to know any more: the next one may
		delete(r.origins.all, id)
	}
	return r.origins.all[id], err
}

// An originRow is a row of origins.
type originRow struct {
	ID int64
	About
	sum sql.NullInt64
}

const originColumns = "id, framing, role, listener, upstream, node, sum"

func (o *originRow) id() int64 { return o.ID }
func (o *originRow) columns() []any {
	return []any{&o.ID, &o.Framing, &o.Role, &o.Listener, &o.Upstream, &o.Node, &o.sum}
}

// about is what the row says; nil, and reported, if that is not what was written.
func (o *originRow) about(r *Reader) *About {
	if o.sum.Int64 != new(checksummer).origin(o.ID, &o.About) {
		r.report(Damage{"origins", o.ID, o.ID, badSum})
		return nil
	}
	about := o.About
	return &about
}

// An exchangeRow is a row of exchanges, and what cuts has of it.
type exchangeRow struct {
	ID int64
	record
	took                                       int64
	requestBytes, replyBytes                   blob
	requestPlace, replyPlace, partsColumn, sum sql.NullInt64 // parts is NULL in versions before 3
	rare                                       rareRow
	sums                                       checksummer
}

func (x *exchangeRow) id() int64 { return x.ID }
func (x *exchangeRow) columns() []any {
	return []any{(*number)(&x.ID), (*exchangeNumbers)(x), &x.requestBytes, &x.replyBytes}
}

// exchangeNumbers are all but the bytes.
type exchangeNumbers exchangeRow

func (x *exchangeNumbers) Scan(column any) error {
	n := numbersOf(column)
	x.session, x.seq, x.received, x.took = n.next(), n.natural(), n.next(), n.next()
	x.sum, x.requestPlace, x.replyPlace, x.partsColumn = n.orNull(), n.orNull(), n.orNull(), n.orNull()
	x.rare = n.rare()
	return n.end()
}

// unpack has the record say what the columns do.
func (x *exchangeRow) unpack() {
	x.record.took = time.Duration(x.took)
	x.requestAt, x.replyAt = placeOf(x.requestPlace), placeOf(x.replyPlace)
	x.takeParts(x.partsColumn.Int64)
	x.rare.unpack(&x.record)
}

// A rareRow is a row of cuts, which hardly any exchange has. A field is not there if it is NULL, or of
// a later version.
type rareRow [rareFields]sql.NullInt64

const rareFields = 10

// unpack is the order of rareColumn.
func (r *rareRow) unpack(into *record) {
	into.requestCut, into.replyCut = uint64(r[0].Int64), uint64(r[1].Int64)
	into.requestRawCut, into.replyRawCut = uint64(r[2].Int64), uint64(r[3].Int64)
	for i, of := range []*int{&into.requestHead, &into.requestTail, &into.replyHead, &into.replyTail} {
		if r[4+i].Valid {
			*of = int(r[4+i].Int64)
		}
	}
	into.requestWhole, into.replyWhole = int(r[8].Int64), int(r[9].Int64)
}

// rareColumn is what a rareRow is read of, as the last ones of some numbers: NULL if there is none.
func (r *Reader) rareColumn() string {
	columns := []string{"cuts.request", "cuts.reply"}
	if r.version.Load() >= 3 {
		columns = append(columns, "request_raw", "reply_raw", "request_head", "request_tail", "reply_head", "reply_tail")
	}
	if r.version.Load() >= 4 {
		columns = append(columns, "request_whole", "reply_whole")
	}
	for len(columns) < rareFields {
		columns = append(columns, "''")
	}
	return "iif(cuts.exchange IS NULL, NULL, coalesce(" + strings.Join(columns, ", '') || ',' || coalesce(") + ", ''))"
}

func placeOf(column sql.NullInt64) int64 {
	if !column.Valid {
		return -1
	}
	return column.Int64
}

// messages are the request and the reply, without their framing.
func (x *exchangeRow) messages() (request, reply []byte) {
	x.unpack()
	request, _ = x.side(x.requestBytes, x.requestAt, x.requestHead, x.requestTail, 0)
	reply, _ = x.side(x.replyBytes, x.replyAt, x.replyHead, x.replyTail, 0)
	return request, reply
}

// isWhole unpacks the row, and reports if it is not what was written.
func (x *exchangeRow) isWhole(r *Reader) bool {
	x.unpack()
	var sum int64
	if x.partsColumn.Valid {
		sum = x.sums.linked(x.ID, &x.record, x.partsColumn.Int64, x.requestBytes, x.replyBytes)
	} else {
		sum = x.sums.exchange(x.ID, &x.record, x.requestBytes, x.replyBytes)
	}
	return r.believes("exchanges", x.ID, !x.sum.Valid || x.sum.Int64 == sum)
}

// exchange is what the row says; not there, and reported, if that is not what was written.
func (x *exchangeRow) exchange(r *Reader) (one Exchange, there bool) {
	if !x.isWhole(r) {
		return one, false
	}
	one = Exchange{ID: x.ID, Session: x.session, Seq: x.seq, Received: time.Unix(0, x.received).UTC(), Took: x.record.took,
		RequestCut: x.requestCut, ReplyCut: x.replyCut, Secret: x.secret, RequestWhole: x.requestWhole, ReplyWhole: x.replyWhole}
	one.Request, one.RawRequest = x.side(x.requestBytes, x.requestAt, x.requestHead, x.requestTail, x.requestRawCut)
	one.Reply, one.RawReply = x.side(x.replyBytes, x.replyAt, x.replyHead, x.replyTail, x.replyRawCut)
	return one, true
}

const joinCuts = " LEFT JOIN cuts ON cuts.exchange = exchanges.id"

// rareIn is what a rareRow is read of in one transaction, and what is joined for it: nothing if no exchange has
// one, as in most journals. To look for that of each takes a tenth of the time of reading it.
func (r *Reader) rareIn(ctx context.Context, q querier) (column, join string) {
	if any, err := hasRows(ctx, q, "cuts"); any || err != nil { // which is seen where it matters
		return r.rareColumn(), joinCuts
	}
	return "NULL", ""
}

func (r *Reader) exchangeColumns(rare string) string {
	linked := "coalesce(sum, ''), coalesce(request_at, ''), coalesce(reply_at, ''), coalesce(parts, '')"
	switch r.version.Load() {
	case 1:
		linked = "'', '', '', ''"
	case 2:
		linked = "coalesce(sum, ''), '', '', ''"
	}
	return "id, concat_ws(',', session, seq, received_ns, took_ns, " + linked + ", " + rare + "), exchanges.request, exchanges.reply"
}

// exchanges are those of some ids, and how many bytes they have. If these are more than most, some may
// be missing.
func (r *Reader) exchanges(ctx context.Context, ids []int64, most int) (found map[int64]*Exchange, bytes int, err error) {
	if len(ids) == 0 {
		return nil, 0, nil
	}
	found = make(map[int64]*Exchange, len(ids))
	all := make([]Exchange, 0, len(ids)) // together, which takes less than one by one
	err = r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		rare, join := r.rareIn(ctx, tx)
		w := walk{table: "exchanges", join: join, columns: r.exchangeColumns(rare), from: ids[0], to: ids[len(ids)-1]}
		if between := w.to - w.from; between > 2*int64(len(ids)) { // to look up each costs as much as to read another one
			w.where.in("id", ids)
		}
		var row exchangeRow
		if err := r.walk(ctx, tx, w, &row, func() bool {
			if _, wanted := slices.BinarySearch(ids, row.ID); !wanted {
				return true
			}
			if x, there := row.exchange(r); there {
				all = append(all, x)
				found[x.ID] = &all[len(all)-1]
				bytes += len(row.requestBytes) + len(row.replyBytes)
			}
			return bytes <= most
		}); err != nil {
			return err
		}
		return r.addFaults(ctx, tx, maps.Values(found))
	})
	return found, bytes, err
}

// A refusalRow is a row of refused.
type refusalRow struct {
	Refusal
	at                   int64
	told                 blob
	sum                  sql.NullInt64
	origin, head, length sql.NullInt64 // NULL in versions before 3
}

func (r *Reader) refusalColumns() string {
	const columns = "id, at_ns, remote, local, reason, told, sum, "
	if r.version.Load() < 3 {
		return columns + "NULL, NULL, NULL"
	}
	return columns + "origin, head, length"
}

func (x *refusalRow) id() int64 { return x.ID }
func (x *refusalRow) columns() []any {
	return []any{&x.ID, &x.at, &x.Remote, &x.Local, &x.Reason, &x.told, &x.sum, &x.origin, &x.head, &x.length}
}

// refusal is what the row says; nil, and reported, if that is not what was written.
func (x *refusalRow) refusal(r *Reader) *Refusal {
	one := x.Refusal
	one.At, one.Text = time.Unix(0, x.at).UTC(), x.told
	if head, length := x.head.Int64, x.length.Int64; x.length.Valid && min(head, length) >= 0 && length <= int64(len(x.told))-head {
		one.Text = x.told[head : head+length]
		one.RawText = parley.Raw{Bytes: x.told, Body: int(head)}
	}
	if x.sum.Valid && x.sum.Int64 != new(checksummer).refusal(&one, x.origin.Int64) {
		r.report(Damage{"refused", one.ID, one.ID, badSum})
		return nil
	}
	return &one
}

func (r *Reader) refusals(ctx context.Context, ids []int64) (map[int64]*Refusal, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found := make(map[int64]*Refusal, len(ids))
	err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var row refusalRow
		origins := make(map[int64]int64, len(ids))
		err := r.among(ctx, tx, ids, walk{table: "refused", columns: r.refusalColumns()}, &row, func() {
			if one := row.refusal(r); one != nil {
				found[one.ID], origins[one.ID] = one, row.origin.Int64
			}
		})
		for id, one := range found {
			about, originErr := r.origin(ctx, tx, origins[id])
			one.About, err = about, errors.Join(err, originErr)
		}
		return err
	})
	return found, err
}

// A number is a column of numbers. What has no Scan of its own goes through database/sql's reflection,
// which costs as much as reading it.
type number int64

func (n *number) Scan(column any) (err error) {
	*(*int64)(n), err = integer(column)
	return err
}

// numbers are several columns in one text, "7,1,,-3", where NULL is empty. SQLite makes it in half of
// the time in which they are fetched one by one: each of these locks the connection, and allocates.
type numbers struct {
	rest  string
	ended bool
	err   error // the first one
}

var errNumbers = errors.New("not the numbers that are expected")

func numbersOf(column any) numbers {
	if text, is := column.(string); is {
		return numbers{rest: text}
	}
	return numbers{ended: true, err: errNumbers}
}

// orNull is the next one. It is read here, since strconv, for which its end has to be found first, takes
// three times as long.
func (n *numbers) orNull() (one sql.NullInt64) {
	if n.ended {
		n.err = errNumbers
		return one
	}
	text, value, at := n.rest, uint64(0), 0
	negative := text != "" && text[0] == '-'
	if negative {
		at = 1
	}
	first := at
	for at < len(text) && text[at]-'0' <= 9 {
		value = 10*value + uint64(text[at]-'0')
		at++
	}
	digits, most := at-first, uint64(math.MaxInt64)
	if negative {
		most++
	}
	switch {
	case at == len(text):
		n.rest, n.ended = "", true
	case text[at] == ',':
		n.rest = text[at+1:]
	default:
		n.ended, n.err = true, errNumbers
	}
	switch {
	case digits == 0 && !negative:
		return one
	case digits == 0, digits > maxDigits, value > most:
		n.err = errNumbers
	}
	if negative {
		value = -value
	}
	return sql.NullInt64{Int64: int64(value), Valid: true}
}

const maxDigits = 19 // of an int64; as many fit into a uint64

func (n *numbers) next() int64 {
	one := n.orNull()
	if !one.Valid {
		n.err = errNumbers
	}
	return one.Int64
}

// natural is the next one, which is not negative.
func (n *numbers) natural() uint64 {
	one := n.next()
	if one < 0 {
		n.err = errNumbers
	}
	return uint64(one)
}

// rare is what is behind the others, if there is more.
func (n *numbers) rare() (row rareRow) {
	if !n.ended {
		for i := range row {
			row[i] = n.orNull()
		}
	}
	return row
}

// end is the error of all of them.
func (n *numbers) end() error {
	if !n.ended {
		return errNumbers
	}
	return n.err
}

func integer(column any) (int64, error) {
	n, is := column.(int64)
	if !is {
		return 0, fmt.Errorf("%T where a number is expected", column)
	}
	return n, nil
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
