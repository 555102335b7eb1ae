package journal

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"

	"github.com/parley-tcp/parley"
)

// A Concealer conceals parts of what was said. It changes no bytes that it is given, and reports
// whether it has replaced any.
type Concealer interface {
	Exchange(parley.Exchange) (concealed parley.Exchange, any bool)
	Replace(text []byte) (concealed []byte, any bool)
}

// Copied is what a copy has.
type Copied struct {
	Sessions, Exchanges, Refused int64
	Concealed                    int64 // exchanges and refusals of which parts were replaced
}

// Copy makes a journal that has all of this one, with the same numbers, but for what is to be concealed,
// in a file that is empty. It is another journal: it has an identity of its own, and nobody has followed it yet. What is damaged is left out. What was concealed is never written there.
func (r *Reader) Copy(ctx context.Context, file string, conceal Concealer) (Copied, error) {
	c := &copier{reader: r, conceal: conceal}
	if err := c.create(file); err != nil {
		return c.Copied, err
	}
	err := c.copySnapshot(ctx)
	if e := c.db.Close(); err == nil {
		err = e
	}
	return c.Copied, err
}

// copySnapshot copies the journal as it is at one moment, which may take as long as it does.
func (c *copier) copySnapshot(ctx context.Context) error {
	from, err := c.reader.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer from.Rollback()
	if err := c.reader.lookAgain(ctx, from); err != nil {
		return err
	}
	return c.copy(ctx, from)
}

// A copier fills a journal with what another has.
type copier struct {
	Copied
	reader   *Reader
	conceal  Concealer
	db       *sql.DB
	to       *sql.Tx
	one, cut *sql.Stmt
	sums     checksummer
	err      error // of writing
}

func (c *copier) create(name string) (err error) {
	f := &file{name: name}
	if f.conn, err = connect(name, "mode=rwc"); err != nil {
		return err
	}
	if err := f.setUp(); err != nil {
		f.conn.Close()
		return plain(err)
	}
	if err := f.conn.Close(); err != nil {
		return err
	}
	// It is no journal before it is whole: nothing has to be undone.
	c.db, err = sql.Open("sqlite", dataSource(name, "mode=rw&_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)", writerPatience))
	if err == nil {
		c.db.SetMaxOpenConns(1)
	}
	return err
}

func (c *copier) copy(ctx context.Context, from *sql.Tx) (err error) {
	if c.to, err = c.db.BeginTx(ctx, nil); err != nil {
		return err
	}
	defer c.to.Rollback()
	const exchanges = "INSERT INTO exchanges (id, session, seq, received_ns, took_ns, request, reply, sum, request_at, reply_at, parts) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
	if c.one, err = c.to.PrepareContext(ctx, exchanges); err != nil {
		return err
	}
	if c.cut, err = c.to.PrepareContext(ctx, "INSERT INTO cuts VALUES (?,?,?,?,?,?,?,?,?,?,?)"); err != nil {
		return err
	}
	if _, err := c.to.ExecContext(ctx, "DELETE FROM writer"); err != nil {
		return err
	}
	for _, t := range []struct {
		name  string
		since int64 // the version that has it first
	}{{"sessions", 1}, {"gaps", 1}, {"writer", 1}, {"origins", 3}, {"latest", 3}, {"faults", 4}, {"sources", 5}, {"collected", 5}} {
		if c.reader.version.Load() >= t.since {
			if err := c.table(ctx, from, t.name); err != nil {
				return err
			}
		}
	}
	if err := c.exchanges(ctx, from); err != nil {
		return err
	}
	if err := c.refusals(ctx, from); err != nil {
		return err
	}
	if err := c.finish(ctx); err != nil {
		return err
	}
	if err := c.to.Commit(); err != nil {
		return err
	}
	// The -wal file of an empty journal was removed before. Should the power fail before that is on the disk, it would be back, and
	// be taken for what is newest: with a new one SQLite has the disk keep which files there are.
	_, err = c.db.ExecContext(ctx, fmt.Sprintf("PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL; PRAGMA user_version = %d", schemaVersion))
	return err
}

// table copies the rows of a table in which there is nothing to conceal.
func (c *copier) table(ctx context.Context, from *sql.Tx, name string) error {
	rows, err := from.QueryContext(ctx, "SELECT * FROM "+name)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for i, column := range columns { // which the file may have from anybody
		columns[i] = `"` + strings.ReplaceAll(column, `"`, `""`) + `"`
	}
	insert, err := c.to.PrepareContext(ctx, "INSERT INTO "+name+" ("+strings.Join(columns, ", ")+") VALUES (?"+strings.Repeat(",?", len(columns)-1)+")")
	if err != nil {
		return err
	}
	defer insert.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, value := range values {
			if bytes, is := value.([]byte); is && bytes == nil {
				values[i] = []byte{} // which is not NULL
			}
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
		if name == "sessions" {
			c.Sessions++
		}
	}
	return rows.Err()
}

