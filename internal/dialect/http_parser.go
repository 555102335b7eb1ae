package dialect

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/parley-tcp/parley"
)

// An httpKind is what has to be known of a request to read its reply, and to make one.
type httpKind uint8

const (
	httpHead    httpKind = 1 << iota // its reply has no body (RFC 9110, section 9.3.2)
	httpConnect                      // if it is accepted, what follows is not http (section 9.3.6)
	httpCloses                       // the connection ends behind its reply (RFC 9112, section 9.3)
	httpKeeps                        // it is HTTP/1.0 and the connection does not (RFC 9112, appendix C.2.2)
)

// An httpParser finds the end of one message, by RFC 9112. It is done with every byte that it
// is given, and keeps only the beginnings of the few values that it has to know.
type httpParser struct {
	of    side
	state httpState
	kind  httpKind // of the request; of a reply, of the request that it answers

	position uint8 // in a method, a target, the version, a status or a name
	minor    byte  // of HTTP/1.minor
	status   int
	secret   bool   // the target has a password in it, or may
	unasked  bool   // a reply that came where no request was
	read     uint64 // bytes
	head     uint64 // of them up to the body; 0 if that has not begun

	fields  bool // there was one
	trailer bool // they are those behind a chunked body
	field   httpField
	name    [len("transfer-encoding")]byte
	value   []byte // of the field, or of the target

	coded     bool // there is a Transfer-Encoding
	chunked   bool // the last one is chunked
	keepAlive bool // there is a Connection: keep-alive
	hasLength bool
	length    uint64
	badLength error // a Content-Length that is none
	badCoding error // a Transfer-Encoding of which the end is not known

	left uint64 // bytes to come of the body, or of a chunk
	data uint64 // bytes that came in chunks
}

// An httpState is what comes next.
type httpState uint8

const (
	httpBlankLines httpState = iota // that may stand before a request line
	httpMethod
	httpTarget
	httpVersion
	httpStatus
	httpLF // of the first line
	httpLine
	httpLastLF // of the blank line behind the fields
	httpName
	httpColon
	httpValue
	httpText  // nobody has to know
	httpSized // this and what follows is of the body
	httpChunkSize
	httpChunkBlank // behind the size
	httpChunkText
	httpChunkLF
	httpChunkData
	httpChunkEnd
	httpChunkEndLF
	httpUntilClose
	httpWhole
)

// An httpField is one whose value has to be known.
type httpField uint8

const (
	httpOther httpField = iota
	httpContentLength
	httpTransferEncoding
	httpConnection
)

// maxHTTPValue is how much of a value or a target is looked at.
const maxHTTPValue = 1 << 10

func (p *httpParser) reset(of side, answered httpKind) {
	*p = httpParser{of: of, kind: answered, value: p.value[:0]}
	if of == replies {
		p.state = httpVersion
	}
}

func (p *httpParser) parse(b []byte, eof bool) (n int, done bool, err error) {
	for n < len(b) && p.state != httpWhole {
		if n += p.run(b[n:]); n == len(b) || p.state == httpWhole {
			break
		}
		if err = p.step(b[n]); err != nil {
			return n, false, err
		}
		n++
		if p.head == 0 && p.state >= httpSized {
			p.head = p.read + uint64(n)
		}
	}
	p.read += uint64(n)
	return n, p.state == httpWhole || eof && p.state == httpUntilClose, nil
}

// coming is how many bytes are known to be still to come.
func (p *httpParser) coming() uint64 {
	if p.state == httpSized || p.state == httpChunkData {
		return p.left
	}
	return 0
}

