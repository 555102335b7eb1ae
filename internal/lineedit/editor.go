//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

// Package lineedit has a person edit the lines typed at a terminal, while what else there is to show appears
// above. It takes any bytes and lines of any length, keeps what is typed ahead, and asks the terminal nothing,
// so that no answer of it can get among what is typed, or to the shell behind.
package lineedit

import (
	"bytes"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-tcp/parley/internal/talk"
)

// Options say how an Editor edits.
type Options struct {
	In, Out   *os.File                   // the terminal
	Show      func(dst, p []byte) []byte // shows bytes: nothing but printable text may come of it
	Complete  func(line string) []string // which lines a line may become; nil if there are none beside the history
	History   string                     // the file of the history, "" for none
	KeepBlank bool                       // a blank line is like another; else it ends, as Ctrl-D does
}

// An Editor is somebody who types, a talk.Typist, and where the rest is shown, a console.Editor. All of its
// methods but Read may be called at any time.
//
// What is typed is read at once and edited by it, and handed over once it is asked for. Behind a blank line, or
// Ctrl-D, nothing is read until the next line is asked for: it is for who reads next.
type Editor struct {
	opt  Options
	tty  *tty
	wake [2]*os.File // a pipe that ends a wait for input

	signals   chan os.Signal
	continued chan struct{} // the process goes on after a stop
	watched   chan struct{}
	done      chan struct{} // nobody reads the terminal any more

	mu      sync.Mutex
	changed *sync.Cond // there is a line, or the end
	keys    decoder
	line    line
	prompt  string // "" while no line is asked for
	hide    bool   // the line is not shown
	painted bool   // something stands on the line of the cursor
	lines   []typed
	handing []byte // what Read hands over next
	secret  bool   // what was handed over was hidden

	over       bool // the end was typed
	released   bool // and so the terminal is for others until the next line is asked for
	background bool // the terminal is another's until we are in front again
	stopped    bool // nothing is read any more
	gone       bool // the terminal has
	discard    bool // what the terminal still has is for nobody
	closed     bool

	history    *history
	historyErr error // the first
	at         int   // where in the history the line comes from; behind its end if it was typed
	draft      []byte
	search     *search // nil if nothing is searched for
}

// typed is a line, or an end.
type typed struct {
	text []byte
	err  error
}

// Open begins to edit at a terminal. Close gives it back as it was.
func Open(opt Options) (*Editor, error) {
	tty, err := openTTY(opt.In, opt.Out)
	if err != nil {
		return nil, err
	}
	e := &Editor{opt: opt, tty: tty, signals: make(chan os.Signal, 4), continued: make(chan struct{}, 1),
		watched: make(chan struct{}), done: make(chan struct{})}
	if e.wake[0], e.wake[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	e.changed = sync.NewCond(&e.mu)
	e.history, e.historyErr = openHistory(opt.History)
	e.at = len(e.history.lines)
	signal.Notify(e.signals, unix.SIGWINCH, unix.SIGCONT)
	e.resume()
	go e.watch()
	go e.run()
	return e, nil
}

// Close ends the editing, and gives the terminal back. The error is the first of the history.
func (e *Editor) Close() error {
	e.Stop()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	if e.discard && e.tty.inFront() {
		discardInput(int(e.opt.In.Fd()))
	}
	if e.tty.inFront() {
		e.tty.restore()
	}
	signal.Stop(e.signals)
	close(e.signals)
	<-e.watched
	e.wake[0].Close()
	e.wake[1].Close()
	return e.historyErr
}

// Restore gives the terminal back at once, whatever else hangs: it is for the end of the process.
func (e *Editor) Restore() { e.tty.restore() }

// Guard gives the terminal back if the goroutine panics that defers it. The panic goes on.
func (e *Editor) Guard() {
	if p := recover(); p != nil {
		e.tty.restore()
		panic(p)
	}
}

// Read waits for a line, or for Stop, and shows the line behind its prompt.
func (e *Editor) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.handing) == 0 {
		if e.over && len(e.lines) == 0 && !e.stopped && !e.gone {
			e.over = false
			if e.released {
				e.released = false
				e.resume()
				e.nudge()
			}
		}
		for len(e.lines) == 0 && !e.stopped && !e.gone {
			e.changed.Wait()
		}
		switch {
		case e.stopped:
			return 0, talk.ErrStopped
		case len(e.lines) == 0:
			return 0, io.EOF
		}
		next := e.lines[0]
		e.lines = e.lines[1:]
		e.commit(next)
		if next.err != nil {
			return 0, next.err
		}
		e.handing = append(next.text, '\n')
	}
	n := copy(p, e.handing)
	e.handing = e.handing[n:]
	return n, nil
}

// commit shows a line that is handed over.
func (e *Editor) commit(next typed) {
	e.secret = e.hide
	var shown []byte
	if !e.secret {
		shown = next.text
	}
	e.above(append(e.opt.Show([]byte(e.prompt), shown), '\n'), func() { e.prompt = "" })
}

// Stop ends a Read that waits, and those to come; the terminal is read no more.
func (e *Editor) Stop() bool {
	e.mu.Lock()
	first := !e.stopped
	e.stopped = true
	e.changed.Broadcast()
	if first {
		e.nudge()
	}
	e.mu.Unlock()
	<-e.done
	e.mu.Lock()
	defer e.mu.Unlock()
	if first && e.painted {
		e.painted = false
		io.WriteString(e.opt.Out, "\n")
	}
	return true
}

// pasteRest is how long is waited for the rest of what is being pasted.
const pasteRest = 500 * time.Millisecond

