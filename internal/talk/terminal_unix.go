//go:build unix

package talk

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A Terminal is where somebody types. The system lets its user edit a line and hands it
// over when it is whole; until then read(2) does not see it.
type Terminal struct {
	file           *os.File
	stopped, awake *os.File // a pipe whose end of file ends a wait for input
}

// OpenTerminal makes a Terminal of an open one. Close it; that leaves the file open.
func OpenTerminal(file *os.File) (*Terminal, error) {
	stopped, awake, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &Terminal{file, stopped, awake}, nil
}

// Close gives back what OpenTerminal took.
func (t *Terminal) Close() error {
	return errors.Join(t.awake.Close(), t.stopped.Close())
}

// Read waits for a line, or for stop, and reads once.
func (t *Terminal) Read(p []byte) (int, error) {
	ready := []unix.PollFd{{Fd: int32(t.file.Fd()), Events: unix.POLLIN}, {Fd: int32(t.stopped.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(ready, -1)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case ready[1].Revents != 0:
			return 0, errStopped
		default:
			return t.file.Read(p)
		}
	}
}

// stop ends a Read that waits, and those to come. It reports whether that can be done.
func (t *Terminal) stop() bool {
	t.awake.Close()
	return true
}

// takePending takes what was typed and not read, also of a line that is not whole. That
// can be read only while the terminal hands over each byte, which it does for just so
// long.
func (t *Terminal) takePending() []byte {
	fd := int(t.file.Fd())
	if t.inBackground(fd) {
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

// inBackground says whether another process group has the terminal: it is then not to be
// changed from here.
func (t *Terminal) inBackground(fd int) bool {
	front, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && front != unix.Getpgrp()
}
