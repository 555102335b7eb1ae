package parley

import (
	"bytes"
	"fmt"
)

var (
	// Lines ends a request at LF and drops one CR before it; replies end with LF.
	// A last line without its LF counts at end of file. The default. A body that contains LF
	// cannot be sent; a CR at the end of one is lost, since CRLF is an ending too.
	Lines Framing = &lines{ending: "\n"}

	// LinesCRLF is Lines with CRLF behind each reply, as many Internet protocols
	// ask for (RFC 5321, section 2.3.8, for one).
	LinesCRLF Framing = &lines{ending: "\r\n"}
)

type lines struct{ ending string }

func (*lines) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	if i := bytes.IndexByte(buf[scanned:], '\n'); i >= 0 && scanned+i <= max { // nearly always
		return scanned + i + 1, dropCR(buf[:scanned+i]), nil
	}
	return nextLine(buf, scanned, max, eof)
}

// nextLine is Next of what may be over the limit, or unfinished.
func nextLine(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	n, body := 0, dropCR(buf)
	switch i := bytes.IndexByte(buf[scanned:], '\n'); {
	case i >= 0:
		n, body = scanned+i+1, dropCR(buf[:scanned+i])
	case eof:
		n, body = len(buf), buf
	}
	// A CR at the end may turn out to belong to the body, but then one more byte follows it
	// and the limit is passed at the next call.
	if len(body) > max {
		return 0, nil, ErrTooLong
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, body, nil
}

func (*lines) Begin(dst []byte) []byte { return dst }

func (l *lines) End(dst []byte, start int) ([]byte, error) {
	if i := bytes.IndexByte(dst[start:], '\n'); i >= 0 {
		return dst, fmt.Errorf("a newline at byte %d would end the message early", i)
	}
	return append(dst, l.ending...), nil
}

func (*lines) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
		switch i := bytes.IndexByte(p, '\n'); {
		case i >= 0:
			return i + 1, 0, i + 1 - len(dropCR(p[:i])), true, nil
		case eof:
			return len(p), 0, 0, true, nil
		}
		return len(dropCR(p)), 0, 0, false, nil
	}
}

func dropCR(body []byte) []byte {
	if n := len(body); n > 0 && body[n-1] == '\r' {
		return body[:n-1]
	}
	return body
}
