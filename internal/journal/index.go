package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// MinIndexed is how many bytes a text must have to be found by the index. A shorter one is
// looked for in every exchange.
const MinIndexed = gram

const (
	gram       = 3   // bytes in a row
	maxGrams   = 32  // of a text that is searched; what they find is compared with the text anyway
	candidates = 256 // exchanges that are looked at together

	// So much enters the index in one transaction: what many bring is merged with the rest less often, which
	// takes a third off the time.
	indexBatch = 100_000 // exchanges
	indexBytes = 8 << 20 // of messages

	indexID      = 0x50726c49 // PRAGMA application_id of an index: "PrlI"
	indexVersion = 1
)

// indexSchema is that of the text index: for every three bytes in a row, which exchanges have
// them. It knows no positions, which makes a third of the size; the journal's own bytes have
// the last word.
const indexSchema = `
CREATE TABLE indexed (upto INTEGER NOT NULL, received_ns INTEGER NOT NULL); -- the last exchange that is in it
INSERT INTO indexed VALUES (0, 0);
CREATE VIRTUAL TABLE texts USING fts5 (body, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');
INSERT INTO texts (texts, rank) VALUES ('hashsize', 33554432); -- bytes in memory, of what one transaction brings
PRAGMA application_id = %d;
PRAGMA user_version = %d;
`

// A textIndex finds exchanges by the bytes in them.
type textIndex struct {
	db   *sql.DB
	upto int64 // the last exchange that is in it
}

// IndexFile is where the text index of a journal lies.
func IndexFile(journal string) string { return journal + ".index" }

// Index brings the text index up to date, with which Filter.Text is answered from then on,
// and makes it if it is not there. It lies beside the journal, in a file that only its owner
// can read. Without it, or if there is an error, a text is looked for in every exchange.
//
// A million exchanges take 8 to 24 s of CPU time, as their messages are long; progress, if not nil, is told of them.
func (r *Reader) Index(ctx context.Context, progress func(done, all int64)) error {
	r.indexing.Lock()
	defer r.indexing.Unlock()
	index := r.index.Load()
	if index == nil {
		db, err := openIndex(IndexFile(r.file))
		if err != nil {
			return err
		}
		index = &textIndex{db: db}
	}
	var done, all int64
	if err := r.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM exchanges").Scan(&all); err != nil {
		return err
	}
	upto := int64(0)
	for {
		n, last, err := r.indexMore(ctx, index.db)
		if err != nil {
			if r.index.Load() == nil {
				index.db.Close()
			}
			return err
		}
		upto = last
		if n == 0 {
			break
		}
		if done += n; progress != nil {
			progress(done, all)
		}
	}
	r.index.Store(&textIndex{index.db, upto})
	return nil
}

func openIndex(file string) (*sql.DB, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	db, err := sql.Open("sqlite", dataSource(file, "mode=rw&_txlock=immediate&_pragma=cache_size(-32000)", lockPatience))
	if err != nil {
		return nil, err
	}
	if err := checkIndex(db); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w; remove it to have it made anew", file, err)
	}
	return db, nil
}

