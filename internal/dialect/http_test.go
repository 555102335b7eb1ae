package dialect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/parley-tcp/parley"
)

// An httpOnlooker looks on at one connection and notes each message: the number of its exchange,
// - for one that is alone, who said it, and its words.
type httpOnlooker struct {
	lines             []string
	ends              []string // the same with how long it is, in place of its words
	bodies            []httpBody
	asked, replied    int
	requests, replies httpStream
}

// An httpBody is what is there of a message.
type httpBody struct {
	of   side
	body []byte
}

func newHTTPOnlooker(max int) *httpOnlooker {
	o := new(httpOnlooker)
	requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
	o.requests = httpStream{framing: requests, max: max, tell: func(m Message) { o.tell(&o.asked, '>', requests, m, httpWords{}.AppendRequest) }}
	o.replies = httpStream{framing: replies, max: max, tell: func(m Message) { o.tell(&o.replied, '<', replies, m, httpWords{}.AppendReply) }}
	return o
}

func (o *httpOnlooker) tell(count *int, by byte, framing parley.Framing, m Message, words func([]byte, Message) []byte) {
	note := framing.(parley.Noter).Note()
	number := "-"
	if !note.Alone {
		*count++
		number = fmt.Sprint(*count)
	}
	m.Secret = note.Secret
	o.lines = append(o.lines, fmt.Sprintf("%s %c %s", number, by, words(nil, m)))
	o.ends = append(o.ends, fmt.Sprintf("%s %c %d bytes", number, by, uint64(len(m.Body))+m.Cut))
	o.bodies = append(o.bodies, httpBody{framing.(*direction).side, m.Body})
}

func (o *httpOnlooker) String() string { return strings.Join(o.lines, "\n") }

// An httpStream is one direction. Of a message over max, that much is kept.
type httpStream struct {
	framing parley.Framing
	max     int
	tell    func(m Message)
	told    uint64 // bytes of the messages
	fed     uint64 // bytes that came, where somebody counts them

	buf     []byte
	scanned int
	skip    func(p []byte, eof bool) (n, head, tail int, done bool, err error)
	long    Message
	held    int // the most of it
	err     error
}

func (s *httpStream) feed(p []byte, eof bool) {
	s.buf = append(s.buf, p...)
	for s.err == nil && (len(s.buf) > 0 || eof && s.skip != nil) {
		s.held = max(s.held, len(s.buf))
		if s.skip != nil {
			if !s.goOnSkipping(eof) {
				return
			}
			continue
		}
		n, body, err := s.framing.Next(s.buf, s.scanned, s.max, eof)
		switch {
		case err == parley.ErrTooLong:
			s.skip, s.scanned = s.framing.(parley.Skipper).Skip(), 0
		case err != nil:
			s.err = err
		case n == 0:
			s.scanned = len(s.buf)
			return
		default:
			s.told += uint64(n)
			s.tell(Message{Body: body})
			s.buf, s.scanned = s.buf[n:], 0
		}
	}
}

func (s *httpStream) goOnSkipping(eof bool) (more bool) {
	n, _, _, done, err := s.skip(s.buf, eof)
	kept := min(n, s.max-len(s.long.Body))
	s.long.Body = append(s.long.Body, s.buf[:kept]...)
	s.long.Cut += uint64(n - kept)
	s.buf, s.err = s.buf[n:], err
	if done {
		s.told += uint64(len(s.long.Body)) + s.long.Cut
		s.tell(s.long)
		s.long, s.skip = Message{}, nil
	}
	return done
}

// httpTalk has a connection looked on at. Each turn begins with > or < for who says it; a
// turn of two of them, >> or <<, is an end of file.
func httpTalk(max, piece int, turns ...string) *httpOnlooker {
	o := newHTTPOnlooker(max)
	for _, turn := range turns {
		s := &o.requests
		if turn[0] == '<' {
			s = &o.replies
		}
		if turn == ">>" || turn == "<<" {
			s.feed(nil, true)
			continue
		}
		text := []byte(turn[1:])
		for len(text) > 0 {
			n := min(piece, len(text))
			s.feed(text[:n], false)
			text = text[n:]
		}
	}
	return o
}

