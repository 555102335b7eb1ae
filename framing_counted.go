package parley

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// LengthPrefixed is Length of 4 bytes, big-endian.
var LengthPrefixed Framing = Length{Bytes: 4}

// Length is a framing in which a message is as long as the number before it says, as Erlang's
// {packet,N} and ISO 8583 have it. An unfinished message at end of file is dropped. A number
// that counts itself and is smaller than that is ErrMalformed. A body that is longer than the
// number can say cannot be sent. The zero value is LengthPrefixed.
type Length struct {
	Bytes     int  // of the number: 1, 2, 4 or 8; 4 if zero
	Little    bool // the number is little-endian
	Inclusive bool // the number counts itself
}

func (l Length) header() int { return cmp.Or(l.Bytes, 4) }

// own is what the number counts beside the body.
func (l Length) own() uint64 {
	if l.Inclusive {
		return uint64(l.header())
	}
	return 0
}

// body is how long the header says that the body is.
func (l Length) body(header []byte) (n uint64, err error) {
	for i := range header {
		if l.Little {
			i = len(header) - 1 - i
		}
		n = n<<8 | uint64(header[i])
	}
	if n < l.own() {
		return 0, fmt.Errorf("%w: a length of %d that counts its own %d bytes", ErrMalformed, n, l.own())
	}
	return n - l.own(), nil
}

func (l Length) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	header := l.header()
	if len(buf) < header {
		return 0, nil, nil
	}
	n, err := l.body(buf[:header])
	switch {
	case err != nil:
		return 0, nil, err
	case n > uint64(max):
		return 0, nil, ErrTooLong
	case n > uint64(len(buf)-header):
		return 0, nil, nil
	}
	whole := header + int(n)
	return whole, buf[header:whole], nil
}

func (l Length) Begin(dst []byte) []byte {
	var header [8]byte
	return append(dst, header[:l.header()]...)
}

func (l Length) End(dst []byte, start int) ([]byte, error) {
	header := l.header()
	body := len(dst) - start - header
	n := uint64(body) + l.own()
	if n > math.MaxUint64>>(64-8*header) {
		return dst, fmt.Errorf("%d bytes are more than a %d-byte length can say", body, header)
	}
	for i := range header {
		at := start + i
		if !l.Little {
			at = start + header - 1 - i
		}
		dst[at] = byte(n >> (8 * i))
	}
	return dst, nil
}

func (l Length) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return skipCounted("", func(p []byte) (int, uint64, error) {
		if len(p) < l.header() {
			return 0, 0, nil
		}
		n, err := l.body(p[:l.header()])
		return l.header(), n, err
	})
}

// OctetCounted is the octet counting of syslog over TCP (RFC 6587, section 3.4.1): before a
// message stands how many bytes it has, in decimal digits of which the first is not 0, and a
// space. Anything else there is ErrMalformed. An unfinished message at end of file is dropped;
// an empty one cannot be sent.
var OctetCounted Framing = octetCounted{}

type octetCounted struct{}

func (octetCounted) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	return nextCounted(buf, max, "", octetCount)
}

func octetCount(buf []byte, max int) (header, n int, err error) {
	if len(buf) > 0 && buf[0] == '0' {
		return 0, 0, fmt.Errorf("%w: a count of octets begins with 0", ErrMalformed)
	}
	return decimalLength(buf, ' ', max)
}

func (octetCounted) Begin(dst []byte) []byte { return dst }

func (octetCounted) End(dst []byte, start int) ([]byte, error) {
	if len(dst) == start {
		return dst, errors.New("a count of octets cannot be 0, so there is no empty message")
	}
	return insertLength(dst, start, ' '), nil
}

func (octetCounted) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return skipCounted("", anyLength(octetCount))
}

// Netstring is D. J. Bernstein's (https://cr.yp.to/proto/netstrings.txt), as SCGI and QMTP have
// it: how many bytes a message has, in decimal digits and without zeros before them, a colon,
// the message, and a comma. Anything else is ErrMalformed. An unfinished message at end of file
// is dropped.
var Netstring Framing = netstring{}