// checkIndex makes the index's tables in an empty file.
func checkIndex(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var application, version, tables int
	err = tx.QueryRow("SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema").
		Scan(&application, &version, &tables)
	switch {
	case err != nil:
		return err
	case application == indexID && version == indexVersion:
		return nil
	case application != 0 || tables != 0:
		return fmt.Errorf("it is not this version's text index")
	}
	if _, err := tx.Exec(fmt.Sprintf(indexSchema, indexID, indexVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// indexMore takes the next exchanges into the index, and says how many and which was the last.
func (r *Reader) indexMore(ctx context.Context, db *sql.DB) (n, last int64, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, 0, err
	}
	defer tx.Rollback()
	last, received, err := r.indexedUpTo(ctx, tx)
	if err != nil {
		return 0, 0, err
	}
	insert, err := tx.PrepareContext(ctx, "INSERT INTO texts (rowid, body) VALUES (?, ?)")
	if err != nil {
		return 0, 0, err
	}
	defer insert.Close()
	var body []byte
	row := hitRow{bytes: true}
	size := 0
	var failed error
	err = r.snapshot(ctx, func(ctx context.Context, journal *sql.Tx) error {
		w := r.hits(ctx, journal, true, true)
		w.from, w.to = last+1, math.MaxInt64
		return r.walk(ctx, journal, w, &row, func() bool {
			last, received = row.hit.exchange, row.hit.received
			n++
			if row.found().loose {
				return n < int64(r.batch)
			}
			request, reply := row.messages()
			size += len(request) + len(reply)
			body = appendRunes(body[:0], request)
			body = utf8.AppendRune(body, betweenBoth)
			body = appendRunes(body, reply)
			_, failed = insert.ExecContext(ctx, last, string(body))
			return failed == nil && n < int64(r.batch) && size < indexBytes
		})
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, 0, err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE indexed SET upto = ?, received_ns = ?", last, received); err != nil {
		return 0, 0, err
	}
	return n, last, tx.Commit()
}

// indexedUpTo is the last exchange in the index. If it is not in the journal, the journal is
// another one, or was pruned up to here: the index begins anew.
func (r *Reader) indexedUpTo(ctx context.Context, tx *sql.Tx) (last, received int64, err error) {
	if err := tx.QueryRowContext(ctx, "SELECT upto, received_ns FROM indexed").Scan(&last, &received); err != nil {
		return 0, 0, err
	}
	var there int
	err = r.db.QueryRowContext(ctx, "SELECT count(*) FROM exchanges WHERE id = ? AND received_ns = ?", last, received).Scan(&there)
	if err != nil || there > 0 || last == 0 {
		return last, received, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO texts (texts) VALUES ('delete-all')")
	return 0, 0, err
}

// The index is one of text, and payloads are bytes: each byte enters as the character of its
// number, so that none is skipped and three bytes are three characters. SQLite's tokenizer
// stops at NUL, which gets another number.
const (
	forNUL      = 0x100
	betweenBoth = 0x101 // parts request and reply; no byte's character
)

func appendRunes(dst, p []byte) []byte {
	for _, b := range p {
		if b == 0 {
			dst = utf8.AppendRune(dst, forNUL)
		} else {
			dst = utf8.AppendRune(dst, rune(b))
		}
	}
	return dst
}

// findIndexed is find with the index, the newest first. What was recorded behind it is looked
// at without it.
func (r *Reader) findIndexed(ctx context.Context, tx *sql.Tx, index *textIndex, f *Filter, where *conditions, limit int) ([]hit, error) {
	hits, err := r.appendHits(ctx, tx, nil, f, where, index.upto+1, math.MaxInt64, limit)
	if err != nil {
		return nil, err
	}
	rows, err := index.db.QueryContext(ctx, "SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid DESC", grams(f.Text))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for limit == 0 || len(hits) < limit {
		ids, err := nextIDs(rows, candidates)
		if err != nil || len(ids) == 0 {
			return hits, err
		}
		among := conditions{slices.Clone(where.terms), slices.Clone(where.args)}
		among.in("id", ids)
		if hits, err = r.appendHits(ctx, tx, hits, f, &among, ids[len(ids)-1], ids[0], limit); err != nil {
			return nil, err
		}
	}
	return hits, nil
}

// grams asks for all that have the text's three bytes in a row, wherever they are.
func grams(text []byte) string {
	n := len(text) - gram + 1
	step := (n + maxGrams - 1) / maxGrams
	var terms []string
	for i := 0; i < n; i += step {
		term := string(appendRunes(nil, text[i:i+gram]))
		terms = append(terms, `"`+strings.ReplaceAll(term, `"`, `""`)+`"`)
	}
	slices.Sort(terms)
	return strings.Join(slices.Compact(terms), " AND ")
}

func nextIDs(rows *sql.Rows, n int) (ids []int64, err error) {
	for len(ids) < n && rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
