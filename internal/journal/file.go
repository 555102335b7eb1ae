package journal

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
)

const (
	schemaVersion = 1          // PRAGMA user_version
	fileID        = 0x5061726c // PRAGMA application_id: "Parl"

	// minSQLite is the first version without a fault by which a checkpoint in WAL mode
	// could damage a file.
	minSQLite = "3.51.3"

	// rowsAtOnce is how many exchanges one statement inserts: a row costs half of what it
	// does alone.
	rowsAtOnce = 50

	pruneRows = 2000 // deleted at once: the queue waits for that long

	// sessionsLooked is at how many sessions pruneSessions looks. More than are open at
	// once, since those stay, and far fewer than there may be.
	sessionsLooked = 10 * pruneRows

	// usedBytes is how large the journal is, less what was deleted.
	usedBytes = "((SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count)) * (SELECT * FROM pragma_page_size)"

	codeFsync    = 1034 // SQLITE_IOERR_FSYNC
	codeDirFsync = 1290 // SQLITE_IOERR_DIR_FSYNC
)

// A file is the SQLite file of a journal, open for writing by one goroutine.
type file struct {
	name string
	lock *os.File // the same file, locked for as long as it is open
	conn conn

	begin, commit, rollback stmt
	opened, closed, gap     stmt
	cut                     stmt // of the exchange that was inserted last
	one, many               stmt // of exchanges
	args                    []driver.NamedValue
	lastSession             int64 // the id of the last session that was there
	info, wal               fs.FileInfo
	written                 bool  // since the last checkpoint
	broken                  error // for good: what was written may not be there
}

// What the driver offers, and database/sql would add a third to the cost of.
type (
	conn interface {
		driver.Conn
		driver.ExecerContext
		driver.QueryerContext
	}
	stmt interface {
		driver.Stmt
		driver.StmtExecContext
	}
)

var background = context.Background() // nothing here is ever cut off

// openFile opens the file, or makes it.
func openFile(name string, sync bool) (_ *file, err error) {
	f := &file{name: name}
	if f.lock, err = lockFile(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if f.conn, err = connect(name); err != nil {
		return nil, err
	}
	if err = f.setUp(sync); err != nil {
		return nil, plain(err)
	}
	return f, nil
}

// lockFile opens the file by itself and locks it: the kernel takes the lock off however
// the process ends. SQLite's own locks are of another kind, and are held only while it
// reads or writes.
func lockFile(name string) (*os.File, error) {
	// What is no regular file may wait for somebody when it is opened.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if err := tryLock(f); err != nil {
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("in use by %s", holder(name))
		}
		return nil, err
	}
	return f, nil
}

var errLocked = errors.New("locked")

// holder is who writes the file.
func holder(name string) string {
	var pid, since int64
	c, err := connect(name)
	if err == nil {
		defer c.Close()
		err = queryRow(c, "SELECT pid, since_ns FROM writer", &pid, &since)
	}
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d since %s", pid, time.Unix(0, since).UTC().Format(time.RFC3339))
}

func connect(name string) (conn, error) {
	c, err := new(sqlite.Driver).Open(dataSource(name, "mode=rwc", time.Second))
	if err != nil {
		return nil, plain(err)
	}
	return c.(conn), nil
}

// plain is an error in words that help.
func plain(err error) error {
	if primary(codeOf(err)) == codeNotADatabase {
		return ErrNotAJournal
	}
	return err
}

