//go:build linux

package lineedit

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/parley-tcp/parley/internal/leaks"
	"github.com/parley-tcp/parley/internal/talk"
)

func TestMain(m *testing.M) { os.Exit(leaks.Run(m)) }

// open opens an editor at a pseudo-terminal, of which keys is the other end. What is shown is thrown away.
func open(t *testing.T) (e *Editor, keys, tty *os.File) {
	t.Helper()
	blocking, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(blocking.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	blocking.Close()
	unix.SetNonblock(fd, true) // or a read that waits would keep it open when it is closed
	keys = os.NewFile(uintptr(fd), "keys")
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		io.Copy(io.Discard, keys)
	}()
	e, err = Open(Options{In: tty, Out: tty, Show: plain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		tty.Close()
		keys.Close()
		<-shown
	})
	return e, keys, tty
}

func termios(t *testing.T, tty *os.File) unix.Termios {
	t.Helper()
	now, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	return *now
}

// A goroutine that panics gives the terminal back, and panics on.
func TestPanicGivesTheTerminalBack(t *testing.T) {
	e, _, tty := open(t)
	if termios(t, tty).Lflag&unix.ICANON != 0 {
		t.Fatal("the terminal is not changed while lines are edited")
	}
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		defer e.Guard()
		panic("so it is")
	}()
	<-done
	if panicked != "so it is" {
		t.Errorf("it panicked on with %v", panicked)
	}
	if now := termios(t, tty); now.Lflag&unix.ICANON == 0 || now.Lflag&unix.ECHO == 0 || now.Lflag&unix.ISIG == 0 {
		t.Errorf("the terminal is %+v", now)
	}
}

// A line is read in pieces as large as asked for, and Stop ends a read that waits.
func TestReadAndStop(t *testing.T) {
	e, keys, _ := open(t)
	io.WriteString(keys, "hello\r")
	var line []byte
	for buf := make([]byte, 4); !bytes.HasSuffix(line, []byte("\n")); {
		n, err := e.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		line = append(line, buf[:n]...)
	}
	if string(line) != "hello\n" {
		t.Errorf("read is %q", line)
	}
	read := make(chan error)
	go func() {
		_, err := e.Read(make([]byte, 1))
		read <- err
	}()
	e.Stop()
	if err := <-read; err != talk.ErrStopped {
		t.Errorf("a read that waited ended with %v", err)
	}
	if _, err := e.Read(make([]byte, 1)); err != talk.ErrStopped {
		t.Errorf("a read behind it ended with %v", err)
	}
}

// What is typed until the very end is taken, and what the terminal is sent behind it is for nobody; unless not
// all is to be taken.
func TestTakePending(t *testing.T) {
	for _, all := range []bool{true, false} {
		e, keys, tty := open(t)
		io.WriteString(keys, "one\rtwo\x02!")
		if !all {
			io.WriteString(keys, "\x15\x0b\r") // an end, behind which nothing is read
		}
		deadline := time.Now().Add(30 * time.Second)
		for n := 0; n < 2-map[bool]int{true: 1}[all]; time.Sleep(time.Millisecond) {
			e.mu.Lock()
			n = len(e.lines)
			e.mu.Unlock()
			if time.Now().After(deadline) {
				t.Fatal("the lines have not come")
			}
		}
		e.Stop()
		if all {
			io.WriteString(keys, "\x1b[200~last\rwords") // a paste that goes on for a while
			go func() {                                  // once the first part has been taken
				for n := 1; n > 0; time.Sleep(time.Millisecond) {
					n, _ = unix.IoctlGetInt(int(tty.Fd()), unix.TIOCINQ)
				}
				io.WriteString(keys, " more\x1b[201~")
			}()
		} else {
			io.WriteString(keys, "for the next\n")
		}
		got, want := string(e.TakePending(all)), "one\ntw!lasto\nwords more"
		if !all {
			want = "one\n\n"
		}
		if got != want {
			t.Errorf("all %v: taken is %q, want %q", all, got, want)
		}
		if all {
			io.WriteString(keys, "rm -rf\n")
		}
		e.Close()
		io.WriteString(keys, "next\n")
		buf := make([]byte, 100)
		n, err := tty.Read(buf)
		for err == nil && !all && !strings.Contains(string(buf[:n]), "\n") {
			var more int
			more, err = tty.Read(buf[n:])
			n += more
		}
		if first := map[bool]string{true: "next\n", false: "for the next\n"}[all]; string(buf[:n]) != first || err != nil {
			t.Errorf("all %v: who reads next gets %q, %v, want %q", all, buf[:n], err, first)
		}
	}
}

// A terminal that has gone is the end of the input.
func TestTerminalThatHasGone(t *testing.T) {
	e, keys, _ := open(t)
	read := make(chan error)
	go func() {
		_, err := e.Read(make([]byte, 1))
		read <- err
	}()
	keys.Close()
	if err := <-read; err == nil {
		t.Error("a read of it has no error")
	}
	if _, err := e.Read(make([]byte, 1)); err == nil {
		t.Error("another read of it has no error")
	}
}
