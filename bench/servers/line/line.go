// Package line is the conversation of the Go servers, so that they differ only in how
// they come to the bytes and get rid of them.
package line

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// longest is that of a line in bytes, without its LF and with a CR.
const longest = 64<<10 + 1

// ErrTooLong reports a line over the limit. There is no telling where the next one
// begins, so close the connection.
var ErrTooLong = errors.New("line too long")

// A Conversation is that with one connection. It is not safe for concurrent use.
type Conversation struct {
	prefix  string // of every reply
	partial []byte // a line's beginning; nil if there is none, so that an idle one costs little
}

var begun atomic.Uint64

// New begins a conversation and gives it the next number.
func New() *Conversation {
	return &Conversation{prefix: fmt.Sprintf("Request #%d - ", begun.Add(1))}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Answer replies to all lines that data completes, in one Write.
func (c *Conversation) Answer(w io.Writer, data []byte) error {
	out := buffers.Get().(*[]byte)
	defer buffers.Put(out)
	replies, err := c.replies((*out)[:0], data)
	*out = replies
	if len(replies) == 0 {
		return err
	}
	_, writeErr := w.Write(replies)
	return errors.Join(err, writeErr)
}

func (c *Conversation) replies(dst, data []byte) ([]byte, error) {
	if c.partial != nil {
		c.partial = append(c.partial, data...)
		data = c.partial
	}
	for {
		n := bytes.IndexByte(data, '\n')
		if n > longest || n < 0 && len(data) > longest {
			return dst, ErrTooLong
		}
		if n < 0 {
			break
		}
		dst = c.reply(dst, data[:n])
		data = data[n+1:]
	}
	if len(data) == 0 {
		c.partial = nil
	} else {
		c.partial = append(c.partial[:0], data...)
	}
	return dst, nil
}

func (c *Conversation) reply(dst, line []byte) []byte {
	if n := len(line) - 1; n >= 0 && line[n] == '\r' {
		line = line[:n]
	}
	dst = append(dst, c.prefix...)
	dst = append(dst, line...)
	return append(dst, " ...\n"...)
}