// setUp makes the tables of a new file, or sees that it is a journal.
func (f *file) setUp(sync bool) error {
	var application, version, tables int64
	err := queryRow(f.conn, "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema",
		&application, &version, &tables)
	switch {
	case err != nil:
		return err
	case tables == 0 && application == 0 && version == 0:
		err = f.exec(fmt.Sprintf("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; %s; PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
			schema, fileID, schemaVersion))
	case application != fileID:
		err = ErrNotAJournal
	case version > schemaVersion:
		err = fmt.Errorf("a newer parley has written it (version %d of the journal; this one writes %d)", version, schemaVersion)
	}
	if err != nil {
		return err
	}
	var old int64
	if err := queryRow(f.conn, "SELECT sqlite_version() < '"+minSQLite+"'", &old); err != nil || old != 0 {
		return fmt.Errorf("SQLite is older than %s: %w", minSQLite, err)
	}
	synchronous := "NORMAL" // the journal itself is synced, when it is written to
	if sync {
		synchronous = "FULL"
	}
	err = f.exec(fmt.Sprintf("PRAGMA journal_mode = WAL; PRAGMA synchronous = %s; PRAGMA wal_autocheckpoint = 0; "+
		"BEGIN IMMEDIATE; DELETE FROM writer; INSERT INTO writer VALUES (%d, %d); COMMIT", synchronous, os.Getpid(), time.Now().UnixNano()))
	if err != nil {
		return err
	}
	if err := queryRow(f.conn, "SELECT coalesce(max(id), 0) FROM sessions", &f.lastSession); err != nil {
		return err
	}
	if f.info, err = f.lock.Stat(); err != nil {
		return err
	}
	if f.wal, err = os.Stat(f.name + "-wal"); err != nil {
		return err
	}
	return f.prepare()
}

func (f *file) prepare() error {
	const values = "(?,?,?,?,?,?)"
	const exchanges = "INSERT INTO exchanges (session, seq, received_ns, took_ns, request, reply) VALUES " + values
	for _, s := range []struct {
		stmt *stmt
		text string
	}{
		{&f.begin, "BEGIN IMMEDIATE"},
		{&f.commit, "COMMIT"},
		{&f.rollback, "ROLLBACK"},
		{&f.one, exchanges},
		{&f.many, exchanges + strings.Repeat(","+values, rowsAtOnce-1)},
		{&f.opened, "INSERT INTO sessions (id, number, remote, local, opened_ns) VALUES (?,?,?,?,?)"},
		// The whole row, since its opening may not be recorded.
		{&f.closed, "INSERT OR REPLACE INTO sessions VALUES (?,?,?,?,?,?,?,?,?,?,?)"},
		{&f.gap, "INSERT INTO gaps VALUES (?,?,?,?,?)"},
		{&f.cut, "INSERT INTO cuts VALUES (last_insert_rowid(),?,?)"},
	} {
		prepared, err := f.conn.Prepare(s.text)
		if err != nil {
			return err
		}
		*s.stmt = prepared.(stmt)
	}
	f.args = make([]driver.NamedValue, 6*rowsAtOnce)
	for i := range f.args {
		f.args[i].Ordinal = i + 1
	}
	return nil
}

// close leaves it to the end of the process if the disk has failed to sync: SQLite would
// sync again, and copy what may not be there. The next start sees what is whole.
func (f *file) close() error {
	if f.broken != nil {
		return nil
	}
	var err error
	if f.conn != nil {
		for _, s := range []stmt{f.begin, f.commit, f.rollback, f.opened, f.closed, f.gap, f.cut, f.one, f.many} {
			if s != nil {
				s.Close()
			}
		}
		err = f.conn.Close()
	}
	return errors.Join(err, f.lock.Close())
}

// write records a batch, whole or not at all. Once the disk has failed to sync nothing is
// recorded any more: the kernel may have dropped what was written, and would say that the
// next sync went well (see "fsyncgate", 2018).
func (f *file) write(b *batch) error {
	if err := f.check(); err != nil {
		return err
	}
	err := f.transaction(b)
	if err != nil {
		f.rollback.ExecContext(background, nil) // some errors have done that
		return f.judged(err)
	}
	f.written = true
	return nil
}