const (
	httpGet = ">GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	httpOK  = "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

func TestHTTPPairsRequestsWithReplies(t *testing.T) {
	for _, c := range []struct {
		name  string
		turns []string
		want  string
		left  int // bytes of no message, on both sides
	}{
		{"a request and its reply", []string{httpGet, httpOK},
			"1 > GET /a\n1 < 200 OK (5 bytes)", 0},
		{"a body with a length", []string{">POST /p HTTP/1.1\r\ncontent-LENGTH:  3 \r\n\r\nabc", "<HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"},
			"1 > POST /p (3 bytes)\n1 < 201 Created", 0},
		{"a body in chunks", []string{">PUT /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", httpOK},
			"1 > PUT /p (13 bytes)\n1 < 200 OK (5 bytes)", 0},
		{"trailers", []string{httpGet, "<HTTP/1.1 200 OK\r\nTrailer: T, Content-Length\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n folded\r\nContent-Length: 9\r\n\r\n", httpGet, httpOK},
			"1 > GET /a\n1 < 200 OK (1 byte)\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"chunks win over a length", []string{">PUT /p HTTP/1.1\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\nContent-Length: no\r\n\r\n0\r\n\r\n", httpOK},
			"1 > PUT /p\n1 < 200 OK (5 bytes)", 0},
		{"until the server closes", []string{">GET / HTTP/1.0\r\n\r\n", "<HTTP/1.0 200 OK\r\n\r\nhel", "<lo", "<<"},
			"1 > GET /\n1 < 200 OK (5 bytes)", 0},
		{"until the server closes, which it does at once", []string{">GET / HTTP/1.0\r\n\r\n", "<HTTP/1.0 200 OK\r\n\r\n", "<<"},
			"1 > GET /\n1 < 200 OK", 0},
		{"a coding that is not chunked goes until the server closes", []string{httpGet, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhello", "<<"},
			"1 > GET /a\n1 < 200 OK (5 bytes)", 0},
		{"a length that does not come", []string{httpGet, "<HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "<<"},
			"1 > GET /a", 43},
		{"chunks that do not end", []string{httpGet, "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "<<"},
			"1 > GET /a", 57},
		{"HEAD", []string{">HEAD /a HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", httpGet, httpOK},
			"1 > HEAD /a\n1 < 200 OK\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"HEAD, in chunks", []string{">HEAD /a HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
			"1 > HEAD /a\n1 < 200 OK", 0},
		{"head is another method", []string{">head /a HTTP/1.1\r\n\r\n", httpOK},
			"1 > head /a\n1 < 200 OK (5 bytes)", 0},
		{"204 and 304 have no body", []string{httpGet, "<HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", httpGet, "<HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", httpGet, httpOK},
			"1 > GET /a\n1 < 204 No Content\n2 > GET /a\n2 < 304 Not Modified\n3 > GET /a\n3 < 200 OK (5 bytes)", 0},
		{"pipelined", []string{httpGet + ">HEAD /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n"[1:], httpOK + "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", httpOK},
			"1 > GET /a\n2 > HEAD /b\n3 > GET /c\n4 > GET /d\n1 < 200 OK (5 bytes)\n2 < 200 OK\n3 < 404 Not Found (1 byte)\n4 < 200 OK (5 bytes)", 0},
		{"100 comes before the request is whole", []string{">PUT /p HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", "<HTTP/1.1 100 Continue\r\n\r\n", ">abc", httpOK},
			"- < 100 Continue\n1 > PUT /p (3 bytes)\n1 < 200 OK (5 bytes)", 0},
		{"103 comes before the reply", []string{httpGet, "<HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n", httpOK},
			"1 > GET /a\n- < 103 Early Hints\n1 < 200 OK (5 bytes)", 0},
		{"a reply before the request is whole answers no other", []string{">PUT /p HTTP/1.1\r\nContent-Length: 3\r\n\r\na", "<HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", ">bc", httpGet, httpOK},
			"- < 413 No\n- > PUT /p (3 bytes)\n1 > GET /a\n1 < 200 OK (5 bytes)", 0},
		{"a reply that begins before the request is whole", []string{">PUT /p HTTP/1.1\r\nContent-Length: 3\r\n\r\na", "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", ">bc", "<b"},
			"1 > PUT /p (3 bytes)\n1 < 200 OK (2 bytes)", 0},
		{"a reply without a request", []string{"<HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", httpGet, httpOK},
			"- < 408 Request Timeout\n1 > GET /a\n1 < 200 OK (5 bytes)", 0},
		{"a reply behind a blank line", []string{httpGet, httpOK, ">\r\n", "<HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", httpGet, httpOK},
			"1 > GET /a\n1 < 200 OK (5 bytes)\n- < 408 Request Timeout\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"a reply that began without a request", []string{"<HTTP/1.1 408 Request Timeout\r\n", httpGet, "<Content-Length: 0\r\n\r\n", httpOK},
			"1 > GET /a\n- < 408 Request Timeout\n1 < 200 OK (5 bytes)", 0},
		{"a reply to HEAD before the request is whole", []string{">HEAD /p HTTP/1.1\r\nContent-Length: 3\r\n\r\na", "<HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\n", ">bc", httpGet, httpOK},
			"- < 413 No\n- > HEAD /p (3 bytes)\n1 > GET /a\n1 < 200 OK (5 bytes)", 0},
		{"a reply more than there are requests", []string{httpGet, httpOK, httpOK, httpGet, httpOK},
			"1 > GET /a\n1 < 200 OK (5 bytes)\n- < 200 OK (5 bytes)\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"a request that had begun before CONNECT was accepted", []string{">CONNECT x:443 HTTP/1.1\r\n\r\nGET / HT", "<HTTP/1.1 200 OK\r\n\r\n", ">TP/1.1\r\n\r\n"},
			"1 > CONNECT x:443\n1 < 200 OK\n- > GET /", 0},
		{"CONNECT", []string{">CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "<HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n", "<hello", ">\x16\x03\x01", "<\x16\x03\x03"},
			"1 > CONNECT x:443\n1 < 200 Connection established\n- < hello\n- > \x16\x03\x01\n- < \x16\x03\x03", 0},
		{"CONNECT that is refused", []string{">CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", "<HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\nhello", httpGet, httpOK},
			"1 > CONNECT x:443\n1 < 407 Proxy Authentication Required (5 bytes)\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"Upgrade", []string{">GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "<HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", ">\x81\x05hello", "<HTTP/1.1 200 OK\r\n"},
			"1 > GET /chat\n1 < 101 Switching Protocols\n- > \x81\x05hello\n- < 200 OK", 0},
		{"Upgrade that is refused", []string{">GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", httpOK, httpGet, httpOK},
			"1 > GET /chat\n1 < 200 OK (5 bytes)\n2 > GET /a\n2 < 200 OK (5 bytes)", 0},
		{"lines that end with LF alone", []string{">GET /a HTTP/1.1\nHost: x\nContent-Length: 1\n\nb", "<HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\nT: 1\n\n"},
			"1 > GET /a (1 byte)\n1 < 200 OK (1 byte)", 0},
		{"blank lines before a request", []string{">\r\n\n\r\nGET /a HTTP/1.1\r\n\r\n", httpOK, ">\r\n"},
			"1 > GET /a\n1 < 200 OK (5 bytes)", 2},
		{"a folded field", []string{">POST / HTTP/1.1\r\nX: 1\r\n\t2\r\nContent-Length:\r\n 3\r\n\r\nabc", "<HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n  gzip,\r\n  chunked\r\n\r\n0\r\n\r\n"},
			"1 > POST / (3 bytes)\n1 < 200 OK", 0},
		{"an empty coding", []string{">POST / HTTP/1.1\r\nTransfer-Encoding: chunked, ,\r\n\r\n0\r\n\r\n", httpOK},
			"1 > POST /\n1 < 200 OK (5 bytes)", 0},
		{"lengths that are equal", []string{">POST / HTTP/1.1\r\nContent-Length: 3, 03\r\nContent-Length: 3\r\n\r\nabc"},
			"1 > POST / (3 bytes)", 0},
		{"a status line without a reason", []string{httpGet, "<HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", httpGet, "<HTTP/1.1 200 \nContent-Length: 0\n\n"},
			"1 > GET /a\n1 < 200\n2 > GET /a\n2 < 200", 0},
		{"a blank before a colon, of a reply", []string{httpGet, "<HTTP/1.1 200 OK\r\nContent-Length \t: 1\r\n\r\na"},
			"1 > GET /a\n1 < 200 OK (1 byte)", 0},
		{"names that are like others", []string{">POST / HTTP/1.1\r\nContent-Lengthy: 3\r\nXContent-Length: 3\r\nContent-Lengt: 3\r\nTransfer-Encoding-X: chunked\r\n\r\n", httpOK},
			"1 > POST /\n1 < 200 OK (5 bytes)", 0},
		{"a password in the target", []string{">GET http://me:pass@x/?a@b HTTP/1.1\r\n\r\nGET /?http://me:pass@x/ HTTP/1.1\r\n\r\nCONNECT me:pass@x:443 HTTP/1.1\r\n\r\nGET http://a@b@x HTTP/1.1\r\n\r\n"},
			"1 > GET http://(secret)@x/?a@b\n2 > GET /?http://me:pass@x/\n3 > CONNECT (secret)@x:443\n4 > GET http://(secret)@x", 0},
	} {
		whole := httpTalk(1000, math.MaxInt, c.turns...)
		for _, piece := range []int{math.MaxInt, 100, 7, 3, 2, 1} {
			o := httpTalk(1000, piece, c.turns...)
			switched := strings.Contains(c.want, "CONNECT x:443\n1 < 200") || strings.Contains(c.want, "101")
			if o.String() != c.want && !(switched && piece < 100) {
				t.Errorf("%s, in pieces of %d:\n%s\nwant\n%s", c.name, piece, o, c.want)
			}
			left := len(o.requests.buf) + len(o.replies.buf)
			if left != c.left || o.requests.err != nil || o.replies.err != nil {
				t.Errorf("%s, in pieces of %d: %d bytes are left, %v, %v; want %d", c.name, piece, left, o.requests.err, o.replies.err, c.left)
			}
			if o.requests.told != whole.requests.told || o.replies.told != whole.replies.told {
				t.Errorf("%s, in pieces of %d: %d and %d bytes are told, want %d and %d", c.name, piece, o.requests.told, o.replies.told, whole.requests.told, whole.replies.told)
			}
		}
	}
}

// What cannot be http is found at the first byte that shows it.
func TestHTTPMalformed(t *testing.T) {
	const post, ok, chunked = ">POST / HTTP/1.1\r\n", "<HTTP/1.1 200 OK\r\n", "<HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct{ stream, want string }{
		{">\x16", "TLS, not http"},
		{">PRI * HTTP/2", "HTTP/2 is not http/1"},
		{">\x00", "0x00 in the method of a request"},
		{">GE\r", "0x0d in the method of a request"},
		{">GET  ", "0x20 in the target of a request"},
		{">GET /\x01", "0x01 in the target of a request"},
		{">GET /\n", "a request line ends with HTTP/1.1 or HTTP/1.0"},
		{">GET / h", "a request line ends with HTTP/1.1 or HTTP/1.0"},
		{">GET / HTTP/1.x", "0x78 in the version"},
		{">GET / HTTP/1.1 ", "0x20 behind the version"},
		{">GET / HTTP/1.1\r\r", "a CR without its LF in the first line"},
		{">GET / HTTP/1.1\r\n ", "a blank before the first field"},
		{post + "Host ", "0x20 in the name of a field"},
		{post + "Host\r", "0x0d in the name of a field"},
		{post + ":", "0x3a in the name of a field"},
		{post + "Content-Length ", "0x20 in the name of a field"},
		{post + "A: b\r\n\rx", "a CR without its LF behind the fields"},
		{post + "Content-Length: -1\r\n\r\n", `"-1" as Content-Length`},
		{post + "Content-Length: +1\r\n\r\n", `"+1" as Content-Length`},
		{post + "Content-Length: 0x1\r\n\r\n", `"0x1" as Content-Length`},
		{post + "Content-Length: 1 1\r\n\r\n", `"1 1" as Content-Length`},
		{post + "Content-Length:\r\n\r\n", `"" as Content-Length`},
		{post + "Content-Length: 18446744073709551616\r\n\r\n", `"18446744073709551616" as Content-Length`},
		{post + "Content-Length: x, 1\r\n\r\n", `"x" as Content-Length`},
		{post + "Content-Length: 1\n 2\n\n", `"1 2" as Content-Length`},
		{post + "Content-Length: \v1\r\n\r\n", `"\v1" as Content-Length`},
		{post + "Content-Length: 1\r\r\n\r\n", `"1\r" as Content-Length`},
		{post + "Content-Length: 1, 2\r\n\r\n", "1 and 2 as Content-Length"},
		{post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "1 and 2 as Content-Length"},
		{post + "Content-Length: " + strings.Repeat("0", maxHTTPValue+1) + "\r\n\r\n", "a Content-Length of more than 1024 bytes"},
		{post + "Transfer-Encoding: chunked, gzip\r\n\r\n", "a request has no end whose Transfer-Encoding does not end with chunked"},
		{post + "Transfer-Encoding: \vchunked\r\n\r\n", "a request has no end whose Transfer-Encoding does not end with chunked"},
		{post + "Transfer-Encoding: " + strings.Repeat("a,", maxHTTPValue/2) + "chunked\r\n\r\n", "a Transfer-Encoding of more than 1024 bytes"},
		{"<\x00", "a reply begins with HTTP/1.1 or HTTP/1.0"},
		{"<HTTP/2", "HTTP/2 is not http/1"},
		{"<HTTP/1.1\r", "0x0d behind the version"},
		{"<HTTP/1.1 0", "0x30 in the status"},
		{"<HTTP/1.1 20 ", "0x20 in the status"},
		{"<HTTP/1.1 2000", "0x30 behind the status"},
		{ok + "Content-Length: x\r\n\r\n", `"x" as Content-Length`},
		{chunked + "\r", "0x0d in the size of a chunk"},
		{chunked + "1\n", "0x0a in the size of a chunk"},
		{chunked + "1;a\n", "0x0a in the size of a chunk"},
		{chunked + "1 1", "0x31 in the size of a chunk"},
		{chunked + "1\rx", "0x78 in the size of a chunk"},
		{chunked + "g", "0x67 in the size of a chunk"},
		{chunked + "8000000000000000", "a chunk of more than 9223372036854775808 bytes"},
		{chunked + "1\r\na\r\n\r", "0x0d in the size of a chunk"},
		{chunked + "1\r\na\n", "0x0a behind a chunk"},
		{chunked + "1\r\na\r\r", "0x0d behind a chunk"},
	} {
		for _, piece := range []int{math.MaxInt, 1} {
			before := httpTalk(5000, piece, c.stream[:len(c.stream)-1]+"")
			if before.requests.err != nil || before.replies.err != nil {
				t.Errorf("%.80q is malformed a byte too early: %v, %v", c.stream, before.requests.err, before.replies.err)
			}
			o := httpTalk(5000, piece, c.stream)
			err := errors.Join(o.requests.err, o.replies.err)
			if want := "malformed message: " + c.want; !errors.Is(err, parley.ErrMalformed) || err.Error() != want {
				t.Errorf("%.80q: %v, want %s", c.stream, err, want)
			}
		}
	}
}

// A message is refused for its length as soon as its header says it, and nothing is allocated.
func TestHTTPLimit(t *testing.T) {
	const post = "POST / HTTP/1.1\r\n"
	head := post + "Content-Length: 10\r\n\r\n"
	chunked := post + "Transfer-Encoding: chunked\r\n\r\nA\r\n"
	for _, c := range []struct {
		stream string
		max    int
		want   error // ErrTooLong, or nil
	}{
		{head + "0123456789", len(head) + 11, nil},
		{head + "0123456789", len(head) + 10, nil},
		{head + "0123456789", len(head) + 9, parley.ErrTooLong},
		{head, len(head) + 10, nil},
		{head, len(head) + 9, parley.ErrTooLong},
		{chunked, len(chunked) + 10, nil},
		{chunked, len(chunked) + 9, parley.ErrTooLong},
		{post + "Transfer-Encoding: chunked\r\n\r\n7fffFFFFffffFFFF\r\n", 1000, parley.ErrTooLong},
		{post + "Content-Length: " + strings.Repeat("0", maxHTTPValue-len(" \r")) + "\r\n\r\n", 2000, nil},
		{post + "Content-Length: 9223372036854775808\r\n\r\n", 1000, parley.ErrTooLong},
		{post + "Content-Length: 18446744073709551615\r\n\r\n", 1000, parley.ErrTooLong},
		{post + "X: ", len(post) + 3, nil},
		{post + "X: ", len(post) + 2, parley.ErrTooLong},
		{post + "X\x00", len(post) + 1, notHTTP("")},
		{post + "XX\x00", len(post) + 1, parley.ErrTooLong},
		{"\r\n\r\n", 3, parley.ErrTooLong},
	} {
		for _, piece := range []int{1, 5, len(c.stream)} {
			var err error
			requests, _ := parley.OpenFraming(httpFraming.Requests, nil)
			for n := 0; n < len(c.stream) && err == nil; {
				n = min(n+piece, len(c.stream))
				_, _, err = requests.Next([]byte(c.stream[:n]), 0, c.max, false)
			}
			if err != c.want && !(errors.Is(err, parley.ErrMalformed) && errors.Is(c.want, parley.ErrMalformed)) {
				t.Errorf("%q in pieces of %d with a limit of %d: %v, want %v", c.stream, piece, c.max, err, c.want)
			}
		}
	}
}

func TestHTTPLongMessagesAreSkipped(t *testing.T) {
	long := "Content-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000)
	for _, piece := range []int{math.MaxInt, 100, 1} {
		o := httpTalk(100, piece, ">PUT / HTTP/1.1\r\n"+long, httpGet, "<HTTP/1.1 200 OK\r\n"+long,
			"<HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 2000)+"\r\nTransfer-Encoding: chunked\r\n\r\n3E8\r\n"+strings.Repeat("x", 1000)+"\r\n0\r\n\r\n",
			httpGet, "<HTTP/1.0 200 OK\r\n\r\n"+strings.Repeat("x", 500), "<<")
		want := "1 > PUT / (3000 bytes)\n2 > GET /a\n1 < 200 OK (3000 bytes)\n2 < 200 OK\n3 > GET /a\n3 < 200 OK (500 bytes)"
		if o.String() != want || o.requests.err != nil || o.replies.err != nil {
			t.Errorf("in pieces of %d: %v, %v\n%s\nwant\n%s", piece, o.requests.err, o.replies.err, o, want)
		}
		if piece < 1000 && max(o.requests.held, o.replies.held) > 101+piece {
			t.Errorf("in pieces of %d: %d and %d bytes were held", piece, o.requests.held, o.replies.held)
		}
	}
}

// A client that pipelines without end takes up bounded memory, and no reply is paired wrongly.
func TestHTTPPipelineIsBounded(t *testing.T) {
	g := new(httpGrammar)
	o := newHTTPOnlooker(1000)
	o.requests.framing.(*direction).connection.grammar = g
	gets := strings.Repeat(httpGet[1:], 10*maxRuns)
	o.requests.feed([]byte(gets), false)
	if len(g.owed.runs) != 1 || o.requests.err != nil {
		t.Fatalf("%d runs of equal requests, %v", len(g.owed.runs), o.requests.err)
	}
	pairs := strings.Repeat("HEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", maxRuns)
	o.requests.feed([]byte(pairs), false)
	if len(g.owed.runs) != maxRuns || o.requests.err != errHTTPLost {
		t.Fatalf("%d runs of unequal requests, %v; want %d, %v", len(g.owed.runs), o.requests.err, maxRuns, errHTTPLost)
	}
	asked := o.asked
	for range 10 * maxRuns {
		o.replies.feed([]byte(httpOK[1:]), false)
	}
	for i := range maxRuns - 1 {
		if i%2 == 0 {
			o.replies.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), false)
		} else {
			o.replies.feed([]byte(httpOK[1:]), false)
		}
	}
	if o.replied != asked || len(g.owed.runs) != 0 || o.replies.err != nil {
		t.Fatalf("%d of %d are answered, %v", o.replied, asked, o.replies.err)
	}
	if o.replies.feed([]byte("HTTP"), false); o.replies.err != errHTTPLost {
		t.Errorf("a reply to nobody knows what: %v, want %v", o.replies.err, errHTTPLost)
	}
}

func TestHTTPWords(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Body: []byte("GET /a HTTP/1.1\r\n\r\n")}, "GET /a"},
		{Message{Body: []byte("\r\nM-SEARCH * HTTP/1.1\n\n")}, "M-SEARCH *"},
		{Message{Body: []byte("PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe"), Cut: 3}, "PUT /a (5 bytes)"},
		{Message{Body: []byte("PUT /a HTTP/1.1\r\nContent-Le"), Cut: 3}, "PUT /a"},
		{Message{Body: []byte("PUT /abcde"), Cut: 3}, "PUT /abcde"},
		{Message{Body: []byte("GET http://a:b@c/ HTTP/1.1\r\n\r\n")}, "GET http://a:b@c/"},
		{Message{Body: []byte("GET http://a:b@c/ HTTP/1.1\r\n\r\n"), Secret: true}, "GET http://(secret)@c/"},
		{Message{Body: []byte("GET http://a:b@c/ HT"), Cut: 10, Secret: true}, "GET http://(secret)@c/"},
		{Message{Body: []byte("GET http://a:b@c"), Cut: 10, Secret: true}, "GET http://(secret)@c"},
		{Message{Body: []byte("GET / is not http"), Cut: 10}, "GET / is not http"},
		{Message{Body: []byte("GET http://@c/ HTTP/1.1\r\n\r\n"), Secret: true}, "GET http://@c/"},
		{Message{Body: []byte("GET /no-version\r\n")}, "GET /no-version\r\n"},
		{Message{Body: []byte("\x81\x05 is not http")}, "\x81\x05 is not http"},
		{Message{}, ""},
		{Message{Body: []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")}, "404 Not Found"},
		{Message{Body: []byte("HTTP/1.0 200 OK\r\n\r\nhel"), Cut: 1 << 40}, "200 OK (1099511627779 bytes)"},
		{Message{Body: []byte(chunked + "0\r\n\r\n")}, "200 OK (5 bytes)"},
		{Message{Body: []byte(chunked), Cut: 1000}, "200 OK (up to 1005 bytes)"},
		{Message{Body: []byte("HTTP/1.1 2000")}, "2000"},
		{Message{Body: []byte("HTTP/2 200 OK")}, "HTTP/2 200 OK"},
	} {
		words := httpWords{}.AppendRequest
		if bytes.HasPrefix(c.m.Body, []byte("HTTP")) {
			words = httpWords{}.AppendReply
		}
		if got := string(words([]byte("x"), c.m)); got != "x"+c.want {
			t.Errorf("%q and %d: %q, want %q", c.m.Body, c.m.Cut, got[1:], c.want)
		}
	}
}

