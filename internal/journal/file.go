package journal

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/parley-tcp/parley/internal/kernel"
	"github.com/parley-tcp/parley/internal/sqliteconn"
)

const (
	schemaVersion = 6          // PRAGMA user_version
	fileID        = 0x5061726c // PRAGMA application_id: "Parl"

	// minSQLite is the first version without a fault by which a checkpoint in WAL mode
	// could damage a file.
	minSQLite = "3.51.3"

	// rowsAtOnce is how many exchanges one statement inserts: a row costs half of what it
	// does alone.
	rowsAtOnce = 50

	codeFsync    = 1034 // SQLITE_IOERR_FSYNC
	codeDirFsync = 1290 // SQLITE_IOERR_DIR_FSYNC
)

// A file is the SQLite file of a journal, open for writing by one goroutine.
type file struct {
	name  string
	sync  bool
	keep  Keep
	about About
	warn  func(string) // may be nil
	lock  *os.File     // the same file, locked for as long as it is open
	conn  *sqliteconn.Conn

	// guard is a second connection, which only reads. SQLite copies the -wal file into the
	// journal when its last connection closes; while this one is open, closing conn does not,
	// which mend needs when the -wal file is not to be trusted.
	guard *sqliteconn.Conn

	begin, rollback           *sqliteconn.Stmt
	opened, closed, gap, mark *sqliteconn.Stmt
	cut, refused, origin      *sqliteconn.Stmt
	fault, source, collected  *sqliteconn.Stmt
	latest                    *sqliteconn.Stmt
	one, many, numbered       *sqliteconn.Stmt // of exchanges
	commit                    func() error     // the statement's; tests put something around it
	statements                []*sqliteconn.Stmt
	sums                      checksummer
	base                      int64        // the highest id of a session before this writer
	session                   int64        // the highest id of a session that anything was recorded of
	exchange, refusal, ended  int64        // the last ids that were given
	lastFault                 int64        // the same
	origins                   knownOrigins // of this writer
	writer                    writerRow    // its row
	chain                     chain
	idsSkipped                bool  // the next exchange has not the id that SQLite would give it
	lostUpTo                  int64 // exchanges up to this id that are not there were told to be lost
	info, wal                 fs.FileInfo
	log                       *os.File // the -wal file, to look at
	space                     space
	written                   bool  // since the last checkpoint
	sessionsSincePrune        int   // that were closed
	broken                    error // for good: what was written may not be there
	down                      error // why the connections are closed, until mend has opened them again
}

var background = context.Background() // nothing here is ever cut off

// openFile opens the file, or makes it.
func openFile(name string, opt Options) (_ *file, err error) {
	f := &file{name: name, sync: opt.Sync, keep: opt.Keep, about: opt.About, warn: opt.Warn, chain: chain{last: make(map[int64]int64)}}
	if err := f.open((*file).goOn); err != nil {
		return nil, err
	}
	return f, nil
}