// run passes over bytes that change nothing. Behind them is one that may.
func (p *httpParser) run(b []byte) (n int) {
	switch p.state {
	case httpBlankLines: // RFC 9112, section 2.2
		for n < len(b) && (b[n] == '\r' || b[n] == '\n') {
			n++
		}
		if n < len(b) {
			p.state = httpMethod
			n += p.run(b[n:])
		}
	case httpMethod:
		n = p.runName(b, 0)
	case httpLine:
		if c := b[0]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			p.endField()
			p.state, p.position = httpName, 0
			n = p.runName(b, 0x20)
		}
	case httpName:
		n = p.runName(b, 0x20)
	case httpTarget:
		for n < len(b) && b[n] > ' ' && b[n] != 0x7f {
			n++
		}
		if p.kind&httpConnect != 0 || len(p.value) > 0 || p.position == 0 && b[0] != '/' {
			p.keep(b[:n])
		}
		if n > 0 {
			p.position = 1
		}
	case httpValue, httpText:
		if n = bytes.IndexByte(b, '\n'); n < 0 {
			n = len(b)
		}
		if p.state == httpValue {
			p.keep(b[:n])
		}
	case httpSized, httpChunkData:
		n = int(min(p.left, uint64(len(b))))
		p.left -= uint64(n)
		if p.state == httpChunkData {
			p.data += uint64(n)
		}
		switch {
		case p.left > 0:
		case p.state == httpSized:
			p.state = httpWhole
		default:
			p.state = httpChunkEnd
		}
	case httpUntilClose:
		n = len(b)
	}
	return n
}

// runName passes over a token. A bit set in each letter of its beginning makes them small.
func (p *httpParser) runName(b []byte, small byte) (n int) {
	for n < len(b) && isHTTPToken[b[n]] {
		if int(p.position) < len(p.name) {
			p.name[p.position] = b[n] | small
		}
		p.position = min(p.position+1, uint8(len(p.name))+1)
		n++
	}
	return n
}

// keep keeps what is looked at of a value, and one byte more if there is more.
func (p *httpParser) keep(b []byte) {
	p.value = append(p.value, b[:min(len(b), maxHTTPValue+1-len(p.value))]...)
}

// is compares the name that was passed over, or its beginning, with one that is no longer than
// what is kept.
func (p *httpParser) is(name string) bool {
	return int(p.position) == len(name) && string(p.name[:p.position]) == name
}

// step takes one byte.
func (p *httpParser) step(c byte) error {
	switch p.state {
	case httpMethod:
		switch {
		case p.position == 0 && c == 0x16: // the handshake of RFC 8446, section 5.1
			return notHTTP("TLS, not http")
		case p.position == 0 || c != ' ':
			return notHTTP("0x%02x in the method of a request", c)
		case p.is("HEAD"):
			p.kind = httpHead
		case p.is("CONNECT"):
			p.kind = httpConnect
		}
		p.state, p.position = httpTarget, 0
	case httpTarget:
		switch {
		case p.position == 0 || c != ' ' && c != '\r' && c != '\n':
			return notHTTP("0x%02x in the target of a request", c)
		case c != ' ':
			return errHTTPRequestLine
		}
		from, to := httpUserinfo(p.value, p.kind&httpConnect != 0)
		p.secret = from < to || len(p.value) > maxHTTPValue
		p.value = p.value[:0]
		p.state, p.position = httpVersion, 0
	case httpVersion:
		return p.stepVersion(c)
	case httpStatus:
		return p.stepStatus(c)
	case httpLF:
		if c != '\n' {
			return notHTTP("a CR without its LF in the first line")
		}
		p.state = httpLine
	case httpLine:
		if c == ' ' || c == '\t' { // folded (RFC 9112, section 5.2)
			if !p.fields {
				return notHTTP("a blank before the first field")
			}
			p.state = httpText
			if p.field != httpOther {
				p.keep([]byte{' '})
				p.state = httpValue
			}
			return nil
		}
		p.endField()
		if c == '\n' {
			return p.endFields()
		}
		p.state = httpLastLF
	case httpLastLF:
		if c != '\n' {
			return notHTTP("a CR without its LF behind the fields")
		}
		return p.endFields()
	case httpName, httpColon:
		switch {
		case c == ':' && p.position > 0:
			p.beginField()
		case p.position > 0 && p.of == replies && (c == ' ' || c == '\t'):
			p.state = httpColon // which RFC 9112, section 5.1, forbids to requests only
		default:
			return notHTTP("0x%02x in the name of a field", c)
		}
	case httpValue, httpText:
		if p.state = httpLine; len(p.value) <= maxHTTPValue { // or this is not the end of the line
			p.value = bytes.TrimSuffix(p.value, []byte("\r"))
		}
	default:
		return p.stepChunk(c)
	}
	return nil
}

const httpVersion1 = "HTTP/1."

