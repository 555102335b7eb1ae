package journal

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/parley-tcp/parley/internal/kernel"
)

// reserve has the file system keep blocks for a part of a file that may lie behind its end.
func reserve(f *os.File, from, length int64) error {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	for {
		err := kernel.Allocate(f, keepSize, from, length)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EOPNOTSUPP, err == syscall.ENOSYS:
			return nil
		default:
			return err
		}
	}
}

// holeBefore says whether a part of the file before size was never written.
func holeBefore(f *os.File, size int64) bool {
	const seekHole = 4
	hole, err := f.Seek(0, seekHole)
	return err == nil && hole < size
}

// readerOf is the process that reads the journal in a transaction: SQLite's readers each lock
// one byte of the -shm file.
func readerOf(shm string) string {
	const firstReader, lastReader = 123, 127
	info, err := os.Stat(shm)
	if err != nil {
		return someReader
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	locks, err := os.Open("/proc/locks")
	if err != nil || !ok {
		return someReader
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: POSIX  ADVISORY  READ 28961 fe:00:9979533 124 124
		field := strings.Fields(lines.Text())
		if len(field) < 8 || !strings.HasSuffix(field[5], ":"+strconv.FormatUint(stat.Ino, 10)) {
			continue
		}
		pid, _ := strconv.Atoi(field[4])
		at, _ := strconv.Atoi(field[6])
		if field[3] == "READ" && pid > 0 && pid != os.Getpid() && at >= firstReader && at <= lastReader {
			return nameOf(pid)
		}
	}
	return someReader
}

const someReader = "a reader"

func nameOf(pid int) string {
	comm, err := os.Open(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("process %d", pid)
	}
	defer comm.Close()
	name, _ := io.ReadAll(comm)
	return fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name)))
}