type netstring struct{}

func (netstring) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	return nextCounted(buf, max, ",", netstringLength)
}

func netstringLength(buf []byte, max int) (header, n int, err error) {
	if len(buf) > 1 && buf[0] == '0' && buf[1] != ':' {
		return 0, 0, fmt.Errorf("%w: a netstring's length begins with 0", ErrMalformed)
	}
	return decimalLength(buf, ':', max)
}

func (netstring) Begin(dst []byte) []byte { return dst }

func (netstring) End(dst []byte, start int) ([]byte, error) {
	return append(insertLength(dst, start, ':'), ','), nil
}

func (netstring) Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error) {
	return skipCounted(",", anyLength(netstringLength))
}

// decimalLength reads a number of digits up to the byte behind it; header is 0 while that has
// not come. At the digit with which the number passes max it is ErrTooLong.
func decimalLength(buf []byte, behind byte, max int) (header, n int, err error) {
	for i, c := range buf {
		switch digit := int(c) - '0'; {
		case c == behind && i > 0:
			return i + 1, n, nil
		case digit < 0 || digit > 9:
			return 0, 0, fmt.Errorf("%w: %q in the place of a length", ErrMalformed, buf[:i+1])
		case digit > max || n > (max-digit)/10:
			return 0, 0, ErrTooLong
		default:
			n = 10*n + digit
		}
	}
	return 0, 0, nil
}

// nextCounted is Next of a message with its length before it and tail behind it.
func nextCounted(buf []byte, max int, tail string, length func(buf []byte, max int) (header, n int, err error)) (int, []byte, error) {
	header, n, err := length(buf, max)
	switch {
	case err != nil || header == 0:
		return 0, nil, err
	case n > len(buf)-header-len(tail):
		return 0, nil, nil
	}
	end := header + n
	if string(buf[end:end+len(tail)]) != tail {
		return 0, nil, errNoTail(tail)
	}
	return end + len(tail), buf[header:end], nil
}

func errNoTail(tail string) error {
	return fmt.Errorf("%w: no %q behind as many bytes as its length says", ErrMalformed, tail)
}

// insertLength puts the length of the body at dst[start:] before it.
func insertLength(dst []byte, start int, behind byte) []byte {
	var digits [20]byte
	header := append(strconv.AppendInt(digits[:0], int64(len(dst)-start), 10), behind)
	dst = append(dst, header...)
	copy(dst[start+len(header):], dst[start:])
	copy(dst[start:], header)
	return dst
}

// anyLength is a length of any size that can be counted down.
func anyLength(length func(buf []byte, max int) (header, n int, err error)) func(p []byte) (int, uint64, error) {
	return func(p []byte) (int, uint64, error) {
		header, n, err := length(p, math.MaxInt)
		if err == ErrTooLong {
			err = fmt.Errorf("%w: a length that no message can have", ErrMalformed)
		}
		return header, uint64(n), err
	}
}

// skipCounted is Skip of a message with its length before it and tail behind it, of a byte at
// most. length says how long the header is, 0 while it is not whole, and the body.
func skipCounted(tail string, length func(p []byte) (header int, body uint64, err error)) func(p []byte, eof bool) (n, head, behind int, done bool, err error) {
	inside, left := false, uint64(0)
	return func(p []byte, _ bool) (n, head, behind int, done bool, err error) {
		if !inside {
			if head, left, err = length(p); err != nil || head == 0 {
				return 0, 0, 0, false, err
			}
			inside = true
		}
		body := min(left, uint64(len(p)-head))
		left -= body
		n = head + int(body)
		switch {
		case left > 0 || len(p) < n+len(tail):
			return n, head, 0, false, nil
		case string(p[n:n+len(tail)]) != tail:
			return n, head, 0, false, errNoTail(tail)
		}
		return n + len(tail), head, len(tail), true, nil
	}
}