// These are made once: each text that is sent as a message is none at first.
var (
	errHTTPRequestLine = notHTTP("a request line ends with HTTP/1.1 or HTTP/1.0")
	errHTTPStatusLine  = notHTTP("a reply begins with HTTP/1.1 or HTTP/1.0")
)

func (p *httpParser) stepVersion(c byte) error {
	switch at := int(p.position); {
	case at < len(httpVersion1) && c == httpVersion1[at]:
		p.position++
	case at == len("HTTP/") && c == '2':
		return notHTTP("HTTP/2 is not http/1")
	case at < len(httpVersion1) && p.of == requests:
		return errHTTPRequestLine
	case at < len(httpVersion1):
		return errHTTPStatusLine
	case at == len(httpVersion1) && isHTTPDigit(c):
		p.minor = c - '0'
		p.position++
	case at == len(httpVersion1):
		return notHTTP("0x%02x in the version", c)
	case p.of == replies && c == ' ':
		p.state, p.position = httpStatus, 0
	case p.of == requests && c == '\r':
		p.state = httpLF
	case p.of == requests && c == '\n':
		p.state = httpLine
	default:
		return notHTTP("0x%02x behind the version", c)
	}
	return nil
}

func (p *httpParser) stepStatus(c byte) error {
	switch {
	case p.position < 3 && isHTTPDigit(c) && (c > '0' || p.position > 0):
		p.status = 10*p.status + int(c-'0')
		p.position++
	case p.position < 3:
		return notHTTP("0x%02x in the status", c)
	case c == ' ':
		p.state = httpText
	case c == '\r':
		p.state = httpLF
	case c == '\n':
		p.state = httpLine
	default:
		return notHTTP("0x%02x behind the status", c)
	}
	return nil
}

func (p *httpParser) beginField() {
	p.fields, p.state = true, httpValue
	switch {
	case p.trailer: // changes nothing any more (RFC 9110, section 6.5.1)
		p.state = httpText
	case p.is("content-length"):
		p.field = httpContentLength
	case p.is("transfer-encoding"):
		p.field = httpTransferEncoding
	case p.is("connection"):
		p.field = httpConnection
	default:
		p.state = httpText
	}
}

// endField reads the value of the field before, which may have gone on in another line.
func (p *httpParser) endField() {
	field := p.field
	if field == httpOther {
		return
	}
	switch long := len(p.value) > maxHTTPValue; {
	case long && field == httpTransferEncoding:
		p.badCoding = notHTTP("a Transfer-Encoding of more than %d bytes", maxHTTPValue)
	case long && field == httpContentLength:
		p.badLength = notHTTP("a Content-Length of more than %d bytes", maxHTTPValue)
	}
	for rest, more := p.value, true; more; {
		var item []byte
		item, rest, more = bytes.Cut(rest, []byte(","))
		item = bytes.Trim(item, " \t") // others may take it for something else (RFC 9110, section 5.6.3)
		switch field {
		case httpContentLength:
			p.addLength(item)
		case httpTransferEncoding:
			p.coded = true
			p.chunked = bytes.EqualFold(item, []byte("chunked")) || len(item) == 0 && p.chunked
		case httpConnection:
			p.keepAlive = p.keepAlive || bytes.EqualFold(item, []byte("keep-alive"))
			if bytes.EqualFold(item, []byte("close")) {
				p.kind |= httpCloses
			}
		}
	}
	p.field, p.value = httpOther, p.value[:0]
}

// addLength reads a Content-Length. Several that are equal are one (RFC 9112, section 6.3).
func (p *httpParser) addLength(text []byte) {
	var n uint64
	bad := len(text) == 0
	for _, c := range text {
		bad = bad || !isHTTPDigit(c) || n > (1<<64-1-uint64(c-'0'))/10
		n = 10*n + uint64(c-'0')
	}
	switch {
	case p.badLength != nil:
	case bad:
		p.badLength = notHTTP("%.40q as Content-Length", text)
	case p.hasLength && n != p.length:
		p.badLength = notHTTP("%d and %d as Content-Length", p.length, n)
	}
	p.hasLength, p.length = true, n
}

