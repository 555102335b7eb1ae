package talk

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// An input is read a line at a time, and only when one is asked for: what stands behind
// the last line asked for is left to who reads next.
type input struct {
	typist Typist // nil if nobody types
	asking chan struct{}
	lines  chan line // one for each that was asked for
	asked  bool      // one is still to come
	count  int       // of the lines asked for, or taken of a block
	over   bool      // its user ended it: what is typed behind is not for us
	block  []byte    // lines that came together and have not been taken yet, with newlines between them

	continued <-chan os.Signal // the prompt is to be shown again; nil if it never has to be

	// blocks has the lines that are there come together, with newlines between them.
	blocks atomic.Bool
}

type line struct {
	text []byte
	err  error // the end of the input, or why it could not be read
}

// A Typist is an input that somebody types: a Terminal, or a line editor.
type Typist interface {
	// Read waits for a line, or for Stop, and hands over no more than was typed until then: a line ends
	// with a newline, and an end of input that was typed is io.EOF.
	io.Reader

	// Stop ends a Read that waits, and those to come, with ErrStopped. It reports whether that can be done.
	Stop() bool

	// TakePending takes what was typed and not read, also of a line that is not whole; if not all, only
	// what cannot be left to who reads next. It is called behind Stop, once no Read waits.
	TakePending(all bool) []byte

	// Remember has a line that was read come back to who types it again: lasting, in a later run too. It is
	// told of no line that has a secret.
	Remember(line []byte, lasting bool)
}

// ErrStopped is the error of a read that a Typist was told to end.
var ErrStopped = errors.New("nobody reads on")

// readInput reads in a goroutine, which ends with the input: nobody waits for it but at a
// terminal, since a read of a pipe cannot be interrupted.
func readInput(in io.Reader, guard func()) *input {
	i := &input{asking: make(chan struct{}, 1), lines: make(chan line, 1)}
	i.typist, _ = in.(Typist)
	if terminal, is := in.(interface{ Continued() <-chan os.Signal }); is {
		i.continued = terminal.Continued()
	}
	go func() {
		defer close(i.lines)
		defer guard()
		r := bufio.NewReaderSize(in, blockSize)
		for range i.asking {
			text, err := r.ReadBytes('\n')
			if err == nil && i.blocks.Load() {
				text = appendLines(text, r)
			}
			switch {
			case len(text) == 0:
				text = nil
			case err != ErrStopped:
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
func (i *input) typed() bool { return i.typist != nil }

// ask asks for a line, unless one is still to come.
func (i *input) ask() {
	if !i.asked {
		i.asked = true
		if !i.blocks.Load() { // else they are counted as they are taken
			i.count++
		}
		i.asking <- struct{}{}
	}
}

// putBack has the line that came last come again.
func (i *input) putBack(l line) {
	i.asked = true
	i.lines <- l
}

// take takes all that was typed and not asked for from a terminal, whose input then has
// ended. Behind an end that was typed it is only what cannot be left to who reads next.
func (i *input) take() []byte {
	if i.typist == nil || !i.typist.Stop() {
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
	return bytes.TrimRight(append(typed, i.typist.TakePending(!i.over)...), "\n")
}

// remember has who types have a line again.
func (i *input) remember(line []byte, lasting bool) {
	if i.typist != nil && len(line) > 0 {
		i.typist.Remember(line, lasting)
	}
}

// end ends the reading of a terminal. That of a pipe ends with the pipe.
func (i *input) end() {
	close(i.asking)
	if i.typist != nil && i.typist.Stop() {
		for range i.lines {
		}
	}
}