func TestHTTPStatus(t *testing.T) {
	for reply, want := range map[string]string{
		"HTTP/1.1 200 OK\r\n\r\n": "200", "HTTP/1.0 404\n\n": "404", "HTTP/1.1 20": "", "HTTP/1.1 2x0 OK": "", "HTTP/2 200 OK": "", "": "", "HTTP/1.12200": "",
	} {
		if got, ok := httpFraming.Status([]byte(reply)); got != want || ok != (want != "") {
			t.Errorf("Status(%q) = %q, %v; want %q", reply, got, ok, want)
		}
	}
}

func TestHTTPRequestsOfWords(t *testing.T) {
	const head = "\r\nUser-Agent: parley\r\nConnection: keep-alive\r\n"
	for _, c := range []struct{ host, words, want string }{
		{"example.com:80", "GET /", "GET / HTTP/1.1\r\nHost: example.com" + head + "\r\n"},
		{"example.com:8080", "GET /", "GET / HTTP/1.1\r\nHost: example.com:8080" + head + "\r\n"},
		{"[::1]:80", "GET /", "GET / HTTP/1.1\r\nHost: [::1]" + head + "\r\n"},
		{"[fe80::1%eth0]:81", "GET /", "GET / HTTP/1.1\r\nHost: [fe80::1]:81" + head + "\r\n"},
		{":80", "HEAD /a?b=c#d", "HEAD /a?b=c#d HTTP/1.1\r\nHost: localhost" + head + "\r\n"},
		{"unix:/run/x", "DELETE /a", "DELETE /a HTTP/1.1\r\nHost: localhost" + head + "\r\n"},
		{"", "POST /a", "POST /a HTTP/1.1\r\nHost: localhost" + head + "Content-Length: 0\r\n\r\n"},
		{"", "PUT /a ", "PUT /a HTTP/1.1\r\nHost: localhost" + head + "Content-Length: 0\r\n\r\n"},
		{"", "POST /a {\"a\": 1}", "POST /a HTTP/1.1\r\nHost: localhost" + head + "Content-Length: 8\r\n\r\n{\"a\": 1}"},
		{"", "PATCH /a \r\n\x00", "PATCH /a HTTP/1.1\r\nHost: localhost" + head + "Content-Length: 3\r\n\r\n\r\n\x00"},
		{"", "PROPFIND /a b", "PROPFIND /a HTTP/1.1\r\nHost: localhost" + head + "Content-Length: 1\r\n\r\nb"},
		{"", "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost" + head + "\r\n"},
		{"", "CONNECT a.example:443", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443" + head + "\r\n"},
		{"", "GET http://a.example:81/b?@c", "GET http://a.example:81/b?@c HTTP/1.1\r\nHost: a.example:81" + head + "\r\n"},
		{"", "GET http://me:pass@a.example", "GET http://me:pass@a.example HTTP/1.1\r\nHost: a.example" + head + "\r\n"},
		{"", "GET /kä/\xff", "GET /k%C3%A4/%FF HTTP/1.1\r\nHost: localhost" + head + "\r\n"},
		// Whole messages are left alone.
		{"", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"},
		{"", "get x HTTP/1.1\nA: b\n\n", "get x HTTP/1.1\nA: b\n\n"},
		{"", "GET / HTTP/1.1\nA: b\n", "GET / HTTP/1.1\nA: b\n\n"}, // as typed, line by line
		{"", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"},
	} {
		f := httpFraming
		if c.host != "" {
			f = f.For(f, c.host)
		}
		requests, _ := parley.OpenFraming(f.Requests, nil)
		got, err := requests.End(append(requests.Begin([]byte("before")), c.words...), len("before"))
		if string(got) != "before"+c.want || err != nil {
			t.Errorf("%q to %s:\n%q, %v, want\n%q", c.words, c.host, got, err, c.want)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(got[len("before"):])))
		if err != nil && !strings.HasPrefix(c.words, "get x") {
			t.Errorf("%q: net/http cannot read the request: %v", c.words, err)
		} else if err == nil && strings.Contains(c.want, "parley") && (r.UserAgent() != "parley" || r.Host == "") {
			t.Errorf("%q: net/http reads %v", c.words, r)
		}
	}
}

func TestHTTPRequestsThatCannotBeMade(t *testing.T) {
	const usage = "write METHOD /path, such as GET / or POST /path and a body behind it"
	for words, want := range map[string]string{
		"": usage, " ": usage, "GET": usage, "GET ": usage, "GET  /": usage, "hello world": usage, "get /": usage, "G@T /": usage, "GET a": usage, "GET *": usage,
		"GET ://a": usage, "GET http://": usage, "GET http:///a": usage, "CONNECT a": usage, "CONNECT me@a:443": usage, "CONNECT /": usage,
		"GET /a b":             "GET has no body: " + usage + "; a space in a path is %20",
		"HEAD /a b":            "HEAD has no body: " + usage + "; a space in a path is %20",
		"GET /a\x01":           "0x01 cannot stand in a path: " + usage,
		"GET /\nPOST":          "0x0a cannot stand in a path: " + usage,
		"GET / HTTP/1.1":       parley.ErrUnfinished.Error(),
		"GET / HTTP/1.1\nA: b": parley.ErrUnfinished.Error(),
		"GET / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab": parley.ErrUnfinished.Error(),
		"GET / HTTP/1.1\n\nabc":                         "the message ends at byte 16, and more stands behind it",
		"GET / HTTP/2.0\n\n":                            "malformed message: HTTP/2 is not http/1",
		"GET / HTTP/1.1\na b\n\n":                       "malformed message: 0x20 in the name of a field",
	} {
		requests, _ := parley.OpenFraming(httpFraming.Requests, nil)
		if got, err := requests.End([]byte(words), 0); err == nil || err.Error() != want {
			t.Errorf("%q: %q, %v; want %s", words, got, err, want)
		}
		// What could not be made does not count as a request.
		o := requests.(*direction).connection.grammar.(*httpGrammar)
		if o.begun || len(o.owed.runs) > 0 {
			t.Errorf("%q counts as a request", words)
		}
	}
}

func TestHTTPRepliesOfText(t *testing.T) {
	const plain = "\r\nContent-Type: text/plain; charset=utf-8\r\n"
	for _, c := range []struct{ request, text, want string }{
		{"GET / HTTP/1.1\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\n\r\nhello\n"},
		{"GET / HTTP/1.1\r\n\r\n", "", "HTTP/1.1 200 OK" + plain + "Content-Length: 1\r\n\r\n\n"},
		{"GET / HTTP/1.0\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\nConnection: close\r\n\r\nhello\n"},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\nConnection: keep-alive\r\n\r\nhello\n"},
		{"GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\nConnection: close\r\n\r\nhello\n"},
		{"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nConnection: close\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\n\r\nhello\n"},
		{"HEAD / HTTP/1.1\r\n\r\n", "hello", "HTTP/1.1 200 OK" + plain + "Content-Length: 6\r\n\r\n"},
		{"CONNECT a:1 HTTP/1.1\r\n\r\n", "hello", "HTTP/1.1 501 Not Implemented" + plain + "Content-Length: 6\r\n\r\nhello\n"},
		{"", "Error: request longer than 65536 bytes", "HTTP/1.1 413 Content Too Large" + plain + "Content-Length: 39\r\nConnection: close\r\n\r\nError: request longer than 65536 bytes\n"},
		{"", "Error: server is full (10 sessions)", "HTTP/1.1 503 Service Unavailable" + plain + "Content-Length: 36\r\nConnection: close\r\n\r\nError: server is full (10 sessions)\n"},
		{"", "Error: too many sessions from your address (1)", "HTTP/1.1 503 Service Unavailable" + plain + "Content-Length: 47\r\nConnection: close\r\n\r\nError: too many sessions from your address (1)\n"},
		{"", "Error: malformed message: TLS, not http", "HTTP/1.1 400 Bad Request" + plain + "Content-Length: 40\r\nConnection: close\r\n\r\nError: malformed message: TLS, not http\n"},
		{"HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nab", "HTTP/1.0 200 OK\r\n\r\nab"},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
	} {
		requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
		var r *http.Request
		if c.request != "" {
			if n, _, err := requests.Next([]byte(c.request), 0, 1000, false); n != len(c.request) || err != nil {
				t.Fatalf("%q: %d, %v", c.request, n, err)
			}
			r, _ = http.ReadRequest(bufio.NewReader(strings.NewReader(c.request)))
		}
		got, err := replies.End(append([]byte("before"), c.text...), len("before"))
		if string(got) != "before"+c.want || err != nil {
			t.Errorf("%q to %q:\n%q, %v, want\n%q", c.text, c.request, got, err, c.want)
			continue
		}
		reply, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got[len("before"):])), r)
		if err != nil {
			t.Errorf("%q: net/http cannot read the reply: %v", c.text, err)
			continue
		}
		if _, err := io.ReadAll(reply.Body); err != nil {
			t.Errorf("%q: net/http cannot read the reply's body: %v", c.text, err)
		}
	}
}

