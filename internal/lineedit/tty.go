//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package lineedit

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A tty is a terminal that is changed for editing and given back as it was.
type tty struct {
	in, out *os.File

	mu     sync.Mutex
	before unix.Termios
	edited bool // it is changed now
}

func openTTY(in, out *os.File) (*tty, error) {
	before, err := unix.IoctlGetTermios(int(in.Fd()), getTermios)
	if err != nil {
		return nil, err
	}
	return &tty{in: in, out: out, before: *before}, nil
}

const (
	pasteOn  = "\x1b[?2004h" // pasted text comes in brackets
	pasteOff = "\x1b[?2004l"
)

// edit has each byte handed over as it is typed, keys of signals too, and nothing echoed. What is written is
// treated as ever. A read does not wait.
func (t *tty) edit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.edited { // it may have been changed since it was given back
		if before, err := unix.IoctlGetTermios(int(t.in.Fd()), getTermios); err == nil {
			t.before = *before
		}
	}
	now := t.before
	now.Iflag &^= unix.BRKINT | unix.IGNBRK | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	now.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	now.Cflag = now.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 0, 0
	if err := unix.IoctlSetTermios(int(t.in.Fd()), setTermios, &now); err != nil {
		return err
	}
	t.edited = true
	t.out.WriteString(pasteOn)
	return nil
}

// patience is how long the terminal may take to be given back.
const patience = 100 * time.Millisecond

// restore makes the terminal what it was. What was typed and not read is left to who reads next.
func (t *tty) restore() {
	t.mu.Lock()
	edited := t.edited
	if t.edited {
		t.edited = false
		unix.IoctlSetTermios(int(t.in.Fd()), setTermios, &t.before)
	}
	t.mu.Unlock()
	if !edited {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		t.out.WriteString(pasteOff)
	}()
	select {
	case <-written:
	case <-time.After(patience): // a terminal that takes nothing
	}
}

// readByte reads what is there, without waiting; ok is false if that is nothing.
func (t *tty) readByte() (b byte, ok bool, err error) {
	var one [1]byte
	for {
		n, err := unix.Read(int(t.in.Fd()), one[:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, false, nil
		case err != nil:
			return 0, false, err
		default:
			return one[0], n == 1, nil
		}
	}
}

// inFront says whether the terminal is ours to read and to change: in the background it is not.
func (t *tty) inFront() bool {
	front, err := unix.IoctlGetInt(int(t.in.Fd()), unix.TIOCGPGRP)
	return err != nil || front == unix.Getpgrp()
}

func (t *tty) columns() int {
	if size, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		return int(size.Col)
	}
	const asEver = 80
	return asEver
}