// endFields decides by RFC 9112, section 6.3, how long the body is.
func (p *httpParser) endFields() error {
	if p.trailer {
		p.state = httpWhole
		return nil
	}
	switch {
	case p.minor == 0 && (!p.keepAlive || p.coded): // HTTP/1.0 has no encodings (RFC 9112, section 6.1)
		p.kind |= httpCloses
	case p.minor == 0 && p.of == requests:
		p.kind |= httpKeeps
	}
	switch {
	case p.of == replies && p.hasNoBody():
		p.state = httpWhole
	case p.badCoding != nil:
		return p.badCoding
	case p.chunked: // also if there is a Content-Length
		p.state, p.position = httpChunkSize, 0
	case p.coded && p.of == requests:
		return notHTTP("a request has no end whose Transfer-Encoding does not end with chunked")
	case p.coded:
		p.untilClose()
	case p.badLength != nil:
		return p.badLength
	case p.length > 0:
		p.state, p.left = httpSized, p.length
	case p.hasLength || p.of == requests:
		p.state = httpWhole
	default:
		p.untilClose()
	}
	return nil
}

func (p *httpParser) hasNoBody() bool {
	return p.status < 200 || p.status == 204 || p.status == 304 || p.kind&httpHead != 0 || p.switches()
}

// switches reports whether a reply is the last message that is http.
func (p *httpParser) switches() bool {
	return p.status == 101 || p.kind&httpConnect != 0 && p.status/100 == 2
}

func (p *httpParser) untilClose() {
	p.state = httpUntilClose
	p.kind |= httpCloses
}

// stepChunk takes a byte of what stands around chunks (RFC 9112, section 7.1). A LF alone ends
// a line of a header only, section 2.2: here it is what request smuggling is made of.
func (p *httpParser) stepChunk(c byte) error {
	digit, isDigit := httpHexDigit(c)
	sized := p.state == httpChunkSize && p.position > 0 || p.state == httpChunkBlank
	switch {
	case p.state == httpChunkSize && isDigit && p.left < 1<<59:
		p.left = p.left<<4 | uint64(digit)
		p.position = 1
	case p.state == httpChunkSize && isDigit:
		return notHTTP("a chunk of more than %d bytes", uint64(1)<<63)
	case (sized || p.state == httpChunkText) && c == '\r':
		p.state = httpChunkLF
	case sized && (c == ' ' || c == '\t'):
		p.state = httpChunkBlank
	case sized && c == ';':
		p.state = httpChunkText
	case p.state == httpChunkText && c != '\n':
	case p.state == httpChunkLF && c == '\n' && p.left == 0:
		p.state, p.trailer, p.fields = httpLine, true, false
	case p.state == httpChunkLF && c == '\n':
		p.state = httpChunkData
	case p.state == httpChunkEnd && c == '\r':
		p.state = httpChunkEndLF
	case p.state == httpChunkEndLF && c == '\n':
		p.state, p.position = httpChunkSize, 0
	case p.state == httpChunkEnd, p.state == httpChunkEndLF:
		return notHTTP("0x%02x behind a chunk", c)
	default:
		return notHTTP("0x%02x in the size of a chunk", c)
	}
	return nil
}

// httpUserinfo finds the user and password in a target, target[from:to] (RFC 3986, section 3.2.1).
func httpUserinfo(target []byte, connect bool) (from, to int) {
	if !connect {
		scheme := bytes.Index(target, []byte("://"))
		if scheme < 0 || target[0] == '/' {
			return 0, 0
		}
		from = scheme + len("://")
	}
	authority := target[from:]
	if end := bytes.IndexAny(authority, "/?#"); end >= 0 {
		authority = authority[:end]
	}
	at := max(bytes.LastIndexByte(authority, '@'), 0)
	return from, from + at
}

func notHTTP(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{parley.ErrMalformed}, args...)...)
}

func isHTTPDigit(c byte) bool { return '0' <= c && c <= '9' }

func httpHexDigit(c byte) (digit byte, ok bool) {
	switch {
	case isHTTPDigit(c):
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// isHTTPToken says which bytes a token is made of (RFC 9110, section 5.6.2).
var isHTTPToken = func() (is [256]bool) {
	for c := range is {
		is[c] = c > ' ' && c < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, rune(c))
	}
	return is
}()