func (c *copier) exchanges(ctx context.Context, from *sql.Tx) error {
	r := c.reader
	var row exchangeRow
	err := r.walk(ctx, from, walk{table: "exchanges", join: joinCuts, columns: r.exchangeColumns(r.rareColumn()), from: fromTheStart + 1, to: math.MaxInt64}, &row, func() bool {
		if x, there := row.exchange(r); there {
			c.err = c.exchange(ctx, &row, &x)
		}
		return c.err == nil
	})
	if c.err != nil {
		return c.err
	}
	return err
}

// exchange copies one exchange, which is what its row says.
func (c *copier) exchange(ctx context.Context, row *exchangeRow, x *Exchange) error {
	changed, any := c.conceal.Exchange(parley.Exchange{
		Seq: x.Seq, Request: x.Request, Reply: x.Reply, RawRequest: x.RawRequest, RawReply: x.RawReply,
		RequestWhole: x.RequestWhole, ReplyWhole: x.ReplyWhole,
	})
	if any {
		c.Concealed++
		// Only what lies between its head and its tail is another.
		row.requestBytes, row.replyBytes = kept(changed.Request, changed.RawRequest), kept(changed.Reply, changed.RawReply)
		row.requestWhole, row.replyWhole = changed.RequestWhole, changed.ReplyWhole
		switch {
		case row.partsColumn.Valid:
			row.sum.Int64 = c.sums.linked(row.ID, &row.record, row.partsColumn.Int64, row.requestBytes, row.replyBytes)
		case row.sum.Valid:
			row.sum.Int64 = c.sums.exchange(row.ID, &row.record, row.requestBytes, row.replyBytes)
		}
	}
	if !row.loose {
		c.Exchanges++
	}
	_, err := c.one.ExecContext(ctx, row.ID, row.session, int64(row.seq), row.received, row.took, orNull(row.requestBytes), orNull(row.replyBytes),
		row.sum, row.requestPlace, row.replyPlace, row.partsColumn)
	if err != nil || !row.isRare() {
		return err
	}
	_, err = c.cut.ExecContext(ctx, row.ID, int64(row.requestCut), int64(row.replyCut), int64(row.requestRawCut), int64(row.replyRawCut),
		row.requestHead, row.requestTail, row.replyHead, row.replyTail, row.requestWhole, row.replyWhole)
	return err
}

// orNull is a message as the driver takes it: an empty one is not NULL.
func orNull(message []byte) any {
	if message == nil {
		return nil
	}
	return message
}

// kept is a message as its row has it.
func kept(body []byte, raw parley.Raw) []byte {
	if raw.Bytes != nil {
		return raw.Bytes
	}
	return body
}

func (c *copier) refusals(ctx context.Context, from *sql.Tx) error {
	r := c.reader
	if r.version.Load() < 2 {
		return nil
	}
	var row refusalRow
	err := r.walk(ctx, from, walk{table: "refused", columns: r.refusalColumns(), from: fromTheStart + 1, to: math.MaxInt64}, &row, func() bool {
		if one := row.refusal(r); one != nil {
			c.err = c.refusal(ctx, &row, one)
		}
		return c.err == nil
	})
	if c.err != nil {
		return c.err
	}
	return err
}

func (c *copier) refusal(ctx context.Context, row *refusalRow, one *Refusal) error {
	c.Refused++
	if text, any := c.conceal.Replace(one.Text); any {
		c.Concealed++
		raw := one.RawText.Bytes
		if raw != nil {
			end := one.RawText.Body + len(one.Text)
			raw = append(append(append([]byte{}, raw[:one.RawText.Body]...), text...), raw[end:]...)
			row.length.Int64 = int64(len(text))
		}
		one.Text, one.RawText.Bytes = text, raw
		row.told = kept(text, one.RawText)
		if row.sum.Valid {
			row.sum.Int64 = c.sums.refusal(one, row.origin.Int64)
		}
	}
	_, err := c.to.ExecContext(ctx, "INSERT INTO refused (id, at_ns, remote, local, reason, told, sum, origin, head, length) VALUES (?,?,?,?,?,?,?,?,?,?)",
		row.ID, row.at, row.Remote, row.Local, row.Reason, orNull(row.told), row.sum, row.origin, row.head, row.length)
	return err
}

// finish adds what bringing an old journal up to date would.
func (c *copier) finish(ctx context.Context) error {
	var old bool
	if err := c.to.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM exchanges WHERE parts IS NULL)").Scan(&old); err != nil || !old {
		return err
	}
	_, err := c.to.ExecContext(ctx, unlinked+"; UPDATE writer SET sum = NULL, session = max(session, (SELECT coalesce(max(session), 0) FROM exchanges))")
	return err
}
