//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// mostLines is how many lines a history keeps, the newest ones. Its file is cut to them once it has
	// twice as many.
	mostLines = 2000

	// longestKept is how long a line may be in the file, in bytes, as it is written there.
	longestKept = 4 << 10
)

// A history is what was sent before: in memory, and in a file that several programs may have.
type history struct {
	path  string // "" if nothing is kept beyond the run
	lines [][]byte
}

// openHistory reads what the file has, of which there may be none yet. With an error the history is in
// memory alone.
func openHistory(path string) (*history, error) {
	h := new(history)
	if path == "" {
		return h, nil
	}
	file, err := openLocked(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		h.path = path
		return h, nil
	}
	if err != nil {
		return h, err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return h, err
	}
	count := 0
	for entry := range bytes.Lines(text) {
		count++
		h.add(fromEntry(bytes.TrimSuffix(entry, []byte("\n"))))
	}
	h.path = path
	h.lines = h.lines[max(0, len(h.lines)-mostLines):]
	if count > 2*mostLines {
		return h, h.rewrite()
	}
	return h, nil
}

// add keeps a line in memory, unless it is the last one again.
func (h *history) add(line []byte) (isNew bool) {
	if n := len(h.lines); len(line) == 0 || n > 0 && bytes.Equal(h.lines[n-1], line) {
		return false
	}
	h.lines = append(h.lines, bytes.Clone(line))
	return true
}

// write appends a line to the file. It is one write under a lock, so that two programs lose nothing.
func (h *history) write(line []byte) error {
	entry := appendEntry(nil, line)
	if h.path == "" || len(entry) > longestKept {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	file, err := openLocked(h.path, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return err
	}
	_, err = file.Write(append(entry, '\n'))
	return errors.Join(err, file.Close())
}

// rewrite puts the newest lines into the place of the file, which is locked. Who waits for the lock finds
// that its file is no longer the one of that name.
func (h *history) rewrite() error {
	var text []byte
	for _, line := range h.lines {
		text = append(appendEntry(text, line), '\n')
	}
	path, err := filepath.EvalSymlinks(h.path)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".history-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// openLocked opens a file that nobody else writes until it is closed.
func openLocked(path string, flag int) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		opened, err := file.Stat()
		if err == nil && !opened.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
		}
		if err == nil && opened.Mode().Perm() != 0o600 {
			err = file.Chmod(0o600)
		}
		if err == nil {
			err = flock(file)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(opened, named) {
			return file, nil
		}
		file.Close() // it was rewritten meanwhile
	}
}

func flock(file *os.File) error {
	for {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != unix.EINTR {
			return err
		}
	}
}

// appendEntry appends a line as the file has it: as Go quotes it, without the quotes around it, so that any
// bytes are one line.
func appendEntry(dst, line []byte) []byte {
	quoted := strconv.AppendQuote(nil, string(line))
	return append(dst, quoted[1:len(quoted)-1]...)
}

// fromEntry is the line of an entry. One that somebody wrote by hand is taken as it is.
func fromEntry(entry []byte) []byte {
	if line, err := strconv.Unquote(`"` + string(entry) + `"`); err == nil {
		return []byte(line)
	}
	return entry
}
