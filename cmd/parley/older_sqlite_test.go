package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Any SQLite tool reads a journal, as docs/journal.md says: the one of Debian's Python is some years old.
func TestAnOlderSQLiteReadsAJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	srv := startServer(t, "--journal", file, "--fault", "split=1,delay=1ms")
	converse(t, srv.addr, "a\n\n")
	srv.stop(t, os.Interrupt)
	const script = `import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
print(*c.execute("SELECT count(*), min(request), min(fault) FROM v_exchange").fetchone(), *c.execute("SELECT count(*) FROM v_session").fetchone())`
	if out := run(t, peer(t, "python3", "-c", script, file), ""); !strings.HasPrefix(out, "1 b'a' reply.split=1, reply.delay=1ms") && !strings.HasPrefix(out, "1 b'a' reply.delay=1ms, reply.split=1") || !strings.HasSuffix(out, " 1\n") {
		t.Errorf("Python's SQLite says %q", out)
	}
}

// A journal that was made before keeps a view which it cannot read, and is not damaged.
func TestAJournalWithTheViewOfBeforeIsNotDamaged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	srv := startServer(t, "--journal", file)
	converse(t, srv.addr, "a\n\n")
	srv.stop(t, os.Interrupt)
	const script = `import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("PRAGMA writable_schema = ON")
new = "(SELECT group_concat(fault, ', ') FROM (SELECT f.fault FROM main.faults f WHERE f.session = e.session AND f.seq = e.seq ORDER BY f.id))"
old = "(SELECT group_concat(f.fault, ', ' ORDER BY f.id) FROM main.faults f WHERE f.session = e.session AND f.seq = e.seq)"
print(c.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE instr(sql, ?)", (new, old, new)).rowcount)
c.commit()`
	if out := run(t, peer(t, "python3", "-c", script, file), ""); out != "1\n" {
		t.Fatalf("%q views were changed", out)
	}
	run(t, program(t, "log", file, "--verify"), "")
}
