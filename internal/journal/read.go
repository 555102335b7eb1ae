package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	codePermission   = 3  // SQLITE_PERM
	codeReadOnly     = 8  // SQLITE_READONLY
	codeCannotOpen   = 14 // SQLITE_CANTOPEN
	codeNotADatabase = 26 // SQLITE_NOTADB

	lockPatience = 5 * time.Second // with a writer that is just starting or ending
)

// ErrNotAJournal is returned for a file that is something else.
var ErrNotAJournal = errors.New("not a journal of parley")

// A Reader reads a journal, also while a server writes to it, which it never holds up: the
// file is opened read-only, and no transaction stays open while its caller is at work. A
// Reader is safe for use by several goroutines.
//
// What is damaged is left out. Who wants to know of it sets Damaged before reading; it may be called
// while an event is told, since what comes next is read meanwhile.
type Reader struct {
	Damaged func(Damage) // told of each damage once; nothing is if it is nil
	Notice  string       // what is known to be missing of the whole, as the newest records; empty if nothing

	file    string
	db      *sql.DB
	version atomic.Int64 // of the journal: a writer may bring it up to date meanwhile
	origins origins
	alone   bool // no writer was there at the start, and what a reader leaves behind can be taken away

	mu       sync.Mutex
	reported map[Damage]bool

	batch    int           // indexBatch; tests lower it
	patience time.Duration // instead of limit's, if not 0; of tests
	slice    int64         // instead of sliceRows, if not 0; of tests
	indexing sync.Mutex
	index    atomic.Pointer[textIndex] // nil until Index has brought it up to date
}

// Open opens a journal for reading. The error is fs.ErrNotExist if there is none,
// ErrNotAJournal, or says that a newer parley has written it.
func Open(file string) (*Reader, error) {
	// SQLite would say no more than that it cannot open it.
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case !info.Mode().IsRegular():
		return nil, ErrNotAJournal
	}
	r := &Reader{file: file, alone: !isFile(file + "-wal"), batch: indexBatch}
	err = r.open("mode=ro")
	switch primary(codeOf(err)) {
	case codeCannotOpen, codeReadOnly, codePermission:
		err = r.openUnwritable(err)
	case codeNotADatabase:
		err = ErrNotAJournal
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// openUnwritable opens a journal where SQLite has no place to meet a writer in: its directory
// or its file system cannot be written. Then there is none, unless it is another user's.
func (r *Reader) openUnwritable(why error) error {
	f, err := os.Open(r.file)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	if err := tryReadLock(f); err == errLocked {
		return fmt.Errorf("%w; while a server writes it, it can be read only by who may write beside it", why)
	}
	r.alone = false
	log, err := os.Open(r.file + "-wal")
	if err == nil {
		defer log.Close()
	}
	info, statErr := os.Stat(r.file + "-wal")
	switch {
	case errors.Is(err, fs.ErrNotExist), statErr == nil && info.Size() == 0:
		return r.open("mode=ro&immutable=1")
	case err != nil:
		r.Notice = fmt.Sprintf("the newest records are missing: its -wal file cannot be read (%v)", errors.Unwrap(err))
		return r.open("mode=ro&immutable=1")
	}
	// Without locks, and with the index of the -wal file in memory.
	return r.open("mode=ro&vfs=unix-none&_pragma=locking_mode(EXCLUSIVE)")
}

func (r *Reader) open(how string) (err error) {
	if r.db, err = sql.Open("sqlite", dataSource(r.file, how, lockPatience)); err != nil {
		return err
	}
	if err = r.check(); err != nil {
		r.db.Close()
	}
	return err
}

// check says whether it is a journal that can be read here. What is in the file is not
// trusted: a view could stand where a table is expected, and compute for ever.
func (r *Reader) check() error {
	var application, version, tables, computed int64
	err := r.db.QueryRow("SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), "+
		"(SELECT count(*) FROM sqlite_schema WHERE "+isOurTable+"), "+
		"(SELECT count(*) FROM (SELECT name AS ours FROM sqlite_schema WHERE "+isOurTable+"), pragma_table_xinfo(ours) WHERE hidden > 0)").
		Scan(&application, &version, &tables, &computed)
	switch {
	case err != nil:
		return err
	case application != 0 && application != fileID, version < 1:
		return ErrNotAJournal
	case version > schemaVersion:
		return tooNew(version)
	case tables != ourTables(version), computed > 0:
		return ErrNotAJournal
	}
	r.version.Store(version)
	return nil
}

func tooNew(version int64) error {
	return fmt.Errorf("a newer parley has written it (journal version %d; this one reads %d)", version, schemaVersion)
}

// dataSource is the URI that SQLite knows a file by, and how long it waits for a lock.
func dataSource(file, how string, patience time.Duration) string {
	return uriOf(file) + "?" + how + "&_pragma=" + strings.Join(pragmas(patience), "&_pragma=")
}

// uriOf is a file's name as SQLite takes it.
func uriOf(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	path := "/" + strings.TrimPrefix(filepath.ToSlash(file), "/")
	return "file://" + (&url.URL{Path: path}).EscapedPath()
}

// pragmas are how each connection is set.
func pragmas(patience time.Duration) []string {
	return []string{fmt.Sprintf("busy_timeout(%d)", patience.Milliseconds()), "trusted_schema(OFF)", "cell_size_check(ON)"}
}

// codeOf is SQLite's own number of an error, with its details.
func codeOf(err error) int {
	var e interface{ Code() int } // the driver's, or sqliteconn's
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// primary is such a number without its details.
func primary(code int) int { return code & 0xff }

func isFile(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// Close closes the files.
func (r *Reader) Close() error {
	var err error
	if index := r.index.Load(); index != nil {
		err = index.db.Close()
	}
	err = errors.Join(err, r.db.Close())
	if r.alone {
		r.tidy()
	}
	return err
}

// tidy takes away the empty -wal and -shm files that a read-only connection has to make where
// there are none, and cannot take away. The last connection that may write does, and only if
// it is the last.
func (r *Reader) tidy() {
	db, err := sql.Open("sqlite", dataSource(r.file, "mode=rw", lockPatience))
	if err != nil {
		return
	}
	defer db.Close()
	db.Exec("SELECT count(*) FROM sqlite_schema")
}

// snapshot lets f read the journal as it was at one moment.
func (r *Reader) snapshot(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return inTime(ctx, err)
	}
	defer tx.Rollback()
	if err := r.lookAgain(ctx, tx); err != nil {
		return inTime(ctx, err)
	}
	return inTime(ctx, f(ctx, tx))
}

// lookAgain sees whether a writer has brought the journal up to date since it was opened.
func (r *Reader) lookAgain(ctx context.Context, tx *sql.Tx) error {
	var version int64
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return tooNew(version)
	}
	r.version.Store(version)
	return nil
}