// The connection ends behind a reply if one of the two says so, and not behind a switch.
func TestHTTPLastReply(t *testing.T) {
	for _, c := range []struct {
		request, reply string
		last           bool
	}{
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", false},
		{"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", true},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", true},
		{"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", false},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		{"CONNECT a:1 HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", false},
		{"CONNECT a:1 HTTP/1.0\r\n\r\n", "HTTP/1.0 407 No\r\nContent-Length: 0\r\n\r\n", true},
		{"GET / HTTP/1.1\r\nConnection: close, Upgrade\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false},
	} {
		requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
		requests.Next([]byte(c.request), 0, 1000, false)
		if _, err := replies.End([]byte(c.reply), 0); err != nil {
			t.Errorf("%q: %v", c.reply, err)
		}
		if note := replies.(parley.Noter).Note(); note.Last != c.last {
			t.Errorf("%q to %q is the last %v, want %v", c.reply, c.request, note.Last, c.last)
		}
	}
}

func TestHTTPRepliesThatCannotBeMade(t *testing.T) {
	for _, c := range []struct{ request, text, want string }{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", parley.ErrUnfinished.Error()},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", "the message ends at byte 39, and more stands behind it"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "the message ends at byte 38, and more stands behind it"},
		{"GET", "HTTP/1.1 2x", "malformed message: 0x78 in the status"},
	} {
		requests, replies := parley.OpenFraming(httpFraming.Requests, nil)
		requests.Next([]byte(c.request+" / HTTP/1.1\r\n\r\n"), 0, 1000, false)
		if got, err := replies.End([]byte(c.text), 0); err == nil || err.Error() != c.want {
			t.Errorf("%q to %s: %q, %v; want %s", c.text, c.request, got, err, c.want)
		}
	}
}

