package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/parley-tcp/parley/internal/kernel"
	"github.com/parley-tcp/parley/internal/sqliteconn"
)

// The -wal file has what was written since the last checkpoint, which copies it into the
// journal. Once all of it is there it is written from its beginning again: so it stays as
// long as it ever was, unless it is truncated.

const (
	// logLimit is at how many bytes the -wal file is copied if nothing is due before.
	logLimit = 64 << 20

	walMagic     = 0x377f0682 // its first four bytes, big-endian; the last bit says how sums are made
	walIndexHead = 136        // bytes at the beginning of the -shm file: what the -wal file has
)

var (
	errWALGone = errors.New("its -wal file was removed or replaced")
	errWALCut  = errors.New("its -wal file was cut short")

	errDiskFull = errors.New("the disk is full")
)

const (
	codeFull       = 13         // SQLITE_FULL
	codeCannotGrow = 10 | 19<<8 // SQLITE_IOERR_SHMSIZE: the -shm file has no room
)

func isFull(err error) bool {
	return errors.Is(err, errDiskFull) || primary(codeOf(err)) == codeFull
}

// A space is what is known of the room that the journal takes up.
type space struct {
	size, free      int64 // of the journal's file when all was copied into it, and what of it is free
	reserved        int64 // up to here the file has its blocks on the disk
	sinceCheckpoint int64 // written to the -wal file since, about
	held            bool  // the last checkpoint could not copy all: a reader needs the journal as it was
	told            bool  // that is known to whom it concerns
}

// logLimit is when the -wal file has to be copied.
func (f *file) logLimit() int64 {
	if f.keep.Bytes > 0 {
		return min(logLimit, f.keep.share(logShare)/2)
	}
	return logLimit
}

// logTooLong is from when on a -wal file that a reader holds up is spoken of, and truncated
// later.
func (f *file) logTooLong() int64 { return min(logLimit, 4*f.logLimit()) }

// measure finds out how large the journal is.
func (f *file) measure() error {
	f.space.sinceCheckpoint = 0
	return queryRow(f.conn, "SELECT (SELECT * FROM pragma_page_count) * (SELECT * FROM pragma_page_size), "+
		"(SELECT * FROM pragma_freelist_count) * (SELECT * FROM pragma_page_size)", &f.space.size, &f.space.free)
}

// reserve has the disk keep the room that a batch of this size will need in the journal's
// file. Without it a disk could fill up with the -wal file so that nothing could be copied
// out of it, and nothing be freed.
func (f *file) reserve(size int64) error {
	s := &f.space
	need := s.size + max(0, s.sinceCheckpoint+size-s.free)
	if need <= s.reserved {
		return nil
	}
	const step = 64 << 10
	need += min(max(step, need/16), 16<<20)
	if err := reserve(f.lock, s.reserved, need-s.reserved); err != nil {
		return fmt.Errorf("%w: %w", errDiskFull, err)
	}
	s.reserved = need
	return nil
}

// checkpointDue says whether the -wal file is long enough to be copied at once.
func (f *file) checkpointDue() bool { return f.space.sinceCheckpoint > f.logLimit() }

// syncLog has the disk keep a -wal file; tests have it fail.
var syncLog = kernel.Sync

// checkpoint has what was written since the last one on disk, copied from the -wal file
// into the journal. SQLite would do that by itself, and say nothing of errors.
func (f *file) checkpoint() error {
	if !f.written || f.check() != nil { // which the next batch says
		return nil
	}
	f.written = false
	copied, err := f.copyLog("PASSIVE")
	if err != nil {
		return f.judged(err)
	}
	s := &f.space
	s.held = !copied
	if s.held {
		// SQLite has not synced it if it could copy nothing.
		f.written = true
		if err := syncLog(f.log); err != nil {
			return f.syncFailed(err)
		}
	} else if f.space.told {
		return f.truncateLog()
	}
	return nil
}

