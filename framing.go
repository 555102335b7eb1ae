package parley

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A Framing says where a message ends in the stream. TCP keeps no boundaries of
// its own (RFC 9293, section 3.8), so both ends must agree on one. A Framing is
// stateless: one value serves all sessions. What needs memory is a Protocol.
type Framing interface {
	// Next looks for one whole message at the start of buf, of which the first
	// scanned bytes were there at the last call and hold no end of a message.
	// It returns how many bytes the message takes up and its body, which is a part of
	// buf, without the framing; n = 0 asks for more bytes. With eof no more will come: an
	// unfinished message is either returned or left over.
	//
	// A message with a body over max bytes is ErrTooLong, as soon as that can be known.
	// ErrStray, with n > 0, says that n bytes belong to no message and are to be left out. An
	// error that wraps ErrMalformed says what is wrong with bytes that can be no message.
	Next(buf []byte, scanned, max int, eof bool) (n int, body []byte, err error)

	// Begin appends what stands before a message.
	Begin(dst []byte) []byte

	// End completes the message whose Begin was called at dst[start:]. It fails
	// if the framing cannot carry the body, for one because it contains the
	// framing's own ending; dst is then to be cut back to start. ErrUnfinished
	// says that more lines belong to the body.
	End(dst []byte, start int) ([]byte, error)
}

// A Protocol is a Framing where what a message is depends on those before it, in both
// directions. The body of a message is all of its bytes; what End is given may be a whole
// message, which it leaves alone, or words of which it makes one.
//
// Its own methods are those of the first request of a connection.
type Protocol interface {
	Framing

	// Open makes the framings of one connection. Each is used by one goroutine at a time, and
	// both at the same time. They have to see every message: Next those that are read, End
	// those that are written.
	Open() (requests, replies Framing)
}

// A Note is what a Protocol knows of a message beside its bytes.
type Note struct {
	Alone  bool // a request that is not replied to, or a message of the server that is no reply
	Secret bool // it carries credentials: who shows it is to leave them out
	Last   bool // it is a reply behind which the connection is to end: a server closes it
}

// A Noter is a Framing that Protocol.Open has made and that has notes.
type Noter interface {
	Note() Note // of the message that Next returned last, that ended in Skip, or that End completed
}

// A Skipper is a Framing that can find the end of a message that is not to be held in memory, as
// who looks on needs it, such as a proxy. All framings of this package are.
type Skipper interface {
	// Skip returns a function to be called with the bytes of a message from its beginning
	// on, piece by piece: for one that Next has called ErrTooLong. It says how many bytes
	// of p it is done with, the rest is to come again with more behind it; how many of
	// those are framing before the body, and how many behind it; and whether the message ends
	// there. An error is as Next's.
	Skip() func(p []byte, eof bool) (n, head, tail int, done bool, err error)
}

// OpenFraming returns the framings of one connection, by those that a Server or a Dialer has:
// Lines if framing is nil, and the same for both directions if replies is nil.
func OpenFraming(framing, replies Framing) (ofRequests, ofReplies Framing) {
	if framing == nil {
		framing = Lines
	}
	if p, ok := framing.(Protocol); ok {
		return p.Open()
	}
	if replies == nil {
		replies = framing
	}
	return framing, replies
}

// A Texter is a Framing that Protocol.Open has made and that can say in words what a message is.
type Texter interface {
	AppendText(dst, body []byte) []byte // on one line, such as SET foo bar
}

// noteOf is what the framing knows of its last message.
func noteOf(framing Framing) Note {
	if noter, ok := framing.(Noter); ok {
		return noter.Note()
	}
	return Note{}
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

	// LengthPrefixed is Length of 4 bytes, big-endian.
	LengthPrefixed Framing = Length{Bytes: 4}

	// UntilClose takes everything up to the end of file as one message, as whois, finger and
	// HTTP/1.0 do. Who sends one half-closes behind it; a server that replies so closes.
	UntilClose Framing = untilClose{}

	// NoReplies is for Server.Replies and Dialer.Replies: there are none, and nobody waits
	// for one, as with syslog (RFC 6587) or Graphite. Such a server never sends a byte. Its
	// Handler is asked, and what it answers goes nowhere.
	NoReplies Framing = noReplies{}
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

// Length is a framing in which a message is as long as the number before it says, as Erlang's
// {packet,N} and ISO 8583 have it. An unfinished message at end of file is dropped. The zero
// value is LengthPrefixed.
type Length struct {
	Bytes     int  // of the number: 1, 2, 4 or 8; 4 if zero
	Little    bool // the number is little-endian
	Inclusive bool // the number counts itself
}

func (l Length) Next(buf []byte, _, max int, _ bool) (int, []byte, error) {
	header := cmp.Or(l.Bytes, 4)
	if len(buf) < header {
		return 0, nil, nil
	}
	n := uint64(binary.BigEndian.Uint32(buf))
	if n > uint64(max) {
		return 0, nil, ErrTooLong
	}
	if uint64(len(buf)) < uint64(header)+n {
		return 0, nil, nil
	}
	whole := header + int(n)
	return whole, buf[header:whole], nil
}

func (l Length) Begin(dst []byte) []byte { return append(dst, make([]byte, cmp.Or(l.Bytes, 4))...) }

func (l Length) End(dst []byte, start int) ([]byte, error) {
	n := len(dst) - start - cmp.Or(l.Bytes, 4)
	if uint64(n) > math.MaxUint32 {
		return dst, fmt.Errorf("%d bytes are more than a 4-byte length can say", n)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(n))
	return dst, nil
}

type untilClose struct{}

func (untilClose) Next(buf []byte, _, max int, eof bool) (int, []byte, error) {
	switch {
	case len(buf) > max:
		return 0, nil, ErrTooLong
	case !eof:
		return 0, nil, nil
	}
	return len(buf), buf, nil
}

func (untilClose) Begin(dst []byte) []byte { return dst }

func (untilClose) End(dst []byte, _ int) ([]byte, error) { return dst, nil }

type noReplies struct{}

// Next of what comes where nothing should: it is no message.
func (noReplies) Next(buf []byte, _, _ int, _ bool) (int, []byte, error) {
	if len(buf) == 0 {
		return 0, nil, nil
	}
	return len(buf), nil, ErrStray
}

func (noReplies) Begin(dst []byte) []byte { return dst }

func (noReplies) End(dst []byte, start int) ([]byte, error) {
	return dst[:start], errors.New("there are no replies")
}