// Of what a peer says no more is kept than has to be known.
func TestHTTPKeepsLittle(t *testing.T) {
	for _, c := range []struct {
		before, after string
		secret        bool
	}{
		{"GET / HTTP/1.1\r\nConnection: ", "\r\n\r\n", false},
		{"GET /", " HTTP/1.1\r\n\r\n", false},
		{"GET http://me:", "@x/ HTTP/1.1\r\n\r\n", true},
		{"", " / HTTP/1.1\r\n\r\n", false},
		{"GET / HTTP/1.1\r\n", ": \r\n\r\n", false},
	} {
		message := []byte(c.before + strings.Repeat("x", 1<<20) + c.after)
		for _, piece := range []int{100, len(message)} {
			requests, _ := parley.OpenFraming(httpFraming.Requests, nil)
			for n := 0; n < len(message); {
				n = min(n+piece, len(message))
				if _, _, err := requests.Next(message[:n], 0, 2<<20, false); err != nil {
					t.Fatal(err)
				}
			}
			d := requests.(*direction)
			if kept := cap(d.grammar.(*httpGrammar).parsers[d.side].value); d.current != nil || kept > 4*maxHTTPValue {
				t.Errorf("%q: %d bytes are kept, whole %v", c.before, kept, d.current == nil)
			}
			if d.note.Secret != c.secret {
				t.Errorf("%q is secret %v, want %v", c.before, d.note.Secret, c.secret)
			}
		}
	}
}

func TestHTTPChunksAreCutAtTheLimit(t *testing.T) {
	o := httpTalk(100, math.MaxInt, ">CONNECT x:443 HTTP/1.1\r\n\r\n", "<HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 201), "<"+strings.Repeat("x", 100))
	want := []string{"1 > 26 bytes", "1 < 19 bytes", "- < 100 bytes", "- < 100 bytes", "- < 1 bytes", "- < 100 bytes"}
	if got := strings.Join(o.ends, "\n"); got != strings.Join(want, "\n") || o.replies.err != nil {
		t.Errorf("%v\n%s\nwant\n%s", o.replies.err, got, strings.Join(want, "\n"))
	}
}

func TestHTTPByName(t *testing.T) {
	f, err := Parse("http")
	if err != nil || f.Name != "http" || f.SpeaksFirst || f.Print != nil {
		t.Errorf("Parse(http) = %+v, %v", f, err)
	}
}