// checkpoint has what was written since the last one on disk, copied from the -wal file
// into the journal. SQLite would do that by itself, and say nothing of errors.
func (f *file) checkpoint() error {
	if !f.written || f.broken != nil {
		return nil
	}
	f.written = false
	return f.judged(f.exec("PRAGMA wal_checkpoint(PASSIVE)"))
}

// judged is an error which says so if nothing can be relied on any more.
func (f *file) judged(err error) error {
	if code := codeOf(err); code != codeFsync && code != codeDirFsync {
		return err
	}
	f.broken = fmt.Errorf("the disk has failed to sync, so nothing is recorded until the server is started again: %w", err)
	return f.broken
}

// check sees that the files are those that were opened: SQLite would go on writing to one
// that was removed.
func (f *file) check() error {
	if f.broken != nil {
		return f.broken
	}
	info, err := os.Stat(f.name)
	if err != nil {
		return errors.Unwrap(err)
	}
	wal, err := os.Stat(f.name + "-wal")
	switch {
	case !os.SameFile(info, f.info):
		return errors.New("the file was replaced by another")
	case info.Size() < f.info.Size():
		return errors.New("the file was cut short")
	case err != nil || !os.SameFile(wal, f.wal):
		return errors.New("its -wal file was removed or replaced")
	}
	f.info = info
	return nil
}

func (f *file) transaction(b *batch) error {
	if _, err := f.begin.ExecContext(background, nil); err != nil {
		return err
	}
	for i := range b.opened {
		s := &b.opened[i]
		if err := f.run(f.opened, s.ID, int64(s.Number), s.Remote, s.Local, s.Opened.UnixNano()); err != nil {
			return err
		}
	}
	if err := f.insert(b); err != nil {
		return err
	}
	for i := range b.closed {
		s := &b.closed[i]
		err := f.run(f.closed, s.ID, int64(s.Number), s.Remote, s.Local, s.Opened.UnixNano(), s.Closed.UnixNano(), s.Reason,
			int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut))
		if err != nil {
			return err
		}
	}
	if g := b.gap; !g.from.IsZero() {
		if err := f.run(f.gap, g.from.UnixNano(), g.to.UnixNano(), g.exchanges, g.sessions, g.reason); err != nil {
			return err
		}
	}
	_, err := f.commit.ExecContext(background, nil)
	return err
}

// insert inserts the exchanges, as many at once as there are.
func (f *file) insert(b *batch) error {
	rest, bytes := b.exchanges, b.bytes
	for len(rest) > 0 {
		insert, n := f.one, 1
		if len(rest) >= rowsAtOnce && !slices.ContainsFunc(rest[:rowsAtOnce], record.isCut) {
			insert, n = f.many, rowsAtOnce
		}
		for i, e := range rest[:n] {
			a := f.args[6*i : 6*i+6]
			a[0].Value, a[1].Value, a[2].Value, a[3].Value = e.session, int64(e.seq), e.received, int64(e.took)
			a[4].Value, bytes = taken(bytes, e.request)
			a[5].Value, bytes = taken(bytes, e.reply)
		}
		if _, err := insert.ExecContext(background, f.args[:6*n]); err != nil {
			return err
		}
		if e := rest[0]; e.isCut() {
			if err := f.run(f.cut, int64(e.requestCut), int64(e.replyCut)); err != nil {
				return err
			}
		}
		rest = rest[n:]
	}
	return nil
}

// taken takes a message off the bytes of a batch: NULL if there is none.
func taken(bytes []byte, length int) (message driver.Value, rest []byte) {
	if length < 0 {
		return nil, bytes
	}
	return bytes[:length:length], bytes[length:]
}

func (f *file) run(s stmt, values ...driver.Value) error {
	_, err := s.ExecContext(background, named(values))
	return err
}

func (f *file) exec(text string, values ...driver.Value) error {
	_, err := f.conn.ExecContext(background, text, named(values))
	return err
}

