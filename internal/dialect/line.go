package dialect

import "bytes"

// A lineReader makes a line of what comes in pieces. It holds the beginning of a long one only.
type lineReader struct {
	held []byte // of a line that came in pieces
	most int    // bytes of a line that matter
	done bool   // it has been read
}

// again is the reader for another message, with its memory unless that is much.
func (l lineReader) again(most int) lineReader {
	if cap(l.held) > 4<<10 {
		l.held = nil
	}
	return lineReader{held: l.held[:0], most: most}
}

// read returns how many bytes of p belong to the line and, if it is whole, the line or its beginning,
// without its LF.
func (l *lineReader) read(p []byte) (line []byte, n int, whole bool) {
	if l.done {
		l.held, l.done = l.held[:0], false
	}
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		l.held = append(l.held, p[:min(len(p), l.most-len(l.held))]...)
		return nil, len(p), false
	}
	l.done = true
	if len(l.held) == 0 {
		return p[:min(i, l.most)], i + 1, true
	}
	l.held = append(l.held, p[:min(i, l.most-len(l.held))]...)
	return l.held, i + 1, true
}
