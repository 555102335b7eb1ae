//go:build unix

// Package screen runs a program in a terminal of its own, a pseudo-terminal behind an emulator, types
// there and reads what the screen shows. It is for tests, and for the pictures in docs.
package screen

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// A Screen is a terminal with a program in it.
type Screen struct {
	Cmd *exec.Cmd // in a session of its own, of which the terminal is the controlling one

	keys    *os.File // the terminal's side of the pseudo-terminal
	replies chan struct{}
	read    chan struct{}

	mu       sync.Mutex
	emulator *vt.Emulator
	raw      []byte        // all that was written
	changed  chan struct{} // closed at the next change
	over     bool          // nothing more is written
}

// Start runs cmd in a terminal of so many columns and rows. Its standard streams become the terminal,
// but for those that are set; TERM becomes xterm-256color unless cmd has an environment. Close it.
func Start(cmd *exec.Cmd, columns, rows int) (*Screen, error) {
	keys, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	if err := pty.Setsize(keys, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}); err != nil {
		keys.Close()
		return nil, err
	}
	if cmd.Env == nil {
		cmd.Env = append(os.Environ(), "TERM=xterm-256color")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	switch {
	case cmd.Stdin == nil:
	case cmd.Stdout == nil:
		cmd.SysProcAttr.Ctty = 1
	default:
		cmd.SysProcAttr.Ctty = 2
	}
	if cmd.Stdin == nil {
		cmd.Stdin = tty
	}
	if cmd.Stdout == nil {
		cmd.Stdout = tty
	}
	if cmd.Stderr == nil {
		cmd.Stderr = tty
	}
	if err := cmd.Start(); err != nil {
		keys.Close()
		return nil, err
	}
	s := &Screen{Cmd: cmd, keys: keys, emulator: vt.NewEmulator(columns, rows),
		replies: make(chan struct{}), read: make(chan struct{}), changed: make(chan struct{})}
	go s.reply()
	go s.readOn()
	return s, nil
}

// reply answers what the program asks the terminal.
func (s *Screen) reply() {
	defer close(s.replies)
	buf := make([]byte, 4096)
	for {
		n, err := s.emulator.Read(buf)
		if err != nil {
			return
		}
		s.keys.Write(buf[:n]) // fails once the program has gone
	}
}

func (s *Screen) readOn() {
	defer close(s.read)
	buf := make([]byte, 4096)
	for {
		n, err := s.keys.Read(buf)
		s.mu.Lock()
		s.emulator.Write(buf[:n])
		s.raw = append(s.raw, buf[:n]...)
		s.over = err != nil
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Type types text: "\r" is Enter, "\x03" Ctrl-C, "\x1b[A" the up key.
func (s *Screen) Type(text string) error {
	_, err := s.keys.WriteString(text)
	return err
}

// Paste types text as a terminal does that was told to bracket what is pasted.
func (s *Screen) Paste(text string) error { return s.Type("\x1b[200~" + text + "\x1b[201~") }

// Resize makes the terminal so many columns and rows large, and tells the program.
func (s *Screen) Resize(columns, rows int) error {
	s.mu.Lock()
	s.emulator.Resize(columns, rows)
	s.mu.Unlock()
	return pty.Setsize(s.keys, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
}

// Text is what the screen shows, with what has scrolled off before it: lines without the blanks at
// their ends, without empty ones at the end.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text()
}

func (s *Screen) text() string {
	var lines []string
	for y := range s.emulator.ScrollbackLen() {
		lines = append(lines, s.line(y, s.emulator.ScrollbackCellAt))
	}
	for y := range s.emulator.Height() {
		lines = append(lines, s.line(y, s.emulator.CellAt))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// Raw is all that the program has written.
func (s *Screen) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.raw)
}

// Cursor is where the cursor is, from 0, and whether it is shown.
func (s *Screen) Cursor() (column, row int, shown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.emulator.CursorPosition()
	return at.X, at.Y, !s.emulator.CursorHidden()
}

// Await waits until the screen is as it should be, at most within; 0 is 30 seconds. The error has
// what it shows instead.
func (s *Screen) Await(what string, is func(text string) bool, within time.Duration) error {
	timeout := time.After(cmp.Or(within, 30*time.Second))
	for {
		s.mu.Lock()
		text, changed, over := s.text(), s.changed, s.over
		s.mu.Unlock()
		switch {
		case is(text):
			return nil
		case over:
			return fmt.Errorf("the program has gone, and the screen never had %s; it shows\n%s", what, text)
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("the screen does not have %s; it shows\n%s", what, text)
		}
	}
}

// AwaitText waits for a part of what the screen shows.
func (s *Screen) AwaitText(part string) error {
	return s.Await(fmt.Sprintf("%q", part), func(text string) bool { return strings.Contains(text, part) }, 0)
}

// Wait waits for the end of the program, and of what it writes. The error is that of Cmd.Wait.
func (s *Screen) Wait() error {
	err := s.Cmd.Wait()
	<-s.read
	return err
}

// Close ends the program if it still runs, and gives back what Start took.
func (s *Screen) Close() error {
	if s.Cmd.ProcessState == nil {
		s.Cmd.Process.Kill()
		s.Cmd.Wait()
	}
	<-s.read
	s.emulator.InputPipe().(io.Closer).Close() // which ends reply; the emulator's own Close would race with it
	<-s.replies
	return s.keys.Close()
}
