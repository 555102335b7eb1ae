package console

import (
	"errors"
	"io"
	"sync"
	"time"
)

// QueueLimit is how many bytes of lines a Writer holds for a reader that does not
// keep up.
const QueueLimit = 16 << 20

// piece is how much is written at once, so that room comes back bit by bit.
const piece = 64 << 10

// ErrNotAllWritten is returned by Close when the reader did not take everything in
// time.
var ErrNotAllWritten = errors.New("the output did not take all of it")

// A Writer writes lines to a stream that may block, in one goroutine. Whoever appends
// never waits: past the limit whole lines are skipped and counted, and where they are
// missing a line says so.
type Writer struct {
	stream  io.Writer
	limit   int
	notice  func(dst []byte, n int64) []byte // the line that says n lines were skipped
	onError func(error)

	mu      sync.Mutex
	queue   []byte
	writing int   // bytes taken off the queue and not yet written
	missing int64 // lines skipped since the last notice
	closed  bool
	err     error // of the stream: from then on nothing is kept

	some chan struct{} // there may be something in the queue
	done chan struct{}
}

// NewWriter starts to write to stream. notice makes the line that stands for n
// skipped ones. onError, if not nil, is told the stream's first error.
func NewWriter(stream io.Writer, limit int, notice func(dst []byte, n int64) []byte, onError func(error)) *Writer {
	w := &Writer{
		stream: stream, limit: limit, notice: notice, onError: onError,
		some: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go w.write()
	return w
}

// Append queues a line, which may be used again once it returns.
func (w *Writer) Append(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed || w.err != nil:
		return
	case len(w.queue)+w.writing+len(line) > w.limit:
		w.missing++
		return
	}
	w.sayMissing()
	w.queue = append(w.queue, line...)
	w.wakeWriter()
}

// sayMissing puts the notice in the place of the lines that were skipped. It may
// pass the limit by its own length.
func (w *Writer) sayMissing() {
	if w.missing > 0 {
		w.queue = w.notice(w.queue, w.missing)
		w.missing = 0
	}
}

func (w *Writer) wakeWriter() {
	select {
	case w.some <- struct{}{}:
	default:
	}
}

// Close waits until all is written, but no longer than patience: an output that is
// blocked must not keep the process from ending. Then the writing goroutine is left
// to the end of the process, since nothing can stop a blocked write.
func (w *Writer) Close(patience time.Duration) error {
	w.mu.Lock()
	if !w.closed {
		w.sayMissing()
		w.closed = true
	}
	w.mu.Unlock()
	w.wakeWriter()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
		return w.err
	case <-timer.C:
		return ErrNotAllWritten
	}
}

// write is the one goroutine that touches the stream.
func (w *Writer) write() {
	defer close(w.done)
	var batch []byte
	for range w.some {
		for {
			w.mu.Lock()
			batch, w.queue = w.queue, batch[:0]
			w.writing = len(batch)
			last := w.closed
			w.mu.Unlock()
			if len(batch) == 0 {
				if last {
					return
				}
				break
			}
			if !w.writeOut(batch) {
				return
			}
			if cap(batch) > 1<<20 {
				batch = nil // a burst is over: do not keep its memory
			}
		}
	}
}

func (w *Writer) writeOut(batch []byte) bool {
	for len(batch) > 0 {
		n := min(len(batch), piece)
		_, err := w.stream.Write(batch[:n])
		w.mu.Lock()
		w.writing -= n
		if err != nil {
			w.err, w.queue = err, nil
		}
		w.mu.Unlock()
		if err != nil {
			if w.onError != nil {
				w.onError(err)
			}
			return false
		}
		batch = batch[n:]
	}
	return true
}
