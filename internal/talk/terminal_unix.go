//go:build unix

package talk

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A Terminal is where somebody types. The system lets its user edit a line and hands it
// over when it is whole; until then read(2) does not see it.
type Terminal struct {
	file           *os.File
	stopped, awake *os.File // a pipe whose end of file ends a wait for input
	continued      chan os.Signal

	mu    sync.Mutex
	shown *unix.Termios // how the terminal was before what is typed was hidden; nil if it is not
}

// OpenTerminal makes a Terminal of an open one. Close it; that leaves the file open.
func OpenTerminal(file *os.File) (*Terminal, error) {
	stopped, awake, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	t := &Terminal{file: file, stopped: stopped, awake: awake, continued: make(chan os.Signal, 1)}
	signal.Notify(t.continued, unix.SIGCONT)
	return t, nil
}

// Close gives back what OpenTerminal took.
func (t *Terminal) Close() error {
	t.Hide(false)
	signal.Stop(t.continued)
	return errors.Join(t.awake.Close(), t.stopped.Close())
}

// Read waits for a line, or for Stop, and reads once.
func (t *Terminal) Read(p []byte) (int, error) {
	ready := []unix.PollFd{{Fd: int32(t.file.Fd()), Events: unix.POLLIN}, {Fd: int32(t.stopped.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(ready, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case ready[1].Revents != 0:
			return 0, ErrStopped
		default:
			return t.file.Read(p)
		}
	}
}

// Continued is told when the process goes on behind a stop, as fg has it: the prompt is then no longer where
// the cursor is.
func (t *Terminal) Continued() <-chan os.Signal { return t.continued }

// Stop ends a Read that waits, and those to come. It reports whether that can be done.
func (t *Terminal) Stop() bool {
	t.awake.Close()
	return true
}

// TakePending takes what was typed and not read, also of a line that is not whole. That
// can be read only while the terminal hands over each byte, which it does for just so
// long. If not all is wanted, the terminal keeps it.
func (t *Terminal) TakePending(all bool) []byte {
	fd := int(t.file.Fd())
	if !all || t.inBackground(fd) {
		return nil // who is in front types for somebody else
	}
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil // the terminal is gone
	}
	defer term.Restore(fd, before)
	var typed []byte
	buf := make([]byte, 4<<10)
	for {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, 0); err == unix.EINTR {
			continue
		} else if n < 1 {
			break
		}
		n, err := unix.Read(fd, buf)
		if n < 1 || err != nil {
			break
		}
		typed = append(typed, buf[:n]...)
	}
	return bytes.ReplaceAll(typed, []byte{0}, nil) // what an end of file that was typed has become
}

// Hide has what is typed not be shown but for its newline, or be shown again.
func (t *Terminal) Hide(hidden bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fd := int(t.file.Fd())
	switch {
	case hidden && t.shown == nil:
		before, err := unix.IoctlGetTermios(fd, ioctlReadTermios)
		if err != nil {
			return // the terminal is gone
		}
		t.shown = before
		silent := *before
		silent.Lflag = silent.Lflag&^unix.ECHO | unix.ECHONL
		unix.IoctlSetTermios(fd, ioctlWriteTermios, &silent)
	case !hidden && t.shown != nil:
		unix.IoctlSetTermios(fd, ioctlWriteTermios, t.shown)
		t.shown = nil
	}
}

// Restore has what is typed be shown again: it may be called at any time, also where all else hangs.
func (t *Terminal) Restore() { t.Hide(false) }

// Guard does that if the goroutine panics that defers it. The panic goes on.
func (t *Terminal) Guard() {
	if p := recover(); p != nil {
		t.Restore()
		panic(p)
	}
}

// inBackground says whether another process group has the terminal: it is then not to be
// changed from here.
func (t *Terminal) inBackground(fd int) bool {
	front, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && front != unix.Getpgrp()
}

// Remember does nothing: a terminal has no memory of lines.
func (t *Terminal) Remember([]byte, bool) {}
