package console

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

// QueueLimit is how many bytes of lines a Writer holds for a reader that does not
// keep up.
const QueueLimit = 16 << 20

const (
	// piece is how much is written at once, so that room comes back bit by bit.
	piece = 256 << 10

	// writePause is the pause after a write. Nobody sees it, but a busy server makes
	// hundreds of writes a second rather than one a line.
	writePause = 2 * time.Millisecond

	// fullPause is from one attempt to write to a full disk to the next.
	fullPause = time.Second
)

// ErrNotAllWritten is returned by Close when the reader did not take everything in
// time.
var ErrNotAllWritten = errors.New("the output did not take all of it")

// A Writer writes lines to a stream that may block, in one goroutine. Whoever appends
// never waits: past the limit whole lines are skipped and counted, and where they are
// missing a line says so. A full disk is a stream that blocks: lines wait until there is
// room again.
//
// A write is one of whole lines, so that two Writers of one file do not cut each
// other's; only a line of more than 256 KiB takes several.
type Writer struct {
	stream  io.Writer
	limit   int
	notice  func(dst []byte, n int64) []byte // the line that says n lines were skipped
	onError func(err error, full bool)
	timer   *time.Timer // of the writing goroutine's pauses

	mu      sync.Mutex
	queue   [][]byte // pieces of whole lines, the oldest first
	rest    []byte   // what is left of the piece that is being written
	held    int      // bytes queued or being written
	missing int64    // lines skipped since the last notice
	skipped int64    // lines skipped in all
	waiting bool     // the writing goroutine is to be woken
	closed  bool
	full    bool  // the last write found no room on the disk
	err     error // of the stream: from then on nothing is kept

	some    chan struct{} // there is something to write
	closing chan struct{} // closed by Close: no more pauses
	done    chan struct{}
}

// NewWriter starts to write to stream. notice makes the line that stands for n
// skipped ones. onError, if not nil, is told when the disk is full, and the stream's first
// other error, after which all lines are dropped.
func NewWriter(stream io.Writer, limit int, notice func(dst []byte, n int64) []byte, onError func(err error, full bool)) *Writer {
	w := &Writer{
		stream: stream, limit: limit, notice: notice, onError: onError, timer: time.NewTimer(0),
		some: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go w.write()
	return w
}

// Append queues one or more whole lines; their memory may be used again once it
// returns.
func (w *Writer) Append(lines []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(lines)
}

// Hand queues one or more whole lines, and returns memory to make the next ones in. What is long is not
// copied: its memory is the Writer's from then on, and other memory comes back.
func (w *Writer) Hand(lines []byte) (room []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(lines) < piece/2 || len(lines) > piece || w.held+len(lines) > w.limit || w.closed || w.err != nil {
		w.append(lines)
		return lines[:0]
	}
	w.sayMissing()
	w.queue = append(w.queue, lines)
	w.held += len(lines)
	w.wake()
	return newPiece()
}

func (w *Writer) append(lines []byte) {
	if w.closed || w.err != nil {
		w.skipped += linesIn(lines)
		return
	}
	for len(lines) > 0 {
		n := len(lines)
		if n > piece || w.held+n > w.limit {
			n = lineLength(lines)
		}
		if w.held+n > w.limit {
			w.missing++
			w.skipped++
		} else {
			w.sayMissing()
			w.put(lines[:n])
		}
		w.wake()
		lines = lines[n:]
	}
}

func linesIn(p []byte) int64 { return int64(bytes.Count(p, []byte("\n"))) }

func lineLength(lines []byte) int {
	if i := bytes.IndexByte(lines, '\n'); i >= 0 {
		return i + 1
	}
	return len(lines)
}

// sayMissing puts the notice in the place of the lines that were skipped. It may
// pass the limit by its own length.
func (w *Writer) sayMissing() {
	if w.missing > 0 {
		w.put(w.notice(nil, w.missing))
		w.missing = 0
	}
}

// put adds lines to the last piece, or begins a new one.
func (w *Writer) put(lines []byte) {
	last := len(w.queue) - 1
	if last < 0 || len(w.queue[last])+len(lines) > piece {
		w.queue = append(w.queue, newPiece())
		last++
	}
	w.queue[last] = append(w.queue[last], lines...)
	w.held += len(lines)
}

// pieces are those that were written, to be filled again. How many there are goes up and down with how far the streams
// are behind.
var pieces = sync.Pool{New: func() any { return new([piece]byte) }}

func newPiece() []byte { return pieces.Get().(*[piece]byte)[:0] }

func (w *Writer) wake() {
	if w.waiting {
		w.waiting = false
		w.some <- struct{}{} // has room: one token a wait
	}
}

// Skipped is how many lines did not get out, so far.
func (w *Writer) Skipped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skipped
}