// settle has what was deleted copied too, and gives back what the -wal file takes up beyond its
// share, which is less than a batch and what is deleted behind it may need together.
func (f *file) settle() error {
	if err := f.checkpoint(); err != nil || f.check() != nil || f.space.held {
		return err
	}
	if f.keep.Bytes == 0 || f.wal.Size() <= f.keep.share(logShare) {
		return nil
	}
	// The next look may find no reader: none is waited for.
	if err := f.exec("PRAGMA busy_timeout = 0"); err != nil {
		return err
	}
	err := f.truncateLog()
	return cmp.Or(err, f.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", writerPatience.Milliseconds())))
}

// copyLog copies the -wal file, and reports whether that was all of it.
func (f *file) copyLog(how string) (all bool, err error) {
	var busy, length, copied int64
	if err := queryRow(f.conn, "PRAGMA wal_checkpoint("+how+")", &busy, &length, &copied); err != nil {
		return false, err
	}
	if all = busy == 0 && length == copied; all {
		f.space.reserved = 0 // SQLite has cut the file to its pages
	}
	return all, f.measure()
}

// truncateLog copies the -wal file and gives its room back, if no reader needs it.
func (f *file) truncateLog() error {
	if _, err := f.copyLog("TRUNCATE"); err != nil {
		return f.judged(err)
	}
	wal, err := f.log.Stat()
	if err == nil {
		f.wal = wal
	}
	return err
}

// forgetRest empties a -wal file that no server writes, before anything is written to it, unless a reader or a disk
// that takes nothing is in the way. Behind all that is whole of it there may be part of a transaction in which a
// server was killed: behind a shorter one it would look like damage. A power cut may have left holes there: later
// they would be those of a file that was cut. Its error is that of a sync, behind which nothing can be relied on.
func forgetRest(c *sqliteconn.Conn, name string) error {
	if wal, err := kernel.Stat(name + "-wal"); err != nil || wal.Size() == 0 {
		return nil
	}
	err := queryRow(c, "PRAGMA wal_checkpoint(TRUNCATE)", new(int64), new(int64), new(int64))
	switch codeOf(err) {
	case codeFsync, codeDirFsync:
		return fmt.Errorf("the disk has failed to sync: %w", err)
	}
	return nil
}

// heldUp says, once, which reader keeps the -wal file growing; it is empty if none does.
func (f *file) heldUp() string {
	s := &f.space
	switch {
	case !s.held && s.told:
		s.told = false
		return fmt.Sprintf("can be checkpointed again (-wal file: %d KiB)", f.wal.Size()>>10)
	case !s.held || s.told || f.wal.Size() <= f.logTooLong():
		return ""
	}
	s.told = true
	return fmt.Sprintf("has a -wal file of %d KiB that grows until %s ends its transaction", f.wal.Size()>>10, readerOf(f.name+"-shm"))
}

// relieve makes room on a full disk, as far as it may.
func (f *file) relieve() {
	if f.check() != nil {
		return
	}
	f.truncateLog()
	for more, err := true, error(nil); more && err == nil; {
		more, err = f.prune()
	}
	if f.check() == nil {
		f.truncateLog()
	}
}

// hasHole says whether something of the -wal file is missing before its end: it was cut, and
// SQLite went on where it was.
func (f *file) hasHole(size int64) bool {
	if size == 0 {
		return false
	}
	var head [4]byte
	if _, err := f.log.ReadAt(head[:], 0); err != nil {
		return true
	}
	magic := uint32(head[0])<<24 | uint32(head[1])<<16 | uint32(head[2])<<8 | uint32(head[3])
	return magic&^1 != walMagic || holeBefore(f.log, size)
}

// mend opens the files anew when the -wal file was cut or is gone, which is why, with all that is
// whole of it. It returns how many exchanges are lost; fewer than none if those of the last batch
// are there although write could not be sure. It does nothing about other errors.
func (f *file) mend(why error) (lost int64, err error) {
	if now := f.check(); now != nil && now != errWALGone && now != errWALCut {
		return 0, now
	}
	if why == errWALGone && f.conn != nil {
		f.copyLog("PASSIVE") // SQLite has it open still, and whole
	}
	f.down = why
	f.disconnect() // an error is that of what is damaged
	f.closeGuard()
	if err := forgetIndex(f.name + "-shm"); err != nil {
		return 0, err
	}
	expected := f.exchange
	f.written, f.space = false, space{}
	if err := f.connect(); err != nil {
		if f.broken == nil { // else its end would sync once more
			f.disconnect()
			f.closeGuard()
		}
		return 0, err
	}
	var last int64
	if err := queryRow(f.conn, "SELECT coalesce(max(id), 0) FROM exchanges", &last); err != nil {
		return 0, err
	}
	f.down, f.idsSkipped = nil, last < f.exchange
	f.origins.forget()
	lost = expected - max(last, f.lostUpTo)
	f.lostUpTo = expected
	// Into the journal with what is left, and a new -wal file.
	return lost, f.truncateLog()
}

// forgetIndex has SQLite look through the -wal file for what it has, as after a crash. The
// index that says so would go on for as long as another process reads the journal. To close the
// file takes this process's locks off it: a reader here may see its snapshot change, once.
func forgetIndex(shm string) error {
	index, err := os.OpenFile(shm, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer index.Close()
	_, err = index.WriteAt(make([]byte, walIndexHead), 0)
	return err
}
