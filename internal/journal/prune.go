package journal

import (
	"io"
	"math"
	"time"

	"github.com/parley-tcp/parley/internal/kernel"
)

const (
	pruneRows = 2000 // deleted at once: the queue waits for that long

	// sessionsLooked is at how many sessions pruneSessions looks. More than are open at
	// once, since those stay, and far fewer than there may be.
	sessionsLooked = 10 * pruneRows

	refusalsKept = 10000 // at most, if there is a bound; the same of faults

	// usedBytes is how large the journal is, less what was deleted.
	usedBytes = "((SELECT * FROM pragma_page_count) - (SELECT * FROM pragma_freelist_count)) * (SELECT * FROM pragma_page_size)"
)

// A Keep says what is kept: all of it if it is zero.
type Keep struct {
	Age   time.Duration // what is older is deleted, if this is not zero
	Bytes int64         // the files together take up no more, if this is not zero; at least MinKeep
}

// MinKeep is the least that Keep.Bytes can hold: empty, the files have a tenth of it.
const MinKeep = 1 << 20

// Of Keep.Bytes so many sixteenths are for what is recorded, and so many for the -wal file
// before it is copied. The rest is for the batch that comes in between, which Writer keeps
// under one of them, and for the -shm file.
const (
	contentShare = 10
	logShare     = 2
	batchShare   = 1
)

func (k Keep) share(sixteenths int64) int64 { return k.Bytes / 16 * sixteenths }

// prune deletes the oldest exchanges that are too old or too much, some at a time, and
// reports whether there may be more. The last one stays: the next one's id follows it.
func (f *file) prune() (more bool, err error) {
	keep := f.keep
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
	case keep.Bytes > 0 && size > keep.share(contentShare):
		last, err := f.firstOf(size - keep.share(contentShare))
		if err != nil {
			return false, err
		}
		return true, f.delete("DELETE FROM exchanges WHERE id <= ?; "+pruneCuts, min(last, newest-1))
	case received < before:
		return true, f.delete("DELETE FROM exchanges WHERE id < ? AND received_ns < ?; "+pruneCuts, min(oldest+pruneRows, newest), before)
	}
	return false, nil
}

// firstOf is the last of the oldest exchanges that take up so many bytes, or of those that
// are deleted at once.
func (f *file) firstOf(bytes int64) (last int64, err error) {
	rows, err := f.conn.Query(
		"SELECT id, coalesce(length(request), 0) + coalesce(length(reply), 0) + 48 FROM exchanges ORDER BY id LIMIT ?", int64(pruneRows))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for bytes > 0 && rows.Next() {
		var size int64
		rows.Scan(&last, &size)
		bytes -= size
	}
	return last, rows.Err()
}

// delete writes to the -wal file too, though it makes room in the journal.
func (f *file) delete(text string, values ...any) error {
	f.written = true
	f.space.sinceCheckpoint += transactionBytes
	return f.judged(f.exec(text, values...))
}

const pruneCuts = "DELETE FROM cuts WHERE exchange < (SELECT min(id) FROM exchanges)"

func (k Keep) before() int64 {
	if k.Age == 0 {
		return 0
	}
	return kernel.Now().Add(-k.Age).UnixNano()
}

// pruneSessions deletes sessions that were closed before the oldest exchange that is left,
// and any if they alone are too much. Those that a server before this one left open ended
// before it was started.
func (f *file) pruneSessions() error {
	keep := f.keep
	if keep == (Keep{}) || f.broken != nil {
		return nil
	}
	f.sessionsSincePrune = 0
	bytes := int64(math.MaxInt64)
	if keep.Bytes > 0 {
		bytes = keep.share(contentShare)
	}
	if err := f.delete("DELETE FROM refused WHERE id <= ? OR at_ns < ?", f.refusal-keep.refusals(), keep.before()); err != nil {
		return err
	}
	if err := f.delete("DELETE FROM faults WHERE id <= ? OR session < (SELECT min(id) FROM sessions)", f.lastFault-keep.refusals()); err != nil {
		return err
	}
	// The next origin has an id behind this one's.
	if err := f.delete("DELETE FROM origins WHERE id < min(?, coalesce((SELECT coalesce(origin, 0) FROM sessions ORDER BY id LIMIT 1), ?), "+
		"coalesce((SELECT coalesce(origin, 0) FROM refused ORDER BY id LIMIT 1), ?))", f.origins.newest, f.origins.newest, f.origins.newest); err != nil {
		return err
	}
	return f.delete("DELETE FROM sessions WHERE id IN (SELECT id FROM ("+
		"SELECT id, coalesce(closed_ns, CASE WHEN id <= ? THEN (SELECT since_ns FROM writer) END) AS ended FROM sessions ORDER BY id LIMIT ?) "+
		"WHERE ended < max(?, coalesce((SELECT received_ns FROM exchanges ORDER BY id LIMIT 1), 0), "+
		"CASE WHEN ? < "+usedBytes+" AND (SELECT count(*) FROM (SELECT 1 FROM exchanges LIMIT 2)) < 2 THEN 9223372036854775807 ELSE 0 END) "+
		"AND id < (SELECT max(id) FROM sessions) LIMIT ?)",
		f.base, int64(sessionsLooked), keep.before(), bytes, int64(pruneRows))
}

// sessions is how many may end before it is looked whether some are to be deleted: what they take up meanwhile is
// nobody's share.
func (k Keep) sessions() int {
	const each = 512 // bytes, with its exchange, in pages that are not full
	if k.Bytes == 0 {
		return pruneRows / 2
	}
	return int(min(pruneRows/2, k.share(batchShare)/each))
}

// refusals is how many of them are kept.
func (k Keep) refusals() int64 {
	const each = 128 // bytes
	if k.Bytes == 0 {
		return refusalsKept
	}
	return min(refusalsKept, k.share(1)/each)
}
