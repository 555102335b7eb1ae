package parley

import (
	"bytes"
	"fmt"
)

// Delimited ends each message, request and reply, with the bytes end, such as NUL, the SOH of
// FIX, or CR LF CR LF behind a block of lines. An unfinished message counts at end of file. A
// body that contains end, or of which the last bytes and end together would contain it sooner,
// cannot be sent. Delimited panics without a byte.
func Delimited(end ...byte) Framing {
	if len(end) == 0 {
		panic("parley: Delimited needs a byte at least")
	}
	return delimited{string(end)}
}

type delimited struct{ end string }

func (d delimited) Next(buf []byte, scanned, max int, eof bool) (int, []byte, error) {
	n, body := 0, buf
	switch i := indexEnd(buf, d.end, 0, scanned); {
	case i >= 0:
		n, body = i+len(d.end), buf[:i]
	case eof:
		n = len(buf)
	default:
		body = dropBegun(buf, d.end)
	}
	if len(body) > max {
		return 0, nil, ErrTooLong
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, body, nil
}

func (delimited) Begin(dst []byte) []byte { return dst }

func (d delimited) End(dst []byte, start int) ([]byte, error) { return appendEnd(dst, start, d.end) }

func (d delimited) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
		n, tail, done = skipToEnd(p, d.end, eof)
		return n, 0, tail, done || eof, nil
	}
}

// Framed begins each message with start and finishes it with end: HL7's MLLP has
// Framed([]byte{0x0b}, []byte{0x1c, 0x0d}), scales and scanners STX and ETX. Bytes outside are
// ErrStray; an unfinished message at end of file is dropped. A body may contain start. One that
// contains end, or of which the last bytes and end together would contain it sooner, cannot be
// sent. Framed panics if one of them is empty.
func Framed(start, end []byte) Framing {
	if len(start) == 0 || len(end) == 0 {
		panic("parley: Framed needs a byte at least for the start and one for the end")
	}
	return framed{string(start), string(end)}
}

type framed struct{ start, end string }

func (f framed) Next(buf []byte, scanned, max int, _ bool) (int, []byte, error) {
	if stray := f.outside(buf); stray > 0 {
		return stray, nil, ErrStray
	}
	if len(buf) < len(f.start) {
		return 0, nil, nil
	}
	i := indexEnd(buf, f.end, len(f.start), scanned)
	body := dropBegun(buf[len(f.start):], f.end)
	if i >= 0 {
		body = buf[len(f.start):i]
	}
	switch {
	case len(body) > max:
		return 0, nil, ErrTooLong
	case i < 0:
		return 0, nil, nil
	}
	return i + len(f.end), body, nil
}

// outside is how many bytes stand before what is a start, or may become one.
func (f framed) outside(buf []byte) int {
	if len(buf) >= len(f.start) && string(buf[:len(f.start)]) == f.start { // nearly always
		return 0
	}
	if i := bytes.Index(buf, []byte(f.start)); i >= 0 {
		return i
	}
	return len(dropBegun(buf, f.start))
}

func (f framed) Begin(dst []byte) []byte { return append(dst, f.start...) }

func (f framed) End(dst []byte, start int) ([]byte, error) {
	return appendEnd(dst, start+len(f.start), f.end)
}

func (f framed) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	inside := false
	return func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
		if !inside {
			if len(p) < len(f.start) {
				return 0, 0, 0, false, nil
			}
			inside, head = true, len(f.start)
		}
		n, tail, done = skipToEnd(p[head:], f.end, eof)
		return head + n, head, tail, done, nil
	}
}

// indexEnd is where the first end in buf begins that does not reach into the first head bytes,
// -1 if there is none. The first scanned bytes hold no whole one.
func indexEnd(buf []byte, end string, head, scanned int) int {
	from := min(max(head, scanned-(len(end)-1)), len(buf))
	if i := bytes.Index(buf[from:], []byte(end)); i >= 0 {
		return from + i
	}
	return -1
}

// dropBegun leaves off what of end has begun at the end of buf.
func dropBegun(buf []byte, end string) []byte {
	for n := min(len(end)-1, len(buf)); n > 0; n-- {
		if string(buf[len(buf)-n:]) == end[:n] {
			return buf[:len(buf)-n]
		}
	}
	return buf
}

// appendEnd appends end to the body at dst[body:], if it is the first there then.
func appendEnd(dst []byte, body int, end string) ([]byte, error) {
	whole := append(dst, end...)
	if i := bytes.Index(whole[body:], []byte(end)); i < len(dst)-body {
		return dst, fmt.Errorf("the delimiter 0x%x at byte %d would end the message early", end, i)
	}
	return whole, nil
}

// skipToEnd is Skip of a body and the end behind it.
func skipToEnd(p []byte, end string, eof bool) (n, tail int, done bool) {
	switch i := bytes.Index(p, []byte(end)); {
	case i >= 0:
		return i + len(end), len(end), true
	case eof:
		return len(p), 0, false
	}
	return len(dropBegun(p, end)), 0, false
}
