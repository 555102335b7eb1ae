package dialect

import "bytes"

// A lineReader makes a line of what comes in pieces. It holds the beginning of a long one only.
type lineReader struct {
	held []byte // of a line that comes in pieces
	most int    // bytes of a line that matter
}

// again is the reader for another message, with its memory unless that is much.
func (l lineReader) again(most int) lineReader {
	return lineReader{held: spare(l.held), most: most}
}

// read returns how many bytes of p belong to the line and, if it is whole, the line or its beginning,
// without its LF.
func (l *lineReader) read(p []byte) (line []byte, n int, whole bool) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		l.held = append(l.held, p[:min(len(p), l.most-len(l.held))]...)
		return nil, len(p), false
	}
	if len(l.held) == 0 {
		return p[:min(i, l.most)], i + 1, true
	}
	line = append(l.held, p[:min(i, l.most-len(l.held))]...)
	l.held = spare(line)
	return line, i + 1, true
}

// spare is the memory of what is not needed any more, to be used again unless that is much: a
// connection keeps it while it is idle.
func spare(buf []byte) []byte {
	if cap(buf) > 4<<10 {
		return nil
	}
	return buf[:0]
}
