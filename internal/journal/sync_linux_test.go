package journal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// unsynced has -wal files be ones that the disk does not keep, until the test ends or synced is called.
func unsynced(t *testing.T) (synced func()) {
	before := syncLog
	syncLog = func(*os.File) error { return syscall.EIO }
	synced = func() { syncLog = before }
	t.Cleanup(synced)
	return synced
}

// A block is only given away once it is on the disk: no journal of all has what a node loses with its power.
func TestBlocksAreSynced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	many(t, file, 10)
	f := follow(t, file)
	synced := unsynced(t)
	if block, err := f.Next(t.Context(), Position{}, 1<<20); block != nil || err == nil {
		t.Errorf("a block that is not synced: %v, %v; want an error", block, err)
	}
	synced()
	if block, err := f.Next(t.Context(), Position{}, 1<<20); block == nil || err != nil {
		t.Errorf("a block that is synced: %v, %v", block, err)
	}
}

// Where a reader keeps the -wal file from being copied into the journal, it is synced as it is; if that fails,
// nothing can be relied on any more.
func TestWhatIsNotCopiedIsSynced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "j")
	f, err := openFile(file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	reader, err := connectFor(file, "mode=ro", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Exec("BEGIN; SELECT count(*) FROM sessions"); err != nil {
		t.Fatal(err)
	}
	write := func(table string) {
		t.Helper()
		if err := f.exec("CREATE TABLE " + table + " (a)"); err != nil {
			t.Fatal(err)
		}
		f.written = true
	}
	write("one")
	if err := f.checkpoint(); err != nil || !f.space.held {
		t.Fatalf("a checkpoint beside a reader: %v, held %v", err, f.space.held)
	}
	write("another")
	unsynced(t)
	if err := f.checkpoint(); err == nil || f.broken == nil {
		t.Errorf("a checkpoint that cannot sync: %v, and then %v; want an error each", err, f.broken)
	}
}