// TakePending takes what was typed and not read, also of a line that is not whole, and of a paste that is still
// coming. What the terminal is sent from then on until it is given back is for nobody, unless not all is to be
// taken.
func (e *Editor) TakePending(all bool) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.released && e.tty.inFront() {
		e.discard = all
		e.readOn()
		for e.keys.pasting && e.await(pasteRest) {
			e.readOn()
		}
	}
	e.endSearch(false)
	var taken [][]byte
	for _, l := range e.lines {
		if l.err == nil {
			taken = append(taken, l.text)
		}
	}
	taken = append(taken, e.line.text)
	e.lines, e.line = nil, line{}
	return bytes.Join(taken, []byte("\n"))
}

// Remember keeps a line that was handed over in the history, unless it was hidden; lasting also beyond the run.
func (e *Editor) Remember(text []byte, lasting bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	recalls := e.at < len(e.history.lines)
	if e.secret || !e.history.add(text) {
		return
	}
	if !recalls {
		e.at = len(e.history.lines)
	}
	if lasting && e.historyErr == nil {
		e.historyErr = e.history.write(text)
	}
}

// Hide has the lines from now on neither shown nor remembered, or shown again.
func (e *Editor) Hide(hide bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hide = hide
	e.paint()
}

// Prompt says that a line is awaited, and has text stand before it.
func (e *Editor) Prompt(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prompt = text
	e.paint()
}

// Write shows whole lines above the one that is typed.
func (e *Editor) Write(lines []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.above(lines, nil); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Beside shows a line above the one that is typed, with end at the right edge: in the line's own last row if
// there is room for it, else in a row of its own.
func (e *Editor) Beside(text, end string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.above(appendBeside(nil, text, end, e.tty.columns()), nil)
}

// Columns is how wide the terminal is.
func (e *Editor) Columns() int { return e.tty.columns() }

// run reads the terminal until Stop.
func (e *Editor) run() {
	defer close(e.done)
	defer e.Guard()
	for e.turn() {
	}
}

// turn waits for what is typed, and does what it says.
func (e *Editor) turn() (more bool) {
	e.mu.Lock()
	if e.stopped {
		e.mu.Unlock()
		return false
	}
	ready := []unix.PollFd{{Fd: int32(e.wake[0].Fd()), Events: unix.POLLIN}, {Fd: int32(e.opt.In.Fd()), Events: unix.POLLIN}}
	wait := -1
	switch {
	case e.released:
		ready = ready[:1]
	case e.background:
		ready, wait = ready[:1], lookAgain
	case e.keys.isEscape():
		wait = escapeWait
	}
	e.mu.Unlock()
	n, err := unix.Poll(ready, wait)

	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == unix.EINTR:
	case err != nil:
		e.end(err)
	case ready[0].Revents != 0:
		e.wake[0].Read(make([]byte, 16))
	case e.released || e.stopped:
	case e.background || !e.tty.inFront():
		e.resume()
	case n == 0:
		e.keys.endEscape(e.press)
		e.paint()
	default:
		if n, err := e.readOn(); err != nil {
			e.end(err)
		} else if n == 0 && ready[1].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			e.end(io.EOF)
		}
		e.paint()
	}
	return true
}

const (
	escapeWait = 50  // milliseconds in which what follows an escape belongs to it
	lookAgain  = 200 // milliseconds from one look whether we are in front to the next
)

// readOn reads what the terminal has, a byte at a time: what is behind the end is left there.
func (e *Editor) readOn() (n int, err error) {
	for !e.released && !e.background {
		b, ok, err := e.tty.readByte()
		if !ok {
			return n, err
		}
		n++
		e.keys.feed(b, e.press)
		if e.over && !e.keys.pasting {
			e.released = true
			e.tty.restore()
		}
	}
	return n, nil
}

// await says whether something is typed within a time.
func (e *Editor) await(d time.Duration) bool {
	ready := []unix.PollFd{{Fd: int32(e.opt.In.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, int(d/time.Millisecond))
		if err != unix.EINTR {
			return err == nil && n > 0 && ready[0].Revents&unix.POLLIN != 0
		}
	}
}

// end ends the input: the terminal has gone, or cannot be read.
func (e *Editor) end(err error) {
	e.over, e.released, e.gone = true, true, true
	e.submit(typed{err: err})
}

func (e *Editor) submit(t typed) {
	e.lines = append(e.lines, t)
	e.changed.Broadcast()
}

// nudge ends a wait of run.
func (e *Editor) nudge() { e.wake[1].Write([]byte{0}) }

// watch does what signals ask for.
func (e *Editor) watch() {
	defer close(e.watched)
	defer e.Guard()
	for s := range e.signals {
		if s == unix.SIGCONT {
			select {
			case e.continued <- struct{}{}:
			default:
			}
		}
		e.mu.Lock()
		if s == unix.SIGCONT && !e.released && !e.stopped {
			e.resume()
		} else {
			e.repaint()
		}
		e.mu.Unlock()
	}
}

// resume takes the terminal, if it is ours to take.
func (e *Editor) resume() {
	if e.background = !e.tty.inFront(); e.background {
		e.painted = false
		return
	}
	e.tty.edit() // an error would come back with the next read
	e.paint()
}

// suspend stops the process, as Ctrl-Z does, until it is to go on.
func (e *Editor) suspend() {
	e.leave()
	select {
	case <-e.continued:
	default:
	}
	unix.Kill(0, unix.SIGTSTP)
	select {
	case <-e.continued:
	case <-time.After(notStopped): // nobody is there who would have us go on: the signal was ignored
	}
	e.resume()
}

const notStopped = 200 * time.Millisecond

// leave gives the terminal to others, below what was typed so far.
func (e *Editor) leave() {
	if e.painted {
		io.WriteString(e.opt.Out, "\n")
		e.painted = false
	}
	e.tty.restore()
}
