package parley

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// A Framing says where a message ends in the stream. TCP keeps no boundaries of
// its own (RFC 9293, section 3.8), so both ends must agree on one. A Framing is
// stateless: one value serves all sessions and both directions.
type Framing interface {
	// Next looks for one whole message at the start of buf, of which the first
	// scanned bytes were there at the last call and hold no end of a message.
	// It returns how many bytes the message takes up and its body without the
	// framing; n = 0 asks for more bytes. With eof no more will come: an
	// unfinished message is either returned or left over. A message with a body
	// over max bytes is ErrTooLong, as soon as that can be known.
	Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error)

	// Begin appends what stands before a message.
	Begin(dst []byte) []byte

	// End completes the message whose Begin was called at dst[start:]. It fails
	// if the framing cannot carry the body, for one because it contains the
	// framing's own ending; dst is then to be cut back to start.
	End(dst []byte, start int) ([]byte, error)
}

// The framings that come with the package. A user's own is as good.
var (
	// Lines ends a request at LF and drops one CR before it; replies end with LF.
	// A last line without its LF counts at end of file. The default.
	Lines Framing = &lines{ending: "\n"}

	// LinesCRLF is Lines with CRLF behind each reply, as many Internet protocols
	// ask for.
	LinesCRLF Framing = &lines{ending: "\r\n"}

	// Chunks takes what one read returned as one request, less one LF or CRLF at
	// its end; replies end with nothing. It serves peers that send no newline
	// and wait for each reply; it can tell nothing else apart.
	Chunks Framing = chunks{}

	// LengthPrefixed puts a 4-byte big-endian length before each message. An
	// unfinished message at end of file is dropped.
	LengthPrefixed Framing = lengthPrefixed{}
)

// Delimited ends each message, request and reply, with the byte end. An
// unfinished message counts at end of file.
func Delimited(end byte) Framing { return delimited{end} }

type lines struct{ ending string }

func (*lines) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	if i := bytes.IndexByte(buf[scanned:], '\n'); i >= 0 && scanned+i <= max { // nearly always
		return scanned + i + 1, dropCR(buf[:scanned+i]), nil
	}
	return untilByte(buf, '\n', scanned, max, eof, dropCR)
}

func (*lines) Begin(dst []byte) []byte { return dst }

func (l *lines) End(dst []byte, start int) ([]byte, error) {
	if i := bytes.IndexByte(dst[start:], '\n'); i >= 0 {
		return dst, fmt.Errorf("a newline at byte %d would end the message early", i)
	}
	return append(dst, l.ending...), nil
}

func dropCR(body []byte) []byte {
	if n := len(body); n > 0 && body[n-1] == '\r' {
		return body[:n-1]
	}
	return body
}

type delimited struct{ end byte }

func (d delimited) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	return untilByte(buf, d.end, scanned, max, eof, nil)
}

func (delimited) Begin(dst []byte) []byte { return dst }

func (d delimited) End(dst []byte, start int) ([]byte, error) {
	if i := bytes.IndexByte(dst[start:], d.end); i >= 0 {
		return dst, fmt.Errorf("the delimiter 0x%02x at byte %d would end the message early", d.end, i)
	}
	return append(dst, d.end), nil
}

// untilByte is Next for the framings that end at a byte; trim, if there is one,
// takes off what may stand before that byte.
func untilByte(buf []byte, end byte, scanned, max int, eof bool, trim func([]byte) []byte) (int, []byte, error) {
	n, body := 0, buf
	switch i := bytes.IndexByte(buf[scanned:], end); {
	case i >= 0:
		n, body = scanned+i+1, buf[:scanned+i]
		if trim != nil {
			body = trim(body)
		}
	case eof:
		n = len(buf)
	case trim != nil:
		// What trim takes off may turn out to belong to the body, but then one
		// more byte follows it and the limit is passed at the next call.
		body = trim(body)
	}
	if len(body) > max {
		return 0, nil, ErrTooLong
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, body, nil
}

type chunks struct{}

func (chunks) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	body := buf
	if n := len(body); n > 0 && body[n-1] == '\n' {
		body = dropCR(body[:n-1])
	}
	if len(body) > max {
		return 0, nil, ErrTooLong
	}
	return len(buf), body, nil
}

func (chunks) Begin(dst []byte) []byte { return dst }

func (chunks) End(dst []byte, _ int) ([]byte, error) { return dst, nil }

type lengthPrefixed struct{}

const lengthHeader = 4

func (lengthPrefixed) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	if len(buf) < lengthHeader {
		return 0, nil, nil
	}
	n := uint64(binary.BigEndian.Uint32(buf))
	if n > uint64(max) {
		return 0, nil, ErrTooLong
	}
	if uint64(len(buf)) < lengthHeader+n {
		return 0, nil, nil
	}
	whole := lengthHeader + int(n)
	return whole, buf[lengthHeader:whole], nil
}

func (lengthPrefixed) Begin(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

func (lengthPrefixed) End(dst []byte, start int) ([]byte, error) {
	n := len(dst) - start - lengthHeader
	if uint64(n) > math.MaxUint32 {
		return dst, fmt.Errorf("%d bytes are more than a 4-byte length can say", n)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n))
	return dst, nil
}
