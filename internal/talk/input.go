package talk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// An input is read a line at a time, and only when one is asked for: what stands behind
// the last line asked for is left to who reads next.
type input struct {
	terminal *Terminal // nil if nobody types
	asking   chan struct{}
	lines    chan line // one for each that was asked for
	asked    bool      // one is still to come
	count    int       // of the lines asked for
	over     bool      // its user ended it: what is typed behind is not for us

	// blocks has the lines that are there come together, with newlines between them.
	blocks atomic.Bool
}

type line struct {
	text []byte
	err  error // the end of the input, or why it could not be read
}

// errStopped is the error of a read that a Terminal was told to end.
var errStopped = errors.New("nobody reads on")

// readInput reads in a goroutine, which ends with the input: nobody waits for it but at a
// terminal, since a read of a pipe cannot be interrupted.
func readInput(in io.Reader) *input {
	i := &input{asking: make(chan struct{}, 1), lines: make(chan line, 1)}
	i.terminal, _ = in.(*Terminal)
	go func() {
		defer close(i.lines)
		r := bufio.NewReaderSize(in, blockSize)
		for range i.asking {
			text, err := r.ReadBytes('\n')
			if err == nil && i.blocks.Load() {
				text = appendLines(text, r)
			}
			switch {
			case len(text) == 0:
				text = nil
			case err != errStopped:
				err = nil // the last line may have no newline
			}
			i.lines <- line{bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")), err}
		}
	}()
	return i
}

// blockSize is how much of the input is read at once, in bytes.
const blockSize = 64 << 10

// appendLines appends the whole lines that have been read already.
func appendLines(text []byte, r *bufio.Reader) []byte {
	there, _ := r.Peek(r.Buffered())
	n := bytes.LastIndexByte(there, '\n') + 1
	text = append(text, there[:n]...)
	r.Discard(n)
	return text
}

// typed says whether somebody types.
func (i *input) typed() bool { return i.terminal != nil }

// ask asks for a line, unless one is still to come.
func (i *input) ask() {
	if !i.asked {
		i.asked = true
		i.count++
		i.asking <- struct{}{}
	}
}

// take takes all that was typed and not asked for from a terminal, whose input then has
// ended.
func (i *input) take() []byte {
	if i.terminal == nil || i.over || !i.terminal.stop() {
		return nil
	}
	var typed []byte
	if i.asked {
		l := <-i.lines
		i.asked = false
		typed = l.text
		if l.err == nil {
			typed = append(typed, '\n')
		}
	}
	return bytes.TrimRight(append(typed, i.terminal.takePending()...), "\n")
}

// end ends the reading of a terminal. That of a pipe ends with the pipe.
func (i *input) end() {
	close(i.asking)
	if i.terminal != nil && i.terminal.stop() {
		for range i.lines {
		}
	}
}