// open locks and opens the file, and has it go on as it is to be written.
func (f *file) open(goOn func(*file) error) (err error) {
	if f.lock, err = lockFile(f.name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := f.connect(); err != nil {
		return plain(err)
	}
	return plain(goOn(f))
}

// goOn has one server's sessions be recorded behind those of the last.
func (f *file) goOn() error {
	var sources int64
	if err := queryRow(f.conn, "SELECT count(*) FROM sources", &sources); err != nil {
		return err
	}
	if sources > 0 {
		return errors.New("it was collected of other journals; what is recorded here needs another file")
	}
	f.base = f.session
	return cmp.Or(f.findOrigins(1), f.linkRest())
}

// lockFile opens the file by itself and locks it: the kernel takes the lock off however
// the process ends. SQLite's own locks are of another kind, and are held only while it
// reads or writes.
func lockFile(name string) (*os.File, error) {
	// What is no regular file may wait for somebody when it is opened.
	if info, err := kernel.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := kernel.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
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
	c, err := connect(name, "mode=ro")
	if err == nil {
		defer c.Close()
		err = queryRow(c, "SELECT pid, since_ns FROM writer", &pid, &since)
	}
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("process %d since %s", pid, time.Unix(0, since).UTC().Format(time.RFC3339))
}

// writerPatience is how long the writer waits for a lock of another process.
const writerPatience = time.Second

func connect(name, how string) (*sqliteconn.Conn, error) {
	return connectFor(name, how, writerPatience)
}

// connectFor is connect with another patience for locks.
func connectFor(name, how string, patience time.Duration) (*sqliteconn.Conn, error) {
	c, err := sqliteconn.Open(uriOf(name) + "?" + how)
	if err != nil {
		return nil, plain(err)
	}
	if err := c.Exec("PRAGMA " + strings.Join(pragmas(patience), "; PRAGMA ")); err != nil {
		c.Close()
		return nil, plain(err)
	}
	return c, nil
}

// plain is an error in words that help.
func plain(err error) error {
	if primary(codeOf(err)) == codeNotADatabase {
		return ErrNotAJournal
	}
	return err
}

// connect opens the connections and has everything ready to write.
func (f *file) connect() (err error) {
	if f.conn, err = connect(f.name, "mode=rwc"); err != nil {
		return err
	}
	if err := f.setUp(); err != nil {
		return err
	}
	if f.guard, err = connect(f.name, "mode=ro"); err != nil {
		return err
	}
	var tables int64 // SQLite opens the file when it is first read
	if err := queryRow(f.guard, "SELECT count(*) FROM sqlite_schema", &tables); err != nil {
		return err
	}
	if f.info, err = f.lock.Stat(); err != nil {
		return err
	}
	if f.log, err = kernel.OpenFile(f.name+"-wal", os.O_RDONLY, 0); err != nil {
		return err
	}
	if f.wal, err = f.log.Stat(); err != nil {
		return err
	}
	if err := f.measure(); err != nil {
		return err
	}
	return f.prepare()
}

// setUp makes the tables of a new file, or sees that it is a journal and brings it up to date.
func (f *file) setUp() error {
	var old int64
	if err := queryRow(f.conn, "SELECT sqlite_version() < '"+minSQLite+"'", &old); err != nil {
		return err
	}
	if old != 0 {
		return fmt.Errorf("SQLite is older than %s", minSQLite)
	}
	version, err := f.version()
	if err != nil {
		return err
	}
	if f.broken = forgetRest(f.conn, f.name); f.broken != nil {
		return f.broken
	}
	switch {
	case version == 0:
		err = f.exec(fmt.Sprintf("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; %s; %s; %s; PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
			schemaOf(schemaVersion), newIdentity(), viewsOf(schemaVersion, "VIEW"), fileID, schemaVersion))
	case version < schemaVersion:
		if f.warn != nil {
			effort := ""
			if version < 3 {
				effort = ": a few seconds for each million exchanges"
			}
			f.warn(fmt.Sprintf("is brought up to date once, from version %d to %d%s", version, schemaVersion, effort))
		}
		var steps string
		if version == 1 {
			// The exchanges themselves are looked at this once: their openings may be missing.
			steps = upgradeTo2 + "; UPDATE writer SET session = (SELECT coalesce(max(session), 0) FROM exchanges); "
		}
		if version < 3 {
			steps += upgradeTo3 + "; " + unlinked + "; "
		}
		if version < 4 {
			steps += upgradeTo4 + "; "
		}
		if version < 5 {
			steps += upgradeTo5 + "; " + newIdentity() + "; "
		}
		err = f.exec(fmt.Sprintf("BEGIN IMMEDIATE; %s; %s; %s; PRAGMA user_version = %d; COMMIT",
			steps, upgradeTo6, viewsOf(schemaVersion, "VIEW"), schemaVersion))
	}
	if err != nil {
		return err
	}
	if err := f.lastIDs(); err != nil {
		return err
	}
	synchronous := "NORMAL" // the journal itself is synced, when it is written to
	if f.sync {
		synchronous = "FULL"
	}
	f.writer = writerRow{number: 1, pid: int64(os.Getpid()), since: kernel.Now().UnixNano(), session: f.session}
	return f.exec(fmt.Sprintf("PRAGMA journal_mode = WAL; PRAGMA synchronous = %s; PRAGMA wal_autocheckpoint = 0; "+
		"BEGIN IMMEDIATE; DELETE FROM writer; INSERT INTO writer VALUES (%d, %d, %d, %d); COMMIT",
		synchronous, f.writer.pid, f.writer.since, f.session, f.sums.writer(f.writer)))
}

// newIdentity has the journal be called something that no other is.
func newIdentity() string {
	random := make([]byte, 16)
	rand.Read(random)
	name := hex.EncodeToString(random)
	return fmt.Sprintf("INSERT INTO identity VALUES (1, '%s', %d)", name, new(checksummer).identity(name))
}

// version is the journal's, 0 of a file that is empty. What is in the file is not trusted: a
// trigger would run with each record, and a view could stand where a table is expected.
func (f *file) version() (version int64, err error) {
	var application, entries int64
	err = queryRow(f.conn, "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), count(*) FROM sqlite_schema",
		&application, &version, &entries)
	switch {
	case err != nil:
		return 0, err
	case entries == 0 && application == 0 && version == 0:
		return 0, nil
	case application != fileID || version < 1:
		return 0, ErrNotAJournal
	case version > schemaVersion:
		return 0, fmt.Errorf("a newer parley has written it (version %d of the journal; this one writes %d)", version, schemaVersion)
	}
	var tables, triggers int64
	err = queryRow(f.conn, "SELECT count(*) FILTER (WHERE "+isOurTable+"), count(*) FILTER (WHERE type = 'trigger') FROM sqlite_schema", &tables, &triggers)
	switch {
	case err != nil:
		return 0, err
	case tables != ourTables(version):
		return 0, ErrNotAJournal
	case triggers > 0:
		return 0, errors.New("it has triggers, which no journal of parley has")
	}
	return version, nil
}

// isOurTable is the condition that a row of sqlite_schema is of a table of ours, and that it
// is a plain one: a virtual table has no root page.
const isOurTable = "type = 'table' AND rootpage > 0 AND name IN ('sessions', 'exchanges', 'cuts', 'gaps', 'writer', 'refused', 'origins', 'latest', 'faults', 'identity', 'cursors', 'sources', 'collected')"

func ourTables(version int64) int64 {
	return []int64{5, 6, 8, 9, 13, 13}[version-1]
}

// lastIDs finds where the numbers go on: behind whatever names them. An exchange can be there
// whose session is not, and the other way round.
func (f *file) lastIDs() error {
	var session, exchange, refusal, ended, fault int64
	err := queryRow(f.conn, "SELECT max((SELECT coalesce(max(id), 0) FROM sessions), (SELECT coalesce(max(session), 0) FROM writer), "+
		"(SELECT coalesce(max(session), 0) FROM (SELECT session FROM exchanges ORDER BY id DESC LIMIT 1000))), "+
		"max((SELECT coalesce(max(id), 0) FROM exchanges), (SELECT coalesce(max(exchange), 0) FROM cuts)), "+
		"(SELECT coalesce(max(id), 0) FROM refused), ("+lastEnd+"), (SELECT coalesce(max(id), 0) FROM faults)",
		&session, &exchange, &refusal, &ended, &fault)
	if err != nil {
		return err
	}
	followed, err := f.followed()
	// What was followed is named elsewhere, also if it was lost here with the power.
	session, exchange = max(session, followed.Opened), max(exchange, followed.Exchange)
	refusal, ended, fault = max(refusal, followed.Refused), max(ended, followed.Ended), max(fault, followed.Fault)
	// Never back: what was lost with a -wal file keeps its numbers.
	f.session, f.exchange = max(f.session, session), max(f.exchange, exchange)
	f.refusal, f.ended, f.lastFault = max(f.refusal, refusal), max(f.ended, ended), max(f.lastFault, fault)
	return err
}

func (f *file) prepare() error {
	const values = "(?,?,?,?,?,?,?,?,?,?)"
	const columns = "session, seq, received_ns, took_ns, request, reply, sum, request_at, reply_at, parts"
	const exchanges = "INSERT INTO exchanges (" + columns + ") VALUES " + values
	var commit *sqliteconn.Stmt
	for _, s := range []struct {
		stmt **sqliteconn.Stmt
		text string
	}{
		{&f.begin, "BEGIN IMMEDIATE"},
		{&commit, "COMMIT"},
		{&f.rollback, "ROLLBACK"},
		{&f.one, exchanges},
		{&f.many, exchanges + strings.Repeat(","+values, rowsAtOnce-1)},
		{&f.numbered, "INSERT INTO exchanges (" + columns + ", id) VALUES (?,?,?,?,?,?,?,?,?,?,?)"},
		{&f.opened, "INSERT OR REPLACE INTO sessions (id, number, remote, local, opened_ns, tls_version, tls_name, proxied, out_local, out_remote, origin, sum) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"},
		// The whole row, since its opening may not be recorded.
		{&f.closed, "INSERT OR REPLACE INTO sessions (id, number, remote, local, opened_ns, tls_version, tls_name, proxied, out_local, out_remote, origin, sum, " +
			"closed_ns, reason, requests, replied_upto, bytes_in, bytes_out, ended, last, stray) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&f.origin, "INSERT OR REPLACE INTO origins VALUES (?,?,?,?,?,?,?)"},
		{&f.latest, "INSERT OR REPLACE INTO latest (rowid, first, upto, exchanges, sum) VALUES (1,?,?,?,?)"},
		{&f.mark, "UPDATE writer SET session = ?, sum = ?"},
		{&f.source, "INSERT OR REPLACE INTO sources (id, journal, node, mark, sum, " + positionColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?,?)"},
		{&f.collected, "INSERT OR REPLACE INTO collected VALUES (?,?,?,?)"},
		{&f.gap, "INSERT INTO gaps VALUES (?,?,?,?,?,?,?)"},
		{&f.cut, "INSERT OR REPLACE INTO cuts VALUES (?,?,?,?,?,?,?,?,?,?,?)"},
		{&f.fault, "INSERT OR REPLACE INTO faults VALUES (?,?,?,?,?,?)"},
		{&f.refused, "INSERT OR REPLACE INTO refused VALUES (?,?,?,?,?,?,?,?,?,?)"},
	} {
		prepared, err := f.conn.Prepare(s.text)
		if err != nil {
			return err
		}
		*s.stmt = prepared
		f.statements = append(f.statements, prepared)
	}
	f.commit = commit.Run
	return nil
}

// close leaves it to the end of the process if the disk has failed to sync: SQLite would
// sync again, and copy what may not be there. The next start sees what is whole.
func (f *file) close() error {
	if f.broken != nil {
		return nil
	}
	f.closeGuard()
	return errors.Join(f.disconnect(), f.lock.Close())
}

func (f *file) closeGuard() {
	if f.guard != nil {
		f.guard.Close()
		f.guard = nil
	}
}

// disconnect closes the connection that writes, and what belongs to it.
func (f *file) disconnect() (err error) {
	for _, s := range f.statements {
		s.Close()
	}
	f.statements = nil
	if f.log != nil {
		f.log.Close()
	}
	if f.conn != nil {
		err = f.conn.Close()
		f.conn = nil
	}
	return err
}

// write records a batch, whole or not at all. Once the disk has failed to sync nothing is
// recorded any more: the kernel may have dropped what was written, and would say that the
// next sync went well (see "fsyncgate", 2018).
func (f *file) write(b *batch) error {
	if err := f.check(); err != nil {
		return err
	}
	size := b.size()
	if err := f.reserve(size); err != nil {
		return err
	}
	err := f.transaction(b)
	if err == errOtherIDs { // somebody has deleted the last ones
		f.rollback.Run()
		f.undo()
		f.idsSkipped = true
		err = f.transaction(b)
	}
	if err != nil {
		f.rollback.Run() // some errors have done that
		f.undo()
		return f.judged(err)
	}
	f.chain.done(b)
	f.origins.done()
	// What was wrong before shows at the next batch; this one is lost if its -wal file was cut
	// meanwhile.
	if err := f.check(); err == errWALCut || err == errWALGone {
		return err
	}
	f.written = true
	f.idsSkipped = f.idsSkipped && len(b.exchanges) == 0
	f.space.sinceCheckpoint += size
	f.exchange += int64(len(b.exchanges))
	f.refusal += int64(len(b.refused))
	f.ended += int64(len(b.closed))
	f.lastFault += int64(len(b.faults))
	f.session = max(f.session, b.lastSession())
	return nil
}

// undo forgets what a transaction has added that failed.
func (f *file) undo() {
	f.chain.undo()
	f.origins.undo()
}

// judged is an error which says so if nothing can be relied on any more, or if there is no room.
func (f *file) judged(err error) error {
	switch codeOf(err) {
	case codeFsync, codeDirFsync:
		return f.syncFailed(err)
	case codeCannotGrow:
		return fmt.Errorf("%w, as it seems: its -shm file cannot grow: %w", errDiskFull, err)
	}
	return err
}

func (f *file) syncFailed(err error) error {
	f.broken = fmt.Errorf("the disk has failed to sync, so nothing is recorded until the server is started again: %w", err)
	return f.broken
}

// check sees that the files are those that were opened, and whole: SQLite would go on writing
// to one that was removed or cut, and copy what is missing into the journal.
func (f *file) check() error {
	if f.broken != nil || f.down != nil {
		return cmp.Or(f.broken, f.down)
	}
	info, err := kernel.Stat(f.name)
	if err != nil {
		return errors.Unwrap(err)
	}
	wal, err := kernel.Stat(f.name + "-wal")
	switch {
	case !os.SameFile(info, f.info):
		return errors.New("the file was replaced by another")
	case info.Size() < f.info.Size():
		return errors.New("the file was cut short")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return errors.Unwrap(err)
	case err != nil || !os.SameFile(wal, f.wal):
		return errWALGone
	case wal.Size() < f.wal.Size() || f.hasHole(wal.Size()):
		return errWALCut
	}
	f.info, f.wal = info, wal
	return nil
}

func (f *file) transaction(b *batch) error {
	if err := f.begin.Run(); err != nil {
		return err
	}
	for i := range b.opened {
		s := &b.opened[i]
		origin, err := f.originOf(&s.About)
		if err != nil {
			return err
		}
		if err := run(f.opened, f.openedValues(s, origin, f.sums.session(s, 0, origin, 0))...); err != nil {
			return err
		}
	}
	if err := f.insert(b); err != nil {
		return err
	}
	for i := range b.closed {
		s, ended := &b.closed[i], f.ended+int64(i)+1
		last := f.chain.last[s.ID]
		origin, err := f.originOf(&s.About)
		if err != nil {
			return err
		}
		err = run(f.closed, append(f.openedValues(s, origin, f.sums.session(s, ended, origin, last)), s.Closed.UnixNano(), s.Reason,
			int64(s.Requests), int64(s.RepliedUpTo), int64(s.BytesIn), int64(s.BytesOut), ended, last, int64(s.Stray))...)
		if err != nil {
			return err
		}
	}
	for i := range b.refused {
		r := b.refused[i]
		r.ID = f.refusal + int64(i) + 1
		told, head, length := r.RawText.Bytes, any(int64(r.RawText.Body)), any(int64(len(r.Text)))
		if told == nil {
			told, head, length = r.Text, nil, nil
		}
		origin, err := f.originOf(&r.About)
		if err != nil {
			return err
		}
		if err := run(f.refused, r.ID, r.At.UnixNano(), r.Remote, r.Local, r.Reason, told, f.sums.refusal(&r, origin),
			origin, head, length); err != nil {
			return err
		}
	}
	for i := range b.faults {
		fault := b.faults[i]
		fault.ID = f.lastFault + int64(i) + 1
		if err := run(f.fault, fault.ID, fault.Session, fault.At.UnixNano(), int64(fault.Seq), fault.Fault, f.sums.fault(&fault)); err != nil {
			return err
		}
	}
	if last := b.lastSession(); last > f.session {
		w := f.writer
		w.session = last
		if err := run(f.mark, last, f.sums.writer(w)); err != nil {
			return err
		}
	}
	if !b.gap.from.IsZero() {
		if err := f.insertGap(&b.gap); err != nil {
			return err
		}
	}
	for i := range b.gaps {
		if err := f.insertGap(&b.gaps[i]); err != nil {
			return err
		}
	}
	if err := f.insertCollected(b); err != nil {
		return err
	}
	if last := f.exchange + int64(len(b.exchanges)); f.chain.isDue(last) {
		if err := f.noteLatest(last); err != nil {
			return err
		}
	}
	return f.commit()
}

func (f *file) insertGap(g *gap) error {
	row := missed{From: g.from.UnixNano(), To: g.to.UnixNano(), Exchanges: g.exchanges, Sessions: g.sessions, Reason: g.reason}
	return run(f.gap, row.From, row.To, row.Exchanges, row.Sessions, row.Reason, textOrNull(g.node), f.sums.gap(&row, g.node))
}

// openedValues are what is known of a session when it is opened.
func (f *file) openedValues(s *Session, origin, sum int64) []any {
	return []any{s.ID, int64(s.Number), s.Remote, s.Local, s.Opened.UnixNano(),
		textOrNull(s.TLSVersion), textOrNull(s.TLSName), textOrNull(s.Proxied), textOrNull(s.OutLocal), textOrNull(s.OutRemote), origin, sum}
}

// errOtherIDs is that SQLite has given an exchange another id than its checksum is made of.
var errOtherIDs = errors.New("other ids than expected")

// insert inserts the exchanges, as many at once as there are. SQLite numbers them, which costs
// less than to say each number: it gives the highest id there is and 1. Where the next one is
// another, the first exchange says it.
func (f *file) insert(b *batch) error {
	rest, bytes, id := b.exchanges, b.bytes, f.exchange
	for skipped := f.idsSkipped; len(rest) > 0; skipped = false {
		insert, n := f.one, 1
		switch {
		case skipped:
			insert = f.numbered
		case len(rest) >= rowsAtOnce:
			insert, n = f.many, rowsAtOnce
		}
		for i := range rest[:n] {
			e := &rest[i]
			id++
			var request, reply []byte
			request, bytes = taken(bytes, e.request)
			reply, bytes = taken(bytes, e.reply)
			parts := e.parts(f.chain.link(e.session, id))
			insert.Int(e.session)
			insert.Int(int64(e.seq))
			insert.Int(e.received)
			insert.Int(int64(e.took))
			insert.Bytes(request)
			insert.Bytes(reply)
			insert.Int(f.sums.linked(id, e, parts, request, reply))
			fillPlace(insert, e.requestAt)
			fillPlace(insert, e.replyAt)
			insert.Int(parts)
		}
		if skipped {
			insert.Int(id)
		}
		if err := insert.Run(); err != nil {
			return err
		}
		if f.conn.LastID() != id {
			return errOtherIDs
		}
		rest = rest[n:]
	}
	return f.insertCuts(b)
}

// insertCuts says what has no room in the rows of the exchanges.
func (f *file) insertCuts(b *batch) error {
	for i := range b.exchanges {
		if e := &b.exchanges[i]; e.isRare() {
			if err := run(f.cut, f.exchange+int64(i)+1, int64(e.requestCut), int64(e.replyCut), int64(e.requestRawCut), int64(e.replyRawCut),
				int64(e.requestHead), int64(e.requestTail), int64(e.replyHead), int64(e.replyTail), int64(e.requestWhole), int64(e.replyWhole)); err != nil {
				return err
			}
		}
	}
	return nil
}

// taken takes a message off the bytes of a batch: nil if there is none.
func taken(bytes []byte, length int) (message, rest []byte) {
	if length < 0 {
		return nil, bytes
	}
	return bytes[:length:length], bytes[length:]
}

func fillPlace(s *sqliteconn.Stmt, at int64) {
	if at < 0 {
		s.Null()
		return
	}
	s.Int(at)
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func run(s *sqliteconn.Stmt, values ...any) error {
	s.Bind(values...)
	return s.Run()
}

func (f *file) exec(text string, values ...any) error { return f.conn.Exec(text, values...) }

// queryRow reads a row of numbers. io.EOF says that there is none.
func queryRow(c *sqliteconn.Conn, text string, numbers ...*int64) error {
	row, err := c.Query(text)
	if err != nil {
		return err
	}
	defer row.Close()
	if !row.Next() {
		return cmp.Or(row.Err(), io.EOF)
	}
	into := make([]any, len(numbers))
	for i, n := range numbers {
		into[i] = n
	}
	row.Scan(into...)
	return nil
}