func named(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// queryRow reads a row of numbers. io.EOF says that there is none.
func queryRow(c conn, text string, numbers ...*int64) error {
	rows, err := c.QueryContext(background, text, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	row := make([]driver.Value, len(numbers))
	if err := rows.Next(row); err != nil {
		return err
	}
	for i, n := range numbers {
		*n, _ = row[i].(int64)
	}
	if err := rows.Next(row); err != io.EOF {
		return err
	}
	return nil
}

// A Keep says what is kept: all of it if it is zero.
type Keep struct {
	Age   time.Duration // what is older is deleted, if this is not zero
	Bytes int64         // the oldest is deleted while there is more, if this is not zero
}

// prune deletes the oldest exchanges that are too old or too much, some at a time, and
// reports whether there may be more. The last one stays: the next one's id follows it.
func (f *file) prune(keep Keep) (more bool, err error) {
	if keep == (Keep{}) || f.broken != nil {
		return false, nil
	}
	var oldest, newest, received, size int64
	err = queryRow(f.conn, "SELECT id, received_ns, (SELECT max(id) FROM exchanges), "+usedBytes+
		" FROM exchanges ORDER BY id LIMIT 1", &oldest, &received, &newest, &size)
	switch before := keep.before(); {
	case err == io.EOF:
		return false, nil
	case err != nil || oldest == newest:
		return false, err
	case keep.Bytes > 0 && size > keep.Bytes:
		last, err := f.firstOf(size - keep.Bytes)
		if err != nil {
			return false, err
		}
		return true, f.judged(f.exec("DELETE FROM exchanges WHERE id <= ?; "+pruneCuts, min(last, newest-1)))
	case received < before:
		return true, f.judged(f.exec("DELETE FROM exchanges WHERE id < ? AND received_ns < ?; "+pruneCuts, min(oldest+pruneRows, newest), before))
	}
	return false, nil
}

// firstOf is the last of the oldest exchanges that take up so many bytes, or of those that
// are deleted at once.
func (f *file) firstOf(bytes int64) (last int64, err error) {
	rows, err := f.conn.QueryContext(background,
		"SELECT id, coalesce(length(request), 0) + coalesce(length(reply), 0) + 32 FROM exchanges ORDER BY id LIMIT ?",
		named([]driver.Value{int64(pruneRows)}))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for row := make([]driver.Value, 2); bytes > 0; {
		if err := rows.Next(row); err == io.EOF {
			break
		} else if err != nil {
			return 0, err
		}
		last = row[0].(int64)
		bytes -= row[1].(int64)
	}
	return last, nil
}

const pruneCuts = "DELETE FROM cuts WHERE exchange < (SELECT min(id) FROM exchanges)"

func (k Keep) before() int64 {
	if k.Age == 0 {
		return 0
	}
	return time.Now().Add(-k.Age).UnixNano()
}

// pruneSessions deletes sessions that were closed before the oldest exchange that is left,
// and any if they alone are too much. Those that a server before this one left open ended
// before it was started.
func (f *file) pruneSessions(keep Keep) error {
	if keep == (Keep{}) || f.broken != nil {
		return nil
	}
	return f.judged(f.exec("DELETE FROM sessions WHERE id IN (SELECT id FROM ("+
		"SELECT id, coalesce(closed_ns, CASE WHEN id <= ? THEN (SELECT since_ns FROM writer) END) AS ended FROM sessions ORDER BY id LIMIT ?) "+
		"WHERE ended < max(?, coalesce((SELECT received_ns FROM exchanges ORDER BY id LIMIT 1), 0), "+
		"CASE WHEN ? < "+usedBytes+" AND (SELECT count(*) FROM (SELECT 1 FROM exchanges LIMIT 2)) < 2 THEN 9223372036854775807 ELSE 0 END) "+
		"AND id < (SELECT max(id) FROM sessions) LIMIT ?)",
		f.lastSession, int64(sessionsLooked), keep.before(), cmp.Or(keep.Bytes, math.MaxInt64), int64(pruneRows)))
}