// Err is the stream's first error, or nil.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close waits until all is written, but no longer than patience: an output that is
// blocked must not keep the process from ending. Then the writing goroutine is left
// behind in its write, since nothing can stop that, and writes nothing after it.
func (w *Writer) Close(patience time.Duration) error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
		w.wake()
	}
	w.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.Err()
	case <-timer.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.held > 0 {
		w.giveUp(ErrNotAllWritten)
	}
	return w.err
}

// giveUp counts what will not be written.
func (w *Writer) giveUp(err error) {
	w.skipped += linesIn(w.rest)
	for _, p := range w.queue {
		w.skipped += linesIn(p)
	}
	w.err, w.queue, w.held = err, nil, 0
}

// write is the one goroutine that touches the stream.
func (w *Writer) write() {
	defer close(w.done)
	defer w.timer.Stop()
	for {
		p, more := w.next()
		if p == nil || !w.writeOut(p) {
			return
		}
		if !more {
			w.pause(writePause)
		}
	}
}

// pause ends early when the Writer is closed.
func (w *Writer) pause(d time.Duration) {
	w.timer.Reset(d)
	select {
	case <-w.timer.C:
	case <-w.closing:
	}
}

// next waits for the oldest piece and takes it off the queue. It is nil when there
// will be no more.
func (w *Writer) next() (p []byte, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		switch {
		case w.err == nil && w.missing > 0:
			// Whoever reads has all that was kept, and is to know what was not, even if no line
			// comes any more.
			w.sayMissing()
		case w.err != nil || w.closed:
			return nil, false
		default:
			w.waiting = true
			w.mu.Unlock()
			<-w.some
			w.mu.Lock()
		}
	}
	p = w.queue[0]
	copy(w.queue, w.queue[1:])
	w.queue[len(w.queue)-1] = nil
	w.queue = w.queue[:len(w.queue)-1]
	w.rest = p
	return p, len(w.queue) > 0
}

// writeOut says whether the stream is still good.
func (w *Writer) writeOut(p []byte) bool {
	for rest := p; len(rest) > 0; {
		n, err := w.stream.Write(rest[:min(len(rest), piece)])
		rest = rest[n:]
		if !w.wrote(n, err) {
			return false
		}
	}
	if cap(p) == piece {
		pieces.Put((*[piece]byte)(p[:piece]))
	}
	return true
}

// wrote gives the room of n bytes back. It waits for a full disk, and gives up at any other
// error.
func (w *Writer) wrote(n int, err error) (good bool) {
	w.mu.Lock()
	if w.err != nil { // Close gave up
		w.mu.Unlock()
		return false
	}
	w.held -= n
	w.rest = w.rest[n:]
	wasFull := w.full
	w.full = errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	full, good := w.full, err == nil || w.full && !w.closed
	if !good {
		w.giveUp(err)
	}
	w.mu.Unlock()
	if err != nil && !(full && wasFull) && w.onError != nil {
		w.onError(err, full)
	}
	if full && good {
		w.pause(fullPause)
	}
	return good
}
